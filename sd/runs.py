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
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sd.config import Config
from sd.gate import InputError, file_name, text, whole

BUNDLED = Path(__file__).resolve().parent.parent / "checkpoints"
EVENTS, CONFIG, PROCESS, LOG, STOP = (
    "events.jsonl",
    "config.ini",
    "process.json",
    "train.log",
    "stop",
)
STARTING_SECONDS = 10  # how long a run may be without a process before it counts as lost
LONGEST_DATA = 4096  # characters of the path of a picture set
ENDS = ("finished", "stopped", "failed")


@dataclass(frozen=True)
class Status:
    """A run as it is now.

    state: starting, running, stopping, stopped, finished, failed or lost. loss and rates are of
    the newest event; seconds_left is None when nothing is being trained. line: what to tell.
    machine: what it runs on, in words, once it has started.
    """

    name: str
    state: str
    step: int
    total: int
    loss: float | None
    pictures_per_second: float | None
    seconds_left: float | None
    line: str
    machine: str = ""

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
    text("DATA", data, LONGEST_DATA)
    text("device", device, 20)
    folder = new_folder()
    folder.mkdir(parents=True)
    (folder / CONFIG).write_text(config.to_ini(), encoding="utf-8")
    words = [sys.executable, "-m", "sd", "train", "--config", str(folder / CONFIG)]
    words += ["--run", str(folder), "--seed", str(seed), f"--device={device}", "--", data]
    package = str(Path(__file__).resolve().parent.parent)
    path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    with (folder / LOG).open("ab") as log:
        child = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": path},
        )
    record_process(folder, child.pid)
    return folder


def record_process(folder: Path, pid: int) -> None:
    """Note whose process a run is; whoever reads it sees the whole note or none."""
    identity = {"pid": pid, "started": process_identity(pid)}
    temporary = folder / f".{PROCESS}.{os.getpid()}"
    temporary.write_text(json.dumps(identity), encoding="utf-8")
    temporary.replace(folder / PROCESS)


def stop(folder: Path) -> None:
    """Ask a run's process to finish its step, save and leave."""
    if status(folder).alive:
        (folder / STOP).touch()


def process_identity(pid: int) -> str | None:
    """Return what tells a living process from a later one of its number; None if it is dead."""
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
    """Tell whether the process that was noted lives; a folder without a note may be quite new."""
    try:
        process = json.loads((folder / PROCESS).read_text(encoding="utf-8"))
        identity = process_identity(int(process["pid"]))
        return identity is not None and bool(identity == process["started"])
    except FileNotFoundError:
        with suppress(OSError):
            age = time.time() - (folder / CONFIG).stat().st_mtime
            return age < STARTING_SECONDS and not (folder / EVENTS).exists()
        return False
    except (OSError, ValueError, KeyError, TypeError):
        return False


def events(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield a run's events; a last line that is still being written is left for later."""
    try:
        written = (folder / EVENTS).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return
    for line in written.split("\n")[:-1]:
        with suppress(ValueError):
            event = json.loads(line)
            if isinstance(event, dict) and "event" in event:
                yield event


def status(folder: Path) -> Status:
    """Return what a run is doing, from its files and its process."""
    all_events = list(events(folder))
    steps = [event for event in all_events if event["event"] == "step"]
    newest = steps[-1] if steps else {}
    last = all_events[-1] if all_events else {"event": ""}
    begun: dict[str, Any] = next((e for e in all_events if e["event"] == "start"), {})
    total, machine = begun.get("total", 0), begun.get("machine", {}).get("label", "")
    step = max(newest.get("step", 0), last.get("step", 0))
    state = _state(folder, last["event"], bool(steps))
    rate, left = newest.get("pictures_per_second"), None
    if state == "running" and newest.get("step_seconds"):
        left = (total - step) * newest["step_seconds"]
    line = str(last.get("line", ""))
    if state == "lost" and not all_events and (said := log_tail(folder)):
        state, line = "failed", said  # before it could write an event
    return Status(folder.name, state, step, total, newest.get("loss"), rate, left, line, machine)


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
    return _numbered(folder / "samples", "step-*.png")


def _numbered(folder: Path, pattern: str) -> list[tuple[int, Path]]:
    """Return (step, path) of what is called like "step-000000100.png", oldest first."""
    found = [(path.stem.rpartition("-")[2], path) for path in folder.glob(pattern)]
    return sorted((int(digits), path) for digits, path in found if digits.isdecimal())


def list_runs() -> list[Status]:
    """Return your runs, newest first."""
    folders = sorted((path.parent for path in home().glob(f"*/{CONFIG}")), reverse=True)
    return [status(folder) for folder in folders if _is_run(folder)]


def _is_run(folder: Path) -> bool:
    """Tell whether a folder holds a run, under a name by which `find_run` finds it."""
    with suppress(InputError):
        file_name("run", folder.name)
        return (folder / EVENTS).exists() or (folder / LOG).exists()
    return False


def list_models() -> list[ModelEntry]:
    """Return the models that can be sampled: the bundled ones, then yours, newest first."""
    yours = [] if home() == BUNDLED else sorted(home().glob("*/"), reverse=True)
    local = sorted(BUNDLED.glob("*/"), reverse=True)
    entries = []
    for folder in [*local, *yours]:
        found = _numbered(folder, "checkpoint-*")
        if found and (found[-1][1] / "checkpoint.json").is_file():
            bundled = folder.parent == BUNDLED and not (folder / PROCESS).exists()
            entries.append(ModelEntry(folder.name, folder, found[-1][0], bundled))
    return sorted(entries, key=lambda entry: not entry.bundled)
