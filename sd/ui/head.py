"""The head of the page: its name, what it is for, a quiet badge of the machine, the language."""

import gradio as gr
from markupsafe import Markup

from sd.ui import models
from sd.ui.components.handlers import HIDDEN, QUIET, guarded, language
from sd.ui.texts import say

BAR = '<rect x="{}" width="7" height="18" rx="2" opacity="{}"/>'
BARS = "".join(BAR.format(*each) for each in ((0, 1), (10, 0.6), (20, 0.3)))
LOGO = f'<svg viewBox="0 0 27 18" aria-hidden="true">{BARS}</svg>'
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
        gr.HTML(f'<div class="name">{LOGO}<h1>sd</h1></div>', elem_classes="name")
        machine = gr.HTML("<span>&nbsp;</span>", elem_classes="badge")
        switch = gr.Button(LANGUAGES, size="sm", scale=0, min_width=88, elem_classes="language")
    switch.click(None, js="() => sdSwitchLanguage()", **HIDDEN, api_visibility="private")
    demo.load(badge, None, machine, **QUIET)
