"""What asking a model costs, by arithmetic: operations and memory, before anything is opened.

A bundle brings any network whose weights fit its settings, so counting steps alone bounds nothing.
"""

import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import NamedTuple

from sd import runs
from sd.common.text import format_bytes
from sd.common.validation import InputError
from sd.config import Config
from sd.data.reading.source import BUNDLED_SETS, bundled_path
from sd.diffusion.timesteps import calls_per_step
from sd.generation.recipe import Recipe
from sd.networks.blueprint import blueprint, check_size
from sd.training.planning import memory

MOST_OPERATIONS, MOST_ON_GPU = 2.5e14, 1e16  # of one sampling: an hour of two cores
# As in data.ingest and diffusion.closed_form, which import torch.
PIXELS = "pixels.bin"
MOST_FITTED = 2048
VALUE = 8  # bytes of a value while the closed forms count with it
LATENT = 4  # bytes of a value of the latents that they keep


class Cost(NamedTuple):
    """What a model takes, `kind` "" for a network: of a set, how many pictures it has."""

    name: str
    config: Config
    kind: str = ""
    pictures: int = 0
    mapped: bool = False  # from the disk, so that the set itself takes no memory
    chosen: bool = False  # a file that was opened here on purpose: nobody else brought it

    def resized(self, size: tuple[int, int] | None) -> "Cost":
        """Return what it takes for pictures of another size; None for its own.

        Raises `InputError` for a size that the model does not draw.
        """
        if size in (None, self.config.picture_shape[1:]):
            return self
        if self.kind:
            raise InputError(
                f"size = {size[0]}x{size[1]}: {self.name!r} draws the size of its pictures alone"
            )
        check_size(self.config.unet, *size, self.config.factor)
        training = replace(self.config.training, input_height=size[0], input_width=size[1])
        return self._replace(config=replace(self.config, training=training))

    @property
    def size(self) -> int:
        """How many values it counts with for each picture: its pixels, or those of its latents."""
        return prod(self.config.latent_shape)

    @property
    def counted(self) -> int:
        """How many pictures of the set are asked: of a linear model only some are fitted."""
        return min(self.pictures, MOST_FITTED) if self.kind == "linear" else self.pictures

    def operations(self) -> int:
        """Return how many operations it takes to answer for one picture at one time."""
        if self.kind:  # each picture's product with x, and its share of the answer
            return 4 * self.counted * (self.size + (self.counted if self.kind == "linear" else 0))
        length = self.config.conditioning.text_length
        return blueprint(self.config.unet, *self.config.latent_shape[1:], length).operations

    def most_operations(self, device: str) -> float:
        """Return how many one sampling may take: whoever opens a large file means to wait."""
        return MOST_OPERATIONS if device == "cpu" and not self.chosen else MOST_ON_GPU

    def memory_needed(self, pictures: int) -> int:
        """Return about how many bytes it takes while it answers for so many pictures at once."""
        if not self.kind:
            return memory.sampling(self.config, pictures)
        own = LATENT * self.pictures * self.size if self.config.is_latent else 0
        own += 0 if self.mapped else self.pictures * prod(self.config.picture_shape)
        own += 3 * VALUE * self.counted**2 if self.kind == "linear" else 0
        return own + VALUE * pictures * (2 * self.counted + 4 * self.size)


def cost_of(name: str, folder: Path, config: Config, chosen: bool = False) -> Cost:
    """Return what a model takes, which is found at a folder, or at the zip of its pictures.

    A run that kept no pictures has those of its bundled set; without such it has none to count.
    chosen: a published one, in a file that was opened here.
    """
    kind, colon, _ = name.partition(":")
    if chosen or not colon:
        return Cost(name, config, chosen=chosen)
    stored = folder / runs.PICTURES / PIXELS
    if stored.is_file():
        of_one = prod(config.picture_shape)  # bytes
        return Cost(name, config, kind, stored.stat().st_size // of_one, mapped=True)
    source = runs.read_source(folder)
    if folder.is_dir() and source not in BUNDLED_SETS:
        return Cost(name, config, kind)  # whoever opens it is told
    return Cost(name, config, kind, files_in(source or str(folder)))


@lru_cache(maxsize=32)
def files_in(source: str) -> int:
    """Return how many files a zip of pictures holds, or that of a bundled set's word."""
    with zipfile.ZipFile(bundled_path(source) if source in BUNDLED_SETS else source) as packed:
        return len(packed.infolist())


def passes(recipe: Recipe) -> int:
    """Return how often guidance asks for each picture: twice where it holds two answers apart."""
    conditioned = bool(recipe.prompts or recipe.negative)
    return 2 if conditioned and any(scale != 1 for scale in recipe.guidance) else 1


def check(cost: Cost, calls: int, pictures: int, device: str, asked: str) -> None:
    """Raise `InputError` where asking a model so often, for so many pictures, is too much.

    calls: of one picture. asked: what the line begins with.
    """
    most = cost.most_operations(device)
    if (total := calls * pictures * cost.operations()) > most:
        raise InputError(
            f"{asked}: {cost.name!r} would take {total:.2g} operations; at most {most:.2g} are "
            "allowed: take fewer pictures or steps, or a smaller model"
        )
    check_memory(cost, pictures, device, asked)


def check_memory(cost: Cost, pictures: int, device: str, asked: str) -> None:
    """Raise `InputError` where a model, asked for so many pictures at once, needs too much."""
    room = memory.left()
    need = cost.memory_needed(pictures)
    if device != "cpu" or need <= room:
        return
    lack = f"needs about {format_bytes(need)} of memory, {format_bytes(room)} are there"
    fewer = next((n for n in range(pictures - 1, 0, -1) if cost.memory_needed(n) <= room), 0)
    remedy = f"{fewer} at once would fit" if fewer else "that is too little for one picture"
    raise InputError(f"{asked}: {cost.name!r} {lack}; {remedy}")


def check_together(priced: Iterable[tuple[Cost, Recipe]], device: str) -> None:
    """Raise `InputError` where recipes of one picture, none a branch, take too much together."""
    each = list(priced)
    most = min((cost.most_operations(device) for cost, _ in each), default=0)
    total = sum(
        recipe.steps * calls_per_step(recipe.sampler) * passes(recipe) * cost.operations()
        for cost, recipe in each
    )
    if total > most:
        raise InputError(
            f"grid: it would take {total:.2g} operations; at most {most:.2g} are allowed: take "
            "fewer values or steps, or smaller pictures"
        )


def calls_of(recipe: Recipe) -> int:
    """Return how often a recipe, with all that it branches from, asks for each picture."""
    return sum(
        each.steps * calls_per_step(each.sampler) * passes(each) for each in with_parents(recipe)
    )


def with_parents(recipe: Recipe) -> Iterator[Recipe]:
    """Yield a recipe and all that it branches from."""
    yield recipe
    while recipe.branch is not None:
        recipe = recipe.branch.recipe
        yield recipe


def check_recipe(cost: Cost, recipe: Recipe, device: str) -> None:
    """Raise `InputError` where a recipe, with all that it branches from, takes too much."""
    asked = f"count = {recipe.count}, steps = {recipe.steps}"
    check(cost, calls_of(recipe), recipe.count, device, asked)
    check_memory(cost, recipe.count * max(map(passes, with_parents(recipe))), device, asked)
