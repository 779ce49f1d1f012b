"""What a person says to add to a published model, added."""

from dataclasses import replace
from pathlib import Path

from sd.checkpoints.adapters.embedding import learn_embedding, read_embedding
from sd.checkpoints.adapters.lora import attach_lora, read_lora
from sd.checkpoints.model import Model
from sd.checkpoints.pretrained.choices import Choices
from sd.common.validation import InputError, whole
from sd.networks.clip.captions import ClipCaptions
from sd.networks.conditioning import Conditioner

ADDED, MERGED = "added", "merged"  # in a model's `about`: a line for each


def check_adapters(choices: Choices) -> None:
    """Raise `InputError` for files that hold no such thing, before a model is read for them."""
    for place in choices.embedding:
        read_embedding(Path(place).expanduser())
    for place, _ in choices.lora:
        read_lora(Path(place).expanduser())


def add_adapters(model: Model, choices: Choices, merge: bool = False) -> Model:
    """Return a model that has just been opened, with what `choices` adds to it.

    Its `about["added"]` tells in a line each what of a LoRA is used, and which words were learned.
    With `merge` a LoRA becomes part of the weights, and `about["merged"]` tells of it instead.
    Raises `InputError` for what does not fit the model.
    """
    if not choices.lora and not choices.embedding and choices.clip_skip == 1:
        return model
    skip_layers(model.conditioner, choices)
    lines = learn_embeddings(model.conditioner, choices)
    merged: list[str] = []
    for place, scale in choices.lora:
        attached = attach_lora(Path(place).expanduser(), model, scale)
        if merge:
            attached.merge(model)
        (merged if merge else lines).append(f"{attached.line}; at {scale:g}")
    return replace(model, about={**model.about, ADDED: lines, MERGED: merged})


def skip_layers(conditioner: Conditioner | None, choices: Choices) -> None:
    """Let a text encoder leave out the layers that `choices` says; `InputError` where it cannot."""
    if choices.clip_skip == 1:
        return
    if not isinstance(conditioner, ClipCaptions):
        raise InputError("clip_skip: this model does not read prompts as CLIP does")
    layers = conditioner.encoder.config.layers
    conditioner.skip = whole("clip_skip", choices.clip_skip, 1, layers) - 1


def learn_embeddings(conditioner: Conditioner | None, choices: Choices) -> list[str]:
    """Teach a conditioner the words that `choices` says; return a line for each."""
    files = [Path(place).expanduser() for place in choices.embedding]
    return [f"{file.name}: prompts may say {learn_embedding(file, conditioner)}" for file in files]
