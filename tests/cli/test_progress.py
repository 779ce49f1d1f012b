"""What is said where no terminal shows a bar, and what is done where nobody reads it."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from sd import runs
from sd.cli.parser import main
from sd.cli.progress import SECONDS, Progress
from sd.config import Config
from sd.runs import journal
from sd.training.loop import TrainStep
from tests.helpers.commands import ROOT, Capture, process


class Clock:
    """Seconds that pass when told."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(name="clock")
def _clock() -> Clock:
    return Clock()


def told(clock: Clock) -> tuple[Progress, list[str]]:
    lines: list[str] = []
    return Progress(lines.append, clock), lines


def at(step: int, loss: float = 0.125) -> TrainStep:
    model: Any = None
    return TrainStep(step, 2000, loss, 1e-3, 0.1, 0.2, False, model)


def test_a_line_comes_every_half_minute_and_no_sooner(clock: Clock) -> None:
    progress, lines = told(clock)
    row = {"pictures_per_second": 85.25, "seconds_left": 190.0}
    for step in range(1, 1001):
        clock.now += 0.25
        progress.on_event(
            "step" if step % 7 == 1 else "pace", row | {"seconds_left": 250.0 - step / 2}
        )
        progress.step(at(step))
    assert len(lines) == int(250 / SECONDS)
    assert lines[0] == "step 120 of 2,000, loss 0.1250, 85.2 pictures/s, 3 min left"


def test_a_line_tells_the_memory_that_is_held(clock: Clock) -> None:
    progress, lines = told(clock)
    progress.on_event("samples", {"step": 5, "file": "x.png"})
    row = {"pictures_per_second": 85.25, "seconds_left": 190.0}
    progress.on_event("step", row | {"memory_bytes": 850 * 2**20, "device_memory_bytes": 2**31})
    progress.step(at(5))
    assert lines[0].endswith("85.2 pictures/s, 850 MiB of memory, 2.0 GiB on the GPU, "
                             "3 min left, x.png")  # fmt: skip


def test_each_sampling_has_its_line(clock: Clock) -> None:
    progress, lines = told(clock)
    for step in range(1, 9):
        if step % 4 == 0:
            progress.on_event("samples", {"step": step, "file": f"samples/step-{step:09d}.png"})
        progress.step(at(step))
    assert lines == [
        f"step {step} of 2,000, loss 0.1250, samples/step-{step:09d}.png" for step in (4, 8)
    ]


def test_nothing_is_left_once_the_last_samples_are_made(clock: Clock) -> None:
    progress, lines = told(clock)
    progress.on_event("step", {"pictures_per_second": 85.25, "seconds_left": 190.0})
    progress.on_event("samples", {"step": 2000, "file": "samples/last.png"})
    progress.step(at(2000))
    assert lines == ["step 2,000 of 2,000, loss 0.1250, 85.2 pictures/s, samples/last.png"]


def test_pictures_that_are_read_and_what_is_noticed_are_told(clock: Clock) -> None:
    progress, lines = told(clock)
    for done in range(0, 6000, 1000):
        progress.on_event("ingest", {"done": done, "total": 6000})
        clock.now += SECONDS / 2
    progress.on_event("notice", {"line": "the loss is not a finite number at step 3"})
    assert lines == [
        "reading pictures: 2,000 of 6,000",
        "reading pictures: 4,000 of 6,000",
        "the loss is not a finite number at step 3",
    ]


def test_train_into_a_log_tells_its_samplings_and_its_machine(
    capsys: Capture, pictures: Path, tiny_config: Config, tmp_path: Path
) -> None:
    ini = tmp_path / "often.ini"
    often = tiny_config.with_settings(["training.sample_every=2", "training.ema_decay=0.9"])
    ini.write_text(often.to_ini(), encoding="utf-8")
    words = ["train", pictures, "--config", ini, "--run", tmp_path / "run"]
    assert main([str(word) for word in words]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if re.fullmatch(r"on CPU, .*, matrix products by \w+", line)]
    steps = [line.partition(",")[0] for line in lines if line.startswith("step ")]
    assert steps == ["step 2 of 4", "step 4 of 4"]


def test_a_report_of_many_pictures_tells_how_far_it_is(
    capsys: Capture, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sd.cli.progress.SECONDS", 0.0)  # as if each took half a minute
    assert main(["data", str(pictures), "--json"]) == 0
    printed = capsys.readouterr()
    assert printed.err.startswith("reading pictures: 0 of 12\n")
    assert json.loads(printed.out)["used"] == 12


@pytest.mark.skipif(os.name == "nt", reason="no such terminals")
def test_a_terminal_that_closes_leaves_a_saved_run(
    pictures: Path, tiny_ini: Path, home: Path
) -> None:
    screen, terminal = pty.openpty()
    words = ["train", pictures, "--config", tiny_ini, "--steps", 10**6, "--run", home / "run"]
    line = [sys.executable, "-m", "sd", *map(str, words)]
    child = subprocess.Popen(line, cwd=ROOT, stdin=terminal, stdout=terminal, stderr=terminal)
    os.close(terminal)
    seen = b""
    while b"loss=" not in seen:
        seen = seen[-100:] + os.read(screen, 1000)
    os.close(screen)  # from here each write fails
    child.send_signal(signal.SIGHUP)
    child.send_signal(signal.SIGHUP)
    assert child.wait(60) == 0
    assert runs.status(home / "run").state == "stopped"
    last = journal.events(home / "run")[-1]
    assert (home / "run" / f"checkpoint-{last['step']:09d}").is_dir()


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.slow)]
)
def test_a_command_that_is_ended_leaves_without_a_word(number: signal.Signals, home: Path) -> None:
    child = process("sample", "ideal:starter", "--steps", 1000, "--count", 16, "--out", home / "x")
    while not (home / "x").is_dir():  # it begins to sample then
        assert child.poll() is None
        time.sleep(0.02)
    child.send_signal(number)
    out, err = child.communicate(timeout=60)
    assert (child.returncode, out, err) == (128 + number, b"", b"")
    assert not list((home / "x").iterdir())
