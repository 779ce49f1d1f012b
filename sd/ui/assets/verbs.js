// A pressed verb becomes its own Stop: while the line of its stage tells that something runs, a
// button that ends it stands in its place.
(() => {
  "use strict";
  const LATEST = 1500; // ms within which a pressed verb is seen to run
  const pressed = new Map(); // stage -> its verb, when it was pressed, the Stop in its place
  const stageOf = (button) => [...button.classList].find((name) => name.startsWith("of-"))?.slice(3);
  const runs = (stage) => {
    const tracker = document.querySelector(`#${stage}-status > .wrap`);
    return !!tracker && !tracker.classList.contains("hide");
  };

  function begin(button, stage) {
    end(stage);
    const halt = document.getElementById(`${stage}-stop`);
    const stop = document.createElement("button");
    stop.type = "button";
    stop.className = "verb-stop stop";
    stop.textContent = halt?.textContent.trim() ?? "";
    stop.addEventListener("click", () => halt?.click());
    const focused = document.activeElement === button;
    button.after(stop);
    button.classList.add("running");
    if (focused) stop.focus();
    const began = performance.now();
    pressed.set(stage, { button, stop, began, seen: false });
    if (pressed.size === 1) requestAnimationFrame(look);
  }

  function end(stage) {
    const found = pressed.get(stage);
    if (!found) return;
    const focused = document.activeElement === found.stop;
    found.stop.remove();
    found.button.classList.remove("running");
    if (focused) found.button.focus();
    pressed.delete(stage);
  }

  function look(now) {
    for (const [stage, held] of pressed) {
      held.seen ||= runs(stage);
      if (held.seen ? !runs(stage) : now - held.began > LATEST) end(stage);
    }
    if (pressed.size) requestAnimationFrame(look);
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("button.tool-verb"), stage = button && stageOf(button);
    if (stage && !button.disabled) begin(button, stage);
  });
})();
