// The tools below the Noise tab's stage: what a person presses, and what came of it.
(() => {
  "use strict";
  const { mix, logSnr, percent, three, paint } = sdDraw;
  const { tab, say } = sdNoise, { make } = sdNoiseForm;
  const MARKS = 6; // pictures of the strip after that at t = 0
  const CAUSES = { // what in the form makes an answer one about another picture
    sight: ["picture", "schedule", "seed"], walk: ["picture", "schedule", "mean", "std"],
    algorithm: ["picture"], pair: [], latents: ["picture", "schedule", "seed", "mean", "std"], inside: ["picture", "seed"],
  };
  const REST = 300; // ms for which t rests until it is decoded; longer than until it is noted
  const BUILD = { sight, pair, walk, algorithm, latents, inside };

  function tool(name, element, props, trigger, watch) {
    const here = { name, props, trigger, running: "", verbs: {}, seen: make("div", { className: "seen" }),
      progress: make("div", { className: "told", role: "status" }), listener: {} };
    element.replaceChildren(make("div", { className: `tool-${name}` }));
    here.box = element.firstChild;
    BUILD[name](here);
    watch("value", () => show(here));
    show(here);
    const draw = here.listener.draw, arrive = here.listener.arrive;
    sdNoise.listen({
      draw: (now) => here.box.offsetParent !== null && draw?.(now),
      arrive: (scene, old) => {
        if (old && CAUSES[name].some((key) => JSON.stringify(old.form[key]) !== JSON.stringify(scene.form[key]))) forget(here);
        arrive?.(scene);
      },
      forget: () => name !== "walk" && forget(here),
    });
    new MutationObserver(() => wait(here, element)).observe(element.closest(`#noise-${here.name}`), { subtree: true, childList: true, characterData: true });
    // What is folded has no size: it is drawn when it comes into sight.
    new IntersectionObserver(sdNoise.ask).observe(element);
  }
  // Another picture, or another model: what was answered is of the one before.
  function forget(here) {
    if (here.running) end(here);
    here.seen.replaceChildren();
    here.props.value = null;
    here.forgot?.();
  }
  function end(here) {
    if (here.verbs[here.running].stops) here.trigger("stop");
    here.running = "";
    here.progress.replaceChildren();
    label(here);
  }
  function show(here) {
    const answer = here.props.value;
    if (!answer || answer.shown === undefined) return;
    if (!answer.progress) here.running = "";
    here.seen.innerHTML = answer.shown;
    here.progress.innerHTML = answer.progress;
    label(here);
    here.shown?.(answer.data);
  }
  // Who waits for the model is told behind how many others: gradio counts them in words of its own.
  function wait(here, element) {
    const counted = element.closest(`#noise-${here.name}`).querySelector("[data-testid=status-tracker]");
    const [, place] = counted?.textContent.match(/(?<![.\d])(\d+)\/\d+(?![.\d])/) ?? []; // no time: those have a point
    const told = here.running && place && !here.progress.firstElementChild ? say("waiting", { n: place }) : "";
    if (told && here.progress.textContent !== told) here.progress.textContent = told;
  }
  // A verb that runs is its own stop.
  function verb(here, name, word, primary, stops, run) {
    const button = make("button", { type: "button", className: primary ? "verb primary" : "verb", id: `noise-${name}` });
    here.verbs[name] = { button, word, stops };
    button.addEventListener("click", () => {
      if (here.running) return end(here);
      button.style.minWidth = `${button.offsetWidth}px`; // whatever it says
      if (run) return run();
      here.running = name;
      label(here);
      here.trigger(name);
    });
    label(here);
    return button;
  }
  function label(here) {
    for (const [name, { button, word, stops }] of Object.entries(here.verbs)) {
      const runs = here.running === name;
      button.textContent = runs && stops ? tab.words.stop : word;
      button.classList.toggle("stop", runs && Boolean(stops));
      button.disabled = Boolean(here.running) && !(runs && stops);
      button.setAttribute("aria-busy", runs);
    }
  }
  function timed(here, ...more) {
    const range = make("input", { type: "range", className: "t", min: 0, step: 1 }), at = make("output");
    sdNoise.slides(range);
    here.time = () => { at.textContent = `t = ${tab.t}`; };
    return make("div", { className: "time-row" }, range, at, ...more);
  }

  // What the model sees.

  function sight(here) {
    here.listener.draw = () => here.time();
    const ask = verb(here, "ask", tab.words.ask, true, true);
    const restore = verb(here, "restore", tab.words.restore, false, true);
    here.box.append(timed(here, ask, restore), here.progress, here.seen);
    here.seen.addEventListener("click", (event) => {
      const button = event.target.closest("button[data-picture]");
      if (button) sdNoise.change({ picture: JSON.parse(button.dataset.picture) });
    });
  }

  // Two schedules side by side.

  // The other schedule's whole t that belongs to t: the same share of T, or the nearest SNR.
  function partner(t, align) {
    const { scene: { schedule, other } } = tab;
    if (align === "share") return Math.round((t / schedule.T) * other.T);
    const level = (each, s) => Math.max(-99, Math.min(99, logSnr(each.alphaBar[s])));
    const wanted = level(schedule, t), far = (s) => Math.abs(level(other, s) - wanted);
    let best = 0;
    for (let s = 1; s <= other.T; s++) if (far(s) < far(best)) best = s;
    return best;
  }
  function twins(here, now) {
    const { scene } = tab, then = mix(scene.other, partner(now.t, here.align));
    here.time();
    [[scene.schedule, now], [scene.other, then]].forEach(([schedule, at], k) => {
      paint(here.canvases[k], tab.arrays, scene.form, at);
      const values = { t: at.t, T: schedule.T, signal: percent(at.alphaBar),
        snr: three(at.alphaBar / (1 - at.alphaBar)) };
      here.canvases[k].setAttribute("aria-label", say("alt", values));
      here.canvases[k].dataset.t = at.t;
      here.captions[k].textContent = say("twin", values);
    });
  }
  function pair(here) {
    const { words } = tab;
    here.align = "share";
    here.canvases = [0, 1].map(() => make("canvas", { role: "img" }));
    here.captions = [0, 1].map(() => make("figcaption"));
    const change = (name) => sdNoise.change({ other: name });
    const first = make("b", { className: "schedule-name" }), ends = sdNoiseForm.doctor((name) => sdNoise.change({ schedule: name }));
    const other = sdNoiseForm.picked([], "", words.other, change), checks = sdNoiseForm.doctor(change);
    const set = make("fieldset", { className: "align" }, make("legend", {}, words.align));
    for (const value of ["share", "snr"]) {
      const input = make("input", { type: "radio", name: "noise-align", value, checked: value === here.align });
      set.append(make("label", {}, input, words[`align_${value}`]));
    }
    set.addEventListener("change", (event) => {
      here.align = event.target.value;
      sdNoise.ask();
    });
    const halves = [[first, ends], [other, checks]].map(([name, below], k) =>
      make("figure", {}, name, here.canvases[k], here.captions[k], below));
    here.box.append(timed(here), set, make("div", { className: "twins" }, ...halves));
    here.listener.draw = (now) => twins(here, now);
    here.listener.arrive = (scene) => {
      first.textContent = scene.schedule.name;
      ends.innerHTML = scene.schedule.ends;
      checks.innerHTML = scene.other.ends;
      sdNoiseForm.offer(other, scene.schedules, scene.form.other);
    };
  }

  // One step at a time, and noise with another mean.

  function walk(here) {
    const { words } = tab;
    const marks = make("div", { className: "marks" }), means = make("div", { className: "seen means" });
    const by = (n, sign, name) => {
      const button = make("button", { type: "button", className: "verb", "aria-label": name }, sign);
      button.addEventListener("click", () => sdNoise.step(n));
      return button;
    };
    const time = timed(here, by(-1, "‹", words.back), by(1, "›", words.on), verb(here, "steps", words.steps, true, false));
    const sliders = [["mean", -2, 2], ["std", 0.1, 3]].map(([key, low, high]) => moment(key, low, high));
    here.box.append(time, marks, make("h3", {}, words.moments),
      make("div", { className: "moments" }, ...sliders.map((each) => each.place)), means, here.seen);
    here.listener.draw = () => here.time();
    here.listener.arrive = (scene) => {
      strip(marks, scene);
      means.innerHTML = scene.means;
      for (const each of sliders) each.set(scene.form);
    };
  }
  function moment(key, low, high) {
    const about = { min: low, max: high, step: 0.1 }, name = tab.words[`${key}_of`];
    const range = make("input", { type: "range", tabIndex: -1, "aria-hidden": "true", ...about });
    const box = make("input", { type: "number", id: `noise-${key}`, ...about });
    const send = (value) => {
      const near = Math.max(low, Math.min(high, value));
      if (Number.isFinite(near)) sdNoise.change({ [key]: near });
    };
    range.addEventListener("input", () => {
      box.value = range.value;
      send(Number(range.value));
    });
    box.addEventListener("change", () => send(box.value === "" ? NaN : Number(box.value)));
    const set = (form) => {
      if (document.activeElement !== box) box.value = form[key];
      if (document.activeElement !== range) range.value = form[key];
    };
    return { place: make("label", { className: "moment" }, make("span", {}, name), range, box), set };
  }
  // A few times at a glance; a touch goes there.
  function strip(place, scene) {
    place.replaceChildren(...Array.from({ length: MARKS + 1 }, (_, k) => {
      const t = Math.round((k / MARKS) * scene.schedule.T), canvas = make("canvas");
      const button = make("button", { type: "button", title: `t = ${t}`, "aria-label": `t = ${t}` }, canvas);
      button.addEventListener("click", () => sdNoise.step(t - tab.t));
      paint(canvas, tab.arrays, scene.form, mix(scene.schedule, t));
      return button;
    }));
  }

  // Algorithm 1: one line after the other, each with what it came to.

  function algorithm(here) {
    here.box.append(make("div", { className: "time-row" }, verb(here, "draw", tab.words.draw, true, false)), here.seen);
    let place = 0;
    const mark = () => {
      const items = [...here.seen.querySelectorAll(".lines li")];
      items.forEach((item, k) => {
        item.classList.toggle("on", k === place);
        item.classList.toggle("done", k < place);
        if (k === place) item.setAttribute("aria-current", "step");
        else item.removeAttribute("aria-current");
      });
      for (const button of here.seen.querySelectorAll("[data-by]")) {
        const next = place + Number(button.dataset.by);
        button.disabled = next < 0 || next >= items.length;
      }
    };
    here.seen.addEventListener("click", (event) => {
      const button = event.target.closest("[data-by]");
      if (!button) return;
      place += Number(button.dataset.by);
      mark();
    });
    here.shown = () => {
      place = 0;
      mark();
    };
  }

  // The same noise on pixels, and on an autoencoder's latents: these by their linear view while t
  // moves, decoded by the server where it rests.

  function latents(here) {
    const { words } = tab;
    here.canvases = [0, 1].map(() => make("canvas", { role: "img" }));
    const captions = ["in_pixels", "in_latents"].map((key) => make("figcaption", {}, words[key]));
    const halves = here.canvases.map((canvas, k) => make("figure", {}, canvas, captions[k]));
    here.box.append(timed(here), make("p", { className: "told" }, words.latents_told),
      make("div", { className: "twins" }, ...halves), here.progress);
    let data = null, decoded = null, timer = 0, asked = "";
    const now = () => `${tab.t} ${tab.serial} ${tab.scene?.stamp}`;
    // Asked for once where t has come to rest, and again only for something else.
    const ask = () => {
      if (here.running || here.box.offsetParent === null || asked === now()) return;
      if (data?.asked === now()) return;
      asked = now();
      here.running = "ask";
      here.trigger("ask");
    };
    here.verbs.ask = { button: make("button"), word: "", stops: true };
    const rest = () => {
      clearTimeout(timer);
      timer = setTimeout(ask, REST);
    };
    here.forgot = () => {
      data = decoded = null;
      asked = "";
      sdNoise.ask();
    };
    here.shown = async (answer) => {
      if (!answer) return;
      const values = (text) => sdDraw.halves(text);
      data = { ...answer, z: values(answer.z), eps: values(answer.eps), asked };
      decoded = null;
      const image = new Image();
      image.src = answer.decoded;
      await image.decode();
      if (data.decoded === answer.decoded) decoded = image;
      sdNoise.ask();
    };
    here.listener.draw = (at) => {
      here.time();
      paint(here.canvases[0], tab.arrays, tab.scene.form, at);
      const [, canvas] = here.canvases, rests = decoded && data.t === at.t && data.asked === now();
      canvas.classList.toggle("rests", Boolean(rests));
      if (rests) show(canvas, decoded);
      else if (data) sdDraw.paintLatents(canvas, data, tab.scene.form, at);
      const values = { t: at.t, name: data?.name ?? "" };
      const told = say(rests || !data ? "in_latents" : "in_latents_view", values);
      captions[1].textContent = data ? told : `${told} …`; // while it is awaited
      here.canvases.forEach((each, k) => {
        each.setAttribute("aria-label", `${captions[k].textContent}, t = ${at.t}`);
        each.dataset.t = at.t;
      });
      if (!rests) rest();
    };
    const show = (canvas, image) => {
      if (canvas.width !== image.width) canvas.width = canvas.height = image.width;
      canvas.getContext("2d").drawImage(image, 0, 0);
    };
  }

  // Inside an autoencoder: what is pressed among those side by side is the one that is looked into.

  function inside(here) {
    const { words } = tab;
    const range = make("input", { type: "range", className: "t", min: 0, max: 100, step: 5, value: 0, "aria-label": words.latent_noise });
    const share = make("output");
    let chosen = "";
    const mark = () => {
      range.style.setProperty("--share", range.value / 100);
      share.textContent = `${range.value} %`;
    };
    const look = () => {
      if (here.running) end(here);
      here.running = "look";
      label(here);
      here.trigger("look", { autoencoder: chosen || null, noise: Number(range.value) / 100 });
    };
    const verb_ = verb(here, "look", words.look, true, true, look);
    here.box.append(make("div", { className: "time-row" }, verb_, make("span", { className: "quiet" }, words.latent_noise), range, share),
      here.progress, here.seen);
    range.addEventListener("input", mark);
    range.addEventListener("change", () => here.seen.firstChild && look());
    here.seen.addEventListener("click", (event) => {
      const button = event.target.closest("button[data-autoencoder]");
      if (!button) return;
      chosen = button.dataset.autoencoder;
      look();
    });
    here.forgot = () => { chosen = ""; };
    mark();
  }

  sdNoise.tool = (...given) => sdNoise.ready(() => tool(...given));
})();
