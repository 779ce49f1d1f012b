r"""The grammar of prompts that people write for Stable Diffusion: tokens with weights.

It is the one of AUTOMATIC1111's interface: `(cat)` counts 1.1 times as much, `(cat:1.3)` 1.3 times,
`[cat]` 1 / 1.1 times, and what is nested multiplies; `\(` is a bracket; a bracket that nothing
closes reaches to the end, one that nothing opened is text. `BREAK` begins a new chunk. A chunk is
what the encoder reads at once, 75 tokens between START and END. All else is text.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sd.common.validation import InputError, real, shown
from sd.networks.clip.tokenizer import TextToken, tokenize
from sd.networks.tokenizer import extents, readable

ROOM = 75  # tokens of a chunk
EMPHASIS = 1.1
MOST_WEIGHT = 100.0
MOST_CHUNKS = 32
COMMA = 267
BACKTRACK = 20  # tokens: a comma so near the end of a chunk ends it, as in that interface
SYNTAX = re.compile(r"\\[\\()\[\]]|:\s*([+-]?(?:\d+\.?\d*|\.\d+))\s*\)|[()\[\]]")
BREAK = re.compile(r"\bBREAK\b")

Words = Mapping[str, Sequence[int]]
"""Words that were learned by textual inversion, each with the ids of its vectors."""


class PromptToken(NamedTuple):
    """A token with its weight and where it was typed: `start` to before `stop` of `Prompt.text`."""

    id: int
    weight: float
    start: int
    stop: int


class Prompt(NamedTuple):
    """What is read of a prompt: its text without the grammar, and the tokens of each chunk."""

    text: str
    chunks: tuple[tuple[PromptToken, ...], ...]
    room: int = ROOM

    @property
    def taken(self) -> int:
        """How many places are taken, of `room` in each chunk; one that another follows is full."""
        return (len(self.chunks) - 1) * self.room + len(self.chunks[-1])

    def places(self) -> Iterator[tuple[int, PromptToken]]:
        """Yield each token with its place in the context, in which chunks follow each other."""
        for number, chunk in enumerate(self.chunks):
            for k, token in enumerate(chunk):
                yield number * (self.room + 2) + 1 + k, token

    def typed(self, token: PromptToken) -> str:
        """Return what was typed for a token."""
        return self.text[token.start : token.stop]

    def spans(self) -> list[tuple[str, list[int]]]:
        """Return each word as typed with the places of its tokens in the context."""
        words = extents(self.text)
        owner = {place: k for k, span in enumerate(words) for place in range(*span)}
        places: list[list[int]] = [[] for _ in words]
        for place, token in self.places():
            for k in {owner[each] for each in range(token.start, token.stop) if each in owner}:
                places[k].append(place)
        typed = (self.text[start:stop] for start, stop in words)
        return [(word, found) for word, found in zip(typed, places, strict=True) if found]


def parse_prompt(prompt: str, words: Words | None = None, room: int = ROOM) -> Prompt:
    """Return the tokens and weights of a prompt, in chunks of at most `room` tokens.

    Tokens of learned `words`, which are found whatever their case, stay in one chunk. Raises
    `InputError` for a weight beyond 100, for more than 32 chunks and for a word that fits in none.
    """
    text, weights = unbracket(readable(prompt))
    find = WordFinder(words or {}, room)
    starts = [0, *(found.end() for found in BREAK.finditer(text))]
    stops = [*(found.start() for found in BREAK.finditer(text)), len(text)]
    chunks: list[list[PromptToken]] = []
    for start, stop in zip(starts, stops, strict=True):
        units = (
            [PromptToken(token.id, weight, token.start, token.stop) for token in unit]
            for first, last, weight in _runs(weights, start, stop)
            for unit in find(text, first, last)
        )
        chunks += _packed(units, room)
    if len(chunks) > 1 and not chunks[-1]:  # after a BREAK at the end
        chunks.pop()
    if len(chunks) > MOST_CHUNKS:
        raise InputError(
            f"prompt = {shown(prompt)}: {len(chunks)} chunks of {room} tokens; at most "
            f"{MOST_CHUNKS} are read"
        )
    return Prompt(text, tuple(map(tuple, chunks)), room)


def unbracket(prompt: str) -> tuple[str, NDArray[np.float64]]:
    """Return a prompt without its brackets, and the weight of each character that is left."""
    text, spans, last = "", list[tuple[int, int, float]](), 0
    opened: dict[str, list[int]] = {"(": [], "[": []}
    for found in SYNTAX.finditer(prompt):
        text, last, mark = text + prompt[last : found.start()], found.end(), found[0]
        if mark in opened:
            opened[mark].append(len(text))
        elif mark[0] == "\\":
            text += mark[1]
        elif mark[-1] == ")" and opened["("]:
            spans.append((opened["("].pop(), len(text), _weight(found[1])))
        elif mark == "]" and opened["["]:
            spans.append((opened["["].pop(), len(text), 1 / EMPHASIS))
        else:
            text += mark
    text += prompt[last:]
    spans += [(start, len(text), EMPHASIS) for start in opened["("]]
    spans += [(start, len(text), 1 / EMPHASIS) for start in opened["["]]
    weights = np.ones(len(text))
    with np.errstate(over="ignore", invalid="ignore"):
        for start, stop, factor in spans:
            weights[start:stop] *= factor
    if not (abs(weights) <= MOST_WEIGHT).all():
        raise InputError(
            f"prompt = {shown(prompt)}: its brackets multiply to a weight of more than "
            f"{MOST_WEIGHT:g}"
        )
    return text, weights


def _weight(typed: str | None) -> float:
    if typed is None:
        return EMPHASIS
    return real("weight in the prompt", float(typed), -MOST_WEIGHT, MOST_WEIGHT)


def _runs(weights: NDArray[np.float64], start: int, stop: int) -> Iterator[tuple[int, int, float]]:
    """Yield where each run of one weight starts and stops, and the weight."""
    changes = (np.flatnonzero(np.diff(weights[start:stop])) + start + 1).tolist()
    for first, last in zip([start, *changes], [*changes, stop], strict=True):
        if first < last:
            yield first, last, float(weights[first])


class WordFinder:
    """(text, first, last) -> the tokens of that part, those of a learned word together."""

    def __init__(self, words: Words, room: int) -> None:
        for word, ids in words.items():
            if len(ids) > room:
                raise InputError(
                    f"word {shown(word)}: {len(ids)} vectors; at most {room} fit in a chunk"
                )
        longest_first = sorted(words, key=len, reverse=True)
        self._ids = [tuple(words[word]) for word in longest_first]
        names = "|".join(f"({re.escape(word)})" for word in longest_first)
        self._names = re.compile(rf"(?<!\w)(?:{names})(?!\w)", re.IGNORECASE) if words else None

    def __call__(self, text: str, first: int, last: int) -> Iterator[list[TextToken]]:
        for found in self._names.finditer(text, first, last) if self._names else ():
            yield from _plain(text, first, found.start())
            assert found.lastindex  # one name of them was found
            yield [TextToken(id, *found.span()) for id in self._ids[found.lastindex - 1]]
            first = found.end()
        yield from _plain(text, first, last)


def _plain(text: str, first: int, last: int) -> Iterator[list[TextToken]]:
    for token in tokenize(text[first:last]):
        yield [TextToken(token.id, first + token.start, first + token.stop)]


def _packed(units: Iterator[list[PromptToken]], room: int) -> list[list[PromptToken]]:
    """Return chunks, none of which parts a unit; a full one may end at its last comma."""
    chunks: list[list[PromptToken]] = [[]]
    for unit in units:
        while len(chunks[-1]) + len(unit) > room:
            chunks.append(_after_comma(chunks[-1], unit, room))
        chunks[-1].extend(unit)
    return chunks


def _after_comma(chunk: list[PromptToken], unit: list[PromptToken], room: int) -> list[PromptToken]:
    """Take what follows a comma near the end out of a full chunk that goes on with `unit`."""
    if len(chunk) < room or unit[0].id == COMMA:
        return []
    near = range(len(chunk) - 1, max(0, len(chunk) - BACKTRACK) - 1, -1)
    place = next((k + 1 for k in near if chunk[k].id == COMMA), len(chunk))
    taken = chunk[place:]
    del chunk[place:]
    return taken
