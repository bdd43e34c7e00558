// Brings the explorers on a page to life. They are anywidgets: each has its ES module and its state in the page, so
// nothing is asked of a kernel or of the network.
{
  class Model {
    constructor({ state, buffers = [] }) {
      this.state = state;
      this.listeners = [];
      for (const { path, data } of buffers) {
        const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
        const last = path.pop();
        path.reduce((part, key) => part[key], state)[last] = new DataView(bytes.buffer);
      }
    }
    get(key) {
      return this.state[key];
    }
    set(key, value) {
      this.state[key] = value;
      for (const [event, listener] of [...this.listeners]) if (["change", `change:${key}`].includes(event)) listener();
    }
    save_changes() {} // there is nobody to tell
    on(event, listener) {
      this.listeners.push([event, listener]);
    }
    off(event, listener) {
      this.listeners = this.listeners.filter(([e, l]) => e !== event || (listener && l !== listener));
    }
  }

  const all = (kind) => document.querySelectorAll(`script[type="application/vnd.jupyter.widget-${kind}+json"]`);
  const states = () => Object.assign({}, ...[...all("state")].map((script) => JSON.parse(script.textContent).state));
  const once = (map, key, make) => map.get(key) ?? map.set(key, make()).get(key);
  const [models, modules, styles] = [new Map(), new Map(), new Set()];
  const load = (source) =>
    once(modules, source, () => import(URL.createObjectURL(new Blob([source], { type: "text/javascript" }))));

  async function show(view, widgets) {
    const id = JSON.parse(view.textContent).model_id;
    if (!widgets[id]?.state._esm) return; // not an anywidget: nothing that could live without a kernel
    const model = once(models, id, () => new Model(widgets[id]));
    const { _esm: source, _css: style } = widgets[id].state;
    if (style && !styles.has(style)) {
      styles.add(style);
      document.head.append(Object.assign(document.createElement("style"), { textContent: style }));
    }
    const el = document.createElement("div");
    view.after(el);
    (await load(source)).default.render({ model, el });
  }

  // The state stands in the page's head, so the modules can be made while the rest is read.
  for (const { state } of Object.values(states())) if (state._esm) load(state._esm);
  document.addEventListener("DOMContentLoaded", () => {
    const widgets = states();
    all("view").forEach((view) => show(view, widgets));
  });
}
