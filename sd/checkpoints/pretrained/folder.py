"""Folders as diffusers writes them: which files fill which part, and their settings. No torch.

Settings are held against the shapes of the weights and never trusted before these.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sd.checkpoints.pretrained.header import WeightFile, file_label, read_header
from sd.checkpoints.pretrained.parts import AUTOENCODER, READ, TEXT, UNET
from sd.common.text import brief, printable
from sd.common.validation import InputError, shown

INDEX = "model_index.json"
SUBFOLDERS = {UNET: "unet", AUTOENCODER: "vae", TEXT: "text_encoder"}
STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")
ENDINGS = (  # of the files of a part, the best first
    ".safetensors",
    ".fp16.safetensors",
    ".non_ema.safetensors",
    ".bin",
    ".fp16.bin",
)
LARGEST_TEXT = 16_000_000  # bytes of a JSON
MOST_SHARDS = 1000
FOREIGN = {  # part folders or classes of a pipeline that is not read
    "text_encoder_2": "Stable Diffusion XL",
    "transformer": "a diffusion transformer (Stable Diffusion 3, Flux)",
    "prior": "a cascade with a prior",
    "controlnet": "a ControlNet",
    "motion_adapter": "a video model",
}
FOREIGN_PIPELINES = {
    "StableDiffusionInstructPix2PixPipeline": "InstructPix2Pix",
    "StableDiffusionDepth2ImgPipeline": "a depth model",
    "StableDiffusionUpscalePipeline": "an upscaler",
    "LatentConsistencyModelPipeline": "an LCM U-Net, which is told its guidance",
}


class Folder(NamedTuple):
    """The files of each part of a model, and settings: by part, and those of "scheduler"."""

    parts: Mapping[str, list[WeightFile]]
    settings: Mapping[str, Mapping[str, Any]]


def is_folder(path: Path) -> bool:
    """Tell whether a path is a folder of diffusers: a pipeline's, or that of a U-Net or VAE."""
    stem = f"{STEMS[0]}*"
    return path.is_dir() and ((path / INDEX).is_file() or any(path.glob(stem)))


def read_folder(path: Path) -> Folder:
    """Return what a folder holds; `InputError` for a pipeline that is not read, or none at all."""
    label = file_label(path)
    if not (path / INDEX).is_file():
        files = _stem_files(path)
        if not files:
            raise InputError(f"{label}: holds no {INDEX} and no weights of a part")
        return Folder(
            {"": [read_header(each) for each in files]}, {"": _json(path / "config.json")}
        )
    index = _json(path / INDEX)
    present = [name for name in FOREIGN if _is_part(index.get(name)) or (path / name).is_dir()]
    pipeline = index.get("_class_name")
    kind = FOREIGN[present[0]] if present else FOREIGN_PIPELINES.get(str(pipeline))
    if kind:
        raise InputError(f"{label}: this is {kind}; {READ}")
    parts, settings = {}, {"scheduler": _json(path / "scheduler" / "scheduler_config.json")}
    for part, name in SUBFOLDERS.items():
        files = _stem_files(path / name)
        if files:
            parts[part] = [read_header(each) for each in files]
            settings[part] = _json(path / name / "config.json")
    if UNET not in parts:
        raise InputError(f"{label}: its folder unet holds no weights")
    return Folder(parts, settings)


def _is_part(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and value[0] is not None


def _stem_files(folder: Path) -> list[Path]:
    """Return the files of a part: one, or the shards that an index lists."""
    for ending in ENDINGS:
        for stem in STEMS:
            single = folder / f"{stem}{ending}"
            if single.is_file():
                return [single]
            for name in _index_names(stem, ending):
                if (folder / name).is_file():
                    return _shards(folder / name)
    return []


def _index_names(stem: str, ending: str) -> list[str]:
    """Return how the index of shards may be called: "model.fp16.safetensors" has two spellings."""
    variant, _, last = ending[1:].rpartition(".")
    middle = f".{variant}" if variant else ""
    return [f"{stem}{ending}.index.json", f"{stem}.{last}.index{middle}.json"]


def _shards(index: Path) -> list[Path]:
    label = file_label(index)
    names = _json(index).get("weight_map")
    if not isinstance(names, dict) or not names:
        raise InputError(f"{label}: lists no weights")
    files = list(dict.fromkeys(map(str, names.values())))
    if len(files) > MOST_SHARDS:
        raise InputError(f"{label}: lists {len(files)} files; at most {MOST_SHARDS} are read")
    for name in files:
        if Path(name).name != name or not (index.parent / name).is_file():
            raise InputError(f"{label}: lists {shown(name)}, which is not there")
    return [index.parent / name for name in files]


def _json(path: Path) -> dict[str, Any]:
    """Return a JSON object beside the weights; {} where there is none."""
    if not path.is_file():
        return {}
    label = file_label(path)
    if path.stat().st_size > LARGEST_TEXT:
        raise InputError(f"{label}: more than {LARGEST_TEXT:,} bytes")
    try:
        value: Any = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError):
        raise InputError(
            f"{brief(printable(path.parent.name))}/{label}: not readable as JSON"
        ) from None
    if not isinstance(value, dict):
        raise InputError(f"{label}: holds no JSON object")
    return value
