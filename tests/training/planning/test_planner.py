"""Planning: what is measured, what follows for a run, and which settings minutes buy."""

import itertools
import json
import math
import os
import subprocess
import sys
import time
from dataclasses import astuple, replace
from pathlib import Path

import pytest

from sd import runs
from sd.cli.parser import main
from sd.common.device import Machine
from sd.common.validation import InputError
from sd.config import Config
from sd.networks.blueprint import blueprint
from sd.training import samples
from sd.training.loop import Training
from sd.training.planning import forecast, memory, planner, speed
from sd.training.planning import forecast as forecasts
from sd.training.planning.forecast import Measurement, extrapolate, measure
from sd.training.planning.planner import PictureStats, Plan, plan
from sd.training.planning.reasons import MESSAGES, Reason
from sd.training.planning.sizes import HELD_OUT, LATENT_SIZES, PIXEL_SIZES, SIZE_PRESETS
from tests.conftest import TINY
from tests.helpers.run_folders import list_runs
from tests.helpers.sets import folder, picture

CPU = Machine("cpu", 1, "mkl", "CPU, 1 thread")
STARTER = PictureStats(1292, 64)
CAPTIONED = PictureStats(1292, 64, captions=930, labels=44)


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """A machine of 200 GFLOP/s that takes no time to measure; the list of what was measured."""
    asked: list[Config] = []

    def measured(config: Config, machine: Machine, seconds: float = 0.0) -> Measurement:
        asked.append(config)
        training = config.training
        plan = blueprint(config.unet, *config.latent_shape[1:])
        passage = plan.operations / 200e9
        encode = math.prod(config.picture_shape[1:]) * 2.2e5 / 200e9 if config.is_latent else 0.0
        own = 0.05 if config.first_stage.autoencoder == "own" else 0.0
        return Measurement(3 * training.batch_size * passage, 1440 * passage, 0.3, encode, own)

    monkeypatch.setattr(planner, "multiplies_bfloat16", lambda device: False)
    monkeypatch.setattr(planner, "measure", measured)
    monkeypatch.setattr(forecasts, "measure", measured)
    return asked


def kinds(made: Plan) -> set[str]:
    return {reason.kind for reason in made.reasons}


def test_more_minutes_buy_larger_pictures(fast: list[Config]) -> None:
    minutes = [0.5, 1, 2, 3, 5, 8, 15, 25, 40, 60, 120, 300, 1500]
    sides = [plan(each, STARTER, CPU).config.training.input_height for each in minutes]
    assert sides == sorted(sides)
    assert sides[:2] == [16, 24] and sides[-1] == 64 and {24, 32} <= set(sides)


@pytest.mark.parametrize(("ratio", "taken"), [(1.1, False), (1.5, True)])
def test_the_lower_precision_is_taken_where_it_is_faster(
    monkeypatch: pytest.MonkeyPatch, ratio: float, taken: bool
) -> None:
    def measured(config: Config, machine: Machine, seconds: float = 0.0) -> Measurement:
        return Measurement(
            0.2 / (ratio if config.training.precision == "bfloat16" else 1), 3.0, 0.3
        )

    monkeypatch.setattr(planner, "measure", measured)
    monkeypatch.setattr(planner, "multiplies_bfloat16", lambda device: False)
    plain = plan(5, STARTER, CPU)
    monkeypatch.setattr(planner, "multiplies_bfloat16", lambda device: True)
    made = plan(5, STARTER, CPU)
    assert made.config.training.precision == ("bfloat16" if taken else "float32")
    assert (made.forecast.steps > 1.2 * plain.forecast.steps) == taken
    assert [each.values["ratio"] for each in made.reasons if each.kind == "bfloat16"] == (
        ["1.5"] if taken else []
    )


