"""What a model is prompted with: classes or captions as chips in a bar, and how strongly.

The bar is a part of our own, drawn by `prompt.js`: it holds prompts and seed, and draws.
"""

import csv
import difflib
import io
import json
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import gradio as gr

from sd import runs
from sd.common import validation
from sd.common.validation import InputError, shown
from sd.data import captions, shapes
from sd.data.reading.source import BUNDLED_SETS, bundled_path
from sd.generation.recipe import Recipe
from sd.generation.registry import ModelEntry
from sd.ui import models
from sd.ui.adapter.checks import LONGEST_TEXT, LONGEST_WORD
from sd.ui.components.events import Updates
from sd.ui.components.fields import Values, patch, words
from sd.ui.components.handlers import guarded, language
from sd.ui.denoise import published
from sd.ui.denoise.grid import MOST_GUIDANCE, columns_of
from sd.ui.denoise.samplers import FIRST_GUIDANCE, SAMPLER_NAMES
from sd.ui.mistakes import translate
from sd.ui.model_metadata import ConditioningMetadata
from sd.ui.texts import say

MOST_PROMPTS, FIRST_PROMPTS = models.CAPS.count, 4
MOST_LISTED = 1500  # classes or captions that are offered; those beyond are reached by typing
MOST_NAMED = 12  # classes in a line
LONGEST_OFFERED = 60  # characters of a caption that is offered
LARGEST_LIST = 2**22  # bytes of a set's list that are read for its captions
NEAR = 0.5  # how like a prompt a known one must be to be proposed
BAR_WORDS = (
    *("add", "remove", "none", "offers", "unknown", "nearest", "seed_word", "one_step", "pause"),
    *("resume", "draw", "stopping", "queue", "queue_about", "ordinals", "line", "line_plain"),
    *("all", "text", "tokens", "file"),
)
PLACE = '<div class="ask"></div>'  # never changes, so gradio never touches what is in it
ON_LOAD = """sdPrompt.mount(element, props, {
  submit: () => trigger("submit"), pause: () => trigger("pause"), change: () => trigger("edit"),
  play: (at) => trigger("play", at), again: () => trigger("again"), load: () => trigger("load"),
  look: () => trigger("look"), measure: () => trigger("measure"), watch,
}, %s);"""


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
        prompts, negative = self.prompts(entry)
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

    def prompts(self, entry: ModelEntry) -> tuple[tuple[str, ...], str]:
        """Return the prompts or classes that a model is asked for, and the negative one."""
        typed, negative = lines_of(self.prompt), " ".join(lines_of(self.negative))
        chosen = class_names(self.classes)
        avoided = class_names([self.avoided] if self.avoided else None)
        conditioning = models.read_conditioning(entry)
        if conditioning is None:
            return (), ""
        if not conditioning.labels:
            return tuple(as_learned(entry, each) for each in typed), as_learned(entry, negative)
        known = [check_class(conditioning, as_learned(entry, name)) for name in chosen]
        return tuple(known), "".join(
            check_class(conditioning, as_learned(entry, name)) for name in avoided
        )


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


def as_learned(entry: ModelEntry, text: str) -> str:
    """Return what a model learned that a text of another language means, else the text.

    Only of bundled sets, and only where the model does not know the text itself.
    """
    conditioning = models.read_conditioning(entry)
    if conditioning is None or not is_unknown(conditioning, text):
        return text
    return captions.meaning(runs.read_source(entry.folder), text)


def is_unknown(conditioning: ConditioningMetadata, prompt: str) -> bool:
    """Tell whether a model cannot know a prompt: another class, or words it never saw."""
    if conditioning.labels:
        return prompt not in conditioning.labels
    return bool(unseen_words(conditioning, [prompt]))


def check_class(conditioning: ConditioningMetadata, name: str) -> str:
    """Return the name of a class that the model knows, else suggest the nearest."""
    labels = conditioning.labels
    if name not in labels:
        few = ", ".join(labels[:MOST_NAMED]) + (", ..." if labels[MOST_NAMED:] else "")
        nearest = validation.near(name, labels[:MOST_LISTED])
        raise InputError(f"class = {shown(name)}: must be one of {few}{nearest}")
    return name


def prompt_form(conditioning: ConditioningMetadata | None, asked: Any, held: Values) -> PromptForm:
    """Return what bar and fields ask of a model: for classes where it knows any, else in words."""
    shared = {name: held[name] for name in ("guidance", "rescale", "low", "high")}
    prompts = asked_prompts(asked)
    if conditioning and conditioning.labels:
        avoided = validation.text("class", held["negative"], LONGEST_WORD).strip() or None
        return PromptForm(classes=prompts, avoided=avoided, **shared)
    return PromptForm(prompt="\n".join(prompts), negative=held["negative"], **shared)


