"""Reads a source once: its pictures fitted, one after the other, and the description of the set.

A source is a folder, a zip, one picture or the word of a bundled set. Whoever reads keeps the
pixels: in memory (`sd.data.image_set`) or on disk (`sd.data.ingest`); here only a few are held at
any time.
"""

import os
import posixpath
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from sd.common.marks import (
    REASON,
    RUN_REASON,
    is_marked,
    is_run,
    is_within,
    remark,
    run_folders,
)
from sd.common.paths import PACKAGE
from sd.common.text import brief, printable
from sd.common.validation import InputError, near, shown
from sd.data.decoding import depth
from sd.data.decoding.decoder import (
    BROKEN_PROFILE,
    FRAMES,
    PROFILE,
    TRANSPARENT,
    Decoded,
    begins_well,
    decode,
    explain_reason,
)
from sd.data.decoding.depth import Scale, Span
from sd.data.decoding.pool import Fit, decode_and_fit, decode_and_fit_all
from sd.data.reading.archive import ARCHIVE_SUFFIXES, INNER, Archive, is_archive
from sd.data.reading.files import TWICE, Folder, LeftOut, Listing, SingleFile
from sd.data.reading.metadata import LENIENT, Notes, class_folders, is_caption, is_metadata
from sd.data.reading.names import has_suffix, name_before_numbering
from sd.data.reading.report import Report

NOTICE = re.compile(
    r"(.*/)?(licen[cs]e|notice|readme|source|credits|copying)[^/.]*(\.(txt|md|rst|html))?", re.I
)
BUNDLED_SETS = {  # word -> file in starter/
    "starter": "emoji64.zip",
    "shapes": "shapes32.zip",
    "shapes128": "shapes128.zip",
}
REPORT_EVERY, REPORT_SECONDS = 64, 0.5  # pictures, or time, between two reports of how far it is
DATA = (  # of other programs, beside pictures: counted
    *(".json", ".npz", ".npy", ".pt", ".pth", ".safetensors", ".xml", ".yaml", ".yml", ".toml"),
    *(".xmp", ".aae", ".thm", ".log", ".md", ".ini", ".cfg", ".db", ".py", ".js", ".css"),
)
LISTS = re.compile(
    r"(.*/)?(captions?|labels?|prompts?|tags|descriptions?|metadata|metadata\.[a-z]+)\.(txt|json)",
    re.IGNORECASE,
)
DOCUMENTS = (".doc", ".docx", ".odt", ".rtf", ".pages")
TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".xlsx", ".xls", ".ods")
PARQUET = (".parquet", ".arrow", ".feather")
SHARED = "several files have its name"
LONELY = "a text beside no picture of its name"
OTHER_TABLE = "a table of another name: captions and labels are read from metadata.csv or .jsonl"
UNDOUBTED = (".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")  # of pictures, and not ours
SOUND = 64  # pixels of a side that tell that a file is a picture


class SetDescription(NamedTuple):
    """What is told of the pictures that are used; entry n of each is about picture n of those."""

    rows: list[int]  # their places among all that were yielded
    names: list[str]
    labels: list[str]  # empty where any picture has none
    captions: list[str]
    report: Report


class SetCounts(NamedTuple):
    """What is told of a set without reading it all."""

    pictures: int
    captions: int  # pictures that have one
    classes: int  # 0 where any picture has none


