// "Where it looked": a place of the picture is chosen by click or arrow keys, a word by its button.
(() => {
  "use strict";
  const PAUSE = 150; // ms after the last key until the server is asked
  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  window.sdLooked = { place, words, bridge };
  let tell = () => {}; // the server what was pressed

  const clamp = (value, count) => Math.min(Math.max(Math.floor(value), 0), count - 1);

  // Show which word is chosen, or none: then the place is.
  function press(element, chosen) {
    for (const button of element.closest("#denoise-looked").querySelectorAll("[data-word]")) {
      button.setAttribute("aria-pressed", String(button === chosen));
    }
  }
  function place(element) {
    let waiting;
    const send = (spot) => tell({ x: Number(spot.dataset.x), y: Number(spot.dataset.y) });
    const move = (spot, x, y) => {
      const { width, height, words } = spot.dataset;
      const column = clamp(x, Number(width)), row = clamp(y, Number(height));
      Object.assign(spot.dataset, { x: column, y: row });
      const mark = spot.querySelector("i");
      mark.style.left = `${(100 * (column + 0.5)) / width}%`;
      mark.style.top = `${(100 * (row + 0.5)) / height}%`;
      const filled = words.replace("{row}", row + 1).replace("{column}", column + 1);
      spot.parentElement.querySelector("output").textContent = filled;
      press(element);
      clearTimeout(waiting);
    };
    element.addEventListener("click", (event) => {
      const spot = event.target.closest(".looked-spot");
      if (!spot) return;
      const box = spot.getBoundingClientRect();
      const right = (event.clientX - box.left) / box.width, down = (event.clientY - box.top) / box.height;
      move(spot, right * spot.dataset.width, down * spot.dataset.height);
      send(spot);
    });
    element.addEventListener("keydown", (event) => {
      const spot = event.target.closest(".looked-spot"), step = ARROWS[event.key];
      if (!spot || !step || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      event.stopPropagation(); // the page has uses of its own for these keys
      move(spot, Number(spot.dataset.x) + step[0], Number(spot.dataset.y) + step[1]);
      waiting = setTimeout(() => spot.isConnected && send(spot), PAUSE);
    });
  }
  function bridge(props, trigger) {
    tell = (value) => {
      props.value = value;
      trigger("input");
    };
  }
  function words(element) {
    element.addEventListener("click", (event) => {
      const button = event.target.closest("button[data-word]");
      if (!button) return;
      press(element, button);
      tell({ word: Number(button.dataset.word) });
    });
  }
})();
