"""What a step takes whose blocks are computed once more: memory and time in a plain step's.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.recomputation small 32

The peak of what torch allocates in one step of a preset's network on random pictures, as many at
once as are told, and the processor seconds of five steps each, in turn.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile

from sd.config import Config
from sd.networks.blueprint import blueprint
from sd.networks.recomputation import recompute_blocks
from sd.training.randomness import new_network

ROUNDS, TOKENS = 5, 16


def stepped(config: Config, pictures: int, recompute: bool) -> Callable[[], None]:
    """Return a step of a network without its update."""
    network = new_network(config, 0).train()
    if recompute:
        recompute_blocks(network)
    x = torch.randn(pictures, config.unet.channel, *config.latent_shape[1:])
    t, width = torch.zeros(pictures), config.unet.context_dim
    context = torch.randn(pictures, TOKENS, width) if width else None

    def step() -> None:
        torch.autograd.backward(network(x, t, context).square().mean())

    step()  # gradients are there from now on
    return step


def peak(step: Callable[[], None]) -> int:
    """Return the most bytes that a step has allocated at once."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        step()
    events = seen.profiler.kineto_results.events()  # type: ignore[union-attr]
    now = most = 0
    for each in sorted(events, key=lambda event: event.start_ns()):
        if each.name() == "[memory]":
            now += each.nbytes()
            most = max(most, now)
    return most


def main() -> None:
    """Print one line of figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("preset")
    parser.add_argument("pictures", type=int)
    args = parser.parse_args()
    config = Config.preset(args.preset)
    steps = [stepped(config, args.pictures, recompute) for recompute in (False, True)]
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for step, taken in zip(steps, seconds, strict=True):
            begun = time.process_time()
            step()
            taken.append(time.process_time() - begun)
    plain, anew = (peak(step) for step in steps)
    plan = blueprint(config.unet, *config.latent_shape[1:])
    ratio = statistics.median(b / a for a, b in zip(*seconds, strict=True))
    print(
        f"memory {anew / plain:.2f} (by the plan "
        f"{plan.recomputed_bytes / plan.activation_bytes:.2f}), time {ratio:.2f}"
    )


if __name__ == "__main__":
    main()
