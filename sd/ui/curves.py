"""Curves as inline SVG: a line in grey, what moves in the accent, both following light and dark.

The SVG is stretched to its box and the words lie beside it as HTML, so text keeps its size at any
width. Pure functions of numbers; every word that comes in is escaped.
"""

import html
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 600, 160  # of the viewBox; the box on the page decides the real size
MOST_POINTS = 300
SMOOTHING = 30  # the smoothed loss looks back over this part of a run: a thirtieth

Array = NDArray[np.float64]


def polyline(xs: Array, ys: Array, kind: str) -> str:
    """Return a line through points given as shares of the box: 0..1 from left, 0..1 from below."""
    points = " ".join(
        f"{x * WIDTH:.1f},{(1 - y) * HEIGHT:.1f}" for x, y in zip(xs, ys, strict=True)
    )
    return f'<polyline class="{kind}" points="{points}"/>'


def rule(y: float) -> str:
    """Return a faint horizontal line at a share of the height."""
    at = (1 - y) * HEIGHT
    return f'<line class="rule" x1="0" x2="{WIDTH}" y1="{at:.1f}" y2="{at:.1f}"/>'


def mark(text: str, x: float | None, y: float | None, kind: str) -> str:
    """Return a word at shares of the box; a coordinate that is None is left to the style."""
    place = "".join(
        f"{side}:{100 * share:.2f}%;"
        for side, share in (("left", x), ("bottom", y))
        if share is not None
    )
    return f'<span class="{kind}" style="{place}">{html.escape(text)}</span>'


def figure(alt: str, drawing: str, words: str) -> str:
    """Return the box with its drawing, its words and its alternative text."""
    return (
        f'<div class="curve" role="img" aria-label="{html.escape(alt)}">'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" aria-hidden="true">'
        f"{drawing}</svg>{words}</div>"
    )


def thinned(values: Array, most: int = MOST_POINTS) -> Array:
    """Return at most `most` values: the means of equal runs of neighbours."""
    if len(values) <= most:
        return values
    return np.array([part.mean() for part in np.array_split(values, most)])


def smoothed(values: Array) -> Array:
    """Return the running average of values, unbiased at its start (Adam's correction)."""
    keep = 1 - 1 / max(4.0, len(values) / SMOOTHING)
    kept, result = 0.0, np.empty_like(values)
    for place, value in enumerate(values):
        kept = keep * kept + (1 - keep) * value
        result[place] = kept / (1 - keep ** (place + 1))
    return result


def decades(low: float, high: float) -> list[float]:
    """Return round numbers within [low, high]: powers of ten, or finer where there are too few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    inside: list[float] = []
    for digits in ((1,), (1, 2, 5), (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)):
        every = [digit * 10.0**power for power in powers for digit in digits]
        inside = [value for value in every if low <= value <= high]
        if len(inside) >= 2:
            break
    return inside


def loss_curve(steps: Sequence[int], loss: Sequence[float], total: int, name: str, alt: str) -> str:
    """Return the loss over a run of `total` steps on a logarithmic axis, raw and smoothed.

    `alt` may hold {steps} and {last}. With fewer than two finite values the box is empty.
    """
    pairs = [(s, v) for s, v in zip(steps, loss, strict=True) if v > 0 and math.isfinite(v)]
    if len(pairs) < 2:
        return figure(name, "", "")
    where, values = (np.array(column, dtype=np.float64) for column in zip(*pairs, strict=True))
    average = smoothed(values)
    xs = thinned(where) / max(total, where[-1])
    raw, soft = thinned(values), thinned(average)
    low, high = math.log10(min(raw.min(), soft.min())), math.log10(max(raw.max(), soft.max()))
    low, high = low - 0.05, max(high + 0.05, low + 0.2)

    def height(value: Array | float) -> Array:
        return np.asarray((np.log10(value) - low) / (high - low))

    ticks = [(value, float(height(value))) for value in decades(10**low, 10**high)]
    drawing = "".join(rule(y) for _, y in ticks)
    drawing += polyline(xs, height(raw), "raw") + polyline(xs, height(soft), "accent")
    last = f"{average[-1]:.3g}"
    words = "".join(mark(f"{value:g}", None, y, "tick") for value, y in ticks)
    words += mark(f"{name} {last}", float(xs[-1]), float(height(soft[-1])), "end")
    return figure(alt.format(steps=f"{where[-1]:,.0f}", last=last), drawing, words)


def cursor_curve(values: Array, t: int, ticks: Sequence[float], alt: str) -> str:
    """Return a curve over t = 0..T in grey, with the cursor at `t` in the accent.

    values [T+1] must be finite; `ticks` get a faint line and a number, and lie within the box.
    """
    T = len(values) - 1
    low, high = min(values.min(), *ticks), max(values.max(), *ticks)
    places = np.unique(np.linspace(0, T, min(T + 1, MOST_POINTS)).round().astype(int))
    x, shares = t / T * WIDTH, (values - low) / (high - low)
    heights = [(tick, (tick - low) / (high - low)) for tick in ticks]
    drawing = "".join(rule(y) for _, y in heights)
    drawing += polyline(places / T, shares[places], "line")
    drawing += f'<line class="cursor" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{HEIGHT}"/>'
    words = "".join(mark(f"{tick:g}", None, y, "tick") for tick, y in heights)
    return figure(alt, drawing, words + mark("", t / T, float(shares[t]), "dot"))
