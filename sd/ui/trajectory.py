"""The steps of one sampling that are kept for looking back, as pictures of 8 bit."""

import shutil
import tempfile
import time
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import gradio as gr
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sd import runs
from sd.ui.parts import enlarged, tiled
from sd.ui.texts import say

if TYPE_CHECKING:
    from sd.sampling import SampleStep

Pixels = NDArray[np.uint8]  # [N, H, W, C]

MOST_BYTES = 48 * 2**20  # of all kept pictures together
MOST_FRAMES = 250
THUMBNAIL_SIDE = 112
THUMBNAILS = 16
GALLERY_SECONDS = 1.0  # between updates of the thumbnails


class Frame(NamedTuple):
    """One kept step: x_t after it, and the estimate of x0 that it used."""

    i: int
    t: float
    x_t: Pixels
    x0: Pixels


@dataclass
class Trajectory:
    """The kept frames of a sampling of `total` steps; it grows while the sampling runs."""

    total: int
    frames: list[Frame] = field(default_factory=list)
    running: bool = False
    asked_to_stop: bool = False

    def add(self, step: "SampleStep") -> Frame:
        """Return a step as a frame, and keep it if there is room for its kind of share."""
        from sd.images import to_array

        frame = Frame(step.i, step.t, to_array(step.x_t), to_array(step.x0))
        room = max(2, min(MOST_FRAMES, MOST_BYTES // (2 * frame.x_t.nbytes)))
        stride = -(-self.total // room)
        if step.i == self.total or (step.i - 1) % stride == 0:
            self.frames.append(frame)
        return frame


def sheet(pixels: Pixels) -> Image.Image:
    """Return pictures side by side, each pixel one pixel."""
    return tiled(
        [Image.fromarray(each.squeeze(-1) if each.shape[-1] == 1 else each) for each in pixels]
    )


def pair(frame: Frame) -> tuple[Image.Image, Image.Image]:
    """Return x_t and x0 of a frame for the screen."""
    return enlarged(sheet(frame.x_t)), enlarged(sheet(frame.x0))


def thumbnail(frame: Frame) -> Image.Image:
    """Return x_t of a frame, small."""
    image = sheet(frame.x_t)
    if max(image.size) < THUMBNAIL_SIDE:
        return enlarged(image, THUMBNAIL_SIDE)
    image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    return image


class Album:
    """The thumbnails of a sampling: small JPEGs written once, shown at most once a second."""

    def __init__(self, total: int, lang: str) -> None:
        """Make an empty folder for `total` steps' thumbnails."""
        self.folder = Path(tempfile.mkdtemp(prefix="sd-steps-"))
        self.items: list[tuple[str, str]] = []
        self._lang, self._total, self._shown = lang, total, time.monotonic()

    def add(self, frame: Frame) -> None:
        """Keep a frame if it opens a new sixteenth of the way, or ends it."""
        share = frame.i * THUMBNAILS // self._total
        if share == (frame.i - 1) * THUMBNAILS // self._total and frame.i != self._total:
            return
        path = self.folder / f"{frame.i:05d}.jpg"
        thumbnail(frame).save(path, quality=85)
        caption = say("thumbnail", self._lang, i=frame.i, t=f"{frame.t:g}")
        self.items.append((str(path), caption))

    def news(self) -> Any:
        """Return the thumbnails if a second has passed since they were last shown."""
        if time.monotonic() - self._shown < GALLERY_SECONDS:
            return gr.skip()
        self._shown = time.monotonic()
        return list(self.items)

    def close(self) -> None:
        """Delete the files; what was shown has its copy in gradio's cache."""
        shutil.rmtree(self.folder, ignore_errors=True)


@cache
def bundled() -> Trajectory | None:
    """Return the finished trajectory that comes with the first bundled model, if there is one."""
    for entry in runs.list_models():
        path = entry.folder / "trajectory.npz"
        if entry.bundled and path.is_file():
            return read(path)
    return None


def read(path: Path) -> Trajectory:
    """Return a trajectory from an npz as `sample --keep-steps --out FILE.npz` writes it.

    `steps` and `x0` uint8 [S, N, H, W, C], `times` [S].
    """
    with np.load(path, allow_pickle=False) as stored:
        arrays: dict[str, Any] = {name: stored[name] for name in stored.files}
    columns = zip(arrays["times"], arrays["steps"], arrays["x0"], strict=True)
    frames = [Frame(i, float(t), x_t, x0) for i, (t, x_t, x0) in enumerate(columns, start=1)]
    return Trajectory(len(frames), frames)
