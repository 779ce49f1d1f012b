"""The settings of a sampling: laid out, read as a recipe, and set again from one.

What is asked for stands in the bar (`prompts`), all else in one form that opens over the stage, and
with it the picture to begin from and its mask.
"""

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
from sd.generation.recipe import Recipe, Start, parse_size
from sd.generation.registry import ModelEntry
from sd.ui import models, starters
from sd.ui.components import painter
from sd.ui.components.events import Updates, by_name
from sd.ui.components.fields import (
    CHOICE,
    FLAG,
    NUMBER,
    RANGE,
    SEED,
    SWITCH,
    TEXT,
    Field,
    Values,
    patch,
)
from sd.ui.components.fields import form as fields_form
from sd.ui.components.handlers import (
    ALWAYS,
    MEASURE,
    QUIET,
    event_value,
    guarded,
    language,
)
from sd.ui.components.player import store_chunk
from sd.ui.components.widgets import file_drop
from sd.ui.denoise import prompts, published
from sd.ui.denoise.grid import MOST_GUIDANCE, columns_of, has_prompt
from sd.ui.denoise.prompts import asked_of, prompt_form, read_asked
from sd.ui.denoise.samplers import (
    FIRST_COUNT,
    FIRST_GUIDANCE,
    FIRST_SAMPLER,
    FIRST_STEPS,
    SAMPLER_CHOICES,
)
from sd.ui.texts import TEXTS, say

BEGINNINGS = NOISE, SEEDS, PICTURE = ("noise", "seeds", "picture")
FIRST_PICTURE_PERCENT = 60.0  # percent of T, where a picture is left at first
MASK_ID = "denoise-mask"
LONGEST_SIZE = 20  # characters


def choice(key: str, allowed: Sequence[str], value: str, **more: Any) -> Field:
    """Return a field of words, which are texts where there are any of them."""
    texts = [(f"{key}_{word}", word) for word in allowed]
    named = [(text if text in TEXTS["en"] else word, word) for text, word in texts]
    about: dict[str, Any] = {"name": key, "kind": CHOICE, "label": key, "info": f"{key}_info"}
    return Field(**about | {"value": value, "choices": named} | more)


def share_of(name: str, value: float, **more: Any) -> Field:
    """Return a field of a number from 0 to 1."""
    about: dict[str, Any] = {"name": name, "kind": RANGE, "label": name, "info": f"{name}_info"}
    return Field(**about | {"value": value, "low": 0, "high": 1, "step": 0.05} | more)


FIELDS = (
    Field(
        name="steps",
        kind=RANGE,
        value=FIRST_STEPS,
        label="sample_steps",
        info="sample_steps_info",
        low=1,
        high=models.CAPS.steps,
    ),
    choice("sampler", SAMPLERS, FIRST_SAMPLER, choices=SAMPLER_CHOICES),
    Field(
        name="guidance",
        kind=RANGE,
        value=FIRST_GUIDANCE,
        label="guidance",
        info="guidance_info",
        low=0,
        high=MOST_GUIDANCE,
        step=0.25,
    ),
    Field(
        name="count",
        kind=RANGE,
        value=FIRST_COUNT,
        label="count",
        info="count_info",
        low=1,
        high=models.CAPS.count,
    ),
    Field(name="size", kind=TEXT, value="", label="size", info="size_info", longest=LONGEST_SIZE),
    Field(name="negative", kind=TEXT, value="", label="negative", info="negative_info"),
    choice("spacing", SPACINGS, SPACINGS[0]),
    share_of("eta", 0.0, when=("sampler", ("ddim",))),
    choice("variance", VARIANCES, VARIANCES[0], when=("sampler", ("ddpm",))),
    Field(name="clip", kind=FLAG, value=True, label="clip", info="clip_info"),
    share_of("rescale", 0.0),
    share_of("low", 0.0, label="interval_low", info="interval_low_info"),
    share_of("high", 1.0, label="interval_high", info="interval_high_info"),
    Field(
        name="begin",
        kind=SWITCH,
        value=NOISE,
        label="begin",
        info="begin_info",
        choices=[(f"begin_{word}", word) for word in BEGINNINGS],
    ),
    Field(
        name="seed_to",
        kind=SEED,
        value=1,
        label="seed_to",
        info="seed_to_info",
        when=("begin", (SEEDS,)),
    ),
    Field(
        name="share",
        kind=NUMBER,
        value=FIRST_PICTURE_PERCENT,
        label="share",
        info="share_info",
        low=0.1,
        high=100,
        step=0.1,
        when=("begin", (PICTURE,)),
    ),
)
FIRST: Values = {field.name: field.value for field in FIELDS}


