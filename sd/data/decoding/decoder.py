"""From the bytes of a picture file to its pixels, fitted: Pillow and numpy alone, without torch.

The one reader of picture files: the header is judged before a pixel is decoded, only formats of a
fixed list are opened, and whatever a broken file makes Pillow raise becomes one `InputError`. What
in a file is no pixel (texts, EXIF, profiles) never costs the picture.
"""

import ctypes
import importlib
import io
import re
import struct
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError, _imaging, features

from sd.common import validation
from sd.common.validation import InputError, choice, whole
from sd.data.decoding import color_profiles, signatures
from sd.data.decoding.depth import FULL, Scale, Span, float_scale, whole_scale
from sd.data.decoding.signatures import HEIC, RAW, is_heif, kind_by_name, kind_of, read_format

AVIF = ("AVIF",) if "avif" in features.modules and features.check("avif") else ()
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", *AVIF)
FITS = ("crop", "pad", "stretch")
CHANNELS = {1: "L", 3: "RGB", 4: "RGBA"}  # of the pictures as they are trained -> Pillow's mode
LARGEST_SIDE = 4096  # of the pictures as they are trained
MAX_PIXELS = 64_000_000  # of one picture, read from its header
AT_MOST = f"at most {MAX_PIXELS // 10**6} million are allowed"
NO_PICTURE = f"not a picture ({', '.join(FORMATS)} are read)"
MOST_SCANS = 100  # of a progressive JPEG, which is decoded once per scan; usual are 10
SCAN = re.compile(rb"\xff\xda\x00(?:\x08\x01|\x0a\x02|\x0c\x03|\x0e\x04)")
GREY_MODES = ("1", "L", "LA", "La", "I", "F")  # and all that begin with "I;16"
TRANSPARENT, FRAMES, PROFILE, BROKEN_PROFILE = NOTES = (
    "transparent",
    "frames",
    "profile",
    "broken_profile",
)
PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")  # of a PNG, what its pixels need
BESIDE = (b"iCCP", b"eXIf")  # what tells their colours and which way is up
BITS_TAG, MOST_TAG, ORIENTATION_TAG = 258, 281, 0x0112
THUMBNAIL_TAG, OTHERS_TAG = 254, 330
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

    image: Image.Image  # mode "L" or "RGB", with "A" if some of it is transparent; upright
    mode: str  # Pillow's mode of the file
    size: tuple[int, int]  # width and height of the file's picture, upright
    notes: tuple[str, ...] = ()  # of NOTES, what is to be reported of it
    span: Span | None = None  # of its values, where the file does not tell their scale


def decode(data: bytes, enough: int | None = None, scale: Scale | None = None) -> Decoded:
    """Read as `read_picture` does; an InputError tells the reason without the name.

    A JPEG may come smaller, at 1/2, 1/4 or 1/8, as long as both sides keep `enough` pixels: a
    camera's picture is then decoded five times as fast. `scale` is that of the set, for a picture
    whose file does not tell its own; without it, the picture's values alone decide.
    """
    first: Exception | None = None
    for part in _parts(data):
        try:
            return _decoded(part, enough, scale)
        except Exception as error:  # Pillow's decoders raise almost anything on hostile bytes
            first = first or error
            if isinstance(error, InputError):
                break
    assert first is not None
    raise InputError(_reason(first, data)) from first


def open_quietly(data: bytes, formats: Sequence[str]) -> Image.Image:
    """Return `Image.open` of bytes; no library's warning reaches a person who runs a command."""
    _silence_libtiff()
    # For good, as `catch_warnings` is not safe between threads; again, as others may undo it.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    return Image.open(io.BytesIO(data), formats=tuple(formats))


@cache
def _silence_libtiff() -> None:
    """Let libtiff print nothing: what it cannot read is raised as well."""
    with suppress(OSError, AttributeError):  # where the library's functions cannot be found
        ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)


@cache
def _heif() -> tuple[str, ...]:
    """Return the name of the format HEIF if its plug-in for Pillow is installed."""
    try:
        importlib.import_module("pillow_heif").register_heif_opener()
    except (ImportError, AttributeError):
        return ()
    return ("HEIF",)


