"""The guard around handlers: one line for what goes wrong, and work on threads that end."""

import threading
from collections.abc import Iterator
from contextvars import ContextVar

import gradio as gr
import pytest

from sd.common.validation import InputError
from sd.ui.components.handlers import guarded, in_own_thread

PLACE: ContextVar[str] = ContextVar("place", default="nowhere")


def test_a_task_is_done_on_a_thread_that_ends_with_it() -> None:
    PLACE.set("here")
    seen = in_own_thread(lambda: (threading.current_thread(), PLACE.get()))
    assert seen[0] is not threading.current_thread() and not seen[0].is_alive()
    assert seen[1] == "here"  # what gradio knows of the event
    with pytest.raises(ZeroDivisionError):
        in_own_thread(lambda: 1 / 0)


def test_a_stream_s_every_part_is_such_a_task() -> None:
    threads: list[threading.Thread] = []

    @guarded
    def stream() -> Iterator[int]:
        for number in range(3):
            threads.append(threading.current_thread())
            yield number

    assert list(stream()) == [0, 1, 2]
    assert len(set(threads)) == 3 and not any(thread.is_alive() for thread in threads)


def test_a_stream_that_is_left_is_closed() -> None:
    ended: list[bool] = []

    @guarded
    def stream() -> Iterator[int]:
        try:
            yield 1
            yield 2
        finally:
            ended.append(True)

    left = stream()
    assert next(left) == 1
    left.close()
    assert ended == [True]


def test_a_mistake_is_told_as_its_line_and_anything_else_without_detail() -> None:
    @guarded
    def mistaken() -> None:
        raise InputError("t = 5: must be at most 3")

    @guarded
    def broken() -> Iterator[int]:
        yield 1
        raise RuntimeError("/home/somebody/secret")

    with pytest.raises(gr.Error, match="t = 5: must be at most 3"):
        mistaken()
    with pytest.raises(gr.Error) as told:
        list(broken())
    assert "secret" not in str(told.value) and "\n" not in str(told.value)
