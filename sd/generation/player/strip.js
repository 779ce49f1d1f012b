// The strip below a stage: the chosen picture at steps on its way, each of which can be gone to.
// Needs parts.js and reel.js.
(() => {
  "use strict";
  const { make } = sdParts;
  const THUMBS = 16;

  class Strip {
    constructor(player) {
      Object.assign(this, { player, slots: [] });
      this.node = make("div", { class: "sdp-thumbs", role: "group" });
    }

    // Without a lane, empty places of the same height.
    arrange(lane) {
      const { player } = this;
      const count = lane ? Math.min(THUMBS, lane.film.total) : THUMBS;
      this.slots = Array.from({ length: count }, (_, k) => {
        const step = lane ? Math.round(((k + 1) * lane.film.total) / count) : 0;
        const canvas = make("canvas", { "aria-hidden": "true" });
        const label = player.say("go", { i: step });
        const go = () => player.move((step / lane.film.total) * player.lead.film.total);
        return { step, canvas, node: make("button", { type: "button", disabled: "", tabindex: -1, title: label, "aria-label": label, onclick: go }, canvas) };
      });
      this.node.setAttribute("aria-label", player.say("steps"));
      this.node.replaceChildren(...this.slots.map((slot) => slot.node));
    }

    render(lane) {
      const { player } = this;
      const newest = lane.film.frames[lane.reel.ready - 1]?.i ?? 0;
      const now = (player.at / player.lead.film.total) * lane.film.total;
      const picture = Math.min(player.picture, lane.film.count - 1);
      this.slots.forEach((slot, k) => {
        const before = k ? this.slots[k - 1].step : 0;
        const isNow = newest && now > before + 1e-6 && now <= slot.step + 1e-6;
        if (isNow && slot.node.getAttribute("aria-current") !== "step") this.reach(slot.node);
        if (isNow) slot.node.setAttribute("aria-current", "step");
        else slot.node.removeAttribute("aria-current");
        slot.node.tabIndex = isNow ? 0 : -1;
        if (newest >= slot.step) this.paint(slot, before, lane, picture);
      });
    }

    paint(slot, before, lane, picture) {
      const place = this.player.placeOf(lane, slot.step / lane.film.total);
      const depth = lane.reel.depth("x_t", place), wanted = `${picture} ${depth}`;
      if (slot.painted === wanted) return;
      slot.node.disabled = lane.film.frames[place - 1].i <= before;
      const found = slot.node.disabled ? null : lane.reel.sheet("x_t", place);
      if (found) sdReel.paintPicture(slot.canvas, lane.film, found, picture);
      if ((found && depth !== 1) || slot.node.disabled) slot.painted = wanted;
    }

    // Where the strip is wider than its place, the step at hand comes into sight.
    reach(slot) {
      const { node } = this;
      if (node.scrollWidth > node.clientWidth) node.scrollLeft = slot.offsetLeft - node.clientWidth / 2;
    }
  }

  window.sdStrip = { Strip };
})();
