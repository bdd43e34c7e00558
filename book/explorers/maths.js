// The box maths of ssd_lite again, for pages without Python. A test holds every function to its twin in Python.
// A box is an array of four numbers, xyxy unless something else is said; units as in Python.

export const toCorners = ([cx, cy, w, h]) => [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2];

export const toCenter = ([x0, y0, x1, y1]) => [(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0];

export const area = ([x0, y0, x1, y1]) => Math.max(0, x1 - x0) * Math.max(0, y1 - y0);

export function intersection(a, b) {
  const width = Math.min(a[2], b[2]) - Math.max(a[0], b[0]);
  const height = Math.min(a[3], b[3]) - Math.max(a[1], b[1]);
  return Math.max(0, width) * Math.max(0, height);
}

export function iou(a, b) {
  const shared = intersection(a, b);
  const union = area(a) + area(b) - shared;
  return union > 0 ? shared / union : 0;
}

// ---- chapter 2: a spec has maps, steps, sizes, ratios, image_size, extra_square and clip_sizes, as SSDSpec has

/** Widths and heights at one cell of a level, in fractions of the picture. */
export function boxShapes(spec, level) {
  const size = spec.sizes[level];
  const shapes = [[size, size]];
  if (spec.extra_square) shapes.push(Array(2).fill(Math.sqrt(size * spec.sizes[level + 1])));
  for (const ratio of spec.ratios[level]) {
    const [long, short] = [size * Math.sqrt(ratio), size / Math.sqrt(ratio)];
    shapes.push([long, short], [short, long]);
  }
  const limit = spec.clip_sizes ? 1 : Infinity;
  return shapes.map((shape) => shape.map((side) => Math.min(side / spec.image_size, limit)));
}

/** Center of a level's cell, cx and cy, in fractions of the picture. */
export function cellCenter(spec, level, row, column) {
  const step = spec.steps[level] / spec.image_size;
  return [(column + 0.5) * step, (row + 0.5) * step];
}

/** All default boxes, cxcywh, in the order of the network's answers. */
export function makeDefaultBoxes(spec) {
  const boxes = [];
  spec.maps.forEach((n, level) => {
    const shapes = boxShapes(spec, level);
    for (let row = 0; row < n; row++)
      for (let column = 0; column < n; column++)
        for (const shape of shapes) boxes.push([...cellCenter(spec, level, row, column), ...shape]);
  });
  return boxes;
}

export const countBoxes = (spec) =>
  spec.maps.reduce((sum, n, level) => sum + n * n * (1 + spec.extra_square + 2 * spec.ratios[level].length), 0);

/** Scales by the paper's equation 4, and one more step for the last extra square. */
export function scalesByEquation(low, high, levels) {
  const step = levels > 1 ? (high - low) / (levels - 1) : 0;
  return Array.from({ length: levels + 1 }, (_, k) => low + k * step);
}

/** IoU of an object with the default box that overlaps it most.
 * Of one shape, that is the box at the center nearest to the object's, along x and along y: no need to try the others. */
export function bestIou(spec, object) {
  const [cx, cy] = toCenter(object);
  let best = 0;
  spec.maps.forEach((n, level) => {
    const step = spec.steps[level] / spec.image_size;
    const nearest = (c) => (Math.min(n - 1, Math.max(0, Math.round(c / step - 0.5))) + 0.5) * step;
    for (const shape of boxShapes(spec, level))
      best = Math.max(best, iou(object, toCorners([nearest(cx), nearest(cy), ...shape])));
  });
  return best;
}

// ---- chapter 3

/** Index of the object that each default box answers for, or -1: as assign in matching.py, for one picture.
 * forced: "bipartite" as in the book; "overwrite", each object takes its best box, the last to come wins; or "none". */
export function assign(defaultBoxes, objects, threshold = 0.5, forced = "bipartite") {
  const overlap = overlaps(defaultBoxes, objects);
  return assignFrom(defaultBoxes.length, overlap, ownBoxes(overlap, forced), threshold);
}

/** IoU of every object with every default box, G × A. */
export function overlaps(defaultBoxes, objects) {
  const corners = defaultBoxes.map(toCorners);
  return objects.map((object) => corners.map((box) => iou(object, box)));
}

/** Objects by threshold, but for the default boxes that are forced to answer for one. */
export function assignFrom(count, overlap, own, threshold) {
  const assigned = Array.from({ length: count }, (_, a) => {
    let best = -1;
    overlap.forEach((row, g) => {
      if (row[a] >= threshold && (best < 0 || row[a] > overlap[best][a])) best = g;
    });
    return best;
  });
  own.forEach((box, g) => {
    if (box >= 0) assigned[box] = g;
  });
  return assigned;
}

/** The default box that each object gets for its own, whatever the threshold, or -1. */
export function ownBoxes(overlap, forced = "bipartite") {
  const own = overlap.map(() => -1);
  if (forced === "none") return own;
  const pairs = overlap.flatMap((row, g) => row.map((value, a) => [value, g, a]).filter(([value]) => value > 1e-6));
  pairs.sort((p, q) => q[0] - p[0] || p[1] - q[1] || p[2] - q[2]);
  const taken = new Set();
  for (const [, g, a] of pairs) {
    if (own[g] >= 0 || taken.has(a)) continue;
    own[g] = a;
    if (forced === "bipartite") taken.add(a);
  }
  return own;
}

// ---- chapter 4

/** Offsets from a default box (cxcywh) to a box (xyxy). */
export function encode(box, [cx, cy, w, h], variances = [0.1, 0.2]) {
  const [x, y, wide, high] = toCenter(box);
  const [place, size] = variances;
  return [(x - cx) / w / place, (y - cy) / h / place, Math.log(wide / w) / size, Math.log(high / h) / size];
}

/** The box (xyxy) that offsets from a default box (cxcywh) stand for. maxLogSize caps the log of the growth. */
export function decode([dx, dy, dw, dh], [cx, cy, w, h], variances = [0.1, 0.2], maxLogSize = Infinity) {
  const [place, size] = variances;
  const growth = (d) => Math.exp(Math.min(d * size, maxLogSize));
  return toCorners([cx + dx * place * w, cy + dy * place * h, w * growth(dw), h * growth(dh)]);
}

// ---- chapter 6

/** The background boxes, the one with the largest loss first; ties go to the first. */
export const hardestFirst = (losses, positive) =>
  losses.map((_, a) => a).filter((a) => !positive[a]).sort((a, b) => losses[b] - losses[a] || a - b);

/** The first `ratio` · positives of the background boxes, in that order; a fraction counts as none. */
export function hardest(ranked, positive, ratio) {
  const quota = Math.floor(ratio * positive.filter(Boolean).length);
  return ranked.filter((_, rank) => rank < quota);
}

/** Mask of the `ratio` · positives background boxes with the largest loss. */
export function hardNegatives(losses, positive, ratio = 3) {
  const chosen = new Set(hardest(hardestFirst(losses, positive), positive, ratio));
  return losses.map((_, a) => chosen.has(a));
}

// ---- chapter 8

/** Greedy NMS over boxes in descending order of score: for each box the index of the box that suppressed it, or -1. */
export function suppressors(boxes, labels, threshold = 0.45, perClass = true) {
  const by = boxes.map(() => -1);
  boxes.forEach((box, i) => {
    for (let j = 0; j < i && by[i] < 0; j++)
      if (by[j] < 0 && (!perClass || labels[i] === labels[j]) && iou(boxes[j], box) > threshold) by[i] = j;
  });
  return by;
}

// ---- chapter 10

/** Precision and recall after each detection, these in descending order of score: [[precision, recall], ...]. */
export function precisionRecall(correct, objects) {
  let hits = 0;
  return correct.map((hit, i) => {
    hits += hit ? 1 : 0;
    return [hits / (i + 1), hits / Math.max(objects, 1)];
  });
}

/** Area under the curve whose precision at a recall is the best at that recall or beyond. */
export function averagePrecision(curve) {
  let [sum, best, next] = [0, 0, curve.length ? curve.at(-1)[1] : 0];
  for (let i = curve.length - 1; i >= 0; i--) {
    best = Math.max(best, curve[i][0]);
    const before = i ? curve[i - 1][1] : 0;
    sum += best * (next - before);
    next = before;
  }
  return sum;
}
