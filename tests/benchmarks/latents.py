"""What is learned in latents: by what the network estimates, and against pixels at 128.

    python -m tests.benchmarks.latents race RUN --steps 120 --seeds 0 1
    python -m tests.benchmarks.latents against RUN --seconds 150 --seeds 0

RUN is a run of `latent128` on captioned pictures; its pictures and latents are taken, so that they
are encoded once. `race` trains the preset's network to estimate x0, v and eps, equal steps.
`against` gives latents, and pixels in blocks of 8 and of 4, equal seconds of processor time; the
latents begin with what encoding their pictures takes here. A line of JSON an arm and a look, added
to --out; several steps or seconds are looks at one training.

Told of held-out pictures is the root mean square error of x0, in standard deviations of what the
network sees, at three signal-to-noise ratios. Told of 48 samples (guidance 2, 15 steps of
dpmpp_2m), brought to 64 pixels: the median place of the asked picture among all by RMS, the RMS
distance to it, and the fine detail, what a blur of one pixel takes away, in that of the pictures.
"""

import argparse
import json
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sd.checkpoints.latent_set import open_latents
from sd.common import device
from sd.config import Config
from sd.data.image_set import ImageSet
from sd.data.images import to_float
from sd.data.ingest import open_images
from sd.diffusion.guidance import Guidance
from sd.runs import LATENTS, PICTURES
from sd.training.evaluation import evenly_spaced_rows, losses
from sd.training.latents import encode_blocks
from sd.training.loop import Training
from tests.benchmarks.conditioning.starter import blur, distances, places

RATIOS = (0.0003, 1.0, 55.0)
PREDICTIONS = ("x0", "v", "eps")
SIDE, ASKED, BATCH, HELD_OUT = 64, 48, 16, 64
GUIDANCE, STEPS, SAMPLER = 2.0, 15, "dpmpp_2m"
ENCODED = 32  # pictures that are encoded to time it


def arms(command: str) -> dict[str, Config]:
    """Return the settings of each arm by its name."""
    latent = Config.preset("latent128")
    if command == "race":
        return {
            each: latent.with_settings([f"diffusion.prediction={each}"]) for each in PREDICTIONS
        }
    small = Config.preset("small")
    sides = [f"training.input_{each}=128" for each in ("height", "width")]
    ema = f"training.ema_decay={latent.training.ema_decay}"
    blocks = {
        f"pixels in blocks of {patch}": small.with_settings(
            [*sides, ema, f"unet.patch_size={patch}"]
        )
        for patch in (8, 4)
    }
    return {"latents": latent} | blocks


def train(training: Training, steps: int | None, seconds: float) -> float:
    """Train up to a step, or for so much processor time; return the time that it took."""
    begun = time.process_time()
    for step in training.steps():
        if step.step == steps or (steps is None and time.process_time() - begun >= seconds):
            break
    return time.process_time() - begun


def x0_errors(training: Training) -> list[float]:
    """Return the RMS error of x0 on held-out pictures at each of `RATIOS`."""
    model, rows = training.model, evenly_spaced_rows(training.held_out, HELD_OUT)
    schedule, kind = model.diffusion.schedule, model.diffusion.prediction
    times = [
        min(range(1, schedule.timesteps + 1), key=lambda t: abs(schedule.snr(t) / ratio - 1))
        for ratio in RATIOS
    ]
    x0, prompts = training.data.plain(rows), training._prompts[rows]
    found = losses(model, x0, prompts, times, training.seed, BATCH)
    ratios = [float(schedule.snr(t)) for t in times]
    of_x0 = {"x0": lambda _: 1.0, "eps": lambda snr: 1 / snr, "v": lambda snr: 1 / (snr + 1)}
    spread = float(training.data.plain(training.rows[:256]).std())
    errors = zip(found, ratios, strict=True)
    return [round((error * of_x0[kind](snr)) ** 0.5 / spread, 3) for error, snr in errors]