@pytest.mark.parametrize("minutes", [1, 3, 10, 45, 240])
def test_a_plan_fills_its_minutes_with_steps_samples_and_saves(
    fast: list[Config], minutes: float
) -> None:
    made = plan(minutes, STARTER, CPU)
    training, expected = made.config.training, made.forecast
    measured = forecast.measure(made.config, CPU)
    saves = math.ceil(expected.steps / training.save_every)
    spent = (
        forecast.START_SECONDS
        + forecast.PICTURE_SECONDS * STARTER.count
        + expected.steps * measured.step
        + expected.sheets * measured.samples
        + saves * measured.save
    )
    assert spent == pytest.approx(60 * minutes, rel=0.05)
    assert (training.minutes, training.steps) == (minutes, expected.steps)
    assert expected.seconds == 60 * minutes
    assert 3 <= expected.sheets <= 20
    assert training.warmup_steps <= 200 and training.warmup_steps <= 0.05 * training.steps + 1
    assert 0.05 <= 1 / (1 - training.ema_decay) / training.steps <= 0.1
    assert training.save_every * measured.step <= 60
    assert training.held_out == HELD_OUT


def test_ten_minutes_or_more_show_some_fifteen_sheets(fast: list[Config]) -> None:
    found = [plan(m, STARTER, CPU).forecast.sheets for m in (3, 10, 60, 240)]
    found.append(plan(10, STARTER, CPU, start=300).forecast.sheets)  # half of it in reading
    assert all(15 <= sheets <= planner.MOST_GRIDS for sheets in found)


