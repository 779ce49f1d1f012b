"""The coach: silent or content on healthy runs, and one true sentence on each named fault."""

import json
import math
import random
import string
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sd.coach import LINES, Remark, before, remarks
from sd.config import Config
from sd.report import Report
from sd.schedule import Schedule
from sd.ui.texts_coach import CHINESE, TEXTS

BUNDLED = Path(__file__).parent.parent / "checkpoints" / "emoji32"
TINY = Config.preset("tiny")
Event = dict[str, Any]


def falling(step: int) -> float:
    """Return the loss of a healthy run: a power law, as the bundled one's."""
    return 0.3 * (1 + step / 20) ** -0.5


def run(
    losses: Iterable[tuple[int, float]], total: int = 6000, pictures: int = 1228, **start: Any
) -> list[Event]:
    """Return the events of a run with these (step, loss)."""
    begun = {"event": "start", "total": total, "pictures": pictures, "held_out": 64, **start}
    return [begun, *({"event": "step", "step": step, "loss": loss} for step, loss in losses)]


def healthy(until: int, every: int = 6, spread: float = 0.1, seed: int = 0) -> list[Event]:
    """Return a healthy run up to a step, its losses scattered by `spread` (log-normal)."""
    source = random.Random(seed)
    steps = range(every, until + 1, every)
    return run((step, falling(step) * math.exp(source.gauss(0, spread))) for step in steps)


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


def kinds(said: Iterable[Remark]) -> list[str]:
    return [remark.kind for remark in said]


def only(said: Sequence[Remark], kind: str) -> Remark:
    """Return the one remark of a kind, after trying its sentence and its fix."""
    found = [remark for remark in said if remark.kind == kind]
    assert len(found) == 1, kinds(said)
    assert "{" not in found[0].line
    return found[0]


FINISHED = {"event": "finished", "line": "finished"}


# No false alarms.


@pytest.mark.parametrize("until", [6, 60, 120, 300, 600, 1200, 3000, 6000])
@pytest.mark.parametrize("seed", range(5))
def test_a_healthy_run_hears_nothing_bad(until: int, seed: int) -> None:
    assert set(kinds(remarks(TINY, healthy(until, seed=seed)))) <= {"well"}


@pytest.mark.parametrize("batch", [1, 4, 10])
def test_the_scatter_of_small_batches_is_no_explosion(batch: int) -> None:
    config = TINY.with_settings([f"training.batch_size={batch}", "training.steps=1000"])
    for seed in range(20):
        spread = 1.2 / batch**0.5  # single losses differ a hundredfold from t to t
        events = healthy(1000, every=1, spread=spread, seed=seed)
        for until in (20, 100, 300, 1000):
            assert "explodes" not in kinds(remarks(config, events[:until])), (seed, until)


def test_the_bundled_run_hears_what_is_true_of_it() -> None:
    config = Config.read(BUNDLED / "config.ini")
    lines = (BUNDLED / "events.jsonl").read_text(encoding="utf-8").splitlines()
    events = [json.loads(line) for line in lines]
    assert [event["event"] for event in events[-2:]] == ["samples", "finished"]
    sheets = 0
    for until, event in enumerate(events, 1):
        sheets += event["event"] == "samples"
        said = set(kinds(remarks(config, events[:until])))
        # by step 1,000 it knows few pictures by heart
        assert said == {"copies"} if sheets >= 2 else said <= {"well", "noise_yet"}, until
    assert sheets == 2
    end = remarks(config, events)
    assert "16 of 16 samples at step 4000 nearly copy a training picture" in end[0].line


@pytest.mark.parametrize("preset", ["tiny", "small"])
def test_the_presets_that_work_hear_nothing(preset: str) -> None:
    assert before(Config.preset(preset), 1292, a_report({"RGBA": 1292})) == []


def test_no_events_and_broken_events_are_borne() -> None:
    assert remarks(TINY, []) == []
    odd: list[Event] = [{"event": "start"}, {"event": "step"}, {"event": "samples"}]
    odd += [{"event": "evaluation"}, {"event": "baseline"}, {"event": "notice", "kind": "skipped"}]
    odd += [{"event": "step", "step": 3, "loss": None}, {"event": "evaluation", "train": [None]}]
    odd += [{"event": "failed"}]
    assert kinds(remarks(TINY, odd)) == ["skipped"]


# The named faults of a plan.


