// The language chosen in the head: a cookie, so that the server's own lines follow it, too. Runs
// before gradio asks the browser for its language.
(() => {
  "use strict";
  const [, chosen] = document.cookie.match(/(?:^|; )sd_language=([A-Za-z-]+)/) || [];
  if (chosen) {
    Object.defineProperty(navigator, "language", { get: () => chosen });
    Object.defineProperty(navigator, "languages", { get: () => [chosen] });
  }
  // A text in the page's language: {en: ..., zh: ...}. gradio knows a language by its region alone.
  window.sdSay = (text) => {
    const [language, region] = navigator.language.split("-");
    return (text && ((region || language !== "zh") ? text[language] : null)) ?? text?.en ?? "";
  };
  window.sdSwitchLanguage = () => {
    const other = /^zh-/i.test(navigator.language) ? "en" : "zh-CN";
    document.cookie = `sd_language=${other}; path=/; max-age=31536000; samesite=lax`;
    location.reload();
  };
})();
