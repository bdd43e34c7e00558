import { decode, encode, iou, toCenter, toCorners } from "./maths.js";
import { canvas, draggable, frame, html, layer, lineKey, outline, slider, svg, tag, SIDE } from "./stage.js";

const AROUND = 30; // the picture's surroundings, in the stage's units: a decoded box may lie there
const isSmall = (value) => Math.abs(value) > 1e-5 && Math.abs(value) < 0.005; // but not rounding alone
const short = (value) => String(+(isSmall(value) ? value.toPrecision(1) : value.toFixed(2))).replace("-", "−");
const inBrackets = (value) => (value < 0 ? `(${short(value)})` : short(value));

/** The arithmetic of decoding, line by line: lengths are counted in `unit`s of the picture. */
export function decodingInWords(offsets, [placeUnit, sizeUnit], defaultBox, unit = 1) {
  const d = defaultBox.map((v) => v * unit);
  const [x, y, w, h] = toCenter(decode(offsets, d, [placeUnit, sizeUnit]));
  const [dx, dy, dw, dh] = offsets.map(inBrackets);
  return [
    `center x: ${short(d[0])} + ${short(placeUnit)} · ${dx} · ${short(d[2])} = ${short(x)}`,
    `center y: ${short(d[1])} + ${short(placeUnit)} · ${dy} · ${short(d[3])} = ${short(y)}`,
    `width: ${short(d[2])} · exp(${short(sizeUnit)} · ${dw}) = ${short(w)}`,
    `height: ${short(d[3])} · exp(${short(sizeUnit)} · ${dh}) = ${short(h)}`,
  ];
}

export default {
  render({ model, el }) {
    const hint =
      "Turn an offset, and the orange box moves. Drag the orange box, and the offsets follow. " +
      "Anything else leaves the offsets as they are.";
    const ui = frame(model, el, { title: "Encoding.", hint });
    const { get, turn } = ui;
    const rounded = (values) => values.map((v) => +v.toFixed(4));
    const decoded = () => decode(get("offsets"), get("default_box"), get("variances"));

    const symbol = (letter, index) => [html("i", {}, letter), html("sub", {}, index)];
    const offsetNames = [["x", "right"], ["y", "down"], ["w", "wider"], ["h", "taller"]];
    offsetNames.forEach(([index, way], k) =>
      slider(ui, {
        label: [...symbol("t", index), `, ${way}`],
        min: -8, max: 8, step: 0.25, words: (v) => short(v), get: () => get("offsets")[k],
        set: (value) => turn({ offsets: get("offsets").map((v, i) => (i === k ? value : v)) }),
      }),
    );
    [["c", "center"], ["s", "size"]].forEach(([index, what], k) =>
      slider(ui, {
        label: [...symbol("v", index), `, ${what}`],
        min: 0.05, max: 1, step: 0.05, words: (v) => short(v), get: () => get("variances")[k],
        set: (value) => turn({ variances: get("variances").map((v, i) => (i === k ? value : v)) }),
      }),
    );

    const label = "A default box and the box decoded from it";
    const drawing = canvas(ui, { label, picture: get("picture"), margin: AROUND, live: true, looks: "encoding" });
    const [target, words] = [layer(drawing), layer(drawing, { class: "labels" })];
    draggable(ui, drawing, {
      label: "The default box", class: "dark dashed", snap: 1 / 80,
      get: () => toCorners(get("default_box")),
      set: (box) => turn({ default_box: rounded(toCenter(box)) }),
    });
    draggable(ui, drawing, {
      label: "The decoded box", class: "second", snap: 1 / 80,
      get: decoded,
      set: (box) => turn({ offsets: rounded(encode(box, get("default_box"), get("variances"))) }),
    });
    const arrow = layer(drawing, { class: "labels" });
    const means = [["dark dashed", "default box"], ["second", "decoded box"], ["third", get("object_name")]];
    lineKey(ui, means, "encoding");

    ui.shown.push(() => {
      const [box, object, defaultBox] = [decoded(), get("object_box"), get("default_box")];
      target.draw(outline(object.map((v) => v * SIDE), { class: "third filled" }));
      const [x0, y0] = object.map((v) => v * SIDE);
      words.draw(tag(get("object_name"), x0, y0, { class: "third" }));
      const [from, to] = [defaultBox, toCenter(box)].map(([x, y]) => [x * SIDE, y * SIDE]);
      const d = `M${from.join(" ")}L${to.join(" ")}`;
      const dot = ([cx, cy], r, looks) => svg("circle", { cx, cy, r, class: `dot ${looks}` });
      const way = [svg("path", { class: "halo", d }), svg("path", { class: "way", d })];
      arrow.draw(way, dot(from, 4, ""), dot(to, 5, "second"));
      const outside = iou(box, [0, 0, 1, 1]) > 0 ? [] : ["the decoded box lies outside the picture"];
      const edge = AROUND / SIDE;
      const isBeyond = Math.max(box[0], box[1]) < -edge && Math.min(box[2], box[3]) > 1 + edge;
      if (isBeyond) outside.push("the decoded box is larger than the drawing");
      ui.say(
        ...decodingInWords(get("offsets"), get("variances"), defaultBox, get("squares")),
        `IoU with the default box: ${iou(box, toCorners(defaultBox)).toFixed(2)}`,
        html("strong", {}, `IoU with the ${get("object_name")}: ${iou(box, object).toFixed(2)}`),
        ...outside,
      );
    });
    return ui.open();
  },
};
