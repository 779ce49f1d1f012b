"""Who trains now, and who next, where the visitors of a page share a machine.

A slot is a process at work; there is one for every two cores. Where somebody else waits, a process
is asked to `yield` after its slice: it finishes its step, saves and ends, and the next one of that
run goes on exactly there. Next is the visitor who was served least recently, and of a visitor's
runs the one that was asked for first.

Nothing is kept in memory, so page and processes may be killed at any time.
"""

import heapq
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from secrets import token_hex
from typing import NamedTuple

from filelock import FileLock

from sd.common.text import printable, system_reason
from sd.common.threads import count_cores
from sd.common.validation import InputError
from sd.runs import process
from sd.runs.journal import ENDS, append, outline
from sd.runs.process import START_LOCK
from sd.runs.run import CONFIG, GOING, LOG, RUN, log_tail
from sd.runs.sharing.closing import closed_line
from sd.runs.sharing.turn import TURN, Turn, drop_turn, read_turn, write_turn

SERVED = "served"  # a file of a visitor's home: its time says when one of its runs trained last
CORES_A_SLOT = 2
CHANGE_SECONDS = 8.0  # that a process takes to begin and to end
LONGEST_BEGINNING = 5  # slices that a process may take until its first step
MOST_LOST = 3  # processes in a row that end without a word, or cannot begin: then it is given up
RETRY_SECONDS = 20.0  # until a process is tried again that could not begin
NICE, LARGEST_FILE = 10, 2**30  # bytes
LONGEST = 300  # characters of why a run is given up


class Entry(NamedTuple):
    """A run with a turn. at_work: whether its process is there."""

    folder: Path
    turn: Turn
    at_work: bool

    @property
    def visitor(self) -> Path:
        """The home that the run lies in."""
        return self.folder.parent

    @property
    def waits(self) -> bool:
        """Whether it is to be given a process."""
        return not self.at_work and not self.turn.held


class Place(NamedTuple):
    """Where a run stands in the line: 1 is next. seconds: about how long until it trains."""

    number: int
    of: int
    seconds: float


def lock_of(place: Path) -> FileLock:
    """Return the lock under which turns are changed: one for all visitors of a place."""
    return FileLock(place / START_LOCK)


