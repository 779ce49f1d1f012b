"""The training step: ours against the plain form, its share of the processor's peak, its memory.

    python -m tests.benchmarks.training [--preset seed] [--batch 10] [--rounds 5] [--json]
    python -m tests.benchmarks.training --preset tiny --batch 64 [--precision bfloat16] [--plain]

Ours is `sd.training.loop` itself, on random pictures: drawing, clipping and averaging included. The
plain form is the same network with attention written out and pictures channel by channel, with
torch's default allocator, path of matrix products and AdamW, and does nothing but draw, forward,
squared error, backward and step; it takes part for `seed`, or with --plain. Each has a process of
its own; they alternate. FLOPs are three times the forward's. With --precision bfloat16 ours in
bfloat16 is timed beside ours in float32.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from sd.common import device
from sd.config import PRESETS, Config
from sd.data.images import to_float
from sd.diffusion.loss import Diffusion
from sd.networks.unet import UNetModel
from sd.training.loop import Training
from sd.training.planning.forecast import random_pictures
from tests.benchmarks import timing
from tests.benchmarks.network.plain import forward_flops, plain_attention
from tests.benchmarks.timing import Ratio

VARIANTS = ("ours", "ours-bf16", "plain")
NAMES = {"ours": "ours", "ours-bf16": "ours in bfloat16", "plain": "plain form"}
FASTER, MEMORY = 4.5, 4.0  # the seed's targets: times as fast, GiB at most
SHARE = 0.45  # of the peak: the target of the presets made for training here
ENDLESS = 10**8  # steps: more than are taken


class Ours:
    """Our training, one step after another."""

    def __init__(self, config: Config) -> None:
        machine = device.choose("cpu").apply()
        self.label = f"{machine.label}, matrix products by {machine.matmul}"
        self.steps = Training(config, random_pictures(config), 0, machine).steps()

    def step(self) -> None:
        """Take the next step."""
        next(self.steps)


class Plain:
    """The same step in the plain form; this process must have set nothing up."""

    def __init__(self, config: Config) -> None:
        self.label, self.size = "", config.training.batch_size
        self.pixels = random_pictures(config).pixels
        self.network = UNetModel.from_config(config.unet).train()
        self.diffusion = Diffusion.from_config(config.diffusion)
        self.optimizer = torch.optim.AdamW(self.network.parameters())

    def step(self) -> None:
        """Draw pictures, times and noise; forward, backward, and one step of AdamW."""
        x0 = to_float(self.pixels[torch.randint(len(self.pixels), (self.size,))])
        t = torch.randint(1, self.diffusion.schedule.timesteps + 1, (self.size,))
        with plain_attention():
            loss = self.diffusion.loss(self.network, x0, t, torch.randn_like(x0)).mean
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()


def answers(words: argparse.Namespace) -> Mapping[str, Callable[..., Any]]:
    """Return what a variant's process can be asked."""
    precision = "bfloat16" if words.variant == "ours-bf16" else "float32"
    settings = {
        "steps": ENDLESS,
        "minutes": 0,
        "batch_size": words.batch,
        "precision": precision,
    }
    config = Config.preset(words.preset).with_settings(
        [f"training.{name}={value}" for name, value in settings.items()]
    )
    made = (Plain if words.variant == "plain" else Ours)(config)
    return {
        "label": lambda: made.label,
        "step": lambda: timing.seconds(made.step),
        "memory": timing.most_memory,
        "peak": timing.peak,
        "flops": lambda: 3 * words.batch * forward_flops(words.preset),
    }


def variants(words: argparse.Namespace) -> list[str]:
    """Return the variants that a command line asks for."""
    lower = words.precision == "bfloat16"
    plain = words.plain or words.preset == "seed"
    return ["ours", *(["ours-bf16"] if lower else []), *(["plain"] if plain else [])]


def measure(words: argparse.Namespace) -> dict[str, Any]:
    """Let the variants take turns."""
    asked_for = ["--preset", words.preset, "--batch", str(words.batch)]
    program = ["tests.benchmarks.training", *asked_for, "--variant"]
    with timing.children({name: [*program, name] for name in variants(words)}) as asked:
        one = asked["ours"]
        before = one.ask("peak")
        times = timing.turns(asked, words.rounds, "step")
        memory = {name: child.ask("memory") for name, child in asked.items()}
        return {
            "preset": words.preset,
            "batch": words.batch,
            "rounds": words.rounds,
            "label": one.ask("label"),
            "flops": one.ask("flops"),
            "peak": max(before, one.ask("peak")),
            "seconds": timing.medians(times),
            "ratio": {
                name: Ratio.of(times[name], times["ours"]) for name in times if name != "ours"
            },
            "memory": memory,
        }


def lines(result: dict[str, Any]) -> Iterator[str]:
    """Yield the result in words."""
    seed = result["preset"] == "seed"
    yield (
        f"{result['preset']}, batch {result['batch']}, {result['label']}: "
        f"{result['flops'] / 1e9:.1f} GFLOP a step; peak {result['peak'] / 1e9:.0f} GFLOP/s"
    )
    for name, took in result["seconds"].items():
        rate, held = result["flops"] / took, result["memory"][name] / 2**30
        share = "" if seed or name != "ours" else f", target {SHARE:.0%}"
        most = f", target below {MEMORY:g}" if seed and name == "ours" else ""
        yield (
            f"{NAMES[name]}: {took:.4f} s a step, {result['batch'] / took:.1f} pictures a second, "
            f"{rate / 1e9:.0f} GFLOP/s ({rate / result['peak']:.0%} of the peak{share}), "
            f"{held:.2f} GiB at most{most}"
        )
    for name, ratio in result["ratio"].items():
        wanted = f", target {FASTER}" if seed and name == "plain" else ""
        yield f"ours takes a step {ratio} times as fast as {NAMES[name]}{wanted}"


def main() -> None:
    """Measure and print, or answer as a variant."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", choices=PRESETS, default="seed")
    parser.add_argument("--batch", type=int, help="pictures a step; the preset's own if not told")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--plain", action="store_true", help="the plain form for any preset")
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    timing.add_flags(parser)
    words = parser.parse_args()
    words.batch = words.batch or Config.preset(words.preset).training.batch_size
    if words.variant:
        timing.serve(lambda: answers(words))
        return
    result = measure(words)
    timing.tell(result, lines(result), words.json)


if __name__ == "__main__":
    main()
