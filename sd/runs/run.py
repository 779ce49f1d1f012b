"""A run: its folder and its process.

The folder is the truth: `config.ini`, `run.json`, `source.json`, `pictures/`, `events.jsonl`,
`samples/`, `checkpoint-*/`. Training is a child process that outlives the page; it alone writes
them (`recorder`). What is shown is derived from the files and from whether the process lives; the
word "running" is stored nowhere. Here a run is only looked at: `control` does something to it.
"""

from dataclasses import dataclass
from pathlib import Path

from sd.checkpoints.record import TRAINING, list_checkpoints, step_of
from sd.common.disk import read_object
from sd.common.validation import InputError
from sd.runs import process
from sd.runs.journal import ENDS, Outline, outline
from sd.runs.process import PAUSE, PROCESS, STARTING, STOP
from sd.runs.sharing.turn import Turn, read_turn
from sd.training.monitoring import PREPARING

CONFIG, RUN, SOURCE = "config.ini", "run.json", "source.json"
LOG, PICTURES, LATENTS = "train.log", "pictures", "latents"
RECONSTRUCTIONS = "reconstructions.png"  # in LATENTS: pictures, each before what comes back of it
GOING = ".going-"  # begins the name of a folder that is being deleted
ASIDE = "before-"  # with the time: what a run had made when it was begun anew


@dataclass(frozen=True)
class Status:
    """A run as it is now.

    state: waiting (for its turn), starting, running, pausing, paused, stopping, stopped, finished,
    failed or lost. loss and rates are of the newest event; seconds_left is None when nothing is
    being trained. line: why it ended, or what it printed last. machine: what it runs on, in words,
    once it has started. ingested: how far `preparing` is (ingest, first_stage: steps of an
    autoencoder, or encode, all before the first step), and all of it. resumable: whether training
    can go on from here.

    memory_bytes, device_memory_bytes: what its process holds while it trains, of the machine and of
    a GPU; None where that is not known, or nothing is being trained. seconds: that training has
    taken, pauses left out; None where that was not kept.
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
    ingested: tuple[int, int] | None = None
    resumable: bool = False
    memory_bytes: int | None = None
    device_memory_bytes: int | None = None
    preparing: str = ""
    seconds: float | None = None

    @property
    def alive(self) -> bool:
        """Whether its process is there, or will be when its turn comes."""
        return self.state in ("waiting", "starting", "running", "pausing", "paused", "stopping")


def read_source(folder: Path) -> str:
    """Return where a run has its pictures from; "" where that was not kept."""
    try:
        return str(read_object(folder / SOURCE, "data")["data"])
    except InputError:
        return ""


def status(folder: Path) -> Status:
    """Return what a run is doing, from its files and its process."""
    known = outline(folder)
    state, line = _state(folder, known), known.line
    if state == "lost" and not known.count and (printed := log_tail(folder)):
        state, line = "failed", printed  # before it could write an event
    return Status(
        folder.name,
        state,
        known.step,
        known.total,
        known.loss,
        known.pictures_per_second,
        known.seconds_left if state == "running" else None,
        line,
        known.machine,
        known.ingested,
        state in (*ENDS, "lost") and not obstacle(folder),
        known.memory_bytes if state == "running" else None,
        known.device_memory_bytes if state == "running" else None,
        known.last if known.last in PREPARING else "",
        known.seconds,
    )


def _state(folder: Path, known: Outline) -> str:
    if (turn := read_turn(folder)) and (state := _state_in_line(folder, known, turn)):
        return state
    if process.is_alive(folder, STARTING) and not process.is_same(folder, STARTING, PROCESS):
        if process.is_requested(folder, STOP):
            return "stopping"
        return "pausing" if process.is_requested(folder, PAUSE) else "starting"
    if known.last in ENDS:
        return known.last
    if not process.is_alive(folder):
        return "lost"
    if process.is_requested(folder, STOP):
        return "stopping"
    if process.is_requested(folder, PAUSE):
        return "paused" if known.last_pause_event == "paused" else "pausing"
    return "running" if known.started else "starting"


def _state_in_line(folder: Path, known: Outline, turn: Turn) -> str:
    """Return the state of a run with a turn, where that is not what its process does."""
    has_ended = known.last in ENDS and known.time >= turn.begun > 0
    is_stopped = process.is_requested(folder, STOP)
    if may_live(folder) and not has_ended:
        if is_stopped or (turn.held and turn.begun):  # one that is held may train on a lent GPU
            return "stopping" if is_stopped else "pausing"
        return "starting" if known.time < turn.begun else ""
    if is_stopped or (has_ended and known.last != "stopped"):
        return ""
    return "paused" if turn.held else "waiting"


def obstacle(folder: Path) -> str:
    """Return why training cannot go on from a folder, or nothing where it can."""
    if not (folder / RUN).is_file():
        return "holds no run that can go on"
    found, has_pictures = list_checkpoints(folder), (folder / PICTURES).is_dir()
    if found and not any((checkpoint / TRAINING).exists() for checkpoint in found):
        return "it was kept without what resuming needs"
    if found and not has_pictures:
        return (
            "its stored pictures are gone, and read anew they may be others; "
            "python -m sd train --run FOLDER --restart begins it anew from step 0"
        )
    if not has_pictures and not (folder / SOURCE).is_file():
        return "no pictures are there to train on"
    return ""


def saved_step(folder: Path) -> int:
    """Return the step of the newest checkpoint, from which training goes on; 0 without one."""
    return max(map(step_of, list_checkpoints(folder)), default=0)


def log_tail(folder: Path) -> str:
    """Return the last line that a run's process printed, or nothing."""
    try:
        lines = (folder / LOG).read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")


def may_live(folder: Path) -> bool:
    """Tell whether a run's process may be there; its journal is not read for it."""
    return process.is_alive(folder) or process.is_alive(folder, STARTING)
