// The bar that asks for pictures: prompts as chips, the seed, the one button that draws and stops,
// and a quiet line of what is set, whose words open what they name. `sd.ui.denoise.prompts` tells
// its words; its value is {prompts, seed}, and {patch: ...} from the server changes some of it.
(() => {
  "use strict";
  const MOST_OFFERED = 8, LARGEST_RANDOM = 1e6, NARROW = 860, REST = 300;
  const make = (tag, about = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(about)) {
      if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
      else node.setAttribute(key, value);
    }
    node.append(...children);
    return node;
  };
  const fill = (text, values) =>
    text
      .replace(/\{(\w+):([^|}]*)\|([^}]*)\}/g, (all, key, one, many) => (values[key] === 1 ? one : many))
      .replace(/\{(\w+)\}/g, (all, key) => values[key] ?? all);
  const visible = (node) => node && node.offsetParent !== null;
  let bar = null; // the page's one

  class Bar {
    constructor(element, props, page, told) {
      Object.assign(this, { element, props, page, told, prompts: [], seed: 0, kind: "", offers: [], names: {}, meanings: {}, unknown: {}, note: "", state: "rest", begun: 0, settings: told.first, at: -1 });
      this.restore();
      this.build();
      this.place.classList.toggle("awaits", !this.prompts.length); // the chips that come have their room
      page.watch("value", () => this.take());
      page.watch("price", () => this.told_of.cost(this.props.price));
      if (props.value?.patch) this.take();
      else this.keep(false);
      page.load();
    }

    say(key, values = {}) {
      return fill(sdSay(this.told.words[key]), values);
    }

    build() {
      const place = (this.place = this.element.querySelector(".ask"));
      this.chips = make("span", { class: "ask-chips", onkeydown: (event) => this.chipKey(event) });
      this.reachChips = sdOneStop(this.chips, () => [...this.chips.querySelectorAll("button")]);
      this.input = make("input", {
        class: "ask-input", type: "text", role: "combobox", "aria-autocomplete": "list", "aria-expanded": "false", "aria-controls": "ask-offers",
        autocomplete: "off", maxlength: this.told.longest, "aria-label": this.say("add"), placeholder: this.say("add"),
        oninput: () => this.typed(), onclick: () => this.offer(), onblur: () => this.leave(), onkeydown: (event) => this.key(event),
      });
      this.none = make("span", { class: "ask-none", hidden: "" }, this.say("none"));
      this.text = make("textarea", { class: "ask-text", rows: 1, hidden: "", maxlength: this.told.longestText, "aria-label": this.say("text"), placeholder: this.say("text"), oninput: () => this.wrote() });
      this.list = make("ul", { class: "ask-offers", role: "listbox", id: "ask-offers", "aria-label": this.say("offers"), hidden: "" });
      this.number = make("input", { type: "number", class: "ask-number", inputmode: "numeric", min: -1, step: 1, "aria-label": this.say("seed"), onchange: () => this.setSeed(this.number.value), oninput: () => /^\d+$/.test(this.number.value) && this.setSeed(this.number.value) });
      const dice = make("button", { type: "button", class: "ask-dice", title: this.say("dice"), "aria-label": this.say("dice"), onclick: () => this.setSeed(-1) }, "⚂");
      this.seeding = make("span", { class: "ask-seed" }, dice, make("span", { "aria-hidden": "true" }, this.say("seed_word")), this.number);
      this.pausing = make("button", { type: "button", class: "ask-pause", id: "denoise-pause", onclick: () => this.pause() });
      this.stepping = make("button", { type: "button", class: "ask-step", id: "denoise-step", onclick: () => this.play(1) }, this.say("one_step"));
      this.ways = make("span", { class: "ask-ways", hidden: "" }, this.stepping, this.pausing);
      this.go = make("button", { type: "button", class: "ask-go", id: "denoise-go", title: "Ctrl+Enter", onclick: () => this.press() });
      this.line = make("div", { class: "ask-line", role: "toolbar", "aria-label": this.say("all") });
      this.reachLine = sdOneStop(this.line, () => [...this.line.querySelectorAll("button")]);
      this.warning = make("p", { class: "ask-note", role: "status" });
      const wish = (this.wish = make("span", { class: "ask-wish", onclick: (event) => event.target === wish && (this.input.hidden ? this.text : this.input).focus() }, this.chips, this.none, this.input, this.text, this.list));
      this.told_of = sdToldOf(make, this); // of a prompt that is one text
      place.append(make("div", { class: "ask-row" }, wish, this.seeding, this.ways, this.go), make("div", { class: "ask-below" }, this.line, this.told_of.node, this.warning));
      this.narrow = matchMedia(`(max-width: ${NARROW}px)`);
      this.narrow.addEventListener("change", () => this.writeLine());
      new ResizeObserver(() => this.reachInput()).observe(wish);
      this.face();
      this.writeLine();
    }

    // Where the chips need more room than there is, it is the line to type in that stays in sight.
    reachInput() {
      if (this.narrow.matches) this.wish.scrollLeft = this.wish.scrollWidth;
    }

    // ---- what it holds

    restore() {
      const kept = window.sdAddress?.get(this.told.form);
      if (!Array.isArray(kept?.prompts)) return;
      this.prompts = kept.prompts.filter((each) => typeof each === "string").slice(0, this.told.most);
      this.seed = Number.isInteger(kept.seed) ? kept.seed : 0;
      this.typedOnce = true;
    }

    take() {
      const patch = this.props.value?.patch;
      if (!patch) return;
      const { prompts, seen, seed, kind, offers, names, unknown, note, state, first, again, faces, told } = JSON.parse(JSON.stringify(patch));
      const asked = JSON.stringify([this.prompts, this.seed]);
      if (prompts || kind === "none" || kind === "text") this.place.classList.remove("awaits");
      if (!(first && this.typedOnce)) {
        if (prompts && !(seen && this.isNewer(seen))) {
          this.rest();
          this.prompts = prompts;
        }
        if (Number.isInteger(seed)) this.seed = seed;
      }
      if (kind) {
        const meanings = Object.fromEntries(Object.entries(names ?? {}).map(([caption, name]) => [name, caption]));
        Object.assign(this, { kind, offers: offers ?? [], names: names ?? {}, meanings, faces: null });
        if (this.input?.value) this.offerAgain(); // who typed before the words were there
      }
      if (faces) this.show(faces);
      if (unknown) this.unknown = unknown;
      if (note !== undefined) this.note = note;
      this.told_of.take(kind, told);
      if (state) this.be(state);
      if (again) this.begin(() => this.page.again());
      this.keep(false);
      const changed = JSON.stringify([this.prompts, this.seed]) !== asked || Boolean(kind);
      if (changed) setTimeout(() => this.page.change()); // when other parts, too, have taken what came with it
      if (told && told.price === null) this.measure();
    }

    // Whether a person wrote something after the prompts that a handler had `seen`.
    isNewer(seen) {
      const asked = this.prompts.map((each) => each.split(/\s+/).filter(Boolean).join(" "));
      return Boolean(this.resting) || JSON.stringify(asked) !== JSON.stringify(seen);
    }

    // The price comes by a way of its own: of two values that come at once one is never seen.
    measure() {
      this.props.price = "";
      this.page.measure();
    }

    keep(changed, typed = false) {
      this.props.value = { prompts: [...this.prompts], seed: this.seed };
      window.sdAddress?.set(this.told.form, typed || this.typedOnce ? this.props.value : {});
      this.typedOnce ||= typed;
      this.render();
      if (changed) this.page.change();
    }

    change(prompts) {
      this.prompts = prompts.slice(0, this.told.most);
      this.keep(true, true);
    }

    setSeed(text) {
      const seed = Math.round(Number(text));
      this.seed = seed === -1 || !Number.isFinite(seed) ? Math.floor(Math.random() * LARGEST_RANDOM) : Math.max(0, Math.min(this.told.largest, seed));
      this.keep(true, true);
    }

    render() {
      const at = this.chipNow(), near = Boolean(document.activeElement?.matches(".ask-near"));
      const isText = this.kind === "text", hasChips = !isText && this.kind !== "none";
      this.chips.replaceChildren(...(!hasChips ? [] : this.prompts.map((text, n) => this.chip(text, n))));
      this.reachInput();
      if (at >= 0) this.goToChip(Math.min(at, this.chips.children.length - 1), near);
      this.reachChips();
      this.none.hidden = this.kind !== "none";
      this.input.hidden = !hasChips;
      this.text.hidden = !isText;
      if (isText && !this.resting && this.written() !== (this.prompts[0] ?? "")) this.text.value = this.prompts[0] ?? "";
      this.number.value = String(this.seed);
      this.warning.textContent = this.note;
      this.warning.hidden = !this.note;
    }

    // What a caption is called in the page's language; asked for is always the caption.
    called(text) {
      return this.names[text] ?? text;
    }

    chip(text, n) {
      const nearest = this.unknown[text], called = this.called(text);
      const remove = make("button", { type: "button", "aria-label": this.say("remove", { text: called }), onclick: () => this.change(this.prompts.filter((_, k) => k !== n)) }, "×");
      const chip = make("span", { class: "ask-chip", title: text }, make("span", { class: "ask-word" }, called));
      if (nearest !== undefined) {
        chip.classList.add("unknown");
        chip.title = this.say("unknown", { text });
        if (nearest) chip.append(make("button", { type: "button", class: "ask-near", onclick: () => this.change(this.prompts.map((each, k) => (k === n ? nearest : each))) }, this.say("nearest", { nearest: this.called(nearest) })));
      }
      chip.append(remove);
      return chip;
    }

    // The chips are one stop of the Tab key; the arrow keys go along them and into the line, as in a text.
    chipNow() {
      return [...this.chips.children].findIndex((chip) => chip.contains(document.activeElement));
    }

    goToChip(n, near = false) {
      const chip = this.chips.children[n];
      ((near && chip?.querySelector(".ask-near")) || (chip?.querySelector("button:last-child") ?? this.input)).focus();
    }

    chipKey(event) {
      const at = this.chipNow(), last = event.target === this.chips.lastElementChild?.lastElementChild;
      if (event.key === "ArrowRight" && last) this.input.focus();
      else if (event.key === "Delete" || event.key === "Backspace") this.change(this.prompts.filter((_, n) => n !== at));
      else return;
      event.preventDefault();
    }

    // ---- typing

    // A prompt that is one text may have commas; it is sent when one rests, and before it is drawn.
    // Until then no note of the server lays the text of before over it.
    written() {
      return this.text.value.split(/\s+/).filter(Boolean).join(" ");
    }
    wrote() {
      this.rest();
      this.resting = setTimeout(() => this.send(), REST);
    }
    rest() {
      clearTimeout(this.resting);
      this.resting = 0;
    }
    send() {
      this.rest();
      const text = this.written();
      if (text !== (this.prompts[0] ?? "")) this.change(text ? [text] : []);
    }

    typed() {
      const parts = this.input.value.split(/[,，]/);
      if (parts.length < 2) return this.input.value.trim() ? this.offer() : this.hide();
      this.input.value = parts.pop().trimStart();
      this.add(...parts);
    }

    add(...texts) {
      const given = texts.map((text) => text.trim()).filter(Boolean).map((text) => this.meanings[text] ?? text);
      if (given.length) this.change([...this.prompts, ...given]);
      this.hide();
    }

    hide() {
      this.list.hidden = true;
      this.input.setAttribute("aria-expanded", "false");
      this.input.removeAttribute("aria-activedescendant");
      this.at = -1;
    }

    matches() {
      const text = this.input.value.trim().toLowerCase();
      const free = this.offers.filter((each) => !this.prompts.includes(each));
      if (!text) return free.slice(0, MOST_OFFERED);
      const both = (each) => [each.toLowerCase(), this.called(each).toLowerCase()];
      const found = free.filter((each) => both(each).some((said) => said.includes(text)));
      const begins = (each) => (both(each).some((said) => said.startsWith(text)) ? 0 : 1);
      const length = (each) => this.called(each).length;
      return found.sort((a, b) => begins(a) - begins(b) || length(a) - length(b)).slice(0, MOST_OFFERED);
    }

    // Small pictures of what is offered: `known` of them are, in one sheet, which is fetched once.
    show(faces) {
      const places = new Map((faces.known ?? []).map((offer, n) => [this.offers[offer], n]));
      this.faces = { ...faces, places };
      if (!this.list.hidden) this.offerAgain();
    }

    pictureOf(text) {
      const { src, side, across, places } = this.faces ?? {}, n = places?.get(text);
      const node = make("i", { class: "ask-face", "aria-hidden": "true" });
      if (n === undefined) return node;
      node.style.backgroundImage = `url("${src.url ?? src.path}")`;
      node.style.backgroundPosition = `${-side * (n % across)}px ${-side * Math.floor(n / across)}px`;
      return node;
    }

    offer() {
      if (!this.faces && this.kind) {
        this.faces = {};
        this.page.look();
      }
      const found = document.activeElement === this.input ? this.matches() : [];
      this.at = -1;
      const choose = (text) => (event) => {
        event.preventDefault(); // the focus stays
        this.input.value = "";
        this.add(text);
      };
      this.list.replaceChildren(...found.map((text, n) => make("li", { role: "option", id: `ask-offer-${n}`, "aria-selected": "false", title: text, onpointerdown: choose(text) }, ...(this.faces?.places?.size === 0 ? [] : [this.pictureOf(text)]), this.called(text))));
      this.list.hidden = !found.length;
      if (found.length) this.placeList();
      this.input.setAttribute("aria-expanded", String(!this.list.hidden));
      this.input.removeAttribute("aria-activedescendant");
    }

    // What is offered may come, or get its pictures, while a person points at some of it.
    offerAgain() {
      const pointed = this.list.children[this.at]?.title;
      this.offer();
      const found = [...this.list.children].findIndex((option) => option.title === pointed);
      if (found >= 0) this.point(found + 1);
    }

    leave() {
      const text = this.input.value;
      this.input.value = "";
      this.hide();
      if (text.trim()) this.add(text);
    }

    point(by) {
      const options = [...this.list.children];
      if (!options.length) return;
      this.at = (this.at + by + options.length + (this.at < 0 && by < 0 ? 1 : 0)) % options.length;
      options.forEach((option, n) => option.setAttribute("aria-selected", String(n === this.at)));
      this.input.setAttribute("aria-activedescendant", options[this.at].id);
      options[this.at].scrollIntoView({ block: "nearest" });
    }

    key(event) {
      if (event.key === "Enter" && !event.ctrlKey && !event.metaKey && !event.isComposing) {
        event.preventDefault();
        const text = this.at >= 0 ? this.list.children[this.at].textContent : this.input.value;
        this.input.value = "";
        this.add(text);
      } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
        event.preventDefault();
        if (this.list.hidden) this.offer();
        else this.point(event.key === "ArrowDown" ? 1 : -1);
      } else if (event.key === "Backspace" && !this.input.value && this.prompts.length) {
        this.change(this.prompts.slice(0, -1));
      } else if (event.key === "ArrowLeft" && !this.input.value && this.prompts.length) {
        event.preventDefault();
        this.goToChip(this.prompts.length - 1);
      } else if (event.key === "Escape" && !this.list.hidden) {
        event.stopPropagation();
        this.hide();
      }
    }

    // Below the bar; above it where that stands at the foot of a phone.
    placeList() {
      const box = this.input.getBoundingClientRect(), { style } = this.list;
      const above = box.top > window.innerHeight / 2;
      const width = Math.min(320, window.innerWidth - 24);
      style.width = `${width}px`;
      style.left = `${Math.max(12, Math.min(box.left, window.innerWidth - width - 12))}px`;
      style.top = above ? "auto" : `${box.bottom + 8}px`;
      style.bottom = above ? `${window.innerHeight - box.top + 8}px` : "auto";
    }

    // ---- drawing

    press() {
      if (this.state === "rest" || this.state === "paused") return this.draw();
      this.stopping = true;
      this.face();
      document.querySelector("#denoise-stop")?.click();
    }

    draw() {
      if (this.kind === "text") this.send();
      else this.leave();
      this.begin(() => this.page.submit());
    }

    begin(ask) {
      window.sdInpaint?.leave();
      this.toggle(false);
      this.be("waiting");
      this.begun += 1;
      ask();
      if (this.narrow.matches) document.querySelector("#denoise-player")?.scrollIntoView({ block: "start" });
    }

    pause() {
      if (this.state === "paused") this.play(0);
      else this.page.pause();
    }

    play(steps) {
      this.begun += 1;
      this.be("running"); // so that a second press is no second of these
      this.page.play({ steps });
    }

    // What shows that a sampling rests or pauses comes before gradio knows that its event has ended:
    // what was begun in between goes on.
    ended() {
      this.begun = Math.max(0, this.begun - 1);
      if (!this.begun) this.be("rest");
    }

    // rest, waiting for its turn, running, or paused.
    be(state) {
      if (state === "running" && this.stopping && this.state === "waiting") document.querySelector("#denoise-stop")?.click();
      if (state === "rest" && this.state === "paused" && !this.stopping) return; // the event has ended, not the sampling
      if (state === "rest" || state === "paused") this.stopping = false;
      if (state === "rest" && this.state === "running" && this.kind === "text") this.measure(); // now it is known
      this.state = state;
      this.face();
      if (state !== "waiting") this.queue("");
    }

    face() {
      const busy = this.state === "waiting" || this.state === "running";
      this.element.dataset.state = this.state;
      this.go.textContent = this.say(busy ? (this.stopping ? "stopping" : "stop") : "draw");
      this.go.classList.toggle("stop", busy); // Escape presses what stops
      this.seeding.hidden = this.state === "running" || this.state === "paused";
      this.ways.hidden = !this.seeding.hidden;
      this.stepping.hidden = this.state !== "paused";
      this.pausing.textContent = this.say(this.state === "paused" ? "resume" : "pause");
    }

    queue(text) {
      if (text === this.queued) return; // writing it is itself a change that is seen
      this.queued = text;
      const found = text.match(/(\d+)\s*\/\s*\d+/);
      const seconds = text.match(/([\d.]+)\/([\d.]+)s/); // waited, of about so many
      const place = found ? Number(found[1]) : 0;
      this.waiting = place && this.state === "waiting" ? this.say(seconds ? "queue_about" : "queue", { n: this.ordinal(place), s: seconds ? Math.max(1, Math.ceil(seconds[2] - seconds[1])) : 0 }) : "";
      this.writeLine();
    }

    ordinal(n) {
      const ends = sdSay(this.told.words.ordinals).split(" ");
      if (ends.length < 2) return `${n}`;
      const irregular = (n % 100 < 11 || n % 100 > 13) && n % 10 < ends.length;
      return `${n}${ends[irregular ? n % 10 : 0]}`;
    }

    // ---- the line of what is set

    set(settings) {
      this.settings = settings;
      this.writeLine();
      document.querySelector("#denoise-form")?.setAttribute("data-begin", settings.begin);
    }

    writeLine() {
      const { settings } = this;
      if (this.waiting) return this.line.replaceChildren(this.waiting);
      const words = {
        n: settings.steps, sampler: sdSay(this.told.samplers[settings.sampler]), guidance: settings.guidance, begin: sdSay(this.told.begins[settings.begin]),
      };
      const text = sdSay(this.told.words[this.kind === "none" ? "line_plain" : "line"]);
      const parts = text.split(/\[(\w+)\|([^\]]*)\]/); // plain, a field's name, the words that open it, plain ...
      this.all ??= make("button", { type: "button", class: "ask-all", "aria-expanded": "false", "aria-controls": "denoise-form", onclick: () => this.toggle() });
      if (this.narrow.matches) { // the whole line is one target for a thumb
        this.all.replaceChildren(make("span", {}, ...parts.map((part, k) => (k % 3 === 1 ? "" : fill(part, words)))), "⚙");
        this.line.replaceChildren(this.all);
      } else {
        const open = (name, said) => make("button", { type: "button", onclick: () => this.open(name) }, fill(said, words));
        this.all.replaceChildren(`${this.say("all")} ⚙`);
        this.line.replaceChildren(make("span", {}, ...parts.map((part, k) => (k % 3 === 2 ? open(parts[k - 1], part) : k % 3 ? "" : part))), this.all);
      }
      this.reachLine();
    }

    get panel() {
      return document.querySelector("#denoise-form");
    }

    // Below the bar, which is as high as its chips; on a phone the bar lies at the foot.
    toggle(whether = !this.panel.classList.contains("open")) {
      const { offsetTop, offsetHeight } = this.element.closest("#denoise-ask");
      this.panel.style.top = this.narrow.matches ? "" : `${offsetTop + offsetHeight + 8}px`;
      this.panel.classList.toggle("open", whether);
      this.all.setAttribute("aria-expanded", String(whether));
    }

    open(name) {
      this.toggle(true);
      const field = this.panel.querySelector(`[data-name="${name}"]`);
      field?.scrollIntoView({ block: "nearest" });
      field?.querySelector("input, select, textarea")?.focus();
    }
  }

  const mount = (element, props, page, told) => {
    bar = new Bar(element, props, page, told);
  };

  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && visible(bar?.go) && ["rest", "paused"].includes(bar.state)) {
      event.preventDefault();
      bar.draw();
    }
    if (event.key === "Escape" && bar?.panel?.classList.contains("open") && bar.panel.contains(event.target)) {
      event.stopPropagation();
      bar.toggle(false);
      bar.all.focus();
    }
  }, true);
  document.addEventListener("pointerdown", (event) => {
    const panel = bar?.panel;
    if (panel?.classList.contains("open") && !panel.contains(event.target) && !bar.element.contains(event.target)) bar.toggle(false);
  });

  // gradio tells the place in its queue on the line of the stage: it is said on ours.
  new MutationObserver(() => {
    if (bar?.state === "waiting") bar.queue(document.querySelector("#denoise-status .progress-text")?.textContent ?? "");
  }).observe(document, { childList: true, subtree: true, characterData: true });

  const begins = () => [...bar.panel.querySelectorAll('[data-name="begin"] input')];
  // What is asked for and where it starts, as it is now; and as it was.
  const asked = () => ({ prompts: [...bar.prompts], begin: begins().findIndex((each) => each.checked) });
  const restore = ({ prompts, begin }) => {
    bar.change(prompts);
    begins()[begin]?.click();
  };
  window.sdPrompt = { mount, set: (settings) => bar?.set(settings), be: (state) => bar?.be(state), ended: () => bar?.ended(), asked, restore };
})();
