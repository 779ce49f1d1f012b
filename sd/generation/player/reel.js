// The pictures of a film: fetched once, decoded when they are looked at, and drawn on canvases.
(() => {
  "use strict";
  const GAP = 2; // CSS pixels between pictures
  const MOST_DECODED = 96 * 2 ** 20; // bytes of each film's decoded sheets
  const DECODERS = 2;
  const WAITS = [400, 1000, 2000, 4000, 8000]; // ms before a part of a film is asked for again

  const nameOf = (kind, i) => `still ${kind} ${i}`;
  const bytesOf = async (address) => {
    if (address.startsWith("data:")) {
      const text = atob(address.slice(address.indexOf(",") + 1));
      return Uint8Array.from(text, (letter) => letter.charCodeAt(0));
    }
    const answer = await fetch(address);
    if (!answer.ok) throw new Error(`${answer.status}`);
    return new Uint8Array(await answer.arrayBuffer());
  };

  const decoded = async (blob) => {
    if (window.createImageBitmap) return createImageBitmap(blob);
    const image = new Image();
    image.src = URL.createObjectURL(blob);
    await image.decode().finally(() => URL.revokeObjectURL(image.src));
    return image;
  };

  // The pictures of one film: each chunk is fetched once, and decoded when it is looked at.
  class Reel {
    constructor(address, changed) {
      Object.assign(this, { address, changed, parts: [], stills: new Map(), sheets: new Map(), held: 0, busy: 0 });
    }

    update(film) {
      this.film = film;
      for (const chunk of film.chunks.slice(this.parts.length)) {
        const part = { chunk, jpegs: null, state: "coming" };
        this.parts.push(part);
        this.load(part, 0);
      }
      for (const still of film.stills ?? []) this.develop(still);
    }

    // The decoded pictures of a step whose frame is a smaller preview: shown instead, once they are here.
    develop(still) {
      const key = nameOf(still.kind, still.i);
      if (this.stills.has(key)) return;
      const part = { chunk: { src: still.src }, jpegs: null, state: "coming" };
      this.stills.set(key, part);
      this.load(part, 0);
    }

    async load(part, tries) {
      const { src, parts } = part.chunk;
      try {
        const bytes = await bytesOf(this.address(src));
        const sizes = parts ?? [bytes.length];
        if (bytes.length !== sizes.reduce((sum, size) => sum + size, 0)) throw new Error("cut");
        let from = 0;
        part.jpegs = sizes.map((size) => bytes.subarray(from, (from += size)));
        part.state = "here";
      } catch {
        part.state = tries < WAITS.length ? "late" : "lost";
        if (part.state === "late") setTimeout(() => this.closed || this.load(part, tries + 1), WAITS[tries]);
      }
      this.changed();
    }

    retry() {
      for (const part of this.parts.filter((each) => each.state === "lost")) {
        part.state = "late";
        this.load(part, 0);
      }
    }

    // Frames whose pictures are here, without a gap.
    get ready() {
      const gap = this.parts.find((part) => !part.jpegs);
      const last = this.parts[this.parts.length - 1];
      return gap ? gap.chunk.first - 1 : last ? last.chunk.first + last.chunk.count - 1 : 0;
    }

    // Whether more of its frames are on their way.
    get comes() {
      return this.parts.some(({ jpegs, state }) => !jpegs && state !== "lost");
    }

    // The sheet of a kind at a place (from 1) and its top in it, or null until it is decoded; `scale`:
    // how many times as large as a frame it is; `soft`: a preview, whose dots are none of the picture's.
    sheet(kind, place) {
      const still = this.still(kind, place);
      if (still) return { image: still, top: 0, scale: still.width / (this.film.columns * this.film.width), soft: false };
      const part = this.parts.find(
        ({ chunk }) => place >= chunk.first && place < chunk.first + chunk.count,
      );
      const which = this.film.kinds.indexOf(kind);
      const image = part?.jpegs && which >= 0 ? this.open(`${part.chunk.first} ${kind}`, part.jpegs[which]) : null;
      const soft = kind === "x0" && (this.film.factor ?? 1) > 1;
      return image && { image, top: ((place - part.chunk.first) * image.height) / part.chunk.count, scale: 1, soft };
    }

    still(kind, place) {
      const key = nameOf(kind, this.film.frames[place - 1]?.i), part = this.stills.get(key);
      return part?.jpegs ? this.open(key, part.jpegs[0]) : null;
    }

    // How much of a place can be seen: 0 its frame, 1 more is on its way, 2 its decoded pictures.
    depth(kind, place) {
      const key = nameOf(kind, this.film.frames[place - 1]?.i), state = this.stills.get(key)?.state;
      const sheet = this.sheets.get(key);
      return !state || state === "lost" || sheet?.broken ? 0 : sheet?.image ? 2 : 1;
    }

    // A JPEG as it is drawn, or null until it is decoded.
    open(key, jpeg) {
      const known = this.sheets.get(key);
      if (!known?.image) {
        if (!known && this.busy < DECODERS) this.decode(key, jpeg);
        return null;
      }
      this.sheets.delete(key);
      this.sheets.set(key, known); // the newest used is last
      return known.image;
    }

    async decode(key, jpeg) {
      this.busy += 1;
      this.sheets.set(key, {});
      try {
        const image = await decoded(new Blob([jpeg], { type: "image/jpeg" }));
        this.sheets.set(key, { image });
        this.held += image.width * image.height * 4;
        this.forget(key);
      } catch {
        this.sheets.set(key, { broken: true });
      }
      this.busy -= 1;
      if (!this.busy) this.changed();
    }

    forget(newest) {
      for (const [key, { image }] of this.sheets) {
        if (this.held <= MOST_DECODED) return;
        if (!image || key === newest) continue;
        this.held -= image.width * image.height * 4;
        image.close?.();
        this.sheets.delete(key);
      }
    }

    close() {
      this.closed = true;
      for (const { image } of this.sheets.values()) image?.close?.();
    }
  }

  // Pictures side by side, each pixel a block of whole dots: as many as fill `side` dots, or more,
  // which the browser then shrinks evenly.
  const paint = (canvas, film, { image, top, scale: finer, soft }, side) => {
    const [across, down] = [film.columns, Math.ceil(film.count / film.columns)];
    const gap = Math.round(GAP * (window.devicePixelRatio || 1));
    const room = side - gap * (Math.max(across, down) - 1);
    const scale = Math.max(1, Math.ceil(room / Math.max(across * film.width, down * film.height)));
    const [width, height] = [film.width * scale, film.height * scale];
    const size = [across * (width + gap) - gap, down * (height + gap) - gap];
    if (canvas.width !== size[0]) canvas.width = size[0];
    if (canvas.height !== size[1]) canvas.height = size[1];
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = soft;
    for (let n = 0; n < film.count; n += 1) {
      const [column, row] = [n % across, Math.floor(n / across)];
      context.drawImage(
        image, column * film.width * finer, top + row * film.height * finer, film.width * finer, film.height * finer,
        column * (width + gap), row * (height + gap), width, height,
      );
    }
  };

  // Picture n of a frame alone, a dot for each of its pixels.
  const paintPicture = (canvas, film, { image, top, scale, soft }, n) => {
    const [width, height] = [film.width * scale, film.height * scale];
    canvas.classList.toggle("sdp-soft", soft);
    if (canvas.width !== width) canvas.width = width;
    if (canvas.height !== height) canvas.height = height;
    const [left, down] = [(n % film.columns) * width, Math.floor(n / film.columns) * height];
    canvas.getContext("2d").drawImage(image, left, top + down, width, height, 0, 0, width, height);
  };

  window.sdReel = { Reel, paint, paintPicture };
})();
