"""One step at a time: the chain of single steps beside the closed form, and where theory breaks."""

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import gradio as gr
import numpy as np
from markupsafe import Markup

from sd.common import validation
from sd.ui.components import curves
from sd.ui.components.events import Updates, by_name
from sd.ui.components.handlers import HIDDEN, QUIET, guarded, language
from sd.ui.components.html import paragraph
from sd.ui.components.widgets import label, note, slider
from sd.ui.noise import schedules, stage
from sd.ui.noise.model_view import check_time, clear_on_change, tile_html
from sd.ui.noise.pictures import Picture, read_image, read_pixels
from sd.ui.noise.stage import fold
from sd.ui.texts import say

if TYPE_CHECKING:
    from torch import Tensor

    from sd.diffusion.analysis import ForwardChain
    from sd.diffusion.process import ForwardProcess

CHANCE = 1.63  # over sqrt(n): what one distance in a hundred exceeds by chance
LARGEST_CHAIN = 64  # pixels along a side: a thousand steps of noise are held at once


@lru_cache(maxsize=8)
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
def compare_chain(
    t: int,
    picture: Picture,
    schedule: str,
    mean: float | None,
    std: float | None,
    request: gr.Request,
) -> Updates:
    """Go to t by single steps and at once; show both, and how they compare."""
    lang, t = language(request), max(1, check_time(t, schedule))
    mean, std = stage.check_moments(mean, std)
    chain, x0, process = forward_chain(picture, schedule, t, mean, std)
    return {"ends": chain_html(chain, lang) + ends_html(chain, x0, process, t, lang)}


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


@guarded
def compare_means(schedule: str, mean: float | None, request: gr.Request) -> Updates:
    """Show the two means over t: of the chain whose steps add noise of this mean, and closed."""
    from sd.diffusion.analysis import naive_means

    lang = language(request)
    schedules.find_schedule(schedule)
    mean = validation.real("noise mean", mean, *stage.MEANS)
    noising = schedules.read_schedule(schedule)
    times = np.arange(noising.timesteps + 1)
    chain, closed = naive_means(noising, mean), noising.noise(times) * mean
    if mean == 0:
        return {"means": paragraph(say("break_none", lang))}
    far = int(np.abs(chain - closed).argmax())
    numbers = {"chain": f"{chain[far]:.3g}", "closed": f"{closed[far]:.2f}"}
    line = say("break_told", lang, mean=f"{mean:g}", t=far, **numbers)
    x = curves.thin(times / noising.timesteps)
    sign = np.sign(mean)  # the axis starts at 0 whichever way the mean goes
    lines = [
        curves.Line(x, curves.thin(sign * chain), "accent", say("break_chain", lang)),
        curves.Line(x, curves.thin(sign * closed), "line", say("break_closed", lang)),
    ]
    curve = curves.plot(lines, line, [(0, "t = 0"), (1, f"{noising.timesteps}")], log=False)
    plot = Markup('<div class="trip">{}</div>').format(curve)
    return {"means": plot + paragraph(line, "told")}


def tenths_slider(key: str, low: float, high: float, value: float) -> gr.Slider:
    """Show a slider over tenths."""
    more = {"step": 0.1, "precision": None, "elem_id": key.replace("_", "-")}
    return slider(key, low, high, value, **more)


class ChainFold(NamedTuple):
    """The forward chain's fold: the moments of the noise, and what is shown of them."""

    go: gr.Button
    ends: gr.HTML
    mean: gr.Slider
    std: gr.Slider
    means: gr.HTML


def build() -> ChainFold:
    """Lay out the chain and the noise with another mean."""
    with fold("walk", "noise-fold-walk"):
        note("walk_about")
        go = gr.Button(label("walk_go"), elem_id="walk-go", elem_classes="short")
        ends = gr.HTML(elem_classes="seen", elem_id="walk-seen")
        gr.HTML(label("break"), elem_classes="heading")
        note("break_about")
        with gr.Row(elem_classes="halves"):
            mean = tenths_slider("noise_mean", *stage.MEANS, 0)
            std = tenths_slider("noise_std", *stage.STDS, 1)
        means = gr.HTML(elem_classes="seen", elem_id="walk-broken")
    return ChainFold(go, ends, mean, std, means)


def wire(demo: gr.Blocks, form: stage.NoiseForm, shown: ChainFold) -> None:
    """Wire the chain, and what another mean does to it."""
    causes = form.inputs("picture", "schedule", "mean", "std")
    compare = by_name(compare_chain, {"t": form.t, **causes}, {"ends": shown.ends})
    shown.go.click(**compare, **HIDDEN, concurrency_limit=1, api_visibility="private")
    clear_on_change(list(causes.values()), [shown.ends])
    means = by_name(compare_means, form.inputs("schedule", "mean"), {"means": shown.means}) | QUIET
    for event in (form.mean.input, form.schedule.change):
        event(**means, trigger_mode="always_last")
    demo.load(**means)
