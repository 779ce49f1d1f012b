"""Events of runs made by formula, and what the tests of the coach share."""

import math
import random
from collections.abc import Iterable, Sequence
from typing import Any

from sd.config import Config
from sd.training.coach import Remark

TINY = Config.preset("tiny")
Event = dict[str, Any]


def falling(step: int) -> float:
    """Return the loss of a healthy run: a power law, as the bundled one's."""
    return 0.3 * (1 + step / 20) ** -0.5


def run(
    losses: Iterable[tuple[int, float]], total: int = 6000, pictures: int = 1228, **start: Any
) -> list[Event]:
    """Return the events of a run with these (step, loss)."""
    begun = {"event": "start", "total": total, "pictures": pictures, "held_out": 64, **start}
    return [begun, *({"event": "step", "step": step, "loss": loss} for step, loss in losses)]


def healthy(until: int, every: int = 6, spread: float = 0.1, seed: int = 0) -> list[Event]:
    """Return a healthy run up to a step, its losses scattered by `spread` (log-normal)."""
    source = random.Random(seed)
    steps = range(every, until + 1, every)
    return run((step, falling(step) * math.exp(source.gauss(0, spread))) for step in steps)


def kinds(said: Iterable[Remark]) -> list[str]:
    return [remark.kind for remark in said]


def only(said: Sequence[Remark], kind: str) -> Remark:
    """Return the one remark of a kind, after trying its sentence and its fix."""
    found = [remark for remark in said if remark.kind == kind]
    assert len(found) == 1, kinds(said)
    assert "{" not in found[0].line
    return found[0]
