"""One stylesheet is all that a change of gradio's looks can break."""

import re

from sd.ui.components.theme import ASSETS, PAGE_STYLES


def test_only_one_stylesheet_is_above_gradio_s_own() -> None:
    styles = {path.name: path.read_text(encoding="utf-8") for path in ASSETS.glob("*.css")}
    assert set(styles) == set(PAGE_STYLES)
    loud = {name for name, text in styles.items() if "!important" in text}
    assert loud == {"gradio.css"} and PAGE_STYLES[-1] == "gradio.css"


def test_no_picture_at_a_models_own_pixels_is_smoothed() -> None:
    style = "\n".join((ASSETS / name).read_text(encoding="utf-8") for name in PAGE_STYLES)
    for place in (".picture", ".thumbs-row", ".pairs", ".run-sheet", ".run-large"):
        rules = re.findall(rf"^{re.escape(place)} img(?:,[^{{]*)? {{(.*?)}}", style, re.M)
        assert any("image-rendering: pixelated" in rule for rule in rules), place
