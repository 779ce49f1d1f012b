"""What AUTOMATIC1111's interface, and those that write as it does, put into a PNG. No torch.

A text called `parameters`: the prompt, a line "Negative prompt: ..." and a last line of settings,
"Steps: 20, Sampler: DPM++ 2M Karras, CFG scale: 7, Seed: 1, Size: 512x768, ...". Prompts may have
several lines, and hold `<lora:name:0.8>`, which is no part of what is read.
"""

import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from sd.common.marks import SIGNATURE, png_chunks
from sd.common.validation import LARGEST_SEED, InputError
from sd.data.reading.files import read_bytes
from sd.generation.recipe import LONGEST_PROMPT, LONGEST_SIDE, MOST_STEPS
from sd.networks.conditioning_metadata import MOST_GUIDANCE

KEY = b"parameters\0"
LONGEST = 2**20  # bytes of such a text
NEGATIVE = "Negative prompt:"
SETTING = re.compile(r'\s*([\w][\w \-/]{0,60}):\s*("(?:\\.|[^\\"])*"|[^,]*)(?:,|$)')
NETWORK = re.compile(r"<(?:lora|lyco):([^:<>]+):([^<>]*)>")
FEWEST = 3  # settings that make a line one of them, as other programs count too
SAMPLERS = {  # names there without " Karras" at their end, lower-cased
    "euler": "euler",
    "euler a": "euler_ancestral",
    "heun": "heun",
    "dpm++ 2m": "dpmpp_2m",
    "ddim": "ddim",
    "ddim cfg++": "ddim",
    "unipc": "unipc",
    "lcm": "lcm",
    "ddpm": "ddpm",
}
SPACINGS = {  # by "Schedule type", lower-cased
    "karras": "karras",
    "uniform": "linspace",
    "sgm uniform": "trailing",
    "simple": "trailing",
    "normal": "linspace",
    "ddim": "leading",
}
AUTOMATIC = "automatic"  # whatever is usual for the sampler
TOLD_ELSEWHERE = ("Version", "Model hash", "Lora hashes", "TI hashes", "Hashes", "RNG")


@dataclass(frozen=True)
class WebuiParameters:
    """What such a text says, by our names; None where it says nothing or what is not possible here.

    size: (height, width). clip_skip: as there, 1 leaves no layer out. strength: of a picture
    that was begun from, the share of T. loras: their names and scales. same_noise: whether a seed
    means the same noise there, which is so where it was drawn on a processor. left: settings that
    have no place here, as they stand there.
    """

    prompt: str = ""
    negative: str = ""
    steps: int | None = None
    sampler: str | None = None
    spacing: str | None = None
    guidance: float | None = None
    seed: int | None = None
    size: tuple[int, int] | None = None
    clip_skip: int = 1
    strength: float | None = None
    eta: float | None = None
    model: str | None = None
    loras: tuple[tuple[str, float], ...] = ()
    same_noise: bool = False
    left: Mapping[str, str] = field(default_factory=dict)

    def recipe_fields(self) -> dict[str, Any]:
        """Return the fields of a `Recipe` that it says."""
        plain = ("steps", "sampler", "spacing", "seed", "size", "eta", "negative")
        found: dict[str, Any] = {name: getattr(self, name) for name in plain}
        found["prompts"] = (self.prompt,) if self.prompt else None
        found["guidance"] = None if self.guidance is None else (self.guidance,)
        return {name: value for name, value in found.items() if value not in (None, "")}


def read_webui(file: Path | BinaryIO) -> WebuiParameters:
    """Return what the text in a PNG says; raise `InputError` for a PNG without one."""
    data = read_bytes(file)
    if not data.startswith(SIGNATURE):
        raise InputError("not a PNG")
    for kind, start, end in png_chunks(data):
        body = data[start:end]
        if body.startswith(KEY) and kind in (b"tEXt", b"iTXt", b"zTXt"):
            return parse_parameters(_text(kind, body[len(KEY) :]))
    raise InputError("a PNG without the settings of another program")


