"""The weights of diffusers' conditional U-Net under the names of latent diffusion, which are ours.

`THEIRS` and `OURS` are one small architecture with cross-attention, in either's words. What
diffusers calls attention_head_dim is there, and counts, the heads.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

LAYERS = 2
THEIRS: dict[str, Any] = {
    "sample_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (64, 128, 128),
    "layers_per_block": LAYERS,
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    "cross_attention_dim": 64,
    "attention_head_dim": (2, 4, 4),
}
OURS: dict[str, Any] = {
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 64,
    "num_res_blocks": LAYERS,
    "attention_resolutions": (1, 2),
    "channel_mult": (1, 2, 2),
    "num_head_channels": 32,
    "context_dim": 64,
}
ENDS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
RESIDUAL = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}


def converted(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict of diffusers' under our names, which it must have one of each."""
    levels = len(THEIRS["block_out_channels"])
    places = {**ENDS, **dict(_down(levels)), **dict(_up(levels, state))}
    return {_renamed(name, places): tensor for name, tensor in state.items()}


def _down(levels: int) -> Iterator[tuple[str, str]]:
    """Yield their place and ours of each part on the way down."""
    number = 1
    for level in range(levels):
        block = f"down_blocks.{level}"
        for layer in range(LAYERS):
            yield f"{block}.resnets.{layer}", f"input_blocks.{number}.0"
            yield f"{block}.attentions.{layer}", f"input_blocks.{number}.1"
            number += 1
        yield f"{block}.downsamplers.0.conv", f"input_blocks.{number}.0.op"
        number += 1


def _up(levels: int, state: Mapping[str, Tensor]) -> Iterator[tuple[str, str]]:
    """Yield their place and ours of each part on the way up; resampling follows attention."""
    number = 0
    for level in range(levels):
        block = f"up_blocks.{level}"
        for layer in range(LAYERS + 1):
            yield f"{block}.resnets.{layer}", f"output_blocks.{number}.0"
            yield f"{block}.attentions.{layer}", f"output_blocks.{number}.1"
            number += 1
        attends = f"{block}.attentions.0.norm.weight" in state
        yield f"{block}.upsamplers.0.conv", f"output_blocks.{number - 1}.{1 + attends}.conv"


def _renamed(name: str, places: Mapping[str, str]) -> str:
    """Return our name of one of their tensors; transformers have the same names in both."""
    theirs = next(place for place in places if name.startswith(f"{place}."))
    part, dot, rest = name.removeprefix(f"{theirs}.").partition(".")
    return f"{places[theirs]}.{RESIDUAL.get(part, part)}{dot}{rest}"