class SourceReader:
    """Reads a listing once: yields its pictures and notes what is to be reported."""

    def __init__(self, source: str, listing: Listing, classes: Sequence[str] | None = None) -> None:
        """Find what may be a picture; InputError for classes that no folder or file tells of."""
        self._source = source
        self._listing = listing
        self._classes = classes = None if classes is None else [*map(printable, classes)]
        self._left_out = list(listing.left_out)
        self._found: list[_ReadPicture] = []
        for name, reason in filter(lambda left: is_metadata(left.name), listing.left_out):
            if not name.lower().endswith(LENIENT):
                raise InputError(f"{brief(name)}: {reason}")
        runs = run_folders(listing.names)
        self._left_out += [LeftOut(folder, RUN_REASON) for folder in sorted(runs)]
        names = [name for name in listing.names if not is_within(name, runs)]
        self._unused: Counter[str] = Counter()  # suffix -> files beside the pictures
        self.candidates = sorted(self._candidates(names), key=natural_order)
        unsure = [left.name for left in listing.left_out if left.reason == TWICE]
        self._notes = Notes(names, self.candidates, listing.read, unsure)
        self._lonely(names)
        folders = {part for name in self.candidates for part in name.split("/")[:-1]}
        _check_classes(classes, folders | self._notes.labels)

    def _candidates(self, names: Sequence[str]) -> Iterator[str]:
        """Yield what may be a picture: no metadata, caption, notice, nor other data."""
        for name in names:
            if is_metadata(name) or is_caption(name) or NOTICE.fullmatch(name):
                continue
            if LISTS.fullmatch(name):
                self._left_out.append(LeftOut(name, OTHER_TABLE))
            elif has_suffix(name, DATA):
                self._unused[posixpath.splitext(name)[1].lower()] += 1
            elif reason := _known_kind(name):
                self._left_out.append(LeftOut(name, reason))
            else:
                yield name

    def _lonely(self, names: Sequence[str]) -> None:
        """Leave out what would be captions if they lay beside a picture."""
        for name in filter(is_caption, names):
            if name not in self._notes.captions and not NOTICE.fullmatch(name):
                lonely = OTHER_TABLE if LISTS.fullmatch(name) else LONELY
                self._left_out.append(
                    LeftOut(name, SHARED if name_before_numbering(name) else lonely)
                )

    def pixels(self, wanted: Fit) -> Iterator[bytes | None]:
        """Yield each candidate as bytes of uint8 [C, H, W], or None where it is no usable picture.

        Raises InputError if none is usable.
        """
        results = decode_and_fit_all(self.candidates, self._listing.read, wanted)
        with closing(results):
            for name, result in zip(self.candidates, results, strict=True):
                if result.reason:
                    self._left_out.append(LeftOut(name, explain_reason(result.reason, name)))
                    yield None
                else:
                    self._found.append(_ReadPicture(name, *result[2:]))
                    yield result.pixels
        if not self._found:
            if is_run(self._listing.names):
                raise InputError(
                    f"{self._source}: {RUN_REASON}, no set of pictures; python -m sd info tells "
                    "what it is"
                )
            raise InputError(f"{self._source}: no picture could be read{self._first_left_out()}")

    def rescale(self, wanted: Fit) -> Iterator[tuple[int, bytes]]:
        """Yield the place among the found pictures, and the new pixels, of those to be read again.

        Of these the values of all pictures together have another scale than each alone.
        """
        scales = depth.scales_of(each.span for each in self._found if each.span)
        for row, each in enumerate(self._found):
            if each.span is None or each.span.scale() == scales[each.span.whole]:
                continue
            again = decode_and_fit(self._listing.read(each.name), wanted, scales[each.span.whole])
            if again.reason:
                raise InputError(f"{brief(each.name)}: changed while it was read ({again.reason})")
            self._found[row] = each._replace(digest=again.digest)
            yield row, again.pixels

    def picture(self, name: str, enough: int, scale: Scale | None = None) -> Decoded:
        """Return one candidate, not fitted, with both sides at least `enough` if it is larger.

        `scale` as for `sd.data.decoding.decoder.decode`. Raises InputError if it is no usable
        picture.
        """
        data = self._listing.read(name)
        if is_marked(data):
            raise InputError(REASON)
        return decode(data, enough, scale)

    def _begins_well(self, name: str) -> bool:
        """Tell by its first bytes, where its name leaves a doubt, whether a file is a picture.

        One that this program made does not count.
        """
        if has_suffix(name, UNDOUBTED):
            return True
        try:
            head = self._listing.head(name)
        except InputError:
            return False
        return begins_well(head) and not is_marked(head)

    def _first_left_out(self) -> str:
        if not self._left_out:
            return f"; it holds {self._unused_files() or 'none'}"
        name, reason = min(self._left_out, key=lambda left: natural_order(left.name))
        return f": {len(self._left_out)} left out, first {brief(name)} ({reason})"

    def counts(self) -> SetCounts:
        """Return what a plan needs to know, of which few pictures are read.

        So a file that begins as a picture counts though it may prove damaged.
        """
        names = [name for name in self.candidates if self._begins_well(name)]
        count, captions = len(names), sum(bool(self._notes.of(name).caption) for name in names)
        sound: dict[str, bool] = {}  # whether a file that decides proved to be a picture
        while True:
            groups: dict[str, list[str]] = {}
            for name, label in zip(names, self._labelled(names), strict=True):
                groups.setdefault(label, []).append(name)
            broken: set[str] = set()
            for group in groups.values():
                broken.update(takewhile(lambda name: not self._is_sound(name, sound), group))
            if not broken:
                return SetCounts(count, captions, 0 if "" in groups else len(groups))
            names = [name for name in names if name not in broken]

    def _labelled(self, names: Sequence[str]) -> list[str]:
        """Return the label of each picture, "" where it has none."""
        noted = [self._notes.of(name).label for name in names]
        pairs = zip(noted, class_folders(names), strict=True)
        return [label or folder for label, folder in pairs]

    def _is_sound(self, name: str, known: dict[str, bool]) -> bool:
        """Tell whether a file is a picture; `known` keeps the answer."""
        if name not in known:
            try:
                self.picture(name, SOUND)
                known[name] = True
            except InputError:
                known[name] = False
        return known[name]

    def describe(self) -> SetDescription:
        """Return labels, captions and report of the pictures of the wanted classes."""
        notes = [self._notes.of(each.name) for each in self._found]
        labels, remarks = self._labels()
        rows = self._chosen(labels)
        found = [self._found[row] for row in rows]
        labels = [labels[row] for row in rows] if labels else []
        captions = [notes[row].caption for row in rows]
        classes = Counter(labels)
        if len(rows) < len(notes):
            remarks.append(f"of other classes: {len(notes) - len(rows)} pictures, not used")
        left_out = [*self._left_out, *self._notes.left_out]
        ours = Counter(left.reason for left in left_out)
        if ours[REASON] or ours[RUN_REASON]:
            remarks.append(remark(ours[REASON], ours[RUN_REASON]))
        report = Report(
            used=len(rows),
            left_out=tuple(sorted(left_out, key=lambda left: natural_order(left.name))),
            sizes=dict(Counter(each.size for each in found).most_common()),
            modes=dict(Counter(each.mode for each in found).most_common()),
            classes={label: classes[label] for label in sorted(classes, key=natural_order)},
            captions=sum(map(bool, captions)),
            remarks=(
                *self._listing.remarks,
                *self._notes.remarks,
                *remarks,
                *_remarks(found),
                *self._not_used(),
            ),
            duplicates=_group_duplicates(found),
            wordings=len(set(filter(None, captions))),
        )
        return SetDescription(rows, [each.name for each in found], labels, captions, report)

    def _not_used(self) -> list[str]:
        """Return in one line what was understood and is not used, if anything."""
        files = self._unused_files()
        unused = [*self._notes.unused, *([files] if files else [])]
        return [f"not used: {'; '.join(unused)}"] if unused else []

    def _unused_files(self) -> str:
        """Return in words how many files of each kind are not used, "" where there are none."""
        counts = sorted(self._unused.items(), key=lambda pair: (-pair[1], pair[0]))
        listed = ", ".join(f"{each} ({count})" for each, count in counts)
        return f"files {listed}" if counts else ""

    def _labels(self) -> tuple[list[str], list[str]]:
        """Return the label of every picture, or none at all and a remark if some have none."""
        labels = self._labelled([each.name for each in self._found])
        if all(labels):
            return labels, []
        remark = f"the labels are not used: {labels.count('')} of {len(labels)} pictures have none"
        return [], [remark] if any(labels) else []

    def _chosen(self, labels: Sequence[str]) -> list[int]:
        """Return the places of the pictures of the wanted classes."""
        if self._classes is None:
            return list(range(len(self._found)))
        _check_classes(self._classes, labels)
        return [row for row, label in enumerate(labels) if label in self._classes]


