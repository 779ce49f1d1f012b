// The stage of several films: a lane for each, with its name, its pictures and where it is.
// Needs parts.js and reel.js.
(() => {
  "use strict";
  const { make, put, name } = sdParts;

  class LaneView {
    constructor(player) {
      this.player = player;
      this.node = make("div", { class: "sdp-lanes" });
      this.sides = new WeakMap(); // CSS pixels of each square: asking for them would cost a layout
      this.sizes = new ResizeObserver((seen) => {
        for (const { target, contentRect } of seen) this.sides.set(target, contentRect.width);
        if (!player.gone) player.render();
      });
    }

    close() {
      this.sizes.disconnect();
    }

    // A lane holds its film and reel; here it gets its panes and lines.
    arrange(lanes) {
      this.node.replaceChildren(...lanes.map((lane, place) => this.lane(lane, place)));
      this.node.style.setProperty("--across", Math.min(4, this.player.across));
      this.sizes.disconnect();
      for (const { square } of lanes.flatMap((lane) => lane.panes)) this.sizes.observe(square);
    }

    lane(lane, place) {
      lane.panes = this.player.kinds.map((kind) => {
        const canvas = make("canvas", { role: "img", "aria-label": "", "data-kind": kind });
        return { kind, canvas, square: make("div", { class: "sdp-square" }, canvas) };
      });
      lane.place = make("span", { class: "sdp-where" });
      lane.line = make("span", { class: "sdp-line" });
      const choose = () => this.player.choose(place);
      const title = make("button", { type: "button", class: "sdp-name", onclick: choose }, lane.film.label);
      const told = make("p", { class: "sdp-told" }, lane.place, lane.line);
      const squares = make("div", { class: "sdp-squares" }, ...lane.panes.map(({ square }) => square));
      return (lane.node = make("div", { class: "sdp-lane", onclick: choose }, title, squares, told));
    }

    render(lanes) {
      lanes.forEach((lane, at) => this.renderLane(lane, at === this.player.lane));
    }

    renderLane(lane, chosen) {
      const { player } = this, { film, reel } = lane;
      const place = player.placeOf(lane);
      const frame = film.frames[place - 1];
      for (const pane of frame ? lane.panes : []) {
        this.renderPane(pane, film, frame, reel.sheet(pane.kind, place));
        player.decodeAhead(reel, pane.kind, place);
      }
      put(lane.place, frame ? player.whereText(film, frame) : player.say("waiting"));
      put(lane.line, film.line);
      lane.node.dataset.chosen = chosen;
      lane.node.dataset.step = frame?.i ?? 0;
    }

    renderPane(pane, film, frame, found) {
      const { kind, canvas, square } = pane;
      name(canvas, this.player.altOf(kind, film, frame));
      const side = (this.sides.get(square) ?? 0) * (window.devicePixelRatio || 1);
      const painted = [found?.image, found?.top, side];
      if (!found || !side || painted.every((part, k) => part === pane.painted?.[k])) return;
      sdReel.paint(canvas, film, found, side);
      canvas.dataset.step = frame.i;
      pane.painted = painted;
    }
  }

  window.sdLanes = { LaneView };
})();
