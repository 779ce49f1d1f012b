"""What a drawing with a published model comes to, counted from the headers of its files.

The network's calls, twice as wide where they are guided, the prompt's encoding, a start picture's,
and the decoding of the end. Previews are a small product a step and not counted.
"""

import re
from collections.abc import Iterable
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from sd.checkpoints.pretrained.choices import parse_place
from sd.checkpoints.pretrained.names import Named, autoencoder_tensors
from sd.checkpoints.pretrained.parts import AUTOENCODER
from sd.checkpoints.pretrained.report import LoadingReport
from sd.config.sections import TINY_AUTOENCODERS
from sd.generation.published import facts
from sd.generation.recipe import Recipe
from sd.generation.registry import ModelEntry
from sd.networks.blueprint import ENCODING_WORK, blueprint
from sd.networks.clip.config import CLIPTextConfig
from sd.ui import model_cost, models

MOMENT = 6.5e6  # operations that a layer's own moment is worth, however small it is; measured
OF_A_LAYER = 2  # tensors of weights: most layers have a weight and a bias
ENLARGING = 4 / 9  # of the products of a plain convolution, see `UpsamplingConv2d`
ENCODER, DECODER = "encoder.", "decoder."
LEVEL = re.compile(r"\.(?:down|up)\.(\d+)\.")


class Work(NamedTuple):
    """Operations, and layers that are called for them."""

    operations: float
    layers: float

    @property
    def total(self) -> float:
        """Both as operations."""
        return self.operations + MOMENT * self.layers


def work_of(recipe: Recipe) -> float:
    """Return what a recipe of a published model that is no branch comes to, as operations."""
    entry = models.find(recipe.model)
    size = models.shape_of_recipe(recipe)[1:]
    start = recipe.start.t if recipe.start else None
    calls = models.network_calls(entry, recipe.sampler, recipe.steps, recipe.spacing, start)
    wide = recipe.count * model_cost.passes(recipe)
    total = calls * network_work(entry, recipe.size, wide).total
    total += model_cost.passes(recipe) * text_work(entry).total
    halves = (DECODER, ENCODER) if recipe.start else (DECODER,)
    for half in halves:
        pictures = recipe.count if half == DECODER else 1
        total += pictures * autoencoder_work(entry, half, *size).total
    return total


def network_work(entry: ModelEntry, size: tuple[int, int] | None, wide: int) -> Work:
    """Return the work of a call of a model's network for so many pictures at once."""
    config = models.cost_of(entry).resized(size).config
    plan = blueprint(config.unet, *config.latent_shape[1:], config.conditioning.text_length)
    return Work(wide * plan.operations, plan.tensors / OF_A_LAYER)


def text_work(entry: ModelEntry) -> Work:
    """Return the work of reading a prompt of one chunk; none where nothing reads prompts."""
    part = facts.text_part(report_of(entry.place))
    if part is None:
        return Work(0, 0)
    c: CLIPTextConfig = part.config
    of_a_token = 2 * c.width * (4 * c.width + 2 * (c.hidden or 4 * c.width)) * c.layers
    return Work(c.positions * of_a_token, len(part.matched) / OF_A_LAYER)


def autoencoder_work(entry: ModelEntry, half: str, height: int, width: int) -> Work:
    """Return the work of a half of a model's autoencoder for a picture of height x width."""
    vae = parse_place(entry.place)[1].vae
    named = vae is None or vae in TINY_AUTOENCODERS
    report = report_of(entry.place) if named else report_of(str(Path(str(vae)).expanduser()))
    part = report.part(AUTOENCODER) if vae not in TINY_AUTOENCODERS else None
    if part is None:
        return Work(ENCODING_WORK * height * width, 0)
    config: dict[str, Any] = dict(part.config)
    tensors = autoencoder_tensors(config, config["embed_dim"])
    return half_work(tensors, half, len(config["ch_mult"]), height * width)


def half_work(tensors: Iterable[Named], half: str, levels: int, pixels: int) -> Work:
    """Return the work of what lies in one half of an autoencoder, by its names and shapes."""
    own = [each for each in tensors if each.ours.startswith(half)]
    operations = 0.0
    for name, shape in ((each.ours, each.shape) for each in own if len(each.shape) > 1):
        places = pixels / 4 ** level_of(name, levels)
        times = ENLARGING if ".upsample." in name else 1.0
        operations += times * 2 * prod(shape) * places
        if name.endswith(".q.weight"):  # the scores of its attention, and the sums by them
            operations += 4 * shape[0] * places**2
    return Work(operations, len(own) / OF_A_LAYER)


def level_of(name: str, levels: int) -> int:
    """Return how often a picture was halved where a layer of an autoencoder answers."""
    if found := LEVEL.search(name):
        return int(found[1]) + (1 if ".downsample." in name else -1 if ".upsample." in name else 0)
    at_pictures = name.startswith(("encoder.conv_in", "decoder.conv_out"))
    return 0 if at_pictures else levels - 1


def report_of(place: str) -> LoadingReport:
    """Return the report of a place, without what is added to its model."""
    base = facts.base_place(place)
    return facts.report_of(base, facts.written_at(parse_place(base)[0]))
