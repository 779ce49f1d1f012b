"""The fields and places that the tabs share, with their translated labels."""

import random
from collections.abc import Sequence
from typing import Any

import gradio as gr

from sd.common import validation
from sd.ui.components.handlers import QUIET, guarded
from sd.ui.texts import PREFIX

COMMAND = """const line = element.querySelector("pre");
const show = () => { line.textContent = props.value ?? ""; };
watch("value", show);
show();"""


def label(key: str) -> Any:
    """Return a static text that the browser shows in its own language."""
    return gr.I18n()(PREFIX + key)


def labels(key: str) -> dict[str, Any]:
    """Return the label of a field and the sentence below it, by gradio's names for them."""
    return {"label": label(key), "info": label(f"{key}_info")}


def new_seed() -> int:
    """Return a random seed."""
    return random.SystemRandom().randrange(1_000_000)


def slider(key: str, low: float, high: float, value: float, **more: Any) -> gr.Slider:
    """Show a slider over whole numbers, or over `step`s."""
    steps = {"step": 1, "precision": 0} | more
    return gr.Slider(low, high, value=value, buttons=[], **labels(key), **steps)


def dropdown(key: str, choices: Sequence[Any], **more: Any) -> gr.Dropdown:
    """Show a list of which one is chosen."""
    return gr.Dropdown(choices, filterable=False, **labels(key), **more)


def number(key: str, value: float, **more: Any) -> gr.Number:
    """Show a field for a number."""
    return gr.Number(value, min_width=120, **(labels(key) | more))


def stage_picture(form: str, elem_id: str) -> gr.Image:
    """Show a picture that keeps its square; `form`: jpeg where it moves, png where it stays."""
    return gr.Image(
        format=form,
        show_label=False,
        interactive=False,
        buttons=["download", "fullscreen"],
        elem_classes="picture square",
        elem_id=elem_id,
    )


def thumbnails(key: str, elem_id: str, **more: Any) -> gr.Gallery:
    """Show a row of small pictures to choose from."""
    return gr.Gallery(
        format="png",
        label=label(key),
        show_label=False,
        columns=8,
        allow_preview=False,
        interactive=False,
        buttons=[],
        elem_id=elem_id,
        **more,
    )


def file_drop(key: str, file_count: Any) -> gr.File:
    """Show the place where files are dropped."""
    return gr.File(
        label=label(key), show_label=False, file_count=file_count, height=78, elem_classes="drop"
    )


@guarded
def draw_seed(seed: Any) -> Any:
    """Return a random seed in the place of -1, which asks for one."""
    return new_seed() if seed == validation.RANDOM_SEED else gr.skip()


def seed_number(key: str, value: int, **more: Any) -> gr.Number:
    """Show a field for a seed; whoever types -1 sees which seed it became."""
    seed = number(key, value, **more)
    seed.change(draw_seed, seed, seed, **QUIET)
    return seed


def seed_row(about: str) -> tuple[gr.Number, gr.Button]:
    """Show a seed and a button that draws another."""
    with gr.Row(elem_classes="with-dice"):
        seed = seed_number("seed", 0, info=label(about))
        dice = gr.Button(label("dice"), size="sm", min_width=96, scale=0, elem_classes="dice")
    return seed, dice


def command_box() -> gr.HTML:
    """Keep the command line of a tab, which the menu in the head shows."""
    return gr.HTML(
        "",
        html_template="<pre></pre>",
        js_on_load=COMMAND,
        apply_default_css=False,
        elem_classes="command",
    )


def heading(key: str) -> gr.HTML:
    """Show the heading of a group of controls."""
    return gr.HTML(label(key), html_template="<h2>${value}</h2>", elem_classes="heading")


def note(key: str) -> gr.HTML:
    """Show one quiet sentence."""
    return gr.HTML(label(key), elem_classes="note")
