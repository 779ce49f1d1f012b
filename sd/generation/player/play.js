// What moves a player by itself: frame after frame at a speed, once or in a loop.
(() => {
  "use strict";
  const PACE = 12.5; // frames a second
  const LONGEST = 8; // seconds at speed 1
  const HOLD = 900; // ms at the last frame before the loop begins again
  const SPEEDS = [1, 2, 4, 0.5];
  const OPENING = 2; // seconds in which a film is played once when the page opens

  class Play {
    constructor(player) {
      Object.assign(this, { player, on: false, opening: false, looping: false, speed: SPEEDS[0] });
    }

    toggle() {
      const { player } = this;
      if (this.on) {
        this.pause();
        player.tell();
      } else if (player.lead?.reel.ready) {
        this.on = true;
        player.following = false;
        this.position = player.placeOf(player.lead);
        if (this.position >= player.lead.reel.ready && !player.running) this.position = 1;
        player.showPlay();
        this.begin();
      }
    }

    pause() {
      const { on } = this;
      this.on = this.opening = false;
      if (on) this.player.showPlay();
      cancelAnimationFrame(this.beat);
      clearTimeout(this.again);
    }

    // Once all of the first film is here and in sight.
    open() {
      const { film, reel } = this.player.lead;
      if (!this.player.seen || reel.ready < film.frames.length) return;
      this.player.at = film.frames[0].i;
      this.toggle();
    }

    begin() {
      this.clock = performance.now();
      this.show();
      this.beat = requestAnimationFrame((now) => this.tick(now));
    }

    show() {
      this.player.at = this.player.lead.film.frames[Math.floor(this.position) - 1].i;
      this.player.render();
    }

    tick(now) {
      const { player } = this;
      if (!player.root.isConnected) return;
      const { film, reel } = player.lead;
      const usual = Math.max(PACE, film.frames.length / LONGEST) * this.speed;
      const rate = this.opening ? film.frames.length / OPENING : usual;
      const before = Math.floor(this.position);
      const passed = Math.max(0, now - this.clock) / 1000; // a frame's time may lie before the click's
      this.position = Math.min(reel.ready, this.position + passed * rate);
      this.clock = now;
      const place = Math.floor(this.position);
      if (place !== before) this.show();
      if (place >= reel.ready && !player.running) this.finish();
      else this.beat = requestAnimationFrame((later) => this.tick(later));
    }

    finish() {
      if (!this.looping) {
        this.pause();
        return this.player.tell();
      }
      this.again = setTimeout(() => {
        this.position = 1;
        this.begin();
      }, HOLD);
    }

    loop() {
      this.looping = !this.looping;
      return this.looping;
    }

    faster() {
      this.speed = SPEEDS[(SPEEDS.indexOf(this.speed) + 1) % SPEEDS.length];
      return this.speed;
    }
  }

  window.sdPlay = { Play };
})();
