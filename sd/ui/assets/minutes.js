// How long to train: minutes as tiles, one button that measures, plans and starts, and is its own Stop.
// props.value to the server: {now}, the minutes, null where the settings are trained as they stand. From
// it, what changes: {minutes, busy, steps, own, run, ready}.
(() => {
  "use strict";
  const FORM = "minutes", OTHER = "plan_minutes"; // the address's name; the field for any other number
  const make = window.sdMake;

  class Card {
    constructor(root, props, trigger, watch, about) {
      const kept = window.sdAddress?.get(FORM);
      Object.assign(this, { root, props, trigger, about, busy: null, steps: {}, own: "", run: null, left: false, ready: false });
      this.minutes = kept && "minutes" in kept ? kept.minutes : about.usual;
      this.say = (key, values = {}) => sdSay(about.words[key]).replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
      this.build();
      watch("value", () => this.take());
      this.take();
      this.keep();
    }
    build() {
      this.tiles = this.about.minutes.map((minutes) => {
        const radio = make("input", { type: "radio", name: "train-minutes", value: String(minutes) });
        radio.addEventListener("change", () => this.set(minutes));
        const about = make("small", {}, "\u00a0");
        return { minutes, radio, about, node: make("label", {}, radio, make("span", {}, make("b", {}, this.length(minutes)), about)) };
      });
      const group = make("div", { className: "tiles", role: "radiogroup" }, ...this.tiles.map((tile) => tile.node));
      group.setAttribute("aria-labelledby", "how-long");
      this.button = make("button", { type: "button", id: "train-start", className: "go" });
      this.button.addEventListener("click", () => this.press());
      this.told = make("p", { className: "minutes-line" });
      this.told.setAttribute("role", "status");
      this.gear = make("button", { type: "button", className: "link gear" }, this.say("settings"));
      this.gear.setAttribute("aria-expanded", "false");
      this.gear.setAttribute("aria-controls", this.about.panel);
      this.gear.addEventListener("click", () => this.openSettings());
      this.form = make("div", {}, make("h2", { id: "how-long" }, this.say("title")), group, this.button, this.told,
        make("p", { className: "minutes-foot" }, make("span", {}, this.say("foot")), this.gear));
      this.facts = make("div", { className: "run-settings" });
      this.root.replaceChildren(this.form, this.facts);
      document.addEventListener("input", (event) => {
        const name = event.target.closest?.(`#${this.about.fields} .field`)?.dataset.name;
        if (name === OTHER) this.set(Number(event.target.value) || this.about.usual);
        else if (name && !this.about.kept.includes(name)) this.set(null);
      });
    }
    length(minutes) {
      return minutes % 60 ? this.say("minutes", { n: minutes }) : this.say("hours", { n: minutes / 60 });
    }
    set(minutes) {
      this.minutes = minutes;
      this.keep();
    }
    keep() {
      this.props.value = { now: this.minutes };
      window.sdAddress?.set(FORM, this.minutes === this.about.usual ? {} : { minutes: this.minutes });
      this.draw();
    }
    press() {
      if (this.busy) {
        this.busy = { line: this.say("stopping") };
        this.draw();
        this.trigger("clear");
        return;
      }
      if (!this.ready) {
        this.told.textContent = this.say("no_pictures");
        document.querySelector(`#${this.about.pictures} .door`)?.focus();
        return;
      }
      this.busy = { line: this.say("waiting") };
      this.root.closest(".page")?.classList.remove("picked"); // what trains is the run to come
      this.keep();
      this.trigger("click");
    }
    openSettings(open = this.gear.getAttribute("aria-expanded") !== "true") {
      const panel = document.getElementById(this.about.panel);
      panel?.classList.toggle("open", open);
      this.gear.setAttribute("aria-expanded", String(open));
      if (open) panel?.scrollIntoView({ block: "nearest" });
    }
    take() {
      const sent = this.props.value ?? {};
      if ("now" in sent) return;
      for (const key of ["minutes", "busy", "own", "run", "ready"]) if (key in sent) this[key] = sent[key];
      if ("run" in sent) this.left = false;
      if (sent.steps) this.steps = { ...sent.steps };
      this.keep();
    }
    draw() {
      for (const { minutes, radio, about } of this.tiles) {
        radio.checked = minutes === this.minutes;
        radio.disabled = Boolean(this.busy);
        about.textContent = this.steps[minutes] ?? "\u00a0";
        about.classList.toggle("unknown", !(minutes in this.steps));
      }
      const time = this.minutes === null ? "" : this.minutes % 60 ? this.say(this.minutes === 1 ? "train_minute" : "train_minutes", { n: this.minutes })
        : this.say(this.minutes === 60 ? "train_hour" : "train_hours", { n: this.minutes / 60 });
      this.button.classList.toggle("busy", Boolean(this.busy));
      this.button.replaceChildren(make("span", {}, this.busy ? this.busy.line : time || this.own || this.say("train_own")));
      if (this.busy) this.button.append(make("b", {}, this.say("stop")));
      if (this.ready) this.told.textContent = this.minutes === null ? this.say("as_set") : "";
      this.form.hidden = Boolean(this.run) && !this.left;
      this.facts.hidden = !this.form.hidden;
      if (this.run) this.facts.innerHTML = this.run.html;
    }
  }

  // What ends is told by a step of its own, since of two values that come at once one is never seen.
  let card = null, asked = "";
  window.sdMinutes = {
    mount: (element, ...page) => { card = new Card(element.querySelector(".minutes-card"), ...page); },
    own: () => card?.set(null),
    leave: (left) => {
      if (!card) return;
      card.left = left;
      card.draw();
    },
    wait: (what) => {
      if (!card || card.busy) return;
      asked = what;
      card.busy = { line: card.say("waiting") };
      card.draw();
    },
    idle: (isAsked) => {
      if (!card) return;
      card.busy = null;
      if (isAsked && asked === "plan") card.minutes = null;
      card.keep();
    },
  };

  // The settings: the presets, and the groups of fields, one in sight at a time.
  function settings(element, props, trigger, about) {
    const place = element.querySelector(".settings-head");
    const tabs = about.groups.map(({ name, words }) => {
      const tab = make("button", { type: "button" }, sdSay(words));
      tab.addEventListener("click", () => show(name));
      return { name, tab };
    });
    const presets = about.presets.map(({ name, words, facts }) => {
      const card = make("button", { type: "button", className: "preset" });
      const strip = props.value?.[name]?.url;
      if (strip) card.append(make("img", { loading: "lazy", src: strip, alt: "" }));
      card.append(make("b", {}, name), make("span", {}, sdSay(words)), make("small", {}, sdSay(facts)));
      card.addEventListener("click", () => trigger("click", { preset: name }));
      return card;
    });
    place.append(make("div", { className: "tabs" }, ...tabs.map(({ tab }) => tab)), make("div", { className: "presets" }, ...presets));
    function show(group) {
      const panel = document.getElementById(about.panel);
      let at = -1;
      for (const child of panel.querySelector(".form-fields")?.children ?? []) {
        if (child.tagName === "H3") at++;
        child.classList.toggle("other-group", about.fields[at] !== group);
      }
      panel.dataset.group = group;
      for (const { name, tab } of tabs) tab.setAttribute("aria-pressed", String(name === group));
    }
    const wait = () => {
      if (!document.querySelector(`#${about.panel} .form-fields > h3`)) return setTimeout(wait, 50);
      show(about.groups[0].name);
      if (window.sdAddress?.get(about.form)) setTimeout(() => trigger("input"), 50); // the address filled the form
    };
    wait();
  }
  window.sdSettings = { mount: settings };
})();
