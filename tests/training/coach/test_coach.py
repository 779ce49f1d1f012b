"""The coach: nothing bad of a healthy run, and one true sentence on each fault of a plan."""

import json
import string
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sd.config import Config
from sd.data.reading.report import Report
from sd.diffusion.schedule import Schedule
from sd.training.coach import MESSAGES, review_plan, review_run
from sd.ui.texts import TEXTS
from tests.helpers.coaching import TINY, Event, healthy, kinds, only

BUNDLED = Path(__file__).parents[3] / "checkpoints" / "emoji32"


# No false alarms.


@pytest.mark.parametrize("until", [6, 60, 120, 300, 600, 1200, 3000, 6000])
@pytest.mark.parametrize("seed", range(5))
def test_a_healthy_run_hears_nothing_bad(until: int, seed: int) -> None:
    assert set(kinds(review_run(TINY, healthy(until, seed=seed)))) <= {"well"}


@pytest.mark.parametrize("batch", [1, 4, 10])
def test_the_scatter_of_small_batches_is_no_explosion(batch: int) -> None:
    config = TINY.with_settings([f"training.batch_size={batch}", "training.steps=1000"])
    for seed in range(20):
        spread = 1.2 / batch**0.5  # single losses differ a hundredfold from t to t
        events = healthy(1000, every=1, spread=spread, seed=seed)
        for until in (20, 100, 300, 1000):
            assert "explodes" not in kinds(review_run(config, events[:until])), (seed, until)


def test_the_bundled_run_hears_what_is_true_of_it() -> None:
    config = Config.read(BUNDLED / "config.ini")
    lines = (BUNDLED / "events.jsonl").read_text(encoding="utf-8").splitlines()
    events = [json.loads(line) for line in lines]
    assert [event["event"] for event in events[-2:]] == ["samples", "finished"]
    sheets = 0
    for until, event in enumerate(events, 1):
        sheets += event["event"] == "samples"
        said = set(kinds(review_run(config, events[:until])))
        # by step 1,000 it knows few pictures by heart
        assert said == {"copies"} if sheets >= 2 else said <= {"well", "noise_yet"}, until
    assert sheets == 2
    end = review_run(config, events)
    assert "16 of 16 samples at step 4000 nearly copy a training picture" in end[0].line


@pytest.mark.parametrize("preset", ["tiny", "small"])
def test_the_presets_that_work_hear_nothing(preset: str) -> None:
    assert review_plan(Config.preset(preset), 1292, a_report({"RGBA": 1292})) == []


def test_no_events_and_broken_events_are_borne() -> None:
    assert review_run(TINY, []) == []
    odd: list[Event] = [{"event": "start"}, {"event": "step"}, {"event": "samples"}]
    odd += [{"event": "evaluation"}, {"event": "baseline"}, {"event": "notice", "kind": "skipped"}]
    odd += [{"event": "step", "step": 3, "loss": None}, {"event": "evaluation", "train": [None]}]
    odd += [{"event": "failed"}]
    assert kinds(review_run(TINY, odd)) == ["skipped"]


# The named faults of a plan.


def a_report(modes: dict[str, int], **changes: Any) -> Report:
    usual: dict[str, Any] = {"used": sum(modes.values()), "left_out": (), "sizes": {}}
    usual |= {"classes": {}, "captions": 0, "remarks": ()}
    return Report(modes=modes, **{**usual, **changes})


def test_the_seed_preset_is_told_of_its_grey_samples_and_its_150_steps() -> None:
    said = review_plan(Config.preset("seed"), 500, a_report({"RGBA": 500}))
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
    if Schedule.from_config(config.diffusion).warning is None:
        assert "terminal_snr" not in kinds(review_plan(config, 1000))
        return
    mended = config.with_settings(only(review_plan(config, 1000), "terminal_snr").fix)
    assert Schedule.from_config(mended.diffusion).warning is None


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
    said = review_plan(config, pictures)
    assert kinds(said) == [kind]
    remark = only(said, kind)
    assert bool(remark.fix) == (kind != "few_pictures")
    if remark.fix:
        assert review_plan(config.with_settings(remark.fix), pictures) == []


@pytest.mark.parametrize(
    ("settings", "pictures", "said"),
    [
        (["training.steps=1000"], 1000, []),
        ([], 100, []),
        (["training.shift=0.1", "training.rotation=10.0", "training.brightness=0.2"], 1000, []),
        (["training.held_out=0.0"], 40, ["few_pictures", "no_held_out"]),
        (["training.held_out=0.0"], 39, ["few_pictures"]),
    ],
)
def test_a_limit_belongs_to_what_is_still_well(
    settings: list[str], pictures: int, said: list[str]
) -> None:
    assert kinds(review_plan(TINY.with_settings(settings), pictures)) == said


def test_a_bundled_decoder_can_be_tuned_before_training() -> None:
    config = Config.preset("latent256")
    remark = only(review_plan(config, 500), "untuned")
    assert "TAESD" in remark.line and "100 steps" in remark.line
    tuned = config.with_settings(remark.fix)
    assert tuned.first_stage.tune_steps == 100
    for other in (tuned, Config.preset("latent-own"), Config.preset("small")):
        assert "untuned" not in kinds(review_plan(other, 500))


