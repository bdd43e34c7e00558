// Follow one answer: a list of what the network said, and the story of the one that is chosen.
import { html, outline, svg, SIDE } from "./stage.js";
import { tellStory, two } from "./story.js";

/** `ask(index)` gives the way to an answer; `marks` is a layer of the picture, and high() its
 * height. */
export function follower(ui, { ask, marks, high }) {
  const { get, turn } = ui;
  const select = html("select", { onchange: () => turn({ follow: Number(select.value) }) });
  const knob = html("label", { class: "knob", hidden: true }, html("span", {}, "follow"), select);
  const keys = { "data-lm-suppress-shortcuts": "true" }; // or JupyterLab takes them for itself
  const story = html("div", { class: "follow", hidden: true, ...keys });
  ui.controls.append(knob);
  ui.stage.parentNode.after(story);
  let [answer, running, told, channel] = [null, null, null, null];

  /** Other answers. The one with the number that was followed is followed again. */
  function update(newAnswer, newRunning) {
    [answer, running] = [newAnswer, newRunning];
    const nameOf = ({ label, score, by }, i) =>
      `${i + 1}: ${running.classes[label - 1]} ${two(score)}` + (by < 0 ? "" : ", struck out");
    const names = ["nothing", ...answer.candidates.map(nameOf)];
    select.replaceChildren(...names.map((name, value) => html("option", { value }, name)));
    select.value = get("follow") < names.length ? get("follow") : 0;
    knob.hidden = false;
    return tell();
  }

  async function tell() {
    told = get("follow");
    const exists = told > 0 && told <= answer.candidates.length;
    const { way, stopped } = exists ? await ask(told - 1) : {};
    if (stopped) return;
    story.hidden = !way;
    marks.draw(way ? onPicture(way, running.spec, high()) : []);
    if (!way) return;
    channel = channel in way.sums ? channel : way.sums.indexOf(Math.max(...way.sums));
    const chosen = { number: told, channel, choose: (c) => (channel = c) };
    const { candidates } = answer;
    story.replaceChildren(...tellStory({ way, ...running, candidates, ...chosen }));
  }

  ui.shown.push(() => {
    if (!answer || get("follow") === told) return;
    select.value = get("follow");
    channel = null;
    tell();
  });
  return { update };
}

/** The cells of the map, the one at work, and its default box, dashed. */
function onPicture({ level, side, row, column, defaultBox: [cx, cy, w, h] }, spec, high) {
  const cell = spec.steps[level] / spec.image_size; // in fractions of the picture
  const box = (x0, y0, x1, y1) => [x0 * SIDE, y0 * high, x1 * SIDE, y1 * high];
  const lines = Array.from({ length: side - 1 }, (_, i) => (i + 1) * cell);
  const grid = lines.map((v) => `M${v * SIDE} 0V${high}M0 ${v * high}H${SIDE}`).join("");
  const [x, y, width, height] = box(column * cell, row * cell, cell, cell);
  const edges = box(cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2);
  return [
    svg("path", { class: "grid", d: grid }),
    svg("rect", { class: "follow-cell", x, y, width, height }),
    outline(edges, { class: "dashed follow-default" }),
  ];
}
