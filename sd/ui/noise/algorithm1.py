"""Algorithm 1, line by line, with the numbers of one pass of it over this picture."""

import html
from typing import Any

import gradio as gr

from sd.common import validation
from sd.ui import models
from sd.ui.components.handlers import HIDDEN, MODEL, guarded, language
from sd.ui.components.widgets import label, new_seed, note
from sd.ui.noise.model_view import EPS_SHOWN, clear_on_change, pick_model, refresh_models, tile_html
from sd.ui.noise.pictures import Picture, read_pixels
from sd.ui.noise.stage import fold
from sd.ui.texts import say

FIRST_VALUES = 4  # of a picture's numbers that are written out
LISTENER = "window.sdNoise.lines(element, watch);"


def first_values(values: Any) -> str:
    """Return the first numbers of a tensor, and that there are more."""
    shown = ", ".join(f"{value:.3f}" for value in values.flatten()[:FIRST_VALUES].tolist())
    return f"[{shown}, …]"


def run_iteration(model: Any, picture: Picture, seed: int) -> tuple[Any, Any, Any]:
    """Return one iteration, the picture x_0 as the model takes it, and the model."""
    from sd.diffusion.analysis import training_iteration

    entry = models.find(model)
    with models.turn():
        source = models.open_model(entry)
        x0 = source.space.encode(read_pixels(picture, source.space.picture_shape)[None])[0]
        return training_iteration(source, x0, seed, models.machine().device), x0, source


def algorithm_lines(made: Any, x0: Any, source: Any, lang: str) -> list[tuple[str, str]]:
    """Return each line of the algorithm with what it came to."""
    schedule, kind = source.diffusion.schedule, source.diffusion.prediction
    view = source.space.preview
    a, b = float(schedule.signal(made.t)), float(schedule.noise(made.t))
    size = " × ".join(str(side) for side in x0.shape)
    loss = {"loss": f"{made.eps_loss:.4f}", "own": f"{made.loss:.4f}", "kind": kind}
    key = "algorithm_loss" if kind == "eps" else "algorithm_loss_other"
    mixed = {"a": f"{a:.4f}", "b": f"{b:.4f}", "values": first_values(made.x_t)}
    norm = f"{float(made.eps.norm()):.2f}"
    return [
        ("repeat", say("algorithm_repeat", lang)),
        (
            "x<sub>0</sub> ~ q(x<sub>0</sub>)",
            say("algorithm_x0", lang, size=size, values=first_values(x0))
            + tile_html(view(x0), alt="x0"),
        ),
        (
            "t ~ Uniform({1, …, T})",
            say("algorithm_t", lang, t=made.t, T=schedule.timesteps),
        ),
        (
            "ε ~ N(0, I)",
            say("algorithm_eps", lang, values=first_values(made.eps), norm=norm)
            + tile_html(view(made.eps) / EPS_SHOWN, alt="eps"),
        ),
        (
            "x<sub>t</sub> = √ᾱ<sub>t</sub> x<sub>0</sub> + √(1 − ᾱ<sub>t</sub>) ε",
            say("algorithm_x_t", lang, **mixed) + tile_html(view(made.x_t), alt="x_t"),
        ),
        (
            "ε<sub>θ</sub>(x<sub>t</sub>, t)",
            say("algorithm_answer", lang, values=first_values(made.answer.eps), s=made.t - 1)
            + tile_html(view(made.answer.eps) / EPS_SHOWN, alt="eps-hat"),
        ),
        ("∇<sub>θ</sub> ‖ε − ε<sub>θ</sub>(x<sub>t</sub>, t)‖²", say(key, lang, **loss)),
        ("until converged", say("algorithm_until", lang)),
    ]


@guarded
def show_algorithm(model: Any, picture: Picture, seed: Any, request: gr.Request) -> str:
    """Pass once through Algorithm 1; return its lines with their numbers."""
    lang = language(request)
    seed = validation.seed("seed", seed)
    made, x0, source = run_iteration(model, picture, seed)
    items = "".join(
        f'<li><code>{code}</code><div class="came">{words}</div></li>'
        for code, words in algorithm_lines(made, x0, source, lang)
    )
    back, on = (html.escape(say(key, lang)) for key in ("algorithm_back", "algorithm_on"))
    return (
        f'<ol class="lines">{items}</ol><div class="moves">'
        f'<button type="button" data-by="-1">{back}</button>'
        f'<button type="button" data-by="1">{on}</button></div>'
    )


def build(demo: gr.Blocks, picture: gr.State) -> None:
    """Lay out the algorithm, and wire it."""
    with fold("algorithm", "noise-fold-algorithm"):
        note("algorithm_about")
        with gr.Row(elem_classes="questions"):
            model = pick_model("algorithm_model")
            go = gr.Button(label("algorithm_go"), variant="primary", elem_id="algorithm-go")
        shown = gr.HTML(js_on_load=LISTENER, elem_classes="seen", elem_id="algorithm-seen")
    drawn = gr.State(0)
    go.click(new_seed, None, drawn, **HIDDEN, api_visibility="private").then(
        show_algorithm,
        [model, picture, drawn],
        shown,
        show_progress="minimal",
        api_visibility="private",
        **MODEL,
    )
    clear_on_change([model, picture], [shown])
    demo.load(refresh_models, model, model, **HIDDEN, api_visibility="private")
