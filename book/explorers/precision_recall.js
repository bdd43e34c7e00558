import { averagePrecision, precisionRecall } from "./maths.js";
import { canvas, choice, drag, frame, html, layer, outline, pointerOn, slider, svg, tag, SIDE } from "./stage.js";

const GAP = 5; // between pictures
const [PLOT_LEFT, PLOT_TOP, PLOT_WIDE, PLOT_HIGH] = [44, 14, 340, 300];
const [LIST_MIDDLE, LIST_HIGH] = [64, 36]; // hits stand on the middle line, false alarms hang from it

const across = (recall) => PLOT_LEFT + recall * PLOT_WIDE;
const down = (precision) => PLOT_TOP + (1 - precision) * PLOT_HIGH;
const pathOf = (points) => points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");

/** A class's detections, best first, and its objects. */
export function ofClass(detections, objects, label) {
  return {
    list: detections
      .filter(([of]) => of === label)
      .map(([, picture, box, score, object]) => ({ picture, box, score, object })),
    objects: objects
      .map(([of, picture, box], index) => ({ of, picture, box, index }))
      .filter(({ of }) => of === label),
  };
}

/** The thresholds to stop at: halfway between neighbors in the list, and above and below all of them. */
export function stopsBetween(scores) {
  const different = [1, ...new Set(scores), 0];
  return different.slice(1).map((score, i) => (different[i] + score) / 2);
}

/** Which of the stops a threshold amounts to: as many different scores are above it. */
export const stopOf = (list, threshold) =>
  new Set(list.map(({ score }) => score).filter((score) => score > threshold)).size;

/** Hits, false alarms and missed objects among the detections that score more than the threshold. */
export function countAt({ list, objects }, threshold) {
  const shown = list.filter(({ score }) => score > threshold).length;
  const finds = new Set(list.slice(0, shown).map(({ object }) => object));
  const missed = objects.filter(({ index }) => !finds.has(index));
  const hits = objects.length - missed.length;
  return { shown, hits, alarms: shown - hits, missed };
}

/** Corners of the steps that are the envelope, [recall, precision], from recall 0 to the last recall. */
export function envelopeOf(curve) {
  const corners = [];
  let best = 0;
  for (let i = curve.length - 1; i >= 0; i--) {
    best = Math.max(best, curve[i][0]);
    const before = i ? curve[i - 1][1] : 0;
    if (curve[i][1] > before) corners.push([curve[i][1], best], [before, best]);
  }
  return corners.reverse();
}

