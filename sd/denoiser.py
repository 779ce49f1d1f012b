"""A trained network as a denoiser: the only place where its output becomes a `Prediction`."""

import torch
from torch import Tensor

from sd.diffusion import Diffusion, Network, Prediction
from sd.schedule import Schedule


class Denoiser:
    """The callable (x_t [B, C, ...], t) -> Prediction(x0, eps) that samplers ask.

    t is one time for the whole batch, in (0, T]; gradients are not kept.
    """

    def __init__(self, network: Network, diffusion: Diffusion) -> None:
        self.network = network
        self.diffusion = diffusion

    @torch.no_grad()
    def __call__(self, x_t: Tensor, t: float) -> Prediction:
        times = torch.full((len(x_t),), Schedule.network_time(t), device=x_t.device)
        output = self.network(self.diffusion.standardise(x_t, t), times)
        return self.diffusion.predict(output, x_t, t)
