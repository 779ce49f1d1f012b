"""What a competitor's training came to: points over training time, kept as JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sd.common.disk import write_text
from sd.common.validation import InputError


class Point(NamedTuple):
    """A moment at which samples were judged.

    due, seconds: training time asked for and reached. steps, pictures: trained by then. sampling:
    seconds that the samples took, which are no training time. distance: Frechet, of `samples`.
    """

    due: float
    seconds: float
    steps: int
    pictures: int
    distance: float
    samples: int
    sampling: float


@dataclass(frozen=True)
class Curve:
    """The points of one competitor with all that is needed to read them.

    changed: what differs from its defaults. floor: distance of as many real training pictures.
    trained_on, held_out: numbers of pictures. accuracy: of the judge on those held out.
    """

    name: str
    competitor: str
    changed: tuple[str, ...]
    parameters: int
    threads: int
    versions: dict[str, str]
    trained_on: int
    held_out: int
    accuracy: float
    floor: float
    points: tuple[Point, ...]

    @property
    def speed(self) -> float:
        """Pictures trained on in a second."""
        last = self.points[-1]
        return last.pictures / last.seconds

    def to_json(self) -> dict[str, Any]:
        """Return it in types that JSON has, a point as an object."""
        return {**asdict(self), "points": [point._asdict() for point in self.points]}

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        write_text(path, json.dumps(self.to_json(), indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> "Curve":
        """Return a curve from JSON; raise `InputError` where it is none."""
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            points = tuple(Point(**point) for point in told.pop("points"))
            curve = cls(**{**told, "changed": tuple(told["changed"])}, points=points)
        except (ValueError, TypeError, KeyError, AttributeError):
            raise InputError(f"{path.name}: not a curve of this benchmark") from None
        if not points:
            raise InputError(f"{path.name}: a curve without points")
        return curve


def read_curves(folder: Path) -> list[Curve]:
    """Return the curves of a folder by name; all must be of equally many samples."""
    found = [Curve.read(path) for path in sorted(folder.glob("*.json"))]
    if not found:
        raise InputError(f"{folder}: no curves there; `race` and `one` write them")
    counts = {point.samples for curve in found for point in curve.points}
    if len(counts) > 1:
        told = ", ".join(map(str, sorted(counts)))
        raise InputError(f"distances of {told} samples cannot be compared: judge all anew")
    return found


def judged_times(at: Sequence[float], seconds: float) -> list[float]:
    """Return the training times at which to judge: those asked for before the end, and the end."""
    return [*sorted({due for due in at if 0 < due < seconds}), seconds]


def in_words(seconds: float) -> str:
    """Return a time as a person says it."""
    return f"{seconds:g} s" if seconds < 60 else f"{round(seconds / 60, 2):g} min"


def table(curves: Sequence[Curve]) -> list[str]:
    """Return the lines of a markdown table, a row per curve, and a line about the floor."""
    times = sorted({point.due for curve in curves for point in curve.points})
    heads = ["name", "changed", "pictures/s", *map(in_words, times)]
    lines = [_row(heads), _row(["---", "---", *["---:"] * (len(heads) - 2)])]
    for curve in curves:
        there = {point.due: f"{point.distance:.1f}" for point in curve.points}
        told = "; ".join(curve.changed).replace("|", "\\|") or "nothing"
        cells = [there.get(time, "") for time in times]
        lines.append(_row([curve.name, told, f"{curve.speed:.0f}", *cells]))
    floors = sorted({f"{curve.floor:.1f}" for curve in curves}, key=float)
    samples = curves[0].points[0].samples
    return [*lines, "", f"{samples} real training pictures: {' and '.join(floors)}"]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
