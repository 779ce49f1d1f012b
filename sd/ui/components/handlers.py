"""What the tabs' handlers share: the guard around each, its own thread, how it is queued."""

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, TypeVar

import gradio as gr

from sd.ui.adapter.errors import PageError, page_error
from sd.ui.texts import page_language

T = TypeVar("T")

# Without a list of its own an event's progress is told to all that it ever changes, whenever
# anything comes from any event: a fifth of what a sampling cost the browser.
HIDDEN: dict[str, Any] = {"show_progress": "hidden", "show_progress_on": []}
QUIET: dict[str, Any] = {**HIDDEN, "concurrency_limit": None, "api_visibility": "private"}
MODEL: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1}
# Lets samplings in between, so it does not wait behind them, nor they behind it.
BACKGROUND: dict[str, Any] = {"concurrency_id": "background", "concurrency_limit": 4}
# Cell after cell: others go in between.
CELLS: dict[str, Any] = {"concurrency_id": "grid", "concurrency_limit": 4}
# What may take long, so many at once: gradio has 40 threads for all that anybody asks.
PANEL: dict[str, Any] = {"concurrency_id": "panel", "concurrency_limit": 1}
UPLOAD: dict[str, Any] = {"concurrency_id": "upload", "concurrency_limit": 2}
BUNDLE: dict[str, Any] = {"concurrency_id": "bundle", "concurrency_limit": 2}
MEASURE: dict[str, Any] = {**QUIET, "concurrency_id": "measure", "concurrency_limit": 1}
SURVEY: dict[str, Any] = {"concurrency_id": "survey", "concurrency_limit": 12}
# A press counts from when it can be made, which is before gradio's event of the last has ended: by
# itself gradio passes over what comes until then.
ALWAYS: dict[str, Any] = {"trigger_mode": "multiple"}
END = object()  # of a stream


def progress_on(line: gr.HTML) -> dict[str, Any]:
    """Return how an event is queued that runs a network and shows its progress on a line."""
    return {
        "show_progress": "minimal",
        "show_progress_on": line,
        "api_visibility": "private",
        **MODEL,
    }


def at_end(event: Any, script: str) -> None:
    """Run a script in the browser once an event has ended, well or not.

    gradio's `then` runs where an event went well alone: not where a value was refused before the
    handler began, nor where the queue took nothing.
    """
    for ended in (event.success, event.failure):
        ended(None, None, None, js=script, **QUIET)


def language(request: gr.Request | None) -> str:
    """Return the language of lines that are made on the server."""
    return page_language(request.headers) if request else "en"


def session(request: gr.Request) -> str:
    """Return what tells one open page from another."""
    return str(getattr(request, "session_hash", None))


def event_value(event: gr.EventData, name: str) -> Any:
    """Return what the browser sent of an event under a name, unchecked; None where it did not."""
    try:
        return getattr(event, name, None)
    except (TypeError, KeyError):  # it sent no names at all
        return None


def guarded(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Show a person's mistake as its own line, and anything unexpected as one line without detail.

    Works for functions and for generators; the details of the unexpected go to the log. The work is
    done in a thread of its own.
    """

    @functools.wraps(handler)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return in_own_thread(functools.partial(handler, *args, **kwargs))
        except Exception as error:
            raise _page_error(error, args) from None

    @functools.wraps(handler)
    def stream(*args: Any, **kwargs: Any) -> Iterator[Any]:
        steps = handler(*args, **kwargs)
        try:
            while (each := in_own_thread(lambda: next(steps, END))) is not END:
                yield each
        except Exception as error:
            raise _page_error(error, args) from None
        finally:
            steps.close()

    return stream if inspect.isgeneratorfunction(handler) else call


def in_own_thread(task: Callable[[], T]) -> T:
    """Return what a task returns, done on a thread that ends with it.

    OpenMP keeps a team of threads for every living thread that ever computed. With more of them
    than cores they wait passively, and each step of a sampling takes half as long again; gradio's
    own threads live on, so nothing is computed there.
    """
    context = copy_context()
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(context.run, task).result()


def _page_error(error: Exception, args: Sequence[Any]) -> PageError:
    return page_error(error, next((each for each in args if isinstance(each, gr.Request)), None))
