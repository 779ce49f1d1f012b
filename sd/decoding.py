"""From the bytes of a picture file to its pixels, fitted: Pillow and numpy alone, without torch.

The one reader of picture files: the header is judged before a pixel is decoded, only formats of a
fixed list are opened, and whatever a broken file makes Pillow raise becomes one `InputError`.
"""

import io
import math
import re
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from sd.gate import InputError, choice, shown, whole

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
FITS = ("crop", "pad", "stretch")
LARGEST_SIDE = 4096  # of the pictures as they are trained
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


def fit_array(
    image: Image.Image, height: int, width: int, channels: int, fit: str
) -> NDArray[np.uint8]:
    """Return `image` as uint8 [channels, height, width]; `sd.images.fit_picture` tells how."""
    image = _in_mode(image, "L" if channels == 1 else "RGB")
    if fit == "crop":
        image = _centre(image, height, width)
    image = _bordered(image, height, width) if fit == "pad" else _resized(image, height, width)
    rows: NDArray[np.uint8] = np.asarray(image).reshape(height, width, channels)
    return np.array(rows.transpose(2, 0, 1), order="C")  # a copy of its own, which may be written


def check_fit(height: int, width: int, channels: int, fit: str) -> None:
    """Refuse sizes, channels and ways to fit that no picture here has."""
    whole("height", height, 1, LARGEST_SIDE)
    whole("width", width, 1, LARGEST_SIDE)
    check_channels(channels)
    choice("fit", fit, FITS)


def check_channels(channels: int) -> None:
    """Refuse a number of channels that no picture here has."""
    if channels not in (1, 3):
        raise InputError(f"channels = {shown(channels)}: must be 1 (grey) or 3 (colour)")


def _resized(image: Image.Image, height: int, width: int) -> Image.Image:
    return image.resize((width, height), Image.Resampling.BICUBIC)


def cropped(width: int, height: int, to_height: int, to_width: int) -> tuple[int, int]:
    """Return height and width of the largest box of the aspect to_width : to_height."""
    if width * to_height > height * to_width:
        return height, max(1, round(height * to_width / to_height))
    return max(1, round(width * to_height / to_width)), width


def _centre(image: Image.Image, height: int, width: int) -> Image.Image:
    """Cut the largest centred box of the aspect width : height."""
    box_height, box_width = cropped(*image.size, height, width)
    top, left = round((image.height - box_height) / 2), round((image.width - box_width) / 2)
    return image.crop((left, top, left + box_width, top + box_height))


def _bordered(image: Image.Image, height: int, width: int) -> Image.Image:
    """Shrink or enlarge the whole picture into the frame, and fill the rest with white."""
    scale = min(height / image.height, width / image.width)
    inner_height = min(height, max(1, round(image.height * scale)))
    inner_width = min(width, max(1, round(image.width * scale)))
    left, top = (width - inner_width) // 2, (height - inner_height) // 2
    right, bottom = width - inner_width - left, height - inner_height - top
    inner = _resized(image, inner_height, inner_width)
    return ImageOps.expand(inner, (left, top, right, bottom), fill="white")
