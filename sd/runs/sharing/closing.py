"""The switch by which a host closes a page: a file with one line of text, or SD_CLOSED.

While it is there no upload, training or sampling begins, and what trains saves and waits. All else
stays: what was made can be looked at, taken away and deleted.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from sd.common.disk import write_text
from sd.common.text import printable

CLOSED, CLOSED_NAME = "closed", "SD_CLOSED"
LONGEST_LINE = 300  # characters
USUAL_LINE = "this page is closed for the moment"


def closed_line(home: Path, environment: Mapping[str, str] = os.environ) -> str:
    """Return why the pages of a home (SD_HOME) are closed; "" where they are open."""
    if line := environment.get(CLOSED_NAME, ""):
        return _one_line(line)
    try:
        text = (home / CLOSED).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return _one_line(text)


def _one_line(text: str) -> str:
    return printable(" ".join(text.split()))[:LONGEST_LINE] or USUAL_LINE


def close(home: Path, line: str = "") -> None:
    """Close the pages of a home, and say why."""
    home.mkdir(parents=True, exist_ok=True)
    write_text(home / CLOSED, _one_line(line))


def reopen(home: Path) -> None:
    """Open the pages of a home again."""
    (home / CLOSED).unlink(missing_ok=True)
