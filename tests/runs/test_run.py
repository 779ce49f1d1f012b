"""What is shown of a run follows from its files and its process."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sd import runs
from sd.common.validation import InputError
from sd.generation.registry import list_models
from sd.runs import process
from sd.ui.train import control
from tests.helpers.run_folders import (
    DEAD,
    INGEST,
    START,
    STEP,
    alive,
    list_runs,
    make_run,
)


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


def test_what_is_asked_of_a_starting_run_is_shown_at_once(home: Path) -> None:
    folder = make_run(home, "a", noted=DEAD)
    process.record(folder, os.getpid(), process.STARTING)
    runs.pause(folder)
    assert runs.status(folder).state == "pausing" and (folder / process.PAUSE).exists()
    runs.stop(folder)
    assert runs.status(folder).state == "stopping" and (folder / process.STOP).exists()


def test_a_second_stop_ends_a_starting_run_too(home: Path) -> None:
    folder = make_run(home, "a", noted=DEAD)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    process.record(folder, child.pid, process.STARTING)
    runs.stop(folder)
    assert child.poll() is None
    runs.stop(folder)
    assert child.wait(10) < 0 and not runs.status(folder).alive


@pytest.mark.parametrize("end", ["finished", "stopped"])
def test_a_run_that_the_clock_ended_is_whole(home: Path, end: str) -> None:
    """Its total was an estimate, which its last step had still."""
    event = json.dumps({"event": end, "step": 4, "line": end})
    status = runs.status(make_run(home, "a", events=START + STEP + event + "\n", noted=DEAD))
    assert (status.step, status.total) == (4, 4 if end == "finished" else 10)


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
    assert control.list_run_names() == ["run"]
    (folder / process.STARTING).write_text(json.dumps(DEAD))
    (folder / runs.LOG).write_text("DATA: it is not there\n")
    (ended,) = list_runs(place)
    assert (ended.state, ended.line) == ("failed", "DATA: it is not there")
    shutil.rmtree(folder)
    assert runs.status(folder).state == "lost"


@pytest.mark.parametrize("note", ["[" * 100_000, '{"pid": Infinity, "started": "1"}', "[1]", ""])
def test_a_damaged_note_of_a_process_is_of_none(home: Path, note: str) -> None:
    folder = make_run(home, "a", events=START + STEP)
    for name in (process.PROCESS, process.STARTING):
        (folder / name).write_text(note)
        assert [status.state for status in list_runs(runs.default_home())] == ["lost"]
        assert runs.default_home().live_runs() == []


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
