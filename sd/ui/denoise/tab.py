"""The Denoise tab: a model turns noise into pictures, every step is kept and can be left anew.

What a button does is a handler below; the sampling itself is a `Job` on the worker's thread, which
`sample` starts and watches.
"""

from collections.abc import Iterator
from typing import Any

import gradio as gr
from markupsafe import Markup

from sd.common import validation
from sd.common.validation import InputError
from sd.generation.recipe import Recipe
from sd.ui import models
from sd.ui.components.events import Updates, by_name
from sd.ui.components.fields import Values
from sd.ui.components.handlers import (
    ALWAYS,
    QUIET,
    at_end,
    event_value,
    guarded,
    language,
    progress_on,
)
from sd.ui.components.html import progress_bar
from sd.ui.components.player import content as player_content
from sd.ui.components.player import developed, player
from sd.ui.components.tools import tools_bar
from sd.ui.components.widgets import command_box, label
from sd.ui.denoise import example, faces, form, inpaint, prompts
from sd.ui.denoise.attention import panel as attention
from sd.ui.denoise.form import SamplingForm
from sd.ui.denoise.grid import columns_of
from sd.ui.denoise.job import Job, progress_line, resumed, watch
from sd.ui.denoise.job import develop as make_still
from sd.ui.denoise.tools import algorithm2, branch, grid_panel, race, takeaway
from sd.ui.denoise.tools.bar import TOOLS
from sd.ui.denoise.tools.branch import BranchForm, branch_step, offer_branch, offer_still
from sd.ui.denoise.tools.grid_panel import Grid, cell_of
from sd.ui.denoise.tree import Node, Tree, title
from sd.ui.published import added
from sd.ui.texts import say

RUNNING, PAUSED, RESTING = ({"patch": {"state": word}} for word in ("running", "paused", "rest"))
FIRST_EXAMPLE_SHARE = 0.6  # of the bundled example's steps, where a branch of it is offered


# ---- the stage: player and line


def show_films(tree: Tree, lang: str) -> Updates:
    """Show a page's samplings in the player; before there is anything, no change."""
    films, picture = tree.films(), tree.picture - 1  # the card that is chosen at first
    if not films:
        return {}
    names = models.caption_names(tree.current.recipe.model, lang)
    return {"player": player_content(films, lang, tree.others(), names, picture=picture)}


def show_tree(tree: Tree) -> Updates:
    """Show what belongs to the player: which of its pictures can be saved."""
    shown = tree.nodes.get(tree.shown or 0)
    return takeaway.offer_pictures(tree, shown.recipe.count) if shown else {}


def node_line(node: Node, lang: str) -> Markup:
    """Return the line of a sampling that is shown again."""
    key = "finished" if node.done == node.recipe.steps else "stopped"
    words = say(key, lang, i=node.done, n=node.recipe.steps)
    return progress_bar([words], node.done / node.recipe.steps)


# ---- sampling


def sample(tree: Tree, recipe: Recipe, lang: str) -> Iterator[Updates]:
    """Make a recipe's pictures as a new node, and yield the stage as they come."""
    if tree.job:
        tree.job.stop()
    node = tree.find(recipe) or tree.add(recipe)
    tree.show(node.number)
    job = tree.job = Job(recipe, title(node, lang), columns=columns_of(recipe))
    # The player waits for this job's own film: gradio sends what an event shows as differences
    # from what it showed before, and the frames of an older, longer film come out wrong.
    yield {"line": progress_line(job, lang, False), "asked": RUNNING, **show_tree(tree)}
    yield from follow(tree, node, job, watch(job), lang)


def follow(
    tree: Tree, node: Node, job: Job, watched: Iterator[bool], lang: str
) -> Iterator[Updates]:
    """Yield the stage while a job is at work, until it ends or pauses."""
    try:
        for ended in watched:
            film = job.film_json()
            node.film = film or node.film
            if not ended:
                pictures = show_films(tree, lang) if film else {}
                yield {**pictures, "line": progress_line(job, lang, False)}
    finally:
        if (film := job.film_json()) is not None and job.last is not None:
            node.film, node.done, node.end = film, job.done, job.end
        if not node.film:
            tree.forget(node)
    state = PAUSED if job.paused else RESTING
    line = progress_line(job, lang, True)
    yield {**show_films(tree, lang), "line": line, "asked": state, **show_tree(tree)}


