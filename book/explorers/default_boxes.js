import { bestIou, boxShapes, cellCenter, countBoxes, scalesByEquation, toCorners } from "./maths.js";
import { canvas, choice, frame, html, layer, outline, pointerOn, rowsOf, slider, svg, tag, tick, SIDE } from "./stage.js";

const BANDS = [[0, 0.1], [0.1, 0.2], [0.2, 0.4], [0.4, 1.01], [0, 1.01]];
const MARGIN = 0.12; // around the picture, as a fraction of it: default boxes reach beyond its edges

/** The spec that the knobs say, for the functions of maths.js. */
export function specOf(get) {
  const [base, maps, scales] = [get("specs")[get("base")], get("maps"), get("scales")];
  return {
    image_size: base.image_size,
    maps: base.maps.slice(0, maps),
    steps: base.steps.slice(0, maps),
    sizes: scales.slice(0, maps + 1).map((scale) => scale * base.image_size),
    ratios: get("ratios").slice(0, maps),
    extra_square: get("extra_square"),
    clip_sizes: get("clip_sizes"),
  };
}

/** How many objects there are in each band of sizes, and how many of them a default box overlaps by half. */
export function recallByBand(spec, objects) {
  const bands = BANDS.map(([low, high]) => ({ low, high, count: 0, reached: 0 }));
  for (const object of objects) {
    const side = Math.sqrt((object[2] - object[0]) * (object[3] - object[1]));
    const reached = bestIou(spec, object) >= 0.5;
    for (const band of bands)
      if (side >= band.low && side < band.high) {
        band.count += 1;
        band.reached += reached;
      }
  }
  return bands;
}

