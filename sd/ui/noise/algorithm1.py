"""Algorithm 1, line by line, with the numbers of one pass of it over this picture."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.components import Component
from markupsafe import Markup, escape

from sd.ui import model_cost, models
from sd.ui.components.events import Updates, by_name
from sd.ui.components.handlers import ALWAYS, guarded, language, progress_on
from sd.ui.components.widgets import new_seed
from sd.ui.noise import stage
from sd.ui.noise.model_view import EPS_SHOWN, tile_html
from sd.ui.noise.pictures import Picture, read_pixels
from sd.ui.texts import say

if TYPE_CHECKING:
    from torch import Tensor

    from sd.diffusion.analysis import TrainingIteration
    from sd.generation.pipeline import Source

FIRST_VALUES = 4  # of a picture's numbers that are written out


def first_values(values: "Tensor") -> str:
    """Return the first numbers of a tensor, and that there are more."""
    shown = ", ".join(f"{value:.3f}" for value in values.flatten()[:FIRST_VALUES].tolist())
    return f"[{shown}, …]"


def run_iteration(
    model: str, picture: Picture, seed: int
) -> "tuple[TrainingIteration, Tensor, Source]":
    """Return one iteration, the picture x_0 as the model takes it, and the model."""
    from sd.diffusion.analysis import training_iteration

    entry, device = models.find(model), models.machine().device
    model_cost.check(models.cost_of(entry), 1, 1, device, "model")
    with models.turn():
        source = models.open_model(entry)
        x0 = source.space.encode(read_pixels(picture, source.space.picture_shape)[None])[0]
        return training_iteration(source, x0, seed, device), x0, source


def algorithm_lines(
    done: "TrainingIteration", x0: "Tensor", source: "Source", lang: str
) -> list[tuple[str, Markup]]:
    """Return each line of the algorithm, as markup, with what it came to."""
    schedule, kind = source.diffusion.schedule, source.diffusion.prediction

    def came(key: str, **values: object) -> Markup:
        return escape(say(key, lang, **values))

    def picture(x: "Tensor", alt: str, scale: float = 1.0) -> Markup:
        return tile_html(source.space.preview(x) / scale, alt=alt)

    a, b = float(schedule.signal(done.t)), float(schedule.noise(done.t))
    size = " × ".join(str(side) for side in x0.shape)
    loss = {"loss": f"{done.eps_loss:.4f}", "own": f"{done.loss:.4f}", "kind": kind}
    key = "algorithm_loss" if kind == "eps" else "algorithm_loss_other"
    mixed = {"a": f"{a:.4f}", "b": f"{b:.4f}", "values": first_values(done.x_t)}
    norm = f"{float(done.eps.norm()):.2f}"
    answer = done.answer.eps
    return [
        ("repeat", came("algorithm_repeat")),
        (
            "x<sub>0</sub> ~ q(x<sub>0</sub>)",
            came("algorithm_x0", size=size, values=first_values(x0)) + picture(x0, "x0"),
        ),
        ("t ~ Uniform({1, …, T})", came("algorithm_t", t=done.t, T=schedule.timesteps)),
        (
            "ε ~ N(0, I)",
            came("algorithm_eps", values=first_values(done.eps), norm=norm)
            + picture(done.eps, "eps", EPS_SHOWN),
        ),
        (
            "x<sub>t</sub> = √ᾱ<sub>t</sub> x<sub>0</sub> + √(1 − ᾱ<sub>t</sub>) ε",
            came("algorithm_x_t", **mixed) + picture(done.x_t, "x_t"),
        ),
        (
            "ε<sub>θ</sub>(x<sub>t</sub>, t)",
            came("algorithm_answer", values=first_values(answer), s=done.t - 1)
            + picture(answer, "eps-hat", EPS_SHOWN),
        ),
        ("∇<sub>θ</sub> ‖ε − ε<sub>θ</sub>(x<sub>t</sub>, t)‖²", came(key, **loss)),
        ("until converged", came("algorithm_until")),
    ]


@guarded
@stage.telling_its_end
def show_algorithm(form: Any, model: str, request: gr.Request) -> Iterator[Updates]:
    """Pass once through Algorithm 1; show its lines with their numbers."""
    lang, asked = language(request), stage.read_form(form)
    done, x0, source = run_iteration(model, asked.picture, new_seed())
    line = Markup('<li><code>{}</code><div class="came">{}</div></li>')
    lines = Markup("").join(
        line.format(Markup(code), words) for code, words in algorithm_lines(done, x0, source, lang)
    )
    moves = Markup(
        '<ol class="lines">{}</ol><div class="moves"><button type="button" data-by="-1">{}</button>'
        '<button type="button" data-by="1">{}</button></div>'
    )
    back, on = (say(key, lang) for key in ("algorithm_back", "algorithm_on"))
    yield {"tool": {"shown": moves.format(lines, back, on), "progress": ""}}


def build(form: gr.HTML, model: Component) -> None:
    """Lay out the algorithm, and wire it."""
    tool = stage.tool("algorithm", "draw")
    tool.draw(
        **by_name(show_algorithm, {"form": form, "model": model}, {"tool": tool}),
        **progress_on(tool),
        **ALWAYS,
    )
