"""A training as a folder and a process: reading runs, steering them, and the process itself.

Nothing here knows the page. The names below are what `from sd import runs` offers.
"""

from sd.runs.control import (
    START_LOCK,
    pause,
    request_sample,
    request_save,
    resume,
    start,
    stop,
    train_command,
    unpause,
)
from sd.runs.home import Home, default_home, list_folders
from sd.runs.journal import (
    ENDS,
    SampleGrid,
    baseline,
    evaluations,
    events,
    history,
    notices,
    outline,
    samples,
)
from sd.runs.run import (
    ASIDE,
    CONFIG,
    LATENTS,
    LOG,
    PICTURES,
    RUN,
    SOURCE,
    Status,
    obstacle,
    read_source,
    saved_step,
    status,
)

__all__ = [
    "ASIDE",
    "CONFIG",
    "ENDS",
    "LATENTS",
    "LOG",
    "PICTURES",
    "RUN",
    "SOURCE",
    "START_LOCK",
    "Home",
    "SampleGrid",
    "Status",
    "baseline",
    "default_home",
    "evaluations",
    "events",
    "history",
    "list_folders",
    "notices",
    "obstacle",
    "outline",
    "pause",
    "read_source",
    "request_sample",
    "request_save",
    "resume",
    "samples",
    "saved_step",
    "start",
    "status",
    "stop",
    "train_command",
    "unpause",
]
