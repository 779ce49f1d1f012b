"""The names of the bundled sets' captions in other languages."""

import re

import pytest

from sd.data import captions, shapes
from sd.data.reading.source import open_source


@pytest.mark.parametrize("data", ["starter", "shapes"])
def test_each_caption_and_class_has_a_name_of_its_own(data: str) -> None:
    with open_source(data) as source:
        found = source.describe()
    names = captions.names(data, "zh")
    known = {*found.captions, *found.report.classes}
    assert known <= names.keys()
    assert all(re.search("[\u4e00-\u9fff]|^(OK|DVD|DNA)$", names[each]) for each in known)
    assert all(captions.meaning(data, names[each]) == each for each in found.captions)
    assert len({names[each] for each in found.captions}) == len(set(found.captions))


def test_what_stands_where_is_said_in_chinese() -> None:
    names = captions.names("shapes", "zh")
    assert names["red circle left of blue square"] == "红色圆形在蓝色正方形左边"
    assert names["green triangle"] == "绿色三角形" and names["circle"] == "圆形"
    assert set(shapes.captions()) <= names.keys()


def test_a_set_of_ones_own_and_english_stay_as_they_are() -> None:
    assert captions.names("starter", "en") == captions.names("/my/cats", "zh") == {}
    assert captions.meaning("starter", "熊猫") == "panda"
    assert captions.meaning("/my/cats", "熊猫") == "熊猫"
    assert captions.meaning("starter", "no such thing") == "no such thing"
