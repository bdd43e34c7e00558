// The page's end of the detector in worker.js.

/** A detector in a worker of its own, made from its source, for beside a page that is a file no
 * worker can be fetched. */
export function startEngine(source) {
  const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  const worker = new Worker(address); // a classic script: a page that is a file gets no modules
  const waiting = new Map(); // of each kind of task the newest
  let busy = null;
  let spare = false; // whether the task at hand follows one that was stopped: then it is finished

  worker.onmessage = ({ data }) => {
    const { done } = busy;
    [busy, spare] = [null, Boolean(data.stopped)];
    done(data);
    next();
  };
  worker.onerror = () => busy?.done({ refused: "This browser cannot run the detector." });

  function next() {
    const [task] = waiting.keys();
    if (busy || task === undefined) return;
    busy = waiting.get(task);
    waiting.delete(task);
    worker.postMessage({ task, ...busy.given() });
  }

  /** What the worker answers; { stopped } if a newer task of the kind has taken its place. What is
   * given to it is a function, called when the task's turn comes: a picture is then the newest. */
  function ask(task, given) {
    return new Promise((done) => {
      waiting.get(task)?.done({ stopped: true });
      waiting.set(task, { done, given });
      if (busy && ["open", "look"].includes(task) && !spare) worker.postMessage({ task: "stop" });
      next();
    });
  }

  return {
    open: (file) => ask("open", () => ({ file })),
    look: (pixels, limits) => ask("look", () => ({ picture: pixels(), limits })),
    sift: (limits) => ask("sift", () => ({ limits })),
    follow: (limits, index) => ask("follow", () => ({ limits, index })),
    close() {
      worker.terminate();
      URL.revokeObjectURL(address);
    },
  };
}

/** The checkpoint of a detector that belongs to the book, from the script that carries them; in
 * JupyterLab, where there is none, from Python. */
export async function fetchWeights(model, name) {
  if (model.send) return fromPython(model, name);
  const root = new URL(document.documentElement.dataset.content_root ?? "", document.baseURI);
  await loadScript(new URL(`${model.get("folder")}/${name}.js`, root).href);
  const text = window.ssdLiteWeights?.[name];
  if (!text) throw new Error("not there");
  return new Blob([Uint8Array.from(atob(text), (character) => character.charCodeAt())]);
}

function fromPython(model, name) {
  return new Promise((done) => {
    const receive = (message, [bytes]) => {
      if (message.weights !== name) return;
      model.off("msg:custom", receive);
      done(new Blob([bytes]));
    };
    model.on("msg:custom", receive);
    model.send({ weights: name });
  });
}

function loadScript(src) {
  return new Promise((onload, onerror) => {
    const script = document.createElement("script");
    document.head.append(Object.assign(script, { src, onload, onerror }));
  });
}
