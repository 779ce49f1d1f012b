// What a page's forms hold is kept in its address, as far as it differs from how they begin: so that
// it is there again after a reload, and can be handed on. Nothing starts by it.
(() => {
  "use strict";
  const NAME = "set", LONGEST = 2048, REST = 400; // characters; ms without a change until it is written
  const read = () => {
    try {
      const value = JSON.parse(new URL(location.href).searchParams.get(NAME) ?? "{}");
      return value && typeof value === "object" && !Array.isArray(value) ? value : {};
    } catch {
      return {};
    }
  };
  const kept = read();
  let waiting = 0;
  const write = () => {
    const here = new URL(location.href);
    if (Object.keys(kept).length) here.searchParams.set(NAME, JSON.stringify(kept));
    else here.searchParams.delete(NAME);
    if (here.href.length <= LONGEST) history.replaceState(history.state, "", here);
  };
  window.sdAddress = {
    get: (form) => (kept[form] && typeof kept[form] === "object" ? kept[form] : null),
    set: (form, values) => {
      if (Object.keys(values).length) kept[form] = values;
      else delete kept[form];
      clearTimeout(waiting);
      waiting = setTimeout(write, REST);
    },
  };
})();
