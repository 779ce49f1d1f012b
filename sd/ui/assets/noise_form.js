// What the Noise tab draws from, at the right of its picture: pictures to choose, and a quiet line
// whose words open the schedule, the seed and the command line.
const sdNoiseForm = (() => {
  "use strict";
  const LARGEST_RANDOM = 1e6; // seeds that the dice draw
  const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

  function make(tag, about = {}, ...children) {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(about)) {
      if (key in node) node[key] = value;
      else node.setAttribute(key, value);
    }
    node.append(...children);
    return node;
  }
  // Arrow keys walk through buttons of which one is a stop, and press where they come to.
  function arrows(place, buttons) {
    place.addEventListener("keydown", (event) => {
      const all = Array.isArray(buttons) ? buttons : buttons(), at = all.indexOf(document.activeElement);
      const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!by || at < 0) return;
      event.preventDefault();
      const next = all[(at + by + all.length) % all.length];
      next.focus();
      next.click();
    });
  }
  // A word that opens a small box below it.
  function opens(word, box) {
    Object.assign(box, { popover: "auto", className: `${box.className} pop` });
    word.popoverTargetElement = box;
    box.addEventListener("beforetoggle", (event) => {
      if (event.newState !== "open") return;
      const at = word.getBoundingClientRect(), width = Math.min(340, innerWidth - 24);
      box.style.width = `${width}px`;
      box.style.left = `${Math.max(12, Math.min(at.left, innerWidth - width - 12))}px`;
      const above = innerHeight - at.bottom < 260 && at.top > 260;
      box.style.top = above ? "auto" : `${at.bottom + 6}px`;
      box.style.bottom = above ? `${innerHeight - at.top + 6}px` : "auto";
    });
    return [word, box];
  }
  function picked(choices, value, name, changed) {
    const list = make("select", { "aria-label": name });
    offer(list, choices, value);
    list.addEventListener("change", () => changed(list.value));
    return list;
  }
  function offer(list, choices, value) {
    if (!same([...list.options].map((each) => [each.text, each.value]), choices)) {
      list.replaceChildren(...choices.map(([text, name]) => make("option", { value: name, textContent: text })));
    }
    list.value = value;
  }
  // How a schedule ends, with a button for each that ends better.
  function doctor(changed) {
    const place = make("div", { className: "doctor" });
    place.addEventListener("click", (event) => {
      const button = event.target.closest("button[data-schedule]");
      if (button) changed(button.dataset.schedule);
    });
    return place;
  }

  function build(here, tab, { change, upload, save }) {
    const { words } = tab, parts = here.parts = {};
    pictures(here, parts, words, change, upload);
    drops(here, upload);
    const schedule = (name) => change({ schedule: name });
    parts.schedule = picked([], "", words.schedule, schedule);
    parts.ends = doctor(schedule);
    parts.scheduleWord = make("button", { type: "button" }, "…");
    parts.seed = make("input", { type: "number", min: -1, step: 1, value: 0, "aria-label": words.seed });
    parts.seedWord = make("button", { type: "button" }, "0");
    const dice = make("button", { type: "button", className: "plain" }, words.dice);
    const seeded = () => change({ seed: Math.max(-1, Math.round(Number(parts.seed.value) || 0)) });
    parts.seed.addEventListener("change", seeded);
    dice.addEventListener("click", () => {
      parts.seed.value = Math.floor(Math.random() * LARGEST_RANDOM);
      seeded();
    });
    const link = make("a", { className: "save", href: "#", download: "x_t.png" }, words.save);
    link.addEventListener("click", () => save(link));
    here.quiet.append(
      make("span", {}, `${words.schedule} `, ...opens(parts.scheduleWord,
        make("div", { className: "schedule-box" }, make("b", {}, words.schedule), parts.schedule, parts.ends))),
      make("span", {}, `${words.seed} `, ...opens(parts.seedWord, make("div", { className: "seed-box" },
        make("b", {}, words.seed), make("p", {}, words.seed_about), make("div", { className: "with-dice" }, parts.seed, dice)))),
      make("span", { className: "end" }, link),
    );
  }
  function pictures(here, parts, words, change, upload) {
    const file = make("input", { type: "file", accept: "image/*", hidden: true, tabIndex: -1 });
    const add = make("button", { type: "button", className: "add", title: words.add, "aria-label": words.add }, "+");
    add.addEventListener("click", () => file.click());
    file.addEventListener("change", () => {
      upload(file.files[0]);
      file.value = "";
    });
    parts.list = make("div", { role: "radiogroup", "aria-label": words.pictures });
    parts.sets = picked([], "", words.sets, (name) => change({ pictures: name }));
    parts.sets.hidden = true;
    here.box.querySelector(".drag").after(parts.sets);
    here.thumbs.append(add, file, parts.list);
    arrows(parts.list, () => [...parts.list.children]);
    parts.list.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button) change({ picture: button.picture });
    });
  }
  // A picture may be dropped anywhere while the tab is in sight.
  function drops(here, upload) {
    const seen = (event) => here.canvas.offsetParent !== null && event.dataTransfer?.types.includes("Files");
    document.addEventListener("dragover", (event) => {
      if (!seen(event)) return;
      event.preventDefault();
      here.box.classList.add("dropping");
    });
    document.addEventListener("dragleave", (event) => {
      if (!event.relatedTarget) here.box.classList.remove("dropping");
    });
    document.addEventListener("drop", (event) => {
      here.box.classList.remove("dropping");
      if (!seen(event)) return;
      event.preventDefault();
      upload(event.dataTransfer.files[0]);
    });
  }

  // Show the form of a scene that has come.
  function fill(here, tab) {
    const { scene } = tab, { form } = scene, { parts } = here;
    thumbnails(here, tab);
    offer(parts.sets, scene.sets, form.pictures);
    parts.sets.hidden = scene.sets.length < 2;
    offer(parts.schedule, scene.schedules, form.schedule);
    parts.scheduleWord.textContent = scene.schedule.name;
    parts.scheduleWord.classList.toggle("bad", scene.schedule.bad);
    parts.ends.innerHTML = scene.schedule.ends;
    parts.seedWord.textContent = form.seed;
    if (document.activeElement !== parts.seed) parts.seed.value = form.seed;
  }
  function thumbnails(here, tab) {
    const { scene } = tab, { parts } = here, chosen = scene.form.picture;
    const shown = [...scene.thumbnails];
    if (!shown.some((each) => same(each.picture, chosen))) shown.unshift({ picture: chosen, name: scene.called });
    if (!same(shown.map((each) => each.picture), parts.shown)) {
      parts.list.replaceChildren(...shown.map((each) => thumbnail(each, tab)));
      parts.shown = shown.map((each) => each.picture);
    }
    for (const button of parts.list.children) {
      const on = same(button.picture, chosen);
      button.setAttribute("aria-checked", on);
      button.tabIndex = on ? 0 : -1;
    }
  }
  function thumbnail({ picture, file, name }, tab) {
    const image = file ? make("img", { src: file.url, alt: "" }) : make("canvas");
    if (!file) sdDraw.paint(image, tab.arrays, { mean: 0, std: 1 }, { a: 1, b: 0 });
    const button = make("button", { type: "button", role: "radio", title: name, "aria-label": name }, image);
    button.picture = picture;
    return button;
  }

  return { build, fill, arrows, make, picked, offer, doctor };
})();
