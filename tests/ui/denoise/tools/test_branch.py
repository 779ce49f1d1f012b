"""What follows a step of a sampling that is looked at: a branch, and Algorithm 2's numbers."""

import io
import math
import re
from dataclasses import replace
from typing import Any

import gradio as gr
import numpy as np
import pytest
import torch
from PIL import Image

from sd.checkpoints.model import Model
from sd.common.validation import InputError
from sd.data.images import to_array
from sd.diffusion.timesteps import SAMPLERS
from sd.generation.recipe import DEEPEST, Branch, from_json
from sd.ui.denoise import tab as denoise
from sd.ui.denoise.tools import algorithm2, branch
from sd.ui.denoise.tools.branch import BranchForm
from sd.ui.denoise.tree import Tree
from tests.helpers import denoising
from tests.helpers.denoising import (
    CHINESE,
    CLOSE,
    ENGLISH,
    HOSTILE,
    another_day,
    branch_of,
    branching,
    equal,
    one_line,
    pressed,
    replayed,
    resting,
    sent,
    set_branch,
    values,
)

pytestmark = pytest.mark.usefixtures("little", "quick")
RESULT = 0.0006  # of a number that is told with three decimals


# ---- a branch


def test_where_the_slider_rests_a_branch_is_offered(tree: Tree, little: Model) -> None:
    offer = denoise.note_place(ENGLISH, tree, resting(4))
    content, left = offer["branch_paint"], set_branch(offer)["steps"]
    t = replayed(tree.current.recipe, little)[3].t
    assert f"at t = {t:g}" in offer["branch_words"]
    assert offer["branch_go"] == "Continue from step 4"
    assert (left, content["width"], content["height"], tree.place) == (2, 8, 8, 4)
    offer = denoise.note_place(CHINESE, tree, resting(6))  # nothing comes after the last
    assert offer["branch_go"] == "从第 5 步继续" and set_branch(offer)["steps"] == 1
    for wrong in (0, 7, math.nan, True, None, "x", 4.7, [1], 10**400):
        with pytest.raises(gr.Error, match="step = "):
            denoise.note_place(ENGLISH, tree, resting(wrong))
    with pytest.raises(gr.Error, match="press Denoise first"):
        denoise.note_place(ENGLISH, Tree(), resting(1))


