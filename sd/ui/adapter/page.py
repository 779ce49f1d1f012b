"""What is sent to the page's events, before gradio looks at it: files, how many values, how long.

gradio fetches and copies the files that a value names, and keeps what it was sent, before a
component's `preprocess` can refuse it; an error there is answered with many lines or with a path.
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import anyio.to_thread
import gradio as gr
from gradio import blocks as gradio_blocks
from gradio.utils import get_upload_folder
from starlette.middleware import Middleware

from sd.common import validation
from sd.common.validation import InputError
from sd.config.fields import LONGEST_PATH
from sd.data.reading.archive import LONGEST_ARCHIVE
from sd.data.reading.files import MOST_FILES
from sd.ui.adapter import unused_uploads as uploads
from sd.ui.adapter import waiting
from sd.ui.adapter.calm import Attentive, FirstScript
from sd.ui.adapter.inputs import File, UploadButton, name_of, told
from sd.ui.adapter.requests import Requests
from sd.ui.state import Shared, use

LONGEST_VALUE, DEEPEST = 2**22, 20  # characters and values of one input together; lists in lists
META = {"_type": "gradio.FileData"}
NO_EVENT = {"index": None, "value": None}  # without these gradio cannot make its SelectData


class Nothing(dict[int, Any]):
    """What stands where gradio notes, for each open page, how all its parts look.

    It does so for links to a state of a page, which there are none of, and it is 0.8 of the
    0.85 MiB that a page left behind for an hour or longer.
    """

    def __contains__(self, key: object) -> bool:
        return True

    def __getitem__(self, key: int) -> dict[str, Any]:
        return {}

    def __setitem__(self, key: int, value: Any) -> None:
        pass


NOTHING = Nothing()


class Page(gr.Blocks):
    """The page: whatever is sent to one of its events is answered by its result or by one line."""

    def __init__(self, shared: Shared, **settings: Any) -> None:
        """Begin a page whose events share these; see gradio for its settings."""
        self.shared = shared
        super().__init__(**settings)

    def __exit__(self, *error: Any) -> None:
        """Finish the page; see gradio. Its parts are described once, not for every look at it."""
        config = self.default_config
        config.get_config = cache(config.get_config)  # type: ignore[method-assign]
        for kind in {type(block) for block in self.blocks.values()}:
            know_signature(kind)
        for event in config.fns.values():
            hush(event)
        with no_server():
            super().__exit__(*error)

    def queue(self, *args: Any, **more: Any) -> "Page":
        """Set up the queue; see gradio."""
        with no_server():
            super().queue(*args, **more)
        waiting.guard(self._queue)
        return self

    async def process_api(self, *args: Any, **more: Any) -> dict[str, Any]:
        """Run an event; see gradio. Whatever goes wrong is told in one line."""
        if (state := more.get("state")) is not None:
            state.config_values = NOTHING
        event = more.get("event_data")
        if event is not None:
            event._data = NO_EVENT | (event._data if isinstance(event._data, dict) else {})
        request = more.get("request")
        try:
            with use(self.shared):
                return await super().process_api(*args, **more)
        except Exception as error:
            raise told(error, request) from None

    async def preprocess_data(
        self, block_fn: Any, inputs: list[Any], *rest: Any, **more: Any
    ) -> list[Any]:
        """Check what arrived before gradio looks at it, and read it; see gradio."""
        inputs = await anyio.to_thread.run_sync(admitted, block_fn, inputs)
        values: list[Any] = await super().preprocess_data(block_fn, inputs, *rest, **more)
        return values


@contextmanager
def no_server() -> Iterator[None]:
    """Let gradio set up no server meanwhile, a tenth of a second each; `launch` makes its own."""
    names = vars(gradio_blocks)
    usual, names["App"] = names["App"], NoServer
    try:
        yield
    finally:
        names["App"] = usual


class NoServer:
    """What stands where gradio would make a server that nobody asks."""

    @staticmethod
    def create_app(*_: Any, **__: Any) -> None:
        """Make nothing."""


def know_signature(kind: Any) -> None:
    """Note what makes a part where `inspect` looks first: gradio asks for each part anew."""
    kind.__init__.__signature__ = inspect.signature(kind.__init__)


def hush(event: Any) -> None:
    """Let the browser keep no account of how far an event is where it would not show it.

    gradio's page tells every part that was ever to show a progress how far it is, whenever anything
    comes from any event: a fifth of what a sampling cost the browser.
    """
    if event.show_progress == "hidden":
        event.show_progress_on = []


def admitted(event: Any, inputs: Sequence[Any]) -> list[Any]:
    """Return the inputs of an event as gradio may have them; raise `InputError`."""
    if event.fn is None:
        raise InputError("event: the server has nothing to do for it")
    if len(inputs) < len(event.inputs):
        raise InputError(f"data: {len(inputs)} values; this event takes {len(event.inputs)}")
    return [
        None if field.stateful else admitted_value(field, value)
        for field, value in zip(event.inputs, inputs, strict=False)
    ]


def admitted_value(field: Any, value: Any) -> Any:
    """Return the value of one input, checked as far as gradio needs it; raise `InputError`."""
    name = name_of(field)
    if isinstance(field, File | UploadButton):
        return files_of(field.file_count != "single", name, value)
    check_size(name, value)
    return value


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


def files_of(several: bool, name: str, value: Any) -> Any:
    """Return one uploaded file or a list of them: their places and names; None stays."""
    if value is None:
        return None
    if isinstance(value, list) and several:
        if len(value) > MOST_FILES:
            raise InputError(f"{name}: {len(value)} files; at most {MOST_FILES} are allowed")
        sent = value
    else:
        sent = [value]
    paths = [path_of(name, each) for each in sent]
    size = sum(path.stat().st_size for path in paths)
    if size > LONGEST_ARCHIVE:
        raise InputError(f"{name}: {size} bytes; at most {LONGEST_ARCHIVE} are allowed")
    found = [
        {"path": str(path), "meta": META} | called(name, each)
        for path, each in zip(paths, sent, strict=True)
    ]
    return found if several else found[0]


def called(name: str, value: dict[str, Any]) -> dict[str, str]:
    """Return what a file was called where it comes from, if that is told; raise `InputError`."""
    told = value.get("orig_name")
    if not isinstance(told, str) or not told:
        return {}
    if len(told) > LONGEST_PATH:
        raise InputError(f"{name}: a file name of {len(told)} characters; at most {LONGEST_PATH}")
    return {"orig_name": told}


def path_of(name: str, value: Any) -> Path:
    """Return where an uploaded file lies; raise `InputError` for anything else."""
    place = value.get("path") if isinstance(value, dict) and value.get("meta") == META else None
    if isinstance(place, str) and 0 < len(place) <= LONGEST_PATH and "\0" not in place:
        try:
            path = Path(place).resolve()
            if path.is_relative_to(Path(get_upload_folder()).resolve()) and path.is_file():
                uploads.use(path)
                return path
        except (OSError, ValueError):
            pass
    what = value if place is None else place
    raise InputError(
        f"{name} = {validation.shown(what)}: must be a file that was uploaded to this page"
    )


def middleware(sent: Callable[[], object], queue: Any) -> list[Middleware]:
    """Return what stands between the server and gradio, whose `queue` wakes with every request.

    `sent` is called when a page was sent.
    """
    return [Middleware(Requests), Middleware(FirstScript, sent), Middleware(Attentive, queue)]
