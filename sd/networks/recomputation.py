"""Less memory for a training step, for more time: values within blocks are computed once more."""

from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from sd.networks.unet import UNetModel


def recompute_blocks(unet: UNetModel) -> None:
    """Keep of each block on the ways down and up only what enters it, for the backward pass.

    The rest is computed again there, with the same dropout, so gradients are the same (Chen et al.
    2016, "Training Deep Nets with Sublinear Memory Cost"). A copy of `unet` made after this would
    compute with the blocks of `unet`.
    """
    for block in (*unet.input_blocks, *unet.output_blocks):
        block.forward = _recomputed(block.forward)


def _recomputed(forward: Any) -> Any:
    def compute(*args: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args)
        return checkpoint(forward, *args, use_reentrant=False)

    return compute
