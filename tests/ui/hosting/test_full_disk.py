"""A visitor who fills the disk of a shared page: told in one line, and the others go on.

The disk is a small one in memory, and what a page leaves free is as small.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.benchmarks.visits import make_set
from tests.helpers.serving import ROOT, START_SECONDS, answers
from tests.helpers.visiting import Refused, Visitor

pytestmark = pytest.mark.slow
MIB = 2**20
SIZE, UPLOADS, BUNDLES = 320 * MIB, 12, 24
MOUNTED = 'mount -t tmpfs -o size="$1" tmpfs "$2" && shift 2 && exec "$@"'
PAGE = f"""
import sys
import app
from sd.ui import uploads
from sd.ui.adapter import requests
from sd.ui.hosting import modes, visitors
requests.SPARE_DISK = uploads.SPARE_DISK = {16 * MIB}
visitors.SPARE = {128 * MIB}  # trainings leave 64 MiB of it
modes.MODES["public"] = modes.Mode("public", minutes=10, runs=3, disk={40 * MIB})
sys.exit(app.main(["--mode", "public", "--port", sys.argv[1]]))
"""


class SmallDisk:
    """A page whose home and scratch lie on a small disk of their own."""

    def __init__(self, place: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.place, self.log = place / "disk", place / "log"
        self.place.mkdir()
        names = ("SD_HOME", "TMPDIR", "GRADIO_TEMP_DIR")
        places = {name: str(self.place) for name in names} | {"SD_HOME": f"{self.place}/home"}
        words = ["unshare", "-m", "sh", "-c", MOUNTED, "sh", f"{SIZE}", str(self.place)]
        words += [sys.executable, "-c", PAGE, str(self.port)]
        with self.log.open("wb") as file:
            self.child = subprocess.Popen(
                words, cwd=ROOT, env={**os.environ, **places}, stdout=file, stderr=file
            )
        end = time.monotonic() + 10 * START_SECONDS
        while not answers(f"http://127.0.0.1:{self.port}/"):
            assert self.child.poll() is None and time.monotonic() < end, self.log.read_text()
            time.sleep(0.1)

    def free(self) -> int:
        """Return the bytes that are free there."""
        told = os.statvfs(f"/proc/{self.child.pid}/root{self.place}")
        return told.f_bavail * told.f_frsize


def can_mount() -> bool:
    """Tell whether a disk of one's own can be had here."""
    if not shutil.which("unshare"):
        return False
    words = ["unshare", "-m", "sh", "-c", MOUNTED, "sh", "1m", "/mnt", "true"]
    return subprocess.run(words, check=False, capture_output=True).returncode == 0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """The page, whose log must tell of no fault at the end."""
    made = SmallDisk(tmp_path)
    try:
        yield made
        assert made.child.poll() is None and "Traceback" not in made.log.read_text()
    finally:
        made.child.terminate()
        made.child.wait(60)


@pytest.mark.skipif(not can_mount(), reason="needs a disk of its own")
def test_a_disk_is_never_full_and_another_still_trains(disk: SmallDisk) -> None:
    refused: list[str] = []
    least, greedy = disk.free(), Visitor(disk.port)
    for number in range(UPLOADS):
        try:
            file = greedy.upload(f"{number}.zip", make_set(f"{number}", 4000))  # 7 MB
            greedy.ask("inspect_data", [file])
        except Refused as line:
            refused.append(line.line)
        least = min(least, disk.free())
    assert refused and all("this page keeps 40 MiB for each" in each for each in refused), refused
    uploads = len(refused)
    for _ in range(BUNDLES):
        try:
            greedy.ask("take_away", run="emoji32", form="zip", whole=True)
        except Refused as line:
            refused.append(line.line)
        least = min(least, disk.free())
    assert all("this page is full" in each for each in refused[uploads:]) and refused[uploads:]
    other = Visitor(disk.port)
    (begun,) = other.ask("start_training", "starter", "tiny", 8, 20, 4, 0.001, 7, "cpu", 0.1)
    end = time.monotonic() + 60 * START_SECONDS
    while (now := other.ask("training_status", begun["run"])[0])["state"] != "finished":
        assert now["state"] in ("waiting", "starting", "running") and time.monotonic() < end, now
        least = min(least, disk.free())
        time.sleep(0.5)
    print(f"{uploads} uploads and {len(refused) - uploads} bundles refused; ", end="")
    print(f"of {SIZE // MIB} MiB at least {least // MIB} were free")
    assert least > 0
