"""How fast one visitor may ask: a page opened again and again must not push others' out."""

import time
from collections import OrderedDict

from sd.common.validation import InputError

BURST, A_SECOND = 150.0, 20.0  # events of one visitor: at once, and again so many a second
PAGES_AN_HOUR = 60  # that one visitor opens; gradio keeps the state of the newest 500 of all
MOST_PAGES = 400  # that those without a key open in an hour, together
MOST_VISITORS = 4096  # whose rates are known, those who came last
HOUR = 3600.0  # seconds


class Rates:
    """What each visitor has asked lately; None is all without a key."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self._left: OrderedDict[str | None, tuple[float, float]] = OrderedDict()
        self._pages: OrderedDict[str | None, dict[str, float]] = OrderedDict()

    def check(self, visitor: str | None, page: str, now: float | None = None) -> None:
        """Count an event of a visitor's page; raise `InputError` where there were too many."""
        moment = time.monotonic() if now is None else now
        if visitor is not None:  # of those without a key one must not stop the others
            self._take(visitor, moment)
        pages = self._pages.setdefault(visitor, {})
        self._pages.move_to_end(visitor)
        most = MOST_PAGES if visitor is None else PAGES_AN_HOUR
        if page not in pages and len(pages) >= most:
            for old in [each for each, at in pages.items() if at < moment - HOUR]:
                del pages[old]
            if len(pages) >= most:
                raise InputError("too many pages were opened: come back in an hour")
        pages.setdefault(page, moment)
        for known in (self._pages, self._left):
            while len(known) > MOST_VISITORS:
                known.popitem(last=False)

    def _take(self, visitor: str, moment: float) -> None:
        """Take one of the events that a visitor has left."""
        left, at = self._left.pop(visitor, (BURST, moment))
        left = min(BURST, left + (moment - at) * A_SECOND)
        self._left[visitor] = (max(0.0, left - 1), moment)
        if left < 1:
            raise InputError("too many requests at once: wait a moment")
