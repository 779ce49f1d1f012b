"""What a model is asked for: classes or prompts, how strongly, and a grid of both.

The fields are there for every model, and shown for those that can be told something.
"""

import html
from collections.abc import Mapping
from typing import Any, NamedTuple

import gradio as gr

from sd.common import validation
from sd.common.validation import InputError, shown
from sd.generation.recipe import Recipe
from sd.generation.registry import ModelEntry
from sd.networks.conditioning_metadata import default_guidance
from sd.ui import models
from sd.ui.adapter.checks import LONGEST_TEXT, LONGEST_WORD
from sd.ui.components.handlers import QUIET, event_value, guarded, language
from sd.ui.components.html import pressed
from sd.ui.components.widgets import label, note, slider
from sd.ui.denoise.grid import LONGEST_SCALES, MOST_GUIDANCE, columns_of, has_prompt, short
from sd.ui.model_metadata import ConditioningMetadata
from sd.ui.texts import say

MOST_PROMPTS = models.CAPS.count
FIRST_GUIDANCE, FIRST_SCALES = 2.0, "1, 2, 4"
MOST_LISTED = 1000  # classes; those beyond are reached by name, over the API
MOST_NAMED, LONGEST_CHIP = 12, 60  # unseen words in a line; characters of an example

MOST_SHOWN = 6  # examples
# The examples lie in one element, so one listener for all tells which was pressed.


class PromptForm(NamedTuple):
    """The fields of what a model is asked for; `classes` and `avoided` are those of classes."""

    prompt: Any = ""
    classes: Any = ()
    negative: Any = ""
    avoided: Any = None
    guidance: Any = FIRST_GUIDANCE
    rescale: Any = 0.0
    low: Any = 0.0
    high: Any = 1.0
    scales: Any = FIRST_SCALES


class Shown(NamedTuple):
    """What belongs to the fields but is none of them."""

    words: gr.HTML
    chips: gr.HTML
    both: gr.HTML
    fold: gr.Accordion
    go: gr.Button


# ---- read as a recipe's settings, and set again from a recipe


def asking(entry: ModelEntry, asked: PromptForm) -> dict[str, Any]:
    """Return what a recipe says of prompts and guidance, each field checked.

    Nothing for a model that can be told nothing, and where nothing is asked for: there guidance
    would only cost. It is 1 where there is nothing from which to lead away, see `lacks_half`.
    """
    told = models.read_conditioning(entry)
    prompts, negative = words_of(asked, told)
    scale = validation.real("guidance", asked.guidance, 0, MOST_GUIDANCE)
    rescale = validation.real("rescale", asked.rescale, 0, 1)
    low, high = (validation.real("share of T", each, 0, 1) for each in (asked.low, asked.high))
    if low > high:
        raise InputError(f"share of T = {low:g}: must be at most {high:g}, where guidance begins")
    if not prompts and not negative:
        return {}
    scale = 1.0 if lacks_half(entry, negative) else scale
    made = {"prompts": prompts, "negative": negative, "guidance": (scale,), "rescale": rescale}
    return {**made, "interval": (low, high)}


def lacks_half(entry: ModelEntry, negative: str) -> bool:
    """Tell whether guidance would lead away from what a model never learned: to be told nothing."""
    return not negative and not models.config_of(entry).conditioning.drop


def words_of(asked: PromptForm, told: ConditioningMetadata | None) -> tuple[tuple[str, ...], str]:
    """Return the prompts or classes that are asked for, and what they are held against."""
    typed, against = lines(asked.prompt), " ".join(lines(asked.negative))
    chosen, avoided = listed(asked.classes), listed([asked.avoided] if asked.avoided else ())
    if told is None:
        return (), ""
    if not told.labels:
        return typed, against
    return tuple(class_of(told, each) for each in chosen), "".join(
        class_of(told, each) for each in avoided
    )


