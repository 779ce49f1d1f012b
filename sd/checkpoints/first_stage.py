"""First stages in files: bundled ones, a person's own, one that a hub had, a checkpoint's.

Names are latent diffusion's or TAESD's; those of diffusers are read too. Only safetensors are read.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from sd.checkpoints.hub import fetched_file
from sd.checkpoints.record import FIRST_STAGE
from sd.checkpoints.weights import compare_shapes, read_shapes, read_tensors, write_proved
from sd.common.text import brief, printable
from sd.common.validation import InputError, shown
from sd.config import Config
from sd.config.sections import OWN, STORED, TINY_AUTOENCODERS
from sd.networks import autoencoder as networks
from sd.networks.first_stage import (
    Autoencoder,
    Latents,
    describe_autoencoder,
)

BUNDLED = Path(networks.__file__).parent / "weights"
HUB_FILE = "diffusion_pytorch_model.safetensors"  # of an autoencoder, in diffusers' folders
HALVES = ("*encoder*.safetensors", "*decoder*.safetensors")  # of TAESD's own folder
OF_RUN = ("latents/trained.safetensors", "latents/autoencoder.safetensors")  # below its folder
SPACE = ("space.mean", "space.std", "space.rgb")

BEFORE = ("first_stage_model.", "vae.")  # in a single file of a whole model
OF_DIFFUSERS = (  # diffusers' names of an autoencoder's parts: latent diffusion's, but for `up`
    (r"encoder\.down_blocks\.(\d+)\.resnets\.(\d+)\.", r"encoder.down.\1.block.\2."),
    (r"encoder\.down_blocks\.(\d+)\.attentions\.(\d+)\.", r"encoder.down.\1.attn.\2."),
    (r"encoder\.down_blocks\.(\d+)\.downsamplers\.0\.", r"encoder.down.\1.downsample."),
    (r"\.mid_block\.resnets\.0\.", ".mid.block_1."),
    (r"\.mid_block\.resnets\.1\.", ".mid.block_2."),
    (r"\.mid_block\.attentions\.0\.", ".mid.attn_1."),
    (r"\.(?:group_norm)\.", ".norm."),
    (r"\.(?:to_(?:to_)?q|query)\.", ".q."),
    (r"\.(?:to_(?:to_)?k|key)\.", ".k."),
    (r"\.(?:to_(?:to_)?v|value)\.", ".v."),
    (r"\.(?:to_out\.0|proj_attn)\.", ".proj_out."),
    (r"\.conv_shortcut\.", ".nin_shortcut."),
    (r"\.conv_norm_out\.", ".norm_out."),
)


def open_autoencoder(config: Config) -> Autoencoder:
    """Return the trained autoencoder that the settings name, in float32.

    `InputError` where it is not to be had, or its latents are not those of the settings.
    """
    found = open_autoencoder_at(str(config.first_stage.autoencoder))
    check_fits(config, found)
    return found


def open_autoencoder_at(place: str) -> Autoencoder:
    """Return the trained autoencoder of that name, file, folder or hub id, in float32."""
    if place in TINY_AUTOENCODERS:
        return read_autoencoder(BUNDLED / f"{place}.safetensors")
    if place in (OWN, STORED):
        raise InputError(f"first_stage.autoencoder = {place}: there is none of that kind here yet")
    return read_autoencoder(*_files(place))


def check_fits(config: Config, found: Autoencoder) -> None:
    """Raise `InputError` where the settings count on other latents than an autoencoder gives."""
    if found.factor != config.first_stage.factor:
        raise InputError(
            f"first_stage.factor = {config.first_stage.factor}: must be {found.factor}, that "
            "of the autoencoder"
        )
    if found.channels != config.unet.channel:
        raise InputError(
            f"unet.channel = {config.unet.channel}: must be {found.channels}, as many as the "
            "latents of the autoencoder have"
        )


def _files(place: str) -> list[Path]:
    """Return the files of an autoencoder at a path, or what was fetched from the hub by its id."""
    where = Path(place).expanduser()
    if where.is_file():
        return [where]
    if where.is_dir():
        for name in (HUB_FILE, *OF_RUN):
            if (where / name).is_file():
                return [where / name]
        found = [path for half in HALVES for path in sorted(where.glob(half))[:1]]
        if len(found) == len(HALVES):
            return found
        raise InputError(
            f"first_stage.autoencoder = {shown(place)}: the folder holds neither {HUB_FILE} nor "
            "an encoder and a decoder as safetensors"
        )
    try:
        return [fetched_file(place, HUB_FILE)]
    except InputError as error:
        raise InputError(
            f"first_stage.autoencoder: no such file or folder; as an id of a hub, {error}"
        ) from None


def read_autoencoder(*files: Path) -> Autoencoder:
    """Return the autoencoder in a file, or in an encoder's and a decoder's, in float32."""
    state = {name: each for path in files for name, each in _read_part(path, len(files)).items()}
    return _fill(files[0].name, state)


def _read_part(path: Path, parts: int) -> dict[str, Tensor]:
    shapes = read_shapes(path)
    names = rename(shapes)
    if parts > 1 and "encoder" not in path.name and "decoder" not in path.name:
        raise InputError(f"{path.name}: is neither an encoder nor a decoder by its name")
    half = "encoder." if "encoder" in path.name else "decoder."
    tensors = read_tensors(path, lambda _: None)
    found = {new: tensors[old] for old, new in names.items()}
    return {half + name: each for name, each in found.items()} if parts > 1 else found


def _fill(file: str, state: Mapping[str, Tensor]) -> Autoencoder:
    """Return the autoencoder whose weights these are; 1x1 convolutions may come as matrices."""
    shapes = {name: list(each.shape) for name, each in state.items()}
    try:
        network = describe_autoencoder(shapes)
    except InputError as error:
        raise InputError(f"{brief(printable(file))}: {error}") from None
    wanted = {name: list(each.shape) for name, each in network.state_dict().items()}
    square = {
        name: each[:, :, None, None]
        if each.ndim == 2 and wanted.get(name) == [*each.shape, 1, 1]
        else each
        for name, each in state.items()
    }
    compare_shapes(brief(printable(file)), {n: list(t.shape) for n, t in square.items()}, wanted)
    network.load_state_dict(square, assign=True)
    return network.eval().requires_grad_(False)


def rename(names: Iterable[str]) -> dict[str, str]:
    """Return a file's names of an autoencoder's tensors with ours; all others are left out."""
    found = list(names)
    prefix = next((p for p in BEFORE if any(name.startswith(p) for name in found)), "")
    own = {name: name.removeprefix(prefix) for name in found if name.startswith(prefix)}
    own = {old: new for old, new in own.items() if not new.startswith("loss.")}
    if any(".layers." in name for name in own.values()):  # AutoencoderTiny: no layer for the clamp
        return {old: _tiny_name(new) for old, new in own.items()}
    if not any("_blocks." in name for name in own.values()):
        return own
    levels = 1 + max(
        (int(name.split(".")[2]) for name in own.values() if ".up_blocks." in name), default=0
    )
    return {old: _plain_name(new, levels) for old, new in own.items()}


def _tiny_name(name: str) -> str:
    part, _, number, *rest = name.split(".")
    return ".".join([part, str(int(number) + (part == "decoder")), *rest])


def _plain_name(name: str, levels: int) -> str:
    """Return diffusers' name of a tensor as latent diffusion's, whose `up.0` is the largest."""
    for pattern, new in OF_DIFFUSERS:
        name = re.sub(pattern, new, name)
    match = re.fullmatch(r"decoder\.up_blocks\.(\d+)\.(resnets|attentions|upsamplers)\.(.+)", name)
    if match is None:
        return name
    number, part, rest = match.groups()
    level = f"decoder.up.{levels - 1 - int(number)}"
    if part == "upsamplers":
        return f"{level}.upsample.{rest.removeprefix('0.')}"
    return f"{level}.{'block' if part == 'resnets' else 'attn'}.{rest}"


def stored_tensors(latents: Latents) -> dict[str, Tensor]:
    """Return what a checkpoint keeps of a first stage."""
    space = dict(zip(SPACE, (latents.mean, latents.std, latents.rgb), strict=True))
    moments = {name: each.detach().cpu().contiguous() for name, each in space.items()}
    return stored_weights(latents.autoencoder) | moments


def stored_weights(network: Autoencoder) -> dict[str, Tensor]:
    """Return an autoencoder's weights as files have them: as float16 where that is exact."""
    state = {name: each.detach().cpu().contiguous() for name, each in network.state_dict().items()}
    halves = {name: each.half() for name, each in state.items()}
    exact = all(torch.equal(halves[name].float(), each) for name, each in state.items())
    return halves if exact else state


