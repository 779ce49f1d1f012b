"""The first group of the Train tab: which pictures, what is chosen of them, how they will look."""

from collections.abc import Generator, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

import gradio as gr
from gradio.components import Component
from gradio.events import Dependency
from PIL import Image

from sd.common import validation
from sd.common.validation import InputError
from sd.config import Config
from sd.config.conditioning_kind import CLASS_KINDS
from sd.ui.adapter.served_files import store_picture
from sd.ui.components.events import Updates, by_name
from sd.ui.components.handlers import BUNDLED_QUEUE, QUIET, UPLOAD, guarded, language, session
from sd.ui.components.html import paragraph, pressed
from sd.ui.components.images import tile
from sd.ui.components.widgets import file_drop, heading, label, note
from sd.ui.state import Recent, shared
from sd.ui.surveys import Survey
from sd.ui.texts import say
from sd.ui.train import settings
from sd.ui.train.report_view import decide_conditioning, reading_html, report_html
from sd.ui.uploads import PREVIEW_COLUMNS, PREVIEW_ROWS, SHAPES, bundled, survey_of, take

if TYPE_CHECKING:
    from torch import Tensor

Files = str | list[str] | None  # what is uploaded; a bundled set's word; nothing for the first one

PREVIEW_SIDE = 64  # pixels; a preview of larger pictures is drawn at this
CELL_SIDE = 64  # pixels of one picture of the preview, about


class NewestUploads(Recent[str, object]):
    """The newest upload of each open page."""


class Pictures(NamedTuple):
    """The first group: the chosen set, and what is chosen of it and done to it."""

    data: gr.State
    fields: dict[str, settings.Field]  # key of a setting -> its field
    preview: gr.Image
    caption: gr.HTML
    conditioning: gr.HTML
    cut: gr.HTML
    leak: gr.HTML
    taken: tuple[Dependency, ...] = ()  # the events that take another set


@guarded
def take_files(
    files: Files,
    before: str | None,
    request: gr.Request,
    listed: Files = None,
    is_list: bool = True,
) -> Iterator[Updates]:
    """Take an upload; one that is still being read for the same page is given up for it.

    listed: the files of the list that were taken last, which stand there again where these are
    refused. is_list: whether these are the list.
    """
    page, turn = session(request), object()
    newest = shared(NewestUploads)
    newest[page] = turn
    with closing(read_upload(files, before, listed, language(request))) as steps:
        for step in steps:
            if newest.get(page) is not turn:
                yield {}  # the page would show what came last again
                return
            yield step
    yield {"listed": files if is_list else None}


def read_upload(
    files: Files, before: str | None, listed: Files, lang: str
) -> Generator[Updates, None, None]:
    """Yield how far an upload is read, then its handle, report and classes.

    No preview stands meanwhile: it would be of other pictures.
    """
    steps, word = take(files), bundled(files)
    begun: Updates = {"data": word} if word else {}
    unseen: Updates = {"preview": gr.update(value=None), "caption": ""}
    yield begun | unseen | {"report": reading_html(0, 0, lang)}
    try:
        while True:
            yield {"report": reading_html(*next(steps), lang)}
    except StopIteration as end:
        report = survey_of(end.value).report
        classes = settings.offer_classes(report.classes)
        yield {"data": end.value, "report": report_html(report, lang), "classes": classes}
    except InputError:
        refused: Updates = {"files": listed}
        if before is not None:
            refused["report"] = report_html(survey_of(before).report, lang)
        yield refused
        raise


def check_choices(handle: str | None, config: Config) -> None:
    """Raise `InputError` where the set lacks a chosen class, or what conditions the model.

    So it does where samples are to be of a class that is not there.
    """
    report = survey_of(handle).report
    for name in config.training.classes or ():
        validation.choice("training.classes", name, list(report.classes) or ["(no classes)"])
    if decide_conditioning(report, config).conditioning.kind in CLASS_KINDS:
        known = list(config.training.classes or report.classes)
        for name in config.conditioning.sample_prompts or ():
            validation.choice("conditioning.sample_prompts", name, known)


def fit_previews(found: Survey, config: Config, count: int) -> "Tensor":
    """Return up to `count` pictures as the model will see them, uint8 [N, C, H, W]."""
    import torch

    from sd.data.images import fit_picture

    training = config.training
    height, width = training.input_height, training.input_width
    scale = min(1.0, PREVIEW_SIDE / max(height, width))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    shape = *size, config.picture_shape[0], training.fit
    return torch.stack([fit_picture(each, *shape) for each in found.preview[:count]])


