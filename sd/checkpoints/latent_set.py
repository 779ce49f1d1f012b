"""The latents of a picture set as they lie in a folder: `sd.training.latents` writes them.

`autoencoder.safetensors` (what encoded), `latents.bin` (float16 [N, V, c, h, w], raw: E(x) of each
picture and, with V = 2, of its mirror image) and `index.json`: their shape, digests and moments.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from sd.checkpoints.first_stage import read_autoencoder
from sd.common.disk import read_object
from sd.config import Config
from sd.data.ingest import map_file
from sd.networks.first_stage import Latents

VALUES, INDEX = "latents.bin", "index.json"
AUTOENCODER = "autoencoder.safetensors"


@dataclass(frozen=True, eq=False)
class LatentSet:
    """Latents of a picture set, in its order.

    values: E(x), float16 [N, V, c, h, w], of V views: the picture, and its mirror image if flips
    are wanted. latents: the space, whose z is (E(x) - mean) / std.
    """

    values: Tensor
    latents: Latents

    def z(self, rows: Tensor, views: Tensor | None = None) -> Tensor:
        """Return z [B, c, h, w] of pictures; `views` [B] tells which view of each, 0 if not."""
        views = torch.zeros_like(rows) if views is None else views
        mean, std = (
            rearrange(each, "c -> c 1 1") for each in (self.latents.mean, self.latents.std)
        )
        return (self.values[rows, views].float() - mean.cpu()) / std.cpu()


class Moments(NamedTuple):
    """What the latents of a set are like: `Latents` says what each is."""

    mean: Tensor
    std: Tensor
    rgb: Tensor


def open_latents(folder: Path, config: Config) -> LatentSet:
    """Return the latents in `folder`, which are whole."""
    index = read_object(folder / INDEX, "shape", *Moments._fields)
    moments = Moments(*(torch.tensor(index[name]) for name in Moments._fields))
    autoencoder = read_autoencoder(folder / AUTOENCODER)
    values = map_file(folder / VALUES, index["shape"], np.float16)
    return LatentSet(values, Latents(autoencoder, *moments, config.picture_shape))
