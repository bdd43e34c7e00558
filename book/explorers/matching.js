import { assignFrom, makeDefaultBoxes, overlaps, ownBoxes, toCorners } from "./maths.js";
import { canvas, choice, draggable, frame, html, layer, lineKey, outline, slider, svg, tag, SIDE } from "./stage.js";

const OBJECT_COLORS = ["first", "second", "third", "fourth"];
const FEW = 20; // so many default boxes can be drawn and numbered, also those that are background
const RIM = 24; // around the picture, in the stage's units: default boxes reach beyond its edges

/** The default boxes of a spec, cxcywh, rounded to float32 as Python has them, so that ties are the same ties. */
export const defaultBoxesOf = (spec) => makeDefaultBoxes(spec).map((box) => box.map(Math.fround));

/** Who answers for whom: each box's object or -1; and for each object its default boxes, its own one or -1, the box
 * that it overlaps most, and the two IoUs. */
export function answers(defaultBoxes, objects, threshold, forced) {
  const overlap = overlaps(defaultBoxes, objects);
  const wanted = ownBoxes(overlap, forced);
  const assigned = assignFrom(defaultBoxes.length, overlap, wanted, threshold);
  const found = objects.map((_, g) => {
    const boxes = [];
    assigned.forEach((by, a) => by === g && boxes.push(a));
    const own = wanted[g] >= 0 && assigned[wanted[g]] === g ? wanted[g] : -1;
    const best = overlap[g].reduce((most, value, a) => (value > overlap[g][most] ? a : most), 0);
    return { boxes, own, best, ownIoU: own < 0 ? 0 : overlap[g][own], bestIoU: overlap[g][best] };
  });
  return { assigned, found };
}

/** Where each box's number stands: the first of its corners, inside, that no other number has. */
export function numberPlaces(corners, side) {
  const places = [];
  const isFree = ([x, y]) => places.every(([u, v]) => Math.abs(u - x) >= side || Math.abs(v - y) >= side);
  for (const [x0, y0, x1, y1] of corners) {
    const inside = [[x0, y0], [x1 - side, y0], [x0, y1 - side], [x1 - side, y1 - side]];
    places.push(inside.find(isFree) ?? inside[0]);
  }
  return places;
}

