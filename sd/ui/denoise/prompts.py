"""What a model is prompted with: classes or captions, how strongly, and a grid of both.

The fields are there for every model, and shown for those that are conditioned.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import gradio as gr
from markupsafe import Markup

from sd.common import validation
from sd.common.validation import InputError, shown
from sd.generation.recipe import Recipe
from sd.generation.registry import ModelEntry
from sd.networks.conditioning_metadata import default_guidance
from sd.ui import models
from sd.ui.adapter.checks import LONGEST_TEXT, LONGEST_WORD
from sd.ui.components.events import Updates, by_name
from sd.ui.components.handlers import QUIET, event_value, guarded, language
from sd.ui.components.html import paragraph, pressed, tags
from sd.ui.components.widgets import labels, slider
from sd.ui.denoise.grid import MOST_GUIDANCE, columns_of, has_prompt, shorten
from sd.ui.model_metadata import ConditioningMetadata
from sd.ui.texts import say

MOST_PROMPTS = models.CAPS.count
FIRST_GUIDANCE = 2.0
MOST_LISTED = 1000  # classes; those beyond are reached by name, over the API
MOST_NAMED, LONGEST_CHIP = 12, 60  # unseen words in a line; characters of an example
MOST_SHOWN = 6  # examples


@dataclass(frozen=True, kw_only=True)
class PromptForm:
    """What the fields hold; `classes` and `avoided` are those of a model of classes."""

    prompt: str | None = ""
    classes: Sequence[str] | None = ()
    negative: str | None = ""
    avoided: str | None = None
    guidance: float = FIRST_GUIDANCE
    rescale: float = 0.0
    low: float = 0.0
    high: float = 1.0

    def settings(self, entry: ModelEntry) -> dict[str, Any]:
        """Return what a recipe says of prompts and guidance.

        Nothing for an unconditional model, and nothing without a prompt: there guidance would only
        cost. Guidance is 1 where the model has no unconditional half, see `lacks_uncond`.
        """
        prompts, negative = self.prompts(models.read_conditioning(entry))
        if not prompts and not negative:
            return {}
        scale = validation.real("guidance", self.guidance, 0, MOST_GUIDANCE)
        return {
            "prompts": prompts,
            "negative": negative,
            "guidance": (1.0 if lacks_uncond(entry, negative) else scale,),
            "rescale": self.rescale,
            "interval": (self.low, self.high),
        }

    def prompts(self, conditioning: ConditioningMetadata | None) -> tuple[tuple[str, ...], str]:
        """Return the prompts or classes, and the negative one."""
        typed, negative = lines_of(self.prompt), " ".join(lines_of(self.negative))
        chosen = class_names(self.classes)
        avoided = class_names([self.avoided] if self.avoided else None)
        if conditioning is None:
            return (), ""
        if not conditioning.labels:
            return typed, negative
        return tuple(check_class(conditioning, name) for name in chosen), "".join(
            check_class(conditioning, name) for name in avoided
        )


class PromptParts(NamedTuple):
    """The fields of `PromptForm` by name, and what belongs to them."""

    fields: dict[str, Any]
    unseen: gr.HTML
    examples: gr.HTML
    cost: gr.HTML


# ---- read, and set again from a recipe


def lacks_uncond(entry: ModelEntry, negative: str) -> bool:
    """Tell whether guidance would lead away from what a model never learned: no condition."""
    return not negative and not models.config_of(entry).conditioning.drop


def plain_settings(
    entry: ModelEntry,
    prompt: str | None,
    negative: str | None,
    guidance: float,
    unconditional: bool = False,
) -> dict[str, Any]:
    """Return what a recipe says, from plain texts: classes are written like prompts.

    Without a prompt it is that of the model's own samples, unless `unconditional`.
    """
    conditioning, words = models.read_conditioning(entry), lines_of(prompt)
    negatives = lines_of(negative)
    if conditioning is None and (words or negatives):
        first = shown((words or negatives)[0])
        raise InputError(f"prompt = {first}: {entry.name} was trained without words or classes")
    if validation.flag("unconditional", unconditional):
        if words:
            raise InputError(f"prompt = {shown(words[0])}: unconditional asks for nothing")
    else:
        words = words or models.default_prompts(entry)
    if conditioning is None or not conditioning.labels:
        form = PromptForm(prompt="\n".join(words), negative=negative, guidance=guidance)
    else:
        avoided = " ".join(negatives) or None
        form = PromptForm(classes=words, avoided=avoided, guidance=guidance)
    return form.settings(entry)


def lines_of(value: str | None) -> tuple[str, ...]:
    """Return the lines of a text that are not empty; None is no text."""
    text = validation.text("prompt", "" if value is None else value, LONGEST_TEXT)
    found = tuple(line.strip() for line in text.split("\n") if line.strip())
    if len(found) > MOST_PROMPTS:
        raise InputError(f"prompt: {len(found)} lines; at most {MOST_PROMPTS} are allowed")
    return found


def class_names(value: Sequence[str] | None) -> tuple[str, ...]:
    """Return chosen classes; None is nothing chosen."""
    words = () if value is None else value
    if not isinstance(words, list | tuple) or len(words) > MOST_PROMPTS:
        raise InputError(f"class = {shown(value)}: must be at most {MOST_PROMPTS} of them")
    return tuple(validation.text("class", each, LONGEST_WORD) for each in words)


def check_class(conditioning: ConditioningMetadata, name: str) -> str:
    """Return the name of a class that the model knows, else suggest the nearest."""
    labels = conditioning.labels
    if name not in labels:
        few = ", ".join(labels[:MOST_NAMED]) + (", ..." if labels[MOST_NAMED:] else "")
        nearest = validation.near(name, labels[:MOST_LISTED])
        raise InputError(f"class = {shown(name)}: must be one of {few}{nearest}")
    return name


def listed_classes(conditioning: ConditioningMetadata | None) -> list[str]:
    """Return the classes that the page lists."""
    return list(conditioning.labels[:MOST_LISTED]) if conditioning else []


def form_of(recipe: Recipe, conditioning: ConditioningMetadata | None) -> PromptForm:
    """Return what the fields hold, so that `PromptForm.settings` gives this recipe's again."""
    if not has_prompt(recipe):
        return PromptForm(classes=[])
    across = columns_of(recipe)
    prompts = list(dict.fromkeys(recipe.prompts)) if across else list(recipe.prompts)
    names = listed_classes(conditioning)
    low, high = recipe.interval
    return PromptForm(
        prompt="" if names else "\n".join(prompts),
        classes=[name for name in dict.fromkeys(prompts) if name in names],
        negative="" if names else recipe.negative,
        avoided=recipe.negative if recipe.negative in names else None,
        guidance=recipe.guidance[0],
        rescale=recipe.rescale,
        low=low,
        high=high,
    )


