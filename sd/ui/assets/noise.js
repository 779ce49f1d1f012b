// The Noise tab: x_t = a x_0 + b (mean + std eps) at any t, drawn here without a request. x_0 and eps
// come once, as raw bytes. The form is the browser's own: the server gets it as one value.
const sdNoise = (() => {
  "use strict";
  const { floats, mix, logSnr, percent, three, unpack, paint, curves } = sdDraw;
  const REST = 150; // ms without a key or a move until t is at rest
  const LAP = 8000; // ms in which play goes from 0 to T
  const OPENING = 2000; // ms in which t goes from 0 to where it first stands, once
  const CALM = 250; // ms between the frames of play where motion is to be reduced
  const KEYS = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10,
    Home: -Infinity, End: Infinity };
  const FINE = 128; // pixels of a side from which they are small enough to be drawn softly
  const PLOTS = ["left", "values", "detail"];

  const tab = {
    scene: null, arrays: null, loaded: "", fetched: 0, // what is drawn
    form: {}, serial: 0, link: null, // what is asked for, and the way to the server
    t: 0, playing: false, plot: "left", words: {}, // where it stands
    opening: null, opened: false, // the first slide while it waits or moves, and if there was one
    frame: 0, frames: 0, rest: 0, // what is due, and how often it was drawn
    stage: null, ranges: [], listeners: [], // where; who else draws, or hears of another scene
    later: [], // what is built when there are words
  };
  const say = (key, values) => sdDraw.say(tab.words, key, values);

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
    paint(here.canvas, arrays, scene.form, now);
    tab.frames++;
    const alt = say("alt", { t, T: scene.schedule.T, signal: percent(now.alphaBar) });
    here.canvas.setAttribute("aria-label", alt);
    Object.assign(here.canvas.dataset, { t, frames: tab.frames });
    for (const range of tab.ranges) {
      if (range.value !== String(t)) range.value = t;
      range.style.setProperty("--share", t / scene.schedule.T);
      range.setAttribute("aria-valuetext", alt);
    }
    if (document.activeElement !== here.at) here.at.value = t;
    here.command.textContent = `${scene.command} ${t}`;
    formula(now);
    plot(now);
    for (const each of tab.listeners) each.draw?.(now);
  }
  function formula(now) {
    const { scene: { form: { mean, std } }, stage: here } = tab;
    here.signal.textContent = now.a.toFixed(2);
    here.grain.textContent = now.b.toFixed(2);
    const grain = std === 1 ? say("formula_noise") : `${three(std)} ${say("formula_noise")}`;
    here.eps.textContent = mean === 0 ? grain : `(${three(mean)} + ${grain})`;
  }
  function plot(now) {
    const { scene, arrays, stage: here } = tab, last = sdDraw.finest(scene, now);
    here.curves.show(tab.plot, scene, arrays, now);
    const told = {
      left: () => say("is_left", { n: percent(now.alphaBar) }),
      values: () => say("nats", { n: three(sdDraw.klToPrior(scene, now.alphaBar)) }),
      detail: () => say(last ? "finest" : "none", { n: last, most: scene.spectrum.length }),
    }[tab.plot]();
    here.told.textContent = told;
    const values = { name: tab.words[tab.plot], value: told, T: scene.schedule.T, t: now.t };
    here.plot.setAttribute("aria-label", say("curve_alt", values));
    if (here.plot.matches(":hover, :focus") || here.told.parentNode.matches(":focus-within")) exactly();
  }
  // All that is known of x_t, where somebody looks for it.
  function exactly() {
    const { scene, arrays, stage: here } = tab;
    if (!scene) return;
    const now = mix(scene.schedule, tab.t), found = sdDraw.moments(arrays, scene.form, now);
    const { alphaBar } = now, most = scene.spectrum.length, exact = (value) => value.toFixed(6);
    const rows = [["formula_picture", exact(now.a)], ["formula_noise", exact(now.b)],
      ["snr", three(alphaBar / (1 - alphaBar), 4)], ["log_snr", three(logSnr(alphaBar), 4)],
      ["kl", three(sdDraw.klToPrior(scene, alphaBar), 4)],
      ["detail", `${sdDraw.finest(scene, now)} / ${most}`],
      ["mean", found.mean.toFixed(4)], ["spread", found.spread.toFixed(4)]];
    here.exact.innerHTML = '<b></b><dl></dl><p></p>';
    here.exact.querySelector("b").textContent = say("exactly", { t: tab.t });
    here.exact.querySelector("p").textContent = tab.words[`${tab.plot}_about`];
    here.exact.querySelector("dl").append(...rows.flatMap(([key, value]) => {
      const name = document.createElement("dt"), number = document.createElement("dd");
      name.textContent = tab.words[key];
      number.textContent = value;
      return [name, number];
    }));
  }

  // Moving t.

  function move(t) {
    const T = tab.scene ? tab.scene.schedule.T : 0;
    tab.t = Math.max(0, Math.min(T, Math.round(t)));
    ask();
  }
  // Let what is asked for next know where t has come to rest, or is when something is pressed: that
  // asks nothing.
  function settle() {
    clearTimeout(tab.rest);
    tab.rest = setTimeout(keep, REST);
  }
  function keep() {
    clearTimeout(tab.rest);
    tab.rest = 0;
    tab.link?.keep({ ...tab.form, t: tab.t });
  }
  document.addEventListener("click", () => tab.rest && keep(), true);
  function step(by) {
    stop();
    move(tab.t + by);
    settle();
  }
  function stop() {
    tab.opening?.disconnect();
    tab.opening = null;
    if (!tab.playing) return;
    tab.playing = false;
    playing();
    settle();
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
    button.setAttribute("aria-label", tab.words[tab.playing ? "pause" : "play"]);
    button.setAttribute("aria-pressed", tab.playing);
  }
  function keys(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || !tab.scene) return;
    if (event.key === " ") play();
    else if (event.key in KEYS) step(KEYS[event.key]);
    else return;
    event.preventDefault();
  }
  // Let a slider move t, as all others of the tab do.
  function slides(range) {
    tab.ranges.push(range);
    range.setAttribute("aria-label", tab.words.time);
    range.max = tab.scene ? tab.scene.schedule.T : 1000;
    range.addEventListener("input", () => {
      stop();
      move(Number(range.value));
      settle();
    });
    range.addEventListener("keydown", keys);
  }

  // What is asked of the server, and what it answers.

  function change(changes, once = {}) {
    Object.assign(tab.form, changes, { serial: ++tab.serial });
    tab.link?.ask({ ...tab.form, t: tab.t, ...once });
    window.sdAddress?.set("noise", kept());
  }
  // What of the form is another than at first, and means something on another day.
  function kept() {
    return Object.fromEntries(["schedule", "other", "seed", "mean", "std"]
      .filter((key) => tab.first && tab.form[key] !== tab.first[key]).map((key) => [key, tab.form[key]]));
  }
  async function upload(file) {
    if (!file || !tab.link) return;
    tab.stage.box.classList.add("waiting");
    try {
      const { path } = await tab.link.upload(file);
      change({}, { upload: { file: path, name: file.name } });
    } finally {
      tab.stage.box.classList.remove("waiting");
    }
  }
  async function arrive(scene) {
    if (tab.scene && scene.form.serial < tab.scene.form.serial) return; // a newer one came before it
    const fetched = ++tab.fetched;
    if (scene.file.url !== tab.loaded) {
      const answer = await fetch(scene.file.url);
      const buffer = answer.ok ? await answer.arrayBuffer() : null;
      if (!buffer || fetched !== tab.fetched) return; // a newer one has come meanwhile
      tab.arrays = unpack(buffer, scene.side);
      tab.loaded = scene.file.url;
    }
    const read = (line) => ({ ...line, alphaBar: floats(line.alpha_bar) });
    const old = tab.scene;
    tab.scene = { ...scene, schedule: read(scene.schedule), other: read(scene.other) };
    if (scene.form.serial === tab.serial) tab.form = { ...scene.form };
    tab.first ||= { ...scene.form };
    tab.t = old ? Math.round((tab.t / old.schedule.T) * scene.schedule.T) : scene.t;
    furnish();
    if (!old) open();
    draw();
    settle();
    for (const each of tab.listeners) each.arrive?.(tab.scene, old);
    const saved = old ? null : window.sdAddress?.get("noise");
    if (saved && Object.keys(saved).length) change(saved);
  }
  function furnish() {
    const { stage: here, scene } = tab, { T } = scene.schedule;
    here.canvas.classList.toggle("coarse", scene.side < FINE);
    for (const range of tab.ranges) range.max = T;
    here.at.max = T;
    here.of.textContent = say("of", { n: T });
    here.curves.label(scene);
    sdNoiseForm.fill(here, tab);
  }
  function listen(listener) {
    tab.listeners.push(listener);
    if (tab.scene) {
      listener.arrive?.(tab.scene, null);
      ask();
    }
  }

  // Mounting: gradio calls these when a component comes into the page.

  const PLAY = '<svg viewBox="0 0 20 20" aria-hidden="true"><path class="go" d="M6 4l10 6-10 6z"/>' +
    '<path class="wait" d="M5 4h4v12H5zM11 4h4v12h-4z"/></svg>';
  const STAGE = '<div class="noise-left"><canvas id="noise-canvas" role="img" tabindex="-1" width="8" height="8"></canvas>' +
    `<div class="time"><button type="button" class="play" aria-pressed="false">${PLAY}</button>` +
    '<input id="noise-t" class="t" type="range" min="0" max="1000" step="1" value="0">' +
    '<label class="at">t = <input type="number" min="0" max="1000" step="1" value="0"><span></span></label></div></div>' +
    '<div class="noise-right"><h2 class="formula">x<sub>t</sub> = <b>1.00</b> <span></span> + <b>0.00</b> <span></span></h2>' +
    '<p class="drag"></p><div class="thumbs-row"></div>' +
    '<div class="words"><div role="tablist"></div><output></output></div>' +
    '<div class="plot" role="img" tabindex="-1"><div class="exact"></div></div><div class="quiet"></div></div>' +
    '<div class="command"><pre></pre></div>'; // what the menu in the head shows

  // The server's mark of what is ours, as a chunk behind a PNG's head, which takes 33 bytes.
  function marked(address, mark) {
    const [kind, data] = address.split(",");
    const bytes = atob(data);
    return `${kind},${btoa(bytes.slice(0, 33) + atob(mark) + bytes.slice(33))}`;
  }
  function save(link) {
    link.download = `x_${tab.t}.png`;
    link.href = marked(tab.stage.canvas.toDataURL("image/png"), tab.scene.mark);
  }

  function stage(element, props, watch) {
    const box = element.querySelector(".noise-page"), pick = (selector) => box.querySelector(selector);
    tab.words = sdSay(JSON.parse(box.dataset.words));
    box.innerHTML = STAGE;
    const [signal, grain] = box.querySelectorAll(".formula b");
    const [of, eps] = box.querySelectorAll(".formula span");
    const here = tab.stage = { box, canvas: pick("canvas"), range: pick(".t"), play: pick(".play"),
      at: pick(".at input"), of: pick(".at span"), signal, grain, eps, told: pick("output"),
      plot: pick(".plot"), exact: pick(".exact"), thumbs: pick(".thumbs-row"), quiet: pick(".quiet"), command: pick(".command pre") };
    of.textContent = tab.words.formula_picture;
    eps.textContent = tab.words.formula_noise;
    pick(".formula").title = tab.words.about;
    pick(".drag").textContent = tab.words.drag;
    here.of.textContent = say("of", { n: 1000 });
    here.at.setAttribute("aria-label", "t");
    slides(here.range);
    here.canvas.addEventListener("keydown", keys);
    here.canvas.addEventListener("click", () => here.canvas.focus());
    here.play.addEventListener("click", play);
    here.at.addEventListener("input", () => here.at.value !== "" && step(Number(here.at.value) - tab.t));
    here.at.addEventListener("blur", ask);
    playing();
    tablist(pick("[role=tablist]"));
    here.curves = curves(here.plot, tab.words);
    for (const event of ["pointerenter", "focus"]) here.plot.addEventListener(event, exactly);
    here.told.parentNode.addEventListener("focusin", exactly);
    sdNoiseForm.build(here, tab, { change, upload, save });
    Object.assign(tab, { scene: null, loaded: "" });
    const come = () => props.value && props.value.file && arrive(props.value);
    watch("value", come);
    come();
    tab.later.splice(0).forEach((build) => build());
  }
  function tablist(list) {
    const buttons = PLOTS.map((key) => {
      const button = document.createElement("button");
      Object.assign(button, { type: "button", textContent: tab.words[key] });
      button.setAttribute("role", "tab");
      button.addEventListener("click", () => {
        tab.plot = key;
        mark();
        ask();
      });
      return button;
    });
    const mark = () => buttons.forEach((button, k) => {
      button.setAttribute("aria-selected", PLOTS[k] === tab.plot);
      button.tabIndex = PLOTS[k] === tab.plot ? 0 : -1;
    });
    list.append(...buttons);
    sdNoiseForm.arrows(list, buttons);
    mark();
  }
  function form(props, trigger, sent) {
    tab.link = {
      keep: (value) => { props.value = value; },
      ask: (value) => {
        props.value = value;
        trigger();
      },
      upload: sent,
    };
  }
  const ready = (build) => (tab.stage ? build() : tab.later.push(build));
  const forget = () => tab.listeners.forEach((each) => each.forget?.());

  return { stage, form, forget, ready, tab, say, slides, step, change, listen, ask };
})();
