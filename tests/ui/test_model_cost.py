"""What asking a model costs is counted before anything is asked or opened, wherever it is asked."""

from collections.abc import Iterator
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from sd import runs
from sd.checkpoints.model import Model
from sd.common.validation import LONGEST_MESSAGE, InputError
from sd.config import Config
from sd.data import ingest
from sd.diffusion import closed_form
from sd.generation import registry
from sd.generation.recipe import Branch
from sd.generation.registry import ModelEntry, OpenModels
from sd.networks.blueprint import blueprint
from sd.training.planning import memory
from sd.ui import api, model_cost, models
from sd.ui.denoise import tab as denoise
from sd.ui.denoise.tools import race
from sd.ui.denoise.tree import Tree
from sd.ui.model_cost import Cost
from sd.ui.noise import algorithm1, model_view
from sd.ui.state import Shared, use
from tests.helpers.denoising import (
    ENGLISH,
    NAME,
    PICTURED,
    recipe,
    values,
)
from tests.helpers.first_stages import latent_settings

HUGE = Config.preset("tiny").with_settings(
    ["training.input_height=2048", "training.input_width=2048"]
)
SAMPLERS_RACE = {  # ddim alone, two calls of the network
    **dict.fromkeys(race.LANES, race.NONE),
    **{"between": race.SAMPLERS_RACE, "calls": 2, race.LANES[0]: "ddim"},
}
NOTHING_RUNS = {"tool": {"shown": "", "progress": ""}}  # told by a tool of Noise before it fails


def test_a_network_weighs_what_its_blueprint_says(tiny_config: Config) -> None:
    plan = blueprint(tiny_config.unet, 8, 8)
    cost = Cost("a", tiny_config)
    assert cost.operations() == plan.operations
    assert cost.memory_needed(1) > plan.weight_bytes
    assert cost.memory_needed(8) - cost.memory_needed(4) == pytest.approx(
        4 * memory.PASSING * plan.activation_bytes, abs=2
    )


def test_a_set_weighs_by_its_pictures(tiny_config: Config, tmp_path: Path) -> None:
    thousand = Cost("ideal:a", tiny_config, "ideal", 1000)
    assert thousand.operations() == 4 * 1000 * 64
    assert replace_kind(thousand, "linear").operations() == 4 * 1000 * (64 + 1000)
    most = replace_kind(thousand._replace(pictures=10**6), "linear")
    assert most.operations() == 4 * 2048 * (64 + 2048)  # of more pictures, so many are fitted
    assert thousand.memory_needed(1) - thousand._replace(mapped=True).memory_needed(1) == 1000 * 64
    starter = model_cost.cost_of("ideal:starter", Path("starter"), tiny_config)
    assert 1292 <= starter.pictures < 1400
    folder = tmp_path / runs.PICTURES
    folder.mkdir()
    (folder / model_cost.PIXELS).write_bytes(bytes(5 * 64))
    run = model_cost.cost_of("linear:run", tmp_path, tiny_config)
    assert (run.pictures, run.mapped, run.kind) == (5, True, "linear")
    (bundled := tmp_path / "bundled").mkdir()
    assert model_cost.cost_of("ideal:run", bundled, tiny_config).pictures == 0  # nothing to count
    (bundled / runs.SOURCE).write_text('{"data": "starter"}')
    assert model_cost.cost_of("ideal:run", bundled, tiny_config) == starter._replace(
        name="ideal:run"
    )


def test_a_set_on_latents_weighs_by_their_values(tiny_config: Config, tmp_path: Path) -> None:
    config = latent_settings(tmp_path, tiny_config)
    values, pixels = prod(config.latent_shape), prod(config.picture_shape)
    assert (values, pixels) == (64, 192)
    ideal = Cost("ideal:a", config, "ideal", 1000, mapped=True)
    assert ideal.operations() == 4 * 1000 * values
    assert ideal.memory_needed(3) - ideal.memory_needed(2) == 8 * (2 * 1000 + 4 * values)
    fewer = ideal._replace(pictures=900)  # kept as float32, though the pictures stay on the disk
    kept = ideal.memory_needed(2) - fewer.memory_needed(2)
    assert kept == 100 * (4 * values + 8 * 2 * 2)
    folder = tmp_path / runs.PICTURES
    folder.mkdir()
    (folder / model_cost.PIXELS).write_bytes(bytes(5 * pixels))
    assert model_cost.cost_of("ideal:run", tmp_path, config).pictures == 5


def replace_kind(cost: Cost, kind: str) -> Cost:
    """Return the cost of another closed form of the same set."""
    return cost._replace(kind=kind)


def test_the_names_that_are_written_twice_are_the_same() -> None:
    assert (model_cost.PIXELS, model_cost.MOST_FITTED) == (ingest.PIXELS, closed_form.MOST_FITTED)


