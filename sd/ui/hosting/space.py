"""A Hugging Face Space: how the page knows it, and what it leaves open.

It is asked before gradio is imported.
"""

import os
import tempfile
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from sd.ui.adapter.address import HOST_NAME

SPACE = "spaces"  # what SYSTEM is there


def is_space(environment: Mapping[str, str] = os.environ) -> bool:
    """Tell whether this is a Hugging Face Space."""
    return environment.get("SYSTEM") == SPACE


def settle_in_space(environment: MutableMapping[str, str]) -> None:
    """Name what a Space leaves open: it is reached from outside, and its own folder is read-only.

    The folder of runs is one on the machine's own disk, which a restart empties; a bucket that is
    mounted takes neither a journal nor a lock.
    """
    if is_space(environment):
        environment.setdefault(HOST_NAME, "0.0.0.0")
        environment.setdefault("SD_HOME", str(Path(tempfile.gettempdir(), "sd")))
