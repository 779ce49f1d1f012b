"""python -m sd host."""

from pathlib import Path

import pytest

from sd.cli.parser import main
from sd.runs.sharing import host
from sd.runs.sharing.closing import closed_line
from tests.helpers.run_folders import START, STEP, make_run

ANNA = "a1b2c3" + "0" * 18


@pytest.fixture
def anna(home: Path) -> Path:
    """A visitor with a run that ended."""
    make_run(home / host.VISITORS / ANNA, "my secret cats", events=START + STEP)
    return home / host.VISITORS / ANNA


def test_a_host_lists_and_deletes(anna: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["host", "list"]) == 0
    told = capsys.readouterr().out
    head, visitor, run = told.splitlines()
    assert head.startswith("open; 1 visitors") and "0 runs in line" in head
    assert visitor.startswith("a1b2c3  here ") and "lost, step 4 of 10" in run
    assert "cats" not in told and str(anna) not in told
    assert main(["host", "stop", "a1b2c3"]) == 0 and anna.is_dir()
    assert main(["host", "delete", "a1b2c3", run.split()[0]]) == 0
    assert anna.is_dir() and not (anna / "my secret cats").exists()
    assert main(["host", "delete", "a1b2c3"]) == 0 and not anna.exists()


def test_a_host_closes_and_opens(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["host", "close", "back", "at noon"]) == 0
    assert closed_line(home, {}) == "back at noon"
    assert main(["host", "list"]) == 0
    assert capsys.readouterr().out.startswith("closed: back at noon; 0 visitors")
    assert main(["host", "open"]) == 0 and closed_line(home, {}) == ""


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["ban"], "WHAT = 'ban': must be one of list, stop, delete, close, open"),
        (["stop"], "stop: name a VISITOR, as list calls them"),
        (["delete", "a", "b", "c"], "delete: too many words"),
        (["list", "a"], "list: too many words"),
        (["delete", "ffffff"], "visitor = 'ffffff': there is none that is called so"),
    ],
)
def test_a_mistake_is_one_line(
    home: Path, capsys: pytest.CaptureFixture[str], words: list[str], line: str
) -> None:
    assert main(["host", *words]) == 2
    assert capsys.readouterr().err == f"{line}\n"
