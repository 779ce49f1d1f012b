"""The training process: `begin` a run, `resume` one as if it had never stopped, `restart` one anew.

What the page asks of it lies as files in the run's folder. SIGTERM, SIGINT, SIGHUP (a closed
terminal, unless that is ignored, as by nohup) and `stop` end it after the step at hand, saved; a
second signal ends it at once. Whatever ends it is the last event.
"""

import json
import os
import re
import shlex
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from sd import runs
from sd.checkpoints.checkpoint import STATE, check_record, load_training, read_about
from sd.common.device import Machine, choose
from sd.common.disk import numbered, write_text
from sd.common.text import brief, printable, system_reason
from sd.common.validation import LARGEST_SEED, InputError, whole
from sd.config import Config
from sd.config.conditioning_kind import unresolve_conditioning
from sd.data.image_set import ImageSet
from sd.data.ingest import ingest_images, open_images
from sd.data.reading.source import BUNDLED_SETS
from sd.networks.conditioning_metadata import read_metadata
from sd.runs.recorder import Listener, Recorder
from sd.runs.session import Session
from sd.training.loop import NotFinite, Training, TrainStep
from sd.training.planning import memory

SHORTAGE = re.compile(r"out of memory|not enough memory|allocate memory", re.I)  # torch's words
HANGUP: signal.Signals | None = getattr(signal, "SIGHUP", None)  # Windows has none
TOLD_SECONDS = 1.0  # between two events about the pictures that are read


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collect what asks to end in the yielded list; a second one acts as it always does.

    But for SIGHUP: where a terminal closes, both its shell and the system may send one.
    """
    received: list[int] = []
    numbers = [signal.SIGTERM, signal.SIGINT]
    if HANGUP is not None and signal.getsignal(HANGUP) != signal.SIG_IGN:
        numbers.append(HANGUP)
    before = {number: signal.getsignal(number) for number in numbers}

    def handle(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        usual = before[signal.Signals(number)]
        signal.signal(number, signal.SIG_IGN if number == HANGUP else usual)

    for number in before:
        signal.signal(number, handle)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def shortage_told(config: Config) -> Iterator[None]:
    """Turn what is raised where memory ends into one line that tells what to lower."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not SHORTAGE.search(str(error)):
            raise
        size = config.training.batch_size
        raise InputError(
            f"training.batch_size = {size}: there is not enough memory; try {max(1, size // 2)}, "
            "smaller pictures or a smaller network"
        ) from error


@contextmanager
def recorded(recorder: Recorder, config: Config) -> Iterator[list[int]]:
    """Write what goes wrong as the run's last event; yield the list of signals received."""
    try:
        with stop_signals() as received, shortage_told(config):
            yield received
    except OSError as error:
        name = printable(Path(str(error.filename or recorder.folder)).name)
        line = f"{brief(name)}: {system_reason(error)}"
        recorder.failed(line)
        raise InputError(line) from error
    except NotFinite as error:
        recorder.failed(str(error), step=error.step)
        raise
    except InputError as error:
        recorder.failed(str(error))
        raise
    except Exception as error:
        recorder.failed(f"{type(error).__name__}: {error}")
        raise


def begin(
    config: Config,
    data: str,
    folder: Path,
    seed: int = 0,
    device: str = "auto",
    began: float | None = None,
    listener: Listener | None = None,
) -> Iterator[TrainStep]:
    """Train in this process into a new run folder; yield each step after it is recorded.

    `began`: the time (Unix) from which training.minutes count, by default now. `listener` is called
    with each event. Raises `InputError` for a person's mistake.
    """
    began = time.time() if began is None else began
    recorder = Recorder(folder, new=True, listener=listener)
    try:
        (folder / "events.jsonl").touch()
        with recorded(recorder, config) as received:
            write_text(folder / runs.CONFIG, config.to_ini())
            source = data if data in BUNDLED_SETS or not data else os.path.abspath(data)
            write_text(folder / runs.SOURCE, json.dumps({"data": source}))
            note = {"seed": seed, "device": device, "data": Path(data).name}
            write_text(folder / runs.RUN, json.dumps(note))
            begun = _begin(recorder, config, note, received)
            if begun is not None:
                yield from _run(recorder, *begun, note, received, began)
    finally:
        recorder.close()


