"""The player as one HTML file: written with its films in it, and read again by a page of ours.

Nothing here needs torch, so that a page can show such a file before that is imported.
"""

import base64
import hashlib
import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

from sd.common.marks import MARK
from sd.common.validation import InputError

MOST_SHOWN = 80  # characters of a recipe's value where a person reads it
PLAYER = Path(__file__).parent
SCRIPTS = (  # in the order in which they need each other
    *("parts.js", "reel.js", "cards.js", "tree.js", "lanes.js", "strip.js", "numbers.js"),
    *("play.js", "player.js"),
)
STYLES = ("file.css", "player.css")
START = """
const value = JSON.parse(document.getElementById("value").textContent);
sdPlayer.mount(document.getElementById("player")).update(value);
"""


def write_html(
    films: Sequence[Mapping[str, Any]],
    path: Path,
    words: Mapping[str, str],
    recipe: Mapping[str, Any] | None = None,
    language: str = "en",
) -> None:
    """Write one file that plays `films` without a network: player, pictures and words are in it.

    films: as `sd.generation.film.Film.json` returns them, their chunks as `data_uri`s (see
    `sd.generation.film.embed_chunks`). words: `sd.generation.player.words.PLAYER_TEXTS` or a
    translation. The file may run nothing but its own scripts.
    """
    style, script = _read_player(STYLES), _read_player(SCRIPTS)
    text = Template((PLAYER / "player.html").read_text(encoding="utf-8")).substitute(
        language=html.escape(language),
        title=html.escape(words["title"]),
        mark=MARK,
        style=style,
        style_hash=_hash(style),
        script=script,
        start=START,
        script_hashes=f"{_hash(script)} {_hash(START)}",
        value=_script_safe(
            {"lanes": list(films), "words": dict(words), "live": False, "recipe": recipe}
        ),
        recipe=_recipe_html(words["made"], recipe) if recipe else "",
    )
    path.write_text(text, encoding="utf-8")


def read_html(path: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the films and the recipe of a file that `write_html` wrote, for a page of our own."""
    _, _, rest = path.read_text(encoding="utf-8").partition('id="value"')
    try:
        value = json.loads(rest.partition(">")[2].partition("</script>")[0])
        return list(value["lanes"]), dict(value["recipe"])
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path.name}: not a player that was written here") from None


def _read_player(names: Sequence[str]) -> str:
    return "\n".join((PLAYER / name).read_text(encoding="utf-8") for name in names)


def _hash(text: str) -> str:
    """Return how a content security policy names a text that may run."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _script_safe(value: Any) -> str:
    """Return JSON in which nothing ends the element that holds it."""
    return json.dumps(value, allow_nan=False).replace("<", "\\u003c")


def _recipe_html(title: str, recipe: Mapping[str, Any]) -> str:
    """Return a recipe for a person to read, folded; embedded pictures only by their length."""
    text = json.dumps(_shorten(recipe), indent=2, ensure_ascii=False)
    heading = f"<summary>{html.escape(title)}</summary>"
    return f"<details>{heading}<pre>{html.escape(text)}</pre></details>"


def _shorten(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _shorten(each) for key, each in value.items()}
    if isinstance(value, str) and len(value) > MOST_SHOWN:
        return f"{value[:20]}… ({len(value)})"
    return value