export default {
  render({ model, el }) {
    const hint = "Move the threshold (to the right is lower) or the point on the curve. A step is one detection.";
    const ui = frame(model, el, { title: "Precision and recall.", hint });
    const { get, turn } = ui;
    const names = get("classes");
    const kinds = names.map((_, i) => {
      const own = ofClass(get("detections"), get("objects"), i + 1);
      const curve = precisionRecall(own.list.map(({ object }) => object >= 0), own.objects.length);
      return { ...own, curve, stops: stopsBetween(own.list.map(({ score }) => score)) };
    });
    const kind = () => kinds[get("label") - 1];
    const place = () => stopOf(kind().list, get("threshold"));
    const stopAt = (k) => turn({ threshold: kind().stops[Math.min(Math.max(k, 0), kind().stops.length - 1)] });

    // ---- the pictures, with one class's objects and detections
    const count = get("pictures").length;
    const columns = Math.min(count, 3);
    const tile = (SIDE + GAP) / columns - GAP; // a picture's side
    const label = "The pictures: hits, false alarms and missed objects";
    const high = Math.ceil(count / columns) * (tile + GAP) - GAP;
    const drawing = canvas(ui, { label, high, paper: true, looks: "wide pr-pictures" });
    const corner = (i) => [(i % columns) * (tile + GAP), Math.floor(i / columns) * (tile + GAP)];
    get("pictures").forEach((href, i) => {
      const [x, y] = corner(i);
      drawing.append(svg("image", { href, x, y, width: tile, height: tile, preserveAspectRatio: "none" }));
    });
    const found = layer(drawing);
    const inTile = ({ picture, box }) => box.map((side, i) => corner(picture)[i % 2] + side * tile);

    // ---- the list: hits stand, false alarms hang, as far as they are sure
    const ranked = canvas(ui, { label: "The list of detections, best first", high: LIST_MIDDLE + LIST_HIGH + 4 });
    const bars = layer(ranked);

    // ---- the curve
    const sizes = { high: PLOT_TOP + PLOT_HIGH + 42, live: true, looks: "pr-plot" };
    const plot = canvas(ui, { label: "The precision-recall curve", ...sizes });
    plot.append(...axes());
    const [curve, mark] = [layer(plot), layer(plot)];
    const field = svg("rect", { x: PLOT_LEFT, y: PLOT_TOP, width: PLOT_WIDE, height: PLOT_HIGH, class: "pr-field" });
    field.addEventListener("click", (event) => nearest(...pointerOn(plot, event)));
    const grip = svg("circle", { class: "grip", r: 20, tabindex: 0, role: "slider", "aria-valuemin": 0 });
    grip.setAttribute("aria-label", "The point of the threshold on the curve");
    grip.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      event.stopPropagation();
      stopAt(place() + step);
    });
    plot.append(field, grip);
    drag(plot, grip, () => pointAt(place()), ([x, y], dx, dy) => nearest(x + dx, y + dy));

    /** Where the curve is when the threshold is at a stop; before the first detection, above its beginning. */
    function pointAt(stop) {
      const own = kind();
      const { shown } = countAt(own, own.stops[stop] ?? 0);
      const [precision, recall] = shown ? own.curve[shown - 1] : [own.curve[0]?.[0] ?? 1, 0];
      return [across(recall), down(precision)];
    }
    function nearest(x, y) {
      const far = kind().stops.map((_, stop) => {
        const [px, py] = pointAt(stop);
        return stop ? Math.hypot(px - x, py - y) : Infinity;
      });
      stopAt(far.indexOf(Math.min(...far)));
    }

    // ---- knobs
    choice(ui, {
      label: "class",
      options: names.map((name, i) => [i + 1, name]),
      get: () => get("label"),
      set: (chosen) => turn({ label: Number(chosen) }),
    });
    slider(ui, {
      label: "threshold", min: 0, max: () => kind().stops.length - 1, get: place, set: stopAt,
      words: () => get("threshold").toFixed(3),
    });

    ui.shown.push(() => {
      const own = kind();
      const { shown, hits, alarms, missed } = countAt(own, get("threshold"));
      const looks = ({ object }) => (object >= 0 ? "first" : "second");
      const last = own.list[shown - 1];
      found.draw(
        missed.map((object) => outline(inTile(object), { class: "ink dashed" })),
        own.list.slice(0, shown).map((line) => outline(inTile(line), { class: looks(line) })),
        last ? named(last, looks(last)) : [],
      );
      bars.draw(listOf(own.list, shown));
      curve.draw(areaAndCurve(own.curve));

      const [x, y] = pointAt(place());
      mark.draw(shown ? [svg("path", { class: "pr-aim", d: `M${PLOT_LEFT} ${y}H${x}V${down(0)}` }), dot(x, y)] : []);
      grip.setAttribute("cx", x);
      grip.setAttribute("cy", y);
      grip.setAttribute("aria-valuemax", own.list.length);
      grip.setAttribute("aria-valuenow", shown);
      const of = (a, b) => (b ? `${a} / ${b} = ${(a / b).toFixed(3)}` : `${a} / ${b}: undefined`);
      const all = own.objects.length;
      grip.setAttribute("aria-valuetext", `precision ${of(hits, shown)}, recall ${of(hits, all)}`);
      const area = all ? averagePrecision(own.curve).toFixed(3) : "absent: there is no object of this class";
      ui.say(
        `${shown} of ${own.list.length} detections score above ${get("threshold").toFixed(3)}`,
        [countOf(hits, "hit", "first"), ", ", countOf(alarms, "false alarm", "second"), `, ${missed.length} missed`],
        html("strong", {}, `precision = ${of(hits, shown)}`),
        html("strong", {}, `recall = ${of(hits, all)}`),
        `average precision, the shaded area: ${area}`,
      );
    });

    /** The score of a detection, at its box and within its picture. */
    function named(line, looks) {
      const [[left, top], [x, y], words] = [inTile(line), corner(line.picture), line.score.toFixed(2)];
      const within = Math.max(x, Math.min(left, x + tile - 7.4 * words.length - 8));
      return tag(words, within, top - 19 < y ? top + 19 : top, { class: looks });
    }
    return ui.open();
  },
};

