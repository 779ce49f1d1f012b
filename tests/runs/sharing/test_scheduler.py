"""Who trains next among visitors, with processes that only stand there."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sd import runs
from sd.common.validation import InputError
from sd.runs import process
from sd.runs.sharing import scheduler
from sd.runs.sharing.closing import close, reopen
from sd.runs.sharing.scheduler import RETRY_SECONDS
from sd.runs.sharing.turn import TURN, read_turn, write_turn
from sd.ui.mistakes import translate
from tests.helpers.run_folders import tiny

SLICE = 60.0


class Machine:
    """A machine with visitors, whose clock the test moves and whose processes do nothing."""

    def __init__(self, place: Path, patch: pytest.MonkeyPatch) -> None:
        self.place, self.now = place / "visitors", 1000.0
        self.children: dict[Path, subprocess.Popen[bytes]] = {}
        self.spawned: list[tuple[str, tuple[str, ...]]] = []
        self.slots, self.begins = 1, True
        patch.setattr(process, "spawn", self.spawn)
        patch.setattr(scheduler.time, "time", lambda: self.now)
        patch.setattr(scheduler, "count_slots", lambda: self.slots)

    def spawn(self, words: Any, log: Path, given: str, threads: int, nice: int) -> int:
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        self.children[log.parent] = child
        self.spawned.append((log.parent.parent.name, tuple(words[3:])))
        log.touch()
        if self.begins:
            self.note(log.parent, event="start", total=100)
        assert words[:3] == ["train", "--run", str(log.parent)] and nice == 10 and threads >= 1
        return child.pid

    def home(self, visitor: str) -> runs.Home:
        return runs.Home(self.place / visitor, self.place.parent / "bundled", self.place)

    def start(self, visitor: str) -> Path:
        self.now += 1
        return runs.start(self.home(visitor), "starter", tiny())

    def serve(self, after: float = 0) -> list[str]:
        """Look after some seconds; return whose runs train."""
        self.now += after
        with scheduler.lock_of(self.place):
            entries = scheduler.serve(self.place, SLICE)
        return [entry.visitor.name for entry in entries if entry.at_work]

    def end(self, folder: Path, last: str = "stopped", step: int = 4) -> None:
        """Let a run's process end, with a last word or, for "", without."""
        (folder / runs.RUN).write_text('{"seed": 0, "device": "cpu", "data": "x"}')
        if last:
            self.note(folder, event=last, step=step, line=last)
        child = self.children.pop(folder)
        child.kill()
        child.wait()

    def note(self, folder: Path, **event: Any) -> None:
        with (folder / "events.jsonl").open("a") as file:
            file.write(json.dumps({"time": self.now, **event}) + "\n")

    def asked_to_yield(self, folder: Path) -> bool:
        return process.is_requested(folder, process.YIELD)


def begun_at(folder: Path) -> float:
    turn = read_turn(folder)
    assert turn is not None
    return turn.begun


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    made = Machine(tmp_path, monkeypatch)
    yield made
    for child in made.children.values():
        child.kill()
        child.wait()


def test_the_first_trains_at_once_and_the_others_wait(machine: Machine) -> None:
    folders = [machine.start(name) for name in "abc"]
    states = [runs.status(folder).state for folder in folders]
    assert states == ["starting", "waiting", "waiting"] and len(machine.spawned) == 1
    assert machine.spawned[0][1][:3] == ("--config", "-", "--seed")
    assert [status.name for status in machine.home("b").live_runs()] == [folders[1].name]
    assert not machine.asked_to_yield(folders[0])
    with pytest.raises(InputError, match="it is waiting already"):
        runs.resume(machine.home("b"), folders[1])


