"""What a sampling will take, told before it begins: network calls, seconds, and how much larger."""

import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch

from sd.config import Config
from sd.generation.pipeline import Source, denoiser_of, sampling_of, sized, starting_x
from sd.generation.recipe import Recipe
from sd.networks.blueprint import blueprint


class Price(NamedTuple):
    """Of some samplings together; guidance asks for both its halves in one call."""

    pictures: int
    calls: int
    seconds: float

    def line(self) -> str:
        """Return it in words."""
        return f"{self.pictures} pictures, {self.calls:,} network calls, about {self.seconds:.0f} s"


def price_of(
    recipes: Iterable[Recipe], source_of: Callable[[Recipe], Source], device: torch.device | str
) -> Price:
    """Return what recipes take, none a branch; of each kind of call one is measured."""
    pictures, calls, seconds = 0, 0, 0.0
    measured: dict[tuple[object, ...], float] = {}
    for recipe in recipes:
        source = source_of(recipe)
        own = sampling_of(recipe, source).calls
        plain = set(recipe.guidance) == {1.0}
        kind = (recipe.model, recipe.step, recipe.size, recipe.count, plain)
        if kind not in measured:
            measured[kind] = seconds_of_a_call(recipe, source, device)
        pictures, calls = pictures + recipe.count, calls + own
        seconds += own * measured[kind]
    return Price(pictures, calls, seconds)


def seconds_of_a_call(recipe: Recipe, source: Source, device: torch.device | str) -> float:
    """Return how long a recipe's network takes for all its pictures at one time, both halves."""
    source = sized(recipe, source)
    denoiser, t = denoiser_of(recipe, source), sampling_of(recipe, source).times[0]
    x = source.diffusion.to_w(starting_x(recipe, source).to(device), t)
    denoiser(x, t).x0.cpu()  # the first takes longer: memory, kernels
    began = time.monotonic()
    denoiser(x, t).x0.cpu()
    return time.monotonic() - began


def size_factor_of(config: Config, size: tuple[int, int]) -> float:
    """Return how many times the operations of a model's own size a size takes."""
    length = config.conditioning.text_length
    drawn, own = (
        blueprint(config.unet, height // config.factor, width // config.factor, length).operations
        for height, width in (size, config.picture_shape[1:])
    )
    return drawn / own
