// The row of starter pictures to begin from. props.value from the server: {pictures: [{src, name}]},
// which it asks for when it is first seen, and {chosen: null} once another picture is begun from.
(() => {
  "use strict";
  const make = window.sdMake;

  function mount(element, props, trigger, watch, words) {
    const row = element.querySelector(".thumbs-row");
    const list = make("div", { role: "radiogroup", "aria-label": sdSay(words) });
    row.append(list);
    const buttons = () => [...list.children];
    const again = sdOneStop(list, buttons);
    const choose = (chosen) => buttons().forEach((each, index) => each.setAttribute("aria-checked", String(index === chosen)));
    const button = ({ src, name }, index) => {
      const each = make("button", { type: "button", role: "radio", title: name, "aria-label": name }, make("img", { src: src.url, alt: "" }));
      each.addEventListener("click", () => {
        choose(index);
        trigger("select", { index });
      });
      return each;
    };
    const show = () => {
      const sent = JSON.parse(JSON.stringify(props.value || {}));
      if (sent.pictures) {
        list.replaceChildren(...sent.pictures.map(button));
        choose(0); // which the form begins with
        again();
      }
      if ("chosen" in sent) choose(sent.chosen);
    };
    watch("value", show);
    show();
    new IntersectionObserver((seen) => {
      if (!list.childElementCount && seen.some((each) => each.isIntersecting)) trigger("load");
    }).observe(row);
  }
  window.sdStarters = { mount };
})();
