"""The page as people start it, in a process of its own on a free port."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
START_SECONDS = 300  # no promise, only when to give up


class Server:
    """A page that can be started, killed and started again under the same address."""

    def __init__(self, home: Path, scratch: Path, words: Sequence[str] = ("app.py",)) -> None:
        """Take a free port; `home` is its SD_HOME, and what it prints goes to `scratch`.

        words: what Python is given to run.
        """
        self.words = words
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address, self.log = f"http://127.0.0.1:{self.port}/", scratch / "server.log"
        self.env = {**os.environ, "SD_HOME": str(home), "GRADIO_TEMP_DIR": str(scratch / "cache")}

    def start(self) -> None:
        """Start the page and wait until it answers."""
        words = [sys.executable, *self.words, "--port", str(self.port)]
        with self.log.open("ab") as file:
            self.child = subprocess.Popen(words, cwd=ROOT, env=self.env, stdout=file, stderr=file)
        end = time.monotonic() + START_SECONDS
        while not answers(self.address):
            assert self.child.poll() is None and time.monotonic() < end, self.told()[-2000:]
            time.sleep(0.1)

    def end(self, signal: int) -> None:
        """Send the page a signal and wait for its end."""
        self.child.send_signal(signal)
        self.child.wait(20)

    def told(self) -> str:
        """Return what the page has printed."""
        return self.log.read_text()


@contextmanager
def served(home: Path, scratch: Path) -> Iterator[str]:
    """Yield the address of a page with `home` as SD_HOME; its log must end without a traceback."""
    server = Server(home, scratch)
    try:
        server.start()
        yield server.address
        assert server.child.poll() is None, "the server died"
        assert "Traceback" not in server.told(), server.told()[-3000:]
    finally:
        server.child.terminate()
        server.child.wait(20)


def answers(address: str) -> bool:
    """Tell whether a server answers at `address`."""
    try:
        urllib.request.urlopen(address, timeout=5).close()
    except OSError:
        return False
    return True
