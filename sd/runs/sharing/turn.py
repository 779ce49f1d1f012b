"""A run's turn: `turn.json`, in the folder of a run that wants to train where many share a machine.

Who holds a turn and has no process waits. Turns are given by `scheduler` alone, under one lock.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from sd.common.disk import read_object, write_text
from sd.common.validation import InputError

TURN = "turn.json"


@dataclass(frozen=True)
class Turn:
    """What a run wants, and what it had so far.

    words: the arguments of its next process, behind `train --run FOLDER`. given: what that reads.
    asked, begun: times (Unix), of the wish and of its newest process; begun is 0 while it waits.
    served: seconds that its processes had. lost: how many in a row went without a last word, or
    could not begin. not_before: when the next is tried at the earliest. held: whether it is paused.
    """

    words: tuple[str, ...]
    asked: float
    given: str = ""
    begun: float = 0.0
    served: float = 0.0
    lost: int = 0
    not_before: float = 0.0
    held: bool = False


def read_turn(folder: Path) -> Turn | None:
    """Return the turn of a run; None where it has none, or none that can be read."""
    try:
        note = read_object(folder / TURN, "words", "asked")
        return Turn(**{**note, "words": tuple(map(str, note["words"]))})
    except (InputError, TypeError):
        return None


def write_turn(folder: Path, turn: Turn) -> None:
    """Note the turn of a run, whole or not at all."""
    write_text(folder / TURN, json.dumps(asdict(turn)))


def drop_turn(folder: Path) -> None:
    """Let a run want to train no longer."""
    (folder / TURN).unlink(missing_ok=True)
