"""How fast one visitor may ask: a page opened again and again must not push others' out."""

import math
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

    def __init__(self, sent_in_hour: float = math.inf) -> None:
        """Begin with nobody. sent_in_hour: bytes that a visitor uploads."""
        self._most_sent = sent_in_hour
        self._sent: OrderedDict[str, list[tuple[float, int]]] = OrderedDict()
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

    def check_upload(self, visitor: str, size: int, now: float | None = None) -> None:
        """Count an upload of so many bytes; raise `InputError` where there were too many before.

        The one with which a visitor comes beyond that is still taken: a set is not cut.
        """
        moment = time.monotonic() if now is None else now
        sent = [each for each in self._sent.pop(visitor, []) if each[0] > moment - HOUR]
        self._sent[visitor] = sent
        while len(self._sent) > MOST_VISITORS:
            self._sent.popitem(last=False)
        if sum(each for _, each in sent) >= self._most_sent:
            raise InputError("too much was uploaded: come back in an hour")
        sent.append((moment, size))

    def _take(self, visitor: str, moment: float) -> None:
        """Take one of the events that a visitor has left."""
        left, at = self._left.pop(visitor, (BURST, moment))
        left = min(BURST, left + (moment - at) * A_SECOND)
        self._left[visitor] = (max(0.0, left - 1), moment)
        if left < 1:
            raise InputError("too many requests at once: wait a moment")
