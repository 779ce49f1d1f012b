// The player of films: every step of a sampling at the hand's speed, without a request.
// Needs parts.js, reel.js, cards.js, tree.js, lanes.js, strip.js, numbers.js and play.js.
// sdPlayer.mount(element, {address, onSelect, onNode, onBrush, numbers}) -> {update(value), develop({id, stills}), destroy()}
// A value is {lanes: [film, ...], words: {key: text}, names: {caption: text}, live, at, opening, picture, nodes}, and a film is what Film.json
// of sd.generation.film tells. One film is a card for each of its pictures, several are lanes.
// across: how many there will be. opening: play it once, fast, then rest at its end. nodes: other films to compare with or go to,
// {number, parent, shown, film}. numbers: id of an element that shows the numbers, if it is there.
// "sdp-numbers" brings that element once it is in sight.
// onBrush: a finished picture is asked to be painted on; "sdp-other" tells that its card has gone.
(() => {
  "use strict";
  const REST = 200; // ms for which the slider rests before it is told
  const AHEAD = 8; // frames
  const { make, put, icon, fill, plain } = sdParts;
  const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
  let mounts = 0;

  class Player {
    constructor(element, options) {
      Object.assign(this, { element, options, lanes: [], words: {}, names: {}, view: "", at: 1, lane: 0, picture: 0, cut: 50 });
      this.id = (mounts += 1);
      this.address = options.address ?? ((src) => src);
      this.root = make("div", { class: "sd-player", role: "group", onkeydown: (event) => this.key(event) });
      this.root.addEventListener("sdp-numbers", ({ detail }) => this.numbers.lie(detail));
      element.replaceChildren(this.root);
      this.outside = (event) => this.panel?.parentNode.contains(event.target) || this.open(false);
      document.addEventListener("pointerdown", this.outside);
      this.cards = new sdCards.Cards(this);
      this.nodes = new sdTree.Nodes(this);
      this.stage = new sdLanes.LaneView(this);
      this.strip = new sdStrip.Strip(this);
      this.numbers = new sdNumbers.Numbers(this);
      this.play = new sdPlay.Play(this);
      this.sight = new IntersectionObserver((seen) => {
        this.seen = seen[seen.length - 1].isIntersecting;
        this.later();
      });
      this.sight.observe(this.root);
    }

    say(key, values = {}) {
      return fill(this.words[key] ?? "", values); // never a key: a tooltip would show it
    }

    destroy() {
      this.gone = true;
      this.play.pause();
      clearTimeout(this.rest);
      document.removeEventListener("pointerdown", this.outside);
      this.sight.disconnect();
      for (const part of [this.cards, this.nodes, this.stage, this.numbers]) part.close();
      for (const lane of this.lanes) lane.reel.close();
      this.root.remove();
    }

    update(value) {
      const { lanes = [], words = {}, names = this.options.names ?? {}, at, opening, picture, nodes = [], across = lanes.length } = value ?? {};
      Object.assign(this, { names, across });
      if (JSON.stringify(words) !== JSON.stringify(this.words) || !this.slider) {
        this.words = words;
        this.build();
      }
      const ids = lanes.map((film) => film.id).join();
      const others = ids !== this.ids;
      if (others && Number.isInteger(picture)) this.picture = picture;
      if (others) this.exchange(lanes, at);
      else lanes.forEach((film, place) => (this.lanes[place].film = film));
      if (others && opening && lanes.length === 1) {
        this.play.opening = !still();
        this.told = `${lanes[0].id} ${lanes[0].frames[lanes[0].frames.length - 1].i} ${this.picture}`; // nobody went there
      }
      this.ids = ids;
      const ended = this.running && !lanes.some((film) => film.running);
      this.running = lanes.some((film) => film.running);
      for (const lane of this.lanes) lane.reel.update(lane.film);
      this.nodes.update(nodes);
      this.rearrange();
      this.render();
      if (ended || (others && !this.running)) this.tell();
    }

    // Other films: those that stay keep their pictures and the place on the way.
    exchange(films, at) {
      const share = this.lanes.length ? this.at / this.lead.film.total : null;
      const kept = new Map(this.lanes.map((lane) => [lane.film.id, lane]));
      const stays = films.some((film) => kept.has(film.id));
      this.lanes = films.map(
        (film) => kept.get(film.id) ?? { film, reel: new sdReel.Reel(this.address, () => this.later()) },
      );
      films.forEach((film, place) => (this.lanes[place].film = film));
      for (const [id, lane] of kept) if (!films.some((film) => film.id === id)) lane.reel.close();
      this.root.dispatchEvent(new CustomEvent("sdp-other", { bubbles: true }));
      this.root.dataset.film = films.map((film) => film.id).join();
      this.lane = 0;
      this.arranged = this.told = "";
      this.held = false;
      this.compared = null;
      this.picture = Math.min(this.picture, Math.max(0, (films[0]?.count || 1) - 1));
      this.play.pause();
      this.following = films.some((film) => film.running) || !(stays || at);
      if (films.length) this.at = stays ? share * this.lead.film.total : (at ?? 1);
    }

    // Whether films are side by side, be it that all but one are still to come.
    get many() {
      return this.across > 1;
    }

    // The longest lane gives the slider its steps.
    get lead() {
      return this.lanes.reduce((best, lane) => (lane.film.total > best.film.total ? lane : best), this.lanes[0]);
    }

    get kinds() {
      const both = this.view === "both" ? ["x_t", "x0"] : [this.view];
      return both.filter((kind) => this.lanes.some(({ film }) => film.kinds.includes(kind)));
    }

    // The place (from 1) of a lane's frame at a share of its network calls; 0 if there is none yet.
    placeOf(lane, share = this.at / this.lead.film.total) {
      const { frames, total } = lane.film;
      let place = Math.min(lane.reel.ready, frames.length);
      while (place > 1 && frames[place - 1].i > share * total + 1e-6) place -= 1;
      return place;
    }

    frameOf(lane) {
      return lane.film.frames[this.placeOf(lane) - 1];
    }

    // ---- the page around the pictures

    build() {
      const button = (key, act) => {
        const made = make("button", { type: "button", class: `sdp-${key}`, title: this.say(key), "aria-label": this.say(key), onclick: act }, icon(key));
        return (this[`${key}Button`] = made);
      };
      this.slider = make("input", { type: "range", class: "sdp-slider", step: 1, "aria-label": this.say("step"), oninput: () => this.move(Number(this.slider.value)) });
      this.slider.addEventListener("pointerdown", () => (this.held = true));
      for (const end of ["pointerup", "pointercancel", "change"]) this.slider.addEventListener(end, () => this.release());
      this.held = false;
      this.speedButton = make("button", { type: "button", class: "sdp-speed", title: this.say("speed"), onclick: () => this.showSpeed(this.play.faster()) });
      this.switch = make("div", { class: "sdp-switch", role: "radiogroup", "aria-label": this.say("view") });
      this.where = make("span", { class: "sdp-where" });
      this.line = make("span", { class: "sdp-line" });
      this.news = make("p", { class: "sdp-news", role: "status" });
      const ways = make("div", { class: "sdp-buttons" }, button("back", () => this.step(-1)), button("forward", () => this.step(1)), button("loop", () => this.showLoop(this.play.loop())), this.speedButton);
      this.moreButton = make("button", { type: "button", class: "sdp-more", title: this.say("menu"), "aria-label": this.say("menu"), onclick: () => this.open(this.panel.hidden) }, icon("menu"));
      this.panel = make("div", { class: "sdp-panel" }, this.switch, ways, this.numbers.node);
      const menu = make("div", { class: "sdp-menu" }, this.moreButton, this.panel);
      const play = button("play", () => this.play.toggle());
      const bar = make("div", { class: "sdp-bar" }, play, this.slider, make("p", { class: "sdp-told" }, this.where, this.line), menu);
      const strip = make("div", { class: "sdp-strip" }, this.strip.node, this.nodes.node);
      this.root.setAttribute("aria-label", this.say("player"));
      this.root.replaceChildren(this.cards.node, this.stage.node, bar, strip, this.news, this.cards.large.node);
      this.open(false);
      this.showPlay();
      this.showLoop(this.play.looping);
      this.showSpeed(this.play.speed);
      this.divide(this.cut);
      this.arranged = "";
    }

    open(whether) {
      if (!this.panel) return;
      this.panel.hidden = !whether;
      this.moreButton.setAttribute("aria-expanded", whether);
    }

    // Panes, numbers and thumbnails for the films and the view at hand; only where these changed.
    rearrange() {
      const offered = ["both", "x_t", "x0", "eps", "change"].filter((view) =>
        this.lanes.some(({ film }) => film.kinds.includes(view === "both" ? "x0" : view)),
      );
      if (!offered.includes(this.view) || !this.chosen) this.view = this.many ? "x_t" : offered[0] ?? "both";
      const shape = JSON.stringify([this.view, offered, this.lanes.map(({ film }) => [film.id, film.label, film.total, film.count, film.captions])]);
      if (shape === this.arranged) return;
      this.arranged = shape;
      const { many } = this;
      this.root.dataset.lanes = this.lanes.length;
      this.root.dataset.view = this.view;
      this.arrangeSwitch(offered);
      this.cards.node.hidden = many;
      this.stage.node.hidden = !many;
      const first = this.lanes[0]?.film;
      if (!many) this.cards.arrange(first?.count ? first : null);
      this.stage.arrange(many ? this.lanes : []);
      this.numbers.arrange(this.lanes);
      this.strip.arrange(this.lanes[this.lane]);
    }

    arrangeSwitch(offered) {
      const focused = this.switch.contains(document.activeElement);
      this.switch.replaceChildren(
        ...offered.map((view) => {
          const input = make("input", { type: "radio", name: `sdp-view-${this.id}`, value: view, onchange: () => this.look(view) });
          input.checked = view === this.view;
          return make("label", {}, input, make("span", {}, this.say(`view_${view}`)));
        }),
      );
      if (focused) this.switch.querySelector("input:checked")?.focus();
    }

    // ---- what is shown

    later() {
      if (this.waiting || this.gone) return;
      this.waiting = requestAnimationFrame(() => {
        this.waiting = 0;
        if (this.gone) return;
        this.render();
        if (this.play.opening && !this.play.on) this.play.open();
        this.tell(); // pictures that came late may be those of the place that was asked for
      });
    }

    render() {
      if (!this.lanes.length) return this.idle();
      const { lead } = this;
      if (this.following && lead.reel.ready) this.at = lead.film.frames[lead.reel.ready - 1]?.i ?? this.at;
      const frame = this.frameOf(lead);
      // A place whose pictures are still on their way is kept, and shown when they are here.
      if (frame && lead.reel.ready >= lead.film.frames.length) {
        this.at = Math.max(frame.i, Math.min(this.at, lead.film.frames[lead.reel.ready - 1].i));
      }
      this.slider.min = Math.min(lead.film.frames[0]?.i ?? 1, lead.film.total);
      this.slider.max = lead.film.total;
      this.slider.value = frame ? this.at : this.slider.min;
      this.slider.disabled = this.playButton.disabled = !frame;
      this.mark(lead, frame);
      if (this.many) this.stage.render(this.lanes);
      else if (frame) this.renderCards(lead, frame);
      const chosen = this.lanes[this.lane];
      this.numbers.render(chosen, this.frameOf(chosen), document.getElementById(this.options.numbers ?? "") ?? this.panel);
      this.strip.render(chosen);
      this.nodes.render();
      this.renderNews();
    }

    idle() {
      this.slider.disabled = this.playButton.disabled = true;
      delete this.root.dataset.step;
      delete this.root.dataset.t;
      this.where.textContent = this.line.textContent = this.news.textContent = "";
    }

    mark(lead, frame) {
      const { film, reel } = lead;
      const spread = this.slider.max - this.slider.min || 1;
      const share = (i) => `${(100 * (i - this.slider.min)) / spread}%`;
      this.slider.style.setProperty("--reach", share(film.frames[reel.ready - 1]?.i ?? this.slider.min));
      this.slider.style.setProperty("--place", share(frame ? this.at : this.slider.min));
      const text = frame ? this.whereText(film, frame) : this.say("waiting");
      this.slider.setAttribute("aria-valuetext", text);
      const { many } = this;
      put(this.where, !many && (frame || film.running) ? text : "");
      put(this.line, many || !frame ? "" : film.line || this.captionOf(film, frame));
      this.root.dataset.step = frame?.i ?? 0;
      this.root.dataset.t = frame?.t ?? "";
      this.root.dataset.ready = reel.ready;
      this.root.dataset.ended = !film.running && film.frames[film.frames.length - 1]?.i === film.total;
    }

    // What the halves of the cards are, or the one thing that they show.
    captionOf(film, frame) {
      if (this.compared) return this.say("compare", { other: this.compared.label });
      if (this.view !== "both") return this.say(`caption_${this.view}`);
      return frame.i < film.total ? this.say("caption_both") : "";
    }

    altOf(kind, film, frame) {
      return this.say(`alt_${kind}`, { i: frame.i, n: film.total, t: plain(frame.t, 1) });
    }

    whereText(film, frame) {
      return this.say("where", { i: frame.i, n: film.total });
    }

    // The layers of each card: below x_t or what is looked at; over it the estimate, until the last
    // step, or the same of a film to compare with.
    renderCards(lane, frame) {
      const { film, reel } = lane;
      const place = this.placeOf(lane);
      const kind = this.view === "both" ? "x_t" : this.view;
      const layer = (what, from, at) => ({ kind: what, film: from.film, frame: from.film.frames[at - 1], found: from.reel.sheet(what, at) });
      const layers = [layer(kind, lane, place)];
      const other = this.compared && { film: this.compared, reel: this.nodes.reelOf(this.compared) };
      if (other && this.placeOf(other)) layers.push(layer(kind, other, this.placeOf(other)));
      else if (this.view === "both" && frame.i < film.total) layers.push(layer("x0", lane, place));
      this.root.dataset.split = layers.length === 2;
      this.cards.render(() => layers);
      for (const { kind: each } of layers) this.decodeAhead(reel, each, place);
    }

    // While it plays, what comes soon is opened before it is shown.
    decodeAhead(reel, kind, place) {
      if (this.play.on) reel.sheet(kind, Math.min(place + AHEAD, reel.ready));
    }

    renderNews() {
      const states = this.lanes.flatMap((lane) => lane.reel.parts.map((part) => part.state));
      const state = ["lost", "late"].find((each) => states.includes(each)) ?? "";
      if (state === this.state) return;
      this.state = state;
      this.news.replaceChildren(state && this.say(state));
      if (state === "lost") {
        const ask = () => this.lanes.forEach((lane) => lane.reel.retry());
        this.news.append(" ", make("button", { type: "button", class: "sdp-again", onclick: ask }, this.say("again")));
      }
    }

    // ---- what a person does

    look(view) {
      this.view = view;
      this.chosen = true;
      this.rearrange();
      this.render();
    }

    choose(place) {
      if (place === this.lane) return;
      this.lane = place;
      this.strip.arrange(this.lanes[place]);
      this.render();
      this.tell();
    }

    pick(n) {
      this.picture = n;
      this.render();
      this.tell();
    }

    // Ask to paint on a finished picture, which its card then shows.
    brush(n) {
      this.picture = n;
      this.move(this.lead.film.total);
      this.options.onBrush(n);
    }

    divide(cut) {
      this.cut = Math.max(0, Math.min(100, cut));
      this.root.style.setProperty("--cut", `${this.cut}%`);
      if (this.lanes.length) this.render();
    }

    // Decoded pictures of a film at a step, asked for where the slider rests.
    develop({ id, stills }) {
      for (const { film, reel } of this.lanes) if (film.id === id) stills.forEach((still) => reel.develop(still));
    }

    // A film to compare with: it takes the right half of each card; null for none.
    compare(film) {
      if (this.lanes.length !== 1 || (this.compared?.id ?? null) === (film?.id ?? null)) return;
      this.compared = film;
      this.render();
    }

    move(at) {
      this.play.pause();
      this.goTo(at);
      this.tell();
    }

    release() {
      this.held = false;
      this.tell();
    }

    goTo(at) {
      const newest = this.lead.film.frames[this.lead.reel.ready - 1]?.i ?? 0;
      this.following = this.running && at >= newest;
      this.at = at;
      this.render();
    }

    step(by) {
      const { film, reel } = this.lead ?? { reel: {} };
      if (!reel.ready) return;
      const place = Math.max(1, Math.min(reel.ready, this.placeOf(this.lead) + by));
      this.move(film.frames[place - 1].i);
    }

    key(event) {
      if (event.altKey || event.ctrlKey || event.metaKey || event.target.type === "radio") return;
      if (event.key === "Escape" && !this.panel.hidden) {
        event.stopPropagation(); // it closes this, and stops no sampling
        this.open(false);
        return this.moreButton.focus();
      }
      const within = event.target !== this.slider && this.lanes.length === 1 && !this.many;
      const acts = {
        ArrowLeft: () => this.step(-1),
        ArrowRight: () => this.step(1),
        ArrowUp: within && (() => this.cards.move(-1)),
        ArrowDown: within && (() => this.cards.move(1)),
        Home: () => this.step(-Infinity),
        End: () => this.step(Infinity),
        " ": event.target.closest("button") ? null : () => this.play.toggle(),
      };
      if (!acts[event.key]) return;
      event.preventDefault();
      acts[event.key]();
    }

    // ---- what the buttons show of the playing

    showPlay() {
      const { on } = this.play, label = this.say(on ? "pause" : "play");
      this.root.dataset.playing = on;
      this.playButton.replaceChildren(icon(on ? "pause" : "play"));
      this.playButton.title = label;
      this.playButton.setAttribute("aria-label", label);
    }

    showLoop(looping) {
      this.loopButton.setAttribute("aria-pressed", looping);
    }

    showSpeed(speed) {
      this.speedButton.textContent = `${speed}×`;
      this.speedButton.setAttribute("aria-label", `${this.say("speed")} ${speed}×`);
    }

    // Tells where the slider rests, once it has; never while it is held, plays or follows a running film.
    tell() {
      clearTimeout(this.rest);
      this.rest = setTimeout(() => {
        const lane = this.lanes[this.lane];
        const frame = lane && this.frameOf(lane);
        if (this.gone || !frame || this.held || this.play.on || (this.running && this.following)) return;
        if (lane.reel.comes && this.placeOf(lane) === lane.reel.ready) return; // where it will rest is still to come
        const told = `${lane.film.id} ${frame.i} ${this.picture}`;
        if (told === this.told) return;
        this.told = told;
        this.options.onSelect?.({ id: lane.film.id, lane: this.lane, i: frame.i, t: frame.t, picture: this.picture });
      }, REST);
    }
  }

  window.sdPlayer = {
    mount(element, options = {}) {
      const player = new Player(element, options);
      return {
        update: (value) => player.update(value),
        develop: (value) => player.develop(value),
        destroy: () => player.destroy(),
      };
    },
  };
})();