# ---- what is said of them


@guarded
def describe(request: gr.Request, model: str, **fields: Any) -> Updates:
    """Say which words the model has never seen, and what guidance costs."""
    entry, lang, form = models.find(model), language(request), PromptForm(**fields)
    conditioning, settings = models.read_conditioning(entry), form.settings(entry)
    cost = Markup("")
    if settings and form.guidance != 1 and lacks_uncond(entry, settings["negative"]):
        cost = tags("p", [say("guidance_no_half", lang)])
    elif settings.get("guidance", (1.0,))[0] not in (0.0, 1.0):
        cost = tags("p", [say("guidance_both", lang)])
    unseen = unseen_html(conditioning, settings, lang) if conditioning else Markup("")
    return {"unseen": unseen, "cost": cost}


def unseen_html(
    conditioning: ConditioningMetadata, settings: Mapping[str, Any], lang: str
) -> Markup:
    """Return the words that training never saw, and how much is cut off, as a line."""
    vocabulary = conditioning.vocabulary
    if vocabulary is None or not settings:
        return Markup("")
    texts = [*settings["prompts"], settings["negative"]]
    unseen = dict.fromkeys(word for text in texts for word in vocabulary.unseen(text))
    longest = max(len(vocabulary.encode(text, 4096)) for text in texts)
    lines = []
    if unseen:
        named = ", ".join(list(unseen)[:MOST_NAMED]) + (", …" if len(unseen) > MOST_NAMED else "")
        lines.append(say("prompt_unseen", lang, words=named))
    if longest > conditioning.length:
        cut = longest - conditioning.length
        lines.append(say("prompt_cut", lang, n=conditioning.length, cut=cut))
    return Markup("").join(paragraph(line, "warning") for line in lines)


def examples_html(conditioning: ConditioningMetadata | None, lang: str) -> Markup:
    """Return the examples of a model as buttons; "" where it has none."""
    if conditioning is None or not conditioning.examples:
        return Markup("")
    button = Markup('<button type="button" data-index="{}" title="{}">{}</button>')
    buttons = Markup("").join(
        button.format(place, text, shorten(text, LONGEST_CHIP))
        for place, text in enumerate(conditioning.examples[:MOST_SHOWN])
    )
    line = Markup('<p class="chips"><span>{}</span>{}</p>')
    return line.format(say("prompt_examples", lang), buttons)


# ---- what follows from the model


@guarded
def show_fields(
    request: gr.Request, model: str, classes: Sequence[str] | None, avoided: str | None
) -> Updates:
    """Show the fields that a model has; choices that it does not know are dropped."""
    conditioning = models.read_conditioning(models.find(model))
    names, conditional = listed_classes(conditioning), conditioning is not None
    chosen = class_names(classes)
    kept = [name for name in chosen if name in names]
    dropped: dict[str, Any] = {} if len(kept) == len(chosen) else {"value": kept}
    negative = avoided if avoided in names else None
    by_words, by_class = conditional and not names, bool(names)
    shared = ("guidance", "rescale", "low", "high")
    return {
        "prompt": gr.update(visible=by_words),
        "negative": gr.update(visible=by_words),
        "classes": gr.update(visible=by_class, choices=names, **dropped),
        "avoided": gr.update(visible=by_class, choices=names, value=negative),
        **{name: gr.update(visible=conditional) for name in shared},
        "examples": examples_html(conditioning, language(request)),
    }


