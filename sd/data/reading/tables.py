"""Tables that tell of pictures, in the forms that trainers write: from text to rows.

metadata.csv and .tsv (by any usual separator), .jsonl, and .json: a list of objects, lines, or
kohya's object of objects by file. Columns are known by the names in use, in any case and padded.
"""

import contextlib
import csv
import io
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from sd.common.validation import InputError, shown

FILE_COLUMNS = (
    *("file_name", "filename", "file", "image", "image_path", "image_file", "image_name"),
    *("file_path", "filepath", "path", "img"),
)
CAPTION_COLUMNS = ("text", "caption", "captions", "prompt", "description", "tags")
LABEL_COLUMNS = ("label", "labels", "class", "class_name", "category")
SEPARATORS = ",\t;|"
SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\n', re.I)  # what Excel writes and reads first


class Row(NamedTuple):
    """What a table says about one file."""

    place: str  # "line 3"
    file: str
    caption: Any  # as it stands; None where nothing does
    label: Any


class Table(NamedTuple):
    """The rows of a metadata file, and the names of its columns that are not used."""

    rows: list[Row]
    unused: list[str]


Record = tuple[str, dict[str, Any]]  # where it stands, and its fields


def read_table(name: str, content: str) -> Table:
    """Return the rows of a metadata file; InputError names the line at fault."""
    content = content.replace("\r\n", "\n").replace("\r", "\n")
    suffix = name.lower().rsplit(".", 1)[-1]
    if suffix == "json":
        return _table(_documents(content))
    return _table(_lines(content) if suffix == "jsonl" else _cells(content, suffix == "tsv"))


def _table(records: Iterable[Record]) -> Table:
    """Choose the columns that are used; InputError for a record without a file."""
    rows = []
    used: set[str | None] = set()
    seen: dict[str, None] = {}  # columns that say anything, in their order
    for place, fields in records:
        given = {key: value for key, value in fields.items() if not _is_missing(value)}
        known = {_column(key): key for key in reversed(given)}
        file = next((known[each] for each in FILE_COLUMNS if each in known), None)
        if file is None or not isinstance(given[file], str):
            names = {_column(key): key for key in reversed(fields)}
            column = next((each for each in FILE_COLUMNS if each in names), FILE_COLUMNS[0])
            value = fields.get(names.get(column, ""))
            raise InputError(f"{place}: {column} = {shown(value)}: must be a path")
        caption = next((known[each] for each in CAPTION_COLUMNS if each in known), None)
        label = next((known[each] for each in LABEL_COLUMNS if each in known), None)
        rows.append(Row(place, given[file], _cell(given, caption), _cell(given, label)))
        used.update((file, caption, label))
        seen.update(dict.fromkeys(key for key in given if key.strip()))
    return Table(rows, [key for key in seen if key not in used])


def _cell(fields: Mapping[str, Any], column: str | None) -> Any:
    return None if column is None else fields[column]


@lru_cache(100)
def _column(key: str) -> str:
    """Return the name of a column as it is compared: " File-Name " is file_name."""
    return re.sub(r"[\s-]+", "_", key.strip().casefold())


def _is_missing(value: Any) -> bool:
    """Tell whether a cell is empty; pandas writes NaN where it has nothing."""
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or (isinstance(value, str) and not value.strip())


def _cells(content: str, tabs: bool) -> list[Record]:
    """Return the records of a CSV file, however it separates and quotes."""
    first, separators = 1, SEPARATORS
    if line := SEPARATOR_LINE.match(content):
        content, first, separators = content[line.end() :], 2, line[1]
    if tabs:
        separators = "\t"
    heads = {each: _head(content, each) for each in separators}
    fitting = [each for each, head in heads.items() if set(map(_column, head)) & set(FILE_COLUMNS)]
    if not fitting:
        found = shown(next(iter(heads.values())))
        raise InputError(f"line {first}: no column file_name; found {found}")
    separator, mistakes = fitting[0], []
    for written, quotes in _readings(content, separator):
        try:
            return _strict_cells(written, separator, quotes, heads[separator], first)
        except InputError as error:
            mistakes.append(error)
    raise mistakes[0]


def _readings(content: str, separator: str) -> Iterator[tuple[str, bool]]:
    """Yield a table as it stands, then as others write it, and whether its quotes enclose cells."""
    yield content, True
    yield content.replace('\\"', '""'), True
    yield re.sub('" +(?=[,;\t|\n]|$)', '"', content), True
    if separator == "\t":  # which is in no cell, so that quotes are needless
        yield content, False


def _head(content: str, separator: str) -> list[str]:
    """Return the first line's cells, or none where it is none of a table."""
    try:
        return next(_reader(content, separator), [])
    except csv.Error:
        return []


def _reader(content: str, separator: str, quotes: bool = True) -> Any:
    usual: dict[str, Any] = {"delimiter": separator, "skipinitialspace": True, "strict": True}
    usual["quoting"] = csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE
    return csv.reader(io.StringIO(content, newline=""), **usual)


def _strict_cells(
    content: str, separator: str, quotes: bool, columns: Sequence[str], first: int
) -> list[Record]:
    """Return the records of a table whose lines begin with number `first`."""
    reader, records = _reader(content, separator, quotes), []
    place = ""
    try:
        next(reader)
        for cells in reader:
            place = f"line {reader.line_num + first - 1}"
            if any(cell.strip() for cell in cells[len(columns) :]):
                raise InputError(
                    f"{place}: {len(cells)} cells in {len(columns)} columns "
                    "(a text that holds what separates the columns needs quotes)"
                )
            if any(cells):
                records.append((place, dict(zip(columns, cells, strict=False))))
    except csv.Error as error:
        raise InputError(f"line {reader.line_num + first - 1}: {error}") from error
    return records


def _lines(content: str) -> list[Record]:
    """Return the records of JSON lines; a list of objects is taken as well."""
    try:
        return list(_strict_lines(content))
    except InputError:
        with contextlib.suppress(InputError, ValueError, RecursionError):
            if content.lstrip().startswith("["):
                return _documents(content)
        raise


def _strict_lines(content: str) -> Iterator[Record]:
    for number, line in enumerate(content.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"line {number}: not a line of JSON") from error
        if not isinstance(fields, dict):
            raise InputError(f"line {number}: must be an object, {{...}}")
        yield f"line {number}", fields


def _documents(content: str) -> list[Record]:
    """Return the records of a JSON file; InputError if it is no table of files that is known."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return list(_strict_lines(content))
    if isinstance(value, dict) and {"images", "annotations"} <= value.keys():
        raise InputError("COCO's annotations, which are not read")
    if isinstance(value, dict) and not set(map(_column, value)) & set(FILE_COLUMNS):
        if all(isinstance(each, str) for each in value.values()):
            value = {key: {"text": each} for key, each in value.items()}
        if all(isinstance(each, dict) for each in value.values()):
            value = [{FILE_COLUMNS[0]: key} | _without_file(each) for key, each in value.items()]
    records = value if isinstance(value, list) else [value]
    if not all(isinstance(each, dict) for each in records):
        raise InputError("no table of pictures in a form that is known")
    return [(f"entry {number}", each) for number, each in enumerate(records, start=1)]


def _without_file(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of an entry whose key is its file, without other columns for that."""
    return {key: value for key, value in fields.items() if _column(key) not in FILE_COLUMNS}
