"""What the events of a page share, and the one place that says so.

`build_app` makes one `Shared`, and the page puts it in place for the whole of each event; gradio
carries it on to the thread on which the event's handler runs. So handlers take what was sent to
them and no more, and none asks whose page it serves.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar, cast

from sd.runs import Home, default_home

Part = TypeVar("Part")
Key = TypeVar("Key")
Value = TypeVar("Value")


class Shared:
    """A home, and one object of each kind that events share: open models, samplings, locks.

    Each kind belongs to the module that declares it, and takes no arguments that must be given.
    """

    def __init__(self, *parts: object, home: Home | None = None) -> None:
        """Begin with a home, this machine's if none is given, and with parts that others have too.

        The other parts come when they are needed.
        """
        self._home = home
        self.parts: dict[type, object] = {type(part): part for part in parts}
        self._lock = threading.Lock()

    @property
    def home(self) -> Home:
        """Whose runs, models and uploads the events see."""
        return self._home or default_home()

    def part(self, kind: type[Part]) -> Part:
        """Return the object of a kind, made where there is none yet."""
        with self._lock:
            if kind not in self.parts:
                self.parts[kind] = kind()
            return cast(Part, self.parts[kind])


class Recent(dict[Key, Value]):
    """The newest entries of a kind, as many as `most`: for a new one the oldest goes.

    A subclass is a part by itself.
    """

    most = 1000

    def __setitem__(self, key: Key, value: Value) -> None:
        self.pop(key, None)
        super().__setitem__(key, value)
        while len(self) > self.most:
            self.pop(next(iter(self)), None)


_CURRENT: ContextVar[Shared] = ContextVar("shared")


@contextmanager
def use(shared: Shared) -> Iterator[None]:
    """Let this be what is shared by all that is called within the block."""
    token = _CURRENT.set(shared)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def current() -> Shared:
    """Return what the page at hand shares."""
    return _CURRENT.get()


def home() -> Home:
    """Return the home of the page at hand."""
    return _CURRENT.get().home


def shared(kind: type[Part]) -> Part:
    """Return what the page at hand has of a kind."""
    return _CURRENT.get().part(kind)
