// The story of one answer, in words and tables: from a default box to a decoded box that is kept.
import { html, svg, SIDE } from "./stage.js";

const BARS_HIGH = 90;
export const two = (v) => v.toFixed(2).replace("-", "−");

/** `way` is from explain.js; choose(channel) is told which channel the reader looks at. */
export function tellStory(given) {
  const step = (title, ...content) =>
    html("li", {}, html("p", {}, html("strong", {}, title)), content.flat());
  return [
    html("p", {}, html("strong", {}, `How answer ${given.number} came about`)),
    html(
      "ol",
      {},
      step("It belongs to a default box.", html("p", {}, whereWords(given))),
      step("The head looks at 3 × 3 cells.", underHead(given)),
      step("The logits of all classes become probabilities.", scoreTable(given)),
      step("Four offsets turn the default box into the answer's box.", boxTable(given)),
      step("Non-maximum suppression decides.", html("p", {}, nmsWords(given))),
    ),
  ];
}

function whereWords({ way, spec }) {
  const { level, side, shapes, shape, row, column, defaultBox } = way;
  const [cx, cy, w, h] = defaultBox.map((v) => (v * spec.image_size).toFixed(1));
  return (
    `Of the ${spec.maps.length} maps it is the one with ${side} × ${side} cells; there row ` +
    `${row + 1}, column ${column + 1}, filled in the picture. Of the ${shapes} default boxes at ` +
    `that cell it is number ${shape + 1}, dashed: ${w} × ${h} pixels around (${cx}, ${cy}), in ` +
    `the ${spec.image_size} × ${spec.image_size} pixels that the network sees.`
  );
}

/** What each channel adds, and for one channel its nine multiplications. */
function underHead({ way, classes, channel, choose }) {
  const { sums, bias } = way;
  const name = classes[way.label - 1];
  const total = sums.reduce((a, b) => a + b, 0);
  const before =
    `There the map has ${sums.length} channels, so ${9 * sums.length} numbers lie under the ` +
    `filter for “${name}”. Each is multiplied by a weight of its own. The bars show what each ` +
    "channel adds; below them are the nine multiplications of one channel.";
  const after =
    `The sum over all channels is ${two(total)}, and with the bias, ${two(bias)}, the logit of ` +
    `“${name}” is ${two(total + bias)}.`;

  const [bars, nine] = [html("div", {}), html("div", { class: "follow-nine" })];
  const last = sums.length - 1;
  const input = html("input", { type: "range", min: 0, max: last, value: channel });
  const output = html("output", {});
  const show = (c) => {
    output.textContent = `${c + 1} of ${sums.length}`;
    input.setAttribute("aria-valuetext", output.textContent);
    bars.replaceChildren(barsOf(sums, c));
    nine.replaceChildren(...nineProducts(way, c));
  };
  input.addEventListener("input", () => {
    choose(Number(input.value));
    show(Number(input.value));
  });
  show(channel);
  const knob = html("label", { class: "knob" }, html("span", {}, "channel"), input, output);
  return [html("p", {}, before), bars, knob, nine, html("p", {}, after)];
}

function nineProducts({ patch, weights, sums }, channel) {
  const [x, w] = [patch, weights].map((all) => Array.from(all.slice(9 * channel, 9 * channel + 9)));
  const products = x.map((v, i) => v * w[i]);
  const sign = (text) => html("span", {}, text);
  return [
    square("map", x), sign("×"), square("weights", w), sign("="), square("products", products),
    sign(`in all ${two(sums[channel])}`),
  ];
}

function square(name, numbers) {
  const rows = [0, 3, 6].map((i) => tr(null, numbers.slice(i, i + 3).map(two)));
  return html("table", {}, html("caption", {}, name), html("tbody", {}, rows));
}

/** What each channel adds, as bars up and down. */
function barsOf(sums, chosen) {
  const most = Math.max(...sums.map(Math.abs)) || 1;
  const [step, middle] = [SIDE / sums.length, BARS_HIGH / 2];
  const bars = sums.map((sum, c) => {
    const height = (Math.abs(sum) / most) * (middle - 2);
    const place = { x: c * step, y: sum > 0 ? middle - height : middle, width: 0.8 * step, height };
    return svg("rect", { ...place, class: c === chosen ? "follow-chosen" : "bar" });
  });
  const axis = svg("path", { class: "follow-axis", d: `M0 ${middle}H${SIDE}` });
  const label = "What each channel adds to the logit";
  const size = { class: "canvas", viewBox: `0 0 ${SIDE} ${BARS_HIGH}` };
  return svg("svg", { ...size, role: "img", "aria-label": label }, axis, bars);
}

function scoreTable({ way, classes }) {
  const rows = ["background", ...classes].map((name, c) => {
    const cells = [two(way.logits[c]), two(Math.exp(way.logits[c])), way.scores[c].toFixed(3)];
    return tr(name, cells, c === way.label ? "follow-own" : null);
  });
  return table(["class", "logit z", "exp(z)", "share of their sum"], rows);
}

function boxTable({ way, spec }) {
  const [place, size] = spec.variances;
  const [cx, cy, w, h] = way.defaultBox.map((v) => v * spec.image_size);
  const [dx, dy, dw, dh] = way.offsets;
  const moved = (d, from, side) => [
    two(d), `${two(from)} + ${place} · ${two(d)} · ${two(side)}`, two(from + place * d * side),
  ];
  const grown = (d, from) => {
    const growth = Math.exp(Math.min(size * d, spec.max_log_size));
    return [two(d), `${two(from)} · exp(${size} · ${two(d)})`, two(from * growth)];
  };
  return table(["", "offset", "decoded", "pixels"], [
    tr("center x", moved(dx, cx, w)),
    tr("center y", moved(dy, cy, h)),
    tr("width", grown(dw, w)),
    tr("height", grown(dh, h)),
  ]);
}

function nmsWords({ way: { by, struckOut }, classes, candidates }) {
  if (by >= 0) {
    const { label, score } = candidates[by];
    const winner = `Answer ${by + 1}, ${classes[label - 1]} with a score of ${two(score)},`;
    return `${winner} is better, and the two boxes overlap too much: this one is struck out.`;
  }
  if (!struckOut.length) return "The answer is kept. There is no rival for it to strike out.";
  const numbers = struckOut.map((i) => i + 1).join(", ");
  return `The answer is kept. It strikes out those that overlap it too much: ${numbers}.`;
}

function table(heads, rows) {
  const head = heads.map((name) => (name ? html("th", { scope: "col" }, name) : html("td", {})));
  const parts = [html("thead", {}, html("tr", {}, head)), html("tbody", {}, rows)];
  const scrolls = { class: "follow-table", tabindex: 0, role: "group", "aria-label": heads.at(-1) };
  return html("div", scrolls, html("table", {}, parts));
}

function tr(name, cells, looks = null) {
  const head = name === null ? [] : [html("th", { scope: "row" }, name)];
  return html("tr", { class: looks }, head, cells.map((text) => html("td", {}, text)));
}