@pytest.mark.parametrize("steps", [6, 150])
def test_what_is_cut_out_of_the_film_is_the_step(
    tree: Tree, little: Model, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sd.generation.film.MOST_TOGETHER", 4)  # several chunks
    monkeypatch.setattr(
        "sd.generation.film.WHOLE", 90.0
    )  # bytes a pixel: 8 x 8 pixels are mostly header
    monkeypatch.setattr("sd.generation.film.SHARE", {"x0": 20.0, "eps": 20.0, "change": 20.0})
    list(denoise.run(ENGLISH, tree, **values(steps=steps)))
    film, made = tree.current.film, replayed(tree.current.recipe, little)
    assert len(film["chunks"]) > 1
    for i in (1, 3, steps - 1, steps):
        frame = branch.frame_at(film, i)
        assert frame["i"] == i
        for kind in ("x0", "x_t"):
            cut = np.asarray(branch.cut_picture(film, kind, frame).convert("L"), float)
            exact = to_array(getattr(made[i - 1], kind))[0, ..., 0]
            assert np.abs(cut - exact).mean() < CLOSE, (kind, i)
    # the tolerance tells one step's picture from another's
    far = np.asarray(branch.cut_picture(film, "x_t", branch.frame_at(film, 1)).convert("L"), float)
    assert np.abs(far - to_array(made[-1].x_t)[0, ..., 0]).mean() > 2 * CLOSE


def test_a_branch_leaves_its_parent_after_the_step_and_paint_arrives(
    tree: Tree, little: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = another_day(monkeypatch)
    parent = tree.current.recipe
    denoise.note_place(ENGLISH, tree, resting(5))
    list(denoise.run_branch(ENGLISH, tree, **branching()))
    same = tree.current
    assert same.parent == 1 and same.recipe.branch == Branch(parent, 5)
    end = replayed(parent, little)[-1].x_t
    assert torch.equal(kept.steps(same.recipe)[-1].x_t, end)  # nothing was changed
    ends = {}
    for level in (0, 255):
        tree.show(1)
        denoise.note_place(ENGLISH, tree, resting(5))
        painted = branching(paint=sent(denoising.paint(level)))
        list(denoise.run_branch(ENGLISH, tree, **painted))
        assert equal(kept.steps(tree.current.recipe), replayed(tree.current.recipe, little))
        ends[level] = kept.steps(tree.current.recipe)[-1].x_t
    corner = (ends[255] - ends[0])[..., :2, :2]
    assert float(corner.min()) > 0.5  # of 2: white became brighter than black, each pixel
    assert len(tree.nodes) == 4 and [n.parent for n in tree.nodes.values()][1:] == [1, 1, 1]


def settings(updates: dict[str, Any]) -> list[Any]:
    """Return what a handler sets the first fields of a branch to."""
    return [set_branch(updates)[name] for name in ("sampler", "steps", "eta", "seed")]


def test_a_branch_begins_as_what_it_goes_on_from_and_keeps_what_is_typed(tree: Tree) -> None:
    def offered(i: int) -> list[Any]:
        return settings(denoise.note_place(ENGLISH, tree, resting(i)))

    assert offered(4) == ["ddim", 2, 0.0, 5]
    # A browser that has not drawn the fields yet holds the last that was sent, and nothing before.
    assert offered(3) == ["ddim", 3, 0.0, 5]
    branch.note_seen(tree)
    assert offered(2) == [None, 4, None, None]  # of the same sampling only the steps are others
    list(denoise.run(ENGLISH, tree, **values(sampler="ddpm", steps=9, eta=0.3, seed=77)))
    assert offered(2) == ["ddpm", 7, 0.3, 77]
    other = branching(sampler="heun", steps=5, eta=0.5, seed=11)
    list(denoise.run_branch(ENGLISH, tree, **other))
    assert offered(1) == ["heun", 4, 0.5, 11]
    again = denoise.choose_node(ENGLISH, tree, pressed(2))
    assert settings(again) == ["ddpm", 1, 0.3, 77]
    assert offered(1) == [None, 8, None, None]
    made = BranchForm.from_recipe(tree.current.recipe).to_recipe(tree.current, 2)
    parent = tree.current.recipe
    assert replace(made, branch=None) == replace(parent, seed_to=None, start=None)


def test_a_branch_leaves_no_step_that_was_not_made(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = tree.current
    node.film = {**node.film, "frames": node.film["frames"][:3]}  # stopped there
    for place in (3, 4, 6):
        assert branch_of(node, place).branch == Branch(node.recipe, 3)
    for place in (0, 3, 5):  # in the middle where the slider rests nowhere
        tree.show(1)
        tree.place = place
        list(denoise.run_branch(ENGLISH, tree, **branching()))
        assert tree.current.recipe.branch == Branch(node.recipe, 3)
    monkeypatch.setattr("sd.generation.film.MOST_FRAMES", 3)
    list(denoise.run(ENGLISH, tree, **values(steps=12)))  # every fourth step is seen
    assert len(tree.current.film["frames"]) < 6
    for at in (1, 6, 11):
        assert branch_of(tree.current, at).branch == Branch(tree.current.recipe, at)
    assert branch_of(tree.current, 12).branch == Branch(tree.current.recipe, 11)


def test_a_new_sampling_is_shown_alone_and_from_its_beginning(tree: Tree) -> None:
    first = tree.current
    tree.place = 3
    tree.add(replace(first.recipe, seed=99))
    assert tree.place == 0 and tree.current.recipe.seed == 99


def test_without_a_resting_slider_a_branch_leaves_in_the_middle(tree: Tree) -> None:
    list(denoise.run_branch(ENGLISH, tree, **branching(sampler="euler", steps=9, seed=3)))
    found = tree.current.recipe
    assert found.branch is not None and found.branch.at == 3
    assert (found.sampler, found.steps, found.seed) == ("euler", 9, 3)


def test_a_branch_of_two_seeds_or_of_a_picture_keeps_neither(tree: Tree, little: Model) -> None:
    for begin in ("seeds", "picture"):
        list(denoise.run(ENGLISH, tree, **values(begin=begin, seed_to=9, mask=None)))
        parent = tree.current
        made = branch_of(parent, 2, steps=4)
        assert (made.seed_to, made.start, made.count) == (None, None, 2)
        assert equal(replayed(made, little)[-1:], replayed(parent.recipe, little)[-1:])


@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: repr(value)[:12])
def test_each_field_of_a_branch_refuses_what_it_cannot_hold(tree: Tree, value: Any) -> None:
    may = [("seed", 10**9), ("paint", None), ("paint", {})]
    for name in ("sampler", "steps", "eta", "seed", "paint"):  # the others are read by the form
        if (name, value) in may:
            continue
        with pytest.raises(InputError) as error:
            branch_of(tree.current, 3, **{name: value})
        one_line(error.value)


def test_there_is_no_branch_where_nothing_is_left() -> None:
    tree = Tree()
    with pytest.raises(gr.Error, match="press Denoise first"):
        list(denoise.run_branch(ENGLISH, tree, **branching()))
    list(denoise.run(ENGLISH, tree, **values(steps=1)))
    with pytest.raises(gr.Error, match="a sampling of one step"):
        list(denoise.run_branch(ENGLISH, tree, **branching()))


def test_a_branch_beyond_the_caps_is_refused(tree: Tree) -> None:
    parent = replace(tree.current.recipe, steps=1000)
    for seed in range(3):
        node = replace(tree.current, recipe=parent)
        parent = branch_of(node, 1, steps=1000, seed=seed)
    with pytest.raises(InputError, match="steps with those before the branch = 4001"):
        branch_of(replace(node, recipe=parent), 1)


def test_what_the_page_makes_can_be_brought_back_however_deep(tree: Tree) -> None:
    node, made = tree.current, tree.current.recipe
    for seed in range(2 * DEEPEST):
        try:
            made = branch_of(node, 1, steps=6, seed=seed)
        except InputError as error:
            assert "branches" in one_line(error) and seed >= DEEPEST - 1
            break
        assert from_json(made.to_json()) == made
        node = replace(node, recipe=made)
    assert made.branch is not None


# ---- Algorithm 2


def numbers(request: Any, tree: Tree) -> str:
    """Return what the tool shows at last."""
    *_, last = algorithm2.show_numbers(request, tree)
    return str(last["algorithm"])


def result_of(panel: str) -> float:
    """Return the number that the algorithm's line gives."""
    found = re.search(r'class="result">([^<]+)<', panel)
    assert found, panel
    return float(found.group(1).replace("−", "-"))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_algorithms_line_gives_the_step(
    sampler: str, little: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = Tree()
    list(denoise.run(ENGLISH, tree, **values(sampler=sampler, eta=0.5)))
    made = replayed(tree.current.recipe, little)
    for i in (1, 3, 6):
        tree.place = i
        panel = numbers(ENGLISH, tree)
        assert result_of(panel) == pytest.approx(float(made[i - 1].x_t[0, 0, 4, 4]), abs=RESULT)
    assert "row 5, column 5" in panel
    another_day(monkeypatch)
    tree.place = 3
    told, again = (str(each["algorithm"]) for each in algorithm2.show_numbers(CHINESE, tree))
    assert "重新走一遍" in told and "result" not in told  # until the steps have been made again
    assert len(list(algorithm2.show_numbers(CHINESE, tree))) == 1  # they are kept now
    assert result_of(again) == pytest.approx(float(made[2].x_t[0, 0, 4, 4]), abs=RESULT)
    assert re.search(r"[\u4e00-\u9fff]", again)


def test_the_algorithms_pixel_lies_within_the_mask(little: Model) -> None:
    tree = Tree()
    lower = np.zeros((8, 8, 4), np.uint8)
    lower[6:, 2:] = 255
    mask = sent(painted_png(lower))
    list(denoise.run(ENGLISH, tree, **values(begin="picture", mask=mask)))
    tree.place = 3
    panel = numbers(ENGLISH, tree)
    x = float(replayed(tree.current.recipe, little)[2].x_t[0, 0, 6, 2])
    assert "row 7, column 3" in panel and result_of(panel) == pytest.approx(x, abs=RESULT)
    assert "Draw something" in numbers(ENGLISH, Tree())


def painted_png(pixels: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_a_sampling_too_large_to_be_kept_says_so(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    another_day(monkeypatch, 1000)
    tree.place = 3
    with pytest.raises(gr.Error, match="step 3 of 6: too large to be kept"):
        numbers(ENGLISH, tree)
