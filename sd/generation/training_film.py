"""A film of a training: all sample grids of a run, in the order of their steps."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from sd import runs
from sd.common.text import brief, printable
from sd.common.validation import InputError
from sd.config import Config
from sd.generation import export
from sd.runs.sample_grid import open_sample_grid

SIDE = 512  # pixels of a grid's height, about
LETTERS, MARGIN = 20, 6  # pixels of the words under it
SECONDS = 8  # of a film, if it has frames enough
SLOWEST = Fraction(4)  # frames a second: a short one is shorter


def write_training_film(form: str, frames: Sequence[Image.Image], file: Path) -> None:
    """Write the frames of `draw_grids` in one of `export.FILM_FORMS`; the last one is held."""
    rate = min(export.FRAME_RATE, max(SLOWEST, Fraction(len(frames), SECONDS)))
    export.write_film(form, frames, file, side=1, rate=rate)  # at the size as drawn


def draw_grids(folder: Path) -> list[Image.Image]:
    """Return a frame of each step with samples, at most 100 of them, the first and last among them.

    Each tells its step. Samples that cannot be read are left out; raises `InputError` where less
    than two are there.
    """
    grids = runs.samples(folder)
    if len(grids) < 2:
        raise _too_few(folder, len(grids))
    config = Config.read(folder / runs.CONFIG)
    frames, reason = [], ""
    for grid in [grids[0], *export.thin_steps(grids[1:], export.MOST_FRAMES - 1)]:
        try:
            frames.append(_frame(open_sample_grid(grid.average, config), grid.step))
        except InputError as error:
            reason = str(error)
    if len(frames) < 2:
        raise InputError(reason)
    return frames


def _too_few(folder: Path, count: int) -> InputError:
    had = "has no samples yet" if not count else "has samples of one step alone"
    name = brief(printable(folder.absolute().name))
    return InputError(f"{name}: {had}; a film needs those of two steps or more")


def _frame(grid: Image.Image, step: int) -> Image.Image:
    """Return a grid, enlarged, above the number of its step."""
    large = export.enlarge(grid, export.scale_for(grid, SIDE))
    frame = Image.new("RGB", (large.width, large.height + LETTERS + 2 * MARGIN), "white")
    frame.paste(large)
    font = ImageFont.load_default(LETTERS)
    place = (MARGIN, large.height + MARGIN + LETTERS // 2)
    ImageDraw.Draw(frame).text(place, f"step {step:,}", "black", font, anchor="lm")
    return frame