@dataclass(frozen=True, kw_only=True)
class SamplingForm:
    """What bar and fields of a sampling hold, as they were sent; `to_recipe` checks them.

    asked: prompts and seed. held: name -> value of `FIELDS`, `share` the percent of T at which a
    picture is left. picture: a starter's name or a file.
    """

    model: str
    asked: Values
    held: Values
    picture: str
    mask: Mapping[str, Any] | None

    @classmethod
    def from_recipe(cls, recipe: Recipe, lang: str) -> "SamplingForm":
        """Return what the fields hold, so that `to_recipe` gives this recipe again."""
        entry, picture, mask = models.find(recipe.model), starters.NAMES[0], None
        held = {
            **FIRST,
            "sampler": recipe.sampler,
            "steps": recipe.steps,
            "eta": recipe.eta,
            "variance": recipe.variance,
            "spacing": recipe.spacing,
            "clip": recipe.clip_x0,
            "count": recipe.count,
            "seed_to": another_seed(recipe.seed),
            "size": "{}x{}".format(*recipe.size) if recipe.size else "",
        }
        if has_prompt(recipe):
            low, high = recipe.interval
            names = models.caption_names(recipe.model, lang)
            negative = names.get(recipe.negative, recipe.negative)
            more = {"negative": negative, "guidance": recipe.guidance[0]}
            held |= {**more, "rescale": recipe.rescale, "low": low, "high": high}
        if recipe.seed_to is not None and not columns_of(recipe):
            held |= {"begin": SEEDS, "seed_to": recipe.seed_to}
        if recipe.start:
            picture = store_chunk(recipe.start.picture)
            share = round(100 * recipe.start.t / models.timesteps(entry), 9)
            held |= {"begin": PICTURE, "share": share}
            mask = mask_content(recipe.start.picture, lang, recipe.start.mask)
        return cls(
            model=recipe.model, asked=asked_of(recipe), held=held, picture=picture, mask=mask
        )

    def to_recipe(self) -> Recipe:
        """Return the recipe of these fields, each checked; raise `InputError`.

        A picture for each prompt at least.
        """
        held, entry = self.held, models.find(self.model)
        asked = read_asked("prompts", self.asked)
        begin = validation.choice("begin", held["begin"], BEGINNINGS)
        wishes = prompt_form(models.read_conditioning(entry), asked, held).settings(entry)
        seed_to = validation.seed("second seed", held["seed_to"]) if begin == SEEDS else None
        count = validation.whole("count", held["count"], 1, models.CAPS.count)
        return models.make_recipe(
            model=self.model,
            sampler=held["sampler"],
            steps=held["steps"],
            eta=held["eta"],
            variance=held["variance"],
            spacing=held["spacing"],
            clip_x0=held["clip"],
            seed=asked["seed"],
            count=max(count, len(wishes.get("prompts", ()))),
            seed_to=seed_to,
            size=read_size(held),
            start=self._start(entry) if begin == PICTURE else None,
            **wishes,
        )

    def _start(self, entry: ModelEntry) -> Start:
        """Return the picture at the model's own size, how far it is noised, and its mask."""
        shape = drawn_shape(entry, self.held)
        mask = painter.read_mask(self.mask, width=shape[2], height=shape[1])
        return Start(fit_png(self.picture, shape), start_time(entry, self.held["share"]), mask)


