"""Colours brought to sRGB from what a picture's ICC profile says of them (ICC.1:2022)."""

import io
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageCms

LONGEST_PROFILE = 4 * 2**20  # bytes; of a printing press about one or two
NEAR = 2  # of 255: a profile that changes no colour by more is as good as sRGB
PROBED = 8  # levels a channel
MODES = {"GRAY": "L", "RGB": "RGB", "CMYK": "CMYK"}  # a profile's colours -> Pillow's mode


class Conversion(NamedTuple):
    """How a profile's colours become sRGB."""

    transform: ImageCms.ImageCmsTransform | None  # None where nothing is to be done
    broken: bool = False


class Converted(NamedTuple):
    """A picture in sRGB."""

    image: Image.Image
    changed: bool = False
    broken: bool = False  # its profile cannot be read; the colours are as they were


def to_srgb(image: Image.Image, profile: bytes) -> Converted:
    """Return a picture of mode "L", "LA", "RGB", "RGBA" or "CMYK" in sRGB, its alpha as it was.

    CMYK becomes "RGB" where its profile fits. A profile of other colours than the picture's is
    passed over, as browsers do.
    """
    colours = image.mode.removesuffix("A")
    if len(profile) > LONGEST_PROFILE:
        return Converted(image, broken=True)
    transform, broken = _conversion(profile, colours)
    if transform is None:
        return Converted(image, broken=broken)
    alpha = image.getchannel("A") if image.mode != colours else None
    plain = image if alpha is None else image.convert(colours)
    found = _applied(transform, plain)
    if alpha is not None:
        found.putalpha(alpha)
    return Converted(found, changed=True)


def lab_to_rgb(image: Image.Image) -> Image.Image:
    """Return a picture of mode "LAB" as sRGB, which Pillow's own conversion does not offer."""
    return _applied(_lab(), image)


def _applied(transform: ImageCms.ImageCmsTransform, image: Image.Image) -> Image.Image:
    found = ImageCms.applyTransform(image, transform)
    assert found is not None  # it is None only where the picture is changed in place
    return found.convert("L") if image.mode == "L" else found


@lru_cache(maxsize=8)
def _conversion(profile: bytes, mode: str) -> Conversion:
    """Return how pictures of a mode are converted; the same profile is read once."""
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if MODES.get(opened.profile.xcolor_space.strip()) != mode:
            return Conversion(None)
        transform = ImageCms.buildTransform(opened, _srgb(), mode, "RGB")
        changes = mode == "CMYK" or _changes(transform, mode)
        return Conversion(transform if changes else None)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, ImportError):
        return Conversion(None, broken=True)


def _changes(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Tell whether a conversion changes any of some evenly spread colours visibly."""
    levels = np.linspace(0, 255, PROBED).astype(np.uint8)
    mesh = np.stack(np.meshgrid(*[levels] * len(mode)), axis=-1)
    before = mesh.reshape(1, -1, len(mode)).squeeze() if mode == "L" else mesh.reshape(1, -1, 3)
    image = Image.fromarray(np.atleast_2d(before) if mode == "L" else before)
    after = np.asarray(_applied(transform, image))
    return bool(np.abs(after.astype(int) - np.asarray(image).astype(int)).max() > NEAR)


@lru_cache(maxsize=1)
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


@lru_cache(maxsize=1)
def _lab() -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(
        ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")), _srgb(), "LAB", "RGB"
    )
