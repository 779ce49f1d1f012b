"""The settings of a sampling: laid out, read as a recipe, and set again from one."""

import io
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import gradio as gr
from PIL import Image

from sd.common import validation
from sd.diffusion.timesteps import SAMPLERS, SPACINGS, VARIANCES
from sd.generation.recipe import Recipe, Start
from sd.generation.registry import ModelEntry
from sd.ui import models, starters
from sd.ui.components import painter
from sd.ui.components.handlers import QUIET, guarded, language
from sd.ui.components.widgets import (
    LARGEST_SEED,
    file_drop,
    heading,
    label,
    note,
    seed_number,
    seed_row,
    slider,
    thumbnails,
)
from sd.ui.denoise import prompts
from sd.ui.denoise.grid import columns_of
from sd.ui.texts import TEXTS

BEGINNINGS = NOISE, SEEDS, PICTURE = ("noise", "seeds", "picture")
FIRST_SAMPLER, FIRST_STEPS = "dpmpp_2m", 25  # as near to the end as 50 steps of ddim, measured
FIRST_PICTURE_PERCENT = 60  # percent of T, where a picture is left at first


class SamplingForm(NamedTuple):
    """The fields of a recipe, in the order of `recipe_of`."""

    model: Any
    sampler: Any
    steps: Any
    eta: Any
    variance: Any
    spacing: Any
    clip: Any
    seed: Any
    count: Any
    begin: Any
    seed_to: Any
    share: Any
    picture: Any
    mask: Any
    prompt: Any
    classes: Any
    negative: Any
    avoided: Any
    guidance: Any
    rescale: Any
    low: Any
    high: Any
    scales: Any

    @property
    def asking(self) -> prompts.PromptForm:
        """Those of what a model is asked for, which come last."""
        return prompts.PromptForm(*self[-len(prompts.PromptForm._fields) :])


class Extras(NamedTuple):
    """What belongs to the fields but is none of them."""

    dice: gr.Button
    about: gr.HTML
    upload: gr.File
    gallery: gr.Gallery
    group: gr.Column
    shown: prompts.Shown


def recipe_of(*values: Any) -> Recipe:
    """Return the recipe of the fields' values, each checked; raise `InputError`."""
    told = SamplingForm(*values)
    begin = validation.choice("begin", told.begin, BEGINNINGS)
    more: dict[str, Any] = {}
    if begin == SEEDS:
        more["seed_to"] = validation.seed("second seed", told.seed_to)
    if begin == PICTURE:
        more["start"] = start_of(told.model, told.picture, told.share, told.mask)
    more |= prompts.asking(models.find(told.model), told.asking)
    return models.make_recipe(*values[:9], **more)


def start_of(model: Any, picture: str, share: Any, mask: Any) -> Start:
    """Return a picture at the model's own size, how far it is noised, and its mask."""
    entry = models.find(model)
    _, height, width = models.shape_of(entry)
    png = fitted(picture, models.shape_of(entry))
    return Start(png, start_time(entry, share), painter.read_mask(mask, width, height))


def start_time(entry: ModelEntry, share: Any) -> float:
    """Return t at so many percent of a model's T."""
    return round(models.timesteps(entry) * validation.real("share of T", share, 0.1, 100) / 100, 9)


@lru_cache(maxsize=16)
def fitted(picture: str, shape: tuple[int, int, int]) -> bytes:
    """Return a starter picture, or the file at a path, as PNG of a model's size."""
    from sd.common.encoding import png_bytes
    from sd.data.images import fit_picture, to_pil

    channels, height, width = shape
    image = starters.read(picture, transparency=True)
    return png_bytes(to_pil(fit_picture(image, height, width, channels, "crop")))


def mask_content(png: bytes, lang: str, mask: bytes | None = None) -> dict[str, Any]:
    """Return the mask painter's value over an embedded picture, with a recipe's mask."""
    with Image.open(io.BytesIO(png), formats=["PNG"]) as base:
        drawn = None if mask is None else painter.mask_paint(mask)
        return painter.content("mask", base, lang, drawn)