def a_report(modes: dict[str, int], **changes: Any) -> Report:
    usual: dict[str, Any] = {"used": sum(modes.values()), "left_out": (), "sizes": {}}
    usual |= {"classes": {}, "captions": 0, "remarks": ()}
    return Report(modes=modes, **{**usual, **changes})


def test_the_seed_preset_is_told_of_its_grey_samples_and_its_150_steps() -> None:
    said = before(Config.preset("seed"), 500, a_report({"RGBA": 500}))
    assert kinds(said)[:3] == ["terminal_snr", "few_steps", "grey"]
    assert "0.152, above 0.001" in only(said, "terminal_snr").line
    assert only(said, "terminal_snr").fix == ("diffusion.rescale_betas=True",)
    line = only(said, "few_steps").line
    assert line.startswith("150 steps are not enough (3 passes over 500 pictures, 10 at a time)")


@pytest.mark.parametrize(
    "settings",
    [
        ["diffusion.timesteps=200", "diffusion.schedule=linear"],
        ["diffusion.timesteps=1000", "diffusion.schedule=scaled_linear"],
        ["diffusion.timesteps=200", "diffusion.schedule=linear", "diffusion.prediction=eps"],
        [
            "diffusion.schedule=scaled_linear",
            "diffusion.prediction=eps",
            "diffusion.beta_range=[0.00085,0.012]",
        ],
    ],
)
def test_one_click_mends_the_schedule(settings: list[str]) -> None:
    config = TINY.with_settings(settings)
    if Schedule.from_settings(config.diffusion).warning is None:
        assert "terminal_snr" not in kinds(before(config, 1000))
        return
    mended = config.with_settings(only(before(config, 1000), "terminal_snr").fix)
    assert Schedule.from_settings(mended.diffusion).warning is None


@pytest.mark.parametrize(
    ("settings", "pictures", "kind"),
    [
        (["training.steps=999"], 1000, "few_steps"),
        (["training.learning_rate=0.01"], 1000, "rate_high"),
        ([], 99, "few_pictures"),
        (["training.rotation=20.0", "training.shift=0.2"], 1000, "leak"),
        (["training.flip=True"], 1000, "flip"),
        (["training.held_out=0.0"], 1000, "no_held_out"),
        (["training.sample_every=0", "training.save_every=0"], 1000, "only_end"),
        (["training.ema_decay=0.9999"], 1000, "ema_long"),
    ],
)
def test_a_plan_s_fault_is_named_and_its_fix_mends_it(
    settings: list[str], pictures: int, kind: str
) -> None:
    config = TINY.with_settings(settings)
    said = before(config, pictures)
    assert kinds(said) == [kind]
    remark = only(said, kind)
    assert bool(remark.fix) == (kind != "few_pictures")
    if remark.fix:
        assert before(config.with_settings(remark.fix), pictures) == []


def test_accumulation_and_the_held_out_share_count_in_the_steps() -> None:
    settings = ["training.steps=0", "training.epochs=20", "training.batch_size=2"]
    settings += ["training.gradient_accumulation=2", "training.held_out=0.1"]
    line = only(before(TINY.with_settings(settings), 200), "few_steps").line
    assert "900 steps" in line and "over 180 pictures, 4 at a time" in line


def test_grey_is_told_only_of_coloured_pictures() -> None:
    config = TINY.with_settings(["training.held_out=0.05"])
    grey = Config.from_ini(
        config.to_ini().replace("channel = 3", "channel = 1").replace("n_embed = 3", "n_embed = 1")
    )
    assert kinds(before(grey, 1000, a_report({"RGB": 3, "L": 997}))) == ["grey"]
    assert before(grey, 1000, a_report({"L": 1000})) == before(grey, 1000) == []
    assert before(grey.with_settings(before(grey, 1000, a_report({"RGB": 3}))[0].fix), 1000) == []


def test_at_most_four_are_told_and_the_worst_first() -> None:
    settings = ["training.learning_rate=0.1", "training.rotation=40.0", "training.held_out=0.0"]
    config = Config.preset("seed").with_settings([*settings, "training.flip=True"])
    said = kinds(before(config, 60, a_report({"RGB": 60})))
    assert said == ["terminal_snr", "few_steps", "rate_high", "few_pictures"]


# The named faults of a run.


def test_a_young_average_is_named_until_the_samples_are_of_step_300() -> None:
    early = [*healthy(150), {"event": "samples", "step": 150}]
    remark = only(remarks(TINY, early), "ema_young")
    assert remark.values == {"step": 150, "length": 18, "until": 300}  # (10 + 150) / 9
    assert "ema_young" not in kinds(remarks(TINY, [*early, {"event": "samples", "step": 300}]))
    quick = TINY.with_settings(["training.ema_decay=0.8"])  # averages 5 steps
    assert "ema_young" not in kinds(remarks(quick, early))


