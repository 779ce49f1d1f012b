"""A sampling as a film: JPEGs of all its steps and a few numbers, for a browser to show any step.

A film grows while the sampling runs and costs its loop nothing: steps are only noted, and become
pictures a chunk at a time. Its format is described at `Film.json`.
"""

import io
import math
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from einops import rearrange
from PIL import Image
from torch import Tensor

from sd.common.encoding import data_uri
from sd.data.images import lay_on_white
from sd.data.space import Space, factor_of
from sd.diffusion.sampling import SampleStep
from sd.diffusion.schedule import Schedule

FRAME_KINDS = ("x_t", "x0", "eps", "change")
MOST_FRAMES = 1000  # of one film; a longer sampling keeps every second step, or third, ...
MOST_DRAWN = 2**24  # pixels of one kind in all frames together: 1,024 steps of 16 x 32 x 32
MOST_TOGETHER = 64  # frames of one chunk
MOST_PIXELS = 2**22  # of one JPEG: a browser decodes that in some 30 ms
LONGEST_SIDE = 16383  # pixels; browsers draw no longer picture
SCALE = {"eps": 3.0}  # eps is shown as eps / 3, so that three standard deviations fit
BRIGHTEST = 3.0  # times its rms: where a change is shown white
QUALITIES = (95, 90, 85, 80, 75, 70, 65, 60, 55, 50, 45, 40, 35, 30, 20)
FIRST_QUALITY = {"x_t": 55, "x0": 80, "eps": 40, "change": 40}  # where the search begins
SHARE = {
    "x0": 0.65,
    "eps": 0.42,
    "change": 0.22,
}  # bytes a pixel; x_t gets what these leave of the whole
WHOLE = 2.3  # bytes a pixel of all kinds: 50 steps of 16 pictures of 32 pixels stay below 2 MB
USUAL = 50 * 16 * 32 * 32  # pixels of one kind; a smaller film may take more bytes a pixel,
MOST_ROOMY = 3.0  # up to so many times as many
STILL_QUALITY = 92  # of the pictures in which a film ends, and of those at which one looks long
ROOMY = 0.75  # of what is allowed: below it, the next chunk tries the next better quality
GREY = 128

Keep = Callable[[bytes], str]


class FilmStep(NamedTuple):
    """A step to be shown, and x_t before it, where that is known."""

    step: SampleStep
    before: Tensor | None


class Chunk(NamedTuple):
    """Some frames as one binary: a JPEG per kind, which holds their grids one below the other.

    first: the place of its first frame in the film, from 1. parts: bytes of each JPEG.
    """

    data: bytes
    first: int
    parts: list[int]
    frames: list[dict[str, Any]]


