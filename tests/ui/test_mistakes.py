"""A mistake on a Chinese page: every line that the page can reach, as it is raised."""

import ast
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sd.common import validation
from sd.common.paths import PACKAGE
from sd.common.validation import InputError
from sd.config import Config
from sd.ui import mistakes
from sd.ui.adapter.errors import page_error
from tests.helpers.denoising import CHINESE, ENGLISH

CHINESE_LETTER = re.compile(r"[\u4e00-\u9fff]")
# Raised where no page comes, or of a file that nobody makes by mistake.
ELSEWHERE = {
    *("cli", "networks", "common/outputs.py", "data/shapes.py", "data/ingest.py"),
    *("runs/event_schema.py", "ui/adapter/address.py", "diffusion/schedule.py"),
    *("generation/export.py", "generation/player/one_file.py", "generation/registry.py"),
}
NETWORK = {"networks/blueprint.py"}  # the plan's fields come here
COMPOSED = {  # of other lines, which are tried below
    *("7 = 7: must be a number 7", "7; -1 draws one", "7: no such key7", "7, line 7: 7", "7, or 7"),
    *("conditioning.kind = 7: 7; choose 7", "7 x 7 pixels; 7", "7: no picture could be read7"),
    *("class 7: 77", "7: changed while it was read (7)", "line 7: 7", "run = 7: 7"),
    *("7 (7) was not saved: 7", "77 needs about 7 of memory, 7 are there; 7"),
    "first_stage.autoencoder = 7: 7",
}


def template(node: ast.expr) -> str:
    """Return a text that may be formatted, with 7 for each of its values; "" for what is none."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        parts = [each.value if isinstance(each, ast.Constant) else "7" for each in node.values]
        return "".join(map(str, parts))
    return ""


def raised_lines() -> Iterator[tuple[str, str]]:
    """Yield (module, line) of each line that a module raises as a person's mistake."""
    for path in sorted(PACKAGE.rglob("*.py")):
        place = path.relative_to(PACKAGE).as_posix()
        if place not in NETWORK and (place in ELSEWHERE or place.split("/")[0] in ELSEWHERE):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            line = template(node.args[0]) if name == "InputError" else ""
            if line not in COMPOSED and re.search("[a-z]{2}", line):
                yield place, line


def test_every_line_that_a_page_can_reach_is_said_in_chinese() -> None:
    lines = list(raised_lines())
    assert len(lines) > 120
    left = [(place, line) for place, line in lines if mistakes.translate(line, "zh") == line]
    assert not left


def raise_it(line: str) -> None:
    raise InputError(line)


def raised(check: Any, *given: Any) -> InputError:
    with pytest.raises(InputError) as caught:
        check(*given)
    return caught.value


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ((validation.whole, "Steps", 0, 1, 50), "步数 = 0：须为 1 到 50 之间的整数"),
        ((validation.seed, "Seed", "x"), "之间的整数；填 -1 则随机抽取"),
        ((validation.real, "t", 2, 0, 1), "t = 2：须为 0 到 1 之间的数"),
        ((validation.choice, "model", "emojo", ["emoji"]), "；是否想写 'emoji'？"),
        ((validation.text, "name", "x" * 99, 9), "名称：99 个字符；最多允许 9 个"),
        (
            (raise_it, "a.zip: no picture could be read: 2 left out, first b (an empty file)"),
            "（空文件）",
        ),
        (
            (raise_it, "unet.x = 5: needs about 9 GiB of memory, 1 MiB are there; 8 fits"),
            "8 放得下",
        ),
        ((Config.preset("tiny").with_settings, ["unet.x=1"]), "没有这个键"),
        ((Config.preset("tiny").with_settings, ["training.steps=-1"]), "之间的整数"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_line_keeps_its_values(error: Any, words: str) -> None:
    mistake = raised(*error)
    assert words in page_error(mistake, CHINESE).message
    assert page_error(mistake, ENGLISH).message == str(mistake)


def test_what_nobody_has_said_stays_as_it_is() -> None:
    for line in ("of another kind", "a: b: c", "", "{x}", "x" * 300, "：", "a = b = c"):
        assert mistakes.translate(line, "zh") == line
        assert mistakes.translate("seed = 5: must be a text", "en") == "seed = 5: must be a text"


def test_a_name_from_outside_costs_no_time_and_fills_nothing_in() -> None:
    hostile = ["{n}: {0.__class__} = 5: not a PNG", ": " * 140 + "x", "; did you mean ?" * 18]
    began = time.perf_counter()
    said = [mistakes.translate(line, "zh") for line in hostile]
    assert "{0.__class__}" in said[0] and time.perf_counter() - began < 2


def test_the_placeholders_of_a_line_are_those_of_its_english() -> None:
    for file in (Path(PACKAGE) / "ui" / "lines").glob("*.toml"):
        known = mistakes.lines_of(file.stem)
        assert known is not None
        for english, said in known.lines:
            assert set(mistakes.PLACE.findall(said)) == set(english.groupindex), said
            assert CHINESE_LETTER.search(said)
