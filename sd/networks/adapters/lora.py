"""Low-rank adaptation: W x + scale (alpha / r) B A x, beside a layer that stays as it is.

Hu et al. 2021; its layers may be linear or convolutions, as in LyCORIS' LoCon (Yeh et al. 2023).
The branch is computed at every call, so that its scale may change between any two of them, and at
scale 0 the network answers as without, bit for bit.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from sd.common.validation import InputError, real
from sd.networks.attention import OnTokens

LARGEST_SCALE = 100.0
CONVOLUTIONS = (F.conv1d, F.conv2d, F.conv3d)


class LowRank(NamedTuple):
    """The change of one layer: A = down [r, in, ...], B = up [out, r, ...].

    mid: [r, r, ...], the kernel between them where A and B have one weight a place (Tucker).
    """

    down: Tensor
    up: Tensor
    alpha: float
    mid: Tensor | None = None

    @property
    def rank(self) -> int:
        """r, the channels between A and B."""
        return len(self.down)


class LoRA:
    """Changes of several layers, weighed together: in effect from `attach` to `remove`."""

    def __init__(self, changes: Mapping[str, LowRank], scale: float = 1.0) -> None:
        """Take the changes by the names of the layers; `scale` may be set anew at any time."""
        self.changes = dict(changes)
        self._handles: list[RemovableHandle] = []
        self.scale = scale

    @property
    def scale(self) -> float:
        """By how much its changes count; 0 is the network alone."""
        return self._scale

    @scale.setter
    def scale(self, value: float) -> None:
        self._scale = real("scale", value, -LARGEST_SCALE, LARGEST_SCALE)

    def attach(self, network: nn.Module) -> None:
        """Put the changes beside the layers of `network`, in the type of these.

        Raises `InputError` for a layer that it has not, and for one of another size.
        """
        layers = dict(network.named_modules())
        branches = {name: _branch(name, layers.get(name), c) for name, c in self.changes.items()}
        for name, (change, tokens) in branches.items():
            hook = self._hook(change, tokens)
            self._handles.append(layers[name].register_forward_hook(hook))

    def remove(self) -> None:
        """Take the changes away again."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    @torch.no_grad()
    def merge(self, network: nn.Module) -> None:
        """Add the changes to the weights of `network` for good: W + scale (alpha / r) B A.

        Raises `InputError` as `attach` does, before anything is changed.
        """
        layers = dict(network.named_modules())
        branches = {name: _branch(name, layers.get(name), c)[0] for name, c in self.changes.items()}
        for name, change in branches.items():
            weight: Any = layers[name].weight
            weight.add_(_product(change).reshape(weight.shape).to(weight), alpha=self.scale)

    def _hook(self, change: LowRank, tokens: bool) -> Any:
        def add(layer: Any, args: tuple[Tensor], out: Tensor) -> Tensor:
            if not self.scale:
                return out
            return out.add(_changed(layer, args[0], change, tokens), alpha=self.scale)

        return add


def _branch(name: str, layer: Any, change: LowRank) -> tuple[LowRank, bool]:
    """Return a change as a layer needs it, B times alpha / r, and whether that is of tokens."""
    weight = getattr(layer, "weight", None)
    if not isinstance(weight, Tensor):
        raise InputError(f"LoRA: the network has no layer {name}")
    tokens = isinstance(layer, nn.Linear | OnTokens)
    kernel = () if tokens else weight.shape[2:]
    wide = [1] * len(kernel)
    shapes = {
        "down": (change.rank, weight.shape[1], *(kernel if change.mid is None else wide)),
        "mid": (change.rank, change.rank, *kernel),
        "up": (weight.shape[0], change.rank, *wide),
    }
    parts = change._asdict() | {"up": change.up.float() * (change.alpha / change.rank)}
    for part, shape in shapes.items():
        if parts[part] is None:
            continue
        if _bare(parts[part].shape) != _bare(shape):
            found, size = list(parts[part].shape), list(weight.shape)
            raise InputError(f"LoRA: {name}: {part} is {found}, which does not fit {size}")
        parts[part] = parts[part].reshape(shape).to(weight)
    return LowRank(**parts), tokens


def _product(change: LowRank) -> Tensor:
    """Return B A as one kernel, [out, in, ...], in float32."""
    up, down = change.up.float().flatten(1), change.down.float()
    if change.mid is None:
        return torch.einsum("or,ri...->oi...", up, down)
    return torch.einsum("or,rs...,si->oi...", up, change.mid.float(), down.flatten(1))


def _bare(shape: Any) -> list[int]:
    """Return a shape without the ones at its end: a 1x1 kernel is the same as none."""
    sizes = list(shape)
    while len(sizes) > 2 and sizes[-1] == 1:
        sizes.pop()
    return sizes


def _changed(layer: Any, x: Tensor, change: LowRank, tokens: bool) -> Tensor:
    """Return (alpha / r) B A x as the layer itself goes over x."""
    if tokens:
        return F.linear(F.linear(x, change.down), change.up)
    convolve: Any = CONVOLUTIONS[x.ndim - 3]
    place = {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation}
    if change.mid is None:
        x = convolve(x, change.down, **place)
    else:
        x = convolve(convolve(x, change.down), change.mid, **place)
    changed: Tensor = convolve(x, change.up)
    return changed
