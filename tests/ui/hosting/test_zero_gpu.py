"""A GPU that is lent by the call, with a stand-in for the package that lends it."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from sd.ui.hosting import zero_gpu


@pytest.mark.parametrize(
    ("value", "lent"), [("true", True), ("1", True), ("T", True), ("", False), ("false", False)]
)
def test_a_gpu_is_lent_where_the_space_says_so(value: str, lent: bool) -> None:
    assert zero_gpu.is_lent({"SPACES_ZERO_GPU": value}) is lent
    assert not zero_gpu.is_lent({})


def test_elsewhere_a_generator_stays_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(zero_gpu.NAME, raising=False)
    assert zero_gpu.lend(len)(iter) is iter


def test_what_is_marked_says_how_long_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    stand_in = SimpleNamespace(GPU=lambda duration: lambda stream: asked.append(duration) or stream)
    monkeypatch.setitem(sys.modules, "spaces", stand_in)
    monkeypatch.setenv(zero_gpu.NAME, "true")
    assert zero_gpu.lend(len)(iter) is iter and asked == [len]
