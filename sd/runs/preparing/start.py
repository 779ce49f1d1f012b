"""The model that a run starts from: found by name, path or bundle, kept in the run's own folder.

`start/` holds its weights as a checkpoint without a training state, so that a run begins anew from
the same ones whatever becomes of the model. In config.ini it is called MODEL@DIGEST.
"""

import shutil
import tempfile
import zipfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import torch

from sd import runs
from sd.checkpoints.adapted import call_base, open_base
from sd.checkpoints.checkpoint import load_checkpoint
from sd.checkpoints.first_stage import check_fits
from sd.checkpoints.model import Model
from sd.checkpoints.pretrained.building import open_pretrained
from sd.checkpoints.record import (
    CALLED,
    list_checkpoints,
    name_of,
    newest_checkpoint,
    read_about,
    weights_digest,
)
from sd.common.disk import remove, write_folder
from sd.common.text import brief, printable
from sd.common.validation import InputError, shown
from sd.config import Config
from sd.config.sections import AUTO_START, AUTOENCODERS, STORED
from sd.data.reading.source import BUNDLED_SETS
from sd.networks.first_stage import Autoencoder
from sd.runs.bundle import checkpoint_members
from sd.runs.home import Home, default_home
from sd.runs.unbundle import unpack

START = "start"  # in a run's folder
KEPT = (  # of a model's training, for one that starts from it
    *("fit", "batch_size", "optimizer", "learning_rate", "input_height", "input_width"),
    *("precision", "weight_decay", "grad_clip"),
)
STEPS = 1000  # of a run that starts from a model, unless told
BASES = ("emoji32",)  # bundled models that "auto" chooses among


def settings_from(place: str, base: Config) -> Config:
    """Return the settings with which a run starts from the model at `place`.

    They are the model's own, so that all of its weights fit, but for what belongs to one run alone:
    these are those of `base`. Raises `InputError` where there is no model.
    """
    with ExitStack() as stack:
        folder = find_model(place, None, stack)
        own = at_no_place(Config.read(folder / runs.CONFIG))
    kept = {name: getattr(own.training, name) for name in KEPT}
    training = replace(base.training, **kept, steps=STEPS, start_from=place)
    stage = own.first_stage
    if own.is_latent and stage.autoencoder not in (None, *_bundled()):
        stage = replace(stage, autoencoder=STORED)
    conditioning = replace(own.conditioning, sample_prompts=None)
    return Config(training, own.unet, own.diffusion, conditioning, stage)


def lora_settings(place: str, base: Config) -> Config:
    """Return the settings with which a LoRA is trained for the published model at `place`.

    They are the model's own, with `base`'s of training. Raises `InputError` where there is none.
    """
    called = call_base(place)
    own = open_pretrained(name_of(called)).config
    _, height, width = own.picture_shape
    training = replace(base.training, start_from=called, input_height=height, input_width=width)
    return replace(own, training=training)


def _bundled() -> tuple[str, ...]:
    return tuple(name for name in AUTOENCODERS if name not in ("own", STORED))


def at_no_place(config: Config) -> Config:
    """Return settings as they are for others: without paths."""
    return config.with_settings(["training.dataset_path=None", "training.save_path=None"])


def choose_base(config: Config, source: str) -> str | None:
    """Return the bundled model that "auto" means for training on `source`; None for none.

    Its space, size, estimate and network are those of `config`. No bundled set starts from one:
    the pictures that are held out to measure on would be known to it.
    """
    if source in BUNDLED_SETS or config.training.lora_rank:
        return None
    bundled = default_home().bundled
    for name in BASES:
        if list_checkpoints(bundled / name):
            own = Config.read(newest_checkpoint(bundled / name) / runs.CONFIG)
            if _look(own) == _look(config):
                return name
    return None


def _look(config: Config) -> tuple[object, ...]:
    """Return what two models must share for one to be what "auto" means for the other."""
    unet = replace(config.unet, context_dim=None, num_classes=None)  # what it is told is its own
    stage = config.first_stage.autoencoder
    return config.picture_shape, stage, config.diffusion.prediction, unet


