"""What is taken away from a sampling, and a picture's recipe that is brought back."""

import base64
import io
import json
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import gradio as gr
import numpy as np
import pytest
from PIL import Image

from sd import runs
from sd.checkpoints.model import Model
from sd.common import validation
from sd.common.encoding import png_bytes
from sd.common.marks import MARK
from sd.common.validation import LARGEST_SEED, InputError
from sd.data.images import to_array
from sd.generation import registry
from sd.generation.export import read_recipe, write_png
from sd.generation.player.one_file import read_html
from sd.generation.recipe import Branch, Recipe, from_json
from sd.ui import models
from sd.ui.adapter import scratch
from sd.ui.adapter.checks import read_value
from sd.ui.components import painter
from sd.ui.denoise import tab as denoise
from sd.ui.denoise.tools import takeaway
from sd.ui.denoise.tree import Tree
from tests.helpers import denoising
from tests.helpers.denoising import (
    CHINESE,
    ENGLISH,
    another_day,
    beginnings,
    branching,
    recipe_of,
    replayed,
    sent,
    set_branch,
    set_fields,
    slowed,
    values,
)

pytestmark = pytest.mark.usefixtures("little", "quick")


def made(recipe: Recipe) -> Tree:
    """Return a page that has made the pictures of a recipe, and what it branches from."""
    tree, chain = Tree(), [recipe]
    while chain[-1].branch:
        chain.append(chain[-1].branch.recipe)
    for each in reversed(chain):
        list(denoise.sample(tree, each, "en"))
    return tree


def taken(tree: Tree, kind: str = "png", index: Any = 1) -> Path:
    """Return the file that a page hands over."""
    saving = {"kind": kind, "index": index}
    return Path(takeaway.take(ENGLISH, tree, saving)["download"]["value"])


def brought(tree: Tree, path: Path) -> dict[str, Any]:
    """Bring a PNG back; return what the page changes."""
    updates: dict[str, Any] = takeaway.bring(ENGLISH, tree, str(path))
    return updates


def saved(updates: dict[str, Any]) -> dict[str, Any]:
    """Return what a handler sets the form of what is saved to."""
    return dict(updates["saving"]["patch"]["values"])


def refusal(work: Callable[..., Any], *asked: Any, **named: Any) -> str:
    """Return the one line with which a page refuses."""
    with pytest.raises(gr.Error) as error:
        work(*asked, **named)
    line = str(error.value.message)
    assert "\n" not in line and len(line) <= validation.LONGEST_MESSAGE and "unexpected" not in line
    assert str(runs.default_home().path) not in line
    return line


def forged(folder: Path, recipe: Any, **more: Any) -> Path:
    """Return a PNG with a recipe that no page has made."""
    path = folder / "forged.png"
    told = recipe.to_json() if isinstance(recipe, Recipe) else recipe
    write_png(Image.new("L", (8, 8)), path, {"recipe": told, "index": 0, **more})
    return path


# ---- a picture, there and back


@pytest.mark.parametrize("later", ["at once", "another day", "no sampling here"])
@pytest.mark.parametrize("name", ["noise", "seeds", "picture", "mask", "branch"])
def test_a_picture_comes_back_to_the_last_byte(
    monkeypatch: pytest.MonkeyPatch, name: str, later: str
) -> None:
    recipe = beginnings()[name]
    tree = made(recipe)
    path = taken(tree, index=2)
    if later != "at once":
        another_day(monkeypatch)
    if later != "no sampling here":
        assert taken(tree, index=2).read_bytes() == path.read_bytes()
    another = Tree() if later == "no sampling here" else tree
    controls = brought(another, path)
    assert another.restored == recipe and saved(controls) == {"index": 2}
    list(denoise.run_again(ENGLISH, another))
    assert another.current.recipe == recipe
    assert taken(another, index=2).read_bytes() == path.read_bytes()


