"""What the model sees: one shot from x_t at every t, and the way there and back."""

from collections.abc import Iterator, Sequence
from typing import Any

import gradio as gr
import numpy as np

from sd.common import validation
from sd.ui import model_cost, models
from sd.ui.components import curves, images
from sd.ui.components.handlers import HIDDEN, MODEL, QUIET, guarded, language
from sd.ui.components.widgets import label, note
from sd.ui.noise import schedules, stage
from sd.ui.noise.pictures import Picture, draw_noise, read_pixels
from sd.ui.noise.stage import fold
from sd.ui.texts import say

COLUMNS = 10  # times of the strip
RETURNS, CALLS = 8, 10  # times of the way there and back, and calls of the network for each
QUIETLY: dict[str, Any] = {"api_visibility": "private", **MODEL}
EPS_SHOWN = 3.0  # standard deviations of eps that fill the range of a picture


def tile_html(pixels: Any, words: str = "", alt: str = "") -> str:
    """Return one picture, float [C, H, W], with words under it."""
    from sd.data.images import to_pil

    address = images.data_address(to_pil(pixels))
    caption = f"<figcaption>{words}</figcaption>" if words else ""
    return f'<figure><img src="{address}" alt="{alt}">{caption}</figure>'


def matching_time(source: Any, course: str, t: int) -> float:
    """Return the model's own time at which x_t is mixed as it is at t of a schedule; at least 1."""
    from sd.diffusion.analysis import time_of_alpha_bar

    alpha_bar = float(schedules.read_schedule(course).alpha_bar[t])
    return max(1.0, round(time_of_alpha_bar(source.diffusion.schedule, alpha_bar), 6))


def prediction_html(seen: Any, T: int, lang: str) -> str:
    """Return x_t with what the model makes of it, large."""
    times = f"t = {seen.t:.4g} / {T}"
    x0, eps = f"{seen.x0_error:.3f}", f"{seen.eps_error:.3f}"
    pictures = (
        (seen.x_t, f"x<sub>t</sub>, {times}"),
        (seen.x0, say("sight_x0", lang, rms=x0)),
        (seen.eps[:3] / EPS_SHOWN, say("sight_eps", lang, rms=eps)),
    )
    alts = (f"x_t, {times}", f"x0-hat, RMS {x0}", f"eps-hat, RMS {eps}")
    tiles = (
        tile_html(pixels, words, alt) for (pixels, words), alt in zip(pictures, alts, strict=True)
    )
    return f'<div class="triple">{"".join(tiles)}</div>'


def column_html(seen: Any, lang: str) -> str:
    """Return one column of the strip: x_t, x0-hat and eps-hat over their errors."""
    names = (f"x_t, t = {seen.t:.4g}", "x0-hat", "eps-hat")
    pictures = (seen.x_t, seen.x0, seen.eps[:3] / EPS_SHOWN)
    tiles = (tile_html(pixels, alt=alt) for pixels, alt in zip(pictures, names, strict=True))
    words = say("sight_column", lang, x0=f"{seen.x0_error:.2f}", eps=f"{seen.eps_error:.2f}")
    return f'<div class="column"><b>{seen.t:.4g}</b>{"".join(tiles)}<span>{words}</span></div>'


def strip_html(columns: Sequence[str], lang: str) -> str:
    """Return the strip, with what its rows are."""
    if not columns:
        return ""
    about = f'<p class="note">{say("sight_strip", lang)}</p>'
    return f'{about}<div class="sights">{"".join(columns)}</div>'


def progress_html(done: int, total: int, lang: str) -> str:
    """Return the line that says how far the asking is."""
    words, share = say("sight_progress", lang, i=done, n=total), f"{100 * done / total:.0f}"
    return (
        f'<div class="progress"><p>{words}</p><div class="track" role="progressbar"'
        f' aria-valuemin="0" aria-valuemax="100" aria-valuenow="{share}">'
        f'<i style="width:{share}%"></i></div></div>'
    )


class ModelProbe:
    """What is asked of a model: the picture in its size, the noise, the model itself."""

    def __init__(self, model: Any, picture: Picture, seed: Any, calls: int) -> None:
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

    def sight(self, t: float) -> Any:
        """Return what the model sees at its time t, as pictures."""
        from sd.diffusion.analysis import predict_at

        with models.turn():
            seen = predict_at(self.source, self.x0, t, self.eps, self.device)
            x0 = self.space.decode(seen.x0[None])[0]
        x_t, eps = self.space.preview(seen.x_t), self.space.preview(seen.eps)
        return seen._replace(x_t=x_t, x0=x0, eps=eps)

    def back(self, t: float) -> Any:
        """Return the way to the model's time t and back, as pictures."""
        from sd.diffusion.analysis import noise_and_denoise

        with models.turn():
            trip = noise_and_denoise(self.source, self.picture, t, self.eps, CALLS, self.device)
        return trip._replace(x_t=self.space.preview(trip.x_t))


def check_time(t: Any, course: Any) -> int:
    """Return t within a schedule's times."""
    schedules.find_schedule(course)
    last = schedules.read_schedule(course).timesteps
    return min(validation.whole("t", t, 0, stage.MOST_T), last)


