"""The head of the page: its name, the page's one model, what is the same from a terminal, language.

One component: its value is the model's name, which handlers get, and change by returning another.
All that is drawn of it is in `content`: the models, and words in the page's language.
"""

import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from sd import runs
from sd.checkpoints.pretrained.choices import MARK
from sd.common import validation
from sd.common.encoding import data_uri, png_bytes
from sd.common.text import format_bytes
from sd.common.validation import InputError
from sd.config import Config
from sd.data.reading.source import BUNDLED_SETS
from sd.generation import registry
from sd.generation.published import facts
from sd.generation.registry import ModelEntry
from sd.runs.sample_grid import COLUMNS, GAP, open_sample_grid
from sd.ui import models, state
from sd.ui.components.events import Updates, by_name
from sd.ui.components.handlers import QUIET, event_value, guarded, language
from sd.ui.mistakes import translate
from sd.ui.published import opening
from sd.ui.texts import duration, say

FIRST_WISH = "() => [sdHead.wished()]"  # the model of the page's address
WORDS = (
    *("model", "skip", "terminal", "terminal_none", "copy", "copied", "endpoints"),
    *("model_rename", "model_delete", "model_really", "delete", "model_keep", "model_new_name"),
)
THUMBNAIL = 64  # pixels: sharp at 32 on screens of two pixels a point
MOST_PICTURES = 40  # of the list: beyond, models have a name only
DAY, HOUR, MINUTE = 86400, 3600, 60
PLACE = '<div class="head-bar"></div>'  # never changes, so gradio never touches what is in it
ON_LOAD = 'sdHead.mount(element.querySelector(".head-bar"), props, trigger, watch);'


# ---- what is shown of a model


def card(entry: ModelEntry, lang: str, pictured: bool = True) -> dict[str, Any]:
    """Return what the list shows of a model: picture, name, steps and age, and if it is an own."""
    if entry.published:
        return published_card(entry, lang)
    age = say("age_bundled", lang) if entry.bundled else age_text(entry.written / 1e9, lang)
    return {
        "name": entry.name,
        "title": entry.name,
        "about": say("model_steps", lang, n=f"{entry.step:,}", age=age),
        "picture": thumbnail(entry) if pictured else None,
        "own": not entry.bundled,
    }


def published_card(entry: ModelEntry, lang: str) -> dict[str, Any]:
    """Return what the list shows of a published model: its file's name, what it is, its size."""
    shown: dict[str, Any] = {"name": entry.name, "picture": None, "own": False}
    shown["title"] = entry.name.partition(MARK)[0]
    try:
        report = facts.report_of(facts.base_place(entry.place), entry.written)
    except InputError as error:  # it is another file by now
        return {**shown, "about": translate(str(error), lang)}
    return {**shown, "about": f"{translate(report.kind, lang)} · {format_bytes(report.bytes)}"}


def closed_form_card(name: str, lang: str) -> dict[str, Any]:
    """Return what the head shows of a closed form, which stands in no list."""
    kind, _, data = name.partition(":")
    shown = say(f"closed_{data}", lang) if data in BUNDLED_SETS else data
    about = say(f"model_{kind}", lang)
    return {"name": name, "title": shown, "about": about, "state": about, "listed": False}