def sample(training: Training, captions: Sequence[str]) -> Tensor:
    """Return a picture for each caption, [N, 3, H, W]."""
    model, made = training.model, []
    sampling = model.sampling(SAMPLER, STEPS)
    for first in range(0, len(captions), BATCH):
        part = list(captions[first : first + BATCH])
        denoiser = model.guided(part, guidance=Guidance((GUIDANCE,)))
        seeds = range(first, first + len(part))
        z = sampling.sample(denoiser, model.shape, seeds, training.machine.device)
        made.append(model.space.decode(z).cpu())
    return torch.cat(made)


def detail(pictures: Tensor) -> float:
    """Return the RMS of what a blur of one pixel takes away."""
    return float((pictures - blur(pictures)).square().mean().sqrt())


def judge(training: Training, images: ImageSet) -> dict[str, Any]:
    """Return the figures of a training's averaged weights."""
    asked = evenly_spaced_rows(training.rows, ASKED)
    captions = images.captions or ()
    with torch.no_grad():
        made = sample(training, [captions[row] for row in asked.tolist()])
    small, pictures = (reduced(each) for each in (made.clamp(-1, 1), to_float(images.pixels)))
    distance = distances(small, pictures)
    return {
        "x0_error": x0_errors(training),
        "place": statistics.median(places(distance, asked)),
        "rms": round(float(distance.gather(1, asked[:, None]).mean()), 3),
        "detail": round(detail(small) / detail(pictures[asked]), 2),
    }


def reduced(pictures: Tensor) -> Tensor:
    """Return pictures at `SIDE` pixels, each the mean of those that it covers."""
    return F.adaptive_avg_pool2d(pictures, SIDE)


def measure(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield the figures of every arm, seed by seed."""
    machine, folder = device.choose("cpu").apply(), Path(args.run)
    images = open_images(folder / PICTURES)
    latents = open_latents(folder / LATENTS, Config.preset("latent128"))
    begun = time.process_time()
    autoencoder = latents.latents.autoencoder
    for _ in encode_blocks(images.pixels[:ENCODED], autoencoder, machine, 1, 0):
        pass
    encoding = (time.process_time() - begun) / ENCODED * len(images.pixels)
    for seed in args.seeds:
        for name, config in arms(args.command).items():
            if args.arms and name not in args.arms:
                continue
            config = config.with_settings(["training.steps=1000000", *args.set])
            known = latents if config.is_latent else None
            training = Training(config, images, seed, machine, latents=known)
            used = before = encoding if config.is_latent else 0.0
            for steps, seconds in args.looks:
                used += train(training, steps, seconds - used)
                yield {
                    "command": args.command,
                    "arm": name,
                    "seed": seed,
                    "settings": args.set,
                    "steps": training.step,
                    "seconds": round(used - before),
                    "encoding": round(before),
                    **judge(training, images),
                }


def main() -> None:
    """Measure and print."""
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("command", choices=("race", "against"))
    made.add_argument("run", help="a run of latent128, for its pictures and latents")
    made.add_argument("--steps", type=int, nargs="+", default=[], help="after which is judged")
    made.add_argument(
        "--seconds", type=float, nargs="+", default=[], help="of processor time, encoding counted"
    )
    made.add_argument("--seeds", type=int, nargs="+", default=[0])
    made.add_argument("--arms", nargs="+", help="those that are run; all if not told")
    made.add_argument("--set", action="append", default=[], help="of every arm")
    made.add_argument("--out", help="a file that gets the lines too")
    args = made.parse_args()
    if bool(args.steps) == bool(args.seconds):
        made.error("tell either --steps or --seconds")
    args.looks = [(steps, 0.0) for steps in args.steps] or [(None, each) for each in args.seconds]
    for found in measure(args):
        line = json.dumps(found)
        print(line, flush=True)
        if args.out:
            with open(args.out, "a", encoding="utf-8") as file:
                file.write(line + "\n")


if __name__ == "__main__":
    main()
