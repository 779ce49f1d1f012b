"""A home: what lies under it, by names from which no path leads out."""

import os
from pathlib import Path
from typing import Any

import pytest

from sd import runs
from sd.common import validation
from sd.common.validation import InputError
from sd.generation.registry import list_models
from sd.runs import journal, process
from sd.ui import head, state
from sd.ui.train import control
from tests.helpers.run_folders import DEAD, START, STEP, alive, list_runs, make_run


@pytest.fixture(name="place")
def own_home(tmp_path: Path) -> runs.Home:
    """A home with nothing in it and nothing bundled."""
    return runs.Home(tmp_path / "home", tmp_path / "bundled")


def make_model(place: Path, name: str, step: int) -> None:
    checkpoint = place / name / f"checkpoint-{step:09d}"
    checkpoint.mkdir(parents=True)
    (checkpoint / "checkpoint.json").write_text("{}")


@pytest.mark.parametrize(
    "name",
    ["../x", "..", ".", "", "a/b", "/etc", "a\\b", "x\ny", "<b>", "x" * 65, "-x", ".x", None, 5],
)
def test_names_that_lead_elsewhere_are_refused(place: runs.Home, name: Any) -> None:
    make_run(place.path.parent, "x", events=START)
    with pytest.raises(InputError) as caught:
        place.find_run(name)
    assert str(caught.value).startswith("run = ") and str(caught.value).isprintable()


def test_runs_are_found_at_home_and_among_the_bundled(place: runs.Home) -> None:
    mine = make_run(place.path, "mine", events=START)
    bundled = make_run(place.bundled, "emoji32", events=START)
    assert (place.find_run("mine"), place.find_run("emoji32")) == (mine, bundled)
    with pytest.raises(InputError, match="run = 'other': there is no run of that name"):
        place.find_run("other")


def test_two_visitors_share_nothing_but_the_bundled(place: runs.Home) -> None:
    other = runs.Home(place.path.with_name("other"), place.bundled)
    make_run(place.path, "mine", events=START)
    make_model(place.path, "mine", 5)
    make_model(place.bundled, "emoji32", 6000)
    assert [status.name for status in list_runs(place)] == ["mine"]
    assert list_runs(other) == [] and other.uploads != place.uploads
    assert [entry.name for entry in list_models(place)] == ["emoji32", "mine"]
    assert [entry.name for entry in list_models(other)] == ["emoji32"]
    with pytest.raises(InputError, match="there is no run of that name"):
        other.find_run("mine")


def test_runs_are_listed_newest_first_and_nothing_else(place: runs.Home) -> None:
    make_run(place.path, "20260101-a", events=START)
    make_run(place.path, "20270101-b", log="starting")
    make_run(place.path, "only-a-config")
    place.uploads.mkdir()
    assert [status.name for status in list_runs(place)] == ["20270101-b", "20260101-a"]


def test_the_usual_home_is_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SD_HOME", str(tmp_path / "x" / ".." / "y"))
    assert runs.default_home().path == tmp_path / "y"
    monkeypatch.setenv("SD_HOME", "")
    assert runs.default_home().path == Path(runs.__file__).parents[2] / "checkpoints"


def test_new_folders_never_meet(place: runs.Home) -> None:
    made = {place.new_folder() for _ in range(100)}
    assert len(made) == 100 and all(folder.parent == place.path for folder in made)
    assert all(validation.file_name("run", folder.name) for folder in made)


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("My cats", "My cats"),
        ("  ../../etc/passwd ", "etc passwd"),
        ("<b>猫 & Hunde</b>.zip", "b 猫 Hunde b .zip"),
        ("कुत्ते", "कुत्ते"),
        ("uploads", "uploads 2"),
        ("CON", "CON 2"),
        ("emoji32", "emoji32 2"),
        ("x" * 500, "x" * 48),
        ("猫" * 500, "猫" * 48),
        ("a" * 47 + " b", "a" * 47),
        ("v1.", "v1"),
        ("\ud800-", ""),
    ],
)
def test_a_run_is_called_as_near_to_its_title_as_a_folder_can_be(
    place: runs.Home, title: str, name: str
) -> None:
    make_run(place.bundled, "emoji32", events=START)
    folder = place.new_folder(title)
    assert folder.parent == place.path and (folder.name == name or not name)
    assert validation.file_name("run", folder.name) == folder.name
    folder.mkdir(parents=True)
    again = place.new_folder(title)
    assert again != folder and validation.file_name("run", again.name)


def test_named_runs_are_listed_newest_first(place: runs.Home) -> None:
    for number, name in enumerate(("zebras", "apes", "my cats")):
        folder = make_run(place.path, name, events=START)
        os.utime(folder / "config.ini", (number, number))
        make_model(place.path, name, 5)
    assert [status.name for status in list_runs(place)] == ["my cats", "apes", "zebras"]
    assert [entry.name for entry in list_models(place)] == ["my cats", "apes", "zebras"]


def test_a_page_load_reads_no_journal_of_a_run_that_ended(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(70):  # more than journals are kept
        end = f'{{"event": "stopped", "step": {number}, "line": ""}}\n'
        make_run(home, f"run-{number:02d}", events=START + end, noted=DEAD)
        make_model(home, f"run-{number:02d}", 4)
    read: list[bytes] = []
    mine, parse = runs.default_home(), journal._parse_lines
    monkeypatch.setattr(
        journal, "_parse_lines", lambda lines: (read.append(lines), parse(lines))[1]
    )
    for _ in range(3):
        assert control.choose_run("", "", True, "en") == ("run-69", True)
        assert mine.live_runs() == [] and read == []
    with state.use(state.Shared(home=mine)):
        listed = head.describe("run-00", "en")["model"]["content"]["models"]
    assert len(read) == 1  # of the one that is chosen
    assert [each["name"] for each in listed if "state" in each] == ["run-00"]
    assert [each.step for each in list_runs(mine)] == list(range(69, -1, -1))
    assert len(read) == 70
    assert [each.state for each in list_runs(mine)] == ["stopped"] * 70 and len(read) == 70
    grown = home / "run-03"
    with (grown / "events.jsonl").open("a") as file:
        file.write(STEP.replace("4", "99"))
    assert runs.status(grown).step == 99
    os.replace(home / "run-04" / "events.jsonl", grown / "events.jsonl")
    assert (runs.status(grown).step, runs.status(grown).state) == (4, "stopped")
    monkeypatch.setattr(journal, "MOST_OUTLINES", 9)
    assert len(list_runs(mine)) == 69 and len(journal._OUTLINES) == 9


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
