"""Colours brought from a picture's ICC profile to sRGB."""

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from sd.data.decoding import color_profiles
from sd.data.image_set import inspect_images, read_images
from sd.data.images import read_picture
from tests.helpers.sets import folder

P3 = [(0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841)]
SRGB = [(0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141)]
COLOURS = np.random.default_rng(0).integers(30, 226, (8, 8, 3), dtype=np.uint8)


def xyz(*values: float) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in values))


def curve(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IHxx", 1, round(256 * gamma))


def icc(
    space: bytes, tags: dict[bytes, bytes], kind: bytes = b"mntr", pcs: bytes = b"XYZ "
) -> bytes:
    """A profile written by hand (ICC.1, version 2)."""
    tags = {b"wtpt": xyz(0.9642, 1, 0.8249), **tags}
    place, table, body = 128 + 4 + 12 * len(tags), b"", b""
    for name, data in tags.items():
        data += bytes(-len(data) % 4)
        table += name + struct.pack(">II", place + len(body), len(data))
        body += data
    head = struct.pack(">I4sI4s4s4s", place + len(body), b"lcms", 0x02400000, kind, space, pcs)
    head += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def rgb(primaries: list[tuple[float, ...]], gamma: float = 2.2) -> bytes:
    names = zip(b"rgb", primaries, strict=True)
    tags = {bytes([name]) + b"XYZ": xyz(*values) for name, values in names}
    return icc(b"RGB ", tags | {bytes([name]) + b"TRC": curve(gamma) for name in b"rgb"})


def grey(gamma: float) -> bytes:
    return icc(b"GRAY", {b"kTRC": curve(gamma)})


def cmyk() -> bytes:
    """A press whose cyan is red, and whose magenta and yellow are not seen, in Lab."""
    white, red, black = bytes([255, 128, 128]), bytes([136, 208, 195]), bytes([0, 128, 128])
    colours = b"".join(black if k % 2 else red if k >= 8 else white for k in range(16))
    unit = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    ramp = bytes(range(256))
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + unit + 4 * ramp + colours + 3 * ramp
    return icc(b"CMYK", {b"A2B0": table}, b"prtr", b"Lab ")


def saved(pixels: Any, profile: bytes, form: str = "PNG", mode: str | None = None) -> bytes:
    file = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels, mode)
    image.save(file, form, icc_profile=profile)
    return file.getvalue()


def read(data: bytes, **more: Any) -> np.ndarray:
    return np.asarray(read_picture(io.BytesIO(data), "x.png", **more)).astype(int)


SWAPPED = rgb(SRGB[::-1])  # its red is sRGB's blue


@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_colours_are_brought_to_srgb_whatever_the_format(form: str) -> None:
    pixels = np.full((16, 16, 3), (220, 60, 40), np.uint8)
    assert np.abs(read(saved(pixels, SWAPPED, form)) - (40, 60, 220)).max() <= 6


def test_the_same_colours_told_in_p3_and_in_srgb_are_equal() -> None:
    there = ImageCms.profileToProfile(
        Image.fromarray(COLOURS), ImageCms.createProfile("sRGB"), io.BytesIO(rgb(P3))
    )
    inside = np.abs(read(saved(there, rgb(P3))) - COLOURS)
    assert inside.max() <= 4
    assert np.abs(np.asarray(there).astype(int) - COLOURS).max() > 8  # they do differ as numbers


def test_alpha_stays_as_it_was() -> None:
    alpha = np.arange(64, dtype=np.uint8).reshape(8, 8, 1) * 4
    found = read(saved(np.concatenate([COLOURS, alpha], axis=2), SWAPPED), transparency=True)
    assert np.array_equal(found[..., 3:], alpha)
    assert np.abs(found[..., :3] - COLOURS[..., ::-1]).max() <= 8


def test_a_palette_is_converted_too() -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 220, 60, 40])
    assert np.abs(read(saved(image, SWAPPED)) - (40, 60, 220)).max() <= 6


@pytest.mark.parametrize("deep", [False, True])
def test_grey_is_converted_and_stays_grey(deep: bool) -> None:
    pixels = np.full((8, 8), 128, np.uint8)
    data = saved(pixels.astype(np.uint16) * 257 if deep else pixels, grey(1.0))
    image = read_picture(io.BytesIO(data), "x.png")
    assert image.mode == "L" and abs(image.getpixel((0, 0)) - 188) <= 2  # linear 0.5


def test_inks_are_what_their_press_prints() -> None:
    data = saved(Image.new("CMYK", (16, 16), (255, 0, 0, 0)), cmyk(), "TIFF")
    red, green, blue = read(data)[0, 0]
    assert red > 180 and green < 90 and blue < 90


def test_srgb_itself_is_recognised_and_nothing_is_computed() -> None:
    same = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert np.array_equal(read(saved(COLOURS, same)), COLOURS)
    assert color_profiles.to_srgb(Image.fromarray(COLOURS), same) == (
        Image.fromarray(COLOURS),
        False,
        False,
    )


def test_a_profile_is_read_once_however_many_pictures_have_it() -> None:
    profile = rgb(P3, 1.9)
    before = color_profiles._conversion.cache_info().misses
    for _ in range(5):
        color_profiles.to_srgb(Image.fromarray(COLOURS), bytes(bytearray(profile)))
    assert color_profiles._conversion.cache_info().misses == before + 1


@pytest.mark.parametrize(
    "profile",
    [b"x", b"junk" * 99, SWAPPED[:200], SWAPPED[:-60], SWAPPED + bytes(4 * 2**20), grey(1.8)],
    ids=["one byte", "junk", "cut", "short", "huge", "of grey"],
)
@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_a_profile_that_does_not_fit_costs_nothing(profile: bytes, form: str) -> None:
    pixels = np.full((16, 16, 3), (220, 60, 40), np.uint8)
    if form == "WEBP" and len(profile) < 2:
        pytest.skip("the encoder itself refuses it")
    assert np.abs(read(saved(pixels, profile, form)) - (220, 60, 40)).max() <= 6


def test_a_profile_of_other_colours_is_passed_over_and_a_damaged_one_told() -> None:
    image = Image.fromarray(COLOURS)
    assert color_profiles.to_srgb(image, grey(1.0)) == (image, False, False)
    assert color_profiles.to_srgb(image.convert("L"), rgb(P3)) == (image.convert("L"), False, False)
    assert color_profiles.to_srgb(image, rgb(P3)[:99]) == (image, False, True)


def test_lab_pictures_are_read() -> None:
    lab = ImageCms.createProfile("LAB")
    image = ImageCms.profileToProfile(
        Image.fromarray(COLOURS), ImageCms.createProfile("sRGB"), lab, outputMode="LAB"
    )
    file = io.BytesIO()
    assert image is not None
    image.save(file, "TIFF")
    assert np.abs(read(file.getvalue()) - COLOURS).mean() < 2  # Lab in 8 bits is coarse


def test_a_set_tells_once_what_was_converted(tmp_path: Path) -> None:
    files = {"a.png": saved(COLOURS, SWAPPED), "b.png": saved(COLOURS, SWAPPED)}
    files |= {"c.png": saved(COLOURS[..., ::-1].copy(), b"junk")}
    source = folder(tmp_path / "set", files)
    remarks = inspect_images(source).remarks
    assert "colour profiles: 2 of 3 pictures, brought to sRGB" in remarks
    assert "colour profiles that cannot be read: 1 of 3 pictures, taken as sRGB" in remarks
    pixels = read_images(source, height=8, width=8).pixels.int()
    assert (pixels[0] - pixels[2]).abs().max() <= 8
