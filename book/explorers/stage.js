// What the explorers share on the page: a frame with a stage, knobs and a readout, and boxes that can be dragged.
// Everything that can be seen has a class; explorer.css gives it its looks in light, dark and print.

export const SIDE = 400; // width of a stage in its own units, about a pixel each

/** An HTML element. Attributes that begin with "on" are listeners; those that are null or false are left out. */
export const html = (name, attributes, ...children) => fill(document.createElement(name), attributes, children);

/** An SVG element, likewise. */
export const svg = (name, attributes, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);

function fill(node, attributes = {}, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat());
  return node;
}

/** The frame of an explorer. `draw` is called now and after every change, at most once a frame.
 *
 * Returns: stage, controls and readout, to be filled; get(knob); turn({knob: value, ...}), which changes knobs and
 * tells Python; say(lines), the readout; and `shown`, functions to call before each drawing. */
export function frame(model, el, { title, hint }) {
  const [stage, controls] = [html("div", { class: "explorer-stage" }), html("div", { class: "explorer-controls" })];
  const readout = html("div", { class: "explorer-readout", role: "status" });
  const state = html("code", { class: "explorer-state", "aria-label": "State, as Python" });
  const start = structuredClone(model.get("start"));
  const reset = html("button", { type: "button", class: "explorer-reset", onclick: () => turn(start) }, "Reset");
  const live = html(
    "div",
    { class: "explorer-live" },
    html("p", { class: "explorer-title" }, html("strong", {}, title), " ", html("span", {}, hint)),
    html("div", { class: "explorer-body" }, stage, html("div", { class: "explorer-side" }, controls, readout)),
    html("div", { class: "explorer-foot" }, state, reset),
  );
  const print = html("div", { class: "explorer-print" });
  el.append(html("div", { class: "explorer", role: "group", "aria-label": `Explorer: ${title}` }, live, print));

  function turn(changes) {
    for (const [knob, value] of Object.entries(changes)) model.set(knob, structuredClone(value));
    model.save_changes();
  }

  const shown = [];
  let waiting = false;
  function show() {
    waiting = false;
    for (const part of shown) part();
    const knobs = Object.keys(start).map((knob) => `${knob}=${python(model.get(knob))}`);
    state.textContent = `${model.get("name")}(${knobs.join(", ")})`;
  }
  function changed() {
    if (!waiting) requestAnimationFrame(show);
    waiting = true;
  }
  model.on("change", changed);

  return {
    stage,
    controls,
    shown,
    turn,
    get: (knob) => model.get(knob),
    say: (...lines) => readout.replaceChildren(...lines.map((line) => html("p", {}, ...[line].flat()))),
    /** Call last: draws for the first time, and keeps that picture for print. Returns the clean-up. */
    open() {
      for (const node of live.querySelectorAll("input, select, button, [tabindex]"))
        node.setAttribute("data-lm-suppress-shortcuts", ""); // or JupyterLab takes the arrow keys for itself
      show();
      print.append(html("p", { class: "explorer-title" }, html("strong", {}, title)), still(stage), still(readout));
      return () => model.off("change", changed);
    },
  };
}

/** A copy that cannot be reached by keyboard or pointer. */
function still(node) {
  const copy = node.cloneNode(true);
  for (const part of [copy, ...copy.querySelectorAll("*")])
    for (const name of ["tabindex", "role", "aria-label", "aria-valuetext", "aria-valuenow"]) part.removeAttribute(name);
  copy.querySelectorAll(".handle, .grip, .knob, .tools, button").forEach((part) => part.remove());
  return copy;
}

/** Rows of numbers out of the bytes of a float32 tensor. */
export function rowsOf(bytes, length) {
  const numbers = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
  const row = (_, k) => Array.from(numbers.subarray(k * length, (k + 1) * length));
  return Array.from({ length: numbers.length / length }, row);
}

/** A value as Python writes it. */
export function python(value) {
  if (Array.isArray(value)) return `[${value.map(python).join(", ")}]`;
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value === "string") return JSON.stringify(value);
  if (value === null) return "None";
  return String(Math.round(value * 1e4) / 1e4);
}

// ---- knobs. Each is bound by get() and set(value), so that it follows Python and the other knobs.

