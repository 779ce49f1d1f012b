"""When a sample counts as a copy of a training picture.

The figures come from `sd.training.memorisation`.

A distance here is relative: 0 is the same picture, about 1 is as far from the nearest training
picture as from others like it. Free of torch, so that the coach and the page can judge too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

COPY = 1 / 3  # below it people see the same picture; samples of training pictures lie there
LOW = 0.05  # the share of the baseline's pictures that lie below its `low`


@dataclass(frozen=True)
class Baseline:
    """How near pictures that were not copied lie to the training pictures.

    kind: "held_out" (pictures that training never saw) or "training" (each against the others).
    count: pictures compared. low: the distance below which 5% of them lie. median: the middle one.
    """

    kind: str
    count: int
    low: float
    median: float

    @classmethod
    def from_event(cls, event: Mapping[str, Any]) -> "Baseline | None":
        """Return the baseline in an event, or None if it is not whole."""
        try:
            kind, count = str(event["kind"]), int(event["count"])
            return cls(kind, count, float(event["low"]), float(event["median"]))
        except (KeyError, TypeError, ValueError):
            return None


def judge(distance: float, baseline: Baseline) -> str:
    """Return "copy", "close" or "own" for a sample's distance.

    Two limits count: a third of the distance to its own neighbours (`COPY`), and what all but 5%
    of the unseen pictures keep (`Baseline.low`). Below both it is a copy: too alike to tell
    apart, and nearer than unseen pictures come. Below one it is close: in a set of look-alikes
    (frames of one film) unseen pictures are just as near. Above both it is the sample's own.
    """
    below = (distance < COPY) + (distance < baseline.low)
    return ("own", "close", "copy")[below]
