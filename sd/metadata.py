"""What a picture set says about its pictures: class folders, metadata files and captions.

The layout is Hugging Face's imagefolder (metadata.csv or .jsonl beside or above the pictures, with
file_name, text and label; or one folder per class) and kohya's (`cat.txt` beside `cat.png`).
"""

import csv
import io
import json
import posixpath
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from sd.files import LeftOut, brief, printable
from sd.gate import InputError, shown, text

METADATA = ("metadata.csv", "metadata.jsonl")
SPLITS = {"train", "training", "test", "val", "valid", "validation", "dev"}
LONGEST_CAPTION = 2000  # characters
LONGEST_LABEL = 100
LONGEST_CAPTION_FILE = 64 * 1024  # bytes


class Note(NamedTuple):
    """What is said about one picture; "" where nothing is."""

    caption: str = ""
    label: str = ""


class Row(NamedTuple):
    """One line of a metadata file."""

    line: int
    fields: dict[str, Any]


def is_metadata(name: str) -> bool:
    """Tell whether a path is that of a metadata file."""
    return posixpath.basename(name).lower() in METADATA


def caption_file(name: str) -> str:
    """Return the path where a picture's caption would lie."""
    return posixpath.splitext(name)[0] + ".txt"


class Notes:
    """The notes of a set's `pictures`, and the rows, captions and labels that were `left_out`."""

    def __init__(self, names: Sequence[str], read: Callable[[str], bytes]) -> None:
        """Read all metadata files among `names` with `read`; InputError for a malformed one."""
        self.left_out: list[LeftOut] = []
        self.remarks: list[str] = []
        self._read = read
        self._names = set(names)
        self._rows: dict[str, dict[str, Any]] = {}
        metadata = [name for name in names if is_metadata(name)]
        for name in sorted(metadata, key=lambda name: (-name.count("/"), name)):  # nearest first
            try:
                self._take(name, _rows(name, read(name)))
            except InputError as error:
                raise InputError(f"{brief(name)}: {error}") from error

    @property
    def labels(self) -> set[str]:
        """All labels that metadata files give, fit or not."""
        values = (row.get("label") for row in self._rows.values())
        return {" ".join(str(value).split()) for value in values if value is not None}

    def of(self, picture: str) -> Note:
        """Return what is said about a picture; what is unfit is left out, the picture is not."""
        row = self._rows.get(picture, {})
        caption = self._fit(picture, "caption", row.get("text"), LONGEST_CAPTION)
        label = self._fit(picture, "label", row.get("label"), LONGEST_LABEL)
        return Note(caption or self._beside(picture), label)

    def _take(self, name: str, rows: Iterator[Row]) -> None:
        """Keep the rows of pictures that are there, and report how many others there were."""
        strangers = []
        for line, fields in rows:
            file = fields.get("file_name")
            if not isinstance(file, str) or not file:
                raise InputError(f"line {line}: file_name = {shown(file)}: must be a path")
            path = posixpath.join(posixpath.dirname(name), printable(file.replace("\\", "/")))
            path = posixpath.normpath(path)
            if path in self._names:
                self._rows.setdefault(path, fields)
            else:
                strangers.append(f"first {shown(file)} in line {line}")
        if strangers:
            self.remarks.append(
                f"{brief(name)}: {len(strangers)} rows name no picture of this set, {strangers[0]}"
            )

    def _beside(self, picture: str) -> str:
        """Return the caption in the `.txt` beside a picture, or ""."""
        name = caption_file(picture)
        if name not in self._names:
            return ""
        try:
            data = self._read(name)
            caption = data[:LONGEST_CAPTION_FILE].decode("utf-8-sig")
        except (InputError, UnicodeDecodeError):
            self.left_out.append(LeftOut(name, "not a text in UTF-8"))
            return ""
        return self._fit(name, "caption", caption, LONGEST_CAPTION)

    def _fit(self, name: str, kind: str, value: Any, longest: int) -> str:
        """Return a caption or label on one line, or "" and a report line if it is unfit."""
        if isinstance(value, int) and not isinstance(value, bool) and kind == "label":
            value = str(value)
        if value is None:
            return ""
        try:
            line = " ".join(value.split()) if isinstance(value, str) else value
            text("it", line, longest)
        except InputError as error:
            self.left_out.append(LeftOut(f"{kind} of {name}", str(error)))
        else:
            return line
        return ""


def _rows(name: str, data: bytes) -> Iterator[Row]:
    """Yield the rows of a metadata file; InputError names the line at fault."""
    try:
        content = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"line {line}: not a text in UTF-8") from error
    return _csv_rows(content) if name.lower().endswith("csv") else _json_rows(content)


def _csv_rows(content: str) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(content, newline=""), strict=True)
    try:
        columns = next(reader, [])
        if "file_name" not in columns:
            raise InputError(f"line 1: no column file_name; found {shown(columns)}")
        for cells in reader:
            if len(cells) > len(columns):
                raise InputError(
                    f"line {reader.line_num}: {len(cells)} cells in {len(columns)} columns"
                )
            if cells:
                yield Row(reader.line_num, dict(zip(columns, cells, strict=False)))
    except csv.Error as error:
        raise InputError(f"line {reader.line_num}: {error}") from error


def _json_rows(content: str) -> Iterator[Row]:
    for number, line in enumerate(content.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"line {number}: not a line of JSON") from error
        if not isinstance(fields, dict):
            raise InputError(f"line {number}: must be an object, {{...}}")
        yield Row(number, fields)


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
