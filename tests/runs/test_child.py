"""Children that answer: with JSON, with one line of complaint, or not in time."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sd import runs
from sd.common import threads
from sd.common.validation import InputError
from sd.runs import child, process


@pytest.mark.parametrize("given", [{}, {"OMP_WAIT_POLICY": "active"}, {"GOMP_SPINCOUNT": "7"}])
def test_threads_wait_less_long_unless_told_otherwise(given: dict[str, str]) -> None:
    script = (
        "from sd.common.threads import share_cores; share_cores()\n"
        "import os; print(os.environ.get('GOMP_SPINCOUNT'))"
    )
    names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    env = {name: value for name, value in os.environ.items() if name not in names}
    done = subprocess.run(
        [sys.executable, "-c", script], env=env | given, capture_output=True, text=True, check=True
    )
    expected = given.get("GOMP_SPINCOUNT", "None") if given else threads.SPINS
    assert done.stdout.strip() == expected


def test_an_answer_comes_after_the_waiting() -> None:
    answers = list(child.ask(["info", "tiny", "--json"], 60))
    assert answers[:-1] == [None] * (len(answers) - 1)
    assert answers[-1] is not None and answers[-1]["parameters"] == 3_397_776


def test_a_complaint_is_passed_on_as_it_is() -> None:
    with pytest.raises(InputError, match=r"^.nothing\.ini.: cannot be read"):
        list(child.ask(["info", "nothing.ini", "--json"], 60))


def test_who_waits_no_longer_ends_the_child(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []
    genuine = child.subprocess.Popen

    def popen(*args: object, **more: object) -> object:
        made = genuine(*args, **more)  # type: ignore[call-overload]
        started.append(made.pid)
        return made

    monkeypatch.setattr(child.subprocess, "Popen", popen)
    monkeypatch.setattr(child, "LOOK_SECONDS", 0.01)
    waiting = child.ask(["plan", "starter", "--minutes", "5", "--json"], 60)
    assert next(waiting) is None
    assert process.identity(started[0]) is not None
    waiting.close()
    assert process.identity(started[0]) is None
    with pytest.raises(InputError, match="took longer than 0 seconds"):
        list(child.ask(["plan", "starter", "--minutes", "5", "--json"], 0))
    assert process.identity(started[1]) is None


def test_a_spawned_child_outlives_its_parents_session(tmp_path: Path) -> None:
    pid = child.spawn(["info", "tiny"], tmp_path / runs.LOG)
    until = time.monotonic() + 60
    while process.identity(pid) is not None:
        assert time.monotonic() < until
        time.sleep(0.02)
    assert "parameters" in (tmp_path / runs.LOG).read_text()
