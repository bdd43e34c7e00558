import { hardest, hardestFirst, makeDefaultBoxes, toCorners } from "./maths.js";
import { canvas, choice, frame, html, layer, outline, rowsOf, slider, svg, SIDE } from "./stage.js";

const RATIOS = [0, 0.5, 1, 2, 3, 5, 10, 30, 100, Infinity];
const DRAWN = 8; // so many of the chosen boxes get an outline; all get a dot
const KEY =
  "Blue: the positives. Orange: the centers of the background boxes that take part, larger where several share one, " +
  `and the outlines of the ${DRAWN} hardest.`;
const PLACES = "place in the ranking, each mark ten times the last";
const EDGE = 0.1; // around the picture, as a fraction of it: default boxes reach beyond its edges
const [CURVE_LEFT, CURVE_TOP, CURVE_HIGH] = [40, 28, 104];

/** What is chosen: indices of the background boxes, the hardest first, of which the first `count` take part. */
export function ranking(losses, positive, ratio) {
  const ranked = hardestFirst(losses, positive);
  const taking = hardest(ranked, positive, ratio);
  const sum = (boxes) => boxes.reduce((total, a) => total + losses[a], 0);
  const share = sum(taking) / (sum(ranked) || 1);
  return { ranked, count: taking.length, positives: positive.filter(Boolean).length, share };
}

/** How many of the boxes have their center at each place: [[x, y, how many], ...]. */
export function atCenters(boxes) {
  const places = new Map();
  for (const [x, y] of boxes) {
    const place = places.get(`${x},${y}`) ?? [x, y, 0];
    place[2] += 1;
    places.set(`${x},${y}`, place);
  }
  return [...places.values()];
}

export default {
  render({ model, el }) {
    const hint = "Turn the ratio, and move on to later moments of the training.";
    const ui = frame(model, el, { title: "Hard negatives.", hint });
    const { get, turn } = ui;
    const boxes = makeDefaultBoxes(get("spec"));
    const scenes = get("pictures").length;
    const tables = rowsOf(get("table"), boxes.length); // moments × scenes
    const masks = get("positives").map((own) => boxes.map((_, a) => own.includes(a))); // scenes

    // ---- knobs
    const isAll = (ratio) => ratio >= boxes.length;
    const ratioInWords = () => (isAll(get("ratio")) ? "all" : `${+get("ratio").toFixed(2)} to 1`);
    if (scenes > 1)
      choice(ui, {
        label: "scene",
        options: get("pictures").map((_, k) => [k, `${k + 1}: ${count(get("positives")[k].length, "positive")}`]),
        get: () => get("scene"),
        set: (scene) => turn({ scene: Number(scene) }),
      });
    slider(ui, {
      label: "moment", min: 0, max: get("steps").length - 1,
      get: () => get("moment"),
      set: (moment) => turn({ moment }),
      words: (moment) => `step ${get("steps")[moment]}`,
    });
    slider(ui, {
      label: "ratio", min: 0, max: RATIOS.length - 1,
      get: () => RATIOS.findLastIndex((ratio) => ratio <= (isAll(get("ratio")) ? Infinity : get("ratio"))),
      set: (k) => turn({ ratio: RATIOS[k] === Infinity ? boxes.length : RATIOS[k] }),
      words: ratioInWords,
    });

    // ---- the picture
    const label = "The scene; blue, the boxes that answer for an object; orange, the background boxes that take part";
    const drawing = canvas(ui, { label, paper: true, looks: "mining" });
    const inside = (v) => ((v + EDGE) / (1 + 2 * EDGE)) * SIDE;
    const wide = inside(1) - inside(0);
    const image = svg("image", { x: inside(0), y: inside(0), width: wide, height: wide, opacity: 0.55 });
    drawing.append(image);
    const outlined = (a, looks) => outline(toCorners(boxes[a]).map(inside), { class: looks });
    const [dots, frames] = [layer(drawing), layer(drawing)];

    // ---- the losses in order
    const order = "Losses of the background boxes, the hardest first, and where the ratio cuts";
    const curve = canvas(ui, { label: order, high: CURVE_TOP + CURVE_HIGH + 38, looks: "mining" });
    const losses = layer(curve);
    const across = (rank) => CURVE_LEFT + ((SIDE - CURVE_LEFT - 8) * Math.log(rank)) / Math.log(boxes.length);

    ui.shown.push(() => {
      const [scene, moment] = [get("scene"), get("moment")];
      const [values, positive] = [tables[moment * scenes + scene], masks[scene]];
      const { ranked, count: chosen, positives, share } = ranking(values, positive, get("ratio"));
      const taking = ranked.slice(0, chosen);
      image.setAttribute("href", get("pictures")[scene]);
      dots.draw(
        atCenters(taking.map((a) => boxes[a])).map(([x, y, n]) =>
          svg("circle", { cx: inside(x), cy: inside(y), r: 1.2 + 1.4 * Math.sqrt(n), class: "second spot" }),
        ),
      );
      frames.draw(
        positive.flatMap((is, a) => (is ? outlined(a, "first")[1] : [])),
        taking.slice(0, DRAWN).map((a) => outlined(a, "second")),
      );
      losses.draw(drawCurve(ranked.map((a) => values[a]), chosen));
      ui.say(
        `step ${get("steps")[moment]}, ratio ${ratioInWords()}: ${count(positives, "positive")}`,
        `${chosen.toLocaleString("en")} of ${count(ranked.length, "background box", "background boxes")} take part`,
        html("strong", {}, `they carry ${(100 * share).toFixed(1)} % of the background’s loss`),
        html("span", { class: "key" }, KEY),
      );
    });

    function drawCurve(sorted, chosen) {
      const [left, right, floor] = [CURVE_LEFT, SIDE - 8, CURVE_TOP + CURVE_HIGH];
      const most = sorted[0] || 1;
      const up = (loss) => floor - (CURVE_HIGH * loss) / most;
      const points = sorted.map((loss, k) => `L${across(k + 1).toFixed(1)} ${up(loss).toFixed(1)}`);
      const under = (end) => `M${left} ${floor}${points.slice(0, end).join("")}V${floor}Z`;
      const cut = across(Math.max(1, chosen));
      const marks = [1, 10, 100, 1000].filter((rank) => rank <= sorted.length);
      return [
        svg("text", { x: 0, y: 14 }, "loss of the background boxes, the hardest first"),
        svg("path", { d: under(sorted.length), class: "trough" }),
        chosen ? svg("path", { d: under(chosen), class: "second taken" }) : [],
        svg("path", { d: `M${left} ${floor}H${right}`, class: "floor" }),
        chosen ? svg("path", { d: `M${cut} ${CURVE_TOP}V${floor}`, class: "second cut" }) : [],
        [0, most].map((v) => svg("text", { x: left - 6, y: up(v) + 5, "text-anchor": "end" }, v ? v.toFixed(2) : "0")),
        marks.map((rank) => svg("text", { x: across(rank), y: floor + 16, "text-anchor": "middle" }, rank)),
        svg("text", { x: right, y: floor + 33, "text-anchor": "end" }, PLACES),
      ];
    }
    return ui.open();
  },
};

const count = (n, one, more = `${one}s`) => `${n.toLocaleString("en")} ${n === 1 ? one : more}`;
