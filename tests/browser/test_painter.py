"""The painter in a real browser, on a page that holds nothing else: hand, keys and touch."""

import io
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from sd.ui.components import painter, theme
from tests.browser.conftest import DEFAULT_WAIT

pytestmark = pytest.mark.browser

WIDTH, HEIGHT = 16, 12
RED = (217, 43, 43)
MASK, PAINT = "#denoise-mask", "#denoise-paint"


class Served(NamedTuple):
    """A page with both painters, and what its handlers were sent."""

    address: str
    got: dict[str, list[Any]]


def base() -> Image.Image:
    levels = np.add.outer(np.arange(HEIGHT), np.arange(WIDTH)) * 9
    return Image.fromarray(levels.astype(np.uint8)).convert("RGB")


@pytest.fixture(scope="module")
def served(browser: Any) -> Iterator[Served]:
    got: dict[str, list[Any]] = {"mask": [], "paint": []}
    with gr.Blocks(analytics_enabled=False) as demo:
        made = {mode: painter.painter(f"denoise-{mode}") for mode in painter.MODES}
        with gr.Column(visible=False) as column:
            hidden = painter.painter("denoise-hidden")
        reveal = gr.Button("show", elem_id="show")
        reveal.click(lambda: gr.update(visible=True), None, column)
        demo.load(lambda: painter.content("mask", base(), "en"), None, hidden)
        back, empty = gr.Button("back", elem_id="back"), gr.Button("empty", elem_id="empty")
        for mode, each in made.items():
            each.input(got[mode].append, each, None, trigger_mode="always_last")
        restored = painter.content("paint", base(), "zh", one_pixel())
        back.click(lambda: restored, None, made["paint"])
        empty.click(lambda: None, None, made["paint"])
        large = gr.Button("large", elem_id="large")
        wide = painter.content("mask", base().resize((8 * WIDTH, 8 * HEIGHT)), "en")
        large.click(lambda: wide, None, made["mask"])
        demo.load(
            lambda: [painter.content(mode, base(), "en") for mode in made], None, [*made.values()]
        )
    _, address, _ = demo.launch(
        prevent_thread_lock=True,
        quiet=True,
        theme=theme.theme(),
        css_paths=theme.CSS_FILES,
        head=f"<script>{theme.script()}</script>",
    )
    yield Served(address, got)
    demo.close()


