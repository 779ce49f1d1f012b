// A mask is painted on the card itself: the painter of the settings lays its canvas over the card of
// a finished picture, its tools over the player's slider, and takes both back when that is over. A
// picture that is dropped lies there in the same way.
(() => {
  "use strict";
  const NARROW = 860, LEAST = 340; // CSS pixels: of a window; of width that a finger needs there
  const make = window.sdMake;
  let held = null; // what is painted on: painter, player, card, cards, sheet, tools, leave
  let before = null; // what was asked for when a brush was pressed, or a picture dropped
  const note = () => { before = sdPrompt.asked(); };

  // The picture as high as its stage, over its card; wider than the stage leaves room for, it grows.
  function place() {
    const { cards, card, painter, sheet } = held, ratio = painter.width / painter.height;
    cards.style.minHeight = "";
    const wide = Math.min(cards.clientWidth, Math.max(cards.clientHeight * ratio, window.innerWidth <= NARROW ? LEAST : 0));
    const middle = card.offsetLeft + card.offsetWidth / 2 - wide / 2;
    cards.style.minHeight = `${wide / ratio}px`;
    Object.assign(sheet.style, {
      width: `${wide}px`, height: `${wide / ratio}px`, top: `${cards.offsetTop}px`,
      left: `${cards.offsetLeft + Math.max(0, Math.min(middle, cards.clientWidth - wide))}px`,
    });
    held.tools.style.top = `${cards.offsetTop + cards.offsetHeight + 8}px`;
  }

  // `film`: the one whose card `n` is; a picture from elsewhere has none.
  function begin(painter, { card: n, film }) {
    const player = document.querySelector("#denoise-player .sd-player");
    const card = player?.querySelectorAll(".sdp-card")[n];
    if (!card || !card.offsetParent || (film && player.dataset.film !== film)) return;
    const leave = make("button", { type: "button", className: "inpaint-leave" }, painter.say("leave"));
    leave.addEventListener("click", () => cancel());
    const [view, ...tools] = painter.parts;
    painter.tools.querySelector(".acts").append(leave);
    held = {
      painter, player, card, leave, cards: card.parentNode,
      sheet: make("div", { className: "inpaint-sheet painter" }, view),
      tools: make("div", { className: "inpaint-tools painter" }, ...tools),
    };
    held.tools.addEventListener("keydown", (event) => event.stopPropagation()); // no keys of the player
    held.sheet.addEventListener("keydown", (event) => event.stopPropagation());
    player.append(held.sheet, held.tools);
    player.classList.add("painted");
    place();
    view.focus({ preventScroll: true });
  }

  function leave() {
    if (!held) return;
    const { painter, player, cards, sheet, tools } = held;
    held.leave.remove();
    held = null;
    painter.home();
    sheet.remove();
    tools.remove();
    player.classList.remove("painted");
    cards.style.minHeight = "";
  }

  // As it was before the brush was pressed: what is asked for, and from where it starts.
  function cancel() {
    const { card } = held;
    leave();
    sdPrompt.restore(before);
    card.querySelector(".sdp-pick")?.focus({ preventScroll: true });
  }

  document.addEventListener("click", (event) => {
    if (event.target.closest?.(".sdp-brush")) note();
  }, true);
  document.addEventListener("painter-ready", ({ detail: painter }) => {
    const value = painter.props.value;
    if (held?.painter === painter) leave();
    if (painter.masks && Number.isInteger(value.card)) begin(painter, value);
  });
  document.addEventListener("sdp-other", (event) => { if (held?.player === event.target) leave(); });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !held) return;
    event.stopPropagation(); // it ends this, and stops no sampling
    cancel();
  }, true);
  window.addEventListener("resize", () => held && place());

  // What is dropped anywhere on the tab: a picture to begin from, or one that brings its recipe.
  const isTaken = (event) =>
    event.target.closest?.(".denoise-page") && !event.target.closest("#denoise-form") && [...(event.dataTransfer?.items ?? [])].some((item) => item.kind === "file");
  const stage = () => document.querySelector("#denoise-player");
  document.addEventListener("dragover", (event) => {
    stage()?.classList.toggle("dropping", Boolean(isTaken(event)));
    if (isTaken(event)) event.preventDefault();
  });
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) stage()?.classList.remove("dropping"); });
  document.addEventListener("drop", (event) => {
    stage()?.classList.remove("dropping");
    const input = isTaken(event) && document.querySelector("#denoise-dropped")?.previousElementSibling;
    if (!input) return;
    event.preventDefault();
    note();
    const first = new DataTransfer(); // of several the first alone
    first.items.add(event.dataTransfer.files[0]);
    input.files = first.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  });
  window.sdInpaint = { leave };
})();