class Pace:
    """Says when it is time to report how far a reading is."""

    def __init__(self) -> None:
        self._reported = time.monotonic()

    def due(self, done: int) -> bool:
        """Tell whether to speak after `done` pictures: every 64 of them, or every half second."""
        now = time.monotonic()
        if done % REPORT_EVERY and now - self._reported < REPORT_SECONDS:
            return False
        self._reported = now
        return True


class _ReadPicture(NamedTuple):
    """A picture that was read."""

    name: str
    mode: str
    size: tuple[int, int]
    digest: str
    notes: tuple[str, ...]
    span: Span | None


REMARKS = {
    TRANSPARENT: "transparency: {n} of {total} pictures, laid on white unless unet.channel = 4",
    FRAMES: "animations or pages: {n} of {total} pictures, of which the first frame is used",
    PROFILE: "colour profiles: {n} of {total} pictures, brought to sRGB",
    BROKEN_PROFILE: "colour profiles that cannot be read: {n} of {total} pictures, taken as sRGB",
}


def _remarks(found: Sequence[_ReadPicture]) -> list[str]:
    """Return a line for each thing that was done to pictures so that they can be used."""
    counts = Counter(note for each in found for note in each.notes)
    lines = [
        line.format(n=counts[note], total=len(found))
        for note, line in REMARKS.items()
        if counts[note]
    ]
    return lines + depth.remarks([each.span for each in found if each.span])


