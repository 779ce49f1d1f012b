// What gradio asks of the server, mended; runs before gradio is there to ask.
(() => {
  "use strict";
  const native = window.fetch;
  const numbers = new Map(); // event -> the promise of the number that the server gave it when it was last sent
  const EVENT = /.*"fn_index":(\d+)/s; // the last of its kind: what an event is sent stands before it

  function join(asked, options) {
    const answer = native(asked, options);
    const number = answer.then((each) => each.clone().json()).then((told) => told.event_id, () => null);
    numbers.set(Number(EVENT.exec(options.body)?.[1]), number);
    return answer;
  }

  // gradio ends an event by its number, also before there is one, which the server refuses. So the number
  // is waited for; what gradio forgets afterwards needs none.
  async function end(asked, options, forgets) {
    const told = JSON.parse(options.body);
    if (told.event_id) return native(asked, options);
    const number = forgets ? null : await numbers.get(told.fn_index);
    if (!number) return new Response("{}");
    return native(asked, { ...options, body: JSON.stringify({ ...told, event_id: number }) });
  }

  window.fetch = (asked, options) => {
    const { pathname } = new URL(asked.url ?? asked, location.href);
    if (pathname.endsWith("/queue/join")) return join(asked, options);
    if (/\/(cancel|reset)$/.test(pathname)) return end(asked, options, pathname.endsWith("reset"));
    return native(asked, options);
  };
})();
