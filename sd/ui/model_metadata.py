"""What a model is conditioned on, from the text beside its weights: the page never opens those."""

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sd.common import validation
from sd.config.sections import CONDITIONING_KINDS
from sd.networks.conditioning_metadata import CONDITIONING, examples_of, labels_of, read_metadata

if TYPE_CHECKING:
    from sd.networks.tokenizer import Vocabulary


class ConditioningMetadata(NamedTuple):
    """What a model is conditioned on: one of its classes, or a caption where it has no `labels`.

    vocabulary: of its captions; None where another encoder reads them. length: tokens it reads.
    """

    kind: str
    labels: tuple[str, ...]
    examples: tuple[str, ...]
    vocabulary: "Vocabulary | None"
    length: int


def read_conditioning_metadata(folder: Path, length: int) -> ConditioningMetadata | None:
    """Return what the model in a checkpoint's folder is conditioned on; None where on nothing.

    length: tokens that it reads. Raises `InputError` for a file that is unfit.
    """
    path = folder / CONDITIONING
    return _read(folder, path.stat().st_mtime_ns, length) if path.is_file() else None


@lru_cache(maxsize=8)
def _read(folder: Path, changed: int, length: int) -> ConditioningMetadata | None:
    """Return what a file tells, checked; when it was `changed` tells a newer one from an older."""
    from sd.networks.tokenizer import Vocabulary

    metadata = read_metadata(folder) or {}
    kind = validation.choice(f"{CONDITIONING}: kind", metadata.get("kind"), CONDITIONING_KINDS)
    if kind == "none":
        return None
    examples = examples_of(metadata)
    if kind != "captions":
        labels = labels_of(metadata)
        return ConditioningMetadata(kind, labels, examples, None, length)
    known = metadata.get("vocabulary")
    return ConditioningMetadata(kind, (), examples, known and Vocabulary.from_json(known), length)
