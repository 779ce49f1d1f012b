"""What a picture set holds, every file that is not used and why, and what fitting it will cut."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from sd.common.text import brief
from sd.common.validation import InputError, text, whole
from sd.data.decoding.decoder import crop_box
from sd.data.reading.files import MOST_FILES, LeftOut

MOST_SHOWN = 20  # left-out names in the lines of a report
SHOWN_GROUPS = 5  # groups of equal pictures in the lines of a report
LONGEST_LINE = 300
LONGEST_TEXT = 10_000  # characters of one text in a report from outside


class Cut(NamedTuple):
    """What cropping to one aspect takes away, as shares of a picture's area."""

    pictures: int  # that lose something
    mean_share: float  # over all pictures
    worst_share: float


@dataclass(frozen=True)
class Report:
    """What a picture set holds, and every file that is not used."""

    used: int
    left_out: tuple[LeftOut, ...]
    sizes: dict[tuple[int, int], int]  # original (width, height), upright -> pictures
    modes: dict[str, int]  # Pillow's mode of the file -> pictures
    classes: dict[str, int]  # label -> pictures, in the order of label_names
    captions: int  # pictures that have one
    remarks: tuple[str, ...]  # what else is to be said, one line each
    duplicates: tuple[tuple[str, ...], ...] = ()  # names of pictures whose fitted pixels are equal
    wordings: int = 0  # different captions; 0 where that is not known

    def lines(self) -> list[str]:
        """Return the report as short lines; at most 20 left-out files by name."""
        lines = [f"pictures used: {self.used}", f"sizes: {_list_counts(_sizes(self.sizes))}"]
        lines.append(f"modes: {_list_counts(self.modes)}")
        if self.classes:
            lines.append(f"classes: {len(self.classes)}; {_list_counts(self.classes)}")
        if self.captions:
            lines.append(f"captions: {self.captions}{self._untold()}")
        lines.append(f"a model can be told: {self._tellable()}")
        lines += [*self.remarks, *self._duplicate_lines(), *self._left_out_lines()]
        return [
            line if len(line) <= LONGEST_LINE else line[: LONGEST_LINE - 1] + "…" for line in lines
        ]

    def _untold(self) -> str:
        """Return how many pictures train without words beside those with captions."""
        rest = self.used - self.captions
        return f"; the other {rest} train without words" if rest else ""

    def _tellable(self) -> str:
        """Return what conditioning.kind can choose among, first what auto takes."""
        kinds = ["the captions"] if self.captions else []
        kinds += ["the classes"] if len(self.classes) > 1 else []
        return " (auto) or ".join(kinds) or "nothing but the time, without captions or two classes"

    def _duplicate_lines(self) -> list[str]:
        """Return how many pictures repeat another, and the largest groups by name."""
        if not self.duplicates:
            return []
        more = sum(len(group) - 1 for group in self.duplicates)
        lines = [f"duplicates: {more} of {self.used} repeat another picture"]
        groups = sorted(self.duplicates, key=len, reverse=True)[:SHOWN_GROUPS]
        for group in groups:
            names = ", ".join(brief(name) for name in group[:3])
            rest = f" and {len(group) - 3} more" if len(group) > 3 else ""
            lines.append(f"  the same: {names}{rest}")
        if len(self.duplicates) > SHOWN_GROUPS:
            lines.append(f"  and {len(self.duplicates) - SHOWN_GROUPS} more groups")
        return lines

    def _left_out_lines(self) -> list[str]:
        if not self.left_out:
            return []
        lines = [f"left out: {len(self.left_out)}"]
        lines += [f"  {brief(left.name)}: {left.reason}" for left in self.left_out[:MOST_SHOWN]]
        if len(self.left_out) > MOST_SHOWN:
            lines.append(f"  and {len(self.left_out) - MOST_SHOWN} more")
        return lines

    def cut(self, height: int, width: int, fit: str) -> Cut:
        """Return what bringing the pictures to height x width cuts off; only "crop" cuts."""
        if fit != "crop" or not self.sizes:
            return Cut(0, 0.0, 0.0)
        shares = {size: _cut_share(*size, height, width) for size in self.sizes}
        total = sum(self.sizes.values())
        return Cut(
            sum(count for size, count in self.sizes.items() if shares[size]),
            sum(shares[size] * count for size, count in self.sizes.items()) / total,
            max(shares.values()),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the whole report, with every left-out file, in types that JSON has."""
        left_out = [left._asdict() for left in self.left_out]
        return {**asdict(self), "sizes": _sizes(self.sizes), "left_out": left_out}

    @classmethod
    def from_json(cls, data: Any) -> "Report":
        """Return the report that `to_json` wrote; InputError if it is none."""
        try:
            return cls(
                used=whole("used", data["used"], 0, MOST_FILES),
                left_out=tuple(
                    LeftOut(_check_text(left["name"]), _check_text(left["reason"]))
                    for left in _check_list(data["left_out"])
                ),
                sizes={_size(name): n for name, n in _counts(data["sizes"]).items()},
                modes=_counts(data["modes"]),
                classes=_counts(data["classes"]),
                captions=whole("captions", data["captions"], 0, MOST_FILES),
                remarks=_check_texts(data["remarks"]),
                duplicates=tuple(_check_texts(group) for group in _check_list(data["duplicates"])),
                wordings=whole("wordings", data.get("wordings", 0), 0, MOST_FILES),
            )
        except (InputError, LookupError, TypeError, AttributeError, ValueError) as error:
            raise InputError("the report of the pictures is damaged") from error


def _cut_share(width: int, height: int, to_height: int, to_width: int) -> float:
    """Return the share of a picture's area that lies outside its largest box of an aspect."""
    kept_height, kept_width = crop_box(width, height, to_height, to_width)
    return 1 - kept_height * kept_width / (height * width)


def _sizes(sizes: Mapping[tuple[int, int], int]) -> dict[str, int]:
    return {f"{width} x {height}": count for (width, height), count in sizes.items()}


def _size(name: str) -> tuple[int, int]:
    width, height = name.split(" x ")
    return int(width), int(height)


def _list_counts(counts: Mapping[str, int]) -> str:
    """Return "a (3), b (2) and 4 more", the most frequent first."""
    ordered = Counter(counts).most_common()
    line = ", ".join(f"{name} ({count})" for name, count in ordered[:8])
    return line + (f" and {len(ordered) - 8} more" if len(ordered) > 8 else "")


def _check_text(value: Any) -> str:
    return text("it", value, LONGEST_TEXT)


def _check_texts(value: Any) -> tuple[str, ...]:
    return tuple(_check_text(each) for each in _check_list(value))


def _check_list(value: Any) -> list[Any] | tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise TypeError("no list")
    return value


def _counts(value: Any) -> dict[str, int]:
    return {_check_text(name): whole("count", n, 0, MOST_FILES) for name, n in value.items()}
