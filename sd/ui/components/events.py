"""Handlers by name: their parameters are inputs by name, and they return {name: value} of outputs.

So no handler counts its inputs or outputs, and what it does not return stays as it is on the page.
"""

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import Any

import gradio as gr
from gradio.blocks import Block

Updates = dict[str, object]  # name of an output -> its new value


def by_name(
    handler: Callable[..., Any], inputs: Mapping[str, Block], outputs: Mapping[str, Block]
) -> dict[str, Any]:
    """Return the arguments with which an event calls a handler: `event(**by_name(...))`."""

    def addressed(updates: Updates) -> Any:
        return {outputs[name]: value for name, value in updates.items()} or gr.skip()

    @functools.wraps(handler)
    def call(*args: Any, **kwargs: Any) -> Any:
        return addressed(handler(*args, **kwargs))

    @functools.wraps(handler)
    def stream(*args: Any, **kwargs: Any) -> Iterator[Any]:
        with closing(handler(*args, **kwargs)) as steps:
            for updates in steps:
                yield addressed(updates)

    return {
        "fn": stream if inspect.isgeneratorfunction(handler) else call,
        "inputs_kwargs": dict(inputs),
        "outputs": list(outputs.values()),
    }
