"""What the model sees: one shot from x_t at every t, and the way there and back."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import gradio as gr
import numpy as np
from gradio.components import Component
from gradio.events import Dependency
from markupsafe import Markup

from sd.common import validation
from sd.ui import model_cost, models
from sd.ui.components import curves, images
from sd.ui.components.events import Updates, by_name
from sd.ui.components.handlers import QUIET, guarded, language, progress_on
from sd.ui.components.html import paragraph, progress_bar, text
from sd.ui.components.widgets import label, note
from sd.ui.noise import schedules, stage
from sd.ui.noise.pictures import Picture, draw_noise, read_pixels
from sd.ui.noise.stage import fold
from sd.ui.texts import say

if TYPE_CHECKING:
    from torch import Tensor

    from sd.diffusion.analysis import PredictionAt, RoundTrip
    from sd.generation.pipeline import Source

COLUMNS = 10  # times of the strip
RETURNS, CALLS = 8, 10  # times of the way there and back, and calls of the network for each
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
    x0, eps = f"{seen.x0_error:.3f}", f"{seen.eps_error:.3f}"
    tiles = [
        tile_html(seen.x_t, Markup("x<sub>t</sub>, {}").format(times), f"x_t, {times}"),
        tile_html(seen.x0, say("sight_x0", lang, rms=x0), f"x0-hat, RMS {x0}"),
        tile_html(seen.eps[:3] / EPS_SHOWN, say("sight_eps", lang, rms=eps), f"eps-hat, RMS {eps}"),
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
        entry = models.find(model)
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

    def round_trip(self, t: float) -> "RoundTrip":
        """Return the way to the model's time t and back, as pictures."""
        from sd.diffusion.analysis import noise_and_denoise

        with models.turn():
            trip = noise_and_denoise(self.source, self.picture, t, self.eps, CALLS, self.device)
        return trip._replace(x_t=self.space.preview(trip.x_t))


def check_time(t: int, schedule: str) -> int:
    """Return t within a schedule's times."""
    schedules.find_schedule(schedule)
    last = schedules.read_schedule(schedule).timesteps
    return min(validation.whole("t", t, 0, stage.MOST_T), last)


@guarded
def show_predictions(
    model: str, t: int, picture: Picture, schedule: str, seed: float | None, request: gr.Request
) -> Iterator[Updates]:
    """Ask the model at this t, then at ten; show its answers as they come, and the progress."""
    from sd.diffusion.analysis import even_times

    lang, t = language(request), check_time(t, schedule)
    probe = ModelProbe(model, picture, seed, COLUMNS + 1)
    now = prediction_html(probe.predict(matching_time(probe.source, schedule, t)), probe.T, lang)
    yield {"predictions": now, "progress": progress_html(0, COLUMNS, lang)}
    columns: list[Markup] = []
    for each in even_times(probe.T, COLUMNS):
        columns.append(prediction_column(probe.predict(max(1.0, each)), lang))
        shown = now + paragraph(say("sight_strip", lang)) + strip_html(columns)
        yield {"predictions": shown, "progress": progress_html(len(columns), COLUMNS, lang)}
    yield {"progress": ""}


@guarded
def show_round_trips(
    model: str, picture: Picture, seed: float | None, request: gr.Request
) -> Iterator[Updates]:
    """Noise the picture to eight times and bring it back; show what came back, and the curve."""
    from sd.diffusion.analysis import even_times

    lang, probe = language(request), ModelProbe(model, picture, seed, RETURNS * CALLS)
    trips: list[RoundTrip] = []
    yield {"trips": "", "progress": progress_html(0, RETURNS, lang)}
    for t in even_times(probe.T, RETURNS):
        trips.append(probe.round_trip(max(1.0, t)))
        progress = progress_html(len(trips), RETURNS, lang)
        yield {"trips": round_trips_html(trips, probe, lang), "progress": progress}
    yield {"progress": ""}


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


def clear_on_change(
    causes: Sequence[Any], shown: Sequence[gr.HTML], running: Sequence[Dependency] = ()
) -> None:
    """Empty what is shown when any of its causes is another, and end what is still making it."""
    changes = [each.change for each in causes]
    gr.on(
        changes, lambda: dict.fromkeys(shown, ""), None, list(shown), cancels=list(running), **QUIET
    )


class PredictionFold(NamedTuple):
    """The fold of what a model sees: what asks it, and its answers."""

    model: gr.HTML
    go: gr.Button
    trip: gr.Button
    stop: gr.Button
    progress: gr.HTML
    predictions: gr.HTML
    trips: gr.HTML


def build(model: gr.HTML) -> PredictionFold:
    """Lay out what the page's model sees."""
    with fold("sight", "noise-fold-sight"):
        note("sight_about")
        with gr.Row(elem_classes="questions"):
            go = gr.Button(label("sight_go"), variant="primary", elem_id="sight-go")
            trip = gr.Button(label("trip_go"), elem_id="trip-go")
            stop = gr.Button(label("stop"), elem_id="sight-stop", elem_classes="stop")
        progress = gr.HTML(elem_classes="told", elem_id="sight-status")
        predictions = gr.HTML(elem_classes="seen", elem_id="sight-seen")
        trips = gr.HTML(elem_classes="seen", elem_id="trip-seen")
    return PredictionFold(model, go, trip, stop, progress, predictions, trips)


def wire(form: stage.NoiseForm, shown: PredictionFold) -> None:
    """Wire what asks the model."""
    queued = progress_on(shown.progress)

    def ask(handler: Callable[..., Any], *outputs: str, **inputs: Component) -> dict[str, Any]:
        parts = {name: getattr(shown, name) for name in outputs}
        return by_name(handler, {"model": shown.model, **inputs}, parts) | queued

    asked = form.inputs("picture", "seed")
    predict = ask(
        show_predictions, "predictions", "progress", **asked, **form.inputs("t", "schedule")
    )
    events: list[Any] = [
        shown.go.click(**predict),
        shown.trip.click(**ask(show_round_trips, "trips", "progress", **asked)),
    ]
    shown.stop.click(None, None, None, cancels=events, api_visibility="private")
    causes = [shown.model, *form.inputs("picture", "schedule", "seed").values()]
    clear_on_change(causes, [shown.predictions, shown.trips, shown.progress], events)
