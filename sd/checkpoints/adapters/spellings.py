"""What trainers call the layers that a LoRA changes, and the parts of a change. No torch.

There is no standard. kohya's scripts join a layer's path by underscores, in diffusers' or in latent
diffusion's words; diffusers and PEFT keep the points. As ComfyUI does, every layer of the model is
spelled in all of these ways, and a file's names are looked up.
"""

import re
from collections.abc import Iterable, Iterator, Mapping

DOWN, UP, MID, ALPHA = "down", "up", "mid", "alpha"
ENDINGS = re.compile(
    r"\.lora_(?P<kohya>down|up|mid)\.weight"
    r"|\.lora_(?P<peft>[AB])(?:\.\w+)?\.weight"  # with an adapter's name between
    r"|(?:\.|_)lora(?:_linear_layer)?\.(?P<old>down|up)\.weight"  # diffusers before PEFT
    r"|(?:(?:\.|_)lora(?:_linear_layer)?)?\.(?P<alpha>alpha)"
)
OTHER_KINDS = {  # of changes that are not read, by what is anywhere in a name
    "hada_w": "LoHa",
    "lokr_w": "LoKr",
    "dora_scale": "DoRA",
    "lora_magnitude_vector": "DoRA",
    "oft_": "OFT",
    "glora": "GLoRA",
}
OTHER_MODELS = {  # whose network is another, likewise
    "lora_te2_": "SDXL",
    "text_encoder_2.": "SDXL",
    "double_blocks": "Flux",
    "single_transformer_blocks": "Flux",
    "joint_blocks": "SD3",
    "lora_transformer_": "SD3",
}
UNET_PREFIXES = ("unet.", "base_model.model.", "unet.base_model.model.", "")
OWN_PREFIXES = ("diffusion_model.", "model.diffusion_model.")
TEXT_PREFIXES = (
    "text_encoder.text_model.",
    "text_encoder.",
    "text_encoder.base_model.model.text_model.",
    "base_model.model.text_model.",
    "text_encoders.clip_l.transformer.text_model.",
)
KOHYA_TEXT = ("lora_te_text_model_", "lora_te1_text_model_")


def part_of(name: str) -> tuple[str, str] | None:
    """Return the spelling of a layer and the part of its change in a tensor's name, or None."""
    found = ENDINGS.search(name)
    if found is None or found.end() != len(name):
        return None
    part = (
        found["kohya"] or found["old"] or found["alpha"] or (DOWN if found["peft"] == "A" else UP)
    )
    return name[: found.start()], part


def mark_in(names: Iterable[str], marks: Mapping[str, str]) -> str | None:
    """Return what the first of `marks` that is in one of the names stands for, or None."""
    listed = list(names)
    return next((kind for m, kind in marks.items() if any(m in name for name in listed)), None)


def unet_spellings(modules: Mapping[str, str]) -> dict[str, str]:
    """Return a U-Net's layers, by our names, by all that they are called.

    modules: diffusers' names by ours.
    """
    return {
        spelling: ours
        for ours, theirs in modules.items()
        for spelling in (
            *(f"lora_unet_{each.replace('.', '_')}" for each in (theirs, ours)),
            *(prefix + each for prefix in UNET_PREFIXES for each in _points(theirs)),
            *(prefix + ours for prefix in OWN_PREFIXES),
        )
    }


def text_spellings(modules: Iterable[str]) -> dict[str, str]:
    """Return the layers of `CLIPText` by all that they are called."""
    return {
        spelling: name
        for name in modules
        for spelling in (
            *(prefix + name.replace(".", "_") for prefix in KOHYA_TEXT),
            *(prefix + each for prefix in TEXT_PREFIXES for each in _points(name)),
        )
    }


def _points(name: str) -> Iterator[str]:
    """Yield diffusers' ways to write a layer: today's, and that of attention processors.

    The ending `_lora` or `.lora` of the latter is a part of what `ENDINGS` takes away.
    """
    yield name
    parent, _, last = name.rpartition(".")
    if last in ("to_q", "to_k", "to_v"):
        yield f"{parent}.processor.{last}"
    elif name.endswith(".to_out.0"):
        yield f"{name.removesuffix('.to_out.0')}.processor.to_out"
    elif last in ("q_proj", "k_proj", "v_proj", "out_proj"):
        yield f"{parent}.to_{last.removesuffix('_proj')}"
