// The other films of a player: small pictures to compare with and to go to.
// Needs parts.js and reel.js.
(() => {
  "use strict";
  const { make } = sdParts;

  class Nodes {
    constructor(player) {
      Object.assign(this, { player, nodes: [], reels: new Map(), shape: "" });
      this.node = make("div", { class: "sdp-tree", role: "group", hidden: "" });
    }

    close() {
      for (const reel of this.reels.values()) reel.close();
    }

    update(nodes) {
      const first = this.player.lanes[0]?.film;
      const filled = nodes.map((node) => (node.shown ? { ...node, film: first } : node));
      this.nodes = filled.filter(({ film }) => film?.chunks.length);
      this.node.hidden = this.nodes.length < 2;
      const shown = this.node.hidden ? [] : this.nodes;
      const ids = new Set(shown.map(({ film }) => film.id));
      for (const [id, reel] of this.reels) if (!ids.has(id)) this.forget(id, reel);
      for (const { film } of shown) this.reelOf(film).update(film);
      const shape = JSON.stringify(shown.map(({ number, parent, shown: now, film }) => [number, parent, now, film.id, film.label]));
      if (shape !== this.shape) this.arrange(shown);
      this.shape = shape;
    }

    forget(id, reel) {
      reel.close();
      this.reels.delete(id);
    }

    reelOf(film) {
      const made = () => new sdReel.Reel(this.player.address, () => this.player.later());
      if (!this.reels.has(film.id)) this.reels.set(film.id, made());
      return this.reels.get(film.id);
    }

    arrange(nodes) {
      const focused = this.node.contains(document.activeElement) && document.activeElement.dataset.node;
      this.node.setAttribute("aria-label", this.player.say("tree"));
      const below = (parent) => nodes.filter((each) => each.parent === parent);
      const known = new Set(nodes.map(({ number }) => number));
      const row = (each) => [this.button(each, known), ...below(each.number).flatMap(row)];
      this.slots = nodes.filter(({ parent }) => !known.has(parent)).flatMap(row);
      this.node.replaceChildren(...this.slots.map(({ button }) => button));
      this.node.querySelector(`[data-node="${focused}"]`)?.focus();
    }

    button(node, known) {
      const canvas = make("canvas", { "aria-hidden": "true" });
      const compare = (event) => event.pointerType === "touch" || this.player.compare(node.shown ? null : node.film);
      const leave = () => this.player.compare(null);
      const label = `${node.number}: ${node.film.label}`;
      const button = make("button", {
        type: "button", class: "sdp-node", "data-node": node.number, title: label, "aria-label": label,
        onclick: () => this.player.options.onNode?.(node.number),
        onpointerenter: compare, onfocus: compare, onpointerleave: leave, onblur: leave,
      }, canvas);
      button.dataset.branch = known.has(node.parent);
      if (node.shown) button.setAttribute("aria-current", "true");
      return { node, button, canvas, painted: "" };
    }

    render() {
      for (const slot of this.node.hidden ? [] : this.slots) {
        const { film } = slot.node;
        const reel = this.reelOf(film);
        const n = Math.min(this.player.picture, film.count - 1);
        const depth = reel.depth("x_t", reel.ready), painted = `${reel.ready} ${n} ${depth}`;
        if (painted === slot.painted || !reel.ready) continue;
        const found = reel.sheet("x_t", reel.ready);
        if (!found) continue;
        sdReel.paintPicture(slot.canvas, film, found, n);
        if (depth !== 1) slot.painted = painted;
      }
    }
  }

  window.sdTree = { Nodes };
})();
