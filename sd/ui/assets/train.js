// The run on the Train tab: its clock and what steers it, the samples with their timeline, and the
// tools that look at it. While it is in sight it asks the server what is new, telling what it has.
(() => {
  "use strict";
  const TICK = 1000, REST = 5; // ms between two looks; a run that does not live is asked for every fifth
  const PLAY_MS = [90, 350], PLAY_WHOLE = 6000; // of one sheet of samples in the film, and of the film
  const NARROW = "(max-width: 860px)"; // a window whose parts stand below each other, as in train.css
  const SIDE = 32, GAP = 2, ACROSS = 4; // of the noise before the first samples, in pixels

  const make = window.sdMake;
  const fill = (text, values) => text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
  const plain = (value) => JSON.parse(JSON.stringify(value ?? null));
  const count = (number) => number.toLocaleString("en-US");
  const clock = (seconds) => {
    const whole = Math.round(seconds), two = (n) => String(n).padStart(2, "0");
    const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
    return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
  };

  // Sixteen squares of noise: what every sample begins as.
  function noise() {
    const size = ACROSS * (SIDE + GAP) - GAP, canvas = make("canvas", { width: size, height: size });
    const pen = canvas.getContext("2d"), image = pen.createImageData(size, size);
    let state = 1;
    const uniform = () => ((state = (state * 48271) % 2147483647) / 2147483647);
    for (let y = 0, at = 0; y < size; y++) {
      for (let x = 0; x < size; x++, at += 4) {
        if (x % (SIDE + GAP) >= SIDE || y % (SIDE + GAP) >= SIDE) continue;
        for (let c = 0; c < 3; c++) {
          const normal = Math.sqrt(-2 * Math.log(uniform())) * Math.cos(6.2832 * uniform());
          image.data[at + c] = 127.5 + 64 * Math.max(-2, Math.min(2, normal));
        }
        image.data[at + 3] = 255;
      }
    }
    pen.putImageData(image, 0, 0);
    return canvas.toDataURL();
  }

  class Panel {
    constructor(element, props, page) {
      Object.assign(this, { element, props, page, words: {}, sheets: [], head: null, coach: [] });
      Object.assign(this, { run: "", byPage: true, isWanted: false, pulse: "", part: {}, at: 0, follows: true, ticks: 0 });
      Object.assign(this, { tool: "samples", view: "averaged", curve: "loss", line: 0, received: 0 });
      for (const [key, text] of Object.entries(props.words)) this.words[key] = sdSay(text);
      this.noise = noise();
      this.build();
      page.watch("value", () => this.take());
      this.take();
      this.timer = setInterval(() => this.tick(), TICK);
      document.addEventListener("visibilitychange", () => this.isSeen() && this.ask("tick"));
      new IntersectionObserver((seen) => seen.some((each) => each.isIntersecting) && this.ask("tick")).observe(this.root);
      this.draw();
    }

    build() {
      const { words } = this, root = (this.root = this.element.querySelector(".run-panel"));
      this.big = make("span", { className: "run-big" });
      this.facts = make("p", { className: "run-facts" });
      this.verbs = make("div", { className: "run-verbs" });
      this.bar = make("i");
      this.track = make("div", { className: "track", role: "progressbar", "aria-label": words.progress_alt, "aria-valuemin": 0, "aria-valuemax": 100 }, this.bar);
      this.told = make("p", { className: "unseen", role: "status" });
      this.image = make("img", { alt: "", draggable: false });
      this.sheet = make("button", { type: "button", className: "run-sheet", title: words.enlarge }, this.image);
      this.sheet.addEventListener("click", () => this.enlarge());
      this.drawn = make("div", { className: "run-drawn", hidden: true, tabIndex: 0 });
      this.play = make("button", { type: "button", className: "run-play" });
      this.play.addEventListener("click", () => (this.film ? this.hold() : this.start()));
      this.slider = make("input", { type: "range", min: 0, max: 0, step: 1, "aria-label": words.timeline, id: "train-timeline" });
      this.slider.addEventListener("input", () => {
        const place = Number(this.slider.value);
        this.hold();
        this.goTo(place);
      });
      this.place = make("span", { className: "run-place" });
      this.bars = make("div", { className: "tools", role: "toolbar", "aria-label": words.run_tools });
      this.note = make("div", { className: "run-note" });
      root.append(
        make("div", { className: "run-head" }, this.big, this.facts, this.verbs),
        this.track, this.told,
        make("div", { className: "run-stage" }, this.sheet, this.drawn),
        make("div", { className: "run-time" }, this.play, this.slider, this.place),
        this.bars, this.note,
      );
      this.buildTools();
    }

    buildTools() {
      this.buttons = Object.fromEntries(this.props.tools.map(([tool, icon]) => {
        const button = make("button", { type: "button", "aria-expanded": "false" });
        button.innerHTML = `<svg viewBox="0 0 20 20" aria-hidden="true">${icon}</svg><span></span>`;
        button.querySelector("span").textContent = this.words[`run_${tool}`];
        if (tool === "save") { button.title = this.words.run_save; button.querySelector("span").className = "unseen"; }
        button.dataset.tool = tool;
        button.addEventListener("click", () => this.choose(tool));
        return [tool, button];
      }));
      this.badge = make("b", { hidden: true });
      this.buttons.coach.append(this.badge);
      this.drawWith = make("button", { type: "button", className: "run-draw", id: "train-draw", hidden: true }, this.words.draw_with);
      this.drawWith.addEventListener("click", () => this.page.trigger("apply", { run: this.run }));
      this.bars.append(...Object.values(this.buttons), this.drawWith);
      sdOneStop(this.bars, () => Object.values(this.buttons));
    }

    // What is asked and told.

    isSeen() {
      return document.visibilityState === "visible" && this.root.offsetParent !== null;
    }
    tick() {
      if (!this.root.isConnected) { clearInterval(this.timer); return; }
      if (!this.isSeen()) return;
      if (this.head?.seconds != null) this.big.textContent = clock(this.head.seconds + (Date.now() - this.received) / 1000);
      this.ticks++;
      if (this.byPage && !this.head?.alive && document.querySelector("#train-start.busy")) return; // it tells of its run itself
      if (this.head?.alive || this.ticks % REST === 0) this.ask("tick");
    }
    state() {
      const { run, pulse, tool, view, curve } = this;
      const asked = run ? "" : new URL(location.href).searchParams.get("run") ?? "";
      const step = this.follows ? null : this.at === 0 ? 0 : this.sheets[this.at - 1]?.step ?? null;
      const steps = this.sheets.map((each) => each.step);
      return { run, asked, by_page: this.byPage, pulse, drawn: this.part.key ?? "", steps, step, tool, view, curve };
    }
    ask(kind) {
      if (this.isSeen()) this.page.trigger(kind, this.state());
    }
    press(what, more = {}) {
      this.page.trigger("click", { do: what, run: this.run, ...more });
    }

    take() {
      const value = plain(this.props.value);
      if (value?.choose) this.show(value.choose, true);
      if (value?.follow) this.show(value.follow, false);
      if (value?.ask) this.ask("input");
      if (value?.runs) this.list(value.runs);
      if (value?.file) this.save(value.file);
      if (value?.patch) this.apply(value.patch);
    }
    show(run, isWanted) {
      const here = new URL(location.href);
      here.searchParams.set("run", run);
      history.replaceState(history.state, "", here);
      Object.assign(this, { run: "", pulse: "", part: {}, byPage: false, isWanted, comes: matchMedia(NARROW).matches });
      if (this.comes && this.isSeen()) {
        // What is shown of the run before goes while little of it is in sight.
        Object.assign(this, { head: null, sheets: [], at: 0, follows: true });
        this.draw();
        this.comeIntoView();
      }
      this.ask("input");
    }
    // What stands above changes with the run: it goes out of sight before, and keeps its place as long as the
    // run is at work, so that nothing is seen to move.
    comeIntoView() {
      this.comes = false;
      this.root.classList.add("came");
      const left = this.root.closest(".page")?.querySelector(".side");
      left?.style.setProperty("--kept", `${left.offsetHeight}px`);
      requestAnimationFrame(() => requestAnimationFrame(() => this.root.scrollIntoView({ block: "start" })));
    }
    apply(patch) {
      // On a telephone the run that goes on stands first where the page opens with it; one that begins
      // or ends later moves nothing.
      if (!("ready" in this.root.dataset)) this.root.classList.toggle("first", Boolean(patch.head?.alive));
      this.root.dataset.ready = "";
      const other = patch.run !== this.run;
      if (other ? this.run : !this.head?.drawable) this.isWanted = true; // it came, or ripened, before one's eyes
      if (other) Object.assign(this, { sheets: [], at: 0, follows: true, line: 0 });
      Object.assign(this, { run: patch.run, byPage: patch.by_page, pulse: patch.pulse ?? this.pulse });
      if (patch.sheets) this.sheets = [...this.sheets.slice(0, patch.sheets.keep), ...patch.sheets.more];
      if (patch.head && (other || patch.head.state !== this.head?.state)) window.dispatchEvent(new Event("sd-run"));
      if (patch.head) Object.assign(this, { head: patch.head, received: Date.now() });
      if (patch.coach) this.coach = patch.coach;
      if (patch.part) this.part = patch.part;
      if (this.follows || this.at > this.sheets.length) this.at = this.sheets.length;
      this.draw();
      if (this.comes) this.comeIntoView();
      // The run that was begun or chosen here is the page's model as soon as it can be drawn with; one
      // that the page found when it opened is not.
      if (this.head?.drawable && this.isWanted) {
        this.isWanted = false;
        this.page.trigger("select", { run: this.run });
      }
    }

    // What is drawn.

    draw() {
      this.drawHead();
      this.drawTime();
      this.drawTools();
      this.drawStage();
    }
    drawHead() {
      const head = this.head ?? { big: "", facts: [], verbs: [], share: null, primary: "", told: "" };
      this.root.dataset.state = head.state ?? "";
      this.root.dataset.primary = head.primary;
      this.root.dataset.step = head.step ?? "";
      this.root.dataset.run = this.run;
      this.root.classList.toggle("alive", Boolean(head.alive));
      this.big.textContent = head.big;
      const kept = head.kept ? [fill(this.words.kept_until, { time: window.sdTime(head.kept) })] : [];
      const facts = [...head.facts, ...kept];
      this.facts.replaceChildren(...facts.map((each) => make("span", {}, each)));
      this.facts.title = facts.join(" · ");
      this.track.classList.toggle("none", head.share == null);
      this.bar.style.width = `${100 * (head.share ?? 0)}%`;
      this.track.setAttribute("aria-valuenow", Math.round(100 * (head.share ?? 0)));
      if (this.told.textContent !== head.told) this.told.textContent = head.told;
      const wanted = head.verbs.join(" ") + head.primary;
      if (this.verbs.dataset.shown === wanted) return;
      this.verbs.dataset.shown = wanted;
      this.verbs.replaceChildren(...head.verbs.flatMap((verb) => this.verb(verb, head.primary)));
    }
    verb(verb, primary) {
      const button = make("button", { type: "button", id: `train-${verb.replace("_", "-")}`, className: verb === primary ? "blue" : verb }, this.words[verb]);
      if (verb !== "further") {
        button.addEventListener("click", () => {
          if (verb === "leave" && button.textContent !== this.words.leave_sure) { button.textContent = this.words.leave_sure; return; }
          button.disabled = true; // until the run's state is another one, or it was refused
          this.press(verb);
          setTimeout(() => { button.disabled = false; }, 4000);
        });
        return [button];
      }
      const minutes = make("input", { type: "number", min: 0.1, step: "any", value: this.minutes ?? "3", id: "train-further-minutes", "aria-label": this.words.further_field });
      minutes.addEventListener("input", () => { this.minutes = minutes.value; });
      button.addEventListener("click", () => this.press("further", { minutes: Number(minutes.value) }));
      return [make("span", { className: "run-further" }, minutes, button)];
    }
    drawTime() {
      const last = this.sheets.length;
      Object.assign(this.slider, { max: last, disabled: !last });
      this.slider.value = this.at;
      this.slider.style.setProperty("--done", `${last ? (100 * this.at) / last : 0}%`);
      this.play.textContent = this.film ? "❚❚" : "▶";
      this.play.setAttribute("aria-label", this.words[this.film ? "film_hold" : "film_play"]);
      this.play.disabled = !last;
      const step = this.at ? this.sheets[this.at - 1].step : 0;
      const here = fill(this.words[step ? "timeline_step" : "timeline_noise"], { step: count(step) });
      const kept = !last && this.part.src; // what an autoencoder makes, before there is anything to sample
      this.place.textContent = kept ? "" : this.at === last && last ? this.words.timeline_all : here;
      this.slider.setAttribute("aria-valuetext", here);
    }
    drawTools() {
      for (const [tool, button] of Object.entries(this.buttons)) button.setAttribute("aria-expanded", String(tool === this.tool));
      this.badge.hidden = !this.coach.length;
      this.badge.textContent = this.coach.length;
      this.drawWith.hidden = !this.head?.drawable;
      this.drawWith.classList.toggle("blue", this.head?.primary === "draw");
      const fresh = JSON.stringify([this.tool, this.view, this.curve, this.line, this.coach, this.part.note, this.head?.at_work, this.head?.saveable, this.head?.curves, this.run, this.sheets.length > 0, this.head?.step > 0]);
      if (this.note.dataset.shown === fresh) return;
      this.note.dataset.shown = fresh;
      this.note.replaceChildren(...NOTES[this.tool].call(this).filter(Boolean));
    }
    drawStage() {
      const drawn = ["loss", "nearest"].includes(this.tool) && Boolean(this.part.stage); // till it has come, the samples stay
      this.drawn.hidden = !drawn;
      this.sheet.hidden = drawn;
      if (drawn && this.drawn.dataset.key !== this.part.key) {
        this.drawn.dataset.key = this.part.key;
        this.drawn.className = `run-drawn ${this.tool}`;
        this.drawn.innerHTML = this.part.stage ?? "";
      }
      const sheet = this.at ? this.sheets[this.at - 1] : null;
      const own = this.view === "raw" || !this.sheets.length; // before there are samples: reconstructions
      const raw = own && this.tool === "samples" ? this.part.src?.url : null;
      const src = raw ?? (sheet ? sheet.src?.url : this.noise) ?? this.noise;
      if (this.image.getAttribute("src") !== src) this.image.src = src;
      this.image.alt = sheet ? fill(this.words.samples_alt, { name: this.run, step: count(sheet.step) }) : this.words.timeline_noise;
    }

    // What a person does.

    choose(tool) {
      this.tool = tool;
      this.part = tool === "samples" || tool === "coach" || tool === "save" ? { key: this.part.key } : {};
      this.draw();
      this.ask("input");
    }
    goTo(place) {
      this.at = place;
      this.follows = place === this.sheets.length;
      this.drawTime();
      this.drawStage();
      clearTimeout(this.waiting);
      if (!this.film) this.waiting = setTimeout(() => this.ask("input"), 200);
    }
    start() {
      if (this.at >= this.sheets.length) this.at = 0;
      const pace = Math.min(PLAY_MS[1], Math.max(PLAY_MS[0], PLAY_WHOLE / Math.max(this.sheets.length, 1)));
      for (const each of this.sheets) if (each.src?.url) new Image().src = each.src.url;
      this.goTo(this.at);
      this.film = setInterval(() => {
        if (this.at >= this.sheets.length) { this.hold(); this.ask("input"); return; }
        this.goTo(this.at + 1);
      }, pace);
      this.drawTime();
    }
    hold() {
      clearInterval(this.film);
      this.film = null;
      this.drawTime();
    }
    enlarge() {
      const image = make("img", { src: this.image.src, alt: this.image.alt });
      const close = make("button", { type: "button", "aria-label": this.words.close }, "✕");
      const dialog = make("dialog", { className: "run-large" }, image, close);
      dialog.setAttribute("aria-label", this.image.alt);
      dialog.addEventListener("click", () => dialog.close());
      dialog.addEventListener("close", () => { dialog.remove(); this.sheet.focus(); });
      this.root.append(dialog);
      dialog.showModal();
    }
    list(names) {
      const all = this.note.querySelector("select.runs");
      if (!all) return;
      all.replaceChildren(...names.map((name) => make("option", { value: name, selected: name === this.run }, name)));
    }
    save({ src, name }) {
      const link = make("a", { href: src.url, download: name });
      this.root.append(link);
      link.click();
      link.remove();
    }

    switch(key, all, chosen, change) {
      const group = make("div", { className: "switch-row", role: "radiogroup", "aria-label": this.words[key] });
      group.append(...all.map((each) => {
        const radio = make("input", { type: "radio", name: `run-${key}`, value: each, checked: each === chosen });
        radio.addEventListener("change", () => change(each));
        return make("label", {}, radio, make("span", {}, this.words[`${key}_${each}`]));
      }));
      return group;
    }
    button(key, act, kind = "") {
      const button = make("button", { type: "button", id: `train-${key.replace(/_/g, "-")}`, className: kind }, this.words[key]);
      button.addEventListener("click", () => act(button));
      return button;
    }
    partNote() {
      const told = make("div", { className: "run-told" });
      told.innerHTML = this.part.note ?? "";
      return told;
    }
  }

  const NOTES = { // what stands below the bar, tool by tool
    samples() {
      const view = this.switch("view", ["averaged", "raw"], this.view, (word) => { this.view = word; this.draw(); this.ask("input"); });
      const now = this.head?.at_work && this.head.step && this.button("sample_now", () => this.press("sample_now"));
      const row = [this.sheets.length && view, now].filter(Boolean);
      return [row.length && make("div", { className: "run-row" }, ...row), this.partNote()];
    },
    nearest() {
      return [this.partNote()];
    },
    loss() {
      const all = this.head?.curves ?? this.props.curves;
      return [this.switch("curve", all, this.curve, (word) => { this.curve = word; this.ask("input"); })];
    },
    coach() {
      if (!this.coach.length) return [make("p", { className: "note" }, this.words.no_line)];
      this.line = Math.min(this.line, this.coach.length - 1);
      const { line, fix, button } = this.coach[this.line];
      const mend = fix && make("button", { type: "button", className: "fix" }, button);
      mend?.addEventListener("click", () => this.page.trigger("edit", { run: this.run, fix }));
      const more = this.coach.length > 1 && make("button", { type: "button", className: "run-next", "aria-label": this.words.next_line }, `${this.line + 1} / ${this.coach.length} ›`);
      if (more) more.addEventListener("click", () => { this.line = (this.line + 1) % this.coach.length; this.drawTools(); this.note.querySelector(".run-next").focus(); });
      return [make("p", { className: "run-line" }, line), make("div", { className: "run-row" }, ...[mend, more].filter(Boolean))];
    },
    save() {
      const form = make("select", { "aria-label": this.words.bundle_as, id: "train-form" }, ...this.props.forms.map((each) => make("option", { value: each }, this.words[`bundle_as_${each}`])));
      const whole = make("input", { type: "checkbox", checked: true, id: "train-whole" });
      const about = make("label", {}, whole, make("span", {}, this.words.bundle_whole));
      form.addEventListener("change", () => { about.hidden = form.value !== "zip"; });
      const pack = this.button("download", () => this.page.trigger("download", { run: this.run, form: form.value, whole: whole.checked }));
      const runs = make("select", { className: "runs", "aria-label": this.words.run, id: "train-runs" }, make("option", { value: this.run }, this.run));
      const list = () => { if (runs.options.length < 2) this.press("runs"); };
      for (const kind of ["focus", "pointerdown"]) runs.addEventListener(kind, list);
      runs.addEventListener("change", () => this.press("choose", { run: runs.value }));
      const file = make("input", { type: "file", accept: ".zip", hidden: true, id: "train-bundle" });
      file.addEventListener("change", () => this.open(file.files[0]));
      const open = this.button("open_bundle", () => file.click());
      const save = this.head?.at_work && this.button("save_now", () => this.press("save_now"));
      return [
        this.head?.saveable && make("div", { className: "run-row" }, form, about, pack),
        make("div", { className: "run-row" }, runs, open, ...(save ? [save] : []), file),
      ];
    },
  };
  Panel.prototype.open = async function open(file) {
    if (!file) return;
    const { path } = await this.page.upload(file);
    this.page.trigger("upload", { file: path });
  };

  const openTab = (id) => document.querySelector(`[role="tab"][data-tab-id="${id}"], #${id}-button`)?.click();
  window.sdTrain = { mount: (element, props, page) => new Panel(element, props, page), openTab };
})();
