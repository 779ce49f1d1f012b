"""Child processes that run this package's own command line."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sd.common import environment
from sd.common.validation import InputError

LOOK_SECONDS = 0.5  # between two looks at a child that is waited for


def spawn(words: Sequence[str], log: Path) -> int:
    """Start `python -m sd WORDS` in a session of its own, its output to `log`; return its pid."""
    with log.open("ab") as output:
        child = subprocess.Popen(
            _line(words),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=environment.for_child(),
        )
    return child.pid


def ask(words: Sequence[str], seconds: float) -> Iterator[dict[str, Any] | None]:
    """Run `python -m sd WORDS`: yield None while it works, then the JSON that it printed.

    Closing the iterator ends the child. Raises `InputError` with the child's own line, or after
    `seconds`.
    """
    child = subprocess.Popen(
        _line(words),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment.for_child(),
    )
    until = time.monotonic() + seconds
    try:
        while (answer := _heard(child)) is None:
            if time.monotonic() > until:
                raise InputError(f"it took longer than {seconds:.0f} seconds")
            yield None
        yield answer
    finally:
        if child.poll() is None:
            child.kill()
            child.communicate()


def _heard(child: "subprocess.Popen[str]") -> dict[str, Any] | None:
    """Return what a child has answered, or None if it still works."""
    try:
        said, complaint = child.communicate(timeout=LOOK_SECONDS)
    except subprocess.TimeoutExpired:
        return None
    if child.returncode:
        lines = complaint.strip().splitlines()
        raise InputError(lines[-1] if lines else f"it ended with status {child.returncode}")
    return dict(json.loads(said))


def _line(words: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "sd", *words]
