"""The fields and places that the tabs share, with their translated labels."""

import random
import re
from itertools import chain
from typing import Any

import gradio as gr

from sd.ui.texts import PREFIX

Label = type(gr.I18n()(""))
KEY = re.compile(rf'__i18n__.*"key": "{PREFIX}([\w-]+)"')  # in a label as gradio sends it
COMMAND = """const line = element.querySelector("pre");
const show = () => { line.textContent = props.value ?? ""; };
watch("value", show);
show();"""


def label(key: str) -> Any:
    """Return a static text that the browser shows in its own language."""
    return gr.I18n()(PREFIX + key)


def label_keys(page: gr.Blocks) -> set[str]:
    """Return the keys of all texts of a page that the browser chooses by its language."""
    values = chain.from_iterable(vars(part).values() for part in page.blocks.values())
    texts = (str(each) for each in values if isinstance(each, str | Label))
    return {key for each in texts for key in KEY.findall(each)}


def new_seed() -> int:
    """Return a random seed."""
    return random.SystemRandom().randrange(1_000_000)


def file_drop(key: str, file_count: Any) -> gr.File:
    """Show the place where files are dropped."""
    return gr.File(
        label=label(key), show_label=False, file_count=file_count, height=78, elem_classes="drop"
    )


def command_box() -> gr.HTML:
    """Keep the command line of a tab, which the menu in the head shows."""
    return gr.HTML(
        "",
        html_template="<pre></pre>",
        js_on_load=COMMAND,
        apply_default_css=False,
        elem_classes="command",
    )