@guarded
def prefill(
    model: str, prompt: str | None, classes: Sequence[str] | None, negative: str | None
) -> Updates:
    """Keep what a model that was just chosen knows of the prompts for the one before.

    Where that is nothing, take those of its own samples. Guidance is set where the model never
    trained without a condition.
    """
    entry = models.find(model)
    conditioning, usual = models.read_conditioning(entry), list(models.default_prompts(entry))
    if conditioning is None or not usual:
        return {}
    scale = default_guidance(models.config_of(entry).conditioning.drop)
    guidance: Updates = {} if scale == FIRST_GUIDANCE else {"guidance": scale}
    if not conditioning.labels:
        known = known_lines(conditioning, prompt)
        negatives = known_lines(conditioning, negative)
        return {
            "prompt": "\n".join(known or usual),
            "negative": "\n".join(negatives),
            **guidance,
        }
    names = listed_classes(conditioning)
    if any(name in names for name in class_names(classes)):
        return guidance
    listed = [name for name in usual if name in names]
    return {"classes": gr.update(choices=names, value=listed), **guidance}


def known_lines(conditioning: ConditioningMetadata, text: str | None) -> list[str]:
    """Return the lines of a text that have no word which training never saw."""
    vocabulary = conditioning.vocabulary
    return [line for line in lines_of(text) if vocabulary is None or not vocabulary.unseen(line)]


@guarded
def choose_example(model: str, classes: Sequence[str] | None, event: gr.EventData) -> Updates:
    """Take an example that was pressed as the prompt, or its class as one more."""
    conditioning = models.read_conditioning(models.find(model))
    if conditioning is None or not conditioning.examples:
        raise InputError(f"example: {model} has none")
    examples = conditioning.examples
    index = event_value(event, "index")
    text = examples[validation.whole("example", index, 0, len(examples) - 1)]
    if not conditioning.labels:
        return {"prompt": text}
    return {"classes": list(dict.fromkeys([*class_names(classes), text]))}


# ---- laid out


def build_prompt() -> tuple[gr.Textbox, gr.Dropdown, gr.HTML, gr.HTML]:
    """Lay out the prompt, the line about it and the examples."""
    prompt = textbox("prompt", lines=2, max_lines=6, elem_id="denoise-prompt")
    classes = class_list("prompt_class", multiselect=True, elem_id="denoise-class")
    unseen = gr.HTML(elem_classes="told-words")
    examples = gr.HTML(
        elem_classes="examples", elem_id="denoise-examples", js_on_load=pressed("index", "Number")
    )
    return prompt, classes, unseen, examples


def build_guidance() -> tuple[Any, gr.HTML]:
    """Lay out how strongly the prompt is followed, and what that costs."""
    settings: dict[str, Any] = {"step": 0.25, "precision": None, "elem_id": "denoise-guidance"}
    guidance = slider("guidance", 0, MOST_GUIDANCE, FIRST_GUIDANCE, visible=False, **settings)
    return guidance, gr.HTML(elem_classes="note told-words")


def build_more() -> dict[str, Any]:
    """Lay out what is rarely changed: the negative prompt, rescale, and the interval."""
    share: dict[str, Any] = {"step": 0.05, "precision": None, "visible": False}
    return {
        "negative": textbox("negative", lines=1, max_lines=1, elem_id="denoise-negative"),
        "avoided": class_list("negative_class", elem_id="denoise-negative-class"),
        "rescale": slider("rescale", 0, 1, 0, **share),
        "low": slider("interval_low", 0, 1, 0, **share),
        "high": slider("interval_high", 0, 1, 1, **share),
    }


def textbox(key: str, **more: Any) -> gr.Textbox:
    """Show a field for words, hidden until a model reads any."""
    return gr.Textbox("", max_length=LONGEST_TEXT, visible=False, **labels(key), **more)


def class_list(key: str, **more: Any) -> gr.Dropdown:
    """Show a list of classes, hidden until a model knows any."""
    return gr.Dropdown([], visible=False, **labels(key), **more)


def wire(model: Any, parts: PromptParts) -> None:
    """Wire which fields a model has, what is said of them, and the examples."""
    fields, examples = parts.fields, parts.examples
    prompt, classes, negative, avoided = (
        {name: fields[name]} for name in ("prompt", "classes", "negative", "avoided")
    )
    given = {"model": model}
    shown = {**fields, "examples": examples}
    model.change(**by_name(show_fields, given | classes | avoided, shown), **QUIET)
    filled = prompt | classes | negative | {"guidance": fields["guidance"]}
    model.input(**by_name(prefill, given | prompt | classes | negative, filled), **QUIET)
    lines = {"unseen": parts.unseen, "cost": parts.cost}
    for name in ("prompt", "classes", "negative", "avoided", "guidance"):
        fields[name].change(
            **by_name(describe, given | fields, lines), trigger_mode="always_last", **QUIET
        )
    model.change(**by_name(describe, given | fields, lines), trigger_mode="always_last", **QUIET)
    examples.click(**by_name(choose_example, given | classes, prompt | classes), **QUIET)
