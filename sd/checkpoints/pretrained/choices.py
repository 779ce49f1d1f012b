"""What a person says of a file, which its header does not tell: FILE#prediction=v. No torch.

It is part of the model's name, so a recipe holds it too.
"""

import hashlib
import re
from dataclasses import dataclass, replace
from pathlib import Path

from sd.checkpoints.pretrained.folder import is_folder
from sd.checkpoints.pretrained.header import digest_of, has_weights
from sd.common.validation import InputError, choice, shown, whole

MARK = "#"
PREDICTIONS = ("eps", "v", "x0")
WEIGHTS = AVERAGED, RAW = "ema", "raw"
FLAGS = ("yes", "no")
DTYPES = FLOAT32, BFLOAT16 = ("float32", "bfloat16")
NUMBERS = ("heads", "head_width", "clip_skip")
AT = re.compile(r"@-?\d{1,9}(?:\.\d{1,9})?$")  # a scale behind the name of a file


@dataclass(frozen=True)
class Choices:
    """What is said instead of guessed; None leaves a guess.

    vae: a file, folder or word ("taesd") of the autoencoder to take instead of the model's own.
    dtype: what the U-Net computes in, float32 unless it is said. clip_skip: the layers of the text
    encoder that are left out, and one, as other programs count. lora: files with their scales, as
    FILE@0.8; embedding: files; each may be said several times.
    """

    prediction: str | None = None
    zero_snr: bool | None = None
    heads: int | None = None
    head_width: int | None = None
    weights: str | None = None
    vae: str | None = None
    dtype: str | None = None
    clip_skip: int = 1
    lora: tuple[tuple[str, float], ...] = ()
    embedding: tuple[str, ...] = ()


PLAIN = Choices()


def is_published(place: str) -> bool:
    """Tell whether a place is a file or folder of a published model, not one of our own."""
    try:
        path, _ = _split(place)
        return has_weights(path) if path.is_file() else is_folder(path)
    except (OSError, ValueError):  # no path at all
        return False


def parse_place(place: str) -> tuple[Path, Choices]:
    """Return the path and the choices that "FILE#name=value,..." says; or raise `InputError`."""
    path, words = _split(place)
    return path, parse_choices(words)


def parse_choices(words: str) -> Choices:
    """Return the choices that "name=value,..." says; raise `InputError` for what is none."""
    choices = Choices()
    for word in filter(None, words.split(",")):
        name, equals, value = word.partition("=")
        if not equals:
            raise InputError(f"{shown(word)}: must look like name=value, as prediction=v")
        name = choice("choice", name.strip(), list(Choices.__dataclass_fields__))
        choices = _with(choices, name, value.strip())
    return choices


def format_place(place: str, choices: Choices) -> str:
    """Return a place, or a model's name, with what is said of it; the place alone for nothing."""
    said = {name: value for name, value in vars(choices).items() if value != getattr(PLAIN, name)}
    several = [f"lora={file}@{scale:g}" for file, scale in said.pop("lora", ())]
    several += [f"embedding={file}" for file in said.pop("embedding", ())]
    if "zero_snr" in said:
        said["zero_snr"] = FLAGS[not said["zero_snr"]]
    words = [*(f"{name}={value}" for name, value in said.items()), *several]
    return f"{place}{MARK}{','.join(words)}" if words else place


def without_adapters(choices: Choices) -> Choices:
    """Return what is said of the model itself, without what is added to it."""
    plain = {name: getattr(PLAIN, name) for name in ("clip_skip", "lora", "embedding")}
    return replace(choices, **plain)


def digest_of_place(place: str) -> str:
    """Return a SHA-256 that tells a model's files from others, with those that are said to it."""
    path, choices = parse_place(place)
    said = [choices.vae or "", *(file for file, _ in choices.lora), *choices.embedding]
    files = [path, *(Path(each).expanduser() for each in said if each)]
    found = [digest_of(each) for each in files if each.exists()]
    return found[0] if len(found) == 1 else hashlib.sha256(" ".join(found).encode()).hexdigest()


def _split(place: str) -> tuple[Path, str]:
    """Return the path of a place and what is said after it."""
    path = Path(place).expanduser()
    if MARK not in place or path.exists():
        return path, ""
    before, _, words = place.rpartition(MARK)
    return Path(before).expanduser(), words


def _with(choices: Choices, name: str, value: str) -> Choices:
    changed: object = value
    if name == "lora":
        file, _, scale = value.rpartition("@") if AT.search(value) else (value, "", "1")
        changed = (*choices.lora, (file, float(scale)))
    elif name == "embedding":
        changed = (*choices.embedding, value)
    elif name == "prediction":
        changed = choice(name, value, PREDICTIONS)
    elif name == "weights":
        changed = choice(name, value, WEIGHTS)
    elif name == "dtype":
        changed = choice(name, value, DTYPES)
    elif name == "zero_snr":
        changed = choice(name, value, FLAGS) == FLAGS[0]
    elif name in NUMBERS:
        changed = whole(name, int(value) if value.isdecimal() else value, 1, 1024)
    return Choices(**{**choices.__dict__, name: changed})
