"""The grid on the page: axes of any kind, a price before, a PNG with its own recipe a cell."""

import base64
import io
import re
from typing import Any

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from sd.checkpoints.checkpoint import save_checkpoint
from sd.checkpoints.model import Model
from sd.common.validation import InputError
from sd.data.images import to_array
from sd.generation.export import read_recipe
from sd.generation.recipe import Recipe, from_json
from sd.runs import default_home
from sd.training.randomness import new_network
from sd.ui import models
from sd.ui.adapter.checks import read_value
from sd.ui.components import fields
from sd.ui.denoise import tab as denoise
from sd.ui.denoise.tools import grid_panel
from sd.ui.denoise.tools.grid_panel import Grid
from sd.ui.denoise.tree import Tree
from tests.helpers.denoising import (
    CAPTIONS,
    CHINESE,
    ENGLISH,
    NAME,
    WORDED,
    free,
    recipe,
    replayed,
    slowed,
    values,
)
from tests.helpers.networks import with_weights

pytestmark = pytest.mark.usefixtures("little", "quick")
ADDRESS = re.compile(r'src="data:image/png;base64,([^"]+)"')


def asked(across: str, words: str, down: str = "", down_words: str = "") -> dict[str, Any]:
    """Return what the form of the grid holds."""
    return {"down": down, "down_values": down_words, "across": across, "across_values": words}


def ran(grid: Grid, form: dict[str, Any], lang: Any = ENGLISH, **changes: Any) -> list[Any]:
    return list(grid_panel.run_grid(lang, grid, form, **values(**changes)))


def files(sheet: str) -> list[bytes]:
    """Return the PNG of every cell that is there."""
    return [base64.b64decode(each) for each in ADDRESS.findall(sheet)]


def told(png: bytes) -> Recipe:
    return from_json(read_recipe(io.BytesIO(png))["recipe"])


def test_each_cell_is_a_png_that_is_made_again_from_its_own_recipe(little: Model) -> None:
    grid, form = Grid(), asked("sampler", "ddim, Heun", "seed", "5, 9, 11")
    shown = ran(grid, form)
    sheet = [each["sheet"] for each in shown if "sheet" in each][-1]
    made = files(sheet)
    recipes = [told(each) for each in made]
    assert [(each.seed, each.sampler) for each in recipes] == [
        (seed, sampler) for seed in (5, 9, 11) for sampler in ("ddim", "heun")
    ]
    assert recipes == grid.flat and all(each.count == 1 for each in recipes)
    for each, png in zip(recipes, made, strict=True):
        with Image.open(io.BytesIO(png)) as image:
            end = to_array(replayed(each, little)[-1].x_t)[0, ..., 0]
            assert np.array_equal(np.asarray(image), end)
    heads = re.findall(r"<th[^>]*>([^<]+)</th>", sheet)
    assert heads == ["seed", "sampler", "DDIM", "Heun", "5", "9", "11"]
    assert 'alt="seed 9, sampler Heun"' in sheet
    assert "6 pictures" in shown[-1]["line"]


def test_the_price_is_told_before_and_sizes_have_their_word(
    little: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    form = asked("size", "8, 16x12", "steps", "3, 6")
    price = grid_panel.tell_price(ENGLISH, form, **values())["price"]
    assert re.search(r"4 pictures, 18 network calls, about \d+ s\.", price)
    assert "Only 8x8 was trained" in price
    assert "Only" not in grid_panel.tell_price(ENGLISH, asked("steps", "3"), **values())["price"]
    first = next(iter(grid_panel.run_grid(ENGLISH, Grid(), form, **values())))
    assert first["price"] == price or "18 network calls" in first["price"]
    wrong = grid_panel.tell_price(ENGLISH, asked("size", "9"), **values())["price"]
    assert "must be multiples of 2" in wrong and "warning" in wrong


def test_a_size_is_drawn(little: Model) -> None:
    grid = Grid()
    ran(grid, asked("size", "8, 16x12"), steps=2)
    sizes = []
    for address in grid.pictures:
        with Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))) as image:
            sizes.append(image.size)
    assert sizes == [(8, 8), (12, 16)]


@pytest.mark.usefixtures("told")
def test_without_values_the_prompts_are_those_of_the_form() -> None:
    grid = Grid()
    changes = {"model": WORDED, "prompts": list(CAPTIONS[:2]), "steps": 2, "guidance": 2.0}
    sheets = ran(grid, asked("guidance", "1, 3", "prompt"), CHINESE, **changes)
    made = [(cell.prompts, cell.guidance) for cell in grid.flat]
    assert made == [((words,), (scale,)) for words in CAPTIONS[:2] for scale in (1.0, 3.0)]
    assert "提示词" in sheets[-2]["sheet"] and "共" not in sheets[-1]["line"]
    with pytest.raises(gr.Error, match="grid prompt: ask for at least one"):
        ran(grid, asked("guidance", "1, 3", "prompt"))


