"""The head of the settings: the groups of fields, and the presets with what they give.

What a preset drew after its minutes, and what that took, lies in `assets/presets`: NAME.webp (or
.png, .jpg), and `figures.toml` with a table a preset: minutes, memory (MiB), parameters. A preset
without a table was not measured here; one without a picture has no strip.
"""

import json
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

import gradio as gr

from sd.common.paths import PACKAGE
from sd.common.text import format_bytes, format_count
from sd.config import SECTIONS, preset_names
from sd.ui.adapter.served_files import file_data
from sd.ui.components.fields import words
from sd.ui.texts import TEXTS, say
from sd.ui.train.planning import config_view, settings

PRESETS = PACKAGE / "ui" / "assets" / "presets"
FIGURES = "figures.toml"
ENDINGS = ("webp", "png", "jpg")
LARGEST_STRIP = 60_000  # bytes
FORM_GROUPS = ("run", "pictures", *SECTIONS)
GROUPS = ("presets", *FORM_GROUPS)
PLACE = '<div class="settings-head"></div>'  # never changes, so gradio never touches what is in it
ON_LOAD = "sdSettings.mount(element, props, trigger, %s);"


def settings_head(panel: str, form: str) -> gr.HTML:
    """Show the groups and the presets of a panel with a form, by their `elem_id`.

    `click` tells which preset was pressed, `input` that the address of the page filled the form.
    """
    strips = {name: find_strip(name, PRESETS) for name in preset_names()}
    about = {
        "panel": panel,
        "form": form,
        "fields": FORM_GROUPS,
        "groups": [{"name": name, "words": words(f"group_{name}")} for name in GROUPS],
        "presets": [describe_preset(name, PRESETS) for name in preset_names()],
    }
    return gr.HTML(
        {name: file_data(path) for name, path in strips.items() if path},
        html_template=PLACE,
        js_on_load=ON_LOAD % json.dumps(about, ensure_ascii=False),
        apply_default_css=False,
    )


def describe_preset(name: str, folder: Path) -> dict[str, Any]:
    """Return a preset as the browser shows it: its sentence and its figures."""
    figures = read_figures(folder).get(name)
    return {
        "name": name,
        "words": words(f"preset_{name}"),
        "facts": {lang: facts_line(name, figures, lang) for lang in TEXTS},
    }


def read_figures(folder: Path) -> dict[str, dict[str, float]]:
    """Return preset -> what was measured of it; nothing where that is not told."""
    with suppress(OSError, ValueError), (folder / FIGURES).open("rb") as file:
        tables = tomllib.load(file).items()
        return {name: table for name, table in tables if isinstance(table, dict)}
    return {}


def facts_line(name: str, figures: dict[str, float] | None, lang: str) -> str:
    """Return what a preset takes: minutes and memory where they were measured, parameters."""
    count = config_view.network_of(settings.read_preset(name)).parameters
    parameters = say("preset_parameters", lang, n=format_count(count))
    if not figures or "minutes" not in figures:
        return f"{say('preset_unmeasured', lang)} · {parameters}"
    parts = [say("preset_minutes", lang, n=f"{figures['minutes']:g}")]
    if "memory" in figures:
        parts.append(format_bytes(int(figures["memory"] * 2**20)))
    return " · ".join([*parts, parameters])


def find_strip(name: str, folder: Path) -> Path | None:
    """Return the picture of what a preset drew; None without one, or where it is too large."""
    found = (folder / f"{name}.{ending}" for ending in ENDINGS)
    small = (path for path in found if path.is_file() and path.stat().st_size <= LARGEST_STRIP)
    return next(small, None)
