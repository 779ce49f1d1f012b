"""The closed-form denoisers of the starter set at 64 pixels against the small preset's U-Net.

    python -m tests.benchmarks.ideal

All three are asked for the same 16 pictures at the same t, one after another in one process; the
figures are medians of the rounds' own times and ratios. The ideal denoiser reads in its second
pass only the pictures that have any weight: few at small t, all of them at large.
"""

import statistics
import time
from collections.abc import Callable

import torch

from sd.common import device
from sd.config import Config
from sd.data.image_set import read_images
from sd.data.images import to_float
from sd.diffusion.closed_form import IdealDenoiser, LinearDenoiser
from sd.diffusion.guidance import Denoiser
from sd.diffusion.loss import Diffusion
from sd.networks.unet import UNetModel

ROUNDS, PICTURES = 9, 16


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    machine = device.choose("cpu").apply()
    config = Config.preset("small")
    diffusion = Diffusion.from_config(config.diffusion)
    pixels = read_images("starter", height=64, width=64).pixels
    network = UNetModel.from_config(config.unet).eval().to(memory_format=torch.channels_last)
    asked = {"small U-Net": Denoiser(network, diffusion), "ideal": IdealDenoiser(pixels, diffusion)}
    fitting = seconds(lambda: asked.update(linear=LinearDenoiser(pixels, diffusion)))
    print(f"{machine.label}; {len(pixels)} pictures; linear fitted in {fitting:.1f} s")
    x0 = to_float(pixels[:PICTURES])
    for t in (10, 500, 1000):
        x_t = diffusion.q_sample(x0, t, torch.randn(x0.shape))
        times: dict[str, list[float]] = {name: [] for name in asked}
        for round_ in range(ROUNDS + 1):
            for name, denoiser in asked.items():
                elapsed = seconds(lambda of=denoiser, x=x_t, at=t: of(x, at))
                if round_:  # the first round warms up
                    times[name].append(elapsed)
        for name in ("ideal", "linear"):
            both = zip(times[name], times["small U-Net"], strict=True)
            ratio = statistics.median(ours / network for ours, network in both)
            medians = [statistics.median(times[each]) for each in (name, "small U-Net")]
            print(f"t = {t}: {name} {medians[0]:.3f} s, U-Net {medians[1]:.3f} s: {ratio:.1%}")


if __name__ == "__main__":
    main()
