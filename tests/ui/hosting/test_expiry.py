"""What visitors leave behind goes."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sd.runs import list_folders, process
from sd.runs.sharing import host
from sd.runs.sharing.turn import Turn, write_turn
from sd.ui.hosting import expiry
from sd.ui.hosting.modes import Mode
from sd.ui.hosting.visitors import DAY, HEADER, Keys, Visitors

NOW = 1_000_000_000.0
KEYS = Keys(b"0123456789abcdef")


@pytest.fixture
def crowd(tmp_path: Path) -> Visitors:
    """Visitors whose things are kept for a day."""
    return Visitors(tmp_path, Mode("day", kept_days=1), KEYS)


def made(crowd: Visitors, name: str, hours: float, size: int = 10) -> Path:
    """Return a home with one run, whose visitor was last there so many hours before NOW."""
    home = crowd.place / name
    (home / "run").mkdir(parents=True)
    (home / "run" / "config.ini").write_bytes(bytes(size))
    (home / "run" / "events.jsonl").touch()
    (home / host.SEEN).touch()
    os.utime(home / host.SEEN, (NOW - 3600 * hours,) * 2)
    return home


@pytest.fixture
def living(crowd: Visitors) -> Iterator[Path]:
    """A home whose run has a process; its visitor was there a week ago."""
    home = made(crowd, "living", 168)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        process.record(home / "run", child.pid, process.STARTING)
        yield home
        child.kill()


def test_who_has_not_come_for_a_day_is_forgotten_and_who_trains_is_not(
    crowd: Visitors, living: Path
) -> None:
    old, fresh = made(crowd, "old", 25), made(crowd, "fresh", 23)
    assert expiry.sweep(crowd, NOW) == ["old"]
    assert not old.exists() and fresh.is_dir() and (living / "run" / "config.ini").is_file()
    assert expiry.sweep(crowd, NOW) == []


def test_where_all_take_too_much_the_longest_unvisited_go(
    crowd: Visitors, living: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    homes = [made(crowd, f"home{hours}", hours, 1000) for hours in (3, 9, 6)]
    monkeypatch.setattr(crowd, "room", 1900)
    assert expiry.sweep(crowd, NOW) == ["home9", "home6"]
    assert [home.is_dir() for home in homes] == [True, False, False] and living.is_dir()


def test_what_a_killed_server_was_deleting_goes(crowd: Visitors) -> None:
    half = made(crowd, ".going-0123", 0)
    assert expiry.sweep(crowd, NOW) == [] and not half.exists()


def test_what_was_half_written_in_a_home_goes_within_an_hour(crowd: Visitors) -> None:
    home = made(crowd, "fresh", 0)
    (home / "uploads").mkdir()
    old = [home / ".run.zip.77.tmp", home / "uploads" / ".0123.zip.ab_9.tmp"]
    new, other = home / "uploads" / ".4567.zip.cd_9.tmp", home / "uploads" / "0123.zip"
    for path in (*old, new, other):
        path.touch()
        os.utime(path, (NOW - (60 if path == new else 3000),) * 2)
    assert expiry.sweep(crowd, NOW) == []
    assert [path.exists() for path in (*old, new, other)] == [False, False, True, True]


def test_a_visit_is_noted_once_a_minute(crowd: Visitors) -> None:
    headers = {HEADER: KEYS.mint()}
    home = crowd.shared_of(headers).home.path
    assert not home.exists()  # who only looks leaves nothing
    home.mkdir(parents=True)
    crowd.shared_of(headers)
    assert (home / host.SEEN).is_file() and abs(host.last_seen(home) - time.time()) < DAY
    os.utime(home / host.SEEN, (NOW, NOW))
    crowd.shared_of(headers)
    assert host.last_seen(home) == NOW


def test_everything_of_a_visitor_goes_when_asked(crowd: Visitors) -> None:
    key = KEYS.mint()
    name = KEYS.visitor_of(key) or ""
    home, other = made(crowd, name, 0), made(crowd, "other", 0)
    before = crowd.shared_of({HEADER: key})
    expiry.leave(crowd, name)
    assert not home.exists() and other.is_dir()
    assert crowd.shared_of({HEADER: key}) is not before
    expiry.leave(crowd, name)  # there is nothing any more


def test_a_training_is_ended_before_it_is_deleted(
    crowd: Visitors, living: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "STOP_SECONDS", 0.0)
    expiry.leave(crowd, living.name)
    assert not living.exists()


SWEEPING = """
import sys
from pathlib import Path
from sd.ui.hosting import expiry
from sd.ui.hosting.modes import Mode
from sd.ui.hosting.visitors import Keys, Visitors
crowd = Visitors(Path(sys.argv[1]), Mode("day", kept_days=1), Keys(b"0123456789abcdef"))
expiry.sweep(crowd, float(sys.argv[2]))
"""


@pytest.mark.slow
def test_a_sweep_that_is_killed_again_and_again_leaves_nothing_half(
    crowd: Visitors, living: Path
) -> None:
    dice, size = random.Random(0), 20 * 2**20
    waiting, visiting = made(crowd, "waiting", 25), made(crowd, "visiting", 0.01)
    write_turn(waiting / "run", Turn(("--resume",), NOW))
    kept = {living, waiting, visiting}
    for number in range(197):
        home = made(crowd, f"old{number}", 25)
        with (home / "run" / "weights").open("wb") as file:
            file.truncate(size)
    for _ in range(20):
        words = [sys.executable, "-c", SWEEPING, str(crowd.place.parent), str(NOW)]
        before = len(list_folders(crowd.place))
        with subprocess.Popen(words) as child:
            while len(list_folders(crowd.place)) == before and child.poll() is None:
                time.sleep(0.001)
            time.sleep(dice.random() * 0.01)
            child.kill()
        for home in list_folders(crowd.place):
            assert (home / "run" / "config.ini").is_file() and (home / host.SEEN).is_file()
            assert home in kept or (home / "run" / "weights").stat().st_size == size
    left, began, used = len(list_folders(crowd.place)) - 3, time.monotonic(), time.process_time()
    expiry.sweep(crowd, NOW)
    took = f"{time.monotonic() - began:.2f} s, {time.process_time() - used:.2f} s of the processor"
    print(f"{left} of 197 were left after 20 kills; swept in {took}")
    assert set(crowd.place.iterdir()) == kept