def asked_prompts(asked: Any) -> list[str]:
    """Return the prompts of a bar's value, which are texts of one line."""
    prompts = asked.get("prompts", []) if isinstance(asked, dict) else None
    if not isinstance(prompts, list) or len(prompts) > MOST_PROMPTS:
        raise InputError(f"prompts = {shown(prompts)}: must be at most {MOST_PROMPTS} of them")
    texts = [validation.text("prompt", each, LONGEST_TEXT) for each in prompts]
    return [" ".join(each.split()) for each in texts if each.strip()]


def read_asked(name: str, value: Any) -> Values:
    """Return what the bar sent, checked: prompts, and a seed; -1 draws one."""
    if not isinstance(value, dict):
        raise InputError(f"{name} = {shown(value)}: must be prompts and a seed")
    held = value.get("patch", value)  # as the server sent it, where no browser has drawn it yet
    if not isinstance(held, dict):
        raise InputError(f"{name} = {shown(held)}: must be prompts and a seed")
    return {
        "prompts": asked_prompts(held),
        "seed": validation.seed("seed", held.get("seed", 0)),
    }


def asked_of(recipe: Recipe) -> Values:
    """Return what the bar holds, so that it asks for a recipe again."""
    prompts = recipe.prompts[: recipe.count]
    once = dict.fromkeys(prompts) if columns_of(recipe) else prompts
    return {"prompts": list(once), "seed": recipe.seed}


# ---- what is said of them


@guarded
def describe(
    request: gr.Request, model: str, asked: Values, held: Values, recipe: Recipe | None = None
) -> Updates:
    """Tell the prompts that the model never saw, each with its nearest; and what is cut off.

    Of a published model, the tokens that it reads, and how long the `recipe` of the fields takes.
    """
    entry, lang = models.find(model), language(request)
    conditioning = models.read_conditioning(entry)
    if conditioning is None:
        return {"asked": {"patch": {"unknown": {}, "note": ""}}}
    if entry.published:
        return {"asked": {"patch": told_of_text(entry, asked_prompts(asked), recipe, lang)}}
    unknown = unknown_prompts(entry, conditioning, asked_prompts(asked))
    notes = [cut_line(conditioning, asked_prompts(asked), lang)]
    negative = as_learned(entry, held["negative"].strip())
    if asked["prompts"] and held["guidance"] != 1 and lacks_uncond(entry, negative):
        notes.append(say("guidance_no_half", lang))
    if unseen := unseen_words(conditioning, [negative]):
        notes.append(
            say("prompt_unseen", lang, words=say("between_words", lang).join(unseen[:MOST_NAMED]))
        )
    return {"asked": {"patch": {"unknown": unknown, "note": " ".join(filter(None, notes))}}}


def told_of_text(
    entry: ModelEntry, prompts: Sequence[str], recipe: Recipe | None, lang: str
) -> dict[str, Any]:
    """Return what the bar tells of a prompt that is one text; a line where it cannot be read."""
    try:
        told = published.prompt_told(entry, prompts, recipe, lang)
    except InputError as error:
        return {"unknown": {}, "note": translate(str(error), lang)}
    return {"unknown": {}, "note": "", "told": told}


def unknown_prompts(
    entry: ModelEntry, conditioning: ConditioningMetadata, prompts: Sequence[str]
) -> dict[str, str]:
    """Return prompt -> the known one most like it, or "", of those the model cannot know."""
    unknown = [each for each in prompts if is_unknown(conditioning, each)]
    known = offered_prompts(entry)
    return {each: nearest(each, known) for each in unknown}


def nearest(prompt: str, known: Sequence[str]) -> str:
    """Return the known prompt most like another, "" where none is."""
    return next(iter(difflib.get_close_matches(prompt[:100], known, 1, NEAR)), "")


def unseen_words(conditioning: ConditioningMetadata, texts: Sequence[str]) -> list[str]:
    """Return the words of texts that training never saw, each once."""
    if conditioning.vocabulary is None:
        return []
    return list(dict.fromkeys(w for text in texts for w in conditioning.vocabulary.unseen(text)))


def cut_line(conditioning: ConditioningMetadata, prompts: Sequence[str], lang: str) -> str:
    """Return how much of the longest prompt the model cannot read; "" if it reads all."""
    vocabulary = conditioning.vocabulary
    if vocabulary is None or not prompts:
        return ""
    cut = max(len(vocabulary.encode(text, 4096)) for text in prompts) - conditioning.length
    return say("prompt_cut", lang, n=conditioning.length, cut=cut) if cut > 0 else ""


# ---- what follows from the model


@lru_cache(maxsize=8)
def offered_prompts(entry: ModelEntry) -> tuple[str, ...]:
    """Return what typing offers: the classes of a model, or the captions of its set."""
    conditioning = models.read_conditioning(entry)
    if conditioning is None:
        return ()
    known = conditioning.labels or (*conditioning.examples, *set_captions(entry))
    short = (each for each in dict.fromkeys(known) if len(each) <= LONGEST_OFFERED)
    return tuple(each for each, _ in zip(short, range(MOST_LISTED), strict=False))


