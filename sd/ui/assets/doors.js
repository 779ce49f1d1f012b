// The card of the pictures. props.value from the server: {own, run}, what is shown of the own set and,
// in its place, of a run's; to the server: {files | set, title}, what a person picked.
(() => {
  "use strict";
  const AT_ONCE = 400, BYTES_AT_ONCE = 96 * 2 ** 20, MOST = 40000; // files and bytes of one request; of a set
  const MEMORY = "sd-set"; // of the browser's own storage: the set is there again after a reload
  const make = window.sdMake;
  const onPhone = () => matchMedia("(pointer: coarse)").matches;

  // Every file below what was dropped, under its path: folders are read, which a plain drop is not.
  async function dropped(transfer) {
    const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    if (!entries.length) return [...transfer.files].map((file) => [file, file.name]);
    const found = [];
    const walk = async (entry) => {
      if (entry.isFile) {
        const file = await new Promise((good, bad) => entry.file(good, bad));
        found.push([file, entry.fullPath.replace(/^\//, "")]);
        return;
      }
      const reader = entry.createReader();
      for (;;) {
        const some = await new Promise((good, bad) => reader.readEntries(good, bad));
        if (!some.length) return;
        for (const each of some) await walk(each);
      }
    };
    for (const entry of entries) await walk(entry);
    return found;
  }

  class Card {
    constructor(root, props, trigger, watch, about) {
      Object.assign(this, { root, props, trigger, about, own: null, run: null, left: false, sent: [], sending: null, doorsOpen: false, asked: false });
      this.say = (key, values = {}) => sdSay(about.words[key]).replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
      this.build();
      watch("value", () => this.take());
      this.take();
      this.again();
    }
    build() {
      const pick = (about) => {
        const input = make("input", { type: "file", multiple: true, hidden: true, ...about });
        input.addEventListener("change", () => {
          this.send([...input.files].map((file) => [file, file.webkitRelativePath || file.name]));
          input.value = "";
        });
        return input;
      };
      this.files = pick({ className: "pick-files", ariaLabel: this.say("files") });
      this.folder = pick({ className: "pick-folder", webkitdirectory: true, ariaLabel: this.say("folder") });
      const link = (key, action) => {
        const button = make("button", { type: "button", className: "link" }, this.say(key));
        button.addEventListener("click", action);
        return button;
      };
      const door = (name, action) => {
        const button = make("button", { type: "button", className: "door" }, make("img", { src: this.about.doors[name], alt: "" }), make("span", {}, this.say(name)));
        button.dataset.door = name;
        button.addEventListener("click", action);
        return button;
      };
      this.back = link("back", () => (this.own ? this.show(false) : this.leave(false)));
      // The first door opens the dialog that is usual on the device; this one the other.
      const other = onPhone() ? link("folder", () => this.folder.click()) : link("files", () => this.files.click());
      this.doors = make("div", { className: "doors" },
        make("div", { className: "card-head" }, make("h2", {}, this.say("choose")), this.back),
        make("p", { className: "zone-line" }, make("span", {}, `${this.say("zone")} `), other),
        make("div", { className: "door-row" },
          door("photos", () => (onPhone() ? this.files : this.folder).click()),
          door("starter", () => this.pick({ set: "starter" })),
          door("shapes", () => this.pick({ set: "shapes" }))));
      this.name = make("input", { className: "set-name", maxLength: 100, spellcheck: false, ariaLabel: this.say("name") });
      this.name.addEventListener("change", () => {
        if (this.own) this.own.title = this.name.value;
        this.remember();
        this.pick({ title: this.name.value }, "submit");
      });
      this.name.addEventListener("keydown", (event) => { if (event.key === "Enter") this.name.blur(); });
      this.facts = make("span", { className: "set-facts" });
      this.change = link("change", () => this.show(true));
      this.other = link("other", () => this.leave(true));
      this.strip = make("div", { className: "strip" });
      this.strip.setAttribute("role", "img");
      this.caption = make("p", { className: "set-caption" });
      this.details = make("details", { className: "set-details" }, make("summary", {}, this.say("details")), make("div", {}));
      this.loose = make("ul", { className: "loose" });
      this.gone = link("delete", () => this.deleteSet());
      this.details.append(this.loose, this.gone);
      this.chosen = make("div", { className: "chosen" },
        make("div", { className: "card-head" }, make("h2", {}, this.name), this.facts, this.change, this.other), this.strip, this.caption, this.details);
      this.line = make("span", {});
      this.line.setAttribute("role", "status");
      this.cancel = link("cancel", () => this.sending?.abort());
      this.bar = make("i", {});
      this.status = make("div", { className: "set-status" }, make("p", {}, this.line, this.cancel), make("div", { className: "track" }, this.bar));
      this.root.replaceChildren(this.doors, this.chosen, this.status, this.files, this.folder);
      this.listen();
    }
    listen() {
      const zone = this.root;
      const over = (on) => zone.classList.toggle("over", on);
      zone.addEventListener("dragover", (event) => {
        if (!event.dataTransfer?.types.includes("Files") || this.shownRun) return;
        event.preventDefault();
        over(true);
      });
      zone.addEventListener("dragleave", (event) => { if (!zone.contains(event.relatedTarget)) over(false); });
      zone.addEventListener("drop", async (event) => {
        if (this.shownRun) return;
        event.preventDefault();
        over(false);
        this.send(await dropped(event.dataTransfer));
      });
    }
    // What was chosen before the page was loaded anew.
    again() {
      try {
        const kept = JSON.parse(localStorage.getItem(MEMORY) ?? "null");
        if (kept?.set && !this.own) this.pick({ set: String(kept.set), title: String(kept.title ?? ""), again: true });
      } catch { /* nothing was kept */ }
    }
    remember() {
      try {
        if (this.own?.set) localStorage.setItem(MEMORY, JSON.stringify({ set: this.own.set, title: this.own.title }));
        else localStorage.removeItem(MEMORY);
      } catch { /* the browser keeps nothing */ }
    }
    pick(what, event = "upload") {
      this.asked = true;
      if (event === "upload" && !what.again && !what.delete) this.root.closest(".page")?.classList.add("picked");
      for (const toast of document.querySelectorAll(".toast-close")) toast.click(); // of what was refused before
      this.props.value = what;
      this.trigger(event);
    }
    // A set that was uploaded to a page of many goes at the second press.
    deleteSet() {
      if (this.gone.dataset.asked === this.own.set) return this.pick({ set: this.own.set, delete: true });
      this.gone.dataset.asked = this.own.set;
      this.gone.textContent = this.say("really");
    }
    get shownRun() {
      return this.left ? null : this.run;
    }
    // Leave the card of a run that rests for one's own pictures, and with it the card of the minutes.
    leave(left) {
      this.left = left;
      sdMinutes.leave(left);
      this.draw();
      this.root.querySelector(".doors:not([hidden]) .door, .chosen:not([hidden]) .link:not([hidden])")?.focus();
    }
    show(doors) {
      this.asked = false; // what comes for an earlier choice closes no door
      this.doorsOpen = doors;
      this.draw();
      (doors ? this.doors.querySelector(".door") : this.change).focus();
    }
    async send(files) {
      if (!files.length || this.sending) return;
      if (files.length > MOST) return this.tell(this.say("too_many", { n: MOST.toLocaleString() }), null);
      const done = [], stop = (this.sending = new AbortController());
      const tell = (share) => this.tell(this.say("sending", { done: done.length.toLocaleString(), n: files.length.toLocaleString() }), share);
      try {
        for (let first = 0; first < files.length;) {
          const form = new FormData();
          let last = first, bytes = 0;
          while (last < files.length && last - first < AT_ONCE && (last === first || bytes + files[last][0].size <= BYTES_AT_ONCE)) {
            bytes += files[last][0].size;
            form.append("files", files[last++][0]);
          }
          tell(first / files.length);
          const part = last - first;
          const paths = await post(form, stop.signal, (share) => tell((first + share * part) / files.length));
          paths.forEach((path, k) => done.push([path.split(/[\\/]/).slice(-2).join("/"), files[first + k][1]]));
          first = last;
        }
        this.sent = done;
        this.tell(this.say("sending", { done: done.length.toLocaleString(), n: files.length.toLocaleString() }), 1);
        this.pick({ files: done });
      } catch (error) {
        this.tell(stop.signal.aborted ? "" : error.message || this.say("broken"), null);
      } finally {
        this.sending = null;
        this.draw();
      }
    }
    tell(line, share) {
      this.line.textContent = line;
      this.status.classList.toggle("fault", share === null && Boolean(line));
      this.status.classList.toggle("busy", share !== null);
      this.bar.style.width = `${100 * (share ?? 0)}%`;
      this.draw();
    }
    take() {
      const { own, run } = this.props.value ?? {};
      if (own !== undefined) {
        const busy = own?.line !== undefined;
        if (busy) this.tell(own.line, own.share ?? null);
        else if (own === null || own.set) {
          this.tell("", null);
          if (this.asked || own?.set !== this.own?.set) this.doorsOpen = false;
        }
        if (own === null && this.gone.dataset.asked) localStorage.removeItem(MEMORY);
        if (!busy) this.own = own && { ...this.own, ...JSON.parse(JSON.stringify(own)) };
        if (own?.set) {
          if (!this.own.loose) this.sent = [];
          this.remember();
        }
      }
      if (run !== undefined) {
        this.run = run && JSON.parse(JSON.stringify(run));
        this.left = false;
      }
      this.draw();
    }
    draw() {
      const run = this.shownRun, shown = run ?? this.own, busy = this.status.classList.contains("busy");
      this.root.classList.toggle("is-run", Boolean(run));
      this.doors.hidden = Boolean(shown) && !(this.doorsOpen && !run);
      this.chosen.hidden = !this.doors.hidden;
      this.back.hidden = !this.own && !this.left;
      this.cancel.hidden = !this.sending;
      this.status.hidden = !this.line.textContent || Boolean(run);
      this.root.classList.toggle("reading", busy);
      if (!shown) return;
      if (document.activeElement !== this.name) this.name.value = shown.title;
      this.name.size = Math.min(Math.max(shown.title.length, 4), 24);
      this.name.readOnly = Boolean(run);
      const kept = shown.kept && !run ? this.say("kept_until", { time: window.sdTime(shown.kept) }) : "";
      this.facts.textContent = [shown.facts, kept].filter(Boolean).join(" · ");
      this.change.hidden = Boolean(run);
      this.other.hidden = !run?.rests;
      this.strip.setAttribute("aria-label", shown.alt ?? "");
      const rows = Math.ceil(shown.count / shown.columns), url = shown.sheet?.url ?? shown.sheet ?? "";
      const step = (place, most) => `${most > 1 ? (100 * place) / (most - 1) : 0}%`;
      this.strip.replaceChildren(...Array.from({ length: shown.count }, (_, k) => {
        const cell = make("i", {});
        cell.style.backgroundImage = `url("${url}")`;
        cell.style.backgroundSize = `${100 * shown.columns}% ${100 * rows}%`;
        cell.style.backgroundPosition = `${step(k % shown.columns, shown.columns)} ${step(Math.floor(k / shown.columns), rows)}`;
        cell.style.aspectRatio = shown.ratio ?? "1";
        return cell;
      }));
      this.caption.textContent = shown.caption;
      this.details.hidden = !shown.details;
      this.details.children[1].innerHTML = shown.details ?? "";
      this.gone.hidden = !shown.kept || Boolean(run);
      if (this.gone.dataset.asked !== shown.set) {
        delete this.gone.dataset.asked;
        this.gone.textContent = this.say("delete");
      }
      this.listLoose();
    }
    // The loose files, each of which can be taken out of the set.
    listLoose() {
      const files = this.shownRun || !this.own?.loose ? [] : this.sent.slice(0, 200);
      this.loose.replaceChildren(...files.map((file) => {
        const out = make("button", { type: "button", className: "link" }, "×");
        out.setAttribute("aria-label", `${this.say("remove")}: ${file[1]}`);
        out.addEventListener("click", () => {
          this.sent = this.sent.filter((each) => each !== file);
          if (this.sent.length) this.pick({ files: this.sent, title: this.own.title });
        });
        return make("li", {}, make("span", {}, file[1]), out);
      }));
    }
  }

  async function post(form, signal, onShare) {
    const key = await window.sdVisitor; // of a page that strangers share
    signal.throwIfAborted();
    const { root = location.origin, api_prefix: prefix = "/gradio_api" } = window.gradio_config ?? {};
    return new Promise((good, bad) => {
      const request = new XMLHttpRequest();
      request.open("POST", `${root}${prefix}/upload`);
      if (key) request.setRequestHeader("x-sd-visitor", key);
      request.upload.addEventListener("progress", (event) => { if (event.total) onShare(event.loaded / event.total); });
      request.addEventListener("load", () => {
        try {
          if (request.status === 200) good(JSON.parse(request.responseText));
          else bad(new Error(request.responseText.slice(0, 300)));
        } catch (error) {
          bad(error);
        }
      });
      for (const end of ["error", "abort"]) request.addEventListener(end, () => bad(new Error("")));
      signal.addEventListener("abort", () => request.abort());
      request.send(form);
    });
  }

  window.sdDoors = { mount: (element, ...page) => new Card(element.querySelector(".set-card"), ...page) };
})();
