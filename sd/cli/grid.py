"""The sample command's grid: a picture for each value of an axis, or each pair of two."""

import argparse
import sys
from functools import partial

from PIL import Image

from sd.checkpoints.closed_form_model import ClosedFormModel
from sd.checkpoints.model import Model
from sd.cli.sample import OWN, check_output, generation_of, place_of, size_remarks
from sd.common.device import choose
from sd.common.marks import save_png
from sd.common.outputs import Output, write_free, write_named
from sd.common.validation import InputError
from sd.data.images import lay_on_white, to_pil
from sd.generation import export
from sd.generation.grid import Axis, file_name, lay_out, parse_axis
from sd.generation.pipeline import check
from sd.generation.price import price_of
from sd.generation.recipe import Recipe
from sd.generation.registry import ModelEntry, digest, entry_at, load_model, model_at
from sd.generation.save import Generation, prepare_output
from sd.generation.sheet import draw_sheet
from sd.runs import default_home

FORMS = (".png",)
SHEET = "grid.png"
TELLING = {"prompt": ("label", "prompt", "unconditional"), "checkpoint": ()}  # else of its name
ONE_EACH = ("count", "seed_to", "keep_steps", "attention")  # a cell is one finished picture


def sample_grid(args: argparse.Namespace) -> None:
    """Make every cell's picture and a sheet of them all, after saying what it takes."""
    out, axes = check_output(args, FORMS), [parse_axis(words) for words in args.grid]
    _check_flags(args, axes)
    machine = choose(args.device).apply()
    entry = model_at(default_home(), place_of(args))
    source = load_model(entry, machine.device)
    _fill_in(args, axes, source)
    args.count = 1
    base, lines = generation_of(args, entry, source, machine)
    cells = lay_out(base.recipe, axes, lambda step: digest(entry_at(entry, step)))
    sources = _Sources(entry, source, machine.device)
    flat = [cell for row in cells for cell in row]
    for cell in flat:
        check(cell, sources.of(cell))
    for size in dict.fromkeys(cell.size for cell in flat if cell.size and not args.size):
        lines += size_remarks(source, size)
    price = price_of(flat, sources.of, machine.device)
    out = prepare_output(out, source.config.training.save_path)
    for line in (*lines, price.line()):
        print(line, file=sys.stderr)
    pictures = [
        [
            _draw(Generation(cell, sources.of(cell), machine), out, axes, (row, column))
            for column, cell in enumerate(each)
        ]
        for row, each in enumerate(cells)
    ]
    sheet = partial(save_png, draw_sheet(pictures, axes))
    if out.is_file:
        write_named(out.path, sheet)
    else:
        write_free(out.path / SHEET, sheet)
    shape = f"{len(cells)} x {len(cells[0])} cells"
    print(f"{shape} on {machine.label}: {out.path}")


class _Sources:
    """The model of each cell: as it was at the cell's step, and of the cell's size."""

    def __init__(self, entry: ModelEntry, source: Model | ClosedFormModel, device: str) -> None:
        self.entry, self.device = entry, device
        self.loaded = {entry.step: source}

    def of(self, cell: Recipe) -> Model | ClosedFormModel:
        """Return the model of a cell, loaded once a step."""
        if cell.step not in self.loaded:
            self.loaded[cell.step] = load_model(entry_at(self.entry, cell.step), self.device)
        source = self.loaded[cell.step]
        if cell.size in (None, source.space.picture_shape[1:]):
            return source
        return source.resized(*cell.size)


def _check_flags(args: argparse.Namespace, axes: list[Axis]) -> None:
    """Raise `InputError` for a flag that a grid has no use for, or that an axis tells."""
    for name in ONE_EACH:
        if getattr(args, name) not in (None, False):
            flag = f"--{name.replace('_', '-')}"
            raise InputError(f"{flag}: cannot be given with --grid; a cell is one finished picture")
    for axis in axes:
        for name in TELLING.get(axis.name, (axis.name,)):
            if getattr(args, name, None) not in (None, False):
                raise InputError(f"{OWN[name]}: cannot be given; --grid {axis.name} tells it")


def _fill_in(args: argparse.Namespace, axes: list[Axis], source: Model | ClosedFormModel) -> None:
    """Let the flags ask for the first prompt of an axis, so that the usual guidance follows."""
    conditioner = source.conditioner if isinstance(source, Model) else None
    for axis in axes:
        if axis.name == "prompt":
            flag = "label" if conditioner is not None and conditioner.labels else "prompt"
            setattr(args, flag, [axis.values[0]])


def _draw(made: Generation, out: Output, axes: list[Axis], place: tuple[int, int]) -> Image.Image:
    """Return a cell's picture; in a folder, it gets a file with its recipe."""
    *_, last = made.steps()
    x = made.space.decode(last.x_t)
    if not out.is_file:
        named = list(zip(axes, place[-len(axes) :], strict=True))
        fill = partial(export.write_png, to_pil(x[0]), recipe=made.record(0))
        write_free(out.path / f"{file_name(named)}.png", fill)
    return to_pil(lay_on_white(x)[0])