def _parts(data: bytes) -> Iterator[bytes]:
    """Yield a file, then, for where that fails, without what is no pixel: less and less of it."""
    yield data
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        yield _png_of(data, (*PIXELS, *BESIDE))
        yield _png_of(data, PIXELS)
    elif data.startswith(b"\xff\xd8\xff"):
        yield _jpeg_of(data, b"\xe0\xe1\xee")  # JFIF, EXIF and Adobe's colours
        yield _jpeg_of(data, b"\xe0\xee")


def _png_of(data: bytes, kinds: Sequence[bytes]) -> bytes:
    """Return a PNG with only these kinds of chunks."""
    kept = (data[start:end] for kind, start, end in _chunks(data) if kind in kinds)
    return data[:8] + b"".join(kept)


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield the kind of each chunk of a PNG, and where it begins and ends."""
    place = 8
    while place + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        yield kind, place, place + length + 12
        place += length + 12


def _jpeg_of(data: bytes, kept: bytes) -> bytes:
    """Return a JPEG without its comments and all application segments but those `kept`."""
    parts, place = [data[:2]], 2
    while place + 4 <= len(data) and data[place] == 0xFF and data[place + 1] != 0xDA:
        marker, length = struct.unpack_from(">xBH", data, place)
        end = place + 2 + length
        if marker in kept or not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            parts.append(data[place:end])
        place = end
    return b"".join([*parts, data[place:]])


def _decoded(data: bytes, enough: int | None, scale: Scale | None) -> Decoded:
    formats = _heif() if is_heif(data) else FORMATS
    if not formats:
        raise UnidentifiedImageError
    with open_quietly(data, formats) as opened:
        size = opened.size
        _check_header(opened, data)
        notes = [FRAMES] if _has_frames(opened) else []
        if enough:
            opened.draft(None, (enough, enough))
        rawmode = _rawmode(opened)
        opened.load()
        turn, mode = _turn(opened), opened.mode
        profile = opened.info.get("icc_profile")
        wide = _wide_values(opened, data, rawmode)
        span = None
        if wide is None:
            image = _eight_bit(opened)
        else:
            image, span = _scaled(wide, _bits(opened, data), scale)
    if isinstance(profile, bytes) and profile:
        image, changed, broken = color_profiles.to_srgb(image, profile)
        notes += [PROFILE] * changed + [BROKEN_PROFILE] * broken
    image = _plain(image, mode)
    if image.mode.endswith("A"):
        notes.append(TRANSPARENT)
    if turn is not None:
        image, size = image.transpose(turn), size[::-1] if turn in SIDEWAYS else size
    return Decoded(image, mode, size, tuple(notes), span)


def _check_header(opened: Image.Image, data: bytes) -> None:
    """Refuse, before a pixel is decoded, what would take too much memory or time."""
    if opened.width * opened.height > MAX_PIXELS:
        raise InputError(f"{opened.width} x {opened.height} pixels; {AT_MOST}")
    if opened.format in ("JPEG", "MPO") and len(SCAN.findall(data)) > MOST_SCANS:
        raise InputError(f"a JPEG of more than {MOST_SCANS} scans")
    tags = getattr(opened, "tag_v2", {}) if opened.format == "TIFF" else {}
    # The first picture in a camera's file is a small one for lists, not what the camera saw.
    small = tags.get(THUMBNAIL_TAG) == 1 and OTHERS_TAG in tags
    if opened.format == "TIFF" and (small or kind_of(data) == RAW):
        raise InputError(RAW)


def _has_frames(opened: Image.Image) -> bool:
    """Tell whether a file shows more than one picture; the further ones of an MPO are not shown."""
    try:
        return opened.format != "MPO" and bool(getattr(opened, "is_animated", False))
    except Exception:  # as in `decode`: the next frame is broken, but the first may be good
        opened.seek(0)
        return True


def _reason(error: Exception, data: bytes) -> str:
    """Return why a picture cannot be used, without the path that some messages carry."""
    if isinstance(error, InputError):
        return str(error)
    form, kind = read_format(data), kind_of(data)
    if (kind == HEIC and _heif()) or (kind == signatures.AVIF and "AVIF" in FORMATS):
        form, kind = kind[:4], None
    if kind:
        return kind
    if isinstance(error, UnidentifiedImageError):
        unusual = f"damaged, cut short or of an unusual kind ({form})"
        return unusual if form else NO_PICTURE
    if isinstance(error, Image.DecompressionBombError):
        return f"too many pixels; {AT_MOST}"
    if isinstance(error, MemoryError):
        return "the memory does not suffice to decode it"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be opened ({error.strerror})"
    if "truncated" in str(error).lower():
        return "cut short (truncated)"
    return f"damaged ({type(error).__name__})"


def begins_well(head: bytes) -> bool:
    """Tell by its first bytes whether a file may be a picture that is read."""
    kind = kind_of(head)
    if kind in (HEIC, signatures.AVIF):
        return bool(_heif() if is_heif(head) else AVIF)
    return kind is None and read_format(head) is not None


def explain_reason(reason: str, name: str) -> str:
    """Return the reason why a file is no picture, by its name where its bytes tell nothing."""
    return kind_by_name(name) or reason if reason == NO_PICTURE else reason


def _eight_bit(image: Image.Image) -> Image.Image:
    """Return a loaded image of 8 bits as "L", "LA", "RGB", "RGBA" or "CMYK"."""
    if image.mode == "LAB":
        return color_profiles.lab_to_rgb(image)
    grey = image.mode in GREY_MODES
    if image.has_transparency_data:
        image = _in_mode(image, "RGBA")
        return Image.merge("LA", (image.getchannel(0), image.getchannel(3))) if grey else image
    return image if image.mode == "CMYK" else _in_mode(image, "L" if grey else "RGB")


def _plain(image: Image.Image, mode: str) -> Image.Image:
    """Return a picture as "L", "LA", "RGB" or "RGBA", grey as its file was, alpha if it is used."""
    if image.mode.endswith("A"):
        low, _ = image.getchannel("A").getextrema()
        if low == 255:
            image = image.convert(image.mode[:-1])
    elif image.mode == "CMYK":
        image = image.convert("RGB")
    return image


def on_white(image: Image.Image) -> Image.Image:
    """Return a picture of mode "L", "LA", "RGB" or "RGBA" without alpha, laid on white."""
    if not image.mode.endswith("A"):
        return image
    white = Image.new(image.mode[:-1], image.size, "white")
    white.paste(image.convert(white.mode), mask=image.getchannel("A"))
    return white


def as_colour(image: Image.Image) -> Image.Image:
    """Return any picture as "RGB" for eyes that see no transparency: laid on white."""
    if image.has_transparency_data:
        image = on_white(_in_mode(image, "RGBA"))
    return _in_mode(image, "RGB")


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    """Convert without the copy that Pillow makes of a picture in that mode already."""
    return image if image.mode == mode else image.convert(mode)


def _rawmode(opened: Image.Image) -> str:
    """Return how the pixels of a file that is not loaded lie in it, as Pillow names it."""
    tiles = getattr(opened, "tile", None)
    found = tiles[0].args if tiles else None
    found = found[0] if isinstance(found, tuple) and found else found
    return found.replace(";16N", ";16L") if isinstance(found, str) else ""


def _wide_values(loaded: Image.Image, data: bytes, rawmode: str) -> NDArray[Any] | None:
    """Return values [H, W] or [H, W, C] of more than 8 bits, None where 8 bits tell enough.

    Of colours in 16 bits Pillow keeps the upper byte. Where that says little, as with 12 bits in
    16, the lower byte is read as well.
    """
    if loaded.mode in ("I", "F") or loaded.mode.startswith("I;16"):
        return np.asarray(loaded)
    if ";16" not in rawmode or loaded.mode not in ("RGB", "RGBA"):
        return None
    upper = np.asarray(loaded)
    if upper[..., :3].max() >= 16:
        return None
    with open_quietly(data, FORMATS) as again:
        assert isinstance(again, ImageFile.ImageFile)  # what is not, has no rawmode
        other = rawmode[:-1] + ("L" if rawmode.endswith("B") else "B")
        again.tile = [
            tile._replace(args=(other, *tile.args[1:]) if isinstance(tile.args, tuple) else other)
            for tile in again.tile
        ]
        again.load()
        values: NDArray[np.uint16] = upper.astype(np.uint16) << 8 | np.asarray(again)
        return values


def _bits(opened: Image.Image, data: bytes) -> int | None:
    """Return how many bits of a grey value count, where a PNG or a TIFF of more than 8 tells."""
    if opened.format == "PNG":
        significant = (
            data[start + 8 : end - 4] for kind, start, end in _chunks(data) if kind == b"sBIT"
        )
        return max(next(significant, b"")[:3], default=None)
    if opened.format != "TIFF":
        return 16 if opened.format == "PPM" else None
    tags: Any = getattr(opened, "tag_v2", {})
    (most, *_), (bits, *_) = (np.atleast_1d(tags.get(tag, 0)) for tag in (MOST_TAG, BITS_TAG))
    if 255 < most < FULL and int(most) & (int(most) + 1) == 0:  # all its bits are 1
        return int(most).bit_length()
    return int(bits) if 8 < bits < 16 else None


def _scaled(
    values: NDArray[Any], bits: int | None, scale: Scale | None
) -> tuple[Image.Image, Span | None]:
    """Return values of more than 8 bits as a picture of 8, and their span if nothing tells it."""
    colours = values[..., :3]
    found = float_scale(values) if values.dtype.kind == "f" else whole_scale(colours, bits)
    span = found if isinstance(found, Span) else None
    used = found if isinstance(found, Scale) else scale or found.scale()
    pixels = used.apply(values)
    if values.ndim == 3 and values.shape[2] == 4 and values[..., 3].max() > used.high:
        pixels[..., 3] = values[..., 3] >> 8
    return Image.fromarray(pixels), span


def _turn(loaded: Image.Image) -> Image.Transpose | None:
    """Return how to set a picture upright by its EXIF; a broken EXIF turns nothing."""
    try:
        return UPRIGHT.get(loaded.getexif().get(ORIENTATION_TAG, 1))
    except Exception:  # as in `decode`, but here the pixels are good
        return None


def fit_array(
    image: Image.Image,
    height: int,
    width: int,
    channels: int,
    fit: str,
    resample: Image.Resampling = Image.Resampling.BICUBIC,
) -> NDArray[np.uint8]:
    """Return `image` as uint8 [channels, height, width]; `sd.data.images.fit_picture` tells how."""
    image = _in_mode(image if channels == 4 else on_white(image), CHANNELS[channels])
    if fit == "crop":
        image = _centre(image, height, width)
    fitted = _bordered if fit == "pad" else _resized
    image = fitted(image, height, width, resample)
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
    validation.channels("channels", channels)


def _resized(
    image: Image.Image, height: int, width: int, resample: Image.Resampling
) -> Image.Image:
    return image.resize((width, height), resample)


def crop_box(width: int, height: int, to_height: int, to_width: int) -> tuple[int, int]:
    """Return height and width of the largest box of the aspect to_width : to_height."""
    if width * to_height > height * to_width:
        return height, max(1, round(height * to_width / to_height))
    return max(1, round(width * to_height / to_width)), width


def _centre(image: Image.Image, height: int, width: int) -> Image.Image:
    """Cut the largest centred box of the aspect width : height."""
    box_height, box_width = crop_box(*image.size, height, width)
    top, left = round((image.height - box_height) / 2), round((image.width - box_width) / 2)
    return image.crop((left, top, left + box_width, top + box_height))


def _bordered(
    image: Image.Image, height: int, width: int, resample: Image.Resampling
) -> Image.Image:
    """Shrink or enlarge the whole picture into the frame; the rest is white, or nothing."""
    scale = min(height / image.height, width / image.width)
    inner_height = min(height, max(1, round(image.height * scale)))
    inner_width = min(width, max(1, round(image.width * scale)))
    left, top = (width - inner_width) // 2, (height - inner_height) // 2
    right, bottom = width - inner_width - left, height - inner_height - top
    inner = _resized(image, inner_height, inner_width, resample)
    # Beside a picture with transparency there is nothing, which is white where it is laid on white.
    fill = (255, 255, 255, 0) if image.mode == "RGBA" else "white"
    return ImageOps.expand(inner, (left, top, right, bottom), fill=fill)
