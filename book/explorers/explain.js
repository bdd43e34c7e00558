// One answer of the network, from the numbers under the head to the box: every number on its way.
import { softmax } from "./detector.js";
import { copyPatch, pad } from "./layers.js";
import { boxShapes } from "./maths.js";

/** Where an answer comes from: its map, its cell there, and which of the cell's default boxes. */
export function placeOf({ spec, levels }, anchor) {
  const level = levels[anchor];
  const [side, shapes] = [spec.maps[level], boxShapes(spec, level).length];
  const inLevel = anchor - levels.indexOf(level);
  const cell = Math.floor(inLevel / shapes);
  const [row, column] = [Math.floor(cell / side), cell % side];
  return { level, side, shapes, row, column, shape: inLevel % shapes };
}

/** The way to one of the candidates: what stands under the head, the weights of its class, the
 * logits, the probabilities, the offsets, the boxes, and who struck out whom. */
export function explain(model, answers, all, index) {
  const { anchor, label, box, by } = all[index];
  const place = placeOf(model, anchor);
  const map = answers.maps[place.level];
  const length = 9 * map.shape[0];
  const patch = new Float32Array(length);
  copyPatch(pad(map, 1), place.row, place.column, 3, patch);

  const classes = model.classes.length + 1;
  const channel = place.shape * classes + label; // of the head
  const head = (kind) => model.tensors[`logits.${place.level}.${kind}`].data;
  const weights = head("weight").slice(channel * length, (channel + 1) * length);
  const logits = answers.logits.data.slice(anchor * classes, (anchor + 1) * classes);
  return {
    ...place,
    label,
    patch,
    weights,
    sums: perChannel(patch, weights),
    bias: head("bias")[channel],
    logits,
    scores: softmax({ shape: [1, classes], data: logits }).data,
    offsets: answers.offsets.data.slice(4 * anchor, 4 * anchor + 4),
    defaultBox: model.defaultBoxes[anchor],
    box,
    by,
    struckOut: all.flatMap((one, i) => (one.by === index ? [i] : [])),
  };
}

/** What each channel adds to the logit: the sum of its nine products. */
function perChannel(patch, weights) {
  const sums = Array(patch.length / 9).fill(0);
  patch.forEach((v, i) => (sums[Math.floor(i / 9)] += v * weights[i]));
  return sums;
}
