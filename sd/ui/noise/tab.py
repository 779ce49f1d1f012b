"""The Noise tab: a picture, a slider over t, x_t drawn in the browser, and tools below it."""

from typing import Any

import gradio as gr

from sd.ui.components.events import Updates, by_name
from sd.ui.components.handlers import ALWAYS, HIDDEN, QUIET, guarded, language
from sd.ui.components.tools import Tool, tool_fold, tools_bar
from sd.ui.noise import algorithm1, chain, inside, latents, model_view, stage

TOOLS = (
    Tool("noise-fold-sight", "question", "sight"),
    Tool("noise-fold-pair", "pair", "noise_pair"),
    Tool("noise-fold-walk", "steps", "walk"),
    Tool("noise-fold-algorithm", "lines", "algorithm"),
    Tool("noise-fold-latents", "blocks", "noise_latents"),
    Tool("noise-fold-inside", "inside", "inside"),
)


@guarded
def show_scene(form: Any, request: gr.Request) -> Updates:
    """Show what the browser draws from."""
    return {"canvas": stage.make_scene(stage.read_form(form), language(request))}


def build(demo: gr.Blocks, model: gr.HTML) -> None:
    """Lay out the tab and wire it; `model`: the page's."""
    canvas, form = stage.canvas(), stage.form()
    tools_bar(TOOLS)
    sight, pair, walk, algorithm, in_latents, within = TOOLS
    with tool_fold(sight):
        model_view.build(form, model)
    with tool_fold(pair):
        stage.tool("pair")
    with tool_fold(walk):
        chain.build(form)
    with tool_fold(algorithm):
        algorithm1.build(form, model)
    with tool_fold(in_latents):
        latents.build(form, model)
    with tool_fold(within):
        inside.build(form, model)
    show = by_name(show_scene, {"form": form}, {"canvas": canvas}) | QUIET
    form.ask(**show, **ALWAYS)
    demo.load(**show)
    model.change(None, js="() => sdNoise.forget()", **HIDDEN, api_visibility="private")