@pytest.mark.usefixtures("little")
@pytest.mark.parametrize(
    ("changes", "times"),
    [
        ({}, 12),  # two pictures, six steps
        ({"count": 16}, 96),
        ({"steps": 12}, 24),
        ({"sampler": "heun"}, 24),
    ],
)
def test_pictures_times_calls_times_the_network_s_operations(
    changes: dict[str, Any], times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = models.cost_of(models.find(NAME)).operations()
    monkeypatch.setattr(model_cost, "MOST_OPERATIONS", times * one)
    recipe(**changes)
    monkeypatch.setattr(model_cost, "MOST_OPERATIONS", times * one - 1)
    with pytest.raises(InputError, match=r"'little' would take .* operations; at most") as refused:
        recipe(**changes)
    assert len(str(refused.value)) < LONGEST_MESSAGE


@pytest.mark.usefixtures("little")
def test_guidance_asks_twice_and_a_branch_adds_what_it_leaves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, one = recipe(), models.cost_of(models.find(NAME)).operations()
    told = replace(made, prompts=("cat",), guidance=(2.0,))
    branch = replace(made, branch=Branch(told, 3))
    for each, times in (
        (replace(told, guidance=(1.0,)), 12),
        (told, 24),
        (branch, 36),
    ):
        monkeypatch.setattr(model_cost, "MOST_OPERATIONS", times * one)
        models.within_caps(each)
        monkeypatch.setattr(model_cost, "MOST_OPERATIONS", times * one - 1)
        with pytest.raises(InputError, match="operations"):
            models.within_caps(each)


def test_memory_is_asked_with_what_would_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    cost = Cost("huge", HUGE)
    monkeypatch.setattr(memory, "left", lambda: cost.memory_needed(3))
    model_cost.check_memory(cost, 3, "cpu", "count = 3")
    with pytest.raises(InputError, match=r"count = 16: 'huge' needs about .* 3 at once would fit"):
        model_cost.check_memory(cost, 16, "cpu", "count = 16")
    monkeypatch.setattr(memory, "left", lambda: 2**20)
    with pytest.raises(InputError, match="1 MiB are there; that is too little for one picture"):
        model_cost.check_memory(cost, 1, "cpu", "model")
    model_cost.check_memory(cost, 1, "cuda", "model")  # whose memory is another


@pytest.mark.usefixtures("little")
def test_guidance_holds_twice_as_many_pictures_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    cost = models.cost_of(models.find(NAME))
    told = replace(recipe(), prompts=("cat",), guidance=(2.0,))
    monkeypatch.setattr(memory, "left", lambda: cost.memory_needed(2 * told.count) - 1)
    model_cost.check_recipe(cost, replace(told, guidance=(1.0,)), "cpu")
    for each in (told, replace(recipe(), branch=Branch(told, 3))):
        with pytest.raises(InputError, match="needs about"):
            model_cost.check_recipe(cost, each, "cpu")


@pytest.mark.usefixtures("little")
@pytest.mark.parametrize("model", [NAME, f"ideal:{PICTURED}", f"linear:{PICTURED}"])
def test_nothing_that_asks_a_model_passes_by(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_cost, "MOST_OPERATIONS", 1)
    held, asked = race.Race(), values(model=model)
    named = (model, "ddim", 2, 0, 1, 0, "fixed_small", "trailing", True)
    form, ended = {"picture": "lion.png", "schedule": "tiny", "seed": 0, "t": 3}, [NOTHING_RUNS]
    streams: list[tuple[Iterator[Any], list[Any]]] = [
        (denoise.run(ENGLISH, Tree(), **asked), []),
        (race.start_race(ENGLISH, held, {"between": race.MODELS}, **asked), []),
        (race.start_race(ENGLISH, held, SAMPLERS_RACE, **asked), []),
        (model_view.show_predictions(form, model, ENGLISH), ended),
        (model_view.show_round_trips(form, model, ENGLISH), ended),
        (algorithm1.show_algorithm(form, model, ENGLISH), ended),
        (api.denoise_pictures(*named), []),
    ]
    for stream, before in streams:
        told: list[Any] = []
        with pytest.raises(gr.Error, match="operations; at most"):
            for each in stream:
                told.append(each)
        assert told == before


@pytest.mark.usefixtures("little")
def test_a_race_counts_each_lane_and_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    one = models.cost_of(models.find(NAME)).operations()
    monkeypatch.setattr(model_cost, "MOST_OPERATIONS", 2 * 100 * one)  # the reference: 200 steps
    with pytest.raises(gr.Error, match="steps = 200"):
        next(race.start_race(ENGLISH, race.Race(), SAMPLERS_RACE, **values()))


@pytest.mark.usefixtures("little")
def test_no_model_is_opened_without_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "load_model", lambda *_: pytest.fail("opened"))
    monkeypatch.setattr(memory, "left", lambda: 2**10)
    with use(Shared()), pytest.raises(InputError, match="model: 'little' needs about"):
        models.open_model(models.find(NAME))


def test_open_models_are_bounded_by_their_bytes(little: Model) -> None:
    weights = 4 * sum(each.numel() for each in little.unet.parameters())
    pixels = 12 * 64
    names = [NAME, f"ideal:{PICTURED}", f"linear:{PICTURED}"]
    opened = OpenModels(weights + pixels)
    with use(Shared(opened)):
        first, second = (models.open_model(models.find(name)) for name in names[:2])
        assert models.open_model(models.find(NAME)) is first
        models.open_model(models.find(names[2]))
        assert opened.names() == [NAME, names[2]]  # the oldest has gone
        assert models.open_model(models.find(names[1])) is not second
    opened = OpenModels(0)
    with use(Shared(opened)):
        models.open_model(models.find(names[2]))
        models.open_model(models.find(NAME))
        assert opened.names() == [NAME]  # the newest stays


def test_a_bundle_of_a_huge_network_is_refused_before_it_is_read(
    little: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    huge = runs.default_home().path / "huge"
    huge.mkdir()
    (huge / runs.CONFIG).write_text(HUGE.to_ini())
    entry = ModelEntry("huge", str(huge), 1)
    with pytest.raises(InputError, match="operations"):
        model_cost.check_recipe(models.cost_of(entry), replace(recipe(), count=16), "cpu")
    monkeypatch.setattr(memory, "left", lambda: 2**30)
    with pytest.raises(InputError, match="'huge' needs about"):
        model_cost.check_recipe(models.cost_of(entry), replace(recipe(), count=1, steps=2), "cpu")
