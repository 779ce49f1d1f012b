"""A grid: axes read from texts, and a whole recipe a cell; its sheet names both axes."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sd.common.validation import InputError
from sd.generation.grid import AXES, Axis, file_name, lay_out, parse_axis, read_axis
from sd.generation.recipe import Recipe
from sd.generation.sheet import draw_sheet

PLAIN = Recipe("little", 4, "ab", count=3, seed=7, seed_to=9, prompts=("cat", "dog"))
VALUES = {  # words of each axis, and what they mean
    "prompt": ('a cat,"red, and blue"', ("a cat", "red, and blue")),
    "guidance": ("1, 2.5，4", (1.0, 2.5, 4.0)),
    "steps": ("5,10", (5, 10)),
    "sampler": ("ddim,heun", ("ddim", "heun")),
    "seed": ("3,17", (3, 17)),
    "eta": ("0,0.5", (0.0, 0.5)),
    "size": ("32,64x48", ((32, 32), (64, 48))),
    "checkpoint": ("4,8", (4, 8)),
}
FIELDS = {"prompt": "prompts", "checkpoint": "step"}


def digest_at(step: int) -> str:
    return f"{step:016x}"


@pytest.mark.parametrize("name", AXES)
def test_every_axis_is_read_and_varies_its_field_alone(name: str) -> None:
    words, values = VALUES[name]
    axis = parse_axis(f" {name} = {words}")
    assert axis == Axis(name, values)
    (cells,) = lay_out(PLAIN, [axis], digest_at)
    field = FIELDS.get(name, name)
    wanted = [(each,) for each in values] if name in ("prompt", "guidance") else list(values)
    assert [getattr(cell, field) for cell in cells] == wanted
    one = replace(PLAIN, count=1, seed_to=None, prompts=("cat",))
    digests = {"digest": "ab"} if name == "checkpoint" else {}
    for cell in cells:
        assert replace(cell, **{field: getattr(one, field)}, **digests) == one
    if name == "checkpoint":
        assert [cell.digest for cell in cells] == [digest_at(4), digest_at(8)]


def test_of_two_axes_the_first_goes_down() -> None:
    cells = lay_out(PLAIN, [parse_axis("seed=1,2"), parse_axis("steps=5,6,7")], digest_at)
    found = [[(cell.seed, cell.steps, cell.count) for cell in row] for row in cells]
    assert found == [[(seed, steps, 1) for steps in (5, 6, 7)] for seed in (1, 2)]


def test_values_of_several_lines_keep_their_commas_and_each_counts_once() -> None:
    assert read_axis("prompt", "a cat, sitting\n\nred\na cat, sitting\n").values == (
        "a cat, sitting",
        "red",
    )


@pytest.mark.parametrize(
    ("axes", "words"),
    [
        (["guidance"], "must be AXIS=value"),
        (["gidance=1"], "did you mean 'guidance'"),
        (["guidance="], "at least one value"),
        (["guidance=x"], "grid guidance = 'x': must be a number"),
        (["guidance=nan"], "grid guidance = nan"),
        (["steps=2.5"], "grid steps = 2.5"),
        (["steps=0"], "grid steps = 0"),
        (["eta=2"], "grid eta = 2"),
        (["sampler=dim"], "did you mean 'ddim'"),
        (["size=0"], "grid size = 0"),
        (["size=8x"], "must be HEIGHTxWIDTH"),
        (["seed=1", "seed=2"], "one axis or two different"),
        (["seed=1", "steps=2", "eta=0"], "one axis or two different"),
        ([f"seed={','.join(map(str, range(101)))}"], "1 x 101 cells; at most 100"),
        (["prompt=\x00"], "control"),
        (["prompt=" + "x" * 5_000_000], "characters"),
    ],
)
def test_a_mistake_is_one_line(axes: list[str], words: str) -> None:
    with pytest.raises(InputError) as caught:
        lay_out(PLAIN, [parse_axis(each) for each in axes], digest_at)
    line = str(caught.value)
    assert words in line and "\n" not in line and len(line) <= 300


@pytest.mark.parametrize("value", [None, 7, math.nan, b"seed=1", ["seed=1"]])
def test_what_is_no_text_is_no_axis(value: Any) -> None:
    with pytest.raises(InputError, match="must be a text"):
        parse_axis(value)


def test_the_name_of_a_cell_is_fit_for_a_file() -> None:
    axes = [parse_axis("prompt=../a b/c"), parse_axis("size=64x48")]
    assert file_name([(axes[0], 0), (axes[1], 0)]) == "prompt-..-a-b-c_size-64x48"


def test_the_sheet_shows_every_picture_where_its_values_are() -> None:
    axes = [parse_axis("prompt=a,b"), parse_axis("guidance=1,2,4")]
    levels = [[(60 * row + 20, 50 * column + 9, 7) for column in range(3)] for row in range(2)]
    cells = [[Image.new("RGB", (8, 8), level) for level in row] for row in levels]
    sheet = np.asarray(draw_sheet(cells, axes))
    corners = []
    for level in [level for row in levels for level in row]:
        y, x = np.argwhere((sheet == level).all(-1)).min(0)
        corners.append((y, x))
    assert len({y for y, _ in corners}) == 2 and len({x for _, x in corners}) == 3
    assert corners == sorted(corners)
    ink = (sheet[:, : min(x for _, x in corners)] < 128).all(-1)
    assert ink.any()  # the names of the rows


def test_pictures_of_several_sizes_and_with_transparency_share_a_sheet() -> None:
    cells = [[Image.new("RGBA", (8, 8), "red"), Image.new("L", (16, 4), 0)]]
    sheet = draw_sheet(cells, [parse_axis("size=8,4x16")])
    assert sheet.mode == "RGB" and sheet.width > 2 * 96
