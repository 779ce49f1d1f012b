"""The two sides of the comparison with diffusers, each answering for a process of its own."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from sd.common import device
from sd.networks.unet import UNetModel
from tests.benchmarks import timing
from tests.benchmarks.network.convert import OURS, THEIRS

WORDS, RATE = 24, 1e-4  # tokens of the context, and the optimizer's step
SIDES = ("ours", "ours-bf16", "diffusers")


def inputs(batch: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return pictures, times, context and target of a batch, the same at every call."""
    source, channels = torch.Generator().manual_seed(batch), THEIRS["in_channels"]
    side, width = THEIRS["sample_size"], THEIRS["cross_attention_dim"]
    x, target = torch.randn(2, batch, channels, side, side, generator=source)
    t = torch.randint(1000, (batch,), generator=source)
    return x, t, torch.randn(batch, WORDS, width, generator=source), target


class Side:
    """One side: its network, and AdamW with the same settings on both sides.

    diffusers is as its package makes it; ours is set up as the page and training set it up.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.mine, self.lower = name != "diffusers", name == "ours-bf16"
        network: nn.Module
        if self.mine:
            device.choose("cpu").apply()
            network = UNetModel(**OURS)
        else:
            network = timing.peer("diffusers").UNet2DConditionModel(**THEIRS)
        network.load_state_dict(load_file(folder / f"{'ours' if self.mine else name}.safetensors"))
        if self.mine:
            network = network.to(memory_format=torch.channels_last)
        self.network = network
        fused = self.mine or None  # None: as torch thinks best
        self.optimizer = torch.optim.AdamW(
            network.parameters(), lr=RATE, weight_decay=0.0, fused=fused
        )

    def _call(self, x: Tensor, t: Tensor, context: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, self.lower):
            if self.mine:
                out: Tensor = self.network(x, t, context)
                return out
            out = self.network(x, t, encoder_hidden_states=context).sample
            return out

    @torch.no_grad()
    def _forward(self, batch: int) -> Tensor:
        x, t, context, _ = inputs(batch)
        return self._call(x, t, context)

    def _output(self, batch: int) -> list[float]:
        self.network.eval()
        return self._forward(batch).float().flatten().tolist()

    def _step(self, batch: int) -> None:
        x, t, context, target = inputs(batch)
        F.mse_loss(self._call(x, t, context).float(), target).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def _made(self, kind: Callable[[int], object], batch: int) -> Callable[[], object]:
        self.network.train(kind == self._step)
        return lambda: kind(batch)

    def answers(self) -> Mapping[str, Callable[..., Any]]:
        """Return what it can be asked; steps change the weights, so outputs come first."""
        kinds = {"forward": self._forward, "step": self._step}
        told: dict[str, Callable[..., Any]] = {
            "output": self._output,
            "flops": lambda: timing.flops(self._made(self._forward, 1)),
            "peak": timing.peak,
        }
        for name, kind in kinds.items():
            told[name] = lambda batch, kind=kind: timing.seconds(self._made(kind, batch))
            told[f"profile-{name}"] = lambda batch, kind=kind: timing.profile(
                self._made(kind, batch)
            )
        return told
