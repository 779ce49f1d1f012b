"""The one writer of a run: its settings, notes, pictures, journal, samples and checkpoints.

A `Recorder` holds the folder's lock, and all that makes a run is written through it:

- `begin` writes config.ini as it was asked for, source.json (where its pictures come from),
  run.json (seed, device, the data's name) and an empty events.jsonl;
- `ingest` writes pictures/, `train_first_stage` and who encodes latents/, each once;
- `decide` writes config.ini anew, with what the pictures decided or with more steps;
- `log_event`, `log_step`, `save_grid` and `save` add to events.jsonl, samples/ and checkpoint-*/;
- `rewind` takes these back to the step of a checkpoint, and `set_aside` makes room to begin anew.

What tells of the process rather than of the run lies beside it: process.json, starting.json, lock
and requests (`sd.runs.process`), and train.log, which is the process's own output. A run that was
recorded elsewhere comes whole, as a bundle (`sd.runs.unbundle`).
"""

import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from sd import runs
from sd.checkpoints.checkpoint import save_checkpoint
from sd.checkpoints.first_stage import open_autoencoder, read_autoencoder, stored_weights
from sd.checkpoints.record import list_checkpoints, step_of
from sd.checkpoints.weights import read_tensors, write_proved
from sd.common.device import Machine, device_memory
from sd.common.disk import flush, numbered, remove, sweep, temporary_path, write_file, write_text
from sd.common.marks import save_png
from sd.common.text import format_bytes, printable, system_reason
from sd.common.validation import InputError
from sd.config import Config
from sd.data.image_set import ImageSet
from sd.data.images import make_grid
from sd.data.ingest import ingest_images
from sd.networks.first_stage import Autoencoder
from sd.runs import journal, process
from sd.runs.preparing.start import START
from sd.runs.sample_grid import COLUMNS
from sd.runs.sharing.turn import read_turn
from sd.training.first_stage import FirstStageStep, FirstStageTraining, prepare_first_stage
from sd.training.loop import Training, TrainStep
from sd.training.monitoring import PREPARING, SAMPLE_COUNT
from sd.training.planning import memory

MOST_LOGGED = 1000  # rows of steps in a journal
Listener = Callable[[str, Mapping[str, Any]], None]
TRAINED, UNFINISHED = "trained.safetensors", "unfinished.safetensors"  # autoencoders of a run
LOSSES = "losses"  # in the latter, of the row of the journal that was begun
FIRST_STAGE_SECONDS = 20.0  # between two saves of one in training
FIRST_STAGE_ROWS, FIRST_STAGE_MEASURED = 100, 10  # of the journal; every tenth with its PSNR
FIRST_SHEETS = (1, 2, 4)  # rows with reconstructions, beside those with a PSNR
INGEST_EVENT_SECONDS = 1.0  # between two events about the pictures that are read
NOTE_SECONDS = 5.0  # until a process that was given a turn is noted as the one that has it
SPARE_BYTES = 16 * 2**20  # left on the disk, so that the journal can always tell why a run ended


