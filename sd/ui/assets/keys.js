() => {
  window.sdCalm?.(); // the page is there
  window.sdTabs?.();
  // Escape stops what runs in the tab in sight, unless it is closing a list or an enlarged picture.
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.target.closest("[role=listbox], [role=dialog], .preview")) return;
    if (event.target.getAttribute("aria-expanded") === "true") return;
    for (const button of document.querySelectorAll("button.stop")) {
      if (button.offsetParent !== null && !button.disabled) button.click();
    }
  });
  // gradio tells the server a file's name only: of a folder that is chosen, let it be the path.
  document.addEventListener("change", (event) => {
    if (!event.target.webkitdirectory) return;
    for (const file of event.target.files) {
      Object.defineProperty(file, "name", { value: file.webkitRelativePath || file.name });
    }
  }, true);
}
