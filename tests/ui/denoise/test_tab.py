"""The Denoise tab's handlers as plain functions: samplings, their tree, example and endpoint."""

import base64
import io
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
import torch
from PIL import Image

from sd.checkpoints.model import Model
from sd.data.images import to_pil
from sd.diffusion.sampling import SampleStep
from sd.ui import api, models
from sd.ui.components import painter
from sd.ui.denoise import example
from sd.ui.denoise import tab as denoise
from sd.ui.denoise.form import FIRST
from sd.ui.denoise.tools import branch
from sd.ui.denoise.tree import Tree
from tests.helpers import denoising
from tests.helpers.denoising import (
    CHINESE,
    CLOSE,
    ENGLISH,
    branching,
    one_line,
    pressed,
    recipe_of,
    replayed,
    resting,
    sent,
    set_branch,
    set_fields,
    slowed,
    values,
)
from tests.helpers.films import films_of

pytestmark = pytest.mark.usefixtures("little", "quick")

UNTOLD = models.FirstModel("little")  # as a page asks that has not been told its model yet


def test_a_sampling_made_again_sends_no_old_film_first(tree: Tree) -> None:
    began, *others = denoise.run(ENGLISH, tree, **values())
    assert len(tree.nodes) == 1 and "player" not in began
    assert len(films_of(others[-1]["player"])[0]["frames"]) == 6


# ---- denoising


