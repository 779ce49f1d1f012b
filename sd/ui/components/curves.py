"""Curves as inline SVG: lines in grey, what moves in the accent, all following light and dark.

The SVG is stretched to its box and the words lie beside it as HTML, so text keeps its size at any
width. Pure functions of numbers; every word that comes in is escaped.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from sd.common.text import fill
from sd.runs.journal import Evaluation

WIDTH, HEIGHT = 600, 160  # of the viewBox; the box on the page decides the real size
MOST_POINTS = 300
MOST_SMOOTHED = 2000  # points that are smoothed one by one
SMOOTHING = 50  # the smoothed loss looks back over this part of a run: a fiftieth
MOST_EARLIER = 4  # evaluations that are shown faintly behind the newest
SMALLEST = 1e-12  # what a logarithmic axis shows of zero
LABEL_GAP = 0.13  # least distance of two words at lines' ends, as a share of the height

Array = NDArray[np.float64]


class Line(NamedTuple):
    """One line of a plot: x as shares of the width, y as values, its look and its last word."""

    x: Array
    y: Array
    kind: str
    name: str = ""
    dots: bool = False


def polyline(xs: Array, ys: Array, kind: str) -> Markup:
    """Return a line through points given as shares of the box: 0..1 from left, 0..1 from below."""
    points = " ".join(
        f"{x * WIDTH:.1f},{(1 - y) * HEIGHT:.1f}" for x, y in zip(xs, ys, strict=True)
    )
    return Markup('<polyline class="{}" points="{}"/>').format(kind, points)


def rule(y: float) -> Markup:
    """Return a faint horizontal line at a share of the height."""
    line = Markup('<line class="rule" x1="0" x2="{}" y1="{:.1f}" y2="{:.1f}"/>')
    return line.format(WIDTH, (1 - y) * HEIGHT, (1 - y) * HEIGHT)


def mark(text: str, x: float | None, y: float | None, kind: str) -> Markup:
    """Return a word at shares of the box; a coordinate that is None is left to the style."""
    place = "".join(
        f"{side}:{100 * share:.2f}%;"
        for side, share in (("left", x), ("bottom", y))
        if share is not None
    )
    return Markup('<span class="{}" style="{}">{}</span>').format(kind, place, text)


def figure(
    alt: str, drawing: Iterable[Markup] = (), words: Iterable[Markup] = (), kind: str = ""
) -> Markup:
    """Return the box with its drawing, its words and its alternative text."""
    box = Markup(
        '<div class="curve {}" role="img" aria-label="{}"><svg viewBox="0 0 {} {}"'
        ' preserveAspectRatio="none" aria-hidden="true">{}</svg>{}</div>'
    )
    joined = Markup("").join(drawing), Markup("").join(words)
    return box.format(kind, alt, WIDTH, HEIGHT, *joined)


def thin(values: Array, most: int = MOST_POINTS) -> Array:
    """Return at most `most` values: the means of equal runs of neighbours."""
    if len(values) <= most:
        return values
    return np.array([part.mean() for part in np.array_split(values, most)])


def smooth(values: Array) -> Array:
    """Return the running average of values, unbiased at its start (Adam's correction)."""
    keep = 1 - 1 / max(4.0, len(values) / SMOOTHING)
    kept, result = 0.0, np.empty_like(values)
    for place, value in enumerate(values):
        kept = keep * kept + (1 - keep) * value
        result[place] = kept / (1 - keep ** (place + 1))
    return result


def decade_ticks(low: float, high: float) -> list[float]:
    """Return round numbers within [low, high]: powers of ten, or finer where there are too few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    inside: list[float] = []
    for digits in ((1,), (1, 2, 5), (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)):
        every = [digit * 10.0**power for power in powers for digit in digits]
        inside = [value for value in every if low <= value <= high]
        if len(inside) >= 2:
            break
    return inside


def even_ticks(high: float) -> list[float]:
    """Return two to four round numbers from 0 to `high`, evenly spaced."""
    power = 10.0 ** math.floor(math.log10(high))
    step = next(s * power for s in (0.5, 1, 2, 5) if high / (s * power) < 4)
    return [step * n for n in range(int(high / step) + 1)]


def spread_labels(heights: Sequence[float], gap: float = LABEL_GAP) -> list[float]:
    """Return heights of words, in the order given, moved up until none lies on another."""
    order = sorted(range(len(heights)), key=lambda place: heights[place])
    moved = list(heights)
    for below, above in pairwise(order):
        moved[above] = max(moved[above], moved[below] + gap)
    return moved


def plot(
    lines: Sequence[Line], alt: str, feet: Sequence[tuple[float, str]] = (), log: bool = True
) -> Markup:
    """Return lines on one axis, logarithmic or from 0, each with its word at its end.

    Every y must be finite. feet: words under the box, at shares of its width.
    """
    every = np.concatenate([line.y for line in lines])
    low, high = max(float(every.min()), SMALLEST), max(float(every.max()), SMALLEST)
    if log:
        bottom, top = math.log10(low) - 0.05, math.log10(high) + 0.05
        top, ticks = max(top, bottom + 0.2), decade_ticks(10**bottom, 10 ** max(top, bottom + 0.2))
    else:
        bottom, top = 0.0, 1.05 * high
        ticks = even_ticks(top)

    def height(values: Array | float) -> Array:
        scaled = np.log10(np.maximum(values, SMALLEST)) if log else np.asarray(values)
        return np.asarray((scaled - bottom) / (top - bottom))

    drawing = [rule(float(height(tick))) for tick in ticks]
    drawing += [polyline(line.x, height(line.y), line.kind) for line in lines]
    words = [mark(f"{tick:g}", None, float(height(tick)), "tick") for tick in ticks]
    for line in lines:
        if line.dots:
            places = zip(line.x, height(line.y), strict=True)
            words += [mark("", float(x), float(y), f"point {line.kind}") for x, y in places]
    named = [line for line in lines if line.name]
    ends = spread_labels([float(height(line.y[-1])) for line in named])
    for line, end in zip(named, ends, strict=True):
        words.append(mark(line.name, float(line.x[-1]), end, f"end {line.kind}"))
    words += [mark(word, share, None, "foot") for share, word in feet]
    return figure(alt, drawing, words, "footed" if feet else "")


def finite_points(steps: Sequence[int], values: Sequence[float | None]) -> tuple[Array, Array]:
    """Return steps and values where the value is a positive number."""
    pairs = [
        (step, value)
        for step, value in zip(steps, values, strict=True)
        if value is not None and value > 0 and math.isfinite(value)
    ]
    columns = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    return columns[:, 0], columns[:, 1]


def loss_curve(
    steps: Sequence[int],
    loss: Sequence[float | None],
    total: int,
    name: str,
    alt: str,
    feet: Sequence[tuple[float, str]] = (),
) -> Markup:
    """Return the loss over a run of `total` steps on a logarithmic axis, raw and smoothed.

    `alt` may hold {steps} and {last}. With fewer than two finite values the box is empty.
    """
    where, values = finite_points(steps, loss)
    if len(where) < 2:
        return figure(name)
    coarse = thin(values, MOST_SMOOTHED)
    average = thin(smooth(coarse))
    x = thin(thin(where, MOST_SMOOTHED)) / max(total, where[-1], 1)
    last = f"{average[-1]:.3g}"
    lines = [Line(x, thin(coarse), "raw"), Line(x, average, "accent", f"{name} {last}")]
    return plot(lines, fill(alt, {"steps": f"{where[-1]:,.0f}", "last": last}), feet)


def step_curve(
    steps: Sequence[int],
    values: Sequence[float | None],
    total: int,
    name: str,
    log: bool = False,
    feet: Sequence[tuple[float, str]] = (),
) -> Markup:
    """Return one figure over a run of `total` steps; with fewer than two values an empty box."""
    where, column = finite_points(steps, values)
    if len(where) < 2:
        return figure(name)
    x, y = thin(where) / max(total, where[-1], 1), thin(column)
    last = f"{name} {column[-1]:.3g}"
    return plot([Line(x, y, "line", last)], last, feet, log)


def level_curve(
    evaluations: Sequence[Evaluation], T: int, names: tuple[str, str], alt: str
) -> Markup:
    """Return the loss over t of the newest evaluation, and of earlier ones faintly behind it.

    names: of the training pictures and of the held-out ones. Raises ValueError without any.
    """
    *earlier, newest = evaluations
    chosen = {round(n * (len(earlier) - 1) / MOST_EARLIER) for n in range(MOST_EARLIER)}
    lines = []
    for place in sorted(chosen) if earlier else []:
        old = earlier[place]
        lines.append(Line(np.array(old.times) / T, np.array(old.held_out or old.train), "raw"))
    x = np.array(newest.times) / T
    lines.append(Line(x, np.array(newest.train), "line", names[0], dots=True))
    if newest.held_out:
        lines.append(Line(x, np.array(newest.held_out), "accent", names[1], dots=True))
    return plot(lines, alt, [(0, "t = 0"), (0.5, f"{T // 2:,}"), (1, f"{T:,}")])


def history_curve(
    evaluations: Sequence[Evaluation],
    total: int,
    names: tuple[str, str],
    alt: str,
    feet: Sequence[tuple[float, str]] = (),
) -> Markup:
    """Return the mean loss of training and of held-out pictures over a run."""
    x = np.array([each.step for each in evaluations]) / max(total, evaluations[-1].step, 1)
    train = np.array([np.mean(each.train) for each in evaluations])
    lines = [Line(x, train, "line", f"{names[0]} {train[-1]:.3g}", dots=True)]
    tested = [each for each in evaluations if each.held_out]
    if tested:
        where = np.array([each.step for each in tested]) / max(total, evaluations[-1].step, 1)
        held = np.array([np.mean(each.held_out or []) for each in tested])
        lines.append(Line(where, held, "accent", f"{names[1]} {held[-1]:.3g}", dots=True))
    return plot(lines, alt, feet)


def strip(values: Sequence[float], band: tuple[float, float], most: float, alt: str) -> Markup:
    """Return distances as marks on a line from 0 to `most`, before a band."""
    left, right = (WIDTH * min(end / most, 1) for end in band)
    area = Markup('<rect class="band" x="{:.1f}" width="{:.1f}" y="0" height="100%"/>')
    line = Markup('<line class="accent" x1="{:.1f}" x2="{:.1f}" y1="0" y2="{}"/>')
    places = [WIDTH * min(value / most, 1) for value in values]
    drawing = [area.format(left, right - left), *(line.format(x, x, HEIGHT) for x in places)]
    words = [mark("0", 0, None, "foot"), mark(f"{most:g}", 1, None, "foot")]
    return figure(alt, drawing, words, "strip")
