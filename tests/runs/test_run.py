"""Runs: a real child trains, is watched, stopped, killed; what is shown follows from its files."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

from sd import runs
from sd.checkpoints.checkpoint import load_checkpoint
from sd.cli.parser import main, parser
from sd.common.device import choose
from sd.common.validation import InputError
from sd.config import Config
from sd.data.image_set import read_images
from sd.generation.registry import list_models
from sd.runs import journal, process
from sd.training.loop import train
from sd.ui import models
from sd.ui.train import control
from tests.conftest import TINY
from tests.helpers.made import made_run

LONG = "training.steps=100000"


def tiny(*settings: str) -> Config:
    """Return the settings of a very small network."""
    return Config.preset("tiny").with_settings([*TINY, *settings])


def wait(folder: Path, until: Callable[[runs.Status], bool], seconds: float = 90) -> runs.Status:
    """Return the first status of a run that `until` accepts."""
    limit = time.monotonic() + seconds
    while not until(now := runs.status(folder)):
        assert time.monotonic() < limit, now
        time.sleep(0.02)
    return now


def is_over(status: runs.Status) -> bool:
    return not status.alive


def is_running(status: runs.Status) -> bool:
    assert status.alive, status
    return status.state == "running"


def event_lines(folder: Path, kind: str) -> list[dict[str, Any]]:
    return [event for event in runs.events(folder) if event["event"] == kind]


def names(folder: Path, pattern: str) -> list[str]:
    return sorted(path.name for path in folder.glob(pattern))


def pid_of(folder: Path) -> int:
    return int(json.loads((folder / "process.json").read_text())["pid"])


def make_run(
    home: Path, name: str, *, events: str = "", log: str | None = None, noted: Any = None
) -> Path:
    """Write the files of a run by hand."""
    folder = home / name
    folder.mkdir(parents=True)
    (folder / "config.ini").write_text(Config().to_ini(), encoding="utf-8")
    if events:
        (folder / "events.jsonl").write_text(events)
    if log is not None:
        (folder / "train.log").write_text(log)
    if noted is not None:
        (folder / "process.json").write_text(json.dumps(noted))
    return folder


DEAD = {"pid": 2**22 + 1, "started": "1"}
START = '{"event": "start", "time": 1, "total": 10}\n'
INGEST = '{"event": "ingest", "time": 1, "done": 3, "total": 9}\n'
STEP = '{"event": "step", "time": 2, "step": 4, "loss": 0.5, "lr": 0.1, "grad_norm": 1.0}\n'


def alive() -> dict[str, Any]:
    return {"pid": os.getpid(), "started": process.identity(os.getpid())}


# A real child


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
    assert all(s.seconds_left is None or 0 <= s.seconds_left < 600 for s in seen)
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
    assert [status.name for status in runs.default_home().list_runs()] == [folder.name]


def check_same_as_library(folder: Path, pictures: Path) -> None:
    config = Config.read(folder / "config.ini")
    images = read_images(pictures, height=8, width=8, channels=1)
    steps = list(train(config, images, 3, choose("cpu").apply()))
    assert runs.history(folder).loss == [round(step.loss, 6) for step in steps]
    found, wanted = load_checkpoint(folder).network, steps[-1].model.network
    assert all(map(torch.equal, found.state_dict().values(), wanted.state_dict().values()))


def test_stop_saves_and_leaves_within_a_step(home: Path, pictures: Path) -> None:
    folder = runs.start(runs.default_home(), str(pictures), tiny(LONG))
    wait(folder, is_running)
    asked = time.time()
    runs.stop(folder)
    assert runs.status(folder).state in ("stopping", "stopped")
    last = wait(folder, is_over)
    stopped = event_lines(folder, "stopped")[0]
    assert last.state == "stopped" and stopped["time"] - asked < 5
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


def test_a_child_that_cannot_read_its_pictures_fails_with_one_line(
    home: Path, tmp_path: Path
) -> None:
    folder = runs.start(runs.default_home(), str(tmp_path / "nothing"), tiny())
    last = wait(folder, is_over)
    line = "nothing: no such folder, zip or picture (nor the word starter or shapes)"
    assert (last.state, last.line) == ("failed", line)
    assert (folder / "train.log").read_text() == line + "\n"


def test_a_child_that_fails_before_its_first_event_is_heard(home: Path) -> None:
    folder = runs.start(runs.default_home(), "", tiny())
    last = wait(folder, is_over)
    line = "DATA: give a folder, a zip, starter or shapes (the ini names none)"
    assert (last.state, last.line) == ("failed", line)
    assert [status.name for status in runs.default_home().list_runs()] == [folder.name]


def test_a_data_set_called_like_an_option_is_data(home: Path) -> None:
    folder = runs.start(runs.default_home(), "--help", tiny())
    assert wait(folder, is_over).line.startswith("--help: no such folder")


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


# What is shown follows from the files


def test_going_on_asks_for_more_steps_than_were_made(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr("sd.runs.control._spawn", lambda _folder, words: asked.append(words))
    folder = made_run(home, steps=100, total=100, end="finished", nearest=False)
    (folder / runs.RUN).write_text("{}")
    (folder / runs.PICTURES).mkdir()
    with pytest.raises(InputError, match=r"steps = 100: must be a whole number from 101"):
        runs.resume(runs.default_home(), folder, 100)
    with pytest.raises(InputError, match=r"it is finished; give more steps than 100"):
        runs.resume(runs.default_home(), folder)
    assert asked == []
    runs.resume(runs.default_home(), folder, 101)
    assert asked == [["train", "--run", str(folder), "--resume", "--steps", "101"]]


def test_a_line_that_is_still_being_written_is_left_for_later(home: Path) -> None:
    folder = make_run(home, "run", events=START + STEP + STEP[:-20], noted=alive())
    assert [event["event"] for event in runs.events(folder)] == ["start", "step"]
    status = runs.status(folder)
    assert (status.state, status.step, status.total, status.loss) == ("running", 4, 10, 0.5)
    (folder / "events.jsonl").write_text(START + STEP[:-1])  # whole, but for its end
    assert runs.status(folder).step == 0


def test_lines_that_are_no_events_are_passed_over(home: Path) -> None:
    odd = "\n5\n[]\nnull\n{}\nnot json\n\udcff\u2028\n"
    folder = make_run(home, "run", noted=alive())
    (folder / "events.jsonl").write_bytes((START + odd + STEP).encode("utf-8", "surrogateescape"))
    assert runs.status(folder).step == 4 and runs.history(folder).loss == [0.5]


def test_time_left_is_what_the_worker_said(home: Path) -> None:
    step = STEP.replace('"loss"', '"seconds_left": 9.0, "pictures_per_second": 8.0, "loss"')
    status = runs.status(make_run(home, "run", events=START + step, noted=alive()))
    assert status.seconds_left == 9.0
    assert status.pictures_per_second == 8.0
    dead = runs.status(make_run(home, "dead", events=START + step, noted=DEAD))
    assert (dead.state, dead.seconds_left) == ("lost", None)


def test_a_run_lives_only_as_long_as_its_own_process(home: Path) -> None:
    ours = alive()
    running = make_run(home, "a", events=START + STEP, noted=ours)
    assert runs.status(running).state == "running"
    assert runs.status(make_run(home, "b", events=INGEST, noted=ours)).state == "starting"
    reused = {**ours, "started": str(int(ours["started"]) - 1)}
    for name, note in enumerate([reused, DEAD, {**DEAD, "started": None}, {}, [], {"pid": "x"}]):
        folder = make_run(home, str(name), events=START + STEP, noted=note)
        assert runs.status(folder).state == "lost"
    (running / "process.json").write_text('{"pid": ')
    assert runs.status(running).state == "lost"


def test_a_run_is_starting_until_its_process_has_noted_itself(home: Path) -> None:
    folder = make_run(home, "a", events=START + STEP, noted=DEAD)
    process.record(folder, os.getpid(), process.STARTING)
    assert runs.status(folder).state == "starting"
    process.record(folder, os.getpid())
    assert runs.status(folder).state == "running"


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


def test_a_process_is_known_by_its_start(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = process.identity(os.getpid())
    assert mine is not None and mine == process.identity(os.getpid())
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        other = process.identity(child.pid)
        assert other is None or other != mine
        deadline = time.monotonic() + 20
        while process.identity(child.pid) is not None:  # ended, but still in the table
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert child.returncode is None
    assert process.identity(child.pid) is None
    if shutil.which("ps"):  # where there is no /proc
        monkeypatch.setattr(Path, "exists", lambda self: False)
        listed = process.identity(os.getpid())
        assert listed is not None and listed == process.identity(os.getpid())
        assert process.identity(DEAD["pid"]) is None


def test_a_start_leaves_the_folder_to_its_process(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its settings reach the child as standard input: only the child writes the run."""
    given: list[Any] = []
    monkeypatch.setattr(process, "spawn", lambda *words: given.extend(words) or os.getpid())
    folder = runs.start(runs.default_home(), "starter", tiny("training.steps=7"))
    assert [path.name for path in folder.iterdir()] == [process.STARTING]
    words, log, ini = given
    assert words[:3] == ["train", "--config", "-"] and log == folder / runs.LOG
    assert Config.from_ini(ini) == tiny("training.steps=7")