def test_a_checkpoint_is_an_axis(little: Model) -> None:
    network = with_weights(new_network(little.config, 8).eval())
    folder = default_home().path / NAME
    place = save_checkpoint(Model(network, little.config), folder / "checkpoint-3", {"step": 3})
    try:
        grid = Grid()
        ran(grid, asked("checkpoint", "3, 4"), steps=2)
        assert [cell.step for cell in grid.flat] == [3, 4] and len(set(grid.pictures)) == 2
        assert models.find_recipe_model(grid.flat[0]).checkpoint == place
        with pytest.raises(gr.Error, match="checkpoint = 5"):
            ran(grid, asked("checkpoint", "5"))
    finally:
        for each in place.iterdir():
            each.unlink()
        place.rmdir()


def test_a_cell_that_is_pressed_comes_to_the_stage_with_its_steps() -> None:
    grid, tree = Grid(), Tree()
    ran(grid, asked("seed", "5, 9"))
    event = gr.EventData(None, {"cell": 1})
    list(denoise.open_cell(ENGLISH, tree, grid, event))
    assert tree.current.recipe == grid.flat[1] and tree.current.filmed == 6
    for wrong in (2, -1, None, True, "x", 1.5):
        with pytest.raises(gr.Error, match="cell = "):
            list(denoise.open_cell(ENGLISH, tree, grid, gr.EventData(None, {"cell": wrong})))
    with pytest.raises(gr.Error, match="nothing has been drawn yet"):
        list(denoise.open_cell(ENGLISH, tree, Grid(), event))


def test_stop_ends_the_grid_and_what_is_there_stays(
    little: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, grid = slowed(monkeypatch, little, 0.003), Grid()
    shown = []
    for each in grid_panel.run_grid(ENGLISH, grid, asked("seed", "1, 2, 3"), **values()):
        shown.append(each)
        if len(grid.pictures) == 1:
            grid_panel.stop(grid)
    assert "stopped after 1 of 3" in shown[-1]["line"] and len(grid.pictures) == 1 and free()
    grid_panel.stop("nothing")
    calls = slow.calls
    assert len(files(ran(grid, asked("seed", "1"))[-2]["sheet"])) == 1 and slow.calls > calls


@pytest.mark.parametrize(
    ("form", "words"),
    [
        (asked("seed", ""), "grid seed: must be at least one value"),
        (asked("seed", "1", "seed", "2"), "one axis or two different"),
        (asked("seed", ",".join(map(str, range(37)))), "this page makes at most 36"),
        (asked("steps", "2000"), "steps = 2000"),
        (asked("guidance", "x"), "grid guidance = 'x'"),
        (asked("size", "4096"), "more than"),
    ],
)
def test_what_is_no_grid_is_told_in_one_line(form: dict[str, Any], words: str) -> None:
    grid = Grid()
    with pytest.raises(gr.Error) as error:
        ran(grid, form)
    line = str(error.value.message).replace("&#x27;", "'")
    assert words in line and "\n" not in line and not grid.cells


def test_many_cells_together_are_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    one = models.cost_of(models.find(NAME)).operations()
    monkeypatch.setattr("sd.ui.model_cost.MOST_OPERATIONS", 2.5 * 6 * one)
    ran(Grid(), asked("seed", "1, 2"))
    with pytest.raises(gr.Error, match=r"grid: it would take .* operations"):
        ran(Grid(), asked("seed", "1, 2, 3"))


def test_the_form_holds_axes_and_texts() -> None:
    field = fields.form(grid_panel.FIELDS, "grid-form")
    assert read_value(field, {})["across"] == "guidance"
    for wrong in ({"down": "x"}, {"across": ""}, {"down_values": 5}, {"across_values": "x" * 5000}):
        with pytest.raises(InputError):
            read_value(field, wrong)


def test_an_axis_without_values_has_those_that_there_are(little: Model) -> None:
    save_checkpoint(little, models.find(NAME).folder / "checkpoint-2", {"step": 2})
    whole = recipe()
    [axis] = grid_panel.read_axes(asked("checkpoint", ""), whole)
    assert axis.values == (2, 4)
    [axis] = grid_panel.read_axes(asked("size", " "), whole)
    assert axis.values == ((8, 8), (8, 12))
    with pytest.raises(InputError, match="grid seed: must be at least one value"):
        grid_panel.read_axes(asked("seed", ""), whole)


def test_samplers_are_typed_as_the_page_calls_them() -> None:
    typed = asked("sampler", "DPM-Solver++, euler a、unipc\nDDIM")
    [axis] = grid_panel.read_axes(typed, recipe())
    assert axis.values == ("dpmpp_2m", "euler_ancestral", "unipc", "ddim")
    assert grid_panel.titles_of(axis, {})[:2] == ["DPM-Solver++", "Euler a"]
    with pytest.raises(InputError, match="grid sampler = 'dpm'"):
        grid_panel.read_axes(asked("sampler", "dpm"), recipe())


@pytest.mark.parametrize("axis", sorted(grid_panel.FIRST_VALUES))
def test_what_an_axis_begins_with_can_be_read(axis: str) -> None:
    typed = asked(axis, grid_panel.FIRST_VALUES[axis])
    [found] = grid_panel.read_axes(typed, recipe())
    assert 3 <= len(found.values) <= 4
