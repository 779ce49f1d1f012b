"""The pictures of the Train tab: which are chosen, and what their card shows; or a run's."""

from collections.abc import Generator, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from sd import runs
from sd.common import validation
from sd.common.text import printable
from sd.common.validation import InputError
from sd.config import Config
from sd.config.conditioning_kind import CLASS_KINDS
from sd.data import captions
from sd.ui import state, uploads
from sd.ui.adapter.served_files import file_data, store_picture
from sd.ui.components.events import Updates
from sd.ui.components.fields import Values
from sd.ui.components.handlers import guarded, language, session
from sd.ui.components.images import tile
from sd.ui.state import Recent, shared
from sd.ui.surveys import Survey
from sd.ui.texts import say
from sd.ui.train.doors import Picked
from sd.ui.train.planning import config_view, settings
from sd.ui.train.report_view import (
    caption_of,
    decide_conditioning,
    details_html,
    facts_of,
    learns_line,
)

if TYPE_CHECKING:
    from torch import Tensor

CARD_COLUMNS, CARD_ROWS = 6, 2
CARD_SIDE = 64  # pixels; larger pictures are shown at this

Card = dict[str, Any]  # what a card shows of a set
EMPTY: Card = {"sheet": "", "columns": 1, "count": 0, "facts": "", "caption": "", "details": ""}


class NewestUploads(Recent[str, object]):
    """The newest upload of each open page."""


class RunCards(Recent[tuple[str, str, int], Card]):
    """The cards of runs that were shown, by run, language and when its pictures came there (ns)."""

    most = 40


@guarded
def take_pictures(
    card: Picked,
    data: str | None,
    title: str,
    minutes: float | None,
    form: Values | None,
    config: Config,
    request: gr.Request,
) -> Iterator[Updates]:
    """Take what was picked; one that is still being read for the same page is given up for it.

    Where settings are planned for so many minutes, those of a plan for other pictures go.
    """
    if not card.files and not card.handle:
        yield {}
        return
    if card.is_deleted:
        uploads.delete(card.handle)
        yield {"data": None, "title": "", "card": {"own": None}}
        return
    page, turn = session(request), object()
    newest = shared(NewestUploads)
    newest[page] = turn
    anew: tuple[Config, Values] = config, {}
    if minutes is not None and not card.is_again:
        with suppress(InputError):  # of a field, which is told beside it
            anew = settings.begin_anew(settings.values_of(form, config))
    with closing(read_pictures(card, data, title, config, anew, language(request))) as steps:
        for step in steps:
            if newest.get(page) is not turn:
                yield {}  # the page would show what came last again
                return
            yield step


def read_pictures(
    picked: Picked,
    before: str | None,
    called: str,
    config: Config,
    anew: tuple[Config, Values],
    lang: str,
) -> Generator[Updates, None, None]:
    """Yield how far what was picked is read, then its handle, name, card and classes.

    config: with which the pictures `before` are shown. anew: with which these are, and what of the
    form that changes. What was kept from before a reload and is gone by now is no fault.
    """
    bundled = picked.handle in uploads.BUNDLED_WORDS
    title = clean_title(picked.title) or title_of(picked, lang)
    yield {"card": reading(0, 0, lang)} | ({"data": picked.handle} if bundled else {})
    if picked.files:
        steps = uploads.take(list(picked.files))
    else:
        steps = uploads.survey_again(picked.handle)
    try:
        while True:
            yield {"card": reading(*next(steps), lang)}
    except StopIteration as end:
        found = uploads.survey_of(end.value)
        shown = card_of(end.value, title, found, anew[0], lang, is_loose=is_loose(picked))
        names = captions.names(end.value, lang)
        form = settings.offer_classes(found.report.classes, names, anew[1])
        taken: Updates = {"data": end.value, "title": title, "card": {"own": shown}}
        yield {**taken, "form": form, "minutes": {"ready": True}}
    except InputError:
        known = before is not None
        own = card_of(before, called, uploads.survey_of(before), config, lang) if known else None
        yield {"card": {"own": own}, **({"data": before} if bundled else {})}
        if not picked.is_again:
            raise


