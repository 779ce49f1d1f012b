"""A real child trains, is stopped and killed; what cannot be starts nothing."""

import math
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from sd import runs
from sd.checkpoints.checkpoint import load_checkpoint
from sd.checkpoints.record import TRAINING
from sd.cli.parser import main, parser
from sd.common.device import choose
from sd.common.validation import InputError
from sd.config import Config
from sd.data.image_set import read_images
from sd.generation.registry import list_models
from sd.runs import process
from sd.training.loop import train
from tests.helpers.made import made_run
from tests.helpers.run_folders import (
    START,
    STEP,
    alive,
    event_lines,
    is_over,
    is_running,
    list_runs,
    make_run,
    names,
    pid_of,
    tiny,
    wait,
)

LONG = "training.steps=100000"


def test_a_child_trains_to_the_end_as_the_library_does(home: Path, pictures: Path) -> None:
    more = ["training.steps=30", "training.sample_every=10", "training.save_every=10"]
    folder = runs.start(runs.default_home(), str(pictures), tiny(*more), seed=3)
    assert folder.parent == home
    seen = [runs.status(folder)]
    while seen[-1].alive:
        seen.append(runs.status(folder))
        time.sleep(0.01)
    states = list(dict.fromkeys(status.state for status in seen))
    assert states in (["starting", "running", "finished"], ["starting", "finished"])
    assert [s.step for s in seen] == sorted(s.step for s in seen)
    assert all(s.seconds_left is None or 0 <= s.seconds_left < math.inf for s in seen)
    last = seen[-1]
    assert (last.step, last.total, last.line) == (30, 30, "finished 30 steps")
    assert last.pictures_per_second is not None and last.pictures_per_second > 0
    assert runs.history(folder).steps == list(range(1, 31))
    assert [sheet.step for sheet in runs.samples(folder)] == [10, 20, 30]
    assert names(folder, "checkpoint-*") == ["checkpoint-000000020", "checkpoint-000000030"]
    with Image.open(runs.samples(folder)[-1].average) as grid:
        assert grid.size == (4 * 8 + 3 * 2, 4 * 8 + 3 * 2)
    check_same_as_library(folder, pictures)
    assert [entry.name for entry in list_models(runs.default_home())] == [folder.name]
    assert [status.name for status in list_runs(runs.default_home())] == [folder.name]


def check_same_as_library(folder: Path, pictures: Path) -> None:
    config = Config.read(folder / "config.ini")
    images = read_images(pictures, height=8, width=8, channels=1)
    steps = list(train(config, images, 3, choose("cpu").apply()))
    assert runs.history(folder).loss == [round(step.loss, 6) for step in steps]
    found, wanted = load_checkpoint(folder).unet, steps[-1].model.unet
    assert all(map(torch.equal, found.state_dict().values(), wanted.state_dict().values()))


def test_stop_saves_and_leaves_within_a_step(home: Path, pictures: Path) -> None:
    folder = runs.start(runs.default_home(), str(pictures), tiny(LONG))
    wait(folder, is_running)
    asked = time.time()
    runs.stop(folder)
    assert runs.status(folder).state in ("stopping", "stopped")
    last = wait(folder, is_over)
    stopped = event_lines(folder, "stopped")[0]
    assert last.state == "stopped" and stopped["time"] >= asked
    before = [event["step"] for event in event_lines(folder, "step") if event["time"] < asked]
    assert (
        last.step <= max(before, default=0) + 100
    )  # steps are logged by the hundred and take 10 ms
    assert last.line == f"stopped and saved at step {last.step}"
    assert load_checkpoint(folder).about["step"] == last.step


def test_sigterm_saves_and_leaves(home: Path, pictures: Path, tiny_ini: Path) -> None:
    folder = home / "terminated"
    words = [sys.executable, "-m", "sd", "train", str(pictures), "--config", str(tiny_ini)]
    words += ["--steps", "100000", "--run", str(folder)]
    with subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        while not event_lines(folder, "step"):
            assert child.poll() is None
            time.sleep(0.02)
        assert runs.status(folder).state == "running"
        child.send_signal(signal.SIGTERM)
        out, _ = child.communicate(timeout=30)
    assert child.returncode in (0, 143)
    status = runs.status(folder)
    assert status.state == "stopped"
    assert load_checkpoint(folder).about["step"] == status.step
    assert out.decode() == f"stopped and saved at step {status.step}: {folder}\n"