def restart(
    folder: Path,
    steps: int | None = None,
    device: str | None = None,
    began: float | None = None,
    listener: Listener | None = None,
) -> Iterator[TrainStep]:
    """Begin a run anew from step 0 in its own folder: its settings, its seed, its source read anew.

    What was there, checkpoints too, is set aside in the folder and stays. Where the run cannot
    begin all is as it was. The arguments are those of `begin` and `resume`, and so are the errors.
    """
    began = time.time() if began is None else began
    recorder = Recorder(folder, new=False, listener=listener)
    try:
        before = Config.read(folder / runs.CONFIG)
        note = read_note(folder) | ({} if device is None else {"device": device})
        config = unresolve_conditioning(before)
        if steps is not None:
            whole("--steps", steps, 1, 10**8)
            config = config.with_settings([f"training.steps={steps}", "training.minutes=0"])
        aside, begun = runs.set_aside(folder), None
        try:
            with stop_signals() as received, shortage_told(config):
                begun = _begin(recorder, config, note, received)
        finally:
            if begun is None:
                runs.put_back(folder, aside)
        if begun is not None:
            with recorded(recorder, config) as received:
                line = f"begun anew; what was there lies in {folder.name}/{aside.name}"
                yield from _run(recorder, *begun, note, received, began, line=line)
    finally:
        recorder.close()


def _begin(
    recorder: Recorder, config: Config, note: dict[str, Any], received: list[int]
) -> tuple[Training, ImageSet] | None:
    """Return a new training with its pictures; None if told to stop while they are read."""
    machine = choose(str(note["device"])).apply()
    _check_room(machine, config)
    images = take_pictures(recorder, config, received)
    return None if images is None else (Training(config, images, note["seed"], machine), images)


def _run(
    recorder: Recorder,
    training: Training,
    images: ImageSet,
    note: dict[str, Any],
    received: list[int],
    began: float,
    **more: Any,
) -> Iterator[TrainStep]:
    """Yield the steps of a new training; `more` is told where the journal says that it starts."""
    write_text(recorder.folder / runs.CONFIG, training.config.to_ini())  # what was left to decide
    write_text(recorder.folder / runs.RUN, json.dumps(note))
    recorder.event("start", **_facts(training, images, note), **more)
    yield from _session(recorder, training, note, received, time.time() - began).run()


def resume(
    folder: Path,
    steps: int | None = None,
    device: str | None = None,
    listener: Listener | None = None,
) -> Iterator[TrainStep]:
    """Go on with a run from its newest whole checkpoint; to `steps` in all if told.

    Machine, seed and pictures are those that were recorded, so the result is what it would have
    been without the stop. `listener` is told of what is recorded. Raises `InputError` where that
    cannot be.
    """
    recorder = Recorder(folder, new=False, listener=listener)
    try:
        if reason := runs.obstacle(folder):
            raise InputError(f"{folder.absolute().name}: {reason}")
        config = Config.read(folder / runs.CONFIG)
        note = read_note(folder)
        found, fallen = newest_whole(folder)
        config = (
            config if found else unresolve_conditioning(config)
        )  # its pictures may have to be read anew
        config = _lengthened(folder, config, found, steps)
        with recorded(recorder, config) as received:
            machine, remark = _machine_again(found, device or str(note["device"]))
            _check_room(machine, config)
            images = take_pictures(recorder, config, received)
            if images is None:
                return
            facts = read_metadata(found) if found else None
            training = Training(config, images, note["seed"], machine, facts)
            state: dict[str, Any] = {}
            if found:
                state = read_about(found)[STATE]
                training.restore(load_training(found), state)
            recorder.go_back(training.step, state.get("row", {}))
            for kind, line in (("fell_back", fallen), ("machine", remark)):
                if line:
                    recorder.event("notice", step=training.step, kind=kind, line=line)
            line = f"going on from step {training.step}"
            facts = _facts(training, images, note)
            recorder.event("resumed" if found else "start", step=training.step, line=line, **facts)
            used = float(state.get("seconds", 0.0))
            yield from _session(recorder, training, note, received, used).run()
    finally:
        recorder.close()


def _check_room(machine: Machine, config: Config) -> None:
    """Refuse what the memory cannot hold before work begins; a GPU's tells only when it is full."""
    if machine.device == "cpu":
        memory.check(config)


def _session(
    recorder: Recorder,
    training: Training,
    note: dict[str, Any],
    received: list[int],
    used: float,
) -> Session:
    about = {
        "seed": note["seed"],
        "pictures": len(training.rows),
        "command": _command(note),
        "machine": training.machine.record(),
    }
    return Session(recorder, training, about, received, used)


