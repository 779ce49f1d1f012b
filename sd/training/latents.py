"""A picture set as latents: encoded once, block by block, and mapped from the disk ever after.

A folder of latents holds `autoencoder.safetensors` (what encoded), `latents.bin` (float16
[N, V, c, h, w], raw: E(x) of each picture and, with V = 2, of its mirror image) and, once all are
there, `index.json`. Until then `progress.json` tells how many are proved to be whole, so that
encoding goes on where it was ended. Blocks are fixed: the bytes do not depend on when that was.
"""

import hashlib
import json
import math
import shutil
import time
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from sd.checkpoints.first_stage import write_autoencoder
from sd.checkpoints.latent_set import AUTOENCODER, INDEX, VALUES, LatentSet, Moments
from sd.common.device import Machine, multiplies_bfloat16
from sd.common.disk import digest, flush, read_object, temporary_path, write_text
from sd.common.text import format_bytes, system_reason
from sd.common.validation import InputError
from sd.config import Config
from sd.data.image_set import ImageSet
from sd.data.images import to_float
from sd.data.ingest import map_file
from sd.networks.first_stage import Autoencoder, Latents, encode_mode

PROGRESS = "progress.json"
PROOF = "proof"  # in the index: the digest of all else that it tells
BLOCK = 8  # pictures that are encoded at once
CHUNK = 64  # pictures whose moments are summed at once
PROVED_SECONDS = 2.0  # between two records of what is whole
VALUE_BYTES = 2
SPARE_BYTES = 64 * 2**20  # bytes of the disk that latents leave free
LEAST_STD = 1e-4  # of a channel in which all latents are the same
RIDGE = 1e-9


def views_of(config: Config) -> int:
    """Return how many views of each picture are encoded: a mirrored latent decodes to no mirror."""
    return 2 if config.training.flip else 1


def latents_in_memory(
    config: Config, images: ImageSet, autoencoder: Autoencoder, machine: Machine
) -> LatentSet:
    """Return the latents of a set without a file."""
    blocks = list(encode_blocks(images.pixels, autoencoder, machine, views_of(config), 0))
    values = torch.cat(blocks)
    moments = measure(values, images.pixels, config)
    return LatentSet(values, Latents(autoencoder, *moments, config.picture_shape))


def encode_images(
    folder: Path,
    config: Config,
    images: ImageSet,
    autoencoder: Autoencoder,
    machine: Machine,
    pictures: str = "",
    known: Latents | None = None,
) -> Generator[tuple[int, int], None, None]:
    """Write the latents of a set to `folder`, going on with what is whole of them there.

    Yields how many pictures are encoded, of how many. pictures: their digest, by which latents of
    others are known. known: a space whose moments are taken, not measured. Raises `InputError`
    where the disk does not suffice.
    """
    shape = [len(images.pixels), views_of(config), *config.latent_shape]
    if is_whole(folder, shape, pictures):
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _check_room(folder, shape[0] * _bytes_of_picture(shape))
        _write_weights(folder / AUTOENCODER, autoencoder)
        whole = yield from _write_values(
            folder, shape, images.pixels, autoencoder, machine, pictures
        )
        values = map_file(folder / VALUES, shape, np.float16)
        moments = measure(values, images.pixels, config) if known is None else _moments_of(known)
        index: dict[str, Any] = {"shape": shape, "pictures": pictures, "sha256": whole}
        index[AUTOENCODER] = digest(folder / AUTOENCODER)
        index |= {name: each.tolist() for name, each in moments._asdict().items()}
        write_text(folder / INDEX, json.dumps(index | {PROOF: _prove(index)}))
        (folder / PROGRESS).unlink(missing_ok=True)
    except OSError as error:
        reason = system_reason(error)
        raise InputError(f"the latents cannot be written to disk ({reason})") from error