@guarded
def show_predictions(
    model: Any, t: Any, picture: Picture, course: Any, seed: Any, request: gr.Request
) -> Iterator[tuple[str, str]]:
    """Ask the model at this t, then at ten; yield its answers as they come, and the progress."""
    from sd.diffusion.analysis import even_times

    lang, t = language(request), check_time(t, course)
    asked = ModelProbe(model, picture, seed, COLUMNS + 1)
    now = prediction_html(asked.sight(matching_time(asked.source, course, t)), asked.T, lang)
    yield now, progress_html(0, COLUMNS, lang)
    columns: list[str] = []
    for each in even_times(asked.T, COLUMNS):
        columns.append(column_html(asked.sight(max(1.0, each)), lang))
        yield now + strip_html(columns, lang), progress_html(len(columns), COLUMNS, lang)
    yield now + strip_html(columns, lang), ""


@guarded
def show_round_trips(
    model: Any, picture: Picture, seed: Any, request: gr.Request
) -> Iterator[tuple[str, str]]:
    """Noise the picture to eight times and bring it back; yield what came back, and the curve."""
    from sd.diffusion.analysis import even_times

    lang, asked = language(request), ModelProbe(model, picture, seed, RETURNS * CALLS)
    came: list[Any] = []
    yield "", progress_html(0, RETURNS, lang)
    for t in even_times(asked.T, RETURNS):
        came.append(asked.back(max(1.0, t)))
        yield round_trips_html(came, asked, lang), progress_html(len(came), RETURNS, lang)
    yield round_trips_html(came, asked, lang), ""


def round_trips_html(came: Sequence[Any], asked: ModelProbe, lang: str) -> str:
    """Return the error of what came back over t, and the pictures that did."""
    own = float(asked.picture.std())
    x = np.array([0.0, *(each.t / asked.T for each in came)])
    y = np.array([0.0, *(each.rms for each in came)])
    lost = curves.Line(np.array([0.0, 1.0]), np.array([own, own]), "raw", say("trip_own", lang))
    error = curves.Line(x, y, "accent", f"RMS {y[-1]:.2f}", dots=True)
    alt = say("trip_alt", lang, t=f"{came[-1].t:.4g}", rms=f"{y[-1]:.3f}")
    drawn = curves.plot([lost, error], alt, [(0, "t = 0"), (1, f"{asked.T}")], log=False)
    columns = "".join(
        f'<div class="column"><b>{each.t:.4g}</b>{tile_html(each.x_t, alt="x_t")}'
        f"{tile_html(each.x0, alt='x0')}<span>RMS {each.rms:.2f}<br>{each.psnr:.1f} dB</span></div>"
        for each in came
    )
    about = f'<p class="note">{say("trip_strip", lang, n=CALLS)}</p>'
    return f'{about}<div class="trip">{drawn}</div><div class="sights">{columns}</div>'


def refresh_models(value: Any) -> Any:
    """Return the models that there are now, with `value` or the first one chosen."""
    offered = models.list_choices()
    names = [name for _, name in offered]
    return gr.update(choices=offered, value=value if value in names else names[0])


def pick_model(key: str) -> gr.Dropdown:
    """Show the models; the list is read anew whenever it is opened."""
    model = gr.Dropdown(
        [],
        filterable=False,
        label=label(key),
        info=label(f"{key}_info"),
        elem_classes="model",
    )
    model.focus(refresh_models, model, model, **HIDDEN, api_visibility="private")
    return model


def clear_on_change(
    causes: Sequence[Any], shown: Sequence[Any], running: Sequence[Any] = ()
) -> None:
    """Empty what is shown when any of its causes is another, and end what is still making it."""
    nothing = [""] * len(shown)
    told = [each.change for each in causes]
    gr.on(told, lambda: nothing, None, list(shown), cancels=list(running), **QUIET)


def build(demo: gr.Blocks, picture: gr.State, t: Any, course: Any, seed: Any) -> None:
    """Lay out what the model sees, and wire it."""
    with fold("sight", "noise-fold-sight"):
        note("sight_about")
        with gr.Row(elem_classes="questions"):
            model = pick_model("sight_model")
            go = gr.Button(label("sight_go"), variant="primary", elem_id="sight-go")
            trip = gr.Button(label("trip_go"), elem_id="trip-go")
            stop = gr.Button(label("stop"), elem_id="sight-stop", elem_classes="stop")
        line = gr.HTML(elem_classes="told", elem_id="sight-status")
        seen = gr.HTML(elem_classes="seen", elem_id="sight-seen")
        back = gr.HTML(elem_classes="seen", elem_id="trip-seen")
    queued: dict[str, Any] = {"show_progress": "minimal", "show_progress_on": line}
    events: list[Any] = [
        go.click(
            show_predictions, [model, t, picture, course, seed], [seen, line], **queued, **QUIETLY
        ),
        trip.click(show_round_trips, [model, picture, seed], [back, line], **queued, **QUIETLY),
    ]
    stop.click(None, None, None, cancels=events, api_visibility="private")
    clear_on_change([model, picture, course, seed], [seen, back, line], events)
    demo.load(refresh_models, model, model, **HIDDEN, api_visibility="private")
