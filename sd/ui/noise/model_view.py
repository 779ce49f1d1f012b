"""What the model sees: one shot from x_t at every t, and the way there and back."""

import json
from collections.abc import Iterator, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np
from gradio.components import Component
from markupsafe import Markup

from sd.common import validation
from sd.ui import model_cost, models
from sd.ui.components import curves, images
from sd.ui.components.events import Updates, by_name
from sd.ui.components.handlers import ALWAYS, guarded, language, progress_on
from sd.ui.components.html import paragraph, progress_bar, text
from sd.ui.noise import pictures, schedules, stage
from sd.ui.noise.pictures import Picture, draw_noise, read_pixels
from sd.ui.texts import say

if TYPE_CHECKING:
    from torch import Tensor

    from sd.diffusion.analysis import PredictionAt, RoundTrip
    from sd.generation.pipeline import Source

COLUMNS = 10  # times of the strip
RETURNS, CALLS = 8, 10  # times of the way there and back, and calls of the network for each
OWN, OWN_AT = 5, 0.05  # pictures of the model's own set, and the share of T at which they are asked
UNLIKE = 1.75  # times their usual error: a picture that is further off is none of them
LEAST_ERROR = 0.01  # of a model that knows its pictures by heart
EPS_SHOWN = 3.0  # standard deviations of eps that fill the range of a picture


def tile_html(pixels: "Tensor", words: str = "", alt: str = "") -> Markup:
    """Return one picture, float [C, H, W], with words under it."""
    from sd.data.images import to_pil

    caption = Markup("<figcaption>{}</figcaption>").format(words) if words else ""
    figure = Markup('<figure><img src="{}" alt="{}">{}</figure>')
    return figure.format(images.data_address(to_pil(pixels)), alt, caption)


def matching_time(source: "Source", schedule: str, t: int) -> float:
    """Return the model's own time at which x_t is mixed as it is at t of a schedule; at least 1."""
    from sd.diffusion.analysis import time_of_alpha_bar

    alpha_bar = float(schedules.read_schedule(schedule).alpha_bar[t])
    return max(1.0, round(time_of_alpha_bar(source.diffusion.schedule, alpha_bar), 6))


def prediction_html(seen: "PredictionAt", T: int, lang: str) -> Markup:
    """Return x_t with what the model makes of it, large."""
    times = f"t = {seen.t:.4g} / {T}"
    x0, eps = (
        say("sight_off", lang, rms=f"{error:.3f}") for error in (seen.x0_error, seen.eps_error)
    )
    line = Markup('<span title="{}">{}</span>')
    x0_words, eps_words = (say(key, lang) for key in ("sight_x0", "sight_eps"))
    tiles = [
        tile_html(seen.x_t, Markup("x<sub>t</sub>, {}").format(times), f"x_t, {times}"),
        tile_html(seen.x0, line.format(x0, x0_words), f"{x0_words}, {x0}"),
        tile_html(seen.eps[:3] / EPS_SHOWN, line.format(eps, eps_words), f"{eps_words}, {eps}"),
    ]
    return Markup('<div class="triple">{}</div>').format(Markup("").join(tiles))


def column_html(t: float, tiles: Sequence[Markup], words: Markup) -> Markup:
    """Return one column of a strip: its time, its pictures, and their errors."""
    column = Markup('<div class="column"><b>{:.4g}</b>{}<span>{}</span></div>')
    return column.format(t, Markup("").join(tiles), words)


def prediction_column(seen: "PredictionAt", lang: str) -> Markup:
    """Return one column of the strip: x_t, x0-hat and eps-hat over their errors."""
    tiles = [
        tile_html(seen.x_t, alt=f"x_t, t = {seen.t:.4g}"),
        tile_html(seen.x0, alt="x0-hat"),
        tile_html(seen.eps[:3] / EPS_SHOWN, alt="eps-hat"),
    ]
    errors = {"x0": f"{seen.x0_error:.2f}", "eps": f"{seen.eps_error:.2f}"}
    return column_html(seen.t, tiles, text("sight_column", lang, **errors))


def strip_html(columns: Sequence[Markup]) -> Markup:
    """Return columns side by side."""
    return Markup('<div class="sights">{}</div>').format(Markup("").join(columns))


def progress_html(done: int, total: int, lang: str) -> Markup:
    """Return how many of the questions are answered."""
    return progress_bar([say("sight_progress", lang, i=done, n=total)], done / total)


class ModelProbe:
    """What is asked of a model: the picture in its size, the noise, the model itself."""

    def __init__(self, model: str, picture: Picture, seed: float | None, calls: int) -> None:
        """Open the model, which will be asked so often; raise `InputError` if that is too much."""
        self.entry = entry = models.find(model)
        self.device = models.machine().device
        model_cost.check(models.cost_of(entry), calls, 1, self.device, "model")
        with models.turn():
            self.source = models.open_model(entry)
        self.space = self.source.space
        self.picture = read_pixels(picture, self.space.picture_shape)
        self.x0 = self.space.encode(self.picture[None])[0]
        self.eps = draw_noise(tuple(self.x0.shape), validation.seed("seed", seed))
        self.T = self.source.diffusion.schedule.timesteps

    def predict(self, t: float) -> "PredictionAt":
        """Return what the model predicts at its time t, as pictures."""
        from sd.diffusion.analysis import predict_at

        with models.turn():
            seen = predict_at(self.source, self.x0, t, self.eps, self.device)
            x0 = self.space.decode(seen.x0[None])[0]
        x_t, eps = self.space.preview(seen.x_t), self.space.preview(seen.eps)
        return seen._replace(x_t=x_t, x0=x0, eps=eps)

    def error_of(self, picture: Picture, t: float) -> float:
        """Return how far off the model is of a picture at its time t."""
        from sd.diffusion.analysis import predict_at

        with models.turn():
            x0 = self.space.encode(read_pixels(picture, self.space.picture_shape)[None])[0]
            return predict_at(self.source, x0, t, self.eps, self.device).x0_error

    def round_trip(self, t: float) -> "RoundTrip":
        """Return the way to the model's time t and back, as pictures."""
        from sd.diffusion.analysis import noise_and_denoise

        with models.turn():
            trip = noise_and_denoise(self.source, self.picture, t, self.eps, CALLS, self.device)
        return trip._replace(x_t=self.space.preview(trip.x_t))


