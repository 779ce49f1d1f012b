"""What a model is conditioned on, in the readable file beside its weights; free of torch."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sd.common.validation import InputError, shown, text

CONDITIONING = "conditioning.json"
LARGEST_METADATA = 16_000_000  # bytes of a vocabulary and its words, or of many labels
EXAMPLES = 16  # captions that are kept beside a model: the prompts of its run's samples
LONGEST_PROMPT = 100_000  # characters
LONGEST_LABEL, MOST_LABELS = 200, 1_000_000


MOST_GUIDANCE, DEFAULT_GUIDANCE = 50.0, 2.0  # the latter where there is a prompt
PUBLISHED_GUIDANCE = 7.5  # that of Stable Diffusion, which was trained on loose captions


def read_metadata(folder: Path) -> dict[str, Any] | None:
    """Return a checkpoint's conditioning.json, None where it has none.

    Raises `InputError` for what is too long or no JSON object.
    """
    path = folder / CONDITIONING
    if not path.is_file():
        return None
    if path.stat().st_size > LARGEST_METADATA:
        raise InputError(f"{CONDITIONING}: more than {LARGEST_METADATA:,} bytes")
    try:
        metadata: Any = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        metadata = None
    if not isinstance(metadata, dict):
        raise InputError(f"{CONDITIONING}: not readable as JSON")
    return metadata


def labels_of(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the classes of metadata in the order of their numbers; or raise `InputError`."""
    return _texts("labels", metadata.get("labels"), LONGEST_LABEL, MOST_LABELS)


def examples_of(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """Return metadata's examples, captions or classes; or raise `InputError`."""
    return _texts("examples", metadata.get("examples", []), LONGEST_PROMPT, EXAMPLES)


def default_prompts(
    chosen: Sequence[str] | None, labels: Sequence[str], examples: Sequence[str]
) -> tuple[str, ...]:
    """Return the prompts of a run's own samples, which are the default elsewhere too.

    chosen: conditioning.sample_prompts; where there are none the classes, or captions of the set.
    """
    known = [each for each in chosen or () if not labels or each in labels]
    return tuple(known or evenly_spaced(labels or examples, EXAMPLES))


def default_guidance(drop: float) -> float:
    """Return the guidance scale that is used by default.

    1 for a model that never trained without prompts (conditioning.drop = 0): it has no uncond.
    """
    return DEFAULT_GUIDANCE if drop else 1.0


def evenly_spaced(items: Sequence[str], count: int) -> list[str]:
    """Return `count` items, evenly spread, each once; or all if there are fewer."""
    different = list(dict.fromkeys(items))
    taken = min(count, len(different))
    return [different[k * len(different) // taken] for k in range(taken)]


def _texts(name: str, value: Any, longest: int, most: int) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > most:
        raise InputError(
            f"{CONDITIONING}: {name} = {shown(value)}: must be a list of at most {most} texts"
        )
    return tuple(text(name, each, longest) for each in value)