def _facts(training: Training, images: ImageSet, note: dict[str, Any]) -> dict[str, Any]:
    """Return what the journal tells where training begins or goes on."""
    return {
        "total": training.total,
        "seed": note["seed"],
        "pictures": len(training.rows),
        "held_out": len(training.held_out),
        "left_out": len(images.report.left_out),
        "duplicates": len(set().union(*images.report.duplicates)) - len(images.report.duplicates),
        "report": images.report.lines(),
        "command": _command(note),
        "machine": training.machine.record(),
    }


def _command(note: dict[str, Any]) -> str:
    """Return the command that repeats this run from its own config.ini."""
    words = ["python", "-m", "sd", "train", str(note["data"]), "--config", runs.CONFIG]
    return shlex.join([*words, "--seed", str(note["seed"]), "--device", str(note["device"])])


def take_pictures(recorder: Recorder, config: Config, received: list[int]) -> ImageSet | None:
    """Return the run's own picture set, ingested from its source once; None if told to stop."""
    folder, training = recorder.folder, config.training
    kept = folder / runs.PICTURES
    if not kept.is_dir():
        source = str(_read_json(folder / runs.SOURCE, "data").get("data"))
        own = [folder, *([Path(training.save_path)] if training.save_path else [])]
        told = time.monotonic()
        reading = ingest_images(
            source,
            kept,
            height=training.input_height,
            width=training.input_width,
            channels=config.unet.channel,
            fit=training.fit,
            classes=training.classes,
            leave_out=own,
        )
        for done, total in reading:
            if received or (folder / runs.STOP).exists():
                reading.close()
                recorder.event("stopped", step=0, line="stopped while the pictures were read")
                return None
            if time.monotonic() - told > TOLD_SECONDS:
                recorder.event("ingest", done=done, total=total)
                told = time.monotonic()
    return open_images(kept, verify=True)


def read_note(folder: Path) -> dict[str, Any]:
    """Return a run's run.json: seed, device and the name of its data."""
    note = _read_json(folder / runs.RUN, "seed", "device", "data")
    return {**note, "seed": whole("seed", note["seed"], 0, LARGEST_SEED)}


def _read_json(path: Path, *keys: str) -> dict[str, Any]:
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        note = None
    if not isinstance(note, dict) or set(keys) - set(note):
        raise InputError(f"{path.parent.name}/{path.name}: missing or not readable")
    return note


def newest_whole(folder: Path) -> tuple[Path | None, str]:
    """Return the newest checkpoint that is whole, and a line if a newer one was damaged.

    None where there never was one. Raises `InputError` if all are damaged.
    """
    found = [path for _, path in reversed(numbered(folder, "checkpoint-*"))]
    faults: list[str] = []
    for path in found:
        try:
            check_record(read_about(path))
            load_training(path)
        except InputError as error:
            faults.append(str(error))
        else:
            line = f"{faults[0]}; going on from {path.name}" if faults else ""
            return path, line
    if faults:
        raise InputError(f"no checkpoint from which to go on: {faults[0]}")
    return None, ""


def _lengthened(folder: Path, config: Config, found: Path | None, steps: int | None) -> Config:
    """Return the settings with the steps that are to be done in all, written into the folder."""
    done = read_about(found)["step"] if found else 0
    if steps is None:
        if found and runs.status(folder).state == "finished":
            raise InputError(f"{folder.name}: finished at step {done}; give more --steps")
        return config
    whole("--steps", steps, done + 1, 10**8)
    config = config.with_settings([f"training.steps={steps}", "training.minutes=0"])
    write_text(folder / runs.CONFIG, config.to_ini())
    return config


def _machine_again(found: Path | None, device: str) -> tuple[Machine, str]:
    """Return the machine that a checkpoint was trained on, and a line if it is another now."""
    usual = choose(device)
    recorded: dict[str, Any] = read_about(found)["machine"] if found else usual.record()
    if recorded.get("device") != usual.device:
        line = f"trained on {recorded.get('label')} before, on {usual.label} from here"
        return usual.apply(), line
    threads = min(whole("threads", recorded.get("threads"), 1, 4096), os.cpu_count() or 1)
    machine = Machine(usual.device, threads, str(recorded.get("matmul")), usual.label).apply()
    line = ""
    if recorded.get("torch") != torch.__version__ or threads != recorded.get("threads"):
        line = "torch or the number of threads is not what it was: the last digits may differ"
    return machine, line
