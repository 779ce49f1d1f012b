"""Whose process a run is, that only one can be, and what children answer."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sd import runs
from sd.common.validation import InputError
from sd.runs import process
from tests.helpers.run_folders import (
    DEAD,
)


def test_a_noted_process_lives_until_it_ends(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        process.record(tmp_path, child.pid)
        assert process.is_alive(tmp_path)
        note = json.loads((tmp_path / process.PROCESS).read_text())
        assert note["pid"] == child.pid
        process.kill(tmp_path)
        assert child.wait(timeout=10) == -9
    assert not process.is_alive(tmp_path)
    process.kill(tmp_path)  # nobody is there to be killed


def test_a_reused_number_is_another_process(tmp_path: Path) -> None:
    note = {"pid": os.getpid(), "started": "1"}
    (tmp_path / process.PROCESS).write_text(json.dumps(note))
    assert not process.is_alive(tmp_path)
    process.kill(tmp_path)  # or this test would end here


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_an_identity_is_the_start_time_of_proc_5(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = " ".join(map(str, range(4, 53)))
    monkeypatch.setattr(Path, "read_text", lambda _path: f"7 (a) b) S {fields}")
    assert process.identity(7) == "22"


@pytest.mark.skipif(not hasattr(os, "waitid"), reason="needs waitid")
def test_a_process_that_ended_and_was_not_yet_asked_after_is_dead(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        process.record(tmp_path, child.pid)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # a zombie from here on
        assert not process.is_alive(tmp_path) and process.identity(child.pid) is None


@pytest.mark.skipif(sys.platform != "linux", reason="needs prlimit")
def test_a_limited_process_writes_no_larger_file(tmp_path: Path) -> None:
    words = "input(); [open(name, 'wb', 0).write(bytes(999)) for name in 'ab']; "
    words += "file = open('b', 'ab'); file.write(bytes(2)); file.close()"
    child = subprocess.Popen(
        [sys.executable, "-c", words], cwd=tmp_path, stdin=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.limit_files(child.pid, 1000)
    _, told = child.communicate(b"\n", timeout=60)
    assert b"File too large" in told and (tmp_path / "a").stat().st_size == 999
    process.limit_files(child.pid, 1000)  # it has ended


def test_two_notes_of_one_process_are_the_same(tmp_path: Path) -> None:
    process.record(tmp_path, os.getpid(), process.STARTING)
    assert not process.is_same(tmp_path, process.STARTING, process.PROCESS)
    process.record(tmp_path, os.getpid())
    assert process.is_same(tmp_path, process.STARTING, process.PROCESS)


def test_a_folder_has_one_writer_until_it_lets_go_or_dies(tmp_path: Path) -> None:
    held = process.claim(tmp_path)
    line = f"{tmp_path.name}: a training process is at work there already"
    with pytest.raises(InputError, match=line):
        process.claim(tmp_path)
    held.release()
    words = "import sys, sd.runs.process as p, pathlib; x = p.claim(pathlib.Path(sys.argv[1])); "
    words += "print('mine', flush=True); input()"
    command = [sys.executable, "-c", words, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stdout.readline() == b"mine\n"
        with pytest.raises(InputError, match=line):
            process.claim(tmp_path)
        child.kill()
    process.claim(tmp_path).release()


def test_an_answer_comes_after_the_waiting() -> None:
    answers = list(process.run_json(["info", "tiny", "--json"], 60))
    assert answers[:-1] == [None] * (len(answers) - 1)
    assert answers[-1] is not None and answers[-1]["parameters"] == 3_397_776


def test_a_complaint_is_passed_on_as_it_is() -> None:
    with pytest.raises(InputError, match=r"^.nothing\.ini.: cannot be read"):
        list(process.run_json(["info", "nothing.ini", "--json"], 60))


def test_who_waits_no_longer_ends_the_child(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []
    genuine = process.subprocess.Popen

    def popen(*args: object, **more: object) -> object:
        made = genuine(*args, **more)  # type: ignore[call-overload]
        started.append(made.pid)
        return made

    monkeypatch.setattr(process.subprocess, "Popen", popen)
    monkeypatch.setattr(process, "POLL_SECONDS", 0.01)
    waiting = process.run_json(["plan", "starter", "--minutes", "5", "--json"], 60)
    assert next(waiting) is None
    assert process.identity(started[0]) is not None
    waiting.close()
    assert process.identity(started[0]) is None
    with pytest.raises(InputError, match="took longer than 0 seconds"):
        list(process.run_json(["plan", "starter", "--minutes", "5", "--json"], 0))
    assert process.identity(started[1]) is None


def test_a_spawned_child_outlives_its_parents_session(tmp_path: Path) -> None:
    pid = process.spawn(["info", "tiny"], tmp_path / runs.LOG)
    until = time.monotonic() + 60
    while process.identity(pid) is not None:
        assert time.monotonic() < until
        time.sleep(0.02)
    assert "parameters" in (tmp_path / runs.LOG).read_text()


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
