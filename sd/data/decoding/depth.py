"""Values of more than 8 bits: from which to which they run, decided for a whole set where needed.

A camera's or a scanner's 10 or 12 bits often lie in 16, at their lower end, and no file says so;
then one picture alone does not tell whether it is dark. A set does.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sd.common.validation import InputError

FULL = 65535
DEPTHS = (10, 12)  # bits that are looked for in 16
FLOAT_TOPS = (1, 255)
SLACK = 0.05  # of the top: so far a float may lie outside, as resizing leaves it


class Scale(NamedTuple):
    """The values that become black and white."""

    low: float
    high: float

    def apply(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """Return values of any shape as uint8; those outside become black or white."""
        factor = 255 / ((self.high - self.low) or 1)
        scaled: NDArray[np.float32] = np.multiply(values, factor, dtype=np.float32)
        np.subtract(scaled, self.low * factor, out=scaled)
        np.clip(scaled, 0, 255, out=scaled)
        return np.rint(scaled, out=scaled).astype(np.uint8)


class Span(NamedTuple):
    """The least and the largest value of a picture whose scale its file does not tell."""

    low: float
    high: float
    whole: bool  # numbers, not floats

    def scale(self) -> Scale:
        """Return the scale of pictures that have these values together."""
        if self.low < 0 or self.high > FULL:
            return Scale(self.low, self.high)
        bits = next((bits for bits in DEPTHS if self.high < 2**bits), 16)
        # What stays in the lower half even of these bits may as well be a dark picture of 16.
        return Scale(0, 2**bits - 1 if self.high >= 2 ** (bits - 1) else FULL)


def whole_scale(values: NDArray[Any], bits: int | None) -> Scale | Span:
    """Return the scale of whole numbers; their span where the file tells no `bits` of them."""
    low, high = float(values.min()), float(values.max())
    if bits is not None and low >= 0 and high <= FULL:
        return Scale(0, FULL if high >= 2**bits or _is_spread(values, bits) else 2**bits - 1)
    # A dark picture of 8 bits that were spread over 16 is known by its few values.
    spread = low >= 0 and 0 < high < 2 ** max(DEPTHS) and _is_spread(values, 8)
    return Span(low, FULL if spread else high, whole=True)


def float_scale(values: NDArray[Any]) -> Scale | Span:
    """Return the scale of floats that run from 0 to 1 or 255, else their span.

    Raises `InputError` where some are no numbers.
    """
    low, high = float(values.min()), float(values.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise InputError("holds pixel values that are no numbers")
    tops = (top for top in FLOAT_TOPS if low >= -SLACK * max(high, 1) and high <= (1 + SLACK) * top)
    top = next(tops, None)
    return Span(low, high, whole=False) if top is None else Scale(0, top)


def _is_spread(values: NDArray[Any], bits: int) -> bool:
    """Tell whether all values are ones of `bits` bits that were spread over 16.

    That is done by a shift to the left, the free bits being 0 or the value's own first ones.
    """
    numbers, free = values.astype(np.uint16), max(16 - bits, 0)
    shifted = numbers >> free << free
    repeated = shifted | (numbers >> free >> max(bits - free, 0))
    return free > 0 and bool((numbers == shifted).all() or (numbers == repeated).all())


def join_spans(spans: Iterable[Span]) -> dict[bool, Span]:
    """Return the span of all whole numbers (True) and of all floats (False) that there are."""
    found: dict[bool, Span] = {}
    for span in spans:
        other = found.get(span.whole, span)
        low, high = min(span.low, other.low), max(span.high, other.high)
        found[span.whole] = Span(low, high, span.whole)
    return found


def scales_of(spans: Iterable[Span]) -> dict[bool, Scale]:
    """Return the scale of all whole numbers (True) and of all floats (False) of a set."""
    return {is_whole: span.scale() for is_whole, span in join_spans(spans).items()}


def remarks(spans: Sequence[Span]) -> list[str]:
    """Return how values of more than 8 bits were read where no file says how, a line each way."""
    lines = []
    for is_whole, span in join_spans(spans).items():
        count, top = sum(each.whole == is_whole for each in spans), span.scale().high
        if span.low < 0 or span.high > FULL:
            reading = f"values from {span.low:g} to {span.high:g} became black to white"
        elif top < FULL:
            bits = int(top).bit_length()
            reading = f"no value goes beyond {top:,.0f}, so they are read as {bits} bits"
        elif span.high < 2 ** max(DEPTHS):
            reading = f"no value goes beyond {span.high:,.0f} of {FULL:,}, so they are dark"
        else:
            continue
        lines.append(
            f"more than 8 bits: {count} {'picture' if count == 1 else 'pictures'}; {reading}"
        )
    return lines
