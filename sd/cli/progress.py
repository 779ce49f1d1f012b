"""What a training says where no terminal shows a bar: a line at each sampling, and now and then."""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TextIO

from sd.common.text import format_bytes, format_seconds
from sd.training.loop import TrainStep

SECONDS = 30.0  # at most one line in so many, but at a sampling


class DetachableStream:
    """A text stream whose reader may go away, as with a closed terminal: it is written on in vain.

    What is worth keeping lies in the run's folder, so that nobody reads is no reason to end.
    """

    def __init__(self, stream: TextIO) -> None:
        """Write to `stream` as long as it takes anything."""
        self._stream = stream
        self.encoding = stream.encoding

    def write(self, words: str) -> int:
        """Write text; see `io.TextIOBase`."""
        with suppress(OSError, ValueError):
            self._stream.write(words)
        return len(words)

    def flush(self) -> None:
        """Send on what was written; see `io.IOBase`."""
        with suppress(OSError, ValueError):
            self._stream.flush()

    def isatty(self) -> bool:
        """Tell whether a terminal shows it."""
        return self._stream.isatty()


class Progress:
    """Hears what a run records and says how far it is."""

    def __init__(
        self, say: Callable[[str], None], now: Callable[[], float] = time.monotonic
    ) -> None:
        """`say` takes a line; `now` tells seconds."""
        self._say, self._now = say, now
        self._said = now()
        self._row: Mapping[str, Any] = {}
        self._grid = ""  # the file of samples that were not yet spoken of

    def on_event(self, event: str, fields: Mapping[str, Any]) -> None:
        """Take note of an event of the run's journal, and say what stands on its own."""
        if event in ("step", "pace"):
            self._row = fields
        elif event == "samples":
            self._grid = fields["file"]
        elif event in ("paused", "notice"):
            self._print(fields["line"])
        elif event == "ingest":
            self.read(fields["done"], fields["total"])
        elif event == "encode":
            self.read(fields["done"], fields["total"], "encoding pictures")
        elif event == "first_stage":
            self._first_stage(fields)

    def read(self, done: int, total: int, what: str = "reading pictures") -> None:
        """Say how many pictures are read, or encoded, if the time has come."""
        if self._is_due():
            self._print(f"{what}: {done:,} of {total:,}")

    def _first_stage(self, fields: Mapping[str, Any]) -> None:
        """Say how far an autoencoder is, if its PSNR was measured or the time has come."""
        if "psnr" in fields or self._is_due():
            parts = [f"autoencoder: step {fields['done']:,} of {fields['total']:,}"]
            parts.append(f"loss {fields['loss']:.4f}")
            parts += [f"{fields['psnr']:.1f} dB"] if "psnr" in fields else []
            self._print(", ".join(parts))

    def step(self, step: TrainStep) -> None:
        """Say how far training is after a step, if samples were made or the time has come."""
        if not self._grid and not self._is_due():
            return
        parts = [f"step {step.step:,} of {step.total:,}", f"loss {step.loss:.4f}"]
        if speed := self._row.get("pictures_per_second"):
            parts.append(f"{speed:.3g} pictures/s")
        if held := self._row.get("memory_bytes"):
            parts.append(f"{format_bytes(held)} of memory")
        if held := self._row.get("device_memory_bytes"):
            parts.append(f"{format_bytes(held)} on the GPU")
        left = self._row.get("seconds_left")
        if left and step.step < step.total:  # else samples and all were made when this is said
            parts.append(f"{format_seconds(left)} left")
        parts += [self._grid] if self._grid else []
        self._grid = ""
        self._print(", ".join(parts))

    def _is_due(self) -> bool:
        return self._now() - self._said >= SECONDS

    def _print(self, line: str) -> None:
        self._said = self._now()
        self._say(line)
