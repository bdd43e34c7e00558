// The detector that a page runs: asleep until it is asked for, then always at the newest picture.
import { fetchWeights, startEngine } from "./engine.js";
import { button, choice, html } from "./stage.js";

export const YOURS = -1; // the number of the reader's own among the detectors and the examples

/** `pixels()` is the picture to look at; show(answer, { spec, classes }) draws what was found. */
export function yourDetector(model, ui, { pixels, show }) {
  const { get, turn } = ui;
  const files = get("detectors").map(({ name }) => () => fetchWeights(model, name));
  let [engine, running, wanted] = [null, null, null];
  let [answer, asked, time] = [null, null, null];
  let [begin, list, maps, about] = [null, null, null, null]; // on the page

  /** Let a detector run: one of the book's, or the reader's. */
  async function use(number) {
    engine ??= startEngine(get("engine"));
    [wanted, begin.disabled] = [number, true];
    tell("The detector is being loaded.");
    const opened = await files[number]().then(engine.open, () => ({ refused: MISSING }));
    if (opened.stopped || wanted !== number) return;
    begin.disabled = false;
    if (opened.refused) {
      wanted = running?.number ?? null; // which goes on
      turn({ detector: wanted ?? 0 });
      return tell(opened.refused);
    }
    [running, answer] = [{ number, ...opened }, null];
    [begin.hidden, list.hidden] = [true, false];
    listMaps();
    await look();
  }

  const limits = () => ({
    scoreThreshold: get("score_threshold"),
    iouThreshold: get("iou_threshold"),
    sameClass: get("per_class"),
    leftOut: get("left_out"),
  });

  /** Look at the sheet as it is now. */
  const look = async () => running && present(await engine.look(pixels, (asked = limits())));

  /** The same answers within other limits, if there are answers, and the limits others. */
  async function sift() {
    const isNew = JSON.stringify(limits()) !== JSON.stringify(asked);
    if (answer && isNew) present(await engine.sift((asked = limits())));
  }

  function present(given) {
    if (given.stopped) return;
    if (given.refused) return tell(given.refused);
    time = given.milliseconds ?? time;
    answer = given;
    show(answer, running);
    tell(summary(answer.found, running.classes, asked.scoreThreshold));
    const { name, image_size: n } = running.spec;
    about.textContent = `${name}, ${n} × ${n} pixels, finds ${running.classes.join(", ")}. ` +
      `The last look took ${Math.round(time)} ms.`;
    sift();
  }

  let told = "";
  function tell(...lines) {
    const text = lines.join();
    if (text !== told) ui.say(...lines.filter(Boolean));
    told = text;
  }

  function open(file) {
    files[YOURS] = async () => file;
    list.querySelector(`option[value="${YOURS}"]`).hidden = false;
    wanted = null; // another file may have come in the place of one that runs
    if (get("detector") === YOURS) use(YOURS);
    else turn({ detector: YOURS });
  }

  /** Put the button that starts it among `stage`, and what it can be told among `into`. */
  function controls(stage, into) {
    const label = `Start the detector (${get("detectors")[0].megabytes} MB)`;
    begin = button(ui, { label, press: () => use(get("detector")), into: stage });
    begin.classList.add("try-start");
    const box = html("div", { class: "try-detector" });
    into.append(box);
    list = html("div", {});
    const options = [...get("detectors").map(({ title }, i) => [i, title]), [YOURS, "your own"]];
    const select = choice(ui, {
      label: "detector", options, get: () => get("detector"),
      set: (number) => turn({ detector: Number(number) }), into: list,
    });
    [select.lastElementChild.hidden, list.hidden] = [true, true];
    maps = html("fieldset", { class: "try-maps", "data-lm-suppress-shortcuts": "true" });
    about = html("p", { class: "try-about" });
    box.append(list);
    filePicker(box, { label: "Open your best.safetensors …", accept: ".safetensors", open });
    into.append(maps, about);
    maps.hidden = true;
    ui.shown.push(() => {
      const number = get("detector");
      if (number !== wanted && (running || number === YOURS)) use(number);
      for (const [k, input] of maps.querySelectorAll("input").entries())
        input.checked = !get("left_out").includes(k);
      sift();
    });
    tell("The detector sleeps. Start it, and it looks at whatever you draw.");
  }

  function listMaps() {
    const without = (k) => get("left_out").filter((other) => other !== k);
    const toggle = (k) => (event) =>
      turn({ left_out: event.target.checked ? without(k) : [...without(k), k].sort() });
    maps.hidden = false;
    const ticks = running.spec.maps.map((n, k) => {
      const checked = !get("left_out").includes(k);
      const input = html("input", { type: "checkbox", checked, onchange: toggle(k) });
      return html("label", { class: "tick" }, input, html("span", {}, `${n} × ${n}`));
    });
    maps.replaceChildren(html("legend", {}, "maps that take part"), ...ticks);
  }

  const follow = (index) => engine.follow(asked, index);
  return { controls, look, open, follow, close: () => engine?.close() };
}

const MISSING =
  "The file with the weights is not beside this page. You can still open a checkpoint of your own.";

/** What was found, in words: how often each class, with the best score. */
function summary(found, classes, threshold) {
  const named = classes.map((name, i) => [name, found.filter(({ label }) => label === i + 1)]);
  const words = named.filter(([, boxes]) => boxes.length).map(([name, boxes]) => {
    const times = boxes.length > 1 ? `${boxes.length} × ` : "";
    return `${times}${name} (${boxes.length > 1 ? "up to " : ""}${boxes[0].score.toFixed(2)})`;
  });
  if (!words.length)
    return `Nothing scores above ${threshold.toFixed(2)}. Lower that, and see what comes close.`;
  return `Found: ${words.join(", ")}.`;
}

/** A button that asks for a file. */
export function filePicker(into, { label, accept, open }) {
  const input = html("input", { type: "file", accept, class: "try-file" });
  input.addEventListener("change", () => {
    if (input.files[0]) open(input.files[0]);
    input.value = ""; // so that the same file can be chosen again
  });
  into.append(html("label", { class: "try-pick" }, input, html("span", {}, label)));
}
