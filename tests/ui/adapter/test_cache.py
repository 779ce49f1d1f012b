"""Files for the browser are written once and whole."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sd.ui.adapter import cache
from sd.ui.adapter.cache import kept


def test_a_file_that_is_there_is_not_written_again_but_counts_as_new(tmp_path: Path) -> None:
    path = kept(b"bytes", "noise.bin", tmp_path)
    assert path.read_bytes() == b"bytes" and path.name == "noise.bin"
    path.write_bytes(b"other")  # so that writing it again would show
    os.utime(path, (1, 1))
    assert kept(b"bytes", "noise.bin", tmp_path) == path
    assert path.read_bytes() == b"other" and path.stat().st_mtime > 1
    assert kept(b"more", "noise.bin", tmp_path) != path


def test_a_file_appears_only_when_it_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def replace(beside: str, path: Path) -> None:
        assert not path.exists() and Path(beside).read_bytes() == b"bytes"
        os.rename(beside, path)

    monkeypatch.setattr("sd.ui.adapter.cache.os.replace", replace)
    path = kept(b"bytes", "noise.bin", tmp_path)
    assert path.read_bytes() == b"bytes" and os.listdir(path.parent) == ["noise.bin"]


def test_what_cannot_be_kept_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(beside: str, path: Path) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("sd.ui.adapter.cache.os.replace", full)
    with pytest.raises(OSError, match="no space"):
        kept(b"bytes", "noise.bin", tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("kind", ["image", "gallery"])
def test_a_picture_shown_twice_is_one_file(kind: str, tmp_path: Path) -> None:
    field = cache.Image(format="png") if kind == "image" else cache.Gallery(format="png")
    field.GRADIO_CACHE = str(tmp_path)
    assert field.get_block_name() == kind  # by which the browser finds what draws it
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)

    def shown() -> Path:
        picture = Image.fromarray(pixels)
        if kind == "image":
            return Path(field.postprocess(picture).path)
        (one,) = field.postprocess([(picture, "stripes")]).root
        assert one.caption == "stripes"
        return Path(one.image.path)

    path = shown()
    assert np.array_equal(np.asarray(Image.open(path)), pixels)
    path.write_bytes(b"other")
    assert shown() == path and path.read_bytes() == b"other"
    assert not getattr(field.postprocess(None), "root", None)
