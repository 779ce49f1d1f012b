// Which tab is open: the one that the address names (#noise); of an address that names a run, and while
// one is being trained, Train; else Denoise. Runs before gradio reads what the page is made of.
(() => {
  "use strict";
  const TABS = ["train", "noise", "denoise"];
  const named = () => TABS.find((tab) => `#${tab}` === location.hash);
  const usual = () => (window.sdTraining || new URLSearchParams(location.search).has("run") ? "train" : "denoise");
  let config;
  Object.defineProperty(window, "gradio_config", {
    configurable: true,
    get: () => config,
    set: (given) => {
      config = given;
      const tabs = given?.components?.find((each) => each.type === "tabs");
      if (tabs) tabs.props.selected = named() ?? usual();
    },
  });

  // Let what a tab opens have its name and a heading; it is made when it is first opened.
  function name(tab) {
    const panel = document.getElementById(tab.getAttribute("aria-controls"));
    if (!panel || panel.hasAttribute("aria-labelledby")) return;
    panel.setAttribute("aria-labelledby", tab.id);
    panel.prepend(Object.assign(document.createElement("h2"), { className: "read-out", textContent: tab.textContent }));
  }

  const MOVES = { ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity };
  // Let the address name the open tab, the arrow keys go from tab to tab, and one of them be a stop.
  window.sdTabs = () => {
    const list = document.querySelector("[role=tablist]");
    if (!list) return;
    const tabs = () => [...list.querySelectorAll("[role=tab]")];
    const isOpen = (tab) => tab.getAttribute("aria-selected") === "true";
    const show = (changed) => {
      for (const tab of tabs()) {
        tab.tabIndex = isOpen(tab) ? 0 : -1;
        name(tab);
      }
      const open = tabs().find(isOpen)?.dataset.tabId;
      if (changed && open) history.replaceState(history.state, "", `#${open}`);
    };
    list.addEventListener("keydown", (event) => {
      const step = MOVES[event.key], all = tabs(), at = all.indexOf(document.activeElement);
      if (!step || at < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      const next = Number.isFinite(step) ? all[(at + step + all.length) % all.length] : all.at(step < 0 ? 0 : -1);
      next.focus();
      next.click();
    });
    new MutationObserver(() => {
      show(true);
      requestAnimationFrame(() => show(false)); // what it opens may be made only now
    }).observe(list, { subtree: true, attributeFilter: ["aria-selected"] });
    addEventListener("hashchange", () => tabs().find((tab) => tab.dataset.tabId === named())?.click());
    show(false);
  };
})();
