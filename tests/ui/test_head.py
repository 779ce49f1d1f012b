"""The head: the page's one model."""

import pytest

from sd.ui import head
from tests.helpers.denoising import ENGLISH

pytestmark = pytest.mark.usefixtures("little")


@pytest.mark.parametrize(
    ("chosen", "kept"), [("linear:starter", "linear:starter"), ("gone", "little"), ("", "little")]
)
def test_the_list_keeps_what_is_chosen(chosen: str, kept: str) -> None:
    shown = head.refresh_models(chosen, ENGLISH)["model"]
    assert shown["value"] == kept
    assert shown["content"]["models"][0]["name"] == "little"
    assert shown["content"]["words"]["model"] == "Model"
