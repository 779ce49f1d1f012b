"""What a run's samples are asked for, and that it is written beside them."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from sd import runs
from sd.checkpoints.record import WEIGHTS, newest_checkpoint, read_about
from sd.config import Config
from sd.data.image_set import split
from sd.data.ingest import open_images
from sd.runs import process
from sd.runs.session import Session
from sd.runs.worker import begin
from sd.training.loop import Training
from tests.conftest import TINY


@pytest.fixture
def classed(tmp_path: Path) -> Path:
    """Twelve pictures in the class folders cat and dog, half of them with captions."""
    for number in range(12):
        place = tmp_path / "set" / ("cat", "dog")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        pixels = np.full((8, 8, 3), 20 * number, dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{number}.png")
        if number < 6:
            (place / f"{number}.txt").write_text(f"a {place.name} of shade {number}")
    return tmp_path / "set"


def sampled(data: Path, folder: Path, *settings: str) -> tuple[Config, list[str] | None]:
    """Train two steps; return the recorded settings and what the samples were asked for."""
    config = Config().with_settings([*TINY, "training.steps=2", *settings])
    assert len(list(begin(config, str(data), folder, device="cpu"))) == 2
    events = [each for each in runs.events(folder) if each["event"] == "samples"]
    return Config.read(folder / runs.CONFIG), events[-1].get("prompts")


def test_samples_of_classes_take_each_class_in_turn(classed: Path, tmp_path: Path) -> None:
    config, prompts = sampled(classed, tmp_path / "run", "conditioning.kind=class_tokens")
    assert config.conditioning.kind == "class_tokens" and prompts == ["cat", "dog"] * 8


def test_samples_of_captions_are_captions_of_the_pictures(classed: Path, tmp_path: Path) -> None:
    config, prompts = sampled(classed, tmp_path / "run", "conditioning.kind=auto")
    assert config.conditioning.kind == "captions" and prompts is not None
    assert len(prompts) == 16 and len(set(prompts)) == 6
    assert all(" of shade " in each for each in prompts)


def test_what_was_chosen_is_asked_for(classed: Path, tmp_path: Path) -> None:
    wanted = 'conditioning.sample_prompts=["dog"]'
    _, prompts = sampled(classed, tmp_path / "run", "conditioning.kind=class_embedding", wanted)
    assert prompts == ["dog"] * 16


def test_a_run_that_is_told_nothing_asks_for_nothing(classed: Path, tmp_path: Path) -> None:
    config, prompts = sampled(classed, tmp_path / "run", 'conditioning.kind="none"')
    assert config.conditioning.kind == "none" and prompts is None


def test_samples_are_compared_with_what_was_trained_on_and_that_with_what_was_not(
    classed: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    settings = ["training.held_out=0.3", "training.steps=6", "training.sample_every=3"]
    config = Config().with_settings([*TINY, *settings, 'conditioning.kind="none"'])
    list(begin(config, str(classed), folder, seed=3, device="cpu"))
    rows, held = split(open_images(folder / runs.PICTURES), 0.3, 3)
    usual = [each for each in runs.events(folder) if each["event"] == "baseline"]
    assert [(each["kind"], each["count"]) for each in usual] == [("held_out", len(held))]
    first, last = runs.samples(folder)
    for sheet in (first, last):
        assert {picture for picture, _ in sheet.nearest} <= set(rows.tolist())
    assert last.raw is not None and last.raw.read_bytes() != last.average.read_bytes()


def test_a_run_shows_its_first_steps_by_quick_samples_that_change_nothing(
    classed: Path, tmp_path: Path
) -> None:
    """One grid each, of the average alone and unmeasured; a planned one takes their place."""
    settings = ["training.steps=4", "training.sample_every=2", 'conditioning.kind="none"']
    weights = []
    for name, early in (("early", "[1, 2]"), ("plain", "[]")):
        config = Config().with_settings([*TINY, *settings, f"training.sample_early={early}"])
        list(begin(config, str(classed), tmp_path / name, device="cpu"))
        weights.append((newest_checkpoint(tmp_path / name) / WEIGHTS).read_bytes())
    first, planned, last = runs.samples(tmp_path / "early")
    assert (first.step, first.raw, first.nearest) == (1, None, [])
    assert (planned.step, last.step) == (2, 4) and planned.raw and planned.nearest
    assert [each.step for each in runs.evaluations(tmp_path / "early")] == [2, 4]
    assert weights[0] == weights[1]


def test_a_slow_first_step_does_not_end_a_run_by_the_clock(
    classed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It prepares what the others find ready: by its pace there is no time even for samples."""
    clock = SimpleNamespace(now=0.0)
    timed = SimpleNamespace(monotonic=lambda: clock.now, sleep=lambda _: None)
    monkeypatch.setattr("sd.runs.session.time", timed)
    genuine = Training._step

    def step(self: Training, number: int, rate: float) -> tuple[float, float]:
        clock.now += 30.0 if number == 1 else 0.5
        return genuine(self, number, rate)

    monkeypatch.setattr(Training, "_step", step)
    watch = SimpleNamespace(perf_counter=lambda: clock.now)
    monkeypatch.setattr("sd.training.loop.time", watch)
    more = ["training.minutes=4", "training.steps=1000", 'conditioning.kind="none"']
    config = Config().with_settings([*TINY, *more])
    steps = list(begin(config, str(classed), tmp_path / "run", device="cpu"))
    assert len(steps) > 50 and clock.now < 240


