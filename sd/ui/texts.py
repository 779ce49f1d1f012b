"""All texts of the page: one file a language in `locales`, all with the same keys and placeholders.

A further language is one more file there; what it lacks is English. Four tables have no English in
`en.toml`: the command line, the config file and the exported player print those lines too, so their
English stands in the packages that do, and here under `FAMILIES`.

Labels of gradio's parts travel to the browser under `sd_` keys and are chosen there by its
language; lines that carry numbers are made here and chosen by the request. The language is the
browser's own, or the one that was switched to in the head, which `language.js` keeps in a cookie.
"""

import re
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from sd.common.paths import PACKAGE
from sd.common.text import fill
from sd.config import KEYS, about
from sd.generation.player.words import PLAYER_TEXTS
from sd.training.coach import MESSAGES as COACH
from sd.training.planning.reasons import MESSAGES as REASONS

LOCALES = PACKAGE / "ui" / "locales"
PREFIX = "sd_"  # gradio's own keys ("label", "file", ...) share one table with ours in the browser
FAMILIES = {  # table -> its English; keys begin with the table's name
    "coach": COACH,
    "why": REASONS,
    "about": {key: about(section, key) for section, keys in KEYS.items() for key in keys},
    "player": PLAYER_TEXTS,
}
# The browser's side of gradio knows Chinese by its regions alone; zh-TW and zh-HK fall back to zh.
REGIONS = {"zh": ("zh-CN",)}
SWITCHED = re.compile("(?:^|; ?)sd_language=([A-Za-z-]{2,12})(?:;|$)")  # of a Cookie header


def read_locale(file: Path) -> dict[str, str]:
    """Return key -> text of one language; the keys of a family begin with its name."""
    tables = tomllib.loads(file.read_text(encoding="utf-8"))
    if file.stem == "en":
        tables |= FAMILIES
    return {
        f"{table}_{key}" if table in FAMILIES else key: text
        for table, texts in tables.items()
        for key, text in texts.items()
    }


def read_locales(folder: Path) -> dict[str, dict[str, str]]:
    """Return language -> key -> text of all languages that a folder has a file of."""
    english = read_locale(folder / "en.toml")
    return {"en": english} | {
        file.stem: english | read_locale(file)
        for file in sorted(folder.glob("*.toml"))
        if file.stem != "en"
    }


TEXTS = read_locales(LOCALES)


def say(key: str, language: str, **values: Any) -> str:
    """Return the text `key` in a language with its placeholders filled."""
    text = TEXTS[language][key]
    return fill(text, values) if values else text


def translations(keys: Collection[str]) -> dict[str, dict[str, str]]:
    """Return locale -> prefixed key -> text, as the browser's own choice of language needs it."""
    tables = {
        language: {PREFIX + key: text for key, text in texts.items() if key in keys}
        for language, texts in TEXTS.items()
    }
    regional = {
        region: tables[language] for language in tables for region in REGIONS.get(language, ())
    }
    return tables | regional


def language_of(header: str | None) -> str:
    """Return the language that an Accept-Language header asks first for; English if we lack it."""
    first = (header or "").split(",")[0].partition(";")[0].strip().lower()
    language, _, region = first.partition("-")
    return language if language in TEXTS and (region or language not in REGIONS) else "en"


def page_language(headers: Mapping[str, str]) -> str:
    """Return the language of the page that a request comes from: switched to, or the browser's."""
    switched = SWITCHED.search(headers.get("cookie") or "")
    return language_of(switched[1] if switched else headers.get("accept-language"))


def duration(seconds: float, language: str) -> str:
    """Return a length of time in words: 8 s, 3 min 10 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return say("seconds", language, s=whole)
    if whole < 3600:
        return say("minutes", language, m=whole // 60, s=whole % 60)
    return say("hours", language, h=whole // 3600, m=whole % 3600 // 60)
