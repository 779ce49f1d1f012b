"""Visitors' runs in turns with real processes, killed again and again: not a byte differs.

The page is a process that looks as a page's thread does, only oftener. A trainer is what
`python -m sd train` is, but forked from a process that has imported all, which saves each turn the
seconds that this takes.
"""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from sd import runs
from sd.common.disk import numbered
from sd.common.validation import InputError
from sd.config import Config
from sd.runs import process
from sd.runs.sharing import scheduler
from sd.runs.sharing.closing import close, reopen
from sd.runs.sharing.turn import read_turn
from tests.helpers.run_folders import tiny, wait
from tests.runs.test_resume import rows, tensors

pytestmark = pytest.mark.slow
LOOK, PATIENCE = 0.2, 3600.0  # seconds
LONGEST_DELAY = 0.5  # seconds from a trainer's beginning until it is killed
FORKING = """
import json, os, signal, socket, sys
import sd.runs.worker, sd.cli.progress, tqdm
from sd.cli.parser import main
line = socket.socket(socket.AF_UNIX)
line.bind(sys.argv[1])
line.listen()
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
while True:
    asked = line.accept()[0]
    words, log, given = json.loads(asked.makefile().readline())
    if pid := os.fork():
        open(sys.argv[2], "a").write(log + "\\n")
        asked.sendall(b"%d\\n" % pid)
        continue
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    line.close()
    asked.close()
    os.setsid()
    source, output = os.memfd_create("given"), os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.pwrite(source, given.encode(), 0)
    for number in (1, 2):
        os.dup2(output, number)
    sys.stdin = open(source)
    os._exit(main(words))
"""
LOOKING = """
import sys, time
from pathlib import Path
from sd.runs import process
from sd.runs.sharing import scheduler
from tests.runs.sharing.test_real_turns import spawner
place, address, seconds, look = sys.argv[1:]
process.spawn = spawner(address)
while True:
    with scheduler.lock_of(Path(place)):
        scheduler.serve(Path(place), float(seconds), 1)
    time.sleep(float(look))
"""


def spawner(address: str) -> Any:
    """Return what starts a trainer as `process.spawn` does, from the forking process."""

    def spawn(words: Any, log: Path, given: str = "", *_: Any) -> int:
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(address)
            line.sendall(json.dumps([list(words), str(log), given]).encode() + b"\n")
            return int(line.makefile().readline())

    return spawn


class Machine:
    """Visitors' homes, what trainers are forked from, and a page that gives turns."""

    def __init__(self, folder: Path) -> None:
        self.place, self.begun = folder / "visitors", folder / "begun"
        self.place.mkdir()
        address = str(folder / "forking")
        words = [sys.executable, "-c", FORKING, address, str(self.begun)]
        self.forking = subprocess.Popen(words, env={**os.environ, "OMP_NUM_THREADS": "1"})
        self.spawn, self._address = spawner(address), address
        while not os.path.exists(address):
            assert self.forking.poll() is None
            time.sleep(LOOK)

    def open_page(self, slice_seconds: float) -> None:
        words = map(str, (self.place, self._address, slice_seconds, LOOK))
        self.page = subprocess.Popen([sys.executable, "-c", LOOKING, *words])

    def kill_page(self) -> None:
        self.page.kill()
        self.page.wait()

    def order(self) -> list[str]:
        """Return whose trainers began, in order."""
        lines = self.begun.read_text().splitlines() if self.begun.exists() else []
        return [Path(line).parent.parent.name for line in lines]

    def end(self) -> None:
        """End all that is at work."""
        self.kill_page()
        for entry in scheduler.list_entries(self.place):
            process.kill(entry.folder)
        self.forking.kill()
        self.forking.wait()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    made = Machine(tmp_path)
    monkeypatch.setattr(process, "spawn", made.spawn)
    monkeypatch.setattr(scheduler, "count_slots", lambda: 1)
    yield made
    made.end()


class Killer:
    """Kills trainers at random moments, each visitor's equally often, and a page now and then."""

    def __init__(self, machine: Machine, each: int, slice_seconds: float) -> None:
        self.machine, self.dice, self.slice = machine, random.Random(0), slice_seconds
        self.left = Counter({home.name: each for home in machine.place.iterdir() if home.is_dir()})
        self.pages = self.trainers = 0
        self._number, self._at = 0, 0.0

    def look(self) -> None:
        """Kill the trainer at work if its moment has come; a new one may get its moment."""
        order, now = self.machine.order(), time.monotonic()
        if len(order) > self._number:
            self._number, self._at = len(order), now + self.dice.random() * LONGEST_DELAY
        entry = next(
            (each for each in scheduler.list_entries(self.machine.place) if each.at_work), None
        )
        if entry is None or now < self._at or not self.left[entry.visitor.name]:
            return
        if entry.turn.lost + 1 < scheduler.MOST_LOST:
            with suppress(ProcessLookupError):
                process.kill(entry.folder)
                self.left[entry.visitor.name] -= 1
                self.trainers += 1
            self._at = float("inf")
            if self.trainers % 2:
                self.machine.kill_page()
                self.machine.open_page(self.slice)
                self.pages += 1


