"""The grid on the page: what varies down and across, what that takes, and the sheet as it comes.

Every cell is a PNG that carries its own recipe, and opens on the stage when it is pressed.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import gradio as gr
from markupsafe import Markup
from PIL import Image

from sd.common import validation
from sd.common.encoding import data_uri
from sd.common.validation import InputError
from sd.generation import registry
from sd.generation.grid import AXES, Axis, lay_out, read_axis
from sd.generation.recipe import Recipe
from sd.generation.registry import ModelEntry
from sd.ui import models
from sd.ui.components.events import Updates, by_name
from sd.ui.components.fields import CHOICE, TEXT, Field, Values, form
from sd.ui.components.handlers import (
    CELLS,
    PANEL,
    QUIET,
    event_value,
    guarded,
    language,
    progress_on,
)
from sd.ui.components.html import paragraph, pressed, progress_bar
from sd.ui.components.tools import tool_fold, verb
from sd.ui.components.widgets import label
from sd.ui.denoise.form import SamplingForm
from sd.ui.denoise.job import Job, watch
from sd.ui.denoise.samplers import SAMPLER_NAMES, plain_name
from sd.ui.denoise.tools.bar import GRID
from sd.ui.denoise.tools.takeaway import png_record
from sd.ui.texts import duration, say

NONE = ""
MOST_CELLS = 36  # of a page; the command line makes more
LONGEST_VALUES = 4000  # characters
FIRST_DOWN, FIRST_ACROSS, FIRST_SCALES = "prompt", "guidance", "1, 2, 4"
FIRST_VALUES = {  # of others: see `first_values`
    "guidance": FIRST_SCALES,
    "steps": "5, 10, 25",
    "sampler": ", ".join(SAMPLER_NAMES[name] for name in ("ddim", "heun", "dpmpp_2m", "unipc")),
    "seed": "0, 1, 2, 3",
    "eta": "0, 0.5, 1",
}
MOST_FIRST = 4  # checkpoints
CHOICES = tuple((f"axis_{name}", name) for name in AXES)
FIELDS = (
    Field(
        name="down",
        kind=CHOICE,
        value=FIRST_DOWN,
        label="grid_down",
        choices=(("axis_none", NONE), *CHOICES),
    ),
    Field(
        name="down_values",
        kind=TEXT,
        value="",
        label="grid_values",
        info="grid_values_info",
        longest=LONGEST_VALUES,
        when=("down", AXES),
        follows=("down", FIRST_VALUES),
    ),
    Field(name="across", kind=CHOICE, value=FIRST_ACROSS, label="grid_across", choices=CHOICES),
    Field(
        name="across_values",
        kind=TEXT,
        value=FIRST_SCALES,
        label="grid_values",
        info="grid_values_info",
        longest=LONGEST_VALUES,
        follows=("across", FIRST_VALUES),
    ),
)


@dataclass
class Grid:
    """What one page lays out: axes and cells, the pictures so far as data addresses, its job."""

    axes: list[Axis] = field(default_factory=list)
    cells: list[list[Recipe]] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)
    job: Job | None = None
    stopped: bool = False

    @property
    def flat(self) -> list[Recipe]:
        """The cells, row by row."""
        return [cell for row in self.cells for cell in row]


class GridParts(NamedTuple):
    """The sheet, whose cells can be pressed, and what holds the grid."""

    sheet: gr.HTML
    state: gr.State


def read_axes(chosen: Values, recipe: Recipe) -> list[Axis]:
    """Return the axes of the fields, the one that goes down first; empty prompts are the form's."""
    axes, entry = [], models.find(recipe.model)
    for name in ("down", "across"):
        axis, words = chosen[name], chosen[f"{name}_values"]
        if axis == NONE:
            continue
        if axis == "sampler":
            words = ",".join(map(plain_name, re.split("[,，、\n]", words)))
        if axis == "prompt" and not words.strip():
            if not recipe.prompts:
                raise InputError("grid prompt: ask for at least one, of a model that knows any")
            axes.append(Axis(axis, tuple(dict.fromkeys(recipe.prompts))))
        else:
            axes.append(read_axis(axis, words.strip() or first_values(axis, entry)))
    return axes


