"""Runs are renamed and deleted, and nothing else is."""

import re
from pathlib import Path
from typing import Any

import pytest

from sd import runs
from sd.common.validation import InputError
from sd.runs import home as home_module
from sd.runs import process
from tests.helpers.run_folders import START, alive, make_run


@pytest.fixture(name="place")
def own_home(tmp_path: Path) -> runs.Home:
    """A home with an own run, `mine`, a bundled one and one that is alive."""
    place = runs.Home(tmp_path / "home", tmp_path / "bundled")
    make_run(place.path, "mine", events=START)
    make_run(place.path, "busy", events=START, noted=alive())
    make_run(place.bundled, "emoji32", events=START)
    return place


def test_a_run_is_called_otherwise_with_all_that_belongs_to_it(place: runs.Home) -> None:
    folder = runs.rename(place, "mine", " my/cats ")
    assert folder == place.path / "my cats" == place.find_run("my cats")
    assert runs.rename(place, "my cats", "my cats") == folder
    assert runs.status(folder).name == "my cats" and not (place.path / "mine").exists()


@pytest.mark.parametrize(
    ("name", "title", "line"),
    [
        ("busy", "x", "run = 'busy': it is being trained; stop it first"),
        ("emoji32", "x", "run = 'emoji32': it comes with the project and stays as it is"),
        ("gone", "x", "run = 'gone': there is no run of that name"),
        ("mine", "busy", "name = 'busy': there is something of that name already"),
        ("mine", "emoji32", "name = 'emoji32': there is something of that name already"),
        ("mine", "uploads", "name = 'uploads': there is something of that name already"),
        ("mine", "../..", "name = '../..': must be 1 to 64 letters"),
        ("mine", "", "name = '': must be 1 to 64 letters"),
        ("mine", None, "name = None: must be"),
        ("../home/mine", "x", "run = '../home/mine': must be 1 to 64 letters"),
    ],
)
def test_what_cannot_be_renamed_stays(place: runs.Home, name: str, title: Any, line: str) -> None:
    before = sorted(each.name for each in place.path.iterdir() if each.is_dir())
    with pytest.raises(InputError, match=re.escape(line)):
        runs.rename(place, name, title)
    assert sorted(each.name for each in place.path.iterdir() if each.is_dir()) == before


def test_a_run_is_deleted_and_a_link_leaves_what_it_leads_to(
    place: runs.Home, tmp_path: Path
) -> None:
    elsewhere = make_run(tmp_path / "disk", "kept", events=START)
    (place.path / "link").symlink_to(elsewhere)
    for name in ("mine", "link"):
        runs.delete(place, name)
        assert not (place.path / name).exists()
    assert (elsewhere / "config.ini").is_file()
    assert [folder.name for folder in runs.list_folders(place.path)] == ["busy"]
    for name in ("busy", "emoji32", "..", "uploads"):
        with pytest.raises(InputError):
            runs.delete(place, name)
    assert place.find_run("busy") and place.find_run("emoji32")


def test_a_run_at_which_an_unnoted_process_works_is_not_deleted(place: runs.Home) -> None:
    with process.claim(place.path / "mine"), pytest.raises(InputError, match="at work there"):
        runs.delete(place, "mine")
    assert place.find_run("mine")


def test_what_is_left_of_a_deletion_is_not_listed(place: runs.Home) -> None:
    (place.path / "mine").rename(place.path / f"{home_module.GOING}1")
    assert [folder.name for folder in runs.list_folders(place.path)] == ["busy"]