def test_visitors_are_served_in_turn_a_slice_each(machine: Machine) -> None:
    folders = {name: machine.start(name) for name in "abc"}
    order = []
    for _ in range(7):
        (name,) = machine.serve()
        order.append(name)
        machine.serve(after=begun_at(folders[name]) + SLICE - 1 - machine.now)
        assert not machine.asked_to_yield(folders[name])
        assert machine.serve(after=1) == [name] and machine.asked_to_yield(folders[name])
        machine.end(folders[name])
        assert runs.status(folders[name]).state == "waiting"
    assert "".join(order) == "abcabca"
    assert machine.spawned[3] == ("a", ("--resume",))
    served = [turn.served for each in folders.values() if (turn := read_turn(each))]
    assert max(served) - min(served) <= SLICE and min(served) >= 2 * SLICE


def test_a_slice_begins_with_training_and_a_beginning_has_its_end(machine: Machine) -> None:
    machine.begins = False
    slow, stuck = machine.start("a"), machine.start("b")
    machine.serve(after=3 * SLICE)
    assert not machine.asked_to_yield(slow)
    machine.note(slow, event="start", total=100)
    machine.serve(after=SLICE - 1)
    assert not machine.asked_to_yield(slow)
    machine.serve(after=1)
    assert machine.asked_to_yield(slow)
    machine.end(slow)
    assert machine.serve() == ["b"]
    machine.serve(after=5 * SLICE)
    assert machine.asked_to_yield(stuck)


def test_who_is_alone_is_not_asked_to_yield_by_runs_of_their_own(machine: Machine) -> None:
    first, second = machine.start("a"), machine.start("a")
    assert machine.serve(after=10 * SLICE) == ["a"] and not machine.asked_to_yield(first)
    machine.end(first, "finished")
    assert machine.serve() == ["a"] and not (first / TURN).exists()
    assert runs.status(first).state == "finished" and runs.status(second).state == "starting"


def test_three_runs_of_one_have_no_more_than_one_of_each_other(machine: Machine) -> None:
    folders = [machine.start("a") for _ in range(3)] + [machine.start(name) for name in "bcde"]
    had = dict.fromkeys("abcde", 0)
    for _ in range(50):
        (name,) = machine.serve(after=1)
        had[name] += 1
        machine.serve(after=SLICE)
        machine.end(next(each for each in machine.children))
    assert set(had.values()) == {10} and len(folders) == 7


def test_there_are_never_more_processes_than_slots(machine: Machine) -> None:
    machine.slots = 2
    folders = [machine.start(name) for name in "abca"]
    assert sorted(machine.serve()) == ["a", "b"]
    machine.end(folders[1])
    assert sorted(machine.serve(after=1)) == ["a", "c"]  # the second run of a is behind
    assert sorted(machine.serve(after=2 * SLICE)) == ["a", "c"]
    assert machine.asked_to_yield(folders[0]) and machine.asked_to_yield(folders[2])


@pytest.mark.parametrize("last", ["finished", "failed"])
def test_who_has_ended_wants_no_more(machine: Machine, last: str) -> None:
    folder = machine.start("a")
    machine.end(folder, last)
    assert runs.status(folder).state == last  # though nobody has looked yet
    assert machine.serve() == [] and not (folder / TURN).exists()


def test_a_process_that_was_killed_goes_on_and_at_the_third_time_no_more(machine: Machine) -> None:
    folder = machine.start("a")
    for lost in (1, 2):
        machine.end(folder, "")
        assert runs.status(folder).state == "waiting"
        assert machine.serve(after=1) == ["a"] and (turn := read_turn(folder))
        assert turn.lost == lost
    machine.end(folder)  # a last word: it was saved
    assert machine.serve(after=1) == ["a"] and (turn := read_turn(folder)) and turn.lost == 0
    for _ in range(3):
        machine.end(folder, "")
        machine.serve(after=1)
    assert not (folder / TURN).exists() and machine.children == {}
    assert runs.status(folder).state == "failed"
    assert runs.status(folder).line == "its process ended 3 times without a word"


