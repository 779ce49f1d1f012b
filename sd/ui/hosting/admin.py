"""What the host of a shared page sees of it, behind a token: a page of its own, and what it asks.

The token stands behind the # of the address, which no browser sends and no log holds; requests
carry it in a header.
"""

import hmac
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from markupsafe import Markup

from sd.common import validation
from sd.common.paths import PACKAGE
from sd.common.validation import InputError
from sd.runs.sharing import closing, host, scheduler
from sd.ui.hosting.sheets import draw_sheets
from sd.ui.hosting.visitors import Visitors
from sd.ui.mistakes import translate
from sd.ui.texts import say

PATH = "/sd/host"
HEADER, TOKEN_NAME = "x-sd-admin", "SD_ADMIN"
LEAST_TOKEN = 16  # characters
PAGE = PACKAGE / "ui" / "assets" / "host.html"
WHAT = ("list", "stop", "delete", "close", "open", "pictures")
WORDS = (
    *("title", "closed", "close", "reopen", "stop", "delete", "sure", "seen", "kept", "none"),
    *("no_token", "line", "of_slots", "free", "in_line", "pictures", "hide", "no_pictures"),
)
STATES = ("waiting", "starting", "running", "pausing", "paused", "stopping")
ENDS = ("stopped", "finished", "failed", "lost")


def admin_token(visitors: Visitors, environment: Mapping[str, str] = os.environ) -> str:
    """Return what the host is told: SD_ADMIN, else one that follows from the page's secret."""
    given = environment.get(TOKEN_NAME, "")
    if given and len(given) < LEAST_TOKEN:
        raise InputError(f"{TOKEN_NAME}: must have at least {LEAST_TOKEN} characters")
    return given or visitors.keys.admin


def is_host(token: str, headers: Mapping[str, str]) -> bool:
    """Tell whether a request is the host's."""
    return hmac.compare_digest(headers.get(HEADER, "").encode(), token.encode())


def page(lang: str) -> bytes:
    """Return the page itself, which tells nothing without the token."""
    words: dict[str, Any] = {key: say(f"host_{key}", lang) for key in WORDS}
    words["state"] = {each: say(f"model_{each}", lang) for each in STATES}
    words["state"] |= {each: say(f"big_{each}", lang) for each in ENDS}
    text = PAGE.read_text(encoding="utf-8")
    data = json.dumps(words).replace("<", "\\u003c")
    text = text.replace("LANG", lang).replace("TITLE", Markup.escape(words["title"]))
    return text.replace("= WORDS;", f"= {data};").encode()


def answer(visitors: Visitors, asked: Any, lang: str) -> dict[str, Any]:
    """Do what the host asks for, then return what there is; a mistake is its `mistake`."""
    mistake, found = "", {}
    try:
        found = _act(visitors, asked)
    except InputError as error:
        mistake = translate(str(error), lang)
    return {**_overview(visitors), **found, "mistake": mistake}


def _act(visitors: Visitors, asked: Any) -> dict[str, Any]:
    """Do what the host asks for; return what is told beside all that is there."""
    asked = asked if isinstance(asked, dict) else {}
    what = validation.choice("what", asked.get("what"), WHAT)
    visitor, run, line = (str(asked.get(name) or "") for name in ("visitor", "run", "line"))
    if what == "close":
        closing.close(visitors.place.parent, line)
    elif what == "open":
        closing.reopen(visitors.place.parent)
    elif what == "stop":
        host.stop(visitors.place, visitor, run)
    elif what == "delete":
        name = host.find_home(visitors.place, visitor).name
        host.delete(visitors.place, visitor, run)
        if not run:
            visitors.drop(name)
    elif what == "pictures":
        return {"sheets": draw_sheets(visitors.place, visitor, run)}
    return {}


def _overview(visitors: Visitors) -> dict[str, Any]:
    """Return what the host sees: visitors and runs as letters, the line, disk and switch."""
    place = visitors.place
    entries = scheduler.list_entries(place)
    return {
        "visitors": [asdict(each) for each in host.list_visitors(place)],
        "closed": closing.closed_line(place.parent),
        "at_work": sum(each.at_work for each in entries),
        "waiting": sum(each.waits for each in entries),
        "slots": scheduler.count_slots(),
        "room": visitors.room,
        "free": shutil.disk_usage(place.parent).free,
    }
