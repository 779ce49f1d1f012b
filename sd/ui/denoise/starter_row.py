"""The row of starter pictures to begin from: buttons with a picture, one of them chosen.

Its value is {"pictures": what `load` asked for, "chosen": which of them is, None for none}; either
stays as it was where it is not sent. The pictures are asked for when the row is first seen.
"""

import json

import gradio as gr

from sd.common import validation
from sd.ui import starters
from sd.ui.adapter.served_files import file_data
from sd.ui.components.events import Updates
from sd.ui.components.fields import words
from sd.ui.components.handlers import event_value, guarded, language

PLACE = '<div class="thumbs-row"></div>'  # never changes, so gradio never touches what is in it
ON_LOAD = "sdStarters.mount(element, props, trigger, watch, %s);"
NONE_CHOSEN = {"chosen": None}


def starter_row(elem_id: str) -> gr.HTML:
    """Show the row; `select` tells which was pressed, `load` that the pictures are wanted."""
    return gr.HTML(
        html_template=PLACE,
        js_on_load=ON_LOAD % json.dumps(words("begin_starters"), ensure_ascii=False),
        apply_default_css=False,
        elem_id=elem_id,
    )


@guarded
def show_starters(request: gr.Request) -> Updates:
    """Show the pictures, with what they are called in the page's language."""
    lang, files = language(request), starters.thumbnails()
    pictures = [
        {"src": file_data(file), "name": starters.title(name, lang)}
        for name, file in zip(starters.NAMES, files, strict=True)
    ]
    return {"starters": {"pictures": pictures}}


@guarded
def choose_starter(event: gr.EventData) -> Updates:
    """Take a starter picture to begin from, and empty the upload."""
    index = validation.whole("picture", event_value(event, "index"), 0, len(starters.NAMES) - 1)
    return {"picture": starters.NAMES[index], "upload": None}
