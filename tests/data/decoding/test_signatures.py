"""What a file is that is no picture we read: told in one line, with the cure."""

import io
import os
import struct
import sys
from pathlib import Path

import pytest
from PIL import Image

from sd.common.validation import InputError
from sd.data.decoding import decoder
from sd.data.image_set import inspect_images
from sd.data.images import read_picture
from tests.helpers.sets import folder, picture

HEIC = struct.pack(">I", 24) + b"ftypheic\0\0\0\0mif1heic" + bytes(99)
AVIF = struct.pack(">I", 28) + b"ftypavif\0\0\0\0avifmif1miaf" + bytes(99)
KNOWN = {
    "jxl codestream": (b"\xff\x0a" + bytes(99), "JPEG XL"),
    "jxl container": (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(99), "JPEG XL"),
    "jp2": (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(99), "JPEG 2000"),
    "svg": (b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- x -->\n<svg width="9"/>', "an SVG"),
    "cr2": (b"II*\0\x10\0\0\0CR\x02\0" + bytes(99), "RAW"),
    "cr3": (struct.pack(">I", 24) + b"ftypcrx \0\0\0\1crx isom" + bytes(99), "RAW"),
    "raf": (b"FUJIFILMCCD-RAW 0201" + bytes(99), "RAW"),
    "psd": (b"8BPS\0\1" + bytes(99), "a layered document"),
    "pdf": (b"%PDF-1.7\n" + bytes(99), "a document of pages"),
    "mp4": (struct.pack(">I", 24) + b"ftypisom\0\0\2\0isommp41" + bytes(99), "a video"),
    "mov": (struct.pack(">I", 20) + b"ftypqt  \0\0\2\0qt  " + bytes(99), "a video"),
    "webm": (b"\x1aE\xdf\xa3" + bytes(99), "a video"),
    "avi": (b"RIFF\0\1\0\0AVI LIST" + bytes(99), "a video"),
    "exr": (b"\x76\x2f\x31\x01" + bytes(99), "high dynamic range"),
    "dicom": (bytes(128) + b"DICM" + bytes(99), "measurements"),
    "npy": (b"\x93NUMPY\x01\0" + bytes(99), "measurements"),
    "web page": (b"\n<!DOCTYPE html><html>404</html>", "but a web page"),
    "git lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS"),
    "zip": (b"PK\x03\x04" + bytes(99), "unpack it"),
}


def reason(data: bytes, name: str = "x.png") -> str:
    with pytest.raises(InputError) as caught:
        read_picture(io.BytesIO(data), name)
    message = str(caught.value)
    assert "\n" not in message and len(message) <= 300
    return message.removeprefix(f"{name}: ")


@pytest.mark.parametrize("kind", KNOWN)
def test_a_file_is_told_for_what_its_bytes_are(kind: str) -> None:
    data, words = KNOWN[kind]
    assert words in reason(data) and "; " in reason(data)


@pytest.mark.parametrize(
    ("name", "words"),
    [("a.NEF", "RAW"), ("b.tga", "TGA"), ("c.heic", "pip install pillow-heif"), ("d.mkv", "video")],
)
def test_a_file_of_unknown_bytes_is_told_by_its_name(name: str, words: str) -> None:
    assert words in reason(bytes(200), name)
    assert "not a picture (PNG" in reason(bytes(200), "x.png")


@pytest.mark.parametrize("tags", [{50706: b"\1\4\0\0"}, {254: 1, 330: 8}], ids=["dng", "nef"])
def test_the_thumbnail_in_a_cameras_file_is_no_picture(tags: dict[int, object]) -> None:
    file = io.BytesIO()
    Image.new("RGB", (32, 24), 9).save(file, "TIFF", tiffinfo=tags)
    assert "camera's RAW" in reason(file.getvalue())


def test_a_damaged_picture_is_told_by_its_format() -> None:
    file = io.BytesIO()
    Image.new("RGB", (64, 64)).save(file, "TIFF")
    assert "damaged, cut short or of an unusual kind (TIFF)" in reason(file.getvalue()[:100])


def test_heic_is_read_by_its_plug_in_or_told_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # as if it were not installed
    decoder._heif.cache_clear()
    try:
        assert "pip install pillow-heif" in reason(HEIC)
    finally:
        decoder._heif.cache_clear()


def test_heic_with_its_plug_in() -> None:
    plug_in = pytest.importorskip("pillow_heif")
    file = io.BytesIO()
    plug_in.from_pillow(Image.new("RGB", (64, 48), (200, 40, 30))).save(file)
    image = read_picture(io.BytesIO(file.getvalue()), "a.heic")
    assert image.size == (64, 48)
    assert all(abs(a - b) <= 6 for a, b in zip(image.getpixel((9, 9)), (200, 40, 30), strict=True))
    assert "unusual kind (HEIC)" in reason(HEIC)


@pytest.mark.skipif(not decoder.AVIF, reason="this Pillow reads no AVIF")
def test_avif_is_read() -> None:
    file = io.BytesIO()
    Image.new("RGB", (64, 48), (200, 40, 30)).save(file, "AVIF", quality=95)
    image = read_picture(io.BytesIO(file.getvalue()), "a.avif")
    assert image.size == (64, 48)
    assert all(abs(a - b) <= 6 for a, b in zip(image.getpixel((9, 9)), (200, 40, 30), strict=True))


@pytest.mark.skipif(not decoder.AVIF, reason="this Pillow reads no AVIF")
def test_a_damaged_avif_is_not_told_to_need_another_pillow() -> None:
    assert "11.3" not in reason(AVIF)


def test_avif_is_told_where_pillow_is_older(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "FORMATS", ("PNG", "JPEG"))
    assert "Pillow reads from version 11.3" in reason(AVIF)


def test_a_set_names_what_it_leaves_out(tmp_path: Path) -> None:
    files = {"a.png": picture(1), "b.HEIC": HEIC, "c.svg": KNOWN["svg"][0], "d.arw": os.urandom(99)}
    told = {name: why for name, why in inspect_images(folder(tmp_path / "set", files)).left_out}
    assert set(told) == {"b.HEIC", "c.svg", "d.arw"}
    assert "camera's RAW" in told["d.arw"] and "an SVG" in told["c.svg"]
