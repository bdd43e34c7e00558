import { area, intersection, iou } from "./maths.js";
import { canvas, draggable, frame, html, layer, svg, SIDE } from "./stage.js";

export default {
  render({ model, el }) {
    const ui = frame(model, el, { title: "IoU.", hint: "Drag the boxes, or their corners." });
    const squares = ui.get("squares");
    const drawing = canvas(ui, { label: "Two boxes on graph paper", picture: ui.get("picture"), live: true, looks: "iou" });
    const lines = Array.from({ length: squares - 1 }, (_, i) => ((i + 1) * SIDE) / squares);
    const grid = lines.map((v) => `M${v} 0V${SIDE}M0 ${v}H${SIDE}`).join("");
    const shared = layer(drawing);
    drawing.append(svg("path", { class: "grid", d: grid }));
    const hands = ["first", "second"].map((knob) => {
      const grip = draggable(ui, drawing, {
        label: `The ${knob} box`,
        get: () => ui.get(knob),
        set: (box) => ui.turn({ [knob]: box }),
        unit: squares,
        snap: 1,
        class: knob,
      });
      return grip.parentNode;
    });

    /** The smaller box lies on top, or it could not be reached inside the larger one. The box in the hand stays
     * where it is in the page, or it would slip out of the hand; the other one moves. */
    function smallerOnTop() {
      const [a, b] = ["first", "second"].map((knob) => area(ui.get(knob)));
      const [large, small] = a < b ? [hands[1], hands[0]] : hands;
      if (a === b || large.nextSibling === small) return;
      if (small.matches(":focus-within")) small.before(large);
      else large.after(small);
    }

    ui.shown.push(smallerOnTop, () => {
      const [a, b] = [ui.get("first"), ui.get("second")];
      const both = [Math.max(a[0], b[0]), Math.max(a[1], b[1]), Math.min(a[2], b[2]), Math.min(a[3], b[3])];
      const overlap = intersection(a, b);
      const [x0, y0, x1, y1] = both.map((v) => (v * SIDE) / squares);
      const rect = () => svg("rect", { x: x0, y: y0, width: x1 - x0, height: y1 - y0, class: "third filled" });
      shared.draw(overlap > 0 ? [rect()] : []);
      const together = area(a) + area(b) - overlap;
      ui.say(
        [swatch("first"), `blue box: ${squaresIn(area(a))}`],
        [swatch("second"), `orange box: ${squaresIn(area(b))}`],
        [swatch("third"), `shared, green: ${squaresIn(overlap)}`],
        `together: ${area(a)} + ${area(b)} − ${overlap} = ${together}`,
        html("strong", {}, `IoU = ${overlap} / ${together} = ${iou(a, b).toFixed(3)}`),
      );
    });
    return ui.open();
  },
};

const swatch = (looks) => html("span", { class: `swatch ${looks}` });

const squaresIn = (count) => `${count} ${count === 1 ? "square" : "squares"}`;
