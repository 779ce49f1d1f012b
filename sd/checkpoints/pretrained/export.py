"""Ways out: a model as one file in the layout of Stable Diffusion, or as a folder of diffusers.

The folder is one that `StableDiffusionPipeline.from_pretrained` loads. A network or a condition
that only this program knows cannot be told there; the single file holds every model, with its
settings, and is read again here.
"""

import base64
import gzip
import json
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from sd.checkpoints.adapters.adding import ADDED
from sd.checkpoints.first_stage import SPACE, stored_tensors
from sd.checkpoints.model import Model
from sd.checkpoints.pretrained.inspection import THEIR_PREDICTIONS, THEIR_SCHEDULES
from sd.checkpoints.pretrained.names import Named, autoencoder_tensors, to_theirs, unet_tensors
from sd.checkpoints.pretrained.parts import (
    ARCHITECTURE,
    METADATA,
    OWN_ARCHITECTURE,
    OWN_PREFIXES,
    SETTINGS,
)
from sd.checkpoints.pretrained.writing import write_tensors
from sd.common.disk import write_file, write_folder
from sd.common.validation import InputError
from sd.networks.autoencoder import AutoencoderKL
from sd.networks.clip.captions import ClipCaptions
from sd.networks.clip.config import END, START
from sd.networks.clip.tokenizer import MERGES, tokenizer

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
TEXT_PREFIX = "cond_stage_model.transformer.text_model."
LICENCE = "CreativeML Open RAIL-M, where the weights are Stable Diffusion's or trained on them"
THUMBNAIL = 256  # pixels, the longer side
PREDICTIONS = {ours: theirs for theirs, ours in THEIR_PREDICTIONS.items()}
SCHEDULES = {ours: theirs for theirs, ours in THEIR_SCHEDULES.items()}


def write_single(
    model: Model, path: Path, dtype: str = "float32", thumbnail: Image.Image | None = None
) -> None:
    """Write a model as one file of safetensors, its header as `modelspec` wants it.

    Raises `InputError` for a model of Stable Diffusion v2, whose text encoder is in such files in
    another form, with a layer that nothing uses.
    """
    _check_bare(model)
    if model.about.get("open_clip"):
        raise InputError(
            "a single file of Stable Diffusion v2 needs a layer of its text encoder that is "
            "not read; write a folder"
        )
    tensors = _prefixed(OWN_PREFIXES[0], _unet_state(model, theirs=False))
    metadata = _modelspec(model, path.stem)
    if thumbnail is not None:
        metadata["modelspec.thumbnail"] = _thumbnail(thumbnail)
    if model.latents is not None:
        tensors |= _prefixed(OWN_PREFIXES[1], model.latents.autoencoder.state_dict())
    if isinstance(model.conditioner, ClipCaptions):
        tensors |= _prefixed(TEXT_PREFIX, model.conditioner.encoder.state_dict())
    elif model.conditioner is not None:
        tensors |= _prefixed(OWN_PREFIXES[2], model.conditioner.state_dict())
        metadata[METADATA] = json.dumps(model.conditioner.metadata(), ensure_ascii=False)
    if metadata[ARCHITECTURE] == OWN_ARCHITECTURE and model.latents is not None:
        tensors |= {n: each for n, each in stored_tensors(model.latents).items() if n in SPACE}
    write_file(path, lambda place: write_tensors(place, tensors, metadata, DTYPES[dtype]))


def write_pipeline(model: Model, folder: Path, dtype: str = "float32") -> None:
    """Write a model as a new folder of diffusers; `InputError` where it cannot be told there."""
    _check_bare(model)
    fault = unfit(model)
    if fault:
        raise InputError(f"no folder of diffusers can hold this model: {fault}")
    if folder.exists():
        raise InputError(f"{folder.name}: is there already; give another name")
    write_folder(folder, lambda place: _fill_folder(model, place, DTYPES[dtype]))


def _check_bare(model: Model) -> None:
    if model.about.get(ADDED):
        raise InputError("a LoRA or a learned word is not written with a model; leave it out")


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


