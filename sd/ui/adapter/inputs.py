"""The fields of the page: gradio's components, whose `preprocess` here goes through the gate.

So a handler gets what its fields can hold, and whoever sends anything else gets one line. The
classes keep gradio's names, by which the browser finds what draws them. What gradio does before any
field sees a value is looked after in `sd.ui.adapter.page`.
"""

import errno
import html
import logging
import re
from abc import ABCMeta
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.component_meta import ComponentMeta

from sd.common import validation
from sd.common.text import brief, printable, system_reason
from sd.common.validation import InputError
from sd.ui.texts import PREFIX, TEXTS, language_of, say

OF_THE_SYSTEM = {  # reasons that a person can mend: a full disk, a folder that is not theirs
    getattr(errno, name)
    for name in (
        "EACCES",
        "EPERM",
        "EROFS",
        "ENOSPC",
        "EDQUOT",
        "EFBIG",
        "EIO",
        "ENOTDIR",
        "EMFILE",
    )
    if hasattr(errno, name)
}
FARTHEST = 2**53  # beyond it a browser's numbers are no longer exact
LONGEST_TEXT = 10_000  # characters of a text field that says no length of its own
LONGEST_WORD, MOST_WORDS = 200, 1000  # of what is chosen from a list
ENTITY_BEGUN = re.compile("&[a-z]*$")
LOG = logging.getLogger(__name__)


class Refusal(gr.Error):
    """What is told of an error: one line that is harmless in HTML and can be sent.

    It is cut after it was made harmless, and never inside an entity.
    """

    def __init__(self, line: str) -> None:
        line = html.escape(line.encode("utf-8", "backslashreplace").decode(), quote=False)
        if len(line) > validation.LONGEST_MESSAGE:
            line = ENTITY_BEGUN.sub("", line[: validation.LONGEST_MESSAGE - 1]) + "…"
        super().__init__(line, title=say("mistake", "en"), print_exception=False)


def told(error: Exception, request: Any) -> Refusal:
    """Return what is shown of an error: a mistake's own line, or the system's reason for a file.

    Of anything unexpected no detail is shown; the details go to the log.
    """
    headers = getattr(request, "headers", None) or {}
    lang = language_of(headers.get("accept-language"))
    if isinstance(error, gr.Error) and not isinstance(error, Refusal):
        error = InputError(error.message)  # of a component that is none of ours
    if isinstance(error, InputError):
        error = Refusal(str(error))
    elif isinstance(error, OSError) and error.errno in OF_THE_SYSTEM:
        names = [] if error.filename is None else [Path(str(error.filename)).name]
        error = Refusal(
            ": ".join([*(brief(printable(name)) for name in names), system_reason(error)])
        )
    if not isinstance(error, Refusal):
        LOG.error("unexpected error in a handler of the page", exc_info=error)
        error = Refusal(say("unexpected", lang))
    error.title = say("mistake", lang)
    return error


class Plain(ComponentMeta):
    """Makes a component's class as Python does.

    gradio's own metaclass writes a .pyi beside the source of every class that it makes. Besides, it
    wraps a new `__init__` and turns new EVENTS into methods; the classes below have neither.
    """

    def __new__(cls, name: str, bases: tuple[type, ...], attrs: dict[str, Any]) -> Any:
        """Make the class without gradio's part."""
        return ABCMeta.__new__(cls, name, bases, attrs)


def name_of(component: Any) -> str:
    """Return how a component is called in a message: its English label, else its kind."""
    name = getattr(component, "label", None)
    key = str(getattr(name, "key", "")).removeprefix(PREFIX)
    words = TEXTS[key][0] if key in TEXTS else name
    return words if isinstance(words, str) and words else str(component.get_block_name())


def number(field: Any, name: str, payload: Any) -> Any:
    """Return a number within the field's bounds; whole where the field shows no decimals."""
    low = -FARTHEST if field.minimum is None else field.minimum
    high = FARTHEST if field.maximum is None else field.maximum
    if field.precision == 0:
        return validation.whole(name, payload, round(low), round(high))
    validation.real(name, payload, low, high)
    return payload