def cells_of(chosen: Values, recipe: Recipe) -> tuple[list[Axis], list[list[Recipe]]]:
    """Return the axes and a recipe for each cell, all within what a page makes."""
    axes, entry = read_axes(chosen, recipe), models.find(recipe.model)
    cells = lay_out(recipe, axes, lambda step: registry.digest(registry.entry_at(entry, step)))
    flat = [cell for row in cells for cell in row]
    if len(flat) > MOST_CELLS:
        raise InputError(
            f"grid: {len(cells)} x {len(cells[0])} cells; this page makes at most {MOST_CELLS}; "
            "the command line makes more: python -m sd sample --grid"
        )
    models.check_together([models.within_caps(cell) for cell in flat])
    return axes, cells


def first_values(axis: str, entry: ModelEntry) -> str:
    """Return what an axis has where no values were typed: of the model's own, as far as it goes."""
    if axis == "checkpoint":
        return ", ".join(map(str, registry.steps_of(entry)[-MOST_FIRST:]))
    if axis != "size":
        return ""
    height, width = models.shape_of(entry)[1:]
    wide = width + width // 2
    with suppress(InputError):
        models.cost_of(entry).resized((height, wide))
        return f"{height}x{width}, {height}x{wide}"
    return f"{height}x{width}"


def titles_of(axis: Axis, names: Mapping[str, str]) -> list[str]:
    """Return what each value of an axis is called on the page."""
    known = SAMPLER_NAMES if axis.name == "sampler" else names
    return [known.get(each, each) for each in axis.titles]


def price_html(cells: list[Recipe], lang: str) -> Markup:
    """Return what cells take, and a word on sizes that were never trained."""
    from sd.generation.pipeline import check
    from sd.generation.price import price_of

    for cell in cells:
        check(cell, models.open_recipe_model(cell))
    with models.turn():
        price = price_of(cells, models.open_recipe_model, models.machine().device)
    seconds = duration(price.seconds, lang)
    values = {"n": price.pictures, "calls": f"{price.calls:,}", "s": seconds}
    lines = [say("grid_price", lang, **values)]
    own = models.shape_of(models.find(cells[0].model))[1:]
    if any(cell.size not in (None, own) for cell in cells):
        lines.append(say("size_untrained", lang, size="{}x{}".format(*own)))
    return paragraph(" ".join(lines))


def sheet_html(grid: Grid, lang: str) -> Markup:
    """Return the sheet: both axes by name, every value, and the pictures that are there."""
    if not grid.cells:
        return Markup("")
    down = grid.axes[0] if len(grid.axes) == 2 else None
    across, columns = grid.axes[-1], len(grid.cells[0])
    names = models.caption_names(grid.cells[0][0].model, lang)
    told = [titles_of(axis, names) for axis in grid.axes]
    heads = Markup("").join(Markup('<th scope="col">{}</th>').format(t) for t in told[-1])
    corner = Markup("<td></td>") if down else Markup("")
    name = Markup('<tr>{}<th colspan="{}" class="axis">{}</th></tr><tr>{}{}</tr>').format(
        Markup('<th class="axis">{}</th>').format(say(f"axis_{down.name}", lang)) if down else "",
        columns,
        say(f"axis_{across.name}", lang),
        corner,
        heads,
    )
    rows = Markup("").join(
        Markup("<tr>{}{}</tr>").format(
            Markup('<th scope="row">{}</th>').format(told[0][row]) if down else "",
            Markup("").join(
                cell_html(grid, row * columns + column, told, lang) for column in range(columns)
            ),
        )
        for row in range(len(grid.cells))
    )
    table = Markup('<table class="sheet-of-cells"><thead>{}</thead><tbody>{}</tbody></table>')
    return table.format(name, rows)


def cell_html(grid: Grid, place: int, told: Sequence[Sequence[str]], lang: str) -> Markup:
    """Return one cell: its picture as a button, or an empty place; told: the axes' titles."""
    if place >= len(grid.pictures):
        return Markup("<td><i></i></td>")
    button = Markup(
        '<td><button type="button" data-cell="{}" title="{}"><img src="{}" alt="{}"></button></td>'
    )
    columns = len(grid.cells[0])
    places = divmod(place, columns)[-len(grid.axes) :]
    words = say("between_clauses", lang).join(
        f"{say(f'axis_{axis.name}', lang)} {titles[at]}"
        for axis, titles, at in zip(grid.axes, told, places, strict=True)
    )
    return button.format(place, say("grid_open", lang), grid.pictures[place], words)


