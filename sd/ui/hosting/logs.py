"""What a shared page logs of an error: its kind and where it came up, never what it says.

An error's own words, and the lines of a traceback, may hold names, prompts or paths of visitors.
"""

import logging
import sys
import threading
import traceback
from pathlib import Path
from types import TracebackType

LOGGERS = ("sd.ui.adapter.errors", "uvicorn.error", "asyncio")


def place_of(kind: type[BaseException], trace: TracebackType | None) -> str:
    """Return an error's kind, and the last line of code that it came through."""
    frames = traceback.extract_tb(trace)
    where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{kind.__name__}{where}"


class Discreet(logging.Filter):
    """Takes the words of an error out of what is logged."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Leave of an error its kind and place."""
        if isinstance(record.exc_info, tuple) and record.exc_info[0] is not None:
            kind, _, trace = record.exc_info
            record.msg = f"{record.name}: {place_of(kind, trace)}"
            record.args, record.exc_info, record.exc_text = (), None, None
        return True


def be_discreet() -> None:
    """Let this process log no words of errors, of its events or of its threads."""
    for name in LOGGERS:
        logging.getLogger(name).addFilter(Discreet())

    def tell(unexpected: threading.ExceptHookArgs) -> None:
        kind, trace = unexpected.exc_type, unexpected.exc_traceback
        print(f"a thread ended: {place_of(kind, trace)}", file=sys.stderr)

    threading.excepthook = tell