def settings_of(recipe: Recipe, keep_file: Any, lang: str) -> tuple[Any, ...]:
    """Return what every field is set to, so that `recipe_of` gives this recipe again.

    `keep_file` (bytes) -> path keeps an embedded picture.
    """
    begin, share, entry = NOISE, float(FIRST_PICTURE_PERCENT), models.find(recipe.model)
    picture, mask, seed_to = gr.skip(), None, another_seed(recipe.seed)
    if recipe.seed_to is not None and not columns_of(recipe):
        begin, seed_to = SEEDS, recipe.seed_to
    if recipe.start:
        begin, picture = PICTURE, keep_file(recipe.start.picture)
        share = round(100 * recipe.start.t / models.timesteps(entry), 9)
        mask = mask_content(recipe.start.picture, lang, recipe.start.mask)
    fields = SamplingForm(
        gr.update(value=recipe.model),
        gr.update(value=recipe.sampler),
        recipe.steps,
        recipe.eta,
        recipe.variance,
        recipe.spacing,
        recipe.clip_x0,
        recipe.seed,
        recipe.count,
        begin,
        seed_to,
        share,
        picture,
        gr.skip() if mask is None else mask,
        *prompts.settings_of(recipe, models.read_conditioning(entry)),
    )
    return tuple(fields)


def another_seed(seed: int) -> int:
    """Return a second seed beside a first one."""
    return seed + 1 if seed < LARGEST_SEED else seed - 1


def picture_of(recipe: Recipe) -> tuple[Any, Any]:
    """Return what the upload and the gallery show: nothing, where the picture came otherwise."""
    if recipe.start is None:
        return gr.skip(), gr.skip()
    return gr.update(value=None), gr.update(selected_index=None)


def choice(key: str, allowed: Sequence[str], **more: Any) -> gr.Dropdown:
    """Show a list of words, the first one chosen."""
    shown = [label(f"{key}_{word}") if f"{key}_{word}" in TEXTS["en"] else word for word in allowed]
    named = list(zip(shown, allowed, strict=True))
    settings = {"value": allowed[0], "label": label(key), "info": label(f"{key}_info")} | more
    return gr.Dropdown(named, filterable=False, **settings)


def build() -> tuple[SamplingForm, Extras]:
    """Lay out the fields in the order in which a person thinks of them."""
    with gr.Column(elem_classes="group"):
        model = gr.Dropdown([], filterable=False, label=label("model"), info=label("model_info"))
        prompt, classes, words, chips = prompts.build_prompt()
        sampler = choice("sampler", SAMPLERS, value=FIRST_SAMPLER, elem_id="denoise-sampler")
        about = gr.HTML(elem_classes="note about-sampler")
        steps = slider("sample_steps", 1, models.CAPS.steps, FIRST_STEPS, elem_id="denoise-steps")
        count = slider("count", 1, models.CAPS.count, 4, elem_id="denoise-count")
        seed, dice = seed_row("sample_seed_info")
        guidance, both = prompts.build_guidance()
    more = gr.Accordion(label("more"), open=False, elem_classes="fold")
    with more, gr.Column(elem_classes="group"):
        of_ddim: dict[str, Any] = {"visible": False, "elem_id": "denoise-eta"}
        eta = slider("eta", 0, 1, 0, step=0.05, precision=None, **of_ddim)
        variance = choice("variance", VARIANCES, visible=False)
        spacing = choice("spacing", SPACINGS, elem_id="denoise-spacing")
        clip = gr.Checkbox(True, label=label("clip"), info=label("clip_info"))
        negative, avoided, *course = prompts.build_more()
    begin, seed_to, share, picture, mask, upload, gallery, group = build_beginning()
    fold, scales, grid = prompts.build_grid()
    fields = SamplingForm(
        *(model, sampler, steps, eta, variance, spacing, clip, seed, count),
        *(begin, seed_to, share, picture, mask),
        *(prompt, classes, negative, avoided, guidance, *course, scales),
    )
    shown = prompts.Shown(words, chips, both, fold, grid)
    return fields, Extras(dice, about, upload, gallery, group, shown)


