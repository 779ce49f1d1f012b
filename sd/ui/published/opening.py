"""The dialog that opens a file of others: where it lies, what it is, and what of that is a guess.

A file is told by its header alone, before anything of it is read, and stays where it lies; a model
of a hub by its list of files (`fetching`). There is a dialog on a page of one's own alone: paths of
the machine are not told to others.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from sd.checkpoints.pretrained.choices import (
    BFLOAT16,
    MARK,
    Choices,
    format_place,
    parse_choices,
    parse_place,
)
from sd.checkpoints.pretrained.folder import is_folder
from sd.checkpoints.pretrained.header import SUFFIXES, file_label
from sd.checkpoints.pretrained.inspection import (
    LICENCE,
    V1_CONTEXT,
    V2_CONTEXT,
    config_of,
    stage_of,
)
from sd.checkpoints.pretrained.parts import EMA, UNET
from sd.checkpoints.pretrained.report import LoadingReport, Part
from sd.common import validation
from sd.common.text import brief, format_bytes, printable, system_reason
from sd.common.validation import InputError
from sd.config.fields import LONGEST_PATH
from sd.generation.published import facts, shelf
from sd.training.planning import memory
from sd.ui import models, state
from sd.ui.components.events import Updates, by_name
from sd.ui.components.handlers import QUIET, event_value, guarded, language
from sd.ui.mistakes import translate
from sd.ui.published import fetching
from sd.ui.texts import say

MOST_LISTED = 400  # folders and files of a folder
LARGEST_EMBEDDING = 2**22  # bytes
NAMED = 3  # tensors that a line names
SPARE = 1.15  # what a model takes beside its weights while nothing is drawn
LISTS = ("missing", "mismatched", "unexpected", "reshaped")
# Nothing that is sent has a key "path": gradio takes what has one for an uploaded file.
WORDS = (
    *("open_title", "open_path", "open_look", "open_up", "open_close", "open_empty", "open_back"),
    *("open_guesses", "open_licence", "open_recent", "open_forget", "open_hub_stop"),
)
FLAG_WORDS = {"yes": "open_yes", "no": "open_no"}
PLACE = '<dialog class="opening" id="opening-dialog"></dialog>'
ON_LOAD = 'sdOpening.mount(element.querySelector("dialog"), props, trigger, watch);'


# ---- what lies in a folder


def folder_content(folder: Path) -> dict[str, Any]:
    """Return the folders, files of weights and diffusers' models in a folder."""
    try:
        found = sorted(folder.iterdir(), key=lambda each: each.name.lower())
        rows = [row for each in found if not each.name.startswith(".") and (row := _row(each))]
    except OSError as error:
        raise InputError(f"{file_label(folder)}: cannot be read ({system_reason(error)})") from None
    rows.sort(key=lambda row: row["kind"] != "folder")
    above = folder.parent
    return {
        "place": str(folder),
        "parent": str(above) if above != folder else None,
        "rows": rows[:MOST_LISTED],
    }


def _row(path: Path) -> dict[str, Any] | None:
    """Return what a folder's list shows of a file, None of one that is not read."""
    if path.is_dir():
        kind, about = ("model", "diffusers") if is_folder(path) else ("folder", "")
        return {"name": printable(path.name), "place": str(path), "kind": kind, "about": about}
    if path.suffix.lower() not in SUFFIXES:
        return None
    size = format_bytes(path.stat().st_size)
    return {"name": printable(path.name), "place": str(path), "kind": "file", "about": size}


# ---- what a file is


def file_content(path: Path, choices: Choices, model: str, lang: str) -> dict[str, Any]:
    """Return what a file is, with what a person says of it; `InputError` for what is not read."""
    about: dict[str, Any] = {"place": str(path), "name": brief(shelf.label_of(path))}
    for read in (_lora_content, _embedding_content):
        if path.is_file() and (found := read(path, model, lang)):
            return about | found
    written = facts.written_at(path)
    report = facts.report_of(format_place(str(path), choices), written)
    guesses = facts.report_of(str(path), written).guesses  # those too that were overruled
    return about | report_content(replace(report, guesses=guesses), choices, model, lang)


def report_content(
    report: LoadingReport, choices: Choices, model: str, lang: str
) -> dict[str, Any]:
    """Return the loading report as a tree, the guesses as fields, and what would be loaded."""
    unet = report.part(UNET, EMA)
    size = format_bytes(report.bytes)
    found: dict[str, Any] = {
        "title": f"{translate(report.kind, lang)} · {size} · {report.form}",
        "tree": [*(_branch(part, lang) for part in report.parts), *_rest(report, lang)],
    }
    if unet is None:
        return found | _addition(shelf.VAE, model, lang)
    config_of(report, stage_of(report), facts.is_told(report))
    needed = loaded_bytes(report, choices)
    values = {"size": format_bytes(needed), "free": format_bytes(memory.left())}
    key = "open_memory" if needed <= memory.left() else "open_memory_short"
    return found | {
        "kind": shelf.MODEL,
        "guesses": [*_guesses(report, choices, lang), _dtype(choices, lang)],
        "memory": say(key, lang, **values),
        "licence": unet.config.context_dim in (V1_CONTEXT, V2_CONTEXT),
        "go": say("open_model", lang),
    }


