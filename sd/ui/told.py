"""What a model can be told, read from the text beside its weights: the page never opens those."""

import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sd import gate
from sd.gate import InputError
from sd.sections import KINDS

if TYPE_CHECKING:
    from sd.tokens import Vocabulary

CONDITIONING = "conditioning.json"  # as in sd.checkpoints, which bears torch
LARGEST_FACTS = 16_000_000  # bytes, as there
MOST_LABELS, LONGEST_LABEL = 1_000_000, 200
MOST_EXAMPLES, LONGEST_EXAMPLE = 12, 100_000  # characters


class Told(NamedTuple):
    """What a model can be told: one of its classes, or a caption where it has no `labels`.

    vocabulary: of its captions; None where another encoder reads them. length: tokens it reads.
    """

    kind: str
    labels: tuple[str, ...]
    examples: tuple[str, ...]
    vocabulary: "Vocabulary | None"
    length: int


def read_told(folder: Path, length: int) -> Told | None:
    """Return what the model in a checkpoint's folder can be told; None where that is nothing.

    length: tokens that it reads. Raises `InputError` for a file that is unfit.
    """
    path = folder / CONDITIONING
    if not path.is_file():
        return None
    about = path.stat()
    if about.st_size > LARGEST_FACTS:
        raise InputError(f"{CONDITIONING}: more than {LARGEST_FACTS:,} bytes")
    return _read(path, about.st_mtime_ns, length)


@lru_cache(maxsize=8)
def _read(path: Path, changed: int, length: int) -> Told | None:
    """Return what a file tells, checked; when it was `changed` tells a newer one from an older."""
    from sd.tokens import Vocabulary

    try:
        facts: Any = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        facts = None
    if not isinstance(facts, dict):
        raise InputError(f"{CONDITIONING}: not readable as JSON")
    kind = gate.choice(f"{CONDITIONING}: kind", facts.get("kind"), KINDS)
    if kind == "none":
        return None
    examples = _texts("examples", facts.get("examples", []), LONGEST_EXAMPLE, MOST_EXAMPLES)
    if kind != "captions":
        labels = _texts("labels", facts.get("labels"), LONGEST_LABEL, MOST_LABELS)
        return Told(kind, labels, examples, None, length)
    known = facts.get("vocabulary")
    return Told(kind, (), examples, known and Vocabulary.from_json(known), length)


def _texts(name: str, value: Any, longest: int, most: int) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > most:
        raise InputError(
            f"{CONDITIONING}: {name} = {gate.shown(value)}: must be a list of at most {most} texts"
        )
    return tuple(gate.text(name, each, longest) for each in value)