def plain(
    entry: ModelEntry, prompt: Any, negative: Any, guidance: Any, unconditional: Any = False
) -> dict[str, Any]:
    """Return what `asking` does, of plain texts: classes are written like prompts.

    Without a prompt it is what the model's own samples were asked for, unless `unconditional`.
    """
    told, words, against = models.read_conditioning(entry), lines(prompt), lines(negative)
    if told is None and (words or against):
        said = shown((words or against)[0])
        raise InputError(f"prompt = {said}: {entry.name} was trained without words or classes")
    if validation.flag("unconditional", unconditional):
        if words:
            raise InputError(f"prompt = {shown(words[0])}: unconditional asks for nothing")
    else:
        words = words or models.default_prompts(entry)
    if told is None or not told.labels:
        return asking(entry, PromptForm("\n".join(words), (), negative, None, guidance))
    return asking(entry, PromptForm("", words, "", " ".join(against) or None, guidance))


def lines(value: Any) -> tuple[str, ...]:
    """Return the lines of a text that are not empty; None is no text."""
    text = validation.text("prompt", "" if value is None else value, LONGEST_TEXT)
    found = tuple(line.strip() for line in text.split("\n") if line.strip())
    if len(found) > MOST_PROMPTS:
        raise InputError(f"prompt: {len(found)} lines; at most {MOST_PROMPTS} are allowed")
    return found


def listed(value: Any) -> tuple[str, ...]:
    """Return chosen words; None is nothing chosen."""
    words = () if value is None else value
    if not isinstance(words, list | tuple) or len(words) > MOST_PROMPTS:
        raise InputError(f"class = {shown(value)}: must be at most {MOST_PROMPTS} of them")
    return tuple(validation.text("class", each, LONGEST_WORD) for each in words)


def class_of(told: ConditioningMetadata, name: str) -> str:
    """Return the name of a class that the model knows, else suggest the nearest."""
    if name not in told.labels:
        few = ", ".join(told.labels[:MOST_NAMED]) + (", ..." if told.labels[MOST_NAMED:] else "")
        nearest = validation.near(name, told.labels[:MOST_LISTED])
        raise InputError(f"class = {shown(name)}: must be one of {few}{nearest}")
    return name


def settings_of(recipe: Recipe, told: ConditioningMetadata | None) -> PromptForm:
    """Return what the fields are set to, so that `asking` gives this recipe's settings again."""
    if not has_prompt(recipe):
        return PromptForm(avoided=gr.update(value=None), classes=gr.update(value=[]))
    across = columns_of(recipe)
    prompts = tuple(dict.fromkeys(recipe.prompts)) if across else recipe.prompts
    names = list(told.labels[:MOST_LISTED]) if told else []
    chosen = [name for name in dict.fromkeys(prompts) if name in names]
    avoided = recipe.negative if recipe.negative in names else None
    return PromptForm(
        "" if names else "\n".join(prompts),
        gr.update(choices=names, value=chosen),
        "" if names else recipe.negative,
        gr.update(choices=names, value=avoided),
        recipe.guidance[0],
        recipe.rescale,
        *recipe.interval,
        ", ".join(f"{scale:.10g}" for scale in recipe.guidance[:across]) or FIRST_SCALES,
    )


# ---- told about


@guarded
def about(request: gr.Request, model: Any, *values: Any) -> tuple[str, str]:
    """Return what the model has never seen of what is asked for, and what guidance costs."""
    entry, lang, asked = models.find(model), language(request), PromptForm(*values)
    told, made = models.read_conditioning(entry), asking(entry, asked)
    guided = made.get("guidance", (1.0,))[0] not in (0.0, 1.0)
    both = f"<p>{say('guidance_both', lang)}</p>" if guided else ""
    if made and asked.guidance != 1 and lacks_half(entry, made["negative"]):
        both = f"<p>{say('guidance_no_half', lang)}</p>"
    return read_by(told, made, lang) if told else "", both


