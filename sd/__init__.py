"""Train, watch and look inside a small diffusion model.

The public names are found at first use, so that importing `sd` never waits for torch.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "AutoencoderKL": "sd.networks.autoencoder",
    "Config": "sd.config.config",
    "Diffusion": "sd.diffusion.loss",
    "InputError": "sd.common.validation",
    "Sampling": "sd.diffusion.sampling",
    "Schedule": "sd.diffusion.schedule",
    "UNetModel": "sd.networks.unet",
    "choose": "sd.common.device",
    "load_checkpoint": "sd.checkpoints.checkpoint",
    "open_pretrained": "sd.checkpoints.pretrained.building",
    "read_images": "sd.data.image_set",
    "train": "sd.training.loop",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sd' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