class FormParts(NamedTuple):
    """The fields of `SamplingForm` by name, and what belongs to them."""

    fields: dict[str, Any]
    about: gr.HTML
    upload: gr.File
    starters: gr.HTML

    @property
    def controls(self) -> dict[str, Any]:
        """What a recipe sets: see `updates_of`."""
        return {**self.fields, "upload": self.upload, "starters": self.starters}


def updates_of(recipe: Recipe, lang: str) -> Updates:
    """Set every field to what made a recipe.

    What would be begun from stays in sight, unless the recipe has a picture of its own.
    """
    found = SamplingForm.from_recipe(recipe, lang)
    updates: Updates = {
        "model": found.model,
        "asked": {"patch": found.asked},
        "held": patch(found.held),
    }
    if recipe.start is None:
        return updates
    begun = {"picture": found.picture, "mask": found.mask}
    return {**updates, **begun, "upload": None, "starters": starters.NONE_CHOSEN}


def first_updates(recipe: Recipe, offered: Mapping[str, Any], lang: str) -> Updates:
    """Set what a recipe has other than the fields begin with, and what a model is `offered`.

    What an address kept stays, and so does the page's model.
    """
    found = SamplingForm.from_recipe(recipe, lang)
    changed = {name: value for name, value in found.held.items() if value != FIRST[name]}
    known = offered["asked"]["patch"] if offered else {}
    shown = offered["held"]["patch"]["shown"] if offered else {}
    return {
        "asked": {"patch": {**found.asked, **known, "first": True}},
        "held": patch(changed, shown=shown),
    }


def read_size(held: Values) -> tuple[int, int] | None:
    """Return the (height, width) that is asked for; None for the model's own."""
    words = validation.text("size", held.get("size", ""), LONGEST_SIZE)
    return parse_size("size", words) if words.strip() else None


def drawn_shape(entry: ModelEntry, held: Values) -> tuple[int, int, int]:
    """Return the shape (C, H, W) of what is drawn; raise `InputError` for no size."""
    channels, *own = models.shape_of(entry)
    height, width = read_size(held) or own
    return channels, height, width


def size_words(entry: ModelEntry, held: Values, lang: str) -> str:
    """Return what a size takes that was never trained; "" for the model's own, or while typed."""
    try:
        size, cost = read_size(held), models.cost_of(entry)
        times = cost.resized(size).operations() / cost.operations()
    except InputError:
        return ""
    own = models.shape_of(entry)[1:]
    if size in (None, own):
        return ""
    return say("size_price", lang, times=f"{times:.2g}", size="{}x{}".format(*own))


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


def build_bar(model: gr.HTML) -> dict[str, Any]:
    """Lay out the bar; return it with the page's model."""
    return {"model": model, "asked": prompts.prompt_bar(FIRST)}


def build(bar: dict[str, Any]) -> FormParts:
    """Lay out the fields, which open over the stage, below the `bar`."""
    picture = gr.State(starters.NAMES[0])
    with gr.Column(elem_id="denoise-form"):
        held = fields_form(FIELDS, "denoise-settings")
        with gr.Column(elem_classes="begin-picture"):
            upload = file_drop("begin_picture", "single")
            row = starters.starter_row("denoise-starters")
            mask = painter.painter(MASK_ID)
        about = gr.HTML(elem_classes="note about-sampler")
    return FormParts({**bar, "held": held, "picture": picture, "mask": mask}, about, upload, row)


# ---- what the fields change among themselves


@guarded
def choose_upload(upload: str | None) -> Updates:
    """Take an uploaded picture if it can be read; without one, keep what is there."""
    if upload is None:
        return {}
    starters.read(upload)
    return {"picture": upload, "starters": starters.NONE_CHOSEN}


