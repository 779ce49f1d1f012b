"""The rows of a run's journal: the mean of what came since the last one, and how fast it came."""

import ast
import json
import os
from pathlib import Path
from typing import Any, cast

import pytest

from sd import runs
from sd.common.paths import PACKAGE
from sd.common.validation import InputError
from sd.config import Config
from sd.runs import process
from sd.runs import recorder as recorder_module
from sd.runs.recorder import Recorder
from sd.runs.sharing.turn import TURN, Turn, write_turn
from sd.training.loop import TrainStep
from sd.training.planning import memory


def done(step: int, skipped: bool = False) -> TrainStep:
    """Return a step of half a second whose loss is its number."""
    return TrainStep(step, 4000, float(step), 1e-3, 2.0 * step, 0.5, skipped, cast(Any, None))


def test_a_row_is_the_mean_of_the_steps_since_the_last_one(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "run", new=True)
    recorder.space_rows(4000, pictures=8)  # a row every four steps
    for step in range(1, 11):
        recorder.log_step(done(step, skipped=step == 6), step == 10, lambda _: 1.0)
    recorder.close()
    found = runs.history(tmp_path / "run")
    assert found.steps == [1, 4, 8, 10]
    assert found.loss == [1.0, 3.0, pytest.approx(20 / 3, abs=1e-6), 9.5]  # without 6
    assert found.grad_norm == [2.0, 8.0, 16.0, 20.0]
    assert found.pictures_per_second == [16.0] * 4


def test_a_process_that_was_given_no_turn_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    write_turn(folder, Turn(("--resume",), 1.0, begun=2.0))
    monkeypatch.setattr(recorder_module, "NOTE_SECONDS", 0.1)
    with pytest.raises(InputError, match="run: waits for its turn"):
        Recorder(folder, new=True)
    assert [path.name for path in folder.iterdir()] == [TURN]
    process.record(folder, os.getpid(), process.STARTING)
    Recorder(folder, new=True).close()
    assert process.is_alive(folder)


def test_a_listener_hears_the_pace_of_every_step(tmp_path: Path) -> None:
    calls: list[tuple[str, Any]] = []
    folder = tmp_path / "run"
    recorder = Recorder(folder, new=True, listener=lambda *call: calls.append(call))
    recorder.space_rows(4000, pictures=8)  # a row every four steps
    for step in range(1, 4):
        recorder.log_step(done(step), False, lambda _, step=step: 10.0 - step)  # type: ignore[misc]
    recorder.close()
    assert [event for event, _ in calls] == ["step", "pace", "pace"]
    assert [facts["seconds_left"] for _, facts in calls] == [9.0, 8.0, 7.0]
    assert {facts["pictures_per_second"] for _, facts in calls} == {16.0}
    assert runs.history(folder).steps == [1]


def test_a_row_tells_the_memory_that_the_trainer_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder_module, "device_memory", {"cpu": None, "cuda": 7}.get)
    recorder = Recorder(tmp_path / "run", new=True)
    for step, device in ((1, "cpu"), (2, "cuda")):
        recorder.space_rows(2, 8, device)
        recorder.log_step(done(step), step == 2, lambda _: 1.0)
    recorder.close()
    first, last = runs.events(tmp_path / "run")
    assert abs(first["memory_bytes"] - (memory.resident() or 0)) < 2**26
    assert (first["device_memory_bytes"], last["device_memory_bytes"]) == (None, 7)
    status = runs.status(tmp_path / "run")
    assert status.memory_bytes is None  # nothing is being trained: the process has let go
    process.record(tmp_path / "run", os.getpid())
    with (tmp_path / "run" / "events.jsonl").open("a") as file:
        file.write('{"event": "start", "total": 2}\n')
    status = runs.status(tmp_path / "run")
    assert status.state == "running"
    assert status.memory_bytes == last["memory_bytes"] and status.device_memory_bytes == 7


def test_what_is_asked_of_a_process_that_is_starting_holds(tmp_path: Path) -> None:
    """Its imports take seconds, in which the page offers Stop already."""
    process.record(tmp_path, os.getpid(), process.STARTING)
    (tmp_path / process.STOP).touch()
    Recorder(tmp_path, new=True).close()
    assert runs.status(tmp_path).state == "stopping"
    Recorder(tmp_path, new=True).close()  # another one, by the command line: its note is gone
    assert not (tmp_path / process.STOP).exists()


def test_nothing_is_forgotten_that_was_asked_since_a_process_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a Stop in the moment in which a training of the command line notes itself."""
    record = process.record

    def record_and_ask(folder: Path, pid: int, name: str = process.PROCESS) -> None:
        record(folder, pid, name)
        process.request(folder, process.STOP)

    monkeypatch.setattr(process, "record", record_and_ask)
    Recorder(tmp_path, new=True).close()
    assert (tmp_path / process.STOP).exists()


def test_a_new_process_forgets_what_the_last_one_was_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SD_HOME", str(tmp_path))
    monkeypatch.setattr(process, "spawn", lambda words, log, given: os.getpid())
    folder = tmp_path / "run"
    Recorder(folder, new=True).close()
    (folder / process.PROCESS).unlink()
    for name in (runs.RUN, runs.SOURCE, *process.REQUESTS):
        (folder / name).write_text("{}")
    runs.resume(runs.default_home(), folder)
    assert runs.status(folder).state == "starting"
    assert not [name for name in process.REQUESTS if (folder / name).exists()]


def test_settings_are_written_when_a_run_begins_and_when_they_are_decided(
    tmp_path: Path, tiny_config: Config
) -> None:
    folder, note = tmp_path / "run", {"seed": 3, "device": "cpu", "data": "cats"}
    recorder = Recorder(folder, new=True)
    recorder.begin(tiny_config, note, "/data/cats")
    assert Config.read(folder / runs.CONFIG) == tiny_config
    assert (runs.read_source(folder), runs.events(folder)) == ("/data/cats", ())
    assert runs.obstacle(folder) == ""  # from here on it can go on, whatever ends it
    decided = tiny_config.with_settings(["training.steps=9"])
    recorder.decide(decided)
    recorder.close()
    assert Config.read(folder / runs.CONFIG) == decided
    assert json.loads((folder / runs.RUN).read_text()) == note


WRITING = {"write_text", "write_bytes", "write_file", "touch", "rename", "replace", "unlink"}
WRITING |= {"copyfile", "symlink_to", "save_checkpoint", "ingest_images", "append", "cut"}


@pytest.mark.parametrize("name", ["control", "home", "run", "session", "worker"])
def test_nobody_else_writes_a_run(name: str) -> None:
    tree = ast.parse((PACKAGE / "runs" / f"{name}.py").read_text(encoding="utf-8"))
    called = [call.func for call in ast.walk(tree) if isinstance(call, ast.Call)]
    names = {each.id for each in called if isinstance(each, ast.Name)}
    owners = {
        each.attr: ast.unparse(each.value) for each in called if isinstance(each, ast.Attribute)
    }
    written = {
        attr for attr, owner in owners.items() if owner not in ("faults", "found", "received")
    }
    whole = {"rename", "unlink"} if name == "control" else set()  # a run's folder, or a link to it
    assert not (names | written) & WRITING - whole