def test_a_run_is_shown_before_its_process_has_written_anything(home: Path) -> None:
    """What `start` leaves: no settings yet, only whose process the run will be."""
    folder = home / "run"
    folder.mkdir()
    (folder / runs.LOG).touch()
    with pytest.raises(InputError, match="there is no run of that name"):
        runs.default_home().find_run("run")
    process.record(folder, os.getpid(), process.STARTING)
    place = runs.default_home()
    assert place.find_run("run") == folder
    assert [status.state for status in place.live_runs()] == ["starting"]
    assert control.attach({"run": "run"}, SimpleNamespace(headers={}))[0]["value"] == "run"  # type: ignore[arg-type]
    (folder / process.STARTING).write_text(json.dumps(DEAD))
    (folder / runs.LOG).write_text("DATA: it is not there\n")
    (ended,) = place.list_runs()
    assert (ended.state, ended.line) == ("failed", "DATA: it is not there")
    shutil.rmtree(folder)
    assert runs.status(folder).state == "lost"


def test_what_a_dead_process_said_is_shown(home: Path) -> None:
    log = "a warning\n\nconfig.ini, line 3: is wrong \n\n"
    status = runs.status(make_run(home, "a", log=log, noted=DEAD))
    assert (status.state, status.line) == ("failed", "config.ini, line 3: is wrong")
    assert runs.status(make_run(home, "b", log="", noted=DEAD)).state == "lost"
    talking = runs.status(make_run(home, "c", log="loading", noted=alive()))
    assert (talking.state, talking.line) == ("starting", "")
    long = make_run(home, "d", log="", noted=DEAD)
    (long / "train.log").write_bytes(b"x" * 1000 + b"\xff\n")
    assert runs.status(long).line == "x" * 300


