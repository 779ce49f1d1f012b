"""The race: the same start, the same number of network calls, and how far each lane ends."""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import gradio as gr
import pytest
import torch

from sd import runs
from sd.checkpoints.model import Model
from sd.common.validation import InputError
from sd.diffusion.timesteps import SAMPLERS, SPACINGS
from sd.generation.pipeline import rms_distance
from sd.generation.recipe import Branch, Recipe, Start
from sd.generation.registry import ModelEntry
from sd.ui import models, state
from sd.ui.adapter.checks import read_value
from sd.ui.components import fields
from sd.ui.components.painter import mask_paint
from sd.ui.denoise.job import StepCache
from sd.ui.denoise.samplers import SAMPLER_NAMES
from sd.ui.denoise.tools import branch, race
from sd.ui.denoise.tools.race import Race, References
from sd.ui.state import shared
from tests.helpers import denoising
from tests.helpers.denoising import (
    CHINESE,
    ENGLISH,
    another_day,
    free,
    recipe_of,
    replayed,
    slowed,
    values,
)
from tests.helpers.films import films_of

pytestmark = pytest.mark.usefixtures("little", "quick", "fresh")
MODELS = {"between": "models"}
REAL, FINE = race.REFERENCE_STEPS, 80  # steps of the reference here; the real one has more


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """A race of which no reference is known, measured against fewer steps."""
    monkeypatch.setitem(state.current().parts, References, References())
    monkeypatch.setattr(race, "REFERENCE_STEPS", FINE)


