"""Events by name: a handler gets its parameters by name and changes the outputs that it names."""

import inspect
from collections.abc import Iterator
from typing import Any

import gradio as gr

from sd.ui.components.events import by_name


def wired(handler: Any, *inputs: str, outputs: tuple[str, ...] = ("x", "y")) -> Any:
    """Return what an event is told, and the outputs by name."""
    with gr.Blocks():
        fields = {name: gr.Number() for name in (*inputs, *outputs)}
    event = by_name(
        handler, {name: fields[name] for name in inputs}, {name: fields[name] for name in outputs}
    )
    assert event["outputs"] == [fields[name] for name in outputs]
    assert event["inputs_kwargs"] == {name: fields[name] for name in inputs}
    return event["fn"], fields


def test_only_what_is_returned_is_sent() -> None:
    def handler(a: int, request: gr.Request, **more: int) -> dict[str, object]:
        return {"y": a + more["b"]} if a else {}

    fn, fields = wired(handler, "a", "b")
    assert fn(1, None, b=2) == {fields["y"]: 3}
    assert fn(0, None, b=2) == gr.skip()
    assert list(inspect.signature(fn).parameters) == ["a", "request", "more"]


def test_a_stream_is_closed_with_its_page() -> None:
    ended: list[str] = []

    def handler(a: int) -> Iterator[dict[str, object]]:
        try:
            yield {"x": a}
            yield {}
            yield {"x": a, "y": a}
        finally:
            ended.append("ended")

    fn, fields = wired(handler, "a")
    assert inspect.isgeneratorfunction(fn)
    assert list(fn(7)) == [{fields["x"]: 7}, gr.skip(), {fields["x"]: 7, fields["y"]: 7}]
    steps = fn(7)
    next(steps)
    steps.close()
    assert ended == ["ended", "ended"]