def read_by(told: ConditioningMetadata, made: Mapping[str, Any], lang: str) -> str:
    """Return the words that training never saw, and how much is cut off, as a line."""
    if told.vocabulary is None or not made:
        return ""
    texts = [*made["prompts"], made["negative"]]
    unseen = dict.fromkeys(word for text in texts for word in told.vocabulary.unseen(text))
    longest = max(len(told.vocabulary.encode(text, 4096)) for text in texts)
    said = []
    if unseen:
        named = ", ".join(list(unseen)[:MOST_NAMED]) + (", …" if len(unseen) > MOST_NAMED else "")
        said.append(say("prompt_unseen", lang, words=html.escape(named)))
    if longest > told.length:
        said.append(say("prompt_cut", lang, n=told.length, cut=longest - told.length))
    return "".join(f'<p class="warning">{line}</p>' for line in said)


def chips(told: ConditioningMetadata | None, lang: str) -> str:
    """Return the examples of a model as buttons; "" where it has none."""
    if told is None or not told.examples:
        return ""
    buttons = "".join(
        f'<button type="button" data-index="{place}" title="{html.escape(text)}">'
        f"{html.escape(short(text, LONGEST_CHIP))}</button>"
        for place, text in enumerate(told.examples[:MOST_SHOWN])
    )
    return f'<p class="chips"><span>{say("prompt_examples", lang)}</span>{buttons}</p>'


@guarded
def fit(request: gr.Request, model: Any, classes: Any, avoided: Any) -> tuple[Any, ...]:
    """Show the fields that a model can be asked by; choices that it does not know are dropped."""
    told = models.read_conditioning(models.find(model))
    names = list(told.labels[:MOST_LISTED]) if told else []
    any_told, worded = told is not None, told is not None and not names
    chosen = listed(classes)
    kept = [name for name in chosen if name in names]
    dropped: dict[str, Any] = {} if len(kept) == len(chosen) else {"value": kept}
    against = avoided if avoided in names else None
    return (
        gr.update(visible=worded),
        gr.update(visible=bool(names), choices=names, **dropped),
        gr.update(visible=worded),
        gr.update(visible=bool(names), choices=names, value=against),
        *(gr.update(visible=any_told) for _ in range(4)),
        chips(told, language(request)),
        gr.update(visible=any_told),
    )


@guarded
def fill(model: Any, prompt: Any, classes: Any, negative: Any) -> tuple[Any, ...]:
    """Ask a model that was just chosen for what it knows of what was asked of the one before.

    Where that is nothing, for what its own samples were. Return prompt, classes, what they are
    held against, and guidance, which a model that never trained untold cannot have.
    """
    entry = models.find(model)
    told, usual = models.read_conditioning(entry), list(models.default_prompts(entry))
    if told is None or not usual:
        return (gr.skip(),) * 4
    scale = default_guidance(models.config_of(entry).conditioning.drop)
    guidance = gr.skip() if scale == FIRST_GUIDANCE else scale
    if told.labels:
        names = list(told.labels[:MOST_LISTED])
        kept = [name for name in listed(classes) if name in names]
        filled = gr.update(choices=names, value=[name for name in usual if name in names])
        return gr.skip(), gr.skip() if kept else filled, gr.skip(), guidance
    against = "\n".join(known(told, negative))
    return "\n".join(known(told, prompt) or usual), gr.skip(), against, guidance


def known(told: ConditioningMetadata, text: Any) -> list[str]:
    """Return the lines of a text that have no word which training never saw."""
    read = told.vocabulary
    return [line for line in lines(text) if read is None or not read.unseen(line)]


@guarded
def choose_example(model: Any, classes: Any, event: gr.EventData) -> tuple[Any, Any]:
    """Take an example that was pressed as the prompt, or its class as one more."""
    told = models.read_conditioning(models.find(model))
    if told is None or not told.examples:
        raise InputError(f"example: {model} has none")
    text = told.examples[
        validation.whole("example", event_value(event, "index"), 0, len(told.examples) - 1)
    ]
    if not told.labels:
        return text, gr.skip()
    return gr.skip(), list(dict.fromkeys([*listed(classes), text]))


