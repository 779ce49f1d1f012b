"""What each kind of field can hold: the table by which the page reads all that is sent to it.

So a handler gets what its fields can hold, and whoever sends anything else gets one line. gradio's
own `preprocess` is not asked: it fetches and copies the files that a value names before it looks at
them, and answers a wrong value with many lines.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import gradio as gr

from sd.common import validation
from sd.common.validation import InputError
from sd.config.fields import LONGEST_PATH
from sd.data.reading.archive import LONGEST_ARCHIVE
from sd.data.reading.files import MOST_FILES
from sd.ui.adapter import unused_uploads
from sd.ui.adapter.served_files import FILE_DATA, folder
from sd.ui.texts import PREFIX, TEXTS

FARTHEST = 2**53  # beyond it a browser's numbers are no longer exact
LONGEST_TEXT = 10_000  # characters of a text field that says no length of its own
LONGEST_WORD, MOST_WORDS = 200, 1000  # of what is chosen from a list
LONGEST_VALUE, DEEPEST = 2**22, 20  # characters and values of one input together; lists in lists

Check = Callable[[Any, str, Any], Any]  # (field, its name, what was sent) -> value, or `InputError`


@runtime_checkable
class Reads(Protocol):
    """A component of our own that reads what was sent for it itself.

    With `takes_files` it also judges how much that is.
    """

    def read_sent(self, name: str, value: Any) -> Any:
        """Return the value that handlers get; raise `InputError` where it can be none."""


class Upload(str):
    """The path of an uploaded file, and what it was called where it comes from.

    On its way gradio takes characters out of a name, cuts it at 200 bytes and drops the folders.
    """

    original_name: str


def original_name(file: str) -> str:
    """Return what a file was called: its name, or its path below a folder that was chosen."""
    return file.original_name if isinstance(file, Upload) else Path(file).name


def read_value(field: Any, value: Any) -> Any:
    """Return the value that was sent for a field; raise `InputError` where it cannot hold it."""
    name = name_of(field)
    if isinstance(field, Reads):
        if not getattr(field, "takes_files", False):
            check_size(name, value)
        return field.read_sent(name, value)
    check = CHECKS[type(field)]
    if check is not check_files:
        check_size(name, value)
    return check(field, name, value)


def name_of(field: Any) -> str:
    """Return how a field is called in a message: its English label, else its kind."""
    label = getattr(field, "label", None)
    key = str(getattr(label, "key", "")).removeprefix(PREFIX)
    words = TEXTS["en"].get(key, label)
    return words if isinstance(words, str) and words else type(field).__name__.lower()


def check_size(name: str, value: Any) -> None:
    """Raise `InputError` where JSON is larger or deeper than any field's, or names a file."""
    left, size = [(value, 0)], 0
    while left:
        each, depth = left.pop()
        if isinstance(each, dict) and {"path", "meta"} <= each.keys():
            raise InputError(f"{name} = {validation.shown(each)}: must not be a file")
        size += len(each) if isinstance(each, str) else 1
        if size > LONGEST_VALUE:
            raise InputError(f"{name}: more than {LONGEST_VALUE} characters")
        if depth > DEEPEST:
            raise InputError(f"{name}: more than {DEEPEST} lists within each other")
        if isinstance(each, dict):
            size += sum(map(len, each))
            left += [(child, depth + 1) for child in each.values()]
        elif isinstance(each, list):
            left += [(child, depth + 1) for child in each]


def check_number(field: Any, name: str, value: Any) -> Any:
    """Return a number within the field's bounds; whole where the field shows no decimals."""
    low = -FARTHEST if field.minimum is None else field.minimum
    high = FARTHEST if field.maximum is None else field.maximum
    if field.precision == 0:
        return validation.whole(name, value, round(low), round(high))
    validation.real(name, value, low, high)
    return value


def check_number_or_none(field: Any, name: str, value: Any) -> Any:
    """Return a number, or None from an empty field."""
    return None if value is None else check_number(field, name, value)


