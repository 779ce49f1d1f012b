"""What a page's events share: one object of each kind, of the page at hand and of no other."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sd.runs import Home
from sd.ui.state import Recent, Shared, home, shared, use


class Counter:
    """A part that counts."""

    made = 0

    def __init__(self, start: int = 0) -> None:
        self.value = start
        Counter.made += 1


def test_a_part_is_made_once_and_a_page_begins_with_those_it_is_given() -> None:
    given = Counter(5)
    with use(Shared(given)):
        assert shared(Counter) is given
        with use(Shared()):
            assert shared(Counter) is shared(Counter) is not given
        assert shared(Counter) is given


def test_many_threads_make_one_part() -> None:
    page, before, ready = Shared(), Counter.made, threading.Barrier(8)

    def ask(_: int) -> Counter:
        ready.wait()
        return page.part(Counter)

    with ThreadPoolExecutor(8) as pool:
        assert len(set(map(id, pool.map(ask, range(8))))) == 1
    assert Counter.made == before + 1


def test_a_thread_that_no_event_began_has_no_page() -> None:
    with ThreadPoolExecutor(1) as pool, pytest.raises(LookupError):
        pool.submit(shared, Counter).result()


def test_two_pages_see_two_homes_and_share_what_they_are_given(tmp_path: Path) -> None:
    given = Counter()
    pages = [Shared(given, home=Home(tmp_path / name)) for name in ("a", "b")]
    seen = []
    for page in pages:
        with use(page):
            seen.append((home().path.name, shared(Counter) is given))
    assert seen == [("a", True), ("b", True)]


def test_of_too_many_entries_the_oldest_go() -> None:
    class Two(Recent[str, int]):
        """Two entries."""

        most = 2

    recent = Two()
    for value, name in enumerate("abac"):
        recent[name] = value
    assert recent == {"a": 2, "c": 3}  # a came anew
    assert shared(Two) is shared(Two) is not recent
