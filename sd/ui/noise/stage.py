"""The Noise tab's stage: a canvas that draws x_t at any t, and what it is given to draw from.

The browser draws the form itself, and sends it as one value; it gets a picture and its noise once.
"""

import base64
import json
import zlib
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, NamedTuple

import gradio as gr
from markupsafe import Markup

from sd.common import marks, validation
from sd.common.validation import InputError
from sd.ui import starters
from sd.ui.adapter.served_files import file_data, store
from sd.ui.components.events import Updates
from sd.ui.noise import exact, means, pictures, schedules
from sd.ui.noise.pictures import Picture, draw_noise, keep_newest, read_pixels
from sd.ui.texts import TEXTS, say

FIRST_SLIDER_SHARE = 0.12  # of T, to which the slider goes at first: the picture is still seen
MEANS, STDS = (-2.0, 2.0), (0.1, 3.0)
MOST_T, MOST_ASKED = 100_000, 2**31
BLANK = '<div class="blank"></div>'
PAGE = Markup('<div class="noise-page" data-words="{}"></div>')
WORDS = (  # the browser's texts: their keys begin with noise_
    *("alt", "formula_picture", "formula_noise", "about", "drag", "time", "of", "play", "pause"),
    *("add", "pictures", "sets", "left", "values", "detail", "left_about", "values_about"),
    *("detail_about", "curve_alt", "is_left", "nats", "finest", "none", "cycles", "exactly", "snr"),
    *("log_snr", "kl", "mean", "spread", "schedule", "seed", "seed_about", "dice", "save"),
    *("other", "twin", "align", "align_share", "align_snr", "back", "on", "stop"),
    *("mean_of", "std_of", "moments", "ask", "restore", "steps", "draw", "waiting"),
    *("in_pixels", "in_latents", "in_latents_view", "latents_told", "look", "latent_noise"),
)


class NoiseForm(NamedTuple):
    """What the browser draws from, and its handlers read: the tab's form, checked."""

    picture: Picture = starters.PHOTO
    pictures: str = pictures.STARTER  # the set that is shown to choose from
    schedule: str = "tiny"
    other: str = "seed"  # the schedule beside it
    seed: int = 0
    mean: float = 0.0
    std: float = 1.0
    serial: int = 0  # how many forms the browser has sent
    t: int | None = None  # where the slider rests

    @property
    def time(self) -> int:
        """The slider's t within the schedule's times; at first where the picture is still seen."""
        last = schedules.read_schedule(self.schedule).timesteps
        return round(FIRST_SLIDER_SHARE * last) if self.t is None else min(self.t, last)

    def to_json(self) -> dict[str, Any]:
        """Return it as the browser keeps it: without t, which is moved there."""
        known = {**self._asdict(), "picture": pictures.to_json(self.picture)}
        del known["t"]
        return known


def read_form(value: Any) -> NoiseForm:
    """Return the form that a browser sent, None as at first; raise `InputError`."""
    if value is None:
        return NoiseForm()
    if not isinstance(value, dict):
        raise InputError(f"form = {validation.shown(value)}: must be what the Noise tab sends")
    first = NoiseForm()
    given = {name: value.get(name, kept) for name, kept in first.to_json().items()}
    schedules.find_schedule(given["schedule"])
    schedules.find_schedule(given["other"], "the other schedule")
    t = value.get("t")
    return NoiseForm(
        picture=pictures.read_picture(value.get("upload") or given["picture"]),
        pictures=pictures.check_set(given["pictures"]),
        schedule=given["schedule"],
        other=given["other"],
        seed=validation.seed("seed", given["seed"]),
        mean=validation.real("noise mean", given["mean"], *MEANS),
        std=validation.real("noise spread", given["std"], *STDS),
        serial=validation.whole("serial", given["serial"], 0, MOST_ASKED),
        t=None if t is None else validation.whole("t", t, 0, MOST_T),
    )