def test_a_command_that_fails_at_once_is_given_up_with_what_it_printed(machine: Machine) -> None:
    machine.begins = False
    folder = machine.start("a")
    for _ in range(3):
        (folder / runs.LOG).write_text("Traceback\nModuleNotFoundError: No module named 'torch'\n")
        child = machine.children.pop(folder)
        child.kill()
        child.wait()
        assert runs.status(folder).state == "waiting"
        machine.serve(after=1)
    now = runs.status(folder)
    assert len(machine.spawned) == 3 and now.state == "failed" and now.resumable is False
    line = "its process ended 3 times without a word: ModuleNotFoundError: No module named 'torch'"
    assert now.line == line and [each["event"] for each in runs.events(folder)] == ["failed"]
    assert "torch" in translate(line, "zh") and "its process" not in translate(line, "zh")


def test_words_hold_until_the_run_has_begun(machine: Machine) -> None:
    folder = machine.start("a")
    child = machine.children.pop(folder)
    child.kill()
    child.wait()
    machine.serve(after=1)
    assert machine.spawned[1] == machine.spawned[0]  # nothing was there yet
    (folder / "config.ini").touch()
    os.utime(folder / "config.ini", (machine.now, machine.now))
    machine.end(folder, "")
    machine.serve(after=1)
    assert machine.spawned[2] == ("a", ("--resume",))


def test_who_waits_can_leave_and_pause(machine: Machine) -> None:
    first, second, third = (machine.start(name) for name in "abc")
    runs.pause(second)
    assert runs.status(second).state == "paused" and runs.status(second).alive
    runs.stop(third)
    assert not third.exists() and machine.home("c").run_folders() == []  # it had not begun
    machine.serve(after=2 * SLICE)
    assert not machine.asked_to_yield(first)  # nobody waits
    runs.unpause(machine.home("b"), second)
    assert runs.status(second).state == "waiting"
    machine.serve()
    assert machine.asked_to_yield(first)


def test_who_trains_can_stop_and_pause(machine: Machine) -> None:
    first, second = machine.start("a"), machine.start("b")
    runs.pause(first)
    assert runs.status(first).state == "pausing" and machine.asked_to_yield(first)
    machine.end(first)
    assert machine.serve() == ["b"] and runs.status(first).state == "paused"
    runs.stop(second)
    assert runs.status(second).state == "stopping" and process.is_requested(second, process.STOP)
    machine.end(second)
    assert runs.status(second).state == "stopped"
    assert machine.serve() == [] and not (second / TURN).exists()
    runs.stop(first)  # it was saved and stays
    assert runs.status(first).state == "stopped" and first.exists()


@pytest.mark.parametrize("last", ["stopped", "finished", "stop"])
def test_a_slice_on_a_lent_gpu_ends_by_itself_and_by_a_stop(machine: Machine, last: str) -> None:
    """It is a process that nobody was given a turn for: its run is held for so long."""
    machine.start("a")
    folder = machine.start("b")
    scheduler.hold(folder, True)
    process.drop_requests(folder)
    process.record(folder, os.getpid(), process.STARTING)
    machine.note(folder, event="start", total=100)
    machine.serve(after=1)
    assert not machine.asked_to_yield(folder)
    assert runs.status(folder).state in ("starting", "running")
    if last == "stop":
        runs.stop(folder)
    (folder / process.STARTING).unlink()
    machine.note(folder, event="stopped" if last == "stop" else last, step=4, line="")
    scheduler.hold(folder, False)
    machine.serve(after=1)
    assert (read_turn(folder) is not None) == (last == "stopped")


def test_a_run_in_line_can_be_renamed_and_deleted(machine: Machine) -> None:
    machine.start("a")
    second, third = machine.start("b"), machine.start("c")
    renamed = runs.rename(machine.home("b"), second.name, "cats")
    runs.delete(machine.home("c"), third.name)
    assert not third.exists()
    machine.end(next(iter(machine.children)), "finished")
    assert machine.serve() == ["b"] and runs.status(renamed).state == "starting"