export default {
  render({ model, el }) {
    const hint = "Drag the objects, or their corners. Which default boxes answer for them?";
    const ui = frame(model, el, { title: "Matching.", hint });
    const { get, turn } = ui;
    const [scenes, specs] = [get("scenes"), get("specs")];

    const named = (options) => Object.keys(options).map((name) => [name, name]);
    choice(ui, {
      label: "scene", options: named(scenes), get: () => get("scene"),
      set: (scene) => turn({ scene, objects: scenes[scene].objects }),
    });
    const made = Object.fromEntries(Object.entries(specs).map(([name, spec]) => [name, defaultBoxesOf(spec)]));
    choice(ui, {
      label: "boxes", options: Object.entries(made).map(([name, boxes]) => [name, `${name}: ${boxes.length}`]),
      get: () => get("spec"), set: (spec) => turn({ spec }),
    });
    slider(ui, {
      label: "threshold", min: 0.1, max: 0.9, step: 0.05, words: (v) => v.toFixed(2),
      get: () => get("threshold"), set: (threshold) => turn({ threshold }),
    });
    choice(ui, {
      label: "matcher",
      options: [
        ["none", "threshold alone"],
        ["overwrite", "overwrite: last wins"],
        ["bipartite", "bipartite: pairs first"],
      ],
      get: () => get("forced"), set: (forced) => turn({ forced }),
    });

    // ---- the picture, the boxes that answer, the objects
    const label = "Objects and the default boxes that answer for them";
    const drawing = canvas(ui, { label, margin: RIM, live: true, paper: true, looks: "matching" });
    const picture = svg("image", { width: SIDE, height: SIDE, preserveAspectRatio: "none" });
    drawing.append(picture);
    const boxes = layer(drawing);
    const hands = Object.entries(scenes).flatMap(([scene, { names }]) =>
      names.map((name, g) => {
        const grip = draggable(ui, drawing, {
          label: `Object ${g + 1}, ${name}`, snap: 1 / 80, class: `${OBJECT_COLORS[g]} filled`,
          get: () => get("objects")[g] ?? [0, 0, 0, 0],
          set: (box) => turn({ objects: get("objects").map((b, k) => (k === g ? box.map((v) => +v.toFixed(4)) : b)) }),
        });
        return { scene, node: grip.parentNode };
      }),
    );
    const labels = layer(drawing, { class: "labels" });
    const means = [["own", "own box"], ["answer", "by threshold"], ["background", "background"]];
    const ofBackground = lineKey(ui, means)[2];

    function boxLayer(corners, found) {
      const path = (some) => some.map(([x0, y0, x1, y1]) => `M${x0} ${y0}H${x1}V${y1}H${x0}Z`).join("");
      const all = corners.length > FEW ? [] : svg("path", { class: "outline background", d: path(corners) });
      const thin = found.map(({ boxes: of, own }, g) =>
        svg("path", {
          class: `outline answer ${OBJECT_COLORS[g]}`,
          d: path(of.filter((a) => a !== own).map((a) => corners[a])),
          "stroke-opacity": of.length > FEW ? 0.4 : 1,
        }),
      );
      const thick = found.map(({ own }, g) =>
        own < 0 ? [] : outline(corners[own], { class: `own ${OBJECT_COLORS[g]}` }),
      );
      return [all, thin, thick];
    }

    function labelLayer(corners, assigned, found, objects, names) {
      const crosses = objects.flatMap((object, g) => {
        if (found[g].boxes.length) return [];
        const [x0, y0, x1, y1] = object.map((v) => v * SIDE);
        const d = `M${x0} ${y0}L${x1} ${y1}M${x0} ${y1}L${x1} ${y0}`;
        const looks = `outline cross ${OBJECT_COLORS[g]}`;
        return [svg("path", { class: "halo cross", d }), svg("path", { class: looks, d })];
      });
      const numbers = corners.length > FEW ? [] : numberPlaces(corners, 20).map(([x, y], a) =>
        svg(
          "g",
          { class: `number ${OBJECT_COLORS[assigned[a]] ?? ""}` },
          svg("rect", { x, y, width: 20, height: 20, rx: 3 }),
          svg("text", { x: x + 10, y: y + 15, "text-anchor": "middle" }, String(a)),
        ),
      );
      const words = objects.map(([x0, y0], g) => {
        const lost = found[g].boxes.length === 0;
        const looks = lost ? "lost" : OBJECT_COLORS[g];
        return tag(lost ? `${names[g]}: LOST` : names[g], x0 * SIDE, y0 * SIDE, { class: looks });
      });
      return [crosses, numbers, words];
    }

    ui.shown.push(() => {
      const [objects, { names, picture: href }] = [get("objects"), scenes[get("scene")]];
      const corners = made[get("spec")].map((box) => toCorners(box).map((v) => v * SIDE));
      const { assigned, found } = answers(made[get("spec")], objects, get("threshold"), get("forced"));
      if (picture.getAttribute("href") !== href) picture.setAttribute("href", href);
      for (const { scene, node } of hands) node.setAttribute("display", scene === get("scene") ? "inline" : "none");
      ofBackground.style.display = corners.length > FEW ? "none" : "";
      boxes.draw(boxLayer(corners, found));
      labels.draw(labelLayer(corners, assigned, found, objects, names));

      const positives = assigned.filter((by) => by >= 0).length;
      const lost = found.filter((of) => of.boxes.length === 0).length;
      ui.say(
        ...found.map((of, g) => [swatch(g), ...inWords(names[g], of, assigned.length <= FEW)]),
        `positive: ${positives} of ${assigned.length}, threshold ${get("threshold").toFixed(2)}`,
        html("strong", {}, lost ? `lost: ${lost} of ${objects.length} objects` : "no object is lost"),
      );
    });
    return ui.open();
  },
};

const swatch = (g) => html("span", { class: `swatch ${OBJECT_COLORS[g]}` });

function inWords(name, { boxes, own, best, ownIoU, bestIoU }, numbered) {
  const box = (a, value) => `IoU ${value.toFixed(2)}${numbered ? ` (box ${a})` : ""}`;
  if (boxes.length === 0) return [html("strong", {}, `${name}: LOST`), `; best ${box(best, bestIoU)}`];
  const count = boxes.length === 1 ? "1 box" : `${boxes.length} boxes`;
  return [`${name}: ${count}; `, own < 0 ? `best ${box(best, bestIoU)}` : `own ${box(own, ownIoU)}`];
}
