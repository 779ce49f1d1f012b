"""The named faults of a run, each told of it in one true sentence, and what is no fault."""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

import pytest

from sd.config import Config
from sd.training.coach import review_run, tell_run
from sd.training.coach.messages import figure
from sd.training.coach.summary import Summary
from tests.helpers.coaching import TINY, Event, falling, healthy, kinds, only, run


def evaluations(held_out: Sequence[float], train: Sequence[float]) -> list[Event]:
    pairs = enumerate(zip(held_out, train, strict=True), start=1)
    return [
        {"event": "evaluation", "step": 250 * number, "train": [t] * 10, "held_out": [h] * 10}
        for number, (h, t) in pairs
    ]


def sheet(step: int, distances: Sequence[float], low: float = 0.45) -> list[Event]:
    known = {"event": "baseline", "kind": "held_out", "count": 64, "low": low, "median": 0.8}
    nearest = [[number, distance] for number, distance in enumerate(distances)]
    return [known, {"event": "samples", "step": step, "nearest": nearest}]


FINISHED = {"event": "finished", "line": "finished"}


def test_a_young_average_is_named_until_the_samples_are_of_step_300() -> None:
    early = [*healthy(150), {"event": "samples", "step": 150}]
    remark = only(review_run(TINY, early), "ema_young")
    assert remark.values == {"step": 150, "length": 18, "until": 300}  # (10 + 150) / 9
    assert "ema_young" not in kinds(review_run(TINY, [*early, {"event": "samples", "step": 300}]))
    quick = TINY.with_settings(["training.ema_decay=0.8"])  # averages 5 steps
    assert "ema_young" not in kinds(review_run(quick, early))


def test_noise_early_in_a_run_is_called_normal() -> None:
    events = [*healthy(480), {"event": "samples", "step": 400}]
    assert kinds(review_run(TINY, events)) == ["noise_yet"]
    assert kinds(review_run(TINY, [*healthy(600), {"event": "samples", "step": 600}])) == ["well"]


def test_a_loss_that_was_lost_for_good_is_named_with_a_lower_rate() -> None:
    line = "the loss is not a finite number at 5 steps in a row, up to step 77: ..."
    failed = {"event": "failed", "step": 77, "line": line}
    said = review_run(TINY, [*healthy(72), *[skip(step) for step in range(73, 78)], failed])
    assert kinds(said) == ["not_finite_unsaved"]
    assert "step 77" in said[0].line and said[0].fix == ("training.learning_rate=0.001",)
    assert "before there was a checkpoint" in said[0].line
    saved = [{"event": "checkpoint", "step": step} for step in (30, 60)]
    (said_again,) = review_run(TINY, [*healthy(72), *saved, skip(73), {**failed, "step": None}])
    assert "step 73" in said_again.line and "checkpoint of step 60 is whole" in said_again.line
    assert review_run(TINY, [*healthy(72), {"event": "failed", "line": "the disk is full"}]) == []


def skip(step: int) -> Event:
    return {"event": "notice", "kind": "skipped", "step": step, "line": "..."}


def test_one_step_left_out_is_told_while_it_is_news_and_many_are_an_alarm() -> None:
    said = review_run(TINY, [*healthy(300), skip(200)])
    assert kinds(said) == ["skipped"] and "step 200" in said[0].line
    assert kinds(review_run(TINY, [*healthy(1200), skip(200)])) == ["well"]
    often = only(review_run(TINY, [*healthy(300), *map(skip, (10, 20, 290))]), "skipped_often")
    assert often.values["count"] == 3 and often.values["step"] == 290


@pytest.mark.parametrize(("rate", "better"), [("0.001", "0.0005"), ("0.1", "0.002")])
def test_an_explosion_is_named_and_the_rate_lowered(rate: str, better: str) -> None:
    config = TINY.with_settings([f"training.learning_rate={rate}"])
    for after in (0.9, 30.0):
        torn = [(step, after) for step in range(606, 640, 6)]
        events = [*healthy(600), *run(torn)[1:]]
        remark = only(review_run(config, events), "explodes")
        assert remark.fix == (f"training.learning_rate={better}",)
        assert f"to {after:.3g} by step 636" in remark.line


def test_a_loss_that_only_grows_is_an_explosion_too() -> None:
    events = run([(step, 1.0 + step / 20) for step in range(1, 60)])
    assert kinds(review_run(TINY, events)) == ["explodes"]


