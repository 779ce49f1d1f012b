"""A LoRA that was trained here: its base by place and digest, and both as one model.

The checkpoint's weights are a LoRA in kohya's names, so that the file itself is of use elsewhere.
The base stays where it lies; in the settings it is called PLACE@DIGEST.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from sd.checkpoints.adapters.lora import attach_lora
from sd.checkpoints.adapters.targets import spell_targets
from sd.checkpoints.model import Model
from sd.checkpoints.pretrained.building import open_pretrained
from sd.checkpoints.pretrained.choices import digest_of_place, is_published
from sd.checkpoints.pretrained.inspection import V2_CONTEXT
from sd.checkpoints.pretrained.names import unet_modules, unet_tensors
from sd.checkpoints.pretrained.parts import ARCHITECTURE, LICENSE_KEY
from sd.checkpoints.pretrained.writing import write_tensors
from sd.checkpoints.record import CALLED, DIGITS, RAIL_M_NAME, WEIGHTS, member, name_of
from sd.checkpoints.weights import read_tensors
from sd.common.disk import write_file, write_folder
from sd.common.validation import InputError, shown
from sd.config import Config
from sd.networks.conditioning_metadata import examples_of

PEFT = "unet."
PEFT_FILE = "pytorch_lora_weights.safetensors"  # what diffusers looks for in a folder


def call_base(place: str) -> str:
    """Return PLACE@DIGEST of a published model; raise `InputError` where it is another by now."""
    match = CALLED.fullmatch(place)
    name = name_of(place)
    if not is_published(name):
        raise InputError(
            f"training.start_from = {shown(name)}: a LoRA is trained for a published model, a file "
            "or a folder; none is there"
        )
    found = digest_of_place(name)[:DIGITS]
    if match and match[2] != found:
        raise InputError(
            f"training.start_from = {shown(place)}: the model of that name has other weights by "
            f"now, {found}"
        )
    return f"{name}@{found}"


def open_base(config: Config, device: str = "cpu") -> Model:
    """Return the published model for which a LoRA is, in the size of the settings."""
    place = str(config.training.start_from)
    base = open_pretrained(name_of(call_base(place)), device)
    if base.is_inpainting or base.conditioner is None or base.latents is None:
        raise InputError(
            f"training.start_from = {shown(name_of(place))}: a LoRA is trained for a model that is "
            "told texts and no mask"
        )
    if base.config.unet != config.unet:
        raise InputError(
            "the settings' network is not that of training.start_from; begin with --lora FILE"
        )
    return base.resized(config.training.input_height, config.training.input_width)


def load_adapted(
    folder: Path, config: Config, about: Mapping[str, Any], metadata: Any, device: str
) -> Model:
    """Return the model of a checkpoint that holds a LoRA: its base, and the LoRA beside it."""
    base = open_base(config, device)
    attach_lora(member(folder, WEIGHTS), base)
    assert base.conditioner is not None
    base.conditioner.examples = examples_of(metadata)
    return replace(base, config=config, about=about)


def write_lora(checkpoint: Path, config: Config, out: Path) -> None:
    """Write the LoRA of a checkpoint: as one file in kohya's names, or as diffusers' folder.

    In the folder alpha is counted into B, for what is said beside the weights is not always read.
    """
    tensors = _as_kernels(read_tensors(member(checkpoint, WEIGHTS), lambda _: None), config)
    rank, alpha = config.training.lora_rank, config.training.lora_alpha
    if out.suffix == ".safetensors":
        spec = {"ss_network_module": "networks.lora", "ss_network_dim": str(rank)}
        spec |= {
            "ss_network_alpha": f"{alpha:g}",
            ARCHITECTURE: f"{_version(config)}/lora",
            LICENSE_KEY: RAIL_M_NAME,
        }
        write_file(out, lambda place: write_tensors(place, tensors, spec))
        return
    if out.exists():
        raise InputError(f"{out.name}: is there already; give another name")
    renamed = _peft(tensors, config)
    write_folder(
        out, lambda folder: write_tensors(folder / PEFT_FILE, renamed, {LICENSE_KEY: RAIL_M_NAME})
    )


def _as_kernels(tensors: Mapping[str, Tensor], config: Config) -> dict[str, Tensor]:
    """Return a LoRA's tensors, those of v1's projections as the 1x1 convolutions that they are."""
    found, targets = dict(tensors), spell_targets(config)
    for each in unet_tensors(config.unet, linear=config.unet.context_dim == V2_CONTEXT):
        spelling = targets.get(each.ours.removesuffix(".weight"))
        if spelling and len(each.shape) == 4 and not each.linear:
            for part in (f"{spelling}.lora_down.weight", f"{spelling}.lora_up.weight"):
                kernel = found[part]
                found[part] = kernel.reshape(*kernel.shape, *[1] * (4 - kernel.ndim))
    return found


def _peft(tensors: Mapping[str, Tensor], config: Config) -> dict[str, Tensor]:
    found, scale = {}, config.training.lora_alpha / config.training.lora_rank
    for ours, spelling in spell_targets(config).items():
        theirs = PEFT + unet_modules(config.unet)[ours]
        found[f"{theirs}.lora_A.weight"] = tensors[f"{spelling}.lora_down.weight"]
        found[f"{theirs}.lora_B.weight"] = tensors[f"{spelling}.lora_up.weight"] * scale
    return found


def _version(config: Config) -> str:
    return "stable-diffusion-v2" if config.unet.context_dim == V2_CONTEXT else "stable-diffusion-v1"
