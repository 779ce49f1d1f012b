"""What a person takes away: a PNG with its recipe, a GIF, WebP or MP4, the steps.

The recipe is JSON in a text chunk of the PNG. Reading it decodes no pixels, and any fault of a
stranger's file becomes one line. Not by Pillow: it refuses compressed texts of more than 1 MiB,
decodes the pixels for what comes behind them, and ignores damaged text.
"""

import json
import math
import zlib
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import av
import numpy as np
from PIL import Image
from torch import Tensor

from sd.common.marks import MARK, MOST_CHUNKS, RECIPE, SIGNATURE, mark_zip, png_chunks, png_text
from sd.common.validation import InputError
from sd.data.images import lay_on_white, make_grid, to_array
from sd.data.reading.files import read_bytes
from sd.data.space import Space, factor_of
from sd.diffusion.sampling import SampleStep

LONGEST_RECIPE = 5 * 2**20  # bytes
FRAME_RATE = Fraction(25, 2)  # frames a second
MOST_FRAMES = 100  # of a moving picture: eight seconds
LAST_SECONDS = 1.0  # seconds for which the finished pictures stay
GIF_SIDE, MP4_SIDE = 270, 512  # pixels of each half, about
GAP = 2
FILM_FORMS = (".gif", ".webp", ".mp4")
SOFTWARE = 0x0131  # Exif's tag of the program that wrote a file

Each = TypeVar("Each")


def write_png(image: Image.Image, file: Path | BinaryIO, recipe: Mapping[str, Any]) -> None:
    """Write `image` as a PNG that carries `recipe`, plain JSON of at most 5 MiB."""
    text = json.dumps(recipe, allow_nan=False)
    if len(text) > LONGEST_RECIPE:
        raise InputError(f"recipe of {len(text)} bytes: at most {LONGEST_RECIPE} are allowed")
    image.save(file, "PNG", pnginfo=png_text(RECIPE, text))


