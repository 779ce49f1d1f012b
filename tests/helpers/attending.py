"""A small network with attention, its inputs and its hooks: for tests of what is recorded."""

import torch

from sd.networks.unet import UNetModel

D, L = 6, 5  # width and number of context tokens


def tiny(levels=2, attend=(1, 2), **options):
    """A network whose every weight counts: nothing in it is left at zero."""
    torch.manual_seed(0)
    options = {"context_dim": D, "num_heads": 2, **options}
    network = UNetModel(1, 1, 32, 1, attend, (1,) * levels, **options)
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return network.eval()


def asked(network, size=(8, 8), batch=2, seed=1):
    """x, times, context and mask of a batch; the last tokens of the rows are masked."""
    source = torch.Generator().manual_seed(seed)
    told = {"x": torch.randn(batch, 1, *size, generator=source)}
    told["timesteps"] = torch.arange(batch) + 3.0
    if network.config.context_dim is not None:
        told["context"] = torch.randn(batch, L, D, generator=source)
        told["mask"] = torch.arange(L)[None] < L - 1 - torch.arange(batch)[:, None] % 2
    return told


def hooks(network):
    return [
        hook
        for module in network.modules()
        for kept in (module._forward_pre_hooks, module._forward_hooks, module._backward_hooks)
        for hook in kept
    ]