@pytest.mark.parametrize(
    ("optimizer", "rate", "kind", "better"),
    [
        ("muon", "0.05", "stuck_high", "0.00067"),
        ("muon", "0.000001", "stuck_low", "1e-05"),
        ("muon", "0.002", None, ""),
        ("muon", "0.001", "stuck_low", "0.002"),
        ("adamw", "0.002", "stuck_high", "0.00033"),
        ("adamw", "0.001", None, ""),
    ],
)
def test_a_loss_that_never_falls_is_named(
    optimizer: str, rate: str, kind: str | None, better: str
) -> None:
    settings = [f"training.learning_rate={rate}", "training.warmup_steps=200"]
    config = TINY.with_settings([*settings, f"training.optimizer={optimizer}"])
    flat = run([(step, 0.29 + step % 3 / 100) for step in range(6, 601, 6)])
    said = review_run(config, flat)
    assert kinds(said) == ([kind] if kind else [])
    assert [each.values["better"] for each in said] == ([better] if kind else [])
    warming = [event for event in flat if event.get("step", 0) <= 450]
    assert review_run(config, warming) == []  # the warm-up of 200 steps does not count


def test_without_clipping_the_fix_clips_too() -> None:
    config = TINY.with_settings(["training.grad_clip=0.0"])
    events = run([(step, 1.0 + step / 20) for step in range(1, 60)])
    assert only(review_run(config, events), "explodes").fix[1] == "training.grad_clip=1.0"


RISING = [0.30, 0.20, 0.16, 0.15, 0.152, 0.156, 0.160]
FALLS = [0.30, 0.20, 0.15, 0.13, 0.11, 0.10, 0.09]


def test_memorising_is_named_with_the_step_since_when() -> None:
    remark = only(review_run(TINY, [*healthy(1750), *evaluations(RISING, FALLS)]), "memorises")
    assert "Since step 1000" in remark.line and "(0.15 to 0.16)" in remark.line
    assert "its 1228 pictures" in remark.line
    assert remark.fix == ("training.shift=0.05", "unet.dropout=0.1")


@pytest.mark.parametrize(
    ("held_out", "train"),
    [
        (FALLS, FALLS),
        ([0.3, 0.2, 0.16, 0.15, 0.151, 0.149, 0.152], FALLS),  # flat, by less than 3%
        (RISING[:6], FALLS[:6]),  # one evaluation above is chance
        (RISING, [0.30, 0.20, 0.15, 0.13, 0.14, 0.14, 0.14]),  # training rises too: no memorising
        (RISING[:2], FALLS[:2]),
    ],
)
def test_held_out_loss_that_does_not_rise_alone_is_no_memorising(
    held_out: list[float], train: list[float]
) -> None:
    said = review_run(TINY, [*healthy(1750), *evaluations(held_out, train)])
    assert "memorises" not in kinds(said)


def test_of_few_held_out_pictures_the_rise_must_last_longer() -> None:
    few = run([(step, falling(step)) for step in range(6, 1751, 6)], held_out=4)
    assert "memorises" not in kinds(review_run(TINY, [*few, *evaluations(RISING, FALLS)]))
    longer = evaluations([*RISING, 0.162, 0.165], [*FALLS, 0.08, 0.07])
    assert "memorises" in kinds(review_run(TINY, [*few, *longer]))


def test_a_real_run_that_memorised_31_pictures_is_told_so() -> None:
    held_out = [0.3408, 0.317, 0.3062, 0.3036, 0.3053, 0.3068, 0.3078, 0.309, 0.3149, 0.3194]
    train = [0.289, 0.2442, 0.2181, 0.1994, 0.1888, 0.1811, 0.1706, 0.1632, 0.1586, 0.1567]
    few = run([(step, falling(step)) for step in range(6, 2501, 6)], pictures=31, held_out=10)
    said = only(review_run(TINY, [*few, *evaluations(held_out, train)]), "memorises")
    assert said.line.startswith("Since step 1000 the loss on held-out pictures rises (0.304 to ")
    for until in range(1, 9):
        early = [*few, *evaluations(held_out[:until], train[:until])]
        assert "memorises" not in kinds(review_run(TINY, early)), until


def test_a_run_without_held_out_pictures_is_not_accused_of_memorising() -> None:
    told = [{**each, "held_out": None} for each in evaluations(RISING, FALLS)]
    assert "memorises" not in kinds(review_run(TINY, [*healthy(1750), *told]))


