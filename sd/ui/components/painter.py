"""The painter: a mask, or colours over an estimate, laid on a picture pixel by pixel.

A gr.HTML whose drawing is in painter.js. Its value is a dict: `mode`, `base` (the picture below,
as a data address), `width`, `height`, `words`, and `paint`, the data address of an RGBA PNG of that
size or None; and `card`, where it paints on a card of the stage (inpaint.js). The browser sends it
back after each stroke; `read_paint` and `read_mask` gate it.
"""

import base64
import io
from typing import Any

import gradio as gr
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from sd.common.encoding import data_uri, png_bytes
from sd.common.validation import InputError, choice, shown, text
from sd.data.decoding.decoder import as_colour, open_quietly
from sd.data.masks import anew_of
from sd.ui.texts import say

PNG_ADDRESS = "data:image/png;base64,"
MODES = ("mask", "paint")
PAINTER_TEXTS = ("tool", "size", "unit", "pixels", "undo", "clear", "keys", "place")
WORDS_OF = {
    "mask": ("invert", "leave"),
    "paint": (
        *("colour", "own", "black", "grey", "white", "brown", "red", "orange", "yellow", "green"),
        *("blue", "purple"),
    ),
}
OWN_WORDS = ("canvas", "empty", "share", "brush", "eraser")  # said differently in each mode
PLACE = '<div class="painter"></div>'  # never changes, so gradio never touches what is in it
ON_LOAD = 'sdPainter.mount(element.querySelector(".painter"), props, trigger, watch);'
LONGEST_ADDRESS = 300_000  # characters; 256 x 256 pixels of pure noise would need 350,000
BIT_DEPTH = 24  # the byte of a PNG that tells the bits of a channel


def painter(elem_id: str) -> gr.HTML:
    """Return an empty painter; it shows nothing until it gets what `content` returns.

    After each stroke `input` fires.
    """
    return gr.HTML(
        html_template=PLACE,
        js_on_load=ON_LOAD,
        apply_default_css=False,
        elem_id=elem_id,
    )


def content(mode: str, base: Image.Image, lang: str, paint: bytes | None = None) -> dict[str, Any]:
    """Return the painter's value: `base` at its own size, and `paint` (PNG, RGBA) over it.

    mode: "mask" (white is made anew) or "paint" (colours). It is a part of the value, for gradio
    drops every other prop of a part that gets its value before it is shown.
    What comes back is read with the size of `base`. A mask goes through `mask_paint` first.
    """
    return {
        "mode": choice("mode", mode, MODES),
        "base": data_uri(png_bytes(as_colour(base)), "image/png"),
        "width": base.width,
        "height": base.height,
        "words": words(mode, lang),
        "paint": None if paint is None else data_uri(paint, "image/png"),
    }


def words(mode: str, lang: str) -> dict[str, str]:
    """Return the texts of the tools; the browser fills their placeholders."""
    shared = {key: say(f"painter_{key}", lang) for key in (*PAINTER_TEXTS, *WORDS_OF[mode])}
    return shared | {key: say(f"painter_{mode}_{key}", lang) for key in OWN_WORDS}


def read_paint(value: Any, width: int, height: int) -> bytes | None:
    """Return the colours that a browser sent as a clean PNG, RGBA, or None if there are none.

    A pixel is painted or it is not: opacity becomes 0 or 255. Raises `InputError` for anything
    that is not the painter's value with a PNG of exactly width x height.
    """
    pixels = _pixels(value, width, height)
    return None if pixels is None else png_bytes(Image.fromarray(pixels))


def read_mask(value: Any, width: int, height: int) -> bytes | None:
    """Return what was painted as a PNG of mode L, 255 where it was, or None if nothing was."""
    pixels = _pixels(value, width, height)
    if pixels is None:
        return None
    pixels[..., :3] = 255  # whatever the colour was, painted is painted
    return png_bytes(anew_of(Image.fromarray(pixels)))


def mask_paint(mask: bytes) -> bytes:
    """Return a mask (PNG of mode L) as the painter paints it: white, opaque where made anew."""
    with Image.open(io.BytesIO(mask), formats=["PNG"]) as image:
        alpha = image.convert("L").point(lambda level: 255 if level >= 128 else 0)
    white = Image.merge("LA", (alpha, alpha)).convert("RGBA")
    return png_bytes(white)


def _pixels(value: Any, width: int, height: int) -> NDArray[np.uint8] | None:
    """Return the painted pixels [H, W, 4] with opacity 0 or 255, or None."""
    if value is None:
        return None
    if not isinstance(value, dict):
        raise InputError(f"painting = {shown(value)}: must be what the painter sends")
    if value.get("paint") is None:
        return None
    pixels = np.array(_decoded(_bytes(value["paint"]), width, height))
    painted = pixels[..., 3] >= 128
    pixels[..., 3] = 255
    pixels[~painted] = 0
    return pixels if painted.any() else None


def _bytes(address: Any) -> bytes:
    """Return the bytes of a data address of a PNG."""
    address = text("paint", address, LONGEST_ADDRESS)
    if not address.startswith(PNG_ADDRESS):
        raise InputError(f"paint = {shown(address)}: must begin with {PNG_ADDRESS}")
    try:
        return base64.b64decode(address.removeprefix(PNG_ADDRESS), validate=True)
    except ValueError:
        raise InputError(f"paint = {shown(address)}: not base64") from None


def _decoded(data: bytes, width: int, height: int) -> Image.Image:
    """Return a PNG of exactly this size, 8 bit RGBA, one frame; its header is judged first."""
    try:
        with open_quietly(data, ["PNG"]) as image:
            if image.size != (width, height):
                size = f"{image.width} x {image.height}"
                raise InputError(f"paint of {size} pixels: must be {width} x {height}")
            if image.mode != "RGBA" or data[BIT_DEPTH] != 8:
                raise InputError("paint: must be a PNG of 8 bit RGBA")
            frames = getattr(image, "n_frames", 1)
            image.load()
    except UnidentifiedImageError:
        raise InputError("paint: not a PNG") from None
    except Image.DecompressionBombError:
        raise InputError(f"paint: far too large; must be {width} x {height}") from None
    except InputError:
        raise
    except Exception:  # Pillow's decoders raise almost anything on hostile bytes
        raise InputError("paint: a damaged PNG") from None
    if frames != 1:
        raise InputError(f"paint: a PNG of {frames} frames; must be a single picture")
    return image
