"""The Denoise tab: a model turns noise into pictures, every step is kept and can be left anew."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import gradio as gr

from sd.common import validation
from sd.common.validation import InputError
from sd.diffusion.timesteps import (
    SAMPLERS,  # what the endpoints offer
)
from sd.generation.recipe import Recipe
from sd.ui import models, starters
from sd.ui.components.handlers import HIDDEN, MODEL, QUIET, event_value, guarded, language
from sd.ui.components.html import pressed
from sd.ui.components.player import content as player_content
from sd.ui.components.player import player, store_chunk
from sd.ui.components.widgets import command_box, label, new_seed
from sd.ui.denoise import algorithm2, branch, example, form, race, takeaway
from sd.ui.denoise.attention import panel as attention
from sd.ui.denoise.grid import columns_of, grid_recipe, legend
from sd.ui.denoise.job import Job, progress_html, progress_line, watch
from sd.ui.denoise.tree import ALONE, Node, Tree, title, tree_html
from sd.ui.texts import say

FIRST_EXAMPLE_SHARE = 0.6  # of the bundled example's steps, where the page opens it
OFFERED = 1 + len(branch.BranchForm._fields)  # the words about a step and the branch's fields


class Stage(NamedTuple):
    """What shows a sampling: player, line, tree, what to compare it with, what was asked for."""

    player: Any
    line: gr.HTML
    tree: gr.HTML
    beside: Any
    legend: gr.HTML


def seen(tree: Tree, lang: str) -> Any:
    """Return what the player shows of a page's samplings; before there is anything, no change."""
    films = tree.films()
    if not films:
        return gr.skip()
    return player_content(films, lang)


def shown(tree: Tree, line: str, lang: str) -> tuple[Any, ...]:
    """Return the whole stage: player, line, tree, what can stand beside it, and the legend."""
    others = [
        (f"{node.number}: {title(node, lang)}", str(node.number))
        for node in tree.nodes.values()
        if node.number != tree.shown and node.film
    ]
    listed = [(say("beside_none", lang), ALONE), *others]
    chosen = str(tree.beside or ALONE)
    beside = gr.update(choices=listed, value=chosen, interactive=bool(others))
    asked = legend(tree.nodes[tree.shown].recipe, lang) if tree.shown in tree.nodes else ""
    return seen(tree, lang), line, tree_html(tree, lang), beside, asked


def making(tree: Tree, recipe: Recipe, lang: str) -> Iterator[tuple[Any, ...]]:
    """Make a recipe's pictures as a new node, and yield the stage as they come."""
    if tree.job:
        tree.job.stop()
    node = tree.of(recipe) or tree.add(recipe)
    tree.show(node.number)
    job = tree.job = Job(recipe, title(node, lang), columns=columns_of(recipe))
    # The player waits for this job's own film: gradio sends what an event shows as differences
    # from what it showed before, and the frames of an older, longer film come out wrong.
    yield gr.skip(), *shown(tree, progress_line(job, lang, False), lang)[1:]
    try:
        for ended in watch(job):
            film = job.film_json()
            node.film = film or node.film
            if not ended:
                pictures = seen(tree, lang) if film else gr.skip()
                yield pictures, progress_line(job, lang, False), *(gr.skip(),) * 3
    finally:
        if (film := job.film_json()) is not None and job.last is not None:
            node.film, node.done, node.end = film, job.done, job.end
        if not node.film:
            tree.forget(node)
    yield shown(tree, progress_line(job, lang, True), lang)


@guarded
def run(request: gr.Request, tree: Tree, *values: Any) -> Iterator[tuple[Any, ...]]:
    """Sample as the fields say, and yield the stage as it comes."""
    yield from making(tree, form.recipe_of(*values), language(request))


@guarded
def run_grid(request: gr.Request, tree: Tree, *values: Any) -> Iterator[tuple[Any, ...]]:
    """Sample every prompt with every guidance, and yield the stage as it comes."""
    scales = form.SamplingForm(*values).scales
    yield from making(tree, grid_recipe(form.recipe_of(*values), scales), language(request))