def loaded_bytes(report: LoadingReport, choices: Choices) -> int:
    """Return about how many bytes a model takes once it is loaded."""
    width = 2 if choices.dtype == BFLOAT16 else 4
    parts = [part for part in report.parts if part.used]
    each = (part.parameters * (width if part.name in (UNET, EMA) else 4) for part in parts)
    return round(SPARE * sum(each))


def _branch(part: Part, lang: str) -> dict[str, Any]:
    """Return a part of a report: its title, and what is to be said of it."""
    total = len(part.matched) + len(part.missing) + len(part.mismatched)
    values = {"n": f"{len(part.matched):,}", "of": f"{total:,}", "p": f"{part.parameters:,}"}
    lines = [
        say(f"open_{word}", lang, names=_named(names))
        for word in LISTS
        if (names := getattr(part, word))
    ]
    lines += [] if part.used else [say("open_unused", lang)]
    return {
        "title": translate(part.title, lang),
        "about": say("open_part", lang, **values, dtype=part.dtype),
        "lines": lines,
        "is_fault": bool(part.used and part.fault),
    }


def _rest(report: LoadingReport, lang: str) -> Iterator[dict[str, Any]]:
    """Yield what of a file belongs to no part, and the notes."""
    for word in ("ignored", "unknown"):
        if names := getattr(report, word):
            yield {"title": say(f"open_{word}", lang), "about": _named(names), "lines": []}
    for note in report.notes:
        if note != LICENCE:
            yield {"title": translate(note, lang), "about": "", "lines": []}


def _named(names: Sequence[str]) -> str:
    first = ", ".join(brief(printable(name)) for name in names[:NAMED])
    return f"{len(names):,} ({first}{', …' if len(names) > NAMED else ''})"


def _guesses(report: LoadingReport, choices: Choices, lang: str) -> Iterator[dict[str, Any]]:
    said = said_of(choices)
    for each in report.guesses:
        yield {
            "name": each.name,
            "label": say(f"open_guess_{each.name}", lang),
            "value": said.get(each.name, each.value),
            "choices": list(each.choices),
            "labels": {word: say(key, lang) for word, key in FLAG_WORDS.items()},
            "why": translate(each.why, lang),
        }


def _dtype(choices: Choices, lang: str) -> dict[str, Any]:
    return {
        "name": "dtype",
        "label": say("open_dtype", lang),
        "value": choices.dtype or "float32",
        "choices": ["float32", BFLOAT16],
        "why": say("open_dtype_why", lang),
    }


# ---- what is added to a model


def _lora_content(path: Path, model: str, lang: str) -> dict[str, Any] | None:
    """Return what a LoRA would change of the page's model; None for what is none."""
    from sd.checkpoints.adapters.lora import read_lora

    try:
        found = read_lora(path)
    except InputError as error:
        if "holds no LoRA" in str(error):
            return None
        raise
    ranks = ", ".join(map(str, found.ranks))
    told = say("open_lora", lang, n=len(found.changes), ranks=ranks)
    return {"title": told, **_addition(shelf.LORA, model, lang, path)}


def _embedding_content(path: Path, model: str, lang: str) -> dict[str, Any] | None:
    from sd.checkpoints.adapters.embedding import read_embedding

    if path.stat().st_size > LARGEST_EMBEDDING:
        return None
    try:
        word, vectors = read_embedding(path)
    except InputError:
        return None
    told = say("open_embedding", lang, word=word, n=len(vectors))
    return {"title": told, **_addition(shelf.EMBEDDING, model, lang)}


def _addition(kind: str, model: str, lang: str, path: Path | None = None) -> dict[str, Any]:
    """Return how a file is added to the page's model, if that is a published one."""
    if not shelf.has_model(state.home(), model):
        return {"kind": kind, "tree": [], "memory": say("open_first", lang)}
    stem = model.partition(MARK)[0]
    lines = [] if path is None else [say("open_used", lang, **lora_use(path, model))]
    return {
        "kind": kind,
        "tree": [{"title": line, "about": "", "lines": []} for line in lines],
        "go": say("open_add", lang, name=stem),
    }


def lora_use(path: Path, model: str) -> dict[str, Any]:
    """Return how many of a LoRA's changes are of the layers of a published model: used, of.

    Raises `InputError` where it is for another model.
    """
    from sd.checkpoints.adapters.lora import match_lora, read_lora

    entry = models.find(model)
    found = read_lora(path)
    matched = match_lora(found, models.config_of(entry).unet, text_layers(entry.place))
    return {"used": len(matched.unet) + len(matched.text), "of": len(found.changes)}


def text_layers(place: str) -> dict[str, tuple[int, ...]]:
    """Return the text encoder's layers of a published model and their shapes, by its header."""
    import torch

    from sd.checkpoints.adapters.lora import layers_of
    from sd.networks.clip.text import CLIPText

    base = facts.base_place(place)
    written = facts.written_at(parse_place(base)[0])
    part = facts.text_part(facts.report_of(base, written))
    if part is None:
        return {}
    with torch.device("meta"):
        return layers_of(CLIPText(part.config))