@guarded
def react(
    request: gr.Request, model: str, asked: Values, held: Values, picture: str, event: gr.EventData
) -> Updates:
    """Follow what a person changed: two seeds are two, and a picture gets an empty mask."""
    name = event_value(event, "name")
    if name == "size" and not size_words(models.find(model), held, language(request)):
        return {}
    if name not in ("begin", "size"):
        return {}
    if held["begin"] == SEEDS and held["seed_to"] == asked["seed"]:
        return {"held": patch({"seed_to": another_seed(asked["seed"])}, seen=held)}
    return show_mask(request, held, model, picture) if held["begin"] == PICTURE else {}


@guarded
def show_mask(request: gr.Request, held: Values, model: str, picture: str) -> Updates:
    """Lay an empty mask over the start picture at the model's size."""
    if held["begin"] != PICTURE:
        return {}
    png = fit_png(picture, drawn_shape(models.find(model), held))
    return {"mask": mask_content(png, language(request))}


@guarded
def tell(request: gr.Request, model: str, asked: Values, held: Values, **begun: Any) -> Updates:
    """Tell what a sampler is and costs, what of the prompts is unknown, and the command line."""
    if isinstance(model, models.FirstModel):  # it is told again for the one that is chosen
        return {}
    entry, lang = models.find(model), language(request)
    start = start_time(entry, held["share"]) if held["begin"] == PICTURE else None
    calls = models.network_calls(entry, held["sampler"], held["steps"], held["spacing"], start)
    sampler = held["sampler"]
    about = f"{say(f'about_{sampler}', lang)} {say('sampler_calls', lang, calls=calls)}"
    about = f"{about} {size_words(entry, held, lang)}".rstrip()
    recipe = recipe_of(model=model, asked=asked, held=held, **begun)
    return {
        "about": about,
        "command": models.sample_command(recipe) if recipe else "",
        **prompts.describe(request, model, asked, held, recipe),
    }


@guarded
def tell_price(request: gr.Request, **fields: Any) -> Updates:
    """Tell how long a drawing with a published model takes here, measured where that is unknown."""
    price = published.price_said(recipe_of(**fields), language(request))
    return {"asked": gr.update(price=price)}


def recipe_of(**fields: Any) -> Recipe | None:
    """Return the recipe of the fields; None while a field is being typed."""
    try:
        return SamplingForm(**fields).to_recipe()
    except InputError:
        return None


def wire(parts: FormParts, command: gr.HTML) -> None:
    """Wire the fields: what follows from the model, from each other, and the command line."""
    model, asked, held, picture, mask = (
        {name: parts.fields[name]} for name in ("model", "asked", "held", "picture", "mask")
    )
    shown = by_name(prompts.show_words, model, asked | held)
    parts.fields["model"].change(**shown, **QUIET)
    filled = by_name(prompts.prefill, model | asked | held, asked | held)
    masked = by_name(show_mask, model | held | picture, mask)
    latest = {"trigger_mode": "always_last"}
    parts.fields["model"].input(**filled, **latest, **QUIET).success(**masked, **QUIET)
    outputs = {"about": parts.about, "command": command, **asked}
    told = by_name(tell, parts.fields, outputs) | latest | QUIET
    gr.on([parts.fields["asked"].edit, parts.fields["held"].change], **told)
    parts.fields["asked"].measure(**by_name(tell_price, parts.fields, asked) | latest | MEASURE)
    js = "(held) => sdPrompt.set(held)"
    parts.fields["held"].change(None, parts.fields["held"], None, js=js, **QUIET)
    reacted = by_name(react, model | asked | held | picture, held | mask)
    parts.fields["held"].input(**reacted, **QUIET, **ALWAYS)
    started = by_name(starters.choose_starter, {}, {**picture, "upload": parts.upload})
    parts.starters.select(**started, **QUIET, **ALWAYS).success(**masked, **QUIET)
    uploaded = by_name(
        choose_upload, {"upload": parts.upload}, picture | {"starters": parts.starters}
    )
    parts.upload.upload(**uploaded, **QUIET).success(**masked, **QUIET)
    parts.starters.load(
        **by_name(starters.show_starters, {}, {"starters": parts.starters}), **QUIET
    )