def test_copies_are_named_where_there_are_more_than_chance_makes() -> None:
    copied = [*healthy(3000), *sheet(3000, [0.1] * 5 + [0.8] * 11)]
    remark = only(review_run(TINY, copied), "copies")
    assert remark.line.startswith("5 of 16 samples at step 3000 nearly copy")
    assert kinds(review_run(TINY, [*healthy(3000), *sheet(3000, [0.1] * 3 + [0.8] * 13)])) == [
        "well"
    ]
    film = [*healthy(3000), *sheet(3000, [0.2] * 16, low=0.1)]  # as near as unseen ones
    assert kinds(review_run(TINY, film)) == ["well"]


def test_the_newest_samples_count() -> None:
    events = [*healthy(3000), *sheet(2000, [0.1] * 16), *sheet(3000, [0.8] * 16)]
    assert kinds(review_run(TINY, events)) == ["well"]


def test_the_schedule_s_fault_is_told_of_a_run_too() -> None:
    events = run([(step, falling(step)) for step in range(1, 120)], total=150, pictures=500)
    said = review_run(Config.preset("seed"), events)
    assert kinds(said) == ["terminal_snr_run", "few_steps"]
    assert "0.152" in said[0].line and "start again" in said[0].line


def test_minutes_that_are_too_few_are_told_from_the_run_s_own_total() -> None:
    config = TINY.with_settings(["training.minutes=3.0"])
    slow = [*healthy(114), {**healthy(120)[-1], "total": 183}]  # by the clock
    said = review_run(config, slow)
    assert kinds(said) == ["few_minutes"]
    assert "3 minutes are about 180 steps" in said[0].line
    assert said[0].fix == ("training.minutes=50",)
    ended = [*slow, {"event": "finished", "step": 120}]  # sooner than its last row had it
    assert "3 minutes are about 120 steps" in review_run(config, ended)[0].line
    quick = [*healthy(114), {**healthy(120)[-1], "total": 1830}]
    assert kinds(review_run(config, quick)) == ["well"]
    short = config.with_settings(["training.steps=180"])
    assert "few_steps" in kinds(review_run(short, slow))


def test_few_logged_losses_of_many_pictures_are_calm_enough() -> None:
    assert kinds(review_run(TINY, healthy(72))) == ["well"]  # twelve, each the last of six steps


def test_at_the_end_it_tells_whether_to_train_on() -> None:
    events = healthy(6000)
    remark = only(review_run(TINY, [*events, FINISHED]), "still_falling")
    last = [each["loss"] for each in events[1:] if each["step"] > 5250]  # the last eighth
    assert remark.values["now"] == figure(fmean(last))
    assert remark.values["more"] == "3,000" and remark.fix == ("training.steps=9000",)
    flat = [(step, max(falling(step), falling(2000))) for step in range(6, 6001, 6)]
    said = review_run(TINY, [*run(flat), FINISHED])
    assert kinds(said) == ["levelled"]
    assert "levelled off at 0.0299: the last quarter took off only 0%" in said[0].line
    assert kinds(review_run(TINY, run(flat))) == [
        "well"
    ]  # while it runs, nothing is said of the end


def test_no_one_is_told_to_train_on_into_memorising() -> None:
    rising = evaluations(RISING, FALLS)
    said = review_run(TINY, [*healthy(6000), *rising, FINISHED])
    assert "memorises" in kinds(said) and "still_falling" not in kinds(said)
    slightly = evaluations([0.3, 0.15, 0.152, 0.152], [0.3, 0.15, 0.14, 0.13])
    assert "still_falling" not in kinds(review_run(TINY, [*healthy(6000), *slightly, FINISHED]))


@pytest.mark.parametrize("told", [100, [["a", "b"]] * 100])
def test_many_duplicates_are_told(told: Any) -> None:
    events = run([(step, falling(step)) for step in range(6, 1200, 6)], duplicates=told)
    said = only(review_run(TINY, events), "duplicates")
    assert said.line.startswith("100 of 1292 pictures repeat others")
    few = run([(step, falling(step)) for step in range(6, 1200, 6)], duplicates=3)
    assert kinds(review_run(TINY, few)) == ["well"]
    for count in (64, 65):  # of 1,300: a twentieth is many
        events = run([(step, falling(step)) for step in range(6, 1200, 6)], 6000, 1236)
        events[0]["duplicates"] = count
        assert ("duplicates" in kinds(review_run(TINY, events))) == (count == 65)


