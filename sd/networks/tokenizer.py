"""A vocabulary of byte-level BPE tokens, learned from the captions of one picture set.

Byte pair encoding is Sennrich et al. 2016's; starting from bytes instead of letters, so that no
text is outside the vocabulary, is GPT-2's (Radford et al. 2019). Captions are compared lower-cased
and in Unicode's NFC. Every word is tokenised alone, after a space: "car pet" is not "carpet".
"""

import json
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer

from sd.common.validation import InputError, shown, whole

PAD, START, END = 0, 1, 2
SPECIAL = ("<pad>", "<start>", "<end>")
SMALLEST, LARGEST = len(SPECIAL) + 256, 65_536  # tokens
MOST_WORDS = 200_000
LONGEST_READ = 10_000  # characters of a text; the rest is not read
LONGEST_TOKEN = 64  # bytes
LONGEST = 4096  # tokens of one encoded text

MARK = "\u0300"  # stands for every mark: accents, Indic vowels, an emoji's choice of colour
JOINERS = "\u200c\u200d"
HALF = re.compile("[\ud800-\udfff]")  # lone surrogates: no file can hold them
WORD = re.compile(
    rf"(?:[^\W_]|['’-])(?:[^\W_]|['’{MARK}{JOINERS}-])*"  # letters, digits, apostrophes, hyphens
    r"|[\U0001f1e6-\U0001f1ff]{2}"  # a flag
    rf"|\S(?:[{MARK}\U0001f3fb-\U0001f3ff]|\u200d[^\s\w])*"  # a symbol with its skin, its family
)


class Vocabulary:
    """Tokens with ids 0..size-1, and the `words` that the captions had.

    PAD, START and END are never the tokens of a text, whatever it says.
    """

    def __init__(
        self, tokens: Sequence[str], merges: Sequence[tuple[str, str]], words: Sequence[str]
    ) -> None:
        """Build it from lists that fit together; `from_json` checks those of a file."""
        self.words = frozenset(words)
        self._tokens, self._merges = list(tokens), list(merges)
        ids = {token: number for number, token in enumerate(tokens) if number >= len(SPECIAL)}
        self._pipeline = _pipeline(BPE(vocab=ids, merges=self._merges))

    @classmethod
    def train(cls, captions: Sequence[str], size: int) -> "Vocabulary":
        """Learn at most `size` tokens; the same captions in any order give the same vocabulary."""
        size = whole("vocabulary", size, SMALLEST, LARGEST)
        counts = Counter(_plain(word) for caption in captions for word in split(caption))
        pipeline = _pipeline(BPE())
        trainer = BpeTrainer(
            vocab_size=size,
            min_frequency=1,
            special_tokens=list(SPECIAL),
            initial_alphabet=sorted(ByteLevel.alphabet()),
            max_token_length=LONGEST_TOKEN,
            show_progress=False,
        )
        pipeline.train_from_iterator(sorted(counts.elements()), trainer)
        learned = json.loads(pipeline.to_str())["model"]
        ids = learned["vocab"]
        often = sorted(counts, key=lambda word: (-counts[word], word))[:MOST_WORDS]
        return cls(sorted(ids, key=ids.__getitem__), [(a, b) for a, b in learned["merges"]], often)

    @classmethod
    def from_json(cls, value: Any) -> "Vocabulary":
        """Return the vocabulary that `to_json` wrote; InputError for anything else."""
        if not isinstance(value, dict) or set(value) != {"tokens", "merges", "words"}:
            raise InputError(
                f"vocabulary = {shown(value)}: must be an object of tokens, merges and words"
            )
        tokens = _texts("tokens", value["tokens"], LARGEST, LONGEST_TOKEN)
        words = _texts("words", value["words"], MOST_WORDS, LONGEST_READ)
        _check_tokens(tokens)
        return cls(tokens, _checked_merges(value["merges"], set(tokens[len(SPECIAL) :])), words)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data: tokens by id, merges in their order, words by alphabet."""
        return {
            "tokens": list(self._tokens),
            "merges": [list(pair) for pair in self._merges],
            "words": sorted(self.words),
        }

    @property
    def tokens(self) -> tuple[str, ...]:
        """The tokens by their ids, a space spelled as byte-level BPE does."""
        return tuple(self._tokens)

    @property
    def size(self) -> int:
        """The number of ids, PAD, START and END included."""
        return len(self._tokens)

    def encode(self, text: str, length: int) -> list[int]:
        """Return START, the text's ids and END: at most `length` (>= 2) of them, END kept."""
        room = whole("length", length, 2, LONGEST) - 2
        ids = [number for tokens in self._read(split(text)) for number in tokens]
        return [START, *ids[:room], END]

    def spans(self, text: str, length: int) -> list[tuple[str, list[int]]]:
        """Return each word as typed with the places of its tokens in `encode(text, length)`.

        START is at place 0. A word of which a token was cut off is left out.
        """
        last = whole("length", length, 2, LONGEST) - 2
        words, found, place = split(text), [], 1
        for word, tokens in zip(words, self._read(words), strict=True):
            found.append((word, list(range(place, place + len(tokens)))))
            place += len(tokens)
        return [(word, places) for word, places in found if places[-1] <= last]

    def unseen(self, text: str) -> list[str]:
        """Return the words of `text` that no caption had, each once, as first typed, in order.

        Compared without case and punctuation, which alone is no word: "nine thirty" is known from
        "nine-thirty", "Heart," from "heart".
        """
        typed: dict[str, str] = {}
        for word in split(text):
            typed.setdefault("".join(_parts(word)), word)
        return [
            word
            for joined, word in typed.items()
            if joined not in self._known and not self._known.issuperset(_parts(word))
        ]

    @cached_property
    def _known(self) -> frozenset[str]:
        """What words are made of: their parts between punctuation, and these joined."""
        parts = map(_parts, self.words)
        return frozenset(each for known in parts for each in (*known, "".join(known)))

    def _read(self, words: list[str]) -> list[list[int]]:
        """Return the ids of each word; every word has at least one."""
        encoding = self._pipeline.encode([_plain(word) for word in words], is_pretokenized=True)
        ids: list[list[int]] = [[] for _ in words]
        for word, number in zip(encoding.word_ids, encoding.ids, strict=True):
            if word is not None:  # None is for tokens of no word; our pipeline adds none
                ids[word].append(number)
        return ids


