// What a person sees of the page that is shown: for tests/benchmarks/first_sight.py.
(() => {
  "use strict";
  const FOCUSABLE = "a[href], button, input, select, textarea, summary, [tabindex]";
  const TARGETS = "a[href], button, input, select, textarea, summary, [role=button], [role=tab], [role=option]";
  const TYPED = /^(text|search|url|email|tel|password|number|)$/;
  const SMALL = 1.5; // pixels: what is kept for screen readers alone
  const LEAST = 43.5; // pixels of a target for a thumb: 44, rounded

  const boxes = (node) => {
    const range = document.createRange();
    range.selectNodeContents(node);
    return [...range.getClientRects()];
  };
  const cuts = (element) => {
    const style = getComputedStyle(element);
    return [style.overflowX, style.overflowY].some((way) => way === "hidden" || way === "clip");
  };
  // A box counts if no box around it cuts it off; what can be scrolled to counts.
  function inSight(element, box) {
    if (box.width <= SMALL || box.height <= SMALL || box.right + scrollX <= 0 || box.bottom + scrollY <= 0) return false;
    if (!element.checkVisibility({ opacityProperty: true, visibilityProperty: true })) return false;
    for (let around = element; around && around !== document.body; around = around.parentElement) {
      const style = getComputedStyle(around);
      if (style.clipPath !== "none" && /inset\((50|100)%/.test(style.clipPath)) return false;
      if (!cuts(around)) continue;
      const frame = around.getBoundingClientRect();
      const wide = Math.min(box.right, frame.right) - Math.max(box.left, frame.left);
      const high = Math.min(box.bottom, frame.bottom) - Math.max(box.top, frame.top);
      if (wide <= SMALL || high <= SMALL) return false;
    }
    return true;
  }
  const shown = (element) => inSight(element, element.getBoundingClientRect());

  function* written() {
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node; (node = walker.nextNode()); ) {
      const text = node.textContent.trim(), parent = node.parentElement;
      if (!text || /^(SCRIPT|STYLE|NOSCRIPT|OPTION|TEXTAREA|TEMPLATE)$/.test(parent.tagName)) continue;
      if (boxes(node).some((box) => inSight(parent, box))) yield text;
    }
    for (const field of document.querySelectorAll("input, textarea, select")) {
      if (!shown(field)) continue;
      if (field.tagName === "SELECT") yield field.selectedOptions[0]?.textContent.trim() ?? "";
      else if (field.tagName === "TEXTAREA" || TYPED.test(field.type)) yield field.value || field.placeholder || "";
    }
  }
  const spoken = function* () {
    for (const element of document.querySelectorAll("[title], [aria-label], [placeholder], [alt]")) {
      if (!shown(element)) continue;
      for (const name of ["title", "aria-label", "placeholder", "alt"]) yield element.getAttribute(name) ?? "";
    }
  };

  const called = (element) => {
    const words = element.getAttribute("aria-label") || element.innerText || element.value || element.type || "";
    const place = element.closest("[id]")?.id ?? "";
    return `${element.tagName.toLowerCase()} ${words.trim().slice(0, 30).replace(/\s+/g, " ")} (${place})`;
  };
  // One control is one place where the Tab key stops: of the radios of a group there is one.
  function controls() {
    const groups = new Set();
    return [...document.querySelectorAll(FOCUSABLE)].filter((element) => {
      if (element.tabIndex < 0 || element.disabled || element.closest("[inert]")) return false;
      const label = element.closest("label");
      if (!shown(element) && !(label && element.matches("[type=radio], [type=checkbox]") && shown(label))) return false;
      if (element.type !== "radio") return true;
      const known = groups.has(element.name);
      groups.add(element.name);
      return !known;
    }).map(called);
  }
  // The label of a field is part of its target; links within a sentence are not meant for thumbs.
  function area(element) {
    const own = element.getBoundingClientRect();
    const others = [element.closest("label"), ...(element.labels ?? [])].filter(Boolean).filter(shown).map((each) => each.getBoundingClientRect());
    const all = [own, ...others];
    const width = Math.max(...all.map((box) => box.right)) - Math.min(...all.map((box) => box.left));
    const height = Math.max(...all.map((box) => box.bottom)) - Math.min(...all.map((box) => box.top));
    return { width, height };
  }
  const inSentence = (element) =>
    element.tagName === "A" && getComputedStyle(element).display === "inline" &&
    element.parentElement.textContent.trim().length > element.textContent.trim().length;
  const small = () =>
    [...document.querySelectorAll(TARGETS)]
      .filter((element) => !element.disabled && (shown(element) || (element.closest("label") && shown(element.closest("label")))) && !inSentence(element))
      .map((element) => ({ element, ...area(element) }))
      .filter(({ width, height }) => width < LEAST || height < LEAST)
      .map(({ element, width, height }) => `${called(element)} ${Math.round(width)} x ${Math.round(height)}`);

  const moved = [];
  const naming = (node) => (node?.nodeType === 1 ? `${node.tagName.toLowerCase()}.${String(node.className?.baseVal ?? node.className).split(" ").slice(0, 3).join(".")}#${node.closest("[id]")?.id ?? ""}` : "");
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) {
      moved.push({ value: entry.value, at: entry.startTime, what: entry.sources.map((source) => naming(source.node)) });
    }
  }).observe({ type: "layout-shift", buffered: true });

  window.sight = {
    texts: () => [...written()].filter(Boolean),
    spoken: () => [...spoken()].filter(Boolean),
    height: () => document.documentElement.scrollHeight,
    width: () => document.documentElement.scrollWidth,
    pictures: () => [...document.images].filter((image) => image.complete && shown(image)).length,
    controls,
    small,
    moves: () => moved.splice(0),
  };
})();
