"""Markup that several tabs show. What is put into it is escaped, unless it is `Markup` itself."""

from collections.abc import Iterable

from markupsafe import Markup


def paragraph(line: str, kind: str = "note") -> Markup:
    """Return one paragraph of a CSS class."""
    return Markup('<p class="{}">{}</p>').format(kind, line)


def tags(name: str, parts: Iterable[str]) -> Markup:
    """Return every part inside a tag of its own."""
    template = Markup(f"<{name}>{{}}</{name}>")
    return Markup("").join(template.format(part) for part in parts)


def progress_bar(words: Iterable[str], share: float, label: str = "", state: str = "") -> Markup:
    """Return how far something is: its words, and below them a bar of which `share` is full."""
    return Markup(
        '<div class="{}"><p>{}</p><div class="track" role="progressbar"{} aria-valuemin="0"'
        ' aria-valuemax="100" aria-valuenow="{:.0f}"><i style="width:{:.1f}%"></i></div></div>'
    ).format(
        f"progress {state}".rstrip(),
        tags("span", words),
        Markup(' aria-label="{}"').format(label) if label else "",
        100 * share,
        100 * share,
    )
