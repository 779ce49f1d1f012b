"""What a picture set says about its pictures: class folders, metadata files and captions.

The layout is Hugging Face's imagefolder (metadata.csv, .tsv, .jsonl or .json beside or above the
pictures, with file, text and label; or one folder per class) and kohya's (`cat.txt` or
`cat.caption` beside `cat.png`). A caption goes to its picture by a certain match alone.
"""

import posixpath
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple
from unicodedata import normalize

from sd.common.text import brief, printable
from sd.common.validation import InputError, shown, text
from sd.data.reading.encodings import CALLED, OF_TEXTS, certain, guess
from sd.data.reading.files import LeftOut
from sd.data.reading.matching import Beside, Places
from sd.data.reading.names import (
    CAPTION_SUFFIXES,
    comparison_key,
    has_suffix,
    name_before_numbering,
    stem,
)
from sd.data.reading.tables import Row, Table, read_table

METADATA = ("metadata.csv", "metadata.tsv", "metadata.jsonl", "metadata.json")
LENIENT = ".json"  # many programs write a metadata.json that is another thing
SPLITS = {"train", "training", "test", "val", "valid", "validation", "dev"}
LONGEST_CAPTION = 2000  # characters
LONGEST_LABEL = 100
LONGEST_CAPTION_FILE = 64 * 1024  # bytes
SHOWN_COLUMNS = 6
WHOLE = re.compile(r"(-?\d+)\.0+")  # what pandas makes of whole numbers beside a missing one
BOXES = re.compile(
    r"(\d+( -?\d*\.?\d+){4,} ?)+"
)  # YOLO's: a class and the numbers of a box, by line


class Note(NamedTuple):
    """What is said about one picture; "" where nothing is."""

    caption: str = ""
    label: str = ""


def is_metadata(name: str) -> bool:
    """Tell whether a path is that of a metadata file."""
    return posixpath.basename(name).lower() in METADATA


def is_caption(name: str) -> bool:
    """Tell whether a path may be that of a caption beside a picture."""
    return has_suffix(name, CAPTION_SUFFIXES)


