"""The training process: `begin` a run, `resume` one as if it had never stopped, `restart` one anew.

What the page asks of it lies as files in the run's folder. SIGTERM, SIGINT, SIGHUP (a closed
terminal, unless that is ignored, as by nohup) and `stop` end it after the step at hand, saved; a
second signal ends it at once. Whatever ends it is the last event.
"""

import os
import shlex
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sd import runs
from sd.checkpoints.checkpoint import load_training
from sd.checkpoints.latent_set import LatentSet
from sd.checkpoints.record import (
    LICENSE,
    RAIL_M,
    STATE,
    check_record,
    read_about,
    read_newest,
)
from sd.common.device import Machine, choose, is_out_of_memory
from sd.common.disk import read_object
from sd.common.text import brief, printable, system_reason
from sd.common.validation import LARGEST_SEED, InputError, real, whole
from sd.config import Config
from sd.config.conditioning_kind import unresolve_conditioning
from sd.config.sections import MOST_MINUTES, MOST_STEPS
from sd.data.image_set import ImageSet
from sd.data.reading.source import BUNDLED_SETS
from sd.networks.conditioning_metadata import read_metadata
from sd.runs.preparing.pictures import prepare_pictures, train_autoencoder
from sd.runs.preparing.start import keep_start, open_start
from sd.runs.recorder import Listener, Recorder
from sd.runs.session import Session
from sd.runs.sharing.turn import read_turn
from sd.training.loop import NotFinite, Training, TrainStep
from sd.training.planning import memory

STARTED_FROM = "started_from"  # in run.json, and in the records of checkpoints
ONLY_FIRST_STAGE = "only_first_stage"  # in run.json: the run is one of an autoencoder alone
HANGUP: signal.Signals | None = getattr(signal, "SIGHUP", None)  # Windows has none


class TrainingState(NamedTuple):
    """A checkpoint from which training goes on: where it is, its record and its tensors."""

    checkpoint: Path
    about: dict[str, Any]
    tensors: dict[str, Tensor]


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collect what asks to end in the yielded list; a second one acts as it always does.

    But for SIGHUP: where a terminal closes, both its shell and the system may send one.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received  # signals are of the main thread alone
        return
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
def explain_out_of_memory(config: Config) -> Iterator[None]:
    """Turn what is raised where memory ends into one line that says what to lower."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        height = config.training.input_height
        raise InputError(
            f"training.input_height = {height}: there is not enough memory, even for one picture "
            f"at a time; try {max(1, height // 2)}, a smaller network or training.recompute = True"
        ) from error


@contextmanager
def record_failures(recorder: Recorder, config: Config) -> Iterator[list[int]]:
    """Make what goes wrong the run's last event; yield the list of signals received."""
    try:
        with stop_signals() as received, explain_out_of_memory(config):
            yield received
    except OSError as error:
        name = printable(Path(str(error.filename or recorder.folder)).name)
        line = f"{brief(name)}: {system_reason(error)}"
        recorder.log_failure(line)
        raise InputError(line) from error
    except NotFinite as error:
        recorder.log_failure(str(error), step=error.step)
        raise
    except InputError as error:
        recorder.log_failure(str(error))
        raise
    except Exception as error:
        recorder.log_failure(f"{type(error).__name__}: {error}")
        raise


def begin(
    config: Config,
    data: str,
    folder: Path,
    seed: int = 0,
    device: str = "auto",
    began: float | None = None,
    listener: Listener | None = None,
    only_first_stage: bool = False,
) -> Iterator[TrainStep]:
    """Train in this process into a new run folder; yield each step after it is recorded.

    `began`: the time (Unix) from which training.minutes count, by default now. `listener` is called
    with each event. With `only_first_stage` the run ends when its autoencoder is trained; resumed
    after that, it goes on from there. Raises `InputError` for a person's mistake.
    """
    began = time.time() if began is None else began
    note = {"seed": seed, "device": device, "data": Path(data).name}
    note |= {ONLY_FIRST_STAGE: True} if only_first_stage else {}
    recorder = Recorder(folder, new=True, listener=listener)
    try:
        with record_failures(recorder, config) as received:
            source = data if data in BUNDLED_SETS or not data else os.path.abspath(data)
            recorder.begin(config, note, source)
            config = _start_from(recorder, config)
            if only_first_stage:
                train_autoencoder(recorder, config, note, received)
                return
            begun = _begin(recorder, config, note, received)
            if begun is not None:
                recorder.decide(begun[0].config)
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
        config = keep_start(folder, config)
        aside, begun, is_done = recorder.set_aside(), None, False
        try:
            with stop_signals() as received, explain_out_of_memory(config):
                if note.get(ONLY_FIRST_STAGE):
                    is_done = train_autoencoder(recorder, config, note, received)
                else:
                    begun = _begin(recorder, config, note, received)
        finally:
            if begun is None and not is_done:
                recorder.put_back(aside)
        if begun is not None:
            with record_failures(recorder, config) as received:
                recorder.decide(begun[0].config, note)
                line = f"begun anew; what was there lies in {folder.name}/{aside.name}"
                yield from _run(recorder, *begun, note, received, began, line=line)
    finally:
        recorder.close()


