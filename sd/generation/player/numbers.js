// The numbers of the chosen film at a step: a name that explains itself when it is touched, and its value.
// Needs parts.js.
(() => {
  "use strict";
  const { make, put, plain } = sdParts;
  const KEYS = ["t", "norm_x_t", "norm_x0", "norm_eps", "change", "log_snr", "clipped"];

  const figures = (film, frame) => {
    const norm = (kind) => frame.rms[film.kinds.indexOf(kind)]?.toFixed(3);
    return {
      t: plain(frame.t, 1),
      norm_x_t: norm("x_t"),
      norm_x0: norm("x0"),
      norm_eps: norm("eps"),
      change: frame.change?.toFixed(3),
      log_snr: frame.log_snr === null ? "∞" : frame.log_snr.toFixed(2).replace("-", "−"),
      clipped: frame.rms.length ? `${(100 * frame.clipped).toFixed(1)} %` : undefined,
    };
  };

  class Numbers {
    constructor(player) {
      Object.assign(this, { player, cells: {} });
      this.table = make("div", { class: "sdp-table" });
      this.note = make("p", { class: "sdp-note" });
      this.node = make("div", { class: "sdp-numbers-box" }, this.table, this.note);
    }

    close() {
      this.node.remove(); // it may lie elsewhere on the page
    }

    arrange(lanes) {
      this.cells = {};
      const cut = lanes.some(({ film }) => !film.factor); // previews stand for what has no bounds
      const shown = KEYS.filter((key) => lanes.length && (cut || key !== "clipped"));
      this.table.replaceChildren(make("dl", { class: "sdp-numbers" }, ...shown.map((key) => this.row(key))));
    }

    row(key) {
      const about = this.player.say(`${key}_info`);
      const explain = () => put(this.note, this.note.textContent === about ? "" : about);
      const title = make("button", { type: "button", title: about, onclick: explain }, this.player.say(key));
      this.cells[key] = make("dd", {}, "–");
      return make("div", {}, make("dt", {}, title), this.cells[key]);
    }

    // Lie where they are to be seen; a page may have a place of its own for them.
    lie(place) {
      if (this.node.parentNode !== place) place.append(this.node);
    }

    render(lane, frame, place) {
      this.lie(place);
      const numbers = frame ? figures(lane.film, frame) : {};
      for (const [key, cell] of Object.entries(this.cells)) put(cell, numbers[key] ?? "–");
    }
  }

  window.sdNumbers = { Numbers };
})();
