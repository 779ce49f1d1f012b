"""Take a sampling away, as picture, film, numbers or page; and bring a picture's recipe back."""

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from sd.common import validation
from sd.common.text import printable
from sd.common.validation import InputError
from sd.generation.recipe import Recipe, from_json
from sd.ui import models
from sd.ui.adapter import scratch
from sd.ui.components import player
from sd.ui.components.handlers import MODEL, QUIET, guarded, language
from sd.ui.components.player import store_chunk
from sd.ui.components.widgets import label, note, slider
from sd.ui.denoise import branch, form
from sd.ui.denoise.job import progress_html, steps_of
from sd.ui.denoise.tree import Node, Tree
from sd.ui.texts import say

FORMS = PNG, GIF, MP4, NPZ, HTML = ("png", "gif", "mp4", "npz", "html")
LONGEST_LABEL = 80  # characters of the machine on which a recipe was made
MOST_BYTES = 2**30  # of all steps at once
PRESS = '() => document.querySelector("#take-download").click()'


class Taking(NamedTuple):
    """What takes away and brings back."""

    form: Any
    index: Any
    go: gr.Button
    download: gr.DownloadButton
    bring: Any
    again: gr.Button


def record(recipe: Recipe, index: int) -> dict[str, Any]:
    """Return what a PNG carries: the recipe, which picture it is, and on what it was made."""
    return {"recipe": recipe.to_json(), "index": index, "made": models.machine().record()}


def written(node: Node, form: str, index: int, lang: str) -> Path:
    """Return a new file of a node in one of the forms."""
    if not node.done:
        raise InputError("nothing has been denoised yet: press Denoise first")
    name = f"{node.recipe.model.replace(':', '-')}-seed-{node.recipe.seed}.{form}"
    with scratch.temporary_folder(scratch.TAKE) as folder:
        path = folder / name
        if form == PNG:
            write_picture(node, path, index)
        elif form == HTML:
            write_player(node, path, index, lang)
        else:
            write_steps(node, path, form)
    return path


def write_player(node: Node, path: Path, index: int, lang: str) -> None:
    """Write the player with all its pictures as one file."""
    from sd.generation.export import write_html
    from sd.generation.film import embed_chunks

    write_html(
        [embed_chunks(node.film)], path, player.words(lang), record(node.recipe, index), lang
    )


def write_steps(node: Node, path: Path, form: str) -> None:
    """Write every step as numbers, or as many as a moving picture shows."""
    from sd.generation import export

    check_room(node)
    steps = list(steps_of(node.recipe, node.done))
    space = models.open_model(models.find_recipe_model(node.recipe)).space
    if form == NPZ:
        export.write_npz(path, steps, space, node.recipe.seeds)
    else:
        write = export.write_gif if form == GIF else export.write_mp4
        write(export.draw_frames(export.thin_steps(steps), space), path)


def check_room(node: Node) -> None:
    """Raise `InputError` where all steps at once would need too much memory."""
    channels, height, width = models.shape_of(models.find_recipe_model(node.recipe))
    need = 12 * node.done * node.recipe.count * channels * height * width  # x_t, x0, eps in float32
    if need > MOST_BYTES:
        raise InputError(
            f"{node.done} steps of {node.recipe.count} pictures: {need >> 20} MiB at once; at most "
            f"{MOST_BYTES >> 20} are allowed: take fewer steps or pictures"
        )


def write_picture(node: Node, path: Path, index: int) -> None:
    """Write one finished picture as PNG with its recipe; only a finished one has a recipe."""
    from sd.data.images import to_pil
    from sd.generation.export import write_png

    if node.done < node.recipe.steps:
        raise InputError(
            f"png: stopped at step {node.done} of {node.recipe.steps}, and only a finished picture "
            "carries its recipe; take gif, mp4, npz or html"
        )
    if node.end is None:
        *_, last = steps_of(node.recipe, node.done)
        space = models.open_model(models.find_recipe_model(node.recipe)).space
        node.end = space.decode(last.x_t)
    write_png(to_pil(node.end[index]), path, record(node.recipe, index))