/** A slider with its label and its value in words. Its end, max, may be a function of the other knobs. */
export function slider(frame, { label, min, max, step = 1, get, set, words = String, into = frame.controls }) {
  const input = html("input", { type: "range", min, step, oninput: () => set(Number(input.value)) });
  const end = typeof max === "function" ? max : () => max;
  const output = html("output", {});
  into.append(html("label", { class: "knob" }, html("span", {}, label), input, output));
  frame.shown.push(() => {
    input.max = end();
    input.value = get();
    output.textContent = words(get());
    input.setAttribute("aria-valuetext", output.textContent);
  });
  return input;
}

/** A list to choose from: options are [value, words]. */
export function choice(frame, { label, options, get, set, into = frame.controls }) {
  const items = options.map(([value, words]) => html("option", { value }, words));
  const select = html("select", { onchange: () => set(select.value) }, items);
  into.append(html("label", { class: "knob" }, html("span", {}, label), select));
  frame.shown.push(() => (select.value = get()));
  return select;
}

/** A box to tick. */
export function tick(frame, { label, get, set, into = frame.controls, name = null }) {
  const input = html("input", { type: "checkbox", "aria-label": name, onchange: () => set(input.checked) });
  into.append(html("label", { class: "tick" }, input, html("span", {}, label)));
  frame.shown.push(() => (input.checked = get()));
  return input;
}

/** A button. */
export function button(frame, { label, press, into = frame.controls }) {
  const node = html("button", { type: "button", onclick: press }, label);
  into.append(node);
  return node;
}

// ---- the stage

/** A drawing of `wide` by `high` units, with a margin around it, empty but for its picture. With `live`, things in it can
 * be moved. On `paper`, as on a picture, colors are always those of the light theme. */
export function canvas(frame, { label, picture, high = SIDE, wide = SIDE, margin = 0, live, paper = picture, looks = "" }) {
  const node = svg("svg", {
    class: `canvas ${paper ? "picture" : ""} ${looks}`,
    viewBox: `${-margin} ${-margin} ${wide + 2 * margin} ${high + 2 * margin}`,
    role: live ? "group" : "img",
    "aria-label": label,
  });
  if (picture) node.append(svg("image", { href: picture, width: wide, height: high, preserveAspectRatio: "none" }));
  frame.stage.append(node);
  return node;
}

/** A group in a drawing whose children are made anew at each drawing. */
export function layer(canvas, attributes = {}) {
  const node = svg("g", attributes);
  canvas.append(node);
  return { node, draw: (...parts) => node.replaceChildren(...parts.flat(Infinity)) };
}

/** A box's outline with a halo that sets it off from any picture: [x0, y0, x1, y1] in the stage's units. */
export function outline(box, attributes = {}) {
  const [x, y, width, height] = [box[0], box[1], Math.max(0, box[2] - box[0]), Math.max(0, box[3] - box[1])];
  const one = (more) => svg("rect", { x, y, width, height, ...more });
  return [one({ class: "halo" }), one({ ...attributes, class: `outline ${attributes.class ?? ""}` })];
}

/** Words on a ground of their own, at the top left corner (x, y) and not beyond the stage's edges. */
export function tag(words, x, y, attributes = {}) {
  const [wide, high] = [7.4 * words.length + 8, 19];
  const [left, top] = [Math.max(0, Math.min(x, SIDE - wide)), Math.max(0, y < high ? y : y - high)];
  return svg(
    "g",
    { ...attributes, class: `tag ${attributes.class ?? ""}` },
    svg("rect", { x: left, y: top, width: wide, height: high, rx: 3 }),
    svg("text", { x: left + wide / 2, y: top + 14, "text-anchor": "middle" }, words),
  );
}

const CORNERS = [[0, 1], [2, 1], [0, 3], [2, 3]]; // which two of the four edges a corner moves

/** A box that is moved by its inside and resized by its corners; with the keyboard by arrows, with Shift resized.
 *
 * get() and set(box) are xyxy in a unit of which the stage is `unit` wide; edges stay on multiples of `snap`. */
