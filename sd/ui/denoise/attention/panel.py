"""Where a model looked, at the step where the slider rests: each word, and a place of the picture.

What was looked at is asked for by `sd.ui.denoise.attention.record` and drawn by
`sd.ui.denoise.attention.pictures`.
"""

import html
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import gradio as gr

from sd.common import validation
from sd.generation.recipe import Recipe
from sd.ui import models
from sd.ui.components.handlers import HIDDEN, MODEL, PANEL, QUIET, guarded, language
from sd.ui.components.widgets import label, note, number
from sd.ui.denoise.attention import record
from sd.ui.denoise.attention.pictures import (
    ALL,
    AVERAGED,
    heads_of,
    layers_of,
    nothing,
    place_html,
    strip_html,
    subject_html,
    where_html,
    words_html,
)
from sd.ui.denoise.attention.record import CLASS_TOKENS, AttentionRecord, Spot
from sd.ui.denoise.job import progress_html
from sd.ui.denoise.tree import Tree
from sd.ui.texts import say

COLUMNS = 8  # steps of the way


class Panel(NamedTuple):
    """What the fold holds, in the order in which it is shown."""

    place: gr.HTML
    where: gr.HTML
    words: gr.HTML
    picture: Any
    layer: Any
    head: Any
    subject: gr.HTML
    said: gr.HTML
    go: gr.Button
    line: gr.HTML
    strip: gr.HTML


class Selection(NamedTuple):
    """What a page looks at: which sampling and picture, and where from."""

    recipe: Recipe | None = None
    k: int = 0
    at: Spot = Spot(0, 0)


# ---- what is asked for


def meant(tree: Tree, picture: Any) -> tuple[Recipe, int, int]:
    """Return the recipe, the step i and the place k of the picture that are looked at."""
    recipe = tree.current.recipe
    chosen = validation.whole("picture", 1 if picture is None else picture, 1, models.CAPS.count)
    i = max(1, min(tree.place or 1, recipe.steps))
    return recipe, i, min(chosen, recipe.count) - 1


def begun(look: AttentionRecord, recipe: Recipe, k: int) -> Selection:
    """Return where to look from at first: a word that was asked for, else a pixel that tells."""
    from sd.generation.pipeline import pick_pixel

    first = 1 if look.kind == CLASS_TOKENS else 0
    word = first if len(look.words) > first else None
    return Selection(recipe, k, Spot(*pick_pixel(recipe, (look.x0.shape[0], *look.size)), word))


def pressed(look: AttentionRecord, at: Spot, said: Any) -> Spot:
    """Return what the browser says was pressed: {"word"}, or {"y", "x"} in pixels."""
    told = said if isinstance(said, dict) else {}
    if "word" in told:
        return at._replace(word=validation.whole("word", told["word"], 0, len(look.words) - 1))
    height, width = look.size
    y = validation.whole("y", told.get("y"), 0, height - 1)
    return Spot(y, validation.whole("x", told.get("x"), 0, width - 1))


# ---- shown


@guarded
def show(
    request: gr.Request,
    tree: Tree,
    held: Selection,
    picture: Any,
    layer: Any,
    head: Any,
    seen: Any = True,
) -> tuple[Any, ...]:
    """Return the panel of the step where the slider rests, and what is held; not unless `seen`.

    Another sampling or picture is looked at from its own beginning.
    """
    if not seen:
        return (gr.skip(),) * 10
    lang, (recipe, i, k) = language(request), meant(tree, picture)
    look = record.record_attention(recipe, i, k)
    if look is None:
        line = say("looked_closed", lang, model=html.escape(recipe.model))
        return Selection(), "", "", nothing(line), *(gr.skip(),) * 3, "", "", ""
    other = (held.recipe, held.k) != (recipe, k)
    held = begun(look, recipe, k) if other else held
    layer = layer if layer in look.layers else AVERAGED
    heads = heads_of(look, layer, head, lang)
    asked = layer, heads["value"]
    return (
        held,
        place_html(look, held.at, lang),
        where_html(look, held.at, *asked, lang),
        words_html(look, held.at, *asked, lang),
        gr.update(value=k + 1, visible=recipe.count > 1),
        gr.update(choices=layers_of(look, lang), value=layer),
        heads,
        subject_html(look, held.at, lang),
        *(("", "") if other else (gr.skip(), gr.skip())),
    )


@guarded
def redraw(
    request: gr.Request, tree: Tree, held: Selection, picture: Any, layer: Any, head: Any
) -> tuple[Any, ...]:
    """Return the heat of another layer or head: from the place, of the words; and the heads."""
    lang, look = language(request), record.record_attention(*meant(tree, picture))
    if look is None:
        return (gr.skip(),) * 3
    layer = validation.choice("layer", layer, [AVERAGED, *look.layers])
    heads = heads_of(look, layer, head, lang)
    asked = layer, heads["value"]
    where = where_html(look, held.at, *asked, lang)
    return where, words_html(look, held.at, *asked, lang), heads