def set_captions(entry: ModelEntry) -> tuple[str, ...]:
    """Return the captions of the set that a model learned from, where it is at hand."""
    kept, source = entry.folder / runs.PICTURES / "index.json", entry.folder / runs.SOURCE
    with suppress(OSError, ValueError, AttributeError, TypeError):
        if kept.is_file() and kept.stat().st_size <= LARGEST_LIST:
            captions = json.loads(kept.read_text(encoding="utf-8")).get("captions") or ()
            return tuple(each for each in captions if isinstance(each, str))
        word = json.loads(source.read_text(encoding="utf-8")).get("data")
        if word in shapes.SETS:
            return tuple(shapes.captions())  # those too that no picture has
        if word in BUNDLED_SETS:
            return bundled_captions(word)
    return ()


@lru_cache(maxsize=len(BUNDLED_SETS))
def bundled_captions(word: str) -> tuple[str, ...]:
    """Return the captions of a bundled set."""
    from sd.data.reading.archive import Archive

    with closing(Archive(bundled_path(word))) as bundled:
        table = io.StringIO(bundled.read("metadata.csv").decode("utf-8"))
    return tuple(row["text"] for row in csv.DictReader(table))


@guarded
def show_words(request: gr.Request, model: str) -> Updates:
    """Offer what a model knows, and show the fields of guidance where it can be told anything."""
    if isinstance(model, models.FirstModel):  # it is told again for the one that is chosen
        return {}
    entry = models.find(model)
    conditioning = models.read_conditioning(entry)
    kind = "none" if conditioning is None else "class" if conditioning.labels else "words"
    kind = "text" if entry.published and conditioning else kind
    shared = ("guidance", "negative", "rescale", "low", "high")
    names = models.caption_names(model, language(request))
    return {
        "asked": {"patch": {"kind": kind, "offers": list(offered_prompts(entry)), "names": names}},
        "held": patch(shown=dict.fromkeys(shared, conditioning is not None)),
    }


@guarded
def prefill(model: str, asked: Values, held: Values) -> Updates:
    """Keep what a model that was just chosen knows of the prompts for the one before.

    Where that is nothing, take those of its own samples. Guidance is set where the model never
    trained without a condition. What a person changed meanwhile stays: see `patch`.
    """
    entry, sent = models.find(model), asked_prompts(asked)
    if entry.published:
        return published.first_settings(sent, held)
    back: Values = published.last_settings(held)
    conditioning, usual = models.read_conditioning(entry), list(models.default_prompts(entry))
    if conditioning is None or not usual:
        return {"held": patch(back, seen=held)} if back else {}
    scale = models.default_guidance(entry)
    changes = back if scale == FIRST_GUIDANCE else {**back, "guidance": scale}
    if not known_prompts(conditioning, [as_learned(entry, held["negative"])]):
        changes["negative"] = ""
    prompts = known_prompts(conditioning, sent) or usual[:FIRST_PROMPTS]
    return {
        "asked": {"patch": {"prompts": prompts, "seen": sent}},
        "held": patch(changes, seen=held),
    }


def known_prompts(conditioning: ConditioningMetadata, prompts: Sequence[str]) -> list[str]:
    """Return the prompts that a model knows: its classes, or captions without an unseen word."""
    return [each for each in prompts if not is_unknown(conditioning, each)]


# ---- laid out


def prompt_bar(first: Values) -> gr.HTML:
    """Lay out the bar that draws; `first`: what the fields of a sampling hold at first.

    It sends `load` once it is there, which is when its tab is first seen, `submit` to draw,
    `pause`, `play` with the steps to go on for (0: all), `again` where a patch says so,
    `look` where faces of what is offered are wanted, `measure` where a price is told as None,
    and `edit` for what a person or a recipe changes (`change` is gradio's own, and comes with
    every note).
    """
    told = {
        "form": "ask",
        "first": first,
        "most": MOST_PROMPTS,
        "longest": LONGEST_WORD,
        "longestText": LONGEST_TEXT,
        "largest": validation.LARGEST_SEED,
        "samplers": {name: words(called) for name, called in SAMPLER_NAMES.items()},
        "begins": {word: words(f"begin_{word}") for word in ("noise", "seeds", "picture")},
        "words": {
            **{word: words(f"ask_{word}") for word in BAR_WORDS},
            **{word: words(word) for word in ("seed", "dice", "stop")},
        },
    }
    bar = gr.HTML(
        {"prompts": [], "seed": 0},
        html_template=PLACE,
        js_on_load=ON_LOAD % json.dumps(told, ensure_ascii=False),
        apply_default_css=False,
        elem_id="denoise-ask",
        price="",
    )
    setattr(bar, "read_sent", read_asked)  # noqa: B010 (a name of ours)
    return bar