def test_noise_early_in_a_run_is_called_normal() -> None:
    events = [*healthy(480), {"event": "samples", "step": 400}]
    assert kinds(remarks(TINY, events)) == ["noise_yet"]
    assert kinds(remarks(TINY, [*healthy(600), {"event": "samples", "step": 600}])) == ["well"]


def test_a_loss_that_was_lost_for_good_is_named_with_a_lower_rate() -> None:
    line = "the loss is not a finite number at 5 steps in a row, up to step 77: ..."
    failed = {"event": "failed", "step": 77, "line": line}
    said = remarks(TINY, [*healthy(72), *[skip(step) for step in range(73, 78)], failed])
    assert kinds(said) == ["not_finite"]
    assert "step 77" in said[0].line and said[0].fix == ("training.learning_rate=0.001",)
    assert remarks(TINY, [*healthy(72), {"event": "failed", "line": "the disk is full"}]) == []


def skip(step: int) -> Event:
    return {"event": "notice", "kind": "skipped", "step": step, "line": "..."}


def test_one_step_left_out_is_told_while_it_is_news_and_many_are_an_alarm() -> None:
    said = remarks(TINY, [*healthy(300), skip(200)])
    assert kinds(said) == ["skipped"] and "step 200" in said[0].line
    assert kinds(remarks(TINY, [*healthy(1200), skip(200)])) == ["well"]
    often = only(remarks(TINY, [*healthy(300), *map(skip, (10, 20, 290))]), "skipped_often")
    assert often.values["count"] == 3 and often.values["step"] == 290


@pytest.mark.parametrize(("rate", "better"), [("0.001", "0.0005"), ("0.1", "0.002")])
def test_an_explosion_is_named_and_the_rate_lowered(rate: str, better: str) -> None:
    config = TINY.with_settings([f"training.learning_rate={rate}"])
    for after in (0.9, 30.0):
        torn = [(step, after) for step in range(606, 640, 6)]
        events = [*healthy(600), *run(torn)[1:]]
        remark = only(remarks(config, events), "explodes")
        assert remark.fix == (f"training.learning_rate={better}",)
        assert f"to {after:.3g} by step 636" in remark.line


def test_a_loss_that_only_grows_is_an_explosion_too() -> None:
    events = run([(step, 1.0 + step / 20) for step in range(1, 60)])
    assert kinds(remarks(TINY, events)) == ["explodes"]


@pytest.mark.parametrize(("optimizer", "good"), [("adamw", 0.001), ("muon", 0.002)])
@pytest.mark.parametrize(
    ("times", "kind"), [(3.5, "rate_high"), (2.9, None), (1, None), (0.01, None)]
)
def test_each_optimiser_has_its_own_rate(
    optimizer: str, good: float, times: float, kind: str | None
) -> None:
    rate = f"training.learning_rate={times * good}"
    config = TINY.with_settings([f"training.optimizer={optimizer}", rate])
    said = before(config, 1000)
    assert kinds(said) == ([kind] if kind else [])
    if kind:
        assert said[0].fix == (f"training.learning_rate={good:g}",)


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
    said = remarks(config, flat)
    assert kinds(said) == ([kind] if kind else [])
    assert [each.values["better"] for each in said] == ([better] if kind else [])
    warming = [event for event in flat if event.get("step", 0) <= 450]
    assert remarks(config, warming) == []  # the warm-up of 200 steps does not count


def test_without_clipping_the_fix_clips_too() -> None:
    config = TINY.with_settings(["training.grad_clip=0.0"])
    events = run([(step, 1.0 + step / 20) for step in range(1, 60)])
    assert only(remarks(config, events), "explodes").fix[1] == "training.grad_clip=1.0"


RISING = [0.30, 0.20, 0.16, 0.15, 0.152, 0.156, 0.160]
FALLS = [0.30, 0.20, 0.15, 0.13, 0.11, 0.10, 0.09]


def test_memorising_is_named_with_the_step_since_when() -> None:
    remark = only(remarks(TINY, [*healthy(1750), *evaluations(RISING, FALLS)]), "memorises")
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
    said = remarks(TINY, [*healthy(1750), *evaluations(held_out, train)])
    assert "memorises" not in kinds(said)


