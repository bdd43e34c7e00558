// A sheet to draw on: shapes, a brush and an eraser, by mouse, finger and keyboard. What is drawn
// is a list of marks, { d, color, width }: a path in the stage's units, filled or, with a width,
// drawn along. So the sheet (SVG) and what the network sees (pixels) are made of the same.
import { canvas, html, layer, pointerOn, svg, SIDE } from "./stage.js";

const PAPER = "#a3aeb8"; // no white, as in the drawn scenes, so that white can be drawn on it
const TURN = 2 * Math.PI;
const ring = (count, radii) =>
  Array.from({ length: count }, (_, i) => {
    const [angle, radius] = [(i / count) * TURN - TURN / 4, radii[i % radii.length]];
    return [radius * Math.cos(angle), radius * Math.sin(angle)];
  });
const CROSS = [[1, 3], [1, 1], [3, 1], [3, -1], [1, -1], [1, -3]];

// Corners of ssd_lite's shapes, around the origin.
export const OUTLINES = {
  ellipse: ring(32, [1]),
  rectangle: [[-1, -1], [1, -1], [1, 1], [-1, 1]],
  triangle: ring(3, [1]),
  star: ring(10, [1, 0.42]),
  cross: [...CROSS, ...CROSS.map(([x, y]) => [-x, -y])],
};

/** A shape that fills a box: the path around it. */
export function shapePath(name, [x0, y0, x1, y1]) {
  const corners = OUTLINES[name];
  const [xs, ys] = [0, 1].map((k) => corners.map((corner) => corner[k]));
  const place = (values, low, high) => {
    const [least, most] = [Math.min(...values), Math.max(...values)];
    return (v) => Math.round(10 * (low + ((v - least) / (most - least)) * (high - low))) / 10;
  };
  const [x, y] = [place(xs, x0, x1), place(ys, y0, y1)];
  return `M${corners.map((corner) => `${x(corner[0])} ${y(corner[1])}`).join("L")}Z`;
}

/** A line through points; one point is a dot. */
export const linePath = (points) =>
  `M${points.map((point) => point.map((v) => Math.round(10 * v) / 10).join(" ")).join("L")}` +
  (points.length === 1 ? "h0.1" : "");

/** The box of a shape that is drawn from one corner to another, or set down with a click. */
export function boxFrom([x, y], [u, v], size) {
  if (Math.max(Math.abs(u - x), Math.abs(v - y)) < 8)
    return [x - size / 2, y - size / 2, x + size / 2, y + size / 2];
  return [Math.min(x, u), Math.min(y, v), Math.max(x, u), Math.max(y, v)];
}

/** The sheet. `tool()` says { name, color, size }; `changed` is called after every change.
 * Returns what is on it, and what can be done to it. */
export function sheet(ui, { tool, changed }) {
  const label =
    "Sketch pad. Arrow keys move the cross; Space sets down a shape, or puts the brush down and up";
  const node = canvas(ui, { label, paper: true, live: true, looks: "sketch" });
  node.setAttribute("tabindex", 0);
  node.setAttribute("role", "application");
  const [ground, marksOn] = [layer(node), layer(node)];
  const [found, way] = ["sketch-found", "sketch-way"].map((name) => layer(node, { class: name }));
  const cursor = layer(node, { class: "sketch-cursor" });
  let [picture, marks, high] = [null, [], SIDE];

  /** What a pointer or the keyboard has begun: a mark that grows until it is let go. */
  function begin(start) {
    const { name, color, size } = tool();
    const points = [];
    const isShape = name in OUTLINES;
    const mark = { color: name === "eraser" ? PAPER : color, width: isShape ? null : size / 5 };
    const grow = (point) => {
      points.push(point);
      mark.d = isShape ? shapePath(name, boxFrom(start, point, size)) : linePath(points);
      redraw();
    };
    marks.push(mark);
    grow(start);
    return grow;
  }

  function redraw() {
    marksOn.draw(marks.map(drawn));
    changed();
  }
  function put(image, begun = []) {
    [picture, marks] = [image, begun];
    high = image ? Math.round((SIDE * image.height) / image.width) : SIDE;
    node.setAttribute("viewBox", `0 0 ${SIDE} ${high}`);
    const size = { width: SIDE, height: high };
    ground.draw(
      svg("rect", { ...size, fill: PAPER }),
      image ? svg("image", { ...size, href: image.href, preserveAspectRatio: "none" }) : [],
    );
    redraw();
  }

  byPointer(node, begin);
  byKeyboard(node, begin, cursor, { high: () => high, isShape: () => tool().name in OUTLINES });
  return {
    put,
    found,
    way,
    high: () => high,
    isEmpty: () => marks.length === 0,
    undo() {
      marks.pop();
      redraw();
    },
    pixels: () => pixels(picture, marks, high),
  };
}

