// The stage of a player: a card for each picture of a film, and one of them enlarged.
// A picture has two layers with one divider between them: x_t and the estimate of x0, or two films.
// Needs parts.js and reel.js.
(() => {
  "use strict";
  const { make, put, name, icon } = sdParts;
  const NARROW = 860; // CSS pixels of a window, as in player.css
  const OTHERS = 400; // CSS pixels of height for all but the stage
  const LEAST = 200;
  const LEAST_SIDE = 24;
  const PATCHY = 0.8; // of its worth has a stage whose last row has a gap
  const NUDGE = 5; // percent that a key moves the divider

  // How many side by side make `count` pictures largest in a room; rather in whole rows.
  const columnsFor = ({ count, width, height, aspect, gap }, least, most) => {
    let best = { side: LEAST_SIDE, across: most, worth: LEAST_SIDE };
    for (let across = least; across <= most; across += 1) {
      const down = Math.ceil(count / across);
      const wide = ((width - gap * (across - 1)) / across) * aspect;
      const side = Math.floor(Math.min(wide, (height - gap * (down - 1)) / down));
      const worth = count % across ? PATCHY * side : side;
      if (worth > best.worth) best = { side, across, worth };
    }
    return best;
  };

  // One picture of a film: what lies below, what lies over it at the right, and the divider.
  class Picture {
    constructor(player, n) {
      Object.assign(this, { player, n });
      this.under = make("canvas", { role: "img", "aria-label": "" });
      this.over = make("canvas", { role: "img", "aria-label": "", class: "sdp-over" });
      this.cut = make("i", { class: "sdp-cut", hidden: "", onkeydown: (event) => this.key(event) });
      this.cut.addEventListener("pointerdown", (event) => this.cut.setPointerCapture(event.pointerId));
      this.cut.addEventListener("pointermove", (event) => this.drag(event));
      this.node = make("div", { class: "sdp-picture" }, this.under, this.over, this.cut);
    }

    // Show this one of all pictures of a still behind what is painted later.
    stand({ src, count, columns }) {
      const rows = Math.ceil(count / columns), { style } = this.node;
      const share = (place, all) => `${all > 1 ? (100 * place) / (all - 1) : 0}%`;
      style.background = `url("${src}") ${share(this.n % columns, columns)} ${share(Math.floor(this.n / columns), rows)}`;
      style.backgroundSize = `${100 * columns}% ${100 * rows}%`;
      style.imageRendering = "pixelated";
    }

    drag(event) {
      if (!this.cut.hasPointerCapture(event.pointerId)) return;
      const { left, width } = this.node.getBoundingClientRect();
      this.player.divide((100 * (event.clientX - left)) / width);
    }

    key(event) {
      const to = { ArrowLeft: this.player.cut - NUDGE, ArrowRight: this.player.cut + NUDGE, Home: 0, End: 100 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      event.stopPropagation();
      this.player.divide(to);
    }

    // Only one divider of a stage is a stop of the keyboard: they move together.
    handle(reached) {
      const about = { role: "slider", tabindex: 0, "aria-valuemin": 0, "aria-valuemax": 100, "aria-label": this.player.say("divider") };
      for (const [key, value] of Object.entries(about)) {
        if (reached) this.cut.setAttribute(key, value);
        else this.cut.removeAttribute(key);
      }
      if (reached) this.cut.setAttribute("aria-valuenow", Math.round(this.player.cut));
    }

    // `layers`: {kind, film, frame, found} of what is below and, where there are two, over it.
    render(layers) {
      [this.under, this.over].forEach((canvas, place) => {
        const { kind, film, frame, found } = layers[place] ?? {};
        canvas.hidden = !kind || this.n >= film.count;
        if (canvas.hidden) return;
        canvas.dataset.kind = kind;
        name(canvas, this.player.altOf(kind, film, frame));
        if (!found || (canvas.image === found.image && canvas.top === found.top)) return;
        sdReel.paintPicture(canvas, film, found, this.n);
        canvas.dataset.step = frame.i;
        Object.assign(canvas, { image: found.image, top: found.top });
      });
      this.cut.hidden = this.over.hidden;
    }
  }

  class Cards {
    constructor(player) {
      Object.assign(this, { player, cards: [], width: 0 });
      this.node = make("div", { class: "sdp-cards" });
      this.sizes = new ResizeObserver(() => this.fit());
      this.sizes.observe(this.node);
      this.again = () => this.fit();
      window.addEventListener("resize", this.again);
      this.large = new Large(player);
    }

    close() {
      this.sizes.disconnect();
      window.removeEventListener("resize", this.again);
    }

    // Cards for a film; without one those of the still, else as many empty ones as a first film has.
    // What a film begins with stays behind its pictures until they are here.
    arrange(film) {
      const { still } = this.player.options;
      this.film = film ?? still ?? { count: 4, width: 1, height: 1 };
      this.still = still?.id === this.film.id ? still : null;
      this.cards = Array.from({ length: this.film.count }, (_, n) => this.card(n, Boolean(film)));
      this.node.style.setProperty("--ratio", this.film.width / this.film.height);
      this.node.replaceChildren(...this.cards.map((card) => card.node));
      this.fit();
      this.large.arrange();
    }

    card(n, filmed) {
      const picture = new Picture(this.player, n);
      if (this.still) picture.stand(this.still);
      const caption = this.film.captions?.[n] ?? "";
      const said = this.player.names[caption] ?? caption;
      const label = caption ? `${this.player.say("picture", { n: n + 1 })}: ${said}` : this.player.say("picture", { n: n + 1 });
      const pick = make("button", { type: "button", class: "sdp-pick", "aria-label": label, title: said, onclick: () => this.press(n) });
      picture.node.prepend(pick);
      const node = make("figure", { class: "sdp-card" }, picture.node);
      if (this.player.options.onBrush) {
        const about = `${this.player.say("brush")}: ${label}`;
        node.append(make("button", { type: "button", class: "sdp-brush", "aria-label": about, title: this.player.say("brush"), onclick: () => this.player.brush(n) }, icon("brush")));
      }
      if (caption) node.append(make("figcaption", {}, said));
      node.inert = !filmed;
      return { node, picture, pick, caption };
    }

    fit() {
      const width = this.node.clientWidth;
      if (!width) return;
      const { count, height, across } = this.film;
      const aspect = height / this.film.width;
      const narrow = window.innerWidth <= NARROW;
      const room = Math.max(LEAST, window.innerHeight - (narrow ? 320 : OTHERS));
      const [least, most] = across ? [across, across] : [Math.min(narrow ? 2 : 1, count), count];
      const gap = narrow ? 8 : 16;
      const found = columnsFor({ count, width, height: room, aspect, gap }, least, most);
      this.node.style.setProperty("--across", found.across);
      this.node.style.setProperty("--side", `${found.side}px`);
    }

    // Pressed once a picture is chosen, pressed again it is enlarged.
    press(n) {
      if (n !== this.player.picture) this.player.pick(n);
      else this.large.open();
    }

    move(by) {
      const to = Math.max(0, Math.min(this.film.count - 1, this.player.picture + by));
      const within = this.node.contains(document.activeElement);
      this.player.pick(to);
      if (within) this.cards[to].pick.focus();
    }

    render(layersOf) {
      this.cards.forEach(({ node, picture, pick }, n) => {
        const chosen = n === this.player.picture;
        picture.render(layersOf(n));
        picture.handle(chosen && !picture.cut.hidden);
        node.dataset.chosen = chosen;
        pick.setAttribute("aria-pressed", chosen);
        pick.tabIndex = chosen ? 0 : -1;
      });
      this.large.render(layersOf);
    }
  }

  // The chosen picture as large as the window allows.
  class Large {
    constructor(player) {
      this.player = player;
      this.node = make("dialog", { class: "sdp-large", role: "dialog", onclick: (event) => event.target === this.node && this.node.close() });
    }

    arrange() {
      const { player } = this;
      const button = (key, act) => make("button", { type: "button", title: player.say(key), "aria-label": player.say(key), onclick: act }, icon(key));
      this.told = make("p", { class: "sdp-told" });
      const bar = make("div", { class: "sdp-buttons" }, button("back", () => player.step(-1)), button("forward", () => player.step(1)), this.told, button("close", () => this.node.close()));
      this.place = make("div", { class: "sdp-large-place" });
      this.picture = null;
      this.node.setAttribute("aria-label", player.say("enlarged"));
      this.node.replaceChildren(this.place, bar);
    }

    open() {
      this.node.showModal();
      this.node.querySelector("button:last-child").focus();
      this.player.render();
    }

    render(layersOf) {
      if (!this.node.open) return;
      const n = this.player.picture;
      if (this.picture?.n !== n) {
        this.picture = new Picture(this.player, n);
        this.place.replaceChildren(this.picture.node);
      }
      this.picture.render(layersOf(n));
      this.picture.handle(!this.picture.cut.hidden);
      const { film } = this.player.lanes[0];
      this.place.style.setProperty("--ratio", film.width / film.height);
      put(this.told, [this.player.names[film.captions?.[n]] ?? film.captions?.[n], this.player.where.textContent].filter(Boolean).join(" · "));
    }
  }

  window.sdCards = { Cards };
})();
