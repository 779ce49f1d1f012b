"""How many parts the page has: each costs every visitor, before anything is seen."""

import json
from typing import Any

import pytest

from app import build_app
from tests.benchmarks.first_sight import BOUNDS


@pytest.fixture(scope="module")
def page() -> Any:
    return json.loads(json.dumps(build_app().get_config_file(), default=str))


def test_the_page_has_at_most_half_the_parts_it_had(page: Any) -> None:
    assert len(page["components"]) <= BOUNDS["components"]


def test_at_most_half_as_many_events_are_listened_to(page: Any) -> None:
    assert sum(len(each["targets"]) for each in page["dependencies"]) <= BOUNDS["triggers"]
