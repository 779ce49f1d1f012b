"""The Noise tab's stage: a canvas that draws x_t at any t, and what it is given to draw from.

The browser gets a picture and its noise once; by `time_bridge` it says where t rests.
"""

import base64
import zlib
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component

from sd.common import marks, validation
from sd.ui.adapter.served_files import file_data, store
from sd.ui.components.widgets import label
from sd.ui.noise import schedules
from sd.ui.noise.pictures import Picture, draw_noise, read_pixels
from sd.ui.texts import say

FIRST_SLIDER_SHARE = 0.2  # of T, to which the slider goes at first: the picture is still seen
MEANS, STDS = (-2.0, 2.0), (0.1, 3.0)
STAGE_TEXTS = {
    "alt": "noise_alt",
    "signal": "noise_signal",
    "noise": "noise_noise",
    "about": "noise_formula_about",
    "time": "noise_t",
    "play": "noise_play",
    "pause": "noise_pause",
    "back": "noise_back",
    "on": "noise_on",
    "save": "noise_save",
    "nats": "noise_nats",
    "finest": "noise_finest",
    "none": "noise_none",
    "cycles": "noise_cycles",
    "twin": "noise_twin",
    "align": "noise_align",
    "align_share": "noise_align_share",
    "align_snr": "noise_align_snr",
    "curve_alt": "curve_alt",
    "alpha_bar": "curve_alpha_bar",
    "alpha_bar_about": "curve_alpha_bar_about",
    "log_snr": "curve_log_snr",
    "log_snr_about": "curve_log_snr_about",
    "histogram": "curve_histogram",
    "histogram_about": "curve_histogram_about",
    "spectrum": "curve_spectrum",
    "spectrum_about": "curve_spectrum_about",
}
MOST_T = 100_000
BLANK = '<div class="blank"></div>'


@dataclass(frozen=True)
class NoiseForm:
    """What the tab's handlers read, by the names of their parameters."""

    picture: gr.State  # a `Picture`
    t: gr.HTML  # the `time_bridge`
    schedule: gr.Dropdown
    other: gr.Dropdown
    seed: gr.Number
    mean: gr.Slider
    std: gr.Slider

    def inputs(self, *names: str) -> dict[str, Component]:
        """Return some of them by their names."""
        return {name: getattr(self, name) for name in names}


def canvas() -> gr.HTML:
    """Show the canvas with its slider, buttons and formula."""
    return gr.HTML(
        html_template=BLANK,
        js_on_load="window.sdNoise.stage(element, props, watch);",
        apply_default_css=False,
        elem_id="noise-stage",
    )


def time_bridge() -> gr.HTML:
    """Hear from the browser where t has come to rest: its value is t."""
    return gr.HTML(
        round(FIRST_SLIDER_SHARE * schedules.read_schedule("tiny").timesteps),
        html_template=BLANK,
        js_on_load="window.sdNoise.bridge(props, trigger);",
        elem_classes="event-bridge",
    )


def fold(key: str, elem_id: str) -> gr.Accordion:
    """Open what is folded away below the stage."""
    return gr.Accordion(label(key), open=False, elem_id=elem_id, elem_classes="noise-fold")


def panel(part: str) -> gr.HTML:
    """Show a place that the stage's script fills: `part` is its function."""
    return gr.HTML(
        html_template=BLANK,
        js_on_load=f"window.sdNoise.{part}(element);",
        apply_default_css=False,
        elem_id=f"noise-{part}",
    )


def pack_arrays(picture: Picture, seed: int) -> bytes:
    """Return x_0 as uint8 and eps as little-endian float16, both [3, S, S], one after the other."""
    from sd.data.images import to_uint8

    x0 = read_pixels(picture)
    eps = draw_noise(tuple(x0.shape), seed).numpy().astype("<f2")
    return bytes(to_uint8(x0).numpy().tobytes() + eps.tobytes())


def schedule_line(name: str, lang: str) -> dict[str, Any]:
    """Return a schedule as the browser needs it: alpha_bar is base64 of float32 [T+1]."""
    schedule = schedules.read_schedule(name)
    data = schedule.alpha_bar.astype("<f4").tobytes()
    return {
        "name": schedules.title_of(name, lang),
        "T": schedule.timesteps,
        "alpha_bar": base64.b64encode(data).decode(),
    }


def check_moments(mean: float | None, std: float | None) -> tuple[float, float]:
    """Return the mean and the spread of the noise, checked."""
    return (
        validation.real("noise mean", mean, *MEANS),
        validation.real("noise spread", std, *STDS),
    )


def make_scene(
    picture: Picture,
    schedule: str,
    other: str,
    seed: float | None,
    mean: float | None,
    std: float | None,
    lang: str,
) -> dict[str, Any]:
    """Return all that the browser draws from; every value that comes from outside is checked."""
    from sd.diffusion.analysis import spectrum

    schedules.find_schedule(schedule)
    schedules.find_schedule(other, "the other schedule")
    seed = validation.seed("seed", seed)
    mean, std = check_moments(mean, std)
    x0 = read_pixels(picture)
    first = schedule_line(schedule, lang)
    return {
        "file": file_data(store(pack_arrays(picture, seed), "noise.bin")),
        "side": x0.shape[-1],
        "power": float(x0.square().mean()),
        "spectrum": [float(f"{value:.4g}") for value in spectrum(x0)],
        "schedule": first,
        "other": schedule_line(other, lang),
        "mean": mean,
        "std": std,
        "t": round(FIRST_SLIDER_SHARE * first["T"]),
        "stamp": zlib.crc32(repr((picture, schedule, seed, mean, std)).encode()),
        "mark": base64.b64encode(marks.png_chunk()).decode(),
        "words": {name: say(key, lang) for name, key in STAGE_TEXTS.items()},
    }
