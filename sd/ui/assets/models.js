// The page's one model: a button in the head that opens the list of models. props.value is the chosen
// model's name; props.content is {models: [{name, title, about, picture}, ...], words}.
(() => {
  "use strict";
  const MOVES = { ArrowDown: 1, ArrowUp: -1, Home: -Infinity, End: Infinity };
  window.sdModels = { mount: (root, props, trigger, watch) => new Picker(root, props, trigger, watch) };

  function make(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...children);
    return node;
  }

  class Picker {
    constructor(root, props, trigger, watch) {
      Object.assign(this, { root, props, trigger, at: 0 });
      this.button = make("button", { type: "button", class: "model-now", "aria-haspopup": "listbox", "aria-expanded": "false" });
      this.list = make("ul", { role: "listbox", tabindex: "-1", id: "model-list", hidden: "" });
      root.append(this.button, this.list);
      this.button.addEventListener("click", () => (this.list.hidden ? this.open() : this.close()));
      this.button.addEventListener("keydown", (event) => {
        if (!(event.key in MOVES) || !this.list.hidden) return;
        event.preventDefault();
        this.open();
      });
      this.list.addEventListener("click", (event) => {
        const option = event.target.closest("[role=option]");
        if (option) this.choose(option.dataset.name);
      });
      this.list.addEventListener("keydown", (event) => this.press(event));
      root.addEventListener("focusout", (event) => {
        if (!root.contains(event.relatedTarget)) this.close(false);
      });
      watch(["value", "content"], () => this.draw());
      this.draw();
    }
    get models() {
      return this.props.content?.models ?? [];
    }
    draw() {
      const words = this.props.content?.words ?? {}, name = this.props.value || "";
      const now = this.models.find((each) => each.name === name) ?? { name, title: name, about: "" };
      this.button.replaceChildren(...this.face(now));
      this.button.setAttribute("aria-label", `${words.model ?? ""}: ${now.title}`);
      this.list.setAttribute("aria-label", words.model ?? "");
      this.list.replaceChildren(...this.models.map((each, place) => {
        const chosen = String(each.name === name);
        const option = make("li", { role: "option", id: `model-${place}`, "aria-selected": chosen });
        option.dataset.name = each.name;
        option.append(...this.face(each));
        return option;
      }));
      if (!this.list.hidden) this.move(0);
    }
    // What is shown of a model: its picture, its name, its state.
    face({ title, about, picture }) {
      const image = picture ? make("img", { src: picture, alt: "" }) : make("i");
      return [image, make("span", {}, make("b", {}, title), make("small", {}, about))];
    }
    open() {
      this.trigger("focus"); // the server lists them anew
      this.list.hidden = false;
      this.button.setAttribute("aria-expanded", "true");
      this.at = Math.max(0, this.models.findIndex((each) => each.name === this.props.value));
      this.move(0);
      this.list.focus();
    }
    close(back = true) {
      if (this.list.hidden) return;
      this.list.hidden = true;
      this.button.setAttribute("aria-expanded", "false");
      if (back) this.button.focus();
    }
    press(event) {
      if (event.key in MOVES) this.move(MOVES[event.key]);
      else if (event.key === "Enter" || event.key === " ") this.choose(this.models[this.at]?.name);
      else if (event.key === "Escape") this.close();
      else return;
      event.preventDefault();
      event.stopPropagation(); // the page has uses of its own for these keys
    }
    move(by) {
      this.at = Math.min(Math.max(this.at + by, 0), this.models.length - 1);
      for (const [place, option] of [...this.list.children].entries()) {
        option.classList.toggle("at", place === this.at);
        if (place !== this.at) continue;
        this.list.setAttribute("aria-activedescendant", option.id);
        option.scrollIntoView({ block: "nearest" });
      }
    }
    choose(name) {
      this.close();
      if (name === undefined || name === this.props.value) return;
      this.props.value = name;
      this.draw();
      this.trigger("input");
    }
  }
})();
