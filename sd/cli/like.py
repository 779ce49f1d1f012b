"""`sample MODEL --like FILE.png`: what another program's picture says, in the place of flags."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from sd.common.text import brief, printable
from sd.common.validation import InputError
from sd.generation.others.webui import WebuiParameters, read_webui

FLAGS = ("sampler", "spacing", "steps", "seed", "eta", "negative")  # named as what is read
MOST_LEFT = 6  # settings in a line


def take_like(args: argparse.Namespace) -> list[str]:
    """Fill the flags that were not given with what --like says; return lines on what it leaves.

    Raises `InputError` for a file without such settings.
    """
    if args.like is None:
        return []
    file = Path(args.like)
    try:
        said = read_webui(file)
    except InputError as error:
        raise InputError(f"{brief(printable(file.name))}: {error}") from error
    fields = {name: getattr(said, name) for name in FLAGS}
    fields["prompt"] = [said.prompt] if said.prompt else None
    fields["guidance"] = None if said.guidance is None else [said.guidance]
    fields["size"] = None if said.size is None else "x".join(map(str, said.size))
    for name, value in fields.items():
        if getattr(args, name) in (None, []) and value not in (None, ""):
            setattr(args, name, value)
    return list(_remarks(said))


def _remarks(said: WebuiParameters) -> Sequence[str]:
    """Return what cannot be taken from the file: networks beside the model, other settings."""
    lines = []
    if said.model is not None:
        lines.append(f"--like: was made with {printable(said.model)}")
    if said.loras:
        named = ", ".join(f"#lora={printable(name)}@{scale:g}" for name, scale in said.loras)
        lines.append(f"--like: name its LoRA files behind the model's: {named}")
    if said.clip_skip > 1:
        lines.append(f"--like: the model's name may say #clip_skip={said.clip_skip}")
    if said.strength is not None:
        lines.append(f"--like: began from a picture, noised to {said.strength:g} T: --from and --t")
    if said.seed is not None and not said.same_noise:
        lines.append("--like: its noise was drawn on a GPU, where the seed means another one")
    if said.left:
        named = ", ".join(map(printable, list(said.left)[:MOST_LEFT]))
        lines.append(f"--like: not taken: {named}{', ...' if len(said.left) > MOST_LEFT else ''}")
    return lines