function drawn({ d, color, width }) {
  if (width === null) return svg("path", { d, fill: color });
  const round = { "stroke-linecap": "round", "stroke-linejoin": "round" };
  return svg("path", { d, fill: "none", stroke: color, "stroke-width": width, ...round });
}

/** The sheet as the network gets it: a picture in its own pixels, an empty sheet in 384 a side. */
function pixels(picture, marks, high) {
  const [width, height] = picture ? [picture.width, picture.height] : [384, 384];
  const surface = html("canvas", { width, height }).getContext("2d", { willReadFrequently: true });
  surface.fillStyle = PAPER;
  surface.fillRect(0, 0, width, height);
  if (picture) surface.drawImage(picture.image, 0, 0, width, height);
  surface.scale(width / SIDE, height / high);
  [surface.lineCap, surface.lineJoin] = ["round", "round"];
  for (const { d, color, width: wide } of marks) {
    [surface.fillStyle, surface.strokeStyle, surface.lineWidth] = [color, color, wide ?? 1];
    if (wide === null) surface.fill(new Path2D(d));
    else surface.stroke(new Path2D(d));
  }
  return surface.getImageData(0, 0, width, height);
}

function byPointer(node, begin) {
  let grow = null;
  node.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || !event.isPrimary) return;
    node.setPointerCapture(event.pointerId);
    event.preventDefault(); // no selection, no dragging of the picture
    node.focus({ preventScroll: true });
    grow = begin(pointerOn(node, event));
  });
  node.addEventListener("pointermove", (event) => {
    if (event.isPrimary) grow?.(pointerOn(node, event));
  });
  for (const end of ["pointerup", "pointercancel"]) node.addEventListener(end, () => (grow = null));
}

const WAYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function byKeyboard(node, begin, cursor, { high, isShape }) {
  let [at, grow, seen] = [[SIDE / 2, SIDE / 2], null, false];
  const show = () => {
    const [x, y] = at;
    const cross = (look) => svg("path", { class: look, d: `M${x - 12} ${y}h24M${x} ${y - 12}v24` });
    cursor.draw(seen ? [cross("halo"), cross("outline")] : []);
  };
  node.addEventListener("keydown", (event) => {
    const way = WAYS[event.key];
    if (!way && ![" ", "Enter"].includes(event.key)) return;
    event.preventDefault();
    event.stopPropagation();
    seen = true;
    if (way) {
      const pace = event.shiftKey ? 2 : 10;
      const limits = [SIDE, high()];
      at = at.map((v, k) => Math.min(Math.max(v + pace * way[k], 0), limits[k]));
      grow?.(at);
    } else {
      const begun = grow ? null : begin(at);
      grow = isShape() ? null : begun; // a shape is there at once, a line goes on
    }
    show();
  });
  node.addEventListener("blur", () => {
    [grow, seen] = [null, false];
    show();
  });
}

/** A picture from a file or an address, upright, at most `most` pixels wide and high. */
export async function readPicture(source, most = 1600) {
  const href = typeof source === "string" ? source : await dataUri(source);
  const image = Object.assign(new Image(), { src: href });
  await image.decode();
  const zoom = Math.min(1, most / Math.max(image.naturalWidth, image.naturalHeight));
  const [width, height] = [image.naturalWidth, image.naturalHeight].map((v) =>
    Math.max(1, Math.round(v * zoom)));
  return { image, href, width, height };
}

const dataUri = (file) =>
  new Promise((done, failed) => {
    const reader = Object.assign(new FileReader(), { onerror: failed });
    reader.onload = () => done(reader.result);
    reader.readAsDataURL(file);
  });
