"""Visitors' runs in turns with real processes, killed again and again: not a byte differs.

The page is a process that looks once a tenth of a second, as a page's thread does once a second.
"""

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from sd import runs
from sd.runs import process
from sd.runs.sharing import scheduler
from sd.runs.worker import begin
from tests.helpers.run_folders import event_lines, tiny
from tests.runs.test_resume import rows, tensors

pytestmark = pytest.mark.slow
SLICE, LOOK, PATIENCE = 5.0, 0.1, 3600.0
LOOKING = """
import sys, time
from pathlib import Path
from sd.runs.sharing import scheduler
while True:
    with scheduler.lock_of(Path(sys.argv[1])):
        scheduler.serve(Path(sys.argv[1]), float(sys.argv[2]), 1)
    time.sleep(float(sys.argv[3]))
"""


class Page:
    """A page that gives turns, until it is killed."""

    def __init__(self, place: Path) -> None:
        words = [sys.executable, "-c", LOOKING, str(place), str(SLICE), str(LOOK)]
        self.child = subprocess.Popen(words)

    def kill(self) -> None:
        self.child.kill()
        self.child.wait()


@pytest.fixture
def page(tmp_path: Path) -> Iterator[list[Page]]:
    """The page at work, the last of a list; what trains at the end is ended."""
    place = tmp_path / "visitors"
    place.mkdir()
    pages = [Page(place)]
    yield pages
    pages[-1].kill()
    for entry in scheduler.list_entries(place):
        process.kill(entry.folder)


@pytest.mark.parametrize(
    ("visitors", "steps", "kills"), [(3, 600, 0), (3, 600, 6), (5, 2000, 20)], ids=str
)
def test_all_finish_as_in_one_sitting(
    tmp_path: Path, pictures: Path, page: list[Page], visitors: int, steps: int, kills: int
) -> None:
    place, dice = tmp_path / "visitors", random.Random(0)
    config = tiny(f"training.steps={steps}", "training.sample_every=0", "training.save_every=100")
    homes = [runs.Home(place / name, neighbours=place) for name in "abcde"[:visitors]]
    folders = [runs.start(home, str(pictures), config, seed=7) for home in homes]
    end, left, most = time.monotonic() + PATIENCE, kills, 0
    while any(runs.status(folder).alive for folder in folders):
        assert time.monotonic() < end, [runs.status(folder) for folder in folders]
        living = [each for each in folders if process.is_alive(each)]
        most = max(most, len(living))
        if left and living and runs.status(living[0]).state == "running":
            left -= 1
            time.sleep(dice.random() * SLICE)
            if left % 2:
                page[-1].kill()
                page.append(Page(place))
            with suppress(ProcessLookupError):
                process.kill(living[0])
        time.sleep(LOOK)
    assert most == 1 and not left
    list(begin(config, str(pictures), tmp_path / "whole", seed=7))
    for folder in folders:
        assert runs.status(folder).state == "finished"
        assert tensors(folder) == tensors(tmp_path / "whole")
        assert rows(folder) == rows(tmp_path / "whole")
    served = [len(event_lines(folder, "resumed")) for folder in folders]
    print(f"{visitors} visitors, {kills} kills: resumed {served}")
    assert min(served) >= 1