def age_text(then: float, lang: str) -> str:
    """Return how long ago something was, in one number."""
    past = max(0.0, time.time() - then)
    for key, length in (("age_days", DAY), ("age_hours", HOUR), ("age_minutes", MINUTE)):
        if past >= length:
            return say(key, lang, n=int(past // length))
    return say("age_now", lang)


def state_of(entry: ModelEntry, lang: str) -> dict[str, Any]:
    """Return a model's state: how far its training is, else its pictures and their size."""
    if entry.published:
        return {
            "state": " · ".join(side_words(entry, lang)),
            "live": False,
            **license_told(entry, lang),
        }
    status = runs.status(entry.folder)
    if status.alive:
        words = say(f"model_{status.state}", lang)
        if status.seconds_left is not None:
            words += " · " + say("left", lang, time=duration(status.seconds_left, lang))
        return {"state": words, "live": True}
    start = next((each for each in runs.events(entry.folder) if each["event"] == "start"), {})
    told = [say("model_pictures", lang, n=f"{start['pictures']:,}")] if "pictures" in start else []
    told += side_words(entry, lang)
    return {"state": " · ".join(told), "live": False, **license_told(entry, lang)}


def license_told(entry: ModelEntry, lang: str) -> dict[str, str]:
    """Return the licence that goes along with a model's weights, and what it means."""
    license = registry.license_of(entry)
    return {"license": license, "license_about": say("model_license", lang)} if license else {}


def side_words(entry: ModelEntry, lang: str) -> list[str]:
    """Return the size of a model's pictures; nothing where its settings are damaged."""
    try:
        _, height, width = models.shape_of(entry)
    except InputError:  # whoever samples is told
        return []
    return [say("model_side" if width == height else "model_sides", lang, w=width, h=height)]


def thumbnail(entry: ModelEntry) -> str | None:
    """Return the first of a model's newest samples, as a data address; None where there is none."""
    folder = entry.folder / "samples"
    try:
        newest = max(folder.glob("step-*.png"), default=None)
        return None if newest is None else cut_thumbnail(newest, newest.stat().st_mtime_ns)
    except (OSError, InputError):
        return None


@lru_cache(maxsize=512)
def cut_thumbnail(path: Path, changed: int) -> str:
    """Return the first sample of a grid; when it was `changed` tells a newer from an older."""
    grid = open_sample_grid(path, Config.read(path.parent.parent / runs.CONFIG))
    width, height = ((length + GAP) // COLUMNS - GAP for length in grid.size)
    side = max(width, height, 1)
    size = max(1, width * THUMBNAIL // side), max(1, height * THUMBNAIL // side)
    way = Image.Resampling.NEAREST if side <= THUMBNAIL else Image.Resampling.LANCZOS
    return data_uri(png_bytes(grid.crop((0, 0, width, height)).resize(size, way)), "image/png")


# ---- handlers


def describe(chosen: str, lang: str, sure: bool = False, **more: str) -> Updates:
    """Return the head's update: the models as they are now, one of them chosen, and `more`."""
    entries = [
        models.find(chosen) if each.published and is_same_file(each.name, chosen) else each
        for each in registry.list_models(state.home())
    ]
    cards = [card(entry, lang, place < MOST_PICTURES) for place, entry in enumerate(entries)]
    name = keep_model(chosen, first_model(entries))
    if registry.is_closed_form(name):
        cards.append(closed_form_card(name, lang))
    for entry, each in zip(entries, cards, strict=False):
        if entry.name == name:
            each |= state_of(entry, lang)
    words = {key: say(key, lang) for key in WORDS}
    if state.home().neighbours is None:  # paths of the machine are not for visitors
        words["open_file"] = say("open_file", lang)
    content = {"models": cards, "words": words, **more}
    # A person may have chosen another meanwhile: what stays as it is is not sent, unless `sure`.
    value: dict[str, Any] = {"value": name} if sure or name != chosen else {}
    return {"model": gr.update(content=content, **value)}


def is_same_file(name: str, chosen: str) -> bool:
    """Tell whether a chosen model is a published one of a name, with what is said of it."""
    if chosen.partition(MARK)[0] != name:
        return False
    return keep_model(chosen, "") == chosen


def keep_model(model: Any, other: str) -> str:
    """Return the name of a model if there is one of that name, else another."""
    try:
        return models.find(model).name
    except InputError:
        return other


def read_model(name: str, value: Any) -> str:
    """Return the model that was sent; before the page has been told any, the one it opens with."""
    chosen = validation.text(name, value, models.LONGEST_CHOSEN_MODEL)
    return chosen or models.FirstModel(first_model(registry.list_models(state.home())))


def first_model(entries: Sequence[ModelEntry]) -> str:
    """Return the model that a page opens with."""
    return entries[0].name if entries else models.FALLBACK


@guarded
def show_models(model: str, request: gr.Request) -> Updates:
    """List the models as they are now, with the chosen or the first one chosen."""
    return describe(model, language(request))


@guarded
def first_models(model: str, request: gr.Request) -> Updates:
    """List the models with that of the page's address chosen, which the browser only wishes for."""
    return describe(model, language(request), sure=True)


@guarded
def show_machine(model: str, request: gr.Request) -> Updates:
    """Tell the machine as well, which needs torch."""
    lang, machine = language(request), models.machine()
    shown = machine.label  # a device's own name
    if machine.device == "cpu":
        key = "machine_core" if machine.threads == 1 else "machine_cores"
        shown = say(key, lang, n=machine.threads)
    return describe(model, lang, machine=shown)


@guarded
def change_model(model: str, request: gr.Request, event: gr.EventData) -> Updates:
    """Rename or delete a model of one's own; the page asks before it sends a deletion."""
    home, lang = state.home(), language(request)
    if (name := event_value(event, "delete")) is not None:
        runs.delete(home, name)
    else:
        name = event_value(event, "rename")
        renamed = runs.rename(home, name, event_value(event, "title"))
        model = renamed.name if model == name else model
    return describe(model, lang, sure=True)


def build(demo: gr.Blocks) -> gr.HTML:
    """Lay out the head; return the page's model.

    Its value is "" until the page has been loaded; `change` then tells the first one, which
    handlers are given at once.
    """
    model = gr.HTML(
        "",
        html_template=PLACE,
        js_on_load=ON_LOAD,
        apply_default_css=False,
        elem_id="head",
        content={},
    )
    setattr(model, "read_sent", read_model)  # noqa: B010 (a name of ours)
    opening.build(model)
    parts = {"model": model}
    listing = by_name(show_models, parts, parts) | QUIET
    demo.load(**by_name(first_models, parts, parts), js=FIRST_WISH, **QUIET)
    gr.on([model.focus, model.change], **listing, trigger_mode="always_last")
    model.select(**by_name(show_machine, parts, parts), **QUIET)
    model.submit(**by_name(change_model, parts, parts), **QUIET)
    return model
