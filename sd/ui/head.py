"""The head of the page: its name, what it is for, a quiet badge of the machine, the language."""

import gradio as gr
from markupsafe import Markup

from sd.ui import models
from sd.ui.components.handlers import HIDDEN, QUIET, guarded, language
from sd.ui.components.widgets import label
from sd.ui.texts import say

LANGUAGES = "EN / 中文"  # each in its own words, on the switch


@guarded
def badge(request: gr.Request) -> Markup:
    """Return the machine in words."""
    lang, machine = language(request), models.machine()
    shown = machine.label  # a device's own name
    if machine.device == "cpu":
        key = "machine_core" if machine.threads == 1 else "machine_cores"
        shown = say(key, lang, n=machine.threads)
    return Markup('<span title="{}">{}</span>').format(say("machine_title", lang), shown)


def build(demo: gr.Blocks) -> None:
    """Lay out the head; the badge needs torch, so it comes after the first paint."""
    with gr.Row(elem_classes="head"):
        gr.HTML("<h1>sd</h1>", elem_classes="name")
        gr.HTML(label("tag_line"), elem_classes="tag-line")
        machine = gr.HTML("<span>&nbsp;</span>", elem_classes="badge")
        switch = gr.Button(LANGUAGES, size="sm", scale=0, min_width=88, elem_classes="language")
    switch.click(None, js="() => sdSwitchLanguage()", **HIDDEN, api_visibility="private")
    demo.load(badge, None, machine, **QUIET)
