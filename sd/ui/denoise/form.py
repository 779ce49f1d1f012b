"""The settings of a sampling: laid out, read as a recipe, and set again from one."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import gradio as gr
from PIL import Image

from sd.common import validation
from sd.common.validation import InputError
from sd.diffusion.timesteps import SAMPLERS, SPACINGS, VARIANCES
from sd.generation.recipe import Recipe, Start
from sd.generation.registry import ModelEntry
from sd.ui import models, starters
from sd.ui.components import painter
from sd.ui.components.events import Updates, by_name
from sd.ui.components.handlers import QUIET, guarded, language
from sd.ui.components.player import store_chunk
from sd.ui.components.widgets import (
    dropdown,
    file_drop,
    heading,
    label,
    labels,
    new_seed,
    note,
    seed_number,
    seed_row,
    slider,
    thumbnails,
)
from sd.ui.denoise import prompts
from sd.ui.denoise.grid import columns_of
from sd.ui.denoise.prompts import PromptForm, PromptParts
from sd.ui.texts import TEXTS, say

BEGINNINGS = NOISE, SEEDS, PICTURE = ("noise", "seeds", "picture")
FIRST_SAMPLER, FIRST_STEPS = "dpmpp_2m", 25  # as near to the end as 50 steps of ddim, measured
FIRST_PICTURE_PERCENT = 60  # percent of T, where a picture is left at first


@dataclass(frozen=True, kw_only=True)
class SamplingForm(PromptForm):
    """What the fields of a sampling hold, as they were sent; `to_recipe` checks them.

    share: percent of T at which a picture is left. picture: a starter's name or a file.
    """

    model: str
    sampler: str
    steps: int
    eta: float
    variance: str
    spacing: str
    clip: bool
    seed: int
    count: int
    begin: str
    seed_to: int
    share: float
    picture: str
    mask: Mapping[str, Any] | None

    @classmethod
    def from_recipe(cls, recipe: Recipe, lang: str) -> "SamplingForm":
        """Return what the fields hold, so that `to_recipe` gives this recipe again."""
        begin, entry, seed_to = NOISE, models.find(recipe.model), another_seed(recipe.seed)
        share, picture, mask = float(FIRST_PICTURE_PERCENT), starters.NAMES[0], None
        if recipe.seed_to is not None and not columns_of(recipe):
            begin, seed_to = SEEDS, recipe.seed_to
        if recipe.start:
            begin, picture = PICTURE, store_chunk(recipe.start.picture)
            share = round(100 * recipe.start.t / models.timesteps(entry), 9)
            mask = mask_content(recipe.start.picture, lang, recipe.start.mask)
        return cls(
            model=recipe.model,
            sampler=recipe.sampler,
            steps=recipe.steps,
            eta=recipe.eta,
            variance=recipe.variance,
            spacing=recipe.spacing,
            clip=recipe.clip_x0,
            seed=recipe.seed,
            count=recipe.count,
            begin=begin,
            seed_to=seed_to,
            share=share,
            picture=picture,
            mask=mask,
            **vars(prompts.form_of(recipe, models.read_conditioning(entry))),
        )

    def to_recipe(self) -> Recipe:
        """Return the recipe of these fields, each checked; raise `InputError`."""
        begin = validation.choice("begin", self.begin, BEGINNINGS)
        entry = models.find(self.model)
        seed_to = validation.seed("second seed", self.seed_to) if begin == SEEDS else None
        return models.make_recipe(
            model=self.model,
            sampler=self.sampler,
            steps=self.steps,
            eta=self.eta,
            variance=self.variance,
            spacing=self.spacing,
            clip_x0=self.clip,
            seed=self.seed,
            count=self.count,
            seed_to=seed_to,
            start=self._start(entry) if begin == PICTURE else None,
            **self.settings(entry),
        )

    def _start(self, entry: ModelEntry) -> Start:
        """Return the picture at the model's own size, how far it is noised, and its mask."""
        shape = models.shape_of(entry)
        mask = painter.read_mask(self.mask, width=shape[2], height=shape[1])
        return Start(fit_png(self.picture, shape), start_time(entry, self.share), mask)


class FormParts(NamedTuple):
    """The fields of `SamplingForm` by name, and what belongs to them."""

    fields: dict[str, Any]
    dice: gr.Button
    about: gr.HTML
    upload: gr.File
    gallery: gr.Gallery
    group: gr.Column
    prompts: PromptParts

    @property
    def controls(self) -> dict[str, Any]:
        """What a recipe sets: see `updates_of`."""
        return {**self.fields, "upload": self.upload, "gallery": self.gallery}


