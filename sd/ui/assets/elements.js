// What makes an element of the page: its properties or attributes, and what is in it; null is nothing.
(() => {
  "use strict";
  window.sdMake = (tag, about = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(about)) {
      if (key in node && key !== "list") node[key] = value; // an input's `list` can only be read
      else node.setAttribute(key, value);
    }
    node.append(...children.filter((child) => child !== null));
    return node;
  };
})();
