"""A published model made of its files: networks without storage, filled tensor by tensor.

Each tensor is read into memory of its own, brought to its type and layout, checked and taken; at
no time is more held than the model itself and one tensor. Files are closed again after each.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sd.checkpoints.adapters.adding import add_adapters, check_adapters
from sd.checkpoints.first_stage import (
    BUNDLED,
    SPACE,
    latents_of,
    open_autoencoder_at,
    read_autoencoder,
)
from sd.checkpoints.model import Model
from sd.checkpoints.pretrained.choices import BFLOAT16, Choices, parse_place
from sd.checkpoints.pretrained.folder import Folder
from sd.checkpoints.pretrained.header import (
    TORCH_TYPES,
    WeightFile,
    read_bytes,
    read_header,
    read_tensor,
)
from sd.checkpoints.pretrained.inspection import (
    SCALE,
    Stage,
    config_of,
    inspect,
    own_settings,
)
from sd.checkpoints.pretrained.parts import (
    AUTOENCODER,
    EMA,
    LICENSE_KEY,
    METADATA,
    OPEN_CLIP,
    OWN_PREFIXES,
    READ,
    TEXT,
    TINY,
    UNET,
)
from sd.checkpoints.pretrained.report import LoadingReport, Part, Stored
from sd.checkpoints.record import LICENSE, RAIL_M, RAIL_M_NAME
from sd.checkpoints.weights import check_finite, compare_shapes, empty_network
from sd.common.text import format_bytes
from sd.common.validation import InputError, shown
from sd.config import Config
from sd.config.sections import (
    TINY_AUTOENCODERS,
)
from sd.data.space import is_finite
from sd.networks.autoencoder import AutoencoderKL
from sd.networks.clip.captions import ClipCaptions
from sd.networks.clip.text import CLIPText
from sd.networks.conditioning import conditioner_of
from sd.networks.first_stage import ATTENTION_AT, Autoencoder, Latents
from sd.networks.unet import UNetModel

LATENT_RGB = (  # the mean colour of a place: least squares over TAESD's latents of our emojis
    (0.2873, 0.2331, 0.1982),
    (0.1356, 0.2580, 0.0757),
    (-0.2037, 0.1697, 0.1953),
    (-0.1039, -0.1828, -0.6039),
    (0.1366, 0.0041, -0.1103),
)
BYTES = {torch.float32: 4, torch.bfloat16: 2}
STORED_AS = {torch.float32: "F32", torch.bfloat16: "BF16"}


def open_pretrained(
    place: str, device: str = "cpu", room: int | None = None, merge: bool = False
) -> Model:
    """Return the model in a file or folder, which "FILE#name=value" may say more of.

    room: bytes that it may take; where more are needed, that is said before a tensor is read.
    merge: make a LoRA part of the weights, as one that is written needs it.
    Raises `InputError` for what is no model or not whole.
    """
    path, choices = parse_place(place)
    check_adapters(choices)
    if path.is_file() and (own := own_settings(Folder({"": [read_header(path)]}, {}))):
        return _open_own(*own, device)
    report = inspect(path, choices)
    unet_part = _unet_of(report)
    dtype = torch.bfloat16 if choices.dtype == BFLOAT16 else torch.float32
    _check_room(report, dtype, room)
    with torch.device("meta"):
        unet = UNetModel.from_config(unet_part.config)
    fill(unet, unet_part.matched, dtype, channels_last=True)
    conditioner = _conditioner(report)
    autoencoder, scale = _autoencoder(report, choices)
    try:
        stage = Stage(autoencoder.channels, autoencoder.factor)
        config = config_of(report, stage, is_told=conditioner is not None)
    except InputError as error:
        raise InputError(f"{report.label}: {error}") from None
    latents = _latents(autoencoder, scale, config)
    for network in (unet, conditioner, autoencoder):
        if network is not None:
            network.to(device).eval().requires_grad_(False)
    about = {
        "kind": report.kind,
        "file": report.label,
        "linear": report.settings["linear"],
        "open_clip": report.part(OPEN_CLIP) is not None,
        "step": 0,
        LICENSE: RAIL_M,
    }
    model = Model(unet, config, about, conditioner, latents.to(device))
    return add_adapters(model, choices, merge)


def _open_own(file: WeightFile, config: Config, device: str) -> Model:
    """Return a model of our own from a single file that was exported."""
    unet = empty_network(config, file.bytes)
    try:
        metadata: Any = json.loads(file.metadata.get(METADATA, "null"))
    except (ValueError, RecursionError):
        raise InputError(f"{file.label}: its header is not readable as JSON") from None
    with torch.device("meta" if config.conditioning.encoder is None else "cpu"):
        conditioner = conditioner_of(config, metadata)
    own = OWN_PREFIXES[0], OWN_PREFIXES[2]
    for network, prefix in zip((unet, conditioner), own, strict=True):
        if network is not None:
            found = {n.removeprefix(prefix): n for n in file.entries if n.startswith(prefix)}
            wanted = {n: list(each.shape) for n, each in network.state_dict().items()}
            shapes = {new: list(file.entries[old].shape) for new, old in found.items()}
            compare_shapes(file.label, shapes, wanted)
            stored = {new: Stored(file, old) for new, old in found.items()}
            fill(network, stored, torch.float32, channels_last=network is unet)
            network.to(device).eval().requires_grad_(False)
    latents = None
    if config.is_latent:
        prefix = OWN_PREFIXES[1]
        names = [n for n in file.entries if n.startswith(prefix) or n in SPACE]
        state = {n.removeprefix(prefix): read_tensor(file, n).float() for n in names}
        check_finite(file.label, state)
        latents = latents_of(state, config).to(device)
    about: dict[str, Any] = {"file": file.label, "step": 0}
    if file.metadata.get(LICENSE_KEY) == RAIL_M_NAME:
        about[LICENSE] = RAIL_M
    return Model(unet, config, about, conditioner, latents)


def _unet_of(report: LoadingReport) -> Part:
    """Return the U-Net that is sampled with; `InputError` where there is none or a part lacks."""
    unet = report.part(UNET, EMA)
    if unet is None:
        held = ", ".join(part.title for part in report.parts)
        raise InputError(f"{report.label}: holds no U-Net, only: {held}; {READ}")
    for part in report.parts:
        if part.used and part.fault and part.name != TINY:
            raise InputError(f"{report.label}: {part.fault}")
    return unet


def _check_room(report: LoadingReport, dtype: torch.dtype, room: int | None) -> None:
    """Raise `InputError` where the weights take more bytes than there are."""
    needed = sum(
        part.parameters * (BYTES[dtype] if part.name in (UNET, EMA) else BYTES[torch.float32])
        for part in report.parts
        if part.used
    )
    if room is None or needed <= room:
        return
    unet = report.part(UNET, EMA)
    half = needed - (unet.parameters * BYTES[torch.bfloat16] if unet else 0)
    fits = dtype == torch.float32 and half <= room
    hint = "; with #dtype=bfloat16 it fits" if fits else ""
    raise InputError(
        f"{report.label}: its weights take {format_bytes(needed)}; "
        f"{format_bytes(room)} are free here{hint}"
    )


def fill(
    network: nn.Module,
    matched: Mapping[str, Stored],
    dtype: torch.dtype,
    channels_last: bool = False,
) -> None:
    """Fill a network without storage with tensors of files, one after the other.

    What changes its type or layout passes through memory that is used again: pages that are new to
    the process take longer than reading does. Raises `InputError` naming the first tensor that
    holds what is no finite number.
    """
    wanted = {name: each.shape for name, each in network.state_dict().items()}
    state: dict[str, Tensor] = {}
    passing = torch.empty(0, dtype=torch.uint8)
    for name, shape in wanted.items():
        stored = matched[name]
        is_last = channels_last and len(shape) == 4
        layout = torch.channels_last if is_last else torch.contiguous_format
        if stored.rows is None and not is_last and stored.entry.dtype == STORED_AS[dtype]:
            tensor = read_tensor(stored.file, stored.name).reshape(shape)
        else:
            passing = _grown(passing, stored.entry.bytes)
            tensor = torch.empty(shape, dtype=dtype, memory_format=layout)
            tensor.copy_(_read(stored, passing).reshape(shape))
        if not is_finite(tensor):
            label = stored.file.label
            raise InputError(f"{label}: {stored.name} holds values that are not finite")
        state[name] = tensor
    network.load_state_dict(state, assign=True)


def _grown(passing: Tensor, size: int) -> Tensor:
    """Return memory of at least so many bytes: the one that is there if it suffices."""
    return passing if len(passing) >= size else torch.empty(size, dtype=torch.uint8)


def _read(stored: Stored, passing: Tensor) -> Tensor:
    """Return a tensor as it is stored, which lies in `passing` or is mapped from its file."""
    file, name, entry = stored.file, stored.name, stored.entry
    if name in file.held:
        tensor = file.held[name].detach()
    else:
        data = passing[: entry.bytes]
        read_bytes(file, name, data)
        tensor = data.view(getattr(torch, TORCH_TYPES[entry.dtype])).reshape(entry.shape)
    return tensor if stored.rows is None else tensor[slice(*stored.rows)]


def _conditioner(report: LoadingReport) -> ClipCaptions | None:
    part = report.part(TEXT, OPEN_CLIP)
    if part is None:
        return None
    with torch.device("meta"):
        encoder = CLIPText(part.config)
    fill(encoder, part.matched, torch.float32)
    return ClipCaptions(encoder)


def fill_text_encoder(place: str, encoder: CLIPText, device: str = "cpu") -> None:
    """Read the weights of a place's text encoder again, which were let go of."""
    path, choices = parse_place(place)
    report = inspect(path, choices)
    part = report.part(TEXT, OPEN_CLIP)
    if part is None or part.fault:
        raise InputError(f"{report.label}: is another file than before; open it again")
    fill(encoder, part.matched, torch.float32)
    encoder.to(device).eval().requires_grad_(False)


