"""Pictures: from a file to a PIL image, to a uint8 tensor, to [-1, 1], and back.

The only place that knows [-1, 1] against [0, 255], and the one reader of picture files: the header
is judged before a pixel is decoded, only formats of a fixed list are opened, and whatever a broken
file makes Pillow raise becomes one `InputError` with the file's name.
"""

import io
import math
import re
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.nn.functional import pad as pad_tensor
from torchvision.transforms.v2 import InterpolationMode, functional

from sd.files import brief, printable, read_bytes
from sd.gate import InputError, choice, shown, whole

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
FITS = ("crop", "pad", "stretch")
MAX_PIXELS = 64_000_000  # of one picture, read from its header
AT_MOST = f"at most {MAX_PIXELS // 10**6} million are allowed"
MOST_SCANS = 100  # of a progressive JPEG, which is decoded once per scan; usual are 10
SCAN = re.compile(rb"\xff\xda\x00(?:\x08\x01|\x0a\x02|\x0c\x03|\x0e\x04)")
GREY_MODES = ("1", "L", "LA", "La", "I", "F")  # and all that begin with "I;16"
ORIENTATION_TAG = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = tuple(UPRIGHT[orientation] for orientation in (5, 6, 7, 8))


class Decoded(NamedTuple):
    """A picture ready for use, and what its file was."""

    image: Image.Image  # mode "L" or "RGB", upright
    mode: str  # Pillow's mode of the file
    size: tuple[int, int]  # width and height of the file's picture, upright


def read_picture(file: BinaryIO | Path, name: str) -> Image.Image:
    """Return the picture in `file` as an upright image of mode "L" (grey) or "RGB".

    First frame of an animation, EXIF turned upright, 16-bit and float scaled to 8 bit, alpha laid
    on white. Raises InputError, which begins with `name`, for all that is no such picture.
    """
    try:
        return decode(read_bytes(file)).image
    except InputError as error:
        raise InputError(f"{brief(printable(name))}: {error}") from error


def decode(data: bytes, enough: int | None = None) -> Decoded:
    """Read as `read_picture` does; an InputError tells the reason without the name.

    A JPEG may come smaller, at 1/2, 1/4 or 1/8, as long as both sides keep `enough` pixels: a
    camera's picture is then decoded five times as fast.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
            size = opened.size
            _check_header(opened, data)
            if enough:
                opened.draft(None, (enough, enough))
            opened.load()
            turn, image = _turn(opened), _eight_bit(opened)
            if turn is None:
                return Decoded(image, opened.mode, size)
            upright_size = size[::-1] if turn in SIDEWAYS else size
            return Decoded(image.transpose(turn), opened.mode, upright_size)
    except Exception as error:  # Pillow's decoders raise almost anything on hostile bytes
        raise InputError(_reason(error)) from error


def _check_header(opened: Image.Image, data: bytes) -> None:
    """Refuse, before a pixel is decoded, what would take too much memory or time."""
    if opened.width * opened.height > MAX_PIXELS:
        raise InputError(f"{opened.width} x {opened.height} pixels; {AT_MOST}")
    if opened.format in ("JPEG", "MPO") and len(SCAN.findall(data)) > MOST_SCANS:
        raise InputError(f"a JPEG of more than {MOST_SCANS} scans")


def _reason(error: Exception) -> str:
    """Return why a picture cannot be used, without the path that some messages carry."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, UnidentifiedImageError):
        return f"not a picture ({', '.join(FORMATS)} are read)"
    if isinstance(error, Image.DecompressionBombError):
        return f"too many pixels; {AT_MOST}"
    if isinstance(error, MemoryError):
        return "the memory does not suffice to decode it"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be opened ({error.strerror})"
    if "truncated" in str(error).lower():
        return "cut short (truncated)"
    return f"damaged ({type(error).__name__})"


