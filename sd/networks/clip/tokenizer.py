"""CLIP's vocabulary: 49,408 tokens of byte-level BPE, the same in every model that reads with it.

Its merges lie beside this file. Texts are compared lower-cased and in Unicode's NFC. The two
special tokens cannot be typed: `<|endoftext|>` in a text is six tokens, as other text would be.
"""

import gzip
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tokenizers import Regex, Tokenizer
from tokenizers.models import BPE
from tokenizers.normalizers import NFC, Lowercase, Replace
from tokenizers.normalizers import Sequence as Normalizers
from tokenizers.pre_tokenizers import ByteLevel, Split
from tokenizers.pre_tokenizers import Sequence as PreTokenizers

from sd.networks.clip.config import END, START

MERGES = Path(__file__).with_name("merges.txt.gz")
END_OF_WORD = "</w>"
SPECIAL = {"<|startoftext|>": START, "<|endoftext|>": END}
WORD = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"  # what is tokenised alone


class TextToken(NamedTuple):
    """A token and where it stands in the text, from character `start` to before `stop`."""

    id: int
    start: int
    stop: int


def tokenize(text: str) -> list[TextToken]:
    """Return the tokens of a text that holds no lone surrogate, without START and END."""
    found = tokenizer().encode(text, add_special_tokens=False)
    return [TextToken(id, *span) for id, span in zip(found.ids, found.offsets, strict=True)]


@cache
def tokenizer() -> Tokenizer:
    """Return the one way from a text to ids; built once, in some tenths of a second."""
    with gzip.open(MERGES, "rt", encoding="utf-8") as file:
        merges = [(first, second) for first, second in map(str.split, file)]
    letters = byte_letters()
    tokens = [*letters, *(letter + END_OF_WORD for letter in letters)]
    tokens += [first + second for first, second in merges]
    made = Tokenizer(
        BPE(
            vocab={token: id for id, token in enumerate(tokens)} | SPECIAL,
            merges=merges,
            end_of_word_suffix=END_OF_WORD,
            continuing_subword_prefix="",
        )
    )
    made.normalizer = Normalizers([NFC(), Replace(Regex(r"\s+"), " "), Lowercase()])
    words = Split(Regex(WORD), behavior="removed", invert=True)
    made.pre_tokenizer = PreTokenizers([words, ByteLevel(add_prefix_space=False)])
    return made


def byte_letters() -> list[str]:
    """Return the 256 letters that stand for bytes, in the order in which they are tokens.

    Bytes that print stand for themselves and come first; the others are chr(256), chr(257), ...
    (Radford et al. 2019).
    """
    printing = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [*map(chr, printing), *map(chr, range(256, 256 + 256 - len(printing)))]
