"""The attention of the step where the slider rests: of each word, and of a place of the picture.

`sd.ui.denoise.attention.record` asks the network, `sd.ui.denoise.attention.pictures` draws.
"""

import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import gradio as gr

from sd.common import validation
from sd.generation.recipe import Recipe
from sd.ui import models
from sd.ui.components.events import Updates, by_name
from sd.ui.components.fields import CHOICE, NUMBER, Field, Values, form, patch
from sd.ui.components.handlers import (
    HIDDEN,
    MODEL,
    PANEL,
    QUIET,
    event_value,
    guarded,
    language,
)
from sd.ui.components.html import paragraph, progress_bar
from sd.ui.components.tools import tool_fold
from sd.ui.components.widgets import label
from sd.ui.denoise.attention.pictures import (
    ALL,
    AVERAGED,
    chosen_head,
    empty_html,
    head_choices,
    layer_choices,
    place_html,
    strip_html,
    subject_html,
    where_html,
    words_html,
)
from sd.ui.denoise.attention.record import (
    CLASS_TOKENS,
    AttentionRecord,
    Spot,
    open_network,
    record_attention,
    spread_steps,
    x_before,
)
from sd.ui.denoise.tools.bar import LOOKED
from sd.ui.denoise.tree import Tree
from sd.ui.texts import say

COLUMNS = 8  # steps of the strip
FIELDS = (
    Field(
        name="layer",
        kind=CHOICE,
        value=AVERAGED,
        label="looked_layer",
        info="looked_layer_info",
        choices=((f"looked_{AVERAGED}", AVERAGED),),
        is_open=True,
    ),
    Field(
        name="head",
        kind=CHOICE,
        value=ALL,
        label="looked_head",
        info="looked_head_info",
        choices=((f"looked_{ALL}", ALL),),
        is_open=True,
    ),
    Field(
        name="picture",
        kind=NUMBER,
        value=1,
        label="looked_picture",
        info="looked_picture_info",
        low=1,
        high=models.CAPS.count,
    ),
)


class Selection(NamedTuple):
    """What a page looks at: which sampling and picture, and where from."""

    recipe: Recipe | None = None
    k: int = 0
    spot: Spot = Spot(0, 0)


# ---- what is looked at


def target(tree: Tree) -> tuple[Recipe, int, int]:
    """Return the recipe, the step i and the place k of the picture that are looked at."""
    recipe = tree.current.recipe
    i = max(1, min(tree.place or 1, recipe.steps))
    return recipe, i, min(tree.picture, recipe.count) - 1


def first_selection(record: AttentionRecord, recipe: Recipe, k: int) -> Selection:
    """Return where to look from at first: a word of the prompt, else a pixel that tells."""
    from sd.generation.pipeline import pick_pixel

    first = 1 if record.kind == CLASS_TOKENS else 0
    word = first if len(record.words) > first else None
    return Selection(recipe, k, Spot(*pick_pixel(recipe, (record.x0.shape[0], *record.size)), word))


def pressed_spot(record: AttentionRecord, spot: Spot, event: object) -> Spot:
    """Return what the browser says was pressed: {"word"}, or {"y", "x"} in pixels."""
    sent = event if isinstance(event, dict) else {}
    if "word" in sent:
        last = len(record.words) - 1
        return spot._replace(word=validation.whole("word", sent["word"], 0, last))
    height, width = record.size
    y = validation.whole("y", sent.get("y"), 0, height - 1)
    return Spot(y, validation.whole("x", sent.get("x"), 0, width - 1))


# ---- shown


@guarded
def show(
    request: gr.Request,
    tree: Tree,
    selection: Selection,
    looking: Values,
    is_open: bool = True,
) -> Updates:
    """Show the step where the slider rests, if the fold is open.

    Another sampling or picture is looked at from its own beginning.
    """
    if not is_open:
        return {}
    if not tree.nodes:
        return {"words": empty_html(say("tool_waits", language(request)))}
    lang, (recipe, i, k) = language(request), target(tree)
    layer, head = looking["layer"], looking["head"]
    cleared: Updates = {"line": "", "strip": ""}
    record = record_attention(recipe, i, k)
    if record is None:
        words = empty_html(say("looked_closed", lang, model=recipe.model))
        empty = {"place": "", "where": "", "words": words, "subject": ""}
        return {"selection": Selection(), **empty, **cleared}
    other = (selection.recipe, selection.k) != (recipe, k)
    if other:
        selection = first_selection(record, recipe, k)
    layer = layer if layer in record.layers else AVERAGED
    heads = head_choices(record, layer, lang)
    seen = record, selection.spot, layer, chosen_head(heads, head), lang
    return {
        "selection": selection,
        "place": place_html(record, selection.spot, lang),
        "where": where_html(*seen),
        "words": words_html(*seen),
        "looking": patch(
            {"picture": k + 1, "layer": layer, "head": chosen_head(heads, head)},
            choices={"layer": layer_choices(record, lang), "head": heads},
            shown={"picture": recipe.count > 1},
        ),
        "subject": subject_html(record, selection.spot, lang),
        **(cleared if other else {}),
    }


@guarded
def change(
    request: gr.Request, tree: Tree, selection: Selection, looking: Values, event: gr.EventData
) -> Updates:
    """Show what another picture, layer or head looks like."""
    if event_value(event, "name") == "picture":
        tree.picture = looking["picture"]
        shown: Updates = show(request, tree, selection, looking)
        return shown
    redrawn: Updates = redraw(request, tree, selection, looking)
    return redrawn


