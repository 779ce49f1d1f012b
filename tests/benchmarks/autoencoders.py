"""What an autoencoder gives back of pictures it never saw, while it is trained.

    python -m tests.benchmarks.autoencoders own DATA --steps 1900 --seeds 0
    python -m tests.benchmarks.autoencoders tuned DATA --steps 800 --set training.held_out=0.05

`own` trains that of the preset latent-own, `tuned` the decoder of latent128's; --set changes the
settings. Told are the mean PSNR (dB), its lowest, and the mean SSIM of --count held-out pictures,
before and after each share of the steps, with the processor time that training took until then. A
line of JSON each, added to --out.
"""

import argparse
import json
import time
from collections.abc import Iterator
from typing import Any

import torch

from sd.checkpoints.first_stage import open_autoencoder
from sd.common.device import Machine, choose
from sd.config import Config
from sd.data.image_set import read_images
from sd.data.images import to_float
from sd.diffusion.reconstruction import psnr, ssim
from sd.networks.first_stage import encode_mode
from sd.training.evaluation import evenly_spaced_rows
from sd.training.first_stage import FirstStageTraining

PRESETS = {"own": ("latent-own", "autoencoder_steps"), "tuned": ("latent128", "tune_steps")}


@torch.no_grad()
def judge(training: FirstStageTraining, count: int) -> dict[str, float]:
    """Return how well held-out pictures come back, each alone and whole."""
    training.network.eval()
    signal, likeness = [], []
    for row in evenly_spaced_rows(training.held_out, count).tolist():
        x = to_float(training.pixels[row : row + 1]).to(training.machine.device)
        found = training.network.decode(encode_mode(training.network, x)).clamp(-1, 1)
        signal.append(float(psnr(x, found)))
        likeness.append(float(ssim(x, found)))
    training.network.train()
    return {
        "psnr": round(sum(signal) / len(signal), 2),
        "lowest": round(min(signal), 2),
        "ssim": round(sum(likeness) / len(likeness), 4),
    }


def measure(args: argparse.Namespace, machine: Machine) -> Iterator[dict[str, Any]]:
    """Yield the figures of every seed after each look."""
    preset, key = PRESETS[args.command]
    settings = [f"first_stage.{key}={args.steps}", "training.held_out=0.05", *args.set]
    config = Config.preset(preset).with_settings(settings)
    height, width = config.training.input_height, config.training.input_width
    images = read_images(args.data, height=height, width=width)
    looks = {round(args.steps * k / args.looks) for k in range(1, args.looks + 1)}
    for seed in args.seeds:
        tuned = open_autoencoder(config) if args.command == "tuned" else None
        training = FirstStageTraining(config, images, seed, machine, tuned)
        told = {"command": args.command, "data": args.data, "seed": seed, "settings": args.set}
        yield {**told, "step": 0, "of": args.steps, "seconds": 0, **judge(training, args.count)}
        used, begun = 0.0, time.process_time()
        for step in training.steps():
            if step.step in looks:
                used += time.process_time() - begun
                if step.step == args.steps:
                    training.finish()
                told |= {"step": step.step, "of": args.steps, "seconds": round(used)}
                yield {**told, **judge(training, args.count)}
                begun = time.process_time()


def main() -> None:
    """Measure and print."""
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("command", choices=PRESETS)
    made.add_argument("data", help="pictures, as for `python -m sd train`")
    made.add_argument("--steps", type=int, required=True)
    made.add_argument("--looks", type=int, default=4, help="at so many times, evenly")
    made.add_argument("--seeds", type=int, nargs="+", default=[0])
    made.add_argument("--count", type=int, default=32, help="held-out pictures")
    made.add_argument("--set", action="append", default=[])
    made.add_argument("--out", help="a file that gets the lines too")
    args = made.parse_args()
    for found in measure(args, choose("cpu").apply()):
        line = json.dumps(found)
        print(line, flush=True)
        if args.out:
            with open(args.out, "a", encoding="utf-8") as file:
                file.write(line + "\n")


if __name__ == "__main__":
    main()
