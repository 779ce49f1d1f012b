"""Texts on which CLIP's tokens are compared: the bundled captions and 1,000 hostile ones."""

import csv
import hashlib
import io
import random
import zipfile
from collections.abc import Sequence
from pathlib import Path

from sd.data.reading.source import starter_path

EXPECTED = Path(__file__).parents[1] / "fixtures" / "clip_tokens.txt"
HOSTILE = 1000
WORDS = ("a", "the", "photo", "of", "I'LL", "don't", "we've", "it's", "'s", "xyzzyqwfpgjluy", "3D")
MARKS = ("<|", "|>", "</w>", "((", "]]", ":1.2)", "\\(", ",,,", "...", "!?", "_", "#", "\\", "%")
RANGES = (  # of scripts whose properties have long been settled
    (0x00, 0x7F),
    (0x80, 0x24F),  # Latin, some with two letters in one
    (0x300, 0x36F),  # marks, many of which NFC joins to the letter before
    (0x386, 0x3FF),  # Greek
    (0x400, 0x4FF),
    (0x5D0, 0x5EA),
    (0x627, 0x64A),
    (0x915, 0x939),
    (0xE01, 0xE2E),
    (0x1E00, 0x1EFF),
    (0x2000, 0x206F),  # spaces, joiners, directions
    (0x2150, 0x218B),  # fractions and Roman numbers
    (0x3041, 0x3096),
    (0x4E00, 0x4FFF),
    (0xAC00, 0xACFF),
    (0xE000, 0xE00F),  # private: no letters of anybody's
    (0xFE00, 0xFE0F),
    (0xFF01, 0xFF5E),
    (0x1F300, 0x1F5FF),
    (0x1F3FB, 0x1F3FF),
)


def hostile_texts() -> list[str]:
    """The 1,000 texts, always the same: words, marks and characters of many scripts, shuffled."""
    source = random.Random(0)
    return ["".join(_piece(source) for _ in range(source.randrange(1, 24))) for _ in range(HOSTILE)]


def _piece(source: random.Random) -> str:
    kind = source.randrange(5)
    if kind == 0:
        return source.choice(WORDS)
    if kind == 1:
        return source.choice(MARKS)
    if kind == 2:
        return source.choice((" ", "  ", "\t\n", "\u00a0", "\u3000"))
    low, high = source.choice(RANGES)
    return "".join(chr(source.randrange(low, high + 1)) for _ in range(source.randrange(1, 4)))


def starter_captions() -> list[str]:
    """The captions of the bundled pictures."""
    with zipfile.ZipFile(starter_path()) as archive:
        table = io.StringIO(archive.read("metadata.csv").decode())
    return [row["text"] for row in csv.DictReader(table)]


def digest(ids: Sequence[int]) -> str:
    """Eight letters that tell a list of ids from another."""
    return hashlib.sha256(",".join(map(str, ids)).encode()).hexdigest()[:8]
