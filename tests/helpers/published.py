"""Files as people publish them, with random weights: tiny models shaped like Stable Diffusion."""

import json
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import save_file

from sd.checkpoints.pretrained.names import (
    autoencoder_tensors,
    open_clip_names,
    text_tensors,
    unet_tensors,
)
from sd.config.sections import UNetConfig
from tests.helpers.parity import normal, weight

UNET = UNetConfig(
    channel=4,
    n_embed=4,
    model_channels=32,
    num_res_blocks=1,
    attention_resolutions=(1, 2),
    channel_mult=(1, 2, 2),
    resblock_updown=False,
    context_dim=32,
)
DDCONFIG = {"ch": 32, "ch_mult": (1, 2), "num_res_blocks": 1, "z_channels": 4, "attended": ()}
TEXT = (32, 2, 49408, 77, 64)  # width, layers, vocabulary, positions, hidden
LEFT_OVER = {  # what training leaves in such files
    "alphas_cumprod": torch.linspace(1, 0, 8),
    "model_ema.decay": torch.tensor(0.9999),
    "cond_stage_model.transformer.text_model.embeddings.position_ids": torch.arange(77.0)[None],
}
TEXT_PREFIX = "cond_stage_model.transformer.text_model."


def random_state(shapes, seed="", dtype=torch.float32):
    """Return weights by their names alone, with which a network answers finitely, and not zero."""
    return {name: _weight(seed + name, tuple(shape)).to(dtype) for name, shape in shapes.items()}


@cache
def _weight(name, shape):
    return weight(name, list(shape))


def unet_state(config=UNET, linear=False, theirs=False, seed="unet/", **how):
    """Return a U-Net's weights by the names of single files, or by diffusers'."""
    tensors = unet_tensors(config, linear)
    state = random_state({each.ours: each.shape for each in tensors}, seed, **how)
    return _named(tensors, state, theirs, linear)


def autoencoder_state(theirs=False, seed="vae/", **how):
    """Return an autoencoder's weights by the names of single files, or by diffusers'."""
    tensors = autoencoder_tensors(DDCONFIG, 4)
    state = random_state({each.ours: each.shape for each in tensors}, seed, **how)
    return _named(tensors, state, theirs, theirs)


def _named(tensors, state, theirs, matrices):
    found = {}
    for each in tensors:
        value = state[each.ours]
        found[each.theirs if theirs else each.ours] = (
            value.reshape(each.shape[:2]) if each.linear and matrices else value
        )
    return found


def text_state(seed="text/", **how):
    """Return a text encoder's weights by CLIP's names."""
    return random_state(text_tensors(*TEXT), seed, **how)


def open_clip_state(width, layers):
    """Return the text encoder of a single file of v2, and what of it is used."""
    sizes = (width, layers, 49408, 77, 4 * width)
    ours = random_state(text_tensors(*sizes), "open_clip/")
    theirs = {}
    for name, parts in open_clip_names(layers).items():
        theirs[name] = torch.cat([ours[part] for part in parts])
    last = f"encoder.layers.{layers - 1}."
    return theirs, {name: each for name, each in ours.items() if not name.startswith(last)}


def prefixed(prefix, state):
    return {prefix + name: each for name, each in state.items()}


def single_state(config=UNET, linear=False, text=True, vae=True, **how):
    """Return all weights of a model as a single file has them."""
    state = prefixed("model.diffusion_model.", unet_state(config, linear, **how))
    if vae:
        state |= prefixed("first_stage_model.", autoencoder_state(**how))
    if text:
        state |= prefixed(TEXT_PREFIX, text_state(**how))
    return state | LEFT_OVER


def write_single(path: Path, state=None, metadata=None, **how) -> Path:
    """Write a model as a single file of safetensors."""
    state = single_state(**how) if state is None else state
    save_file({name: each.contiguous() for name, each in state.items()}, path, metadata)
    return path


def write_folder(path: Path, config=UNET, linear=False, scheduler=None, variant="") -> Path:
    """Write a model as a folder of diffusers."""
    parts = {
        "unet": (unet_state(config, linear, theirs=True), {"attention_head_dim": 8}),
        "vae": (autoencoder_state(theirs=True), {"scaling_factor": 0.18215}),
        "text_encoder": (prefixed("text_model.", text_state()), {"num_attention_heads": 1}),
    }
    index = {"_class_name": "StableDiffusionPipeline"}
    for name, (state, settings) in parts.items():
        (path / name).mkdir(parents=True)
        stem = "model" if name == "text_encoder" else "diffusion_pytorch_model"
        save_file(state, path / name / f"{stem}{variant}.safetensors")
        (path / name / "config.json").write_text(json.dumps(settings))
        index[name] = ["diffusers", "Any"]
    if scheduler is not None:
        (path / "scheduler").mkdir()
        (path / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    (path / "model_index.json").write_text(json.dumps(index))
    return path


def inpainted():
    """Return a mask [1, 16, 16], 1 where all is made anew, and a picture [3, 16, 16].

    Its values are some that a PNG can hold.
    """
    mask = torch.zeros(1, 16, 16)
    mask[:, 4:12, 2:10] = 1
    picture = torch.from_numpy(normal("inpainting/picture", [3, 16, 16])).clamp(-1, 1)
    return mask, ((picture + 1) * 127.5).round() / 127.5 - 1


def write_lora(path: Path, rank=2, size=0.5, width=32) -> Path:
    """Write a LoRA of kohya's names, of a layer of the U-Net and one of the text encoder."""
    layers = (
        "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q",
        "lora_te_text_model_encoder_layers_0_self_attn_q_proj",
    )
    state = {}
    for layer in layers:
        state[f"{layer}.lora_down.weight"] = size * weight(f"{layer}/down", [rank, width])
        state[f"{layer}.lora_up.weight"] = size * weight(f"{layer}/up", [width, rank])
        state[f"{layer}.alpha"] = torch.tensor(float(rank))
    save_file(state, path)
    return path
