"""Where a network looks, as maps over the picture: of a word, or from a pixel.

Maps of words follow DAAM (Tang et al. 2022, arXiv 2210.04885): each layer's map enlarged to the
picture, then averaged. What is mapped is recorded by
`sd.networks.attention_maps.hooks.Recording`: positions N, tokens L, attention [B, h, N, L].
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from sd.common.validation import InputError, choice, whole
from sd.data.decoding.decoder import as_colour
from sd.data.images import to_pil
from sd.networks.attention_maps.hooks import (
    Call,  # part of this module's interface
    Layer,
    halves,
)

HEAT_SHARE = 0.65  # share of an overlay's colour that is heat
# From cold to hot. Lightness rises evenly (a test measures it), so it reads without colour too.
COLOUR_MAP = ((24, 18, 62), (103, 34, 118), (190, 62, 96), (240, 130, 52), (252, 205, 84))


def layer_names(calls: Sequence[Call], kind: str) -> list[str]:
    """Return the names of the recorded layers of a kind, in the order of the network."""
    return list(
        dict.fromkeys(
            name for call in calls for name, layer in call.layers.items() if layer.kind == kind
        )
    )


def word_map(
    calls: Sequence[Call],
    places: Sequence[int],
    picture: int,
    count: int,
    size: tuple[int, int],
    layer: str | None = None,
    head: int | None = None,
) -> Tensor:
    """Return how much each pixel looks at a word, [H, W] of 0..1: the sum over its token `places`.

    The mean over `calls`, over layers of kind "cross" (or the `layer` named) and over heads (or
    the `head`, from 0), of the conditional half. picture: its place among the `count` recorded.
    size: (H, W) of the network's input. No places: zero. Raises `InputError`.
    """
    maps = []
    for found, weights in _chosen_weights(calls, "cross", picture, count, layer, head):
        wanted = [whole("token", place, 0, weights.shape[-1] - 1) for place in places]
        maps.append(upsample(weights[:, wanted].sum(dim=-1), found, size))
    return torch.stack(maps).mean(dim=0)


def pixel_map(
    calls: Sequence[Call],
    y: int,
    x: int,
    picture: int,
    count: int,
    size: tuple[int, int],
    layer: str | None = None,
    head: int | None = None,
) -> Tensor:
    """Return how much the pixel at row `y`, column `x` looks at each other pixel, [H, W].

    As `word_map`, over layers of kind "self". The weight of a position is spread evenly over the
    pixels it covers, so that layers of any size count alike: all pixels together get about 1.
    """
    y, x = whole("y", y, 0, size[0] - 1), whole("x", x, 0, size[1] - 1)
    maps = []
    for found, weights in _chosen_weights(calls, "self", picture, count, layer, head):
        row = weights[(y // found.stride) * found.width + x // found.stride]  # [N]
        maps.append(upsample(row / found.stride**2, found, size))
    return torch.stack(maps).mean(dim=0)


def _chosen_weights(
    calls: Sequence[Call], kind: str, picture: int, count: int, name: str | None, head: int | None
) -> Iterator[tuple[Layer, Tensor]]:
    """Yield the wanted layers of all calls, each with its weights [N, L]: a head's, or the mean."""
    names = layer_names(calls, kind)
    if not names:
        raise InputError(f"no {kind}-attention was recorded")
    wanted = names if name is None else [choice("layer", name, names)]
    picture = whole("picture", picture, 0, count - 1)
    for call in calls:
        for found in (call.layers[each] for each in wanted if each in call.layers):
            weights = halves(found, count)[0][picture]  # [h, N, L]
            if head is None:
                yield found, weights.mean(dim=0)
            else:
                yield found, weights[whole("head", head, 0, len(weights) - 1)]


def upsample(values: Tensor, layer: Layer, size: tuple[int, int]) -> Tensor:
    """Return values [N] of a layer's positions as a map [H, W], bilinear.

    Positions at the rim may cover more than the picture: that part is cut off.
    """
    plane = values.view(1, 1, layer.height, layer.width)
    covered = (layer.height * layer.stride, layer.width * layer.stride)
    return F.interpolate(plane, covered, mode="bilinear")[0, 0, : size[0], : size[1]]


def overlay(picture: Image.Image | Tensor, heat: Tensor, peak: float | None = None) -> Image.Image:
    """Return a picture, PIL or [C, H, W] as `sd.data.images.to_pil` takes it, under a heat map.

    The hottest colour is at `peak`, by default the map's own maximum: give the maximum over all
    steps of one word, and its steps compare. A map of another size than the picture is enlarged.
    """
    image = as_colour(to_pil(picture) if isinstance(picture, Tensor) else picture)
    peak = float(heat.max()) if peak is None else peak
    heat = heat.detach().float().cpu()[None, None] / (peak if peak > 0 else 1.0)
    if heat.shape[2:] != (image.height, image.width):
        heat = F.interpolate(heat, (image.height, image.width), mode="bilinear")
    colours, anchors = np.asarray(COLOUR_MAP, float), np.arange(len(COLOUR_MAP))
    position = heat[0, 0].clamp(0, 1).numpy() * anchors[-1]
    hot = np.stack([np.interp(position, anchors, colours[:, c]) for c in range(3)], axis=-1)
    mixed = HEAT_SHARE * hot + (1 - HEAT_SHARE) * np.asarray(image, float)
    return Image.fromarray(mixed.round().astype(np.uint8))