def test_a_killed_child_is_lost_and_nobody_else_may_enter(
    home: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = runs.start(runs.default_home(), str(pictures), tiny(LONG, "training.save_every=1"))
    wait(folder, lambda status: bool(names(folder, "checkpoint-*")))
    before = [(folder / name).read_bytes() for name in ("config.ini", "process.json")]
    assert main(["train", str(pictures), "--run", str(folder)]) == 2
    assert capsys.readouterr().err == (
        f"{folder.name}: a training process is at work there already\n"
    )
    assert [(folder / name).read_bytes() for name in ("config.ini", "process.json")] == before
    assert runs.status(folder).alive
    os.kill(pid_of(folder), signal.SIGKILL)
    last = wait(folder, is_over, seconds=10)
    assert last.state == "lost" and last.step > 0
    assert load_checkpoint(folder).about["step"] in (last.step, last.step + 1)  # every step saves
    runs.stop(folder)
    assert not (folder / "stop").exists()  # nobody is there to be asked


def test_a_child_that_cannot_read_its_pictures_fails_with_one_line(home: Path) -> None:
    folder = runs.start(
        runs.default_home(), "--help", tiny()
    )  # data, though it is an option's name
    last = wait(folder, is_over)
    line = "--help: no such folder, zip or picture (nor the word starter or shapes)"
    assert (last.state, last.line) == ("failed", line)
    assert (folder / "train.log").read_text() == line + "\n"


def test_a_child_that_fails_before_its_first_event_is_heard(home: Path) -> None:
    folder = runs.start(runs.default_home(), "", tiny())
    last = wait(folder, is_over)
    line = "DATA: give a folder, a zip, starter or shapes (the ini names none)"
    assert (last.state, last.line) == ("failed", line)
    assert [status.name for status in list_runs(runs.default_home())] == [folder.name]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"seed": float("nan")}, "seed = nan: must be a whole number"),
        ({"seed": -1}, "seed = -1"),
        ({"data": "a\0b"}, "DATA = 'a\\x00b': must not hold"),
        ({"data": "x" * 5000}, "DATA: 5000 characters"),
        ({"data": None}, "DATA = None: must be a text"),
        ({"device": ["cpu"]}, "device = ['cpu']: must be a text"),
    ],
)
def test_what_cannot_be_starts_nothing(home: Path, changes: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError) as caught:
        runs.start(runs.default_home(), **{"data": "starter", "config": tiny(), **changes})
    assert line in str(caught.value) and not list(home.iterdir())


