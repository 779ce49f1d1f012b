"""The bar of tools below a stage, and the tools: one is open at a time, in the same place."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import gradio as gr

from sd.ui.components.fields import words
from sd.ui.components.widgets import label

ICONS = {  # paths of 20 x 20, drawn as lines
    "branch": '<path d="M5 3v14M5 8c0 4 10 1 10 6v3"/>',
    "eye": '<circle cx="10" cy="10" r="3"/><path d="M2 10s3-5 8-5 8 5 8 5-3 5-8 5-8-5-8-5z"/>',
    "lines": '<path d="M4 5h12M4 10h8M4 15h10"/>',
    "bars": '<path d="M3 16V9M8 16V4M13 16v-5M18 16V7"/>',
    "grid": '<path d="M3 3h6v6H3zM11 3h6v6h-6zM3 11h6v6H3zM11 11h6v6h-6z"/>',
    "save": '<path d="M10 3v10M6 9l4 4 4-4M4 17h12"/>',
    "question": '<path d="M7 7a3 3 0 1 1 4.5 2.6c-1 .6-1.500 1.200-1.500 2.400M10 15v.5"/>',
    "curves": '<path d="M3 4c7 0 7 12 14 12M3 8c9 0 8 8 14 8"/>',
    "steps": '<path d="M3 16h4v-4h4V8h4V4h2"/>',
    "picture": '<path d="M3 4h14v12H3zM3 13l4-4 4 4 3-2 3 3"/>',
    "pair": '<path d="M3 5h6v10H3zM11 5h6v10h-6z"/>',
    "down": '<path d="M3 4c2 8 6 11 14 12"/>',
    "blocks": '<path d="M3 3h14v14H3zM8 3v14M13 3v14M3 8h14M3 13h14"/>',
    "inside": '<path d="M2 4h5v12H2zM13 4h5v12h-5zM8 10h4M9 8h2v4H9z"/>',
    "speech": '<path d="M3 4h14v9H9l-4 4v-4H3z"/>',
}
ON_LOAD = "sdTools.mount(element, props);"
BLANK = '<div class="tools" role="toolbar"></div>'


class Tool(NamedTuple):
    """One tool: the `elem_id` of its fold, its icon, its word's key; `is_last`: at the right."""

    fold: str
    icon: str
    key: str
    is_last: bool = False


def tools_bar(tools: Sequence[Tool]) -> gr.HTML:
    """Show the bar; each tool's fold is made by `tool_fold` right below it."""
    described: list[dict[str, Any]] = [
        {"fold": each.fold, "icon": ICONS[each.icon], "words": words(each.key), "end": each.is_last}
        for each in tools
    ]
    return gr.HTML(
        html_template=BLANK,
        js_on_load=ON_LOAD,
        apply_default_css=False,
        elem_classes="tools-bar",
        tools=described,
    )


def tool_fold(tool: Tool) -> gr.Accordion:
    """Return what the bar opens: the parts of a tool are made within it."""
    return gr.Accordion(label(tool.key), open=False, elem_id=tool.fold, elem_classes="tool")


def verb(key: str, elem_id: str, stage: str) -> gr.Button:
    """Return the button that begins what a stage does; while that runs it is its own Stop.

    The line `stage`-status tells that it runs, and the button `stage`-stop, out of sight, ends it.
    """
    return gr.Button(label(key), elem_id=elem_id, elem_classes=["tool-verb", f"of-{stage}"])
