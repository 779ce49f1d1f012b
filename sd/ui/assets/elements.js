// What all scripts of the page share.
(() => {
  "use strict";
  // An element: its properties or attributes, and what is in it; null is nothing.
  window.sdMake = (tag, about = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(about)) {
      if (key in node && key !== "list") node[key] = value; // an input's `list` can only be read
      else node.setAttribute(key, value);
    }
    node.append(...children.filter((child) => child !== null));
    return node;
  };

  // When something goes that is kept until a time (seconds since 1970), as a clock here shows it.
  window.sdTime = (seconds) => {
    const part = { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" };
    return new Date(1000 * seconds).toLocaleString(document.documentElement.lang || undefined, part);
  };

  // Let the parts of a bar, which `parts` tells, be one stop of the Tab key, where one was last; the
  // arrow keys go on from there. Returns what to call when the parts are others.
  window.sdOneStop = (bar, parts) => {
    const stopAt = (chosen) => parts().forEach((each) => { each.tabIndex = each === chosen ? 0 : -1; });
    const again = () => {
      const all = parts();
      stopAt(all.find((each) => each === document.activeElement) ?? all[0]);
    };
    bar.addEventListener("focusin", (event) => parts().includes(event.target) && stopAt(event.target));
    bar.addEventListener("keydown", (event) => {
      const shown = parts().filter((each) => each.checkVisibility()), at = shown.indexOf(event.target);
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step || at < 0 || event.defaultPrevented) return;
      event.preventDefault();
      shown[(at + step + shown.length) % shown.length].focus();
    });
    again();
    return again;
  };
})();
