"""Saving a sampling: pictures in a folder, a grid, arrays, or a film."""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from sd.checkpoints.closed_form_model import ClosedFormModel
from sd.checkpoints.model import Model
from sd.checkpoints.record import LICENSE, RAIL_M_NAME
from sd.common.device import Machine
from sd.common.encoding import data_uri
from sd.common.marks import save_png
from sd.common.outputs import Output, make_place, write_free, write_named
from sd.data.images import make_grid, to_pil
from sd.data.space import Space
from sd.diffusion.sampling import SampleStep
from sd.diffusion.timesteps import calls_per_step
from sd.generation import export, pipeline
from sd.generation.attention_pictures import AttentionRecorder
from sd.generation.film import Film
from sd.generation.player import one_file
from sd.generation.player.words import PLAYER_TEXTS
from sd.generation.recipe import Recipe

FORMS = (".png", ".npz", *export.FILM_FORMS, ".html")
TOGETHER = 32  # steps of a film that become pictures at once


@dataclass(frozen=True)
class Generation:
    """A recipe to be sampled: with which model, on which machine, and which picture is wanted.

    index: counted from 0; None for all pictures.
    """

    recipe: Recipe
    source: Model | ClosedFormModel
    machine: Machine
    index: int | None = None

    def steps(self, attention: AttentionRecorder | None = None) -> Iterable[SampleStep]:
        """Return the steps of what is wanted, with a bar on a terminal; `InputError` if unfit.

        `attention` records every step as it comes.
        """
        stream = pipeline.stream(self.recipe, self.source, self.machine.device)
        if attention is not None:
            stream = record_attention(stream, attention)
        quiet = not sys.stderr.isatty()
        bar = tqdm(stream, total=self.recipe.steps, unit="step", disable=quiet)
        return bar if self.index is None else (pick_picture(step, self.index) for step in bar)

    @property
    def indices(self) -> list[int]:
        """The places of the pictures that are wanted."""
        return list(range(self.recipe.count)) if self.index is None else [self.index]

    @property
    def space(self) -> Space:
        """The way to its pictures."""
        return pipeline.space_of(self.recipe, self.source.space)

    def record(self, index: int | None = None) -> dict[str, Any]:
        """Return what a file carries: the recipe, which picture it is (None: a grid), the machine.

        And the licence of the model's weights, where one is known to go along with them. A reader
        that wants one picture of a grid takes the first.
        """
        told = {
            "recipe": self.recipe.to_json(),
            "index": index or 0,
            "sheet": index is None,
            "made": self.machine.record(),
        }
        restricted = isinstance(self.source, Model) and self.source.is_restricted
        return told | ({LICENSE: RAIL_M_NAME} if restricted else {})


def record_attention(
    steps: Iterable[SampleStep], attention: AttentionRecorder
) -> Iterator[SampleStep]:
    """Yield the steps while their network's attention is recorded."""
    with attention:
        for step in steps:
            attention.add(step)
            yield step


def pick_picture(step: SampleStep, index: int) -> SampleStep:
    """Return a step of one of its pictures."""
    one = slice(index, index + 1)
    return step._replace(x_t=step.x_t[one], x0=step.x0[one], eps=step.eps[one])


def prepare_output(out: Output | None, save_path: str | None) -> Output:
    """Return where samples go, its folder made: `out`, else the ini's `save_path`, else samples.

    A `save_path` is always a folder.
    """
    out = out or Output(Path(save_path or "samples"))
    make_place(out)
    return out


def save(out: Output, steps: Iterable[SampleStep], made: Generation, every: bool) -> None:
    """Write the pictures of the last of `steps`, and the others where the form or `every` asks.

    A folder gets a PNG per picture, and of `every` step a grid, each under a free name. FILE.png
    is a grid; FILE.npz as `sd.generation.export.write_npz` writes it. GIF, WebP, MP4 and
    HTML show the steps.
    """
    if not out.is_file:
        _save_folder(out.path, steps, made, every)
        return
    if out.form in (".npz", ".png"):
        steps = [step for step in steps if every or step.t == 0]
    write_named(out.path, partial(_save_file, out.form, steps, made, every))


def _save_file(
    form: str, steps: Iterable[SampleStep], made: Generation, every: bool, file: Path
) -> None:
    space = made.space
    if form == ".npz":
        seeds = [made.recipe.seeds[index] for index in made.indices]
        with file.open("w+b") as opened:  # numpy gives a name another ending
            export.write_npz(opened, list(steps), space, seeds, every)
    elif form == ".png":
        *_, last = steps
        export.write_png(make_grid(space.decode(last.x_t)), file, made.record(made.index))
    elif form == ".html":
        one_file.write_html([_make_film(steps, made)], file, PLAYER_TEXTS, made.record(made.index))
    else:
        frames = export.draw_frames(export.thin_steps(list(steps)), space)
        export.write_film(form, frames, file)


def _save_folder(out: Path, steps: Iterable[SampleStep], made: Generation, every: bool) -> None:
    for step in steps:
        if not every and step.t > 0:
            continue
        pictures = made.space.decode(step.x_t)
        if every:
            write_free(out / f"step-{step.i:04d}.png", partial(save_png, make_grid(pictures)))
        if step.t > 0:
            continue
        for index, picture in zip(made.indices, pictures, strict=True):
            fill = partial(export.write_png, to_pil(picture), recipe=made.record(index))
            write_free(out / f"{_picture_name(made.recipe, index)}.png", fill)


def _picture_name(recipe: Recipe, index: int) -> str:
    """Return the name of a picture: its seed, or its place between two."""
    name = f"seed-{recipe.seeds[index]:05d}"
    if recipe.seed_to is None:
        return name
    return f"{name}-to-{recipe.seed_to:05d}-{index + 1:04d}"


def _make_film(steps: Iterable[SampleStep], made: Generation) -> dict[str, Any]:
    recipe, source = made.recipe, made.source
    calls = calls_per_step(recipe.sampler)
    captions = [recipe.captions[index] for index in made.indices] if recipe.captions else []
    film = Film(
        made.space,
        source.diffusion.schedule,
        recipe.steps,
        calls,
        label=recipe.model,
        captions=captions,
    )
    last = None
    for last in steps:
        film.add(last)
        if last.i % TOGETHER == 0:
            film.flush(data_uri)
    film.end()
    film.flush(data_uri)
    if last is not None:
        film.add_end(made.space.decode(last.x_t), data_uri)
    return film.json()
