"""What a network is trained on, made once: pictures, the autoencoder that encodes them, latents."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sd import runs
from sd.checkpoints.first_stage import read_first_stage
from sd.checkpoints.latent_set import LatentSet, open_latents
from sd.checkpoints.record import FIRST_STAGE, list_checkpoints
from sd.common.device import Machine, choose
from sd.common.disk import read_object
from sd.common.validation import InputError
from sd.config import Config
from sd.config.sections import OWN, STORED
from sd.data.image_set import ImageSet, split
from sd.data.ingest import INDEX, open_images
from sd.networks.first_stage import Autoencoder
from sd.runs import process
from sd.runs.preparing.start import encodes_alike, open_start, stored_first_stage
from sd.runs.recorder import Recorder
from sd.training.first_stage import measure_autoencoder
from sd.training.latents import encode_images
from sd.training.planning import memory


def prepare_pictures(
    recorder: Recorder,
    config: Config,
    machine: Machine,
    seed: int,
    received: list[int],
    checkpoint: Path | None = None,
) -> tuple[ImageSet, LatentSet | None] | None:
    """Return a run's pictures and, if its network sees these, their latents; None if stopped.

    Both are made once. A run that goes on from a checkpoint keeps the first stage that lies there.
    """
    images = ingest_pictures(recorder, config, received)
    if images is None or not config.is_latent:
        return None if images is None else (images, None)
    folder = recorder.folder
    has_own = checkpoint and not config.training.lora_rank  # that of a LoRA is its base's
    known = read_first_stage(checkpoint, config) if checkpoint and has_own else None
    start = open_start(folder, config) if known is None else None
    is_stopping = _stopping(folder, received)
    if known is not None:
        autoencoder: Autoencoder | None = known.autoencoder
    elif config.first_stage.autoencoder == STORED and start is not None:
        autoencoder = stored_first_stage(start, config)
    elif config.first_stage.autoencoder == STORED:
        autoencoder = _stored_autoencoder(folder, config)
    else:
        leaving = _stopping(folder, received, process.YIELD)
        autoencoder = recorder.train_first_stage(config, images, seed, machine, leaving)
    if autoencoder is None:
        return None
    if start is not None and encodes_alike(start, autoencoder):
        known = start.latents  # with these moments its network was trained
    work = encode_images(
        folder / runs.LATENTS,
        config,
        images,
        autoencoder,
        machine,
        str(read_object(folder / runs.PICTURES / INDEX, "sha256")["sha256"]),
        known,
    )
    if not recorder.follow(work, "encode", "the pictures were encoded", is_stopping):
        return None
    latents = open_latents(folder / runs.LATENTS, config)
    if checkpoint is None:
        rows = split(images, config.training.held_out, seed)[1]
        found = measure_autoencoder(latents.latents.autoencoder, images.pixels, rows, machine)
        recorder.log_event("encoded", pictures=len(images.pixels), psnr=round(found, 2))
    return images, latents


def train_autoencoder(
    recorder: Recorder, config: Config, note: dict[str, Any], received: list[int]
) -> bool:
    """Train a run's autoencoder and end the run with that; False if it is stopped before."""
    stage = config.first_stage
    if stage.autoencoder != OWN and not (config.is_latent and stage.tune_steps):
        raise InputError(
            "--only-first-stage: there is none to train; give --first-stage own, or tune_steps"
        )
    machine = choose(str(note["device"])).apply()
    memory.check(config, machine.device)
    images = ingest_pictures(recorder, config, received)
    if images is None:
        return False
    is_stopping = _stopping(recorder.folder, received, process.YIELD)
    found = recorder.train_first_stage(config, images, note["seed"], machine, is_stopping)
    if found is None:
        return False
    held_out = split(images, config.training.held_out, note["seed"])[1]
    decibels = measure_autoencoder(found, images.pixels, held_out, machine)
    line = f"the autoencoder is trained: {decibels:.1f} dB"
    recorder.log_event("finished", step=0, line=line, psnr=round(decibels, 2))
    return True


def _stored_autoencoder(folder: Path, config: Config) -> Autoencoder:
    """Return the autoencoder of a run's newest checkpoint, or of one that was set aside."""
    for home in (folder, *sorted(folder.glob(f"{runs.ASIDE}*"), reverse=True)):
        for checkpoint in reversed(list_checkpoints(home)):
            if (checkpoint / FIRST_STAGE).is_file():
                return read_first_stage(checkpoint, config).autoencoder
    raise InputError("first_stage.autoencoder = stored: this run has no checkpoint that holds one")


def _stopping(folder: Path, received: list[int], *more: str) -> Callable[[], bool]:
    """Return what tells whether to stop: asked for that, or for one of `more`.

    An autoencoder goes on where it was left, so its run may yield; pictures are read in one go.
    """
    asked = (process.STOP, *more)
    return lambda: bool(received) or any(process.is_requested(folder, each) for each in asked)


def ingest_pictures(recorder: Recorder, config: Config, received: list[int]) -> ImageSet | None:
    """Return the run's own picture set, read from its source once; None if that was stopped."""
    folder = recorder.folder
    pictures = folder / runs.PICTURES
    if not pictures.is_dir():
        source = str(read_object(folder / runs.SOURCE, "data")["data"])
        if not recorder.ingest(source, config, _stopping(folder, received)):
            return None
    return open_images(pictures, verify=True)
