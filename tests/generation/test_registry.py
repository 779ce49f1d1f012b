"""Models by name and by path: one order, one newest checkpoint, and none other than was meant."""

import json
import os
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sd.checkpoints.checkpoint import save_checkpoint
from sd.checkpoints.model import Model
from sd.checkpoints.record import ABOUT, LICENSE, RAIL_M, RAIL_M_NAME
from sd.common.validation import InputError
from sd.config import Config
from sd.data import shapes
from sd.data.images import to_array
from sd.diffusion.guidance import Guidance
from sd.generation import registry
from sd.generation.recipe import Branch, Recipe
from sd.generation.registry import (
    OPENING,
    OpenModels,
    find_model,
    list_models,
    load_model,
    model_at,
)
from sd.runs import Home, default_home
from sd.training.randomness import new_network
from tests.helpers.networks import with_weights
from tests.helpers.run_folders import DEAD
from tests.runs.test_home import make_model


def test_models_are_listed_bundled_first_then_the_newest(tmp_path: Path) -> None:
    own = Home(tmp_path / "home", tmp_path / "bundled")
    make_model(own.path, "20260101-a", 5)
    make_model(own.path, "20270101-b", 50)
    make_model(own.bundled, "emoji32", 6000)
    (own.path / "empty").mkdir()
    found = [(entry.name, entry.step, entry.bundled) for entry in list_models(own)]
    assert found == [("emoji32", 6000, True), ("20270101-b", 50, False), ("20260101-a", 5, False)]


def test_the_model_that_a_page_opens_with_comes_first(tmp_path: Path) -> None:
    own = Home(tmp_path / "home", tmp_path / "bundled")
    for name in ("emoji32", OPENING, "zebras"):
        make_model(own.bundled, name, 1)
    make_model(own.path, "aardvarks", 1)
    assert [entry.name for entry in list_models(own)] == [OPENING, "emoji32", "zebras", "aardvarks"]


def test_a_model_trained_among_the_bundled_comes_after_them(tmp_path: Path) -> None:
    place = Home(tmp_path, tmp_path)
    make_model(tmp_path, "emoji32", 1)
    make_model(tmp_path, "mine", 1)
    (tmp_path / "mine" / "process.json").write_text(json.dumps(DEAD))
    found = [(entry.name, entry.bundled) for entry in list_models(place)]
    assert found == [("emoji32", True), ("mine", False)]


def stored(place: Path, config: Config, seed: int = 1, step: int = 7, **about: Any) -> Path:
    """Save a model with random weights as a checkpoint; return its folder."""
    model = Model(with_weights(new_network(config, seed)), config)
    return save_checkpoint(model, place, {"step": step, **about})


def test_a_model_is_found_by_its_name_alone_and_yours_before_a_bundled_one(home: Path) -> None:
    for place in (default_home().bundled, home):
        for step in ("checkpoint-9", "checkpoint-000000010"):
            (place / "same" / step).mkdir(parents=True)
            (place / "same" / step / "checkpoint.json").write_text("{}")
    found = find_model(default_home(), "same")
    assert (found.folder, found.step, found.bundled) == (home / "same", 10, False)
    assert found.checkpoint == home / "same" / "checkpoint-000000010"
    assert found in list_models(default_home())
    for name in ("", ".", "./same", "same/", str(home / "same"), "../home/same", "sam", "Same"):
        with pytest.raises(InputError, match="must be one of same, same"):
            find_model(default_home(), name)


def test_where_nothing_is_trained_yet_that_is_said(home: Path) -> None:
    (home / "empty").mkdir()
    with pytest.raises(InputError, match="model = 'empty': no model is there yet"):
        find_model(default_home(), "empty")


def test_a_path_has_the_name_that_a_page_knows_where_there_is_one(
    home: Path, tiny_config: Config, tmp_path: Path
) -> None:
    old, new = (stored(home / "mine" / f"checkpoint-{step}", tiny_config) for step in (6, 7))
    assert (
        model_at(default_home(), str(home / "mine"))
        == model_at(default_home(), str(new))
        == find_model(default_home(), "mine")
    )
    elsewhere = stored(tmp_path / "elsewhere", tiny_config)
    for place in (old, elsewhere):
        entry = model_at(default_home(), str(place))
        assert (entry.name, entry.checkpoint, entry.step) == (str(place), place, 7)
    (home / "mine" / "config.ini").write_text("")
    assert model_at(default_home(), f"ideal:{home / 'mine'}").name == "ideal:mine"
    assert model_at(default_home(), "linear:starter").name == "linear:starter"


def test_a_recipe_is_refused_where_its_model_has_other_weights(
    home: Path, tiny_config: Config
) -> None:
    folder = stored(home / "mine" / "checkpoint-7", tiny_config)
    recipe = Recipe("mine", 7, registry.digest(find_model(default_home(), "mine")))
    assert registry.load_recipe_model(default_home(), recipe, "cpu").shape == (1, 8, 8)
    shutil.rmtree(folder)
    stored(folder, tiny_config, seed=2)
    for check in (
        lambda: registry.load_recipe_model(default_home(), recipe, "cpu"),
        lambda: registry.check_weights(recipe, find_model(default_home(), "mine")),
    ):
        with pytest.raises(InputError, match=r"step 7 with other weights than those here \(step 7"):
            check()


