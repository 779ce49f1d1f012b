"""The journal of a run: `events.jsonl`, one JSON object per line, and what is read from it.

Only the run's own process appends and cuts. Readers keep what they have parsed and read only what
was added since, so that watching a long run costs no more than watching a short one.
"""

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sd.disk import write_text

EVENTS = "events.jsonl"
ENDS = ("finished", "stopped", "failed")
MOST_KEPT = 64  # journals whose parsed events are kept in memory
COLUMNS = ("step", "loss", "lr", "grad_norm", "pictures_per_second")  # of a step event

Event = Mapping[str, Any]


@dataclass(frozen=True)
class History:
    """The figures of a run's logged steps, columns of equal length."""

    steps: list[int]
    loss: list[float]
    lr: list[float]
    grad_norm: list[float]
    pictures_per_second: list[float]


@dataclass(frozen=True)
class Evaluation:
    """The loss of the averaged weights per noise level, on fixed pictures and noises.

    times: the t of each level. train, held_out: mean loss at each; held_out is None where no
    picture is held out.
    """

    step: int
    times: list[int]
    train: list[float]
    held_out: list[float] | None


@dataclass(frozen=True)
class Sheet:
    """A run's samples at one step, from the averaged and from the raw weights.

    nearest: per sample the training picture most like it and the distance.
    """

    step: int
    average: Path
    raw: Path | None
    nearest: list[tuple[int, float]]


@dataclass
class _Kept:
    inode: int = 0
    offset: int = 0
    head: bytes = b""  # of the file, to tell a rewritten one
    events: tuple[Event, ...] = ()


_KEPT: dict[Path, _Kept] = {}


def append(folder: Path, event: str, facts: Mapping[str, Any]) -> None:
    """Write one event at the end of a run's journal."""
    line = json.dumps({"event": event, "time": round(time.time(), 3), **facts}, allow_nan=False)
    with (folder / EVENTS).open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def events(folder: Path) -> tuple[Event, ...]:
    """Return a run's events; a last line that is still being written is left for later."""
    path = (folder / EVENTS).absolute()
    try:
        with path.open("rb") as file:
            kept = _still_true(_KEPT.get(path, _Kept()), file)
            file.seek(kept.offset)
            added = file.read()
    except OSError:
        return ()
    whole = added[: added.rfind(b"\n") + 1]
    if whole:
        parsed = (*kept.events, *_parsed(whole))
        kept = _Kept(kept.inode, kept.offset + len(whole), kept.head or whole[:200], parsed)
    _KEPT.pop(path, None)
    _KEPT[path] = kept
    while len(_KEPT) > MOST_KEPT:
        with suppress(KeyError, StopIteration, RuntimeError):
            _KEPT.pop(next(iter(_KEPT)))
    return kept.events


def _still_true(kept: _Kept, file: Any) -> _Kept:
    """Return what is kept of a journal if the file only grew since, else nothing."""
    status = os.fstat(file.fileno())
    same = status.st_ino == kept.inode and status.st_size >= kept.offset
    if same and file.read(len(kept.head)) == kept.head:
        return kept
    return _Kept(status.st_ino)


def _parsed(lines: bytes) -> Iterator[Event]:
    for line in lines.decode("utf-8", errors="replace").split("\n"):
        with suppress(ValueError, RecursionError):
            event = json.loads(line)
            if isinstance(event, dict) and isinstance(event.get("event"), str):
                yield event


def cut(folder: Path, step: int) -> None:
    """Take the journal back to `step`: what came later, and how the run ended, is dropped."""
    kept = [
        each for each in events(folder) if each["event"] not in ENDS and each.get("step", 0) <= step
    ]
    write_text(folder / EVENTS, "".join(json.dumps(each) + "\n" for each in kept))


def of_kind(events: Iterable[Event], *kinds: str) -> list[Event]:
    """Return the events of these kinds."""
    return [event for event in events if event["event"] in kinds]


def history(folder: Path) -> History:
    """Return the figures of a run's logged steps."""
    steps = of_kind(events(folder), "step")
    return History(*([_number(event, key) for event in steps] for key in COLUMNS))


def _number(event: Event, key: str) -> Any:
    """Return a figure of an event, 0 where an older journal has none."""
    value = event.get(key)
    return value if isinstance(value, int | float) else 0


def evaluations(folder: Path) -> list[Evaluation]:
    """Return the losses per noise level that a run has measured, oldest first.

    A run that was killed just after one measures that step again when it goes on: the last counts.
    """
    found = {
        each["step"]: Evaluation(each["step"], each["times"], each["train"], each["held_out"])
        for each in of_kind(events(folder), "evaluation")
    }
    return [found[step] for step in sorted(found)]


def samples(folder: Path) -> list[Sheet]:
    """Return a run's samples, oldest first; those whose pictures are gone are left out."""
    sheets: dict[int, Sheet] = {}
    for each in of_kind(events(folder), "samples"):
        average, raw = (_picture(folder, each.get(key)) for key in ("file", "raw"))
        nearest = [(int(picture), float(far)) for picture, far in each.get("nearest") or []]
        if average:
            sheets[each["step"]] = Sheet(each["step"], average, raw, nearest)
    return [sheets[step] for step in sorted(sheets)]


def _picture(folder: Path, name: Any) -> Path | None:
    """Return the picture that an event names, if it lies among the run's samples."""
    path = folder / "samples" / Path(str(name)).name
    return path if name and path.is_file() else None


def baseline(folder: Path) -> Event | None:
    """Return how near pictures that are no copies come to the training set, if it was measured."""
    found = of_kind(events(folder), "baseline")
    return found[-1] if found else None


def notices(folder: Path) -> list[Event]:
    """Return what a run's process had to tell on the way: skipped steps, fallen back, …."""
    return of_kind(events(folder), "notice")