def _known_kind(name: str) -> str | None:
    """Return why a file is not used whose name tells what it is, or None."""
    given = name_before_numbering(name)
    if given and is_metadata(given):
        return SHARED
    if has_suffix(name, PARQUET):
        return "a Parquet table, which is not read: write files, and their columns as metadata.csv"
    if has_suffix(name, TABLES):
        return OTHER_TABLE
    if has_suffix(name, DOCUMENTS):
        return "a document, which is not read: captions are plain texts, in .txt"
    if has_suffix(name, ARCHIVE_SUFFIXES):
        return INNER
    return None


def _group_duplicates(found: Iterable[_ReadPicture]) -> tuple[tuple[str, ...], ...]:
    """Return the names of equal pictures, in the order of the first of each group."""
    groups: dict[str, list[str]] = {}
    for each in found:
        groups.setdefault(each.digest, []).append(each.name)
    return tuple(tuple(names) for names in groups.values() if len(names) > 1)


def _check_classes(classes: Sequence[str] | None, known: Iterable[str]) -> None:
    """Refuse a wanted class that is not among the known ones."""
    names = sorted(set(known), key=natural_order)
    for wanted in classes or ():
        if wanted not in names:
            listed = ", ".join(map(brief, names[:8])) + (" ..." if len(names) > 8 else "")
            there = f"these pictures have {listed}" if names else "these pictures have no classes"
            raise InputError(f"class {shown(wanted)}: {there}{near(wanted, names)}")


def natural_order(name: str) -> tuple[str, str]:
    """Return a key that sorts names as a person does, 2 before 10."""
    return re.sub("[0-9]+", lambda digits: digits[0].zfill(20), name), name


def starter_path() -> Path:
    """Return the bundled picture set: 1,292 emoji of 64 x 64 with labels and captions."""
    return bundled_path("starter")


def bundled_path(word: str) -> Path:
    """Return the zip of a bundled picture set by its word, one of `BUNDLED_SETS`."""
    return PACKAGE / "data" / "starter" / BUNDLED_SETS[word]


@contextmanager
def open_source(
    source: str | Path, leave_out: Sequence[Path] = (), classes: Sequence[str] | None = None
) -> Iterator[SourceReader]:
    """Open a source to read it once; InputError if it cannot be read."""
    listing = _open_listing(source, leave_out)
    try:
        yield SourceReader(_label_of_source(source), listing, classes)
    finally:
        listing.close()


def _label_of_source(source: str | Path) -> str:
    """Return how messages call a source: its name without the folders above it."""
    return brief(printable(Path(source).name)) or "the picture folder"


def _open_listing(source: str | Path, leave_out: Sequence[Path]) -> Listing:
    """Return the files of a source; InputError if there are none to be had."""
    if isinstance(source, str) and source in BUNDLED_SETS:
        return Archive(bundled_path(source))
    if not str(source).strip():
        raise InputError(
            "no pictures are named: give a folder, a zip, or the word starter or shapes"
        )
    path, label = Path(source), _label_of_source(source)
    try:
        if os.path.isdir(path):
            return Folder(path, leave_out)
        if os.path.isfile(path):
            return Archive(path) if is_archive(path) else SingleFile(path)
    except OSError as error:
        raise InputError(f"{label}: cannot be opened ({error.strerror})") from error
    raise InputError(f"{label}: no such folder, zip or picture (nor the word starter or shapes)")
