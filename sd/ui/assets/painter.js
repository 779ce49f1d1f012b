// A painter at a picture's own pixels, used by gr.HTML: a mask, or colours over an estimate.
// props.value is {mode, base, width, height, words, paint, keeps: whether strokes stay}; after each
// stroke it holds the new paint, a PNG of exactly width x height (null when nothing is painted), and
// "input" fires.
(() => {
  "use strict";
  const SIZES = [1, 2, 4, 8]; // of the brush, in pixels of a picture of SMALL; of larger ones in as many more
  const SMALL = 32;
  const PALETTE = [
    ["black", "#000000"], ["grey", "#808080"], ["white", "#ffffff"], ["brown", "#8a5a2b"],
    ["red", "#d92b2b"], ["orange", "#f28c1e"], ["yellow", "#f7d038"], ["green", "#4a9b46"],
    ["blue", "#3a7bd5"], ["purple", "#8b5fc0"],
  ];
  const SCREEN = 768; // about as many pixels has the drawing's longer side
  const MOST_UNDOS = 30;
  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  window.sdPainter = {
    mount: (root, props, trigger, watch) => new Painter(root, props, trigger, watch),
  };

  function make(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...children);
    return node;
  }
  function sheet(width, height) {
    return Object.assign(document.createElement("canvas"), { width, height });
  }
  function loaded(address) {
    const image = new Image();
    image.src = address;
    return image.decode().then(() => image, () => null);
  }
  const rgb = (colour) => [1, 3, 5].map((place) => parseInt(colour.slice(place, place + 2), 16));
  const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);

  // The cells of a brush at (x, y): a square up to 2 pixels, then a disc.
  function footprint(x, y, size) {
    const cells = [], middle = (size - 1) / 2;
    for (let j = 0; j < size; j++) {
      for (let i = 0; i < size; i++) {
        if (size > 2 && (i - middle) ** 2 + (j - middle) ** 2 > size ** 2 / 4) continue;
        cells.push([x + i - Math.floor(middle), y + j - Math.floor(middle)]);
      }
    }
    return cells;
  }

  class Painter {
    constructor(root, props, trigger, watch) {
      Object.assign(this, { root, props, trigger, turn: 0, erasing: false, undos: [] });
      watch("value", () => this.take());
      this.take();
    }

    // Show what the server sent; a later value overtakes an earlier one that still loads.
    async take() {
      const value = this.props.value, turn = ++this.turn;
      const addresses = value && value.base ? [value.base, value.paint] : [];
      const [base, paint] = await Promise.all(addresses.map((each) => each && loaded(each)));
      if (turn !== this.turn) return;
      if (!base) return this.root.replaceChildren();
      const { mode, width, height, words } = value;
      if (value.keeps && mode === this.mode && width === this.width && height === this.height) {
        this.base = base; // only what lies below is another
        this.keep();
        return this.draw();
      }
      const grain = Math.max(1, 2 ** Math.round(Math.log2(Math.max(width, height) / SMALL)));
      if (mode !== this.mode || grain !== this.grain) {
        const masks = mode === "mask";
        this.colour = mode === this.mode ? this.colour : masks ? "#ffffff" : PALETTE[4][1];
        Object.assign(this, { mode, masks, grain, size: (masks ? 4 : 2) * grain, told: "" });
      }
      Object.assign(this, { base, width, height, undos: [], before: null });
      this.layer = sheet(width, height);
      this.pen = this.layer.getContext("2d", { willReadFrequently: true });
      if (paint) this.pen.drawImage(paint, 0, 0);
      this.data = this.pen.getImageData(0, 0, width, height);
      if (JSON.stringify(words) !== this.told || !this.root.firstChild) this.build(words);
      const scale = Math.max(1, Math.round(SCREEN / Math.max(width, height)));
      Object.assign(this.view, { width: width * scale, height: height * scale });
      this.view.style.aspectRatio = `${width} / ${height}`;
      this.scale = scale;
      this.cursor = { x: Math.floor(width / 2), y: Math.floor(height / 2), seen: false };
      this.view.setAttribute("aria-label", this.say("canvas", { width, height }));
      this.draw();
      this.tell();
      this.root.dispatchEvent(new CustomEvent("painter-ready", { bubbles: true, detail: this }));
    }
    // Back from wherever its parts were laid.
    home() {
      if (this.parts.some((part) => part.parentNode !== this.root)) this.root.replaceChildren(...this.parts);
    }
    say(key, values = {}) {
      return fill(this.words[key] || "", values);
    }

    // The tools.

    build(words) {
      Object.assign(this, { words, told: JSON.stringify(words) });
      const id = `${this.root.parentElement.id}-keys`;
      this.view = make("canvas", { tabindex: "0", role: "application", "aria-describedby": id });
      this.line = make("p", { class: "note", role: "status" });
      const hands = [["brush", false], ["eraser", true]].map(([key, erasing]) =>
        [this.say(key), () => (this.erasing = erasing), erasing === this.erasing]);
      const sizes = SIZES.map((size) => size * this.grain).map((size) =>
        [String(size), () => (this.size = size), size === this.size, this.say("pixels", { n: size })]);
      this.tools = make("div", { class: "painter-tools" },
        this.choice("tool", hands), this.choice("size", sizes, this.say("unit")), this.buttons());
      const keys = make("p", { id, class: "note keys" }, this.say("keys"));
      this.root.replaceChildren(this.view, this.tools, this.line, keys);
      if (!this.masks) this.tools.before(this.colours());
      this.parts = [...this.root.children];
      this.listen();
    }
    choice(key, options, unit = "") {
      const name = `${this.root.parentElement.id}-${key}`;
      const group = make("fieldset", { class: key }, make("legend", {}, this.say(key)));
      for (const [text, choose, chosen, about] of options) {
        const input = make("input", { type: "radio", name, "aria-label": about || text });
        input.checked = chosen;
        input.addEventListener("change", choose);
        group.append(make("label", about ? { title: about } : {}, input, make("span", {}, text)));
      }
      if (unit) group.append(make("span", { class: "unit" }, unit));
      return group;
    }
    colours() {
      const own = make("input", { type: "color", "aria-label": this.say("own"), title: this.say("own") });
      const take = (colour) => {
        Object.assign(this, { colour, erasing: false });
        this.tools.querySelector(".tool input").checked = true;
        own.classList.toggle("chosen", !group.querySelector("[type=radio]:checked"));
      };
      const group = this.choice("colour", PALETTE.map(([key, colour]) =>
        ["", () => take(colour), colour === this.colour, this.say(key)]));
      group.querySelectorAll("label span").forEach((swatch, place) => {
        swatch.style.background = PALETTE[place][1];
      });
      for (const event of ["click", "input"]) {
        own.addEventListener(event, () => {
          for (const input of group.querySelectorAll("[type=radio]")) input.checked = false;
          take(own.value);
        });
      }
      own.value = PALETTE.some(([, colour]) => colour === this.colour) ? "#f2c9a1" : this.colour;
      group.append(own);
      return group;
    }
    buttons() {
      const acts = { undo: () => this.undo(), clear: () => this.all(() => 0) };
      if (this.masks) acts.invert = () => this.all((alpha) => 255 - alpha);
      const nodes = Object.entries(acts).map(([key, act]) => {
        const button = make("button", { type: "button", class: key }, this.say(key));
        button.addEventListener("click", act);
        return button;
      });
      return make("div", { class: "acts" }, ...nodes);
    }

    // Pointer and keys.

    listen() {
      const view = this.view, on = (name, act) => view.addEventListener(name, act);
      on("pointerdown", (event) => {
        if (!event.isPrimary || event.button !== 0) return;
        event.preventDefault();
        view.focus({ preventScroll: true });
        view.setPointerCapture(event.pointerId);
        this.begin();
        this.move(event, this.place(event));
      });
      on("pointermove", (event) => this.move(event, this.cursor));
      on("pointerup", () => this.end());
      on("pointercancel", () => this.cancel());
      on("pointerleave", () => this.see(false));
      on("keydown", (event) => this.key(event));
      on("focus", () => view.matches(":focus-visible") && this.see(true));
      on("blur", () => this.see(false));
    }
    place(event) {
      const box = this.view.getBoundingClientRect();
      return {
        x: Math.floor(((event.clientX - box.left) / box.width) * this.width),
        y: Math.floor(((event.clientY - box.top) / box.height) * this.height),
      };
    }
    see(seen) {
      this.cursor.seen = seen;
      this.draw();
    }
    move(event, from) {
      if (!event.isPrimary) return;
      const to = this.place(event);
      if (this.before) this.drag(from, to);
      this.cursor = { ...to, seen: event.pointerType === "mouse" || Boolean(this.before) };
      this.draw();
    }
    key(event) {
      const step = ARROWS[event.key];
      if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z") this.undo();
      else if (event.ctrlKey || event.metaKey || event.altKey) return;
      else if (step) this.walk(step, event.shiftKey);
      else if (event.key === " " || event.key === "Enter") this.walk([0, 0], true);
      else return;
      event.preventDefault();
      event.stopPropagation(); // the page has uses of its own for these keys
    }
    walk([right, down], paints) {
      const clamp = (value, count) => Math.min(Math.max(value, 0), count - 1);
      const from = { x: clamp(this.cursor.x, this.width), y: clamp(this.cursor.y, this.height) };
      const to = { x: clamp(from.x + right, this.width), y: clamp(from.y + down, this.height) };
      this.cursor = { ...to, seen: true };
      if (paints) {
        this.begin();
        this.drag(from, to);
        this.end();
      }
      this.draw();
      this.tell(true);
    }

    // Strokes.

    begin() {
      this.before = this.data.data.slice();
    }
    // Dab along the straight line between two cells (Bresenham 1965).
    drag(from, to) {
      let { x, y } = from;
      const right = Math.abs(to.x - x), down = -Math.abs(to.y - y);
      let error = right + down;
      for (;;) {
        this.dab(x, y);
        if (x === to.x && y === to.y) break;
        const twice = 2 * error;
        if (twice >= down) { error += down; x += Math.sign(to.x - x); }
        if (twice <= right) { error += right; y += Math.sign(to.y - y); }
      }
    }
    dab(x, y) {
      const ink = this.erasing ? [0, 0, 0, 0] : [...rgb(this.colour), 255];
      for (const [i, j] of footprint(x, y, this.size)) {
        if (i < 0 || j < 0 || i >= this.width || j >= this.height) continue;
        this.data.data.set(ink, 4 * (j * this.width + i));
      }
    }
    end() {
      const before = this.before;
      this.before = null;
      if (!before || before.every((value, place) => value === this.data.data[place])) return;
      this.undos = [...this.undos, before].slice(-MOST_UNDOS);
      this.send();
    }
    cancel() {
      if (this.before) this.data.data.set(this.before);
      this.before = null;
      this.draw();
    }
    undo() {
      if (!this.undos.length) return;
      this.data.data.set(this.undos.pop());
      this.send();
    }
    // Set every pixel to white of the opacity that `change` makes of its own.
    all(change) {
      this.begin();
      const data = this.data.data;
      for (let k = 0; k < data.length; k += 4) {
        const alpha = change(data[k + 3]);
        data.fill(alpha, k, k + 4);
      }
      this.end();
    }
    send() {
      this.pen.putImageData(this.data, 0, 0);
      this.draw();
      this.tell();
      this.keep();
      this.trigger("input");
    }
    keep() {
      const paint = this.painted() ? this.layer.toDataURL() : null;
      this.props.value = { ...this.props.value, paint, keeps: false };
    }
    painted() {
      let count = 0;
      for (let k = 3; k < this.data.data.length; k += 4) count += this.data.data[k] > 0;
      return count;
    }

    // What is seen.

    draw() {
      if (this.frame) return;
      this.frame = requestAnimationFrame(() => {
        this.frame = 0;
        this.pen.putImageData(this.data, 0, 0);
        const ink = this.view.getContext("2d"), { width, height } = this.view;
        ink.imageSmoothingEnabled = false;
        ink.clearRect(0, 0, width, height);
        ink.drawImage(this.base, 0, 0, width, height);
        if (this.masks) this.veil(ink);
        else ink.drawImage(this.layer, 0, 0, width, height);
        if (this.cursor.seen) this.outline(ink, footprint(this.cursor.x, this.cursor.y, this.size));
      });
    }
    veil(ink) {
      const tint = sheet(this.width, this.height), brush = tint.getContext("2d");
      brush.drawImage(this.layer, 0, 0);
      brush.globalCompositeOperation = "source-in";
      brush.fillStyle = getComputedStyle(this.root).getPropertyValue("--sd-accent");
      brush.fillRect(0, 0, this.width, this.height);
      ink.globalAlpha = 0.6;
      ink.drawImage(tint, 0, 0, this.view.width, this.view.height);
      ink.globalAlpha = 1;
      const cells = [];
      for (let k = 3; k < this.data.data.length; k += 4) {
        const place = (k - 3) / 4;
        if (this.data.data[k]) cells.push([place % this.width, Math.floor(place / this.width)]);
      }
      this.outline(ink, cells);
    }
    // Draw the rim of some cells: white over black, to be seen on every picture.
    outline(ink, cells) {
      const inside = new Set(cells.map(([x, y]) => `${x},${y}`)), s = this.scale;
      const sides = [[0, -1, 0, 0, 1, 0], [0, 1, 0, 1, 1, 1], [-1, 0, 0, 0, 0, 1], [1, 0, 1, 0, 1, 1]];
      ink.beginPath();
      for (const [x, y] of cells) {
        for (const [right, down, x0, y0, x1, y1] of sides) {
          if (inside.has(`${x + right},${y + down}`)) continue;
          ink.moveTo((x + x0) * s, (y + y0) * s);
          ink.lineTo((x + x1) * s, (y + y1) * s);
        }
      }
      for (const [style, wide] of [["#000", 4], ["#fff", 2]]) {
        Object.assign(ink, { strokeStyle: style, lineWidth: wide, lineCap: "square" });
        ink.stroke();
      }
    }
    tell(walking = false) {
      const n = this.painted(), all = this.width * this.height;
      const percent = ((100 * n) / all).toFixed(n && n < all ? 1 : 0);
      const place = { row: this.cursor.y + 1, column: this.cursor.x + 1 };
      const counts = { n: n.toLocaleString("en"), all: all.toLocaleString("en"), percent };
      const words = [this.say(n ? "share" : "empty", counts)];
      if (walking) words.unshift(this.say("place", place));
      this.line.textContent = words.join(" · ");
      this.tools.querySelector(".undo").disabled = !this.undos.length;
      this.tools.querySelector(".clear").disabled = !n;
    }
  }
})();