def test_going_on_asks_for_more_steps_than_were_made(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr("sd.runs.control._spawn", lambda _folder, words, *_: asked.append(words))
    folder = made_run(home, steps=100, total=100, end="finished", nearest=False)
    (folder / runs.RUN).write_text("{}")
    (folder / runs.PICTURES).mkdir()
    (folder / "checkpoint-100").mkdir()
    (folder / "checkpoint-100" / TRAINING).touch()
    with pytest.raises(InputError, match=r"steps = 100: must be a whole number from 101"):
        runs.resume(runs.default_home(), folder, 100)
    with pytest.raises(InputError, match=r"it is finished; give more steps than 100"):
        runs.resume(runs.default_home(), folder)
    assert asked == []
    runs.resume(runs.default_home(), folder, 101)
    assert asked == [["train", "--run", str(folder), "--resume", "--steps", "101"]]


def test_asked_again_to_stop_a_run_leaves_at_once(home: Path) -> None:
    folder = make_run(home, "a", events=START + STEP)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        process.record(folder, child.pid)
        runs.stop(folder)
        assert runs.status(folder).state == "stopping"
        runs.stop(folder)
        assert child.stdin is not None
        child.stdin.close()  # else one that was not killed would wait for ever
        assert child.wait(timeout=10) == -signal.SIGKILL


def test_a_start_leaves_the_folder_to_its_process(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its settings reach the child as standard input: only the child writes the run."""
    given: list[Any] = []
    monkeypatch.setattr(process, "spawn", lambda *words: given.extend(words) or os.getpid())
    folder = runs.start(runs.default_home(), "starter", tiny("training.steps=7"))
    assert [path.name for path in folder.iterdir()] == [process.STARTING]
    words, log, ini = given
    assert words[:5] == ["train", "--run", str(folder), "--config", "-"]
    assert log == folder / runs.LOG
    assert Config.from_ini(ini) == tiny("training.steps=7")


def test_the_printed_command_does_the_same() -> None:
    data, settings = "my pictures/$(rm -rf ~)'; x", ["training.save_path=/a b/c", "unet.dims=2"]
    line = runs.train_command(data, "small", settings, 7, "cpu")
    python, *words = shlex.split(line)
    assert python == "python" and words[:2] == ["-m", "sd"]
    args = parser().parse_args(words[2:])
    assert (args.data, args.preset, args.set, args.seed, args.device) == (
        data,
        "small",
        settings,
        7,
        "cpu",
    )


def test_a_run_that_waits_blocks_no_other_and_one_that_trains_does(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "sd.runs.control._spawn",
        lambda folder, *_: process.record(folder, os.getpid(), process.STARTING),
    )
    paused = '{"event": "paused", "step": 4, "line": ""}\n'
    folder = make_run(home, "first", events=START + STEP, noted=alive())
    with pytest.raises(InputError, match="run first is being trained: stop or pause it first"):
        runs.start(runs.default_home(), "starter", tiny())
    runs.pause(folder)  # it is still at its step
    with pytest.raises(InputError, match="run first is being trained"):
        runs.start(runs.default_home(), "starter", tiny())
    with (folder / "events.jsonl").open("a") as file:
        file.write(paused)
    assert runs.status(folder).state == "paused"
    other = runs.start(runs.default_home(), "starter", tiny())
    (other / runs.LOG).touch()  # as a process that is spawned does
    with pytest.raises(InputError, match=f"run {other.name} is being trained"):
        runs.unpause(runs.default_home(), folder)
    shutil.rmtree(other)
    runs.unpause(runs.default_home(), folder)
    assert runs.status(folder).state == "pausing" or not (folder / "pause").exists()


def test_a_visitor_trains_by_the_clock_and_not_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "spawn", lambda *_: os.getpid())
    home = runs.Home(tmp_path / "one", tmp_path / "bundled", neighbours=tmp_path, most_minutes=10)
    with pytest.raises(InputError, match=r"training.minutes = 0: this page trains by the clock"):
        runs.start(home, "starter", tiny("training.minutes=0"))
    with pytest.raises(InputError, match=r"training.minutes = 11: .*at most 10 minutes"):
        runs.start(home, "starter", tiny("training.minutes=11"))
    assert not (tmp_path / "one").exists()
    assert runs.status(runs.start(home, "starter", tiny("training.minutes=1"))).alive


def test_a_visitor_s_run_goes_on_by_the_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spawned: list[Sequence[str]] = []
    monkeypatch.setattr("sd.runs.control._spawn", lambda _, words, *__: spawned.append(words))
    monkeypatch.setattr("sd.runs.control.obstacle", lambda folder: "")
    monkeypatch.setattr("sd.runs.control.saved_step", lambda folder: 4)
    home = runs.Home(tmp_path, most_minutes=10)
    folder = make_run(tmp_path, "run", events=START + STEP)
    (folder / "config.ini").write_text(tiny("training.minutes=5").to_ini())
    runs.resume(home, folder)
    runs.resume(home, folder, minutes=10)
    assert spawned[1][-2:] == ["--minutes", "10"]
    for more in ({"minutes": 11}, {"steps": 100_000}):
        with pytest.raises(InputError, match="this page trains by the clock"):
            runs.resume(home, folder, **more)
    (folder / "config.ini").write_text(tiny("training.minutes=0").to_ini())
    with pytest.raises(InputError, match="this page trains by the clock"):
        runs.resume(home, folder)
    assert len(spawned) == 2
