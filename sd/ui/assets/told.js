// What is told of a prompt that is one text: how many of the tokens that are read it takes, what a
// drawing takes, what adds a file to the model, and its tokens with their weights where they are wanted.
(() => {
  "use strict";
  window.sdToldOf = (make, bar) => {
    const count = make("button", { type: "button", "aria-expanded": "false", onclick: () => show(tokens.hidden) });
    const add = make("button", { type: "button", class: "ask-file", onclick: () => sdOpening.show() }, `+ ${bar.say("file")}`);
    const price = make("span", {}), row = make("div", { class: "ask-told", hidden: "" }, count, price, add);
    const tokens = make("div", { class: "ask-tokens", hidden: "", role: "group" });
    const node = make("div", {}, row, tokens);
    const show = (whether) => {
      tokens.hidden = !whether;
      count.setAttribute("aria-expanded", String(whether));
    };
    const token = ([text, weight]) => {
      const found = make("span", { style: `--heat: ${Math.round(Math.max(0, Math.min(70, 100 * (weight - 1))))}%` }, text);
      if (weight < 1) found.className = "less";
      if (weight !== 1) found.append(make("sup", {}, weight.toFixed(2)));
      return found;
    };
    const cost = (line) => (price.textContent = line);
    const take = (kind, told) => {
      if (kind) row.hidden = kind !== "text";
      if (row.hidden) show(false);
      if (!told) return;
      count.textContent = told.count;
      cost(told.price ?? ""); // null: it is measured first
      tokens.setAttribute("aria-label", bar.say("tokens"));
      tokens.replaceChildren(...told.chunks.flatMap((chunk, k) => [...(k ? [make("i")] : []), ...chunk.map(token)]));
    };
    return { node, take, cost };
  };
})();
