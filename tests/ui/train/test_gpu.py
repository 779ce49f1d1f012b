"""A slice of training on a GPU that is lent, with this machine in its place."""

import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from sd import runs
from sd.checkpoints.record import list_checkpoints
from sd.common.validation import InputError
from sd.runs import process
from sd.runs.sharing import scheduler
from sd.runs.sharing.turn import read_turn, write_turn
from sd.runs.worker import begin
from sd.ui.hosting import zero_gpu
from sd.ui.train import control, gpu, watch
from tests.helpers.run_folders import tiny

LONG = ("training.steps=100000", "training.sample_every=0", "training.save_every=0")


@pytest.fixture
def stopped(home: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that was stopped at step 2, on a page that is lent a GPU."""
    monkeypatch.setattr(gpu, "DEVICE", "cpu")
    monkeypatch.setattr(gpu, "SECONDS", 0.05)
    monkeypatch.setenv(zero_gpu.NAME, "true")
    for step in begin(tiny(*LONG), str(pictures), home / "run"):
        if step.step == 2:
            (home / "run" / "stop").touch()
    (home / "run" / process.PROCESS).unlink()  # it was this process, which goes on
    return home / "run"


def test_a_slice_goes_on_and_saves(stopped: Path) -> None:
    assert "on_gpu" in watch.verbs(runs.status(stopped))
    control.steer("on_gpu", stopped.name, None, "en")
    now = runs.status(stopped)
    assert now.state == "stopped" and now.step > 2 and now.resumable
    assert list_checkpoints(stopped)[-1].name == f"checkpoint-{now.step:09d}"


def test_a_run_in_line_keeps_its_place(stopped: Path) -> None:
    scheduler.ask(stopped, ["--resume"])
    asked = read_turn(stopped)
    gpu.train_on_gpu(stopped)
    (stopped / process.PROCESS).unlink()
    assert runs.status(stopped).state == "waiting" and runs.saved_step(stopped) > 2
    assert read_turn(stopped) == asked


def test_a_process_that_has_saved_may_take_its_time_to_leave(stopped: Path) -> None:
    scheduler.ask(stopped, ["--resume"])
    scheduler.hold(stopped, True)
    process.drop_requests(stopped)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1)"])
    process.record(stopped, child.pid, process.STARTING)
    turn = read_turn(stopped)
    assert turn is not None
    write_turn(stopped, replace(turn, begun=1.0))
    assert runs.status(stopped).state == "paused"  # its last word is later than its beginning
    reaper = threading.Thread(target=child.wait)
    reaper.start()
    gpu.train_on_gpu(stopped)
    reaper.join()
    assert runs.saved_step(stopped) > 2


def test_a_mistake_there_is_told_here(stopped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "DEVICE", "no such")
    with pytest.raises(InputError, match="device = 'no such'"):
        gpu.train_on_gpu(stopped)


def test_where_none_is_lent_it_is_refused(stopped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (stopped / "run.json").rename(stopped / "gone")
    with pytest.raises(InputError, match="it cannot go on now"):
        gpu.train_on_gpu(stopped)
    monkeypatch.delenv(zero_gpu.NAME)
    assert "on_gpu" not in watch.verbs(runs.status(stopped))
    with pytest.raises(InputError, match="this page is lent no GPU"):
        gpu.train_on_gpu(stopped)