def _begin(
    recorder: Recorder, config: Config, note: dict[str, Any], received: list[int]
) -> tuple[Training, ImageSet] | None:
    """Return a new training with its pictures; None if stopped while they are read."""
    machine = choose(str(note["device"])).apply()
    memory.check(config, machine.device)
    prepared = prepare_pictures(recorder, config, machine, note["seed"], received)
    if prepared is None:
        return None
    images, latents = prepared
    start, seed = open_start(recorder.folder, config), note["seed"]
    training = Training(config, images, seed, machine, latents=latents, start=start)
    _note_start(recorder, training, note)
    return training, images


def _start_from(recorder: Recorder, config: Config) -> Config:
    """Keep the model that a run starts from, if any; return settings that tell which it was."""
    kept = keep_start(recorder.folder, config)
    if kept != config:
        recorder.decide(kept)
    return kept


def _note_start(
    recorder: Recorder,
    training: Training,
    note: dict[str, Any],
    saved: TrainingState | None = None,
) -> None:
    """Note in run.json what was taken of the model that a run starts from, or has started from."""
    for name in (STARTED_FROM, LICENSE):
        if saved is not None and name in saved.about:
            note[name] = str(saved.about[name])
    if training.taken is not None:
        source = training.config.training.start_from
        note[STARTED_FROM] = f"{source}: {training.taken.line}"
        if training.taken.restricted:
            note[LICENSE] = RAIL_M
        recorder.decide(training.config, note)


def _run(
    recorder: Recorder,
    training: Training,
    images: ImageSet,
    note: dict[str, Any],
    received: list[int],
    began: float,
    **more: Any,
) -> Iterator[TrainStep]:
    """Yield the steps of a new training; `more` goes into the event with which it starts."""
    recorder.log_event("start", **_start_metadata(training, images, note), **more)
    yield from _session(recorder, training, note, received, time.time() - began).run()


def resume(
    folder: Path,
    steps: int | None = None,
    device: str | None = None,
    listener: Listener | None = None,
    minutes: float | None = None,
) -> Iterator[TrainStep]:
    """Go on with a run from its newest whole checkpoint, to `steps` in all or for `minutes` more.

    Machine, seed and pictures are those that were recorded, so the result is what it would have
    been without the stop. `listener` is called with each event. Raises `InputError` where that
    cannot be.
    """
    recorder = Recorder(folder, new=False, listener=listener)
    try:
        if reason := runs.obstacle(folder):
            raise InputError(f"{folder.absolute().name}: {reason}")
        before, note = Config.read(folder / runs.CONFIG), read_note(folder)
        if steps is None and minutes is None and _ends_with_autoencoder(folder, note):
            with record_failures(recorder, before) as received:
                recorder.rewind(0, {})
                train_autoencoder(recorder, before, note, received)
            return
        if note.pop(ONLY_FIRST_STAGE, False):
            recorder.decide(before, note)
        saved, fallen = newest_state(folder)
        if minutes is not None:
            config = _lengthened_by_clock(before, saved, minutes)
        else:
            config = _lengthened(folder, before, saved, steps)
        with record_failures(recorder, config) as received:
            if saved is None:  # its pictures may have to be read anew
                config = keep_start(folder, unresolve_conditioning(config))
            machine, remark = _machine_again(saved, device or str(note["device"]))
            memory.check(config, machine.device)
            prepared = prepare_pictures(
                recorder, config, machine, note["seed"], received, saved and saved.checkpoint
            )
            if prepared is None:
                return
            training = _restore(folder, config, *prepared, note["seed"], machine, saved)
            if training.config != before:
                recorder.decide(training.config)
            _note_start(recorder, training, note, saved)
            remarks = {"fell_back": fallen, "machine": remark}
            used = _rewind(recorder, training, prepared[0], note, saved, remarks)
            del saved  # the training has its tensors now
            yield from _session(recorder, training, note, received, used).run()
    finally:
        recorder.close()


def _rewind(
    recorder: Recorder,
    training: Training,
    images: ImageSet,
    note: dict[str, Any],
    saved: TrainingState | None,
    remarks: Mapping[str, str],
) -> float:
    """Take a run back to where its training goes on, and tell so; return the seconds it took."""
    counts: dict[str, Any] = saved.about[STATE] if saved else {}
    recorder.rewind(training.step, counts.get("row", {}))
    for kind, line in remarks.items():
        if line:
            recorder.log_event("notice", step=training.step, kind=kind, line=line)
    line = f"going on from step {training.step}"
    values = _start_metadata(training, images, note)
    event = "resumed" if saved else "start"
    recorder.log_event(event, step=training.step, line=line, **values)
    return float(counts.get("seconds", 0.0))


