"""Save a sampling, as picture, film, numbers or page; and open a picture with its recipe."""

import io
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from sd.checkpoints.record import LICENSE
from sd.common import validation
from sd.common.marks import RECIPE, SIGNATURE, mark_zip, png_chunks
from sd.common.text import printable
from sd.common.validation import InputError
from sd.data.reading.files import read_bytes
from sd.generation import registry
from sd.generation.recipe import Recipe, from_json
from sd.ui import models
from sd.ui.adapter import scratch
from sd.ui.components import player
from sd.ui.components.events import Updates, by_name
from sd.ui.components.fields import NUMBER, SWITCH, Field, Values, form, patch
from sd.ui.components.handlers import QUIET, guarded, language, progress_on
from sd.ui.components.html import progress_bar
from sd.ui.components.tools import tool_fold
from sd.ui.components.widgets import label
from sd.ui.denoise import form as sampling_form
from sd.ui.denoise.job import steps_of
from sd.ui.denoise.tools import branch, like
from sd.ui.denoise.tools.bar import SAVE
from sd.ui.denoise.tree import Node, Tree
from sd.ui.state import home
from sd.ui.texts import say

FORMS = PNG, GIF, MP4, WEBP, NPZ, HTML = ("png", "gif", "mp4", "webp", "npz", "html")
ALL = "zip"  # every picture as a PNG
FIELDS = (
    Field(
        name="kind",
        kind=SWITCH,
        value=PNG,
        label="take_form",
        info="take_form_info",
        choices=[(f"take_{word}", word) for word in FORMS],
    ),
    Field(
        name="index",
        kind=NUMBER,
        value=1,
        label="take_index",
        info="take_index_info",
        low=1,
        high=models.CAPS.count,
        when=("kind", (PNG, HTML)),
    ),
)
LONGEST_LABEL = 80  # characters of the machine on which a recipe was made
MOST_BYTES = 2**30  # of all steps at once
PRESS = '() => document.querySelector("#take-download").click()'


class TakeawayParts(NamedTuple):
    """What saves and what opens."""

    form: gr.HTML
    go: gr.Button
    all: gr.Button
    download: gr.DownloadButton
    bring: Any


def png_record(recipe: Recipe, index: int) -> dict[str, Any]:
    """Return what a PNG carries: the recipe, which picture it is, on what it was made, a licence.

    The licence is that of the model's weights, where one is known to go along with them.
    """
    told = {"recipe": recipe.to_json(), "index": index, "made": models.machine().record()}
    with suppress(InputError):  # the model may have been deleted or renamed since
        if license := registry.license_of(models.find(recipe.model)):
            told[LICENSE] = license
    return told


def write_file(node: Node, kind: str, index: int, lang: str) -> Path:
    """Return a new file of a node in one of the forms."""
    if not node.done:
        raise InputError("nothing has been denoised yet: press Denoise first")
    name = f"{node.recipe.model.replace(':', '-')}-seed-{node.recipe.seed}.{kind}"
    with scratch.temporary_folder(scratch.TAKE, home().spare) as folder:
        path = folder / name
        if kind == PNG:
            write_picture(node, path, index)
        elif kind == ALL:
            write_pictures(node, path)
        elif kind == HTML:
            write_player(node, path, index, lang)
        else:
            write_steps(node, path, kind)
    return path


def write_player(node: Node, path: Path, index: int, lang: str) -> None:
    """Write the player with all its pictures as one file."""
    from sd.generation.film import embed_chunks
    from sd.generation.player.one_file import write_html

    write_html(
        [embed_chunks(node.film)], path, player.words(lang), png_record(node.recipe, index), lang
    )


def write_steps(node: Node, path: Path, kind: str) -> None:
    """Write every step as numbers, or as many as a moving picture shows."""
    from sd.generation import export

    check_room(node)
    space = models.open_recipe_space(node.recipe)
    steps = list(steps_of(node.recipe, node.done))
    if kind == NPZ:
        export.write_npz(path, steps, space, node.recipe.seeds)
    else:
        frames = export.draw_frames(export.thin_steps(steps), space)
        export.write_film(path.suffix, frames, path)


def check_room(node: Node) -> None:
    """Raise `InputError` where all steps at once would need too much memory."""
    channels, height, width = models.shape_of_recipe(node.recipe)
    need = 12 * node.done * node.recipe.count * channels * height * width  # x_t, x0, eps in float32
    if need > MOST_BYTES:
        raise InputError(
            f"{node.done} steps of {node.recipe.count} pictures: {need >> 20} MiB at once; at most "
            f"{MOST_BYTES >> 20} are allowed: take fewer steps or pictures"
        )


def write_pictures(node: Node, path: Path) -> None:
    """Write every finished picture as a PNG with its recipe, into one zip."""
    with zipfile.ZipFile(path, "w") as packed:  # a PNG is as small as it gets
        for index in range(node.recipe.count):
            write_picture(node, file := io.BytesIO(), index)
            packed.writestr(f"{path.stem}-{index + 1}.png", file.getvalue())
    mark_zip(path)


