"""The journal of a run: `events.jsonl`, one JSON object per line, and what is read from it.

Only the run's own process appends and cuts. Readers keep what they have parsed and read only what
was added since, so that watching a long run costs no more than watching a short one. Of many runs a
short outline is kept, so that listing them reads nothing that has not changed.
"""

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sd.common.disk import write_text
from sd.runs.event_schema import drop_invalid
from sd.training.monitoring import PREPARING

EVENTS = "events.jsonl"
ENDS = ("finished", "stopped", "failed")
MOST_JOURNALS = 64  # journals whose parsed events are kept in memory
MOST_OUTLINES = 4096  # runs whose outline is kept, half a kilobyte each
BEGINNINGS = ("start", "resumed")
PAUSE_EVENTS = ("step", "paused", "continued", "resumed")  # the last one: whether it is paused
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
class FirstStageHistory:
    """How an autoencoder was trained before the first step: columns of equal length.

    loss: the mean |x - D(z)| since the row before. psnr: in dB, None where it was not measured.
    """

    steps: list[int]
    total: int
    loss: list[float]
    psnr: list[float | None]


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
class SampleGrid:
    """A run's samples at one step, from the averaged and from the raw weights.

    nearest: per sample the training picture most like it and the distance.
    """

    step: int
    average: Path
    raw: Path | None
    nearest: list[tuple[int, float]]


@dataclass
class _Journal:
    inode: int = 0
    offset: int = 0
    head: bytes = b""  # of the file, to tell a rewritten one
    events: tuple[Event, ...] = ()


_JOURNALS: dict[Path, _Journal] = {}


@dataclass(frozen=True)
class Outline:
    """What a journal tells of its run's state.

    count: events. last, time: kind and time (Unix) of the last one. began: when training began or
    went on. last_pause_event: the last of `PAUSE_EVENTS`. loss, rates, memory and seconds used are
    of the newest step. ingested: what is done of one of `PREPARING`, and all of it, if that came
    last.
    """

    count: int = 0
    last: str = ""
    last_pause_event: str = ""
    started: bool = False
    step: int = 0
    total: int = 0
    loss: float | None = None
    pictures_per_second: float | None = None
    seconds_left: float | None = None
    line: str = ""
    machine: str = ""
    ingested: tuple[int, int] | None = None
    memory_bytes: int | None = None
    device_memory_bytes: int | None = None
    seconds: float | None = None
    time: float = 0.0
    began: float = 0.0


_OUTLINES: dict[Path, tuple[tuple[int, int, int], Outline]] = {}


def append(folder: Path, event: str, values: Mapping[str, Any]) -> None:
    """Write one event at the end of a run's journal."""
    line = json.dumps({"event": event, "time": round(time.time(), 3), **values}, allow_nan=False)
    with (folder / EVENTS).open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def events(folder: Path) -> tuple[Event, ...]:
    """Return a run's events; a last line that is still being written is left for later."""
    path = (folder / EVENTS).absolute()
    try:
        with path.open("rb") as file:
            kept = _if_it_only_grew(_JOURNALS.get(path, _Journal()), file)
            file.seek(kept.offset)
            added = file.read()
    except OSError:
        return ()
    whole = added[: added.rfind(b"\n") + 1]
    if whole:
        parsed = (*kept.events, *_parse_lines(whole))
        kept = _Journal(kept.inode, kept.offset + len(whole), kept.head or whole[:200], parsed)
    _remember(_JOURNALS, path, kept, MOST_JOURNALS)
    return kept.events


def outline(folder: Path) -> Outline:
    """Return what a run's journal tells of its state, made anew only when the file has changed."""
    path = (folder / EVENTS).absolute()
    try:
        status = path.stat()
    except OSError:
        return Outline()
    version = status.st_ino, status.st_size, status.st_mtime_ns
    known, found = _OUTLINES.get(path, (None, Outline()))
    if known != version:
        found = _make_outline(events(folder))
    _remember(_OUTLINES, path, (version, found), MOST_OUTLINES)
    return found


def _make_outline(all_events: Sequence[Event]) -> Outline:
    """Return the outline of a run's events."""
    if not all_events:
        return Outline()
    last = all_events[-1]
    newest, begun, last_pause_event = (
        next((each for each in reversed(all_events) if each["event"] in kinds), {})
        for kinds in (("step",), BEGINNINGS, PAUSE_EVENTS)
    )
    begun, step = begun or last, max(newest.get("step", 0), last.get("step", 0))
    prepares = begun["event"] in PREPARING  # all that it prepares are no steps
    total = newest.get("total") or (0 if prepares else begun.get("total", 0))
    return Outline(
        len(all_events),
        last["event"],
        last_pause_event.get("event", ""),
        any(each["event"] == "start" for each in all_events),
        step,
        step if last["event"] == "finished" else total,  # the clock may have ended it sooner
        newest.get("loss"),
        newest.get("pictures_per_second"),
        newest.get("seconds_left"),
        last.get("line", ""),
        begun.get("machine", {}).get("label", ""),
        (last["done"], last["total"]) if last["event"] in PREPARING else None,
        newest.get("memory_bytes"),
        newest.get("device_memory_bytes"),
        newest.get("seconds"),
        last.get("time", 0.0),
        begun.get("time", 0.0) if begun["event"] in BEGINNINGS else 0.0,
    )


