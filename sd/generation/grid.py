"""A grid of pictures: one thing varies down, another across, and every cell is a recipe of its own.

So each cell can be made again alone. Where the seed is the same, so is the noise.
"""

import csv
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from sd.common.validation import LARGEST_SEED, InputError, choice, real, shown, text, whole
from sd.diffusion.timesteps import SAMPLERS
from sd.generation.recipe import LONGEST_PROMPT, MOST_STEPS, Recipe, parse_size
from sd.networks.conditioning_metadata import MOST_GUIDANCE

AXES = ("prompt", "guidance", "steps", "sampler", "seed", "eta", "size", "checkpoint")
MOST_CELLS = 100
LONGEST_AXIS = 20_000  # characters
FULL_WIDTH = str.maketrans("，、；＝", ",,;=")  # as a Chinese keyboard types them
LONGEST_NAME = 40  # characters of a value in a file's name

DigestAt = Callable[[int], str]  # of a model's weights at a step; InputError where none is kept


class Axis(NamedTuple):
    """What varies, one of `AXES`, and its values, each once."""

    name: str
    values: tuple[Any, ...]

    @property
    def titles(self) -> list[str]:
        """What each value is called."""
        return [_title(value) for value in self.values]


def parse_axis(words: str) -> Axis:
    """Return the axis that a text like "guidance=1,2,4" describes; raise `InputError`."""
    name, mark, values = text("grid", words, LONGEST_AXIS).translate(FULL_WIDTH).partition("=")
    if not mark:
        raise InputError(f"grid = {shown(words)}: must be AXIS=value,value with {', '.join(AXES)}")
    return read_axis(name.strip(), values)


def read_axis(name: str, words: str) -> Axis:
    """Return an axis whose values stand in a text, with commas between; quotes hold one together.

    A text of several lines has a value a line.
    """
    choice("grid axis", name, AXES)
    words = text(f"grid {name}", words, LONGEST_AXIS).translate(FULL_WIDTH).strip()
    lines = words.splitlines()
    found = lines if len(lines) > 1 else next(csv.reader(lines, skipinitialspace=True), [])
    each = (word.strip() for word in found)
    values = tuple(dict.fromkeys(_value(name, word) for word in each if word))
    if not values:
        raise InputError(f"grid {name}: must be at least one value")
    return Axis(name, values)


def lay_out(recipe: Recipe, axes: Sequence[Axis], digest_at: DigestAt) -> list[list[Recipe]]:
    """Return a recipe of one picture for each cell, row by row: of two axes the first goes down.

    digest_at: of the recipe's model, for the axis `checkpoint`. Raises `InputError`.
    """
    names = [axis.name for axis in axes]
    if not 1 <= len(axes) <= 2 or len(set(names)) < len(names):
        raise InputError(f"grid = {', '.join(names) or 'none'}: must be one axis or two different")
    down = axes[0] if len(axes) == 2 else None
    rows, columns = len(down.values) if down else 1, len(axes[-1].values)
    if rows * columns > MOST_CELLS:
        raise InputError(f"grid: {rows} x {columns} cells; at most {MOST_CELLS} are allowed")
    prompts, guidance = recipe.prompts[:1], recipe.guidance[:1]
    plain = replace(recipe, count=1, seed_to=None, prompts=prompts, guidance=guidance)
    begun = [_vary(plain, down.name, each, digest_at) for each in down.values] if down else [plain]
    across = axes[-1]
    return [[_vary(row, across.name, each, digest_at) for each in across.values] for row in begun]


def file_name(recipe_at: Sequence[tuple[Axis, int]]) -> str:
    """Return the name, without its ending, of the cell that has those values of its axes."""
    words = (f"{axis.name}-{axis.titles[place]}" for axis, place in recipe_at)
    return "_".join(re.sub(r"[^\w.-]+", "-", word)[:LONGEST_NAME] for word in words)


def _title(value: Any) -> str:
    if isinstance(value, tuple):
        return "x".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _value(name: str, word: str) -> Any:
    """Return what a word means as a value of an axis, checked."""
    if name == "prompt":
        return text("grid prompt", word, LONGEST_PROMPT)
    if name == "sampler":
        return choice("grid sampler", word, SAMPLERS)
    if name == "size":
        return parse_size("grid size", word)
    try:
        number = float(word)
    except ValueError:
        raise InputError(f"grid {name} = {shown(word)}: must be a number") from None
    if name in ("guidance", "eta"):
        return real(f"grid {name}", number, 0, MOST_GUIDANCE if name == "guidance" else 1)
    low, high = {"steps": (1, MOST_STEPS), "seed": (0, LARGEST_SEED)}.get(name, (0, 10**9))
    return whole(f"grid {name}", number, low, high)


def _vary(recipe: Recipe, name: str, value: Any, digest_at: DigestAt) -> Recipe:
    """Return a recipe with another value of one axis."""
    if name == "checkpoint":
        return replace(recipe, step=value, digest=digest_at(value))
    if name == "prompt":
        return replace(recipe, prompts=(value,))
    change: dict[str, Any] = {name: (value,) if name == "guidance" else value}
    return replace(recipe, **change)