def test_few_slow_steps_are_not_each_shown(
    fast: list[Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planner, "measure", lambda *_: Measurement(2.0, 0.1, 0.1))
    found = plan(1, STARTER, CPU).forecast
    assert planner.MOST_GRIDS / 2 < found.sheets <= planner.MOST_GRIDS < found.steps


def test_what_is_chosen_gets_enough_steps_and_what_is_next_would_not(fast: list[Config]) -> None:
    made = plan(10, STARTER, CPU)
    values = {reason.kind: reason.values for reason in made.reasons}
    assert values["size"]["steps"] >= values["size"]["enough"]
    assert values["larger"]["needed_minutes"] > 10
    assert (
        plan(values["larger"]["needed_minutes"], STARTER, CPU).config.training.input_height
        == (values["larger"]["side"])
    )


def test_too_few_minutes_are_told_with_how_many_it_takes(fast: list[Config]) -> None:
    made = plan(0.2, STARTER, CPU)
    short = next(reason for reason in made.reasons if reason.kind == "short")
    assert short.values["steps"] < short.values["enough"]
    assert short.values["needed_minutes"] >= 1
    assert "size" in kinds(plan(short.values["needed_minutes"], STARTER, CPU))


def test_pictures_are_not_blown_up(fast: list[Config]) -> None:
    made = plan(600, PictureStats(5000, 28), CPU)
    assert made.config.training.input_height == 32 and "small_pictures" in kinds(made)
    assert plan(600, PictureStats(5000, 8), CPU).config.training.input_height == 16


def test_grey_pictures_are_trained_grey(fast: list[Config]) -> None:
    unet = plan(3, PictureStats(1292, 64, 1), CPU).config.unet
    assert (unet.channel, unet.n_embed) == (1, 1)


def test_few_pictures_need_fewer_steps(fast: list[Config]) -> None:
    many, few = plan(10, STARTER, CPU), plan(10, PictureStats(60, 64), CPU)
    assert few.config.training.input_height > many.config.training.input_height
    assert "few" in kinds(few) and "few" not in kinds(many)
    sizes = [
        plan(10, PictureStats(count, 16), CPU).reasons[0] for count in (1, 60, 160, 1000, 4000)
    ]
    assert [size.values["enough"] for size in sizes] == [180, 180, 240, 600, 600]


def test_no_network_is_chosen_that_the_memory_refuses(
    fast: list[Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "available", lambda: 1000 * 2**20)
    made = plan(10_000, STARTER, CPU)
    memory.check(made.config)
    assert made.config.training.input_height < 64 and "crowded" in kinds(made)
    monkeypatch.setattr(memory, "available", lambda: 500 * 2**20)
    with pytest.raises(InputError, match="500 MiB are there"):
        plan(10, STARTER, CPU)


@pytest.mark.parametrize("minutes", [0, -1, math.nan, math.inf, 10**9, True])
def test_minutes_that_cannot_be_are_refused(minutes: float) -> None:
    with pytest.raises(InputError, match="--minutes = "):
        plan(minutes, STARTER, CPU)


def test_the_search_ends_when_its_time_is_over(
    fast: list[Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count(0.0, 8.0)  # every look at the clock finds eight seconds gone
    monkeypatch.setattr(planner.time, "perf_counter", lambda: next(clock))
    made = plan(60, STARTER, CPU)
    sides = {each.training.input_height for each in fast}
    assert len(fast) <= 3 and len(sides) > 1
    assert made.config.training.input_height == max(sides)


def test_what_was_not_measured_is_foreseen_from_the_nearest_that_was() -> None:
    search = planner._Search(10, STARTER, CPU, 0, "auto")
    search.measured = {SIZE_PRESETS[0]: Measurement(1, 1, 1), SIZE_PRESETS[2]: Measurement(2, 3, 4)}
    found, ratio = (
        search.times(SIZE_PRESETS[3]),
        SIZE_PRESETS[3].work / SIZE_PRESETS[2].work,
    )
    assert astuple(found) == pytest.approx((2 * ratio, 3 * ratio, 4 * ratio, 0, 0))


@pytest.mark.parametrize("minutes", [1, 3, 10, 60])
@pytest.mark.parametrize("pictures", [STARTER, CAPTIONED, PictureStats(62, 300)])
def test_steps_are_expected_as_a_plan_of_the_same_measurement_has_them(
    fast: list[Config], minutes: float, pictures: PictureStats
) -> None:
    made = plan(minutes, pictures, CPU, forecast.START_SECONDS)
    kept = speed.parse(json.loads(json.dumps(made.to_json()))["measured"])
    measured = {place: Measurement(**times) for place, times in kept.items()}
    asked = len(fast)
    expected = planner.expect_steps(minutes, pictures, CPU, measured)
    assert len(fast) == asked and expected == made.forecast.steps


def test_what_was_measured_is_kept_for_its_machine(tmp_path: Path) -> None:
    times = {"step": 0.2, "samples": 3.0, "save": 0.1}
    speed.keep(tmp_path, "CPU", {"2": times})
    assert speed.read(tmp_path, "CPU") == {2: times} and speed.read(tmp_path, "GPU") == {}
    for bad in (None, [], {"x": times}, {"2": {"step": 1}}, {"2": times | {"save": math.inf}}):
        speed.keep(tmp_path, "CPU", bad)
        assert speed.read(tmp_path, "CPU") == {2: times}
    (tmp_path / speed.FILE).write_text('{"machine": "CPU", "measured": {"2": {"step": "1"}}}')
    assert speed.read(tmp_path, "CPU") == speed.read(tmp_path / "no", "CPU") == {}


def test_a_slow_machine_measures_nothing_beyond_what_it_can_use(fast: list[Config]) -> None:
    plan(1, STARTER, CPU)
    assert max(each.training.input_height for each in fast) <= 24


def test_every_size_can_be_trained_and_costs_more_than_the_one_before() -> None:
    for sizes in (PIXEL_SIZES, LATENT_SIZES):
        costs = [size.work * size.enough for size in sizes]
        assert costs == sorted(costs)
        assert [size.side for size in sizes] == sorted(size.side for size in sizes)
    for size in SIZE_PRESETS:
        memory.needed(size.config(3))


def test_every_reason_has_its_line_and_travels_as_json(fast: list[Config]) -> None:
    plans = [plan(m, p, CPU) for m in (0.3, 3, 900) for p in (STARTER, PictureStats(40, 20, 1))]
    plans += [plan(3, told, CPU) for told in (CAPTIONED, PictureStats(500, labels=7))]
    plans.append(plan(3, CAPTIONED, CPU, kind="none"))
    plans.append(plan(30, STARTER, CPU, first_stage="own"))
    for made in plans:
        told = json.loads(json.dumps(made.to_json()))
        assert [each["line"] for each in told["reasons"]] == [each.line for each in made.reasons]
        assert all("{" not in each.line for each in made.reasons)
        base = Config.preset(told["preset"])
        assert base.with_settings(told["settings"]) == made.config
        assert told["forecast"]["samples"] == 16 * made.forecast.sheets
    others = {"crowded", "bfloat16", "started", "started_auto"}
    assert set().union(*map(kinds, plans)) >= set(MESSAGES) - others
    assert Reason("crowded", {}).line and "run@1" in Reason("started", {"model": "run@1"}).line


PHOTOS = PictureStats(500, 300)


def test_pictures_large_enough_are_learned_in_latents_with_their_encoding_counted(
    fast: list[Config],
) -> None:
    minutes = [0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300]
    made = [plan(each, PHOTOS, CPU) for each in minutes]
    sides = [each.config.training.input_height for each in made]
    assert sides == sorted(sides) and {64, 128, 256} <= set(sides)
    for each in made:
        config, kinds_of = each.config, kinds(each)
        assert config.is_latent == (config.training.input_height > 64) == ("latents" in kinds_of)
        training, expected = config.training, each.forecast
        measured = forecast.measure(config, CPU)
        assert expected.encode_seconds == pytest.approx(500 * measured.encode, abs=0.1)
        saves = math.ceil(expected.steps / training.save_every)
        spent = forecast.START_SECONDS + (forecast.PICTURE_SECONDS + measured.encode) * 500
        spent += expected.steps * measured.step + expected.sheets * measured.samples
        spent += saves * measured.save
        assert spent == pytest.approx(60 * training.minutes, rel=0.06)
    told = [reason.line for reason in made[-1].reasons if reason.kind == "latents"]
    assert told[0].startswith("It sees each picture as 32 x 32 places of latents, one for 8 x 8 ")
    line = made[-1].forecast.lines()[1]
    assert line.startswith("before the first step: ") and line.endswith(" to encode the pictures")


def test_mirror_images_are_encoded_and_counted_too(fast: list[Config]) -> None:
    plain, flipped = (plan(30, PHOTOS, CPU, flip=flip) for flip in (False, True))
    training, expected = flipped.config.training, flipped.forecast
    assert training.flip and not plain.config.training.flip
    assert training.input_height == plain.config.training.input_height > 64
    assert expected.encode_seconds == pytest.approx(2 * plain.forecast.encode_seconds, abs=0.1)
    [told] = [each.line for each in flipped.reasons if each.kind == "latents"]
    assert f"{round(expected.encode_seconds)} s" in told
    training_seconds = [
        each.forecast.steps * each.forecast.step_seconds for each in (plain, flipped)
    ]
    less = training_seconds[0] - training_seconds[1]
    assert less == pytest.approx(plain.forecast.encode_seconds, rel=0.15)
    measured = {place: Measurement(**vars(each)) for place, each in flipped.measured.items()}
    assert planner.expect_steps(30, PHOTOS, CPU, measured, flip=True) == expected.steps
    search = planner._Search(30, PHOTOS, CPU, forecast.START_SECONDS, "auto", flip=True)
    place = max(measured)
    size = SIZE_PRESETS[place]
    search.measured[size] = times = measured[place]
    before, search.views = search.minutes_for(size), 1
    assert before - search.minutes_for(size) == pytest.approx(500 * times.encode / 60)


def test_what_costs_more_than_a_larger_size_is_no_choice(fast: list[Config]) -> None:
    search = planner._Search(600, PHOTOS, CPU, 0, "auto")
    assert [size.side for size in search.sizes] == [16, 24, 32, 64, 128, 256]
    small = planner._Search(600, STARTER, CPU, 0, "auto")
    assert [size.side for size in small.sizes] == [16, 24, 32, 64, 64]


@pytest.mark.parametrize("pictures", [PictureStats(500, 300, 1), STARTER])
def test_grey_or_small_pictures_are_learned_in_pixels(
    fast: list[Config], pictures: PictureStats
) -> None:
    assert not plan(600, pictures, CPU).config.is_latent


@pytest.mark.parametrize(
    ("first_stage", "side"), [("pixels", 64), ("taesd", 256), ("taef2", 256), ("own", 64)]
)
def test_a_first_stage_that_was_asked_for_is_kept(
    fast: list[Config], first_stage: str, side: int
) -> None:
    config = plan(300, PHOTOS, CPU, first_stage=first_stage).config
    assert (config.first_stage.autoencoder or "pixels") == first_stage
    assert config.training.input_height == side


def test_an_own_autoencoder_gets_a_share_of_the_minutes(fast: list[Config]) -> None:
    for minutes in (4, 20, 200):
        made = plan(minutes, STARTER, CPU, first_stage="own")
        steps, forecasted = made.config.first_stage.autoencoder_steps, made.forecast
        assert forecasted.autoencoder_seconds == pytest.approx(0.05 * steps, abs=0.1)
        share = forecasted.autoencoder_seconds / (60 * minutes)
        assert 0.15 < share <= 0.25 or forecasted.autoencoder_seconds == pytest.approx(600)
        line = next(each.line for each in made.reasons if each.kind == "autoencoder")
        assert line.startswith("Its own autoencoder is trained first: ")


@pytest.mark.parametrize("minutes", [0.1, 0.2, 0.3, 0.5, 1, 3])
def test_no_share_of_a_plan_is_more_than_all_of_it(fast: list[Config], minutes: float) -> None:
    for pictures in (STARTER, PictureStats(1), PictureStats(20_000)):
        values = [each.values for each in plan(minutes, pictures, CPU).reasons]
        assert all(0 < each["percent"] <= 100 for each in values if "percent" in each)
        assert [each["passes"] for each in values if "passes" in each] != ["0"]


def test_a_reason_of_one_is_in_the_singular() -> None:
    told = Reason("warmup", {"warmup": 1, "percent": 100}).line
    assert told == "The learning rate rises over the first step, 100 % of all."
    told = Reason("samples", {"every": 1, "seconds": 1, "sheets": 1}).line
    assert told == "Samples every step, about 1 second apart: 1 sheet."


@pytest.mark.parametrize(
    ("pictures", "wanted", "kind", "reason"),
    [
        (CAPTIONED, "auto", "captions", "the captions, which 930 of 1292 pictures have"),
        (CAPTIONED, "class_embedding", "class_embedding", "one of 44"),
        (PictureStats(500, labels=7), "auto", "class_tokens", "one of 7"),
        (PictureStats(500, labels=1), "auto", "none", "no captions and no two classes"),
        (CAPTIONED, "none", "none", "nothing but the time, as was chosen"),
    ],
)
def test_a_plan_says_what_is_told_and_is_measured_with_it(
    fast: list[Config], pictures: PictureStats, wanted: str, kind: str, reason: str
) -> None:
    made = plan(3, pictures, CPU, kind=wanted)
    assert made.config.conditioning.kind == kind
    assert {each.conditioning.kind for each in fast} == {kind}
    ports = {(each.unet.num_classes, each.unet.context_dim) for each in fast}
    told = {"captions": (None, 128), "class_tokens": (None, 128), "class_embedding": (45, None)}
    assert ports == {told.get(kind, (None, None))}
    assert (made.config.unet.num_classes, made.config.unet.context_dim) == (None, None)
    assert any(reason in each.line for each in made.reasons)


def test_a_plan_refuses_what_the_pictures_lack(fast: list[Config]) -> None:
    with pytest.raises(InputError, match=r"^conditioning.kind = 'captions': none of these"):
        plan(3, STARTER, CPU, kind="captions")
    assert fast == []


# what is measured


@pytest.mark.parametrize("kind", ["captions", "class_tokens", "class_embedding"])
def test_what_is_told_is_measured_too(tiny_config: Config, kind: str) -> None:
    config = tiny_config.with_settings([f"conditioning.kind={kind}"])
    images = forecasts.random_pictures(config)
    training = Training(config, images, 0, CPU)
    assert training.config.conditioning.kind == kind and training.sample_prompts
    denoiser = samples.sample_denoiser(training, training.model)
    assert denoiser.guidance.scale == (2.0,) and samples.passes_per_step(training) == 2
    assert measure(config, CPU, 0.0).samples > 0


def test_a_run_that_is_told_nothing_asks_once(tiny_config: Config) -> None:
    config = tiny_config.with_settings(['conditioning.kind="none"'])
    training = Training(config, forecasts.random_pictures(config), 0, CPU)
    assert samples.passes_per_step(training) == 1
    assert samples.sample_denoiser(training, training.model).cond is None


def test_a_measurement_times_the_real_thing(tiny_config: Config) -> None:
    measured = measure(tiny_config, CPU, 2.0)
    assert 0 < measured.step < measured.samples and 0 < measured.save < 10


def test_a_measurement_takes_about_the_seconds_that_it_is_given(tiny_config: Config) -> None:
    begun = time.perf_counter()
    measure(tiny_config, CPU, 0.0)
    assert time.perf_counter() - begun < 5


def test_an_augmented_lengthy_accumulating_run_is_measured_too(tiny_config: Config) -> None:
    settings = ["training.flip=True", "training.gradient_accumulation=3", "training.minutes=0.001"]
    assert measure(tiny_config.with_settings(settings), CPU, 1.0).step > 0


@pytest.mark.parametrize(
    ("seconds", "until", "expected"),
    [
        ([9, 9, 1, 2, 3], 100, [1, 2, 3]),
        ([9, 9, 1, 2, 3, 4], 100, [1, 2, 3]),  # at most three
        ([9, 9, 1, 2, 3], 18.5, [1]),
        ([3, 2, 1], 1, [2]),
        ([9, 5, 1], 1, [9]),  # a long one is not taken only to warm up
        ([9], 1, [9]),
    ],
)
def test_steps_are_timed_after_warming_up(
    monkeypatch: pytest.MonkeyPatch, seconds: list[int], until: float, expected: list[int]
) -> None:
    now = [0.0]
    monkeypatch.setattr(forecasts.time, "perf_counter", lambda: now[0])

    def stream():
        for each in seconds:
            now[0] += each
            yield each

    assert forecasts._time_steps(stream(), 2, 3, until) == expected


def test_the_forecast_is_the_sum_of_its_parts(tiny_config: Config) -> None:
    settings = ["training.steps=1000", "training.sample_every=300", "training.save_every=250"]
    found = extrapolate(
        tiny_config.with_settings(settings), 500, CPU, Measurement(0.1, 2.0, 0.5), 4.0
    )
    start = 4 + 500 * forecasts.PICTURE_SECONDS
    assert found.seconds == pytest.approx(start + 100 + 4 * 2.0 + 4 * 0.5, abs=0.1)
    assert (found.steps, found.sheets, found.pictures_per_second) == (1000, 4, 40)
    by_epochs = ["training.steps=0", "training.epochs=10", "training.held_out=0.1"]
    assert (
        extrapolate(tiny_config.with_settings(by_epochs), 500, CPU, Measurement(1, 1, 1), 0).steps
        == 1125
    )


def test_the_last_samples_and_the_last_save_lie_within_the_minutes(tiny_config: Config) -> None:
    settings = ["training.minutes=1", "training.sample_every=0", "training.save_every=0"]
    found = extrapolate(tiny_config.with_settings(settings), 4, CPU, Measurement(1, 10, 5), 20.5)
    assert found.steps == 60 - 21 - 10 - 5


def test_a_forecast_refuses_what_the_memory_refuses(
    tiny_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "available", lambda: 2**30)
    with pytest.raises(InputError, match=r"batch_size = 65536: needs about .*; \d+ fits"):
        forecasts.forecast(tiny_config.with_settings(["training.batch_size=65536"]), 9, CPU)
    cuda = replace(CPU, device="cuda")
    memory.check(tiny_config.with_settings(["training.batch_size=65536"]), cuda.device)


# the commands


def said(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert main([str(word) for word in words]) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def test_plan_prints_a_plan(
    capsys: pytest.CaptureFixture[str], fast: list[Config], pictures: Path
) -> None:
    lines = said(capsys, "plan", pictures, "--minutes", 5, "--device", "cpu")
    assert "12 pictures are few" in lines and "5 min: " in lines
    told = json.loads(
        said(capsys, "plan", "--json", "--minutes", 5, "--device=cpu", "--", pictures)
    )
    assert "training.minutes=5.0" in told["settings"]
    assert told["forecast"]["pictures"] == 12


def test_plan_counts_what_can_be_used_and_says_why_nothing_can(
    capsys: pytest.CaptureFixture[str], fast: list[Config], tmp_path: Path
) -> None:
    files: dict[str, bytes | str] = {f"{n}.png": picture(n) for n in range(3)} | {"1.txt": "one"}
    strays: dict[str, bytes | str] = {"a.jxl": b"\xff\x0a", "b.xyz": "x", "c.png": ""}
    lines = said(capsys, "plan", folder(tmp_path / "some", files | strays), "--minutes", 5)
    assert "1 of 3 pictures has" in lines and "3 pictures are few" in lines
    assert main(["plan", str(folder(tmp_path / "none", strays)), "--minutes", "5"]) == 2
    told = "none: no picture could be read: 3 left out, first a.jxl (JPEG XL"
    assert told in capsys.readouterr().err


def test_plan_forecasts_given_settings(
    capsys: pytest.CaptureFixture[str], fast: list[Config], pictures: Path, tiny_ini: Path
) -> None:
    words = ["plan", "--json", "--config", tiny_ini, "--steps", 70, "--device=cpu", "--", pictures]
    told = json.loads(said(capsys, *words))
    assert (told["forecast"]["steps"], told["reasons"]) == (70, [])
    config = Config.preset(told["preset"]).with_settings(told["settings"])
    assert config == Config.read(tiny_ini).with_settings(["training.steps=70"])
    assert "70 steps" in said(capsys, "plan", pictures, "--config", tiny_ini, "--steps", 70)


def test_minutes_keep_the_settings_that_are_named(
    capsys: pytest.CaptureFixture[str], fast: list[Config], pictures: Path
) -> None:
    told = json.loads(said(capsys, "plan", "--json", pictures, "--preset=small", "--minutes", 2))
    config = Config.preset(told["preset"]).with_settings(told["settings"])
    assert config == Config.preset("small").with_settings(["training.minutes=2"])
    assert told["forecast"]["seconds"] == 120


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["plan"], "DATA: give a folder"),
        (["plan", "{empty}"], "no picture"),
        (["plan", "starter", "--minutes", "0"], "--minutes = 0: must be a number from 0.1 to"),
        (["plan", "starter", "--minutes", "nan"], "--minutes = nan"),
        (["plan", "starter", "--minutes", "1", "--steps", "5"], "not allowed with"),
        (["plan", "starter", "--set", "training.batch_size=65536"], "fits"),
        (["train", "--resume"], "--resume: tell with --run FOLDER"),
        (["train", "starter", "--resume", "--run", "{empty}"], "--resume: DATA cannot be given"),
        (["train", "--resume", "--run", "{empty}", "--seed", "1"], "--seed cannot be given"),
        (["train", "--resume", "--run", "{empty}", "--set", "a=b"], "--set cannot be given"),
        (["train", "--resume", "--run", "{empty}"], "holds no run that can go on"),
    ],
)
def test_a_mistake_is_one_line(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    words: list[str],
    line: str,
) -> None:
    monkeypatch.setattr(memory, "available", lambda: 4 * 2**30)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert main([word.format(empty=empty) for word in words]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1 and line in printed.err


def test_train_for_minutes_plans_and_ends_by_the_clock(
    capsys: pytest.CaptureFixture[str], fast: list[Config], pictures: Path, home: Path
) -> None:
    changes = [word for setting in TINY[3:] for word in ("--set", setting)]
    begun = time.time()
    assert main(["train", str(pictures), "--minutes", "0.2", *changes, "--device=cpu"]) == 0
    assert time.time() - begun == pytest.approx(12, abs=4)
    status = list_runs(runs.default_home())[0]
    assert status.state == "finished" and f"finished {status.step} steps" in status.line
    sheets = runs.samples(home / status.name)
    assert sheets[-1].step == status.step > 1
    assert Config.read(home / status.name / "config.ini").training.minutes == 0.2
    printed = capsys.readouterr().err
    assert "measuring this machine" in printed and "12 pictures are few" in printed


def test_resume_goes_on_to_more_steps(
    capsys: pytest.CaptureFixture[str], pictures: Path, tiny_ini: Path, home: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    said(capsys, "train", pictures, "--config", tiny_ini, "--steps", 3, "--run", run)
    line = said(capsys, "train", "--run", run, "--resume", "--steps", 5)
    assert line == f"finished 5 steps: {run}\n"
    assert main(["train", "--run", str(run), "--resume"]) == 2
    assert "finished" in capsys.readouterr().err


@pytest.mark.slow
def test_three_minutes_are_three_minutes(tmp_path: Path) -> None:
    """In a process of its own, as a person types it, with all threads there are."""
    run = tmp_path / "run"
    words = [sys.executable, "-m", "sd", "train", "starter", "--minutes", "3", "--run", str(run)]
    begun = time.time()
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    subprocess.run(words, check=True, env=environment, cwd=Path(__file__).parents[3])
    assert 150 <= time.time() - begun <= 210
    status = runs.status(run)
    assert status.state == "finished" and runs.samples(run)[-1].step == status.step
