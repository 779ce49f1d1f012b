"""Commands run in this process and in one of their own, and what the tests of them share."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sd.checkpoints.checkpoint import save_checkpoint
from sd.checkpoints.model import Model
from sd.cli.parser import main
from sd.config import Config
from tests.checkpoints.test_checkpoint import network_of

ROOT = Path(__file__).parents[2]

Capture = pytest.CaptureFixture[str]


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.fixture(scope="module", name="checkpoint")
def random_checkpoint(tmp_path_factory: pytest.TempPathFactory, tiny_config: Config) -> Path:
    """A checkpoint with random weights; its ini's save_path is the folder `made` beside it."""
    place = tmp_path_factory.mktemp("model")
    config = tiny_config.with_settings([f"training.save_path={place / 'made'}"])
    model = Model(network_of(config), config)
    return save_checkpoint(model, place / "checkpoint-7", {"step": 7, "seed": 1, "pictures": 12})


def said(capsys: Capture, *words: Any) -> str:
    """Run a command that must succeed; return what it prints."""
    capsys.readouterr()
    status = main([str(word) for word in words])
    printed = capsys.readouterr()
    assert status == 0, printed.err
    return printed.out


def refused(capsys: Capture, *words: Any) -> str:
    """Run a command that must be refused: exit status 2 and one line; return it."""
    capsys.readouterr()
    status = main([str(word) for word in words])
    printed = capsys.readouterr()
    assert status == 2 and printed.out == ""
    assert printed.err.endswith("\n") and printed.err.count("\n") == 1
    line = printed.err.rstrip("\n")
    assert 0 < len(line) <= 300 and line.isprintable() and "Traceback" not in line
    return line


def process(*words: Any) -> "subprocess.Popen[bytes]":
    line = [sys.executable, "-m", "sd", *map(str, words)]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)
