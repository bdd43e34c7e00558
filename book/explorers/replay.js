import { intersection } from "./maths.js";
import { button, canvas, frame, html, layer, outline, slider, svg } from "./stage.js";

const REPLAY_WIDE = 170; // of a picture, in its own units: two beside each other on a phone, with words to be read
const [LETTER, NAME_HIGH] = [6.9, 17]; // a letter's width; height of the words at a box
const PAUSE = 800; // milliseconds from one moment to the next

/** A picture's lines (label, score, box) that reach the threshold, best last, so that it lies on top. */
export const reaching = (lines, threshold) => lines.filter(([, score]) => score >= threshold).reverse();

/** How many lines there are of each class, in all pictures. */
export function countOfClasses(found, classes, threshold) {
  const counts = classes.map(() => 0);
  for (const lines of found) for (const [label] of reaching(lines, threshold)) counts[label - 1] += 1;
  return counts;
}

/** Where to put each box's words, as boxes within the picture: above it, below it or in it, wherever no words are yet; null if
 * there is no such place. The last box is the best, and chooses first. */
export function placesFor(boxes, lengths, high) {
  const places = [];
  for (let i = boxes.length - 1; i >= 0; i--) {
    const [x, y0, , y1] = boxes[i];
    const wide = LETTER * lengths[i] + 6;
    const left = Math.max(0, Math.min(x, REPLAY_WIDE - wide));
    const tops = [y0 - NAME_HIGH, y1, y0, y1 - NAME_HIGH].filter((top) => top >= 0 && top + NAME_HIGH <= high);
    const choices = (tops.length ? tops : [0]).map((top) => [left, top, left + wide, top + NAME_HIGH]);
    const free = (choice) => places.every((place) => !place || intersection(choice, place) === 0);
    places[i] = choices.find(free) ?? null;
  }
  return places;
}

export default {
  render({ model, el }) {
    const hint = "Move through the training, or let it play.";
    const ui = frame(model, el, { title: "Replay.", hint });
    const { get, turn } = ui;
    const [classes, colors] = [get("classes"), get("colors")];
    const last = get("frames").length - 1;
    const least = get("start").threshold;
    const looks = (label) => `--own: ${colors[label - 1][0]}; --letters: ${colors[label - 1][1]}`;

    // ---- the pictures
    const found = get("pictures").map((picture, i) => {
      const [width, height] = get("sizes")[i];
      const zoom = REPLAY_WIDE / width;
      const label = `Held-out picture ${i + 1}, and what was found in it`;
      const drawing = canvas(ui, { label, picture, wide: REPLAY_WIDE, high: zoom * height, looks: "wide replay" });
      return { ...layer(drawing), zoom, high: zoom * height };
    });

    // ---- knobs
    slider(ui, {
      label: "moment", min: 0, max: last, get: () => get("moment"), set: (moment) => turn({ moment }),
      words: (moment) => `step ${get("frames")[moment].step}`,
    });
    slider(ui, {
      label: "score at least", min: least, max: 0.95, step: 0.05, get: () => get("threshold"),
      set: (threshold) => turn({ threshold }), words: (threshold) => threshold.toFixed(2),
    });
    const stop = player(ui, last);

    ui.shown.push(() => {
      const { step, found: lines } = get("frames")[get("moment")];
      const threshold = get("threshold");
      found.forEach(({ draw, zoom, high }, i) => {
        const shown = reaching(lines[i], threshold);
        const boxes = shown.map(([, , ...box]) => box.map((side) => side * zoom));
        const words = shown.map(([label, score]) => `${classes[label - 1]} ${score.toFixed(2)}`);
        const places = placesFor(boxes, words.map((text) => text.length), high);
        draw(
          boxes.map((box, k) => svg("g", { style: looks(shown[k][0]) }, ...outline(box))),
          words.map((text, k) => (places[k] ? named(text, places[k], looks(shown[k][0])) : [])),
        );
      });
      const counts = countOfClasses(lines, classes, threshold);
      const all = counts.reduce((sum, count) => sum + count, 0);
      const kind = (name, i) => html("span", { class: "replay-class", style: looks(i + 1) }, `${name} ${counts[i]}`);
      ui.say(
        `step ${step} of ${get("frames")[last].step}`,
        [html("strong", {}, `${all} answer${all === 1 ? "" : "s"}`), ` with a score of ${threshold.toFixed(2)} or more`],
        classes.map(kind),
      );
    });
    const close = ui.open();
    return () => {
      stop();
      close();
    };
  },
};

/** A button that shows one moment after the other as far as the last, from the first if the last is there already.
 * Whoever asked for less motion gets one moment at each press. Returns a function that stops it. */
function player(ui, last) {
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  let [timer, at] = [null, null]; // what is waited for, and which moment has been shown by it
  const node = button(ui, { label: "", press: () => (timer === null ? next() : stop()) });
  node.classList.add("replay-play");
  node.disabled = last === 0;

  function next() {
    at = timer === null && ui.get("moment") === last ? 0 : Math.min(ui.get("moment") + 1, last);
    timer = calm || at === last ? null : setTimeout(next, PAUSE);
    ui.turn({ moment: at });
  }
  function stop() {
    clearTimeout(timer);
    timer = null;
    node.textContent = words();
  }
  const words = () => (calm ? "Next moment" : timer === null ? "Play" : "Pause");
  ui.shown.push(() => {
    if (timer !== null && ui.get("moment") !== at) stop(); // somebody else moved it
    node.textContent = words();
  });
  return stop;
}

/** Words on a ground of their own. */
function named(words, [left, top, right, bottom], style) {
  return svg(
    "g",
    { class: "replay-name", style },
    svg("rect", { x: left, y: top, width: right - left, height: bottom - top, rx: 2 }),
    svg("text", { x: (left + right) / 2, y: top + 13, "text-anchor": "middle" }, words),
  );
}
