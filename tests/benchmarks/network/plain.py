"""A network in its plain form: attention written out, and all else as torch does it by itself.

Written out is softmax(q k^T / sqrt(d)) v with every score kept, as in the reference's code. The
plain form has pictures channel by channel, torch's default path for matrix products, and the
default allocator; the last two belong to the process, so it needs one that sets nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import torch
from torch import Tensor

from sd.config import Config
from sd.networks import attention
from sd.networks.unet import UNetModel
from tests.benchmarks import timing
from tests.helpers.parity import weight


def written_out(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Attend from q [B, h, N, d] to k, v [B, h, M, d]; the mask is True where it may look."""
    scores = torch.einsum("bhid,bhjd->bhij", q, k) * q.shape[-1] ** -0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.finfo(scores.dtype).max)
    return torch.einsum("bhij,bhjd->bhid", torch.softmax(scores, dim=-1), v)


@contextmanager
def plain_attention() -> Iterator[None]:
    """Write all attention out while this is open."""
    with patch.object(attention, "attend", written_out):
        yield


def filled(network: UNetModel) -> UNetModel:
    """Give a network weights that follow from their names; a new one's output is all zeros."""
    state = {name: weight(name, list(each.shape)) for name, each in network.state_dict().items()}
    network.load_state_dict(state)
    return network


def inputs(preset: str, batch: int) -> tuple[Tensor, Tensor]:
    """Return pictures of noise [B, C, H, W] and times [B], the same at every call."""
    config, source = Config.preset(preset), torch.Generator().manual_seed(batch)
    shape = config.picture_shape
    x = torch.randn(batch, *shape, generator=source)
    return x, torch.full((batch,), config.diffusion.timesteps / 2)


@torch.no_grad()
def forward_flops(preset: str) -> int:
    """Return the FLOPs of a preset's network for one picture."""
    network = UNetModel.from_config(Config.preset(preset).unet).eval()
    with plain_attention():  # each product of it is then a matrix product, which is counted
        return timing.flops(lambda: network(*inputs(preset, 1)))
