// The detector of ssd_lite again, for pages without Python: a picture in, boxes out, and every map
// on the way. A test holds each step to its twin in PyTorch.
//
// A picture is { width, height, data }, with four bytes a pixel (RGBA), as a canvas has it. A model
// comes from checkpoint.js.
import {
  concatenate, conv2d, flattenHead, groupNorm, relu, scaleAndShift, tensor,
} from "./layers.js";
import { decode, suppressors } from "./maths.js";

// ---- chapter 7: the network

// Of every convolution its outputs, kernel, stride and padding. Norm and ReLU follow.
export const LITE_BASE = {
  stride4: [[32, 6, 4, 1], [48, 3, 1, 1], [48, 3, 1, 1]],
  stride8: [[64, 3, 2, 1], [64, 3, 1, 1]],
  stride16: [[128, 3, 2, 1], [128, 3, 1, 1]],
};

/** All convolutions before the heads: [name, convolutions] for each map, fine to coarse. */
export const levelsOf = (spec) => [
  ...Object.entries(LITE_BASE).map(([name, convolutions]) => [`base.${name}`, convolutions]),
  ...spec.extras.map(([squeezed, outputs, ...shape], i) => [
    `extras.${i}`, [[squeezed, 1, 1, 0], [outputs, ...shape]],
  ]),
];

/** What the network answers to a preprocessed image: logits, A × (C + 1), and offsets, A × 4.
 * Also its maps, and in `steps` what every module gave, by the names that they have in PyTorch. */
export function forward(model, image) {
  const layers = layerByLayer(model, image);
  let answer = layers.next();
  while (!answer.done) answer = layers.next();
  return answer.value;
}

/** The same with a pause after each layer, in which one may hear that the rest is in vain. */
export function* layerByLayer(model, image) {
  const [steps, maps] = [{}, []];
  const weights = (name) => {
    const [weight, bias] = ["weight", "bias"].map((kind) => model.tensors[`${name}.${kind}`]);
    return { weight, bias };
  };
  let x = image;
  for (const [level, convolutions] of levelsOf(model.spec)) {
    for (const [i, [, , stride, padding]] of convolutions.entries()) {
      const [conv, norm, last] = [0, 1, 2].map((k) => `${level}.${3 * i + k}`);
      steps[conv] = conv2d(x, weights(conv), stride, padding);
      steps[norm] = groupNorm(steps[conv], weights(norm));
      x = steps[last] = relu(steps[norm]);
      yield last;
    }
    maps.push(x);
  }
  for (const head of ["logits", "offsets"])
    for (const [level, map] of maps.entries()) {
      const name = `${head}.${level}`;
      steps[name] = conv2d(map, weights(name), 1, 1);
      yield name;
    }
  const answers = (head, values) =>
    concatenate(maps.map((_, level) => flattenHead(steps[`${head}.${level}`], values)));
  const logits = answers("logits", model.classes.length + 1);
  return { logits, offsets: answers("offsets", 4), maps, steps };
}

// ---- chapter 7: pictures for the network

/** A picture of any size, warped to the network's size, then normalized. */
export function preprocess({ spec }, picture) {
  const n = spec.image_size;
  const image = resize(picture, n, spec.antialias);
  scaleAndShift(image, (c) => 1 / (255 * spec.std[c]), (c) => -spec.mean[c] / spec.std[c]);
  return image;
}

/** F.interpolate, bilinear: each output from a few inputs, along x and then along y. */
export function resize({ width, height, data }, n, antialias) {
  const [across, down] = [width, height].map((length) => taps(length, n, antialias));
  const [narrow, y] = [tensor([3, height, n]), tensor([3, n, n])];
  for (let c = 0; c < 3; c++) {
    for (let row = 0; row < height; row++)
      for (let i = 0; i < n; i++)
        narrow.data[(c * height + row) * n + i] = weighted(across[i], data, 4 * row * width + c, 4);
    for (let row = 0; row < n; row++)
      for (let i = 0; i < n; i++)
        y.data[(c * n + row) * n + i] = weighted(down[row], narrow.data, c * height * n + i, n);
  }
  return y;
}

