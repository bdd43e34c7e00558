import { area, intersection, iou } from "./maths.js";
import { canvas, draggable, frame, html, layer, svg, SIDE } from "./stage.js";

export default {
  render({ model, el }) {
    const ui = frame(model, el, { title: "IoU.", hint: "Drag the boxes, or their corners." });
    const squares = ui.get("squares");
    const drawing = canvas(ui, { label: "Two boxes on graph paper", picture: ui.get("picture"), live: true });
    const lines = Array.from({ length: squares - 1 }, (_, i) => ((i + 1) * SIDE) / squares);
    const grid = lines.map((v) => `M${v} 0V${SIDE}M0 ${v}H${SIDE}`).join("");
    drawing.append(svg("path", { class: "grid", d: grid }));
    const shared = layer(drawing);
    for (const knob of ["first", "second"])
      draggable(ui, drawing, {
        label: `The ${knob} box`,
        get: () => ui.get(knob),
        set: (box) => ui.turn({ [knob]: box }),
        unit: squares,
        snap: 1,
        class: knob,
      });

    ui.shown.push(() => {
      const [a, b] = [ui.get("first"), ui.get("second")];
      const both = [Math.max(a[0], b[0]), Math.max(a[1], b[1]), Math.min(a[2], b[2]), Math.min(a[3], b[3])];
      const overlap = intersection(a, b);
      const [x0, y0, x1, y1] = both.map((v) => (v * SIDE) / squares);
      const rect = () => svg("rect", { x: x0, y: y0, width: x1 - x0, height: y1 - y0, class: "third filled" });
      shared.draw(overlap > 0 ? [rect()] : []);
      const together = area(a) + area(b) - overlap;
      ui.say(
        `the blue box: ${area(a)} squares, the orange: ${area(b)}`,
        `shared: ${overlap} squares`,
        `together: ${area(a)} + ${area(b)} − ${overlap} = ${together}`,
        html("strong", {}, `IoU = ${overlap} / ${together} = ${iou(a, b).toFixed(3)}`),
      );
    });
    return ui.open();
  },
};
