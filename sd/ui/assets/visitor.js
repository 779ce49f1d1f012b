// Who looks at a hosted page: a key that the server signs and this browser keeps. It goes with each
// request of the page in a header, never in a cookie. Runs before gradio's own scripts.
(() => {
  "use strict";
  const NAME = "sd_visitor";
  const plain = window.fetch.bind(window);
  const kept = () => {
    try {
      return localStorage.getItem(NAME) || "";
    } catch {
      return ""; // a frame that may keep nothing: known until it is closed
    }
  };
  const keep = (key) => {
    try {
      localStorage.setItem(NAME, key);
    } catch {
      // as above
    }
  };
  const tell = (line) => {
    if (document.readyState === "loading") {
      document.addEventListener("DOMContentLoaded", () => tell(line));
      return;
    }
    const told = Object.assign(document.createElement("p"), { className: "page-closed", textContent: line });
    told.setAttribute("role", "status");
    document.body.prepend(told);
  };
  const greet = async () => {
    const before = kept();
    const token = new URLSearchParams(location.search).get("class") || "";
    const headers = { "x-sd-visitor": before, "x-sd-class": token };
    try {
      const answer = await plain(new URL("sd/visitor", location.href), { method: "POST", headers });
      if (!answer.ok) return before;
      const { key, closed } = await answer.json();
      keep(key);
      if (closed) tell(closed);
      return key;
    } catch {
      return before;
    }
  };
  const known = (window.sdVisitor = greet()); // the key, for what is not sent by fetch
  window.sdLeave = async () => {
    const headers = { "x-sd-visitor": await known };
    const answer = await plain(new URL("sd/visitor", location.href), { method: "DELETE", headers });
    return answer.ok;
  };
  window.fetch = async (input, init = {}) => {
    const asked = input instanceof Request ? input.url : input;
    const url = new URL(asked, location.href);
    if (url.origin !== location.origin || !url.pathname.includes("/gradio_api/")) {
      return plain(input, init);
    }
    const own = init.headers ?? (input instanceof Request ? input.headers : undefined);
    const headers = new Headers(own);
    headers.set("x-sd-visitor", await known);
    return plain(input, { ...init, headers });
  };
})();