def test_accumulation_and_the_held_out_share_count_in_the_steps() -> None:
    settings = ["training.steps=0", "training.epochs=20", "training.batch_size=2"]
    settings += ["training.gradient_accumulation=2", "training.held_out=0.1"]
    line = only(review_plan(TINY.with_settings(settings), 200), "few_steps").line
    assert "900 steps" in line and "over 180 pictures, 4 at a time" in line


def test_grey_is_told_only_of_coloured_pictures() -> None:
    config = TINY.with_settings(["training.held_out=0.05"])
    grey = Config.from_ini(
        config.to_ini().replace("channel = 3", "channel = 1").replace("n_embed = 3", "n_embed = 1")
    )
    (remark,) = review_plan(grey, 1000, a_report({"RGB": 3, "L": 997}))
    assert remark.kind == "grey"
    assert review_plan(grey, 1000, a_report({"L": 1000})) == review_plan(grey, 1000) == []
    assert (
        review_plan(grey.with_settings(review_plan(grey, 1000, a_report({"RGB": 3}))[0].fix), 1000)
        == []
    )


def test_at_most_four_are_told_and_the_worst_first() -> None:
    settings = ["training.learning_rate=0.1", "training.rotation=40.0", "training.held_out=0.0"]
    config = Config.preset("seed").with_settings([*settings, "training.flip=True"])
    said = kinds(review_plan(config, 60, a_report({"RGB": 60})))
    assert said == ["terminal_snr", "few_steps", "rate_high", "few_pictures"]


@pytest.mark.parametrize(("optimizer", "good"), [("adamw", 0.001), ("muon", 0.002)])
@pytest.mark.parametrize(
    ("times", "kind"), [(3.5, "rate_high"), (2.9, None), (1, None), (0.01, None)]
)
def test_each_optimiser_has_its_own_rate(
    optimizer: str, good: float, times: float, kind: str | None
) -> None:
    rate = f"training.learning_rate={times * good}"
    config = TINY.with_settings([f"training.optimizer={optimizer}", rate])
    said = review_plan(config, 1000)
    assert kinds(said) == ([kind] if kind else [])
    if kind:
        assert said[0].fix == (f"training.learning_rate={good:g}",)


# What a model is told.


def told(kind: str, *more: str) -> Config:
    return Config.preset("tiny").with_settings([f"conditioning.kind={kind}", *more])


def test_captions_that_are_all_the_same_are_told_with_what_is_better() -> None:
    same = a_report({"RGB": 500}, captions=500, wordings=1)
    remark = only(review_plan(told("auto"), 500, same), "same_captions")
    assert "All 500 captions say the same" in remark.line
    assert remark.fix == ('conditioning.kind="none"',)
    assert review_plan(told("auto").with_settings(remark.fix), 500, same) == []
    classed = replace(same, classes={"a": 250, "b": 250})
    remark = only(review_plan(told("captions"), 500, classed), "same_captions")
    assert remark.fix == ("conditioning.kind=class_tokens",)


@pytest.mark.parametrize("wordings", [0, 2, 500])
def test_captions_that_differ_hear_nothing(wordings: int) -> None:
    report = a_report({"RGB": 500}, captions=500, wordings=wordings)
    assert review_plan(told("auto"), 500, report) == []


def test_a_class_with_hardly_a_picture_is_told_by_name() -> None:
    report = a_report({"RGB": 500}, classes={"a": 3, "b": 4, "c": 490, "d": 1, "e": 1, "f": 1})
    remark = only(review_plan(told("auto"), 500, report), "few_of_class")
    assert remark.line.startswith("a (3), d (1), e (1) +1: ") and "than 4 pictures" in remark.line
    chosen = told("class_embedding", 'training.classes=["a", "b"]')
    assert only(review_plan(chosen, 7, report), "few_of_class").values["names"] == "a (3)"
    large = told("class_embedding", 'training.classes=["b", "c"]')
    assert "few_of_class" not in kinds(review_plan(large, 494, report))


def test_small_classes_do_not_matter_where_classes_are_not_told() -> None:
    report = a_report({"RGB": 500}, classes={"a": 1, "b": 499}, captions=500, wordings=500)
    assert review_plan(told("auto"), 500, report) == []
    assert review_plan(told('"none"'), 500, report) == []


# The sentences.


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_every_sentence_is_there_in_both_languages_with_the_same_figures() -> None:
    for kind in MESSAGES:
        english, chinese = (TEXTS[lang][f"coach_{kind}"] for lang in ("en", "zh"))
        assert fields(english) == fields(chinese)
        assert any("\u4e00" <= letter <= "\u9fff" for letter in chinese)
        assert english.endswith(".") and chinese.endswith("。")


def test_every_sentence_is_short_and_fits_its_remark() -> None:
    assert all(len(line) <= 340 for line in MESSAGES.values())
    assert all(len(TEXTS["zh"][f"coach_{kind}"]) <= 160 for kind in MESSAGES)
    remark = review_plan(Config.preset("seed"), 500)[0]
    assert remark.key == "coach_terminal_snr" and TEXTS["en"][remark.key] == MESSAGES[remark.kind]


def test_no_torch_is_imported() -> None:
    code = "import sys, sd.training.coach; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