class Film:
    """The frames of one sampling, made in chunks while it runs.

    A frame holds the previews of a step's N pictures in a grid without gaps.
    """

    def __init__(
        self,
        space: Space,
        schedule: Schedule,
        total: int,
        calls: int = 1,
        *,
        label: str = "",
        start: Tensor | None = None,
        columns: int = 0,
        captions: Sequence[str] = (),
    ) -> None:
        """Begin a film of `total` planned steps, each of `calls` network calls.

        `start` [N, c, h, w], x_t before the first step, serves that step's change alone. `columns`
        of the grid; 0 makes it nearly square. `captions`: a word for each picture, or none.
        """
        self.space, self.schedule, self.total, self.calls = space, schedule, total, calls
        self.label, self.captions = label, list(captions)
        self._columns = columns
        self.frames: list[dict[str, Any]] = []
        self.chunks: list[dict[str, Any]] = []
        self.stills: list[dict[str, Any]] = []
        self._id = uuid.uuid4().hex
        self._shape: tuple[int, ...] = (0, 0, 0, 0)
        self._stride, self._roomy = 1, 1.0
        self._first = 0
        self._seen: FilmStep | None = None
        self._pending: list[FilmStep] = []
        self._before = start
        self._quality = {kind: QUALITIES.index(FIRST_QUALITY[kind]) for kind in FRAME_KINDS}

    def add(self, step: SampleStep) -> None:
        """Note a step; nothing is computed or copied."""
        if not self._first:
            self._measure(step)
        self._seen = FilmStep(step, self._before)
        if step.i == self.total or (step.i - self._first) % self._stride == 0:
            self._keep()
        self._before = step.x_t

    def _measure(self, step: SampleStep) -> None:
        """Decide by the first step which steps are kept, and how many bytes a pixel may take."""
        self._first, self._shape = step.i, tuple(step.x_t.shape)
        count, _, height, width = self._shape
        drawn = max(1, count * height * width)
        most = max(1, min(MOST_FRAMES, MOST_DRAWN // drawn))
        self._stride = -(-self.total // most)
        frames = -(-self.total // self._stride)
        self._roomy = min(MOST_ROOMY, max(1.0, USUAL / (drawn * frames)))
        if self._roomy > 1:
            self._quality = dict.fromkeys(FRAME_KINDS, QUALITIES.index(85))

    def end(self) -> None:
        """Say that no step follows: the newest is kept, though it may lie between two strides."""
        self._keep()

    def _keep(self) -> None:
        if self._seen is not None:
            self._pending.append(self._seen)
        self._seen = None

    @property
    def columns(self) -> int:
        """Pictures side by side in a frame."""
        return self._columns or math.ceil(math.sqrt(self._shape[0]))

    def take(self) -> Chunk | None:
        """Return the next chunk of what was noted, or None if nothing is left.

        A chunk is bounded in size: ask until it is None.
        """
        steps = self._pending[: self._room()]
        if not steps:
            return None
        del self._pending[: len(steps)]
        first = len(self.frames) + 1
        pictures = {kind: stack_kind(kind, steps) for kind in FRAME_KINDS}
        self.frames += frame_numbers(steps, measure_norms(pictures, steps), self.schedule)
        jpegs = self._jpegs(pictures)
        parts = [len(jpegs[kind]) for kind in FRAME_KINDS]
        data = b"".join(jpegs[kind] for kind in FRAME_KINDS)
        return Chunk(data, first, parts, self.frames[first - 1 :])

    def flush(self, keep: Keep) -> bool:
        """Hand every chunk that is due to `keep`; return whether there was one.

        `keep` stores the bytes and returns their path, or an address such as `data_uri` makes.
        """
        before = len(self.chunks)
        while chunk := self.take():
            entry = {"first": chunk.first, "count": len(chunk.frames), "parts": chunk.parts}
            self.chunks.append({"src": keep(chunk.data), **entry})
        return len(self.chunks) > before

    def add_end(self, pictures: Tensor, keep: Keep) -> None:
        """Keep the pictures [N, C, H, W] of the last step where its preview is a smaller one."""
        if factor_of(self.space) > 1 and self.frames:
            still = make_still("x_t", self.frames[-1]["i"], pictures, self.columns, keep)
            self.stills = [] if still is None else [still]

    def count(self) -> bool:
        """Add the numbers of what was noted and no pictures; return whether there was any."""
        steps, self._pending = self._pending, []
        if steps:
            pictures = {kind: stack_kind(kind, steps) for kind in ("x_t", "x0", "eps")}
            self.frames += frame_numbers(steps, measure_norms(pictures, steps), self.schedule)
        return bool(steps)

    def json(self, line: str = "", running: bool = False) -> dict[str, Any]:
        """Return the film as far as it was flushed, as the player reads it; its lists are copies.

        Frames carry i, t, rms of x_t, x0 and eps, change (rms of x_t minus that of the step before,
        None if unknown), clipped (the share of x0 that was cut) and log_snr (None at t = 0).
        Where previews are smaller than the pictures, `factor` is how many times, and `stills` are
        as `make_still` returns them. `across` is there where the columns mean something, and
        `captions` where the pictures have words.
        """
        count, _, height, width = self._shape
        factor = factor_of(self.space)
        return {
            "id": self._id,
            "label": self.label,
            "count": count,
            "columns": self.columns,
            "width": width,
            "height": height,
            "kinds": list(FRAME_KINDS),
            "total": self.total,
            "calls": self.calls,
            "running": running,
            "line": line,
            "frames": list(self.frames),
            "chunks": list(self.chunks),
            **({"factor": factor, "stills": list(self.stills)} if factor > 1 else {}),
            **({"across": self._columns} if self._columns else {}),
            **({"captions": self.captions} if self.captions else {}),
        }

    def _room(self) -> int:
        """Return how many frames a chunk may hold."""
        count, _, height, width = self._shape
        tall = max(1, -(-count // max(self.columns, 1)) * height)
        pixels = tall * max(1, self.columns * width)
        return max(1, min(MOST_TOGETHER, LONGEST_SIDE // tall, MOST_PIXELS // pixels))

    def _jpegs(self, pictures: Mapping[str, Tensor]) -> dict[str, bytes]:
        """Return a JPEG per kind; x_t, the largest, gets what the others leave."""
        made: dict[str, bytes] = {}
        left = WHOLE * self._roomy
        for kind in sorted(pictures, key=FRAME_KINDS.index, reverse=True):
            x = pictures[kind] if kind == "change" else self.space.preview(pictures[kind])
            x = x[:, :, :3] if kind == "eps" else lay_on_white(x)
            image = tile_frames(x, self.columns, SCALE.get(kind, 1.0))
            pixels = image.width * image.height
            share = SHARE[kind] * self._roomy if kind in SHARE else left
            made[kind] = self._jpeg(kind, image, int(share * pixels))
            left -= len(made[kind]) / pixels
        return made

    def _jpeg(self, kind: str, image: Image.Image, allowed: int) -> bytes:
        """Return the best JPEG of at most `allowed` bytes, near the last chunk's quality."""
        place = self._quality[kind]
        data = encode_jpeg(image, QUALITIES[place])
        while len(data) > allowed and place < len(QUALITIES) - 1:
            place += 1
            data = encode_jpeg(image, QUALITIES[place])
        better = place > 0 and len(data) < ROOMY * allowed
        self._quality[kind] = place - 1 if better else place
        return data


def make_still(
    kind: str, i: int, pictures: Tensor, columns: int, keep: Keep
) -> dict[str, Any] | None:
    """Return the decoded pictures [N, C, H, W] of step `i` as a film carries them.

    {"i", "kind", "src"}: a JPEG laid out like a frame, at the pictures' own size. None where they
    are too large together.
    """
    count, _, height, width = pictures.shape
    rows = -(-count // columns)
    if max(rows * height, columns * width) > LONGEST_SIDE or count * height * width > MOST_DRAWN:
        return None
    image = tile_frames(lay_on_white(pictures.float())[None].clone(), columns)
    return {"i": i, "kind": kind, "src": keep(encode_jpeg(image, STILL_QUALITY))}


def stack_kind(kind: str, steps: list[FilmStep]) -> Tensor:
    """Return one kind of the steps' values [S, N, c, h, w] as float32, a copy.

    "change" is a grey picture: how far a step moved each place, against the step's own rms.
    """
    if kind == "change":
        return torch.stack([step_change(each) for each in steps]).to(torch.float32)
    return torch.stack([getattr(each.step, kind) for each in steps]).to(torch.float32)


def step_change(step: FilmStep) -> Tensor:
    """Return sqrt(mean over c of (x_t - x_before)^2) [N, 1, h, w], -1 for none, 1 for 3 rms."""
    x_t = step.step.x_t
    if step.before is None:
        return torch.full_like(x_t[:, :1], -1)
    square = (x_t - step.before).square().mean(1, keepdim=True)
    return square.div_(square.mean().clamp_min(1e-30)).sqrt_().mul_(2 / BRIGHTEST).sub_(1)


def tile_frames(x: Tensor, columns: int, scale: float = 1.0) -> Image.Image:
    """Return steps' pictures [S, N, C, H, W] / scale as S grids below each other.

    `x` is overwritten: `sd.data.images.to_uint8` in place, one transfer for all steps.
    """
    x.mul_(127.5 / scale).add_(127.5).nan_to_num_(nan=127.5).clamp_(0, 255).round_()
    pixels = np.asarray(x.to(torch.uint8).cpu())
    missing = -pixels.shape[1] % columns
    if missing:
        margin = ((0, 0), (0, missing), (0, 0), (0, 0), (0, 0))
        pixels = np.pad(pixels, margin, constant_values=GREY)
    # Whole rows are copied here, and Pillow interleaves the colours: twice as fast as the reverse.
    planes = rearrange(pixels, "s (row column) c h w -> c (s row h) (column w)", column=columns)
    bands = [Image.fromarray(plane) for plane in planes]
    return bands[0] if len(bands) == 1 else Image.merge("RGB", bands)


def encode_jpeg(image: Image.Image, quality: int) -> bytes:
    """Return a JPEG with full colour resolution."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, subsampling=0)
    return file.getvalue()


def measure_norms(pictures: Mapping[str, Tensor], steps: list[FilmStep]) -> list[list[float]]:
    """Return sqrt(mean(x^2)) of each step's x_t, x0, eps and change, with one transfer."""
    before = torch.stack([s.step.x_t if s.before is None else s.before for s in steps])
    change = before.to(torch.float32) - pictures["x_t"]
    columns = [rms(x) for x in (pictures["x_t"], pictures["x0"], pictures["eps"], change)]
    return [[significant(value) for value in row] for row in torch.stack(columns, 1).tolist()]


def rms(x: Tensor) -> Tensor:
    """Return sqrt(mean(x^2)) over all but the first axis [S]: the size of a typical value."""
    sums: Tensor = torch.linalg.vector_norm(x.flatten(1), dim=1)
    return sums / math.sqrt(x[0].numel())


def frame_numbers(
    steps: list[FilmStep], norms: list[list[float]], schedule: Schedule
) -> list[dict[str, Any]]:
    """Return each frame's numbers as a film carries them."""
    levels = schedule.log_snr([each.step.t for each in steps]).tolist()
    return [
        {
            "i": each.step.i,
            "t": significant(each.step.t, 6),
            "rms": norm[:-1],
            "change": None if each.before is None else norm[-1],
            "clipped": significant(each.step.clipped),
            "log_snr": significant(level) if math.isfinite(level) else None,
        }
        for each, norm, level in zip(steps, norms, levels, strict=True)
    ]


def significant(value: float, count: int = 4) -> float:
    """Return `value` with so many significant digits; what is not finite becomes 0."""
    return float(f"{value:.{count}g}") if math.isfinite(value) else 0.0


def embed_chunks(film: Mapping[str, Any]) -> dict[str, Any]:
    """Return a film with the bytes of its files in it instead of their paths."""

    def embed(parts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        embedded = [each["src"].startswith("data:") for each in parts]
        return [
            {**each, "src": each["src"] if there else data_uri(Path(each["src"]).read_bytes())}
            for each, there in zip(parts, embedded, strict=True)
        ]

    whole = {name: embed(film[name]) for name in ("chunks", "stills") if name in film}
    return {**film, **whole, "running": False}