@guarded
def redraw(
    request: gr.Request,
    tree: Tree,
    selection: Selection,
    looking: Values,
) -> Updates:
    """Show the heat of another layer or head: from the place, of the words; and the heads."""
    lang, record = language(request), record_attention(*target(tree))
    if record is None:
        return {}
    layer = validation.choice("layer", looking["layer"], [AVERAGED, *record.layers])
    heads = head_choices(record, layer, lang)
    head = chosen_head(heads, looking["head"])
    seen = record, selection.spot, layer, head, lang
    changed = patch({"head": head}, choices={"head": heads}, seen=looking)
    return {"where": where_html(*seen), "words": words_html(*seen), "looking": changed}


@guarded
def choose_spot(
    request: gr.Request,
    tree: Tree,
    selection: Selection,
    looking: Values,
    event: object,
) -> Updates:
    """Take what was pressed: look from a place, or take a word for the strip."""
    lang, record = language(request), record_attention(*target(tree))
    if record is None:
        return {}
    spot = pressed_spot(record, selection.spot, event)
    changed: Updates = {
        "selection": selection._replace(spot=spot),
        "subject": subject_html(record, spot, lang),
    }
    if spot.word is None:
        changed["where"] = where_html(record, spot, looking["layer"], looking["head"], lang)
    return changed


@guarded
def show_strip(
    request: gr.Request,
    tree: Tree,
    selection: Selection,
    looking: Values,
) -> Iterator[Updates]:
    """Look at about eight steps of the sampling; yield how far it is, at last the pictures."""
    lang, (recipe, _, k) = language(request), target(tree)
    layer, head = looking["layer"], looking["head"]
    last = min(max(tree.current.done, tree.place, 1), recipe.steps)
    steps, began = spread_steps(last, COLUMNS), time.monotonic()
    if open_network(recipe) is None:
        yield {"line": "", "strip": ""}
        return
    records: list[AttentionRecord] = []
    for done, i in enumerate(steps):
        words = say("looked_progress", lang, i=done, n=len(steps))
        yield {"line": progress_bar([words], done / len(steps))}
        if not done:
            x_before(recipe, last)  # with it comes x before all the others
        if (record := record_attention(recipe, i, k)) is not None:
            records.append(record)
    strip = strip_html(steps, records, selection.spot, layer, head, lang)
    words = say("looked_done", lang, n=len(steps), s=f"{time.monotonic() - began:.1f}")
    yield {"line": paragraph(words), "strip": strip}


# ---- laid out


def event_bridge() -> gr.HTML:
    """Pass on what was pressed as a value: of two quick events gradio sends the first's data twice.

    Its markup never changes, so gradio never touches it.
    """
    mount, blank = "sdLooked.bridge(props, trigger);", '<i class="blank"></i>'
    return gr.HTML(html_template=blank, js_on_load=mount, elem_classes="event-bridge")


def build() -> tuple[gr.Accordion, dict[str, Any]]:
    """Lay out the fold: the pictures, what of the network is looked at, the strip."""
    parts: dict[str, Any] = {}
    with tool_fold(LOOKED) as fold:
        with gr.Row(elem_classes="looked-row"):
            for name in ("place", "where", "words"):
                mount = "" if name == "where" else f"sdLooked.{name}(element);"
                about: dict[str, Any] = {"js_on_load": mount} if mount else {}
                parts[name] = gr.HTML(elem_classes="seen", elem_id=f"looked-{name}", **about)
        parts["looking"] = form(FIELDS, "looked-form", is_kept=False, elem_classes="looked-fields")
        with gr.Row(elem_classes="looked-way verbs"):
            go = gr.Button(label("looked_go"), elem_id="looked-go", elem_classes="tool-verb")
            parts["go"], parts["subject"] = go, gr.HTML(elem_id="looked-subject")
        parts["event"] = event_bridge()
        parts["line"] = gr.HTML(elem_id="looked-line")
        parts["strip"] = gr.HTML(elem_classes="seen", elem_id="looked-strip")
    return fold, parts


def wire(fold: gr.Accordion, parts: Mapping[str, Any], moved: Any, tree: gr.State) -> None:
    """Look when the fold opens, and while it is open whenever the slider rests."""
    is_open, selection = gr.State(False), gr.State(Selection())
    queued: dict[str, Any] = {"api_visibility": "private", **HIDDEN, **PANEL}
    last: dict[str, Any] = {"trigger_mode": "always_last", **QUIET}
    inputs = {"tree": tree, "selection": selection, "looking": parts["looking"]}
    outputs = {"selection": selection, **parts}
    del outputs["go"], outputs["event"]
    fold.collapse(lambda: False, None, is_open, **QUIET)
    for event in (fold.expand(lambda: True, None, is_open, **QUIET), moved):
        event.then(**by_name(show, {**inputs, "is_open": is_open}, outputs), **queued)
    parts["looking"].input(**by_name(change, inputs, outputs), **last)
    chosen = {"selection": selection, "where": parts["where"], "subject": parts["subject"]}
    pressed = {**inputs, "event": parts["event"]}
    parts["event"].input(**by_name(choose_spot, pressed, chosen), **last)
    strip = {name: parts[name] for name in ("line", "strip")}
    parts["go"].click(**by_name(show_strip, inputs, strip), **queued | MODEL)
