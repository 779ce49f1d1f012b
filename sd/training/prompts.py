"""Conditioning out of a picture set: the kind, the vocabulary or classes, the pictures' prompts."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from sd.config import Config
from sd.config.conditioning_kind import resolve_conditioning
from sd.data.image_set import ImageSet
from sd.networks.conditioning import Conditioner
from sd.networks.conditioning_metadata import EXAMPLES, evenly_spaced
from sd.networks.pretrained_text import PretrainedText
from sd.networks.tokenizer import Vocabulary


def resolve(config: Config, images: ImageSet) -> Config:
    """Return the settings with the kind decided for these pictures, and the U-Net made to fit it.

    A recorded decision stays as it is. Raises `InputError` for a kind that the pictures lack.
    """
    captions = sum(map(bool, images.captions or ()))
    labels = 0 if images.labels is None else len(images.label_names)
    made = resolve_conditioning(config, captions, labels)
    conditioning = made.conditioning
    if conditioning.kind != "captions" or conditioning.encoder is None:
        return made
    width = PretrainedText(conditioning.encoder, conditioning.text_length).width
    return replace(made, unet=replace(made.unet, context_dim=width))


def metadata_of(config: Config, images: ImageSet, rows: Tensor) -> dict[str, Any] | None:
    """Return the metadata of a new conditioner for the pictures at `rows`; None for none."""
    kind = config.conditioning.kind
    if kind == "none":
        return None
    if kind != "captions":
        return {"kind": kind, "labels": list(images.label_names)}
    every = [(images.captions or ())[row] for row in rows.tolist()]
    captions = [caption for caption in every if caption]
    metadata: dict[str, Any] = {"kind": kind, "examples": evenly_spaced(captions, EXAMPLES)}
    if config.conditioning.encoder is None:
        vocabulary = Vocabulary.train(captions, config.conditioning.vocabulary)
        metadata["vocabulary"] = vocabulary.to_json()
    return metadata


def prompts_of(conditioner: Conditioner, images: ImageSet) -> list[str]:
    """Return each picture's prompt in training; "" where it has none."""
    if conditioner.kind == "captions":
        return list(images.captions or [""] * len(images.names))
    assert images.labels is not None  # `resolve` has seen to it
    return [images.label_names[number] for number in images.labels.tolist()]


def drop_prompts(rows: Tensor, null: Tensor, share: float, source: torch.Generator) -> Tensor:
    """Return rows [B] or [B, L], about a `share` of them replaced by the null's [1] or [1, L]."""
    lost = torch.rand(len(rows), generator=source) < share
    return torch.where(lost.reshape(-1, *[1] * (rows.ndim - 1)), null, rows)