def test_the_picture_in_the_file_is_the_one_that_was_asked_for(little: Model) -> None:
    tree = made(denoising.recipe(count=3))
    end = to_array(replayed(tree.current.recipe, little)[-1].x_t)
    for index in (1, 3):
        path = taken(tree, index=index)
        assert path.name == "little-seed-5.png"
        with Image.open(path) as image:
            assert np.array_equal(np.asarray(image), end[index - 1, ..., 0])
        told = read_recipe(path)
        assert from_json(told["recipe"]) == tree.current.recipe and told["index"] == index - 1
        machine = models.machine()
        assert told["made"] == machine.record() and told["made"]["label"] == machine.label


def test_a_picture_is_saved_though_its_model_was_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(name: str) -> None:
        raise InputError(f"model = {name!r}: there is none")

    tree = made(denoising.recipe(count=1))
    monkeypatch.setattr(models, "find", gone)
    assert from_json(read_recipe(taken(tree))["recipe"]) == tree.current.recipe


def test_all_pictures_of_a_drawing_are_saved_at_once(tmp_path: Path) -> None:
    tree = made(denoising.recipe(count=3))
    path = Path(takeaway.take_all(ENGLISH, tree)["download"]["value"])
    assert path.name == "little-seed-5.zip"
    with zipfile.ZipFile(path) as packed:
        names = [f"little-seed-5-{n}.png" for n in (1, 2, 3)]
        assert packed.namelist() == names and packed.comment == MARK.encode()
        for n, name in enumerate(names, start=1):
            assert packed.read(name) == taken(tree, index=n).read_bytes()


@pytest.mark.parametrize("name", ["noise", "seeds", "picture", "mask"])
def test_every_control_is_set_from_the_file(name: str) -> None:
    path = taken(made(beginnings()[name]))
    controls = brought(Tree(), path)
    assert recipe_of(**set_fields(controls)) == beginnings()[name]
    assert not any(name.startswith("branch_") for name in controls)  # they stay as they are
    line = controls["line"]
    assert "Set as in little-seed-5.png" in line and models.machine().label in line
    other = takeaway.bring(CHINESE, Tree(), str(path))
    assert "生成于" in other["line"]


def test_a_branch_sets_the_controls_of_its_root_and_its_own() -> None:
    root = denoising.recipe(sampler="heun", steps=7)
    deep = Branch(replace(root, sampler="ddim", steps=5, branch=Branch(root, 3)), 2)
    recipe = replace(root, sampler="ddpm", steps=4, eta=0.25, seed=8, branch=deep)
    recipe = replace(recipe, branch=replace(deep, paint=denoising.paint()))
    tree = made(recipe)
    for page in (Tree(), tree):
        controls = brought(page, taken(tree))
        assert recipe_of(**set_fields(controls)) == root
        found = set_branch(controls)
        drawn = found.pop("paint")
        assert list(found.values()) == ["ddpm", 4, 0.25, 8, "", "", None]
        assert (drawn["width"], drawn["height"]) == (8, 8)
        assert painter.read_paint(drawn, 8, 8) == painter.read_paint(sent(denoising.paint()), 8, 8)


def test_a_branch_that_is_brought_back_can_be_gone_on_from(monkeypatch: pytest.MonkeyPatch) -> None:
    path = taken(made(beginnings()["branch"]))
    another_day(monkeypatch)
    tree = Tree()
    controls = brought(tree, path)
    list(denoise.run(ENGLISH, tree, **set_fields(controls)))
    denoise.note_place(ENGLISH, tree, gr.EventData(None, {"i": 2, "lane": 0}))
    list(denoise.run_branch(ENGLISH, tree, **branching(**set_branch(controls))))
    assert tree.current.recipe == beginnings()["branch"]
    assert taken(tree).read_bytes() == path.read_bytes()


# ---- what is refused


def test_a_model_that_is_not_there_or_another_is_told(tmp_path: Path) -> None:
    recipe = denoising.recipe()
    cases = {
        "model = 'gone': must be": replace(recipe, model="gone", digest="f" * 16),
        "made at step 9 with other weights": replace(recipe, digest="f" * 16, step=9),
        "run = '../../etc': must be": replace(recipe, model="ideal:../../etc", digest=""),
        "no such upload": replace(recipe, model="ideal:0123456789abcdef.zip", digest=""),
    }
    for words, each in cases.items():
        tree = Tree()
        line = refusal(brought, tree, forged(tmp_path, each))
        assert words in line and tree.restored is None, line


