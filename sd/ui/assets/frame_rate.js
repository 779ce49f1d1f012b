// gradio's trackers of waiting keep the requestAnimationFrame that they find when they load, and call
// it for every frame of the screen as long as they count seconds; the one of the loading page goes on
// for ever. What they keep is this: native until the page is there, then four calls a second.
(() => {
  "use strict";
  const PAUSE = 250; // ms
  const native = window.requestAnimationFrame;
  let calm = false;
  window.requestAnimationFrame = (call) =>
    calm ? setTimeout(() => call(performance.now()), PAUSE) : native.call(window, call);
  window.sdCalm = () => {
    calm = true;
    window.requestAnimationFrame = native;
  };
})();
