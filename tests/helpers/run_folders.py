"""Runs as folders: made of files alone, and waited for."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sd import runs
from sd.config import Config
from sd.runs import process
from tests.conftest import TINY


def tiny(*settings: str) -> Config:
    """Return the settings of a very small network."""
    return Config.preset("tiny").with_settings([*TINY, *settings])


def list_runs(home: runs.Home) -> list[runs.Status]:
    """Return the own runs of a home, newest first."""
    return [runs.status(folder) for folder in home.run_folders()]


def wait(folder: Path, until: Callable[[runs.Status], bool], seconds: float = 90) -> runs.Status:
    """Return the first status of a run that `until` accepts."""
    limit = time.monotonic() + seconds
    while not until(now := runs.status(folder)):
        assert time.monotonic() < limit, now
        time.sleep(0.02)
    return now


def is_over(status: runs.Status) -> bool:
    return not status.alive


def is_running(status: runs.Status) -> bool:
    assert status.alive, status
    return status.state == "running"


def event_lines(folder: Path, kind: str) -> list[dict[str, Any]]:
    return [event for event in runs.events(folder) if event["event"] == kind]


def names(folder: Path, pattern: str) -> list[str]:
    return sorted(path.name for path in folder.glob(pattern))


def pid_of(folder: Path) -> int:
    return int(json.loads((folder / "process.json").read_text())["pid"])


def make_run(
    home: Path, name: str, *, events: str = "", log: str | None = None, noted: Any = None
) -> Path:
    """Write the files of a run by hand."""
    folder = home / name
    folder.mkdir(parents=True)
    (folder / "config.ini").write_text(Config().to_ini(), encoding="utf-8")
    if events:
        (folder / "events.jsonl").write_text(events)
    if log is not None:
        (folder / "train.log").write_text(log)
    if noted is not None:
        (folder / "process.json").write_text(json.dumps(noted))
    return folder


DEAD = {"pid": 2**22 + 1, "started": "1"}


START = '{"event": "start", "time": 1, "total": 10}\n'


INGEST = '{"event": "ingest", "time": 1, "done": 3, "total": 9}\n'


STEP = '{"event": "step", "time": 2, "step": 4, "loss": 0.5, "lr": 0.1, "grad_norm": 1.0}\n'


def alive() -> dict[str, Any]:
    return {"pid": os.getpid(), "started": process.identity(os.getpid())}