def test_caps_hold_for_what_is_brought_back(tmp_path: Path) -> None:
    recipe = denoising.recipe()
    deep = replace(recipe, steps=1000)
    for seed in range(4):
        deep = replace(deep, seed=seed, branch=Branch(deep, 1))
    cases = {
        "steps = 1001: this page makes at most 1000": replace(recipe, steps=1001),
        "count = 17: this page makes at most 16; the command line makes it": replace(
            recipe, count=17
        ),
        "steps with those before the branch = 5000": deep,
    }
    for words, each in cases.items():
        assert words in refusal(brought, Tree(), forged(tmp_path, each))
    large = replace(recipe, seed=LARGEST_SEED)  # as the command line may have it
    back = set_fields(brought(Tree(), forged(tmp_path, large)))
    assert back["asked"]["seed"] == LARGEST_SEED
    nested = recipe.to_json()
    for _ in range(20):
        nested = {**recipe.to_json(), "branch": {"recipe": nested, "at": 1, "paint": None}}
    assert "deep" in refusal(brought, Tree(), forged(tmp_path, nested))


def test_a_png_from_elsewhere_and_what_is_none_are_told(tmp_path: Path) -> None:
    def saved(name: str, data: bytes) -> Path:
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    png = png_bytes(Image.new("L", (8, 8)))
    jpeg = io.BytesIO()
    Image.new("L", (8, 8)).save(jpeg, "JPEG")
    files = {
        "carries no recipe": saved("a.png", png),
        "not a PNG": saved("b.png", jpeg.getvalue()),
        "cut short": saved("c.png", png[:40]),
    }
    for words, path in files.items():
        assert words in refusal(brought, Tree(), path)
    assert "not a PNG" in refusal(brought, Tree(), saved("d.png", b""))
    assert "give a PNG" in refusal(takeaway.bring, ENGLISH, Tree(), None)
    assert "drop a PNG" in refusal(lambda: list(denoise.run_again(ENGLISH, Tree())))


GOOD = Recipe("little", count=2, steps=6, seed=5).to_json()


@pytest.mark.parametrize(
    ("recipe", "more"),
    [
        (None, {}),
        ([], {}),
        ({}, {}),
        ({**GOOD, "format": 2}, {}),
        ({**GOOD, "unknown": 1}, {}),
        ({**GOOD, "steps": "6"}, {}),
        ({**GOOD, "steps": True}, {}),
        ({**GOOD, "model": {"a": 1}}, {}),
        ({**GOOD, "sampler": "dimd"}, {}),
        ({**GOOD, "branch": {"recipe": GOOD, "at": 7, "paint": None}}, {}),
        ({**GOOD, "branch": {"recipe": {**GOOD, "count": 3}, "at": 1, "paint": None}}, {}),
        ({**GOOD, "start": {"picture": "!", "t": 5, "mask": None}}, {}),
        ({**GOOD, "start": {"picture": None, "t": 5, "mask": None}}, {}),
        (GOOD, {"index": 2}),
        (GOOD, {"index": -1}),
        (GOOD, {"index": True}),
        (GOOD, {"index": "0"}),
        (GOOD, {"index": None}),
    ],
    ids=lambda value: json.dumps(value)[-40:],
)
def test_a_forged_recipe_is_told_in_a_line(tmp_path: Path, recipe: Any, more: Any) -> None:
    tree = Tree()
    refusal(brought, tree, forged(tmp_path, recipe, **more))
    assert tree.restored is None


def bomb() -> bytes:
    """Return a PNG of few bytes whose pixels would fill gigabytes."""
    header = bytearray(png_bytes(Image.new("L", (8, 8))))
    header[16:24] = (12_000).to_bytes(4, "big") * 2
    return bytes(header)


