"""A run's samples for the screen: averaged, raw, or beside the training pictures most like them.

The sheets are read from the run's folder; what bears torch is imported where pictures are opened.
"""

import html
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from sd import runs
from sd.common import marks, validation
from sd.common.validation import InputError
from sd.config import Config
from sd.runs.journal import SampleGrid
from sd.runs.sample_grid import COLUMNS, GAP, open_sample_grid
from sd.training.likeness import Baseline, judge
from sd.ui.adapter.served_files import store_picture
from sd.ui.components import curves
from sd.ui.components.images import data_address, enlarge
from sd.ui.texts import say

AVERAGED, RAW, NEAREST = VIEWS = ("averaged", "raw", "nearest")
SHORT_LIST, BEGINNING = 120, 60  # characters of a list that is not folded, and of one that is
LONGEST_PROMPT, LONGEST_ALT = 200, 400  # characters that are shown of one, and of all in words
STRIP_MOST = 1.5  # of the distances on the meter; 1 is as far as one of its own


def open_grid(path: Path) -> Image.Image:
    """Return a sheet of samples, decoded; raise `InputError` for what is none of this run's."""
    return open_sample_grid(path, Config.read(path.parent.parent / runs.CONFIG))


def cut_cells(sheet: Image.Image, count: int) -> list[Image.Image]:
    """Return the first `count` pictures of a sheet, row by row."""
    side = [(length + GAP) // COLUMNS for length in sheet.size]
    corners = [(k % COLUMNS * side[0], k // COLUMNS * side[1]) for k in range(count)]
    return [sheet.crop((x, y, x + side[0] - GAP, y + side[1] - GAP)) for x, y in corners]


def open_training_pictures(folder: Path, places: Sequence[int]) -> list[tuple[str, Image.Image]]:
    """Return name and picture of these of a run's training pictures."""
    from sd.data.images import to_pil
    from sd.data.ingest import open_images

    images = open_images(folder / runs.PICTURES)
    for place in places:
        validation.whole("picture", place, 0, len(images.pixels) - 1)
    return [(images.names[place], to_pil(images.pixels[place])) for place in places]


@lru_cache(maxsize=8)
def encode_pairs(folder: Path, sheet: Path, places: tuple[int, ...]) -> list[tuple[str, ...]]:
    """Return (sample, training picture, its name) of every pair, ready to be shown."""
    found = open_training_pictures(folder, places)
    return [
        (data_address(sample), data_address(picture), name)
        for sample, (name, picture) in zip(
            cut_cells(open_grid(sheet), len(places)), found, strict=True
        )
    ]


def pairs_html(folder: Path, sheet: SampleGrid, baseline: Baseline | None, lang: str) -> str:
    """Return every sample beside its nearest training picture, the nearest pair first."""
    addresses = encode_pairs(folder, sheet.average, tuple(k for k, _ in sheet.nearest))
    rows = []
    for place in sorted(range(len(sheet.nearest)), key=lambda k: sheet.nearest[k][1]):
        (mine, theirs, name), (_, far) = addresses[place], sheet.nearest[place]
        kind = judge(far, baseline) if baseline else "own"
        word = f' <b class="{kind}">{say(f"likeness_{kind}", lang)}</b>' if baseline else ""
        named = html.escape(name[:120])
        rows.append(
            f'<figure><img src="{mine}" alt="{say("pair_sample_alt", lang, n=place + 1)}">'
            f'<img src="{theirs}" alt="{say("pair_picture_alt", lang, name=named)}"'
            f' title="{named}"><figcaption>{far:.2f}{word}</figcaption></figure>'
        )
    return f'<div class="pairs">{"".join(rows)}</div>'


def read_baseline(folder: Path) -> Baseline | None:
    """Return what a run measured as the usual distance, if it did."""
    event = runs.baseline(folder)
    return Baseline.from_event(event) if event else None


def meter_html(
    sheet: SampleGrid | None, baseline: Baseline | None, waiting: bool, lang: str
) -> str:
    """Return how near samples come to training pictures, as marks before the usual distance.

    waiting: whether it may still be measured; a run that never measured it says nothing. Where
    the pictures were too few to tell what is usual, the distance stands alone.
    """
    if sheet is None or not sheet.nearest:
        return f'<p class="note">{say("likeness_wait", lang)}</p>' if waiting else ""
    distances = [far for _, far in sheet.nearest]
    if baseline is None:
        line = say("meter_few", lang, n=len(distances), near=f"{min(distances):.2f}")
        return f'<p class="note">{line}</p>'
    found = Counter(judge(far, baseline) for far in distances)
    worst = next(kind for kind in ("copy", "close", "own") if found[kind])
    facts = {"n": len(distances), "k": found[worst], "near": f"{min(distances):.2f}"}
    usual = {"low": f"{baseline.low:.2f}", "median": f"{baseline.median:.2f}"}
    line = say(f"meter_{worst}", lang, **facts)
    usually = "meter_held_out" if baseline.kind == "held_out" else "meter_training"
    about = say(usually, lang, count=f"{baseline.count:,}", **usual)
    drawn = curves.strip(distances, (baseline.low, baseline.median), STRIP_MOST, f"{line} {about}")
    return f'<p class="{worst}">{line}</p>{drawn}<p class="note">{about}</p>'


def read_prompts(folder: Path, step: int) -> tuple[str, ...]:
    """Return what the samples of a step were asked for, one each; () where nothing was."""
    told = (each for each in reversed(runs.events(folder)) if each["event"] == "samples")
    asked = next((each.get("prompts") for each in told if each["step"] == step), None) or ()
    return tuple(each[:LONGEST_PROMPT] for each in asked)


def number_prompts(prompts: Sequence[str]) -> str:
    """Return prompts in one line, each with the number of its sample."""
    return ", ".join(f"{number} {prompt}" for number, prompt in enumerate(prompts, start=1))


def prompts_html(prompts: Sequence[str], lang: str) -> str:
    """Return what was asked for, sample by sample; a long list opens under its beginning."""
    if not prompts:
        return ""
    if len(set(prompts)) == 1:
        asked = say("asked_all", lang, prompt=html.escape(prompts[0]))
        return f'<p class="note">{asked}</p>'
    line = number_prompts(prompts)
    if len(line) <= SHORT_LIST:
        return f'<p class="note">{say("asked", lang, prompts=html.escape(line))}</p>'
    fitting = (k for k in range(COLUMNS, 1, -1) if len(number_prompts(prompts[:k])) <= BEGINNING)
    begun = html.escape(number_prompts(prompts[: next(fitting, 1)])[:BEGINNING])
    rows = "".join(f"<li>{html.escape(prompt)}</li>" for prompt in prompts)
    title = say("asked", lang, prompts=f"{begun} …")
    inside = f"<details><summary>{title}</summary><ol>{rows}</ol></details>"
    return f'<div class="told asked">{inside}</div>'


def show_samples(
    folder: Path, sheet: SampleGrid | None, view: str, lang: str
) -> tuple[Any, Any, str]:
    """Return the picture, the pairs and the caption of one sheet, as `view` wants it.

    A view that the run has not kept is answered with the averaged samples and a sentence.
    """
    if sheet is None:
        empty = f'<p class="note">{say("samples_wait", lang)}</p>'
        return gr.update(value=None, visible=True), gr.update(visible=False), empty
    step, lacks, asked = f"{sheet.step:,}", "", read_prompts(folder, sheet.step)
    told_of = prompts_html(asked, lang)
    if view == NEAREST:
        pairs, lacks = pairs_or_why(folder, sheet, lang)
        if pairs:
            caption = f'<p class="note">{say("samples_nearest", lang, step=step)}</p>{told_of}'
            return gr.update(visible=False), gr.update(value=pairs, visible=True), caption
    path, told = sheet.average, "samples_step"
    if view == RAW:
        kept = sheet.raw is not None and sheet.raw.is_file()
        path, told = (sheet.raw, "samples_raw") if sheet.raw and kept else (path, told)
        lacks = "" if kept else say("no_raw", lang)
    alt = say("samples_alt", lang, name=folder.name, step=step)
    alt += f"; {say('asked', lang, prompts=number_prompts(asked)[:LONGEST_ALT])}" if asked else ""
    picture, damage = picture_or_why(path)
    file = picture and store_picture(picture)
    caption = f'<p class="note">{damage or lacks} {say(told, lang, step=step)}</p>{told_of}'
    return gr.update(value=file, alt_text=alt, visible=True), gr.update(visible=False), caption


def picture_or_why(path: Path) -> tuple[Image.Image | None, str]:
    """Return a sheet for the screen, or None and why it cannot be shown.

    What is taken from there carries the mark of what is ours, as gradio writes it into the PNG.
    """
    try:
        sheet = enlarge(open_grid(path))
        sheet.info = {marks.MADE: marks.MARK}
        return sheet, ""
    except InputError as error:  # a damaged sheet must not hide the run's state
        return None, f"{html.escape(str(error))}:"


def pairs_or_why(folder: Path, sheet: SampleGrid, lang: str) -> tuple[str, str]:
    """Return the pairs of a sheet, or nothing and the sentence why there are none."""
    if not sheet.nearest or not (folder / runs.PICTURES).is_dir():
        return "", say("no_nearest", lang)
    try:
        return pairs_html(folder, sheet, read_baseline(folder), lang), ""
    except InputError as error:  # damaged pictures must not hide the run's state
        return "", f"{html.escape(str(error))}:"