def check_word(field: Any, name: str, value: Any) -> str:
    """Return a word of the field's list; any word where the list is open or still empty."""
    allowed = [each for _, each in field.choices]
    if allowed and not getattr(field, "allow_custom_value", False):
        return validation.choice(name, value, allowed)
    return validation.text(name, value, LONGEST_WORD)


def check_words(field: Any, name: str, value: Any) -> list[str] | None:
    """Return several words of the field's list, or None."""
    if value is None:
        return None
    if not isinstance(value, list) or len(value) > MOST_WORDS:
        shown = validation.shown(value)
        raise InputError(f"{name} = {shown}: must be a list of at most {MOST_WORDS} words")
    return [check_word(field, name, each) for each in value]


def check_choice(field: Any, name: str, value: Any) -> Any:
    """Return one word of the field's list, or several where it takes several; None is none."""
    if value is None or not getattr(field, "multiselect", False):
        return None if value is None else check_word(field, name, value)
    return check_words(field, name, value)


def check_flag(field: Any, name: str, value: Any) -> bool:
    """Return True or False."""
    return validation.flag(name, value)


def check_text(field: Any, name: str, value: Any) -> str | None:
    """Return a text that is not longer than the field, or None."""
    longest = LONGEST_TEXT if field.max_length is None else field.max_length
    return None if value is None else validation.text(name, value, longest)


def check_json(field: Any, name: str, value: Any) -> Any:
    """Return what a component of our own sent; whoever handles it knows what that may be."""
    return value


def check_files(field: Any, name: str, value: Any) -> Upload | list[Upload] | None:
    """Return an uploaded file, or a list of them where the field takes several; None is none."""
    if value is None:
        return None
    several = field.file_count != "single"
    uploads = read_uploads(name, value if several and isinstance(value, list) else [value])
    return uploads if several else uploads[0]


def read_uploads(name: str, records: Iterable[Any]) -> list[Upload]:
    """Return the uploaded files that gradio's records name; raise `InputError`."""
    sent = list(records)
    if len(sent) > MOST_FILES:
        raise InputError(f"{name}: {len(sent)} files; at most {MOST_FILES} are allowed")
    uploads = [upload(name, each) for each in sent]
    size = sum(Path(each).stat().st_size for each in uploads)
    if size > LONGEST_ARCHIVE:
        raise InputError(f"{name}: {size} bytes; at most {LONGEST_ARCHIVE} are allowed")
    return uploads


def upload(name: str, value: Any) -> Upload:
    """Return the uploaded file that gradio's record of one names; raise `InputError`."""
    is_record = isinstance(value, dict) and value.get("meta") == FILE_DATA
    place = value.get("path") if is_record else None
    path = uploaded_path(place)
    if path is None:
        shown = validation.shown(value if place is None else place)
        raise InputError(f"{name} = {shown}: must be a file that was uploaded to this page")
    called = value.get("orig_name")
    if not isinstance(called, str) or not called:
        called = path.name
    if len(called) > LONGEST_PATH:
        length = len(called)
        raise InputError(f"{name}: a file name of {length} characters; at most {LONGEST_PATH}")
    file = Upload(path)
    file.original_name = called
    unused_uploads.use(path)
    return file


def uploaded_path(place: Any) -> Path | None:
    """Return where an uploaded file lies, or None if there is none."""
    if isinstance(place, str) and 0 < len(place) <= LONGEST_PATH and "\0" not in place:
        try:
            path = Path(place).resolve()
            if path.is_relative_to(folder().resolve()) and path.is_file():
                return path
        except (OSError, ValueError):
            pass
    return None


CHECKS: dict[type, Check] = {
    gr.Slider: check_number,
    gr.Number: check_number_or_none,
    gr.Dropdown: check_choice,
    gr.Radio: check_choice,
    gr.CheckboxGroup: check_words,
    gr.Checkbox: check_flag,
    gr.Textbox: check_text,
    gr.File: check_files,
    gr.UploadButton: check_files,
    gr.HTML: check_json,
    gr.BrowserState: check_json,
}
