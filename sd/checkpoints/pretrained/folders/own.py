"""A folder of diffusers for a model that was trained here.

Scheduler and autoencoder are diffusers' own. `unet.py`, `conditioner.py` and `pipeline.py`, which
lie beside this file, are copied into the folder, so that nothing of this program is needed for
`DiffusionPipeline.from_pretrained(FOLDER, trust_remote_code=True)`.
"""

import shutil
from pathlib import Path
from typing import Any

import torch

from sd.checkpoints.card import card
from sd.checkpoints.model import Model
from sd.checkpoints.pretrained.folders.components import (
    autoencoder_state,
    vae_settings,
    write_json,
    write_part,
)
from sd.checkpoints.pretrained.inspection import THEIR_PREDICTIONS
from sd.checkpoints.record import CARD
from sd.networks.autoencoder import AutoencoderKL, TinyAutoencoder
from sd.networks.conditioning import Captions, ClassEmbedding, ClassTokens, FrozenCaptions

HERE = Path(__file__).parent
PREDICTIONS = {ours: theirs for theirs, ours in THEIR_PREDICTIONS.items()}
USAGE = """
## With diffusers

    import torch
    from diffusers import DiffusionPipeline

    pipeline = DiffusionPipeline.from_pretrained(FOLDER, trust_remote_code=True)
    noise = [torch.Generator().manual_seed(seed) for seed in range(4)]
    pictures = pipeline({prompt}num_images_per_prompt=4, generator=noise).images

The three Python files of the folder are all the code that it trusts.
"""


def unfit_own(model: Model) -> str:
    """Return why such a folder cannot hold a model; "" if it can."""
    unet, latents = model.unet.config, model.latents
    faults = {
        "its network is none of pictures": unet.dims != 2,
        "its noise has another mean or spread": model.config.diffusion.noise_info != (0.0, 1.0),
        "its text encoder is one that others trained": isinstance(
            model.conditioner, FrozenCaptions
        ),
    }
    if latents is not None:
        pooled = isinstance(latents.autoencoder, TinyAutoencoder) and len(latents.mean) != 4
        faults["its autoencoder is TAEF2, which diffusers has not"] = pooled
    return next((line for line, holds in faults.items() if holds), "")


def write_own_folder(model: Model, place: Path, dtype: torch.dtype) -> None:
    """Fill a folder that is there with a model for which `unfit_own` finds no fault."""
    index: dict[str, Any] = {
        "_class_name": ["pipeline", "SmallDiffusionPipeline"],
        "_diffusers_version": "0.35.0",
        "scheduler": ["diffusers", "DDIMScheduler"],
        "unet": ["unet", "UNetModel"],
        "vae": [None, None],
        "conditioner": [None, None],
        "shape": list(model.shape),
    }
    write_part(place / "unet", model.unet.state_dict(), _unet_settings(model), dtype)
    shutil.copyfile(HERE / "unet.py", place / "unet" / "unet.py")
    (place / "scheduler").mkdir()
    write_json(place / "scheduler" / "scheduler_config.json", _scheduler_settings(model))
    if model.latents is not None:
        index |= _write_autoencoder(model, place / "vae", dtype)
    if isinstance(model.conditioner, ClassEmbedding):
        index["labels"] = list(model.conditioner.labels)
    if isinstance(model.conditioner, Captions | ClassTokens):
        index["conditioner"] = ["conditioner", "Conditioner"]
        state = model.conditioner.state_dict()
        write_part(place / "conditioner", state, _conditioner_settings(model), dtype)
        shutil.copyfile(HERE / "conditioner.py", place / "conditioner" / "conditioner.py")
    shutil.copyfile(HERE / "pipeline.py", place / "pipeline.py")
    write_json(place / "model_index.json", index)
    parameters = sum(each.numel() for each in model.network.parameters())
    example = next(iter(model.default_prompts), "")
    usage = USAGE.format(prompt=f"{example!r}, " if example else "")
    text = card(model.config, parameters, {}, model.is_restricted) + usage
    (place / CARD).write_text(text, encoding="utf-8")


def _unet_settings(model: Model) -> dict[str, Any]:
    c = model.unet.config
    same = (
        *("model_channels", "channel_mult", "num_heads", "num_head_channels", "transformer_depth"),
        *("context_dim", "num_classes", "use_scale_shift_norm", "resblock_updown"),
        *("conv_resample", "patch_size", "middle"),
    )
    levels = range(len(c.channel_mult))
    return {
        "_class_name": "UNetModel",
        "channels": c.channel,
        "num_res_blocks": c.res_blocks,
        "attended": [level for level in levels if 2**level in c.attention_resolutions],
        **{name: getattr(c, name) for name in same},
    }


def _scheduler_settings(model: Model) -> dict[str, Any]:
    """Return DDIM along the model's own schedule, whatever that is."""
    alpha_bar = model.diffusion.schedule.alpha_bar
    betas = 1 - alpha_bar[1:] / alpha_bar[:-1]
    return {
        "_class_name": "DDIMScheduler",
        "num_train_timesteps": len(betas),
        "trained_betas": betas.tolist(),
        "prediction_type": PREDICTIONS[model.config.diffusion.prediction],
        "clip_sample": model.space.clips,
        "set_alpha_to_one": True,
        "timestep_spacing": "trailing",
    }


def _write_autoencoder(model: Model, folder: Path, dtype: torch.dtype) -> dict[str, Any]:
    """Write the autoencoder; return what the pipeline is told of it."""
    assert model.latents is not None
    network, patch = model.latents.autoencoder, 1
    if isinstance(network, AutoencoderKL):
        patch = network.config.patch
        kind = "AutoencoderKL"
        write_part(folder, autoencoder_state(network), vae_settings(model, network), dtype)
    else:
        kind = "AutoencoderTiny"
        state = {_tiny_name(name): each for name, each in network.state_dict().items()}
        write_part(folder, state, {"_class_name": kind}, dtype)
    return {
        "vae": ["diffusers", kind],
        "vae_patch": patch,
        "latent_mean": model.latents.mean.tolist(),
        "latent_std": model.latents.std.tolist(),
    }


def _tiny_name(name: str) -> str:
    """Return diffusers' name of a tensor of TAESD, which counts no layer for the soft clamp."""
    half, number, *rest = name.split(".")
    return ".".join([half, "layers", str(int(number) - (half == "decoder")), *rest])


def _conditioner_settings(model: Model) -> dict[str, Any]:
    conditioner, width = model.conditioner, model.unet.config.context_dim
    settings: dict[str, Any] = {"_class_name": "Conditioner", "width": width}
    if isinstance(conditioner, ClassTokens):
        return {**settings, "classes": len(conditioner.labels)}
    assert isinstance(conditioner, Captions)
    vocabulary = conditioner.vocabulary.to_json()
    pooled = 0 if conditioner.pool is None else conditioner.pool.out_features
    return {
        **settings,
        "tokens": vocabulary["tokens"],
        "merges": vocabulary["merges"],
        "length": conditioner.length,
        "layers": len(conditioner.encoder.blocks),
        "pooled": pooled,
    }
