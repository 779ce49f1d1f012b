"""Pictures decoded on all cores, in order: by helper processes, which threads feed and hear.

A small picture's decoding is mostly Python, which runs in one thread at a time; so the helpers are
processes of this module (`python -m sd.data.decoding.pool`), light because they never import torch.
A helper ends with its parent, opens no file, and if a picture should crash it, only that picture is
lost.
"""

import contextlib
import hashlib
import json
import queue
import struct
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, BinaryIO, NamedTuple, cast

from sd.common import environment
from sd.common.marks import REASON, is_marked
from sd.common.threads import count_cores
from sd.common.validation import InputError
from sd.data.decoding.decoder import TRANSPARENT, decode, fit_array
from sd.data.decoding.depth import Scale, Span

if sys.platform == "linux":
    import resource

KEPT_DETAIL = 3  # a JPEG is decoded at this many times the wanted side or more
HELPED_FROM = 200  # pictures; fewer are decoded sooner than a helper has started
MOST_HELPERS = 8
AT_ONCE = 16  # pictures that go to a helper in one piece
AT_ONCE_BYTES = 2**18  # of files or of pixels; a single picture may be larger
CRASHED = "damaged (it stopped its decoder)"
HEAD = struct.Struct("<IQ")  # the lengths of the text and of the bytes that follow


class Fit(NamedTuple):
    """How pictures are to be brought to size."""

    height: int
    width: int
    channels: int
    fit: str


class Fitted(NamedTuple):
    """A picture as uint8 [channels, height, width], and what its file was; or why there is none."""

    reason: str
    pixels: bytes = b""
    mode: str = ""
    size: tuple[int, int] = (0, 0)  # width and height, upright
    digest: str = ""  # equal for equal pixels
    notes: tuple[str, ...] = ()  # of `sd.data.decoding.decoder.NOTES`
    span: Span | None = None  # of its values, where the set decides their scale


def decode_and_fit(data: bytes, wanted: Fit, scale: Scale | None = None) -> Fitted:
    """Decode and fit the bytes of one file, unless this program made it.

    `scale` as for `sd.data.decoding.decoder.decode`.
    """
    if is_marked(data):
        return Fitted(REASON)
    try:
        found = decode(data, KEPT_DETAIL * max(wanted.height, wanted.width), scale)
    except InputError as error:
        return Fitted(str(error))
    pixels = fit_array(found.image, *wanted).tobytes()
    digest = hashlib.blake2b(pixels, digest_size=16).hexdigest()
    kept = tuple(note for note in found.notes if note != TRANSPARENT or wanted.channels != 4)
    return Fitted("", pixels, found.mode, found.size, digest, kept, found.span)


def _send(pipe: BinaryIO, facts: Any, blobs: Sequence[bytes]) -> None:
    """Write one message: its facts as JSON, and bytes beside them."""
    text = json.dumps([facts, [len(blob) for blob in blobs]]).encode()
    pipe.write(HEAD.pack(len(text), sum(map(len, blobs))) + text)
    for blob in blobs:
        pipe.write(blob)
    pipe.flush()


def _receive(pipe: BinaryIO) -> tuple[Any, list[bytes]] | None:
    """Read one message; None at the end of the pipe, even in the midst of a message."""
    head = pipe.read(HEAD.size)
    if len(head) < HEAD.size:
        return None
    length, rest = HEAD.unpack(head)
    text = pipe.read(length)
    data = memoryview(pipe.read(rest))
    if len(text) < length or len(data) < rest:
        return None
    facts, lengths = json.loads(text)
    ends = [sum(lengths[: number + 1]) for number in range(len(lengths))]
    return facts, [bytes(data[end - size : end]) for end, size in zip(ends, lengths, strict=True)]


def serve() -> None:
    """Answer a parent's messages until it closes the pipe or is gone."""
    if sys.platform == "linux":
        for limit in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
            resource.setrlimit(limit, (0, 0))  # a decoder writes no file
    source, target = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # a stray print must not end up among the answers
    _send(target, "ready", [])
    while message := _receive(source):
        wanted, files = Fit(*message[0]), message[1]
        results = [decode_and_fit(data, wanted) for data in files]
        facts = [(each.reason, *each[2:]) for each in results]  # all but the pixels
        _send(target, facts, [each.pixels for each in results])


