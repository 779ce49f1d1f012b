"""Pictures given through the page: names, folders and captions arrive as they are on the disk."""

import re
from pathlib import Path
from typing import Any

import pytest

from sd.data.image_set import read_images
from tests.helpers.sets import folder, picture

pytestmark = pytest.mark.browser

REPORT = "#train-report .facts"
LONG = "00012-1234567-" + "a photo of a small red cat, best quality, " * 5


def kept(home: Path, page: Any, words: str) -> dict[str, str]:
    """The captions of the set that the page tells of in `words`, by picture."""
    before = set(home.glob("uploads/*.zip"))
    page.wait_for_function(
        "([at, words]) => document.querySelector(at)?.textContent.includes(words)",
        arg=[REPORT, words],
    )
    newest = max(before | set(home.glob("uploads/*.zip")), key=lambda path: path.stat().st_mtime_ns)
    images = read_images(newest)
    captions = images.captions or ("",) * len(images.names)
    return dict(zip(images.names, captions, strict=True))


def test_a_folder_and_loose_files_arrive_as_they_are(
    open_page: Any, home: Path, tmp_path: Path
) -> None:
    page = open_page()
    page.wait_for_selector(REPORT)
    files: dict[str, bytes | str] = {
        f"{name}/1.png": picture(n) for n, name in enumerate(("apples", "bananas", "cherries"))
    }
    files |= {"apples/1.txt": "an apple", "cherries/1.txt": "a cherry", "apples/.DS_Store": "x"}
    root = folder(tmp_path / "set", files)
    page.set_input_files("input[type=file][webkitdirectory]", root)
    assert kept(home, page, "3 pictures, 3 classes") == {
        "apples/1.png": "an apple",
        "bananas/1.png": "",
        "cherries/1.png": "a cherry",
    }
    assert not page.locator("#train-report details", has_text="left out").count()

    root = folder(
        tmp_path / "loose",
        {
            "what!.png": picture(50),
            "what!.txt": "a question",
            "what.png": picture(60),
            f"{LONG}1.png": picture(70),
            f"{LONG}2.txt": "of another",
        },
    )
    drop = page.locator(".drop input[type=file]").first
    drop.set_input_files(sorted(root.iterdir()))
    expected = {"what!.png": "a question", "what.png": "", f"{LONG}1.png": ""}
    assert kept(home, page, "3 pictures, 1 with") == expected
    files = page.get_by_label(re.compile("^Remove this file"))
    files.nth([each.name for each in sorted(root.iterdir())].index("what.png")).click()
    assert kept(home, page, "2 pictures, 1 with") == {
        name: caption for name, caption in expected.items() if name != "what.png"
    }
    page.set_input_files("input[type=file][webkitdirectory]", tmp_path / "set")
    kept(home, page, "3 pictures, 3 classes")
    files.first.wait_for(state="detached")  # they are not what is trained on any more


def test_what_is_refused_stands_in_no_list_and_no_old_preview_is_shown(
    open_page: Any, home: Path, tmp_path: Path
) -> None:
    page = open_page()
    page.wait_for_selector(REPORT)
    page.wait_for_selector(".sheet img")
    files: dict[str, bytes | str] = {"good.png": picture(1), "also.png": picture(2), "bad.txt": "x"}
    root = folder(tmp_path / "set", files)
    drop = page.locator(".drop input[type=file]").first
    drop.set_input_files([root / "bad.txt"])
    page.locator(".toast-body", has_text="bad.txt").wait_for()
    removes = page.get_by_label(re.compile("^Remove this file"))
    removes.first.wait_for(state="detached")
    page.wait_for_selector(".sheet img")
    drop.set_input_files([root / "good.png", root / "also.png"])
    kept(home, page, "2 pictures")
    page.wait_for_selector(".sheet img")
    page.set_input_files(
        "input[type=file][webkitdirectory]", folder(tmp_path / "no", {"a.txt": ""})
    )
    page.locator(".toast-body", has_text="a.txt").wait_for()
    page.wait_for_function("() => document.querySelector('.drop')?.innerText.includes('good')")
    assert removes.count() == 2
