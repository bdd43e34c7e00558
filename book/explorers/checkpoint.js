// Reads the checkpoints of ssd_lite, as checkpoint.py writes them: a safetensors file whose header
// names the spec and the classes. What is wrong with any other file is said in words.
import { levelsOf } from "./detector.js";
import { sideAfter, size } from "./layers.js";
import { boxShapes, makeDefaultBoxes } from "./maths.js";

export const LARGEST_FILE = 200e6; // bytes
const LARGEST_IMAGE = 1024; // pixels a side: more would take a page too long

/** An error whose message is for the reader. */
export class Refusal extends Error {}

const ensure = (condition, words) => {
  if (!condition) throw new Refusal(words);
};

/** A model from a file's bytes: spec, classes, tensors by name, default boxes and their levels. */
export function readCheckpoint(buffer) {
  try {
    return modelFrom(buffer);
  } catch (error) {
    throw error instanceof Refusal ? error : new Refusal(DAMAGED); // a header full of surprises
  }
}

function modelFrom(buffer) {
  ensure(buffer.byteLength <= LARGEST_FILE, tooLarge(buffer.byteLength));
  const { header, start } = readHeader(buffer);
  const { spec, classes, provenance } = readAbout(header.__metadata__);
  checkSpec(spec, classes);
  const tensors = {};
  for (const [name, shape] of expectedTensors(spec, classes))
    tensors[name] = readTensor(buffer, start, header, name, shape);
  const levels = spec.maps.flatMap((n, k) => Array(n * n * boxShapes(spec, k).length).fill(k));
  return { spec, classes, provenance, tensors, defaultBoxes: makeDefaultBoxes(spec), levels };
}

export const tooLarge = (bytes) =>
  `This file has ${Math.round(bytes / 1e6)} MB. A lite checkpoint has about 3, and more than ` +
  `${LARGEST_FILE / 1e6} are not opened here.`;

const FOREIGN = "This is no safetensors file. A training run writes best.safetensors.";
const TRUNCATED = "This file ends too early: it was not copied or downloaded to the end.";
const NAMELESS =
  "This is a safetensors file, but not one of ssd_lite's: it names no spec and classes.";
const DAMAGED = "This page cannot make sense of the file. It is damaged, or from another version.";

function readHeader(buffer) {
  ensure(buffer.byteLength > 8, FOREIGN);
  const length = Number(new DataView(buffer).getBigUint64(0, true));
  const [first] = new Uint8Array(buffer, 8, 1);
  ensure(first === "{".charCodeAt() && length < LARGEST_FILE, FOREIGN);
  ensure(8 + length <= buffer.byteLength, TRUNCATED);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
  return { header, start: 8 + length };
}

function readAbout(metadata) {
  ensure(metadata?.ssd_lite, NAMELESS);
  // Python writes Infinity, which JSON does not know. In a string, the name of a class, it stays.
  const text = metadata.ssd_lite.replace(/"(?:[^"\\]|\\.)*"|Infinity/g, (part) =>
    part === "Infinity" ? "1e999" : part);
  return JSON.parse(text);
}

/** That the network of this spec can be computed, and its default boxes be laid out. */
function checkSpec(spec, classes) {
  const { base, image_size, maps, steps, sizes, ratios, extras, mean, std, variances } = spec;
  ensure(
    base === "lite",
    `This model's base is ${base}. This page computes only models with the lite base.`,
  );
  ensure(
    image_size <= LARGEST_IMAGE,
    `This model looks at pictures of ${image_size} × ${image_size} pixels. This page computes up ` +
      `to ${LARGEST_IMAGE} × ${LARGEST_IMAGE}.`,
  );
  const numbers = [image_size, maps, steps, sizes, ratios, extras].flat(2);
  ensure(numbers.every((v) => Number.isFinite(v) && v >= 0), DAMAGED);
  const lengths = [steps, ratios, sizes.slice(1), mean, std, variances].map((list) => list.length);
  ensure(`${lengths}` === `${[maps.length, maps.length, maps.length, 3, 3, 2]}`, DAMAGED);
  ensure(classes.length > 0 && classes.every((name) => typeof name === "string"), DAMAGED);

  let side = image_size;
  const sides = levelsOf(spec).map(([, convolutions]) => {
    for (const [, ...shape] of convolutions) side = sideAfter(side, ...shape);
    return side;
  });
  ensure(`${sides}` === `${maps}`, DAMAGED);
}

/** Name and shape of every tensor of a model. */
export function* expectedTensors(spec, classes) {
  let inputs = 3;
  let level = 0;
  for (const [name, convolutions] of levelsOf(spec)) {
    let i = 0;
    for (const [outputs, kernel] of convolutions) {
      yield [`${name}.${i}.weight`, [outputs, inputs, kernel, kernel]];
      yield [`${name}.${i + 1}.weight`, [outputs]];
      yield [`${name}.${i + 1}.bias`, [outputs]];
      [inputs, i] = [outputs, i + 3];
    }
    const boxes = boxShapes(spec, level).length;
    for (const [head, values] of [["logits", classes.length + 1], ["offsets", 4]]) {
      yield [`${head}.${level}.weight`, [boxes * values, inputs, 3, 3]];
      yield [`${head}.${level}.bias`, [boxes * values]];
    }
    level += 1;
  }
}

const BYTES = { F32: 4, F16: 2, I8: 1 };

function readTensor(buffer, start, header, name, shape) {
  const about = header[`model.${name}`];
  const mismatch = `Weights and spec do not belong together: ${name}`;
  ensure(about, `${mismatch} is missing.`);
  ensure(
    `${about.shape}` === `${shape}`,
    `${mismatch} has shape ${about.shape?.join(" × ")}, but ${shape.join(" × ")} is expected.`,
  );
  ensure(about.dtype in BYTES, `${name} is stored as ${about.dtype}; this page reads F32 and F16.`);
  const [from, to] = about.data_offsets.map((offset) => start + offset);
  ensure(to <= buffer.byteLength, TRUNCATED);
  ensure(to - from === size(shape) * BYTES[about.dtype], `${mismatch} has the wrong length.`);
  const bytes = buffer.slice(from, to);
  const data = READ[about.dtype](bytes);
  if (about.dtype === "I8") {
    const steps = readTensor(buffer, start, header, `${name}.step`, [shape[0]]).data;
    const row = data.length / shape[0];
    for (let i = 0; i < data.length; i++) data[i] *= steps[Math.floor(i / row)];
  }
  ensure(
    data.every(Number.isFinite),
    `${name} holds NaN or infinity: the training went wrong, or the file is damaged.`,
  );
  return { shape, data };
}

// Numbers from bytes. Those of 8 bits are whole, and a tensor of steps says what one is worth in
// each output channel.
const READ = {
  F32: (bytes) => new Float32Array(bytes),
  F16: (bytes) => Float32Array.from(new Uint16Array(bytes), half),
  I8: (bytes) => Float32Array.from(new Int8Array(bytes)),
};

/** A number of 16 bits: sign, five bits of exponent, ten of the fraction. */
export function half(bits) {
  const [sign, exponent, fraction] = [bits >> 15 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1024 + fraction) * 2 ** (exponent - 25);
}
