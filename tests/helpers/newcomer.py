"""A newcomer at the page: what they press, from an empty page to a picture of their own model."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

PATIENCE = 120_000  # ms; no promise, only when to give up
SHEET = ".run-sheet img:not([src^='data:'])"  # of samples, not of the noise before the first


DRAWN = re.compile("steps in|用时")  # of the line below the pictures, in each language


class Hand:
    """Presses what is on a page, and counts it.

    touches: it is a finger. look: called before each press.
    """

    def __init__(
        self, page: Any, touches: bool = False, look: Callable[[], object] = lambda: None
    ) -> None:
        self.page, self.touches, self.look, self.presses = page, touches, look, 0

    def press(self, selector: str) -> None:
        """Press what is in sight there, once it can be pressed."""
        place = self.page.locator(selector).first
        place.wait_for(timeout=PATIENCE)
        self.look()
        (place.tap if self.touches else place.click)(timeout=PATIENCE)
        self.presses += 1

    def choose(self, selector: str, files: list[str] | str) -> None:
        """Press what opens the system's dialog, and choose there, which is a press more."""
        with self.page.expect_file_chooser(timeout=PATIENCE) as chooser:
            self.press(selector)
        chooser.value.set_files(files)
        self.presses += 1


def train_photos(hand: Hand, folder: Path, by_files: bool = False, minutes: bool = True) -> None:
    """Train on a folder's photographs, from any tab, till the first sample of the run is seen.

    by_files: a telephone's dialog gives files and no folder. minutes: whether one minute is chosen,
    else it is what the page stands on.
    """
    files = sorted(map(str, folder.iterdir())) if by_files else str(folder)
    hand.press("[role=tab]")
    hand.choose(".door[data-door=photos]", files)
    hand.page.locator(".set-facts").filter(has_text="60").wait_for(timeout=PATIENCE)
    if minutes:
        hand.press(".tiles label")
    before = hand.page.locator(".run-panel").get_attribute("data-run")
    hand.press("#train-start")
    other = f".run-panel:not([data-run='{before}'])"
    hand.page.locator(f"{other} {SHEET}").wait_for(timeout=PATIENCE)


def draw_with_it(hand: Hand) -> None:
    """Draw with the model of the run that is shown, once it has ended."""
    hand.press("#train-draw")
    hand.press("#denoise-go")
    hand.page.locator("#denoise-status").filter(has_text=DRAWN).wait_for(timeout=PATIENCE)
