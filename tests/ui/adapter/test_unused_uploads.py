"""Uploads that no event used are gone within the hour; the others stay as long as gradio's."""

import os
from pathlib import Path

import gradio as gr
import pytest

from sd.ui.adapter import checks
from sd.ui.adapter import unused_uploads as uploads
from sd.ui.adapter.served_files import FILE_DATA

NOW = 10**9


@pytest.fixture
def uploaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Three uploads, of which the last has only just come."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    monkeypatch.setattr(uploads, "_used", set())
    for name, age in (("a", 3000), ("b", 3000), ("c", 60)):
        (tmp_path / name).mkdir()
        path = tmp_path / name / "file.png"
        path.write_bytes(b"1")
        os.utime(path, (NOW - age, NOW - age))
    return {str(tmp_path / name / "file.png") for name in "abc"}


def test_only_what_was_never_used_goes(uploaded: set[str], tmp_path: Path) -> None:
    used = tmp_path / "a" / "file.png"
    checks.upload("files", {"path": str(used), "meta": FILE_DATA})
    uploads.sweep(uploaded, NOW)
    assert {path.name for path in tmp_path.iterdir()} == {"a", "c"}
    assert uploaded == {str(tmp_path / name / "file.png") for name in "ac"}
    uploads.sweep(uploaded, NOW + 10**6)
    assert {path.name for path in tmp_path.iterdir()} == {"a"}


def test_what_has_gone_already_is_forgotten(uploaded: set[str], tmp_path: Path) -> None:
    (tmp_path / "a" / "file.png").unlink()
    (tmp_path / "b" / "other.png").touch()
    uploads.use(tmp_path / "gone.png")
    uploads.sweep(uploaded, NOW)
    assert uploaded == {str(tmp_path / "c" / "file.png")}
    assert (tmp_path / "b" / "other.png").is_file() and not uploads._used


def test_an_unused_upload_lives_less_than_an_hour() -> None:
    assert uploads.KEPT + uploads.LOOK < 3600


def test_gradio_still_lists_its_uploads() -> None:
    assert gr.Blocks().upload_file_set == set()
