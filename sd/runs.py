"""A run: its folder and its process.

The folder is the truth: `config.ini`, `events.jsonl`, `samples/`, `checkpoint-*/`, `process.json`
(pid and start time) and `train.log`. Training is a child process that outlives the page; it alone
writes events and checkpoints. What is shown is derived from the files and from whether the process
lives; the word "running" is stored nowhere.
"""

import json
import os
import secrets
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sd.config import Config
from sd.gate import InputError, file_name, whole

BUNDLED = Path(__file__).resolve().parent.parent / "checkpoints"
EVENTS, CONFIG, PROCESS, LOG, STOP = (
    "events.jsonl",
    "config.ini",
    "process.json",
    "train.log",
    "stop",
)
STARTING_SECONDS = 60  # how long a run may be without a process before it counts as lost
ENDS = ("finished", "stopped", "failed")


@dataclass(frozen=True)
class Status:
    """A run as it is now.

    state: starting, running, stopping, stopped, finished, failed or lost. loss and rates are of
    the newest event; seconds_left is None when nothing is being trained. line: what to tell.
    """

    name: str
    state: str
    step: int
    total: int
    loss: float | None
    pictures_per_second: float | None
    seconds_left: float | None
    line: str

    @property
    def alive(self) -> bool:
        """Whether its process is at work."""
        return self.state in ("starting", "running", "stopping")


@dataclass(frozen=True)
class History:
    """The figures of a run's logged steps, columns of equal length."""

    steps: list[int]
    loss: list[float]
    lr: list[float]
    grad_norm: list[float]


@dataclass(frozen=True)
class ModelEntry:
    """A model that can be sampled: the newest checkpoint of a run."""

    name: str
    folder: Path
    step: int
    bundled: bool


def home() -> Path:
    """Return the folder of runs: SD_HOME, or `checkpoints/` beside the package."""
    return Path(os.environ.get("SD_HOME") or BUNDLED).expanduser().resolve()


def new_folder() -> Path:
    """Return the path of a new run: the time, and letters that nobody guesses."""
    return home() / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(4)}"


def find_run(name: str) -> Path:
    """Return the folder of the run called `name`, yours or bundled; raise `InputError` if none."""
    for place in (home(), BUNDLED):
        folder = place / file_name("run", name)
        if (folder / CONFIG).is_file():
            return folder
    raise InputError(f"run = {name!r}: there is no run of that name")


def command(
    data: str, preset: str, settings: Sequence[str] = (), seed: int = 0, device: str = "auto"
) -> str:
    """Return the command line that trains as these arguments say, for people to copy."""
    words = ["python", "-m", "sd", "train", data, "--preset", preset]
    for setting in settings:
        words += ["--set", setting]
    return shlex.join([*words, "--seed", str(seed), "--device", device])


def start(
    data: str, preset: str, settings: Sequence[str] = (), seed: int = 0, device: str = "auto"
) -> Path:
    """Start a training process on `data` and return its run folder.

    The process is a child in a session of its own: it goes on when the page or the server ends.
    Raises `InputError` for settings that cannot be.
    """
    config = Config.preset(preset).with_settings(settings)
    whole("seed", seed, 0, 2**53)
    folder = new_folder()
    folder.mkdir(parents=True)
    (folder / CONFIG).write_text(config.to_ini(), encoding="utf-8")
    words = [sys.executable, "-m", "sd", "train", data, "--config", str(folder / CONFIG)]
    words += ["--run", str(folder), "--seed", str(seed), "--device", device]
    package = str(Path(__file__).resolve().parent.parent)
    path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    with (folder / LOG).open("ab") as log:
        subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": path},
        )
    return folder


def stop(folder: Path) -> None:
    """Ask a run's process to finish its step, save and leave."""
    if status(folder).alive:
        (folder / STOP).touch()


