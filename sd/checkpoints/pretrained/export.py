"""Ways out: a model as one file in the layout of Stable Diffusion, or as a folder of diffusers.

The single file holds every model, with its settings, and is read again here. A folder of Stable
Diffusion is one that `StableDiffusionPipeline` loads; that of a model of our own holds diffusers'
own networks too, and beside them the code that joins them, `DiffusionPipeline` with
`trust_remote_code=True`.
"""

import base64
import json
from io import BytesIO
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from sd.checkpoints.adapters.adding import ADDED
from sd.checkpoints.first_stage import SPACE, stored_tensors
from sd.checkpoints.model import Model
from sd.checkpoints.pretrained.folders.components import prefixed, unet_state
from sd.checkpoints.pretrained.folders.own import unfit_own, write_own_folder
from sd.checkpoints.pretrained.folders.stable_diffusion import unfit, write_stable_folder
from sd.checkpoints.pretrained.names import open_clip_names
from sd.checkpoints.pretrained.parts import (
    ARCHITECTURE,
    METADATA,
    OWN_ARCHITECTURE,
    OWN_PREFIXES,
    SETTINGS,
)
from sd.checkpoints.pretrained.writing import write_tensors
from sd.checkpoints.record import RAIL_M_NAME
from sd.common.disk import write_file, write_folder
from sd.common.validation import InputError
from sd.networks.clip.captions import ClipCaptions
from sd.networks.clip.config import GELU
from sd.networks.clip.text import CLIPText

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
TEXT_PREFIX = "cond_stage_model.transformer.text_model."
OPEN_CLIP_PREFIX = "cond_stage_model.model."
THUMBNAIL = 256  # pixels, the longer side


def write_single(
    model: Model, path: Path, dtype: str = "float32", thumbnail: Image.Image | None = None
) -> None:
    """Write a model as one file of safetensors, its header as `modelspec` wants it."""
    _check_bare(model)
    tensors = prefixed(OWN_PREFIXES[0], unet_state(model, theirs=False))
    metadata = _modelspec(model, path.stem)
    if thumbnail is not None:
        metadata["modelspec.thumbnail"] = _thumbnail(thumbnail)
    if model.latents is not None:
        tensors |= prefixed(OWN_PREFIXES[1], model.latents.autoencoder.state_dict())
    if isinstance(model.conditioner, ClipCaptions):
        tensors |= _text_state(model.conditioner.encoder)
    elif model.conditioner is not None:
        tensors |= prefixed(OWN_PREFIXES[2], model.conditioner.state_dict())
        metadata[METADATA] = json.dumps(model.conditioner.metadata(), ensure_ascii=False)
    if metadata[ARCHITECTURE] == OWN_ARCHITECTURE and model.latents is not None:
        tensors |= {n: each for n, each in stored_tensors(model.latents).items() if n in SPACE}
    write_file(path, lambda place: write_tensors(place, tensors, metadata, DTYPES[dtype]))


def write_pipeline(model: Model, folder: Path, dtype: str = "float32") -> None:
    """Write a model as a new folder of diffusers; `InputError` where it cannot be told there."""
    _check_bare(model)
    known = isinstance(model.conditioner, ClipCaptions)
    fault = unfit(model) if known else unfit_own(model)
    if fault:
        raise InputError(f"no folder of diffusers can hold this model: {fault}")
    if folder.exists():
        raise InputError(f"{folder.name}: is there already; give another name")
    write = write_stable_folder if known else write_own_folder
    write_folder(folder, lambda place: write(model, place, DTYPES[dtype]))


def _check_bare(model: Model) -> None:
    if model.about.get(ADDED):
        raise InputError(
            "a learned word is not written with a model, and a LoRA only where it is merged; "
            "leave it out"
        )


def _text_state(encoder: CLIPText) -> dict[str, Tensor]:
    """Return a text encoder's weights by the names of single files: CLIP's, or v2's OpenCLIP's.

    The last layer of the latter, which Stable Diffusion v2 does not use, is one that adds nothing.
    """
    state, layers = encoder.state_dict(), encoder.config.layers
    if encoder.config.activation != GELU:
        return prefixed(TEXT_PREFIX, state)
    names = open_clip_names(layers)
    found = {name: torch.cat([state[each] for each in parts]) for name, parts in names.items()}
    last, unused = (f"transformer.resblocks.{k}." for k in (layers - 1, layers))
    found |= {
        name.replace(last, unused): torch.zeros_like(each)
        for name, each in found.items()
        if name.startswith(last)
    }
    return prefixed(OPEN_CLIP_PREFIX, found)


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
    if model.is_restricted:
        spec["license"] = RAIL_M_NAME
    return {**{f"modelspec.{k}": v for k, v in spec.items()}, SETTINGS: config.to_ini()}


def _thumbnail(picture: Image.Image) -> str:
    small = picture.convert("RGB")
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    held = BytesIO()
    small.save(held, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(held.getvalue()).decode()
