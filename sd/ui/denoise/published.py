"""What the bar tells of a published model: tokens with their weights, and what a drawing takes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sd.checkpoints.pretrained.choices import parse_place
from sd.common.validation import InputError
from sd.generation.recipe import Recipe
from sd.generation.registry import ModelEntry
from sd.networks.clip.prompt import Prompt, parse_prompt
from sd.networks.conditioning_metadata import PUBLISHED_GUIDANCE
from sd.ui import models
from sd.ui.components.fields import Values, patch
from sd.ui.denoise.samplers import FIRST_COUNT, FIRST_GUIDANCE, FIRST_STEPS
from sd.ui.published import speed
from sd.ui.texts import duration, say

STEPS, COUNT = 20, 1  # with which a published model begins: each step takes seconds
BEGINS: Values = {"guidance": PUBLISHED_GUIDANCE, "steps": STEPS, "count": COUNT}
OTHERS: Values = {"guidance": FIRST_GUIDANCE, "steps": FIRST_STEPS, "count": FIRST_COUNT}


def first_settings(prompts: Sequence[str], held: Values) -> dict[str, Any]:
    """Return what the fields begin with where a published model was chosen: one prompt of text."""
    asked = {"prompts": list(prompts[:1]), "seen": list(prompts)}
    return {"asked": {"patch": asked}, "held": patch(BEGINS, seen=held)}


def last_settings(held: Values) -> Values:
    """Return what of the fields goes back once a published model is no longer the page's."""
    if any(held[name] != value for name, value in BEGINS.items()):
        return {}
    return {**OTHERS, "size": ""}


def prompt_told(
    entry: ModelEntry, prompts: Sequence[str], recipe: Recipe | None, lang: str
) -> dict[str, Any]:
    """Return what the bar tells of a prompt: its tokens, and how long its pictures will take.

    `price` is None where that has to be measured first: who types does not wait for it.

    Raises `InputError` for a prompt that cannot be read.
    """
    waits = recipe is not None and not speed.is_known(recipe)
    prompt = parse_prompt(prompts[0] if prompts else "", learned_words(entry))
    of = len(prompt.chunks) * prompt.room
    return {
        "count": say("ask_counted", lang, n=prompt.taken, of=of),
        "chunks": [[token_said(prompt, token) for token in chunk] for chunk in prompt.chunks],
        "price": None if waits else price_said(recipe, lang),
    }


def token_said(prompt: Prompt, token: Any) -> tuple[str, float]:
    """Return a token as it was typed, and its weight."""
    return prompt.typed(token), round(token.weight, 3)


def price_said(recipe: Recipe | None, lang: str) -> str:
    """Return about how long a recipe will take on this machine; "" where it cannot be drawn."""
    if recipe is None:
        return ""
    try:
        _, height, width = models.shape_of_recipe(recipe)
        seconds = speed.estimate(recipe)
    except InputError:
        return ""
    size = say("model_side" if width == height else "model_sides", lang, w=width, h=height)
    key = "ask_price" if recipe.count == 1 else "ask_price_of"
    time = duration(max(1.0, seconds), lang)
    return say(key, lang, n=recipe.steps, size=size, time=time, count=recipe.count)


def learned_words(entry: ModelEntry) -> Mapping[str, Sequence[int]]:
    """Return the words that a model's embeddings add, each with as many ids as it has vectors."""
    files = parse_place(entry.place)[1].embedding
    if not files:
        return {}
    from sd.checkpoints.adapters.embedding import read_embedding

    read = (read_embedding(Path(each)) for each in files)
    return {word: range(len(vectors)) for word, vectors in read}
