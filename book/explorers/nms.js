import { iou, suppressors } from "./maths.js";
import { button, canvas, frame, html, layer, outline, slider, svg, tag, tick, SIDE } from "./stage.js";

const LOOKS = ["first", "second", "third", "fourth"];
const [BARS, BAR_HIGH, ROW_HIGH, BARS_LEFT] = [18, 56, 104, 50]; // the list: bars in a row; the rest in units

/** Greedy NMS, step by step: [{ box, struck: [...] }, ...], numbers of boxes that come in descending order of score. */
export function greedySteps(boxes, labels, threshold, perClass) {
  const by = suppressors(boxes, labels, threshold, perClass);
  const numbers = boxes.map((_, i) => i);
  return numbers
    .filter((i) => by[i] < 0)
    .map((box) => ({ box, struck: numbers.filter((i) => by[i] === box) }));
}

/** What has become of each box after `done` steps: { fate: "kept", "out" or "waits", by: who struck it out }. */
export function fates(steps, done, count) {
  const all = Array.from({ length: count }, () => ({ fate: "waits", by: -1 }));
  for (const { box, struck } of steps.slice(0, done)) {
    all[box].fate = "kept";
    for (const i of struck) all[i] = { fate: "out", by: box };
  }
  return all;
}

export default {
  render({ model, el }) {
    const hint = "Take the best box, strike out its rivals, go on with the best of those left.";
    const ui = frame(model, el, { title: "Greedy NMS.", hint });
    const { get, turn } = ui;
    const [boxes, labels, scores] = [get("boxes"), get("labels"), get("scores")];
    const present = [...new Set(labels)].sort((a, b) => a - b);
    const looks = labels.map((label) => LOOKS[present.indexOf(label) % LOOKS.length]);
    const name = (i) => get("classes")[labels[i] - 1];
    const stepsAt = (threshold, perClass) => greedySteps(boxes, labels, threshold, perClass);
    const steps = () => stepsAt(get("iou_threshold"), get("per_class"));
    const done = () => Math.min(Math.max(get("step"), 0), steps().length);

    // ---- knobs
    slider(ui, {
      label: "step", min: 0, max: () => steps().length, get: done, set: (step) => turn({ step }),
      words: (step) => `${step} of ${steps().length}`,
    });
    const row = html("div", { class: "ticks" });
    ui.controls.append(row);
    const back = button(ui, { label: "‹ Back", press: () => turn({ step: done() - 1 }), into: row });
    const next = button(ui, { label: "Next ›", press: () => turn({ step: done() + 1 }), into: row });
    const end = button(ui, { label: "To the end", press: () => turn({ step: steps().length }), into: row });
    slider(ui, {
      label: "IoU threshold", min: 0.05, max: 0.95, step: 0.05, get: () => get("iou_threshold"),
      set: (threshold) => rule(threshold, get("per_class")), words: (threshold) => threshold.toFixed(2),
    });
    tick(ui, {
      label: "strike out only boxes of the same class", get: () => get("per_class"),
      set: (perClass) => rule(get("iou_threshold"), perClass),
    });
    /** Another rule. Who was at the end stays there, to see what the rule makes of it. */
    function rule(threshold, perClass) {
      const last = stepsAt(threshold, perClass).length;
      const step = done() === steps().length ? last : Math.min(done(), last);
      turn({ iou_threshold: threshold, per_class: perClass, step });
    }

    // ---- the picture and the list
    const drawing = canvas(ui, { label: "The picture and its candidate boxes", picture: get("picture"), looks: "nms" });
    const found = layer(drawing);
    const swatch = (k) => html("span", { class: `swatch ${LOOKS[k % LOOKS.length]}` });
    const classKey = present.map((label, k) => html("span", {}, swatch(k), get("classes")[label - 1]));
    ui.stage.append(html("p", { class: "key" }, ...classKey));
    const rows = Math.ceil(boxes.length / BARS);
    const label = "The candidates, best first, as bars as high as their scores";
    const list = canvas(ui, { label, high: ROW_HIGH * rows, looks: "nms" });
    const bars = layer(list);

    ui.shown.push(() => {
      const [all, at] = [steps(), done()];
      const [fate, now] = [fates(all, at, boxes.length), at ? all[at - 1] : null];
      back.disabled = at === 0;
      next.disabled = end.disabled = at === all.length;
      found.draw(drawBoxes(fate, now));
      bars.draw(fate.map((one, i) => drawBar(one, i, now)), captions());
      ui.say(...words(fate, now, at, all.length));
    });

    function drawBoxes(fate, now) {
      const drawn = (i, more) => outline(boxes[i].map((v) => v * SIDE), { class: `${looks[i]} ${more}` });
      const thin = (i, more) => drawn(i, more)[1]; // without the halo
      const which = (test) => boxes.map((_, i) => i).filter(test);
      const ofNow = (i) => now && fate[i].by === now.box;
      return [
        which((i) => fate[i].fate === "out" && !ofNow(i)).map((i) => thin(i, "gone dashed")),
        which((i) => fate[i].fate === "waits").map((i) => thin(i, "waits")),
        which((i) => fate[i].fate === "kept" && i !== now?.box).map((i) => drawn(i, "kept")),
        which(ofNow).map((i) => thin(i, "rival dashed")),
        now ? [drawn(now.box, "now"), title(now.box)] : [],
      ];
    }
    function title(i) {
      const [x, y] = boxes[i].map((v) => v * SIDE);
      return tag(`${i + 1}: ${name(i)} ${scores[i].toFixed(2)}`, x, y, { class: looks[i] });
    }
    const wide = (SIDE - BARS_LEFT) / BARS;
    function drawBar({ fate, by }, i, now) {
      const [x, floor] = [BARS_LEFT + (i % BARS) * wide, ROW_HIGH * Math.floor(i / BARS) + BAR_HIGH + 8];
      const high = BAR_HIGH * scores[i];
      const rival = now && (i === now.box || by === now.box);
      const middle = { x: x + wide / 2, "text-anchor": "middle" };
      return [
        rival ? svg("rect", { x, y: floor - BAR_HIGH - 6, width: wide, height: BAR_HIGH + 42, class: "column" }) : [],
        svg("rect", { x: x + 2, y: floor - high, width: wide - 4, height: high, class: `${looks[i]} score ${fate}` }),
        svg("text", { ...middle, y: floor + 15, class: i === now?.box ? "strong" : "" }, i + 1),
        fate === "out" ? svg("text", { ...middle, y: floor + 32 }, by + 1) : [],
        fate === "kept" ? svg("text", { ...middle, y: floor + 32 }, "✓") : [],
      ];
    }
    const captions = () =>
      Array.from({ length: rows }, (_, r) =>
        ["score", "box", "out by"].map((text, k) =>
          svg("text", { x: 0, y: ROW_HIGH * r + BAR_HIGH + 6 + [-22, 17, 34][k] }, text),
        ),
      );

    function words(fate, now, at, last) {
      const how = (f) => fate.filter((one) => one.fate === f).length;
      const counts = `${how("kept")} kept, ${how("out")} struck out, ${how("waits")} undecided`;
      if (!now) return [html("strong", {}, `step 0 of ${last}: nothing is decided`), counts];
      const struck = now.struck.map((i) => `${i + 1}\u00a0(${iou(boxes[now.box], boxes[i]).toFixed(2)})`).join(", ");
      const limit = get("iou_threshold").toFixed(2);
      const number = now.struck.length || "none";
      const whose = get("per_class") ? "of its class" : "of any class";
      const line = `step ${at} of ${last}: keeps box ${now.box + 1} (${name(now.box)} ${scores[now.box].toFixed(2)}), `;
      return [
        html("strong", {}, `${line}strikes out ${number} ${whose}`),
        struck ? `IoU above ${limit}: ${struck}` : `no rival is left with an IoU above ${limit}`,
        counts,
        at === last ? `left at the end: ${tally(fate)}` : "",
      ];
    }
    function tally(fate) {
      const kept = (label) => labels.filter((l, i) => l === label && fate[i].fate === "kept").length;
      const left = present.filter(kept);
      return left.map((label) => `${kept(label)} × ${get("classes")[label - 1]}`).join(", ");
    }
    return ui.open();
  },
};
