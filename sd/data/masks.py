"""What a picture says as a mask: white is made anew, the rest stays. Page and commands ask here."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageOps

from sd.common.validation import InputError
from sd.data.decoding.decoder import fit_array

WHITE = 128  # of 255: a level from which paint, or the opacity of paint, counts as there
DARK_PAINT = "black paint on transparency: the black stays, the rest is made anew"


def anew_of(mask: Image.Image) -> Image.Image:
    """Return what a mask of mode "L", "LA", "RGB" or "RGBA" makes anew, as "L"; 255 is all of it.

    On transparency that is what was painted, in white or any bright colour; where only black was,
    which always stays, it is the rest. Raises `InputError` where nothing would be made anew.
    """
    if not mask.mode.endswith("A"):
        anew = mask.convert("L")
        if _most(anew) < WHITE:
            raise InputError("mask: nothing in it is white, so nothing would be made anew")
        return anew
    alpha = mask.getchannel("A")
    if _most(alpha) < WHITE:
        raise InputError("mask: all transparent, nothing is painted: paint white what is made anew")
    return ImageOps.invert(alpha) if is_dark(mask) else _painted(mask)


def is_dark(mask: Image.Image) -> bool:
    """Tell whether all that is painted on a mask's transparency is black."""
    return mask.mode.endswith("A") and _most(_painted(mask)) < WHITE


def _painted(mask: Image.Image) -> Image.Image:
    """Return how bright and opaque each pixel is painted: the brightest channel times alpha."""
    red, green, blue, alpha = mask.convert("RGBA").split()
    return ImageChops.multiply(ImageChops.lighter(ImageChops.lighter(red, green), blue), alpha)


def _most(levels: Image.Image) -> int:
    return int(np.asarray(levels).max())


def fit_mask(
    anew: Image.Image, size: tuple[int, int], height: int, width: int, fit: str
) -> NDArray[np.uint8]:
    """Return a mask "L" at a model's size, uint8 [height, width]: 255 is made anew, 0 stays.

    It lies over all of a picture of that `size` (width, height), and is brought to the model's with
    it; a pixel is made anew if half of it is. What `fit` puts beside the picture stays. Raises
    `InputError` where that leaves nothing to be made anew.
    """
    # Means of what a pixel covers: smoother ways reach beyond an edge. Inverted, for a border is
    # white.
    box = Image.Resampling.BOX
    whole = ImageOps.invert(anew if anew.size == size else anew.resize(size, box))
    stays: NDArray[np.uint8] = fit_array(whole, height, width, 1, fit, box)[0]
    if stays.min() >= WHITE:
        raise InputError(f"mask: of what is white, nothing is left at {width} x {height} pixels")
    return np.where(stays < WHITE, 255, 0).astype(np.uint8)


def remarks(mask: Image.Image, size: tuple[int, int]) -> list[str]:
    """Return a line for each thing that is not plain about a mask over a picture of `size`."""
    lines = [DARK_PAINT] if is_dark(mask) else []
    if mask.width * size[1] != mask.height * size[0]:
        lines.append(
            f"the mask of {mask.width} x {mask.height} pixels is stretched over the picture, "
            f"{size[0]} x {size[1]}"
        )
    return lines