def read_recipe(file: Path | BinaryIO) -> dict[str, Any]:
    """Return the recipe that a PNG carries; its values are not checked here.

    Raises `InputError` for what is no PNG, a PNG from elsewhere, and a recipe that is broken.
    """
    data, count = read_bytes(file), 0
    if not data.startswith(SIGNATURE):
        raise InputError("not a PNG")
    for kind, start, end in png_chunks(data):
        count += 1
        if kind == b"IEND":
            raise InputError("a PNG from elsewhere: it carries no recipe")
        if end + 4 > len(data):
            break
        if kind == b"iTXt":
            if zlib.crc32(data[start - 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
                raise InputError("a PNG whose text is damaged")
            if data.startswith(RECIPE.encode() + b"\0", start):
                return _parse_recipe(_text_of(data[start:end]))
    if count == MOST_CHUNKS:
        raise InputError(f"a PNG of more than {MOST_CHUNKS} chunks")
    raise InputError("a PNG that is cut short")


def _text_of(body: bytes) -> str:
    """Return the text of an iTXt chunk: keyword, flag, method, language, translation, text."""
    try:
        flags, (_, _, text) = body[3:5], body[5:].split(b"\0", 2)
        if flags[0]:
            text = zlib.decompressobj().decompress(text, LONGEST_RECIPE + 1)
        if len(text) > LONGEST_RECIPE:
            raise InputError(f"its recipe has more than {LONGEST_RECIPE} bytes")
        return text.decode("utf-8")
    except (ValueError, IndexError, zlib.error) as error:
        if isinstance(error, InputError):
            raise
        raise InputError("its recipe cannot be read: the text is damaged") from None


def _parse_recipe(text: str) -> dict[str, Any]:
    """Return the object that a recipe's text holds."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise InputError("its recipe cannot be read: not JSON") from None
    if not isinstance(found, dict):
        raise InputError("its recipe cannot be read: not an object of names and values")
    return found


def thin_steps(steps: Sequence[Each], most: int = MOST_FRAMES) -> list[Each]:
    """Return at most `most` steps, evenly spaced, the last among them."""
    count = min(most, len(steps))
    return [steps[math.ceil((k + 1) * len(steps) / count) - 1] for k in range(count)]


def draw_frames(steps: Sequence[SampleStep], space: Space) -> list[Image.Image]:
    """Return a frame of each step: x_t beside x0 on white, previews until the last is decoded."""
    frames = []
    for step in steps:
        left, right = (_draw(z, space, step is steps[-1]) for z in (step.x_t, step.x0))
        between = 4 * GAP
        frame = Image.new("RGB", (2 * left.width + between, left.height), "white")
        frame.paste(left, (0, 0))
        frame.paste(right, (left.width + between, 0))
        frames.append(frame)
    return frames


def _draw(z: Tensor, space: Space, decoded: bool) -> Image.Image:
    """Return a grid of z at the pictures' own size."""
    if decoded:
        return make_grid(lay_on_white(space.decode(z)), gap=GAP)
    return make_grid(lay_on_white(space.preview(z)), scale=factor_of(space), gap=GAP)


def scale_for(frame: Image.Image, side: int) -> int:
    """Return the even factor, or 1, that brings a frame's height near to `side` pixels.

    Even, because a video keeps colour at half the resolution: no block then shares its colour.
    """
    return max(1, 2 * round(side / frame.height / 2))


def enlarge(frame: Image.Image, factor: int) -> Image.Image:
    """Return a frame with each pixel a block of pixels."""
    size = frame.width * factor, frame.height * factor
    return frame.resize(size, Image.Resampling.NEAREST)


def write_film(form: str, frames: Sequence[Image.Image], file: Path, **more: Any) -> None:
    """Write frames in one of `FILM_FORMS`; `more`: side and rate, as its writer takes them."""
    writers = dict(zip(FILM_FORMS, (write_gif, write_webp, write_mp4), strict=True))
    writers[form](frames, file, **more)


def write_gif(
    frames: Sequence[Image.Image],
    file: Path | BinaryIO,
    side: int = GIF_SIDE,
    rate: Fraction = FRAME_RATE,
) -> None:
    """Write frames as a looping GIF of 256 colours a frame; the last stays for a second."""
    few = [frame.quantize(256, dither=Image.Dither.NONE) for frame in frames]
    _save_animation("GIF", few, file, side, rate, optimize=False, comment=MARK.encode())


def write_webp(
    frames: Sequence[Image.Image],
    file: Path | BinaryIO,
    side: int = GIF_SIDE,
    rate: Fraction = FRAME_RATE,
) -> None:
    """Write frames as a looping WebP without loss, timed as a GIF; the last stays for a second."""
    exif = Image.Exif()
    exif[SOFTWARE] = MARK
    # Slower methods made noise no smaller, and pictures by a twentieth.
    _save_animation(
        "WEBP", frames, file, side, rate, lossless=True, method=2, quality=50, exif=exif
    )


def _save_animation(
    form: str,
    frames: Sequence[Image.Image],
    file: Path | BinaryIO,
    side: int,
    rate: Fraction,
    **more: Any,
) -> None:
    factor = scale_for(frames[0], side)
    large = [enlarge(frame, factor) for frame in frames]
    times = [round(1000 / rate)] * (len(frames) - 1) + [int(1000 * LAST_SECONDS)]
    more |= {"append_images": large[1:], "duration": times, "loop": 0}
    large[0].save(file, form, save_all=True, **more)


def write_mp4(
    frames: Sequence[Image.Image],
    path: Path,
    side: int = MP4_SIDE,
    rate: Fraction = FRAME_RATE,
) -> None:
    """Write frames as H.264 in yuv420p, which plays everywhere; the last stays for a second."""
    factor = scale_for(frames[0], side)
    width, height = (length + length % 2 for length in enlarge(frames[0], factor).size)
    last = [frames[-1]] * round(rate * LAST_SECONDS)
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as file:
        file.metadata["comment"] = MARK
        stream = file.add_stream("libx264", rate=rate, options={"crf": "16"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for frame in [*frames, *last]:
            picture = Image.new("RGB", (width, height), "white")
            picture.paste(enlarge(frame, factor), (0, 0))
            pixels = np.asarray(picture)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        file.mux(stream.encode(None))


def write_npz(
    file: Path | BinaryIO,
    steps: Sequence[SampleStep],
    space: Space,
    seeds: Sequence[int],
    every: bool = True,
) -> None:
    """Write uint8 `samples` [N, H, W, C] of the last step with their `seeds` [N].

    Of `every` step also `steps` and `x0` [S, N, H, W, C] and `times` [S].
    """
    samples = to_array(space.decode(steps[-1].x_t))
    arrays: dict[str, Any] = {"samples": samples, "seeds": np.asarray(seeds)}
    if every:
        arrays["steps"] = np.stack([to_array(space.decode(step.x_t)) for step in steps])
        arrays["x0"] = np.stack([to_array(space.decode(step.x0)) for step in steps])
        arrays["times"] = np.asarray([step.t for step in steps])
    np.savez_compressed(file, **arrays)
    mark_zip(file)