def test_ends_are_as_the_worker_wrote_them(home: Path) -> None:
    for state in runs.ENDS:
        end = f'{{"event": "{state}", "time": 3, "step": 5, "line": "so it was"}}\n'
        status = runs.status(make_run(home, state, events=START + STEP + end, noted=alive()))
        assert (status.state, status.step, status.line) == (state, 5, "so it was")
        assert not status.alive


def test_odd_files_among_samples_and_checkpoints_are_passed_over(home: Path) -> None:
    folder = make_run(home, "run", events=START)
    told = [(10, "samples/step-10.png"), (9, "../step-9.png"), (8, "gone.png"), (11, None)]
    lines = [json.dumps({"event": "samples", "step": step, "file": file}) for step, file in told]
    (folder / "events.jsonl").write_text("\n".join([START.strip(), *lines, ""]))
    (folder / "samples").mkdir()
    for name in ("step-10.png", "step-9.png", "step-x.png"):
        (folder / "samples" / name).write_bytes(b"")
    assert [(sheet.step, sheet.average.name) for sheet in runs.samples(folder)] == [
        (9, "step-9.png"),
        (10, "step-10.png"),
    ]
    for name in ("checkpoint-final", "checkpoint-", "checkpoint-9", "checkpoint-000000010"):
        (folder / name).mkdir()
        (folder / name / "checkpoint.json").write_text("{}")
    (entry,) = list_models(runs.default_home())
    assert (entry.name, entry.step) == ("run", 10)


# Who may train


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


# Many runs


def test_a_page_load_reads_no_journal_of_a_run_that_ended(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(70):  # more than journals are kept
        end = f'{{"event": "stopped", "step": {number}, "line": ""}}\n'
        make_run(home, f"run-{number:02d}", events=START + end, noted=DEAD)
        (home / f"run-{number:02d}" / "checkpoint-000000004").mkdir()
    read: list[bytes] = []
    mine, parse = runs.default_home(), journal._parse_lines
    monkeypatch.setattr(
        journal, "_parse_lines", lambda lines: (read.append(lines), parse(lines))[1]
    )
    asked: Any = SimpleNamespace(headers={}, query_params={})
    for _ in range(3):
        assert control.attach({}, asked)["run"]["value"] == "run-69"
        assert models.list_choices() and mine.live_runs() == [] and read == []
    assert [each.step for each in mine.list_runs()] == list(range(69, -1, -1))
    assert len(read) == 70
    assert [each.state for each in mine.list_runs()] == ["stopped"] * 70 and len(read) == 70
    grown = home / "run-03"
    with (grown / "events.jsonl").open("a") as file:
        file.write(STEP.replace("4", "99"))
    assert runs.status(grown).step == 99
    os.replace(home / "run-04" / "events.jsonl", grown / "events.jsonl")
    assert (runs.status(grown).step, runs.status(grown).state) == (4, "stopped")
    monkeypatch.setattr(journal, "MOST_OUTLINES", 9)
    assert len(mine.list_runs()) == 69 and len(journal._OUTLINES) == 9


def test_only_what_lives_is_living(home: Path) -> None:
    make_run(home, "a", events=START + STEP, noted=alive())
    make_run(home, "b", events=START + STEP, noted=DEAD)
    starting = make_run(home, "c", log="")
    process.record(starting, os.getpid(), process.STARTING)
    make_run(home, "d", log="")
    assert [(each.name, each.state) for each in runs.default_home().live_runs()] == [
        ("c", "starting"),
        ("a", "running"),
    ]
