"""The attention of a sampling to take away: a table of pictures, a picture a word, or the weights.

Of one picture of the batch, so that what is kept stays small: a map for each word and step.
"""

import re
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from sd.common.marks import mark_zip, save_png
from sd.common.outputs import Output, output_of, write_free, write_named
from sd.data.decoding.decoder import as_colour
from sd.data.images import to_pil
from sd.data.space import Space
from sd.diffusion.sampling import SampleStep
from sd.networks.attention_maps.heatmaps import overlay, pixel_map, word_map
from sd.networks.attention_maps.hooks import Call, Recording, halves
from sd.networks.unet import UNetModel

FORMS = (".png", ".npz")
CENTRE = "self: centre"  # the one row of a model, or a prompt, without words
MOST_COLUMNS = 10  # steps of the table
SIDE, LARGE_SIDE = 96, 256  # pixels of a picture in the table, and alone, about
GAP, LETTERS = 6, 14  # pixels between pictures, and of the labels' height
LONGEST_WORD = 18  # characters of a label
# Fonts of more letters than Pillow's own, as far as a machine has them.
FONTS = ("DejaVuSans.ttf", "NotoSansCJK-Regular.ttc", "PingFang.ttc", "msyh.ttc")
MISSING = "\U0010ffff"  # a character that no font draws


class AttentionStep(NamedTuple):
    """One step of the recorded picture: its estimate x_0 as a picture [C, H, W], and the attention.

    heat: [words, h, w] over what the network sees, as `word_map` of
    `sd.networks.attention_maps.heatmaps` makes it over all calls, layers and heads. layers: where
    everything is kept, float16 [h, N, L] by name, the mean over the step's calls; of self-attention
    only the centre's row, [h, 1, N].
    """

    i: int
    t: float
    x0: Tensor
    heat: Tensor
    layers: dict[str, Tensor]


class AttentionRecord(NamedTuple):
    """The words with their places among the tokens, and the steps of a sampling.

    sizes: height and width of each layer's map, where layers are kept.
    """

    words: tuple[tuple[str, tuple[int, ...]], ...]
    steps: tuple[AttentionStep, ...]
    sizes: dict[str, tuple[int, int]]


