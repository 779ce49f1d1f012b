"""Pictures of more than 8 bits: from which to which value they run."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sd.data.image_set import inspect_images, read_images, some_pictures
from sd.data.images import read_picture
from sd.data.ingest import ingest_images, open_images
from tests.helpers.sets import folder

RAMP = np.linspace(0, 255, 256).reshape(16, 16)  # as 8 bits would have it
COLOUR = np.random.default_rng(0).integers(0, 256, (16, 16, 4))


def deep(values: Any, form: str = "PNG", **more: Any) -> bytes:
    file = io.BytesIO()
    dtype = np.float32 if np.asarray(values).dtype == np.float32 else np.uint16
    Image.fromarray(np.rint(values).astype(dtype) if dtype == np.uint16 else values).save(
        file, form, **more
    )
    return file.getvalue()


def colour_png(values: Any, told: bytes = b"") -> bytes:
    """A PNG of 16 bits in 3 or 4 channels; `told` is its sBIT."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        rest = kind + data
        return struct.pack(">I", len(data)) + rest + struct.pack(">I", zlib.crc32(rest))

    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in np.rint(values))
    colour = {3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    parts = chunk(b"IHDR", header) + (chunk(b"sBIT", told) if told else b"")
    body = parts + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def with_sbit(data: bytes, bits: int) -> bytes:
    body = b"sBIT" + bytes([bits])
    return data[:33] + struct.pack(">I", 1) + body + struct.pack(">I", zlib.crc32(body)) + data[33:]


def read(data: bytes, **more: Any) -> np.ndarray:
    return np.asarray(read_picture(io.BytesIO(data), "x.png", **more)).astype(int)


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
@pytest.mark.parametrize("top", [1023, 4095, 65535])
def test_ten_and_twelve_bits_are_as_bright_as_eight(top: int, form: str) -> None:
    assert np.abs(read(deep(RAMP * top / 255, form)) - RAMP).max() <= 1


@pytest.mark.parametrize("top", [1023, 4095, 65535])
@pytest.mark.parametrize("channels", [3, 4])
def test_colours_in_ten_and_twelve_bits_too(top: int, channels: int) -> None:
    pixels = COLOUR[..., :channels]
    found = read(colour_png(pixels * top / 255), transparency=True)
    assert found.shape == pixels.shape and np.abs(found - pixels).max() <= 1


def test_colours_in_twelve_bits_of_a_tiff() -> None:
    """Written by hand, as Pillow writes none: 16 x 16, little-endian, one strip."""
    pixels = COLOUR[..., :3]
    tags = [(256, 3, 1, 16), (257, 3, 1, 16), (258, 3, 3, 134), (259, 3, 1, 1), (262, 3, 1, 2)]
    tags += [(273, 4, 1, 140), (277, 3, 1, 3), (278, 3, 1, 16), (279, 4, 1, 1536), (284, 3, 1, 1)]
    table = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    head = b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + table + bytes(4)
    data = (
        head + struct.pack("<3H", 16, 16, 16) + np.rint(pixels * 4095 / 255).astype("<u2").tobytes()
    )
    assert len(head) == 134
    assert np.abs(read(data) - pixels).max() <= 1


@pytest.mark.parametrize("high", [300, 1500])
def test_a_dark_picture_of_sixteen_bits_stays_dark(high: int) -> None:
    assert read(deep(RAMP * high / 255)).max() <= 6


@pytest.mark.parametrize("factor", [256, 257])
def test_a_dark_picture_of_eight_bits_spread_over_sixteen_stays_dark(factor: int) -> None:
    dark = np.rint(RAMP / 17)  # 0 to 15
    assert np.array_equal(read(deep(dark * factor)), dark)


def test_a_file_that_tells_its_bits_is_believed() -> None:
    dim = RAMP * 900 / 255  # in twelve bits
    assert np.abs(read(with_sbit(deep(dim), 12)) - dim / 4095 * 255).max() <= 1
    assert np.abs(read(with_sbit(deep(RAMP * 4095 / 255), 16)) - RAMP / 16).max() <= 1
    spread = np.rint(RAMP * 255 / 255) * 16  # dark, twelve bits moved up as the standard asks
    assert np.abs(read(with_sbit(deep(spread), 12)) - RAMP / 16).max() <= 1
    assert np.abs(read(deep(dim, "TIFF", tiffinfo={281: 4095})) - dim / 4095 * 255).max() <= 1
    assert read(deep(dim, "TIFF", tiffinfo={281: 901})).max() == 224  # no number of bits: in ten


@pytest.mark.parametrize("way", ["memory", "disk"])
def test_a_set_has_one_scale(way: str, tmp_path: Path) -> None:
    """The dark one alone would be read as ten bits, and the set's bright one tells twelve."""
    files = {"a.png": deep(RAMP * 900 / 255), "b.png": deep(RAMP * 4095 / 255), "c.png": b"no"}
    files["d.png"] = deep(RAMP * 700 / 255)
    source = folder(tmp_path / "set", files)
    shape = {"height": 16, "width": 16, "channels": 1, "fit": "crop"}
    if way == "memory":
        images = read_images(source, **shape)  # type: ignore[arg-type]
    else:
        for _ in ingest_images(source, tmp_path / "kept", **shape):  # type: ignore[arg-type]
            pass
        images = open_images(tmp_path / "kept", verify=True)
    for pixels, high in zip(images.pixels[:, 0].numpy(), (900, 4095, 700), strict=True):
        assert np.abs(pixels - RAMP * high / 4095).max() <= 1
    told = "more than 8 bits: 3 pictures; no value goes beyond 4,095, so they are read as 12 bits"
    assert images.report.remarks == (told,)
    assert some_pictures(source, 3)[0].getextrema()[1] == round(900 / 4095 * 255)


def test_a_bright_picture_tells_that_a_dark_one_is_dark(tmp_path: Path) -> None:
    files = {"a.png": deep(RAMP * 4095 / 255), "b.png": deep(RAMP * 257)}
    images = read_images(folder(tmp_path / "set", files), height=16, width=16, channels=1)
    assert images.pixels[0].max() == 16 and images.pixels[1].max() == 255
    assert images.report.remarks == ()


def test_values_that_no_bits_hold_share_one_stretch(tmp_path: Path) -> None:
    """As the slices of a scanner of bodies: some whole, below zero, and air at the least of all."""
    low = np.linspace(-1000, 0, 256, dtype=np.float32).reshape(16, 16)
    files = {"a.tif": deep(low, "TIFF"), "b.tif": deep(low + 1000, "TIFF")}
    files |= {"c.tif": deep(low + 3000, "TIFF")}
    source = folder(tmp_path / "set", files)
    images = read_images(source, height=16, width=16, channels=1)
    low_one, high_one = images.pixels[0], images.pixels[2]
    assert low_one.min() == 0 and high_one.max() == 255 and low_one.max() < 100
    assert "values from -1000 to 0 became black to white" in "".join(
        inspect_images(folder(tmp_path / "one", {"a.tif": files["a.tif"]})).remarks
    )


def test_floats_a_little_beyond_one_are_still_up_to_one() -> None:
    values = np.linspace(-0.02, 1.03, 256, dtype=np.float32).reshape(16, 16)
    assert np.abs(read(deep(values, "TIFF")) - np.clip(values, 0, 1) * 255).max() <= 0.51


def test_a_dark_set_says_so(tmp_path: Path) -> None:
    remarks = inspect_images(folder(tmp_path / "set", {"a.png": deep(RAMP * 1500 / 255)})).remarks
    assert remarks == (
        "more than 8 bits: 1 picture; no value goes beyond 1,424 of 65,535, so they are dark",
    )