# ---- handlers


def content(lang: str, **more: Any) -> Updates:
    """Return the dialog's update."""
    recent = [
        {"name": each.name, "place": str(each.path), "kind": each.kind}
        for each in shelf.list_opened(state.home())
    ]
    words = {key: say(key, lang) for key in WORDS}
    return {"opening": gr.update(content={"words": words, "recent": recent, **more})}


@guarded
def look(model: str, request: gr.Request, event: gr.EventData) -> Updates:
    """Show a folder, or what a file is; a line where it is nothing that is read."""
    shelf.check_own(state.home())
    lang = language(request)
    typed = validation.text("path", event_value(event, "place") or "~", LONGEST_PATH)
    path = Path(typed.strip()).expanduser()
    try:
        choices = read_choices(event_value(event, "said"))
        if not path.exists() and (found := fetching.find_model(typed.strip(), lang)):
            return content(lang, hub=found)
        if not path.exists():
            raise InputError(f"{brief(printable(str(path)))}: no such file or folder")
        path = path.absolute()
        if path.is_dir() and not is_folder(path):
            return content(lang, folder=folder_content(path))
        return content(lang, file=file_content(path, choices, model, lang), said=said_of(choices))
    except InputError as error:
        return content(lang, fault=translate(str(error), lang))


@guarded
def fetch_model(model: str, request: gr.Request, event: gr.EventData) -> Iterator[Updates]:
    """Fetch a hub's model as it was told, telling how far it is, and then show what it is."""
    shelf.check_own(state.home())
    lang = language(request)
    place = validation.text("place", event_value(event, "place"), LONGEST_PATH)
    try:
        for step in fetching.fetch_model(place, lang):
            if isinstance(step, Path):
                yield content(lang, file=file_content(step, Choices(), model, lang), of=place)
            else:
                yield content(lang, fetching=step, of=place)
    except InputError as error:
        yield content(lang, fault=translate(str(error), lang), of=place)


def read_choices(said: Any) -> Choices:
    """Return what the dialog's fields say; `InputError` for what they do not hold."""
    fields = said if isinstance(said, Mapping) else {}
    known = ("prediction", "zero_snr", "heads", "head_width", "weights", "dtype")
    words = [
        f"{validation.choice('choice', name, known)}={validation.text('choice', value, 40)}"
        for name, value in fields.items()
    ]
    return parse_choices(",".join(words))


def said_of(choices: Choices) -> dict[str, str]:
    """Return choices as the dialog sends them."""
    words = format_place("", choices).removeprefix(MARK)
    return dict(word.split("=", 1) for word in words.split(",") if word)


@guarded
def open_chosen(model: str, request: gr.Request, event: gr.EventData) -> Updates:
    """Open the file that is shown as the page's model, or add it to that; or forget one."""
    home, lang = state.home(), language(request)
    shelf.check_own(home)
    if (name := event_value(event, "forget")) is not None:
        shelf.close_file(home, validation.text("name", name, LONGEST_PATH))
        return content(lang)
    path = Path(validation.text("path", event_value(event, "place"), LONGEST_PATH)).expanduser()
    choices = read_choices(event_value(event, "said"))
    found = file_content(path, choices, model, lang)
    if "go" not in found:
        raise InputError(f"{file_label(path)}: {say('open_first', 'en')}")
    opened = shelf.open_file(home, path, found["kind"])
    if opened.kind == shelf.MODEL:
        name = models.find(shelf.with_choices(opened.name, choices)).name
        return content(lang, done={"choose": name})  # as if a person had chosen it from the list
    return content(lang, done={"choose": with_addition(model, opened), "of": model})


def with_addition(model: str, added: shelf.OpenedFile) -> str:
    """Return a published model's name with a file more; one that is there stays as it is."""
    said = shelf.choices_of(model)
    if added.kind == shelf.VAE:
        said = replace(said, vae=added.name)
    elif added.kind == shelf.EMBEDDING:
        said = replace(said, embedding=tuple(dict.fromkeys((*said.embedding, added.name))))
    elif added.name not in dict(said.lora):
        said = replace(said, lora=(*said.lora, (added.name, 1.0)))
    return shelf.with_choices(model, said)


def build(model: gr.HTML) -> None:
    """Lay out the dialog and wire it; `model` is the page's."""
    opening = gr.HTML(
        "",
        html_template=PLACE,
        js_on_load=ON_LOAD,
        apply_default_css=False,
        elem_id="opening",
        content={},
    )
    parts = {"model": model}
    opening.input(**by_name(look, parts, {"opening": opening}), **QUIET)
    opening.submit(**by_name(open_chosen, parts, {"opening": opening}), **QUIET)
    fetched = opening.click(**by_name(fetch_model, parts, {"opening": opening}), **QUIET)
    opening.stop(None, None, None, cancels=[fetched], api_visibility="private")
