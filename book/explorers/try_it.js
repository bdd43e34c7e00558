import { follower } from "./follow.js";
import { OUTLINES, readPicture, shapePath, sheet } from "./sketch.js";
import { button, choice, frame, html, outline, slider, svg, tag, tick, SIDE } from "./stage.js";
import { filePicker, yourDetector, YOURS } from "./your_detector.js";

// As in the drawn scenes, red, green and blue together are 240 or more away from the paper's.
const COLORS = {
  white: "#ffffff", black: "#1b1f23", red: "#c8372d", orange: "#e69f00", green: "#2b8a4b",
  blue: "#1a56a5", purple: "#632889",
};
const TOOLS = [...Object.keys(OUTLINES), "brush", "eraser"];
const ICONS = {
  brush: "M3 17C7 17 6 12 9 11L17 3L19 5L11 13C10 16 7 19 3 17Z",
  eraser: "M2 14L11 4L19 11L12 19L6 19ZM7 9L15 16",
};

export default {
  render({ model, el }) {
    const hint = "Draw something, or drop a picture here, and see what the network finds.";
    const ui = frame(model, el, { title: "Try it.", hint });
    const { get, turn } = ui;
    const detector = yourDetector(model, ui, { pixels: () => pad.pixels(), show });

    // ---- the sheet and what lies on it
    const hand = { name: "star", color: COLORS.blue, size: 110 };
    const pad = sheet(ui, { tool: () => hand, changed: () => detector.look() });
    const pictures = get("examples").map(({ picture }) => picture && readPicture(picture));
    let shown = null; // number of the example that lies there
    async function lay(number) {
      shown = number;
      const picture = await pictures[number];
      if (shown === number) pad.put(picture ?? null);
    }
    async function openPicture(file) {
      try {
        pictures[YOURS] = await readPicture(file);
        yours.hidden = yours.disabled = false;
        shown = null;
        turn({ example: YOURS });
      } catch {
        ui.say("The browser cannot read this file as a picture. JPEG, PNG and WebP always work.");
      }
    }
    const tools = html("div", { class: "tools" });
    const start = html("div", { class: "tools" });
    ui.stage.append(start, tools);
    radios(tools, "tool", TOOLS.map((name) => [name, icon(name)]), hand, "name");
    const swatch = (color) => html("span", { class: "try-color", style: `background: ${color}` });
    const colors = Object.entries(COLORS).map(([name, color]) => [color, swatch(color), name]);
    radios(tools, "color", colors, hand, "color");
    const size = html("input", { type: "range", min: 30, max: 300, value: hand.size });
    size.addEventListener("input", () => (hand.size = Number(size.value)));
    tools.append(html("label", { class: "try-size" }, html("span", {}, "size"), size));
    const row = html("div", { class: "ticks" });
    tools.append(row);
    button(ui, { label: "Undo", press: () => pad.undo(), into: row });
    button(ui, { label: "Clear", press: () => lay(shown), into: row });
    filePicker(row, { label: "Open a picture …", accept: "image/*", open: openPicture });
    ui.stage.append(html("p", { class: "try-promise" },
      "Your pictures never leave your machine: the network runs here, in the browser. Press the " +
      "name of a box, or choose an answer to follow, and you see how it came about."));

    // ---- knobs
    const examples = get("examples").map(({ name }, i) => [i, name]);
    const begin = choice(ui, {
      label: "begin with", options: [...examples, [YOURS, "your picture"]],
      get: () => get("example"), set: (number) => turn({ example: Number(number) }),
    });
    const yours = begin.lastElementChild;
    yours.hidden = yours.disabled = true;
    detector.controls(start, ui.controls);
    const way = follower(ui, { ask: detector.follow, marks: pad.way, high: pad.high });
    slider(ui, {
      label: "score above", min: 0.05, max: 0.95, step: 0.05, words: (v) => v.toFixed(2),
      get: () => get("score_threshold"), set: (score_threshold) => turn({ score_threshold }),
    });
    slider(ui, {
      label: "NMS: IoU above", min: 0.05, max: 1, step: 0.05, words: (v) => v.toFixed(2),
      get: () => get("iou_threshold"), set: (iou_threshold) => turn({ iou_threshold }),
    });
    tick(ui, {
      label: "NMS strikes out only boxes of the same class",
      get: () => get("per_class"), set: (per_class) => turn({ per_class }),
    });
    ui.shown.push(() => {
      if (get("example") !== shown) lay(get("example"));
    });

    /** Draw what was found in a picture of this size, the best on top. */
    function show(answer, running) {
      const { found, candidates, width, height } = answer;
      const zoom = [SIDE / width, pad.high() / height];
      const palette = get("palette");
      pad.found.draw([...found].reverse().map(({ box, score, label, anchor }) => {
        const [own, letters] = palette[(label - 1) % palette.length];
        const edges = box.map((v, k) => v * zoom[k % 2]);
        const words = `${running.classes[label - 1]} ${score.toFixed(2)}`;
        const style = `--own: ${own}; --letters: ${letters}`;
        const isThis = (one) => one.anchor === anchor && one.label === label;
        const name = tag(words, edges[0], edges[1], {
          onpointerdown: (event) => {
            event.stopPropagation(); // nothing is drawn there
            turn({ follow: candidates.findIndex(isThis) + 1 });
          },
        });
        return svg("g", { style }, ...outline(edges, { class: "owned" }), name);
      }));
      way.update(answer, running);
    }

    const stop = receive(el, { picture: openPicture, checkpoint: (file) => detector.open(file) });
    const close = ui.open();
    return () => [stop, close, detector.close].forEach((end) => end());
  },
};

/** Radio buttons that look like what they choose: options are [value, node, its name if that's not
 * the value]. */
function radios(into, legend, options, target, key) {
  const choose = (value) => () => (target[key] = value);
  const group = `try-${legend}-${Math.random()}`;
  into.append(html("fieldset", { class: "try-radios" }, html("legend", {}, legend),
    options.map(([value, node, name = value]) => {
      const checked = target[key] === value;
      const looks = { type: "radio", name: group, "aria-label": name, checked };
      const input = html("input", { ...looks, onchange: choose(value) });
      return html("label", { title: name }, input, node);
    })));
}

const icon = (name) =>
  svg("svg", { viewBox: "0 0 22 22", "aria-hidden": "true" },
    svg("path", { d: ICONS[name] ?? shapePath(name, [3, 3, 19, 19]) }));

/** Pictures and checkpoints that are dropped or pasted, wherever. Returns what ends it. */
function receive(el, { picture, checkpoint }) {
  const take = (event, files) => {
    const file = [...(files ?? [])].find(({ type, name }) =>
      type.startsWith("image/") || name.endsWith(".safetensors"));
    if (!file) return;
    event.preventDefault();
    (file.type.startsWith("image/") ? picture : checkpoint)(file);
  };
  const paste = (event) => take(event, event.clipboardData?.files);
  el.addEventListener("dragover", (event) => event.preventDefault());
  el.addEventListener("drop", (event) => {
    event.preventDefault(); // or the browser leaves the page for the file
    take(event, event.dataTransfer.files);
  });
  document.addEventListener("paste", paste);
  return () => document.removeEventListener("paste", paste);
}