def _restore(
    folder: Path,
    config: Config,
    images: ImageSet,
    latents: LatentSet | None,
    seed: int,
    machine: Machine,
    saved: TrainingState | None,
) -> Training:
    """Return a training where a checkpoint left it, or at its beginning where there is none."""
    metadata = read_metadata(saved.checkpoint) if saved else None
    start = None if saved and not config.training.lora_rank else open_start(folder, config)
    training = Training(config, images, seed, machine, metadata, latents, start)
    if saved:
        training.restore(saved.tensors, saved.about[STATE])
    return training


def _session(
    recorder: Recorder,
    training: Training,
    note: dict[str, Any],
    received: list[int],
    used: float,
) -> Session:
    """Return this process's part of a run; among visitors its memory has an end."""
    if training.machine.device == "cpu" and read_turn(recorder.folder) is not None:
        memory.limit_growth(training.config)
    about = {
        "seed": note["seed"],
        "pictures": len(training.rows),
        "command": _command(note),
        "machine": training.machine.record(),
        **{name: note[name] for name in (STARTED_FROM, LICENSE) if name in note},
    }
    return Session(recorder, training, about, received, used)


def _start_metadata(training: Training, images: ImageSet, note: dict[str, Any]) -> dict[str, Any]:
    """Return the values of the event with which training begins or goes on."""
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
        **({STARTED_FROM: note[STARTED_FROM]} if STARTED_FROM in note else {}),
    }


def _command(note: dict[str, Any]) -> str:
    """Return the command that repeats this run from its own config.ini."""
    words = ["python", "-m", "sd", "train", str(note["data"]), "--config", runs.CONFIG]
    return shlex.join([*words, "--seed", str(note["seed"]), "--device", str(note["device"])])


def _ends_with_autoencoder(folder: Path, note: Mapping[str, Any]) -> bool:
    """Tell whether a run is one of an autoencoder alone, which is not trained to its end yet."""
    return bool(note.get(ONLY_FIRST_STAGE)) and runs.status(folder).state != "finished"


def read_note(folder: Path) -> dict[str, Any]:
    """Return a run's run.json: seed, device, the name of its data, and what else is noted."""
    note = read_object(folder / runs.RUN, "seed", "device", "data")
    return {**note, "seed": whole("seed", note["seed"], 0, LARGEST_SEED)}


def newest_state(folder: Path) -> tuple[TrainingState | None, str]:
    """Return the newest checkpoint that is whole, and a line if a newer one was damaged.

    None where there never was one. Raises `InputError` if all are damaged. Its files are proved
    by their digests and its tensors read once: nothing else reads them for a resume.
    """
    saved, faults = read_newest(folder, _read_state)
    if saved is None and faults:
        raise InputError(f"no checkpoint from which to go on: {faults[0]}")
    line = f"{faults[0]}; going on from {saved.checkpoint.name}" if saved and faults else ""
    return saved, line


def _read_state(checkpoint: Path) -> TrainingState:
    about = read_about(checkpoint)
    check_record(about)
    return TrainingState(checkpoint, about, load_training(checkpoint))


def _lengthened(
    folder: Path, config: Config, saved: TrainingState | None, steps: int | None
) -> Config:
    """Return the settings with the steps that are to be done in all."""
    done = saved.about["step"] if saved else 0
    if steps is None:
        if saved and runs.status(folder).state == "finished":
            raise InputError(
                f"{folder.name}: finished at step {done}; give more --steps, or --minutes"
            )
        return config
    whole("--steps", steps, done + 1, 10**8)
    return config.with_settings([f"training.steps={steps}", "training.minutes=0"])


def _lengthened_by_clock(config: Config, saved: TrainingState | None, minutes: float) -> Config:
    """Return the settings with which a run ends so many minutes after where it was saved.

    Its steps become as many as that makes at the pace so far; the clock decides.
    """
    real("--minutes", minutes, 0.1, 100_000)
    counts: dict[str, Any] = saved.about[STATE] if saved else {}
    done, used = int(counts.get("step", 0)), float(counts.get("seconds", 0.0)) / 60
    steps = max(done + 1, round(done * (1 + minutes / used)) if used else 0)
    total = min(used + minutes, MOST_MINUTES)
    return config.with_settings(
        [f"training.steps={min(steps, MOST_STEPS)}", f"training.minutes={total:.6g}"]
    )


def _machine_again(saved: TrainingState | None, device: str) -> tuple[Machine, str]:
    """Return the machine that a checkpoint was trained on, and a line if it is another now."""
    usual = choose(device)
    recorded: dict[str, Any] = saved.about["machine"] if saved else usual.record()
    if recorded.get("device") != usual.device:
        line = f"trained on {recorded.get('label')} before, on {usual.label} from here"
        return usual.apply(), line
    threads = min(whole("threads", recorded.get("threads"), 1, 4096), os.cpu_count() or 1)
    machine = Machine(usual.device, threads, str(recorded.get("matmul")), usual.label).apply()
    line = ""
    if recorded.get("torch") != torch.__version__ or threads != recorded.get("threads"):
        line = "torch or the number of threads is not what it was: the last digits may differ"
    return machine, line
