"""Networks whose output depends on all that they see: a fresh one answers zero to everything."""

from typing import TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


def with_weights(*modules: M, seed: int = 3) -> M:
    """Add noise to every weight of the modules, those that begin at zero too; return the first."""
    source = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in modules:
            for parameter in module.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=source))
    return modules[0]
