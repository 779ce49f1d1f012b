"""The card that asks how long: minutes as tiles, and the one button, which is its own Stop.

What the browser sends is the minutes, None where the settings are trained as they stand.
"""

import json
from typing import Any

import gradio as gr

from sd.common import validation
from sd.common.validation import InputError
from sd.ui import state
from sd.ui.components.fields import words
from sd.ui.train.planning import settings

TILES, USUAL = (1, 3, 10, 60), 3
LEAST_MINUTES, MOST_MINUTES = 0.1, 1440
PLACE = (
    '<div class="minutes-card card"></div>'  # never changes, so gradio never touches what is in it
)
ON_LOAD = "sdMinutes.mount(element, props, trigger, watch, %s);"
WORDS = (
    *("title", "minutes", "hours", "train_minute", "train_minutes", "train_hour", "train_hours"),
    *("train_own", "as_set", "foot", "settings", "stop", "stopping", "waiting", "no_pictures"),
)


def minutes_card(elem_id: str, pictures: str, panel: str, fields: str) -> gr.HTML:
    """Show the card; `click` asks to train, `clear` to stop what the button has begun.

    pictures, panel, fields: the `elem_id` of the pictures' card, of the settings and their form.
    """
    # Not as properties: gradio drops those of a part that gets a value before it is shown.
    about = {
        "minutes": offer_minutes(),
        "usual": USUAL,
        "kept": settings.KEPT_WITH_A_PLAN,
        "pictures": pictures,
        "panel": panel,
        "fields": fields,
        "words": {key: words(f"minutes_{key}") for key in WORDS},
    }
    card = gr.HTML(
        {"now": USUAL},
        html_template=PLACE,
        js_on_load=ON_LOAD % json.dumps(about, ensure_ascii=False),
        apply_default_css=False,
        elem_id=elem_id,
    )
    setattr(card, "read_sent", read_card)  # noqa: B010 (a name of ours)
    return card


def offer_minutes() -> list[int]:
    """Return the minutes that are a tile each: none that this page never trains for."""
    most = state.home().most_minutes
    return [each for each in TILES if most is None or each <= most]


def read_card(name: str, value: Any) -> float | None:
    """Return the minutes, the usual ones where the card has not been drawn yet."""
    if not isinstance(value, dict):
        raise InputError(f"{name} = {validation.shown(value)}: must be minutes")
    minutes = value.get("now", USUAL)
    return None if minutes is None else read_minutes(minutes)


def read_minutes(minutes: Any) -> float:
    """Return minutes that a plan can be made for."""
    return validation.real("minutes", minutes, LEAST_MINUTES, MOST_MINUTES)
