// What is added to the page's published model: a row each, with a slider for the scale of a LoRA.
(() => {
  "use strict";
  const make = sdMake;
  window.sdAdded = { mount: (root, props, trigger, watch) => new Added(root, props, trigger, watch) };

  class Added {
    constructor(root, props, trigger, watch) {
      Object.assign(this, { root, props, trigger, wanted: {} }); // scales that no answer has shown yet
      watch("content", () => this.take());
      this.draw();
      trigger("focus"); // the tab may be made after its model was chosen
    }
    take() {
      const { choose, of } = this.props.content ?? {};
      this.draw();
      if (choose) sdHead.amend(choose, of);
    }
    draw() {
      const { rows, words, ...bounds } = this.props.content ?? {};
      this.root.hidden = !rows?.length;
      if (this.root.hidden) return this.root.replaceChildren();
      if (this.root.querySelector("input:active")) return; // being dragged: drawn when it is let go
      const held = document.activeElement?.closest(".added-row")?.dataset.name;
      this.wanted = Object.fromEntries(rows.filter(({ name, scale }) => name in this.wanted && this.wanted[name] !== scale).map(({ name }) => [name, this.wanted[name]]));
      this.root.setAttribute("role", "group");
      this.root.setAttribute("aria-label", words.added_title);
      this.root.replaceChildren(...rows.map((row) => this.row({ ...row, scale: this.wanted[row.name] ?? row.scale }, words, bounds)));
      if (held) [...this.root.children].find((each) => each.dataset.name === held)?.querySelector("input")?.focus();
    }
    row({ name, kind, scale, about }, words, { low, high, step }) {
      const node = make("span", { className: "added-row", title: about });
      node.dataset.name = name;
      node.append(make("b", {}, name.replace(/\.(safetensors|pt|bin|ckpt)$/i, "")));
      if (kind === "lora") {
        const said = make("output", {}, scale.toFixed(2));
        const slider = make("input", { type: "range", min: low, max: high, step, "aria-label": words.added_scale.replace("{name}", name) });
        slider.value = scale;
        slider.addEventListener("input", () => (said.textContent = Number(slider.value).toFixed(2)));
        slider.addEventListener("pointerup", () => setTimeout(() => this.draw()));
        slider.addEventListener("change", () => {
          this.wanted[name] = Number(slider.value);
          this.trigger("input", { scales: this.wanted }); // all: the last event alone may be heard
        });
        node.append(slider, said);
      }
      const label = words.added_remove.replace("{name}", name);
      const remove = make("button", { type: "button", title: label, "aria-label": label }, "×");
      remove.addEventListener("click", () => this.trigger("input", { remove: name }));
      node.append(make("small", {}, about), remove);
      return node;
    }
  }
})();
