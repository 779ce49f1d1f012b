"""A LoRA in a file: which layers it changes, whether they are this model's, and its changes."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from sd.checkpoints.adapters.spellings import (
    ALPHA,
    DOWN,
    MID,
    OTHER_KINDS,
    OTHER_MODELS,
    UP,
    mark_in,
    part_of,
    text_spellings,
    unet_spellings,
)
from sd.checkpoints.model import Model
from sd.checkpoints.pretrained.header import FLOATS, WeightFile, read_header, read_tensor
from sd.checkpoints.pretrained.names import Shape, unet_modules, unet_tensors
from sd.checkpoints.weights import check_finite
from sd.common.text import brief, printable
from sd.common.validation import InputError
from sd.config.sections import UNetConfig
from sd.networks.adapters.lora import LoRA, LowRank
from sd.networks.clip.captions import ClipCaptions

TO_CONTEXT = re.compile(r"attn2[._](?:processor[._])?to_k$")  # its input is what a text gives
SAVED_SETTINGS = "lora_adapter_metadata"  # of diffusers, in a file's metadata
BESIDE = "adapter_config.json"  # of PEFT, beside the file


@dataclass(frozen=True)
class LoRAFile:
    """A file's changes, by the spelling of their layers: names of tensors by part. None is read.

    others: tensors that are no part of such a change.
    """

    file: WeightFile
    changes: Mapping[str, Mapping[str, str]]
    others: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """What messages call it."""
        return self.file.label

    @property
    def ranks(self) -> list[int]:
        """The ranks of its changes, each once, rising."""
        shapes = [self.file.entries[parts[DOWN]].shape for parts in self.changes.values()]
        return sorted({shape[0] for shape in shapes})

    @property
    def context(self) -> int | None:
        """The width of the contexts that it was trained with; None if it changes no such layer."""
        for spelling, parts in self.changes.items():
            if TO_CONTEXT.search(spelling):
                return self.file.entries[parts[DOWN]].shape[1]
        return None


class MatchedLoRA(NamedTuple):
    """A file's changes and the layers of a model that they are of: spelling -> layer of each part.

    unused: spellings of layers that the model has not.
    """

    unet: Mapping[str, str]
    text: Mapping[str, str]
    unused: tuple[str, ...]


@dataclass
class AttachedLoRA:
    """A LoRA in effect on a model: `scale` may be set at any time, `remove` ends it."""

    label: str
    unet: LoRA
    text: LoRA
    unused: tuple[str, ...] = field(default=())

    @property
    def used(self) -> int:
        """How many of its changes are in effect."""
        return len(self.unet.changes) + len(self.text.changes)

    @property
    def total(self) -> int:
        """How many changes the file holds."""
        return self.used + len(self.unused)

    @property
    def line(self) -> str:
        """What of it is used, in words."""
        parts = f"{len(self.unet.changes)} in the U-Net, {len(self.text.changes)} in the text"
        more = f"; not this model's: {', '.join(map(brief, self.unused[:3]))}"
        dots = ", ..." if len(self.unused) > 3 else ""
        rest = more + dots if self.unused else ""
        return f"{self.label}: {self.used} of {self.total} used, {parts} encoder{rest}"

    @property
    def scale(self) -> float:
        """By how much it counts: at 0 the model is as without, at 1 as it was trained."""
        return self.unet.scale

    @scale.setter
    def scale(self, value: float) -> None:
        self.unet.scale = value
        self.text.scale = value

    def merge(self, model: Model) -> None:
        """Add it to the model's weights for good, in place of the branches beside them."""
        self.remove()
        self.unet.merge(model.unet)
        if isinstance(model.conditioner, ClipCaptions):
            self.text.merge(model.conditioner.encoder)

    def remove(self) -> None:
        """Take it away from the model."""
        self.unet.remove()
        self.text.remove()


def read_lora(path: Path) -> LoRAFile:
    """Return what a file says it changes, from its header; `InputError` where it is no LoRA."""
    file = read_header(path)
    if kind := mark_in(file.entries, OTHER_KINDS):
        raise InputError(f"{file.label}: is a {kind}; LoRA and LoCon are read")
    if other := mark_in(file.entries, OTHER_MODELS):
        raise InputError(f"{file.label}: is for {other}, whose network is another")
    changes: dict[str, dict[str, str]] = {}
    parted = {name: part_of(name) for name in file.entries}
    for name, found in parted.items():
        if found is not None:
            spelling, part = found
            changes.setdefault(spelling, {})[part] = name
    if not changes:
        raise InputError(f"{file.label}: holds no LoRA")
    for spelling, parts in changes.items():
        lacking = [part for part in (DOWN, UP) if part not in parts]
        if lacking:
            raise InputError(f"{file.label}: {brief(printable(spelling))}: has no {lacking[0]}")
        for name in parts.values():
            _check_entry(file, name)
    return LoRAFile(file, changes, tuple(name for name, found in parted.items() if not found))


def _check_entry(file: WeightFile, name: str) -> None:
    entry = file.entries[name]
    scalar = name.endswith(ALPHA)
    if (not scalar and entry.dtype not in FLOATS) or (scalar and entry.shape not in ((), (1,))):
        shown = brief(printable(name))
        raise InputError(f"{file.label}: {shown}: is {entry.dtype} {list(entry.shape)}")
    if not scalar and (len(entry.shape) not in (2, 3, 4, 5) or 0 in entry.shape):
        raise InputError(f"{file.label}: {brief(printable(name))}: is {list(entry.shape)}")


