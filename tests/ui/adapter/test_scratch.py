"""What is made to be taken away does not stay, whoever fetched it and however the server ended."""

import os
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from sd.common.validation import InputError
from sd.ui.adapter import scratch

NOW, OLD = 2e9, 2e9 - 7200


@pytest.fixture
def places(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path, Path]:
    """A temporary folder, gradio's and the runs', all empty."""
    temporary, served = tmp_path / "tmp", tmp_path / "served"
    temporary.mkdir()
    served.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(served))
    return temporary, served, home


def left(path: Path, changed: float = OLD) -> Path:
    """Leave a folder with a file in it, as a killed server does."""
    path.mkdir()
    (path / "run.zip").write_bytes(b"x")
    for each in (path / "run.zip", path):
        os.utime(each, (changed, changed))
    return path


def test_where_the_disk_is_nearly_full_nothing_more_is_made_to_take_away(
    places: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
    with scratch.temporary_folder(scratch.TAKE, spare=100) as folder:
        assert folder.is_dir()
    with pytest.raises(InputError, match="this page is full"):
        scratch.temporary_folder(scratch.TAKE, spare=101).__enter__()
    assert [path.name for path in places[1].iterdir()] == [folder.name]


def test_what_a_killed_server_left_is_swept(places: tuple[Path, Path, Path]) -> None:
    temporary, served, home = places
    for place in (temporary, served):
        for prefix in scratch.PREFIXES:
            left(place / f"{prefix}a1_b2c3d")
        left(place / ".sd-take-abc.123.tmp")  # killed while it deleted
    left(home / ".20260101-000000-abcdef01.123.tmp")
    assert len(scratch.sweep(NOW)) == 9
    assert not [*temporary.iterdir(), *served.iterdir(), *home.iterdir()]


def test_nothing_else_is_touched(
    places: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary, served, home = places
    fresh = left(served / "sd-bundle-new", NOW - 60)
    writing = left(served / "sd-bundle-writing")
    os.utime(writing / "run.zip", (NOW, NOW))
    mine = [left(home / name) for name in ("sd-take-mine", "20260101-000000-abcdef01", ".hidden")]
    others = [left(temporary / name) for name in ("sd-bundles", "bundle-sd-take-", "photos")]
    away = left(temporary.parent / "away")
    (temporary / "sd-take-link").symlink_to(away)
    kept = [fresh, writing, *mine, *others, away, temporary / "sd-take-link"]
    assert scratch.sweep(NOW) == [] and all(path.exists() for path in kept)
    theirs = left(temporary / "sd-take-theirs")
    monkeypatch.setattr(scratch, "OWN", scratch.OWN + 1)
    assert scratch.sweep(NOW) == [] and theirs.exists()


def test_what_is_being_made_stays_and_what_fails_goes(places: tuple[Path, Path, Path]) -> None:
    with scratch.temporary_folder(scratch.TAKE) as folder:
        os.utime(folder, (OLD, OLD))
        assert scratch.sweep(NOW) == [] and folder.parent == places[1]
    assert folder.is_dir() and scratch.sweep(NOW + 1e9) == [folder.name]
    with pytest.raises(ValueError, match="full"), scratch.temporary_folder(scratch.TAKE) as folder:
        raise ValueError("full")
    assert not folder.exists()


def test_it_is_done_within_the_hour() -> None:
    assert scratch.KEPT + scratch.LOOK < 3600
