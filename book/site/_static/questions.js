// Brings the questions of book/questions.py to life, on the book's pages and in JupyterLab. There each output brings
// this source, so what comes second does nothing.
if (!window.ssdQuestions) {
  window.ssdQuestions = true;

  const make = (tag, attributes = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...children);
    return node;
  };
  const button = (label, press, look = "") => {
    const node = make("button", { type: "button", class: look });
    node.innerHTML = label;
    node.onclick = () => press(node);
    return node;
  };
  const KEYS = ["data-lm-suppress-shortcuts", "true"]; // JupyterLab leaves the keys to what has the focus
  const all = () => [...document.querySelectorAll("ssd-question, ssd-recall")];
  const state = (node) => JSON.parse(node.dataset.state);

  // The memory: of each page the number of questions, and what was answered, by the questions' ids.
  const KEY = "ssd-questions";
  const nameOf = (path) => decodeURIComponent(path.split("/").pop()).replace(/\.\w+$/, "") || "index";
  const here = () => nameOf(location.pathname);
  const read = () => {
    try {
      return JSON.parse(localStorage.getItem(KEY)) || {};
    } catch {
      return {}; // a browser may forbid it, above all to files
    }
  };
  const write = (memory) => {
    try {
      localStorage.setItem(KEY, JSON.stringify(memory));
    } catch {} // then an answer lasts until the page is left
    mark();
  };
  const recalled = (id) => read()[here()]?.answers?.[id];
  const remember = (change) => {
    const [memory, ids] = [read(), all().flatMap((node) => state(node).ids)];
    const answers = { ...memory[here()]?.answers };
    change(answers, ids);
    write({ ...memory, [here()]: { count: ids.length, answers } });
  };

  // Behind a page's name in the contents stands how much of it was answered.
  const mark = () => {
    const memory = read();
    for (const link of document.querySelectorAll("nav.bd-links a[href]")) {
      link.querySelector(".ssd-mark")?.remove();
      const { count, answers = {} } = memory[nameOf(link.pathname)] ?? {};
      const answered = Object.keys(answers).length;
      const words = `${answered} of ${count} questions answered`;
      const look = { class: "ssd-mark", role: "img", "aria-label": words, title: words };
      if (answered) link.append(make("span", look, answered < count ? "◔" : "●"));
    }
  };

  // What a question hides: all blocks up to the last cell with the tag, and the caption of that. A heading, another
  // question and code without the tag end it.
  const resultsOf = (question) => {
    const blocks = [];
    let last = 0;
    for (let block = question.closest("div.cell"); (block = block?.nextElementSibling); ) {
      if (block.matches("section, div.cell:not(.tag_answer)")) break;
      const caption = last > 0 && last === blocks.length && block.matches("p[id^='fig-']");
      blocks.push(block);
      if (caption || block.matches(".tag_answer")) last = blocks.length;
    }
    return blocks.slice(0, last);
  };
  const NUMBER = /^[+\-−]?(\d{1,3}(,\d{3})+|\d+|(?=\.\d))(\.\d*)?(e[+\-−]?\d+)?$/i; // 8,732 or 8732, and 1e-3
  // Where the browser can, what is hidden is still found by those who search the page.
  const HIDDEN = "onbeforematch" in document.documentElement ? "until-found" : "";

  class Question extends HTMLElement {
    connectedCallback() {
      if (this.ids) return; // it was only moved
      Object.assign(this, state(this));
      const asked = this.querySelector("p");
      asked.id = `ssd-${this.ids[0]}`;
      this.setAttribute("role", "group");
      this.setAttribute("aria-labelledby", asked.id);
      this.controls = make("div", { class: "ssd-controls" });
      this.controls.append(...(this.choices ? this.makeButtons() : this.makeField(asked.id)));
      this.controls.append(button("I give up, show me", () => this.commit(""), "ssd-quiet"));
      this.said = make("p", { class: "ssd-said", role: "status", tabindex: -1 });
      this.again = make("p", { class: "ssd-again" });
      this.again.append(button("Ask me again", () => this.askAgain(), "ssd-quiet"));
      for (const part of [this.controls, this.again]) part.setAttribute(...KEYS);
      this.querySelector("details").replaceWith(this.controls, this.said, this.again);
      this.results = resultsOf(this);
      this.note = make("p", { class: "ssd-note" }, "The result appears when you have answered.");
      if (this.results.length) this.closest("div.cell").after(this.note);
      for (const block of this.results) block.addEventListener("beforematch", () => this.hideResults(false));
      this.forget();
      this.show(recalled(this.ids[0]));
    }

    makeButtons() {
      this.buttons = this.choices.map(([label]) => button(label, (node) => this.commit(node.textContent)));
      this.controls.onkeydown = (event) => {
        const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
        const place = this.buttons.indexOf(document.activeElement);
        if (!step || place < 0) return;
        event.preventDefault();
        this.buttons.at((place + step) % this.buttons.length).focus();
      };
      return this.buttons;
    }

    makeField(label) {
      this.field = make("input", { type: "text", inputmode: "decimal", autocomplete: "off", "aria-labelledby": label });
      const commit = () => this.commit(this.field.value.trim() || "?");
      this.field.onkeydown = (event) => {
        if (event.key === "Enter") commit();
      };
      return [make("span", { class: "ssd-field" }, this.field, " ", this.unit), button("Commit", commit, "ssd-commit")];
    }

    fill(text, done) {
      [this.field.value, this.field.readOnly] = [text, done];
      this.field.removeAttribute("aria-invalid");
    }

    // The answer, as it is remembered, is what a button or the field says; it is empty if the reader gave up.
    replyTo(answer) {
      if (answer === "") return this.shown;
      if (this.choices) return this.choices.find((_, i) => this.buttons[i].textContent === answer)?.[1];
      const bare = this.unit && answer.endsWith(this.unit) ? answer.slice(0, -this.unit.length).trim() : answer;
      const value = NUMBER.test(bare) ? Number(bare.replaceAll(",", "").replaceAll("−", "-")) : NaN;
      if (!Number.isFinite(value)) return;
      const near = ([other]) => value === other || Math.abs(value - other) <= this.tolerance * Math.abs(other);
      const reply = this.replies.find(near)?.[1] ?? this.others;
      return reply.replace("{said}", bare);
    }

    commit(answer) {
      if (!this.show(answer)) {
        this.said.textContent = "Please type a number, such as 3, 0.25 or 1,000.";
        this.field.setAttribute("aria-invalid", true);
        return this.field.focus();
      }
      remember((answers) => (answers[this.ids[0]] = answer));
      this.said.focus({ preventScroll: true });
      this.said.scrollIntoView({ block: "nearest" });
    }

    show(answer) {
      const reply = answer === undefined ? undefined : this.replyTo(answer);
      if (reply === undefined) return false;
      this.dataset.answered = answer;
      this.said.innerHTML = reply;
      if (this.field) this.fill(answer, true);
      this.buttons?.forEach((node) => {
        node.disabled = true;
        node.setAttribute("aria-pressed", node.textContent === answer);
      });
      this.hideResults(false);
      return true;
    }

    forget() {
      delete this.dataset.answered;
      this.said.textContent = "";
      if (this.field) this.fill("", false);
      this.buttons?.forEach((node) => {
        node.disabled = false;
        node.removeAttribute("aria-pressed");
      });
      this.hideResults(true);
    }

    askAgain() {
      remember((answers) => delete answers[this.ids[0]]);
      this.forget();
      (this.field ?? this.buttons[0]).focus();
    }

    hideResults(hide) {
      this.note.hidden = !hide;
      for (const block of this.results) hide ? block.setAttribute("hidden", HIDDEN) : block.removeAttribute("hidden");
    }

    printed() {
      return [[this.querySelector("p"), "answered" in this.dataset ? this.said.innerHTML : this.shown]];
    }
  }

  class Recall extends HTMLElement {
    connectedCallback() {
      if (this.ids) return;
      Object.assign(this, state(this));
      this.items = [...this.querySelectorAll("li")];
      this.items.forEach((item, i) => {
        const verdicts = make("div", { class: "ssd-verdicts", role: "group", "aria-label": "Did you know it?" });
        for (const verdict of ["I knew it", "Not yet"])
          verdicts.append(button(verdict, () => this.commit(i, verdict)));
        const fold = item.querySelector("details");
        fold.append(verdicts);
        for (const part of [fold.firstElementChild, verdicts]) part.setAttribute(...KEYS);
        this.show(i, recalled(this.ids[i]));
      });
    }

    commit(i, verdict) {
      remember((answers) => (answers[this.ids[i]] = verdict));
      this.show(i, verdict);
    }

    show(i, verdict) {
      const { dataset } = this.items[i].querySelector("summary");
      if (verdict) dataset.verdict = verdict;
      else delete dataset.verdict;
      for (const node of this.items[i].querySelectorAll("button"))
        node.setAttribute("aria-pressed", node.textContent === verdict);
    }

    forget() {
      this.items.forEach((item, i) => {
        item.querySelector("details").open = false;
        this.show(i);
      });
    }

    printed() {
      return this.items.map((item) => [item.querySelector("p"), item.querySelector("details p").innerHTML]);
    }
  }

  // The rest is for the book's pages.
  const openTarget = () => {
    const target = document.querySelector(":target");
    const question = all().find((node) => node.results?.includes(target?.closest("[hidden]")));
    question?.hideResults(false);
    if (question) target.scrollIntoView();
  };

  // Paper has the questions in their places and the answers at the end.
  const makeAnswers = () => {
    const list = make("ol");
    for (const [asked, answer] of all().flatMap((node) => node.printed())) {
      const [question, reply] = [make("p"), make("p")];
      [question.innerHTML, reply.innerHTML] = [asked.innerHTML, answer];
      list.append(make("li", {}, question, reply));
    }
    return make("section", { class: "ssd-answers" }, make("h2", {}, "Answers"), list);
  };
  const printWhole = (article) => {
    let answers, hiding;
    addEventListener("beforeprint", () => {
      hiding = all().filter((node) => node.results?.some((block) => block.hasAttribute("hidden")));
      for (const question of hiding) question.hideResults(false);
      article.append((answers = makeAnswers()));
    });
    addEventListener("afterprint", () => {
      answers.remove();
      for (const question of hiding) question.hideResults(true);
    });
  };

  const SURE = "Click again to forget them";
  const forgetButton = (label, forget) => {
    const node = button(label, () => {
      const sure = node.textContent === SURE;
      node.style.minWidth = `${node.offsetWidth}px`; // or what stands behind it moves
      node.textContent = sure ? "Forgotten" : SURE;
      if (sure) forget();
    });
    node.className = "ssd-quiet";
    node.onblur = () => (node.textContent = label);
    return node;
  };
  const makeForgetting = () => {
    const forgetting = (memory) => () => {
      write(memory());
      for (const node of all()) node.forget();
    };
    const page = forgetButton("Forget my answers on this page", forgetting(() => ({ ...read(), [here()]: undefined })));
    const everywhere = forgetButton("Forget my answers everywhere", forgetting(() => ({})));
    const why = "What you answer stays in this browser.";
    return make("p", { class: "ssd-forget", "aria-live": "polite" }, why, page, everywhere);
  };

  const start = () => {
    customElements.define("ssd-question", Question);
    customElements.define("ssd-recall", Recall);
    mark();
    const article = document.querySelector(".bd-article");
    if (!article || !all().length) return;
    // The page may have other questions than when it was last read.
    if (read()[here()])
      remember((answers, ids) => {
        for (const id in answers) if (!ids.includes(id)) delete answers[id];
      });
    article.append(makeForgetting());
    printWhole(article);
    openTarget();
    addEventListener("hashchange", openTarget);
    addEventListener("click", ({ target }) => target.closest?.("a[href*='#']") && setTimeout(openTarget));
  };
  addEventListener("pageshow", mark); // also on the way back to this page
  if (document.readyState === "loading") addEventListener("DOMContentLoaded", start);
  else start();
}
