"""What is shown of an error: one harmless line, in the language of the page."""

import re
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from sd.common.validation import InputError
from sd.ui.adapter import errors
from sd.ui.texts import say


def test_a_mistake_has_its_title_in_the_language_of_the_page() -> None:
    chinese: Any = SimpleNamespace(headers={"accept-language": "zh-CN,zh;q=0.9"})
    for error in (InputError("t = 'x'"), errors.PageError("t = 'x'"), gr.Error("t = 'x'")):
        shown = errors.page_error(error, chinese)
        assert (shown.message, shown.title) == ("t = 'x'", say("mistake", "zh"))
        assert shown.print_exception is False


@pytest.mark.parametrize("shift", range(6))
def test_a_refusal_is_cut_after_it_is_escaped_and_never_inside_an_entity(shift: int) -> None:
    line = errors.PageError("x" * shift + "<&" * 150).message
    assert len(line) <= 300 and line.endswith("…")
    assert re.fullmatch(r"x*(?:&lt;|&amp;)+…", line)
    assert errors.PageError("a < b").message == "a &lt; b"