class FirstStageRows:
    """What the journal tells of an autoencoder in training: its loss, and now and then its PSNR."""

    def __init__(self, recorder: "Recorder", training: FirstStageTraining) -> None:
        """Space them for as many steps as `training` takes."""
        self._recorder, self._training = recorder, training
        self._every = max(1, training.total // FIRST_STAGE_ROWS)
        self._losses: list[float] = []
        self._rows = 0  # since training began or went on

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on with the row that was begun at the training's step; what came later is dropped."""
        self._losses = tensors[LOSSES].tolist() if LOSSES in tensors else []
        journal.cut_first_stage(self._recorder.folder, self._training.step)

    def state(self) -> dict[str, Tensor]:
        """Return the row that was begun."""
        return {LOSSES: torch.tensor(self._losses)}

    def add(self, step: FirstStageStep) -> None:
        """Take a step, and log a row if one is due."""
        self._losses.append(step.reconstruction)
        last = step.step == step.total
        if not last and step.step % self._every:
            return
        row: dict[str, Any] = {"done": step.step, "total": step.total, "lr": step.lr}
        row["loss"] = round(sum(self._losses) / len(self._losses), 6)
        if last or step.step % (FIRST_STAGE_MEASURED * self._every) == 0:
            row["psnr"] = round(max(0.0, self._training.measure()), 2)
        self._losses.clear()
        self._rows += 1
        if "psnr" in row or self._rows in FIRST_SHEETS:
            self._recorder.save_reconstructions(self._training.reconstruct(SAMPLE_COUNT // 2))
        self._recorder.log_event("first_stage", **row)


def has_begun(folder: Path) -> bool:
    """Tell whether a folder holds a run; one killed before its notes were written is none yet.

    Nor is one that was refused before it began, as where DATA was misspelt.
    """
    events = folder / journal.EVENTS
    if not events.exists() or was_refused(folder):
        return False
    return events.stat().st_size > 0 or (folder / runs.RUN).exists()


def was_refused(folder: Path) -> bool:
    """Tell whether all that a folder holds is the reason why a run did not begin."""
    kinds = [each["event"] for each in journal.events(folder)]
    made = [*folder.glob("checkpoint-*"), *folder.glob("damaged-*"), *folder.glob("samples/*")]
    return kinds[-1:] == ["failed"] and not made and {*kinds} <= {*PREPARING, "failed"}


def check_turn(folder: Path) -> None:
    """Raise `InputError` where a run waits for its turn and this process was not given it.

    So one whose page was killed before it could note whom it began never trains beside another.
    """
    until = time.monotonic() + NOTE_SECONDS
    while read_turn(folder) is not None and not process.is_own(folder, process.STARTING):
        if time.monotonic() >= until:
            raise InputError(f"{folder.absolute().name}: waits for its turn")
        time.sleep(process.POLL_SECONDS / 10)


class Recorder:
    """Holds a run's folder for this process and writes the run in it."""

    def __init__(self, folder: Path, new: bool, listener: Listener | None = None) -> None:
        """Claim a `new` run's folder, or that of an old one; sweep what was left half written.

        `listener` is called with each event (its kind, its values) once that is written, and with
        the pace at every step that has no row. Raises `InputError` if another process writes
        there, if the run waits for its turn, or if there is a run and should be none, or none where
        one is to go on.
        """
        if not new and not (folder / runs.RUN).is_file():
            raise InputError(f"{folder.absolute().name}: holds no run that can go on")
        folder.mkdir(parents=True, exist_ok=True)
        check_turn(folder)
        self.folder, self._lock, self._listener = folder, process.claim(folder), listener
        if new and has_begun(folder):
            self.close()
            name = folder.absolute().name
            raise InputError(
                f"{name}: holds a run already; --resume it, or give --run a new folder"
            )
        if new and was_refused(folder):  # begun anew, of other settings and pictures
            (folder / journal.EVENTS).unlink()
            for name in (runs.PICTURES, runs.LATENTS, START):
                if (folder / name).is_dir():
                    remove(folder / name)
        # What was asked while this process was starting holds; of one before it, it is forgotten,
        # and that before anybody can ask this one.
        if not process.is_own(folder, process.STARTING):
            process.drop_requests(folder)
        process.record(folder, os.getpid())
        (folder / process.STARTING).unlink(missing_ok=True)
        sweep(folder)
        self._every, self._pictures, self._device = 1, 1, "cpu"
        self._count, self._loss, self._norm = 0, 0.0, 0.0  # of the next row
        self.reset_clock()

    def close(self) -> None:
        """Let go of the folder."""
        self._lock.release()

    def begin(self, config: Config, note: Mapping[str, Any], source: str) -> None:
        """Write what a new run starts from, so that it can go on from here whenever it ends."""
        (self.folder / journal.EVENTS).touch()
        write_text(self.folder / runs.CONFIG, config.to_ini())
        write_text(self.folder / runs.SOURCE, json.dumps({"data": source}))
        write_text(self.folder / runs.RUN, json.dumps(note))

    def decide(self, config: Config, note: Mapping[str, Any] | None = None) -> None:
        """Write the settings with which training begins or goes on, and a changed `note`."""
        write_text(self.folder / runs.CONFIG, config.to_ini())
        if note is not None:
            write_text(self.folder / runs.RUN, json.dumps(note))

    def ingest(self, source: str, config: Config, is_stopping: Callable[[], bool]) -> bool:
        """Write the run's own picture set from its source; False, and nothing, if stopped."""
        training = config.training
        own = [self.folder, *([Path(training.save_path)] if training.save_path else [])]
        reading = ingest_images(
            source,
            self.folder / runs.PICTURES,
            height=training.input_height,
            width=training.input_width,
            channels=config.picture_shape[0],
            fit=training.fit,
            classes=training.classes,
            leave_out=own,
        )
        return self.follow(reading, "ingest", "the pictures were read", is_stopping)

    def follow(
        self,
        work: Generator[tuple[int, int], None, None],
        event: str,
        what: str,
        is_stopping: Callable[[], bool],
    ) -> bool:
        """Log how far `work` is, now and then; False if it was stopped, which ends it."""
        last_event = time.monotonic()
        for done, total in work:
            if is_stopping():
                work.close()
                self.log_event("stopped", step=0, line=f"stopped while {what}")
                return False
            if time.monotonic() - last_event > INGEST_EVENT_SECONDS:
                self.log_event(event, done=done, total=total)
                last_event = time.monotonic()
        return True

    def train_first_stage(
        self,
        config: Config,
        images: ImageSet,
        seed: int,
        machine: Machine,
        is_stopping: Callable[[], bool],
    ) -> Autoencoder | None:
        """Return the autoencoder that encodes a run's pictures, trained first; None if stopped.

        What it has become is kept, so that training goes on there whatever ends it.
        """
        folder = self.folder / runs.LATENTS
        with suppress(InputError):  # damaged, it is trained anew
            if (folder / TRAINED).is_file():
                return read_autoencoder(folder / TRAINED)
        training = prepare_first_stage(config, images, seed, machine)
        if training is None:
            return open_autoencoder(config)
        folder.mkdir(exist_ok=True)
        rows = FirstStageRows(self, training)
        try:
            tensors = read_tensors(folder / UNFINISHED, lambda _: None)
            training.restore(tensors)
            rows.restore(tensors)
        except InputError:  # none is there, or damaged: it begins anew
            training = prepare_first_stage(config, images, seed, machine)
            assert training is not None
            rows = FirstStageRows(self, training)
            rows.restore({})
        saved = time.monotonic()
        for step in training.steps():
            rows.add(step)
            stops = is_stopping()
            if stops or time.monotonic() - saved > FIRST_STAGE_SECONDS:
                self._keep_first_stage(UNFINISHED, training.state() | rows.state())
                saved = time.monotonic()
            if stops:
                line = "stopped while the autoencoder was trained"
                self.log_event("stopped", step=0, line=line)
                return None
        self._keep_first_stage(TRAINED, stored_weights(training.finish()))
        (folder / UNFINISHED).unlink(missing_ok=True)
        return read_autoencoder(folder / TRAINED)

    def save_reconstructions(self, pictures: Tensor) -> None:
        """Write pictures, each before what comes back of it, over those of before."""
        path = self.folder / runs.LATENTS / runs.RECONSTRUCTIONS
        grid = make_grid(pictures, COLUMNS)
        with suppress(OSError):  # a full disk is told of where something would be lost by it
            write_file(path, partial(save_png, grid))

    def _keep_first_stage(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Write tensors of an autoencoder beside its latents, whole or not at all."""
        where, need = f"{runs.LATENTS}/{name}", sum(each.nbytes for each in tensors.values())
        self._check_room(where, need)
        try:
            write_file(self.folder / where, partial(write_proved, tensors=tensors))
        except OSError as error:
            reason = system_reason(error)
            raise InputError(f"{where} ({format_bytes(need)}) was not saved: {reason}") from error

    def set_aside(self) -> Path:
        """Move what the run has made into a folder within its own, a run by itself; return that."""
        moment = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
        aside = self.folder / f"{runs.ASIDE}{moment}"
        aside.mkdir()
        for name in (runs.CONFIG, runs.RUN):
            shutil.copyfile(self.folder / name, aside / name)
        made = [*self.folder.glob("checkpoint-*"), *self.folder.glob("damaged-*")]
        names = (runs.PICTURES, runs.LATENTS, "samples", journal.EVENTS)
        made += [self.folder / name for name in names]
        for path in made:
            if path.exists():
                path.rename(aside / path.name)
        return aside

    def put_back(self, aside: Path) -> None:
        """Move back what `set_aside` moved, in the place of what came since."""
        for name in (runs.PICTURES, runs.LATENTS):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        for path in aside.iterdir():
            path.replace(self.folder / path.name)
        aside.rmdir()

    def reset_clock(self) -> None:
        """Begin to measure speed anew: what came before was no training."""
        self._since, self._busy, self._steps = time.monotonic(), 0.0, 0

    def log_event(self, event: str, **values: Any) -> None:
        """Append one event to the run's journal."""
        journal.append(self.folder, event, values)
        if self._listener is not None:
            self._listener(event, values)

    def log_failure(self, line: str, **values: Any) -> None:
        """Make the run's last event say in one line why it ended."""
        with suppress(OSError):  # where not even this can be written, the process log has it
            self.log_event("failed", line=printable(" ".join(line.split()))[:300], **values)

    def space_rows(self, total: int, pictures: int, device: str = "cpu") -> None:
        """Space the rows of the journal for a run of `total` steps of so many pictures.

        `device`: whose memory the rows tell beside the process's own.
        """
        self._every, self._pictures = max(1, -(-total // MOST_LOGGED)), pictures
        self._device = device

    def rewind(self, step: int, unlogged: Mapping[str, Any]) -> None:
        """Take journal and folder back to a checkpoint's step; damaged checkpoints step aside."""
        journal.cut(self.folder, step)
        self._count, self._loss = int(unlogged.get("count", 0)), float(unlogged.get("loss", 0.0))
        for number, path in numbered(self.folder / "samples", "*-*.png"):
            if number > step:
                path.unlink()
        for path in list_checkpoints(self.folder):
            if step_of(path) > step:
                aside = path.with_name(f"damaged-{path.name}")
                shutil.rmtree(aside, ignore_errors=True)
                path.rename(aside)

    def log_step(
        self,
        step: TrainStep,
        last: bool,
        left: Callable[[float], float | None],
        used: float | None = None,
    ) -> None:
        """Log a step, or keep it for the mean of the next row; the first and last have their own.

        `left` returns the seconds that are left of the run, from those of a step; None where that
        is not known yet. `used`: those that it took so far.
        """
        self._busy, self._steps = self._busy + step.seconds, self._steps + 1
        if not step.skipped:
            self._count, self._loss = self._count + 1, self._loss + step.loss
            self._norm = step.grad_norm
        pace = self._pace(left) | ({} if used is None else {"seconds": round(used, 1)})
        if not self._count or not (last or step.step == 1 or step.step % self._every == 0):
            if self._listener is not None:
                self._listener("pace", pace)
            return
        self.log_event(
            "step",
            step=step.step,
            loss=round(self._loss / self._count, 6),
            lr=step.lr,
            grad_norm=round(self._norm, 4),
            **pace,
            total=step.total,
        )
        self._count, self._loss = 0, 0.0
        self.reset_clock()

    def _pace(self, left: Callable[[float], float | None]) -> dict[str, float | None]:
        """Return how fast the steps since the last row were, what is left, and memory in use."""
        seconds = (time.monotonic() - self._since) / self._steps
        seconds_left = left(seconds)
        return {
            "pictures_per_second": round(self._steps * self._pictures / self._busy, 2),
            "step_seconds": round(seconds, 5),
            "seconds_left": None if seconds_left is None else round(seconds_left, 1),
            "memory_bytes": memory.resident(),
            "device_memory_bytes": device_memory(self._device),
        }

    def save_grid(self, grid: Image.Image, name: str) -> str:
        """Save a grid of samples as samples/`name`; return that path."""
        target = self.folder / "samples" / name
        target.parent.mkdir(exist_ok=True)
        temporary = temporary_path(target)
        save_png(grid, temporary)
        flush(temporary)
        temporary.replace(target)
        return f"samples/{name}"

    def save(self, training: Training, about: Mapping[str, Any], state: Mapping[str, Any]) -> Path:
        """Write a checkpoint of the step at hand, if there is none; then let the oldest go.

        Raises `InputError` where it cannot be written; what was there stays.
        """
        folder = self.folder / f"checkpoint-{training.step:09d}"
        if folder.exists():
            return folder
        begun, tensors = time.monotonic(), training.state()
        need = sum(tensor.nbytes for tensor in tensors.values()) * 5 // 4  # and the model's own
        self._check_room(folder.name, need)
        unlogged = {"count": self._count, "loss": self._loss}  # of the journal's next row
        state = {**training.counts(), **state, "row": unlogged}
        record = {"step": training.step, **about, "state": state}
        try:
            save_checkpoint(training.model, folder, record, tensors)
        except OSError as error:
            reason = system_reason(error)
            raise InputError(
                f"{folder.name} ({format_bytes(need)}) was not saved: {reason}"
            ) from error
        seconds = round(time.monotonic() - begun, 2)
        self.log_event(
            "checkpoint", step=training.step, folder=folder.name, bytes=need, seconds=seconds
        )
        keep = training.config.training.keep_checkpoints
        for old in list_checkpoints(self.folder)[:-keep]:
            remove(old)
        return folder

    def _check_room(self, name: str, need: int) -> None:
        """Raise `InputError` if the disk is too full, while the journal can still say so."""
        free = shutil.disk_usage(self.folder).free
        if free < need + SPARE_BYTES:
            raise InputError(
                f"{name} was not saved: it takes {format_bytes(need)} and {format_bytes(free)} of "
                f"the disk are free, of which {format_bytes(SPARE_BYTES)} must stay so; make "
                "room, then resume"
            )