def test_the_place_in_line_and_about_how_long(machine: Machine) -> None:
    folders = {name: machine.start(name) for name in "abcde"}
    machine.now += 20

    def place(name: str, slots: int = 1) -> tuple[int, int, float]:
        found = scheduler.find_place(machine.place, folders[name], SLICE, slots)
        assert found is not None
        return found

    left = SLICE - (machine.now - begun_at(folders["a"])) + scheduler.CHANGE_SECONDS
    assert place("b") == (1, 4, left)
    assert place("d") == (3, 4, left + 2 * (SLICE + scheduler.CHANGE_SECONDS))
    assert place("c", slots=2) == (2, 4, left)
    assert runs.find_place(machine.home("a"), folders["a"]) is None


def test_where_a_page_is_closed_all_yield_and_go_on_after_it(machine: Machine) -> None:
    first = machine.start("a")
    close(machine.place.parent, "back at noon")
    assert machine.serve() == ["a"] and machine.asked_to_yield(first)
    machine.end(first)
    assert machine.serve(after=1) == [] and runs.status(first).state == "waiting"
    for begin in (lambda: machine.start("b"), lambda: runs.unpause(machine.home("a"), first)):
        with pytest.raises(InputError, match=r"^back at noon$"):
            begin()
    reopen(machine.place.parent)
    assert machine.serve(after=1) == ["a"]


def test_what_is_no_turn_is_none(tmp_path: Path) -> None:
    for text in ("", "[]", "{}", '{"words": 7, "asked": 1}', '{"words": [], "asked": 1, "x": 2}'):
        (tmp_path / TURN).write_text(text)
        assert read_turn(tmp_path) is None


def test_where_no_process_can_begin_the_run_waits(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> int:
        raise OSError("no more processes")

    monkeypatch.setattr(process, "spawn", refuse)
    folder = machine.start("a")
    assert runs.status(folder).state == "waiting"
    monkeypatch.setattr(process, "spawn", machine.spawn)
    assert machine.serve(after=1) == [] and machine.serve(after=RETRY_SECONDS) == ["a"]


def test_a_run_that_can_never_begin_ends_with_a_line_and_others_are_served(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse_one(words: Any, log: Path, *more: Any) -> int:
        if log.parent.parent.name == "a":
            raise PermissionError(13, "Permission denied")
        return machine.spawn(words, log, *more)

    monkeypatch.setattr(process, "spawn", refuse_one)
    folder = machine.start("a")
    machine.start("b")
    for _ in range(2):
        assert machine.serve(after=RETRY_SECONDS) == ["b"]
        assert runs.status(folder).state == "waiting"
        machine.slots += 1
    assert machine.serve(after=RETRY_SECONDS) == ["b"]
    now = runs.status(folder)
    assert (now.state, now.line) == (
        "failed",
        "no process could be begun for it: Permission denied",
    )
    assert not (folder / TURN).exists()


def test_where_nothing_can_be_noted_a_run_waits_and_others_are_served(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.start("b")
    folder, noted = machine.start("a"), scheduler.write_turn

    def refuse_one(where: Path, turn: scheduler.Turn) -> None:
        if where == folder:
            raise OSError(28, "No space left on device")
        noted(where, turn)

    monkeypatch.setattr(scheduler, "write_turn", refuse_one)
    machine.slots = 2
    assert machine.serve(after=1) == ["b"] and runs.status(folder).state == "waiting"
    monkeypatch.setattr(scheduler, "write_turn", noted)
    assert sorted(machine.serve(after=1)) == ["a", "b"]


def test_a_turn_is_kept_whole(tmp_path: Path) -> None:
    turn = scheduler.Turn(("--resume",), 5.0, held=True, served=2.5)
    write_turn(tmp_path, turn)
    assert read_turn(tmp_path) == turn
