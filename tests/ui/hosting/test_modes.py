"""For whom a page is there."""

from pathlib import Path

import pytest

from sd.common.validation import InputError
from sd.ui.hosting.modes import CLASS, OWN, PUBLIC, choose_mode
from sd.ui.hosting.space import settle_in_space


@pytest.mark.parametrize(
    ("asked", "host", "environment", "mode"),
    [
        (None, "127.0.0.1", {}, OWN),
        (None, "localhost", {}, OWN),
        (None, "::1", {}, OWN),
        (None, "0.0.0.0", {}, PUBLIC),
        (None, "192.168.1.7", {}, PUBLIC),
        (None, "127.0.0.1", {"SYSTEM": "spaces"}, PUBLIC),
        (None, "0.0.0.0", {"SD_MODE": "own"}, OWN),
        ("class", "127.0.0.1", {"SD_MODE": "own"}, CLASS),
        ("own", "0.0.0.0", {"SYSTEM": "spaces"}, OWN),
    ],
)
def test_a_page_that_others_reach_is_public_unless_told(
    asked: str | None, host: str, environment: dict[str, str], mode: object
) -> None:
    assert choose_mode(asked, host, environment) is mode


@pytest.mark.parametrize(
    ("asked", "environment", "label"),
    [("Own", {}, "--mode = 'Own'"), (None, {"SD_MODE": "all"}, "SD_MODE = 'all'")],
)
def test_another_mode_is_refused_by_name(
    asked: str | None, environment: dict[str, str], label: str
) -> None:
    with pytest.raises(InputError) as refused:
        choose_mode(asked, "127.0.0.1", environment)
    assert str(refused.value).startswith(label) and "one of own, class, public" in str(
        refused.value
    )


def test_a_space_is_reached_from_outside_and_keeps_its_runs_where_it_can_write() -> None:
    here: dict[str, str] = {}
    settle_in_space(here)
    assert here == {}
    space = {"SYSTEM": "spaces"}
    settle_in_space(space)
    assert space["GRADIO_SERVER_NAME"] == "0.0.0.0" and Path(space["SD_HOME"]).name == "sd"
    told = {"SYSTEM": "spaces", "SD_HOME": "/data/runs", "GRADIO_SERVER_NAME": "::"}
    settle_in_space(told)
    assert (told["SD_HOME"], told["GRADIO_SERVER_NAME"]) == ("/data/runs", "::")
