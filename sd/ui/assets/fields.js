// A form of the browser's own fields, from what `sd.ui.components.fields` describes. Its value is
// {name: value}; {patch: ...} from the server changes some of it.
(() => {
  "use strict";
  const LARGEST_RANDOM = 1e6; // seeds that the dice draw
  const INFO = '<svg viewBox="0 0 20 20" aria-hidden="true"><circle cx="10" cy="10" r="8"/><path d="M10 9v5M10 5.6v.8"/></svg>';
  let fields = 0; // made so far, for ids

  const make = window.sdMake;
  const number = (text) => (text === "" ? null : Number(text));
  const rounded = (value) => (value === null ? "" : String(Number(Number(value).toPrecision(9))));

  function choiceOf(field, id, changed) {
    const list = make("select", { id });
    let kept = field.value;  // where a handler brings the choices, what is chosen may come first
    const fill = (choices) => {
      list.replaceChildren(...choices.map(([text, value], i) => make("option", { value: String(i) }, sdSay(text))));
      list.choices = choices.map(([, value]) => value);
    };
    fill(field.choices);
    list.addEventListener("change", changed);
    return {
      node: list, input: list, fill,
      get: () => list.choices[list.selectedIndex] ?? (field.open ? kept : field.value),
      set: (value) => { kept = value; list.selectedIndex = list.choices.indexOf(value); },
    };
  }

  function switchOf(field, id, changed) {
    const group = make("div", { id, className: "switch-row", role: "radiogroup" });
    let values = [];
    const radios = () => [...group.querySelectorAll("input")];
    const fill = (choices) => {
      values = choices.map(([, value]) => value);
      group.replaceChildren(...choices.map(([text], i) => {
        const radio = make("input", { type: "radio", name: id, value: String(i) });
        radio.addEventListener("change", changed);
        return make("label", {}, radio, make("span", {}, sdSay(text)));
      }));
    };
    fill(field.choices);
    return {
      node: group, input: group, fill, isGroup: true,
      get: () => values[radios().findIndex((radio) => radio.checked)] ?? field.value,
      set: (value) => radios().forEach((radio, i) => { radio.checked = values[i] === value; }),
      able: (on) => radios().forEach((radio) => { radio.disabled = !on; }),
    };
  }

  function numberOf(field, id, changed) {
    const about = { type: "number", inputMode: "decimal", step: field.step === 1 ? "1" : "any" };
    const box = make("input", { ...about, id });
    for (const [key, value] of [["min", field.low], ["max", field.high]]) if (value !== null) box[key] = value;
    const get = () => (box.value === "" && !field.optional ? field.value : number(box.value));
    box.addEventListener("input", () => { if (box.value !== "" || field.optional) changed(); });
    box.addEventListener("change", () => { if (box.value === "" && !field.optional) { box.value = rounded(field.value); changed(); } });
    if (field.kind === "seed") {
      const dice = make("button", { type: "button", className: "dice", title: sdSay(field.dice) }, "⚂");
      dice.setAttribute("aria-label", dice.title);
      const draw = () => { box.value = String(Math.floor(Math.random() * LARGEST_RANDOM)); changed(); };
      dice.addEventListener("click", draw);
      box.addEventListener("change", () => { if (box.value === "-1") draw(); });
      return { node: make("span", { className: "with-dice" }, box, dice), input: box, get, set: (value) => { box.value = rounded(value); } };
    }
    if (field.kind !== "range") return { node: box, input: box, get, set: (value) => { box.value = rounded(value); } };
    const bar = make("input", { type: "range", min: field.low, max: field.high, step: field.step, tabIndex: -1 });
    bar.setAttribute("aria-hidden", "true"); // the number beside it is the same field
    bar.addEventListener("input", () => { box.value = rounded(bar.value); changed(); });
    box.addEventListener("input", () => { bar.value = box.value; });
    return {
      node: make("span", { className: "ranged" }, bar, box), input: box, get,
      set: (value) => { box.value = rounded(value); bar.value = value ?? field.low; },
      able: (on) => { bar.disabled = !on; },
    };
  }

  function flagOf(field, id, changed) {
    const box = make("input", { type: "checkbox", id });
    box.addEventListener("change", changed);
    return { node: box, input: box, get: () => box.checked, set: (value) => { box.checked = value; } };
  }

  function textOf(field, id, changed) {
    const box = make(field.lines > 1 ? "textarea" : "input", { id, maxLength: field.longest });
    if (field.lines > 1) box.rows = field.lines;
    box.addEventListener("input", changed);
    return { node: box, input: box, get: () => box.value, set: (value) => { box.value = value ?? ""; } };
  }

  // Several words: the choices as chips to press, and a line for any others where it is open.
  function wordsOf(field, id, changed) {
    const group = make("div", { id, className: "words-row", role: "group" }), chips = make("span", {});
    let names = new Map(), chosen = [];
    const draw = () => chips.replaceChildren(...[...new Set([...names.keys(), ...chosen])].map((word) => {
      const chip = make("button", { type: "button" }, sdSay(names.get(word)) || word);
      chip.setAttribute("aria-pressed", String(chosen.includes(word)));
      chip.addEventListener("click", () => {
        chosen = chosen.includes(word) ? chosen.filter((each) => each !== word) : [...chosen, word];
        draw();
        changed();
      });
      return chip;
    }));
    const fill = (choices) => { names = new Map(choices.map(([text, word]) => [word, text])); draw(); };
    group.append(chips);
    if (field.open && !field.choices.length) {
      const box = make("input", { maxLength: 200, placeholder: "+" });
      box.setAttribute("aria-labelledby", `${id}-name`);
      box.addEventListener("change", () => {
        const word = box.value.trim();
        box.value = "";
        if (!word || chosen.includes(word)) return;
        chosen = [...chosen, word];
        draw();
        changed();
      });
      group.append(box);
    }
    fill(field.choices);
    return { node: group, input: group, fill, isGroup: true, get: () => chosen, set: (value) => { chosen = [...(value ?? [])]; draw(); } };
  }

  const KINDS = { choice: choiceOf, switch: switchOf, number: numberOf, range: numberOf, seed: numberOf, flag: flagOf, text: textOf, words: wordsOf };

  // One field: its label, what a person changes, its sentence behind an (i), and a line for a fault.
  function fieldOf(field, changed) {
    const id = `field-${++fields}`, control = KINDS[field.kind](field, id, changed);
    const name = control.isGroup ? make("span", { id: `${id}-name` }, sdSay(field.label)) : make("label", { htmlFor: id }, sdSay(field.label));
    if (control.isGroup) control.input.setAttribute("aria-labelledby", `${id}-name`);
    const about = make("p", { className: "about", id: `${id}-about`, hidden: true }, sdSay(field.info));
    const fault = make("p", { className: "fault", id: `${id}-fault`, hidden: true });
    fault.setAttribute("role", "alert");
    const head = make("span", { className: "field-name" }, name);
    if (field.info) {
      const more = make("button", { type: "button", className: "info" });
      more.innerHTML = INFO;
      more.setAttribute("aria-label", `${sdSay(field.label)}: ?`);
      more.setAttribute("aria-expanded", "false");
      more.setAttribute("aria-controls", about.id);
      more.addEventListener("click", () => {
        about.hidden = !about.hidden;
        more.setAttribute("aria-expanded", String(!about.hidden));
      });
      head.append(more);
      control.input.setAttribute("aria-describedby", `${about.id} ${fault.id}`);
    }
    const place = make("div", { className: `field field-${field.kind}` }, head, control.node, about, fault);
    place.dataset.name = field.name;
    return { field, place, ...control, shown: true, say: (line) => { fault.textContent = line; fault.hidden = !line; } };
  }

  function mount(element, props, page, about) {
    const place = element.querySelector(".form-fields");
    const first = Object.fromEntries(about.fields.filter((each) => each.kind !== "heading").map((each) => [each.name, each.value]));
    const parts = new Map();
    const values = () => Object.fromEntries([...parts].map(([name, part]) => [name, part.get()]));
    const arrange = () => {
      const now = values();
      for (const part of parts.values()) {
        const [other, allowed] = part.field.when ?? [];
        part.place.hidden = !part.shown || (other !== undefined && !allowed.includes(now[other]));
      }
    };
    // What follows another field begins anew when a person changes that.
    const lead = (name) => {
      for (const part of parts.values()) {
        const [other, begins] = part.field.follows ?? [];
        if (other === name) part.set(begins[parts.get(name).get()] ?? "");
      }
    };
    const keep = () => {
      arrange();
      const now = values();
      props.value = now;
      const changed = Object.entries(now).filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(first[name]));
      if (about.form) window.sdAddress?.set(about.form, Object.fromEntries(changed));
    };
    // What a person changed after a handler had `seen` it is newer than that handler's answer.
    const set = (changes, seen) => {
      for (const [name, value] of Object.entries(changes)) {
        const part = parts.get(name);
        if (part && !(seen && name in seen && String(part.get()) !== String(seen[name]))) part.set(value);
      }
    };
    for (const field of about.fields) {
      if (field.kind === "heading") { place.append(make("h3", {}, sdSay(field.label))); continue; }
      const part = fieldOf(field, () => { part.say(""); lead(field.name); keep(); page.input({ name: field.name }); });
      parts.set(field.name, part);
      place.append(part.place);
    }
    const take = () => {
      const patch = props.value?.patch;
      if (!patch) return;
      for (const [name, choices] of Object.entries(patch.choices)) {
        const part = parts.get(name), value = part?.get();
        part?.fill?.(JSON.parse(JSON.stringify(choices)));
        part?.set(value);
      }
      for (const [name, on] of Object.entries(patch.shown)) if (parts.has(name)) parts.get(name).shown = on;
      for (const [name, on] of Object.entries(patch.enabled)) {
        const part = parts.get(name);
        if (part) { part.input.disabled = !on; part.able?.(on); }
      }
      if (patch.faults) for (const [name, part] of parts) part.say(patch.faults[name] ?? "");
      set(patch.values, patch.seen);
      keep();
    };
    set({ ...first, ...(about.form && window.sdAddress?.get(about.form) || {}) });
    page.watch("value", take);
    const begin = () => (props.value?.patch ? take() : keep());
    begin();
    setTimeout(begin); // gradio does not hear of what is set while a part is being made
  }

  window.sdFields = { mount };
})();