def _eight_bit(image: Image.Image) -> Image.Image:
    """Return a loaded image as "L" or "RGB", alpha composited on white."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return Image.fromarray(_scaled(np.asarray(image), image.mode))
    grey = image.mode in GREY_MODES
    if image.has_transparency_data:
        image = _on_white(_in_mode(image, "RGBA"))
    return _in_mode(image, "L" if grey else "RGB")


def _on_white(image: Image.Image) -> Image.Image:
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image)
    return white


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    """Convert without the copy that Pillow makes of a picture in that mode already."""
    return image if image.mode == mode else image.convert(mode)


def _scaled(values: NDArray[Any], mode: str) -> NDArray[np.uint8]:
    """Return grey `values` [H, W] of more than 8 bits as uint8.

    Whole numbers run 0..65535 and floats 0..1 (or 0..255); values beyond are stretched from their
    least to their largest, since then no file tells which of them is black and which white.
    """
    low, high = float(values.min()), float(values.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise InputError("holds pixel values that are no numbers")
    usual = (1, 255, 65535) if mode == "F" else (65535,)
    top = next((top for top in usual if low >= 0 and high <= top), None)
    base, width = (0.0, top) if top else (low, high - low or 1.0)
    factor = 255 / width
    scaled: NDArray[np.float32] = np.multiply(values, factor, dtype=np.float32)
    np.subtract(scaled, base * factor, out=scaled)
    return np.rint(scaled, out=scaled).astype(np.uint8)


def _turn(loaded: Image.Image) -> Image.Transpose | None:
    """Return how to set a picture upright by its EXIF; a broken EXIF turns nothing."""
    try:
        return UPRIGHT.get(loaded.getexif().get(ORIENTATION_TAG, 1))
    except Exception:  # as in `decode`, but here the pixels are good
        return None


def fit_picture(image: Image.Image, height: int, width: int, channels: int, fit: str) -> Tensor:
    """Return `image` as a uint8 tensor [channels, height, width].

    fit "crop" cuts the centre to the wanted aspect, "pad" puts the whole picture on white,
    "stretch" changes the aspect. Resizing is antialiased, in Pillow's whole-number arithmetic, so
    it gives the same bytes on every machine; a picture that has the size already is not touched.
    """
    check_channels(channels)
    whole("height", height, 1, 2**16)
    whole("width", width, 1, 2**16)
    image = _in_mode(image, "L" if channels == 1 else "RGB")
    if choice("fit", fit, FITS) == "crop":
        image = _centre(image, height, width)
    if fit == "pad":
        image = _bordered(image, height, width)
    return _pixels(_resized(image, height, width))


def check_channels(channels: int) -> None:
    """Refuse a number of channels that no picture here has."""
    if channels not in (1, 3):
        raise InputError(f"channels = {shown(channels)}: must be 1 (grey) or 3 (colour)")


def _resized(image: Image.Image, height: int, width: int) -> Image.Image:
    resized: Image.Image = functional.resize(
        image, [height, width], InterpolationMode.BICUBIC, antialias=True
    )
    return resized


def _centre(image: Image.Image, height: int, width: int) -> Image.Image:
    """Cut the largest centred box of the aspect width : height."""
    if image.width * height > image.height * width:
        box = image.height, max(1, round(image.height * width / height))
    else:
        box = max(1, round(image.width * height / width)), image.width
    cut: Image.Image = functional.center_crop(image, list(box))
    return cut


def _bordered(image: Image.Image, height: int, width: int) -> Image.Image:
    """Shrink or enlarge the whole picture into the frame, and fill the rest with white."""
    scale = min(height / image.height, width / image.width)
    inner_height = min(height, max(1, round(image.height * scale)))
    inner_width = min(width, max(1, round(image.width * scale)))
    left, top = (width - inner_width) // 2, (height - inner_height) // 2
    right, bottom = width - inner_width - left, height - inner_height - top
    inner = _resized(image, inner_height, inner_width)
    framed: Image.Image = functional.pad(inner, [left, top, right, bottom], fill=255)
    return framed


def _pixels(image: Image.Image) -> Tensor:
    pixels: Tensor = functional.pil_to_tensor(image)
    return pixels


def to_float(pixels: Tensor) -> Tensor:
    """Return uint8 pixels 0..255 of any shape as float32 in [-1, 1]."""
    return pixels.to(torch.float32) / 127.5 - 1


def to_uint8(x: Tensor) -> Tensor:
    """Return floats of any shape as uint8: [-1, 1] to 0..255, clamped and rounded; NaN is grey.

    The exact inverse of `to_float`.
    """
    known = x.detach().to(torch.float32).nan_to_num(nan=0.0, posinf=1.0, neginf=-1.0)
    return ((known.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def to_array(x: Tensor) -> NDArray[np.uint8]:
    """Return pictures [N, C, H, W] in [-1, 1] as an array uint8 [N, H, W, C]."""
    return np.asarray(rearrange(to_uint8(x).cpu(), "n c h w -> n h w c"))


def to_pil(x: Tensor) -> Image.Image:
    """Return one picture [C, H, W], float in [-1, 1] or uint8, with C = 1 or 3, as a PIL image."""
    check_channels(x.shape[0])
    pixels = x if x.dtype == torch.uint8 else to_uint8(x)
    image: Image.Image = functional.to_pil_image(pixels.cpu())
    return image


def grid(x: Tensor, columns: int | None = None, scale: int = 1, gap: int = 2) -> Image.Image:
    """Return pictures [N, C, H, W], float in [-1, 1], row by row on one white RGB sheet.

    Each is enlarged `scale` times by repeating pixels; `gap` white pixels lie between neighbours,
    none at the rim. `columns` defaults to the nearest to a square sheet.
    """
    if not len(x):
        raise InputError("a grid needs at least one picture")
    columns = columns or math.ceil(math.sqrt(len(x)))
    pixels = to_uint8(x).cpu().repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    cells = pad_tensor(pixels, (0, gap, 0, gap, 0, 0, 0, -len(x) % columns), value=255)
    sheet = rearrange(cells, "(row column) C h w -> C (row h) (column w)", column=columns)
    return to_pil(sheet[:, : sheet.shape[1] - gap, : sheet.shape[2] - gap]).convert("RGB")