export default {
  render({ model, el }) {
    const hint = "Turn the scales; move over the picture, or use the arrow keys on it, to choose a cell.";
    const ui = frame(model, el, { title: "Default boxes.", hint });
    const { get, turn } = ui;
    const objects = rowsOf(get("objects"), 4);

    // ---- knobs
    const names = Object.keys(get("specs"));
    const base = () => get("specs")[get("base")];
    const all = () => base().maps.length;
    choice(ui, {
      label: "begin with",
      options: names.map((name) => [name, name]),
      get: () => get("base"),
      set: (name) => turn({ ...get("specs")[name].knobs, cell: near(get("specs")[name].maps, get("cell")[0]) }),
    });
    slider(ui, {
      label: "maps used", min: 1, max: all, get: () => get("maps"),
      set: (maps) => turn({ maps, cell: onMap(Math.min(get("cell")[0], maps - 1), 0, 0) }),
      words: (maps) => `${maps} of ${all()}`,
    });
    const table = html("div", { class: "levels", role: "group", "aria-label": "Levels: scale and aspect ratios" });
    table.append(html("p", { class: "level" }, "map, and its boxes' scale", html("span", { class: "ratios" }, "ratios")));
    ui.controls.append(table);
    for (let level = 0; level <= 7; level++) addLevel(level);
    const rule = html("div", { role: "group", "aria-label": "Scales by the equation" }, html("p", {}, "or all scales by the equation:"));
    ui.controls.append(rule);
    const byRule = (low, high) => turn({ scales: scalesByEquation(low, high, all()) });
    slider(ui, {
      label: "s_min", min: 0.02, max: 0.5, step: 0.01, into: rule, words: (v) => v.toFixed(2),
      get: () => get("scales")[0], set: (low) => byRule(low, get("scales")[all() - 1]),
    });
    slider(ui, {
      label: "s_max", min: 0.5, max: 1, step: 0.01, into: rule, words: (v) => v.toFixed(2),
      get: () => get("scales")[all() - 1], set: (high) => byRule(get("scales")[0], high),
    });
    const ticks = html("div", { class: "ticks" });
    ui.controls.append(ticks);
    tick(ui, {
      label: "extra square", into: ticks,
      get: () => get("extra_square"), set: (on) => turn({ extra_square: on }),
    });
    tick(ui, {
      label: "clip sides at 1", into: ticks, // which concerns the largest boxes only
      get: () => get("clip_sizes"), set: (on) => turn({ clip_sizes: on, ...showing(get("maps") - 1) }),
    });

    function addLevel(level) {
      const row = html("div", { class: "level" });
      table.append(row);
      slider(ui, {
        label: "", min: 0.01, max: 1.1, step: 0.005, into: row, words: (v) => (v ?? 0).toFixed(3),
        get: () => get("scales")[level],
        set: (scale) => turn({ scales: get("scales").map((s, k) => (k === level ? scale : s)), ...showing(level) }),
      });
      const label = row.querySelector("span");
      for (const ratio of [2, 3])
        tick(ui, {
          label: String(ratio), name: `Ratio ${ratio} on level ${level + 1}`, into: row,
          get: () => get("ratios")[level]?.includes(ratio),
          set: (on) =>
            turn({ ratios: get("ratios").map((r, k) => (k === level ? toggled(r, ratio, on) : r)), ...showing(level) }),
        });
      ui.shown.push(() => {
        const maps = base().maps;
        row.hidden = level > get("maps");
        label.textContent = level < get("maps") ? `${maps[level]} × ${maps[level]}` : "next";
        row.querySelectorAll(".tick").forEach((t) => (t.hidden = level >= get("maps")));
      });
    }

    // ---- the picture, with the cells of a level and the boxes of one of them
    const drawing = canvas(ui, { label: "Default boxes of one cell", paper: true, live: true, looks: "shapes" });
    const inside = (v) => ((v + MARGIN) / (1 + 2 * MARGIN)) * SIDE;
    const wide = inside(1) - inside(0);
    drawing.append(svg("image", { href: get("picture"), x: inside(0), y: inside(0), width: wide, height: wide, opacity: 0.8 }));
    const [dots, seen, boxes] = [layer(drawing), layer(drawing), layer(drawing)];
    const hand = svg("rect", { class: "grip hand", width: SIDE, height: SIDE, tabindex: 0, role: "slider" });
    hand.setAttribute("aria-label", "The cell whose boxes are drawn; Page Up and Page Down change the level");
    drawing.append(hand);

    function onMap(level, row, column) {
      const n = base().maps[level];
      const limited = (v) => Math.min(Math.max(v, 0), n - 1);
      return [level, limited(row), limited(column)];
    }
    const cellAt = (event) => {
      const level = get("cell")[0];
      const step = base().steps[level] / base().image_size;
      const [x, y] = pointerOn(drawing, event).map((v) => Math.floor(((v / SIDE) * (1 + 2 * MARGIN) - MARGIN) / step));
      turn({ cell: onMap(level, y, x) });
    };
    hand.addEventListener("pointermove", cellAt);
    hand.addEventListener("pointerdown", cellAt);
    hand.addEventListener("keydown", (event) => {
      const move = {
        ArrowUp: [0, -1, 0], ArrowDown: [0, 1, 0], ArrowLeft: [0, 0, -1], ArrowRight: [0, 0, 1],
        PageUp: [-1, 0, 0], PageDown: [1, 0, 0],
      }[event.key];
      if (!move) return;
      event.preventDefault();
      event.stopPropagation();
      toCell(get("cell").map((v, i) => v + move[i]));
    });
    /** The cell of a level of some maps at about the place of the cell in view. */
    function near(maps, level) {
      const [from, row, column] = get("cell");
      const to = Math.min(level, maps.length - 1);
      const moved = (v) => Math.floor(((v + 0.5) * maps[to]) / base().maps[from]);
      return [to, moved(row), moved(column)];
    }
    /** A knob of a level brings that level to view, at about the same place; the last size belongs to the level before. */
    const showing = (level) => ({ cell: near(base().maps.slice(0, get("maps")), level) });
    const toCell = ([level, row, column]) =>
      turn({ cell: onMap(Math.min(Math.max(level, 0), get("maps") - 1), row, column) });
    const means = [["first", "square"], ["third", "extra square"], ["second", "ratios"]];
    const key = means.map(([looks, words]) => html("span", {}, html("span", { class: `swatch ${looks}` }), words));
    key.push(html("span", {}, "dots: cells"));
    if (get("in_view").length)
      for (const [looks, words] of [["reached", "an object, its best IoU"], ["unreached", "out of reach"]])
        key.push(html("span", {}, html("span", { class: `swatch ${looks}` }), words));
    ui.stage.append(html("p", { class: "key" }, ...key));
    slider(ui, {
      label: "level shown", min: 1, max: () => get("maps"), into: ui.stage,
      get: () => get("cell")[0] + 1,
      set: (level) => turn(showing(level - 1)),
      words: (level) => `${base().maps[level - 1]} × ${base().maps[level - 1]}`,
    });

    const bars = svg("svg", { class: "canvas recall", viewBox: `0 0 ${SIDE} ${26 * BANDS.length + 22}`, role: "img" });
    const recall = layer(bars);
    ui.stage.append(bars);

    ui.shown.push(() => {
      const spec = specOf(get);
      const [level, row, column] = get("cell");
      hand.setAttribute("aria-valuenow", row * spec.maps[level] + column);
      hand.setAttribute("aria-valuetext", `level ${level + 1}, row ${row + 1}, column ${column + 1}`);
      let path = "";
      for (let r = 0; r < spec.maps[level]; r++)
        for (let c = 0; c < spec.maps[level]; c++) {
          const [x, y] = cellCenter(spec, level, r, c).map(inside);
          path += `M${x.toFixed(1)} ${y.toFixed(1)}h0`;
        }
      dots.draw(svg("path", { class: "dots", d: path }));
      const center = cellCenter(spec, level, row, column);
      const shapes = boxShapes(spec, level);
      boxes.draw(
        shapes.map((shape, k) => {
          const looks = k === 0 ? "first" : k === 1 && spec.extra_square ? "third" : "second";
          return outline(toCorners([...center, ...shape]).map(inside), { class: looks });
        }),
      );

      // The objects in the picture: which of them some default box reaches, and which none does.
      const best = get("in_view").map((object) => bestIou(spec, object));
      seen.draw(
        get("in_view").map((object, k) => {
          const looks = best[k] >= 0.5 ? "reached" : "unreached";
          const corners = object.map(inside);
          return [outline(corners, { class: looks }), tag(best[k].toFixed(2), corners[0], corners[1], { class: looks })];
        }),
      );

      const bands = recallByBand(spec, objects);
      bars.setAttribute("aria-label", "Recall of the objects by size");
      recall.draw(
        svg("text", { x: 0, y: 14 }, "objects reached, by their side in % of the picture"),
        bands.map(({ low, high, count, reached }, k) => {
          const [y, share] = [26 * k + 22, count ? reached / count : 0];
          const name = k === BANDS.length - 1 ? "all" : `${100 * low}–${Math.min(100, 100 * high).toFixed(0)} %`;
          return [
            svg("text", { x: 76, y: y + 17, "text-anchor": "end" }, name),
            svg("rect", { x: 84, y: y + 3, width: 140, height: 17, class: "trough" }),
            svg("rect", { x: 84, y: y + 3, width: 140 * share, height: 17, class: "bar" }),
            svg("text", { x: 232, y: y + 17 }, `${percent({ count, reached })}, ${reached} of ${count}`),
          ];
        }),
      );
      const whole = bands.at(-1);
      ui.say(
        [html("strong", {}, `${countBoxes(spec).toLocaleString("en")} boxes`), `, ${shapes.length} at this cell`],
        [html("strong", {}, `recall ${percent(whole)}`), `: ${whole.reached} of ${whole.count} objects`],
        ...(best.length ? [inPicture(best)] : []),
      );
    });
    return ui.open();
  },
};

function inPicture(best) {
  const lost = best.filter((overlap) => overlap < 0.5).length;
  const words = lost ? `${lost} of ${best.length} out of reach` : `all ${best.length} reached`;
  return ["in this picture: ", html("strong", {}, words)];
}

const toggled = (ratios, ratio, on) => (on ? [...ratios, ratio].sort() : ratios.filter((r) => r !== ratio));

const percent = ({ count, reached }) => (count ? `${((100 * reached) / count).toFixed(1)} %` : "–");
