"""The smallest first stage: pictures of 8 x 8 become 4 x 4 places of four channels."""

from pathlib import Path

import torch

from sd.checkpoints.first_stage import write_autoencoder
from sd.config import Config
from sd.networks.autoencoder import AutoencoderKL
from sd.networks.first_stage import new_autoencoder
from tests.helpers.networks import with_weights

LATENT = (
    "unet.channel=4",
    "unet.n_embed=4",
    "unet.patch_size=2",
    "first_stage.factor=2",
    "first_stage.ch_mult=[1]",
)


def small_autoencoder(seed: int = 0) -> AutoencoderKL:
    """Return an autoencoder with the random weights of a seed."""
    config = Config().with_settings(["first_stage.factor=2", "first_stage.ch_mult=[1]"])
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = new_autoencoder(config.first_stage, 4)
    return with_weights(network.eval().requires_grad_(False), seed=seed)


def latent_settings(folder: Path, config: Config, *more: str, seed: int = 0) -> Config:
    """Return `config` on the latents of a small autoencoder, whose file is written in `folder`."""
    path = folder / f"small{seed}.safetensors"
    if not path.exists():
        write_autoencoder(path, small_autoencoder(seed))
    return config.with_settings([*LATENT, f"first_stage.autoencoder={path}", *more])