def test_of_few_held_out_pictures_the_rise_must_last_longer() -> None:
    few = run([(step, falling(step)) for step in range(6, 1751, 6)], held_out=4)
    assert "memorises" not in kinds(remarks(TINY, [*few, *evaluations(RISING, FALLS)]))
    longer = evaluations([*RISING, 0.162, 0.165], [*FALLS, 0.08, 0.07])
    assert "memorises" in kinds(remarks(TINY, [*few, *longer]))


def test_a_real_run_that_memorised_31_pictures_is_told_so() -> None:
    held_out = [0.3408, 0.317, 0.3062, 0.3036, 0.3053, 0.3068, 0.3078, 0.309, 0.3149, 0.3194]
    train = [0.289, 0.2442, 0.2181, 0.1994, 0.1888, 0.1811, 0.1706, 0.1632, 0.1586, 0.1567]
    few = run([(step, falling(step)) for step in range(6, 2501, 6)], pictures=31, held_out=10)
    said = only(remarks(TINY, [*few, *evaluations(held_out, train)]), "memorises")
    assert said.line.startswith("Since step 1000 the loss on held-out pictures rises (0.304 to ")
    for until in range(1, 9):
        early = [*few, *evaluations(held_out[:until], train[:until])]
        assert "memorises" not in kinds(remarks(TINY, early)), until


def test_a_run_without_held_out_pictures_is_not_accused_of_memorising() -> None:
    told = [{**each, "held_out": None} for each in evaluations(RISING, FALLS)]
    assert "memorises" not in kinds(remarks(TINY, [*healthy(1750), *told]))


def test_copies_are_named_where_there_are_more_than_chance_makes() -> None:
    copied = [*healthy(3000), *sheet(3000, [0.1] * 5 + [0.8] * 11)]
    remark = only(remarks(TINY, copied), "copies")
    assert remark.line.startswith("5 of 16 samples at step 3000 nearly copy")
    assert kinds(remarks(TINY, [*healthy(3000), *sheet(3000, [0.1] * 3 + [0.8] * 13)])) == ["well"]
    film = [*healthy(3000), *sheet(3000, [0.2] * 16, low=0.1)]  # as near as unseen ones
    assert kinds(remarks(TINY, film)) == ["well"]


def test_the_newest_samples_count() -> None:
    events = [*healthy(3000), *sheet(2000, [0.1] * 16), *sheet(3000, [0.8] * 16)]
    assert kinds(remarks(TINY, events)) == ["well"]


def test_the_schedule_s_fault_is_told_of_a_run_too() -> None:
    events = run([(step, falling(step)) for step in range(1, 120)], total=150, pictures=500)
    said = remarks(Config.preset("seed"), events)
    assert kinds(said) == ["terminal_snr_run", "few_steps"]
    assert "0.152" in said[0].line and "start again" in said[0].line


def test_minutes_that_are_too_few_are_told_from_the_run_s_own_total() -> None:
    config = TINY.with_settings(["training.minutes=3.0"])
    slow = [*healthy(114), {**healthy(120)[-1], "total": 183}]  # by the clock
    said = remarks(config, slow)
    assert kinds(said) == ["few_minutes"]
    assert "3 minutes are about 180 steps" in said[0].line
    assert said[0].fix == ("training.minutes=50",)
    quick = [*healthy(114), {**healthy(120)[-1], "total": 1830}]
    assert kinds(remarks(config, quick)) == ["well"]
    short = config.with_settings(["training.steps=180"])
    assert "few_steps" in kinds(remarks(short, slow))


def test_at_the_end_it_tells_whether_to_train_on() -> None:
    remark = only(remarks(TINY, [*healthy(6000), FINISHED]), "still_falling")
    assert remark.values["more"] == "3,000" and remark.fix == ("training.steps=9000",)
    flat = [(step, max(falling(step), falling(2000))) for step in range(6, 6001, 6)]
    said = remarks(TINY, [*run(flat), FINISHED])
    assert kinds(said) == ["levelled"]
    assert "levelled off at 0.0299: the last quarter took off only 0%" in said[0].line
    assert kinds(remarks(TINY, run(flat))) == ["well"]  # while it runs, nothing is said of the end


def test_no_one_is_told_to_train_on_into_memorising() -> None:
    rising = evaluations(RISING, FALLS)
    said = remarks(TINY, [*healthy(6000), *rising, FINISHED])
    assert "memorises" in kinds(said) and "still_falling" not in kinds(said)
    slightly = evaluations([0.3, 0.15, 0.152, 0.152], [0.3, 0.15, 0.14, 0.13])
    assert "still_falling" not in kinds(remarks(TINY, [*healthy(6000), *slightly, FINISHED]))


