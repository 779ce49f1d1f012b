"""What people read: sizes, times and counts in words."""

import pytest

from sd.common.text import fill, format_bytes, format_count, format_seconds


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (900, "900 bytes"),
        (40 * 2**10, "40 KiB"),
        (850 * 2**20, "850 MiB"),
        (1.2 * 2**30, "1.2 GiB"),
        (40 * 2**30, "40 GiB"),
    ],
)
def test_sizes_in_words(count: int, words: str) -> None:
    assert format_bytes(count) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(7.4, "7 s"), (89, "89 s"), (150, "2 min"), (3590, "1 h 0 min"), (12_000, "3 h 20 min")],
)
def test_times_in_words(seconds: float, words: str) -> None:
    assert format_seconds(seconds) == words


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0"), (999, "999"), (999_999, "1 M"), (1234, "1.23 k"), (5.5e9, "5.5 G")],
)
def test_large_counts_are_short(count: float, words: str) -> None:
    assert format_count(count) == words


@pytest.mark.parametrize(
    ("count", "words"),
    [(1, "1 picture is in 1 step"), ("1", "1 picture is in 1 step"), (0, "0 pictures are in 0 s")],
)
def test_a_count_of_one_is_singular(count: int | str, words: str) -> None:
    text = "{n} {n:picture is|pictures are} in {n:1 step|{n} steps}"
    assert fill(text, {"n": count}).startswith(words)
    assert fill("{a:.2f} {b}", {"a": 0.125, "b": "{n:x|y}"}) == "0.12 {n:x|y}"