def test_denoising_shows_it_as_it_comes_and_keeps_every_step(
    little: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    slowed(monkeypatch, little, 0.01)
    tree = Tree()
    shown = list(denoise.run(ENGLISH, tree, **values(steps=12)))
    assert "loading the model" in shown[0]["line"]
    lines = [each["line"] for each in shown[1:-1]]
    assert any(re.search(r"step \d+ of 12, t = [\d.]+.* left", line) for line in lines)
    assert "12 steps in" in shown[-1]["line"] and 'aria-valuenow="100"' in shown[-1]["line"]
    films = [films_of(each["player"])[0] for each in shown if "player" in each]
    grown = [len(film["frames"]) for film in films]
    assert grown == sorted(grown) and len(set(grown)) >= 3 and grown[-1] == 12
    assert [film["running"] for film in films][-2:] == [True, False]
    assert all(Path(chunk["src"]).is_file() for chunk in films[-1]["chunks"])
    node = tree.current
    assert node.film == films[-1] and (node.done, node.filmed, node.parent) == (12, 12, None)
    assert node.end is not None and torch.equal(node.end, replayed(node.recipe, little)[-1].x_t)


def test_the_same_again_is_the_same_node_and_the_rest_is_words(tree: Tree) -> None:
    film = tree.current.film
    shown = list(denoise.run(CHINESE, tree, **values()))
    assert len(tree.nodes) == 1 and tree.current.film["id"] != film["id"]
    assert "6 步，用时" in shown[-1]["line"] and len(shown[-1]["player"]["nodes"]) == 1
    assert denoise.node_line(tree.current, "en").count("all 6 steps") == 1
    denoise.stop(tree)  # what has ended stays as it is
    denoise.stop("no tree")
    assert tree.current.done == 6


def test_a_stopped_sampling_keeps_what_came(little: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    slowed(monkeypatch, little, 0.005)
    tree, shown = Tree(), []
    for each in denoise.run(ENGLISH, tree, **values(steps=50)):
        shown.append(each)
        if tree.job and tree.job.done >= 2:
            denoise.stop(tree)
    done = tree.current.done
    assert 2 <= done < 50 and f"stopped at step {done} of 50" in shown[-1]["line"]
    assert tree.current.filmed == done and tree.current.film["running"] is False
    assert f"stopped at step {done}" in denoise.node_line(tree.current, "en")


def test_a_node_that_is_pressed_comes_back_with_its_settings(tree: Tree) -> None:
    list(denoise.run(ENGLISH, tree, **values(sampler="ddpm", steps=4, count=3)))
    denoise.note_place(ENGLISH, tree, resting(2))
    painted = branching(sampler="heun", steps=3, eta=0.5, seed=11, paint=sent(denoising.paint()))
    list(denoise.run_branch(ENGLISH, tree, **painted))
    assert [node.parent for node in tree.nodes.values()] == [None, None, 2]
    back = denoise.choose_node(ENGLISH, tree, pressed(1))
    assert films_of(back["player"]) == [tree.nodes[1].film] and "all 6 steps" in back["line"]
    assert recipe_of(**set_fields(back)) == tree.nodes[1].recipe
    branched = denoise.choose_node(ENGLISH, tree, pressed(3))
    assert recipe_of(**set_fields(branched)) == tree.nodes[2].recipe
    own = set_branch(branched)  # as the branch was made, of which it goes on
    assert [own[name] for name in ("sampler", "steps", "eta", "seed")] == ["heun", 1, 0.5, 11]
    assert painter.read_paint(own["paint"], 8, 8) is None
    assert branched["branch_go"] == "Continue from step 2"  # the last has nothing after it
    nodes = branched["player"]["nodes"]
    assert [(node["number"], node["parent"], node["shown"]) for node in nodes] == [
        (1, None, False),
        (2, None, False),
        (3, 2, True),
    ]
    labels = [node["film"] and node["film"]["label"] for node in nodes]
    assert labels == ["DDIM 6, seed 5", "DDPM 4, seed 5", None]  # the shown film is there already


@pytest.mark.parametrize("node", [0, 9, -1, 1.5, math.nan, True, None, "1", [1], {}])
def test_a_node_that_is_none_is_told_in_a_line(tree: Tree, node: Any) -> None:
    with pytest.raises(gr.Error) as error:
        denoise.choose_node(ENGLISH, tree, pressed(node))
    assert "sampling = " in one_line(error.value)
    with pytest.raises(gr.Error):
        denoise.choose_node(ENGLISH, tree, gr.EventData(None, "data"))


def test_where_the_slider_of_an_older_film_rested_changes_nothing(tree: Tree) -> None:
    late = gr.EventData(None, {"i": 6, "lane": 0, "id": tree.current.film["id"]})
    list(denoise.run(ENGLISH, tree, **values(steps=3)))
    tree.place = 2
    assert denoise.note_place(ENGLISH, tree, late) == {}
    assert tree.place == 2


@pytest.mark.parametrize("step", [0, 7, 1.5, True, None, "2"])
def test_a_place_that_is_no_step_is_told_in_a_line(tree: Tree, step: Any) -> None:
    with pytest.raises(gr.Error, match="step"):
        denoise.note_place(ENGLISH, tree, gr.EventData(None, {"i": step}))


# ---- the bundled example


def test_the_page_opens_with_an_example_that_can_be_made_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sd.runs.home.BUNDLED_RUNS", denoising.BUNDLED)
    tree = Tree()
    view = denoise.first_view(ENGLISH, tree, UNTOLD)
    begun = set_branch(view)
    recipe, film = tree.current.recipe, tree.current.film
    assert "finished example" in view["line"]
    assert view["player"]["opening"] and tree.place == round(0.6 * recipe.steps)
    assert view["player"]["lanes"][0]["captions"] == list(recipe.prompts)
    assert begun["steps"] == recipe.steps - tree.place
    assert begun["paint"]["width"] == film["width"] == 32
    assert all(Path(chunk["src"]).is_file() for chunk in film["chunks"])
    assert film["frames"][-1]["t"] == 0 and len(film["frames"]) == recipe.steps
    assert models.find_recipe_model(recipe).name == recipe.model
    source = models.open_model(models.find_recipe_model(recipe))
    last: SampleStep = replayed(replace(recipe, count=1), source)[-1]
    shown = branch.cut_picture(film, "x_t", film["frames"][-1])
    away = np.abs(np.asarray(shown, float) - np.asarray(to_pil(last.x_t[0]), float))
    assert away.mean() < CLOSE and away.max() < 100  # colours that JPEG cannot hold
    tree.place = 7  # somebody moved there before the bar came
    again = denoise.first_view(ENGLISH, tree, UNTOLD)
    assert again["asked"] == view["asked"] and len(tree.nodes) == 1
    assert tree.place == 7 and set_branch(again)["steps"] == recipe.steps - 7
    made = [begun[name] for name in ("sampler", "eta", "seed")]
    assert made == [recipe.sampler, recipe.eta, recipe.seed]
    controls = set_fields(view)
    controls["held"] = FIRST | view["held"]["patch"]["values"]  # what it begins with is not sent
    assert recipe_of(**controls | {"model": recipe.model}) == recipe  # the page has one already


def test_the_examples_pictures_come_back_when_they_were_cleaned_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sd.runs.home.BUNDLED_RUNS", denoising.BUNDLED)
    found = example.find_example()
    assert found is not None
    Path(found[1]["chunks"][0]["src"]).unlink()
    again = example.find_example()
    assert again is not None and again[0] == found[0]
    assert all(Path(chunk["src"]).is_file() for chunk in again[1]["chunks"])


def test_the_examples_pictures_stand_there_before_its_film(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sd.runs.home.BUNDLED_RUNS", denoising.BUNDLED)
    still, found = example.find_still(), example.find_example()
    assert still is not None and found is not None
    film = found[1]
    for key in ("id", "count", "columns", "width", "height", "captions"):
        assert still[key] == film[key]
    with Image.open(io.BytesIO(base64.b64decode(still["src"].partition(",")[2]))) as sheet:
        assert sheet.size == (2 * 32, 2 * 32)
        first = np.asarray(sheet.convert("RGB").crop((0, 0, 32, 32)), float)
    shown = branch.cut_picture(film, "x_t", film["frames"][-1])
    assert np.abs(first - np.asarray(shown.convert("RGB"), float)).mean() < CLOSE
    assert len(still["src"]) < 20_000
    drawn = denoise.build_stage()["player"].js_on_load
    assert str(still["id"]) in drawn and str(still["src"]) in drawn


def test_without_an_example_the_page_begins_empty() -> None:
    assert example.find_example() is None and example.find_still() is None
    tree = Tree()
    view = denoise.first_view(ENGLISH, tree, UNTOLD)
    assert view.keys() == {"player"} and view["player"]["lanes"] == [] and tree.nodes == {}
    assert view["player"]["words"]["play"] == "Play"  # tooltips are words at once


# ---- the endpoint


def test_the_endpoint_tells_of_every_step_once() -> None:
    asked = ("little", "ddim", 40, 5, 2, 0.0, "fixed_small", "trailing", True)
    told = list(api.denoise_pictures(*asked))
    steps = [step for *_, facts in told for step in facts["steps"]]
    assert [step["i"] for step in steps] == list(range(1, 41))
    assert told[-1][2]["step"] == 40 and told[-1][2]["t"] == 0
    image = told[-1][0]
    assert Image.open(image).size == (8 + 2 + 8, 8)


def test_the_endpoint_tells_of_every_step_of_a_long_sampling() -> None:
    asked = ("little", "ddim", 300, 5, 1, 0.0, "fixed_small", "trailing", True)
    steps = [step["i"] for *_, facts in api.denoise_pictures(*asked) for step in facts["steps"]]
    assert steps == list(range(1, 301))