class AttentionRecorder:
    """Records the attention of one picture of a sampling, as a `with` block that is fed every step.

    The steps fed are those of the whole batch. Without words the self-attention of the picture's
    centre is recorded.
    """

    def __init__(
        self,
        network: UNetModel,
        space: Space,
        count: int,
        words: Sequence[tuple[str, Sequence[int]]] = (),
        picture: int = 0,
        full: bool = False,
    ) -> None:
        """Take the words as `Conditioner.spans` returns them; `full` keeps every layer, for .npz.

        picture: its place among the `count` that are sampled. Words without tokens, cut off at the
        end of a long prompt, are left out.
        """
        self.space, self.picture, self.full = space, picture, full
        with_tokens = tuple((word, tuple(places)) for word, places in words if places)
        self.words = with_tokens if network.config.context_dim is not None else ()
        kinds = ("cross",) if self.words else ("self",)
        self._recording = Recording(network, kinds, [picture], count)
        self._steps: list[AttentionStep] = []
        self._sizes: dict[str, tuple[int, int]] = {}

    def __enter__(self) -> "AttentionRecorder":
        self._recording.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._recording.__exit__(*error)

    def add(self, step: SampleStep) -> None:
        """Take a completed step, and keep the network's attention in it."""
        calls = self._recording.drain()
        x0 = self.space.decode(step.x0[self.picture, None])[0].cpu()
        height, width = self.space.latent_shape[1:]
        if self.words:
            maps = [word_map(calls, places, 0, 1, (height, width)) for _, places in self.words]
        else:
            maps = [pixel_map(calls, height // 2, width // 2, 0, 1, (height, width))]
        layers = self._layers(calls, (height // 2, width // 2)) if self.full else {}
        self._steps.append(AttentionStep(step.i, step.t, x0, torch.stack(maps).cpu(), layers))

    def record(self) -> AttentionRecord:
        """Return all that was recorded so far."""
        return AttentionRecord(self.words or ((CENTRE, ()),), tuple(self._steps), self._sizes)

    def _layers(self, calls: Sequence[Call], middle: tuple[int, int]) -> dict[str, Tensor]:
        found: dict[str, list[Tensor]] = {}
        for call in calls:
            for name, layer in call.layers.items():
                weights = halves(layer, 1)[0][0]  # [h, N, L]
                if layer.kind == "self":
                    y, x = (place // layer.stride for place in middle)
                    weights = weights[:, y * layer.width + x, None]
                found.setdefault(name, []).append(weights)
                self._sizes[name] = layer.height, layer.width
        return {name: torch.stack(each).mean(dim=0).half().cpu() for name, each in found.items()}


def check_attention(out: str) -> Output:
    """Return what --attention names; raise `InputError` for a form that is not written."""
    return output_of("--attention", out, FORMS)


def write_attention(out: Output, record: AttentionRecord) -> None:
    """Write the table (FILE.png), the weights (FILE.npz), or into a folder a PNG for each word."""
    if out.form == ".npz":
        write_named(out.path, partial(_write_arrays, record))
    elif out.form == ".png":
        write_named(out.path, partial(save_png, draw_table(record)))
    else:
        for k, (word, _) in enumerate(record.words):
            plain = re.sub(r"[^\w-]+", "", word, flags=re.ASCII)[:40] or "word"
            path = out.path / f"{k + 1:02d}-{plain}.png"
            write_free(path, partial(save_png, draw_word(record, k)))


def _write_arrays(record: AttentionRecord, file: Path) -> None:
    """Write float16 "STEP/LAYER" [h, N, L], and what explains it.

    words [W]; places bool [W, last token + 1]; layers, and their sizes [layers, 2], N = height
    x width; steps and times [S]; heat float16 [S, W, h, w], the maps over what the network sees.
    """
    length = 1 + max((place for _, places in record.words for place in places), default=0)
    places = np.zeros((len(record.words), length), bool)
    for row, (_, tokens) in zip(places, record.words, strict=True):
        row[list(tokens)] = True
    arrays: dict[str, Any] = {
        "words": np.array([word for word, _ in record.words]),
        "places": places,
        "layers": np.array(list(record.sizes), dtype=np.str_),
        "sizes": np.array(list(record.sizes.values()), dtype=np.int64).reshape(-1, 2),
        "steps": np.array([step.i for step in record.steps]),
        "times": np.array([step.t for step in record.steps]),
        "heat": np.stack([step.heat.half().numpy() for step in record.steps]),
    }
    for step in record.steps:
        arrays |= {f"{step.i}/{name}": each.numpy() for name, each in step.layers.items()}
    with file.open("w+b") as opened:  # numpy gives a name another ending
        np.savez_compressed(opened, **arrays)
        mark_zip(opened)


def draw_table(record: AttentionRecord) -> Image.Image:
    """Return the estimates x_0 of about ten steps in a row, below it a row of heat for each word.

    A word's hottest colour is its maximum over all steps, so its steps compare.
    """
    chosen = np.unique(np.linspace(0, len(record.steps) - 1, MOST_COLUMNS).round().astype(int))
    steps = [record.steps[k] for k in chosen]
    pictures = [_enlarge(step.x0, SIDE) for step in steps]
    rows = [("x0", pictures)]
    for k, (word, _) in enumerate(record.words):
        peak = max(float(step.heat[k].max()) for step in record.steps)
        heated = [
            overlay(picture, step.heat[k], peak)
            for picture, step in zip(pictures, steps, strict=True)
        ]
        rows.append((word, heated))
    return _draw_table(rows, [f"t = {step.t:.4g}" for step in steps])


def draw_word(record: AttentionRecord, k: int) -> Image.Image:
    """Return the last estimate of x_0 under the heat of word `k`, the mean over all steps."""
    heat = torch.stack([step.heat[k] for step in record.steps]).mean(dim=0)
    return overlay(_enlarge(record.steps[-1].x0, LARGE_SIDE), heat)


def _enlarge(x0: Tensor, side: int) -> Image.Image:
    """Return a picture [C, H, W] with each pixel a block, its longer side about `side` pixels."""
    factor = max(1, round(side / max(x0.shape[1:])))
    image = as_colour(to_pil(x0))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def _draw_table(rows: Sequence[tuple[str, list[Image.Image]]], heads: Sequence[str]) -> Image.Image:
    """Return pictures of one size in rows, each row named at its left, each column above it."""
    words = [_shorten(name) for name, _ in rows]
    font = font_for(words)
    names = [replace_missing(word, font) for word in words]
    width, height = (length + GAP for length in rows[0][1][0].size)
    left = GAP + int(max(font.getlength(name) for name in names)) + GAP
    width, top = max(width, int(max(map(font.getlength, heads))) + GAP), LETTERS + 2 * GAP
    table = Image.new("RGB", (left + width * len(heads), top + height * len(rows)), "white")
    draw = ImageDraw.Draw(table)
    for column, head in enumerate(heads):
        draw.text((left + column * width, GAP), head, "black", font)
    for row, (name, (_, pictures)) in enumerate(zip(names, rows, strict=True)):
        y = top + row * height
        draw.text((GAP, y + (height - GAP) // 2), name, "black", font, anchor="lm")
        for column, picture in enumerate(pictures):
            table.paste(picture, (left + column * width, y))
    return table


def font_for(words: Sequence[str]) -> Any:
    """Return a font that draws all words if the machine has one, else the one that is always there.

    That one, Pillow's own, has the letters of English alone.
    """
    own, letters = ImageFont.load_default(LETTERS), set("".join(words))
    fonts: list[Any] = [own]
    for name in FONTS:
        with suppress(OSError):  # not on this machine
            fonts.append(ImageFont.truetype(name, LETTERS))
    fit = (font for font in fonts if all(_has_glyph(letter, font) for letter in letters))
    return next(fit, own)


def replace_missing(word: str, font: Any) -> str:
    """Return a label with U+ numbers for the letters that a font lacks."""
    return "".join(
        letter if _has_glyph(letter, font) else f"U+{ord(letter):04X}" for letter in word
    )


def _has_glyph(letter: str, font: Any) -> bool:
    return bytes(font.getmask(letter)) != bytes(font.getmask(MISSING))


def _shorten(word: str) -> str:
    """Return what of a word a label shows: no joiners, no more than there is room for."""
    shown = "".join(letter for letter in word if letter.isprintable())
    return shown if len(shown) <= LONGEST_WORD else shown[: LONGEST_WORD - 1] + "…"
