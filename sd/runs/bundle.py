"""A run in one file: a zip to take away and to open again, here or elsewhere.

It holds the settings, the journal, the samples and the newest whole checkpoint; to go on with
training also its training state and the pictures as ingested. Nothing of the machine travels: no
process, no log, no path.
"""

import hashlib
import json
import re
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from sd import runs
from sd.checkpoints.record import (
    ABOUT,
    CARD,
    FIRST_STAGE,
    TRAINING,
    WEIGHTS,
    check_digests,
    read_about,
    read_newest,
    step_of,
)
from sd.common.disk import read_object, temporary_path
from sd.common.text import brief, printable
from sd.common.validation import InputError, shown
from sd.config import Config
from sd.config.sections import AUTOENCODERS, STORED
from sd.data.ingest import open_images
from sd.networks.conditioning_metadata import CONDITIONING
from sd.runs.event_schema import check_event, check_place
from sd.runs.journal import ENDS, EVENTS, Event, events, up_to
from sd.runs.sample_grid import open_sample_grid
from sd.runs.unbundle import INDEX, MOST_EVENTS, PIXELS, SAMPLE, clean_note

PATH = re.compile(r"(?<![\w.:/])/(?:[^\s'\"/]+/)+")  # of a folder, with its last "/"
NO_PATHS = ("training.dataset_path=None", "training.save_path=None")


def pack(folder: Path, target: Path, resumable: bool = True) -> Path:
    """Write the run in `folder` as the zip `target`, whole or not at all; return it.

    `resumable`: with what going on with training needs, if the run has it. Raises `InputError` for
    a run without a whole checkpoint, `OSError` if it cannot be written. The run may be going on.
    """
    temporary = temporary_path(target)
    for last in (False, False, True):
        try:
            with zipfile.ZipFile(temporary, "w") as packed:
                for name, content in _members(folder, resumable):
                    _add_member(packed, name, content)
            temporary.replace(target)
            return target
        except FileNotFoundError:  # the run let go of this checkpoint meanwhile: take the next
            if last or not temporary.parent.is_dir():
                raise
        finally:
            temporary.unlink(missing_ok=True)
    return target


def _members(folder: Path, resumable: bool) -> Iterator[tuple[str, Path | str]]:
    """Yield the name of each member with its file, or its text where that must change."""
    checkpoint, config = _newest_whole(folder), Config.read(folder / runs.CONFIG)
    if config.conditioning.encoder:
        raise InputError(
            f"conditioning.encoder = {shown(config.conditioning.encoder)}: a model that needs a "
            "pretrained encoder is not taken away; copy its folder"
        )
    if config.training.lora_rank:
        raise InputError(
            "training.lora_rank: a LoRA is not taken away as a bundle, which its model would have "
            "to be in; write it with export"
        )
    yield runs.CONFIG, _at_no_place(config).to_ini()
    travels = resumable and (folder / INDEX).is_file()
    pictures = len(open_images(folder / runs.PICTURES).pixels) if travels else 0
    journal = _end_at(step_of(checkpoint), events(folder))
    written = map(_without_paths, _check_events(journal, config.diffusion.timesteps, pictures))
    yield EVENTS, "".join(json.dumps(event) + "\n" for event in written)
    with suppress(InputError):  # damaged, it stays here
        yield runs.RUN, clean_note(read_object(folder / runs.RUN))
    for path in sorted((folder / "samples").glob("*.png")):
        if SAMPLE.fullmatch(f"samples/{path.name}"):
            with suppress(InputError):  # one that is damaged or of another size stays here
                open_sample_grid(path, config)
                yield f"samples/{path.name}", path
    for name, content in checkpoint_members(checkpoint, resumable):
        yield f"{checkpoint.name}/{name}", content
    for name in (PIXELS, INDEX) if travels else ():
        yield name, folder / name