@guarded
def go_on(request: gr.Request, tree: Tree, *values: Any) -> Iterator[tuple[Any, ...]]:
    """Go on from the step at which the slider rests, and yield the stage as it comes."""
    node = tree.current
    at = branch.place_of(node, tree.place or node.recipe.steps // 2)
    recipe = branch.recipe_of(node, at, *values)
    yield from making(tree, recipe, language(request))


@guarded
def again(request: gr.Request, tree: Tree) -> Iterator[tuple[Any, ...]]:
    """Make the pictures of the recipe that was brought back, exactly, and yield the stage."""
    if tree.restored is None:
        raise InputError("recipe: drop a PNG that was made here first")
    yield from making(tree, tree.restored, language(request))


def halt(tree: Any) -> None:
    """Ask the sampling that is shown to end after the step at hand."""
    if isinstance(tree, Tree) and tree.job:
        tree.job.stop()


@guarded
def choose_node(request: gr.Request, tree: Tree, event: gr.EventData) -> tuple[Any, ...]:
    """Show another node of the tree; set the controls to what made it, and a branch to go on."""
    lang = language(request)
    node = tree.show(event_value(event, "node"))
    tree.place = max(1, node.done)
    offered = branch.offered(tree, lang) if node.made else (gr.skip(),) * OFFERED
    controls = takeaway.root_controls(node.recipe.root, lang)
    return *shown(tree, said(node, lang), lang), *offered, *controls


def said(node: Node, lang: str) -> str:
    """Return the line of a sampling that is looked at again."""
    key = "finished" if node.done == node.recipe.steps else "stopped"
    words = say(key, lang, i=node.done, n=node.recipe.steps)
    return progress_html([words], node.done / node.recipe.steps)


@guarded
def set_beside(request: gr.Request, tree: Tree, name: Any) -> Any:
    """Put another sampling beside the one that is shown."""
    tree.compare(name)
    return seen(tree, language(request))


@guarded
def rest(request: gr.Request, tree: Tree, event: gr.EventData) -> tuple[Any, ...]:
    """Note where the player's slider rests; return what can be done from there.

    What is told of a film that another has replaced meanwhile changes nothing.
    """
    node = tree.current
    lanes = [node, *(tree.nodes[n] for n in (tree.beside,) if n in tree.nodes)]
    if event_value(event, "id") not in (None, *(lane.film.get("id") for lane in lanes)):
        return (gr.skip(),) * OFFERED
    lane = lanes[
        validation.whole("lane", event_value(event, "lane"), 0, len(lanes) - 1)
    ].recipe.steps
    share = validation.whole("step", event_value(event, "i"), 1, lane) / lane
    tree.place = max(1, round(share * node.recipe.steps))
    return branch.offered(tree, language(request))


@guarded
def first_view(request: gr.Request, tree: Tree) -> tuple[Any, ...]:
    """Return the bundled example as the page's first node, open on its way, and a branch of it.

    The controls are set to what made it, so that the first press of the button makes its like.
    """
    lang, found = language(request), example.bundled()
    if found is None or tree.nodes:
        return (gr.skip(),) * (len(Stage._fields) + OFFERED + len(form.SamplingForm._fields))
    recipe, film = found
    node = tree.add(recipe)
    node.film, node.done = {**film, "label": title(node, lang)}, recipe.steps
    tree.place = max(1, round(FIRST_EXAMPLE_SHARE * recipe.steps))
    line = progress_html([say("example", lang)], 1)
    _, *others = shown(tree, line, lang)
    opened = player_content(tree.films(), lang, at=tree.place)
    controls = form.settings_of(recipe, store_chunk, lang)
    return opened, *others, *branch.offered(tree, lang), *controls


@guarded
def model_list(value: Any, upload: Any) -> Any:
    """Return the list of models as it is now, with `value` or the first one chosen."""
    choices = models.list_choices(upload)
    names = [name for _, name in choices]
    chosen = value if value in names else names[0]
    return gr.update(choices=choices, value=chosen)


def told(*values: Any) -> str:
    """Return the command line of the fields; nothing while a field is being typed."""
    try:
        return models.sample_command(form.recipe_of(*values))
    except InputError:
        return ""


@guarded
def depending(
    request: gr.Request, model: Any, sampler: Any, steps: Any, spacing: Any, begin: Any, share: Any
) -> tuple[Any, Any, str]:
    """Show eta and variance where they count, and say what a sampler is and costs."""
    sampler = validation.choice("sampler", sampler, SAMPLERS)
    steps = validation.whole("steps", steps, 1, models.CAPS.steps)
    entry, lang = models.find(model), language(request)
    start = form.start_time(entry, share) if begin == form.PICTURE else None
    calls = models.network_calls(entry, sampler, steps, spacing, start)
    about = f"{say(f'about_{sampler}', lang)} {say('sampler_calls', lang, calls=calls)}"
    return gr.update(visible=sampler == "ddim"), gr.update(visible=sampler == "ddpm"), about


def build(demo: gr.Blocks, upload: Any) -> None:
    """Lay out the tab and wire it; `upload` holds the pictures that the Train tab has read."""
    tree = gr.State(Tree())
    with gr.Row(elem_classes="page wide denoise-page"):
        with gr.Column(elem_classes="side"):
            asked, extras = form.build()
            with gr.Column(elem_classes="actions"), gr.Row(elem_classes="buttons"):
                go = gr.Button(label("denoise"), variant="primary", elem_id="denoise-go")
                stop = gr.Button(label("stop"), elem_id="denoise-stop", elem_classes="stop")
        with gr.Column(elem_classes="stage"):
            stage = build_stage()
    branching, place, leave = branch.build()
    race.build(asked)
    fold, numbers = algorithm2.build()
    attention_fold, panel = attention.build()
    taking = takeaway.build()
    box = command_box()
    outputs = list(stage)
    offered = [place, *branching]
    queued = {**HIDDEN, "api_visibility": "private", **MODEL}
    go.click(run, [tree, *asked], outputs, **queued)
    extras.shown.go.click(run_grid, [tree, *asked], outputs, **queued)
    leave.click(go_on, [tree, *branching], outputs, **queued)
    taking.again.click(again, tree, outputs, **queued)
    stop.click(halt, tree, None, **QUIET)
    moved = stage.player.select(rest, tree, offered, trigger_mode="multiple", **QUIET)
    algorithm2.wire(fold, moved, tree, numbers)
    attention.wire(attention_fold, moved, tree, panel)
    rooted = [*asked, extras.upload, extras.gallery]
    chosen = [*outputs, *offered, *rooted]
    stage.tree.click(choose_node, tree, chosen, trigger_mode="multiple", **QUIET)
    stage.beside.input(set_beside, [tree, stage.beside], stage.player, **QUIET)
    takeaway.wire(taking, tree, [*rooted, *branching], stage.line)
    wire_fields(demo, asked, extras, box, upload)
    demo.load(first_view, tree, [*outputs, *offered, *asked], **QUIET)


def build_stage() -> Stage:
    """Lay out the line, the player, the tree and the list of what can stand beside."""
    line = gr.HTML(elem_classes="status", elem_id="denoise-status")
    shown_steps = player("denoise-player")
    asked = gr.HTML(elem_classes="legend-box", elem_id="denoise-legend")
    with gr.Row(elem_classes="tree-row"):
        tree = gr.HTML(elem_id="denoise-tree", js_on_load=pressed("node", "Number"))
        beside = gr.Dropdown(
            [],
            filterable=False,
            interactive=False,
            label=label("beside"),
            info=label("beside_info"),
            elem_id="denoise-beside",
        )
    return Stage(shown_steps, line, tree, beside, asked)


def wire_fields(
    demo: gr.Blocks, asked: form.SamplingForm, extras: form.Extras, box: gr.Textbox, upload: Any
) -> None:
    """Wire what the fields change among themselves."""
    listing: dict[str, Any] = {"inputs": [asked.model, upload], "outputs": asked.model}
    asked.model.focus(model_list, **listing, **QUIET)
    extras.dice.click(new_seed, None, asked.seed, **QUIET)
    dependents = [asked.model, asked.sampler, asked.steps, asked.spacing, asked.begin, asked.share]
    dependent: dict[str, Any] = {
        "fn": depending,
        "inputs": dependents,
        "outputs": [asked.eta, asked.variance, extras.about],
        **QUIET,
    }
    for each in dependents:
        each.change(trigger_mode="always_last", **dependent)
    form.wire(asked, extras)
    for each in asked:
        if not isinstance(each, gr.State | gr.HTML):
            each.change(told, list(asked), box, trigger_mode="always_last", **QUIET)
    loaded = demo.load(model_list, **listing, **QUIET)
    loaded.then(told, list(asked), box, **QUIET)
    demo.load(starters.thumbnails, None, extras.gallery, **QUIET)