def _autoencoder(report: LoadingReport, choices: Choices) -> tuple[Autoencoder, float]:
    """Return the autoencoder that is taken, and what its latents are multiplied by."""
    if choices.vae is not None:
        if choices.vae not in TINY_AUTOENCODERS and not Path(choices.vae).expanduser().exists():
            raise InputError(f"vae = {shown(choices.vae)}: no such file or folder")
        found = open_autoencoder_at(choices.vae)
        return found, SCALE if isinstance(found, AutoencoderKL) else 1.0
    part = report.part(AUTOENCODER)
    if part is None:
        return read_autoencoder(BUNDLED / "taesd.safetensors"), 1.0
    config = dict(part.config)
    embed_dim, attended = config.pop("embed_dim"), config.pop("attended")
    config["resolution"] = ATTENTION_AT
    config["attn_resolutions"] = tuple(ATTENTION_AT >> level for level in attended)
    with torch.device("meta"):
        network = AutoencoderKL(config, embed_dim)
    fill(network, part.matched, torch.float32)
    return network, float(report.settings.get("scale", SCALE))


def _latents(autoencoder: Autoencoder, scale: float, config: Config) -> Latents:
    channels = autoencoder.channels
    rgb = torch.zeros(channels + 1, 3)
    if channels == len(LATENT_RGB) - 1:
        rgb = torch.tensor(LATENT_RGB)
    std = torch.full((channels,), 1 / scale)
    return Latents(autoencoder, torch.zeros(channels), std, rgb, config.picture_shape)
