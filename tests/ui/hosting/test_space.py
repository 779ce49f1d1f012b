"""A whole visit to the page as a Hugging Face Space serves it: read-only, as another user."""

import io
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from PIL import Image

from sd.common.encoding import png_bytes
from tests.helpers.serving import ROOT, START_SECONDS, answers
from tests.helpers.visiting import Refused, Visitor

pytestmark = pytest.mark.slow
MINUTES = float(os.environ.get("SPACE_MINUTES", "0.1"))  # of training
OTHER = 1000  # the user of a Space
AS_OTHER = ["setpriv", f"--reuid={OTHER}", f"--regid={OTHER}", "--clear-groups", "--no-new-privs"]
PACKAGES = {"PYTHONPATH": sysconfig.get_path("purelib"), "PATH": os.environ.get("PATH", "")}
KEPT = ("app.py", "sd", "checkpoints")


AGAIN = "import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', 'import torch']))"


@cache
def find_python() -> str:
    """Return a Python that another user can run, also from itself; "" where there is none.

    This one may lie in a folder that is closed to others; the system's of its version does not.
    """
    if not shutil.which("setpriv") or os.getuid() != 0:
        return ""
    version = "python{}.{}".format(*sys.version_info)
    for path in filter(None, (sys.executable, shutil.which(version, path=os.defpath))):
        words = [*AS_OTHER, path, "-c", AGAIN]
        done = subprocess.run(words, env=PACKAGES, check=False, capture_output=True)
        if done.returncode == 0:
            return path
    return ""


@pytest.fixture
def space() -> Iterator[Path]:
    """A folder as a Space has it: the project, which nobody can change, and one for scratch."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for each in KEPT:
            ignore = shutil.ignore_patterns("__pycache__", "*.tmp", "visitors", "uploads")
            if (ROOT / each).is_dir():
                shutil.copytree(ROOT / each, folder / each, ignore=ignore)
            else:
                shutil.copy(ROOT / each, folder / each)
        (folder / "tmp").mkdir()
        for path in folder.rglob("*"):
            path.chmod(0o555 if path.is_dir() else 0o444)
        os.chown(folder / "tmp", OTHER, OTHER)
        (folder / "tmp").chmod(0o700)
        folder.chmod(0o555)
        yield folder


@pytest.fixture
def port(space: Path) -> Iterator[int]:
    """The page there, whose log must tell of no fault of ours at the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number = probe.getsockname()[1]
    environment = {
        **PACKAGES,
        **{"SYSTEM": "spaces", "SPACE_ID": "somebody/page", "HOME": "/nonexistent"},
        **{"TMPDIR": str(space / "tmp"), "GRADIO_SERVER_PORT": str(number), "NO_PROXY": "*"},
    }
    log = space / "tmp" / "log"
    began = time.monotonic()
    with log.open("wb") as file:
        child = subprocess.Popen(
            [*AS_OTHER, find_python(), "app.py"],
            cwd=space,
            env=environment,
            stdout=file,
            stderr=file,
        )
    try:
        while not answers(f"http://127.0.0.1:{number}/"):
            assert child.poll() is None, log.read_text()
            assert time.monotonic() < began + 10 * START_SECONDS, log.read_text()
            time.sleep(0.1)
        print(f"the page answers after {time.monotonic() - began:.1f} s")
        yield number
        parts = log.read_text().split("Traceback")
        assert all("spaces" in each for each in parts[1:]), (
            parts
        )  # gradio's own, without the package
    finally:
        child.terminate()
        child.wait(60)


def pictures() -> bytes:
    """Return a zip of twelve pictures."""
    with zipfile.ZipFile(file := io.BytesIO(), "w") as packed:
        for number in range(12):
            picture = Image.new("RGB", (16, 16), (20 * number, 90, 200 - 10 * number))
            packed.writestr(f"{number}.png", png_bytes(picture))
    return file.getvalue()


@pytest.mark.skipif(not find_python(), reason="needs setpriv and the rights to use it")
def test_pictures_become_a_model_a_drawing_and_a_bundle(space: Path, port: int) -> None:
    visitor = Visitor(port)
    (report,) = visitor.ask("inspect_data", [visitor.upload("mine.zip", pictures())])
    assert report["used"] == 12
    asked = [report["data"], "tiny", 16, 20, 4, 0.001, 7, "cpu"]
    with pytest.raises(Refused, match="this page trains by the clock, at most 10 minutes"):
        visitor.ask("start_training", *asked)
    (begun,) = visitor.ask("start_training", *asked, MINUTES)
    end = time.monotonic() + 60 * START_SECONDS
    while (now := visitor.ask("training_status", begun["run"])[0])["state"] != "finished":
        assert now["state"] in ("waiting", "starting", "running") and time.monotonic() < end, now
        time.sleep(0.5)
    print(f"trained {now['step']} steps in {MINUTES:g} minutes")
    assert now["step"] >= 1
    x_t, x0, told = visitor.ask("denoise", begun["run"], "ddim", 2)
    assert told["of"] == 2 and x_t["url"] and x0["url"]
    (panel,) = visitor.ask("take_away", run=begun["run"], form="zip", whole=False)
    file = panel["file"]["src"]
    data = visitor.request("GET", f"/gradio_api/file={file['path']}")
    assert "config.ini" in {
        Path(each).name for each in zipfile.ZipFile(io.BytesIO(data)).namelist()
    }
    with pytest.raises(Refused, match="no run of that name"):
        Visitor(port).ask("training_status", begun["run"])
    homes = list((space / "tmp" / "sd" / "visitors").iterdir())
    assert [each.stat().st_uid for each in homes if each.is_dir()] == [OTHER]
