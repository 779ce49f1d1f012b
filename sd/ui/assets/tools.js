// The bar of tools below a stage: it opens one fold at a time, always in the same place.
(() => {
  "use strict";
  const fold = (id) => document.querySelector(`#${id} > button.label-wrap`);
  const isOpen = (id) => fold(id)?.classList.contains("open") ?? false;

  function mount(element, props) {
    const bar = element.querySelector(".tools");
    const buttons = props.tools.map(({ fold: id, icon, words, end }) => {
      const button = document.createElement("button");
      button.type = "button";
      button.dataset.fold = id;
      button.innerHTML = `<svg viewBox="0 0 20 20" aria-hidden="true">${icon}</svg><span></span>`;
      button.querySelector("span").textContent = sdSay(words);
      button.setAttribute("aria-expanded", "false");
      button.setAttribute("aria-controls", id);
      if (end) button.classList.add("end");
      button.addEventListener("click", () => choose(isOpen(id) ? null : id));
      bar.append(button);
      return button;
    });
    sdOneStop(bar, () => buttons);
    const show = () => buttons.forEach((button) => button.setAttribute("aria-expanded", String(isOpen(button.dataset.fold))));
    let chosen = null;
    const settle = () => {
      for (const { fold: id } of props.tools) if (isOpen(id) !== (id === chosen)) fold(id)?.click();
      requestAnimationFrame(show);
    };
    // gradio lays what it was first told once more over the parts of a tab that it has just shown: a
    // fold that was opened meanwhile would close.
    const keeper = new MutationObserver(() => setTimeout(settle)); // once all that changes has
    const choose = (id) => {
      chosen = id;
      settle();
      if (fold(id)) keeper.observe(fold(id), { attributeFilter: ["class"] });
    };
    bars.push({ ids: props.tools.map((tool) => tool.fold), choose });
  }

  const bars = [];
  const open = (id) => bars.find((bar) => bar.ids.includes(id))?.choose(id);
  window.sdTools = { mount, open };
})();