def word(field: Any, name: str, payload: Any) -> str:
    """Return a word of the field's list; any word where the list is open or still empty."""
    allowed = [value for _, value in field.choices]
    if allowed and not getattr(field, "allow_custom_value", False):
        return validation.choice(name, payload, allowed)
    return validation.text(name, payload, LONGEST_WORD)


def chosen(field: Any, name: str, payload: Any) -> Any:
    """Return one word of a list, or several where several may be chosen; None is nothing chosen."""
    if payload is None:
        return None
    if not getattr(field, "multiselect", False):
        return word(field, name, payload)
    if not isinstance(payload, list) or len(payload) > MOST_WORDS:
        value = validation.shown(payload)
        raise InputError(f"{name} = {value}: must be a list of at most {MOST_WORDS} words")
    return [word(field, name, each) for each in payload]


def number_or_none(field: Any, name: str, payload: Any) -> Any:
    """Return a number, or None from an empty field."""
    return None if payload is None else number(field, name, payload)


def flag(field: Any, name: str, payload: Any) -> bool:
    """Return True or False."""
    return validation.flag(name, payload)


def text(field: Any, name: str, payload: Any) -> str | None:
    """Return a text that is not longer than the field, or None."""
    longest = LONGEST_TEXT if field.max_length is None else field.max_length
    return None if payload is None else validation.text(name, payload, longest)


class Upload(str):
    """The path of an uploaded file; it knows what the file was called where it comes from.

    The path does not tell: on its way gradio takes characters out of a name, cuts it at 200 bytes
    and drops the folders before it.
    """

    called: str

    @classmethod
    def of(cls, file: Any) -> "Upload":
        """Return gradio's record of a file as its path."""
        upload = cls(file.path)
        upload.called = file.orig_name or Path(file.path).name
        return upload


def called(file: str) -> str:
    """Return what a file was called: its name, or its path below a folder that was chosen."""
    return file.called if isinstance(file, Upload) else Path(file).name


def uploaded(field: Any, name: str, payload: Any) -> Any:
    """Return an uploaded file as an `Upload`, or a list of them where a field takes several.

    `Page` has looked at them before gradio made its own records of them.
    """
    if payload is None:
        return None
    files = [Upload.of(each) for each in getattr(payload, "root", [payload])]
    return files[0] if field.file_count == "single" else files


class Gated:
    """What the components below have in common: `preprocess` reads through the gate."""

    read: Callable[..., Any]  # (name, payload) -> value; raises `InputError`

    def preprocess(self, payload: Any) -> Any:
        """Return the value that was sent; tell a mistake in one line."""
        try:
            return self.read(name_of(self), payload)
        except InputError as error:
            raise Refusal(str(error)) from None


class Slider(Gated, gr.Slider, metaclass=Plain):
    """A slider: a number within its bounds."""

    read = number


class Number(Gated, gr.Number, metaclass=Plain):
    """A field for a number: one within its bounds, or None while it is empty."""

    read = number_or_none


class Dropdown(Gated, gr.Dropdown, metaclass=Plain):
    """A list of words that opens: one of them, or a list of some, or None."""

    read = chosen


class Radio(Gated, gr.Radio, metaclass=Plain):
    """A choice between a few words: one of them, or None."""

    read = chosen


class CheckboxGroup(Gated, gr.CheckboxGroup, metaclass=Plain):
    """Boxes of which several may be checked: a list of their words, or None."""

    multiselect = True
    read = chosen


class Checkbox(Gated, gr.Checkbox, metaclass=Plain):
    """A box that is checked or not: True or False."""

    read = flag


class Textbox(Gated, gr.Textbox, metaclass=Plain):
    """A field for a text: at most `max_length` characters, or None."""

    read = text


class File(Gated, gr.File, metaclass=Plain):
    """A place for files: the path of one, or a list of paths, or None."""

    read = uploaded


class UploadButton(Gated, gr.UploadButton, metaclass=Plain):
    """A button that asks for files: the path of one, or a list of paths, or None."""

    read = uploaded
