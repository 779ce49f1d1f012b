"""What a page's events share: one object of each kind, of the page at hand and of no other."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gradio as gr
import pytest
from gradio.state_holder import SessionState

from sd.runs import Home
from sd.ui.adapter.page import Page
from sd.ui.components.handlers import guarded
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


def test_an_event_sees_the_home_of_its_own_page_wherever_its_handler_runs(tmp_path: Path) -> None:
    @guarded
    def name_of_home() -> str:
        return home().path.name

    @guarded
    def step_by_step() -> Iterator[str]:
        for _ in range(2):
            yield home().path.name

    async def ask(page: Page) -> list[str]:
        seen, state, iterator = [], SessionState(page), None
        for number in (0, 1, 1):
            answer = await page.process_api(page.fns[number], [], state=state, iterator=iterator)
            seen.append(answer["data"][0])
            iterator = answer.get("iterator")
        return seen

    for name in ("a", "b"):
        with Page(Shared(home=Home(tmp_path / name)), analytics_enabled=False) as page:
            button, shown = gr.Button(), gr.Textbox()
            button.click(name_of_home, None, shown)
            button.click(step_by_step, None, shown)
        assert asyncio.run(ask(page)) == [name] * 3
