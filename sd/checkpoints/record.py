"""A checkpoint's folder without its tensors: the names in it, its record and its digests. No torch.

checkpoint.json is the record: step, seed, machine, what training needs beside tensors, and the
SHA-256 of the other files. Checkpoints are in one order everywhere: that of `list_checkpoints`.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from sd.common.disk import digest, numbered
from sd.common.text import brief, printable
from sd.common.validation import InputError, real, shown, text, whole
from sd.config.sections import MOST_STEPS
from sd.networks.conditioning_metadata import CONDITIONING

Result = TypeVar("Result")

WEIGHTS, CONFIG, ABOUT, CARD = "model.safetensors", "config.ini", "checkpoint.json", "README.md"
TRAINING = "training.safetensors"
FIRST_STAGE = "first_stage.safetensors"  # of a model that samples latents
OPTIONAL = {TRAINING, CONDITIONING, FIRST_STAGE, ABOUT}  # among the digests
LICENSE, RAIL_M = "license", "creativeml-openrail-m"  # of Stable Diffusion, in hubs' words
RAIL_M_NAME = "CreativeML Open RAIL-M"
STATE = "state"  # what checkpoint.json holds for training alone; the card is silent about it
FORMAT, OLDEST_FORMAT = 2, 1  # since 2 there may be a first stage
DIGITS = 16  # of the SHA-256 of a model's weights: enough to tell it from another
CALLED = re.compile(r"(.+)@([0-9a-f]{16})")  # MODEL@DIGEST
LARGEST_TEXT = 1_000_000  # bytes of the readable files
MACHINE_WORDS = {"device", "matmul", "label", "torch", "python"}  # what a machine's record says
LARGEST_COUNT = 2**53
LONGEST_WORD, MOST_THREADS = 200, 4096
MOST_SECONDS, LARGEST_LOSS = 1e9, 1e300  # of a run; the sum of a row's losses


def list_checkpoints(run: Path) -> list[Path]:
    """Return the checkpoints of a run's folder, oldest first."""
    return [path for _, path in numbered(run, "checkpoint-*")]


def step_of(checkpoint: Path) -> int:
    """Return the step in the name of a checkpoint."""
    return int(checkpoint.name.rpartition("-")[2])


def newest_checkpoint(path: Path) -> Path:
    """Return `path` if it is a checkpoint, else the newest of the run folder that it is."""
    if (path / ABOUT).is_file() or (path / WEIGHTS).is_file():
        return path
    found = list_checkpoints(path)
    if not found:
        label = checkpoint_label(path)
        raise InputError(f"{label}: no checkpoint there; give a checkpoint or run folder")
    return found[-1]


def read_newest(run: Path, read: Callable[[Path], Result]) -> tuple[Result | None, list[str]]:
    """Return what `read` makes of the newest checkpoint that it accepts, or None.

    Also why it refused the newer ones, each with an `InputError`.
    """
    faults: list[str] = []
    for path in reversed(list_checkpoints(run)):
        try:
            return read(path), faults
        except InputError as error:
            faults.append(str(error))
    return None, faults


def read_about(folder: Path) -> dict[str, Any]:
    """Return a checkpoint's checkpoint.json, checked for form and format."""
    path, label = member(folder, ABOUT), f"{checkpoint_label(folder)}/{ABOUT}"
    if path.stat().st_size > LARGEST_TEXT:
        raise InputError(f"{label}: more than {LARGEST_TEXT:,} bytes")
    try:
        about: Any = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        raise InputError(f"{label}: not readable as JSON") from None
    digests = about.get("sha256") if isinstance(about, dict) else None
    if not isinstance(digests, dict) or set(digests) - OPTIONAL != {WEIGHTS, CONFIG}:
        raise InputError(f"{label}: no record of a checkpoint")
    if digests.get(ABOUT, record_digest(about)) != record_digest(about):
        raise InputError(f"{label}: damaged, its SHA-256 is not the recorded one")
    for name in ("step", "seed", "pictures"):
        if name in about:
            whole(f"{label}: {name}", about[name], 0, LARGEST_COUNT)
    if about.get("format") not in range(OLDEST_FORMAT, FORMAT + 1):
        formats = f"{OLDEST_FORMAT} to {FORMAT} are read"
        raise InputError(f"{label}: format {shown(about.get('format'))}; {formats}")
    return dict(about)


def check_record(about: Mapping[str, Any], resumable: bool = True) -> int:
    """Return the step of a checkpoint.json; `resumable`: one from which training can go on.

    Raises `InputError` for what does not mean what it must, whoever vouched for its bytes.
    """
    step = whole("step", about.get("step"), 0, MOST_STEPS)
    if not resumable:
        return step
    machine, state = about.get("machine"), about.get(STATE)
    if not isinstance(machine, Mapping) or not isinstance(state, Mapping):
        raise InputError(f"{ABOUT}: tells no machine and state, which resuming needs")
    for name in MACHINE_WORDS & machine.keys():
        text(f"machine.{name}", machine[name], LONGEST_WORD)
    if "threads" in machine:
        whole("machine.threads", machine["threads"], 1, MOST_THREADS)
    whole("state.step", state.get("step"), step, step)
    for name in ("updates", "skipped"):
        whole(f"state.{name}", state.get(name), 0, step)
    whole("state.parts", state.get("parts", 1), 1, MOST_STEPS)
    real("state.seconds", state.get("seconds", 0.0), 0, MOST_SECONDS)
    row = state.get("row", {})
    if not isinstance(row, Mapping):
        raise InputError(f"state.row = {shown(row)}: must be an object")
    whole("state.row.count", row.get("count", 0), 0, step)
    real("state.row.loss", row.get("loss", 0.0), 0, LARGEST_LOSS)
    return step


def check_digests(folder: Path, about: Mapping[str, Any], names: Iterable[str]) -> None:
    """Raise `InputError` for the first file that is missing or not what was written."""
    for name in names:
        if digest(member(folder, name)) != about["sha256"][name]:
            raise InputError(
                f"{checkpoint_label(folder)}/{name}: damaged, its SHA-256 is not the recorded one"
            )


def record_digest(record: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a checkpoint.json but for its own list of digests."""
    hashed = {name: value for name, value in record.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(hashed, sort_keys=True).encode()).hexdigest()


def weights_digest(digests: Mapping[str, str]) -> str:
    """Return 16 digits that tell a model's weights from others, by its record's digests."""
    if FIRST_STAGE not in digests:
        return str(digests[WEIGHTS])[:DIGITS]
    both = f"{digests[WEIGHTS]} {digests[FIRST_STAGE]}"  # decoded otherwise, it is another picture
    return hashlib.sha256(both.encode()).hexdigest()[:DIGITS]


def name_of(called: str) -> str:
    """Return the name of a model that is called by it, or by MODEL@DIGEST."""
    match = CALLED.fullmatch(called)
    return match[1] if match else called


def checkpoint_label(path: Path) -> str:
    """Return how messages call a file or folder: its own name, printable and not too long."""
    return brief(printable(path.name)) or "."


def member(folder: Path, name: str) -> Path:
    """Return the path of a checkpoint's file; raise `InputError` if it is missing."""
    path = folder / name
    if not path.is_file():
        raise InputError(f"{checkpoint_label(folder)}: has no file {name}")
    return path