def process_identity(pid: int) -> str | None:
    """Return what tells a living process from a later one of the same number; None if it is dead."""
    stat = Path(f"/proc/{pid}/stat")
    if stat.parent.parent.joinpath("self").exists():
        try:
            words = stat.read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if words[0] in "ZX" else words[19]  # field 22 of proc(5): the start time
    listed = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.split()
    return None if not listed or listed[0].startswith("Z") else " ".join(listed[1:])


def _is_alive(folder: Path) -> bool:
    try:
        process = json.loads((folder / PROCESS).read_text(encoding="utf-8"))
        return process_identity(int(process["pid"])) == process["started"]
    except OSError:
        age = time.time() - (folder / CONFIG).stat().st_mtime
        return age < STARTING_SECONDS and not (folder / EVENTS).exists() and (folder / LOG).exists()
    except (ValueError, KeyError, TypeError):
        return False


def events(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield a run's events; a last line that is still being written is left for later."""
    try:
        lines = (folder / EVENTS).read_text(encoding="utf-8").splitlines(keepends=True)
    except FileNotFoundError:
        return
    for line in lines:
        if line.endswith("\n"):
            try:
                yield json.loads(line)
            except ValueError:
                continue


def status(folder: Path) -> Status:
    """Return what a run is doing, from its files and its process."""
    all_events = list(events(folder))
    steps = [event for event in all_events if event["event"] == "step"]
    newest = steps[-1] if steps else {}
    last = all_events[-1] if all_events else {"event": ""}
    total = next((event["total"] for event in all_events if event["event"] == "start"), 0)
    step = max(newest.get("step", 0), last.get("step", 0))
    state = _state(folder, last["event"], bool(steps))
    rate, left = newest.get("pictures_per_second"), None
    if state == "running" and newest.get("step_seconds"):
        left = (total - step) * newest["step_seconds"]
    line = str(last.get("line", ""))
    if state == "lost" and not all_events:
        line = log_tail(folder)
    return Status(folder.name, state, step, total, newest.get("loss"), rate, left, line)


def _state(folder: Path, last: str, has_steps: bool) -> str:
    if last in ENDS:
        return last
    if not _is_alive(folder):
        return "lost"
    if (folder / STOP).exists():
        return "stopping"
    return "running" if has_steps else "starting"


def log_tail(folder: Path) -> str:
    """Return the last line that a run's process printed, or nothing."""
    try:
        lines = (folder / LOG).read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")


def history(folder: Path) -> History:
    """Return the figures of a run's logged steps."""
    steps = [event for event in events(folder) if event["event"] == "step"]
    columns = {key: [event[key] for event in steps] for key in ("step", "loss", "lr", "grad_norm")}
    return History(columns["step"], columns["loss"], columns["lr"], columns["grad_norm"])


def samples(folder: Path) -> list[tuple[int, Path]]:
    """Return (step, picture) of a run's samples, oldest first."""
    found = sorted((folder / "samples").glob("step-*.png"))
    return [(int(path.stem.removeprefix("step-")), path) for path in found]


def list_runs() -> list[Status]:
    """Return your runs, newest first."""
    folders = sorted((path.parent for path in home().glob(f"*/{EVENTS}")), reverse=True)
    return [status(folder) for folder in folders]


def list_models() -> list[ModelEntry]:
    """Return the models that can be sampled: the bundled ones, then yours, newest first."""
    yours = [] if home() == BUNDLED else sorted(home().glob("*/"), reverse=True)
    local = sorted(BUNDLED.glob("*/"), reverse=True)
    entries = []
    for folder in [*local, *yours]:
        found = sorted(folder.glob("checkpoint-*/checkpoint.json"))
        if found:
            step = int(found[-1].parent.name.removeprefix("checkpoint-"))
            bundled = folder.parent == BUNDLED and not (folder / PROCESS).exists()
            entries.append(ModelEntry(folder.name, folder, step, bundled))
    return sorted(entries, key=lambda entry: not entry.bundled)