def count_slots() -> int:
    """Return how many runs train at once on this machine."""
    return max(1, count_cores() // CORES_A_SLOT)


def list_entries(place: Path) -> list[Entry]:
    """Return all runs with a turn in the homes of a place."""
    found = (each / run.name for each in _folders(place) for run in _folders(each))
    return [
        Entry(folder, turn, _is_at_work(folder))
        for folder in found
        if os.path.exists(f"{folder}/{TURN}") and (turn := read_turn(folder))
    ]


def _folders(place: Path) -> list[Path]:
    with suppress(OSError), os.scandir(place) as found:
        return [
            place / each.name for each in found if each.is_dir() and not each.name.startswith(".")
        ]
    return []


def _is_at_work(folder: Path) -> bool:
    return process.is_alive(folder, process.STARTING) or process.is_alive(folder)


def serve(place: Path, seconds: float, slots: int | None = None) -> list[Entry]:
    """Give slots to who is next, and ask who had `seconds` to yield; return all with a turn.

    To be called again and again, by any number of pages, by each under `lock_of(place)`. Where the
    place is closed everybody yields.
    """
    now, slots = time.time(), count_slots() if slots is None else slots
    entries = [each for entry in list_entries(place) if (each := _settle(entry, now))]
    is_closed = bool(closed_line(place.parent))
    ready = [] if is_closed else [each for each in line(entries) if each.turn.not_before <= now]
    for entry in ready[: max(0, slots - _count_at_work(entries))]:
        entries.remove(entry)
        begun = _begin(entry, max(1, count_cores() // slots), now)
        entries += [begun] if begun else []
    waiting = [entry for entry in entries if entry.waits]
    for entry in entries:
        others = any(each.visitor != entry.visitor for each in waiting)
        is_over = others and _seconds_left(entry, now, seconds) <= 0
        if entry.at_work and entry.turn.begun and (is_over or entry.turn.held or is_closed):
            process.request(entry.folder, process.YIELD)  # a slice on a lent GPU ends by itself
    return entries


def _count_at_work(entries: Iterable[Entry]) -> int:
    return sum(entry.at_work for entry in entries)


def _settle(entry: Entry, now: float) -> Entry | None:
    """Note what became of a run's process that has ended; None where the run wants no further.

    A run that waits may have trained meanwhile, on a lent GPU.
    """
    folder, turn = entry.folder, entry.turn
    if entry.at_work:
        return entry
    known = outline(folder)
    is_newer = known.time >= turn.begun if turn.begun else known.time > turn.asked
    has_ended = known.last in ENDS and is_newer
    is_done = process.is_requested(folder, process.STOP) or (has_ended and known.last != "stopped")
    if not turn.begun and not is_done:
        return entry
    end = known.time if has_ended else max(turn.begun, min(now, known.time + CHANGE_SECONDS))
    _note_served(entry.visitor, now)
    lost = 0 if has_ended else turn.lost + 1
    if is_done or lost >= MOST_LOST:
        if not is_done:
            _give_up(folder, f"its process ended {lost} times without a word", log_tail(folder))
        drop_turn(folder)
        return None
    words, given = turn.words, turn.given
    if has_ended or _has_begun(folder, turn.begun):
        words, given = ("--resume",), ""
    served = turn.served + end - turn.begun
    turn = replace(turn, words=words, given=given, begun=0.0, served=served, lost=lost)
    write_turn(folder, turn)
    return Entry(folder, turn, False)


def _has_begun(folder: Path, since: float) -> bool:
    """Tell whether a run holds all that it needs to go on, its settings as a process wrote them."""
    with suppress(OSError):
        return (folder / RUN).is_file() and os.stat(folder / CONFIG).st_mtime >= since
    return False


def line(entries: Iterable[Entry]) -> list[Entry]:
    """Return those who wait in the order in which they are served."""
    entries = list(entries)
    served = {entry.visitor: _last_served(entry.visitor) for entry in entries}
    latest = max(served.values(), default=0.0)
    latest += 1
    served |= {entry.visitor: latest for entry in entries if entry.at_work}
    waiting, ordered = [entry for entry in entries if entry.waits], []
    while waiting:
        entry = min(waiting, key=lambda each: (served[each.visitor], each.turn.asked))
        waiting.remove(entry)
        ordered.append(entry)
        latest += 1
        served[entry.visitor] = latest
    return ordered


def _last_served(visitor: Path) -> float:
    with suppress(OSError):
        return os.stat(visitor / SERVED).st_mtime
    return 0.0


def _note_served(visitor: Path, now: float) -> None:
    with suppress(OSError):
        (visitor / SERVED).touch()
        os.utime(visitor / SERVED, (now, now))


def _begin(entry: Entry, threads: int, now: float) -> Entry | None:
    """Start the next process of a run; where that cannot be, see `_try_later`."""
    folder, turn = entry.folder, replace(entry.turn, begun=now)
    words = ["train", "--run", str(folder), *turn.words]
    try:
        write_turn(folder, turn)
        process.drop_requests(folder)
        pid = process.spawn(words, folder / LOG, turn.given, threads, NICE)
    except (OSError, InputError) as error:
        return _try_later(entry, error, now)
    process.record(folder, pid, process.STARTING)
    process.limit_files(pid, LARGEST_FILE)
    _note_served(entry.visitor, now)
    return Entry(folder, turn, True)


def _try_later(entry: Entry, error: Exception, now: float) -> Entry | None:
    """Let a run whose process could not begin wait a little; None where it was tried often enough.

    In a folder where nothing can be noted either, as on a full disk, it waits until that is over.
    """
    folder, lost = entry.folder, entry.turn.lost + 1
    turn = replace(entry.turn, lost=lost, not_before=now + RETRY_SECONDS)
    with suppress(OSError, InputError):
        write_turn(folder, turn)
        if lost < MOST_LOST:
            return Entry(folder, turn, False)
        reason = system_reason(error) if isinstance(error, OSError) else str(error)
        _give_up(folder, "no process could be begun for it", reason)
        drop_turn(folder)
        return None
    return entry


def _give_up(folder: Path, line: str, reason: str) -> None:
    """Tell in a run's journal, whose process is gone, why it is tried no further."""
    append(folder, "failed", {"line": printable(f"{line}: {reason}" if reason else line)[:LONGEST]})


def find_place(place: Path, folder: Path, seconds: float, slots: int | None = None) -> Place | None:
    """Return where a run stands in the line; None where it does not wait."""
    entries, now = list_entries(place), time.time()
    ordered = line(entries)
    number = next((k for k, entry in enumerate(ordered) if entry.folder == folder), None)
    if number is None:
        return None
    slots = count_slots() if slots is None else slots
    working = [entry for entry in entries if entry.at_work]
    free = sorted(CHANGE_SECONDS + _seconds_until_free(each, now, seconds) for each in working)
    free = [0.0] * (slots - len(free)) + free
    heapq.heapify(free)
    for _ in range(number):
        heapq.heapreplace(free, free[0] + seconds + CHANGE_SECONDS)
    return Place(number + 1, len(ordered), free[0])


def _seconds_left(entry: Entry, now: float, seconds: float) -> float:
    """Return how long a process may train on while others wait.

    Its slice begins with its first step; until then it has time to read its pictures.
    """
    known, begun = outline(entry.folder), entry.turn.begun
    if known.began < begun:
        return begun + LONGEST_BEGINNING * seconds - now
    return known.began + seconds - now


def _seconds_until_free(entry: Entry, now: float, seconds: float) -> float:
    """Return about how long a process keeps its slot: to the end of its slice, or of its run."""
    known = outline(entry.folder)
    left = _seconds_left(entry, now, seconds) if known.began >= entry.turn.begun else seconds
    rest = known.seconds_left if known.began >= entry.turn.begun else None
    return max(0.0, left if rest is None else min(left, rest))


def ask(folder: Path, words: Iterable[str], given: str = "") -> None:
    """Let a run want to train: its process is started with these words when its turn comes."""
    write_turn(folder, Turn(tuple(words), time.time(), given))


@contextmanager
def _changing(folder: Path) -> Iterator[Turn | None]:
    """Hold the lock of a run's turn, and yield that; None where it has none."""
    if not (folder / TURN).exists():
        yield None
        return
    with lock_of(folder.parent.parent):
        yield read_turn(folder)


def stop(folder: Path) -> bool:
    """Let a run leave the line, or ask its process to end; False where it has no turn.

    One that has not begun yet goes altogether.
    """
    with _changing(folder) as turn:
        if turn is None:
            return False
        if _is_at_work(folder):
            process.request(folder, process.STOP)
            return True
        drop_turn(folder)
        if not (folder / RUN).exists():
            shutil.rmtree(folder.rename(folder.parent / f"{GOING}{token_hex(8)}"))
        return True


def hold(folder: Path, held: bool) -> bool:
    """Pause a run, or let it go on; False where it has no turn."""
    with _changing(folder) as turn:
        if turn is None:
            return False
        write_turn(folder, replace(turn, held=held))
        if held and _is_at_work(folder):
            process.request(folder, process.YIELD)
        return True