@pytest.mark.parametrize("told", [100, [["a", "b"]] * 100])
def test_many_duplicates_are_told(told: Any) -> None:
    events = run([(step, falling(step)) for step in range(6, 1200, 6)], duplicates=told)
    said = only(remarks(TINY, events), "duplicates")
    assert said.line.startswith("100 of 1292 pictures repeat others")
    few = run([(step, falling(step)) for step in range(6, 1200, 6)], duplicates=3)
    assert kinds(remarks(TINY, few)) == ["well"]


def test_a_run_of_coloured_pictures_in_grey_is_told_by_its_report() -> None:
    grey = Config.preset("seed-fixed").with_settings(["training.steps=6000"])
    losses = [(step, falling(step)) for step in range(6, 1200, 6)]
    report = ["pictures used: 3", "modes: RGBA (2), L (1)"]
    assert "grey" in kinds(remarks(grey, run(losses, report=report)))
    assert "grey" not in kinds(remarks(grey, run(losses, report=["modes: L (3)"])))


def test_a_run_taken_up_again_counts_its_new_total() -> None:
    events = [*run([(step, falling(step)) for step in range(1, 600)], total=600)]
    config = TINY.with_settings(["training.steps=600"])
    assert "few_steps" in kinds(remarks(config, events))
    events.append({"event": "resumed", "step": 600, "total": 4000})
    assert "few_steps" not in kinds(remarks(config, events))


# What a model is told.


def told(kind: str, *more: str) -> Config:
    return Config.preset("tiny").with_settings([f"conditioning.kind={kind}", *more])


def test_captions_that_are_all_the_same_are_told_with_what_is_better() -> None:
    same = a_report({"RGB": 500}, captions=500, wordings=1)
    remark = only(before(told("auto"), 500, same), "same_captions")
    assert "All 500 captions say the same" in remark.line
    assert remark.fix == ('conditioning.kind="none"',)
    assert before(told("auto").with_settings(remark.fix), 500, same) == []
    classed = replace(same, classes={"a": 250, "b": 250})
    remark = only(before(told("captions"), 500, classed), "same_captions")
    assert remark.fix == ("conditioning.kind=class_tokens",)


@pytest.mark.parametrize("wordings", [0, 2, 500])
def test_captions_that_differ_hear_nothing(wordings: int) -> None:
    report = a_report({"RGB": 500}, captions=500, wordings=wordings)
    assert before(told("auto"), 500, report) == []


def test_a_class_with_hardly_a_picture_is_told_by_name() -> None:
    report = a_report({"RGB": 500}, classes={"a": 3, "b": 4, "c": 490, "d": 1, "e": 1, "f": 1})
    remark = only(before(told("auto"), 500, report), "few_of_class")
    assert remark.line.startswith("a (3), d (1), e (1) +1: ") and "than 4 pictures" in remark.line
    chosen = told("class_embedding", 'training.classes=["a", "b"]')
    assert only(before(chosen, 7, report), "few_of_class").values["names"] == "a (3)"
    large = told("class_embedding", 'training.classes=["b", "c"]')
    assert "few_of_class" not in kinds(before(large, 494, report))


def test_small_classes_do_not_matter_where_classes_are_not_told() -> None:
    report = a_report({"RGB": 500}, classes={"a": 1, "b": 499}, captions=500, wordings=500)
    assert before(told("auto"), 500, report) == []
    assert before(told('"none"'), 500, report) == []


# The sentences.


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_every_sentence_is_there_in_both_languages_with_the_same_figures() -> None:
    assert set(CHINESE) == set(LINES)
    for english, chinese in TEXTS.values():
        assert fields(english) == fields(chinese)
        assert any("\u4e00" <= letter <= "\u9fff" for letter in chinese)
        assert english.endswith(".") and chinese.endswith("。")


def test_every_sentence_is_short_and_fits_its_remark() -> None:
    assert all(len(line) <= 340 for line in LINES.values())
    assert all(len(line) <= 160 for line in CHINESE.values())
    remark = before(Config.preset("seed"), 500)[0]
    assert remark.key == "coach_terminal_snr" and TEXTS[remark.key][0] == LINES[remark.kind]


def test_no_torch_is_imported() -> None:
    code = "import sys, sd.coach; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
