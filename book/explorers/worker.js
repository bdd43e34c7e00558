// The detector at work beside the page, which stays alive meanwhile. It does one task at a time, in
// the order in which they come; each message that names one is answered by one.
import { LARGEST_FILE, readCheckpoint, Refusal, tooLarge } from "./checkpoint.js";
import { candidates, detections, layerByLayer, preprocess } from "./detector.js";
import { explain } from "./explain.js";

let model = null;
let looked = null; // the last picture that was computed to the end, and what the network answered
let stopped = false; // whether the task at hand is out of date

const MANY = 30; // so many candidates a page may follow

const TASKS = {
  /** Another model, from a checkpoint. */
  async open({ file }) {
    if (file.size > LARGEST_FILE) throw new Refusal(tooLarge(file.size)); // before it is read
    model = readCheckpoint(await file.arrayBuffer());
    looked = null;
    const { spec, classes } = model;
    return { spec, classes };
  },

  /** What is found in a picture. */
  async look({ picture, limits }) {
    const start = performance.now();
    const layers = layerByLayer(model, preprocess(model, picture));
    let layer = layers.next();
    while (!layer.done) {
      await messages();
      if (stopped) return { stopped };
      layer = layers.next();
    }
    const { logits, offsets } = layer.value;
    if (![logits, offsets].every(({ data }) => data.every(Number.isFinite)))
      throw new Refusal("The network answers with NaN or infinity: its weights are damaged.");
    looked = { picture: { width: picture.width, height: picture.height }, answers: layer.value };
    return { ...TASKS.sift({ limits }), milliseconds: performance.now() - start };
  },

  /** The same answers, within other limits. */
  sift({ limits }) {
    if (!looked) return { stopped: true }; // they were another model's
    const all = candidates(model, looked.answers, limits);
    const found = detections(all, looked.picture, limits.perImage);
    return { ...looked.picture, found, candidates: all.slice(0, MANY) };
  },

  /** The way to one of these candidates. */
  follow({ limits, index }) {
    if (!looked) return { stopped: true };
    const all = candidates(model, looked.answers, limits);
    return index < all.length ? { way: explain(model, looked.answers, all, index) } : {};
  },
};

/** Let messages come in that wait at the door. */
const door = new MessageChannel();
const messages = () =>
  new Promise((done) => {
    door.port1.onmessage = done;
    door.port2.postMessage(null);
  });

self.onmessage = async ({ data: { task, ...given } }) => {
  if (task === "stop") return void (stopped = true);
  stopped = false;
  try {
    self.postMessage(await TASKS[task](given));
  } catch (error) {
    self.postMessage({ refused: error.message });
    if (!(error instanceof Refusal)) throw error; // a mistake of ours, for the console
  }
};