def attach_lora(path: Path, model: Model, scale: float = 1.0) -> AttachedLoRA:
    """Put a file's changes beside the layers of a model, and return the handle to weigh them by.

    Raises `InputError` for a file that is no LoRA, is one for another width of context, or changes
    no layer of this model.
    """
    found = read_lora(path)
    text = model.conditioner.encoder if isinstance(model.conditioner, ClipCaptions) else None
    matched = match_lora(found, model.config.unet, {} if text is None else layers_of(text))
    parts = {
        name: {layer: _change(found, spelling, layer) for spelling, layer in layers.items()}
        for name, layers in (("unet", matched.unet), ("text", matched.text))
    }
    unused = (*matched.unused, *map(printable, found.others))
    attached = AttachedLoRA(
        found.label, LoRA(parts["unet"], scale), LoRA(parts["text"], scale), unused
    )
    attached.unet.attach(model.unet)
    try:
        if text is not None:
            attached.text.attach(text)
    except InputError:
        attached.remove()
        raise
    return attached


def match_lora(found: LoRAFile, unet: UNetConfig, text_layers: Mapping[str, Shape]) -> MatchedLoRA:
    """Return which layers of a model a file changes, read or not.

    text_layers: those of its text encoder, and the shapes of their weights. Raises `InputError` for
    a file for another width of context or for layers of other widths, and for one that changes no
    layer of the model.
    """
    width = unet.context_dim
    if found.context not in (None, width):
        raise InputError(
            f"{found.label}: was trained for contexts of width {found.context}"
            f"{_version(found.context)}; this model's have {width}{_version(width)}"
        )
    in_unet, in_text = unet_spellings(unet_modules(unet)), text_spellings(text_layers)
    matched = MatchedLoRA(
        {each: in_unet[each] for each in found.changes if each in in_unet},
        {each: in_text[each] for each in found.changes if each in in_text and each not in in_unet},
        tuple(map(printable, (e for e in found.changes if e not in in_unet and e not in in_text))),
    )
    if not matched.unet and not matched.text:
        raise InputError(
            f"{found.label}: none of its {len(matched.unused)} changes is of a layer of this model;"
            f" one is {brief(matched.unused[0])}"
        )
    shapes = {each.ours.removesuffix(".weight"): each.shape for each in unet_tensors(unet)}
    for layers, known in ((matched.unet, shapes), (matched.text, text_layers)):
        for spelling, layer in layers.items():
            _check_width(found, spelling, layer, known[layer])
    return matched


def _check_width(found: LoRAFile, spelling: str, layer: str, weight: Shape) -> None:
    """Raise `InputError` for a change whose ends are not as wide as its layer's, by its header."""
    entries, parts = found.file.entries, found.changes[spelling]
    for part, axis in ((DOWN, 1), (UP, 0)):
        shape = entries[parts[part]].shape
        if shape[axis] != weight[axis]:
            raise InputError(
                f"LoRA: {layer}: {part} is {list(shape)}, which does not fit {list(weight)}"
            )


def layers_of(network: nn.Module) -> dict[str, Shape]:
    """Return the layers that a LoRA of a text encoder may change, and their weights' shapes."""
    return {
        name: tuple(each.weight.shape)
        for name, each in network.named_modules()
        if isinstance(each, nn.Linear)
    }


def _version(width: int | None) -> str:
    """Return which Stable Diffusion has contexts of that width."""
    return {768: " (Stable Diffusion v1)", 1024: " (v2)", 2048: " (SDXL)"}.get(width or 0, "")


def _change(found: LoRAFile, spelling: str, layer: str) -> LowRank:
    """Return the change of a layer, read."""
    parts = found.changes[spelling]
    tensors: dict[str, Tensor] = {
        part: read_tensor(found.file, name).float() for part, name in parts.items()
    }
    check_finite(found.label, {parts[part]: each for part, each in tensors.items()})
    rank = len(tensors[DOWN])
    alpha = tensors.get(ALPHA)
    said = _saved_alpha(found, spelling, layer, rank) if alpha is None else float(alpha.max())
    return LowRank(tensors[DOWN], tensors[UP], said, tensors.get(MID))


def _saved_alpha(found: LoRAFile, spelling: str, layer: str, rank: int) -> float:
    """Return the alpha that settings beside the weights say; the rank where they say none."""
    settings, prefix = _settings(found), "text_encoder." if "text_" in spelling else "unet."
    settings = {key.removeprefix(prefix): value for key, value in settings.items()}
    if settings.get("use_dora"):
        raise InputError(f"{found.label}: is a DoRA; LoRA and LoCon are read")
    patterns = settings.get("alpha_pattern")
    alpha = settings.get("lora_alpha")
    if isinstance(patterns, dict):
        ends = [value for key, value in patterns.items() if spelling.endswith(str(key))]
        alpha = ends[0] if ends else alpha
    if not isinstance(alpha, int | float) or isinstance(alpha, bool) or not abs(alpha) < 1e6:
        return float(rank)
    return float(alpha) * (rank**0.5 if settings.get("use_rslora") else 1.0)


def _settings(found: LoRAFile) -> dict[str, Any]:
    """Return diffusers' settings in the file's metadata, or PEFT's beside it."""
    text = found.file.metadata.get(SAVED_SETTINGS)
    beside = found.file.path.with_name(BESIDE)
    try:
        if text is None and found.file.path.stem == "adapter_model" and beside.is_file():
            text = beside.read_text(encoding="utf-8")
        read = json.loads(text) if text else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return read if isinstance(read, dict) else {}
