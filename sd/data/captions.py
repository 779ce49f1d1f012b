"""What the captions and classes of the bundled sets are called in other languages.

A network is asked for the English, always; what people read and type may be another language's, of
which `starter/captions.*.toml` has one file each. In a language each name means one caption.
"""

import tomllib
from collections.abc import Iterator, Mapping
from functools import lru_cache

from sd.common.paths import PACKAGE
from sd.data import shapes

TABLES = PACKAGE / "data" / "starter"


@lru_cache
def names(data: str, language: str) -> Mapping[str, str]:
    """Return caption or class -> its name in a language, of the set that the word `data` means.

    Nothing for a set of one's own, and for a language without a file, as English is.
    """
    file = TABLES / f"captions.{language}.toml"
    if data not in ("starter", *shapes.SETS) or not file.is_file():
        return {}
    tables = tomllib.loads(file.read_text(encoding="utf-8"))
    if data == "starter":
        return {**tables["labels"], **tables["captions"]}
    words = tables["shapes"]
    said = {each: _say_scene(shapes.parse(each), words) for each in shapes.captions()}
    return {**{shape: words[shape] for shape in shapes.FILLS}, **said}


def _say_scene(scene: shapes.Scene, words: Mapping[str, str]) -> str:
    first, second = (
        thing and f"{words[thing.colour]}{words[thing.shape]}"
        for thing in (scene.first, scene.second)
    )
    return words[scene.relation].format(first=first, second=second) if second else str(first)


def meaning(data: str, name: str) -> str:
    """Return the caption or class of a bundled set that any language calls so, else the name."""
    return next((table[name] for table in _captions(data) if name in table), name)


@lru_cache
def _captions(data: str) -> tuple[Mapping[str, str], ...]:
    return tuple(
        {name: caption for caption, name in names(data, language).items()}
        for language in _languages()
    )


def _languages() -> Iterator[str]:
    return (file.name.split(".")[1] for file in sorted(TABLES.glob("captions.*.toml")))
