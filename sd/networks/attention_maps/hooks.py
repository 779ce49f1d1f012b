"""Recording where a network looks: hooks around it, there only while a recording is open.

The network knows nothing of it and answers the same, bit for bit. Maps over the picture are made
in `sd.networks.attention_maps.heatmaps`.

Batches B, heads h, positions N, tokens L, attention [B, h, N, L].
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from sd.common.validation import InputError, choice, whole
from sd.networks.attention import BasicTransformerBlock, CrossAttention, SpatialTransformer
from sd.networks.unet import Downsample, ResBlock, UNetModel, Upsample

ATTENTION_KINDS = ("self", "cross")
MOST_WEIGHTS = 2**28  # of one layer in one call: 1 GiB


class Layer(NamedTuple):
    """The attention of one layer in one call of the network.

    kind: "self", or "cross" to the context. height, width: of the map, N = height x width.
    weights: float32 [B, h, N, L], each row sums to 1. stride: pixels a position covers, each way.
    """

    kind: str
    height: int
    width: int
    weights: Tensor
    stride: int


@dataclass(frozen=True)
class Call:
    """A network call: its number since recording began, from 0, and its layers by name, in order.

    A name is "down 2 cross", "middle self" or "up 3 cross", by the number of the block; with
    several transformer blocks there "down 2.1 cross". A second self-attention is "... self 2".
    """

    index: int
    layers: dict[str, Layer]


class _Site(NamedTuple):
    place: str  # of the transformer
    name: str
    kind: str
    stride: int


class Recording:
    """Keeps the attention of every call of a network while it is open, as a `with` block.

    The consumer drains it, after each step at best: what is kept only grows until then. Whoever
    shares a network lets no other call in meanwhile, or that one is recorded too.
    """

    def __init__(
        self,
        network: UNetModel,
        kinds: Sequence[str] = ("cross",),
        pictures: Sequence[int] | None = None,
        count: int | None = None,
    ) -> None:
        """Record layers of `kinds`; of the batch only `pictures`, by their places in it, or all.

        With guidance a batch may be [2B], conditional half first: `count` = B keeps `pictures` of
        either half, so that `halves` parts them. Raises `InputError`.
        """
        if network.config.dims != 2:
            raise InputError(f"unet.dims = {network.config.dims}: only attention of pictures shows")
        self.network, self.count = network, count
        self.kinds = tuple(choice("kinds", kind, ATTENTION_KINDS) for kind in kinds)
        self.pictures = None if pictures is None else list(pictures)
        self._hooks: list[RemovableHandle] = []
        self._calls: list[Call] = []
        self._sizes: dict[str, tuple[int, int]] = {}
        self._index = 0

    def __enter__(self) -> "Recording":
        self._index = 0
        self._hooks.append(self.network.register_forward_pre_hook(self._begin))
        for place, stride, transformer in transformers(self.network):
            self._hook(transformer, partial(self._measure, place))
            for site, attention in self._sites(place, stride, transformer):
                self._hook(attention, partial(self._record, site))
        return self

    def __exit__(self, *error: object) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def drain(self) -> list[Call]:
        """Return the calls since the last drain, and forget them."""
        calls, self._calls = self._calls, []
        return calls

    def _hook(self, module: nn.Module, hook: Any) -> None:
        self._hooks.append(module.register_forward_pre_hook(hook, with_kwargs=True))

    def _sites(
        self, place: str, stride: int, transformer: SpatialTransformer
    ) -> Iterator[tuple[_Site, CrossAttention]]:
        """Yield the attentions of a transformer that are of the wanted kinds."""
        second = "self 2" if self.network.config.context_dim is None else "cross"
        several = len(transformer.transformer_blocks) > 1
        for depth, block in enumerate(transformer.transformer_blocks, start=1):
            assert isinstance(block, BasicTransformerBlock)
            at = f"{place}.{depth}" if several else place
            for attention, word in ((block.attn1, "self"), (block.attn2, second)):
                site = _Site(place, f"{at} {word}", word.split()[0], stride)
                if site.kind in self.kinds:
                    yield site, attention

    def _begin(self, module: nn.Module, args: Any) -> None:
        self._calls.append(Call(self._index, {}))
        self._index += 1

    def _measure(self, place: str, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        height, width = _arguments(*args, **kwargs)[0].shape[2:]
        self._sizes[place] = (height, width)

    @torch.no_grad()
    def _record(
        self, site: _Site, module: CrossAttention, args: Any, kwargs: dict[str, Any]
    ) -> None:
        x, context, mask = _arguments(*args, **kwargs)
        if self.pictures is not None:
            rows = self._rows(len(x))
            x = x[rows]
            context, mask = (None if each is None else each[rows] for each in (context, mask))
        size = self._sizes[site.place]
        looked_at = x if context is None else context
        _check_memory(site.name, len(x) * module.heads * x.shape[1] * looked_at.shape[1])
        weights = attention_weights(module, x, context, mask)
        self._calls[-1].layers[site.name] = Layer(site.kind, *size, weights, site.stride)

    def _rows(self, length: int) -> list[int]:
        """Return which rows of a batch are kept: the wanted pictures of each half."""
        count = self.count or length
        wanted = [whole("pictures", picture, 0, count - 1) for picture in self.pictures or ()]
        return [start + picture for start in range(0, length, count) for picture in wanted]


def _arguments(
    x: Tensor, context: Tensor | None = None, mask: Tensor | None = None
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Return what a module was called with, by place or by name."""
    return x, context, mask


