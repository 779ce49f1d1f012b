"""Which part of a model a tensor belongs to, by its name; and what is not read. No torch.

Single files carry prefixes; files of one part have none, but names that only they have.
"""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

UNET, EMA, AUTOENCODER, TINY, TEXT, OPEN_CLIP = PARTS = (
    "unet",
    "unet_ema",
    "autoencoder",
    "tiny_autoencoder",
    "text",
    "open_clip",
)
OWN_PREFIXES = "model.diffusion_model.", "first_stage_model.", "cond_stage_model."
SETTINGS, METADATA = "sd.config", "sd.conditioning"  # in the header of a single file of our own
ARCHITECTURE, OWN_ARCHITECTURE = "modelspec.architecture", "sd"  # a network that only we have
LICENSE_KEY = "modelspec.license"
LEAST_EMA = 100  # names that make it a second set of weights

PREFIXES = (  # of a single file, the longer first
    ("model.diffusion_model.", UNET),
    ("first_stage_model.", AUTOENCODER),
    ("cond_stage_model.transformer.text_model.", TEXT),
    ("cond_stage_model.transformer.", TEXT),
    ("cond_stage_model.model.", OPEN_CLIP),
    ("taesd_encoder.", TINY),
    ("taesd_decoder.", TINY),
    ("text_encoder.text_model.", TEXT),
    ("text_encoder.", TEXT),
    ("unet.", UNET),
    ("vae.", AUTOENCODER),
)
EMA_PREFIX = "model_ema."
TOP = (  # files of one part: a name that only this part has, and what stands before all names
    ("input_blocks.0.0.weight", UNET, ""),
    ("time_embedding.linear_1.weight", UNET, ""),
    ("diffusion_model.input_blocks.0.0.weight", UNET, "diffusion_model."),
    ("encoder.conv_in.weight", AUTOENCODER, ""),
    ("decoder.conv_in.weight", AUTOENCODER, ""),
    ("text_model.embeddings.token_embedding.weight", TEXT, "text_model."),
    ("embeddings.token_embedding.weight", TEXT, ""),
    ("token_embedding.weight", OPEN_CLIP, ""),
    ("encoder.layers.0.weight", TINY, ""),
    ("decoder.layers.0.weight", TINY, ""),
    ("encoder.0.weight", TINY, ""),
)
IGNORED = re.compile(  # by whole names: rebuilt here, or of training alone
    r"betas|alphas_cumprod.*|sqrt_.*|log_one_minus_.*|posterior_.*|lvlb_weights|logvar|scale_factor"
    r"|global_step|model_ema\.(decay|num_updates)|optimizer_states.*|callbacks.*|lr_schedulers.*"
    r"|v_pred|ztsnr|edm_.*|.*\bposition_ids|.*\blogit_scale|.*\btext_projection(\.weight)?"
    r"|.*\bvision_model\..*|.*\bvisual_projection\..*|.*\battn_mask|.*\bvisual\..*"
    r"|(first_stage_model\.|vae\.)?loss\..*|first_stage_model\.model_ema\..*"
)
POSITION_IDS = re.compile(r".*\bposition_ids")
READ = "sd reads Stable Diffusion v1 and v2, inpainting models and BK-SDM"
FOREIGN = (  # models of other kinds, by names that only they have
    (r"conditioner\.embedders\.", "Stable Diffusion XL"),
    (r"(.*\.)?add_embedding\.linear_1\.weight", "a Stable Diffusion XL U-Net"),
    (r"(.*\.)?(joint_blocks|context_embedder)\.", "Stable Diffusion 3"),
    (r"(.*\.)?(double_blocks|single_transformer_blocks|single_blocks)\.", "Flux"),
    (r"(model\.)?control_model\.|(.*\.)?input_hint_block\.|controlnet_", "a ControlNet"),
    (r"(.*\.)?(noise_augmentor|encoder_hid_proj)\.", "an image-conditioned model (unCLIP)"),
    (r"(.*\.)?time_embedding\.cond_proj\.|(.*\.)?time_embed\.cond_proj\.", "an LCM U-Net, which is "
     "told its guidance; LCM as a LoRA for v1 keeps the U-Net as it is"),
    (r"(.*\.)?label_emb\.", "a U-Net that is told labels (Stable Diffusion XL or unCLIP)"),
    (r"(.*\.)?(motion_modules|temporal_transformer|time_stack|time_mixer)\.", "a video model"),
    (r"(lora_unet|lora_te)|.*\.lora_(A|B|up|down)\.|.*\.lora\.(up|down)\.", "a LoRA, which "
     "changes a model and is none"),
    (r"emb_params$|string_to_param", "a textual inversion, a word for a model"),
    (r"image_proj\.|ip_adapter\.", "an IP-Adapter"),
    (r"cond_stage_model\.transformer\.(token_emb|attn_layers)\.|.*\bquantize\.embedding\.",
     "latent diffusion of before Stable Diffusion"),
    (r"t5xxl\.|(.*\.)?(caption_projection|pos_embed\.proj|adaln_single)\.",
     "a diffusion transformer"),
)  # fmt: skip
CHANNELS = {  # of a U-Net's first convolution: other kinds than those that are read
    5: "a depth model, whose fifth channel is a depth map",
    7: "an upscaler, whose other channels are a small picture",
    8: "InstructPix2Pix, whose other channels are the picture to edit",
}


