"""The page as people start it, in a process of its own on a free port."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent
START_SECONDS = 90


@contextmanager
def served(home: Path, scratch: Path) -> Iterator[str]:
    """Yield the address of a page with `home` as SD_HOME; its log must end without a traceback."""
    log = scratch / "server.log"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {**os.environ, "SD_HOME": str(home), "GRADIO_TEMP_DIR": str(scratch / "cache")}
    words = [sys.executable, "app.py", "--port", str(port)]
    with log.open("wb") as file:
        server = subprocess.Popen(words, cwd=ROOT, env=env, stdout=file, stderr=file)
    try:
        address, end = f"http://127.0.0.1:{port}/", time.monotonic() + START_SECONDS
        while not answers(address):
            assert server.poll() is None and time.monotonic() < end, log.read_text()[-2000:]
            time.sleep(0.2)
        yield address
        assert server.poll() is None, "the server died"
        assert "Traceback" not in log.read_text(), log.read_text()[-3000:]
    finally:
        server.terminate()
        server.wait(20)


def answers(address: str) -> bool:
    """Tell whether a server answers at `address`."""
    try:
        urllib.request.urlopen(address, timeout=5).close()
    except OSError:
        return False
    return True