def is_loose(picked: Picked) -> bool:
    """Tell whether several files without a folder were picked."""
    return len(picked.files) > 1 and not uploads.title_of(picked.files)


def title_of(picked: Picked, lang: str) -> str:
    """Return what a set is called by itself: as its folder or zip, or what it is."""
    if picked.handle in uploads.BUNDLED_WORDS:
        return say(f"doors_{picked.handle}", lang)
    return clean_title(uploads.title_of(picked.files)) or say("doors_own", lang)


def clean_title(title: str) -> str:
    """Return a name as it is shown, in one line."""
    return " ".join(printable(title).split())


@guarded
def rename(card: Picked, data: str | None, request: gr.Request) -> Updates:
    """Take another name for the set; none gives it back its own."""
    lang, title = language(request), clean_title(card.title)
    if not title:
        title = title_of(Picked(handle=data or ""), lang)
        return {"title": title, "card": {"own": {"title": title}}}
    return {"title": title}


def reading(done: int, total: int, lang: str) -> Card:
    """Return what a card shows while a set is read."""
    counts = {"done": f"{done:,}", "total": f"{total:,}"}
    line = say("read_progress", lang, **counts) if total else say("read_begin", lang)
    return {"own": {"line": line, "share": done / total if total else 0}}


def card_of(
    handle: str | None,
    title: str,
    found: Survey,
    config: Config,
    lang: str,
    is_loose: bool = False,
) -> Card:
    """Return what the card shows of a set that was read."""
    return {
        "set": handle,
        "title": title,
        "loose": is_loose,
        **look_of(handle, found, config, lang),
    }


def look_of(handle: str | None, found: Survey, config: Config, lang: str) -> Card:
    """Return how a set looks under some settings: its pictures, its facts and what is cut."""
    sheet, changed = draw_sheet(fit_previews(found, config), config)
    words = [caption_of(found.report, config.training, lang)]
    if changed:
        words.append(say("seen_changed", lang))
    if config.picture_shape[0] == 4:
        words.append(say("preview_transparent", lang))
    words.append(learns_line(found.report, config, lang))
    return {
        **sheet,
        "alt": say("train_changed_alt" if changed else "train_preview_alt", lang),
        "facts": facts_of(found.report, lang),
        "kept": None if handle in (None, *uploads.BUNDLED_WORDS) else state.home().kept_until(),
        "caption": " ".join(filter(None, words)),
        "details": details_html(
            found.report, config.training, captions.names(handle or "", lang), lang
        ),
    }


def check_choices(handle: str | None, config: Config) -> None:
    """Raise `InputError` where the set lacks a chosen class, or what conditions the model.

    So it does where samples are to be of a class that is not there.
    """
    report = uploads.survey_of(handle).report
    for name in config.training.classes or ():
        validation.choice("training.classes", name, list(report.classes) or ["(no classes)"])
    if decide_conditioning(report, config).conditioning.kind in CLASS_KINDS:
        known = list(config.training.classes or report.classes)
        for name in config.conditioning.sample_prompts or ():
            validation.choice("conditioning.sample_prompts", name, known)


def fit_previews(found: Survey, config: Config) -> "Tensor":
    """Return a few pictures as the model will see them, uint8 [N, C, H, W]."""
    import torch

    from sd.data.images import fit_picture

    training = config.training
    height, width = training.input_height, training.input_width
    scale = min(1.0, CARD_SIDE / max(height, width))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    shape = *size, config.picture_shape[0], training.fit
    shown = found.preview[: CARD_COLUMNS * CARD_ROWS]
    return torch.stack([fit_picture(each, *shape) for each in shown])