def read_first_stage(folder: Path, config: Config) -> Latents:
    """Return the first stage that lies in a checkpoint's folder."""
    return latents_of(read_tensors(folder / FIRST_STAGE, lambda _: None), config)


def latents_of(state: dict[str, Tensor], config: Config) -> Latents:
    """Return the first stage of `stored_tensors`; `InputError` where it does not fit."""
    missing = [name for name in SPACE if name not in state]
    if missing:
        raise InputError(f"{FIRST_STAGE}: has no {missing[0]}")
    mean, std, rgb = (state.pop(name) for name in SPACE)
    network = _fill(FIRST_STAGE, state)
    check_fits(config, network)
    channels = network.channels
    wanted = {"space.mean": [channels], "space.std": [channels], "space.rgb": [channels + 1, 3]}
    found = {name: list(each.shape) for name, each in zip(SPACE, (mean, std, rgb), strict=True)}
    compare_shapes(FIRST_STAGE, found, wanted)
    if not (std > 0).all():
        raise InputError(f"{FIRST_STAGE}: space.std must be above 0")
    return Latents(network, mean, std, rgb, config.picture_shape)


def write_autoencoder(path: Path, network: Autoencoder) -> None:
    """Write an autoencoder's weights as a file that knows its digest."""
    write_proved(path, stored_weights(network))
