"""The painter's gate: what a browser sends is a PNG of the picture's own size, or one line."""

import base64
import io
import math
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from sd.common.validation import InputError
from sd.ui import texts
from sd.ui.components import painter

SIZE = (8, 6)  # width, height


def png(image, **settings):
    file = io.BytesIO()
    image.save(file, "PNG", **settings)
    return file.getvalue()


def sent(data, kind="image/png"):
    return {"width": 8, "paint": f"data:{kind};base64,{base64.b64encode(data).decode()}"}


def blank(size=SIZE, mode="RGBA"):
    return Image.new(mode, size)


def painted():
    image = blank()
    image.putpixel((1, 2), (200, 30, 20, 255))
    image.putpixel((7, 5), (0, 0, 255, 255))
    return image


def opened(data):
    return Image.open(io.BytesIO(data))


def test_paint_comes_through_as_it_was_painted():
    clean = opened(painter.read_paint(sent(png(painted())), *SIZE))
    assert (clean.mode, clean.size, clean.format) == ("RGBA", SIZE, "PNG")
    np.testing.assert_array_equal(np.asarray(clean), np.asarray(painted()))


def test_a_mask_is_white_where_anything_was_painted():
    mask = opened(painter.read_mask(sent(png(painted())), *SIZE))
    assert mask.mode == "L" and mask.size == SIZE
    expected = np.zeros((6, 8))
    expected[2, 1] = expected[5, 7] = 255
    np.testing.assert_array_equal(np.asarray(mask), expected)


def test_half_opaque_pixels_are_painted_or_not():
    image = painted()
    image.putpixel((3, 3), (90, 80, 70, 128))
    image.putpixel((4, 4), (90, 80, 70, 127))
    clean = opened(painter.read_paint(sent(png(image)), *SIZE))
    assert clean.getpixel((3, 3)) == (90, 80, 70, 255)
    assert clean.getpixel((4, 4)) == (0, 0, 0, 0)


@pytest.mark.parametrize("read", [painter.read_paint, painter.read_mask])
@pytest.mark.parametrize("value", [None, {}, {"paint": None}, sent(png(blank()))])
def test_nothing_painted_is_none(read, value):
    assert read(value, *SIZE) is None


def test_nothing_but_pixels_is_kept():
    data = png(painted(), dpi=(300, 300))
    text = b"tEXtnote\0secret words"
    extra = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    clean = painter.read_paint(sent(data[:33] + extra + data[33:] + b"<script>"), *SIZE)
    assert b"secret" not in clean and b"script" not in clean and b"pHYs" not in clean


def apng():
    frames = [painted(), blank(), painted()]
    return png(frames[0], save_all=True, append_images=frames[1:])


def gif():
    file = io.BytesIO()
    painted().save(file, "GIF")
    return file.getvalue()


