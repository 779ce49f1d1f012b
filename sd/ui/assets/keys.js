() => {
  window.sdCalm?.(); // the page is there
  window.sdTabs?.();
  // Escape stops what runs in the tab in sight, unless it is closing a list or an enlarged picture.
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.defaultPrevented || event.target.closest("[role=listbox], [role=dialog], .preview")) return;
    if (event.target.getAttribute("aria-expanded") === "true") return;
    for (const button of document.querySelectorAll("button.stop")) {
      if (button.offsetParent !== null && !button.disabled) button.click();
    }
  });
  // What a training or a sampling says of itself is read out, now and then and when it has ended.
  const PAUSE = 10_000; // ms between two lines that are read out
  const told = Object.assign(document.createElement("p"), { className: "read-out", role: "status" });
  let waiting = 0, last = -PAUSE;
  const tell = () => {
    waiting = 0;
    last = performance.now();
    const line = [...document.querySelectorAll(".status")].find((each) => each.checkVisibility());
    const words = line?.innerText.replace(/\s+/g, " ").trim() ?? "";
    if (words && words !== told.textContent) told.textContent = words;
  };
  new MutationObserver((changes) => {
    const near = ({ target }) => (target.closest ? target : target.parentElement)?.closest(".status");
    if (waiting || !changes.some(near)) return;
    waiting = setTimeout(tell, Math.max(500, last + PAUSE - performance.now()));
  }).observe(document.body, { subtree: true, childList: true, characterData: true });
  document.body.append(told);
  // gradio tells the server a file's name only: of a folder that is chosen, let it be the path.
  document.addEventListener("change", (event) => {
    if (!event.target.webkitdirectory) return;
    for (const file of event.target.files) {
      Object.defineProperty(file, "name", { value: file.webkitRelativePath || file.name });
    }
  }, true);
}
