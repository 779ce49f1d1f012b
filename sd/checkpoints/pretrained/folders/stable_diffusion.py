"""A folder that diffusers' `StableDiffusionPipeline` loads: models of Stable Diffusion's shape."""

import gzip
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sd.checkpoints.card import card
from sd.checkpoints.model import Model
from sd.checkpoints.pretrained.folders.components import (
    WEIGHTS,
    autoencoder_state,
    prefixed,
    unet_settings,
    unet_state,
    vae_settings,
    write_json,
    write_part,
)
from sd.checkpoints.pretrained.inspection import (
    THEIR_PREDICTIONS,
    THEIR_SCHEDULES,
)
from sd.checkpoints.record import CARD
from sd.networks.autoencoder import AutoencoderKL
from sd.networks.clip.captions import ClipCaptions
from sd.networks.clip.config import END, START
from sd.networks.clip.tokenizer import MERGES, tokenizer

PREDICTIONS = {ours: theirs for theirs, ours in THEIR_PREDICTIONS.items()}
SCHEDULES = {ours: theirs for theirs, ours in THEIR_SCHEDULES.items()}
INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.35.0",
    "feature_extractor": [None, None],
    "requires_safety_checker": False,
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}


def unfit(model: Model) -> str:
    """Return why diffusers' `StableDiffusionPipeline` has no place for a model; "" if it has."""
    unet, latents = model.unet.config, model.latents
    faults = {
        "its network reads blocks of pixels": unet.patch_size != 1,
        "its network resamples otherwise": unet.resblock_updown or not unet.conv_resample,
        "its network scales by the time": unet.use_scale_shift_norm,
        "its network is told labels": unet.num_classes is not None,
        "its network is told no words": not isinstance(model.conditioner, ClipCaptions),
        "its schedule is unknown there": model.config.diffusion.schedule not in SCHEDULES,
        "it draws pixels": latents is None,
    }
    if latents is not None:
        faults["its autoencoder is of another kind"] = not _is_theirs(latents.autoencoder)
        one_scale = bool((latents.std == latents.std[0]).all()) and not latents.mean.any()
        faults["its latents are scaled channel by channel"] = not one_scale
    return next((line for line, holds in faults.items() if holds), "")


def _is_theirs(autoencoder: Any) -> bool:
    if not isinstance(autoencoder, AutoencoderKL):
        return False
    config = autoencoder.config
    return config.patch == 1 and config.mid_attention and config.double_z


def write_stable_folder(model: Model, place: Path, dtype: torch.dtype) -> None:
    """Fill a folder that is there with a model for which `unfit` finds no fault."""
    assert model.latents is not None and isinstance(model.conditioner, ClipCaptions)
    autoencoder, encoder = model.latents.autoencoder, model.conditioner.encoder
    assert isinstance(autoencoder, AutoencoderKL)
    scale = {"scaling_factor": round(1 / float(model.latents.std[0]), 6)}
    parts: dict[str, tuple[str, Mapping[str, Tensor], dict[str, Any]]] = {
        "unet": (WEIGHTS, unet_state(model, theirs=True), unet_settings(model)),
        "vae": (WEIGHTS, autoencoder_state(autoencoder), vae_settings(model, autoencoder) | scale),
        "text_encoder": (
            "model.safetensors",
            prefixed("text_model.", encoder.state_dict()),
            _text_settings(model.conditioner),
        ),
    }
    for name, (file, state, settings) in parts.items():
        write_part(place / name, state, settings, dtype, file)
    (place / "scheduler").mkdir()
    write_json(place / "scheduler" / "scheduler_config.json", _scheduler_settings(model))
    _write_tokenizer(place / "tokenizer", encoder.config.padding)
    write_json(place / "model_index.json", INDEX)
    parameters = sum(each.numel() for each in model.network.parameters())
    text = card(model.config, parameters, {}, restricted=True)
    (place / CARD).write_text(text, encoding="utf-8")


def _text_settings(conditioner: ClipCaptions) -> dict[str, Any]:
    c = conditioner.encoder.config
    return {
        "architectures": ["CLIPTextModel"],
        "model_type": "clip_text_model",
        "hidden_size": c.width,
        "intermediate_size": c.hidden or 4 * c.width,
        "num_hidden_layers": c.layers,
        "num_attention_heads": c.heads,
        "vocab_size": c.vocabulary,
        "max_position_embeddings": c.positions,
        "hidden_act": c.activation,
        "bos_token_id": START,
        "eos_token_id": END,
        "pad_token_id": c.padding,
        "projection_dim": c.width,
    }


def _scheduler_settings(model: Model) -> dict[str, Any]:
    c = model.config.diffusion
    factor = 1000 / c.timesteps if c.rescale_betas else 1.0
    return {
        "_class_name": "DDIMScheduler",
        "num_train_timesteps": c.timesteps,
        "beta_start": c.beta_range[0] * factor,
        "beta_end": c.beta_range[1] * factor,
        "beta_schedule": SCHEDULES[c.schedule],
        "prediction_type": PREDICTIONS[c.prediction],
        "rescale_betas_zero_snr": c.zero_terminal_snr,
        "clip_sample": False,
        "set_alpha_to_one": True,
        "steps_offset": 1,
        "timestep_spacing": "trailing",
    }


def _write_tokenizer(folder: Path, padding: int) -> None:
    """Write CLIP's vocabulary as transformers reads it."""
    folder.mkdir()
    vocabulary = tokenizer().get_vocab()
    write_json(folder / "vocab.json", dict(sorted(vocabulary.items(), key=lambda item: item[1])))
    with gzip.open(MERGES, "rt", encoding="utf-8") as file:
        (folder / "merges.txt").write_text(f"#version: 0.2\n{file.read()}", encoding="utf-8")
    words = {number: word for word, number in vocabulary.items()}
    settings = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": 77,
        "do_lower_case": True,
        "bos_token": words[START],
        "eos_token": words[END],
        "unk_token": words[END],
        "pad_token": words[padding],
    }
    write_json(folder / "tokenizer_config.json", settings)
