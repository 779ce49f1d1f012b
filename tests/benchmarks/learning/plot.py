"""The curves as one small SVG: distance over training time, both logarithmic.

It stands on a white card of its own, so that it is read alike on light and dark pages.
"""

import html
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sd.ui.components.curves import decade_ticks, spread_labels
from tests.benchmarks.learning.curves import Curve, in_words

WIDTH, HEIGHT = 800, 400
LEFT, RIGHT, TOP, BOTTOM = 58, 560, 48, 350  # where the curves lie
ROOM = 1.15  # factor between the outermost values and the edge
TICK_GAP, WORD_GAP = 44.0, 16.0  # least pixels between two words
COLOURS = ("#c2410c", "#64748b", "#0f766e", "#6d28d9", "#a16207", "#1d4ed8", "#be185d")
FULL_NAMES = {"ddpm": "denoising-diffusion-pytorch"}
GREY, FAINT, INK = "#6b7280", "#e5e7eb", "#1f2937"


class Axis(NamedTuple):
    """A logarithmic axis: values low..high lie at pixels start..end."""

    low: float
    high: float
    start: float
    end: float

    @classmethod
    def of(cls, values: Sequence[float], start: float, end: float) -> "Axis":
        """Return the axis that holds `values` with some room at both ends."""
        return cls(min(values) / ROOM, max(values) * ROOM, start, end)

    def at(self, value: float) -> float:
        """Return where a value lies, to a hundredth of a pixel."""
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return round(self.start + share * (self.end - self.start), 2)


def plot(curves: Sequence[Curve]) -> str:
    """Return the SVG."""
    points = [point for curve in curves for point in curve.points]
    floor = min(curve.floor for curve in curves)
    across = Axis.of([point.seconds for point in points], LEFT, RIGHT)
    down = Axis.of([point.distance for point in points] + [floor], BOTTOM, TOP)
    parts = [
        *_card(curves),
        *_times(across, sorted({point.due for point in points})),
        *_distances(down),
        *_lines(curves, across, down),
        *_names(curves, floor, across, down),
    ]
    return "\n".join([*parts, "</svg>", ""])


def _card(curves: Sequence[Curve]) -> Iterator[str]:
    samples = curves[0].points[0].samples
    threads = sorted({curve.threads for curve in curves})
    told = " and ".join(map(str, threads))
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="12" fill="{GREY}">'
    )
    yield "<title>Distance of samples to held-out digits over training time</title>"
    yield f'<rect width="{WIDTH}" height="{HEIGHT}" rx="8" fill="#ffffff"/>'
    yield _word(LEFT, 26, f"Fréchet distance of {samples:,} samples to held-out digits", fill=INK)
    yield _word(LEFT, HEIGHT - 14, f"training time, {told} CPU threads")


def _times(across: Axis, times: Sequence[float]) -> Iterator[str]:
    """Yield a line for each time that was judged, and its word where there is room."""
    last = -math.inf
    for time in times:
        x = across.at(time)
        yield f'<line class="time" x1="{x}" x2="{x}" y1="{TOP}" y2="{BOTTOM}" stroke="{FAINT}"/>'
        if x - last >= TICK_GAP:
            last = x
            yield _word(x, BOTTOM + 18, in_words(time), anchor="middle")


def _distances(down: Axis) -> Iterator[str]:
    for value in decade_ticks(down.low, down.high):
        y = down.at(value)
        ends = f'x1="{LEFT}" x2="{RIGHT}" y1="{y}" y2="{y}"'
        yield f'<line class="distance" {ends} stroke="{FAINT}"/>'
        yield _word(LEFT - 8, y + 4, f"{value:g}", anchor="end")


def _lines(curves: Sequence[Curve], across: Axis, down: Axis) -> Iterator[str]:
    """Yield each curve: a line through its points, and the points, which tell their values."""
    for number, curve in enumerate(curves):
        colour = COLOURS[number % len(COLOURS)]
        places = [(across.at(point.seconds), down.at(point.distance)) for point in curve.points]
        line = " ".join(f"{x},{y}" for x, y in places)
        yield f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>'
        for point, (x, y) in zip(curve.points, places, strict=True):
            told = f"{curve.name}, {point.seconds:.0f} s: {point.distance:.1f}"
            told = f"<title>{html.escape(told)}</title>"
            yield f'<circle cx="{x}" cy="{y}" r="4" fill="{colour}">{told}</circle>'


def _names(curves: Sequence[Curve], floor: float, across: Axis, down: Axis) -> Iterator[str]:
    """Yield each curve's name beside its last point, the floor's too, none on another."""
    y = down.at(floor)
    ends = f'x1="{LEFT}" x2="{RIGHT}" y1="{y}" y2="{y}"'
    yield f'<line class="floor" {ends} stroke="{GREY}" stroke-dasharray="4 4"/>'
    words, heights = [f"real training digits {floor:.1f}"], [-y]
    for curve in curves:
        last = curve.points[-1]
        words.append(f"{FULL_NAMES.get(curve.name, curve.name)} {last.distance:.1f}")
        heights.append(-down.at(last.distance))
    colours = [GREY, *(COLOURS[number % len(COLOURS)] for number in range(len(curves)))]
    for word, height, colour in zip(words, spread_labels(heights, WORD_GAP), colours, strict=True):
        yield _word(RIGHT + 8, round(4 - height, 2), word, fill=colour)


def _word(x: float, y: float, text: str, anchor: str = "start", fill: str = GREY) -> str:
    place = f'x="{x}" y="{y}" text-anchor="{anchor}" fill="{fill}"'
    return f"<text {place}>{html.escape(text)}</text>"