@guarded
def tell_price(request: gr.Request, grid_form: Values, **fields: Any) -> Updates:
    """Say what the grid of the fields would take."""
    recipe, lang = SamplingForm(**fields).to_recipe(), language(request)
    try:
        _, cells = cells_of(grid_form, recipe)
        return {"price": price_html([cell for row in cells for cell in row], lang)}
    except InputError as error:
        return {"price": paragraph(str(error), "warning")}


@guarded
def run_grid(
    request: gr.Request, grid: Grid, grid_form: Values, **fields: Any
) -> Iterator[Updates]:
    """Make cell after cell, and yield the sheet as they come; others are let in between."""
    recipe, lang = SamplingForm(**fields).to_recipe(), language(request)
    stop(grid)
    axes, cells = cells_of(grid_form, recipe)
    price = price_html([cell for row in cells for cell in row], lang)
    grid.axes, grid.cells, grid.pictures, grid.stopped = axes, cells, [], False
    flat = grid.flat
    yield {"price": price, "sheet": sheet_html(grid, lang), "line": line_of(grid, 0, lang)}
    for done, cell in enumerate(flat):
        job = grid.job = Job(cell, filmed=False)
        for _ in watch(job):
            yield {"line": line_of(grid, done + job.done / cell.steps, lang)}
        if grid.stopped or job.last is None or job.stopped:
            yield {"line": progress_bar([say("grid_stopped", lang, i=done, n=len(flat))], 0)}
            return
        grid.pictures.append(picture_address(job))
        yield {"sheet": sheet_html(grid, lang)}
    yield {"line": progress_bar([say("grid_done", lang, n=len(flat))], 1)}


def line_of(grid: Grid, done: float, lang: str) -> Markup:
    """Return how far a grid is."""
    count = len(grid.flat)
    return progress_bar([say("grid_progress", lang, i=int(done) + 1, n=count)], done / count)


def picture_address(job: Job) -> str:
    """Return a finished cell's picture as a PNG with its recipe, as a data address."""
    from io import BytesIO

    from sd.data.images import to_pil
    from sd.generation.export import write_png

    assert job.last is not None
    with models.turn():
        x = models.open_recipe_space(job.recipe).decode(job.last.x_t)
    image: Image.Image = to_pil(x[0])
    write_png(image, file := BytesIO(), png_record(job.recipe, 0))
    return data_uri(file.getvalue(), "image/png")


def cell_of(grid: Grid, event: gr.EventData) -> Recipe:
    """Return the recipe of the cell that was pressed."""
    most = len(grid.pictures) - 1
    if most < 0:
        raise InputError("grid: nothing has been drawn yet")
    return grid.flat[validation.whole("cell", event_value(event, "cell"), 0, most)]


def stop(grid: Grid) -> None:
    """Ask the grid to end after the step at hand."""
    if isinstance(grid, Grid):
        grid.stopped = True
        if grid.job:
            grid.job.stop()


def build(fields: Mapping[str, Any]) -> GridParts:
    """Lay out the grid and wire it; `fields` are those of a `SamplingForm`."""
    state = gr.State(Grid())
    with tool_fold(GRID) as fold:
        grid_form = form(FIELDS, "grid-form")
        with gr.Row(elem_classes="verbs"):
            go = verb("grid_go", "grid-go", "grid")
            halt = gr.Button(label("stop"), elem_id="grid-stop", elem_classes="stop")
            line = gr.HTML(elem_classes="status", elem_id="grid-status")
        price = gr.HTML(elem_id="grid-price", elem_classes="price")
        sheet = gr.HTML(elem_id="grid-sheet", js_on_load=pressed("cell", "Number"))
    chosen = {"grid_form": grid_form, **fields}
    outputs = {"line": line, "price": price, "sheet": sheet}
    go.click(**by_name(run_grid, {"grid": state, **chosen}, outputs), **progress_on(line) | CELLS)
    halt.click(stop, state, None, **QUIET)
    told = by_name(tell_price, chosen, {"price": price}) | QUIET | PANEL
    grid_form.input(**told, trigger_mode="always_last")
    fold.expand(**told)
    return GridParts(sheet, state)
