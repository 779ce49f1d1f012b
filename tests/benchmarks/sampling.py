"""Which sampler gives the same pictures with the fewest network calls, and what its loop costs.

    python -m tests.benchmarks.sampling MODEL [--reference-steps 1000] [--count 64]
                                              [--spacings trailing,karras] [--no-clip]
    python -m tests.benchmarks.sampling outside [--rounds 5]

MODEL is a checkpoint or run folder. From the same start noises every deterministic sampler makes
its pictures with so many network calls; told is their root mean square distance to a reference,
dpmpp_2m with many steps, on the scale of [-1, 1]. heun with half of those steps shows how far the
reference itself can be trusted. The model is told nothing.

outside: 16 pictures, 50 steps of ddim, the network of `tiny` with random weights. Told is the time
of the whole loop in that of the network calls within it, alone and with the film that the page's
live view notes and hands on; the two take turns. Both take --json.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sd.checkpoints.checkpoint import load_checkpoint
from sd.checkpoints.model import Model
from sd.common import device
from sd.config import Config
from sd.diffusion.timesteps import SPACINGS
from sd.generation.film import Film, data_uri
from sd.networks.unet import UNetModel
from tests.benchmarks import timing
from tests.benchmarks.network.plain import filled
from tests.benchmarks.timing import Ratio

SOLVERS = ("ddim", "euler", "heun", "dpmpp_2m", "unipc")  # those that draw nothing on the way
CALLS = (5, 8, 10, 12, 16, 20, 25, 50)
NEAR = 0.02  # 2.5 of 255: a distance that nobody sees
PICTURES, STEPS = 16, 50  # of `outside`
LOOKS = (0.25, 0.5, 1.0, 2.0)  # seconds between two looks of the page at its sampling
OUTSIDE = 1.02  # the target of the loop's time, in that of its network calls


class Way(NamedTuple):
    """How a model is sampled, apart from the sampler and its steps."""

    model: Model
    device: str
    count: int
    clip: bool

    def calls(self, sampler: str, steps: int, spacing: str) -> int:
        """Return how often a sampling asks the network."""
        return self.model.sampling(sampler, steps, spacing=spacing).calls

    def pictures(self, sampler: str, steps: int, spacing: str = "trailing") -> Tensor:
        """Return the pictures of the first `count` seeds."""
        sampling = self.model.sampling(sampler, steps, spacing=spacing, clip_x0=self.clip)
        seeds = range(self.count)
        return sampling.sample(self.model.denoiser, self.model.shape, seeds, self.device).cpu()


def distances(pictures: Tensor, reference: Tensor) -> Tensor:
    """Return the root mean square distance of each picture [N] to its own reference."""
    return (pictures - reference).square().flatten(1).mean(1).sqrt()


def rms(each: Tensor) -> float:
    """Return the distance of all pictures together."""
    return float(each.square().mean().sqrt())


def steps_of(way: Way, sampler: str, calls: int, spacing: str) -> int:
    """Return the most steps that ask the network no more than `calls` times."""
    within = (n for n in range(calls, 0, -1) if way.calls(sampler, n, spacing) <= calls)
    return next(within)


def compare(way: Way, spacings: Sequence[str], reference_steps: int) -> dict[str, Any]:
    """Return the distance of every sampler, spacing and number of calls."""
    reference = way.pictures("dpmpp_2m", reference_steps)
    other = way.pictures("heun", reference_steps // 2)
    rows = []
    for spacing in spacings:
        for sampler in SOLVERS:
            for calls in CALLS:
                steps = steps_of(way, sampler, calls, spacing)
                apart = distances(way.pictures(sampler, steps, spacing), reference)
                row = {"spacing": spacing, "sampler": sampler, "calls": calls, "steps": steps}
                near = int((apart < NEAR).sum())
                asked = way.calls(sampler, steps, spacing)
                rows.append({**row, "asked": asked, "rms": rms(apart), "near": near})
    return {
        "count": way.count,
        "clip": way.clip,
        "reference_steps": reference_steps,
        "trust": rms(distances(other, reference)),
        "rows": rows,
    }


def compared(result: dict[str, Any]) -> Iterator[str]:
    """Yield the comparison as a table for each spacing, and the fewest calls that are enough."""
    clipped = "with" if result["clip"] else "without"
    yield (
        f"{result['count']} pictures, {clipped} clipping; reference: dpmpp_2m with "
        f"{result['reference_steps']} steps, {result['trust']:.4f} from heun with half of them"
    )
    for spacing in dict.fromkeys(row["spacing"] for row in result["rows"]):
        rows = [row for row in result["rows"] if row["spacing"] == spacing]
        yield from ("", f"{spacing}: distance by network calls (asked, where fewer)", "")
        yield from _table(rows)
        yield ""
        for sampler in SOLVERS:
            yield _fewest([row for row in rows if row["sampler"] == sampler], result["count"])


def _table(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield f"| sampler | {' | '.join(map(str, CALLS))} |"
    yield "|---" * (1 + len(CALLS)) + "|"
    for sampler in SOLVERS:
        cells = [_cell(row) for row in rows if row["sampler"] == sampler]
        yield f"| {sampler} | {' | '.join(cells)} |"


def _cell(row: dict[str, Any]) -> str:
    asked = "" if row["asked"] == row["calls"] else f" ({row['asked']})"
    return f"{row['rms']:.4f}{asked}"


def _fewest(rows: Sequence[dict[str, Any]], count: int) -> str:
    """Return a line about the fewest calls from which on a sampler stays near the reference."""
    sampler = rows[0]["sampler"]
    far = [place for place, row in enumerate(rows) if row["rms"] >= NEAR]
    first = far[-1] + 1 if far else 0
    if first == len(rows):
        return f"{sampler}: farther than {NEAR} even with {rows[-1]['asked']} calls"
    row = rows[first]
    return (
        f"{sampler}: nearer than {NEAR} from {row['asked']} calls on ({row['rms']:.4f}; "
        f"{row['near']} of {count} pictures are)"
    )


class Timed(nn.Module):
    """A network that adds up the time of its calls in `seconds`."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.seconds = network, 0.0

    def forward(self, *told: Any, **more: Any) -> Tensor:
        """Call the network."""
        began = time.perf_counter()
        out: Tensor = self.network(*told, **more)
        self.seconds += time.perf_counter() - began
        return out


