"""The Denoise tab's handlers as plain functions: fields, branches, models, algorithm, example."""

import io
import math
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
import torch
from PIL import Image

from sd import gate, runs
from sd.__main__ import parser
from sd.checkpoints import Model, load_checkpoint
from sd.gate import InputError
from sd.grids import SAMPLERS
from sd.images import to_array, to_pil
from sd.recipe import DEEPEST, Branch, Recipe, Start, from_json
from sd.sampling import SampleStep
from sd.ui import api, denoise, models, painter
from sd.ui.sampling import algorithm, branch, example, fields
from sd.ui.sampling.prompts import Asking
from sd.ui.sampling.tree import Tree
from tests import denoising
from tests.denoising import (
    CHINESE,
    ENGLISH,
    another_day,
    beginnings,
    equal,
    little_model,  # noqa: F401
    quick_looks,  # noqa: F401
    replayed,
    sent,
    slowed,
    value_of,
    values,
)

pytestmark = pytest.mark.usefixtures("little", "quick")
HOSTILE = [
    *(math.nan, math.inf, -1, 4.7, 10**9, 10**400, True, None, "x", "../../etc/passwd", [1], {}),
    "x" * 5_000_000,
]
FIELDS = slice(6, 6 + len(fields.Fields._fields))  # of what a pressed node sets, after the stage
CLOSE = 12  # of 255, on average: what a small JPEG of noise may lose
RESULT = 0.0006  # of a number that is told with three decimals


def one_line(error: BaseException) -> str:
    """Hold an error to the promise: one line, not too long; return it."""
    line = error.message if isinstance(error, gr.Error) else str(error)
    assert line and "\n" not in line and len(line) <= gate.LONGEST_MESSAGE
    return str(line)


def resting(i: Any) -> Any:
    return gr.EventData(None, {"i": i, "lane": 0})


def pressed(node: Any) -> Any:
    return gr.EventData(None, {"node": node})


@pytest.fixture
def tree() -> Tree:
    """A page that has made one sampling of six steps."""
    tree = Tree()
    list(denoise.run(ENGLISH, tree, *values()))
    return tree


def test_a_sampling_made_again_sends_no_old_film_first(tree: Tree) -> None:
    began, *others = denoise.run(ENGLISH, tree, *values())
    assert len(tree.nodes) == 1 and "lanes" not in began[0]
    assert len(others[-1][0]["lanes"][0]["frames"]) == 6


# ---- the fields


@pytest.mark.parametrize("name", ["noise", "seeds", "picture", "mask"])
def test_every_control_comes_back_from_a_recipe(tmp_path: Path, name: str) -> None:
    def keep(png: bytes) -> str:
        (tmp_path / "kept").write_bytes(png)
        return str(tmp_path / "kept")

    made = replace(
        beginnings()[name], eta=0.35, variance="fixed_large", spacing="karras", clip_x0=False
    )
    told = [value_of(each) for each in fields.settings_of(made, keep, "en")]
    assert fields.recipe_of(*told) == made
    other = replace(made, seed=6)
    assert fields.recipe_of(*fields.Fields(*told)._replace(seed=6)) == other != made


@pytest.mark.parametrize("share", [0.1, 1, 12.3456789, 33.3, 60, 99.9, 100])
def test_how_far_into_the_noise_comes_back(tmp_path: Path, share: float) -> None:
    def keep(png: bytes) -> str:
        (tmp_path / "kept").write_bytes(png)
        return str(tmp_path / "kept")

    made = fields.recipe_of(*values(begin="picture", share=share))
    assert made.start is not None
    assert made.start.t == pytest.approx(models.timesteps(models.find("little")) * share / 100)
    told = [value_of(each) for each in fields.settings_of(made, keep, "en")]
    assert fields.recipe_of(*told) == made


def test_a_recipe_names_the_model_as_it_is() -> None:
    made = fields.recipe_of(*values())
    assert made == Recipe(
        *("little", denoising.STEP, models.digest(models.find("little"))),
        *("ddim", 6, 0.0, "fixed_small", "trailing", True, 5, 2),
    )
    assert re.fullmatch("[0-9a-f]{16}", made.digest)
    assert fields.recipe_of(*values(seed_to=7, share=20)) == made  # those of other beginnings
    assert fields.recipe_of(*values(begin="seeds", seed_to=7)).seed_to == 7
    start = fields.recipe_of(*values(begin="picture", share=20, mask=None)).start
    assert start is not None and start.t == 10 and start.mask is None
    with Image.open(io.BytesIO(start.picture)) as image:
        assert (image.size, image.mode) == ((8, 8), "L")


