"""The seed network's forward and training step, as built here against attention written out.

    python -m tests.benchmarks.network

Both variants alternate in one process; the figures are medians of the rounds' own ratios.
"Written out" is softmax(q k^T / sqrt(d)) v with every score kept, as in the reference's code, and
torch's default path for matrix products.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest.mock import patch

import torch
import torch.nn.functional as F

from sd import device
from sd.config import Config
from sd.unet import UNetModel

ROUNDS = 5


def written_out(q, k, v, attn_mask=None):
    return torch.softmax(q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5, dim=-1) @ v


@contextmanager
def published() -> Iterator[None]:
    device._set_matmul("mkl")
    with patch.object(F, "scaled_dot_product_attention", written_out):
        yield


@contextmanager
def ours() -> Iterator[None]:
    device._set_matmul(device.choose("cpu").matmul)
    yield


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def compare(name: str, work: Callable[[], object]) -> None:
    times: dict[str, list[float]] = {"ours": [], "written out": []}
    for round_ in range(ROUNDS + 1):
        order = [("ours", ours), ("written out", published)]
        for variant, setting in order if round_ % 2 else reversed(order):
            with setting():
                elapsed = seconds(work)
            if round_:  # the first round warms up
                times[variant].append(elapsed)
    ratios = [b / a for a, b in zip(times["ours"], times["written out"], strict=True)]
    medians = ", ".join(f"{key} {statistics.median(value):.2f} s" for key, value in times.items())
    print(
        f"{name}: {statistics.median(ratios):.2f} times as fast "
        f"({min(ratios):.2f} to {max(ratios):.2f}; {medians})"
    )


def main() -> None:
    machine = device.choose("cpu").apply()
    print(machine.label, machine.matmul)
    network = UNetModel.from_config(Config.preset("seed").unet)
    network = network.to(memory_format=torch.channels_last)
    x, t = torch.randn(8, 1, 32, 32), torch.full((8,), 100)

    def forward() -> None:
        with torch.no_grad():
            network(x, t)

    compare("forward, 8 pictures", forward)
    compare("forward and backward, 8 pictures", lambda: network(x, t).mean().backward())


if __name__ == "__main__":
    main()
