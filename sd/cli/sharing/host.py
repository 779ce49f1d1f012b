"""python -m sd host: what the host of a shared page sees and does."""

import argparse
import shutil
import time
from pathlib import Path

from sd import runs
from sd.common.text import format_bytes, format_seconds
from sd.common.validation import InputError, choice
from sd.runs.sharing import closing, host, scheduler

LIST, STOP, DELETE, CLOSE, OPEN = WORDS = ("list", "stop", "delete", "close", "open")


def look_after(args: argparse.Namespace) -> None:
    """Do what is asked for with the visitors in SD_HOME."""
    home, what = runs.default_home().path, choice("WHAT", args.what, WORDS)
    place = home / host.VISITORS
    if what == CLOSE:
        closing.close(home, " ".join(args.about))
    elif len(args.about) > (2 if what in (STOP, DELETE) else 0):
        raise InputError(f"{what}: too many words")
    elif what == OPEN:
        closing.reopen(home)
    elif what == LIST:
        print("\n".join(list_lines(place)))
    elif not args.about:
        raise InputError(f"{what}: name a VISITOR, as list calls them")
    else:
        {STOP: host.stop, DELETE: host.delete}[what](place, *args.about)


def list_lines(place: Path, now: float | None = None) -> list[str]:
    """Return what a host is told, a line for each visitor and for each of their runs."""
    moment = time.time() if now is None else now
    visitors, entries = host.list_visitors(place), scheduler.list_entries(place)
    kept = format_bytes(sum(visitor.size for visitor in visitors))
    free = format_bytes(shutil.disk_usage(place if place.is_dir() else place.anchor).free)
    closed = closing.closed_line(place.parent)
    found = [
        f"{'closed: ' + closed if closed else 'open'}; {len(visitors)} visitors, {kept} kept, "
        f"{free} free; {sum(each.at_work for each in entries)} of {scheduler.count_slots()} slots "
        f"at work, {sum(each.waits for each in entries)} runs in line"
    ]
    for visitor in visitors:
        ago = format_seconds(max(0.0, moment - visitor.seen))
        found.append(f"{visitor.id}  here {ago} ago, {format_bytes(visitor.size)}")
        for run in visitor.runs:
            told = f"{run.state}, step {run.step} of {run.total}, {format_seconds(run.seconds)}"
            found.append(f"  {run.id}  {told}, {format_bytes(run.size)}")
    return found