function weighted({ first, weights }, data, start, apart) {
  let sum = 0;
  for (let k = 0; k < weights.length; k++) sum += weights[k] * data[start + (first + k) * apart];
  return sum;
}

/** Which inputs make each of n outputs, and with what weights: a triangle around its center.
 * Without antialias it is one input wide to each side, however much the picture shrinks. */
export function taps(length, n, antialias) {
  const scale = length / n;
  const reach = antialias ? Math.max(scale, 1) : 1;
  return Array.from({ length: n }, (_, i) => {
    const inside = (v) => Math.min(Math.max(v, 0.5), length - 0.5);
    const center = antialias ? scale * (i + 0.5) : inside(scale * (i + 0.5));
    const first = Math.max(0, Math.floor(center - reach + 0.5));
    const last = Math.min(length, Math.floor(center + reach + 0.5));
    const weights = Array.from({ length: last - first }, (_, k) =>
      Math.max(0, 1 - Math.abs(first + k + 0.5 - center) / reach));
    const sum = weights.reduce((a, b) => a + b, 0);
    return { first, weights: weights.map((w) => w / sum) };
  });
}

// ---- chapter 8: from thousands of answers to a few

/** Probabilities of the classes, background first, for every default box. */
export function softmax({ shape: [boxes, classes], data }) {
  const scores = tensor([boxes, classes]);
  for (let at = 0; at < data.length; at += classes) {
    const row = data.subarray(at, at + classes);
    const most = Math.max(...row);
    const powers = Array.from(row, (v) => Math.exp(v - most));
    const sum = powers.reduce((a, b) => a + b, 0);
    powers.forEach((power, c) => (scores.data[at + c] = power / sum));
  }
  return scores;
}

/** The paper's limits, as in the package, and two that only a page has. */
export const LIMITS = {
  scoreThreshold: 0.01, iouThreshold: 0.45, perClass: 400, perImage: 200,
  sameClass: true, // whether only boxes of one class are rivals
  leftOut: [], // numbers of the maps that take no part
};

/** Every candidate, best first: { anchor, label, score, box }, boxes in fractions of the picture,
 * and `by`: the candidate that suppressed it, or -1. */
export function candidates(model, { logits, offsets }, limits = {}) {
  const { scoreThreshold, iouThreshold, perClass, sameClass, leftOut } = { ...LIMITS, ...limits };
  const { spec, defaultBoxes, levels } = model;
  const [scores, classes] = [softmax(logits), model.classes.length + 1];
  const found = [];
  for (let label = 1; label < classes; label++) {
    const ofClass = [];
    for (let anchor = 0; anchor < levels.length; anchor++) {
      const score = scores.data[anchor * classes + label];
      if (score > scoreThreshold && !leftOut.includes(levels[anchor]))
        ofClass.push({ anchor, label, score });
    }
    found.push(...ofClass.sort((a, b) => b.score - a.score).slice(0, perClass));
  }
  found.sort((a, b) => b.score - a.score);
  for (const one of found) {
    const moved = offsets.data.subarray(4 * one.anchor, 4 * one.anchor + 4);
    one.box = decode(moved, defaultBoxes[one.anchor], spec.variances, spec.max_log_size);
    if (spec.clip_detections) one.box = one.box.map((v) => Math.min(Math.max(v, 0), 1));
  }
  const [boxes, labels] = [found.map((one) => one.box), found.map((one) => one.label)];
  suppressors(boxes, labels, iouThreshold, sameClass).forEach((by, i) => (found[i].by = by));
  return found;
}

/** The survivors, best first, at most `perImage`: boxes in pixels of the picture, inside it. */
export function detections(candidates, { width, height }, perImage = LIMITS.perImage) {
  const sides = [width, height, width, height];
  const inside = (v, i) => Math.min(Math.max(v, 0), 1) * sides[i];
  const kept = candidates.filter(({ by }) => by < 0).slice(0, perImage);
  return kept.map((one) => ({ ...one, box: one.box.map(inside) }));
}

/** From end to end. */
export function detect(model, picture, limits = {}) {
  const answers = forward(model, preprocess(model, picture));
  return detections(candidates(model, answers, limits), picture, limits.perImage);
}