class Loop:
    """A sampling of the network of `tiny`; each way returns its time in that of its calls."""

    def __init__(self) -> None:
        config = Config.preset("tiny")
        network = filled(UNetModel.from_config(config.unet)).eval()
        self.network = Timed(network.to(memory_format=torch.channels_last))
        self.model = Model(self.network, config)
        self.sampling = self.model.sampling("ddim", STEPS)
        self.x = self.sampling.start(self.model.shape, range(PICTURES))

    def alone(self) -> float:
        """Sample with nobody watching."""
        began, self.network.seconds = time.perf_counter(), 0.0
        self.sampling.sample(self.model.denoiser, self.model.shape, range(PICTURES))
        return (time.perf_counter() - began) / self.network.seconds

    def watched(self) -> float:
        """Sample with a film that is handed on as often as the page does."""
        began = handed = time.perf_counter()
        self.network.seconds = 0.0
        film, looks = Film(self.model.space, self.model.diffusion.schedule, STEPS, start=self.x), 0
        for step in self.sampling.steps(self.model.denoiser, self.model.shape, range(PICTURES)):
            film.add(step)
            if time.perf_counter() - handed >= LOOKS[min(looks, len(LOOKS) - 1)]:
                film.flush(data_uri)
                handed, looks = time.perf_counter(), looks + 1
        film.end()
        film.flush(data_uri)
        return (time.perf_counter() - began) / self.network.seconds


def outside(rounds: int) -> dict[str, Any]:
    """Return what a sampling takes in the time of its network calls, unwatched and watched."""
    machine = device.choose("cpu").apply()
    loop = Loop()
    times = timing.alternate({"alone": loop.alone, "watched": loop.watched}, rounds)
    ratios = {name: Ratio.of(each, [1.0] * len(each)) for name, each in times.items()}
    return {"label": machine.label, "ratio": ratios}


def told(result: dict[str, Any]) -> Iterator[str]:
    """Yield what `outside` found in words."""
    yield f"{result['label']}: {STEPS} steps of {PICTURES} pictures, in the time of network calls"
    for name, kind in (("alone", "the loop"), ("watched", "the loop and its film, as shown live")):
        median, low, high = result["ratio"][name]
        yield (
            f"{kind}: {median:.3f} ({low:.3f} to {high:.3f}), {1 - 1 / median:.1%} outside the "
            f"network; target at most {OUTSIDE}"
        )


def spacings(text: str) -> list[str]:
    """Return the spacings of "trailing,karras"."""
    found = text.split(",")
    if set(found) - set(SPACINGS):
        raise argparse.ArgumentTypeError(f"{text!r}: must be of {', '.join(SPACINGS)}")
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="checkpoint or run folder, or the word outside")
    parser.add_argument("--reference-steps", type=int, default=1000)
    parser.add_argument("--count", type=int, default=64, help="pictures")
    parser.add_argument("--spacings", type=spacings, default=["trailing", "karras"])
    parser.add_argument("--no-clip", action="store_true", help="leave the estimates of x0 as is")
    timing.add_flags(parser)
    words = parser.parse_args()
    if words.model == "outside":
        result = outside(words.rounds)
        timing.tell(result, told(result), words.json)
        return
    machine = device.choose().apply()
    model = load_checkpoint(words.model, machine.device)
    way = Way(model, machine.device, words.count, not words.no_clip)
    result = compare(way, words.spacings, words.reference_steps)
    timing.tell(result, compared(result), words.json)


if __name__ == "__main__":
    main()