def _write_values(
    folder: Path,
    shape: list[int],
    pixels: Tensor,
    autoencoder: Autoencoder,
    machine: Machine,
    pictures: str,
) -> Generator[tuple[int, int], None, str]:
    """Write the latents that are not there yet; yield as `encode_images`, return their digest."""
    (total, views), size = shape[:2], _bytes_of_picture(shape)
    done, whole = _count_proved(folder, shape, pictures), hashlib.sha256()
    with (folder / VALUES).open("r+b" if done else "wb") as file:
        for _ in range(done // BLOCK):
            whole.update(file.read(BLOCK * size))
        file.truncate(done * size)
        yield done, total
        proved = time.monotonic()
        for block in encode_blocks(pixels, autoencoder, machine, views, done):
            data = block.contiguous().numpy().tobytes()
            file.write(data)
            whole.update(data)
            done += len(block)
            if done < total and time.monotonic() - proved > PROVED_SECONDS:
                file.flush()
                note = {"shape": shape, "pictures": pictures, "done": done}
                write_text(folder / PROGRESS, json.dumps(note | {"sha256": whole.hexdigest()}))
                proved = time.monotonic()
            yield done, total
    flush(folder / VALUES)
    return whole.hexdigest()


def _bytes_of_picture(shape: list[int]) -> int:
    """Return the bytes of a picture's latents, in all its views."""
    return VALUE_BYTES * math.prod(shape[1:])


def _prove(index: Mapping[str, Any]) -> str:
    """Return the digest of all else in an index: a bit that flips in a number leaves a number."""
    told = {name: value for name, value in index.items() if name != PROOF}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def is_whole(folder: Path, shape: list[int], pictures: str) -> bool:
    """Tell whether a folder holds all latents of such pictures, undamaged."""
    index = _read(folder / INDEX)
    if index.get("shape") != shape or index.get("pictures") != pictures:
        return False
    if index.get(PROOF) != _prove(index):
        return False
    digests = {VALUES: index.get("sha256"), AUTOENCODER: index.get(AUTOENCODER)}
    return all(
        (folder / name).is_file() and digest(folder / name) == known
        for name, known in digests.items()
    )


def _count_proved(folder: Path, shape: list[int], pictures: str) -> int:
    """Return how many pictures' latents are there for certain: whole blocks whose digest holds."""
    note, values, size = _read(folder / PROGRESS), folder / VALUES, _bytes_of_picture(shape)
    (folder / INDEX).unlink(missing_ok=True)
    done = note.get("done")
    known = note.get("shape") == shape and note.get("pictures") == pictures
    if not known or not isinstance(done, int) or not 0 < done < shape[0] or done % BLOCK:
        return 0
    if not values.is_file() or values.stat().st_size < done * size:
        return 0
    whole = hashlib.sha256()
    with values.open("rb") as file:
        for _ in range(done // BLOCK):
            whole.update(file.read(BLOCK * size))
    return done if whole.hexdigest() == note.get("sha256") else 0


def _read(path: Path) -> Mapping[str, Any]:
    try:
        return read_object(path)
    except InputError:
        return {}


def _write_weights(path: Path, autoencoder: Autoencoder) -> None:
    """Write what encodes beside the latents, whole or not at all."""
    temporary = temporary_path(path)
    try:
        write_autoencoder(temporary, autoencoder)
        flush(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _check_room(folder: Path, need: int) -> None:
    free = shutil.disk_usage(folder).free
    if need > free - SPARE_BYTES:
        raise InputError(
            f"the latents need {format_bytes(need)} on disk; {format_bytes(free)} are free there, "
            f"of which {format_bytes(SPARE_BYTES)} must stay so: make room, or use fewer pictures"
        )


@torch.no_grad()
def encode_blocks(
    pixels: Tensor, autoencoder: Autoencoder, machine: Machine, views: int, first: int
) -> Iterator[Tensor]:
    """Yield E(x) [B, V, c, h, w] of the pictures from `first` on, a block at a time, as float16."""
    device, lower = machine.device, multiplies_bfloat16(machine.device)
    network = autoencoder.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    for start in range(first, len(pixels), BLOCK):
        x = to_float(pixels[start : start + BLOCK]).to(device)
        found = []
        for picture in (x, x.flip(-1))[:views]:
            with torch.autocast(torch.device(device).type, torch.bfloat16, lower):
                found.append(encode_mode(network, picture.contiguous()))
        block = torch.stack(found, dim=1).float().cpu()
        if not torch.isfinite(block).all():
            raise InputError("the autoencoder gives latents that are no finite numbers")
        yield block.half()


def measure(values: Tensor, pixels: Tensor, config: Config) -> Moments:
    """Return mean, std and the linear view of latents [N, V, c, h, w] of pictures [N, 3, H, W].

    Where the settings give a scale, mean is 0 and std its inverse.
    """
    return _measure(values, pixels, config.first_stage.factor, config.first_stage.latent_scale)


def space_of_picture(autoencoder: Autoencoder, pixels: Tensor) -> Latents:
    """Return the space of an autoencoder as one picture, uint8 [3, H, W], alone would measure it.

    It is for looking at that picture; a model's own is measured on all that it learned from.
    """
    with torch.no_grad():
        values = encode_mode(autoencoder, to_float(pixels)[None])[None]
    moments = _measure(values, pixels[None], autoencoder.factor)
    return Latents(autoencoder, *moments, (3, *pixels.shape[1:]))


def _measure(values: Tensor, pixels: Tensor, factor: int, scale: float = 0.0) -> Moments:
    """Return the moments from sums over (e, 1), e = E(x), in float64.

    The view is the least-squares map from (z, 1) to a place's mean colour.
    """
    channels = values.shape[2]
    a, b = torch.zeros(channels + 1, channels + 1).double(), torch.zeros(channels + 1, 3).double()
    for start in range(0, len(values), CHUNK):
        e = values[start : start + CHUNK].double()
        colour = F.avg_pool2d(to_float(pixels[start : start + CHUNK]), factor)
        both = torch.stack([colour, colour.flip(-1)][: e.shape[1]], dim=1).double()
        rows = rearrange(e, "n v c h w -> (n v h w) c")
        rows = torch.cat([rows, torch.ones(len(rows), 1).double()], dim=1)
        a += rows.T @ rows
        b += rows.T @ rearrange(both, "n v c h w -> (n v h w) c")
    count = a[-1, -1]
    mean = torch.zeros(channels).double() if scale else a[-1, :-1] / count
    spread = (a.diagonal()[:-1] / count - mean**2).clamp(min=LEAST_STD**2).sqrt()
    std = torch.full_like(mean, 1 / scale) if scale else spread
    to_z = torch.eye(channels + 1).double()  # (e, 1) @ to_z = (z, 1)
    to_z[:-1, :-1], to_z[-1, :-1] = torch.diag(1 / std), -mean / std
    normal = to_z.T @ a @ to_z / count
    rgb = torch.linalg.solve(normal + RIDGE * torch.eye(channels + 1), to_z.T @ b / count)
    return Moments(mean.float(), std.float(), rgb.float())


def _moments_of(latents: Latents) -> Moments:
    return Moments(*(each.cpu() for each in (latents.mean, latents.std, latents.rgb)))
