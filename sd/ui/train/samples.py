"""A run's samples for the screen: averaged, raw, or beside the training pictures most like them.

The grids are read from the run's folder; what imports torch is imported where pictures are opened.
"""

import io
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup
from PIL import Image

from sd import runs
from sd.common import marks, validation
from sd.common.validation import InputError
from sd.config import Config
from sd.data import captions, shapes
from sd.data.reading.source import BUNDLED_SETS
from sd.runs.journal import SampleGrid
from sd.runs.sample_grid import COLUMNS, GAP, open_sample_grid
from sd.training.likeness import Baseline, judge
from sd.ui.adapter.served_files import file_data, store
from sd.ui.components import curves
from sd.ui.components.html import paragraph, tags
from sd.ui.components.images import SCREEN_SIDE, data_address, enlarge
from sd.ui.texts import say

if TYPE_CHECKING:
    from sd.data.image_set import ImageSet

AVERAGED, RAW = VIEWS = ("averaged", "raw")
MOST_SHEETS = 120  # steps of samples on the timeline: of more, some are left out
LONGEST_KEY = 500  # characters of what tells the browser's state
SHORT_LIST, BEGINNING = 120, 60  # characters of a list that is not folded, and of one that is
LONGEST_PROMPT = 200  # characters that are shown of one
LONGEST_NAME = 120  # characters of a picture's name
STRIP_MOST = 1.5  # of the distances on the meter; 1 is as far as one of its own


def open_grid(path: Path) -> Image.Image:
    """Return a grid of samples, decoded; raise `InputError` for what is none of this run's."""
    return open_sample_grid(path, Config.read(path.parent.parent / runs.CONFIG))


