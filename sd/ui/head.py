"""The head of the page: its name, the page's one model, a quiet badge of the machine, the language.

The model is one component for all tabs: handlers get its name, and change it by returning one.
"""

from typing import Any

import gradio as gr
from markupsafe import Markup

from sd.common.validation import InputError
from sd.ui import models
from sd.ui.components.events import Updates, by_name
from sd.ui.components.handlers import HIDDEN, QUIET, guarded, language
from sd.ui.texts import say

BAR = '<rect x="{}" width="7" height="18" rx="2" opacity="{}"/>'
BARS = "".join(BAR.format(*each) for each in ((0, 1), (10, 0.6), (20, 0.3)))
LOGO = f'<svg viewBox="0 0 27 18" aria-hidden="true">{BARS}</svg>'
LANGUAGES = "EN / 中文"  # each in its own words, on the switch
PLACE = '<div class="model-picker"></div>'  # never changes, so gradio never touches what is in it
ON_LOAD = 'sdModels.mount(element.querySelector(".model-picker"), props, trigger, watch);'


@guarded
def badge(request: gr.Request) -> Markup:
    """Return the machine in words."""
    lang, machine = language(request), models.machine()
    shown = machine.label  # a device's own name
    if machine.device == "cpu":
        key = "machine_core" if machine.threads == 1 else "machine_cores"
        shown = say(key, lang, n=machine.threads)
    return Markup('<span title="{}">{}</span>').format(say("machine_title", lang), shown)


@guarded
def refresh_models(model: str, request: gr.Request) -> Updates:
    """List the models as they are now, with the chosen or the first one chosen."""
    lang, listed = language(request), models.list_choices()
    content = {
        "models": [{"name": name, "title": title, "about": ""} for title, name in listed],
        "words": {"model": say("model", lang)},
    }
    return {"model": gr.update(value=keep_model(model, listed[0][1]), content=content)}


def keep_model(model: Any, other: str) -> str:
    """Return the name of a model if there is one of that name, else another."""
    try:
        return models.find(model).name
    except InputError:
        return other


def build(demo: gr.Blocks) -> gr.HTML:
    """Lay out the head; return the page's model. The badge needs torch: it comes after the paint.

    The model's value is "" until the page has been loaded; `change` then tells the first one.
    """
    with gr.Row(elem_classes="head"):
        gr.HTML(f'<div class="name">{LOGO}<h1>sd</h1></div>', elem_classes="name")
        model = gr.HTML(
            "",
            html_template=PLACE,
            js_on_load=ON_LOAD,
            apply_default_css=False,
            elem_id="model",
            content={},
        )
        machine = gr.HTML("<span>&nbsp;</span>", elem_classes="badge")
        switch = gr.Button(LANGUAGES, size="sm", scale=0, min_width=88, elem_classes="language")
    switch.click(None, js="() => sdSwitchLanguage()", **HIDDEN, api_visibility="private")
    demo.load(badge, None, machine, **QUIET)
    listing = by_name(refresh_models, {"model": model}, {"model": model}) | QUIET
    model.focus(**listing)
    demo.load(**listing)
    return model