# ---- laid out


def build_prompt() -> tuple[gr.Textbox, gr.Dropdown, gr.HTML, gr.HTML]:
    """Lay out what is asked for, the line about it and the examples."""
    prompt = textbox("prompt", lines=2, max_lines=6, elem_id="denoise-prompt")
    classes = named("prompt_class", multiselect=True, elem_id="denoise-class")
    words = gr.HTML(elem_classes="told-words")
    examples = gr.HTML(
        elem_classes="examples", elem_id="denoise-examples", js_on_load=pressed("index", "Number")
    )
    return prompt, classes, words, examples


def build_guidance() -> tuple[Any, gr.HTML]:
    """Lay out how strongly it is followed, and what that costs."""
    settings: dict[str, Any] = {"step": 0.25, "precision": None, "elem_id": "denoise-guidance"}
    guidance = slider("guidance", 0, MOST_GUIDANCE, FIRST_GUIDANCE, visible=False, **settings)
    return guidance, gr.HTML(elem_classes="note told-words")


def build_more() -> tuple[Any, ...]:
    """Lay out what is rarely changed: away from what, rescale, and the interval."""
    share: dict[str, Any] = {"step": 0.05, "precision": None, "visible": False}
    return (
        textbox("negative", lines=1, max_lines=1, elem_id="denoise-negative"),
        named("negative_class", elem_id="denoise-negative-class"),
        slider("rescale", 0, 1, 0, **share),
        slider("interval_low", 0, 1, 0, **share),
        slider("interval_high", 0, 1, 1, **share),
    )


def build_grid() -> tuple[gr.Accordion, gr.Textbox, gr.Button]:
    """Lay out the grid of prompts and scales."""
    settings: dict[str, Any] = {"elem_classes": "fold", "elem_id": "denoise-grid"}
    fold = gr.Accordion(label("grid"), open=False, visible=False, **settings)
    with fold, gr.Column(elem_classes="group"):
        note("grid_about")
        about: dict[str, Any] = {"label": label("grid_scales"), "info": label("grid_scales_info")}
        scales = gr.Textbox(FIRST_SCALES, max_length=LONGEST_SCALES, elem_id="grid-scales", **about)
        go = gr.Button(label("grid_go"), elem_id="grid-go")
    return fold, scales, go


def textbox(key: str, **more: Any) -> gr.Textbox:
    """Show a field for words, hidden until a model reads any."""
    about: dict[str, Any] = {"label": label(key), "info": label(f"{key}_info")}
    return gr.Textbox("", max_length=LONGEST_TEXT, visible=False, **about, **more)


def named(key: str, **more: Any) -> gr.Dropdown:
    """Show a list of classes, hidden until a model knows any."""
    about: dict[str, Any] = {"label": label(key), "info": label(f"{key}_info")}
    return gr.Dropdown([], visible=False, **about, **more)


def wire(model: Any, asked: PromptForm, extras: Shown) -> None:
    """Wire what a model can be asked: which fields it has, what is told of them, the examples."""
    fields = [asked.prompt, asked.classes, asked.negative, asked.avoided, asked.guidance]
    fields += [asked.rescale, asked.low, asked.high]
    choices = [model, asked.classes, asked.avoided]
    model.change(fit, choices, [*fields, extras.chips, extras.fold], **QUIET)
    wished = [asked.prompt, asked.classes, asked.negative]
    model.input(fill, [model, *wished], [*wished, asked.guidance], **QUIET)
    for each in (model, *fields[:5]):
        inputs, outputs = [model, *asked], [extras.words, extras.both]
        each.change(about, inputs, outputs, trigger_mode="always_last", **QUIET)
    pressed = [model, asked.classes]
    extras.chips.click(choose_example, pressed, wished, **QUIET)
