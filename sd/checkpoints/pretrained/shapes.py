"""The settings of a network from the shapes of its weights, by our names or diffusers'. No torch.

What shapes do not tell (how many heads) is a convention of the models of that kind: a guess, which
is named as one and can be overruled.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from sd.checkpoints.pretrained.names import Shape
from sd.common.validation import InputError
from sd.config.sections import UNetConfig

Shapes = Mapping[str, Shape]

HEADS = 8  # of every attention of v1
HEAD_WIDTH = 64  # channels of a head of v2
MOST_BLOCKS = 64
EARLIER_NAMES = (  # diffusers' of the autoencoder's attention, before 0.17 and of other trainers
    (re.compile(r"\.to_to_([qkv])\."), r".to_\1."),
    (re.compile(r"\.query\."), ".to_q."),
    (re.compile(r"\.key\."), ".to_k."),
    (re.compile(r"\.value\."), ".to_v."),
    (re.compile(r"\.proj_attn\."), ".to_out.0."),
)


class UNetShape(NamedTuple):
    """What a U-Net is. linear: its projections are matrices (v2). theirs: by diffusers' names."""

    config: UNetConfig
    linear: bool
    theirs: bool


class _Level(NamedTuple):
    widths: list[int]
    transformers: list[str]  # of what their tensors' names begin with


def describe_unet(
    shapes: Shapes, heads: int | None = None, head_width: int | None = None
) -> UNetShape:
    """Return what the U-Net is whose weights have these shapes; `InputError` for what is none.

    heads: how many there are in every attention, head_width: the channels of each, where one of
    them is known.
    """
    theirs = "conv_in.weight" in shapes
    first = "conv_in.weight" if theirs else "input_blocks.0.0.weight"
    width, channels = _of(shapes, first)[:2]
    last = _of(shapes, "conv_out.weight" if theirs else "out.2.weight")
    levels = _their_levels(shapes) if theirs else _our_levels(shapes)
    middle = "mid_block.attentions.0." if theirs else "middle_block.1."
    attended = [level.transformers[0] for level in levels if level.transformers]
    linear, depth, context = False, 1, None
    for place in attended[:1] or [middle]:
        linear = len(_of(shapes, f"{place}proj_in.weight")) == 2
        depth = count(shapes, f"{place}transformer_blocks.{{}}.attn2.to_k.weight")
        context = _of(shapes, f"{place}transformer_blocks.0.attn2.to_k.weight")[1]
    if heads is None and head_width is None:
        heads, head_width = (None, HEAD_WIDTH) if linear else (HEADS, None)
    blocks = tuple(len(level.widths) for level in levels)
    config = UNetConfig(
        channel=channels,
        n_embed=last[0],
        model_channels=width,
        num_res_blocks=blocks[0] if len(set(blocks)) == 1 else blocks,
        attention_resolutions=tuple(2**k for k, level in enumerate(levels) if level.transformers),
        channel_mult=tuple(level.widths[0] // width for level in levels),
        resblock_updown=False,
        num_heads=heads or -1,
        num_head_channels=head_width or -1,
        transformer_depth=depth,
        context_dim=context,
        middle=_has_middle(shapes, middle, "mid_block" if theirs else "middle_block"),
    )
    return UNetShape(config, linear, theirs)


def _has_middle(shapes: Shapes, transformer: str, block: str) -> bool:
    if f"{transformer}proj_in.weight" in shapes:
        return True
    if any(name.startswith(f"{block}.") for name in shapes):
        raise InputError("the U-Net's middle has no attention; that kind is not read")
    return False


def _our_levels(shapes: Shapes) -> list[_Level]:
    levels = [_Level([], [])]
    for n in range(1, MOST_BLOCKS):
        if (out := shapes.get(f"input_blocks.{n}.0.out_layers.3.weight")) is not None and out:
            levels[-1].widths.append(out[0])
            if f"input_blocks.{n}.1.proj_in.weight" in shapes:
                levels[-1].transformers.append(f"input_blocks.{n}.1.")
        elif f"input_blocks.{n}.0.op.weight" in shapes:
            levels.append(_Level([], []))
        else:
            break
    return _checked(levels)


def _their_levels(shapes: Shapes) -> list[_Level]:
    levels = []
    for k in range(MOST_BLOCKS):
        block, level = f"down_blocks.{k}", _Level([], [])
        for i in range(MOST_BLOCKS):
            if not (out := shapes.get(f"{block}.resnets.{i}.conv2.weight")):
                break
            level.widths.append(out[0])
            if f"{block}.attentions.{i}.proj_in.weight" in shapes:
                level.transformers.append(f"{block}.attentions.{i}.")
        if not level.widths:
            break
        levels.append(level)
    return _checked(levels)


def _checked(levels: list[_Level]) -> list[_Level]:
    if not levels or not all(level.widths for level in levels):
        raise InputError("the U-Net has no blocks whose names are known")
    return levels


def describe_autoencoder(shapes: Shapes) -> tuple[dict[str, Any], int, bool]:
    """Return (ddconfig, embed_dim, theirs) of latent diffusion's autoencoder.

    `ddconfig` also holds `attended`, the levels with attention; theirs: by diffusers' names.
    """
    theirs = any(name.startswith("encoder.down_blocks.") for name in shapes)
    block = "encoder.down_blocks.{}.resnets.{}.conv2.weight"
    block = block if theirs else "encoder.down.{}.block.{}.conv2.weight"
    ch, moments = (
        _of(shapes, "encoder.conv_in.weight")[0],
        _of(shapes, "encoder.conv_out.weight")[0],
    )
    z = _of(shapes, "decoder.conv_in.weight")[1]
    levels = count(shapes, block.format("{}", 0))
    if not levels or not ch:
        raise InputError("the autoencoder has no blocks whose names are known")
    attention = "encoder.down_blocks.{}.attentions.0." if theirs else "encoder.down.{}.attn.0."
    attended = [k for k in range(levels) if _begins(shapes, attention.format(k))]
    if z == 16:
        raise InputError("the autoencoder has 16 channels, those of Stable Diffusion 3 and Flux")
    if moments != 2 * z:
        raise InputError(f"the autoencoder gives {moments} values a place; {2 * z} are wanted")
    ddconfig = {
        "ch": ch,
        "ch_mult": tuple(_of(shapes, block.format(k, 0))[0] // ch for k in range(levels)),
        "num_res_blocks": count(shapes, block.format(0, "{}")),
        "z_channels": z,
        "attended": tuple(attended),
    }
    return ddconfig, _of(shapes, "post_quant_conv.weight")[1], theirs


def later_name(name: str) -> str:
    """Return diffusers' present name of a tensor of the autoencoder that has an earlier one."""
    for pattern, new in EARLIER_NAMES:
        name = pattern.sub(new, name)
    return name


def _of(shapes: Shapes, name: str) -> Shape:
    """Return a shape with at least two axes."""
    shape = shapes.get(name)
    if shape is None:
        raise InputError(f"{name} is missing")
    if len(shape) < 2:
        raise InputError(f"{name} has the shape {list(shape)}")
    return shape


def _begins(shapes: Shapes, start: str) -> bool:
    return any(name.startswith(start) for name in shapes)


def count(shapes: Shapes, name: str) -> int:
    """Return how many names there are with 0, 1, 2, ... at the braces."""
    return next((k for k in range(MOST_BLOCKS) if name.format(k) not in shapes), MOST_BLOCKS)