def _prefixed(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: each for name, each in state.items()}


def _unet_state(model: Model, theirs: bool) -> dict[str, Tensor]:
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


def _autoencoder_state(network: AutoencoderKL) -> dict[str, Tensor]:
    config = network.config
    attended = [level for level in range(len(config.ch_mult)) if config.has_attention(level)]
    ddconfig = {**config.__dict__, "attended": attended}
    named = autoencoder_tensors(ddconfig, config.embed_dim)
    return _renamed(named, network.state_dict(), theirs=True)


def _modelspec(model: Model, title: str) -> dict[str, str]:
    """Return what the header says of a model: sai_model_spec 1.0.0, and our own settings."""
    config, context = model.config, model.unet.config.context_dim
    _, height, width = config.picture_shape
    known = isinstance(model.conditioner, ClipCaptions)
    kinds = {768: "stable-diffusion-v1", 1024: "stable-diffusion-v2"}
    spec = {
        "sai_model_spec": "1.0.0",
        "architecture": kinds.get(context or 0, "stable-diffusion") if known else OWN_ARCHITECTURE,
        "implementation": "sd",
        "title": title,
        "resolution": f"{width}x{height}",
        "prediction_type": {"eps": "epsilon", "x0": "sample"}.get(config.diffusion.prediction, "v"),
    }
    if known:
        spec["license"] = LICENCE
    return {**{f"modelspec.{k}": v for k, v in spec.items()}, SETTINGS: config.to_ini()}


def _thumbnail(picture: Image.Image) -> str:
    small = picture.convert("RGB")
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    held = BytesIO()
    small.save(held, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(held.getvalue()).decode()


def _fill_folder(model: Model, place: Path, dtype: torch.dtype) -> None:
    assert model.latents is not None and isinstance(model.conditioner, ClipCaptions)
    autoencoder, encoder = model.latents.autoencoder, model.conditioner.encoder
    assert isinstance(autoencoder, AutoencoderKL)
    weights = "diffusion_pytorch_model.safetensors"
    parts: dict[str, tuple[str, Mapping[str, Tensor], dict[str, Any]]] = {
        "unet": (weights, _unet_state(model, theirs=True), _unet_settings(model)),
        "vae": (weights, _autoencoder_state(autoencoder), _vae_settings(model, autoencoder)),
        "text_encoder": (
            "model.safetensors",
            _prefixed("text_model.", encoder.state_dict()),
            _text_settings(model.conditioner),
        ),
    }
    for name, (file, state, settings) in parts.items():
        (place / name).mkdir()
        write_tensors(place / name / file, state, {}, dtype)
        _write_json(place / name / "config.json", settings)
    (place / "scheduler").mkdir()
    _write_json(place / "scheduler" / "scheduler_config.json", _scheduler_settings(model))
    _write_tokenizer(place / "tokenizer", encoder.config.padding)
    _write_json(place / "model_index.json", INDEX)


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


def _unet_settings(model: Model) -> dict[str, Any]:
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


def _vae_settings(model: Model, autoencoder: AutoencoderKL) -> dict[str, Any]:
    assert model.latents is not None
    c = autoencoder.config
    attends = [c.has_attention(level) for level in range(len(c.ch_mult))]
    return {
        "_class_name": "AutoencoderKL",
        "in_channels": c.in_channels,
        "out_channels": c.out_ch,
        "latent_channels": c.z_channels,
        "sample_size": model.space.picture_shape[1],
        "block_out_channels": [mult * c.ch for mult in c.ch_mult],
        "layers_per_block": c.num_res_blocks,
        "down_block_types": [f"{'Attn' * each}DownEncoderBlock2D" for each in attends],
        "up_block_types": [f"{'Attn' * each}UpDecoderBlock2D" for each in reversed(attends)],
        "scaling_factor": round(1 / float(model.latents.std[0]), 6),
    }


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
    _write_json(folder / "vocab.json", dict(sorted(vocabulary.items(), key=lambda item: item[1])))
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
    _write_json(folder / "tokenizer_config.json", settings)


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1), encoding="utf-8")
