"""Training as a run: what is recorded after each step, and what the page may ask meanwhile."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from sd.checkpoints.model import Model
from sd.data.images import make_grid
from sd.runs import journal, process
from sd.runs.recorder import Recorder
from sd.training.loop import Training, TrainStep
from sd.training.memorisation import find_nearest, measure_baseline
from sd.training.monitoring import (
    EARLY_STEPS,
    EVALUATED,
    LEVELS,
    LORA_STEPS,
    SAMPLE_COUNT,
    SAMPLE_STEPS,
)
from sd.training.samples import passes_per_step, sample_denoiser

SAMPLE_SEEDS = range(SAMPLE_COUNT)  # the fixed noises of a run's samples
FLAT = 0.15  # standard deviation of pictures in [-1, 1] that are grey to the eye
PACE = 0.1  # weight of a step in the smoothed seconds of a step
PAUSE_SECONDS = 0.1  # between two looks for the end of a pause


class Session:
    """One process's part of a run."""

    def __init__(
        self,
        recorder: Recorder,
        training: Training,
        about: Mapping[str, Any],
        received: list[int],
        used: float,
    ) -> None:
        """Take up `training`; `used`: seconds of training.minutes that are gone already."""
        self.recorder, self.training, self.about = recorder, training, about
        self.settings = training.config.training
        self._received = received
        self._began, self._first = time.monotonic() - used, training.step + 1
        at_once = self.settings.batch_size * self.settings.gradient_accumulation
        self._parts = training.parts  # as they were told
        self._sampling_seconds = 0.0  # seconds that the newest samples took
        self._pictures, self._pace = at_once, 0.0  # seconds of a step, smoothed
        recorder.space_rows(training.total, at_once, training.machine.device)

    def run(self) -> Iterator[TrainStep]:
        """Train; yield each step after it is recorded."""
        if self.training.step and not self._has_samples():
            self._sample_if_due(self.training.step)
        self.recorder.reset_clock()
        for step in self.training.steps():
            step, done = self._finish_step(step)
            yield step
            if done or self._stopping() or self._yielding():
                break
        self._end()

    def _finish_step(self, step: TrainStep) -> tuple[TrainStep, bool]:
        """Do what is due after a step; return it with its total, and whether it was the last."""
        done = self._is_last(step)
        step = step.with_total(self.training.total)  # the clock may have changed it
        self.recorder.log_step(step, done, self._seconds_left, self._seconds_used())
        if step.skipped:
            lost = "gradient" if math.isfinite(step.loss) else "loss"
            line = (
                f"the {lost} is not a finite number at step {step.step}: this step changed nothing"
            )
            self.recorder.log_event("notice", step=step.step, kind="skipped", line=line)
        if self.training.parts != self._parts:
            self._parts = self.training.parts
            line = (
                f"memory does not hold {self.settings.batch_size} pictures at once: from step "
                f"{step.step} on they are computed in {self._parts} parts, with the same gradient"
            )
            self.recorder.log_event("notice", step=step.step, kind="memory", line=line)
        folder, every = self.recorder.folder, self.settings.save_every
        if done or process.take_request(folder, process.SAVE) or (every and step.step % every == 0):
            self._save()
        self._sample_if_due(step.step, done or process.take_request(folder, process.SAMPLE))
        if not done and process.is_requested(folder, process.PAUSE):
            self._pause()
        return step, done

    def _end(self) -> None:
        """Save, and write how this part of the run ended."""
        self._save()
        step = self.training.step
        complete = step >= self.training.total and self._has_samples()
        if (self._stopping() or self._yielding()) and not complete:
            self.recorder.log_event("stopped", step=step, line=f"stopped and saved at step {step}")
        else:
            steps = "step" if step == 1 else "steps"
            self.recorder.log_event("finished", step=step, line=f"finished {step} {steps}")

    def _stopping(self) -> bool:
        return bool(self._received) or process.is_requested(self.recorder.folder, process.STOP)

    def _yielding(self) -> bool:
        """Tell whether others wait for their turn: this one ends after its step and its samples."""
        return process.is_requested(self.recorder.folder, process.YIELD)

    def _is_due(self, step: int) -> bool:
        """Tell whether samples belong to a step."""
        every = self.settings.sample_every
        return step >= self.training.total or bool(every and step % every == 0)

    def _sample_if_due(self, step: int, asked: bool = False) -> None:
        """Make the samples of a step that are due or asked for, or else the quick early ones."""
        if asked or self._is_due(step):
            self._sample_and_evaluate()
        elif step in self.settings.sample_early:
            self._sample_quickly()

    def _has_samples(self) -> bool:
        """Tell whether the samples of the step at hand are there."""
        grids = journal.samples(self.recorder.folder)
        return bool(grids) and grids[-1].step == self.training.step

    def _seconds_used(self) -> float:
        """Return the seconds of the run so far, without its pauses."""
        return time.monotonic() - self._began

    def _is_last(self, step: TrainStep) -> bool:
        """Tell whether a step was the last: of all steps, or before the minutes are over.

        A run by the clock leaves time for its last samples, and its total is what seems possible.
        """
        if not self.settings.minutes:
            return step.step >= step.total
        is_first = step.step <= self._first  # it prepares what the others find ready
        is_second = step.step == self._first + 1
        self._pace += (step.seconds - self._pace) * (1.0 if is_first or is_second else PACE)
        left = 60 * self.settings.minutes - self._seconds_used()
        steps = math.floor((left - self._sampling_time(self._pace)) / self._pace)
        self.training.total = step.step + max(int(is_first and left > 0), steps)
        return self.training.total == step.step

    def _sampling_time(self, step_seconds: float) -> float:
        """Return how long samples and evaluation take: measured, or else by what they compute.

        A step computes about three times as much as asking the network for its pictures.
        """
        samples = 2 * len(SAMPLE_SEEDS) * SAMPLE_STEPS * passes_per_step(self.training)
        calls = samples + 2 * LEVELS * EVALUATED
        return self._sampling_seconds or step_seconds * calls / (3 * self._pictures)

    def _seconds_left(self, step_seconds: float) -> float | None:
        """Return the seconds that are left of the run, its samples included.

        None after this process's first step, which prepares what the others find ready.
        """
        if self.settings.minutes:
            return max(0.0, 60 * self.settings.minutes - self._seconds_used())
        if self.training.step <= self._first:
            return None
        step, total, every = self.training.step, self.training.total, self.settings.sample_every
        grids = 1 + (total // every - step // every if every else 0)
        return (total - step) * step_seconds + grids * self._sampling_time(step_seconds)

    def _save(self) -> None:
        self.recorder.save(self.training, self.about, {"seconds": round(self._seconds_used(), 3)})
        self.recorder.reset_clock()

    def _pause(self) -> None:
        """Save, and wait as long as the page wants a pause; samples can be asked for meanwhile."""
        self._save()
        step, begun = self.training.step, time.monotonic()
        self.recorder.log_event("paused", step=step, line=f"paused and saved at step {step}")
        folder = self.recorder.folder
        while process.is_requested(folder, process.PAUSE) and not self._stopping():
            if process.take_request(folder, process.SAMPLE):
                self._sample_and_evaluate()
            time.sleep(PAUSE_SECONDS)
        self._began += time.monotonic() - begun
        self.recorder.log_event("continued", step=step)
        self.recorder.reset_clock()

    def _sample_and_evaluate(self) -> None:
        """Sample on the fixed noises and measure; nothing of it touches training.

        A stop that comes meanwhile is obeyed at once; the samples are made when the run goes on.
        """
        begun, step = time.monotonic(), self.training.step
        steps = LORA_STEPS if self.settings.lora_rank else SAMPLE_STEPS
        average = self._sample(self.training.model, steps)
        raw = None if average is None else self._sample(self.training.raw, steps)
        if average is None or raw is None:
            return
        measured = self.training.evaluate()
        self.recorder.log_event("evaluation", step=step, **asdict(measured))
        self.recorder.log_event(
            "samples",
            step=step,
            file=self.recorder.save_grid(make_grid(average), f"step-{step:09d}.png"),
            raw=self.recorder.save_grid(make_grid(raw), f"raw-{step:09d}.png"),
            nearest=self._nearest(average),
            **self._prompts(),
            seconds=round(time.monotonic() - begun, 2),
        )
        self._sampling_seconds = time.monotonic() - begun
        self.recorder.reset_clock()

    def _sample_quickly(self) -> None:
        """Sample the averaged weights in few steps and measure nothing, so that it costs little.

        A network that takes everything for grey yet shows what noise it would have left.
        """
        begun, step = time.monotonic(), self.training.step
        pictures = self._sample(self.training.model, EARLY_STEPS, FLAT)
        if pictures is None:
            return
        file = self.recorder.save_grid(make_grid(pictures), f"step-{step:09d}.png")
        seconds = round(time.monotonic() - begun, 2)
        self.recorder.log_event("samples", step=step, file=file, **self._prompts(), seconds=seconds)
        self.recorder.reset_clock()

    def _prompts(self) -> dict[str, list[str]]:
        """Return the prompt of each sample; nothing where the model is unconditional."""
        prompts = self.training.sample_prompts
        return {"prompts": [prompts[k % len(prompts)] for k in SAMPLE_SEEDS]} if prompts else {}

    def _sample(self, model: Model, steps: int, flat: float = 0.0) -> Tensor | None:
        """Return pictures [16, C, H, W] of a model on the fixed noises; None if stopped.

        If their values spread less than `flat`, they are those before the last step.
        """
        if self.settings.lora_rank:  # one at a time: its model is large
            found: list[Tensor] = []
            for seed in SAMPLE_SEEDS:
                if (picture := self._sample_some(model, steps, flat, [seed])) is None:
                    return None
                found.append(picture)
            return torch.cat(found)
        return self._sample_some(model, steps, flat, SAMPLE_SEEDS)

    def _sample_some(
        self, model: Model, steps: int, flat: float, seeds: Sequence[int]
    ) -> Tensor | None:
        """Return the pictures of some of the fixed noises, each with its own prompt."""
        sampling = model.sampling(steps=min(steps, model.diffusion.schedule.timesteps))
        training, device = model.unet.training, self.training.machine.device
        model.unet.eval()
        try:
            denoiser = sample_denoiser(self.training, model, first=seeds[0])
            before = x = None
            for step in sampling.steps(denoiser, model.shape, seeds, device):
                before, x = x, step.x_t
                if self._stopping():
                    return None
            is_flat = x is not None and float(x.std(dim=(1, 2, 3)).mean()) < flat
            last = before if is_flat and before is not None else x
            return None if last is None else model.space.decode(last)
        finally:
            model.unet.train(training)

    def _nearest(self, pictures: Tensor) -> list[tuple[int, float]]:
        """Return the training picture most like each sample, and how far it is."""
        training, flips = self.training, self.settings.flip
        if journal.baseline(self.recorder.folder) is None:
            usual = measure_baseline(training.pixels, training.rows, training.held_out, flips)
            if usual is not None:
                self.recorder.log_event("baseline", **asdict(usual))
        back = self._give_back if training.config.is_latent else None
        found = find_nearest(pictures, training.pixels, training.rows, flips, back)
        distances = [round(distance, 4) for distance in found.distance.tolist()]
        return list(zip(found.picture.tolist(), distances, strict=True))

    def _give_back(self, rows: Tensor) -> Tensor:
        """Return the pictures at some rows as the first stage gives them back."""
        training = self.training
        z = training.data.plain(rows).to(training.machine.device)
        return training.model.space.decode(z)
