"""Markup that several tabs show. What is put into it is escaped, unless it is `Markup` itself."""

from collections.abc import Iterable

from markupsafe import Markup, escape

from sd.ui.texts import say

PRESSED = """element.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-%(name)s]");
  if (button) trigger("click", { %(name)s: %(convert)s(button.dataset.%(name)s) });
});"""


def text(key: str, language: str, **values: object) -> Markup:
    """Return a text of the page, which may be markup, with its placeholders filled."""
    return Markup(say(key, language, **{name: escape(value) for name, value in values.items()}))


def paragraph(line: str, kind: str = "note") -> Markup:
    """Return one paragraph of a CSS class."""
    return Markup('<p class="{}">{}</p>').format(kind, line)


def tags(name: str, parts: Iterable[str]) -> Markup:
    """Return every part inside a tag of its own."""
    template = Markup(f"<{name}>{{}}</{name}>")
    return Markup("").join(template.format(part) for part in parts)


def progress_bar(
    words: Iterable[str], share: float | None, label: str = "", state: str = ""
) -> Markup:
    """Return how far something is: its words, and below them a bar of which `share` is full.

    share: None where there is nothing to measure, and so no bar.
    """
    bar = Markup(
        '<div class="track" role="progressbar"{} aria-valuemin="0" aria-valuemax="100"'
        ' aria-valuenow="{:.0f}"><i style="width:{:.1f}%"></i></div>'
    )
    name = Markup(' aria-label="{}"').format(label) if label else ""
    return Markup('<div class="{}"><p>{}</p>{}</div>').format(
        f"progress {state}".rstrip(),
        tags("span", words),
        "" if share is None else bar.format(name, 100 * share, 100 * share),
    )


def pressed(name: str, convert: str = "String") -> str:
    """Return the script of a gr.HTML whose buttons have `data-name`: it sends its `click` event.

    The handler finds the value by `event_value(event, name)`; `convert` is String or Number.
    """
    return PRESSED % {"name": name, "convert": convert}