def one_pixel() -> bytes:
    image = Image.new("RGBA", (WIDTH, HEIGHT))
    image.putpixel((2, 3), (1, 2, 3, 255))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def window(browser: Any) -> Iterator[Any]:
    """A window that keeps what a page once fetched."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    yield context
    context.close()


@pytest.fixture
def page(window: Any, served: Served) -> Iterator[Any]:
    yield from opened(window, served)


@pytest.fixture
def phone(browser: Any, served: Served) -> Iterator[Any]:
    size = {"width": 390, "height": 844}
    context = browser.new_context(viewport=size, has_touch=True, is_mobile=True)
    yield from opened(context, served)
    context.close()


def opened(window: Any, served: Served) -> Iterator[Any]:
    for values in served.got.values():
        values.clear()
    page, faults = window.new_page(), []
    page.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(served.address)
    for which in (MASK, PAINT):
        page.locator(f"{which} canvas").wait_for()
    yield page
    page.close()
    assert faults == []


def newest(page: Any, values: list[Any], count: int) -> Any:
    """Wait until the server was sent `count` values; return the last."""
    end = time.monotonic() + DEFAULT_WAIT
    while len(values) < count and time.monotonic() < end:
        page.wait_for_timeout(50)
    assert len(values) == count
    return values[-1]


def cell(page: Any, which: str, x: int, y: int) -> tuple[float, float]:
    """The middle of a pixel of the picture on the screen."""
    canvas = page.locator(f"{which} canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    return (
        box["x"] + (x + 0.5) * box["width"] / WIDTH,
        box["y"] + (y + 0.5) * box["height"] / HEIGHT,
    )


def stroke(page: Any, which: str, *cells: tuple[int, int]) -> None:
    page.mouse.move(*cell(page, which, *cells[0]))
    page.mouse.down()
    for each in cells[1:]:
        page.mouse.move(*cell(page, which, *each))
    page.mouse.up()


def brush(page: Any, which: str, size: int) -> None:
    page.locator(f"{which} .size label", has_text=str(size)).click()


def mask_of(value: Any) -> Any:
    return np.asarray(Image.open(io.BytesIO(painter.read_mask(value, WIDTH, HEIGHT))))


def paint_of(value: Any) -> Any:
    return np.asarray(Image.open(io.BytesIO(painter.read_paint(value, WIDTH, HEIGHT))))


def test_a_stroke_arrives_as_a_mask_of_its_pixels(page: Any, served: Served) -> None:
    brush(page, MASK, 1)
    stroke(page, MASK, (2, 3), (9, 3), (9, 7))
    expected = np.zeros((HEIGHT, WIDTH))
    expected[3, 2:10] = expected[3:8, 9] = 255
    np.testing.assert_array_equal(mask_of(newest(page, served.got["mask"], 1)), expected)
    assert "12 of 192 pixels (6.3 %)" in page.inner_text(f"{MASK} [role=status]")
    page.locator(f"{MASK} .invert").click()
    np.testing.assert_array_equal(mask_of(newest(page, served.got["mask"], 2)), 255 - expected)
    page.locator(f"{MASK} .undo").click()
    np.testing.assert_array_equal(mask_of(newest(page, served.got["mask"], 3)), expected)
    page.locator(f"{MASK} .clear").click()
    value = newest(page, served.got["mask"], 4)
    assert value["paint"] is None and painter.read_mask(value, WIDTH, HEIGHT) is None
    assert page.locator(f"{MASK} .clear").is_disabled()
    page.locator(f"{MASK} .undo").click()
    np.testing.assert_array_equal(mask_of(newest(page, served.got["mask"], 5)), expected)
    assert served.got["paint"] == []


@pytest.mark.slow
def test_colours_arrive_as_they_were_chosen_and_can_be_erased(page: Any, served: Served) -> None:
    brush(page, PAINT, 2)
    stroke(page, PAINT, (4, 4))
    page.locator(f"{PAINT} .colour input[aria-label=blue] + span").click()
    brush(page, PAINT, 1)
    stroke(page, PAINT, (4, 4))
    pixels = paint_of(newest(page, served.got["paint"], 2))
    assert [tuple(pixels[y, x]) for x, y in ((5, 4), (4, 5), (5, 5))] == [(*RED, 255)] * 3
    assert tuple(pixels[4, 4]) == (58, 123, 213, 255)
    assert np.count_nonzero(pixels[..., 3]) == 4
    page.locator(f"{PAINT} input[type=color]").fill("#123456")
    stroke(page, PAINT, (0, 0))
    page.locator(f"{PAINT} .tool label", has_text="Erase").click()
    stroke(page, PAINT, (5, 5))
    pixels = paint_of(newest(page, served.got["paint"], 4))
    assert tuple(pixels[0, 0]) == (0x12, 0x34, 0x56, 255) and not pixels[5, 5].any()


@pytest.mark.slow
def test_the_largest_brush_is_a_disc_and_ends_at_the_rim(page: Any, served: Served) -> None:
    brush(page, MASK, 8)
    stroke(page, MASK, (8, 6))
    disc = mask_of(newest(page, served.got["mask"], 1))
    assert np.count_nonzero(disc) == 52 and not disc[3, 5] and disc[3, 7]
    stroke(page, MASK, (0, 0))
    assert mask_of(newest(page, served.got["mask"], 2))[:4, :4].all()


@pytest.mark.slow
def test_a_picture_painted_over_whole_arrives_too(page: Any, served: Served) -> None:
    page.locator(f"{MASK} .invert").click()
    assert mask_of(newest(page, served.got["mask"], 1)).all()
    assert "192 of 192 pixels (100 %)" in page.inner_text(f"{MASK} [role=status]")


def test_keys_alone_are_enough(page: Any, served: Served) -> None:
    canvas = page.locator(f"{PAINT} canvas")
    canvas.focus()
    canvas.press("ArrowUp")
    assert page.inner_text(f"{PAINT} [role=status]").startswith("row 6, column 9")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")  # from red to orange
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowLeft")  # from 2 pixels to 1
    canvas.focus()
    page.keyboard.press(" ")
    newest(page, served.got["paint"], 1)
    page.keyboard.press("Shift+ArrowLeft")
    pixels = paint_of(newest(page, served.got["paint"], 2))
    assert tuple(pixels[5, 8]) == tuple(pixels[5, 7]) == (242, 140, 30, 255)
    assert np.count_nonzero(pixels[..., 3]) == 2
    page.keyboard.press("Control+z")
    assert np.count_nonzero(paint_of(newest(page, served.got["paint"], 3))[..., 3]) == 1


@pytest.mark.slow
def test_what_the_server_sends_replaces_what_was_painted(page: Any, served: Served) -> None:
    stroke(page, PAINT, (8, 8))
    newest(page, served.got["paint"], 1)
    page.locator("#back").click()
    status = page.locator(f"{PAINT} [role=status]", has_text="192 个像素中画了 1 个")
    status.wait_for()
    assert page.locator(f"{PAINT} .undo").is_disabled()
    brush(page, PAINT, 1)
    stroke(page, PAINT, (0, 0))
    pixels = paint_of(newest(page, served.got["paint"], 2))
    assert tuple(pixels[3, 2]) == (1, 2, 3, 255) and np.count_nonzero(pixels[..., 3]) == 2
    page.locator("#empty").click()
    page.locator(f"{PAINT} canvas").wait_for(state="detached")


def test_a_finger_paints_and_every_target_is_large_enough(phone: Any, served: Served) -> None:
    phone.touchscreen.tap(*cell(phone, MASK, 5, 5))
    assert mask_of(newest(phone, served.got["mask"], 1))[5, 5] == 255
    for which in (MASK, PAINT):
        touch = phone.locator(f"{which} canvas").evaluate("e => getComputedStyle(e).touchAction")
        assert touch == "pinch-zoom"
        targets = phone.locator(f"{which} label, {which} button, {which} input[type=color]")
        for box in (target.bounding_box() for target in targets.all()):
            assert box["width"] >= 44 and box["height"] >= 44
    assert phone.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.slow
def test_a_stroke_that_the_system_takes_away_leaves_nothing(page: Any, served: Served) -> None:
    page.mouse.move(*cell(page, MASK, 3, 3))
    page.mouse.down()
    page.mouse.move(*cell(page, MASK, 9, 3))
    page.locator(f"{MASK} canvas").dispatch_event("pointercancel")
    page.mouse.up()
    brush(page, MASK, 1)
    stroke(page, MASK, (0, 11))
    assert np.count_nonzero(mask_of(newest(page, served.got["mask"], 1))) == 1


def test_a_mask_that_is_filled_while_hidden_is_a_mask(page: Any) -> None:
    page.wait_for_timeout(300)  # it has its value
    page.locator("#show").click()
    page.locator("#denoise-hidden .invert").wait_for()
    assert page.locator("#denoise-hidden .colour").count() == 0


def test_everything_has_a_name(page: Any) -> None:
    for which in (MASK, PAINT):
        names = page.locator(f"{which} input, {which} canvas").evaluate_all(
            "all => all.map((e) => e.ariaLabel)"
        )
        texts = page.locator(f"{which} button, {which} legend").all_inner_texts()
        legends = page.locator(f"{which} legend").evaluate_all("all => all.map(e => e.textContent)")
        assert all(names) and all(legends) and all(texts)
        assert "undefined" not in "".join(names + legends + texts)
        described = page.locator(f"{which} canvas").get_attribute("aria-describedby")
        assert "arrows move" in page.locator(f"[id='{described}']").text_content()


def test_brushes_grow_with_the_picture(page: Any, served: Served) -> None:
    sizes = page.locator(f"{MASK} .size label")
    assert sizes.all_inner_texts() == ["1", "2", "4", "8"]
    page.locator("#large").click()
    page.locator(f"{MASK} .size label", has_text="32").wait_for()
    assert sizes.all_inner_texts() == ["4", "8", "16", "32"]
    stroke(page, MASK, (8, 6))
    sent = painter.read_mask(newest(page, served.got["mask"], 1), 8 * WIDTH, 8 * HEIGHT)
    assert sent is not None
    with Image.open(io.BytesIO(sent)) as image:
        left, top, right, bottom = image.getbbox() or (0, 0, 0, 0)
    assert (right - left, bottom - top) == (16, 16)
