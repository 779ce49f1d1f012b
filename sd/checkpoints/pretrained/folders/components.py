"""The parts of a folder of diffusers: weights by diffusers' names, and settings in its words."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sd.checkpoints.model import Model
from sd.checkpoints.pretrained.names import Named, autoencoder_tensors, to_theirs, unet_tensors
from sd.checkpoints.pretrained.writing import write_tensors
from sd.networks.autoencoder import AutoencoderKL

WEIGHTS = "diffusion_pytorch_model.safetensors"


def prefixed(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: each for name, each in state.items()}


def unet_state(model: Model, theirs: bool) -> dict[str, Tensor]:
    """Return a U-Net's weights by our names or diffusers', projections of v2 as matrices."""
    state = model.unet.state_dict()
    linear = bool(model.about.get("linear"))
    if not theirs and not linear:
        return dict(state)
    return _renamed(unet_tensors(model.unet.config, linear), state, theirs)


def _renamed(named: list[Named], state: Mapping[str, Tensor], theirs: bool) -> dict[str, Tensor]:
    names = to_theirs(named)
    matrices = {each.ours for each in named if each.linear}
    return {
        names[ours] if theirs else ours: each.flatten(1) if ours in matrices else each
        for ours, each in state.items()
    }


def autoencoder_state(network: AutoencoderKL) -> dict[str, Tensor]:
    config = network.config
    attended = [level for level in range(len(config.ch_mult)) if config.has_attention(level)]
    ddconfig = {**config.__dict__, "attended": attended}
    named = autoencoder_tensors(ddconfig, config.embed_dim)
    return _renamed(named, network.state_dict(), theirs=True)


def unet_settings(model: Model) -> dict[str, Any]:
    c = model.unet.config
    widths = [mult * c.model_channels for mult in c.channel_mult]
    attends = [2**level in c.attention_resolutions for level in range(len(widths))]
    heads: Any = c.num_heads  # diffusers calls the number of heads their width, as it always did
    if c.num_head_channels != -1:
        heads = [width // c.num_head_channels for width in widths]
    return {
        "_class_name": "UNet2DConditionModel",
        "in_channels": c.channel,
        "out_channels": c.n_embed,
        "sample_size": model.shape[1],
        "block_out_channels": widths,
        "layers_per_block": c.num_res_blocks,
        "down_block_types": [f"{'CrossAttn' * each}DownBlock2D" for each in attends],
        "up_block_types": [f"{'CrossAttn' * each}UpBlock2D" for each in reversed(attends)],
        "mid_block_type": "UNetMidBlock2DCrossAttn" if c.middle else None,
        "transformer_layers_per_block": c.transformer_depth,
        "cross_attention_dim": c.context_dim,
        "attention_head_dim": heads,
        "use_linear_projection": bool(model.about.get("linear")),
    }


def vae_settings(model: Model, autoencoder: AutoencoderKL) -> dict[str, Any]:
    c = autoencoder.config
    attends = [c.has_attention(level) for level in range(len(c.ch_mult))]
    return {
        "_class_name": "AutoencoderKL",
        "in_channels": c.in_channels * c.patch**2,
        "out_channels": c.out_ch * c.patch**2,
        "latent_channels": c.z_channels,
        "sample_size": model.space.picture_shape[1],
        "block_out_channels": [mult * c.ch for mult in c.ch_mult],
        "layers_per_block": c.num_res_blocks,
        "down_block_types": [f"{'Attn' * each}DownEncoderBlock2D" for each in attends],
        "up_block_types": [f"{'Attn' * each}UpDecoderBlock2D" for each in reversed(attends)],
        "mid_block_add_attention": c.mid_attention,
    }


def write_part(
    folder: Path,
    state: Mapping[str, Tensor],
    settings: Mapping[str, Any],
    dtype: torch.dtype,
    file: str = WEIGHTS,
) -> None:
    """Write a part into a new folder of its own."""
    folder.mkdir()
    write_tensors(folder / file, state, {}, dtype)
    write_json(folder / "config.json", settings)


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1), encoding="utf-8")
