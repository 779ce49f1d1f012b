"""The card of the pictures: three doors while none are chosen, then what was chosen.

What the browser sends is what a person did there: picked files, a bundled set, or a name. What it
is sent is what the card shows: of the own set (`own`), and in its place of a run's (`run`).
"""

import json
from typing import Any, NamedTuple

import gradio as gr

from sd.common import validation
from sd.common.encoding import data_uri
from sd.common.paths import PACKAGE
from sd.common.validation import InputError
from sd.ui.adapter import checks
from sd.ui.adapter.checks import Upload
from sd.ui.adapter.served_files import FILE_DATA, folder
from sd.ui.components.fields import words
from sd.ui.uploads import BUNDLED_WORDS, HANDLE

PLACE = '<div class="set-card card"></div>'  # never changes, so gradio never touches what is in it
ON_LOAD = "sdDoors.mount(element, props, trigger, watch, %s);"
PICTURES = PACKAGE / "ui" / "assets" / "doors"
DOORS = ("photos", *BUNDLED_WORDS)
FILE_OF = {"photos": "photos", "starter": "emoji", "shapes": "shapes"}
WORDS = (
    *("title", "zone", "folder", "files", "photos", "starter", "shapes", "change", "other", "back"),
    *(
        "name",
        "sending",
        "cancel",
        "broken",
        "too_many",
        "details",
        "remove",
        "choose",
        "delete",
        "really",
    ),
)
LONGEST_TITLE = 100


class Picked(NamedTuple):
    """What a person picked: files, or a set that the page has; and what it is called."""

    files: tuple[Upload, ...] = ()
    handle: str = ""
    title: str = ""
    is_again: bool = False  # before the page was loaded anew
    is_deleted: bool = False  # the set is to go, and all that is known of it


def set_card(elem_id: str) -> gr.HTML:
    """Show the card; `upload` tells that something was picked, `submit` that it was renamed."""
    pictures = {door: (PICTURES / f"{FILE_OF[door]}.webp").read_bytes() for door in DOORS}
    # Not as properties: gradio drops those of a part that gets a value before it is shown.
    about = {
        "doors": {door: data_uri(data, "image/webp") for door, data in pictures.items()},
        "words": {key: words(f"doors_{key}") for key in WORDS}
        | {"kept_until": words("kept_until")},
    }
    card = gr.HTML(
        {},
        html_template=PLACE,
        js_on_load=ON_LOAD % json.dumps(about, ensure_ascii=False),
        apply_default_css=False,
        elem_id=elem_id,
    )
    setattr(card, "takes_files", True)  # noqa: B010 (names of ours)
    setattr(card, "read_sent", read_picked)  # noqa: B010
    return card


def read_picked(name: str, value: Any) -> Picked:
    """Return what was picked; raise `InputError`."""
    if not isinstance(value, dict):
        raise InputError(f"{name} = {validation.shown(value)}: must be what was picked")
    title = validation.text("name", value.get("title", ""), LONGEST_TITLE)
    handle = validation.text("data", value.get("set", ""), LONGEST_TITLE)
    if handle and not HANDLE.fullmatch(handle):
        validation.choice("data", handle, BUNDLED_WORDS)
    files = value.get("files", [])
    if not isinstance(files, list):
        raise InputError(f"files = {validation.shown(files)}: must be a list")
    uploads = tuple(checks.read_uploads(name, map(record_of, files)))
    again, gone = (validation.flag(each, value.get(each, False)) for each in ("again", "delete"))
    return Picked(uploads, handle, title, again, gone)


def record_of(file: Any) -> Any:
    """Return gradio's record of a file that was sent as its path and what it was called."""
    if not isinstance(file, list) or len(file) != 2 or not isinstance(file[0], str):
        return file
    return {"path": str(folder() / file[0]), "orig_name": file[1], "meta": FILE_DATA}