@pytest.mark.parametrize("rank", [0, 2])
def test_samples_that_are_stopped_end_with_the_call_at_hand(
    rank: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A LoRA's are made one by one, and the raw weights' after the average's."""
    session, calls = Session.__new__(Session), []
    session.settings = replace(Config().training, lora_rank=rank)
    session.training = SimpleNamespace(step=1, model="average", raw="raw")

    def stopped(_self: Session, model: str, _steps: int, _flat: float, seeds: object) -> None:
        calls.append((model, list(seeds)))

    monkeypatch.setattr(Session, "_sample_some", stopped)
    session._sample_and_evaluate()
    assert calls == [("average", [0] if rank else list(range(16)))]


def test_quick_samples_are_never_grey(
    classed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network that guesses x0 begins by guessing grey; what noise it leaves is shown then."""
    settings = ["training.steps=2", "diffusion.prediction=x0", 'conditioning.kind="none"']
    config = Config().with_settings([*TINY, *settings, "training.sample_early=[1]"])
    config = config.with_settings(["training.warmup_steps=100"])
    spread = []
    for flat in (0.15, 0.0):
        monkeypatch.setattr("sd.runs.session.FLAT", flat)
        folder = tmp_path / f"run-{flat}"
        list(begin(config, str(classed), folder, device="cpu"))
        with Image.open(runs.samples(folder)[0].average) as grid:
            spread.append(float(np.asarray(grid.crop((0, 0, 8, 8))).std()))
    assert spread[0] > 15 > 2 > spread[1]


def test_a_pause_is_no_time_of_the_run(
    classed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, clock = tmp_path / "run", SimpleNamespace(now=0.0)

    def sleep(_seconds: float) -> None:
        clock.now += 1000
        (folder / process.PAUSE).unlink()

    stopped = SimpleNamespace(monotonic=lambda: clock.now, sleep=sleep)
    monkeypatch.setattr("sd.runs.session.time", stopped)
    config = Config().with_settings([*TINY, "training.steps=3", 'conditioning.kind="none"'])
    for step in begin(config, str(classed), folder, device="cpu"):
        if step.step == 1:
            runs.pause(folder)
    assert clock.now == 1000
    assert read_about(newest_checkpoint(folder))["state"]["seconds"] < 100