class Notes:
    """The notes of a set's `pictures`, and the rows, captions and labels that were `left_out`."""

    def __init__(
        self,
        names: Sequence[str],
        pictures: Sequence[str],
        read: Callable[[str], bytes],
        unsure: Iterable[str] = (),
    ) -> None:
        """Read all metadata files among `names` with `read`; InputError for a malformed one.

        pictures: those names that may be pictures. unsure: those that several files have, of which
        none gets a caption or label.
        """
        self.left_out: list[LeftOut] = []
        self._read = read
        self._texts = [name for name in names if is_metadata(name) or is_caption(name)]
        unsure = set(unsure)
        self._pictures = Places(name for name in pictures if name not in unsure)
        self._beside = Beside(list(filter(is_caption, names)), pictures, unsure)
        self._rows: dict[str, Row] = {}
        self._known: dict[str, Note] = {}
        self._remarks: list[str] = []
        self._unused: list[str] = []
        self._counts: Counter[str] = Counter()
        self._guessed: str | None = None  # "" where no encoding is likely
        metadata = [name for name in names if is_metadata(name)]
        for name in sorted(metadata, key=lambda name: (-name.count("/"), name)):  # nearest first
            try:
                self._take(name, read_table(name, self._decoded(read(name))))
            except InputError as error:
                if not name.lower().endswith(LENIENT):
                    raise InputError(f"{brief(name)}: {error}") from error
                self.left_out.append(LeftOut(name, str(error)))

    @property
    def labels(self) -> set[str]:
        """All labels that metadata files give, fit or not."""
        values = (row.label for row in self._rows.values())
        return {" ".join(str(_label_text(value)).split()) for value in values if value is not None}

    @property
    def captions(self) -> set[str]:
        """The caption files that lie beside a picture."""
        return self._beside.files

    @property
    def unused(self) -> list[str]:
        """What is understood and not used; whole when all pictures were asked about."""
        unused = list(self._unused)
        if count := self._counts["captioned twice"]:
            unused.append(f"{_counted(count, 'caption file')} of pictures with another caption")
        if count := self._counts["lists"]:
            unused.append(f"all but the first caption of {_counted(count, 'list')}")
        if count := self._counts["boxes"]:
            unused.append(f"{_counted(count, 'text file')} of numbers alone, as YOLO's boxes are")
        return unused

    @property
    def remarks(self) -> list[str]:
        """What else is to be said, one line each; whole when all pictures were asked about."""
        remarks = list(self._remarks)
        shares = {
            comparison_key(stem(found))
            for name in self._texts
            if (found := name_before_numbering(name))
        }
        if count := len(shares) + len(self._beside.withheld):
            remarks.append(
                f"names that several files have: {count}; no caption of theirs is used, since "
                "nobody can tell which is whose (choose their folder, or a zip)"
            )
        if count := self._counts["guessed"]:
            called = CALLED[self._guessed or OF_TEXTS[0]]
            remarks.append(
                f"guessed: {_counted(count, 'text file')} in {called}, since nothing in them says "
                "so; UTF-8 is certain"
            )
        return remarks

    def of(self, picture: str) -> Note:
        """Return what is said about a picture; what is unfit is left out, the picture is not."""
        if picture not in self._known:
            row = self._rows.get(picture)
            caption = self._fit(picture, "caption", row.caption, LONGEST_CAPTION) if row else ""
            label = self._fit(picture, "label", row.label, LONGEST_LABEL) if row else ""
            self._known[picture] = Note(self._with_files(picture, caption), label)
        return self._known[picture]

    def _take(self, name: str, table: Table) -> None:
        """Keep the rows of pictures that are there, and report how many others there were."""
        folder, label = posixpath.dirname(name), brief(name)
        strangers: list[Row] = []
        claims: dict[str, list[tuple[int, Row]]] = {}
        for row in table.rows:
            if found := self._pictures.find(row.file, folder):
                claims.setdefault(found.name, []).append((found.rank, row))
            else:
                strangers.append(row)
        again = unsure = 0
        for picture, ranked in claims.items():
            best = min(rank for rank, _ in ranked)
            first, *others = [row for rank, row in ranked if rank == best]
            strangers += [row for rank, row in ranked if rank > best]
            if best and any((row.caption, row.label) != first[2:] for row in others):
                unsure += 1
            else:
                again += len(others)
                self._rows.setdefault(picture, first)
        if strangers:
            example = f"first {shown(strangers[0].file)} in {strangers[0].place}"
            self._remarks.append(
                f"{label}: {len(strangers)} rows name no picture of this set, {example}"
            )
        if unsure:
            self._remarks.append(f"{label}: of {unsure} pictures several rows tell; none is used")
        if again:
            self._remarks.append(f"{label}: {again} rows name a picture again; the first counts")
        if table.unused:
            columns = ", ".join(brief(printable(key)) for key in table.unused[:SHOWN_COLUMNS])
            more = len(table.unused) - SHOWN_COLUMNS
            self._unused.append(f"of {label} {columns}{f' and {more} more' if more > 0 else ''}")

    def _with_files(self, picture: str, caption: str) -> str:
        """Return the caption of a picture: that of its row, else of the first file beside it."""
        for name in self._beside.of(picture):
            if caption:
                self._counts["captioned twice"] += 1
            else:
                caption = self._from_file(name)
        return caption

    def _from_file(self, name: str) -> str:
        """Return the caption in a file, or "" and a report line if it is unfit."""
        try:
            data = self._read(name)
            if len(data) > LONGEST_CAPTION_FILE:
                raise InputError(f"more than {LONGEST_CAPTION_FILE // 1024} KiB")
            line = " ".join(self._decoded(data).split())
        except InputError as error:
            self.left_out.append(LeftOut(name, str(error)))
            return ""
        if line.startswith("{\\rtf"):
            self.left_out.append(LeftOut(name, "RTF, not plain text: save it as plain text"))
            return ""
        if BOXES.fullmatch(line):
            self._counts["boxes"] += 1
            return ""
        return self._fit(name, "caption", line, LONGEST_CAPTION)

    def _decoded(self, data: bytes) -> str:
        """Return the bytes of a text file as text; InputError if no encoding is likely."""
        try:
            if (content := certain(data)) is not None:
                return content
            if self._guessed is None:
                self._guessed = guess(self._uncertain(), OF_TEXTS) or ""
            if self._guessed:
                content = data.decode(self._guessed)
                self._counts["guessed"] += 1
                return content
        except UnicodeError:
            pass
        raise InputError(
            f"line {_odd_line(data)}: not a text in UTF-8, nor in an encoding that can be guessed"
        )

    def _uncertain(self) -> Iterable[bytes]:
        """Yield the bytes of the text files that do not tell their encoding."""
        for name in self._texts:
            try:
                data = self._read(name)
                if certain(data) is None:
                    yield data
            except (InputError, UnicodeError):
                continue

    def _fit(self, name: str, kind: str, value: Any, longest: int) -> str:
        """Return a caption or label on one line, or "" and a report line if it is unfit."""
        if value is None:
            return ""
        if kind == "label":
            value = _label_text(value)
        elif isinstance(value, list) and value and all(isinstance(each, str) for each in value):
            value = value[0]
            self._counts["lists"] += 1
        try:
            line = " ".join(normalize("NFC", value).split()) if isinstance(value, str) else value
            text("it", line, longest)
        except InputError as error:
            self.left_out.append(LeftOut(f"{kind} of {name}", str(error)))
        else:
            return line
        return ""


def _label_text(label: Any) -> Any:
    """Return a label as a text: 0 and 0.0 are "0". What cannot be one stays as it is."""
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    if isinstance(label, int | float) and not isinstance(label, bool):
        return str(label)
    whole = WHOLE.fullmatch(label.strip()) if isinstance(label, str) else None
    return whole[1] if whole else label


def _odd_line(data: bytes) -> int:
    """Return the number of the first line that is not UTF-8."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return data.count(b"\n", 0, error.start) + 1
    return 1


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def class_folders(names: Sequence[str]) -> list[str]:
    """Return the class of each picture by its folder, all "" where the folders tell no classes.

    The class is the topmost folder in which the pictures differ; train, test and the like are no
    classes.
    """
    parts = _below_common([name.split("/")[:-1] for name in names])
    if parts and all(folders and folders[0].lower() in SPLITS for folders in parts):
        parts = _below_common([folders[1:] for folders in parts])
    return [folders[0] if folders else "" for folders in parts]


def _below_common(parts: list[list[str]]) -> list[list[str]]:
    """Cut from each path the folders that all paths begin with."""
    first, last = min(parts, default=[]), max(parts, default=[])
    same = [one == other for one, other in zip(first, last, strict=False)]
    depth = same.index(False) if False in same else len(same)
    return [folders[depth:] for folders in parts]