def updates_of(recipe: Recipe, lang: str) -> Updates:
    """Set every field to what made a recipe.

    What would be begun from stays in sight, unless the recipe has a picture of its own.
    """
    updates: Updates = dict(vars(SamplingForm.from_recipe(recipe, lang)))
    names = prompts.listed_classes(models.read_conditioning(models.find(recipe.model)))
    if names:
        for name in ("classes", "avoided"):
            updates[name] = gr.update(choices=names, value=updates[name])
    if recipe.start is None:
        del updates["picture"], updates["mask"]
        return updates
    return {**updates, "upload": None, "gallery": gr.update(selected_index=None)}


def start_time(entry: ModelEntry, share: float) -> float:
    """Return t at so many percent of a model's T."""
    return round(models.timesteps(entry) * validation.real("share of T", share, 0.1, 100) / 100, 9)


@lru_cache(maxsize=16)
def fit_png(picture: str, shape: tuple[int, int, int]) -> bytes:
    """Return a starter picture, or the file at a path, as PNG of a model's size."""
    from sd.common.encoding import png_bytes
    from sd.data.images import fit_picture, to_pil

    channels, height, width = shape
    image = starters.read(picture, transparency=True)
    return png_bytes(to_pil(fit_picture(image, height, width, channels, "crop")))


def mask_content(png: bytes, lang: str, mask: bytes | None = None) -> dict[str, Any]:
    """Return the mask painter's value over an embedded picture, with a recipe's mask."""
    with Image.open(io.BytesIO(png), formats=["PNG"]) as base:
        paint = None if mask is None else painter.mask_paint(mask)
        return painter.content("mask", base, lang, paint)


def another_seed(seed: int) -> int:
    """Return a second seed beside a first one."""
    return seed + 1 if seed < validation.LARGEST_SEED else seed - 1


# ---- laid out


def choice(key: str, allowed: Sequence[str], **more: Any) -> gr.Dropdown:
    """Show a list of words, the first one chosen."""
    shown = [label(f"{key}_{word}") if f"{key}_{word}" in TEXTS["en"] else word for word in allowed]
    named = list(zip(shown, allowed, strict=True))
    return dropdown(key, named, **{"value": allowed[0]} | more)


def build(model: gr.HTML) -> FormParts:
    """Lay out the fields of the page's model in the order in which a person thinks of them."""
    with gr.Column(elem_classes="group"):
        prompt, classes, unseen, examples = prompts.build_prompt()
        sampler = choice("sampler", SAMPLERS, value=FIRST_SAMPLER, elem_id="denoise-sampler")
        about = gr.HTML(elem_classes="note about-sampler")
        steps = slider("sample_steps", 1, models.CAPS.steps, FIRST_STEPS, elem_id="denoise-steps")
        count = slider("count", 1, models.CAPS.count, 4, elem_id="denoise-count")
        seed, dice = seed_row("sample_seed_info")
        guidance, cost = prompts.build_guidance()
    more = gr.Accordion(label("more"), open=False, elem_classes="fold")
    with more, gr.Column(elem_classes="group"):
        of_ddim: dict[str, Any] = {"visible": False, "elem_id": "denoise-eta"}
        eta = slider("eta", 0, 1, 0, step=0.05, precision=None, **of_ddim)
        variance = choice("variance", VARIANCES, visible=False)
        spacing = choice("spacing", SPACINGS, elem_id="denoise-spacing")
        clip = gr.Checkbox(True, **labels("clip"))
        rare = prompts.build_more()
    beginning, upload, gallery, group = build_beginning()
    words = {"prompt": prompt, "classes": classes, "guidance": guidance, **rare}
    fields = {"model": model, "sampler": sampler, "steps": steps, "eta": eta}
    fields |= {"variance": variance, "spacing": spacing, "clip": clip, "seed": seed, "count": count}
    prompting = PromptParts(words, unseen, examples, cost)
    return FormParts(fields | beginning | words, dice, about, upload, gallery, group, prompting)