@pytest.mark.parametrize(
    "data", [b"GIF89a", b"", png_bytes(Image.new("L", (9, 8))), bomb()], ids=lambda d: f"{len(d)}"
)
@pytest.mark.parametrize("where", ["picture", "mask", "paint"])
def test_an_embedded_picture_that_does_not_fit_is_told_in_a_line(
    tmp_path: Path, where: str, data: bytes
) -> None:
    start = {"picture": base64.b64encode(denoising.picture()).decode(), "t": 5, "mask": None}
    embedded = base64.b64encode(data).decode()
    if where == "paint":
        told = {**GOOD, "branch": {"recipe": GOOD, "at": 2, "paint": embedded}}
    else:
        told = {**GOOD, "start": {**start, where: embedded}}
    tree = Tree()
    assert where in refusal(brought, tree, forged(tmp_path, told))
    assert tree.restored is None


@pytest.mark.parametrize("made_on", [None, 5, "x", {"label": 7}, {"label": "<b>" * 90}, {}])
def test_where_it_was_made_is_told_and_harmless(tmp_path: Path, made_on: Any) -> None:
    line = brought(Tree(), forged(tmp_path, GOOD, made=made_on))["line"]
    assert "Made on" in line and "<b>" not in line and len(line) < 1500


@pytest.mark.parametrize("index", [0, 3, 17, -1, 1.5, True, None, "1", float("nan"), [1]])
def test_a_picture_that_is_none_is_refused(index: Any) -> None:
    tree = made(denoising.recipe())
    assert "picture = " in refusal(taken, tree, index=index)


def test_forms_and_nodes_that_are_none_are_refused() -> None:
    with gr.Blocks():
        field = takeaway.build().form
    for kind in ("pdf", "", None, 5, ["png"], {}):
        with pytest.raises(InputError, match="As = "):
            read_value(field, {"kind": kind})
    assert "press Denoise first" in refusal(taken, Tree())


def test_a_model_that_has_changed_since_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = made(denoising.recipe())
    another_day(monkeypatch)
    tree.current.end = None
    monkeypatch.setattr(registry, "digest", lambda entry: "e" * 16)
    assert "other weights" in refusal(taken, tree)
    assert "other weights" in refusal(taken, tree, "npz")
    assert "press Denoise first" not in refusal(lambda: list(denoise.run_again(ENGLISH, tree)))


# ---- the other forms


def test_the_steps_as_numbers(little: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = made(denoising.recipe(count=3))
    expected = replayed(tree.current.recipe, little)
    for _ in range(2):
        with np.load(taken(tree, "npz"), allow_pickle=False) as arrays:
            steps = np.stack([to_array(step.x_t) for step in expected])
            assert np.array_equal(arrays["steps"], steps) and steps.dtype == np.uint8
            assert np.array_equal(arrays["x0"], np.stack([to_array(step.x0) for step in expected]))
            assert np.array_equal(arrays["samples"], steps[-1])
            assert arrays["seeds"].tolist() == [5, 6, 7]
            assert arrays["times"].tolist() == [step.t for step in expected]
        another_day(monkeypatch)  # made again


def test_moving_pictures_show_every_step() -> None:
    tree = made(denoising.recipe(steps=9))
    for kind in ("gif", "webp"):
        with Image.open(taken(tree, kind)) as image:
            assert (image.format, image.n_frames, image.info["loop"]) == (kind.upper(), 9, 0)
    with av.open(str(taken(tree, "mp4"))) as film:
        (stream,) = film.streams.video
        assert sum(1 for _ in film.decode(stream)) > 9  # the last is held


def test_a_page_that_plays_offline() -> None:
    tree = made(beginnings()["mask"])
    path = taken(tree, "html", 2)
    films, recipe = read_html(path)
    assert from_json(recipe["recipe"]) == tree.current.recipe and recipe["index"] == 1
    assert len(films) == 1 and films[0]["frames"] == tree.current.film["frames"]
    assert all(chunk["src"].startswith("data:") for chunk in films[0]["chunks"])
    packed = base64.b64decode(films[0]["chunks"][0]["src"].partition(",")[2])
    assert packed == Path(tree.current.film["chunks"][0]["src"]).read_bytes()
    text = path.read_text()
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "") and "https:" not in text
    update = takeaway.take(CHINESE, tree, {"kind": "html", "index": 1})
    assert '<html lang="zh' in Path(update["download"]["value"]).read_text()