def write_picture(node: Node, path: Path | io.BytesIO, index: int) -> None:
    """Write one finished picture as PNG with its recipe; only a finished one has a recipe."""
    from sd.data.images import to_pil
    from sd.generation.export import write_png

    if node.done < node.recipe.steps:
        raise InputError(
            f"png: stopped at step {node.done} of {node.recipe.steps}, and only a finished picture "
            "carries its recipe; take gif, webp, mp4, npz or html"
        )
    if node.end is None:
        *_, last = steps_of(node.recipe, node.done)
        node.end = models.open_recipe_space(node.recipe).decode(last.x_t)
    write_png(to_pil(node.end[index]), path, png_record(node.recipe, index))


def offer_pictures(tree: Tree, count: int) -> Updates:
    """Offer the picture that is chosen if it is one of so many, and the field if it is a choice."""
    return {"saving": patch({"index": min(tree.picture, count)}, shown={"index": count > 1})}


@guarded
def take(request: gr.Request, tree: Tree, saving: Values) -> Updates:
    """Make the file that was asked for, for the hidden button."""
    node = tree.current
    number = validation.whole("picture", saving["index"], 1, node.recipe.count)
    tree.picture = number
    path = write_file(node, saving["kind"], number - 1, language(request))
    return {"download": gr.update(value=str(path))}


@guarded
def take_all(request: gr.Request, tree: Tree) -> Updates:
    """Make a zip of all pictures that are shown, for the hidden button."""
    return {"download": gr.update(value=str(write_file(tree.current, ALL, 0, language(request))))}


def has_recipe(file: str) -> bool:
    """Tell whether a file is a PNG that was made here, whether or not its recipe can be read."""
    data = read_bytes(Path(file))
    return data.startswith(SIGNATURE) and any(
        kind == b"iTXt" and data.startswith(RECIPE.encode() + b"\0", start)
        for kind, start, _ in png_chunks(data)
    )


@guarded
def bring(request: gr.Request, tree: Tree, file: str | None) -> Updates:
    """Read a PNG's recipe; set every control, and have the bar ask for making it again."""
    from sd.generation.export import read_recipe
    from sd.generation.pipeline import check

    if file is None:
        raise InputError("recipe: give a PNG that was made here")
    if not has_recipe(file) and (said := like.read_settings(file)):
        return like.take(said, Path(file).name[:80], language(request))
    record = read_recipe(Path(file))
    recipe = models.find_renamed(from_json(record.get("recipe")))
    models.within_caps(recipe)
    check(recipe, models.open_recipe_model(recipe))
    index = validation.whole("recipe: index", record.get("index"), 0, recipe.count - 1)
    made = record.get("made")
    name = made.get("label", "") if isinstance(made, dict) else ""
    machine = printable(str(name)[:LONGEST_LABEL])  # half characters cannot be sent
    lang, root = language(request), recipe.root
    tree.restored, tree.continued, tree.picture = recipe, None, index + 1
    line = say("brought", lang, name=Path(file).name[:80], machine=machine or "?")
    updates = sampling_form.updates_of(root, lang)
    asked: Any = updates["asked"]
    return {
        "line": progress_bar([line], 0),
        **offer_pictures(tree, recipe.count),
        **updates,
        "asked": {"patch": {**asked["patch"], "again": True}},
        **branch.updates_of(recipe, tree.find(root), lang),
    }


def build() -> TakeawayParts:
    """Lay out what saves and what opens."""
    with tool_fold(SAVE):
        fields = form(FIELDS, "take-form", is_kept=False)
        with gr.Row(elem_classes="verbs"):
            go = gr.Button(label("take_go"), elem_id="take-go", elem_classes="tool-verb")
            every = gr.Button(label("take_all"), elem_id="take-all", elem_classes="tool-verb")
            brought = gr.UploadButton(label("bring"), file_types=[".png"], elem_id="take-bring")
        download = gr.DownloadButton("file", visible="hidden", elem_id="take-download")
    return TakeawayParts(fields, go, every, download, brought)


def wire(parts: TakeawayParts, state: gr.State, controls: Mapping[str, Any], line: gr.HTML) -> None:
    """Wire saving and opening, which sets the `controls`."""
    tree = {"tree": state}
    wanted = {**tree, "saving": parts.form}
    saved, queued = {"download": parts.download}, progress_on(line)
    for taken in (
        parts.go.click(**by_name(take, wanted, saved), **queued),
        parts.all.click(**by_name(take_all, tree, saved), **queued),
    ):
        taken.success(None, None, None, js=PRESS, **QUIET)
    outputs = {"line": line, "saving": parts.form, **controls}
    parts.bring.upload(**by_name(bring, {**tree, "file": parts.bring}, outputs), **QUIET)