def bomb(width, height):
    """A header that promises a large picture, and hardly any data."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    head = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + head + struct.pack(">I", 4) + b"IDAT1234"


REFUSED = {
    "not a dict": ("x", "painting"),
    "a number": (4.7, "painting"),
    "NaN": (math.nan, "painting"),
    "true": (True, "painting"),
    "a list": ([1, 2], "painting"),
    "paint is NaN": ({"paint": math.nan}, "must be a text"),
    "paint is a list": ({"paint": [[0] * 9] * 9}, "must be a text"),
    "paint is true": ({"paint": True}, "must be a text"),
    "paint is 10^9": ({"paint": 10**9}, "must be a text"),
    "5 MB": ({"paint": "data:image/png;base64," + "A" * 5_000_000}, "at most 300000"),
    "no address": ({"paint": "hello"}, "must begin with"),
    "empty": ({"paint": ""}, "must begin with"),
    "a jpeg's address": (sent(png(painted()), "image/jpeg"), "must begin with"),
    "an svg": (sent(b"<svg/>", "image/svg+xml"), "must begin with"),
    "a path": ({"paint": "/etc/passwd"}, "must begin with"),
    "not base64": ({"paint": "data:image/png;base64,@@@@"}, "not base64"),
    "half base64": ({"paint": "data:image/png;base64,AAAAA"}, "not base64"),
    "spaces in base64": ({"paint": "data:image/png;base64,AA AA"}, "not base64"),
    "letters beyond ASCII": ({"paint": "data:image/png;base64,é"}, "not base64"),
    "half a character": ({"paint": "data:image/png;base64,\ud800"}, "must not hold"),
    "no bytes": (sent(b""), "not a PNG"),
    "text": (sent(b"hello, this is no picture at all"), "not a PNG"),
    "a GIF": (sent(gif()), "not a PNG"),
    "too wide": (sent(png(blank((9, 6)))), "9 x 6 pixels: must be 8 x 6"),
    "turned": (sent(png(blank((6, 8)))), "6 x 8 pixels: must be 8 x 6"),
    "a bomb": (sent(bomb(2**31 - 1, 2**31 - 1)), "must be 8 x 6"),
    "a large one": (sent(bomb(8000, 8000)), "8000 x 8000 pixels: must be 8 x 6"),
    "RGB": (sent(png(blank(mode="RGB"))), "8 bit RGBA"),
    "grey": (sent(png(blank(mode="L"))), "8 bit RGBA"),
    "a palette": (sent(png(painted().quantize(4))), "8 bit RGBA"),
    "16 bit": (sent(png(Image.new("I;16", SIZE))), "8 bit RGBA"),
    "frames": (sent(apng()), "3 frames"),
    "cut short": (sent(png(painted())[:50]), "damaged"),
    "a header alone": (sent(bomb(*SIZE)[:33]), "not a PNG"),
    "hardly any data": (sent(bomb(*SIZE)), "damaged"),
    "a broken stream": (sent(png(painted()).replace(b"IDATx", b"IDATy")), "damaged"),
}


@pytest.mark.parametrize("value, words", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("read", [painter.read_paint, painter.read_mask])
def test_anything_else_is_one_line(read, value, words):
    with pytest.raises(InputError, match=words) as caught:
        read(value, *SIZE)
    assert "\n" not in str(caught.value)


def test_no_pixel_of_a_wrong_size_is_decoded(monkeypatch):
    def load(*_, **__):
        raise AssertionError("decoded")

    data = sent(png(blank((4000, 4000))))
    monkeypatch.setattr(PngImageFile, "load", load)
    with pytest.raises(InputError, match="4000 x 4000"):
        painter.read_paint(data, *SIZE)


def test_what_is_shown_can_be_sent_back():
    value = painter.content("paint", Image.new("L", SIZE, 90), "en", png(painted()))
    assert (value["width"], value["height"]) == SIZE
    base = opened(base64.b64decode(value["base"].partition(",")[2]))
    assert base.mode == "RGB" and base.getpixel((0, 0)) == (90, 90, 90)
    clean = painter.read_paint(value, *SIZE)
    np.testing.assert_array_equal(np.asarray(opened(clean)), np.asarray(painted()))
    assert painter.read_paint(painter.content("paint", blank(), "en"), *SIZE) is None


def test_a_mask_survives_its_way_through_the_painter():
    mask = painter.read_mask(sent(png(painted())), *SIZE)
    value = painter.content("mask", blank(), "en", painter.mask_paint(mask))
    assert painter.read_mask(value, *SIZE) == mask
    again = opened(painter.mask_paint(mask))
    assert again.getpixel((1, 2)) == (255, 255, 255, 255) and again.getpixel((0, 0)) == (0,) * 4


def test_a_grey_mask_is_painted_where_half_of_it_is_made_anew():
    grey = png(Image.fromarray(np.array([[0, 127, 128, 255]], dtype=np.uint8)))
    alpha = np.asarray(opened(painter.mask_paint(grey)))[0, :, 3]
    assert alpha.tolist() == [0, 0, 255, 255]


@pytest.mark.parametrize("lang", texts.TEXTS)
def test_every_word_that_the_script_says_is_sent(lang):
    script = (Path(painter.__file__).parents[1] / "assets" / "painter.js").read_text(
        encoding="utf-8"
    )
    mask, paint = painter.words("mask", lang), painter.words("paint", lang)
    literal = set(re.findall(r'say\("(\w+)"', script))
    assert (
        {"canvas", "unit", "pixels", "place", "keys", "own"}
        <= literal
        <= mask.keys() | paint.keys()
    )
    colours = set(re.findall(r'\["(\w+)", "#', script))
    assert len(colours) == 10 and colours <= paint.keys()
    acts = {"tool", "brush", "eraser", "size", "undo", "clear"}
    assert acts | {"invert"} <= mask.keys() and acts | {"colour"} <= paint.keys()
    assert mask["brush"] != paint["brush"]


def test_the_mode_is_one_of_two():
    with pytest.raises(InputError, match="mode = 'masks'"):
        painter.content("masks", blank(), "en")
    for mode in painter.MODES:  # in the value: other props are lost while the part is hidden
        assert painter.content(mode, blank(), "en")["mode"] == mode
    made = painter.painter("denoise-mask")
    assert made.props == {} and made.elem_id == "denoise-mask"
