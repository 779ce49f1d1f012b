"""A picture is begun from on the stage: one of its own, to be drawn anew in part, or one dropped.

It lies over a card, where its mask is painted.
"""

import secrets
from collections.abc import Mapping
from typing import Any

import gradio as gr
from gradio.blocks import Block

from sd.common import validation
from sd.common.encoding import png_bytes
from sd.ui import models, starters
from sd.ui.components.events import Updates, by_name
from sd.ui.components.fields import Values, patch
from sd.ui.components.handlers import QUIET, event_value, guarded, language
from sd.ui.components.player import store_chunk
from sd.ui.denoise.form import PICTURE, drawn_shape, fit_png, mask_content
from sd.ui.denoise.tools import like, takeaway
from sd.ui.denoise.tools.branch import cut_picture
from sd.ui.denoise.tree import Node, Tree


@guarded
def begin(
    request: gr.Request, tree: Tree, model: str, held: Values, event: gr.EventData
) -> Updates:
    """Begin from a picture that is shown, and lay an empty mask over its card.

    What it was drawn for is asked for again: all pictures of the next drawing are of this one.
    """
    node = tree.current
    n = validation.whole("picture", event_value(event, "picture"), 0, node.recipe.count - 1)
    picture = store_chunk(picture_of(node, n))
    prompts = node.recipe.prompts
    asked = {"prompts": [prompts[n % len(prompts)]]} if prompts else {}
    laid = lay(picture, model, held, language(request), card=n, film=node.film["id"])
    return {"asked": {"patch": asked}, **laid}


@guarded
def take_in(
    request: gr.Request, tree: Tree, model: str, held: Values, dropped: str | None
) -> Updates:
    """Begin from a picture that was dropped; one that was made here brings its recipe, and is made.

    So does one of AUTOMATIC1111's, whose settings are taken into the fields.

    It lies over the chosen card, and what is asked for stays.
    """
    if dropped is None:
        return {}
    if takeaway.has_recipe(dropped) or like.read_settings(dropped):
        restored: Updates = takeaway.bring(request, tree, dropped)
        return restored
    starters.read(dropped)
    return lay(dropped, model, held, language(request), card=tree.picture - 1)


def lay(picture: str, model: str, held: Values, lang: str, **where: Any) -> Updates:
    """Begin from the picture of a file, with an empty mask over a card, `where`: card, film."""
    png = fit_png(picture, drawn_shape(models.find(model), held))
    once = secrets.token_hex(4)  # the browser acts on a value that is another than before
    return {
        "held": patch({"begin": PICTURE}),
        "picture": picture,
        "mask": mask_content(png, lang) | where | {"once": once},
        "upload": None,
        "starters": starters.NONE_CHOSEN,
    }


def picture_of(node: Node, n: int) -> bytes:
    """Return a picture of a sampling as PNG: its end, else as its film shows the last step."""
    ended = node.done == node.recipe.steps
    if node.end is not None and ended:
        from sd.data.images import to_pil

        return png_bytes(to_pil(node.end[n]))
    kind = "x_t" if ended and node.film.get("stills") else "x0"  # a still is of what was decoded
    return png_bytes(cut_picture(node.film, kind, node.film["frames"][-1], n))


def wire(
    stage: Mapping[str, Any],
    page: Mapping[str, Block],
    controls: Mapping[str, Block],
    everything: Mapping[str, Block],
) -> None:
    """Wire brush and drop; `page`: tree and model, `everything`: what a recipe sets as well."""
    drawn = {**page, "held": controls["held"]}
    stage["player"].brush(**by_name(begin, drawn, controls), **QUIET)
    taken = by_name(take_in, {**drawn, "dropped": stage["drop"]}, everything)
    stage["drop"].upload(**taken, **QUIET)