def draw_sheet(pixels: "Tensor", config: Config | None = None) -> tuple[Card, bool]:
    """Return pictures in one sheet as the card takes it, and whether its lower half is changed.

    pixels: uint8 [N, C, H, W]. With random changes on, the second row shows the first once more,
    changed.
    """
    import torch

    from sd.data import augment
    from sd.data.images import to_pil

    changed = config is not None and augment.is_on(config.training)
    if config is not None and changed:
        pixels = pixels[:CARD_COLUMNS]
        source = torch.Generator().manual_seed(0)
        pixels = torch.cat([pixels, augment.augment(pixels, config.training, source)])
    columns = min(len(pixels) // 2 if changed else len(pixels), CARD_COLUMNS)
    sheet = tile([to_pil(each) for each in pixels], columns, gap=0)
    height, width = pixels.shape[-2:]
    return {
        "sheet": file_data(store_picture(sheet)),
        "columns": columns,
        "count": len(pixels),
        "ratio": f"{width} / {height}",
    }, changed


def open_run_set(folder: Path) -> tuple["Tensor", int, int]:
    """Return a few of a run's own pictures, how many there are and how many classes.

    Raises `InputError` where it has none.
    """
    import torch

    from sd.data.ingest import open_images

    images = open_images(folder / runs.PICTURES)
    count = len(images.pixels)
    shown = min(count, CARD_COLUMNS * CARD_ROWS)
    pixels = torch.stack([images.pixels[place * count // shown] for place in range(shown)])
    if max(pixels.shape[-2:]) > CARD_SIDE:
        scale = CARD_SIDE / max(pixels.shape[-2:])
        size = [max(1, round(side * scale)) for side in pixels.shape[-2:]]
        pixels = torch.nn.functional.interpolate(pixels.float(), size, mode="area").round().byte()
    return pixels, count, len(images.label_names)


def show_run_card(folder: Path | None, lang: str, rests: bool = False) -> Updates:
    """Return the left column for a run at work: its pictures and its settings, read-only.

    folder: None where no run is at work, and the own pictures are shown again. The pictures come
    when the run has them. rests: another may be trained meanwhile, so the card can be left.
    Keys: "card" and "minutes", the two cards.
    """
    if folder is None:
        return {"card": {"run": None}, "minutes": {"run": None}}
    known = shared(RunCards)
    try:
        came = (folder / runs.PICTURES).stat().st_mtime_ns  # a run may be called like one that went
        key = folder.name, lang, came
        if key not in known:
            known[key] = run_card(folder, lang)
    except (InputError, OSError):  # they are still being read
        return {"card": {}, "minutes": run_minutes(folder, lang)}
    return {"card": {"run": {**known[key], "rests": rests}}, "minutes": run_minutes(folder, lang)}


def run_card(folder: Path, lang: str) -> Card:
    """Return what the card shows of a run's own pictures; raise `InputError` before it has any."""
    pixels, count, classes = open_run_set(folder)
    training = Config.read(folder / runs.CONFIG).training
    sheet, _ = draw_sheet(pixels)
    facts = [say("report_count", lang, n=f"{count:,}")]
    if classes > 1:
        facts.append(say("report_classes", lang, n=f"{classes:,}"))
    return {
        **EMPTY,
        **sheet,
        "title": folder.name,
        "facts": " · ".join(facts),
        "alt": say("train_preview_alt", lang),
        "caption": say("seen_run", lang, w=training.input_width, h=training.input_height),
    }


def run_minutes(folder: Path, lang: str) -> Card:
    """Return a run's settings as the card of the minutes shows them."""
    if not (folder / runs.CONFIG).is_file():  # its process is still importing
        return {"run": {"html": config_view.titled(say("state_starting", lang), lang)}}
    config = Config.read(folder / runs.CONFIG)
    steps = runs.status(folder).total or config.training.steps  # before it has begun
    return {"run": {"html": config_view.run_html(config, steps, lang)}}
