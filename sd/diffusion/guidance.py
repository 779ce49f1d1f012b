"""A trained network as a denoiser: the only place where its output becomes a `Prediction`.

Guidance (Ho & Salimans 2022, eq. 6): with `cond` the output for a prompt and `uncond` that for the
negative or empty one, it is uncond + scale (cond - uncond); both halves are one batch. All that a
network may estimate, eps, w_0 or v, is affine in the same way: it makes no difference which is
guided.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from sd.diffusion.loss import Diffusion
from sd.diffusion.process import Prediction
from sd.diffusion.schedule import Schedule


class Condition(NamedTuple):
    """What the U-Net takes for B pictures: y, labels int64 [B], or context [B, L, D] with its mask.

    Beside a context, y is None or what is added to the time embedding, float [B, E].

    mask: bool [B, L], False where there is padding; None where there is none.
    """

    y: Tensor | None = None
    context: Tensor | None = None
    mask: Tensor | None = None

    def for_batch(self, count: int) -> "Condition":
        """Return it for `count` pictures, which take its rows in turn."""
        return Condition(*(None if part is None else _cycled(part, count) for part in self))

    def concat(self, other: "Condition") -> "Condition":
        """Return both below each other, for one batch."""
        pairs = zip(self, other, strict=True)
        return Condition(*(None if a is None or b is None else torch.cat([a, b]) for a, b in pairs))


def _cycled(part: Tensor, count: int) -> Tensor:
    if len(part) == count:
        return part
    return part[torch.arange(count, device=part.device) % len(part)]


class Guidance(NamedTuple):
    """How strongly a condition is followed.

    scale: of each picture; with fewer scales than pictures they repeat. 1 is cond alone and 0
    uncond alone, each a single pass. rescale: 0..1, see `rescale`. interval: the shares of T
    between which there is guidance; outside, cond alone counts (Kynkäänniemi et al. 2024).
    """

    scale: tuple[float, ...] = (1.0,)
    rescale: float = 0.0
    interval: tuple[float, float] = (0.0, 1.0)


class Denoiser:
    """The callable (w_t [B, C, ...], t) -> Prediction(w_0, eps) that samplers call.

    t is one time for the whole batch, in (0, T]; gradients are not kept. The pictures of a batch
    take the rows of the conditions in turn; None leaves them out.
    """

    def __init__(
        self,
        network: Any,
        diffusion: Diffusion,
        cond: Condition | None = None,
        uncond: Condition | None = None,
        guidance: Guidance = Guidance(),  # noqa: B008 (a constant)
    ) -> None:
        self.network, self.diffusion = network, diffusion
        self.cond, self.uncond, self.guidance = cond, uncond, guidance

    @torch.no_grad()
    def __call__(self, w_t: Tensor, t: float) -> Prediction:
        return self.diffusion.predict(self._guided(w_t, t), w_t, t)

    def _guided(self, w_t: Tensor, t: float) -> Tensor:
        """Return what the network estimates at w_t, guided where the settings say so."""
        scales = self._scales(t)
        if self.cond is None or self.uncond is None or set(scales) == {1.0}:
            return self._output(w_t, t, self.cond)
        if set(scales) == {0.0}:
            return self._output(w_t, t, self.uncond)
        count = len(w_t)
        both = self.cond.for_batch(count).concat(self.uncond.for_batch(count))
        cond, uncond = self._output(torch.cat([w_t, w_t]), t, both).chunk(2)
        scale = cond.new_tensor([scales[k % len(scales)] for k in range(count)])
        guided = uncond + scale.reshape(-1, *[1] * (w_t.ndim - 1)) * (cond - uncond)
        return rescale(guided, cond, self.guidance.rescale)

    def _scales(self, t: float) -> tuple[float, ...]:
        low, high = self.guidance.interval
        inside = low <= t / self.diffusion.schedule.timesteps <= high
        return self.guidance.scale if inside else (1.0,)

    def _output(self, w_t: Tensor, t: float, condition: Condition | None) -> Tensor:
        times = torch.full((len(w_t),), Schedule.network_time(t), device=w_t.device)
        if condition is None:
            out: Tensor = self.network(w_t, times)
            return out
        out = self.network(w_t, times, **condition.for_batch(len(w_t))._asdict())
        return out


def rescale(guided: Tensor, cond: Tensor, share: float) -> Tensor:
    """Return share * guided std(cond) / std(guided) + (1 - share) guided, [B, C, ...].

    Large scales spread values too far; this takes their spread back (Lin et al. 2023, eq. 15, 16).
    """
    if not share:
        return guided
    axes = tuple(range(1, guided.ndim))
    ratio = cond.std(axes, keepdim=True) / guided.std(axes, keepdim=True).clamp_min(1e-12)
    return guided * (share * ratio + (1 - share))
