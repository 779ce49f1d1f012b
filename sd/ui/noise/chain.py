"""One step at a time: the chain of single steps beside the closed form, and where theory breaks."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import gradio as gr
from markupsafe import Markup

from sd.ui.components.events import Updates, by_name
from sd.ui.components.handlers import ALWAYS, HIDDEN, guarded, language
from sd.ui.components.html import paragraph
from sd.ui.noise import schedules, stage
from sd.ui.noise.model_view import tile_html
from sd.ui.noise.pictures import Picture, keep_newest, read_image, read_pixels
from sd.ui.texts import say

if TYPE_CHECKING:
    from torch import Tensor

    from sd.diffusion.analysis import ForwardChain
    from sd.diffusion.process import ForwardProcess

CHANCE = 1.63  # over sqrt(n): what one distance in a hundred exceeds by chance
LARGEST_CHAIN = 64  # pixels along a side: a thousand steps of noise are held at once


@keep_newest(8)
def forward_chain(
    picture: Picture, schedule: str, t: int, mean: float, std: float
) -> "tuple[ForwardChain, Tensor, ForwardProcess]":
    """Return the chain from a small copy of the picture to time t, the copy and the process."""
    from sd.diffusion.analysis import sample_chain
    from sd.diffusion.process import ForwardProcess

    side = max(8, min(LARGEST_CHAIN, *read_image(picture).size))
    x0 = read_pixels(picture, (3, side, side))
    process = ForwardProcess(schedules.read_schedule(schedule), (mean, std))
    return sample_chain(process, x0, t, 0), x0, process


@guarded
@stage.telling_its_end
def compare_chain(form: Any, request: gr.Request) -> Iterator[Updates]:
    """Go to t by single steps and at once; show both, and how they compare."""
    lang, asked = language(request), stage.read_form(form)
    t = max(1, asked.time)
    chain, x0, process = forward_chain(asked.picture, asked.schedule, t, asked.mean, asked.std)
    shown = chain_html(chain, lang) + ends_html(chain, x0, process, t, lang)
    yield {"tool": {"shown": shown, "progress": ""}}


def chain_html(chain: "ForwardChain", lang: str) -> Markup:
    """Return pictures on the chain's way."""
    column = Markup('<div class="column"><b>{}</b>{}</div>')
    columns = Markup("").join(
        column.format(t, tile_html(x_t, alt=f"x_t, t = {t}")) for t, x_t in chain.snapshots
    )
    way = Markup('<div class="sights way">{}</div>').format(columns)
    return paragraph(say("walk_way", lang)) + way


def ends_html(
    chain: "ForwardChain", x0: "Tensor", process: "ForwardProcess", t: int, lang: str
) -> Markup:
    """Return x_t reached in three ways, each with the noise that is in it."""
    from sd.diffusion.analysis import implied_noise, summarize

    tiles = []
    for key, x_t in (
        ("stepped", chain.stepped),
        ("jumped", chain.jumped),
        ("coupled", chain.coupled),
    ):
        noise = summarize(implied_noise(process, x0, x_t, t))
        moments = {"mean": f"{noise.mean:.3f}", "std": f"{noise.std:.3f}"}
        numbers = say("walk_numbers", lang, far=f"{noise.distance:.3f}", **moments)
        name = say(f"walk_{key}", lang)
        tiles.append(tile_html(x_t, Markup("<b>{}</b><br>{}").format(name, numbers), name))
    chance = f"{CHANCE * x0.numel() ** -0.5:.3f}"
    line = say("walk_equal", lang, t=t, gap=f"{chain.gap:.1e}", n=chance)
    triple = Markup('<div class="triple">{}</div>').format(Markup("").join(tiles))
    return triple + paragraph(line, "told")


def build(form: gr.HTML) -> None:
    """Lay out the chain of single steps, and wire it."""
    tool = stage.tool("walk", "steps")
    compare = by_name(compare_chain, {"form": form}, {"tool": tool})
    tool.steps(**compare, **HIDDEN, **ALWAYS, concurrency_limit=1, api_visibility="private")
