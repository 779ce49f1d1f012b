"""Model cards: what people and hubs read about a checkpoint."""

from collections.abc import Mapping
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from sd.checkpoints.record import LICENSE, RAIL_M
from sd.common.text import printable
from sd.config import Config

TASKS = {"captions": "text-to-image"}  # hubs' word for what a model does, by its conditioning
LICENCE = (
    " Its weights are Stable Diffusion's, hold its autoencoder, or were trained on them: their "
    "licence, CreativeML Open RAIL-M, restricts what they may be used for and goes along with them."
)
SENTENCES = {
    "none": "It is told nothing but the time.",
    "class_embedding": "It is told a class, whose embedding is added to that of the time.",
    "class_tokens": "It is told a class, as tokens for cross-attention.",
    "captions": "It is told a caption, read by a text encoder, through cross-attention.",
}


def card(
    config: Config, parameters: int, about: Mapping[str, Any], restricted: bool = False
) -> str:
    """Return a model card, with the front matter that hubs read.

    restricted: whether Stable Diffusion's licence goes along; see `Model.is_restricted`.
    """
    training, kind = config.training, config.conditioning.kind
    data = ModelCardData(
        library_name="sd",
        pipeline_tag=TASKS.get(kind, "unconditional-image-generation"),
        tags=["diffusion"],
    )
    if restricted:
        data.license = RAIL_M
    metadata = "".join(
        f"- {name}: {printable(str(value))}\n" for name, value in about.items() if name != LICENSE
    )
    size = f"{training.input_width} x {training.input_height} pixels"
    weights = f"averaged (EMA) weights as {training.weights_dtype}"
    return str(
        ModelCard(
            f"---\n{data.to_yaml()}\n---\n# A small diffusion model\n\n{size}, "
            f"{config.picture_shape[0]} channels, {parameters:,} parameters; {weights}. "
            f"{SENTENCES.get(kind, '')}{LICENCE * restricted}\n\n{metadata}"
        )
    )