def find_model(place: str, run: Path | None, stack: ExitStack) -> Path:
    """Return the checkpoint of a model: a run or checkpoint folder, a bundle, or a model's name.

    run: the folder beside which names are looked for first. A bundle is opened for as long as
    `stack` is. Raises `InputError` where there is none.
    """
    path = Path(name_of(place)).expanduser()
    try:
        if zipfile.is_zipfile(path):
            home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            return newest_checkpoint(unpack(path, home))
        if path.is_dir():
            return newest_checkpoint(path)
    except (OSError, ValueError):  # no path at all
        pass
    homes = [default_home()] if run is None else [Home(run.absolute().parent), default_home()]
    for each in homes:
        for parent in (each.path, each.bundled):
            if path.name == str(path) and list_checkpoints(parent / path.name):
                return newest_checkpoint(parent / path.name)
    raise InputError(
        f"training.start_from = {shown(name_of(place))}: no model of that name, no run folder, "
        "checkpoint or bundle is there"
    )


def keep_start(run: Path, config: Config) -> Config:
    """Copy the model that a run starts from into its folder; return settings that name it so.

    "auto" is decided here. Nothing is kept where it starts from none. Raises `InputError` where
    there is no such model, or where it has other weights than the settings say.
    """
    place = config.training.start_from
    if place == AUTO_START:
        base = choose_base(config, runs.read_source(run))
        place = None if base is None else str(default_home().bundled / base)
        config = replace(config, training=replace(config.training, start_from=place))
    if place is None and config.training.lora_rank:
        raise InputError(
            "training.start_from = None: a LoRA is trained for a published model; say which, as "
            "with --lora FILE"
        )
    if place is None:
        return config
    if config.training.lora_rank:  # too large to be kept: it stays where it lies
        return config.with_settings([f"training.start_from={call_base(place)}"])
    match = CALLED.fullmatch(place)
    if match and digest_at(run / START) == match[2]:
        return config
    with ExitStack() as stack:
        checkpoint = find_model(place, run, stack)
        load_checkpoint(checkpoint)  # whole and undamaged
        found = digest_at(checkpoint)
        if match and match[2] != found:
            raise InputError(
                f"training.start_from = {shown(place)}: the model of that name has other weights "
                f"by now, {found}"
            )
        if (run / START).exists():
            remove(run / START)
        write_folder(run / START, lambda folder: _copy(checkpoint, folder))
    parent = checkpoint.parent.name if checkpoint.name.startswith("checkpoint-") else ""
    name = name_of(place) if zipfile.is_zipfile(name_of(place)) else parent or checkpoint.name
    called = f"{brief(printable(Path(name).name))}@{found}"
    return config.with_settings([f"training.start_from={called}"])


def _copy(checkpoint: Path, folder: Path) -> None:
    for name, content in checkpoint_members(checkpoint, resumable=False):
        if isinstance(content, Path):
            shutil.copyfile(content, folder / name)
        else:
            (folder / name).write_text(content, encoding="utf-8")


def digest_at(checkpoint: Path) -> str:
    """Return the digest of the model in a folder; "" where there is none."""
    try:
        return weights_digest(read_about(checkpoint)["sha256"])
    except InputError:
        return ""


def open_start(run: Path, config: Config) -> Model | None:
    """Return the model that a run starts from, of those kept in its folder; None for none."""
    if config.training.lora_rank:
        return open_base(config)
    return load_checkpoint(run / START) if config.training.start_from is not None else None


def stored_first_stage(start: Model, config: Config) -> Autoencoder:
    """Return the autoencoder of a model to start from; `InputError` where it has none that fits."""
    if start.latents is None:
        raise InputError(
            "first_stage.autoencoder = stored: the model that training starts from sees pixels"
        )
    check_fits(config, start.latents.autoencoder)
    return start.latents.autoencoder


def encodes_alike(start: Model, autoencoder: Autoencoder) -> bool:
    """Tell whether latents of an autoencoder are those that a model was trained on."""
    if start.latents is None:
        return False
    own, other = (
        {name: each for name, each in network.state_dict().items() if is_of_encoder(name)}
        for network in (start.latents.autoencoder, autoencoder)
    )
    return own.keys() == other.keys() and all(torch.equal(own[name], other[name]) for name in own)


def is_of_encoder(name: str) -> bool:
    """Tell whether a tensor is one of those by which an autoencoder encodes."""
    return name.startswith(("encoder.", "quant_conv."))