def lanes(shown: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the films of the last look that changed the player."""
    values = [each["player"] for each in shown if "player" in each]
    return films_of(values[-1])


def raced(held: Race, chosen: Any, calls: Any, **changes: Any) -> list[dict[str, Any]]:
    return list(whole(held, chosen, calls, **changes))


def whole(
    held: Race, chosen: Any, calls: Any, lang: Any = ENGLISH, **changes: Any
) -> Iterator[dict[str, Any]]:
    """Race, then measure the ends, as the page does one after the other."""
    yield from race.start_race(lang, held, picked(chosen, calls), **values(**changes))
    yield from race.measure_ends(lang, held)


def picked(chosen: list[str], calls: int, between: str = "samplers") -> dict[str, Any]:
    """Return what the form of a race holds."""
    lanes = [*chosen, *[""] * (len(race.LANES) - len(chosen))]
    return {"between": between, "calls": calls, **dict(zip(race.LANES, lanes, strict=True))}


def distances(shown: list[dict[str, Any]]) -> list[float]:
    """Return how far each lane that is told a distance ended, the nearest first."""
    found = re.findall(r"<output>([\d.]+)</output>", shown[-1]["result"])
    return [float(each) for each in found]


def starts(kept: StepCache, recipes: list[Recipe]) -> list[torch.Tensor]:
    found = [kept.before(recipe, 1) for recipe in recipes]
    return [x for x in found if x is not None]


@pytest.mark.parametrize("begin", ["noise", "seeds", "picture"])
@pytest.mark.parametrize("calls", [1, 2, 5, 12])
def test_every_lane_asks_the_network_at_most_so_often(
    little: Model, monkeypatch: pytest.MonkeyPatch, calls: int, begin: str
) -> None:
    slow = slowed(monkeypatch, little)
    recipe = recipe_of(**values(begin=begin, seed_to=7, share=33.0))
    for sampler in SAMPLERS:
        (lane,), before = race.sampler_lanes(recipe, [sampler], calls), slow.calls
        assert len(replayed(lane, slow)) == lane.steps
        spent = slow.calls - before
        assert spent <= calls and spent >= calls - (sampler == "heun"), (sampler, spent)


def test_lanes_start_alike_and_tell_how_far_they_ended(
    little: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, slow = another_day(monkeypatch), slowed(monkeypatch, little)
    chosen = ["ddim", "heun", "dpmpp_2m", "ddpm"]
    shown = raced(Race(), chosen, 7)
    films = lanes(shown)
    recipes = race.sampler_lanes(recipe_of(**values()), chosen, 7)
    assert [film["label"] for film in films] == [
        f"{SAMPLER_NAMES[recipe.sampler]}: {recipe.steps} steps, {calls} calls"
        for recipe, calls in zip(recipes, (7, 6, 7, 7), strict=True)
    ]
    assert [len(film["frames"]) for film in films] == [recipe.steps for recipe in recipes]
    begun = starts(kept, recipes)
    assert len(begun) == 4 and all(torch.equal(begun[0], x) for x in begun)
    assert slow.calls == 7 + 6 + 7 + 7 + FINE
    fine = race.reference_of(recipes[0])
    exact = shared(References)[fine]
    assert torch.equal(exact, replayed(fine, little)[-1].x_t)
    there = [rms_distance(replayed(recipe, little)[-1].x_t, exact) for recipe in recipes[:3]]
    assert distances(shown) == pytest.approx(sorted(there), abs=0.0006)
    result = shown[-1]["result"]
    first = min(zip(there, chosen, strict=False))[1]
    assert f"{SAMPLER_NAMES[first]} comes nearest to the exact picture" in result
    assert re.findall(r"<b>([^<]+)</b><span>(\w+)", result)[3] == ("–", "DDPM")
    assert result.count("adds noise") == 1
    assert f"measured against {FINE} steps" in shown[-1]["line"]
    assert not any(film["running"] for film in films)


@pytest.mark.parametrize("sampler", ["ddim", "euler", "heun", "dpmpp_2m", "unipc"])
def test_more_calls_bring_a_lane_nearer(sampler: str) -> None:
    three = [distances(raced(Race(), [sampler], calls))[0] for calls in (3, 12, 48)]
    assert three[0] > three[1] > three[2], three
    assert len(shared(References)) == 1


def test_the_reference_is_made_once_and_not_for_chance_alone(
    little: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = slowed(monkeypatch, little)
    raced(Race(), ["ddim"], 4)
    assert slow.calls == 4 + FINE
    raced(Race(), ["unipc", "euler"], 4, eta=0.7, spacing="karras")
    assert slow.calls == 4 + FINE + 8  # from the same start, so against the same reference
    raced(Race(), ["ddpm", "euler_ancestral"], 4, seed=6)
    raced(Race(), ["ddim"], 4, seed=6, eta=0.5)
    assert slow.calls == 4 + FINE + 8 + 12 and len(shared(References)) == 1
    raced(Race(), ["ddim"], 4, seed=7)
    assert slow.calls == 4 + FINE + 8 + 12 + 4 + FINE and len(shared(References)) == 2


def test_few_references_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(References, "most", 2)
    for seed in (1, 2, 3):
        raced(Race(), ["ddim"], 2, seed=seed)
    assert [fine.seed for fine in shared(References)] == [2, 3]


def test_the_real_reference_takes_two_hundred_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(race, "REFERENCE_STEPS", REAL)
    fine = race.reference_of(recipe_of(**values(sampler="heun", eta=0.5, spacing="karras")))
    assert (fine.steps, fine.sampler, fine.eta, fine.spacing) == (
        200,
        race.REFERENCE,
        0.0,
        "trailing",
    )


def test_a_race_from_a_picture_in_a_mask_is_measured_too() -> None:
    half = denoising.sent(mask_paint(denoising.mask()))
    found = distances(raced(Race(), ["ddim", "heun"], 9, begin="picture", mask=half))
    assert len(found) == 2 and all(0 < each < 2 for each in found)


@pytest.mark.parametrize("when", ["lane", "reference"])
def test_stop_ends_the_race_where_it_is(
    little: Model, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    slow, held = slowed(monkeypatch, little, 0.003), Race()
    shown = []
    for each in whole(held, ["ddim", "euler"], 30):
        shown.append(each)
        if (when == "lane" and slow.calls > 35) or "reference" in each.get("line", ""):
            race.stop(held)
    assert held.stopped and held.job is not None and held.job.stopped and free()
    films = lanes(shown)
    assert shared(References) == {} and all(film["line"] == "" for film in films)
    assert len(films[0]["frames"]) == 30
    if when == "lane":
        assert 5 <= len(films[1]["frames"]) < 30 and "stopped at step" in shown[-1]["line"]
        assert slow.calls == 30 + len(films[1]["frames"])
    else:
        assert len(films[1]["frames"]) == 30 and slow.calls < 60 + FINE
        assert "stopped at step" in shown[-1]["line"] and "reference" not in shown[-1]["line"]
    race.stop("nothing")
    calls = slow.calls
    assert len(lanes(raced(held, ["ddim"], 3))) == 1  # and the next race is whole
    assert slow.calls == calls + 3 + FINE


def test_a_stop_after_a_lane_s_last_step_begins_no_other(little: Model) -> None:
    held = Race()
    for _ in race.start_race(ENGLISH, held, picked(["ddim", "euler"], 3), **values()):
        if held.job is not None and held.job.done == held.job.recipe.steps:
            race.stop(held)
    assert held.job is not None and held.job.recipe.sampler == "ddim"
    assert not held.job.stopped and shared(References) == {}


def test_a_closed_page_ends_the_race(little: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    slow, held = slowed(monkeypatch, little, 0.003), Race()
    stream: Any = race.start_race(ENGLISH, held, picked(["ddim", "euler"], 60), **values())
    next(stream)
    next(stream)  # the first tells that there is nothing yet
    stream.close()
    assert held.job is not None and held.job.wait(denoising.PATIENCE) and free()
    assert held.job.done == slow.calls < 60


def test_memory_blur_and_what_was_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = values(model="ideal:pictured")
    kept = another_day(monkeypatch)
    shown = list(race.start_race(ENGLISH, Race(), MODELS, **asked))
    assert [film["label"] for film in lanes(shown)] == ["memory", "blur"]
    assert "the model learned what lies between" in shown[-1]["result"]
    assert [len(film["frames"]) for film in lanes(shown)] == [6, 6]
    begun = starts(kept, race.denoiser_lanes(recipe_of(**asked)))
    assert len(begun) == 2 and torch.equal(*begun)
    assert shared(References) == {}
    named = race.denoiser_lanes(recipe_of(**values(model="linear:pictured")))
    assert [recipe.model for recipe in named] == ["linear:pictured", "ideal:pictured"]


def test_a_trained_model_runs_against_the_pictures_of_its_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(gr.Error, match="its run kept no pictures to compare it with"):
        list(race.start_race(ENGLISH, Race(), MODELS, **values()))
    monkeypatch.setattr(race, "set_of", lambda entry: denoising.PICTURED)
    films = lanes(list(race.start_race(CHINESE, Race(), MODELS, **values())))
    assert [film["label"] for film in films] == ["little", "记忆", "模糊"]


def test_whose_pictures_a_model_is_compared_with() -> None:
    little, pictured = (
        models.find("little"),
        ModelEntry("pictured", models.find("ideal:pictured").place),
    )
    assert race.set_of(pictured) == "pictured"
    with pytest.raises(InputError, match="model = 'little'"):
        race.set_of(little)
    (little.folder / runs.SOURCE).write_text('{"data": "shapes"}')  # as of a bundled run
    assert race.set_of(little) == "little"
    (little.folder / runs.SOURCE).write_text('{"data": "/elsewhere"}')
    with pytest.raises(InputError, match="model = 'little'"):
        race.set_of(little)


@pytest.mark.parametrize(
    ("chosen", "calls", "words"),
    [
        ([], 5, "samplers = []"),
        (None, 5, "samplers = None"),
        ("ddim", 5, "samplers = 'ddim'"),
        (["ddim"] * 5, 5, "samplers = "),
        (["dimd"], 5, "sampler = 'dimd'"),
        ([None], 5, "sampler = None"),
        ([["ddim"]], 5, "sampler = "),
        (["ddim"], 0, "network calls = 0"),
        (["ddim"], 101, "network calls = 101"),
        (["ddim"], 4.7, "network calls = 4.7"),
        (["ddim"], True, "network calls = True"),
        (["ddim"], None, "network calls = None"),
        (["ddim"], float("nan"), "network calls = nan"),
        (["ddim"], 10**9, "network calls = 1000000000"),
    ],
)
def test_what_cannot_be_raced_is_told(chosen: Any, calls: Any, words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)):
        race.sampler_lanes(recipe_of(**values()), chosen, calls)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"between": "cars"}, "Between = 'cars'"),
        ({"lane_2": "dimd"}, "Lane 2 = 'dimd'"),
        ({"calls": 101}, "Network calls = 101"),
        ({"calls": None}, "Network calls = None"),
    ],
)
def test_the_form_of_a_race_holds_nothing_else(changes: dict[str, Any], words: str) -> None:
    field = fields.form(race.FIELDS, "race-form")
    first = picked(list(race.FIRST), race.FIRST_CALLS)
    assert read_value(field, {}) == {**first, "beside": ""}
    with pytest.raises(InputError, match=words):
        read_value(field, changes)


def test_a_race_of_nobody_and_one_of_chance_alone_are_told() -> None:
    with pytest.raises(gr.Error, match="must be 1 to 4 of them"):
        raced(Race(), [], 5)
    shown = raced(Race(), ["ddpm", "euler_ancestral"], 4)
    assert "there is no single end" in shown[-1]["result"]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_who_adds_noise_has_no_single_end_and_a_seed_for_its_branch(
    little: Model, sampler: str
) -> None:
    recipe = denoising.recipe(sampler=sampler, steps=3)
    (seed,) = [field for field in branch.FIELDS if field.name == "seed"]
    parent = replace(recipe, sampler="ddim")
    ends = [
        replayed(replace(recipe, seed=seed, branch=Branch(parent, 1)), little)[-1].x_t
        for seed in (5, 6)
    ]
    adds = not torch.equal(*ends)
    assert race.is_random(recipe) is adds
    assert not adds or sampler in seed.when[1]


def test_a_sampler_chosen_twice_runs_once() -> None:
    recipe = recipe_of(**values())
    assert [each.sampler for each in race.sampler_lanes(recipe, ["heun", "heun"], 9)] == ["heun"]


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("t", [None, 20.0])
def test_a_lane_has_the_most_steps_for_its_calls(spacing: str, t: float | None) -> None:
    start = None if t is None else Start(denoising.picture(), t)
    recipe = denoising.recipe(spacing=spacing, start=start)
    for sampler in SAMPLERS:
        for calls in range(1, 20):
            lane = race.lane_of(recipe, sampler, calls)
            assert race.calls_of(lane) <= calls or lane.steps == 1
            assert race.calls_of(replace(lane, steps=lane.steps + 1)) > calls


def test_the_start_is_where_the_recipe_says() -> None:
    start = Start(denoising.picture(), 20.0)
    assert race.reference_of(denoising.recipe(start=start)).start == start
    assert race.reference_of(denoising.recipe(seed_to=9)).seed_to == 9


def test_a_reference_lets_others_in_and_a_new_race_ends_it(
    little: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    slowed(monkeypatch, little, 0.003)
    held, others = Race(), []
    for each in whole(held, ["ddim"], 2):
        if "reference" in each.get("line", "") and not others:
            reference = held.job
            others = list(race.start_race(ENGLISH, Race(), picked(["euler"], 3), **values(seed=6)))
            assert others and reference is not None and reference.done < FINE
            list(race.start_race(ENGLISH, held, picked(["euler"], 3), **values()))
    assert reference is not None and reference.stopped
    assert "player" not in each and [job.recipe.sampler for job in held.lanes] == ["euler"]


def test_the_line_of_the_player_is_words() -> None:
    shown = list(whole(Race(), ["ddim"], 2, CHINESE))
    assert "以 80 步的参考解衡量" in shown[-1]["line"]
    assert "DDIM 与精确的图片相距" in shown[-1]["result"]


def test_a_hidden_eta_makes_no_lane_random() -> None:
    hidden = recipe_of(**values(sampler="heun", eta=0.5))
    meant = recipe_of(**values(sampler="ddim", eta=0.5))
    for recipe, eta in ((hidden, 0.0), (meant, 0.5)):
        (lane,) = race.sampler_lanes(recipe, ["ddim"], 7)
        assert lane.eta == eta and race.is_random(lane) is (eta > 0)