const countOf = (n, what, looks) => html("span", { class: `pr-count ${looks}` }, `${n} ${what}${n === 1 ? "" : "s"}`);

const dot = (x, y) => svg("circle", { class: "pr-dot", cx: x, cy: y, r: 7 });

/** Axes of the plot, with their words. */
function axes() {
  const [bottom, right] = [down(0), across(1)];
  const quarters = [0, 0.25, 0.5, 0.75, 1];
  const lines = quarters.map((v) => `M${across(v)} ${down(1)}V${bottom}M${PLOT_LEFT} ${down(v)}H${right}`);
  const words = [0, 0.5, 1].map((v) => [
    svg("text", { x: across(v), y: bottom + 18, "text-anchor": "middle" }, String(v)),
    svg("text", { x: PLOT_LEFT - 8, y: down(v) + 5, "text-anchor": "end" }, String(v)),
  ]);
  return [
    svg("path", { class: "pr-grid", d: lines.join("") }),
    ...words.flat(),
    svg("text", { x: across(0.5), y: bottom + 36, "text-anchor": "middle" }, "recall"),
    svg("text", { "text-anchor": "middle", transform: `translate(14 ${down(0.75)}) rotate(-90)` }, "precision"),
  ];
}

/** The area under the envelope, the envelope, and the curve with its teeth. */
function areaAndCurve(curve) {
  if (!curve.length) return [];
  const steps = envelopeOf(curve).map(([recall, precision]) => [across(recall), down(precision)]);
  const points = curve.map(([precision, recall]) => [across(recall), down(precision)]);
  const area = steps.length ? `${pathOf([[across(0), down(0)], ...steps, [steps.at(-1)[0], down(0)]])}Z` : "";
  return [
    svg("path", { class: "pr-area first filled", d: area }),
    svg("path", { class: "pr-envelope", d: pathOf(steps) }),
    svg("path", { class: "pr-curve", d: pathOf(points) }),
  ];
}

/** A bar for each detection, as long as its score: hits stand on the middle line, false alarms hang from it. */
function listOf(list, shown) {
  const step = Math.min(30, (SIDE - 8) / Math.max(list.length, 1));
  const bars = list.map(({ score, object }, i) => {
    const high = Math.max(3, score * LIST_HIGH);
    const y = object >= 0 ? LIST_MIDDLE - high : LIST_MIDDLE;
    const place = { x: 4 + i * step, y, width: 0.8 * step, height: high };
    return svg("rect", { ...place, class: `pr-bar ${object >= 0 ? "first" : "second"} ${i < shown ? "" : "hidden"}` });
  });
  const edge = 4 + (shown - 0.1) * step;
  return [
    svg("text", { x: 4, y: 16 }, "the list, most confident first: hits stand, false alarms hang"),
    svg("path", { class: "pr-grid", d: `M0 ${LIST_MIDDLE}H${SIDE}` }),
    bars,
    svg("path", { class: "pr-edge", d: `M${edge} ${LIST_MIDDLE - LIST_HIGH - 4}V${LIST_MIDDLE + LIST_HIGH + 4}` }),
  ];
}