@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: repr(value)[:12])
@pytest.mark.parametrize("name", fields.Fields._fields[: -len(Asking._fields)])
def test_each_field_refuses_what_it_cannot_hold(name: str, value: Any) -> None:
    good = {"clip": [True], "eta": [], "mask": [None, {}], "share": [4.7], "seed": [10**9]}
    good |= {"seed_to": [10**9]}
    if name == "picture" or (value in good.get(name, []) and value is not False):
        return  # a state of the server's own, or a value that may be
    needed = {"seed_to": "seeds", "share": "picture", "mask": "picture"}
    changes = {name: value, **({"begin": needed[name]} if name in needed else {})}
    with pytest.raises(InputError) as error:
        fields.recipe_of(*values(**changes))
    one_line(error.value)


def test_what_fits_in_no_field_is_shown_where_it_counts() -> None:
    shown = denoise.depending(ENGLISH, "little", "heun", 6, "trailing", "noise", 60)
    assert [each["visible"] for each in shown[:2]] == [False, False]
    assert "second order" in shown[2]
    late = denoise.depending(ENGLISH, "little", "heun", 6, "trailing", "picture", 60)[2]
    assert f"{models.calls(models.find('little'), 'heun', 6, start=30.0)} network calls" in late
    assert f"{models.calls(models.find('little'), 'heun', 6)} network calls" in shown[2]
    assert denoise.depending(ENGLISH, "little", "ddim", 6, "karras", "seeds", 60)[0]["visible"]
    assert denoise.depending(CHINESE, "little", "ddpm", 6, "trailing", "noise", 60)[1]["visible"]
    for wrong in (("gone", "ddim", 6), ("little", "dimd", 6), ("little", "ddim", math.nan)):
        with pytest.raises(gr.Error):
            denoise.depending(ENGLISH, *wrong, "trailing", "noise", 60)
    assert [each["visible"] for each in fields.choose_begin("seeds")] == [True, False]
    assert [each["visible"] for each in fields.choose_begin("picture")] == [False, True]
    laid = fields.lay_mask(ENGLISH, "picture", "little", "owl.png")
    assert (laid["width"], laid["height"], laid["paint"]) == (8, 8, None)
    assert "value" not in fields.lay_mask(ENGLISH, "noise", "little", "owl.png")


def test_an_upload_to_begin_from_must_be_a_picture(tmp_path: Path) -> None:
    (tmp_path / "good.png").write_bytes(denoising.picture(20))
    (tmp_path / "bad.png").write_text("<html>")
    assert fields.choose_upload(str(tmp_path / "good.png"), "owl.png")[0].endswith("good.png")
    assert fields.choose_upload(None, "owl.png")[0] == "owl.png"
    with pytest.raises(gr.Error, match="not a picture"):
        fields.choose_upload(str(tmp_path / "bad.png"), "owl.png")


# ---- denoising