def build_beginning() -> tuple[Any, ...]:
    """Lay out where a sampling begins: noise, noises between two seeds, or a picture."""
    picture = gr.State(starters.NAMES[0])
    with gr.Accordion(label("begin"), open=False, elem_classes="fold", elem_id="denoise-begin"):
        begin = gr.Radio(
            [(label(f"begin_{word}"), word) for word in BEGINNINGS],
            value=NOISE,
            label=label("begin"),
            show_label=False,
            info=label("begin_info"),
            elem_classes="switch",
        )
        seed_to = seed_number("seed_to", 1, visible=False, elem_id="denoise-seed-to")
        with gr.Column(visible=False, elem_classes="group") as group:
            heading("begin_picture")
            upload = file_drop("begin_picture", "single")
            gallery = thumbnails("begin_starters", "denoise-starters", elem_classes="thumbs")
            share = slider("share", 1, 100, FIRST_PICTURE_PERCENT, step=0.1, precision=None)
            heading("mask")
            note("mask_info")
            mask = painter.painter("mask", "denoise-mask")
    return begin, seed_to, share, picture, mask, upload, gallery, group


@guarded
def choose_starter(event: gr.SelectData) -> tuple[str, None]:
    """Take a starter picture to begin from; return it and an emptied upload."""
    return starters.NAMES[
        validation.whole("picture", event.index, 0, len(starters.NAMES) - 1)
    ], None


@guarded
def choose_upload(file: Any, picture: str) -> tuple[str, Any]:
    """Take an uploaded picture if it can be read; without one, keep what is there."""
    if file is None:
        return picture, gr.skip()
    starters.read(file)
    return file, gr.update(selected_index=None)


@guarded
def choose_begin(begin: Any) -> tuple[Any, Any]:
    """Show what belongs to a beginning: the second seed, or the picture with its mask."""
    begin = validation.choice("begin", begin, BEGINNINGS)
    return gr.update(visible=begin == SEEDS), gr.update(visible=begin == PICTURE)


@guarded
def second_seed(begin: Any, seed: Any, seed_to: Any) -> Any:
    """Return another second seed where two seeds would begin as twice the same."""
    if begin != SEEDS or seed != seed_to:
        return gr.skip()
    return another_seed(validation.seed("seed", seed))


@guarded
def lay_mask(request: gr.Request, begin: Any, model: Any, picture: str) -> Any:
    """Return the mask's painter over the start picture at the model's size, without a mask."""
    if begin != PICTURE:
        return gr.skip()
    png = fitted(picture, models.shape_of(models.find(model)))
    return mask_content(png, language(request))


def wire(asked: SamplingForm, extras: Extras) -> None:
    """Wire where a sampling begins and what is asked for: what is shown, what lies under masks."""
    prompts.wire(asked.model, asked.asking, extras.shown)
    picture, laid = asked.picture, [asked.begin, asked.model, asked.picture]
    shown = [asked.seed_to, extras.group]
    asked.begin.change(choose_begin, asked.begin, shown, **QUIET)
    seeds = [asked.begin, asked.seed, asked.seed_to]
    asked.begin.input(second_seed, seeds, asked.seed_to, **QUIET)
    for field in (asked.begin, asked.model):
        field.input(lay_mask, laid, asked.mask, **QUIET)
    for event in (
        extras.gallery.select(choose_starter, None, [picture, extras.upload], **QUIET),
        extras.upload.upload(
            choose_upload, [extras.upload, picture], [picture, extras.gallery], **QUIET
        ),
    ):
        event.success(lay_mask, laid, asked.mask, **QUIET)
