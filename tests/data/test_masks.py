"""Masks: what of a picture is made anew, however the mask was painted and saved."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from sd.checkpoints.checkpoint import save_checkpoint
from sd.checkpoints.model import Model
from sd.common.encoding import png_bytes
from sd.common.validation import InputError
from sd.config import Config
from sd.data.masks import DARK_PAINT, anew_of, fit_mask
from sd.ui.components import painter
from tests.checkpoints.test_checkpoint import network_of
from tests.cli.test_conditioning import remarked
from tests.helpers.commands import Capture, refused
from tests.helpers.denoising import sent

SIDE = 64


def left(mode: str, paint: Any, rest: Any, size: tuple[int, int] = (SIDE, SIDE)) -> Image.Image:
    image = Image.new(mode, size, rest)
    image.paste(paint, (0, 0, size[0] // 2, size[1]))
    return image


def palette() -> Image.Image:
    """Return white paint on a palette's transparent colour, as small files have it."""
    image = left("P", 1, 0)
    image.putpalette([0, 0, 0, 255, 255, 255])
    image.info["transparency"] = 0
    return image


WAYS: dict[str, Callable[[], Image.Image]] = {
    "white on black": lambda: left("L", 255, 0),
    "white on black, in colour": lambda: left("RGB", "white", "black"),
    "one bit": lambda: left("1", 1, 0),
    "white on transparency": lambda: left("RGBA", (255, 255, 255, 255), (255, 255, 255, 0)),
    "white on transparent black": lambda: left("RGBA", (255, 255, 255, 255), (0, 0, 0, 0)),
    "grey and alpha": lambda: left("LA", (255, 255), (0, 0)),
    "a palette": palette,
    "red on transparency": lambda: left("RGBA", (255, 0, 0, 255), (0, 0, 0, 0)),
    "white and black on transparency": lambda: Image.alpha_composite(
        Image.new("RGBA", (SIDE, SIDE)), left("RGBA", (255, 255, 255, 255), (0, 0, 0, 200))
    ),
    "16 bits": lambda: Image.fromarray(np.asarray(left("L", 255, 0)).astype(np.uint16) * 257),
    "another size": lambda: left("L", 255, 0, (128, 32)),
    "smaller": lambda: left("L", 255, 0, (8, 8)),
}
TOLD = {"another size": "the mask of 128 x 32 pixels is stretched over the picture, 64 x 64"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, tiny_config: Config) -> Path:
    network = network_of(tiny_config)
    folder = tmp_path_factory.mktemp("masks") / "checkpoint-7"
    return save_checkpoint(Model(network, tiny_config), folder, {})


def halves(capsys: Capture, model: Path, folder: Path, mask: Image.Image) -> tuple[Any, list[str]]:
    """Return how far each half of a picture is changed under a mask, and what is said."""
    photo = Image.fromarray(np.arange(SIDE * SIDE, dtype=np.uint32).reshape(SIDE, SIDE) % 251 / 1.0)
    photo.convert("L").save(folder / "photo.png")
    mask.save(folder / "mask.png")
    words = ["--from", folder / "photo.png", "--mask", folder / "mask.png", "--count", 1]
    plain = ["--steps", 4, "--out", folder / "made.npz"]
    lines = remarked(capsys, "sample", model, *words, "--t", 45, *plain)
    with np.load(folder / "made.npz") as arrays:
        made = arrays["samples"][0, ..., 0].astype(int)
    kept = np.asarray(photo.convert("L").resize((8, 8), Image.Resampling.BICUBIC)).astype(int)
    change = abs(made - kept)
    return (int(change[:, :4].max()), int(change[:, 4:].max())), lines


@pytest.mark.parametrize("way", WAYS)
def test_the_painted_half_is_made_anew_and_the_other_stays_to_the_byte(
    capsys: Capture, model: Path, tmp_path: Path, way: str
) -> None:
    (anew, stays), lines = halves(capsys, model, tmp_path, WAYS[way]())
    assert anew > 5 and stays == 0
    assert lines == ([TOLD[way]] if way in TOLD else [])


def test_black_paint_on_transparency_stays_and_is_told(
    capsys: Capture, model: Path, tmp_path: Path
) -> None:
    black = left("RGBA", (0, 0, 0, 255), (0, 0, 0, 0))
    (stays, anew), lines = halves(capsys, model, tmp_path, black)
    assert anew > 5 and stays == 0 and lines == [DARK_PAINT]


@pytest.mark.parametrize(
    ("mask", "line"),
    [
        (
            Image.new("RGBA", (8, 8), (255, 255, 255, 0)),
            "all transparent, nothing is painted",
        ),
        (
            Image.new("RGBA", (8, 8), (255, 255, 255, 9)),
            "all transparent, nothing is painted",
        ),
        (Image.new("L", (8, 8), 0), "mask: nothing in it is white"),
        (Image.new("RGB", (8, 8), (0, 90, 0)), "mask: nothing in it is white"),
    ],
)
def test_a_mask_without_paint_is_told(
    capsys: Capture, model: Path, tmp_path: Path, mask: Image.Image, line: str
) -> None:
    mask.save(tmp_path / "mask.png")
    Image.new("L", (8, 8), 90).save(tmp_path / "photo.png")
    words = ["--from", tmp_path / "photo.png", "--t", 9, "--mask", tmp_path / "mask.png"]
    assert line in refused(capsys, "sample", model, *words, "--out", tmp_path / "x.png")
    with pytest.raises(InputError):
        anew_of(mask)


def test_half_covered_is_made_anew_and_a_border_is_not() -> None:
    soft = left("RGBA", (255, 255, 255, 160), (255, 255, 255, 0))
    assert (fit_mask(anew_of(soft), (64, 64), 8, 8, "crop")[:, :4] == 255).all()
    grey = fit_mask(left("L", 128, 127), (64, 64), 8, 8, "crop")
    assert (grey == [255] * 4 + [0] * 4).all()
    blurred = left("L", 255, 0, (128, 32)).filter(ImageFilter.GaussianBlur(3))
    assert (fit_mask(blurred, (64, 64), 8, 8, "crop") == [255] * 4 + [0] * 4).all()
    hair = Image.new("L", (64, 64))
    hair.paste(255, (9, 0, 10, 64))
    with pytest.raises(InputError, match="nothing is left at 8 x 8 pixels"):
        fit_mask(hair, (64, 64), 8, 8, "crop")
    wide = fit_mask(Image.new("L", (64, 32), 255), (64, 32), 8, 8, "pad")
    assert (wide[:2] == 0).all() and (wide[2:6] == 255).all() and (wide[6:] == 0).all()
    cut = fit_mask(left("L", 255, 0), (64, 32), 8, 8, "crop")
    assert (cut[:, :4] == 255).all() and (cut[:, 4:] == 0).all()


def test_the_page_s_painter_reads_its_masks_alike() -> None:
    png = painter.read_mask(sent(png_bytes(WAYS["white on transparency"]())), SIDE, SIDE)
    assert png == png_bytes(anew_of(WAYS["white on black"]()))
