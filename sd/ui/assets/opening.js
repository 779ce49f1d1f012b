// The dialog that opens a file of others. props.content tells what is shown: a folder, a file with
// its loading report, or why there is none; `sd.ui.published.opening` makes it.
(() => {
  "use strict";
  let dialog = null; // the page's one
  const make = sdMake;
  window.sdOpening = {
    mount: (root, props, trigger, watch) => (dialog = new Opening(root, props, trigger, watch)),
    show: () => dialog?.show(),
  };

  class Opening {
    constructor(root, props, trigger, watch) {
      Object.assign(this, { root, props, trigger, said: {}, path: "" });
      this.title = make("h2", { id: "opening-title" });
      root.setAttribute("aria-labelledby", "opening-title");
      this.input = make("input", { type: "text", spellcheck: false, autocomplete: "off" });
      this.lookAt = make("button", { type: "submit" });
      this.form = make("form", { className: "opening-path" }, this.input, this.lookAt);
      this.close = make("button", { type: "button", className: "opening-close" }, "×");
      this.body = make("div", { className: "opening-body" });
      this.foot = make("div", { className: "opening-foot" });
      root.append(make("header", {}, this.title, this.close), this.form, this.body, this.foot);
      this.form.addEventListener("submit", (event) => {
        event.preventDefault();
        this.ask(this.input.value);
      });
      this.close.addEventListener("click", () => root.close());
      root.addEventListener("close", () => this.halt());
      root.addEventListener("click", (event) => event.target === root && root.close());
      root.addEventListener("keydown", (event) => event.key === "Escape" && event.stopPropagation());
      watch("content", () => this.take());
    }
    get content() {
      return this.props.content ?? {};
    }
    say(key) {
      return this.content.words?.[key] ?? "";
    }

    show() {
      if (!this.root.open) this.root.showModal();
      this.ask(this.path || (this.content.recent?.[0]?.place ?? "").replace(/[^/\\]*$/, ""));
    }
    ask(path, said = {}) {
      this.halt();
      this.said = said;
      this.wait(true);
      this.trigger("input", { place: path, said });
    }
    // Stop fetching: what came until then is kept, and the next press goes on from there.
    halt() {
      if (this.fetching) this.trigger("stop");
      this.fetching = null;
    }
    send(told) {
      this.wait(true);
      this.trigger("submit", told);
    }
    // Until an answer is there, what is shown is of the question before and opens nothing.
    wait(whether) {
      this.root.setAttribute("aria-busy", String(whether));
      this.foot.inert = whether;
    }

    take() {
      const { folder, file, hub, fetching, of, fault, done } = this.content;
      if (of && of !== this.fetching) return; // it was stopped
      if (fetching) return this.progress(fetching);
      this.fetching = null;
      this.wait(false);
      if (done) {
        this.root.close();
        if (done.of) sdHead.amend(done.choose, done.of);
        else if (done.choose) sdHead.choose(done.choose);
        return;
      }
      this.title.textContent = this.say("open_title");
      this.lookAt.textContent = this.say("open_look");
      this.input.setAttribute("aria-label", this.say("open_path"));
      this.input.placeholder = this.say("open_path");
      this.close.setAttribute("aria-label", this.say("open_close"));
      this.foot.replaceChildren();
      if (folder) this.showFolder(folder);
      else if (file) this.showFile(file);
      else if (hub) this.showHub(hub);
      else if (fault) this.body.replaceChildren(make("p", { className: "opening-fault", role: "alert" }, fault));
      else if (this.path) this.ask(this.path);
      this.body.scrollTop = 0;
    }

    showFolder({ place, parent, rows }) {
      this.path = this.input.value = place;
      const list = make("ul", { className: "opening-list" });
      if (parent) list.append(this.row({ name: "..", title: this.say("open_up"), place: parent, kind: "folder" }));
      list.append(...rows.map((row) => this.row(row)));
      const empty = rows.length ? null : make("p", { className: "opening-quiet" }, this.say("open_empty"));
      this.body.replaceChildren(...[this.recent(), list, empty].filter(Boolean));
    }
    row({ name, place, kind, about = "", title = "" }) {
      const button = make("button", { type: "button", className: `of-${kind}`, title }, make("span", {}, name), make("small", {}, about));
      button.addEventListener("click", () => this.ask(place));
      return make("li", {}, button);
    }
    // What was opened before, to be gone back to or forgotten.
    recent() {
      const files = this.content.recent ?? [];
      if (!files.length) return null;
      const rows = files.map(({ name, place }) => {
        const row = this.row({ name, place, kind: "file" }), words = this.say("open_forget").replace("{name}", name);
        const forget = make("button", { type: "button", className: "opening-forget", title: words, "aria-label": words }, "×");
        forget.addEventListener("click", () => this.send({ forget: name }));
        row.append(forget);
        return row;
      });
      return make("section", {}, make("h3", {}, this.say("open_recent")), make("ul", { className: "opening-list" }, ...rows));
    }

    showFile(file) {
      this.input.value = file.place;
      this.path = file.place.replace(/[^/\\]*$/, "") || "/";
      const head = this.headOf(file.name, file.title), tree = this.treeOf(file.tree ?? []);
      const guesses = file.guesses?.length ? this.guesses(file) : null;
      const licence = file.licence ? make("p", { className: "opening-licence" }, this.say("open_licence")) : null;
      this.body.replaceChildren(...[head, tree, guesses, licence].filter(Boolean));
      const back = make("button", { type: "button" }, this.say("open_back"));
      back.addEventListener("click", () => this.ask(this.path));
      this.foot.append(make("p", { className: "opening-quiet" }, file.memory ?? ""), back);
      if (!file.go) return;
      const go = make("button", { type: "button", className: "opening-go" }, file.go);
      go.addEventListener("click", () => this.send({ place: file.place, said: this.said }));
      this.foot.append(go);
      go.focus();
    }
    // A model of a hub: what it is, and the press that fetches it.
    showHub({ place, name, title, tree, memory, go }) {
      this.input.value = place;
      this.body.replaceChildren(this.headOf(name, title), this.treeOf(tree));
      const fetch = make("button", { type: "button", className: "opening-go" }, go);
      fetch.addEventListener("click", () => {
        this.fetching = place;
        const stop = make("button", { type: "button" }, this.say("open_hub_stop"));
        stop.addEventListener("click", () => this.ask(place));
        this.bar = make("progress", { max: 1, value: 0, "aria-label": go });
        this.told = make("p", { className: "opening-quiet", role: "status" });
        this.body.append(this.bar);
        this.foot.replaceChildren(this.told, stop);
        stop.focus();
        this.trigger("click", { place });
      });
      this.foot.append(make("p", { className: "opening-quiet" }, memory), fetch);
      fetch.focus();
    }
    progress({ share, told }) {
      this.bar.value = share;
      this.told.textContent = told;
    }
    headOf(name, title) {
      return make("div", { className: "opening-name" }, make("b", {}, name), make("p", { className: "opening-quiet" }, title));
    }
    treeOf(tree) {
      return make("ul", { className: "opening-tree" }, ...tree.map((each) => this.branch(each)));
    }
    branch({ title, about, lines, is_fault }) {
      const node = make("li", { className: is_fault ? "fault" : "" }, make("span", {}, title), make("small", {}, about));
      if (lines.length) node.append(make("ul", {}, ...lines.map((line) => make("li", {}, line))));
      return node;
    }
    guesses({ place, guesses }) {
      const rows = guesses.map(({ name, label, value, choices, labels = {}, why }) => {
        const field = choices.length ? make("select", { "aria-label": label }, ...choices.map((each) => make("option", { value: each, selected: each === value }, labels[each] ?? each))) : make("output", {}, value);
        field.addEventListener("change", () => this.ask(place, { ...this.said, [name]: field.value }));
        return make("label", { title: why }, make("span", {}, label), field, make("small", {}, why));
      });
      return make("fieldset", {}, make("legend", {}, this.say("open_guesses")), ...rows);
    }
  }
})();
