"""What a person does to a run reaches it through its folder, and only where it can."""

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from gradio.utils import get_upload_folder

from sd import runs
from sd.common.marks import is_marked
from sd.common.validation import InputError
from sd.runs import process
from sd.ui.adapter import scratch
from sd.ui.train import control
from tests.helpers.made import made_run, revive, write_events

ENGLISH: Any = SimpleNamespace(headers={"accept-language": "en"})
BAD_NAMES = ["..", "../x", "", None, 7, "nope", "/etc"]
LIVING = (control.pause, control.unpause, control.stop, control.end_now)


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Toasts need a page."""
    monkeypatch.setattr(gr, "Info", lambda *_, **__: None)


@pytest.fixture
def alive(home: Path) -> Path:
    """A run whose process lives."""
    return revive(made_run(home, "alive", steps=52, end=None))


def test_requests_are_files_in_the_runs_folder(alive: Path) -> None:
    control.pause("alive")
    control.sample_now("alive", ENGLISH)
    control.save_now("alive", ENGLISH)
    assert {name for name in process.REQUESTS if (alive / name).exists()} == {
        "pause",
        "sample",
        "save",
    }
    control.unpause("alive")
    control.stop("alive")
    assert not (alive / "pause").exists() and (alive / "stop").exists()


def test_a_second_stop_is_not_a_kill(alive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped: list[Path] = []
    control.stop("alive")
    monkeypatch.setattr(runs, "stop", stopped.append)
    control.stop("alive")
    assert stopped == []
    control.end_now("alive")
    assert stopped == [alive]


@pytest.mark.parametrize("handler", LIVING)
def test_a_run_that_ended_cannot_be_steered(home: Path, handler: Any) -> None:
    made_run(home, steps=52)
    with pytest.raises(gr.Error, match="it is not running"):
        handler("made")


@pytest.mark.parametrize("handler", [*LIVING, control.resume])
@pytest.mark.parametrize("name", BAD_NAMES)
def test_steering_takes_only_names_of_runs(home: Path, handler: Any, name: Any) -> None:
    with pytest.raises(gr.Error):
        handler(name)


def test_more_steps_count_from_where_the_run_stands(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made_run(home, steps=52, end=None)  # lost beyond what was saved
    (folder / "checkpoint-000000008").mkdir()
    (folder / "checkpoint-000000040").mkdir()
    asked: list[Any] = []
    monkeypatch.setattr(runs, "resume", lambda *given: asked.append(given))
    control.train_more("made", 100)
    assert asked == [(runs.default_home(), folder, 140)]


@pytest.mark.parametrize("steps", [0, -1, 1.5, None, "7", True, 10**400])
def test_steps_to_add_are_checked(home: Path, steps: Any) -> None:
    made_run(home, steps=52)
    with pytest.raises(gr.Error, match="steps to add = "):
        control.train_more("made", steps)


def test_a_run_that_cannot_go_on_says_so(home: Path) -> None:
    made_run(home, steps=52)
    with pytest.raises(gr.Error, match="made"):
        control.resume("made")


def test_a_bundle_that_fails_leaves_nothing(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sd.runs import bundle  # noqa: PLC0415

    made_run(home, steps=52)
    made: list[Path] = []

    def pack(folder: Path, target: Path, resumable: bool) -> Path:
        made.append(target.parent)
        raise InputError("made: no checkpoint")

    monkeypatch.setattr(bundle, "pack", pack)
    with pytest.raises(gr.Error, match="no checkpoint"):
        control.take_away("made", "zip", True)
    assert made and not made[0].exists()


def test_a_bundle_is_handed_over_and_gone_within_the_hour(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sd.runs import bundle  # noqa: PLC0415

    made_run(home, steps=52)
    given: list[Any] = []

    def pack(folder: Path, target: Path, resumable: bool) -> Path:
        given.append(resumable)
        target.write_bytes(b"zip")
        return target

    monkeypatch.setattr(bundle, "pack", pack)
    path = Path(control.take_away("made", "zip", False))
    assert path.name == "made.zip" and path.is_file() and given == [False]
    assert path.is_relative_to(get_upload_folder())  # from where gradio serves it without a copy
    scratch.sweep(time.time() + 3600)
    assert not path.parent.exists()
    with pytest.raises(gr.Error, match="whole = "):
        control.take_away("made", "zip", "yes")


@pytest.mark.parametrize("form", ["gif", "webp", "mp4"])
def test_a_film_of_the_samples_is_handed_over(home: Path, form: str) -> None:
    made_run(home, steps=108)
    path = Path(control.take_away("made", form, True))
    assert path.name == f"made.{form}" and path.stat().st_size > 2**10
    assert is_marked(path.read_bytes())


def test_a_run_that_has_no_film_says_why(home: Path) -> None:
    made_run(home, steps=52)
    with pytest.raises(gr.Error, match="made: has samples of one step alone; a film needs"):
        control.take_away("made", "webp", True)
    with pytest.raises(gr.Error, match="form = "):
        control.take_away("made", "html", True)


def test_an_opened_bundle_is_shown(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sd.runs import unbundle  # noqa: PLC0415

    def unpack(archive: Path, into: Path) -> Path:
        assert (archive, into) == (Path("a.zip"), home)
        return write_events(home / "opened", {"event": "finished", "step": 4})

    monkeypatch.setattr(unbundle, "unpack", unpack)
    sent = control.open_bundle("a.zip")
    assert sent["run"]["value"] == "opened" and "opened" in sent["run"]["choices"]
    assert (sent["memory"], sent["seen"]) == ({"run": "opened"}, {})
    with pytest.raises(gr.Error, match="one zip"):
        control.open_bundle(["a.zip"])
