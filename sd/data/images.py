"""Pictures: from a file to a PIL image, to a uint8 tensor, to [-1, 1], and back.

The only place that knows [-1, 1] against [0, 255]. Files are read by `sd.data.decoding.decoder`.
"""

import math
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad as pad_tensor

from sd.common.text import brief, printable
from sd.common.validation import InputError, choice, whole
from sd.data.decoding import depth
from sd.data.decoding.decoder import (
    FITS,  # part of this module's interface
    check_channels,
    decode,
    explain_reason,
    fit_array,
    on_white,
)
from sd.data.reading.files import read_bytes


def read_picture(file: BinaryIO | Path, name: str, transparency: bool = False) -> Image.Image:
    """Return the picture in `file` as an upright image of mode "L" (grey) or "RGB".

    First frame of an animation, EXIF turned upright, colours in sRGB, 16-bit and float scaled to
    8 bit, alpha laid on white, or kept ("LA", "RGBA") with `transparency`. Raises InputError, which
    begins with `name`, for all that is no such picture.
    """
    image, _ = read_with_remarks(file, name)
    return image if transparency else on_white(image)


def read_with_remarks(file: BinaryIO | Path, name: str) -> tuple[Image.Image, list[str]]:
    """Return a picture as `read_picture` does, alpha kept, and remarks on what was guessed."""
    try:
        found = decode(read_bytes(file))
    except InputError as error:
        raise InputError(f"{brief(printable(name))}: {explain_reason(str(error), name)}") from error
    return found.image, depth.remarks([found.span] if found.span else [])


def fit_picture(image: Image.Image, height: int, width: int, channels: int, fit: str) -> Tensor:
    """Return `image` as a uint8 tensor [channels, height, width].

    fit "crop" cuts the centre to the wanted aspect, "pad" puts the whole picture on white,
    "stretch" changes the aspect. Resizing is antialiased, in Pillow's whole-number arithmetic, so
    it gives the same bytes on every machine; a picture that has the size already is not touched.
    """
    check_channels(channels)
    whole("height", height, 1, 2**16)
    whole("width", width, 1, 2**16)
    choice("fit", fit, FITS)
    return torch.from_numpy(fit_array(image, height, width, channels, fit))


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
    """Return one picture [C, H, W], float in [-1, 1] or uint8, as a PIL image.

    C = 1 is grey, 3 is colour, 4 is colour with transparency ("RGBA").
    """
    check_channels(x.shape[0])
    pixels = x if x.dtype == torch.uint8 else to_uint8(x)
    whole = np.asarray(rearrange(pixels.cpu(), "c h w -> h w c"))
    return Image.fromarray(whole[..., 0] if x.shape[0] == 1 else whole)


def make_grid(x: Tensor, columns: int | None = None, scale: int = 1, gap: int = 2) -> Image.Image:
    """Return pictures [N, C, H, W], float in [-1, 1], row by row in one RGB picture.

    Each is enlarged `scale` times by repeating pixels; `gap` white pixels lie between neighbours,
    none at the rim. `columns` makes it nearly square unless given. A grid of pictures with
    transparency (C = 4) is RGBA, and white where it is opaque between them.
    """
    if not len(x):
        raise InputError("a grid needs at least one picture")
    columns = columns or math.ceil(math.sqrt(len(x)))
    pixels = to_uint8(x).cpu().repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    cells = pad_tensor(pixels, (0, gap, 0, gap, 0, 0, 0, -len(x) % columns), value=255)
    whole = rearrange(cells, "(row column) C h w -> C (row h) (column w)", column=columns)
    image = to_pil(whole[:, : whole.shape[1] - gap, : whole.shape[2] - gap])
    return image if x.shape[1] == 4 else image.convert("RGB")


def lay_on_white(x: Tensor) -> Tensor:
    """Return pictures [..., C, H, W] in [-1, 1] as one sees them: transparency laid on white.

    C = 4 becomes 3; grey and colour stay as they are.
    """
    if x.shape[-3] != 4:
        return x
    colour, alpha = x[..., :3, :, :], (x[..., 3:, :, :].clamp(-1, 1) + 1) / 2
    return colour * alpha + 1 - alpha