def _check_memory(name: str, weights: int) -> None:
    if weights > MOST_WEIGHTS:
        raise InputError(
            f"attention of {name}: {weights} weights in one call; at most {MOST_WEIGHTS} are kept: "
            "record fewer pictures at once"
        )


def transformers(network: UNetModel) -> Iterator[tuple[str, int, SpatialTransformer]]:
    """Yield place, stride in pixels and module of each transformer, in the network's order."""
    stride = float(network.config.patch_size)
    blocks: list[tuple[str, Any]] = [
        *((f"down {k}", block) for k, block in enumerate(network.input_blocks)),
        ("middle", network.middle_block),
        *((f"up {k}", block) for k, block in enumerate(network.output_blocks)),
    ]
    for place, block in blocks:
        for module in block:
            if isinstance(module, SpatialTransformer):
                yield place, int(stride), module
            stride *= _resampled(module)


def _resampled(module: nn.Module) -> float:
    """Return by which factor a module changes the pixels that one position covers."""
    if isinstance(module, ResBlock):
        return (0.5 if module.up else 2) if module.resampled else 1
    return 2 if isinstance(module, Downsample) else 0.5 if isinstance(module, Upsample) else 1


def attention_weights(
    module: CrossAttention, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None
) -> Tensor:
    """Return softmax(Q K^T / sqrt(d)), float32 [B, h, N, L], of the module's own Q and K.

    Vaswani et al. 2017, eq. 1, before V. x [B, N, D]; context [B, L, D_context], or x; mask bool
    [B, L], False = a token that gets nothing.
    """
    context = x if context is None else context
    q, k = (
        rearrange(tokens, "b n (h d) -> b h n d", h=module.heads).float()
        for tokens in (module.to_q(x), module.to_k(context))
    )
    with torch.autocast(q.device.type, enabled=False):
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        if mask is not None:
            scores = scores.masked_fill(~rearrange(mask, "b l -> b 1 1 l"), -math.inf)
        weights: Tensor = scores.softmax(dim=-1)
    return weights


def halves(layer: Layer, count: int) -> tuple[Tensor, Tensor | None]:
    """Return the weights [count, h, N, L] of the condition, and those of its null where it ran."""
    weights, rows = layer.weights, len(layer.weights)
    if rows not in (count, 2 * count):
        raise InputError(f"count = {count}: {rows} pictures were recorded; must be all or half")
    return weights[:count], weights[count:] if rows > count else None