class _Helper:
    """A child process that decodes; OSError if it cannot be started, or is gone."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "sd.data.decoding.pool"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment.for_child(),
            start_new_session=True,  # Ctrl-C is for the parent, which ends its helpers itself
        )
        self._to = cast(BinaryIO, self._process.stdin)
        self._from = cast(BinaryIO, self._process.stdout)
        try:
            self._receive()
        except OSError:
            self.close()
            raise

    def _receive(self) -> tuple[Any, list[bytes]]:
        message = _receive(self._from)
        if message is None:
            raise BrokenPipeError("the helper is gone")
        return message

    def __call__(self, files: Sequence[bytes], wanted: Fit) -> list[Fitted]:
        _send(self._to, wanted, files)
        facts, pixels = self._receive()
        return [_from_message(data, *fact) for fact, data in zip(facts, pixels, strict=True)]

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        for pipe in (self._to, self._from):
            with contextlib.suppress(OSError):
                pipe.close()
        self._process.wait()


def _from_message(
    pixels: bytes,
    reason: str,
    mode: str,
    size: Sequence[int],
    digest: str,
    notes: Sequence[str],
    span: Sequence[Any] | None,
) -> Fitted:
    """Return what a helper told of a picture as it was before it became JSON."""
    values = None if span is None else Span(*span)
    return Fitted(reason, pixels, mode, (size[0], size[1]), digest, tuple(notes), values)


class _Crew:
    """Helpers that take turns; each is started when it is first wanted."""

    def __init__(self, count: int) -> None:
        self._free: queue.LifoQueue[_Helper | None] = queue.LifoQueue()
        for _ in range(count):
            self._free.put(None)
        self._startable = True

    def fit(self, files: Sequence[bytes], wanted: Fit, last: bool = False) -> list[Fitted]:
        """Return the files fitted; where a helper dies, one by one to find the picture at fault.

        `last`: a helper has died of them before, so the next one's death is theirs.
        """
        helper = self._free.get()
        try:
            helper = helper or self._started()
            return (
                helper(files, wanted)
                if helper
                else [decode_and_fit(data, wanted) for data in files]
            )
        except OSError:
            if helper:
                helper.close()
            helper = None
        finally:
            self._free.put(helper)
        if last:
            return [Fitted(CRASHED)]
        return [self.fit([data], wanted, last=True)[0] for data in files]

    def _started(self) -> _Helper | None:
        """Return a new helper; None where none can be started, so that we do its work."""
        try:
            return _Helper() if self._startable else None
        except OSError:
            self._startable = False
            return None

    def close(self) -> None:
        """End the helpers that are there."""
        while not self._free.empty():
            helper = self._free.get()
            if helper:
                helper.close()


def decode_and_fit_all(
    names: Sequence[str], read: Callable[[str], bytes], wanted: Fit
) -> Generator[Fitted, None, None]:
    """Yield each named file fitted, in order; `read` gives its bytes or raises InputError.

    On all cores where there are many files. Only a few pictures are in memory at any time.
    """
    helpers = min(count_cores(), MOST_HELPERS)
    if len(names) < HELPED_FROM or helpers == 1:
        yield from (_fit_one(read, name, wanted) for name in names)
        return
    area = wanted.height * wanted.width * wanted.channels
    size = max(1, min(AT_ONCE, AT_ONCE_BYTES // area))
    crew, stop = _Crew(helpers), threading.Event()
    threads = ThreadPoolExecutor(helpers + 1, "pictures")  # one reads while all helpers decode
    waiting: deque[Future[list[Fitted]]] = deque()
    try:
        for start in range(0, len(names), size):
            if len(waiting) > 2 * helpers:
                yield from waiting.popleft().result()
            part = names[start : start + size]
            waiting.append(threads.submit(_fit_some, crew, part, read, wanted, stop))
        while waiting:
            yield from waiting.popleft().result()
    finally:
        stop.set()
        threads.shutdown(cancel_futures=True)
        crew.close()


def _fit_one(read: Callable[[str], bytes], name: str, wanted: Fit) -> Fitted:
    try:
        return decode_and_fit(read(name), wanted)
    except InputError as error:
        return Fitted(str(error))


def _fit_some(
    crew: _Crew,
    names: Sequence[str],
    read: Callable[[str], bytes],
    wanted: Fit,
    stop: threading.Event,
) -> list[Fitted]:
    """Return files fitted, sent on in pieces that are not long."""
    results: dict[str, Fitted] = {}
    held: dict[str, bytes] = {}
    for name in names:
        if stop.is_set():
            break
        try:
            held[name] = read(name)
        except InputError as error:
            results[name] = Fitted(str(error))
        if held and (sum(map(len, held.values())) > AT_ONCE_BYTES or name == names[-1]):
            results |= zip(held, crew.fit(list(held.values()), wanted), strict=True)
            held.clear()
    return [results[name] for name in names if name in results]


if __name__ == "__main__":
    serve()