@guarded
def take(request: gr.Request, tree: Tree, form: Any, index: Any) -> Any:
    """Make the file that was asked for; return it for the hidden button."""
    form = validation.choice("form", form, FORMS)
    node = tree.current
    number = validation.whole("picture", index, 1, models.CAPS.count)
    if number > node.recipe.count:
        raise InputError(
            f"picture = {number}: must be a whole number from 1 to {node.recipe.count}"
        )
    return gr.update(value=str(written(node, form, number - 1, language(request))))


@guarded
def bring(request: gr.Request, tree: Tree, file: Any) -> tuple[Any, ...]:
    """Read a PNG's recipe; set every control, and keep the recipe for making it again."""
    from sd.generation.export import read_recipe
    from sd.generation.pipeline import check

    if file is None:
        raise InputError("recipe: give a PNG that was made here")
    told = read_recipe(Path(file))
    recipe = models.within_caps(from_json(told.get("recipe")))
    check(recipe, models.open_model(models.find_recipe_model(recipe)))
    index = validation.whole("recipe: index", told.get("index"), 0, recipe.count - 1)
    made = told.get("made")
    named = made.get("label", "") if isinstance(made, dict) else ""
    machine = printable(str(named)[:LONGEST_LABEL])  # half characters cannot be sent
    lang = language(request)
    tree.restored, tree.continued = recipe, None
    line = say("brought", lang, name=Path(file).name[:80], machine=machine or "?")
    shown = progress_html([html.unescape(line)], 0)
    return shown, gr.update(visible=True), index + 1, *controls(recipe, lang, tree)


def controls(recipe: Recipe, lang: str, tree: Tree) -> tuple[Any, ...]:
    """Return what all controls are set to: those of the root, then those of the branch."""
    root = recipe.root
    return *root_controls(root, lang), *branch.settings_of(recipe, tree.of(root), lang)


def root_controls(root: Recipe, lang: str) -> tuple[Any, ...]:
    """Return what the fields, the upload and the gallery of a sampling are set to."""
    return *form.settings_of(root, store_chunk, lang), *form.picture_of(root)


def build() -> Taking:
    """Lay out what takes away and what brings back."""
    with gr.Accordion(label("take"), open=False, elem_classes="fold", elem_id="denoise-take"):
        note("take_about")
        form = gr.Radio(
            [(label(f"take_{word}"), word) for word in FORMS],
            value=PNG,
            label=label("take_form"),
            info=label("take_form_info"),
            elem_classes="switch",
            elem_id="take-form",
        )
        index = slider("take_index", 1, models.CAPS.count, 1, elem_id="take-index")
        with gr.Row(elem_classes="buttons"):
            go = gr.Button(label("take_go"), elem_id="take-go")
            brought = gr.UploadButton(label("bring"), file_types=[".png"], elem_id="take-bring")
            again = gr.Button(label("bring_again"), visible=False, elem_id="take-again")
        download = gr.DownloadButton("file", visible="hidden", elem_id="take-download")
    return Taking(form, index, go, download, brought, again)


def wire(taking: Taking, tree: gr.State, controlled: Sequence[Any], line: gr.HTML) -> None:
    """Wire taking away and bringing back, which sets what is `controlled`."""
    wanted = [tree, taking.form, taking.index]
    queued: dict[str, Any] = {"show_progress": "minimal", "show_progress_on": line}
    made = taking.go.click(
        take, wanted, taking.download, api_visibility="private", **queued, **MODEL
    )
    made.success(None, None, None, js=PRESS, **QUIET)
    outputs = [line, taking.again, taking.index, *controlled]
    taking.bring.upload(bring, [tree, taking.bring], outputs, **QUIET)