class Split(NamedTuple):
    """A file's names: by part, each with its name within the part; and those that nothing reads."""

    parts: dict[str, dict[str, str]]  # part: {name within: name in the file}
    ignored: list[str]
    unknown: list[str]


def foreign_kind(names: Iterable[str]) -> str | None:
    """Return what the model of another kind is called that has these names; None for one read."""
    found = list(names)
    for pattern, kind in FOREIGN:
        search = re.compile(pattern)
        if any(search.match(name) for name in found):
            return kind
    return None


def split(names: Iterable[str]) -> Split:
    """Return to which part each name of a file belongs."""
    found = list(names)
    ema = sum(name.startswith(EMA_PREFIX) for name in found) > LEAST_EMA
    top, strip = _top(found)
    result = Split({}, [], [])
    for name in found:
        part, inner = _place(name, ema, top, strip)
        if IGNORED.fullmatch(name):
            result.ignored.append(name)
        elif part:
            result.parts.setdefault(part, {})[inner] = name
        else:
            result.unknown.append(name)
    return result


def _top(names: list[str]) -> tuple[str, str]:
    """Return the part that a file of one part is, and what stands before all its names."""
    held = set(names)
    if {"0.weight", "1.conv.0.weight"} <= held:
        return TINY, "encoder"
    if {"1.weight", "3.conv.0.weight"} <= held:
        return TINY, "decoder"
    return next(((part, strip) for name, part, strip in TOP if name in held), ("", ""))


def _place(name: str, ema: bool, top: str, strip: str) -> tuple[str, str]:
    """Return the part of a name and the name within."""
    if name.startswith(EMA_PREFIX):
        return (EMA, name.removeprefix(EMA_PREFIX)) if ema else ("", "")
    for prefix, part in PREFIXES:
        if name.startswith(prefix):
            inner = name.removeprefix(prefix)
            half = {"taesd_encoder.": "encoder.", "taesd_decoder.": "decoder."}.get(prefix, "")
            return part, half + inner
    if top == TINY and strip:  # a half of TAESD's own files
        return top, f"{strip}.{name}"
    return (top, name.removeprefix(strip)) if top else ("", "")


def without_dots(names: Iterable[str]) -> dict[str, str]:
    """Return a U-Net's names by those of their averages, which have no dots."""
    return {f"diffusion_model.{name}".replace(".", ""): name for name in names}


def refused_channels(shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    """Return what a U-Net with channels of another kind is; None for one that is read."""
    for name in ("input_blocks.0.0.weight", "conv_in.weight"):
        if len(shape := shapes.get(name, ())) == 4:
            return CHANNELS.get(shape[1])
    return None