def cut_cells(grid: Image.Image, count: int) -> list[Image.Image]:
    """Return the first `count` pictures of a grid, row by row."""
    side = [(length + GAP) // COLUMNS for length in grid.size]
    corners = [(k % COLUMNS * side[0], k // COLUMNS * side[1]) for k in range(count)]
    return [grid.crop((x, y, x + side[0] - GAP, y + side[1] - GAP)) for x, y in corners]


def open_training_pictures(folder: Path, places: Sequence[int]) -> list[tuple[str, Image.Image]]:
    """Return name and picture of these of a run's training pictures."""
    from sd.data.images import to_pil

    images = open_training_set(folder)
    for place in places:
        validation.whole("picture", place, 0, len(images.pixels) - 1)
    return [(images.names[place], to_pil(images.pixels[place])) for place in places]


def open_training_set(folder: Path) -> "ImageSet":
    """Return a run's own pictures, or those of the bundled set on which it was trained."""
    from sd.data.ingest import open_images

    own = folder / runs.PICTURES
    return open_images(own) if own.is_dir() else read_bundled_set(folder)


@lru_cache(maxsize=1)
def read_bundled_set(folder: Path) -> "ImageSet":
    """Return the bundled set on which a run was trained, which takes seconds."""
    from sd.data.image_set import read_images

    config, data = Config.read(folder / runs.CONFIG), runs.read_source(folder)
    training = config.training
    return read_images(
        validation.choice("data", data, tuple(BUNDLED_SETS)),
        height=training.input_height,
        width=training.input_width,
        channels=config.picture_shape[0],
        fit=training.fit,
        classes=training.classes,
    )


@lru_cache(maxsize=8)
def encode_pairs(folder: Path, grid: Path, places: tuple[int, ...]) -> list[tuple[str, ...]]:
    """Return (sample, training picture, its name) of every pair, ready to be shown."""
    found = open_training_pictures(folder, places)
    return [
        (data_address(sample), data_address(picture), name)
        for sample, (name, picture) in zip(
            cut_cells(open_grid(grid), len(places)), found, strict=True
        )
    ]


def pairs_html(folder: Path, grid: SampleGrid, baseline: Baseline | None, lang: str) -> Markup:
    """Return every sample beside its nearest training picture, the nearest pair first."""
    pairs = encode_pairs(folder, grid.average, tuple(place for place, _ in grid.nearest))
    figure = Markup(
        '<figure><img src="{sample}" alt="{sample_alt}"><img src="{picture}" alt="{picture_alt}"'
        ' title="{name}"><figcaption>{distance:.2f}{verdict}</figcaption></figure>'
    )
    figures = []
    for k in sorted(range(len(pairs)), key=lambda k: grid.nearest[k][1]):
        (sample, picture, name), (_, distance) = pairs[k], grid.nearest[k]
        verdict = Markup()
        if baseline:
            kind = judge(distance, baseline)
            verdict = Markup(' <b class="{}">{}</b>').format(kind, say(f"likeness_{kind}", lang))
        figures.append(
            figure.format(
                sample=sample,
                sample_alt=say("pair_sample_alt", lang, n=k + 1),
                picture=picture,
                picture_alt=say("pair_picture_alt", lang, name=name[:LONGEST_NAME]),
                name=name[:LONGEST_NAME],
                distance=distance,
                verdict=verdict,
            )
        )
    return Markup('<div class="pairs">{}</div>').format(Markup("").join(figures))


def read_baseline(folder: Path) -> Baseline | None:
    """Return what a run measured as the usual distance, if it did."""
    event = runs.baseline(folder)
    return Baseline.from_event(event) if event else None


def meter_html(
    grid: SampleGrid | None, baseline: Baseline | None, waiting: bool, lang: str
) -> Markup:
    """Return how near samples come to training pictures, as marks before the usual distance.

    waiting: whether it may still be measured; a run that never measured it says nothing. Where
    the pictures were too few to tell what is usual, the distance stands alone.
    """
    if grid is None or not grid.nearest:
        return paragraph(say("likeness_wait", lang)) if waiting else Markup()
    distances = [distance for _, distance in grid.nearest]
    near = f"{min(distances):.2f}"
    if baseline is None:
        return paragraph(say("meter_few", lang, n=len(distances), near=near))
    counts = Counter(judge(distance, baseline) for distance in distances)
    worst = next(kind for kind in ("copy", "close", "own") if counts[kind])
    line = say(f"meter_{worst}", lang, n=len(distances), k=counts[worst], near=near)
    usual = {"low": f"{baseline.low:.2f}", "median": f"{baseline.median:.2f}"}
    usually = "meter_held_out" if baseline.kind == "held_out" else "meter_training"
    about = say(usually, lang, count=f"{baseline.count:,}", **usual)
    strip = curves.strip(distances, (baseline.low, baseline.median), STRIP_MOST, f"{line} {about}")
    return paragraph(line, worst) + strip + paragraph(about)


def read_prompts(folder: Path, step: int) -> tuple[str, ...]:
    """Return the prompt of each sample of a step; () where there was none."""
    for event in reversed(runs.events(folder)):
        if event["event"] == "samples" and event["step"] == step:
            return tuple(prompt[:LONGEST_PROMPT] for prompt in event.get("prompts") or ())
    return ()


def number_prompts(prompts: Sequence[str], lang: str) -> str:
    """Return prompts in one line, each with the number of its sample."""
    numbered = (f"{number} {prompt}" for number, prompt in enumerate(prompts, start=1))
    return say("between_words", lang).join(numbered)


def prompts_html(prompts: Sequence[str], lang: str) -> Markup:
    """Return the prompts, sample by sample; a long list opens under its beginning."""
    if not prompts:
        return Markup()
    if len(set(prompts)) == 1:
        return paragraph(say("asked_all", lang, prompt=prompts[0]))
    line = number_prompts(prompts, lang)
    if len(line) <= SHORT_LIST:
        return paragraph(say("asked", lang, prompts=line))
    counts = range(COLUMNS, 1, -1)
    fitting = (k for k in counts if len(number_prompts(prompts[:k], lang)) <= BEGINNING)
    begin = number_prompts(prompts[: next(fitting, 1)], lang)[:BEGINNING]
    return Markup(
        '<div class="told asked"><details><summary>{}</summary><ol>{}</ol></details></div>'
    ).format(say("asked", lang, prompts=f"{begin} …"), tags("li", prompts))


@lru_cache(maxsize=MOST_SHEETS)
def count_right(grid: Path, prompts: tuple[str, ...]) -> tuple[int, int, int]:
    """Return how many samples are as asked, how many of them asked for what is held out; and those.

    grid: samples of drawn shapes, each asked for its prompt. Raises `InputError` as `open_grid`.
    """
    cells = cut_cells(open_grid(grid), len(prompts))
    right = [shapes.follows(*each) for each in zip(prompts, cells, strict=True)]
    new = [shapes.is_held_out(prompt) for prompt in prompts]
    return sum(right), sum(a and b for a, b in zip(right, new, strict=True)), sum(new)


def right_html(folder: Path, grid: SampleGrid, prompts: Sequence[str], lang: str) -> Markup:
    """Return how many samples of drawn shapes are as asked; nothing where that cannot be told."""
    sides = Config.read(folder / runs.CONFIG).picture_shape[1:]
    told = bool(prompts) and all(map(shapes.is_caption, prompts))
    if not told or max(sides) > shapes.LARGEST_SIDE:
        return Markup()
    try:
        right, unseen, new = count_right(grid.average, tuple(prompts))
    except InputError:  # a damaged grid is told of where it is shown
        return Markup()
    of = {"right": right, "of": len(prompts), "unseen": unseen, "new": new}
    is_held_out = new and runs.read_source(folder) in shapes.SETS
    return paragraph(say("drawn_unseen" if is_held_out else "drawn", lang, **of))


def thin_grids(grids: Sequence[SampleGrid]) -> list[SampleGrid]:
    """Return at most `MOST_SHEETS` of a run's grids, the same ones while it grows, and the last."""
    apart = 1
    while len(grids) // apart >= MOST_SHEETS:
        apart *= 2
    return [grid for k, grid in enumerate(grids) if k % apart == 0 or grid is grids[-1]]


def sheets(grids: Sequence[SampleGrid], known: Sequence[int]) -> dict[str, object]:
    """Return the grids that the browser lacks, which has those of the steps `known`, in order."""
    same = takewhile(lambda pair: pair[0].step == pair[1], zip(grids, known, strict=False))
    keep = min(sum(1 for _ in same), max(len(grids) - 1, 0))  # the newest may be made anew
    more = [{"step": grid.step, "src": picture_address(grid.average)} for grid in grids[keep:]]
    return {"keep": keep, "more": more}


def picture_address(path: Path) -> dict[str, object] | None:
    """Return a grid as the browser gets it; None where it is damaged, which hides nothing else."""
    try:
        return file_data(store_grid(path, path.stat().st_mtime_ns))
    except (InputError, OSError):
        return None


def store_grid(path: Path, version: int) -> str:
    """Return where a grid is served: written there once, marked as what is ours."""
    return str(store(encode_grid(path, version), "samples.png"))


@lru_cache(maxsize=512)
def encode_grid(path: Path, _version: int) -> bytes:
    """Return a grid as PNG, opened the one safe way."""
    marks.save_png(open_grid(path), file := io.BytesIO())
    return file.getvalue()


def save_newest(folder: Path, file: Path) -> None:
    """Write a run's newest samples, enlarged, as PNG; raise `InputError` where there are none."""
    grids = runs.samples(folder)
    if not grids:
        raise InputError(f"{folder.name}: has no samples yet")
    marks.save_png(enlarge(open_grid(grids[-1].average)), file)


def draw(
    folder: Path, grid: SampleGrid | None, tool: str, view: str, alive: bool, lang: str
) -> dict[str, object]:
    """Return what is shown of one grid: {"stage": markup, "src": a picture, "note": markup}.

    What the run has not kept is answered by the averaged samples and a sentence.
    """
    if grid is None and (found := reconstructions(folder)) is not None:
        return {"src": found, "note": paragraph(say("reconstructions", lang))}
    if grid is None:
        return {"note": paragraph(say("samples_wait", lang)) if alive else ""}
    note = meter_html(grid, read_baseline(folder), alive, lang)
    if tool == "nearest":
        pairs, missing = pairs_or_why(folder, grid, lang)
        return {"stage": pairs, "note": note if pairs else paragraph(missing)}
    names = captions.names(runs.read_source(folder), lang)
    prompts = read_prompts(folder, grid.step)
    asked = [names.get(each, each) for each in prompts]
    under = right_html(folder, grid, prompts, lang) + prompts_html(asked, lang)
    if view != RAW:
        return {"note": under}
    src = picture_address(grid.raw) if grid.raw is not None and grid.raw.is_file() else None
    return {"src": src, "note": under if src else paragraph(say("no_raw", lang)) + under}


def reconstructions(folder: Path) -> dict[str, object] | None:
    """Return what a run's own autoencoder made of some pictures, as the browser gets it."""
    path = folder / runs.LATENTS / runs.RECONSTRUCTIONS
    return picture_address(path) if path.is_file() else None


def reconstructions_image(folder: Path) -> str | None:
    """Return the same as an address that holds it."""
    path = folder / runs.LATENTS / runs.RECONSTRUCTIONS
    try:
        return data_address(open_grid(path), SCREEN_SIDE) if path.is_file() else None
    except (InputError, OSError):
        return None


def pairs_or_why(folder: Path, grid: SampleGrid, lang: str) -> tuple[Markup, str]:
    """Return the pairs of a grid, or nothing and the sentence why there are none."""
    there = (folder / runs.PICTURES).is_dir() or runs.read_source(folder) in BUNDLED_SETS
    if not grid.nearest or not there:
        return Markup(), say("no_nearest", lang)
    try:
        return pairs_html(folder, grid, read_baseline(folder), lang), ""
    except InputError as error:  # damaged pictures must not hide the run's state
        return Markup(), f"{error}:"