@guarded
def choose(
    request: gr.Request,
    tree: Tree,
    held: Selection,
    picture: Any,
    layer: Any,
    head: Any,
    said: Any,
) -> tuple[Any, ...]:
    """Take what was pressed: look from a place, or take a word for the way."""
    lang, look = language(request), record.record_attention(*meant(tree, picture))
    if look is None:
        return (gr.skip(),) * 3
    held = held._replace(at=pressed(look, held.at, said))
    if held.at.word is not None:
        return held, gr.skip(), subject_html(look, held.at, lang)
    where = where_html(look, held.at, layer, head, lang)
    return held, where, subject_html(look, held.at, lang)


@guarded
def through(
    request: gr.Request, tree: Tree, held: Selection, picture: Any, layer: Any, head: Any
) -> Iterator[tuple[Any, Any]]:
    """Look at about eight steps of the sampling; yield how far it is, at last the pictures."""
    lang, (recipe, _, k) = language(request), meant(tree, picture)
    last = min(max(tree.current.done, tree.place, 1), recipe.steps)
    steps, began = record.spread(last, COLUMNS), time.monotonic()
    if record.networked(recipe) is None:
        yield "", ""
        return
    looks: list[AttentionRecord] = []
    for done, i in enumerate(steps):
        words = say("looked_progress", lang, i=done, n=len(steps))
        yield progress_html([words], done / len(steps)), gr.skip()
        if not done:
            record.before(recipe, last)  # with it comes x before all the others
        if (look := record.record_attention(recipe, i, k)) is not None:
            looks.append(look)
    strip = strip_html(steps, looks, held.at, layer, head, lang)
    taken = say("looked_done", lang, n=len(steps), s=f"{time.monotonic() - began:.1f}")
    yield f'<p class="note">{taken}</p>', strip


# ---- laid out


def listed(key: str, first: str) -> gr.Dropdown:
    """Show a list whose choices come with the model."""
    settings: dict[str, Any] = {"label": label(key), "info": label(f"{key}_info")}
    return gr.Dropdown(
        [first], value=first, filterable=False, elem_id=key.replace("_", "-"), **settings
    )


def heard() -> gr.HTML:
    """Hear what was pressed, as a value: of two quick events gradio sends the first's data twice.

    Its markup never changes, so gradio never touches it.
    """
    mount, blank = "sdLooked.bridge(props, trigger);", '<i class="blank"></i>'
    return gr.HTML(html_template=blank, js_on_load=mount, elem_classes="event-bridge")


def build() -> tuple[gr.Accordion, Panel]:
    """Lay out the fold: the pictures, what of the network is looked at, the way."""
    fold = gr.Accordion(label("looked"), open=False, elem_classes="fold", elem_id="denoise-looked")
    with fold:
        note("looked_about")
        with gr.Row(elem_classes="looked-row"):
            mount = "sdLooked.place(element);"
            place = gr.HTML(elem_classes="seen", elem_id="looked-place", js_on_load=mount)
            where = gr.HTML(elem_classes="seen", elem_id="looked-where")
            mount = "sdLooked.words(element);"
            words = gr.HTML(elem_classes="seen", elem_id="looked-words", js_on_load=mount)
        with gr.Row(elem_classes="looked-fields"):
            layer, head = listed("looked_layer", AVERAGED), listed("looked_head", ALL)
            bounds = {"minimum": 1, "maximum": models.CAPS.count, "precision": 0}
            picture = number("looked_picture", 1, visible=False, elem_id="looked-picture", **bounds)
        with gr.Row(elem_classes="looked-way"):
            go = gr.Button(label("looked_go"), elem_id="looked-go", elem_classes="short")
            subject = gr.HTML(elem_id="looked-subject")
        said = heard()
        line = gr.HTML(elem_id="looked-line")
        strip = gr.HTML(elem_classes="seen", elem_id="looked-strip")
    return fold, Panel(place, where, words, picture, layer, head, subject, said, go, line, strip)


def wire(fold: gr.Accordion, moved: Any, tree: gr.State, panel: Panel) -> None:
    """Look when the fold opens, and while it is open whenever the slider rests."""
    seen, held = gr.State(False), gr.State(Selection())
    queued: dict[str, Any] = {"api_visibility": "private", **HIDDEN, **PANEL}
    last: dict[str, Any] = {"trigger_mode": "always_last", **QUIET}
    asked = [tree, held, panel.picture, panel.layer, panel.head]
    shown = [held, *panel[:7], panel.line, panel.strip]
    fold.collapse(lambda: False, None, seen, **QUIET)
    for event in (fold.expand(lambda: True, None, seen, **QUIET), moved):
        event.then(show, [*asked, seen], shown, **queued)
    panel.picture.input(show, asked, shown, **last)
    for each in (panel.layer, panel.head):
        each.input(redraw, asked, [panel.where, panel.words, panel.head], **last)
    panel.said.input(choose, [*asked, panel.said], [held, panel.where, panel.subject], **last)
    panel.go.click(through, asked, [panel.line, panel.strip], **queued | MODEL)
