// The layers of ssd_lite's network again, for pages without Python. A test holds each of them to
// its twin in PyTorch.
//
// A tensor is { shape, data }, its numbers one after the other as PyTorch has them, in float32;
// sums are float64, as all arithmetic in JavaScript is.

export const size = (shape) => shape.reduce((product, n) => product * n, 1);

export const tensor = (shape, data = new Float32Array(size(shape))) => ({ shape, data });

const TILE = 64; // pixels whose patches are laid out together: they stay near the processor

/** nn.Conv2d: every output is the dot product of a channel's weights with the patch under them. */
export function conv2d(x, { weight, bias }, stride = 1, padding = 0) {
  const [outputs, inputs, kernel] = weight.shape;
  const [h, w] = x.shape.slice(1).map((n) => sideAfter(n, kernel, stride, padding));
  const y = tensor([outputs, h, w]);
  const padded = pad(x, padding);
  const patches = new Float32Array(TILE * inputs * kernel * kernel);
  for (let first = 0; first < h * w; first += TILE) {
    const count = Math.min(TILE, h * w - first);
    for (let p = 0; p < count; p++) {
      const row = Math.floor((first + p) / w);
      copyPatch(padded, row * stride, ((first + p) % w) * stride, kernel, patches, p);
    }
    dotProducts(weight.data, patches, outputs, count, y.data, first, h * w);
  }
  if (bias) scaleAndShift(y, () => 1, (c) => bias.data[c]);
  return y;
}

/** Cells along one side of a map after a convolution. */
export const sideAfter = (n, kernel, stride, padding) =>
  Math.floor((n + 2 * padding - kernel) / stride) + 1;

/** A map with a margin of zeros. */
export function pad(x, margin) {
  const [channels, height, width] = x.shape;
  const y = tensor([channels, height + 2 * margin, width + 2 * margin]);
  for (let row = 0; row < channels * height; row++) {
    const above = 2 * margin * Math.floor(row / height) + margin; // rows of zeros so far
    const at = (row + above) * (width + 2 * margin) + margin;
    y.data.set(x.data.subarray(row * width, (row + 1) * width), at);
  }
  return y;
}

/** Copy a map's numbers under a kernel to place p of the patches, channel by channel. */
export function copyPatch(x, top, left, kernel, patches, p = 0) {
  const [channels, height, width] = x.shape;
  const from = x.data;
  let at = p * channels * kernel * kernel;
  for (let c = 0; c < channels; c++)
    for (let row = 0; row < kernel; row++) {
      const start = (c * height + top + row) * width + left;
      for (let i = start; i < start + kernel; i++) patches[at++] = from[i];
    }
}

/** The dot product of each of the `m` rows of a with each of the `n` rows of b: that of rows i and
 * j is y[i * apart + first + j].
 *
 * Four rows meet four rows at once, because then each number that is fetched serves four times.
 * At an end the last row stands in for those that are missing. */
function dotProducts(a, b, m, n, y, first, apart) {
  const length = a.length / m;
  for (let i = 0; i < m; i += 4) {
    const i1 = Math.min(i + 1, m - 1), i2 = Math.min(i + 2, m - 1), i3 = Math.min(i + 3, m - 1);
    const a0 = i * length, a1 = i1 * length, a2 = i2 * length, a3 = i3 * length;
    const y0 = i * apart + first, y1 = i1 * apart + first;
    const y2 = i2 * apart + first, y3 = i3 * apart + first;
    for (let j = 0; j < n; j += 4) {
      const j1 = Math.min(j + 1, n - 1), j2 = Math.min(j + 2, n - 1), j3 = Math.min(j + 3, n - 1);
      const b0 = j * length, b1 = j1 * length, b2 = j2 * length, b3 = j3 * length;
      let s00 = 0, s01 = 0, s02 = 0, s03 = 0, s10 = 0, s11 = 0, s12 = 0, s13 = 0;
      let s20 = 0, s21 = 0, s22 = 0, s23 = 0, s30 = 0, s31 = 0, s32 = 0, s33 = 0;
      for (let k = 0; k < length; k++) {
        const u0 = a[a0 + k], u1 = a[a1 + k], u2 = a[a2 + k], u3 = a[a3 + k];
        const v0 = b[b0 + k], v1 = b[b1 + k], v2 = b[b2 + k], v3 = b[b3 + k];
        s00 += u0 * v0; s01 += u0 * v1; s02 += u0 * v2; s03 += u0 * v3;
        s10 += u1 * v0; s11 += u1 * v1; s12 += u1 * v2; s13 += u1 * v3;
        s20 += u2 * v0; s21 += u2 * v1; s22 += u2 * v2; s23 += u2 * v3;
        s30 += u3 * v0; s31 += u3 * v1; s32 += u3 * v2; s33 += u3 * v3;
      }
      y[y0 + j] = s00; y[y0 + j1] = s01; y[y0 + j2] = s02; y[y0 + j3] = s03;
      y[y1 + j] = s10; y[y1 + j1] = s11; y[y1 + j2] = s12; y[y1 + j3] = s13;
      y[y2 + j] = s20; y[y2 + j1] = s21; y[y2 + j2] = s22; y[y2 + j3] = s23;
      y[y3 + j] = s30; y[y3 + j1] = s31; y[y3 + j2] = s32; y[y3 + j3] = s33;
    }
  }
}

/** nn.GroupNorm with groups of eight channels: mean 0 and variance 1, then a scale and a shift. */
export function groupNorm(x, { weight, bias }) {
  const y = tensor(x.shape, x.data.slice());
  const length = 8 * size(x.shape.slice(1));
  for (let first = 0; first < y.data.length; first += length) {
    const group = y.data.subarray(first, first + length);
    const mean = sumOf(group, (v) => v) / length;
    const variance = sumOf(group, (v) => (v - mean) * (v - mean)) / length;
    const scale = 1 / Math.sqrt(variance + 1e-5);
    for (let i = 0; i < length; i++) group[i] = (group[i] - mean) * scale;
  }
  scaleAndShift(y, (c) => weight.data[c], (c) => bias.data[c]);
  return y;
}

function sumOf(numbers, term) {
  let sum = 0;
  for (let i = 0; i < numbers.length; i++) sum += term(numbers[i]);
  return sum;
}

export const relu = (x) => tensor(x.shape, x.data.map((v) => (v > 0 ? v : 0)));

/** In place, for each channel c: times scale(c), plus shift(c). */
export function scaleAndShift(x, scale, shift) {
  const length = x.data.length / x.shape[0];
  for (let c = 0; c < x.shape[0]; c++) {
    const [factor, more] = [scale(c), shift(c)];
    for (let i = c * length; i < (c + 1) * length; i++) x.data[i] = x.data[i] * factor + more;
  }
}

/** The tensors' rows below each other. */
export function concatenate(parts) {
  const rows = parts.reduce((sum, { shape }) => sum + shape[0], 0);
  const y = tensor([rows, ...parts[0].shape.slice(1)]);
  let at = 0;
  for (const { data } of parts) {
    y.data.set(data, at);
    at += data.length;
  }
  return y;
}

/** Head outputs in the order of the default boxes: rows, columns, then the boxes of a cell. */
export function flattenHead(x, values) {
  const [channels, height, width] = x.shape;
  const cells = height * width;
  const y = tensor([(cells * channels) / values, values]);
  for (let cell = 0; cell < cells; cell++)
    for (let c = 0; c < channels; c++) y.data[cell * channels + c] = x.data[c * cells + cell];
  return y;
}