def _text(kind: bytes, rest: bytes) -> str:
    """Return the text of a chunk from after its keyword."""
    try:
        packed, coding = kind == b"zTXt", "latin-1"
        if kind == b"zTXt":
            rest = rest[1:]
        elif kind == b"iTXt":
            packed, coding = bool(rest[0]), "utf-8"
            rest = rest[2:].split(b"\0", 2)[2]
        if packed:
            rest = zlib.decompressobj().decompress(rest, LONGEST + 1)
        if len(rest) > LONGEST:
            raise InputError(f"its text has more than {LONGEST} bytes")
        return rest.decode(coding)
    except (ValueError, IndexError, zlib.error) as error:
        if isinstance(error, InputError):
            raise
        raise InputError("its text cannot be read: it is damaged") from None


def parse_parameters(text: str) -> WebuiParameters:
    """Return what such a text says; what it does not is left to whoever reads it."""
    lines = text.strip().split("\n")
    settings = dict(_settings(lines[-1]))
    if len(settings) >= FEWEST or "Steps" in settings:
        lines.pop()
    else:
        settings = {}
    place = next((k for k, line in enumerate(lines) if line.startswith(NEGATIVE)), len(lines))
    prompt, loras = _without_networks("\n".join(lines[:place]))
    negative, _ = _without_networks("\n".join(lines[place:]).removeprefix(NEGATIVE))
    return _named(settings, prompt[:LONGEST_PROMPT], negative[:LONGEST_PROMPT], loras)


def _settings(line: str) -> list[tuple[str, str]]:
    """Return the names and values of a line of settings; a value with commas is quoted as JSON."""
    found = []
    for match in SETTING.finditer(line[:LONGEST_PROMPT]):
        name, value = match[1].strip(), match[2].strip()
        if value.startswith('"'):
            try:
                value = str(json.loads(value))
            except ValueError:
                continue
        found.append((name, value))
    return found


def _without_networks(prompt: str) -> tuple[str, tuple[tuple[str, float], ...]]:
    """Return a prompt without `<lora:name:scale>`, and these."""
    found = []
    for match in NETWORK.finditer(prompt):
        scale = _number(match[2].split(":")[0])
        found.append((match[1], 1.0 if scale is None else scale))
    return NETWORK.sub("", prompt).strip(), tuple(found)


def _named(
    settings: dict[str, str], prompt: str, negative: str, loras: tuple[tuple[str, float], ...]
) -> WebuiParameters:
    """Return the settings by our names."""
    left = {name: value for name, value in settings.items() if name not in TOLD_ELSEWHERE}

    def take(name: str, low: float, high: float) -> float | None:
        value = _number(settings.get(name, ""))
        if value is None or not low <= value <= high:
            return None
        left.pop(name, None)
        return value

    steps, seed = take("Steps", 1, MOST_STEPS), take("Seed", 0, LARGEST_SEED)
    skip = take("Clip skip", 1, 12)
    sampler, spacing = _sampler(settings)
    if sampler is not None:
        left.pop("Sampler", None)
    if spacing is not None or left.get("Schedule type", "").lower() == AUTOMATIC:
        left.pop("Schedule type", None)
    size = _size(settings.get("Size", ""))
    if size is not None:
        left.pop("Size", None)
    return WebuiParameters(
        prompt,
        negative,
        None if steps is None else int(steps),
        sampler,
        spacing,
        take("CFG scale", 0, MOST_GUIDANCE),
        None if seed is None else int(seed),
        size,
        1 if skip is None else int(skip),
        take("Denoising strength", 0, 1),
        take("Eta", 0, 1),
        left.pop("Model", None),
        loras,
        settings.get("RNG") == "CPU",
        left,
    )


def _sampler(settings: Mapping[str, str]) -> tuple[str | None, str | None]:
    """Return our names of a sampler and of its times; older texts have both in one."""
    said = settings.get("Sampler", "").lower()
    name = said.removesuffix(" karras")
    kind = settings.get("Schedule type", "").lower()
    spacing = "karras" if name != said else SPACINGS.get(kind)
    if kind == AUTOMATIC and name == "dpm++ 2m":
        spacing = "karras"
    return SAMPLERS.get(name), spacing


def _size(value: str) -> tuple[int, int] | None:
    """Return (height, width) of "WIDTHxHEIGHT"."""
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", value)
    if found is None:
        return None
    width, height = int(found[1]), int(found[2])
    return (
        (height, width) if 1 <= min(width, height) <= max(width, height) <= LONGEST_SIDE else None
    )


def _number(value: str) -> float | None:
    return float(value) if re.fullmatch(r"\d{1,18}(?:\.\d{1,18})?", value) else None