def test_what_was_stopped_is_taken_as_far_as_it_came(
    little: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    slowed(monkeypatch, little, 0.005)
    tree = Tree()
    for _ in denoise.run(ENGLISH, tree, **values(steps=50)):
        if tree.job and tree.job.done >= 3:
            denoise.stop(tree)
    done = tree.current.done
    assert 3 <= done < 50
    line = refusal(taken, tree)
    assert f"png: stopped at step {done} of 50" in line
    for later in (False, True):
        if later:
            another_day(monkeypatch)
        with np.load(taken(tree, "npz"), allow_pickle=False) as arrays:
            assert len(arrays["steps"]) == done
    with Image.open(taken(tree, "gif")) as image:
        assert image.n_frames == done
    assert len(read_html(taken(tree, "html"))[0][0]["frames"]) == done


def test_steps_too_many_for_the_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = made(denoising.recipe())
    monkeypatch.setattr(takeaway, "MOST_BYTES", 12 * 6 * 2 * 64 - 1)
    for kind in ("npz", "gif", "webp", "mp4"):
        line = refusal(taken, tree, kind)
        assert "6 steps of 2 pictures" in line and "take fewer" in line
    taken(tree)
    monkeypatch.setattr(takeaway, "MOST_BYTES", 12 * 6 * 2 * 64)
    taken(tree, "npz")


def test_what_was_handed_over_is_deleted_by_the_server() -> None:
    path = taken(made(denoising.recipe()))
    assert path.parent.name not in scratch.sweep() and path.is_file()
    assert path.parent.name in scratch.sweep(time.time() + 3600) and not path.parent.exists()


def test_a_closed_form_is_taken_away_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = values(model="ideal:pictured", steps=4)
    tree = Tree()
    list(denoise.run(ENGLISH, tree, **asked))
    path = taken(tree)
    assert path.name == "ideal-pictured-seed-5.png"
    another_day(monkeypatch)
    page = Tree()
    assert recipe_of(**set_fields(brought(page, path))) == recipe_of(**asked)
    list(denoise.run_again(ENGLISH, page))
    assert taken(page).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("prompts", "line"),
    [
        (["a" * 90_000] * 40, "prompt: 90000 characters; at most 10000 are allowed"),
        (["a" * 9_000] * 40, "number of prompts = 40: must be a whole number from 0 to 16"),
        (["a" * 9_000] * 16, "characters of all prompts = 144000"),
    ],
)
def test_endless_prompts_are_refused_before_a_model_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prompts: list[str], line: str
) -> None:
    monkeypatch.setattr(models, "open_model", lambda *_: pytest.fail("a model was asked"))
    recipe = denoising.recipe().to_json() | {"prompts": prompts}
    path = tmp_path / "endless.png"
    write_png(Image.new("L", (8, 8)), path, {"recipe": recipe, "index": 0})
    assert line in refusal(brought, Tree(), path)


@pytest.mark.parametrize("label", ["\ud800", "a\x1b[31m", {"x": "\udcff"}])
def test_a_label_that_no_page_could_send_is_made_printable(tmp_path: Path, label: Any) -> None:
    line = brought(Tree(), forged(tmp_path, GOOD, made={"label": label}))["line"]
    assert "Made on" in line and line.encode("utf-8") and "\x1b" not in line


def test_the_picture_that_is_chosen_is_offered_if_there_is_one() -> None:
    tree = Tree(picture=3)
    for count, chosen in ((4, 3), (2, 2), (1, 1), (4, 3)):
        update = takeaway.offer_pictures(tree, count)
        assert saved(update) == {"index": chosen}
        assert update["saving"]["patch"]["shown"] == {"index": count > 1}


def test_the_card_that_is_chosen_on_the_stage_is_what_a_png_takes() -> None:
    tree = made(denoising.recipe(count=3))
    denoise.note_place(ENGLISH, tree, gr.EventData(None, {"i": 2, "lane": 0, "picture": 2}))
    assert saved(denoise.show_tree(tree)) == {"index": 3}
    for wrong in (3, -1, 1.5, True, "x"):
        with pytest.raises(gr.Error, match="picture = "):
            data = {"i": 2, "lane": 0, "picture": wrong}
            denoise.note_place(ENGLISH, tree, gr.EventData(None, data))