def test_a_renamed_model_is_found_by_its_weights(home: Path, tiny_config: Config) -> None:
    stored(home / "mine" / "checkpoint-7", tiny_config)
    root = Recipe("mine", 7, registry.digest(find_model(default_home(), "mine")))
    recipe = replace(root, branch=Branch(root, 2))
    (home / "mine").rename(home / "cats")
    stored(home / "mine" / "checkpoint-7", tiny_config, seed=2)  # another one under the old name

    def found(recipe: Recipe) -> Recipe:
        by_name = partial(find_model, default_home())
        return registry.find_renamed(default_home(), recipe, lambda each: by_name(each.model))

    assert found(recipe) == recipe.of_model("cats")
    assert [each.model for each in (found(recipe), found(recipe).root)] == ["cats", "cats"]
    assert registry.load_recipe_model(default_home(), recipe, "cpu").shape == (1, 8, 8)
    for same in (recipe.of_model("cats"), replace(root, digest=""), Recipe("ideal:starter")):
        assert found(same) == same
    shutil.rmtree(home / "cats")
    assert found(recipe) == recipe


def test_a_recipe_finds_the_checkpoint_that_made_it_while_that_is_kept(
    home: Path, tiny_config: Config
) -> None:
    old = stored(home / "mine" / "checkpoint-7", tiny_config)
    recipe = Recipe("mine", 7, registry.digest(find_model(default_home(), "mine")))
    stored(home / "mine" / "checkpoint-9", tiny_config, seed=2, step=9)
    newest = find_model(default_home(), "mine")
    assert newest.step == 9 and registry.steps_of(newest) == [7, 9]
    assert registry.entry_of(newest, recipe).checkpoint == old
    assert registry.load_recipe_model(default_home(), recipe, "cpu").shape == (1, 8, 8)
    with pytest.raises(InputError, match="checkpoint = 8: 'mine' keeps 7, 9"):
        registry.entry_at(newest, 8)
    shutil.rmtree(old)
    with pytest.raises(InputError, match="made at step 7 with other weights"):
        registry.load_recipe_model(default_home(), recipe, "cpu")


def test_a_recipe_opens_its_model_at_its_own_size(home: Path, tiny_config: Config) -> None:
    stored(home / "mine" / "checkpoint-7", tiny_config)
    recipe = Recipe("mine", size=(16, 8))
    assert registry.load_recipe_model(default_home(), recipe, "cpu").shape == (1, 16, 8)


def test_a_run_that_came_to_the_same_step_again_is_another_model(
    home: Path, tiny_config: Config
) -> None:
    folder = stored(home / "mine" / "checkpoint-7", tiny_config)
    opened, before = OpenModels(), find_model(default_home(), "mine")
    first = opened.load(before, "cpu", lambda: None)
    assert opened.load(find_model(default_home(), "mine"), "cpu", lambda: None) is first
    shutil.rmtree(folder)
    stored(folder, tiny_config, seed=2)
    os.utime(folder / "checkpoint.json", ns=(0, before.written + 1))  # however coarse its clock
    after = find_model(default_home(), "mine")
    assert opened.load(after, "cpu", lambda: None) is not first
    assert registry.digest(after) == str(model_digest(folder))


def test_the_licence_of_stable_diffusion_is_told_of_what_carries_it(
    home: Path, tiny_config: Config
) -> None:
    for name, more in (("own", {}), ("theirs", {LICENSE: RAIL_M})):
        stored(home / name / "checkpoint-7", tiny_config, **more)
        (home / name / "config.ini").write_text(tiny_config.to_ini())
    found = {name: registry.find_model(default_home(), name) for name in ("own", "theirs")}
    told = {name: registry.license_of(entry) for name, entry in found.items()}
    assert told == {"own": "", "theirs": RAIL_M_NAME}
    (found["theirs"].checkpoint / ABOUT).unlink()  # whoever opens it is told
    assert registry.license_of(found["theirs"]) == ""


def model_digest(folder: Path) -> str:
    """Return the first digits of the SHA-256 that a checkpoint records of its weights."""
    about = json.loads((folder / "checkpoint.json").read_text())
    return str(about["sha256"]["model.safetensors"][:16])


def test_a_model_that_may_not_be_opened_stays_closed(home: Path, tiny_config: Config) -> None:
    stored(home / "mine" / "checkpoint-7", tiny_config)

    def refuse() -> None:
        raise InputError("no room")

    opened = OpenModels()
    with pytest.raises(InputError, match="no room"):
        opened.load(find_model(default_home(), "mine"), "cpu", refuse)
    assert opened.names() == []


def test_the_bundled_model_of_shapes_draws_what_is_asked_elsewhere_with_each_seed() -> None:
    model = load_model(find_model(default_home(), "shapes32"), "cpu")
    caption = "red circle left of blue square"
    denoiser = model.guided([caption] * 4, guidance=Guidance((2.0,)))
    *_, last = model.sampling("dpmpp_2m", 12).steps(denoiser, model.shape, seeds=[0, 1, 2, 3])
    pictures = to_array(last.x_t)
    assert sum(shapes.follows(caption, each) for each in pictures) >= 3
    places = {(round(each.x), round(each.y)) for one in pictures for each in find_red(one)}
    assert len(places) >= 3


def find_red(picture: Any) -> list[shapes.Region]:
    return [each for each in shapes.find_shapes(picture) if each.colour == "red"]