@guarded
def run(request: gr.Request, tree: Tree, **fields: Any) -> Iterator[Updates]:
    """Sample as the fields say."""
    yield from sample(tree, SamplingForm(**fields).to_recipe(), language(request))


@guarded
def go_on(request: gr.Request, tree: Tree, event: gr.EventData) -> Iterator[Updates]:
    """Go on with the sampling that pauses: for so many steps, or (0) to its end."""
    steps = validation.whole("steps", event_value(event, "steps"), 0, models.CAPS.steps)
    job, lang = tree.job, language(request)
    node = tree.find(job.recipe) if job else None
    if job is None or node is None or not job.paused:
        raise InputError("nothing pauses here: press Draw")
    tree.show(node.number)
    yield {"asked": RUNNING}
    yield from follow(tree, node, job, resumed(job, steps or None), lang)


def pause(tree: Tree) -> None:
    """Ask the sampling that is shown to pause after the step at hand."""
    if isinstance(tree, Tree) and tree.job:
        tree.job.pause()


@guarded
def open_cell(
    request: gr.Request, tree: Tree, grid: Grid, event: gr.EventData
) -> Iterator[Updates]:
    """Show a cell of the grid on the stage, with its steps."""
    yield from sample(tree, cell_of(grid, event), language(request))


@guarded
def run_branch(
    request: gr.Request, tree: Tree, branch_form: Values, paint: Any
) -> Iterator[Updates]:
    """Go on from the step at which the slider rests."""
    node, branching = tree.current, BranchForm(**branch_form, paint=paint)
    recipe = branching.to_recipe(node, tree.place or node.recipe.steps // 2)
    yield from sample(tree, recipe, language(request))


@guarded
def run_again(request: gr.Request, tree: Tree) -> Iterator[Updates]:
    """Make the pictures of the recipe that was brought back, exactly."""
    if tree.restored is None:
        raise InputError("recipe: drop a PNG that was made here first")
    yield from sample(tree, tree.restored, language(request))


def stop(tree: Tree) -> None:
    """Ask the sampling that is shown to end after the step at hand."""
    if isinstance(tree, Tree) and tree.job:
        tree.job.stop()


# ---- looking at what was made


@guarded
def choose_node(request: gr.Request, tree: Tree, event: gr.EventData) -> Updates:
    """Show another node of the tree; set the controls to what made it, and a branch to go on."""
    lang, node = language(request), tree.show(event_value(event, "node"))
    tree.place = max(1, node.done)
    return {
        **show_films(tree, lang),
        "line": node_line(node, lang),
        **show_tree(tree),
        **(offer_branch(tree, lang) if node.filmed else {}),
        **form.updates_of(node.recipe.root, lang),
    }


@guarded
def note_place(request: gr.Request, tree: Tree, event: gr.EventData) -> Updates:
    """Note where the player's slider rests, and offer a branch from there.

    An event of a film that another has replaced meanwhile changes nothing.
    """
    node = tree.current
    if event_value(event, "id") not in (None, node.film.get("id")):
        return {}
    tree.place = validation.whole("step", event_value(event, "i"), 1, node.recipe.steps)
    if (picture := event_value(event, "picture")) is not None:
        tree.picture = 1 + validation.whole("picture", picture, 0, node.recipe.count - 1)
    chosen = takeaway.offer_pictures(tree, node.recipe.count)
    return {**offer_branch(tree, language(request)), **chosen}


@guarded
def develop(request: gr.Request, tree: Tree) -> Updates:
    """Decode the estimate at the step where the slider rests, where the film has a preview only.

    At the end, where the pictures are decoded, that of the step from which a branch would go on.
    """
    node = tree.current
    film = node.film
    if film.get("factor", 1) == 1:
        return {}
    at = branch_step(node, tree.place)
    known = next((each for each in film["stills"] if (each["i"], each["kind"]) == (at, "x0")), None)
    still = known or make_still(node.recipe, at, film["columns"])
    if still is None or node.film.get("id") != film["id"]:
        return {}
    if known is None:
        node.film = {**node.film, "stills": [*node.film["stills"], still]}
    return {"player": developed(film, still), **offer_still(tree, language(request))}


@guarded
def first_view(request: gr.Request, tree: Tree, model: str) -> Updates:
    """Show the bundled example as the page's first node, and offer a branch of it on its way.

    Without an example the player gets its words alone.
    The controls are set to what made it, so that the first press of the button makes its like.
    """
    lang, found = language(request), example.find_example()
    offered: Any = prompts.show_words(request, model)
    if tree.job or len(tree.nodes) > 1:
        return {}
    if found is None:
        return {**offered, "player": player_content([], lang)}
    recipe, film = found
    node = tree.find(recipe) or tree.add(recipe)  # asked again where the bar came later
    node.film, node.done = {**film, "label": title(node, lang)}, recipe.steps
    tree.place = tree.place or max(1, round(FIRST_EXAMPLE_SHARE * recipe.steps))
    return {
        "player": player_content(
            tree.films(), lang, names=models.caption_names(recipe.model, lang), opening=True
        ),
        "line": progress_bar([say("example", lang)], 1),
        **show_tree(tree),
        **offer_branch(tree, lang),
        **form.first_updates(recipe, offered, lang),
    }


# ---- laid out


def build(demo: gr.Blocks, model: gr.HTML) -> None:
    """Lay out the tab and wire it; `model` is the page's."""
    state = gr.State(Tree())
    with gr.Column(elem_classes="denoise-page"):
        bar = form.build_bar(model)
        added.build(model)
        fields = form.build(bar)
        stage = build_stage()
    stage["asked"] = asked = bar["asked"]
    tools_bar(TOOLS)
    branching = branch.build()
    attention_fold, attention_parts = attention.build()
    algorithm_fold, algorithm = algorithm2.build()
    race.build(fields.fields)
    cells = grid_panel.build(fields.fields)
    taking = takeaway.build()
    stage["saving"] = taking.form
    command = command_box()

    tree, offered = {"tree": state}, branching.outputs
    shown = progress_on(stage["line"])
    opened = by_name(open_cell, {**tree, "grid": cells.state}, stage)
    always = shown | ALWAYS
    began = [
        asked.submit(**by_name(run, tree | fields.fields, stage), **always),
        asked.play(**by_name(go_on, tree, stage), **always),
        branching.go.click(**by_name(run_branch, tree | branching.fields, stage), **shown),
        cells.sheet.click(**opened, **shown),
    ]
    branching.fold.expand(branch.note_seen, state, None, **QUIET)
    asked.pause(pause, state, None, **QUIET)
    stage["halt"].click(stop, state, None, **QUIET)
    everything = {**stage, **offered, **fields.controls}
    moved = wire_player(stage["player"], tree, {**offered, "saving": taking.form}, everything)
    algorithm2.wire(algorithm_fold, algorithm, moved, state)
    attention.wire(attention_fold, attention_parts, moved, state)
    inpaint.wire(stage, {**tree, "model": model}, fields.controls, everything)
    controls = {**fields.controls, **branching.outputs}
    takeaway.wire(taking, state, controls, stage["line"])
    began.append(asked.again(**by_name(run_again, tree, stage), **always))
    for event in began:
        at_end(event, "() => sdPrompt.ended()")
    form.wire(fields, command)
    asked.look(**by_name(faces.show_faces, {"model": model}, {"asked": asked}), **QUIET)
    # The tab's parts are made when it is first seen, which may be before all is wired, or later.
    viewed = by_name(first_view, {**tree, "model": model}, everything)
    gr.on([demo.load, asked.load], **viewed, **QUIET, trigger_mode="always_last")


def wire_player(
    steps: gr.HTML, tree: dict[str, Any], offered: dict[str, Any], everything: dict[str, Any]
) -> Any:
    """Wire where the player's slider rests, and which sampling is gone to; return the former."""
    placed = by_name(note_place, tree, offered)
    moved = steps.select(**placed, trigger_mode="multiple", **QUIET)
    still = by_name(develop, tree, {"player": steps, "branch_paint": offered["branch_paint"]})
    moved.success(**still, trigger_mode="always_last", **QUIET)
    chosen = by_name(choose_node, tree, everything)
    steps.click(**chosen, trigger_mode="multiple", **QUIET)
    return moved


def build_stage() -> dict[str, Any]:
    """Lay out the player and its line; out of sight, what stops and what takes a dropped file."""
    steps = player("denoise-player", example.find_still(), brushes=True)
    line = gr.HTML(elem_classes="status", elem_id="denoise-status")
    halt = gr.Button(label("stop"), elem_id="denoise-stop", visible="hidden")
    drop = gr.UploadButton(label("bring"), elem_id="denoise-dropped", elem_classes="denoise-drop")
    return {"player": steps, "line": line, "halt": halt, "drop": drop}