def _remember(kept: dict[Path, Any], path: Path, value: Any, most: int) -> None:
    """Keep a value as the newest of at most so many; several threads may do so at once."""
    kept.pop(path, None)
    kept[path] = value
    while len(kept) > most:
        with suppress(KeyError, StopIteration, RuntimeError):
            kept.pop(next(iter(kept)))


def _if_it_only_grew(kept: _Journal, file: Any) -> _Journal:
    """Return what is kept of a journal if the file only grew since, else nothing."""
    status = os.fstat(file.fileno())
    same = status.st_ino == kept.inode and status.st_size >= kept.offset
    if same and file.read(len(kept.head)) == kept.head:
        return kept
    return _Journal(status.st_ino)


def _parse_lines(lines: bytes) -> Iterator[Event]:
    for line in lines.decode("utf-8", errors="replace").split("\n"):
        with suppress(ValueError, RecursionError):
            if (event := drop_invalid(json.loads(line))) is not None:
                yield event


def cut(folder: Path, step: int) -> None:
    """Take the journal back to `step`: what came later, and how the run ended, is dropped."""
    kept = up_to(step, events(folder))
    write_text(folder / EVENTS, "".join(json.dumps(each) + "\n" for each in kept))


def cut_first_stage(folder: Path, done: int) -> None:
    """Take what a journal tells of an autoencoder in training back to its step `done`."""
    kept = [
        each
        for each in events(folder)
        if each["event"] not in ENDS and (each["event"] != "first_stage" or each["done"] <= done)
    ]
    if len(kept) < len(events(folder)):
        write_text(folder / EVENTS, "".join(json.dumps(each) + "\n" for each in kept))


def up_to(step: int, events: Iterable[Event]) -> list[Event]:
    """Return the events until `step`, without those that tell how the run ended."""
    return [each for each in events if each["event"] not in ENDS and each.get("step", 0) <= step]


def select(events: Iterable[Event], *kinds: str) -> list[Event]:
    """Return the events of these kinds."""
    return [event for event in events if event["event"] in kinds]


def history(folder: Path) -> History:
    """Return the figures of a run's logged steps."""
    steps = select(events(folder), "step")
    return History(*([_number(event, key) for event in steps] for key in COLUMNS))


def first_stage(folder: Path) -> FirstStageHistory:
    """Return the figures of a run's autoencoder while it was trained; empty where none was."""
    rows = [each for each in select(events(folder), "first_stage") if "loss" in each]
    return FirstStageHistory(
        [each["done"] for each in rows],
        rows[-1]["total"] if rows else 0,
        [each["loss"] for each in rows],
        [each.get("psnr") for each in rows],
    )


def _number(event: Event, key: str) -> Any:
    """Return a figure of an event, 0 where an older journal has none."""
    return event.get(key) or 0


def evaluations(folder: Path) -> list[Evaluation]:
    """Return the losses per noise level that a run has measured, oldest first.

    A run that was killed just after one measures that step again when it goes on: the last counts.
    """
    found = {
        each["step"]: Evaluation(each["step"], each["times"], each["train"], each["held_out"])
        for each in select(events(folder), "evaluation")
    }
    return [found[step] for step in sorted(found)]


def samples(folder: Path) -> list[SampleGrid]:
    """Return a run's samples, oldest first; those whose pictures are gone are left out."""
    grids: dict[int, SampleGrid] = {}
    for each in select(events(folder), "samples"):
        average, raw = (_picture(folder, each.get(key)) for key in ("file", "raw"))
        nearest = [(picture, float(far)) for picture, far in each.get("nearest") or []]
        if average:
            grids[each["step"]] = SampleGrid(each["step"], average, raw, nearest)
    return [grids[step] for step in sorted(grids)]


def _picture(folder: Path, name: Any) -> Path | None:
    """Return the picture that an event names, if it lies among the run's samples."""
    path = folder / "samples" / Path(str(name)).name
    return path if name and path.is_file() else None


def baseline(folder: Path) -> Event | None:
    """Return how near pictures that are no copies come to the training set, if it was measured."""
    found = select(events(folder), "baseline")
    return found[-1] if found else None


def notices(folder: Path) -> list[Event]:
    """Return what a run's process had to tell on the way: skipped steps, fallen back, …."""
    return select(events(folder), "notice")
