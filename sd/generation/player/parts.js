// What the player is built of: elements, icons and texts.
(() => {
  "use strict";
  const ICONS = {
    play: "M7 4.500v15l12.500-7.500z",
    pause: "M7 5h3.500v14H7zM13.500 5H17v14h-3.500z",
    back: "M15.500 5v14L6 12z",
    forward: "M8.500 5v14L18 12z",
    loop: "M17 3.500l3.500 3.500L17 10.500V8H7.500A2.500 2.500 0 0 0 5 10.500V12H3v-1.500A4.500 4.500 0 0 1 7.500 6H17zM7 20.500L3.500 17 7 13.500V16h9.500a2.500 2.500 0 0 0 2.500-2.500V12h2v1.500A4.500 4.500 0 0 1 16.500 18H7z",
    menu: "M12 4a2 2 0 1 1 0 4 2 2 0 0 1 0-4zm0 6a2 2 0 1 1 0 4 2 2 0 0 1 0-4zm0 6a2 2 0 1 1 0 4 2 2 0 0 1 0-4z",
    brush: "M20.700 3.300a1.600 1.600 0 0 1 0 2.300L12.300 14.500l-2.500-2.500 8.600-8.700a1.600 1.600 0 0 1 2.300 0zM8.600 13.200l2.400 2.400c.2 3-2 4.900-4.600 4.900-1.500 0-2.700-.5-3.700-1.400 1.700-.6 2-1.200 2.100-2.600.1-2 1.700-3.300 3.800-3.300z",
    close: "M6.400 5L12 10.600 17.600 5 19 6.400 13.400 12 19 17.600 17.600 19 12 13.400 6.400 19 5 17.600 10.600 12 5 6.400z",
  };

  const make = (tag, attributes = {}, ...children) => {
    const made = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) {
      if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
      else made.setAttribute(key, value);
    }
    made.append(...children);
    return made;
  };

  // Only other words are written: writing the same again costs a layout.
  const put = (node, text) => {
    if (node.textContent !== text) node.textContent = text;
  };

  const name = (node, text) => {
    if (node.getAttribute("aria-label") !== text) node.setAttribute("aria-label", text);
  };

  const icon = (key) => {
    const space = "http://www.w3.org/2000/svg";
    const svg = document.createElementNS(space, "svg");
    svg.setAttribute("viewBox", "0 0 24 24");
    svg.setAttribute("aria-hidden", "true");
    svg.append(document.createElementNS(space, "path"));
    svg.firstChild.setAttribute("d", ICONS[key]);
    return svg;
  };

  const fill = (text, values) => text.replace(/\{(\w+)\}/g, (all, key) => values[key] ?? all);
  const plain = (value, places) => `${Number(value.toFixed(places))}`;

  window.sdParts = { make, put, name, icon, fill, plain };
})();
