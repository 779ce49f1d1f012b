"""Recipes: there and back as JSON, and one line for everything that is none."""

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image

from sd.common.encoding import png_bytes
from sd.common.validation import InputError
from sd.generation.recipe import DEEPEST, Branch, Recipe, Start, from_json, parse_size

PICTURE = png_bytes(Image.new("L", (8, 8), 200))
MASK = png_bytes(Image.new("L", (8, 8), 255))
PAINT = png_bytes(Image.new("RGBA", (8, 8), (9, 9, 9, 255)))
PLAIN = Recipe("little", 4, "0123456789abcdef", count=3, seed=7)


def deep(levels: int) -> Recipe:
    recipe = PLAIN
    for _ in range(levels):
        recipe = replace(PLAIN, branch=Branch(recipe, 2, PAINT))
    return recipe


@pytest.mark.parametrize(
    "recipe",
    [
        PLAIN,
        Recipe("ideal:starter", sampler="unipc", spacing="karras", eta=0.5, clip_x0=False),
        replace(PLAIN, seed_to=9),
        replace(PLAIN, start=Start(PICTURE, 12.5)),
        replace(PLAIN, start=Start(PICTURE, 30.0, MASK)),
        replace(PLAIN, size=(16, 24)),
        replace(PLAIN, prompts=("cat",), branch=Branch(replace(PLAIN, prompts=("dog",)), 4)),
        deep(1),
        deep(3),
    ],
)
def test_a_recipe_survives_json(recipe: Recipe) -> None:
    again = from_json(json.loads(json.dumps(recipe.to_json(), allow_nan=False)))
    assert again == recipe and hash(again) == hash(recipe)


def test_whole_numbers_that_came_as_others_become_whole() -> None:
    recipe = from_json(changed(seed=3.0, count=2.0, steps=4.0, seed_to=5.0))
    assert (recipe.seeds, recipe.steps, recipe.seed_to) == ([3, 3], 4, 5)
    assert all(isinstance(seed, int) for seed in recipe.seeds)


def test_seeds_count_up_unless_the_pictures_lie_between_two() -> None:
    assert PLAIN.seeds == [7, 8, 9]
    assert replace(PLAIN, seed_to=2).seeds == [7, 7, 7]


def test_without_a_size_a_recipe_is_written_as_before_there_were_any() -> None:
    assert "size" not in PLAIN.to_json()
    assert replace(PLAIN, size=(16, 24)).to_json()["size"] == (16, 24)


@pytest.mark.parametrize(
    ("words", "size"), [("64", (64, 64)), ("64x48", (64, 48)), (" 64 × 48 ", (64, 48))]
)
def test_a_size_is_read_from_words(words: str, size: tuple[int, int]) -> None:
    assert parse_size("size", words) == size


@pytest.mark.parametrize("words", ["", "x", "8x", "8x8x8", "-8", "8.5", "99999", "0x8", None, 8])
def test_what_is_no_size_is_told_in_one_line(words: Any) -> None:
    with pytest.raises(InputError, match="size"):
        parse_size("size", words)


def test_the_steps_before_a_branch_add_up() -> None:
    assert PLAIN.first == 0
    assert deep(3).first == 6


def changed(**fields: Any) -> dict[str, Any]:
    return {**PLAIN.to_json(), **fields}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "must be an object"),
        ([], "must be an object"),
        ("x" * 5_000_000, "must be an object"),
        ({}, "recipe format"),
        (changed(format=2), "recipe format = 2"),
        (changed(surprise=1), "surprise"),
        ({"format": 1}, "names no model"),
        (changed(model=7), "model = 7"),
        (changed(sampler="dim"), "did you mean 'ddim'"),
        (changed(steps=4.7), "steps = 4.7"),
        (changed(steps=True), "steps = True"),
        (changed(steps=10**9), "steps"),
        (changed(eta=math.nan), "eta = nan"),
        (changed(count=0), "count = 0"),
        (changed(seed=-1), "seed = -1"),
        (changed(seed_to="x"), "seed to = 'x'"),
        (changed(clip_x0=1), "clip x0 = 1"),
        (changed(size=[8]), "size = [8]"),
        (changed(size=[8, 0]), "size = 0"),
        (changed(size="8x8"), "must be two whole numbers"),
        (changed(size=[8, 10**6]), "from 1 to 4096"),
        (changed(branch={"recipe": PLAIN.to_json(), "at": 1}, size=[8, 8]), "size of its parent"),
        (changed(start=[]), "start = []"),
        (changed(start={"t": 3}), "without its picture"),
        (changed(start={"picture": "%%%", "t": 3}), "base64"),
        (changed(start={"picture": "QQ==", "t": None}), "t = None"),
        (changed(start={"picture": "A" * 2_000_000, "t": 1}), "1 MiB"),
        (changed(branch={"at": 1}), "must be an object"),
        (changed(branch={"recipe": PLAIN.to_json()}), "branch at = None"),
        (changed(branch={"recipe": PLAIN.to_json(), "at": 51}), "branch at = 51"),
        (
            changed(branch={"recipe": changed(count=2), "at": 1}),
            "the count and the size of its parent",
        ),
        (changed(branch={"recipe": PLAIN.to_json(), "at": 1}, seed_to=1), "not anywhere else"),
    ],
)
def test_what_is_no_recipe_is_told_in_one_line(value: Any, words: str) -> None:
    with pytest.raises(InputError) as caught:
        from_json(value)
    line = str(caught.value)
    assert words in line and "\n" not in line and len(line) <= 300


@pytest.mark.parametrize("at", [0, PLAIN.steps + 1])
def test_a_branch_leaves_after_a_step_of_its_parent(at: int) -> None:
    with pytest.raises(InputError, match=f"branch at = {at}"):
        replace(PLAIN, branch=Branch(PLAIN, at))


def test_branches_of_branches_have_an_end() -> None:
    assert from_json(deep(DEEPEST).to_json()) == deep(DEEPEST)
    with pytest.raises(InputError, match="more than 8 deep"):
        from_json(deep(DEEPEST + 1).to_json())