def split(text: str) -> list[str]:
    """Return the words of a text as typed, from its first 10,000 characters.

    A word is a run of letters, digits, apostrophes and hyphens of any script, or one other symbol.
    Spaces and control characters part words; a half character (a lone surrogate) is read as U+FFFD.
    """
    read = readable(text)
    return [read[start:stop] for start, stop in extents(read)]


def readable(text: str) -> str:
    """Return what is read of a text: its first 10,000 characters, each of them a whole one."""
    if not isinstance(text, str):
        raise InputError(f"caption = {shown(text)}: must be a text")
    halves = text[:LONGEST_READ].encode("utf-16-le", "surrogatepass")
    return halves.decode("utf-16-le", "replace")


def extents(read: str) -> list[tuple[int, int]]:
    """Return where each word of a readable text starts and stops."""
    return [word.span() for word in WORD.finditer("".join(map(_stand_in, read)))]


def _stand_in(char: str) -> str:
    """Return a character that `WORD` reads as what `char` is: a mark, a space or itself."""
    kind = unicodedata.category(char)
    if kind.startswith("M"):
        return MARK
    return " " if kind in ("Cc", "Cf") and char not in JOINERS else char


def _plain(word: str) -> str:
    return unicodedata.normalize("NFC", word.lower())


def _parts(word: str) -> list[str]:
    """Return what is left of a word between its punctuation, to be compared: a comma is nothing."""
    bare = "".join(
        " " if unicodedata.category(char).startswith("P") or char in string.punctuation else char
        for char in word
    )
    return unicodedata.normalize("NFC", bare.casefold()).split()


def _pipeline(model: BPE) -> Tokenizer:
    """Return the one way from words to tokens; it knows no special tokens, so none can be typed."""
    pipeline = Tokenizer(model)
    pipeline.pre_tokenizer = ByteLevel(add_prefix_space=True, use_regex=False)
    return pipeline


def _texts(name: str, value: Any, most: int, longest: int) -> list[str]:
    """Return a list of at most `most` different texts of 1 to `longest` characters."""
    if not isinstance(value, list) or len(value) > most:
        raise InputError(f"vocabulary: {name} = {shown(value)}: must be a list of at most {most}")
    for item in value:
        fits = isinstance(item, str) and 0 < len(item) <= longest
        if not fits or HALF.search(item):
            raise InputError(
                f"vocabulary: {name} hold {shown(item)}: must be texts of 1 to {longest} characters"
            )
    if len(set(value)) < len(value):
        twice, _ = Counter(value).most_common(1)[0]
        raise InputError(f"vocabulary: {name} hold {shown(twice)} more than once")
    return value


def _check_tokens(tokens: list[str]) -> None:
    """Raise InputError unless the special tokens come first and all 256 bytes are there."""
    if tuple(tokens[: len(SPECIAL)]) != SPECIAL:
        raise InputError(
            f"vocabulary: tokens begin with {shown(tokens[:3])}: must be {', '.join(SPECIAL)}"
        )
    letters = set(ByteLevel.alphabet())
    if missing := letters.difference(tokens):
        raise InputError(f"vocabulary: {len(missing)} of the 256 byte tokens are missing")
    for token in tokens[len(SPECIAL) :]:
        if not letters.issuperset(token):
            raise InputError(f"vocabulary: token {shown(token)}: must be made of byte tokens")


def _checked_merges(value: Any, tokens: set[str]) -> list[tuple[str, str]]:
    """Return the merges of a file; each joins two of the `tokens` into a third, once."""
    if not isinstance(value, list) or len(value) > LARGEST:
        raise InputError(
            f"vocabulary: merges = {shown(value)}: must be a list of at most {LARGEST}"
        )
    for pair in value:
        fits = isinstance(pair, list) and len(pair) == 2 and all(isinstance(p, str) for p in pair)
        if not fits or not tokens.issuperset([*pair, "".join(pair)]):
            raise InputError(
                f"vocabulary: merge {shown(pair)}: must be two tokens that make a token"
            )
    merges = [(first, second) for first, second in value]
    if len(set(merges)) < len(merges):
        raise InputError("vocabulary: a merge comes more than once")
    return merges