def in_one_sitting(machine: Machine, config: Config, pictures: Path, folder: Path) -> Path:
    """Train without a turn; return the run."""
    folder.mkdir()
    words = ["train", "--run", str(folder), "--config", "-", "--seed", "7", "--", str(pictures)]
    machine.spawn(words, folder / runs.LOG, config.to_ini())
    end = time.monotonic() + PATIENCE
    while runs.status(folder).state != "finished":
        assert time.monotonic() < end, runs.status(folder)
        time.sleep(LOOK)
    return folder


def test_a_page_that_is_closed_meanwhile_changes_no_byte(
    tmp_path: Path, pictures: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny("training.steps=20", "training.sample_every=0", "training.save_every=0")
    whole = in_one_sitting(machine, config, pictures, tmp_path / "whole")
    home = runs.Home(machine.place / "a", neighbours=machine.place)
    trainers = []

    def spawn_resting(*words: Any) -> int:
        """Start a trainer that rests, or it would be done before a slow page has looked."""
        trainers.append(machine.spawn(*words))
        os.kill(trainers[0], signal.SIGSTOP)
        return trainers[0]

    monkeypatch.setattr(process, "spawn", spawn_resting)
    folder = runs.start(home, str(pictures), config, seed=7)
    close(machine.place.parent, "back at noon")
    machine.open_page(60.0)
    wait(folder, lambda _: process.is_requested(folder, process.YIELD), PATIENCE)
    os.kill(trainers[0], signal.SIGCONT)
    asked = time.monotonic()
    wait(folder, lambda now: now.state == "waiting" and now.step > 0, PATIENCE)
    print(f"the trainer has saved and left {time.monotonic() - asked:.1f} s after it was asked")
    assert runs.status(folder).step == numbered(folder, "checkpoint-*")[-1][0] == 1
    with pytest.raises(InputError, match=r"^back at noon$"):
        runs.start(home, str(pictures), config, seed=7)
    begun = len(machine.order())
    time.sleep(10 * LOOK)
    assert len(machine.order()) == begun
    reopen(machine.place.parent)
    wait(folder, lambda now: now.state == "finished", PATIENCE)
    assert tensors(folder) == tensors(whole) and rows(folder) == rows(whole)


def overlaps(folders: list[Path]) -> list[str]:
    """Return the events that a run wrote after another one had begun its turn."""
    found = [
        (each["time"], folder.parent.name, each["event"])
        for folder in folders
        for each in runs.events(folder)
    ]
    whose, wrong = "", []
    for moment, name, event in sorted(found):
        if event in ("ingest", "start", "resumed"):
            whose = name
        elif name != whose and event != "notice":
            wrong.append(f"{moment}: {event} of {name} in the turn of {whose}")
    return wrong


@pytest.mark.parametrize(
    ("visitors", "steps", "slice_seconds", "kills"),
    [(3, 60, 0.1, 0), (3, 3, 0.0, 2), (5, 8, 0.0, 4)],  # in slices of 0 s each turn is one step
    ids=["slices", "few", "many"],
)
def test_all_finish_as_in_one_sitting(
    tmp_path: Path,
    pictures: Path,
    machine: Machine,
    visitors: int,
    steps: int,
    slice_seconds: float,
    kills: int,
) -> None:
    config = tiny(f"training.steps={steps}", "training.sample_every=0", "training.save_every=10")
    whole = in_one_sitting(machine, config, pictures, tmp_path / "whole")
    machine.begun.unlink()
    homes = [
        runs.Home(machine.place / name, neighbours=machine.place) for name in "abcde"[:visitors]
    ]
    folders = [runs.start(home, str(pictures), config, seed=7) for home in homes]
    machine.open_page(slice_seconds)
    killer, end, apart = Killer(machine, kills, slice_seconds), time.monotonic() + PATIENCE, 0.0
    first_end = 0
    while any(runs.status(folder).alive for folder in folders):
        assert time.monotonic() < end, [runs.status(folder) for folder in folders]
        killer.look()
        turns = [read_turn(folder) for folder in folders]
        if None not in turns:
            first_end, served = len(machine.order()), [turn.served for turn in turns if turn]
            apart = max(apart, max(served) - min(served))
        time.sleep(LOOK)
    order = machine.order()
    print(
        f"{visitors} visitors: {len(order)} turns {Counter(order)}, {killer.trainers} trainers and "
        f"{killer.pages} pages killed, served at most {apart:.1f} s apart"
    )
    assert not killer.left.total() and overlaps(folders) == []
    assert order[:first_end] == [name for _ in order for name in "abcde"[:visitors]][:first_end]
    for folder in folders:
        assert runs.status(folder).state == "finished"
        assert tensors(folder) == tensors(whole) and rows(folder) == rows(whole)