def judged_html(probe: ModelProbe, picture: Picture, lang: str) -> Markup:
    """Return whether a picture is like those that the model learned from, and some of those."""
    name, own = pictures.own_pictures(probe.entry, lang, OWN)
    if not own:
        return Markup("")
    t = max(1.0, OWN_AT * probe.T)
    usual = median(probe.error_of(each, t) for each in own)
    error = probe.error_of(picture, t)
    alike = error <= UNLIKE * max(usual, LEAST_ERROR)
    key = "sight_alike" if alike else "sight_unlike"
    line = say(key, lang, set=name, picture=pictures.called(picture, lang))
    title = say("sight_errors", lang, own=f"{usual:.2f}", rms=f"{error:.2f}", t=f"{t:.4g}")
    button = Markup(
        '<button type="button" data-picture="{}" aria-label="{}"><img src="{}" alt=""></button>'
    )
    offered = Markup("").join(
        button.format(
            json.dumps(pictures.to_json(each)),
            pictures.called(each, lang),
            images.data_address(pictures.read_image(each)),
        )
        for each in own
    )
    judged = Markup('<p class="judged" title="{}">{}</p><div class="own" role="group">{}</div>')
    return judged.format(title, line, offered)


@guarded
@stage.telling_its_end
def show_predictions(form: Any, model: str, request: gr.Request) -> Iterator[Updates]:
    """Ask the model at this t, then at ten; show its answers as they come, and the progress."""
    from sd.diffusion.analysis import even_times

    lang, asked = language(request), stage.read_form(form)
    probe = ModelProbe(model, asked.picture, asked.seed, COLUMNS + 2 + OWN)
    t = matching_time(probe.source, asked.schedule, asked.time)
    seen = probe.predict(t)
    now = judged_html(probe, asked.picture, lang) + prediction_html(seen, probe.T, lang)
    yield told(now, progress_html(0, COLUMNS, lang))
    columns: list[Markup] = []
    shown = now
    for each in even_times(probe.T, COLUMNS):
        columns.append(prediction_column(probe.predict(max(1.0, each)), lang))
        shown = now + paragraph(say("sight_strip", lang)) + strip_html(columns)
        yield told(shown, progress_html(len(columns), COLUMNS, lang))
    yield told(shown)


@guarded
@stage.telling_its_end
def show_round_trips(form: Any, model: str, request: gr.Request) -> Iterator[Updates]:
    """Noise the picture to eight times and bring it back; show what came back, and the curve."""
    from sd.diffusion.analysis import even_times

    lang, asked = language(request), stage.read_form(form)
    probe = ModelProbe(model, asked.picture, asked.seed, RETURNS * CALLS)
    trips: list[RoundTrip] = []
    yield told("", progress_html(0, RETURNS, lang))
    shown = Markup("")
    for t in even_times(probe.T, RETURNS):
        trips.append(probe.round_trip(max(1.0, t)))
        shown = round_trips_html(trips, probe, lang)
        yield told(shown, progress_html(len(trips), RETURNS, lang))
    yield told(shown)


def told(shown: str, progress: str = "") -> Updates:
    """Return what the tool shows, and how far it is."""
    return {"tool": {"shown": shown, "progress": progress}}


def round_trips_html(trips: Sequence["RoundTrip"], probe: ModelProbe, lang: str) -> Markup:
    """Return the error of what came back over t, and the pictures that did."""
    own = float(probe.picture.std())
    x = np.array([0.0, *(each.t / probe.T for each in trips)])
    y = np.array([0.0, *(each.rms for each in trips)])
    lost = curves.Line(np.array([0.0, 1.0]), np.array([own, own]), "raw", say("trip_own", lang))
    error = curves.Line(x, y, "accent", f"RMS {y[-1]:.2f}", dots=True)
    alt = say("trip_alt", lang, t=f"{trips[-1].t:.4g}", rms=f"{y[-1]:.3f}")
    curve = curves.plot([lost, error], alt, [(0, "t = 0"), (1, f"{probe.T}")], log=False)
    columns = [
        column_html(
            each.t,
            [tile_html(each.x_t, alt="x_t"), tile_html(each.x0, alt="x0")],
            Markup("RMS {:.2f}<br>{:.1f} dB").format(each.rms, each.psnr),
        )
        for each in trips
    ]
    plot = Markup('<div class="trip">{}</div>').format(curve)
    return paragraph(say("trip_strip", lang, n=CALLS)) + plot + strip_html(columns)


def build(form: gr.HTML, model: Component) -> None:
    """Lay out what a model sees, and wire it."""
    tool = stage.tool("sight", "ask", "restore")
    asked = {"form": form, "model": model}
    queued = progress_on(tool) | ALWAYS
    events: list[Any] = [
        tool.ask(**by_name(show_predictions, asked, {"tool": tool}), **queued),
        tool.restore(**by_name(show_round_trips, asked, {"tool": tool}), **queued),
    ]
    tool.stop(None, None, None, cancels=events, api_visibility="private")
