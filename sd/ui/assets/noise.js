// The Noise tab's stage: x_t = a x_0 + b (mean + std eps) at any t, drawn here without a request.
// x_0 and eps come once, as raw bytes; the server is asked once, when t has come to rest.
(() => {
  "use strict";
  const { floats, mix, logSnr, percent, three, unpack, paint, curves } = sdDraw;
  const REST = 150; // ms without a key or a move until t is at rest
  const LAP = 8000; // ms in which play goes from 0 to T
  const OPENING = 2500; // ms in which t goes from 0 to where it first stands, once
  const CALM = 250; // ms between the frames of play where motion is to be reduced
  const MARKS = 6; // pictures of the strip after that at t = 0
  const KEYS = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10,
    Home: -Infinity, End: Infinity };

  const tab = {
    scene: null, arrays: null, loaded: "", serial: 0, // what is drawn
    t: 0, held: false, playing: false, told: "", // where it stands
    opening: null, opened: false, // the first slide while it waits or moves, and if there was one
    frame: 0, frames: 0, rest: 0, // what is due, and how often it was drawn
    stage: null, live: null, pair: null, bridge: null, // where
  };
  const say = (key, values) => sdDraw.say(tab.scene.words, key, values);

  // Drawing: at most once a frame, whatever moved.

  function ask() {
    tab.frame ||= requestAnimationFrame(() => {
      tab.frame = 0;
      draw();
    });
  }
  function draw() {
    const { scene, arrays, t, stage: here } = tab;
    if (!scene || !here) return;
    const now = mix(scene.schedule, t);
    paint(here.canvas, arrays, scene, now);
    tab.frames++;
    const alt = say("alt", { t, T: scene.schedule.T, signal: percent(now.alphaBar) });
    here.canvas.setAttribute("aria-label", alt);
    here.range.setAttribute("aria-valuetext", alt);
    Object.assign(here.canvas.dataset, { t, frames: tab.frames });
    if (here.range.value !== String(t)) here.range.value = t;
    here.place.textContent = `t = ${t}`;
    formula(now);
    if (tab.live) tab.live.show(scene, arrays, now);
    if (tab.pair && tab.pair.box.offsetParent !== null) twins(now);
  }
  function formula(now) {
    const { scene: { mean, std }, stage: here } = tab;
    const grain = std === 1 ? "eps" : `${three(std)} eps`;
    here.formula.innerHTML =
      `x<sub>t</sub> = <b>${now.a.toFixed(2)}</b> x<sub>0</sub> + <b>${now.b.toFixed(2)}</b> `;
    here.formula.append(mean === 0 ? grain : `(${three(mean)} + ${grain})`);
    here.bar.style.width = `${100 * now.alphaBar}%`;
    here.signal.textContent = say("signal", { n: percent(now.alphaBar) });
    here.noise.textContent = say("noise", { n: percent(1 - now.alphaBar) });
  }
  // A few times at a glance; a touch goes there.
  function strip() {
    const { stage: here, scene } = tab;
    here.marks.replaceChildren(...Array.from({ length: MARKS + 1 }, (_, k) => {
      const t = Math.round((k / MARKS) * scene.schedule.T);
      const button = document.createElement("button"), canvas = document.createElement("canvas");
      button.type = "button";
      button.title = `t = ${t}`;
      button.setAttribute("aria-label", button.title);
      button.addEventListener("click", () => step(t - tab.t));
      paint(canvas, tab.arrays, scene, mix(scene.schedule, t));
      button.append(canvas);
      return button;
    }));
  }

  // Two schedules side by side.

  // The other schedule's whole t that belongs to t: the same share of T, or the nearest SNR.
  function partner(t) {
    const { scene: { schedule, other }, pair: { align } } = tab;
    if (align === "share") return Math.round((t / schedule.T) * other.T);
    const level = (each, s) => Math.max(-99, Math.min(99, logSnr(each.alphaBar[s])));
    const wanted = level(schedule, t), far = (s) => Math.abs(level(other, s) - wanted);
    let best = 0;
    for (let s = 1; s <= other.T; s++) if (far(s) < far(best)) best = s;
    return best;
  }
  function twins(now) {
    const { pair: here, scene } = tab;
    const then = mix(scene.other, partner(now.t));
    [[scene.schedule, now], [scene.other, then]].forEach(([schedule, at], k) => {
      paint(here.canvases[k], tab.arrays, scene, at);
      const values = { t: at.t, T: schedule.T, signal: percent(at.alphaBar),
        snr: three(at.alphaBar / (1 - at.alphaBar)) };
      here.canvases[k].setAttribute("aria-label", say("alt", values));
      here.canvases[k].dataset.t = at.t;
      here.captions[k].innerHTML = "<b></b><span></span>";
      here.captions[k].firstChild.textContent = schedule.name;
      here.captions[k].lastChild.textContent = say("twin", values);
    });
    if (here.range.value !== String(now.t)) here.range.value = now.t;
  }
  function aligned() {
    const { pair: here, scene: { schedule, words } } = tab;
    here.range.max = schedule.T;
    here.range.setAttribute("aria-label", words.time);
    here.set.innerHTML = "<legend></legend>";
    here.set.firstChild.textContent = words.align;
    for (const value of ["share", "snr"]) {
      const label = document.createElement("label"), input = document.createElement("input");
      const checked = value === here.align;
      Object.assign(input, { type: "radio", name: "noise-align", value, checked });
      label.append(input, words[`align_${value}`]);
      here.set.append(label);
    }
  }

  // Moving t.

  function move(t) {
    const T = tab.scene ? tab.scene.schedule.T : 0;
    tab.t = Math.max(0, Math.min(T, Math.round(t)));
    ask();
  }
  // Tell the server where t has come to rest: once, and not twice of the same.
  function settle(wait) {
    clearTimeout(tab.rest);
    tab.rest = setTimeout(() => {
      if (!tab.scene || !tab.bridge || tab.held || (tab.playing && !tab.opening)) return;
      const t = tab.opening ? tab.scene.t : tab.t; // what it will come to is shown at once
      const said = `${tab.scene.stamp}:${t}`;
      if (said === tab.told) return;
      tab.told = said;
      tab.bridge(t);
    }, wait);
  }
  function step(by) {
    stop();
    move(tab.t + by);
    settle(REST);
  }
  function stop() {
    tab.opening?.disconnect();
    tab.opening = null;
    if (!tab.playing) return;
    tab.playing = false;
    playing();
    settle(0);
  }
  function play() {
    if (tab.playing) return stop();
    if (!tab.scene) return;
    stop();
    const T = tab.scene.schedule.T;
    run(tab.t >= T ? 0 : tab.t, T, LAP / T, reduced() ? CALM : 0);
  }
  const reduced = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
  // Move t from one time to another, at so many ms a step of it, and show it every `pace` ms.
  function run(from, to, slowness, pace) {
    const began = performance.now();
    let shown = 0;
    tab.playing = true;
    playing();
    const tick = (time) => {
      if (!tab.playing) return;
      const t = from + Math.max(0, time - began) / slowness;
      if (t >= to) {
        move(to);
        return stop();
      }
      if (time - shown >= pace) {
        shown = time;
        move(t);
      }
      requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
  }
  // Where motion is welcome, go once from the clean picture to the first t, when it is seen.
  function open() {
    const { t } = tab;
    if (tab.opened || reduced()) return;
    tab.opened = true;
    move(0);
    tab.opening = new IntersectionObserver((entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      tab.opening.disconnect();
      run(0, t, OPENING / t, 0);
    });
    tab.opening.observe(tab.stage.canvas);
  }
  function playing() {
    const { play: button } = tab.stage;
    button.textContent = tab.scene.words[tab.playing ? "pause" : "play"];
    button.setAttribute("aria-pressed", tab.playing);
  }
  function keys(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || !tab.scene) return;
    if (event.key === " ") play();
    else if (event.key in KEYS) step(KEYS[event.key]);
    else return;
    event.preventDefault();
  }
  function slides(range) {
    const held = (is) => () => {
      tab.held = is;
      if (!is) settle(0);
    };
    range.addEventListener("pointerdown", held(true));
    for (const end of ["pointerup", "pointercancel", "change"]) range.addEventListener(end, held(false));
    range.addEventListener("input", () => {
      stop();
      move(Number(range.value));
      settle(REST);
    });
    range.addEventListener("keydown", keys);
  }

  // What comes from the server.

  async function arrive(scene) {
    const serial = ++tab.serial;
    if (scene.file.url !== tab.loaded) {
      const answer = await fetch(scene.file.url);
      const buffer = answer.ok ? await answer.arrayBuffer() : null;
      if (!buffer || serial !== tab.serial) return; // a newer one has come meanwhile
      tab.arrays = unpack(buffer, scene.side);
      tab.loaded = scene.file.url;
    }
    const read = (line) => ({ ...line, alphaBar: floats(line.alpha_bar) });
    const old = tab.scene;
    tab.scene = { ...scene, schedule: read(scene.schedule), other: read(scene.other) };
    tab.t = old ? Math.round((tab.t / old.schedule.T) * scene.schedule.T) : scene.t;
    furnish();
    strip();
    if (!old) open();
    draw();
    settle(0);
  }
  function furnish() {
    const { stage: here, scene: { words, schedule } } = tab;
    here.range.max = schedule.T;
    here.range.setAttribute("aria-label", words.time);
    here.last.textContent = `T = ${schedule.T}`;
    here.note.textContent = words.about;
    here.save.textContent = words.save;
    for (const button of here.steps) {
      button.setAttribute("aria-label", words[Number(button.dataset.by) < 0 ? "back" : "on"]);
    }
    playing();
    if (tab.live) tab.live.label(tab.scene);
    if (tab.pair) aligned();
  }

  // Mounting: gradio calls these when a component comes into the page.

  const STAGE =
    '<canvas id="noise-canvas" role="img" tabindex="0" width="8" height="8"></canvas>' +
    '<div class="time"><output></output><span></span></div>' +
    '<input id="noise-t" class="t" type="range" min="0" max="1000" step="1" value="0">' +
    '<div class="moves"><button type="button" data-by="-1">‹</button>' +
    '<button type="button" class="play" aria-pressed="false"></button>' +
    '<button type="button" data-by="1">›</button><div class="marks"></div></div>' +
    '<p class="formula"><span></span><a class="save" href="#" download></a></p>' +
    '<p class="shares"><span class="bar"><i></i></span><span></span><span></span></p>' +
    '<p class="note"></p>';
  const TWIN = '<figure><canvas role="img"></canvas><figcaption></figcaption></figure>';

  // The server's mark of what is ours, as a chunk behind a PNG's head, which takes 33 bytes.
  function marked(address, mark) {
    const [kind, data] = address.split(",");
    const bytes = atob(data);
    return `${kind},${btoa(bytes.slice(0, 33) + atob(mark) + bytes.slice(33))}`;
  }

  function stage(element, props, watch) {
    element.innerHTML = STAGE;
    const pick = (selector) => element.querySelector(selector);
    tab.stage = { canvas: pick("canvas"), range: pick(".t"), place: pick("output"),
      last: pick(".time span"), play: pick(".play"), marks: pick(".marks"), save: pick(".save"),
      formula: pick(".formula span"), bar: pick(".bar i"), signal: pick(".shares > :nth-child(2)"),
      noise: pick(".shares > :nth-child(3)"), note: pick(".note"),
      steps: [...element.querySelectorAll("[data-by]")] };
    slides(tab.stage.range);
    tab.stage.canvas.addEventListener("keydown", keys);
    tab.stage.play.addEventListener("click", play);
    for (const button of tab.stage.steps) {
      button.addEventListener("click", () => step(Number(button.dataset.by)));
    }
    tab.stage.save.addEventListener("click", () => {
      tab.stage.save.download = `x_${tab.t}.png`;
      tab.stage.save.href = marked(tab.stage.canvas.toDataURL("image/png"), tab.scene.mark);
    });
    Object.assign(tab, { scene: null, told: "" });
    const come = () => props.value && props.value.file && arrive(props.value);
    watch("value", come);
    come();
  }
  function live(element) {
    tab.live = curves(element);
    if (tab.scene) tab.live.label(tab.scene);
    ask();
  }
  function pair(element) {
    element.innerHTML = `<div class="twins">${TWIN}${TWIN}</div>` +
      '<input class="t" type="range" min="0" step="1"><fieldset class="align"></fieldset>';
    const pick = (selector) => [...element.querySelectorAll(selector)];
    tab.pair = { box: element, canvases: pick("canvas"), captions: pick("figcaption"),
      range: pick(".t")[0], set: pick(".align")[0], align: "share" };
    slides(tab.pair.range);
    tab.pair.set.addEventListener("change", (event) => {
      tab.pair.align = event.target.value;
      ask();
    });
    // What is folded has no size: it is drawn when it comes into sight.
    new IntersectionObserver(ask).observe(element);
    if (tab.scene) aligned();
  }
  function bridge(props, trigger) {
    tab.bridge = (t) => {
      props.value = t;
      trigger("release");
    };
    settle(0);
  }
  // Algorithm 1: one line after the other, each with what it came to.
  function lines(element, watch) {
    let place = 0;
    const show = () => {
      const items = [...element.querySelectorAll(".lines li")];
      items.forEach((item, k) => {
        item.classList.toggle("on", k === place);
        item.classList.toggle("done", k < place);
        if (k === place) item.setAttribute("aria-current", "step");
        else item.removeAttribute("aria-current");
      });
      for (const button of element.querySelectorAll("[data-by]")) {
        const next = place + Number(button.dataset.by);
        button.disabled = next < 0 || next >= items.length;
      }
    };
    element.addEventListener("click", (event) => {
      const button = event.target.closest("[data-by]");
      if (!button) return;
      place += Number(button.dataset.by);
      show();
    });
    watch("value", () => {
      place = 0;
      show();
    });
    show();
  }

  window.sdNoise = { stage, live, pair, bridge, lines };
})();
