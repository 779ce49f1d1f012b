// The head: the page's one model with the list of all, the menu of what a program or a terminal does,
// the language. props.value is the chosen model's name; props.content holds the models and words.
(() => {
  "use strict";
  const AGAIN = 10_000; // ms between two looks at a model that is being trained
  const ICONS = {
    rename: '<path d="M4 16l1-4 8-8 3 3-8 8zM11 6l3 3"/>',
    delete: '<path d="M4 6h12M8 6V4h4v2M6 6l1 11h6l1-11"/>',
    code: '<path d="M7 5l-5 5 5 5M13 5l5 5-5 5"/>',
  };
  const LOGO = '<svg viewBox="0 0 27 18" aria-hidden="true"><rect width="7" height="18" rx="2"/><rect x="10" width="7" height="18" rx="2" opacity=".6"/><rect x="20" width="7" height="18" rx="2" opacity=".3"/></svg>';
  let head = null; // the page's one
  window.sdHead = {
    mount: (root, props, trigger, watch) => (head = new Head(root, props, trigger, watch)),
    choose: (name) => head?.choose(name),
    amend: (name, of) => head?.amend(name, of),
    wished: () => {
      const name = window.sdAddress?.get("model")?.name;
      return typeof name === "string" ? name.slice(0, 1000) : "";
    },
  };

  function make(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...children);
    return node;
  }
  function button(name, label, icon = "") {
    const node = make("button", { type: "button", class: name, "aria-label": label, title: label });
    if (icon) node.innerHTML = `<svg viewBox="0 0 20 20" aria-hidden="true">${ICONS[icon]}</svg>`;
    return node;
  }
  // The other language, in its own words.
  function switchButton() {
    const [lang, words] = /^zh/i.test(navigator.language) ? ["en", "EN"] : ["zh", "中文"];
    const node = make("button", { type: "button", class: "language", lang }, words);
    node.addEventListener("click", () => sdSwitchLanguage());
    return node;
  }
  const fill = (text, name) => (text ?? "").replace("{name}", name);

  // What opens below a button of the head, and closes with Escape or when it is left.
  class Popup {
    constructor(place, opener, body, onOpen) {
      Object.assign(this, { opener, body, onOpen });
      opener.setAttribute("aria-expanded", "false");
      body.hidden = true;
      place.append(opener, body);
      opener.addEventListener("click", () => (body.hidden ? this.open() : this.close()));
      place.addEventListener("keydown", (event) => {
        if (event.key !== "Escape" || body.hidden) return;
        event.preventDefault();
        event.stopPropagation(); // elsewhere it stops what runs
        this.close();
      });
      document.addEventListener("pointerdown", (event) => {
        if (!place.contains(event.target)) this.close(false);
      });
      place.addEventListener("focusout", (event) => {
        if (event.relatedTarget && !place.contains(event.relatedTarget)) this.close(false);
      });
    }
    open() {
      this.body.hidden = false;
      this.opener.setAttribute("aria-expanded", "true");
      this.onOpen();
    }
    close(back = true) {
      if (this.body.hidden) return;
      this.body.hidden = true;
      this.opener.setAttribute("aria-expanded", "false");
      if (back) this.opener.focus();
    }
  }

  class Head {
    constructor(root, props, trigger, watch) {
      Object.assign(this, { root, props, trigger, editing: false });
      this.skip = make("a", { class: "skip", href: "#" });
      this.skip.addEventListener("click", (event) => {
        event.preventDefault();
        skipTo();
      });
      this.logo = make("div", { class: "name" });
      this.logo.innerHTML = `${LOGO}<h1>sd</h1>`;
      const bar = make("div", { class: "head-end", role: "toolbar", "aria-label": "sd" });
      this.language = switchButton();
      bar.append(this.picker(), this.menu(), this.language);
      root.append(this.skip, this.logo, bar);
      sdOneStop(bar, () => [this.now, this.code, this.language]);
      watch(["value", "content"], () => this.draw());
      window.addEventListener("sd-run", () => this.models.some((each) => each.own && each.name === this.props.value) && this.trigger("focus"));
      this.draw();
    }
    get models() {
      return this.props.content?.models ?? [];
    }
    get words() {
      return this.props.content?.words ?? {};
    }

    // ---- the model

    picker() {
      this.now = make("button", { type: "button", class: "model-now" });
      this.list = make("ul", { id: "model-list" });
      this.list.addEventListener("keydown", (event) => this.move(event));
      const place = make("div", { id: "model", class: "popup-place" });
      this.models_popup = new Popup(place, this.now, this.list, () => {
        this.trigger("focus"); // the server lists them anew
        this.row(this.props.value)?.querySelector("button").focus();
      });
      return place;
    }
    row(name) {
      return [...this.list.children].find((each) => each.dataset.name === name) ?? this.list.firstElementChild;
    }
    draw() {
      const { words } = this, name = this.props.value || "";
      const now = this.models.find((each) => each.name === name) ?? { name, title: name || " " };
      this.now.replaceChildren(...this.face(now, [now.state ?? now.about, now.license && "RAIL-M"].filter(Boolean).join(" · ")));
      this.now.title = [now.license, now.license_about].filter(Boolean).join(": ");
      this.now.setAttribute("aria-label", `${words.model ?? ""}: ${now.title}`);
      this.list.setAttribute("aria-label", words.model ?? "");
      this.skip.textContent = words.skip ?? "";
      this.code.title = words.terminal ?? "";
      this.code.setAttribute("aria-label", this.code.title);
      this.machineIs = this.props.content?.machine ?? this.machineIs; // a later list tells it not
      this.logo.title = this.machineIs ?? "";
      if (!this.menu_popup.body.hidden) this.tell();
      if (!this.editing) this.drawList(name);
      if (name) window.sdAddress?.set("model", name === this.models[0]?.name ? {} : { name });
      clearTimeout(this.later);
      if (now.live) this.later = setTimeout(() => document.hidden || this.trigger("focus"), AGAIN);
    }
    drawList(name) {
      const held = this.list.contains(document.activeElement) && document.activeElement.closest("li")?.dataset.name;
      const shown = this.models.filter((each) => each.listed !== false);
      this.list.replaceChildren(...shown.map((each) => this.item(each, each.name === name)), ...(this.words.open_file ? [this.opener()] : []));
      if (held) this.row(held)?.querySelector(".pick").focus();
    }
    item(model, chosen) {
      const pick = make("button", { type: "button", class: "pick" }, ...this.face(model, model.about));
      if (chosen) pick.setAttribute("aria-current", "true");
      pick.addEventListener("click", () => this.choose(model.name));
      const row = make("li", {}, pick);
      row.dataset.name = model.name;
      if (!model.own) return row;
      const rename = button("rename", fill(this.words.model_rename, model.title), "rename");
      const remove = button("delete", fill(this.words.model_delete, model.title), "delete");
      rename.addEventListener("click", () => this.askName(row, model));
      remove.addEventListener("click", () => this.askDelete(row, model));
      row.append(rename, remove);
      return row;
    }
    // The last row: a file of others, on a page of one's own.
    opener() {
      const open = make("button", { type: "button" }, this.words.open_file);
      open.addEventListener("click", () => {
        this.models_popup.close(false);
        sdOpening.show();
      });
      const row = make("li", { class: "open-file" }, open);
      row.dataset.name = "";
      return row;
    }
    // What is shown of a model: its picture, its name, a quiet line.
    face({ title, picture }, line) {
      const image = picture ? make("img", { src: picture, alt: "" }) : make("i");
      return [image, make("span", {}, make("b", {}, title), make("small", {}, line ?? ""))];
    }
    move(event) {
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (!step || event.target.tagName === "INPUT") return;
      event.preventDefault();
      const rows = [...this.list.children], at = rows.indexOf(event.target.closest("li"));
      rows[Math.min(Math.max(at + step, 0), rows.length - 1)].querySelector("button").focus();
    }
    choose(name) {
      this.models_popup.close();
      if (name === this.props.value) return;
      this.props.value = name;
      this.draw();
      this.trigger("input");
    }
    // Say other things of the page's model, if it is still of the same file: nothing else changes.
    amend(name, of) {
      if (this.props.value.split("#")[0] !== of.split("#")[0]) return;
      this.props.value = name;
      this.draw();
    }
    // Let a row ask something; `send` is what its answer tells the server.
    ask(row, parts, send) {
      this.editing = true;
      const form = make("form", {}, ...parts);
      const done = () => {
        this.editing = false;
        this.drawList(this.props.value);
        this.row(row.dataset.name)?.querySelector(".pick").focus();
      };
      form.addEventListener("submit", (event) => {
        event.preventDefault();
        const told = send();
        done();
        if (told) this.trigger("submit", told);
      });
      form.addEventListener("keydown", (event) => {
        if (event.key !== "Escape") return;
        event.stopPropagation();
        done();
      });
      form.addEventListener("reset", done);
      row.replaceChildren(form);
    }
    askName(row, model) {
      const { words } = this;
      const box = make("input", { value: model.title, maxlength: "64", "aria-label": words.model_new_name });
      this.ask(row, [box, make("button", { type: "submit" }, "✓")], () => box.value.trim() && { rename: model.name, title: box.value });
      row.querySelector("button").setAttribute("aria-label", fill(words.model_rename, model.title));
      box.select();
    }
    askDelete(row, model) {
      const { words } = this, go = make("button", { type: "submit", class: "danger" }, words.delete);
      const keep = make("button", { type: "reset" }, words.model_keep);
      this.ask(row, [make("p", {}, fill(words.model_really, model.title)), go, keep], () => ({ delete: model.name }));
      keep.focus();
    }

    // ---- what a terminal or a program does

    menu() {
      this.code = button("code", "", "code");
      this.line = make("pre", { tabindex: "0" });
      this.copy = make("button", { type: "button" });
      this.api = make("button", { type: "button" });
      this.machine = make("p", { class: "machine" });
      this.title = make("h2");
      const body = make("div", { class: "menu" }, this.title, this.line, this.copy, this.api, this.machine);
      this.copy.addEventListener("click", async () => {
        await navigator.clipboard?.writeText(this.line.textContent);
        this.copy.textContent = this.words.copied;
      });
      this.api.addEventListener("click", () => {
        this.menu_popup.close(false);
        document.querySelector("footer .show-api")?.click();
      });
      const place = make("div", { id: "terminal", class: "popup-place" });
      this.menu_popup = new Popup(place, this.code, body, () => {
        this.tell();
        this.copy.focus();
        if (!this.machineIs) this.trigger("select"); // which machine it is
      });
      return place;
    }
    tell() {
      const { words } = this, line = commandInSight();
      this.title.textContent = words.terminal;
      this.line.textContent = line || words.terminal_none;
      this.copy.textContent = words.copy;
      this.copy.disabled = !line;
      this.api.textContent = words.endpoints;
      this.machine.textContent = this.machineIs ?? "";
    }
  }

  // The command line of the tab that is open.
  function commandInSight() {
    const lines = [...document.querySelectorAll(".command pre")];
    return lines.find((each) => each.closest("[role=tabpanel]")?.checkVisibility())?.textContent ?? "";
  }
  function skipTo() {
    const open = [...document.querySelectorAll("[role=tabpanel]")].find((each) => each.checkVisibility());
    if (!open) return;
    open.tabIndex = -1;
    open.focus();
  }
})();
