"""The parts of a model: which tensors of a file fill which of a network's. No torch."""

from collections.abc import Mapping, Sequence
from typing import Any

from sd.checkpoints.pretrained import shapes as described
from sd.checkpoints.pretrained.header import FLOATS
from sd.checkpoints.pretrained.names import (
    Named,
    Shape,
    autoencoder_tensors,
    open_clip_names,
    text_tensors,
)
from sd.checkpoints.pretrained.parts import AUTOENCODER, OPEN_CLIP, TEXT, TINY
from sd.checkpoints.pretrained.report import Part, Stored
from sd.config.sections import UNetConfig
from sd.networks.clip.config import GELU, HEAD, OPEN_WIDTH, CLIPTextConfig

Tensors = Mapping[str, Stored]


def shapes_of(tensors: Tensors) -> dict[str, Shape]:
    return {name: each.entry.shape for name, each in tensors.items()}


def fill(wanted: Sequence[Named], tensors: Tensors, theirs: bool) -> dict[str, Any]:
    """Return the fields of a `Part` that say which tensors fill which of the wanted."""
    matched: dict[str, Stored] = {}
    missing, mismatched, reshaped = [], [], []
    left = dict(tensors)
    for each in wanted:
        stored = left.pop(each.theirs if theirs else each.ours, None)
        if stored is None:
            missing.append(each.ours)
            continue
        entry = stored.entry
        if entry.dtype not in FLOATS:
            mismatched.append(f"{each.ours} is stored as {entry.dtype}")
        elif entry.shape == each.shape:
            matched[each.ours] = stored
        elif _without_ones(entry.shape) == _without_ones(each.shape) and entry.shape:
            matched[each.ours] = stored
            reshaped.append(each.ours)
        else:
            mismatched.append(f"{each.ours} is {list(entry.shape)}, not {list(each.shape)}")
    unexpected = list(left)
    lists = {"missing": missing, "mismatched": mismatched, "reshaped": reshaped}
    return {"matched": matched, "unexpected": unexpected, **lists}


def _without_ones(shape: Shape) -> Shape:
    """Return a shape of a 1x1 convolution as that of the matrix that it is."""
    return shape[:2] if shape[2:] in ((1, 1), (1,)) else shape


def about_unet(config: UNetConfig, linear: bool) -> str:
    heads = f"{config.num_heads} heads"
    if config.num_heads == -1:
        heads = f"heads of {config.num_head_channels} channels"
    words = [
        f"{config.channel} channels in, {config.n_embed} out",
        f"{config.model_channels} wide times {', '.join(map(str, config.channel_mult))}",
        f"context of {config.context_dim}",
        heads,
    ]
    words += [] if config.middle else ["no middle"]
    words += ["projections as matrices"] if linear else []
    return "; ".join(words)


def autoencoder_part(tensors: Tensors) -> Part:
    later = {described.later_name(name): each for name, each in tensors.items()}
    ddconfig, embed_dim, theirs = described.describe_autoencoder(shapes_of(later))
    wanted = autoencoder_tensors(ddconfig, embed_dim)
    factor = 2 ** (len(ddconfig["ch_mult"]) - 1)
    about = f"{embed_dim} channels; a place covers {factor} x {factor} pixels"
    if ddconfig["attended"]:
        about += f"; attention in levels {', '.join(str(k + 1) for k in ddconfig['attended'])}"
    config = {**ddconfig, "embed_dim": embed_dim}
    title = "autoencoder"
    return Part(AUTOENCODER, title, about, config, **fill(wanted, later, theirs))


def tiny_part(tensors: Tensors) -> Part:
    """Return TAESD, whole or half; `sd.checkpoints.first_stage` knows its names."""
    halves = [half for half in ("encoder", "decoder") if any(n.startswith(half) for n in tensors)]
    missing = [f"its {half}" for half in ("encoder", "decoder") if half not in halves]
    about = "TAESD, latents of Stable Diffusion's autoencoder"
    return Part(TINY, "tiny autoencoder", about, None, tensors, missing)


def text_part(tensors: Tensors, heads: int | None, told: Mapping[str, Any]) -> Part:
    names = {name.removeprefix("text_model."): each for name, each in tensors.items()}
    config = CLIPTextConfig.from_shapes(shapes_of(names), heads)
    if told.get("hidden_act") in ("gelu", "quick_gelu"):
        config = _changed(config, activation=str(told["hidden_act"]))
    if told.get("pad_token_id") == 0 and config.width == OPEN_WIDTH:
        config = _changed(config, padding=0)
    return Part(
        TEXT, "text encoder", _about_text(config), config, **fill(_text_named(config), names, False)
    )


def open_clip_part(tensors: Tensors) -> Part:
    """Return OpenCLIP's text encoder, whose last layer Stable Diffusion v2 does not use."""
    shapes = shapes_of(tensors)
    layers = described.count(shapes, "transformer.resblocks.{}.ln_1.weight") - 1
    names, left, ours = open_clip_names(layers), dict(tensors), {}
    for theirs, targets in names.items():
        if (stored := left.pop(theirs, None)) is None:
            continue
        rows = (stored.entry.shape or (0,))[0] // len(targets)
        for k, target in enumerate(targets):
            span = None if len(targets) == 1 else (k * rows, (k + 1) * rows)
            ours[target] = Stored(stored.file, stored.name, span)
    last = f"transformer.resblocks.{layers}."
    unexpected = [name for name in left if not name.startswith(last)]
    config = CLIPTextConfig.from_shapes({name: _row_shape(each) for name, each in ours.items()})
    heads = max(1, config.width // HEAD)
    config = _changed(config, activation=GELU, padding=0, heads=heads)
    wanted = {each.ours: each.shape for each in _text_named(config)}
    matched = {n: each for n, each in ours.items() if wanted.get(n) == _row_shape(each)}
    wrong = [f"{n} is {list(_row_shape(each))}" for n, each in ours.items() if n not in matched]
    missing = [name for name in wanted if name not in ours]
    about = f"OpenCLIP, {_about_text(config)}; its last layer is not used"
    return Part(OPEN_CLIP, "text encoder", about, config, matched, missing, unexpected, wrong)


def _row_shape(stored: Stored) -> Shape:
    shape = stored.entry.shape
    return shape if stored.rows is None else (stored.rows[1] - stored.rows[0], *shape[1:])


def _text_named(config: CLIPTextConfig) -> list[Named]:
    hidden = config.hidden or 4 * config.width
    sizes = config.width, config.layers, config.vocabulary, config.positions, hidden
    return [Named(name, name, shape) for name, shape in text_tensors(*sizes).items()]


def _about_text(config: CLIPTextConfig) -> str:
    words = f"{config.layers} layers, {config.width} wide, {config.heads} heads"
    return f"{words}, {config.vocabulary:,} tokens, {config.activation}"


def _changed(config: CLIPTextConfig, **changes: Any) -> CLIPTextConfig:
    return CLIPTextConfig(**{**config.__dict__, **changes})
