"""Pictures given through the page: names, folders and captions arrive as they are on the disk."""

import base64
import re
from pathlib import Path
from typing import Any

import pytest

from sd.data.image_set import read_images
from tests.helpers.sets import folder, picture

pytestmark = pytest.mark.browser

FACTS = "#train-set .set-facts"
LONG = "00012-1234567-" + "a photo of a small red cat, best quality, " * 5
# What a person does who drags a folder from the desktop: the browser gives its entries.
DROP = """async ([paths, data]) => {
  const bytes = (path) => Uint8Array.from(atob(data[path]), (each) => each.charCodeAt(0));
  const entry = (path) => ({
    isFile: true, fullPath: "/" + path,
    file: (good) => good(new File([bytes(path)], path.split("/").pop())),
  });
  const folder = (name, inside) => {
    const batches = [inside, []];
    const reader = { readEntries: (good) => good(batches.shift()) };
    return { isFile: false, fullPath: "/" + name, createReader: () => reader };
  };
  const part = (path) => path.split("/")[1];
  const inside = (name) => paths.filter((path) => part(path) === name).map(entry);
  const names = [...new Set(paths.map(part))];
  const root = folder("Dropped", names.map((name) => folder("Dropped/" + name, inside(name))));
  const event = new Event("drop", { bubbles: true, cancelable: true });
  const item = { webkitGetAsEntry: () => root };
  event.dataTransfer = { items: [item], files: [], types: ["Files"] };
  document.querySelector(".set-card").dispatchEvent(event);
}"""
SMALL = """() => [...document.querySelectorAll(".train-left :is(button, input, summary)")]
  .filter((each) => each.offsetParent && each.type !== "radio")
  .filter((each) => each.getBoundingClientRect().height < 44)
  .map((each) => each.className || each.textContent)"""


def kept(home: Path, page: Any, facts: str) -> dict[str, str]:
    """The captions of the set that the page tells of in `facts`, by picture."""
    page.locator(FACTS).filter(has_text=re.compile(f"^{facts}$")).wait_for()
    newest = max(home.glob("uploads/*.zip"), key=lambda path: path.stat().st_mtime_ns)
    images = read_images(newest)
    captions = images.captions or ("",) * len(images.names)
    return dict(zip(images.names, captions, strict=True))


def at_doors(page: Any) -> Any:
    """Return a page whose doors are in sight, also where something is chosen already."""
    page.locator(".set-card :is(.door, .card-head .link):visible").first.wait_for()
    if page.locator(".chosen .card-head .link:visible").count():
        change(page)
    page.locator(".door").first.wait_for()
    return page


def change(page: Any) -> None:
    """Go back to the doors."""
    page.locator(".chosen .card-head .link:visible").click()
    page.locator(".door").first.wait_for()


def test_a_folder_and_loose_files_arrive_as_they_are(
    kept_page: Any, home: Path, tmp_path: Path
) -> None:
    page = at_doors(kept_page)
    files: dict[str, bytes | str] = {
        f"{name}/1.png": picture(n) for n, name in enumerate(("apples", "bananas", "cherries"))
    }
    files |= {"apples/1.txt": "an apple", "cherries/1.txt": "a cherry", "apples/.DS_Store": "x"}
    root = folder(tmp_path / "My fruit", files)
    page.set_input_files(".pick-folder", root)
    assert kept(home, page, "3 pictures · 3 classes") == {
        "apples/1.png": "an apple",
        "bananas/1.png": "",
        "cherries/1.png": "a cherry",
    }
    name = page.locator(".set-name")
    assert name.input_value() == "My fruit"
    assert page.locator(".strip i").count() == 3
    assert "Learns the captions." in page.locator(".set-caption").inner_text()
    name.fill("Fruit")
    name.press("Enter")
    page.reload()
    kept(home, page, "3 pictures · 3 classes")
    assert name.input_value() == "Fruit"

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
    change(page)
    page.locator(".pick-files").set_input_files(sorted(root.iterdir()))
    expected = {"what!.png": "a question", "what.png": "", f"{LONG}1.png": ""}
    assert kept(home, page, "3 pictures.*") == expected
    assert name.input_value() == "My pictures"
    page.locator(".set-details summary").click()
    page.get_by_label("Take out: what.png").click()
    assert kept(home, page, "2 pictures.*") == {
        name: caption for name, caption in expected.items() if name != "what.png"
    }
    change(page)
    page.set_input_files(".pick-folder", tmp_path / "My fruit")
    kept(home, page, "3 pictures · 3 classes")
    assert page.locator(".loose li").count() == 0


def test_a_dropped_folder_keeps_its_classes(kept_page: Any, home: Path) -> None:
    page = at_doors(kept_page)
    paths = [f"Dropped/{name}/{n}.png" for name in ("ants", "bees") for n in range(2)]
    data = {path: base64.b64encode(picture(9 * place)).decode() for place, path in enumerate(paths)}
    page.evaluate(DROP, [paths, data])
    found = kept(home, page, "4 pictures · 2 classes")
    assert set(found) == {path.removeprefix("Dropped/") for path in paths}
    assert page.locator(".set-name").input_value() == "Dropped"


def test_what_is_refused_is_told_and_what_was_chosen_stays(
    open_page: Any, home: Path, tmp_path: Path
) -> None:
    page = at_doors(open_page())  # where nothing is chosen yet
    files: dict[str, bytes | str] = {"good.png": picture(1), "also.png": picture(2), "bad.txt": "x"}
    root = folder(tmp_path / "set", files)
    choose = page.locator(".pick-files")
    choose.set_input_files([root / "bad.txt"])
    page.locator(".toast-body", has_text="bad.txt").wait_for()
    assert page.locator(".door").first.is_visible()
    choose.set_input_files([root / "good.png", root / "also.png"])
    kept(home, page, "2 pictures")
    change(page)
    page.set_input_files(".pick-folder", folder(tmp_path / "no", {"a.txt": ""}))
    page.locator(".toast-body", has_text="a.txt").wait_for()
    kept(home, page, "2 pictures")


def test_on_a_phone_the_photos_are_picked(open_page: Any, home: Path, tmp_path: Path) -> None:
    page = at_doors(open_page(390, 844))
    root = folder(tmp_path / "set", {"1.png": picture(3), "2.png": picture(4)})
    with page.expect_file_chooser() as chooser:
        page.locator(".door").first.tap()
    chooser.value.set_files(sorted(root.iterdir()))
    kept(home, page, "2 pictures")
    assert page.evaluate(SMALL) == []
