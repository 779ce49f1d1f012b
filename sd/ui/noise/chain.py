"""One step at a time: the chain of single steps beside the closed form, and where theory breaks."""

from functools import lru_cache
from typing import Any

import gradio as gr
import numpy as np

from sd.common import validation
from sd.ui.components import curves
from sd.ui.components.handlers import HIDDEN, QUIET, guarded, language
from sd.ui.components.widgets import label, note, slider
from sd.ui.noise import schedules, stage
from sd.ui.noise.model_view import check_time, clear_on_change, tile_html
from sd.ui.noise.pictures import Picture, read_image, read_pixels
from sd.ui.noise.stage import fold
from sd.ui.texts import say

CHANCE = 1.63  # over sqrt(n): what one distance in a hundred exceeds by chance
LARGEST_CHAIN = 64  # pixels along a side: a thousand steps of noise are held at once


@lru_cache(maxsize=8)
def forward_chain(picture: Picture, course: str, t: int, mean: float, std: float) -> Any:
    """Return the walk of a small copy of the picture to time t, and that copy."""
    from sd.diffusion.analysis import sample_chain
    from sd.diffusion.process import ForwardProcess

    side = max(8, min(LARGEST_CHAIN, *read_image(picture).size))
    x0 = read_pixels(picture, (3, side, side))
    process = ForwardProcess(schedules.read_schedule(course), (mean, std))
    return sample_chain(process, x0, t, 0), x0, process


@guarded
def compare_chain(
    t: Any, picture: Picture, course: Any, mean: Any, std: Any, request: gr.Request
) -> str:
    """Go to t by single steps and at once; return both, and how they compare."""
    lang, t = language(request), max(1, check_time(t, course))
    mean = validation.real("noise mean", mean, *stage.MEANS)
    std = validation.real("noise spread", std, *stage.STDS)
    done, x0, process = forward_chain(picture, course, t, mean, std)
    return chain_html(done, lang) + ends_html(done, x0, process, t, lang)


def chain_html(done: Any, lang: str) -> str:
    """Return pictures on the chain's way."""
    columns = "".join(
        f'<div class="column"><b>{t}</b>{tile_html(x_t, alt=f"x_t, t = {t}")}</div>'
        for t, x_t in done.snapshots
    )
    return f'<p class="note">{say("walk_way", lang)}</p><div class="sights way">{columns}</div>'


def ends_html(done: Any, x0: Any, process: Any, t: int, lang: str) -> str:
    """Return x_t reached in three ways, each with the noise that is in it."""
    from sd.diffusion.analysis import implied_noise, summarize

    tiles = []
    for key in ("stepped", "jumped", "coupled"):
        x_t = getattr(done, key)
        inside = summarize(implied_noise(process, x0, x_t, t))
        numbers = {
            "mean": f"{inside.mean:.3f}",
            "std": f"{inside.std:.3f}",
            "far": f"{inside.distance:.3f}",
        }
        name = say(f"walk_{key}", lang)
        words = f"<b>{name}</b><br>{say('walk_numbers', lang, **numbers)}"
        tiles.append(tile_html(x_t, words, name))
    told = say(
        "walk_equal", lang, t=t, gap=f"{done.gap:.1e}", n=f"{CHANCE * x0.numel() ** -0.5:.3f}"
    )
    return f'<div class="triple">{"".join(tiles)}</div><p class="told">{told}</p>'


@guarded
def compare_means(course: Any, mean: Any, request: gr.Request) -> str:
    """Return the two means over t: of the chain whose steps add noise of this mean, and closed."""
    from sd.diffusion.analysis import naive_means

    lang = language(request)
    schedules.find_schedule(course)
    mean = validation.real("noise mean", mean, *stage.MEANS)
    schedule = schedules.read_schedule(course)
    x = np.arange(schedule.timesteps + 1) / schedule.timesteps
    means = naive_means(schedule, mean), schedule.noise(np.arange(schedule.timesteps + 1)) * mean
    far = int(np.abs(means[0] - means[1]).argmax())
    numbers = {"chain": f"{means[0][far]:.3g}", "closed": f"{means[1][far]:.2f}"}
    if mean == 0:
        return f'<p class="note">{say("break_none", lang)}</p>'
    told = say("break_told", lang, mean=f"{mean:g}", t=far, **numbers)
    ends = say("break_chain", lang), say("break_closed", lang)
    sign = np.sign(mean)  # the axis starts at 0 whichever way the mean goes
    lines = [
        curves.Line(curves.thin(x), curves.thin(sign * means[0]), "accent", ends[0]),
        curves.Line(curves.thin(x), curves.thin(sign * means[1]), "line", ends[1]),
    ]
    drawn = curves.plot(lines, told, [(0, "t = 0"), (1, f"{schedule.timesteps}")], log=False)
    return f'<div class="trip">{drawn}</div><p class="told">{told}</p>'


def tenths_slider(key: str, low: float, high: float, value: float) -> gr.Slider:
    """Show a slider over tenths."""
    more = {"step": 0.1, "precision": None, "elem_id": key.replace("_", "-")}
    return slider(key, low, high, value, **more)


def build(demo: gr.Blocks, picture: gr.State, t: Any, course: Any) -> tuple[Any, Any]:
    """Lay out the chain and the noise with another mean; return its mean and its spread."""
    with fold("walk", "noise-fold-walk"):
        note("walk_about")
        go = gr.Button(label("walk_go"), elem_id="walk-go", elem_classes="short")
        ends = gr.HTML(elem_classes="seen", elem_id="walk-seen")
        gr.HTML(label("break"), elem_classes="heading")
        note("break_about")
        with gr.Row(elem_classes="halves"):
            mean = tenths_slider("noise_mean", *stage.MEANS, 0)
            std = tenths_slider("noise_std", *stage.STDS, 1)
        broken = gr.HTML(elem_classes="seen", elem_id="walk-broken")
    go.click(
        compare_chain,
        [t, picture, course, mean, std],
        ends,
        **HIDDEN,
        concurrency_limit=1,
        api_visibility="private",
    )
    clear_on_change([picture, course, mean, std], [ends])
    for event in (mean.input, course.change):
        event(compare_means, [course, mean], broken, trigger_mode="always_last", **QUIET)
    demo.load(compare_means, [course, mean], broken, **QUIET)
    return mean, std
