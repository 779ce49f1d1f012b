"""All texts of the page, from one file a language in `locales`, with the same placeholders in all.

Static texts travel to the browser under `sd_` keys and are chosen there by its language; lines that
carry numbers are made here and chosen by the request's Accept-Language header. A third language is
a third file. What the command line prints too has its English below, under `FAMILIES`.
"""

import tomllib
from typing import Any

from sd.common.paths import PACKAGE
from sd.config import KEYS, about
from sd.generation.player.words import PLAYER_TEXTS
from sd.training.coach import MESSAGES as COACH
from sd.training.planning.reasons import MESSAGES as REASONS

LOCALES = PACKAGE / "ui" / "locales"
LANGUAGES = ("en", "zh")
PREFIX = "sd_"  # gradio's own keys ("label", "file", ...) share one table with ours in the browser
FAMILIES = {  # table of the other languages -> its English; keys begin with the table's name
    "coach": COACH,
    "why": REASONS,
    "about": {key: about(section, key) for section, keys in KEYS.items() for key in keys},
    "player": PLAYER_TEXTS,
}


def read_locale(language: str) -> dict[str, str]:
    """Return key -> text of one language; the keys of a family begin with its name."""
    tables = tomllib.loads((LOCALES / f"{language}.toml").read_text(encoding="utf-8"))
    if language == "en":
        tables |= FAMILIES
    return {
        f"{table}_{key}" if table in FAMILIES else key: text
        for table, texts in tables.items()
        for key, text in texts.items()
    }


READ = {language: read_locale(language) for language in LANGUAGES}
TEXTS: dict[str, tuple[str, ...]] = {
    key: tuple(READ[language][key] for language in LANGUAGES) for key in READ["en"]
}


def say(key: str, language: str, **values: Any) -> str:
    """Return the text `key` in `language` ("en" or "zh") with its placeholders filled."""
    text = TEXTS[key][LANGUAGES.index(language)]
    return text.format(**values) if values else text


def translations() -> dict[str, dict[str, str]]:
    """Return locale -> prefixed key -> text, as the browser's own choice of language needs it.

    `zh-CN` serves every Chinese browser (zh-TW and zh-HK fall back to `zh`); others read English.
    """
    tables = {
        language: {PREFIX + key: pair[place] for key, pair in TEXTS.items()}
        for place, language in enumerate(LANGUAGES)
    }
    return {**tables, "zh-CN": tables["zh"]}


def language_of(header: str | None) -> str:
    """Return "zh" if an Accept-Language header asks first for Chinese, else "en".

    A bare "zh" is English too: the browser's side knows only tags with a region.
    """
    first = (header or "").split(",")[0].strip().lower()
    return "zh" if first.startswith("zh-") else "en"


def duration(seconds: float, language: str) -> str:
    """Return a length of time in words: 8 s, 3 min 10 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return say("seconds", language, s=whole)
    if whole < 3600:
        return say("minutes", language, m=whole // 60, s=whole % 60)
    return say("hours", language, h=whole // 3600, m=whole % 3600 // 60)