def draw_preview(found: Survey, config: Config) -> tuple[Image.Image, bool]:
    """Return pictures in a grid as the model will see them, and whether its lower half is changed.

    With random changes on, the second row shows the first once more, changed.
    """
    import torch

    from sd.data import augment
    from sd.data.images import to_pil

    changed = augment.is_on(config.training)
    pixels = fit_previews(
        found, config, PREVIEW_COLUMNS if changed else PREVIEW_COLUMNS * PREVIEW_ROWS
    )
    columns = min(len(pixels), PREVIEW_COLUMNS)
    if changed:
        source = torch.Generator().manual_seed(0)
        pixels = torch.cat([pixels, augment.augment(pixels, config.training, source)])
    factor = max(1, round(CELL_SIDE / max(pixels.shape[-2:])))
    pixels = pixels.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    return tile([to_pil(each) for each in pixels], columns, gap=6), changed


def show_preview(found: Survey, config: Config, lang: str) -> Updates:
    """Show the preview with its alternative text, and its caption."""
    preview, changed = draw_preview(found, config)
    alt = say("train_changed_alt" if changed else "train_preview_alt", lang)
    training = config.training
    size = {"w": training.input_width, "h": training.input_height}
    line = say("preview_changed" if changed else "preview_plain", lang, **size)
    line += f" {say('preview_transparent', lang)}" if config.picture_shape[0] == 4 else ""
    return {
        "preview": gr.update(value=store_picture(preview), alt_text=alt),
        "caption": paragraph(line),
    }


def build(demo: gr.Blocks) -> Pictures:
    """Lay out and wire the first group."""
    # Nothing until the page knows what it shows: where the server has forgotten a page,
    # its default stands here, and a set would be trained that nobody sees.
    data, nothing, listed = gr.State(None), gr.State(None), gr.State(None)
    with gr.Column(elem_classes="group"):
        heading("train_pictures")
        note("train_pictures_info")
        files = file_drop("train_files", "multiple")
        with gr.Row(elem_classes="buttons"):
            folder = gr.UploadButton(label("train_folder"), file_count="directory", size="sm")
            starter = gr.Button(label("train_starter"), size="sm")
            shapes = gr.Button(label("train_shapes"), size="sm")
        report = gr.HTML(elem_classes="report", elem_id="train-report")
        parts = build_preview(data)
    shown = {
        "data": data,
        "report": report,
        "classes": parts.fields["classes"],
        "files": files,
        "listed": listed,
        "preview": parts.preview,
        "caption": parts.caption,
    }

    def taking(source: Component) -> dict[str, Any]:
        given = {"files": source, "before": data, "listed": listed}
        return by_name(take_files, {**given, "is_list": gr.State(source is files)}, shown)

    uploaded: dict[str, Any] = QUIET | UPLOAD
    starters: dict[str, Any] = taking(nothing) | QUIET | BUNDLED_QUEUE
    for instead in (folder.upload, starter.click, shapes.click):
        instead(lambda: None, None, files, **QUIET)
    taken = (
        files.upload(**taking(files), **uploaded),
        folder.upload(**taking(folder), **uploaded),
        files.delete(**taking(files), **uploaded),
        files.clear(**starters),
        starter.click(**starters),
        shapes.click(**taking(gr.State(SHAPES)), **QUIET | BUNDLED_QUEUE),
        demo.load(**starters),
    )
    return parts._replace(taken=taken)


def build_preview(data: gr.State) -> Pictures:
    """Lay out the preview of the pictures and what chooses and changes them."""
    usual = settings.read_preset(settings.FIRST)
    fields: dict[str, settings.Field] = {}

    def offer(*keys: str) -> None:
        for key in keys:
            fields[key] = settings.build_field(key, usual, label(f"pick_{key}"))

    preview = gr.Image(
        format="png", show_label=False, interactive=False, buttons=[], elem_classes="sheet"
    )
    caption = gr.HTML(elem_classes="caption")
    offer("classes", "kind")
    conditioning = gr.HTML(elem_classes="cut", elem_id="train-told")
    offer("fit", "held_out")
    cut = gr.HTML(elem_classes="cut", elem_id="train-cut")
    with gr.Accordion(label("changes"), open=False, elem_classes="fold"):
        note("changes_info")
        offer("flip", "shift", "rotation", "brightness")
        leak = gr.HTML(elem_classes="leak advice", elem_id="train-leak", js_on_load=pressed("fix"))
    return Pictures(data, fields, preview, caption, conditioning, cut, leak)