def test_a_run_of_coloured_pictures_in_grey_is_told_by_its_report() -> None:
    grey = Config.preset("seed-fixed").with_settings(["training.steps=6000"])
    losses = [(step, falling(step)) for step in range(6, 1200, 6)]
    report = ["pictures used: 3", "modes: RGBA (2), L (1)"]
    assert "grey" in kinds(review_run(grey, run(losses, report=report)))
    assert "grey" not in kinds(review_run(grey, run(losses, report=["modes: L (3)"])))


def test_a_run_taken_up_again_counts_its_new_total() -> None:
    events = [*run([(step, falling(step)) for step in range(1, 600)], total=600)]
    config = TINY.with_settings(["training.steps=600"])
    assert "few_steps" in kinds(review_run(config, events))
    events.append({"event": "resumed", "step": 600, "total": 4000})
    assert "few_steps" not in kinds(review_run(config, events))


def test_good_news_comes_first_where_there_is_any() -> None:
    copied = [*healthy(3000), *sheet(3000, [0.1] * 8 + [0.8] * 8)]
    assert kinds(review_run(TINY, copied)) == ["copies"]
    assert kinds(tell_run(TINY, copied)) == ["falls", "copies"]
    assert "fell from" in tell_run(TINY, copied)[0].line
    early = [*healthy(480), {"event": "samples", "step": 400}, skip(470)]
    assert kinds(tell_run(TINY, early)) == ["noise_yet", "skipped"]
    assert kinds(tell_run(TINY, healthy(72))) == ["well"]
    torn = [*healthy(600), *run([(step, 30.0) for step in range(606, 640, 6)])[1:]]
    assert kinds(tell_run(TINY, torn)) == ["explodes"] and tell_run(TINY, []) == []


TAESD = Config.preset("latent128")


@pytest.mark.parametrize(
    "before", [[], [{"event": "first_stage", "done": 8, "total": 9, "psnr": 9.0}]]
)
def test_an_autoencoder_that_loses_much_is_named_as_the_limit(before: list[Event]) -> None:
    events = [*before, {"event": "encoded", "pictures": 120, "psnr": 23.4}, *healthy(2000)]
    remark = only(review_run(TAESD, events), "first_stage_limits")
    assert "23.4 dB" in remark.line and remark.fix == ("first_stage.tune_steps=200",)
    own = Config.preset("latent-own")
    remark = only(review_run(own, events), "first_stage_limits_own")
    assert "for 4,000 steps" in remark.line and remark.fix == (
        "first_stage.autoencoder_steps=4000",
    )
    good = [*before, {"event": "encoded", "pictures": 120, "psnr": 26.0}, *healthy(2000)]
    assert "first_stage_limits" not in kinds(review_run(TAESD, good))
    assert "first_stage_limits" not in kinds(review_run(TINY, healthy(2000)))


@pytest.mark.parametrize("end", ["finished", "stopped"])
def test_a_decoder_that_was_not_tuned_can_be_when_a_run_is_over(end: str) -> None:
    saved = {"event": "checkpoint", "step": 2000, "folder": "checkpoint-000002000"}
    over = [{"event": "encoded", "pictures": 120, "psnr": 29.0}, *healthy(2000), saved]
    assert "untuned_run" not in kinds(review_run(TAESD, over))  # it still goes on
    ended = [*over, {"event": end, "step": 2000}]
    remark = only(review_run(TAESD, ended), "untuned_run")
    assert "TAESD" in remark.line and remark.fix == ("first_stage.tune_steps=100",)
    tuned = TAESD.with_settings(remark.fix)
    for config in (tuned, TINY, Config.preset("latent-own")):
        assert "untuned_run" not in kinds(review_run(config, ended))
    unsaved = [each for each in ended if each is not saved]
    assert "untuned_run" not in kinds(review_run(TAESD, unsaved))
    worse = [{"event": "encoded", "pictures": 120, "psnr": 20.0}, *ended[1:]]
    assert "untuned_run" not in kinds(review_run(TAESD, worse))  # a louder line says it


def test_what_is_encoded_is_no_total_of_steps() -> None:
    events = [{"event": "encode", "done": 8, "total": 1292}, {"event": "ingest", "total": 1292}]
    events.append({"event": "first_stage", "done": 8, "total": 2000})
    assert Summary.of_run(TAESD, events).total == 0
