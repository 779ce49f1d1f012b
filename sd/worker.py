"""The training process: it alone fills a run's folder with events, samples and checkpoints."""

import json
import os
import re
import shlex
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from sd import runs
from sd.checkpoints import save_checkpoint
from sd.config import Config
from sd.data import ImageSet, read_images
from sd.device import Machine, choose
from sd.gate import InputError
from sd.images import grid
from sd.training import Training, TrainStep

SAMPLE_SEEDS = range(16)  # the fixed noises of a run's samples
SAMPLE_STEPS = 25
MOST_LOGGED = 1000  # step events in a run
KEPT_CHECKPOINTS = 2
SHORTAGE = re.compile(
    r"out of memory|not enough memory|allocate memory", re.I
)  # in torch's RuntimeError


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collect SIGTERM and SIGINT in the yielded list; a second one acts as it always does."""
    received: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def handle(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, handle)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Recorder:
    """The writer of one run's folder."""

    def __init__(self, folder: Path, config: Config) -> None:
        """Claim `folder` for this process; raise `InputError` if a run is there already."""
        folder.mkdir(parents=True, exist_ok=True)
        try:
            (folder / runs.EVENTS).touch(exist_ok=False)  # of two processes one succeeds
        except FileExistsError:
            name = folder.absolute().name
            raise InputError(f"{name}: holds a run already; give --run a new folder") from None
        runs.record_process(folder, os.getpid())
        (folder / runs.CONFIG).write_text(config.to_ini(), encoding="utf-8")
        self.folder, self.config = folder, config
        self.since, self.losses = time.time(), list[float]()
        self.busy = 0.0

    def event(self, event: str, **facts: Any) -> None:
        """Append one line to the run's events."""
        line = json.dumps({"event": event, "time": round(time.time(), 3), **facts})
        with (self.folder / runs.EVENTS).open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def failed(self, line: str) -> None:
        """Let the run's last event tell in one line why it ended."""
        self.event("failed", line=" ".join(line.split())[:300])

    def step(self, step: TrainStep, last: bool) -> None:
        """Log a step, or keep it for the mean of the next logged one; always the first and last."""
        self.losses.append(step.loss)
        self.busy += step.seconds
        if step.step % -(-step.total // MOST_LOGGED) and step.step != 1 and not last:
            return
        count, now = len(self.losses), time.time()
        self.event(
            "step",
            step=step.step,
            loss=round(sum(self.losses) / count, 6),
            lr=step.lr,
            grad_norm=round(step.grad_norm, 4),
            pictures_per_second=round(count * self.config.training.batch_size / self.busy, 2),
            step_seconds=round((now - self.since) / count, 5),
        )
        self.since, self.busy, self.losses = now, 0.0, []

    def sample(self, step: TrainStep, machine: Machine) -> None:
        """Save a grid of pictures on the fixed noises, from the averaged weights."""
        model = step.model
        sampling = model.sampling(steps=min(SAMPLE_STEPS, model.diffusion.schedule.timesteps))
        pictures = sampling.sample(model.denoiser, model.shape, SAMPLE_SEEDS, machine.device)
        target = self.folder / "samples" / f"step-{step.step:09d}.png"
        target.parent.mkdir(exist_ok=True)
        temporary = target.with_suffix(".tmp")
        grid(pictures).save(temporary, format="PNG")
        temporary.replace(target)
        self.event("samples", step=step.step, file=f"samples/{target.name}")

    def save(self, step: TrainStep, about: dict[str, Any]) -> None:
        """Write a checkpoint; then let go of all but the newest two."""
        folder = self.folder / f"checkpoint-{step.step:09d}"
        save_checkpoint(step.model, folder, {"step": step.step, **about})
        self.event("checkpoint", step=step.step, folder=folder.name)
        for old in sorted(self.folder.glob("checkpoint-*"))[:-KEPT_CHECKPOINTS]:
            shutil.rmtree(old)


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


def read_pictures(config: Config, data: str, folder: Path) -> ImageSet:
    """Read the pictures as a configuration wants them; outputs inside their folder are left out."""
    training = config.training
    own = [folder, *([Path(training.save_path)] if training.save_path else [])]
    return read_images(
        data,
        height=training.input_height,
        width=training.input_width,
        channels=config.unet.channel,
        fit=training.fit,
        leave_out=own,
    )


def work(
    config: Config, data: str, folder: Path, seed: int = 0, device: str = "auto"
) -> Iterator[TrainStep]:
    """Train in this process into a new run folder; yield each step after it is recorded.

    SIGTERM, SIGINT or a file called `stop` in the folder end it after the step at hand, saved.
    Whatever ends it is the last event. Raises `InputError` for a person's mistake.
    """
    recorder = Recorder(folder, config)
    try:
        with stop_signals() as received, shortage_told(config):
            yield from _train(recorder, data, seed, device, received)
    except InputError as error:
        recorder.failed(str(error))
        raise
    except Exception as error:
        recorder.failed(f"{type(error).__name__}: {error}")
        raise


def _train(
    recorder: Recorder, data: str, seed: int, device: str, received: list[int]
) -> Iterator[TrainStep]:
    config, folder = recorder.config, recorder.folder
    images = read_pictures(config, data, folder)
    machine = choose(device).apply()
    training = Training(config, images, seed, machine)
    about = {
        "seed": seed,
        "pictures": len(images.pixels),
        "command": _command(data, seed, device),
        "machine": machine.record(),
    }
    left_out = len(images.report.left_out)
    report = images.report.lines()
    recorder.event("start", total=training.total, left_out=left_out, report=report, **about)
    began = recorder.since = time.time()
    sample_every, save_every = config.training.sample_every, config.training.save_every
    for step in training.steps():
        done = step.step == step.total
        stopping = not done and (bool(received) or (folder / runs.STOP).exists())
        recorder.step(step, last=done or stopping)
        if done or stopping or (save_every and step.step % save_every == 0):
            recorder.save(step, {**about, "seconds": round(time.time() - began)})
        if done or (sample_every and step.step % sample_every == 0 and not stopping):
            recorder.sample(step, machine)
        yield step
        if stopping:
            recorder.event("stopped", step=step.step, line=f"stopped and saved at step {step.step}")
            return
    recorder.event("finished", step=training.total, line=f"finished {training.total} steps")


def _command(data: str, seed: int, device: str) -> str:
    """Return the command that repeats this run from its own config.ini."""
    words = ["python", "-m", "sd", "train", Path(data).name, "--config", runs.CONFIG]
    return shlex.join([*words, "--seed", str(seed), "--device", device])
