"""How fast one visitor may ask."""

import pytest

from sd.common.validation import InputError
from sd.ui.hosting import rates
from sd.ui.hosting.rates import Rates


def test_a_burst_is_taken_and_then_so_many_a_second() -> None:
    known = Rates()
    for _ in range(150):
        known.check("a", "page", 10.0)
    with pytest.raises(InputError, match="too many requests at once"):
        known.check("a", "page", 10.0)
    known.check("b", "page", 10.0)  # others are not concerned
    for _ in range(20):
        known.check("a", "page", 11.01)
    with pytest.raises(InputError, match="too many requests at once"):
        known.check("a", "page", 11.01)


def test_pages_are_counted_by_the_hour() -> None:
    known = Rates()
    for number in range(60):
        known.check("a", f"page {number}", 60.0 * number)
    known.check("a", "page 3", 3599.0)  # one that is open
    with pytest.raises(InputError, match="too many pages were opened"):
        known.check("a", "another", 3599.0)
    known.check("b", "another", 3599.0)
    known.check("a", "another", 3601.0)  # the first was an hour ago


def test_who_has_no_key_shares_a_larger_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "MOST_PAGES", 3)
    known = Rates()
    for number in range(3):
        for _ in range(200):
            known.check(None, f"page {number}", 0.0)
    with pytest.raises(InputError, match="too many pages were opened"):
        known.check(None, "page 3", 0.0)


def test_uploads_are_counted_by_the_hour() -> None:
    known = Rates(sent_in_hour=100)
    known.check_upload("a", 60, 0.0)
    known.check_upload("a", 60, 1800.0)  # a set is not cut
    with pytest.raises(InputError, match="too much was uploaded: come back in an hour"):
        known.check_upload("a", 1, 3599.0)
    known.check_upload("b", 99, 3599.0)
    known.check_upload("a", 10, 3601.0)  # the first was an hour ago


def test_what_is_known_of_visitors_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "MOST_VISITORS", 5)
    known = Rates()
    for number in range(50):
        known.check(str(number), "page", 0.0)
        known.check_upload(str(number), 1, 0.0)
    assert len(known._left) == len(known._pages) == len(known._sent) == 5
