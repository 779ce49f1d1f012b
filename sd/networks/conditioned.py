"""A U-Net and its conditioner as one module: what is trained, compiled, averaged and stored."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from sd.networks.conditioning import Conditioner
from sd.networks.unet import UNetModel

UNET, CONDITIONER = "unet.", "conditioner."  # how names within the module begin

T = TypeVar("T")


def to_stored_names(named: Mapping[str, T]) -> dict[str, T]:
    """Return a `ConditionedNetwork`'s weights by the names that files have.

    Those of the U-Net are as latent diffusion's code has them, so that published weights load.
    """
    return {name.removeprefix(UNET): each for name, each in named.items()}


class Inpainting:
    """A U-Net that sees beside x_t what is made anew and the picture around it.

    Its channels are those of x_t, the mask, 1 where it is made anew, and the latents of the picture
    that is grey there, in this order: Stable Diffusion's inpainting models (Rombach et al. 2021,
    section 4.5).
    """

    def __init__(self, unet: UNetModel, beside: Callable[[], Tensor]) -> None:
        """Take what gives mask and latents [1 + c, h, w]; it is called once, when it is needed."""
        self._unet, self._give = unet, beside
        self._beside: Tensor | None = None

    def __call__(self, x: Tensor, timesteps: Tensor, **condition: Any) -> Tensor:
        """Return the U-Net's output [B, c, h, w] for x of that shape."""
        if self._beside is None:
            self._beside = self._give().to(x)
        beside = self._beside.expand(len(x), -1, -1, -1)
        output: Tensor = self._unet(torch.cat([x, beside], dim=1), timesteps, **condition)
        return output


class ConditionedNetwork(nn.Module):
    """The U-Net with the conditioner that reads its prompts; None where it takes none."""

    def __init__(self, unet: UNetModel, conditioner: Conditioner | None = None) -> None:
        super().__init__()
        self.unet, self.conditioner = unet, conditioner

    def forward(self, x: Tensor, timesteps: Tensor, rows: Tensor | None = None) -> Tensor:
        """Return the U-Net's output [B, C, ...]; rows [B] or [B, L] are those of the prompts."""
        condition = {} if self.conditioner is None else self.conditioner(rows)._asdict()
        output: Tensor = self.unet(x, timesteps, **condition)
        return output

    def stored_state(self) -> dict[str, Tensor]:
        """Return the state dict by the names that files have."""
        return to_stored_names(self.state_dict())

    def load_stored(self, tensors: Mapping[str, Tensor], **how: Any) -> None:
        """Load a `stored_state`; torch's `RuntimeError` where names or shapes differ."""
        named = {
            name if name.startswith(CONDITIONER) else UNET + name: tensor
            for name, tensor in tensors.items()
        }
        self.load_state_dict(named, **how)