def test_denoising_shows_it_as_it_comes_and_keeps_every_step(
    little: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    slowed(monkeypatch, little, 0.01)
    tree = Tree()
    shown = list(denoise.run(ENGLISH, tree, *values(steps=12)))
    assert "loading the model" in shown[0][1]
    lines = [line for _, line, *_ in shown[1:-1]]
    assert any(re.search(r"step \d+ of 12, t = [\d.]+.* left", line) for line in lines)
    assert "12 steps in" in shown[-1][1] and 'aria-valuenow="100"' in shown[-1][1]
    films = [
        value["lanes"][0] for value, *_ in shown if isinstance(value, dict) and "lanes" in value
    ]
    grown = [len(film["frames"]) for film in films]
    assert grown == sorted(grown) and len(set(grown)) >= 3 and grown[-1] == 12
    assert [film["running"] for film in films][-2:] == [True, False]
    assert all(Path(chunk["src"]).is_file() for chunk in films[-1]["chunks"])
    node = tree.current
    assert node.film == films[-1] and (node.done, node.made, node.parent) == (12, 12, None)
    assert node.end is not None and torch.equal(node.end, replayed(node.recipe, little)[-1].x_t)


def test_the_same_again_is_the_same_node_and_the_rest_is_words(tree: Tree) -> None:
    film = tree.current.film
    shown = list(denoise.run(CHINESE, tree, *values()))
    assert len(tree.nodes) == 1 and tree.current.film["id"] != film["id"]
    assert "6 步，用时" in shown[-1][1] and shown[-1][3]["interactive"] is False
    assert denoise.said(tree.current, "en").count("all 6 steps") == 1
    denoise.halt(tree)  # what has ended stays as it is
    denoise.halt("no tree")
    assert tree.current.done == 6


def test_a_stopped_sampling_keeps_what_came(little: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    slowed(monkeypatch, little, 0.005)
    tree, shown = Tree(), []
    for each in denoise.run(ENGLISH, tree, *values(steps=50)):
        shown.append(each)
        if tree.job and tree.job.done >= 2:
            denoise.halt(tree)
    done = tree.current.done
    assert 2 <= done < 50 and f"stopped at step {done} of 50" in shown[-1][1]
    assert tree.current.made == done and tree.current.film["running"] is False
    assert f"stopped at step {done}" in denoise.said(tree.current, "en")


def test_a_node_that_is_pressed_comes_back_with_its_settings(tree: Tree) -> None:
    list(denoise.run(ENGLISH, tree, *values(sampler="ddpm", steps=4, count=3)))
    denoise.rest(ENGLISH, tree, resting(2))
    list(denoise.go_on(ENGLISH, tree, "heun", 3, 0.5, 11, None, sent(denoising.paint())))
    assert [node.parent for node in tree.nodes.values()] == [None, None, 2]
    back = denoise.choose_node(ENGLISH, tree, pressed(1))
    assert back[0]["lanes"] == [tree.nodes[1].film] and "all 6 steps" in back[1]
    assert fields.recipe_of(*map(value_of, back[FIELDS])) == tree.nodes[1].recipe
    branched = denoise.choose_node(ENGLISH, tree, pressed(3))
    assert fields.recipe_of(*map(value_of, branched[FIELDS])) == tree.nodes[2].recipe
    own = branch.Asked(*map(value_of, branched[FIELDS.stop :]))
    assert own[:5] == ("heun", 3, 0.5, 11, "")
    assert painter.read_paint(branched[-1], 8, 8) is not None
    assert 'data-node="3" aria-current="true"' in branched[2]
    assert "step 2 of 3" in branched[5]  # the last has nothing after it
    assert branched[3]["choices"] == [
        ("nothing", "0"),
        ("1: ddim 6, seed 5", "1"),
        ("2: ddpm 4, seed 5", "2"),
    ]


@pytest.mark.parametrize("node", [0, 9, -1, 1.5, math.nan, True, None, "1", [1], {}])
def test_a_node_that_is_none_is_told_in_a_line(tree: Tree, node: Any) -> None:
    with pytest.raises(gr.Error) as error:
        denoise.choose_node(ENGLISH, tree, pressed(node))
    assert "sampling = " in one_line(error.value)
    with pytest.raises(gr.Error):
        denoise.choose_node(ENGLISH, tree, gr.EventData(None, "data"))


def test_two_samplings_beside_each_other(tree: Tree) -> None:
    list(denoise.run(ENGLISH, tree, *values(steps=20)))
    value = denoise.set_beside(ENGLISH, tree, "1")
    assert [film["total"] for film in value["lanes"]] == [20, 6]
    assert [film["total"] for film in denoise.set_beside(ENGLISH, tree, "0")["lanes"]] == [20]
    with pytest.raises(gr.Error, match="sampling"):
        denoise.set_beside(ENGLISH, tree, "7")


def test_the_longer_one_beside_can_be_chosen_in_the_player(tree: Tree) -> None:
    list(denoise.run(ENGLISH, tree, *values(steps=20)))
    tree.show(1)
    denoise.set_beside(ENGLISH, tree, "2")
    data = {"i": 20, "lane": 1, "id": tree.nodes[2].film["id"]}
    words, *_ = denoise.rest(ENGLISH, tree, gr.EventData(None, data))
    assert "Goes on from step" in words


def test_where_the_slider_of_an_older_film_rested_changes_nothing(tree: Tree) -> None:
    late = gr.EventData(None, {"i": 6, "lane": 0, "id": tree.current.film["id"]})
    list(denoise.run(ENGLISH, tree, *values(steps=3)))
    tree.place = 2
    assert denoise.rest(ENGLISH, tree, late) == (gr.skip(),) * 4
    assert tree.place == 2


# ---- a branch


def test_where_the_slider_rests_a_branch_is_offered(tree: Tree, little: Model) -> None:
    words, left, _, content = denoise.rest(ENGLISH, tree, resting(4))
    t = replayed(tree.current.recipe, little)[3].t
    assert f"Goes on from step 4 of 6, where t = {t:g}" in words
    assert (left, content["width"], content["height"], tree.place) == (2, 8, 8, 4)
    words, left, *_ = denoise.rest(CHINESE, tree, resting(6))  # nothing comes after the last
    assert "从第 5 步（共 6 步" in words and left == 1
    for wrong in (0, 7, math.nan, True, None, "x", 4.7, [1], 10**400):
        with pytest.raises(gr.Error, match="step = "):
            denoise.rest(ENGLISH, tree, resting(wrong))
    with pytest.raises(gr.Error, match="press Denoise first"):
        denoise.rest(ENGLISH, Tree(), resting(1))


@pytest.mark.parametrize("steps", [6, 150])
def test_what_is_cut_out_of_the_film_is_the_step(
    tree: Tree, little: Model, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sd.film.MOST_TOGETHER", 4)  # several chunks
    monkeypatch.setattr("sd.film.WHOLE", 90.0)  # bytes a pixel: 8 x 8 pixels are mostly header
    monkeypatch.setattr("sd.film.SHARE", {"x0": 20.0, "eps": 20.0, "change": 20.0})
    list(denoise.run(ENGLISH, tree, *values(steps=steps)))
    film, made = tree.current.film, replayed(tree.current.recipe, little)
    assert len(film["chunks"]) > 1
    for i in (1, 3, steps - 1, steps):
        frame = branch.frame_at(film, i)
        assert frame["i"] == i
        for kind in ("x0", "x_t"):
            cut = np.asarray(branch.still(film, kind, frame).convert("L"), float)
            exact = to_array(getattr(made[i - 1], kind))[0, ..., 0]
            assert np.abs(cut - exact).mean() < CLOSE, (kind, i)
    # the tolerance tells one step's picture from another's
    far = np.asarray(branch.still(film, "x_t", branch.frame_at(film, 1)).convert("L"), float)
    assert np.abs(far - to_array(made[-1].x_t)[0, ..., 0]).mean() > 2 * CLOSE


def test_a_branch_leaves_its_parent_after_the_step_and_paint_arrives(
    tree: Tree, little: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = another_day(monkeypatch)
    parent = tree.current.recipe
    denoise.rest(ENGLISH, tree, resting(5))
    list(denoise.go_on(ENGLISH, tree, "ddim", 1, 0.0, 5, None, None))
    same = tree.current
    assert same.parent == 1 and same.recipe.branch == Branch(parent, 5)
    end = replayed(parent, little)[-1].x_t
    assert torch.equal(kept.steps(same.recipe)[-1].x_t, end)  # nothing was changed
    ends = {}
    for level in (0, 255):
        tree.show(1)
        denoise.rest(ENGLISH, tree, resting(5))
        list(denoise.go_on(ENGLISH, tree, "ddim", 1, 0.0, 5, None, sent(denoising.paint(level))))
        assert equal(kept.steps(tree.current.recipe), replayed(tree.current.recipe, little))
        ends[level] = kept.steps(tree.current.recipe)[-1].x_t
    corner = (ends[255] - ends[0])[..., :2, :2]
    assert float(corner.min()) > 0.5  # of 2: white became brighter than black, each pixel
    assert len(tree.nodes) == 4 and [n.parent for n in tree.nodes.values()][1:] == [1, 1, 1]


def test_without_a_resting_slider_a_branch_leaves_in_the_middle(tree: Tree) -> None:
    list(denoise.go_on(ENGLISH, tree, "euler", 9, 0.0, 3, None, None))
    found = tree.current.recipe
    assert found.branch is not None and found.branch.at == 3
    assert (found.sampler, found.steps, found.seed) == ("euler", 9, 3)


def test_a_branch_of_two_seeds_or_of_a_picture_keeps_neither(tree: Tree, little: Model) -> None:
    for begin in ("seeds", "picture"):
        list(denoise.run(ENGLISH, tree, *values(begin=begin, seed_to=9, mask=None)))
        parent = tree.current
        made = branch.recipe_of(parent, 2, "ddim", 4, 0.0, 5, None, None)
        assert (made.seed_to, made.start, made.count) == (None, None, 2)
        assert equal(replayed(made, little)[-1:], replayed(parent.recipe, little)[-1:])


@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: repr(value)[:12])
def test_each_field_of_a_branch_refuses_what_it_cannot_hold(tree: Tree, value: Any) -> None:
    good = [3, "ddim", 4, 0.0, 5, None, None]
    branch.recipe_of(tree.current, *good)
    may = [(4, 10**9), (5, None), (6, None)]
    for place in range(len(good)):
        if (place, value) in may or (place == 6 and value == {}):
            continue
        with pytest.raises(InputError) as error:
            branch.recipe_of(tree.current, *good[:place], value, *good[place + 1 :])
        one_line(error.value)


def test_there_is_no_branch_where_nothing_is_left() -> None:
    tree = Tree()
    with pytest.raises(gr.Error, match="press Denoise first"):
        list(denoise.go_on(ENGLISH, tree, "ddim", 1, 0.0, 5, None, None))
    list(denoise.run(ENGLISH, tree, *values(steps=1)))
    with pytest.raises(gr.Error, match="a sampling of one step"):
        list(denoise.go_on(ENGLISH, tree, "ddim", 1, 0.0, 5, None, None))


def test_a_branch_beyond_the_caps_is_refused(tree: Tree) -> None:
    parent = replace(tree.current.recipe, steps=1000)
    for seed in range(3):
        node = replace(tree.current, recipe=parent)
        parent = branch.recipe_of(node, 1, "ddim", 1000, 0.0, seed, None, None)
    with pytest.raises(InputError, match="steps with those before the branch = 4001"):
        branch.recipe_of(replace(node, recipe=parent), 1, "ddim", 1, 0.0, 5, None, None)


def test_what_the_page_makes_can_be_brought_back_however_deep(tree: Tree) -> None:
    node, made = tree.current, tree.current.recipe
    for seed in range(2 * DEEPEST):
        try:
            made = branch.recipe_of(node, 1, "ddim", 6, 0.0, seed, None, None)
        except InputError as error:
            assert "branches" in one_line(error) and seed >= DEEPEST - 1
            break
        assert from_json(made.to_json()) == made
        node = replace(node, recipe=made)
    assert made.branch is not None


# ---- the models


def test_models_are_listed_with_their_closed_forms(tmp_path: Path) -> None:
    Image.new("RGB", (16, 16), "teal").save(tmp_path / "a.png")
    handle = api.inspect_data([str(tmp_path / "a.png")])["data"]
    names = [name for _, name in models.choices(handle)]
    assert names == [
        "little",
        *("ideal:starter", "linear:starter", "ideal:shapes", "linear:shapes"),
        *(f"ideal:{handle}", f"linear:{handle}"),
        *("ideal:pictured", "linear:pictured"),
    ]
    assert models.choices()[0] == ("little, step 4", "little") and len(models.choices()) == 7
    for wrong in ("x", 5, None, "../x.zip", {"a": 1}):
        assert models.choices(wrong) == models.choices()
    assert models.find(f"linear:{handle}").folder == runs.home() / "uploads" / handle
    assert models.shape_of(models.find("ideal:pictured")) == (1, 8, 8)
    assert models.find("little").step == 4 and models.find("ideal:starter").closed


def test_the_list_keeps_what_is_chosen(tmp_path: Path) -> None:
    assert denoise.model_list("linear:starter", None)["value"] == "linear:starter"
    assert denoise.model_list("gone", None)["value"] == "little"


@pytest.mark.parametrize(
    "name",
    [
        *("ideal:/etc", "ideal:../x", "linear:", "ideal:starter/../x", "ideal:.", "ideal:.."),
        *("ideal:little/../pictured", "ideal:0123456789abcdef.zip", "linear:ideal:starter"),
        *("../little", "/etc", "", "gone", "ideal", "sharp:starter", "little ", "ideal:a\0b"),
        *(None, 5, True, math.nan, ["little"], {}, "x" * 5_000_000, "ideal:" + "x" * 5_000_000),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_what_is_no_model_is_told_in_a_line(name: Any) -> None:
    with pytest.raises(InputError) as error:
        models.find(name)
    assert str(runs.home()) not in one_line(error.value)


def test_without_any_model_the_line_says_so(home: Path) -> None:
    with pytest.raises(InputError, match="no model is there yet; train one first"):
        models.find("little")
    assert models.find("ideal:starter").closed and models.choices()[0][1] == "ideal:starter"


def test_a_digest_tells_a_model_from_another_of_its_name() -> None:
    entry, recipe = models.find("little"), denoising.recipe()
    about = load_checkpoint(entry.folder).about
    assert about["sha256"]["model.safetensors"].startswith(models.digest(entry))
    assert models.digest(models.find("ideal:starter")) == ""
    assert models.known(recipe) == entry
    assert models.known(replace(recipe, digest="")) == entry
    with pytest.raises(InputError, match="made at step 9 with other weights than those here"):
        models.known(replace(recipe, digest="0" * 16, step=9))
    with pytest.raises(InputError, match=r"model = 'gone': must be .*little"):
        models.known(replace(recipe, model="gone"))


@pytest.mark.parametrize(
    "changes",
    [
        {"sampler": "ddim", "eta": 0.25},
        {"sampler": "ddpm", "variance": "fixed_large", "clip": False},
        {"sampler": "unipc", "spacing": "karras", "steps": 9},
        {"begin": "seeds", "seed_to": 9},
        {"model": "ideal:starter"},
        {"model": "linear:pictured"},
    ],
    ids=lambda changes: "-".join(map(str, changes.values())),
)
def test_the_command_is_one_that_the_command_line_understands(changes: dict[str, Any]) -> None:
    asked = values(**changes)
    recipe, line = fields.recipe_of(*asked), denoise.told(*asked)
    words = shlex.split(line)
    assert words[:4] == ["python", "-m", "sd", "sample"]
    args = parser().parse_args(words[3:])
    assert args.checkpoint.startswith(("ideal:", "linear:")) is models.is_closed(recipe.model)
    assert Path(args.checkpoint.rpartition(":")[2]).name == recipe.model.rpartition(":")[2]
    assert (args.sampler, args.steps, args.seed, args.count, args.spacing) == (
        *(recipe.sampler, recipe.steps, recipe.seed, recipe.count, recipe.spacing),
    )
    assert args.no_clip is not recipe.clip_x0 and args.seed_to == recipe.seed_to
    assert args.eta == (recipe.eta if recipe.sampler == "ddim" else None)
    assert args.variance == (recipe.variance if recipe.sampler == "ddpm" else None)


def test_other_commands_name_the_picture_and_none_a_field_that_is_empty() -> None:
    for name in ("picture", "mask", "branch"):
        line = models.command(beginnings()[name])
        assert parser().parse_args(shlex.split(line)[3:]).recipe == "PICTURE.png"
    assert denoise.told(*values(model=None)) == denoise.told(*values(steps=None)) == ""


# ---- Algorithm 2


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
    list(denoise.run(ENGLISH, tree, *values(sampler=sampler, eta=0.5)))
    made = replayed(tree.current.recipe, little)
    for i in (1, 3, 6):
        tree.place = i
        panel = algorithm.numbers(ENGLISH, tree)
        assert result_of(panel) == pytest.approx(float(made[i - 1].x_t[0, 0, 4, 4]), abs=RESULT)
    assert "row 5, column 5" in panel
    another_day(monkeypatch)
    tree.place = 3
    again = algorithm.numbers(CHINESE, tree)
    assert result_of(again) == pytest.approx(float(made[2].x_t[0, 0, 4, 4]), abs=RESULT)
    assert re.search(r"[\u4e00-\u9fff]", again)


def test_the_algorithms_pixel_lies_within_the_mask(little: Model) -> None:
    tree = Tree()
    lower = np.zeros((8, 8, 4), np.uint8)
    lower[6:, 2:] = 255
    mask = sent(painted_png(lower))
    list(denoise.run(ENGLISH, tree, *values(begin="picture", mask=mask)))
    tree.place = 3
    panel = algorithm.numbers(ENGLISH, tree)
    x = float(replayed(tree.current.recipe, little)[2].x_t[0, 0, 6, 2])
    assert "row 7, column 3" in panel and result_of(panel) == pytest.approx(x, abs=RESULT)
    with pytest.raises(gr.Error, match="press Denoise first"):
        algorithm.numbers(ENGLISH, Tree())


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
        algorithm.numbers(ENGLISH, tree)


# ---- the bundled example


def test_the_page_opens_with_an_example_that_can_be_made_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runs, "BUNDLED", denoising.BUNDLED)
    tree = Tree()
    opened, line, *others = denoise.first_view(ENGLISH, tree)
    left, _, content = others[4:7]
    recipe, film = tree.current.recipe, tree.current.film
    assert "finished example" in line and opened["at"] == tree.place == round(0.6 * recipe.steps)
    assert left == recipe.steps - tree.place and content["width"] == film["width"] == 32
    assert all(Path(chunk["src"]).is_file() for chunk in film["chunks"])
    assert film["frames"][-1]["t"] == 0 and len(film["frames"]) == recipe.steps
    assert models.known(recipe).name == recipe.model
    source = models.source(models.known(recipe))
    last: SampleStep = replayed(replace(recipe, count=1), source)[-1]
    shown = branch.still(film, "x_t", film["frames"][-1])
    away = np.abs(np.asarray(shown, float) - np.asarray(to_pil(last.x_t[0]), float))
    assert away.mean() < CLOSE and away.max() < 100  # colours that JPEG cannot hold
    assert "value" not in denoise.first_view(ENGLISH, tree)[0]  # once
    controls = fields.Fields(*others[7:])
    asked = [each.get("value") if isinstance(each, dict) else each for each in controls]
    assert fields.recipe_of(*asked) == recipe


def test_the_examples_pictures_come_back_when_they_were_cleaned_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runs, "BUNDLED", denoising.BUNDLED)
    found = example.bundled()
    assert found is not None
    Path(found[1]["chunks"][0]["src"]).unlink()
    again = example.bundled()
    assert again is not None and again[0] == found[0]
    assert all(Path(chunk["src"]).is_file() for chunk in again[1]["chunks"])


def test_without_an_example_the_page_begins_empty() -> None:
    assert example.bundled() is None
    tree = Tree()
    outputs = 9 + len(fields.Fields._fields)
    assert len(denoise.first_view(ENGLISH, tree)) == outputs and tree.nodes == {}


# ---- the endpoint


def test_the_endpoint_tells_of_every_step_once() -> None:
    asked = ("little", "ddim", 40, 5, 2, 0.0, "fixed_small", "trailing", True)
    told = list(api.denoise_pictures(*asked))
    steps = [step for *_, facts in told for step in facts["steps"]]
    assert [step["i"] for step in steps] == list(range(1, 41))
    assert told[-1][2]["step"] == 40 and told[-1][2]["t"] == 0
    image = told[-1][0]
    assert image.size == (8 + 2 + 8, 8)


def test_the_endpoint_tells_of_every_step_of_a_long_sampling() -> None:
    asked = ("little", "ddim", 300, 5, 1, 0.0, "fixed_small", "trailing", True)
    steps = [step["i"] for *_, facts in api.denoise_pictures(*asked) for step in facts["steps"]]
    assert steps == list(range(1, 301))


def test_what_start_means() -> None:
    made = denoising.recipe(start=Start(denoising.picture(), 30.0, denoising.mask()))
    told = fields.settings_of(made, lambda png: "kept", "en")
    assert painter.read_mask(fields.Fields(*told).mask, 8, 8) == denoising.mask()
