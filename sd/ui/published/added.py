"""What is added to the page's published model: LoRA at their scales, words, an autoencoder.

They are a part of the model's name, so that another scale is another model of the same weights.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import gradio as gr

from sd.checkpoints.pretrained.choices import Choices
from sd.common import validation
from sd.common.validation import InputError
from sd.generation.published import shelf
from sd.ui import models, state
from sd.ui.components.events import Updates, by_name
from sd.ui.components.handlers import QUIET, event_value, guarded, language
from sd.ui.published.opening import lora_use
from sd.ui.texts import say

LOWEST, HIGHEST, STEP = -2.0, 2.0, 0.05  # scales that the slider has
WORDS = ("added_title", "added_scale", "added_remove")
PLACE = '<div class="added" hidden></div>'
ON_LOAD = 'sdAdded.mount(element.querySelector(".added"), props, trigger, watch);'


@guarded
def show(model: str, request: gr.Request) -> Updates:
    """Show what is added to a model; nothing of one that is not published."""
    return {"added": gr.update(content=content(model, language(request)))}


def content(model: str, lang: str) -> dict[str, Any]:
    """Return what is shown of what is added to a model."""
    if not shelf.has_model(state.home(), model):
        return {}
    said = shelf.choices_of(model)
    rows = [
        {"name": name, "kind": shelf.LORA, "scale": scale, "about": _use(name, model, lang)}
        for name, scale in said.lora
    ]
    rows += [
        {"name": name, "kind": shelf.EMBEDDING, "about": say("added_word", lang)}
        for name in said.embedding
    ]
    if said.vae is not None:
        about = say("added_vae", lang)
        rows.append({"name": said.vae, "kind": shelf.VAE, "about": about})
    words = {key: say(key, lang) for key in WORDS}
    bounds = {"low": LOWEST, "high": HIGHEST, "step": STEP}
    return {"rows": rows, "words": words, **bounds}


def _use(name: str, model: str, lang: str) -> str:
    """Return how many changes of a LoRA a model uses."""
    try:
        path = shelf.find_file(state.home(), name, shelf.LORA).path
        return say("added_used", lang, **lora_use(path, model))
    except InputError:
        return say("added_gone", lang)


@guarded
def change(model: str, request: gr.Request, event: gr.EventData) -> Updates:
    """Give LoRA other scales, or take something away; the page then chooses the model of `choose`.

    It does so where the model is still the one `of` which that was asked.
    """
    if not shelf.has_model(state.home(), model):
        return {}
    said = shelf.choices_of(model)
    if (name := event_value(event, "remove")) is not None:
        changed = without(said, validation.text("name", name, models.LONGEST_CHOSEN_MODEL))
    else:
        changed = replace(said, lora=_weighed(said, event_value(event, "scales")))
    chosen = models.find(shelf.with_choices(model, changed)).name
    told = {**content(chosen, language(request)), "choose": chosen, "of": model}
    return {"added": gr.update(content=told)}


def _weighed(said: Choices, sent: Any) -> tuple[tuple[str, float], ...]:
    """Return the LoRA with the scales that were sent of them."""
    scales = dict(said.lora)
    for name, scale in (sent if isinstance(sent, Mapping) else {}).items():
        validation.choice("lora", name, list(scales))
        scales[name] = validation.real("scale", scale, LOWEST, HIGHEST)
    return tuple(scales.items())


def without(said: Choices, name: str) -> Choices:
    """Return choices without a file of a name."""
    return replace(
        said,
        lora=tuple(each for each in said.lora if each[0] != name),
        embedding=tuple(each for each in said.embedding if each != name),
        vae=None if said.vae == name else said.vae,
    )


def build(model: gr.HTML) -> None:
    """Lay out what is added to the page's `model`, and wire it."""
    added = gr.HTML(
        "",
        html_template=PLACE,
        js_on_load=ON_LOAD,
        apply_default_css=False,
        elem_id="denoise-added",
        content={},
    )
    parts = {"model": model}
    shown = by_name(show, parts, {"added": added})
    gr.on([model.change, added.focus], **shown, **QUIET)
    changed = by_name(change, parts, {"added": added})
    added.input(**changed, **QUIET, trigger_mode="always_last")
