"""Reading one picture, fitting it, and the way between uint8 and [-1, 1]."""

import io
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sd.common.validation import InputError
from sd.data.decoding import decoder
from sd.data.decoding.decoder import decode
from sd.data.images import (
    fit_picture,
    make_grid,
    read_picture,
    to_array,
    to_float,
    to_pil,
    to_uint8,
)

RAMP = np.arange(12 * 8 * 3, dtype=np.uint8).reshape(12, 8, 3)  # [H, W, C]


def encoded(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def read(data: bytes) -> Image.Image:
    return read_picture(io.BytesIO(data), "x.png")


def png(width: int, height: int, depth: int = 8, colour: int = 2, rows: bytes = b"") -> bytes:
    """A PNG written by hand: `rows` are its unfiltered scan lines with their filter bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def oriented(image: Image.Image, orientation: int, form: str = "PNG") -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(image, form, exif=exif)


# Reading


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "PPM", "WEBP"])
def test_lossless_formats_pass_bit_identically(form: str) -> None:
    data = encoded(Image.fromarray(RAMP), form, **({"lossless": True} if form == "WEBP" else {}))
    assert np.array_equal(np.asarray(read(data)), RAMP)


@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize(
    ("orientation", "undo"),
    [
        (1, lambda a: a),
        (2, lambda a: a[:, ::-1]),
        (3, lambda a: a[::-1, ::-1]),
        (4, lambda a: a[::-1]),
        (5, lambda a: a.swapaxes(0, 1)),
        (6, lambda a: a[::-1].swapaxes(0, 1)),
        (7, lambda a: a[::-1, ::-1].swapaxes(0, 1)),
        (8, lambda a: a[:, ::-1].swapaxes(0, 1)),
    ],
)
def test_exif_is_turned_upright(form: str, orientation: int, undo: Callable[[Any], Any]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if form == "WEBP" else {}
    decoded = decode(encoded(Image.fromarray(RAMP), form, exif=exif, **options))
    assert np.array_equal(np.asarray(decoded.image), undo(RAMP))
    assert decoded.size == decoded.image.size


def test_broken_exif_does_not_lose_the_picture() -> None:
    data = encoded(Image.fromarray(RAMP), exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff")
    assert np.array_equal(np.asarray(read(data)), RAMP)


@pytest.mark.parametrize("form", ["PNG", "TIFF", "PPM"])
def test_sixteen_bit_grey_is_scaled(form: str) -> None:
    values = np.linspace(0, 65535, 64 * 64).astype(np.uint16).reshape(64, 64)
    image = read(encoded(Image.fromarray(values), form))
    assert image.mode == "L"
    assert np.abs(np.asarray(image) - values / 257).max() <= 0.51
    assert np.abs(np.asarray(image).mean() - values.mean() / 257) < 0.01


def test_big_endian_sixteen_bit_tiff() -> None:
    values = np.full((4, 4), 0x8001, dtype=">u2")
    data = encoded(Image.frombytes("I;16B", (4, 4), values.tobytes()), "TIFF")
    assert decode(data).mode == "I;16B"
    assert np.unique(np.asarray(read(data))) == [128]


def test_sixteen_bit_colour_png() -> None:
    row = b"\x00" + struct.pack(">6H", 65535, 32768, 0, 257, 514, 65535)
    assert np.asarray(read(png(2, 1, 16, 2, row))).tolist() == [[[255, 128, 0], [1, 2, 255]]]


@pytest.mark.parametrize("top", [1.0, 255.0, 65535.0])
def test_float_tiff_is_scaled(top: float) -> None:
    values = np.linspace(0, top, 256, dtype=np.float32).reshape(16, 16)
    image = read(encoded(Image.fromarray(values), "TIFF"))
    assert np.asarray(image).ravel().tolist() == list(range(256))


@pytest.mark.parametrize("values", [[-1, 0, 1], [-3e38, 0, 3e38], [0, 5e5, 1e6]])
def test_floats_beyond_the_usual_are_stretched(values: list[float]) -> None:
    image = read(encoded(Image.fromarray(np.array([values], dtype=np.float32)), "TIFF"))
    assert np.abs(np.asarray(image)[0] - np.array([0, 127.5, 255])).max() <= 0.5


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_floats_that_are_no_numbers_are_refused(bad: float) -> None:
    values = np.array([[0, bad]], dtype=np.float32)
    with pytest.raises(InputError, match="no numbers"):
        read(encoded(Image.fromarray(values), "TIFF"))


def test_alpha_is_laid_on_white() -> None:
    pixels = np.array([[[200, 0, 0, 0], [200, 0, 0, 128], [200, 10, 7, 255]]], dtype=np.uint8)
    image = read(encoded(Image.fromarray(pixels)))
    expected = [[255, 255, 255], [227, 127, 127], [200, 10, 7]]
    assert np.abs(np.asarray(image)[0] - np.array(expected)).max() <= 1
    assert np.asarray(image)[0, 2].tolist() == [200, 10, 7]


def test_grey_with_alpha_stays_grey() -> None:
    pixels = np.array([[[9, 0], [9, 255], [0, 128]]], dtype=np.uint8)
    image = read(encoded(Image.fromarray(pixels, "LA")))
    assert image.mode == "L"
    assert np.abs(np.asarray(image)[0] - np.array([255, 9, 127])).max() <= 1


def test_transparent_palette_entry_is_white() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putdata([0, 1])
    for form in ("PNG", "GIF"):
        data = encoded(image, form, transparency=0)
        assert np.asarray(read(data)).tolist() == [[[255, 255, 255], [0, 0, 255]]]


@pytest.mark.parametrize(("mode", "key"), [("L", 0), ("RGB", (0, 0, 0)), ("1", 0)])
def test_transparent_colour_of_a_png_is_white(mode: str, key: Any) -> None:
    data = encoded(Image.new(mode, (2, 2)), transparency=key)
    assert np.unique(np.asarray(read(data))).tolist() == [255]


def test_cmyk() -> None:
    data = encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=100)
    image = read(data)
    assert decode(data).mode == "CMYK" and image.mode == "RGB"
    assert np.abs(np.asarray(image).astype(int) - np.array([255, 0, 0])).max() <= 2


@pytest.mark.parametrize(("mode", "result"), [("1", "L"), ("L", "L"), ("P", "RGB"), ("RGB", "RGB")])
def test_modes(mode: str, result: str) -> None:
    data = encoded(Image.fromarray(RAMP).convert(mode))
    assert decode(data).mode == mode
    assert read(data).mode == result


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
def test_first_frame_of_an_animation(form: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "lime")]
    options = {"lossless": True} if form == "WEBP" else {}
    data = encoded(frames[0], form, save_all=True, append_images=frames[1:], duration=50, **options)
    assert Image.open(io.BytesIO(data)).n_frames == 3
    assert np.asarray(read(data))[4, 4].tolist() == [255, 0, 0]


def test_large_jpeg_may_come_smaller_but_means_the_same() -> None:
    smooth = Image.fromarray(RAMP[::4, ::4]).resize((1600, 1200), Image.Resampling.BICUBIC)
    data = oriented(smooth, 6, "JPEG")
    whole, part = decode(data), decode(data, 4 * 32)
    assert whole.size == part.size == (1200, 1600)
    assert min(part.image.size) >= 4 * 32 and max(part.image.size) < 1600
    one, other = (
        fit_picture(image, 32, 32, 3, "crop").int() for image in (whole.image, part.image)
    )
    assert (one - other).abs().max() <= 2


# What is refused


def refusal(data: bytes) -> str:
    with pytest.raises(InputError) as caught:
        read(data)
    message = str(caught.value)
    assert message.startswith("x.png: ") and "\n" not in message and len(message) <= 300
    return message


@pytest.mark.parametrize("data", [b"", b"hello", bytes(999)])
def test_no_picture(data: bytes) -> None:
    assert "not a picture (PNG, JPEG" in refusal(data)


def test_a_format_off_the_list_is_not_opened() -> None:
    assert "not a picture" in refusal(encoded(Image.fromarray(RAMP), "TGA"))
    assert "PostScript, which is not read" in refusal(encoded(Image.fromarray(RAMP), "EPS"))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
def test_cut_short(form: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), form)
    assert refusal(data[: len(data) // 2])


def test_missing_and_forbidden_files_do_not_tell_their_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.png", tmp_path):
        with pytest.raises(InputError) as caught:
            read_picture(path, path.name)
        assert str(tmp_path.parent) not in str(caught.value)


@pytest.mark.parametrize(
    ("width", "height", "depth"), [(50_000, 50_000, 8), (13_000, 13_000, 1), (8_001, 8_001, 8)]
)
def test_too_many_pixels_are_refused_by_the_header(
    width: int, height: int, depth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decoded(image: Image.Image) -> None:
        raise AssertionError("a pixel was decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decoded)
    start = time.perf_counter()
    message = refusal(png(width, height, depth, 0))
    assert time.perf_counter() - start < 1
    assert "pixels; at most 64 million are allowed" in message


def test_a_jpeg_of_very_many_scans_is_refused() -> None:
    data = encoded(Image.fromarray(RAMP), "JPEG", progressive=True)
    read(data)
    scan = b"\xff\xda\x00\x08\x01\x01\x00\x3f\x02\x00"
    assert "scans" in refusal(data[:-2] + 101 * scan + data[-2:])


def test_too_long_a_file_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sd.data.reading.files.LONGEST_FILE", 100)
    (tmp_path / "a.png").write_bytes(encoded(Image.new("RGB", (300, 300))))
    with pytest.raises(InputError, match=r"a\.png: more than"):
        read_picture(tmp_path / "a.png", "a.png")


MAGIC = [encoded(Image.fromarray(RAMP), form) for form in decoder.FORMATS]


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(MAGIC),
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=8),
)
def test_flipped_bytes_give_a_picture_or_an_input_error(
    data: bytes, flips: list[tuple[int, int]]
) -> None:
    broken = bytearray(data)
    for place, value in flips:
        broken[place % len(broken)] = value
    try:
        assert read(bytes(broken)).mode in ("L", "RGB")
    except InputError as error:
        assert len(str(error)) <= 300


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([b"", *(data[:12] for data in MAGIC)]), st.binary(max_size=300))
def test_random_bytes_are_refused(magic: bytes, rest: bytes) -> None:
    try:
        assert read(magic + rest).mode in ("L", "RGB")
    except InputError as error:
        assert str(error).startswith("x.png: ")


def test_importing_leaves_pillow_alone() -> None:
    assert Image.MAX_IMAGE_PIXELS == 1024 * 1024 * 1024 // 4 // 3


# Fitting


@pytest.mark.parametrize("fit", decoder.FITS)
def test_a_picture_of_the_size_is_not_touched(fit: str) -> None:
    pixels = fit_picture(Image.fromarray(RAMP), 12, 8, 3, fit)
    assert pixels.dtype == torch.uint8
    assert torch.equal(pixels, torch.from_numpy(RAMP.copy()).permute(2, 0, 1))


def stripes(widths: list[int], height: int) -> Image.Image:
    """Vertical stripes of 0, 100, 200, 0, ... with the given widths."""
    row = np.repeat([[0, 100, 200][n % 3] for n in range(len(widths))], widths)
    return Image.fromarray(np.tile(row.astype(np.uint8), (height, 1)))


def test_crop_takes_the_centre() -> None:
    wide = fit_picture(stripes([10, 20, 10], 20), 20, 20, 1, "crop")
    assert wide.shape == (1, 20, 20) and wide.unique().tolist() == [100]
    tall = stripes([10, 20, 10], 20).transpose(Image.Transpose.ROTATE_90)
    assert fit_picture(tall, 10, 10, 1, "crop")[0, 2:-2].unique().tolist() == [100]


def test_crop_to_another_aspect() -> None:
    pixels = fit_picture(stripes([16, 32, 16], 16), 8, 16, 1, "crop")  # cuts 32 x 16 out
    assert pixels.shape == (1, 8, 16) and pixels.unique().tolist() == [100]


def test_pad_shows_the_whole_picture_on_white() -> None:
    pixels = fit_picture(Image.new("RGB", (40, 20), (9, 8, 7)), 16, 16, 3, "pad")
    assert pixels[:, 4:12].flatten(1).unique(dim=1).flatten().tolist() == [9, 8, 7]
    assert pixels[:, :4].unique().tolist() == pixels[:, 12:].unique().tolist() == [255]
    grey = fit_picture(Image.new("L", (10, 21), 5), 21, 21, 1, "pad")
    assert (grey[0] == 5).sum() == 210 and (grey[0, :, 5:15] == 5).all()


def test_stretch_keeps_all_of_it() -> None:
    pixels = fit_picture(stripes([20, 20, 20], 10), 6, 12, 1, "stretch")
    assert pixels.shape == (1, 6, 12)
    wanted = torch.tensor([0, 0, 100, 100, 200, 200])
    assert (pixels[0, 0, [0, 1, 5, 6, 10, 11]] - wanted).abs().max() <= 2


def test_shrinking_is_antialiased() -> None:
    checker = Image.fromarray((np.indices((256, 256)).sum(0) % 2 * 255).astype(np.uint8))
    pixels = fit_picture(checker, 16, 16, 1, "stretch").int()
    assert (pixels - 128).abs().max() <= 2


@pytest.mark.parametrize("fit", decoder.FITS)
@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (33, 31)])
def test_any_shape_of_picture_fits(fit: str, size: tuple[int, int]) -> None:
    pixels = fit_picture(Image.new("RGB", size, (50, 60, 70)), 20, 12, 3, fit)
    assert pixels.shape == (3, 20, 12)
    assert (torch.tensor([50, 60, 70]) == pixels.flatten(1).T).all(dim=1).any()


def test_grey_and_colour_are_converted_by_luma() -> None:
    colour = Image.new("RGB", (4, 4), (255, 0, 0))
    assert fit_picture(colour, 4, 4, 1, "crop").unique().tolist() == [76]  # 0.299 * 255
    assert fit_picture(Image.new("L", (4, 4), 9), 4, 4, 3, "crop").unique().tolist() == [9]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((0, 8, 3, "crop"), "height = 0: must be"),
        ((8, 10**6, 3, "crop"), "width = 1000000: must be"),
        ((8, 8, 2, "crop"), "channels = 2: must be 1 (grey), 3 (colour) or 4 (colour and transp"),
        ((8, 8, 3, "croq"), "did you mean 'crop'"),
    ],
)
def test_wrong_settings_are_named(arguments: tuple[Any, ...], words: str) -> None:
    with pytest.raises(InputError) as caught:
        fit_picture(Image.fromarray(RAMP), *arguments)
    assert words in str(caught.value)


# Between uint8 and [-1, 1]


def test_to_uint8_undoes_to_float() -> None:
    pixels = torch.arange(256, dtype=torch.uint8)
    x = to_float(pixels)
    assert x.dtype == torch.float32 and x[0] == -1 and x[255] == 1
    assert torch.equal(to_uint8(x), pixels)


def test_to_uint8_clamps_and_survives_what_is_no_number() -> None:
    x = torch.tensor([-9.0, -1.0, 0.0, 1.0, 9.0, torch.nan, torch.inf, -torch.inf])
    assert to_uint8(x).tolist() == [0, 0, 128, 255, 255, 128, 255, 0]
    assert to_uint8(torch.tensor([0.5], dtype=torch.float16, requires_grad=True)).tolist() == [191]


@pytest.mark.parametrize("channels", [1, 3])
def test_to_pil_shows_floats_and_bytes_alike(channels: int) -> None:
    pixels = torch.randint(0, 256, (channels, 5, 7), dtype=torch.uint8)
    for image in (to_pil(pixels), to_pil(to_float(pixels))):
        assert image.mode == ("L" if channels == 1 else "RGB") and image.size == (7, 5)
        assert np.array_equal(np.asarray(image).reshape(5, 7, channels), pixels.permute(1, 2, 0))


def test_to_array_puts_channels_last() -> None:
    pixels = torch.randint(0, 256, (2, 3, 4, 5), dtype=torch.uint8)
    array = to_array(to_float(pixels))
    assert array.dtype == np.uint8 and np.array_equal(array, pixels.permute(0, 2, 3, 1))


def test_to_pil_refuses_other_channels() -> None:
    with pytest.raises(InputError, match="channels = 5"):
        to_pil(torch.zeros(5, 2, 2))


def test_grid_places_pictures_row_by_row() -> None:
    x = to_float(torch.tensor([10, 20, 30, 40, 50], dtype=torch.uint8)).reshape(5, 1, 1, 1)
    sheet = make_grid(x.expand(5, 3, 2, 4), scale=3, gap=2)
    assert sheet.mode == "RGB" and sheet.size == (3 * 12 + 2 * 2, 2 * 6 + 2)
    array = np.asarray(sheet)
    for n, value in enumerate([10, 20, 30, 40, 50]):
        row, column = divmod(n, 3)
        cell = array[row * 8 : row * 8 + 6, column * 14 : column * 14 + 12]
        assert np.unique(cell).tolist() == [value]
    assert np.unique(array[6:8]).tolist() == np.unique(array[8:, 28:]).tolist() == [255]


def test_grid_enlarges_by_repeating_pixels() -> None:
    pixels = torch.randint(0, 256, (1, 3, 4, 4), dtype=torch.uint8)
    array = np.asarray(make_grid(to_float(pixels), scale=5))
    assert np.array_equal(array[::5, ::5], pixels[0].permute(1, 2, 0))
    assert np.array_equal(array, array[::5, ::5].repeat(5, 0).repeat(5, 1))


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (4, 2), (5, 3), (16, 4), (17, 5)])
def test_grid_is_nearly_square(count: int, columns: int) -> None:
    assert make_grid(torch.zeros(count, 1, 1, 1), gap=0).width == columns


def test_grid_without_pictures_is_refused() -> None:
    with pytest.raises(InputError, match="at least one"):
        make_grid(torch.zeros(0, 3, 4, 4))


# What is no pixel never costs the picture


def with_chunk(kind: bytes, body: bytes, good: bool = True) -> bytes:
    """RAMP as a PNG with one more chunk before its pixels."""
    data, chunk = encoded(Image.fromarray(RAMP)), kind + body
    check = zlib.crc32(chunk) ^ (not good)
    return data[:33] + struct.pack(">I", len(body)) + chunk + struct.pack(">I", check) + data[33:]


LONG = zlib.compress(bytes(3 * 2**20))
ORIENTED = Image.Exif()
ORIENTED[0x0112] = 3


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (b"zTXt", b"workflow\0\0" + LONG),
        (b"iTXt", b"workflow\0\1\0\0\0" + LONG),
        (b"iTXt", b"prompt\0\0\0\0\0" + b'{"3": 1}' * 200_000),
        (b"tEXt", b"parameters\0" + b"cat, " * 400_000),
        (b"zTXt", b"workflow\0\7" + LONG),
        (b"iCCP", b"x\0\3junk"),
        (b"iCCP", b"x\0\0" + LONG),
        (b"pHYs", b"\0"),
        (b"gAMA", b""),
        (b"cHRM", b"\0" * 7),
        (b"sRGB", b""),
        (b"eXIf", b"MM\0*\xff\xff\xff\xff"),
        (b"acTL", b"\0"),
        (b"xyZz", b"own chunk"),
    ],
)
@pytest.mark.parametrize("good", [True, False])
def test_a_chunk_that_is_no_pixel_costs_no_png(kind: bytes, body: bytes, good: bool) -> None:
    assert np.array_equal(np.asarray(read(with_chunk(kind, body, good))), RAMP)


def test_many_texts_cost_no_png() -> None:
    data = encoded(Image.fromarray(RAMP))
    body = b"zTXtk\0\0" + zlib.compress(bytes(2**20 - 1))
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    assert np.array_equal(np.asarray(read(data[:33] + 65 * chunk + data[33:])), RAMP)


def test_a_picture_with_a_long_text_keeps_its_orientation() -> None:
    data = encoded(Image.fromarray(RAMP), exif=ORIENTED)
    text = b"zTXtworkflow\0\0" + LONG
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    found = read(data[:33] + chunk + data[33:])
    assert np.array_equal(np.asarray(found), RAMP[::-1, ::-1])


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


MPF = b"MPF\0MM\0*\0\0\0\x08\0\2\xb0\0\0\7\0\0\0\x040100\xb0\1\0\4\0\0\0\1\xff\xff\xff\xff\0\0\0\0"


@pytest.mark.parametrize(
    "body",
    [
        segment(0xE1, b"Exif\0\0MM\0*\xff\xff\xff\xff"),
        segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0\xff\xff"),
        segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta" + b"<" * 60_000),
        segment(0xE2, b"ICC_PROFILE\0\1\1junk"),
        segment(0xE2, b"ICC_PROFILE\0\2\1half"),
        segment(0xE2, b"ICC_PROFILE\0"),
        segment(0xE2, MPF),
        segment(0xE2, b"MPF\0"),
        segment(0xED, b"Photoshop 3.0\x008BIM\x03\xed"),
        segment(0xED, b"Photoshop 3.0\x008BIM\x03\xed\xff\0\0\0\xff\xff"),
        segment(0xFE, b"\xff\xfe comment"),
        segment(0xEB, b"JP" * 9),
    ],
)
def test_a_segment_that_is_no_pixel_costs_no_jpeg(body: bytes) -> None:
    data = encoded(Image.fromarray(RAMP), "JPEG", quality=95)
    assert np.array_equal(np.asarray(read(data[:2] + body + data[2:])), np.asarray(read(data)))


# No library speaks to a person


def deflated_tiff() -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), "TIFF", compression="tiff_deflate")
    return data[: len(data) // 2] + bytes(40) + data[len(data) // 2 + 40 :]


def half_transparent() -> bytes:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putdata([0, 1])
    return encoded(image, transparency=b"\0\x80")


@pytest.mark.parametrize(
    "make",
    [
        deflated_tiff,
        half_transparent,
        lambda: png(10_000, 10_000, 8, 0),  # a warning of Pillow's, an error from twice as many
        lambda: png(50_000, 50_000, 8, 0),
        lambda: encoded(Image.fromarray(RAMP), "TIFF")[:60],
        lambda: encoded(Image.fromarray(RAMP), "TIFF", tiffinfo={700: b"<x"})[:-9],
        lambda: encoded(Image.fromarray(RAMP), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\2\0"),
    ],
    ids=["tiff data", "palette", "bomb", "larger bomb", "tiff head", "tiff tail", "exif"],
)
def test_no_warning_of_a_library_is_seen(
    make: Callable[[], bytes], tmp_path: Path, capfd: Any
) -> None:
    """In a process of its own, whose warnings nobody catches."""
    (tmp_path / "a").write_bytes(make())
    program = "import sys\nfrom pathlib import Path\nfrom sd.data.decoding.decoder import decode\n"
    program += "try: decode(Path(sys.argv[1]).read_bytes())\nexcept ValueError: pass"
    subprocess.run(
        [sys.executable, "-W", "always", "-c", program, str(tmp_path / "a")],
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert capfd.readouterr().err == ""


# Transparency


def test_transparency_is_kept_where_it_is_asked_for() -> None:
    pixels = np.array([[[200, 0, 0, 0], [200, 10, 7, 255]]], dtype=np.uint8)
    kept = read_picture(io.BytesIO(encoded(Image.fromarray(pixels))), "x", transparency=True)
    assert np.array_equal(np.asarray(kept), pixels)
    fitted = fit_picture(kept, 1, 2, 4, "crop")
    assert np.array_equal(fitted.permute(1, 2, 0), pixels)
    assert fit_picture(kept, 1, 2, 3, "crop")[:, 0, 0].tolist() == [255, 255, 255]
    assert fit_picture(kept, 1, 2, 1, "crop")[:, 0, 0].tolist() == [255]


def test_a_picture_without_transparency_is_opaque_in_four_channels() -> None:
    pixels = fit_picture(Image.new("RGB", (8, 4), (9, 8, 7)), 8, 8, 4, "pad")
    assert pixels[:, 4, 4].tolist() == [9, 8, 7, 255]
    assert pixels[:, 0, 0].tolist() == [255, 255, 255, 0]  # nothing, and white on white
    grey = fit_picture(Image.new("L", (8, 8), 9), 8, 8, 4, "crop")
    assert grey[:, 0, 0].tolist() == [9, 9, 9, 255]


def test_alpha_that_is_nowhere_used_is_none() -> None:
    assert decode(encoded(Image.new("RGBA", (4, 4), (9, 8, 7, 255)))).image.mode == "RGB"
    assert decode(encoded(Image.new("RGBA", (4, 4), (9, 8, 7, 254)))).notes == ("transparent",)
