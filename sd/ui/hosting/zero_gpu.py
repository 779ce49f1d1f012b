"""ZeroGPU: a Space's GPU that is lent to a visitor for the length of one call.

The page itself has none there: torch only looks as if it had. A generator that is marked runs in a
process of its own, forked for the call, for at most as long as was announced; that time is taken
from the visitor's quota, and the package `spaces` raises gradio's error where there is none left.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any, ParamSpec, TypeVar

NAME, LABEL = "SPACES_ZERO_GPU", "ZeroGPU"
LONGEST = 40  # seconds of a call; 60 are asked for, since `spaces` counts half as much again

Parameters = ParamSpec("Parameters")
Item = TypeVar("Item")
Stream = Callable[Parameters, Iterator[Item]]


def is_lent(environment: Mapping[str, str] = os.environ) -> bool:
    """Tell whether this is a Space whose GPU is lent by the call."""
    return environment.get(NAME, "").lower() in ("1", "t", "true")


def lend(seconds: Callable[..., int]) -> Callable[[Any], Any]:
    """Return what marks a generator: where a GPU is lent it runs on that, elsewhere here.

    seconds: of the generator's arguments, how long it takes. What it takes and yields is pickled.
    """
    if not is_lent():
        return lambda stream: stream
    mark: Callable[[Any], Any] = import_module("spaces").GPU(duration=seconds)
    return mark
