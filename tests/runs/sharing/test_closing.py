"""The switch by which a host closes a page."""

from pathlib import Path

import pytest

from sd import runs
from sd.common.validation import InputError
from sd.runs.sharing.closing import USUAL_LINE, close, closed_line, reopen


def test_a_page_is_closed_with_a_line_until_it_is_opened(tmp_path: Path) -> None:
    assert closed_line(tmp_path, {}) == ""
    close(tmp_path, "back\n at noon\x1b[31m ")
    assert closed_line(tmp_path, {}) == "back at noon�[31m"
    close(tmp_path)
    assert closed_line(tmp_path, {}) == USUAL_LINE
    (tmp_path / "closed").write_bytes(b"")  # as touch does
    assert closed_line(tmp_path, {}) == USUAL_LINE
    (tmp_path / "closed").write_text("x" * 10_000)
    assert len(closed_line(tmp_path, {})) == 300
    reopen(tmp_path)
    reopen(tmp_path)
    assert closed_line(tmp_path, {}) == ""
    assert closed_line(tmp_path, {"SD_CLOSED": "moved away"}) == "moved away"


def test_a_page_is_closed_before_anybody_came(tmp_path: Path) -> None:
    close(tmp_path / "not" / "there", "back at noon")
    assert closed_line(tmp_path / "not" / "there", {}) == "back at noon"


def test_a_home_among_others_is_closed_and_ones_own_is_not(tmp_path: Path) -> None:
    close(tmp_path, "back at noon")
    shared = runs.Home(tmp_path / "visitors" / "one", neighbours=tmp_path / "visitors")
    with pytest.raises(InputError, match=r"^back at noon$"):
        shared.check_open()
    shared.ensure_writable()  # what was made can be renamed and deleted
    runs.Home(tmp_path).check_open()
    reopen(tmp_path)
    shared.check_open()