def _at_no_place(config: Config) -> Config:
    """Return settings without paths; an autoencoder from elsewhere is the one that lies there."""
    named = config.first_stage.autoencoder
    stored = [] if named in (None, *AUTOENCODERS) else [f"first_stage.autoencoder={STORED}"]
    return config.with_settings([*NO_PATHS, *stored])


def _end_at(step: int, journal: Sequence[Event]) -> Sequence[Event]:
    """Return the journal of a run of which no checkpoint beyond `step` travels along.

    Where it goes on, or was lost, or ended at another checkpoint, it ends here as one stopped at
    `step`, for that is what is opened elsewhere. A failure stays as it was.
    """
    last: Event = journal[-1] if journal else {"event": "", "time": 0}
    if last["event"] == "failed" or (last["event"] in ENDS and last.get("step", 0) <= step):
        return journal
    line = f"packed at its checkpoint of step {step}"
    end = {"event": "stopped", "time": last.get("time", 0), "step": step, "line": line}
    return [*up_to(step, journal), end]


def _check_events(
    journal: Sequence[Event], timesteps: int, pictures: int
) -> Iterator[dict[str, Any]]:
    """Yield the events that a bundle may hold, without those that are too old or damaged."""
    step = 0
    for event in journal[-MOST_EVENTS:]:
        with suppress(InputError):
            checked = check_event(event)
            check_place(checked, timesteps, pictures)
            if checked["event"] == "step":
                if checked["step"] <= step:
                    continue
                step = checked["step"]
            yield checked


def _newest_whole(folder: Path) -> Path:
    """Return the newest checkpoint whose digests hold; raise `InputError` if there is none."""
    found, faults = read_newest(folder, _prove)
    if found is None:
        fault = faults[-1] if faults else "has no checkpoint yet: save one first"
        raise InputError(f"{brief(printable(folder.name))}: {fault}")
    return found


def _prove(checkpoint: Path) -> Path:
    about = read_about(checkpoint)
    check_digests(checkpoint, about, set(about["sha256"]) - {ABOUT})
    return checkpoint


def checkpoint_members(checkpoint: Path, resumable: bool) -> Iterator[tuple[str, Path | str]]:
    """Yield a checkpoint's files; its record says what is left out or changed."""
    record = json.loads((checkpoint / ABOUT).read_text(encoding="utf-8"))
    config = Config.read(checkpoint / runs.CONFIG)
    if config != _at_no_place(config):
        ini = _at_no_place(config).to_ini()
        record["sha256"][runs.CONFIG] = hashlib.sha256(ini.encode()).hexdigest()
        yield runs.CONFIG, ini
    else:
        yield runs.CONFIG, checkpoint / runs.CONFIG
    if not resumable:
        record["sha256"].pop(TRAINING, None)
    for name in (WEIGHTS, TRAINING, CONDITIONING, FIRST_STAGE):
        if name in record["sha256"]:
            yield name, checkpoint / name
    if (checkpoint / CARD).is_file():
        yield CARD, checkpoint / CARD
    yield ABOUT, json.dumps(record, indent=1)


def _add_member(packed: zipfile.ZipFile, name: str, content: Path | str) -> None:
    """Add a member, stored, with no time of its own: equal runs give equal zips."""
    info = zipfile.ZipInfo(name)
    if isinstance(content, str):
        packed.writestr(info, content.encode())
        return
    with content.open("rb") as source:
        info.file_size = content.stat().st_size  # by it zipfile chooses the 64-bit form
        with packed.open(info, "w") as entry:
            shutil.copyfileobj(source, entry, 2**20)


def _without_paths(value: Any) -> Any:
    """Return an event's value without the folders of this machine."""
    if isinstance(value, str):
        return PATH.sub("", value)
    if isinstance(value, list):
        return [_without_paths(each) for each in value]
    if isinstance(value, dict):
        return {key: _without_paths(each) for key, each in value.items()}
    return value