def build_beginning() -> tuple[dict[str, Any], gr.File, gr.Gallery, gr.Column]:
    """Lay out where a sampling begins: noise, noises between two seeds, or a picture."""
    picture = gr.State(starters.NAMES[0])
    with gr.Accordion(label("begin"), open=False, elem_classes="fold", elem_id="denoise-begin"):
        begin = gr.Radio(
            [(label(f"begin_{word}"), word) for word in BEGINNINGS],
            value=NOISE,
            **labels("begin"),
            show_label=False,
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
            mask = painter.painter("denoise-mask")
    fields = {"begin": begin, "seed_to": seed_to, "share": share, "picture": picture, "mask": mask}
    return fields, upload, gallery, group


# ---- what the fields change among themselves


@guarded
def choose_starter(event: gr.SelectData) -> Updates:
    """Take a starter picture to begin from, and empty the upload."""
    index = validation.whole("picture", event.index, 0, len(starters.NAMES) - 1)
    return {"picture": starters.NAMES[index], "upload": None}


@guarded
def choose_upload(upload: str | None) -> Updates:
    """Take an uploaded picture if it can be read; without one, keep what is there."""
    if upload is None:
        return {}
    starters.read(upload)
    return {"picture": upload, "gallery": gr.update(selected_index=None)}


@guarded
def choose_begin(begin: str) -> Updates:
    """Show what belongs to a beginning: the second seed, or the picture with its mask."""
    begin = validation.choice("begin", begin, BEGINNINGS)
    return {
        "seed_to": gr.update(visible=begin == SEEDS),
        "group": gr.update(visible=begin == PICTURE),
    }


@guarded
def separate_seeds(begin: str, seed: int, seed_to: int) -> Updates:
    """Set another second seed where two seeds would begin as twice the same."""
    if begin != SEEDS or seed != seed_to:
        return {}
    return {"seed_to": another_seed(validation.seed("seed", seed))}


@guarded
def show_mask(request: gr.Request, begin: str, model: str, picture: str) -> Updates:
    """Lay an empty mask over the start picture at the model's size."""
    if begin != PICTURE:
        return {}
    png = fit_png(picture, models.shape_of(models.find(model)))
    return {"mask": mask_content(png, language(request))}


@guarded
def show_sampler(
    request: gr.Request,
    model: str,
    sampler: str,
    steps: int,
    spacing: str,
    begin: str,
    share: float,
) -> Updates:
    """Show eta and variance where they count, and say what a sampler is and costs."""
    sampler = validation.choice("sampler", sampler, SAMPLERS)
    steps = validation.whole("steps", steps, 1, models.CAPS.steps)
    entry, lang = models.find(model), language(request)
    start = start_time(entry, share) if begin == PICTURE else None
    calls = models.network_calls(entry, sampler, steps, spacing, start)
    return {
        "eta": gr.update(visible=sampler == "ddim"),
        "variance": gr.update(visible=sampler == "ddpm"),
        "about": f"{say(f'about_{sampler}', lang)} {say('sampler_calls', lang, calls=calls)}",
    }


def command_line(**fields: Any) -> str:
    """Return the command line of the fields; nothing while a field is being typed."""
    try:
        return models.sample_command(SamplingForm(**fields).to_recipe())
    except InputError:
        return ""


def wire(demo: gr.Blocks, parts: FormParts, command: gr.HTML) -> None:
    """Wire the fields."""
    prompts.wire(parts.fields["model"], parts.prompts)
    parts.dice.click(new_seed, None, parts.fields["seed"], **QUIET)
    wire_sampler(parts)
    wire_beginning(parts)
    line: dict[str, Any] = {"fn": command_line, "inputs_kwargs": parts.fields, "outputs": command}
    for name, field in parts.fields.items():
        if name not in ("picture", "mask"):
            field.change(**line, trigger_mode="always_last", **QUIET)
    demo.load(starters.thumbnails, None, parts.gallery, **QUIET)


def wire_sampler(parts: FormParts) -> None:
    """Wire what follows from the choice of a sampler."""
    names = ("model", "sampler", "steps", "spacing", "begin", "share")
    inputs = {name: parts.fields[name] for name in names}
    outputs = {name: parts.fields[name] for name in ("eta", "variance")}
    event = by_name(show_sampler, inputs, {**outputs, "about": parts.about})
    for field in inputs.values():
        field.change(**event, trigger_mode="always_last", **QUIET)


def wire_beginning(parts: FormParts) -> None:
    """Wire where a sampling begins: what is shown, and what lies under the mask."""
    begin, model, picture, seed, seed_to, mask = (
        {name: parts.fields[name]}
        for name in ("begin", "model", "picture", "seed", "seed_to", "mask")
    )
    field, gallery, upload = parts.fields["begin"], parts.gallery, parts.upload
    field.change(**by_name(choose_begin, begin, {**seed_to, "group": parts.group}), **QUIET)
    field.input(**by_name(separate_seeds, begin | seed | seed_to, seed_to), **QUIET)
    masked = by_name(show_mask, begin | model | picture, mask)
    for each in (field, parts.fields["model"]):
        each.input(**masked, **QUIET)
    started = by_name(choose_starter, {}, {**picture, "upload": upload})
    gallery.select(**started, **QUIET).success(**masked, **QUIET)
    uploaded = by_name(choose_upload, {"upload": upload}, {**picture, "gallery": gallery})
    upload.upload(**uploaded, **QUIET).success(**masked, **QUIET)