export function draggable(frame, canvas, { label, get, set, unit = 1, snap = unit / 100, class: looks = "" }) {
  const scale = SIDE / unit;
  const words = (box) => box.map((v, i) => `${["left", "top", "right", "bottom"][i]} ${+v.toFixed(3)}`).join(", ");
  const [halo, line] = outline([0, 0, 0, 0], { class: looks });
  const grip = svg("rect", { class: "grip", tabindex: 0, role: "slider", "aria-label": label });
  grip.setAttribute("aria-valuemin", 0);
  grip.setAttribute("aria-valuemax", unit);
  const handles = CORNERS.map(() => svg("g", { class: `handle ${looks}` }, svg("circle", { r: 14 }), svg("circle", { r: 5 })));
  canvas.append(svg("g", { class: "draggable" }, halo, line, grip, ...handles));

  const onGrid = (v) => Math.round(v / snap) * snap;
  const within = (v, low, high) => Math.min(Math.max(v, low), high);
  function move(box, dx, dy) {
    dx = within(onGrid(dx), Math.min(0, -box[0]), Math.max(0, unit - box[2])); // what sticks out may go on doing so
    dy = within(onGrid(dy), Math.min(0, -box[1]), Math.max(0, unit - box[3]));
    set([box[0] + dx, box[1] + dy, box[2] + dx, box[3] + dy]);
  }
  function stretch(box, [i, j], dx, dy) {
    const edges = [...box];
    const place = (k, d) => {
      const [low, high] = k < 2 ? [0, box[k + 2] - snap] : [box[k - 2] + snap, unit];
      edges[k] = within(onGrid(box[k] + d), low, high);
    };
    place(i, dx);
    place(j, dy);
    set(edges);
  }
  drag(canvas, grip, get, move, scale);
  handles.forEach((handle, c) => drag(canvas, handle, get, (box, dx, dy) => stretch(box, CORNERS[c], dx, dy), scale));
  grip.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!way) return;
    event.preventDefault();
    event.stopPropagation();
    const [dx, dy] = way.map((d) => d * snap);
    if (event.shiftKey) stretch(get(), CORNERS[3], dx, dy);
    else move(get(), dx, dy);
  });

  frame.shown.push(() => {
    const [x0, y0, x1, y1] = get().map((v) => v * scale);
    for (const rect of [halo, line, grip])
      for (const [name, value] of Object.entries({ x: x0, y: y0, width: x1 - x0, height: y1 - y0 }))
        rect.setAttribute(name, value);
    handles.forEach((handle, c) => {
      const [x, y] = [c % 2 ? x1 : x0, c < 2 ? y0 : y1];
      handle.setAttribute("transform", `translate(${x} ${y})`);
    });
    grip.setAttribute("aria-valuenow", +get()[0].toFixed(3));
    grip.setAttribute("aria-valuetext", words(get()));
  });
  return grip;
}

/** Call moved(state at the start, dx, dy) while the pointer drags a node; the distance is in the stage's unit / scale. */
export function drag(canvas, node, get, moved, scale = 1) {
  let from = null;
  node.addEventListener("pointerdown", (event) => {
    from = { x: event.clientX, y: event.clientY, state: get() };
    node.setPointerCapture(event.pointerId);
    event.preventDefault();
    (node.matches("[tabindex]") ? node : node.parentNode.querySelector("[tabindex]"))?.focus({ preventScroll: true });
  });
  node.addEventListener("pointermove", (event) => {
    if (!from) return;
    const pixels = (canvas.getBoundingClientRect().width / canvas.viewBox.baseVal.width) * scale;
    moved(from.state, (event.clientX - from.x) / pixels, (event.clientY - from.y) / pixels);
  });
  for (const end of ["pointerup", "pointercancel"]) node.addEventListener(end, () => (from = null));
}

/** Where a pointer is on a drawing, in its own units. */
export function pointerOn(canvas, event) {
  const place = canvas.getBoundingClientRect();
  const zoom = canvas.viewBox.baseVal.width / place.width;
  const { x, y } = canvas.viewBox.baseVal;
  return [(event.clientX - place.left) * zoom + x, (event.clientY - place.top) * zoom + y];
}

/** What the outlines in the drawing mean: pairs of an outline's class and words. Returns one node for each. */
export function lineKey(frame, items, looks = "") {
  const line = (name) => svg("svg", { viewBox: "0 0 28 10" }, svg("path", { class: `outline ${name}`, d: "M0 5H28" }));
  const nodes = items.map(([name, words]) => html("span", {}, line(name), words));
  frame.stage.append(html("p", { class: `key ${looks}` }, ...nodes));
  return nodes;
}