def canvas() -> gr.HTML:
    """Show the stage: the picture with its slider, and at its right what is known of it."""
    words = {lang: {key: say(f"noise_{key}", lang) for key in WORDS} for lang in TEXTS}
    return gr.HTML(
        html_template=PAGE.format(json.dumps(words, ensure_ascii=False)),
        js_on_load="sdNoise.stage(element, props, watch);",
        apply_default_css=False,
        elem_id="noise-stage",
    )


def form() -> gr.HTML:
    """Hear from the browser: its value is the form, and `ask` says that there is more to draw."""
    return gr.HTML(
        html_template=BLANK,
        js_on_load='sdNoise.form(props, () => trigger("ask"), upload);',
        elem_classes="event-bridge",
    )


def tool(name: str, *verbs: str) -> gr.HTML:
    """Show a tool, drawn by the stage's script; each of its verbs is an event, as is `stop`.

    Its value is {"shown": markup, "progress": markup}, "" where nothing runs.
    """
    words = ", ".join(f'"{verb}"' for verb in (*verbs, "stop"))
    return gr.HTML(
        html_template=BLANK,
        js_on_load=f"sdNoise.tool('{name}', element, props, trigger, watch, [{words}]);",
        apply_default_css=False,
        elem_id=f"noise-{name}",
        elem_classes="noise-tool",
    )


def telling_its_end(handler: Callable[..., Iterator[Updates]]) -> Callable[..., Iterator[Updates]]:
    """Let a tool that fails say that nothing runs any more, before it tells why."""

    @wraps(handler)
    def stream(*args: Any, **kwargs: Any) -> Iterator[Updates]:
        try:
            yield from handler(*args, **kwargs)
        except Exception:
            yield {"tool": {"shown": "", "progress": ""}}
            raise

    return stream


@keep_newest(8)
def pack_arrays(picture: Picture, seed: int) -> bytes:
    """Return x_0 as uint8 and eps as little-endian float16, both [3, S, S], one after the other."""
    from sd.data.images import to_uint8

    x0 = read_pixels(picture)
    eps = draw_noise(tuple(x0.shape), seed).numpy().astype("<f2")
    return bytes(to_uint8(x0).numpy().tobytes() + eps.tobytes())


@keep_newest(8)
def measure(picture: Picture) -> dict[str, Any]:
    """Return what is told of a picture itself: its side, mean square and power by frequency."""
    from sd.diffusion.analysis import spectrum

    x0 = read_pixels(picture)
    return {
        "side": x0.shape[-1],
        "power": float(x0.square().mean()),
        "spectrum": [float(f"{value:.6g}") for value in spectrum(x0)],
    }


def schedule_line(name: str, lang: str) -> dict[str, Any]:
    """Return a schedule as the browser needs it: alpha_bar is base64 of float64 [T+1]."""
    schedule = schedules.read_schedule(name)
    data = schedule.alpha_bar.astype("<f8").tobytes()
    return {
        "name": schedules.title_of(name, lang),
        "T": schedule.timesteps,
        "alpha_bar": base64.b64encode(data).decode(),
        "ends": schedules.check_html(name, lang),
        "bad": schedule.warning is not None,
    }


def make_scene(form: NoiseForm, lang: str) -> dict[str, Any]:
    """Return all that the browser draws from."""
    drawn = (form.picture, form.schedule, form.seed, form.mean, form.std)
    return {
        "file": file_data(store(pack_arrays(form.picture, form.seed), "noise.bin")),
        **measure(form.picture),
        "schedule": schedule_line(form.schedule, lang),
        "other": schedule_line(form.other, lang),
        "form": form.to_json(),
        "t": form.time,
        "stamp": zlib.crc32(repr(drawn).encode()),
        "called": pictures.called(form.picture, lang),
        "thumbnails": pictures.thumbnails(form.pictures, lang),
        "sets": pictures.list_sets(lang),
        "schedules": schedules.list_choices(lang),
        "means": means.means_html(form.schedule, form.mean, lang),
        "command": exact.command_line(
            form.picture, form.schedule, None, form.seed, form.mean, form.std
        ),
        "mark": base64.b64encode(marks.png_chunk()).decode(),
    }
