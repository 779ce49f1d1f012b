"""Starting from a model: what of its weights fits another network, by name and shape."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sd.checkpoints.model import Model
from sd.networks.conditioned import ConditionedNetwork
from sd.networks.conditioning import Captions, ClassEmbedding, Conditioner

WORDS = "conditioner.encoder.token.weight"  # a row for each token of the vocabulary
PLACES = "conditioner.encoder.place.weight"  # for each place in a caption
LABELS = ("conditioner.token.weight", "label_emb.weight")  # for each class, the null last


@dataclass(frozen=True)
class Taken:
    """What was taken: tensors, of all; words or classes known to both, of those of the new one.

    restricted: whether Stable Diffusion's licence goes along with them.
    """

    tensors: int
    of: int
    known: int = 0
    known_of: int = 0
    what: str = ""
    restricted: bool = False

    @property
    def line(self) -> str:
        """What is said of it."""
        line = f"{self.tensors} of {self.of} tensors taken"
        if not self.known_of:
            return line
        return f"{line}; {self.known} of {self.known_of} {self.what} known to both"


@torch.no_grad()
def take_weights(network: ConditionedNetwork, source: Model) -> Taken:
    """Give a network what of a model's weights fits by name and shape; the rest stays as it is.

    Words, classes and places in a caption that both know keep their vectors, whatever their number.
    """
    own, found = network.stored_state(), source.network.stored_state()
    names, theirs = (_rows(each) for each in (network.conditioner, source.conditioner))
    taken = 0
    for name, tensor in own.items():
        other = found.get(name)
        if other is None or other.shape[1:] != tensor.shape[1:] or other.ndim != tensor.ndim:
            continue
        if name in names and name in theirs:
            taken += _copy_rows(tensor, other, names[name], theirs[name])
        elif other.shape == tensor.shape:
            tensor.copy_(other)
            taken += 1
    known, of, what = _known(network.conditioner, source.conditioner)
    return Taken(taken, len(own), known, of, what, source.is_restricted)


def _rows(conditioner: Conditioner | None) -> dict[str, Sequence[str]]:
    """Return what the rows of a conditioner's tables stand for, by the tables' names."""
    if isinstance(conditioner, Captions):
        places = [str(place) for place in range(conditioner.length)]
        return {WORDS: conditioner.vocabulary.tokens, PLACES: places}
    if isinstance(conditioner, ClassEmbedding):
        return dict.fromkeys(LABELS, (*conditioner.labels, ""))
    return {}


def _copy_rows(tensor: Tensor, other: Tensor, names: Sequence[str], theirs: Sequence[str]) -> bool:
    """Copy the rows that stand for the same; tell whether there are any."""
    place = {name: row for row, name in enumerate(theirs)}
    both = [(row, place[name]) for row, name in enumerate(names) if name in place]
    if both:
        rows = torch.tensor(both)
        tensor[rows[:, 0]] = other[rows[:, 1]].to(tensor)
    return bool(both)


def _known(one: Conditioner | None, other: Conditioner | None) -> tuple[int, int, str]:
    """Return how many words or classes are known to both, of how many, and what they are."""
    if isinstance(one, Captions) and isinstance(other, Captions):
        own, theirs = one.vocabulary.words, other.vocabulary.words
        return len(own & theirs), len(own), "words"
    if isinstance(one, ClassEmbedding) and isinstance(other, ClassEmbedding):
        return len({*one.labels} & {*other.labels}), len(one.labels), "classes"
    return 0, 0, ""
