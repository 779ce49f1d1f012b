"""Files for the browser are written once and whole."""

import os
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from gradio.utils import get_upload_folder
from PIL import Image

from sd.ui.adapter import served_files
from sd.ui.adapter.served_files import store, store_picture


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that gradio serves."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    return tmp_path


def test_a_file_that_is_there_is_not_written_again_but_counts_as_new() -> None:
    path = store(b"bytes", "noise.bin")
    assert path.read_bytes() == b"bytes" and path.name == "noise.bin"
    path.write_bytes(b"other")  # so that writing it again would show
    os.utime(path, (1, 1))
    assert store(b"bytes", "noise.bin") == path
    assert path.read_bytes() == b"other" and path.stat().st_mtime > 1
    assert store(b"more", "noise.bin") != path


def test_a_name_cannot_be_guessed_from_the_contents(monkeypatch: pytest.MonkeyPatch) -> None:
    path = store(b"bytes", "noise.bin")
    monkeypatch.setattr(served_files, "KEY", b"another")
    assert store(b"bytes", "noise.bin") != path


def test_a_file_appears_only_when_it_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    def replace(beside: str, path: Path) -> None:
        assert not path.exists() and Path(beside).read_bytes() == b"bytes"
        os.rename(beside, path)

    monkeypatch.setattr("sd.ui.adapter.served_files.os.replace", replace)
    path = store(b"bytes", "noise.bin")
    assert path.read_bytes() == b"bytes" and os.listdir(path.parent) == ["noise.bin"]


def test_what_cannot_be_stored_leaves_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(beside: str, path: Path) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("sd.ui.adapter.served_files.os.replace", full)
    with pytest.raises(OSError, match="no space"):
        store(b"bytes", "noise.bin")
    assert [path for path in folder.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("kind", [gr.Image, gr.Gallery])
def test_a_picture_shown_twice_is_one_file(kind: type) -> None:
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    picture = Image.fromarray(pixels)
    path = store_picture(picture)
    assert np.array_equal(np.asarray(Image.open(path)), pixels)
    Path(path).write_bytes(b"other")
    assert store_picture(picture) == path and Path(path).read_bytes() == b"other"
    field = kind(format="png")
    sent = field.postprocess(path if kind is gr.Image else [(path, "stripes")])
    assert (sent.path if kind is gr.Image else sent.root[0].image.path) == path


def test_a_picture_keeps_its_texts() -> None:
    picture = Image.new("RGB", (2, 2))
    picture.info = {"made by": "us", "dpi": (72, 72)}
    with Image.open(store_picture(picture)) as read:
        assert read.info == {"made by": "us"}


@pytest.mark.parametrize("place", ["", "/some/where"])
def test_the_folder_is_gradio_s(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", place)
    assert served_files.folder().resolve() == Path(get_upload_folder()).resolve()
