"""What AUTOMATIC1111's interface wrote into a picture, taken into the fields."""

from pathlib import Path
from typing import Any

from sd.common.text import printable
from sd.common.validation import InputError
from sd.generation.others.webui import WebuiParameters, read_webui
from sd.ui import models
from sd.ui.components.events import Updates
from sd.ui.components.fields import Values, patch
from sd.ui.components.html import progress_bar
from sd.ui.denoise.grid import MOST_GUIDANCE
from sd.ui.texts import say

MOST_NAMED = 4  # LoRA in a line


def read_settings(file: str) -> WebuiParameters | None:
    """Return what another program says in a PNG; None where it says nothing."""
    try:
        return read_webui(Path(file))
    except InputError:
        return None


def take(said: WebuiParameters, name: str, lang: str) -> Updates:
    """Set the fields that a picture says; tell what it was made with that is not taken."""
    plain = ("sampler", "spacing", "eta", "negative")
    values: Values = {key: value for key in plain if (value := getattr(said, key)) is not None}
    if said.steps is not None:
        values["steps"] = min(said.steps, models.CAPS.steps)
    if said.guidance is not None:
        values["guidance"] = min(said.guidance, MOST_GUIDANCE)
    if said.size is not None:
        values["size"] = "{}x{}".format(*said.size)
    asked: dict[str, Any] = {"prompts": [" ".join(said.prompt.split())] if said.prompt else []}
    if said.seed is not None:
        asked["seed"] = said.seed
    words = [say("like_taken", lang, name=name), *_left(said, lang)]
    return {
        "line": progress_bar(words, 0),
        "asked": {"patch": asked},
        "held": patch({**values, "count": 1}),
    }


def _left(said: WebuiParameters, lang: str) -> list[str]:
    """Return what cannot be taken: other noise, LoRA that are files of their own."""
    words = []
    if said.seed is not None and not said.same_noise:
        words.append(say("like_noise", lang))
    if said.loras:
        named = [f"{printable(name)} {scale:g}" for name, scale in said.loras[:MOST_NAMED]]
        words.append(say("like_loras", lang, names=say("between_words", lang).join(named)))
    if said.strength is not None:
        words.append(say("like_picture", lang))
    return words
