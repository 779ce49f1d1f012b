"""Children are told what they need to work, and no secret."""

import ast
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from sd.common import environment
from sd.common.paths import PROJECT
from sd.data.decoding import pool
from sd.runs import process

SECRETS = {
    "HF_TOKEN": "hf_1",
    "OAUTH_CLIENT_SECRET": "2",
    "OAUTH_CLIENT_ID": "3",
    "AWS_SECRET_ACCESS_KEY": "4",
    "SD_SECRET": "5",
    "SD_ADMIN": "6",
    "SD_api_key": "7",
    "http_proxy": "http://me:password@proxy",
    "DATABASE_URL": "8",
    "SPACES_ZERO_GPU": "1",
}
NEEDED = {
    "PATH": "/bin",
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",
    "SystemRoot": "C:\\Windows",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "GOMP_SPINCOUNT": "7",
    "CUDA_VISIBLE_DEVICES": "",
    "SD_HOME": "/runs",
    "ATEN_CPU_CAPABILITY": "avx2",
    "VIRTUAL_ENV": "/venv",
    "PROCESSOR_IDENTIFIER": "AuthenticAMD",
}
LINUX = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="no /proc")


def test_a_child_gets_what_it_needs_and_nothing_else() -> None:
    assert environment.for_child({**SECRETS, **NEEDED}) == {
        **NEEDED,
        "PYTHONPATH": str(PROJECT),
    }


def test_this_package_is_found_before_others() -> None:
    path = environment.for_child({"PYTHONPATH": "/others"})["PYTHONPATH"]
    assert path == f"{PROJECT}{os.pathsep}/others"


def test_each_process_that_is_started_is_told_its_environment() -> None:
    calls = [
        (path.name, call)
        for path in (PROJECT / "sd").rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call)
        and ast.unparse(call.func) in ("subprocess.Popen", "subprocess.run")
    ]
    assert {name for name, _ in calls} >= {"pool.py", "process.py"}
    for name, call in calls:
        told = {each.arg: ast.unparse(each.value) for each in call.keywords}
        assert told.get("env", "").partition(" | ")[0] == "environment.for_child()", name


def environment_of(pid: int) -> bytes:
    """Return what a process was started with; there is nothing to read while it is being begun."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with suppress(ProcessLookupError):
            if told := Path(f"/proc/{pid}/environ").read_bytes():
                return told
        time.sleep(0.01)
    raise AssertionError(f"process {pid} never had an environment")


@LINUX
def test_a_trainer_and_a_decoder_know_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    helper = pool._Helper()
    pid = process.spawn(["info", "nothing"], tmp_path / "log")
    os.kill(pid, signal.SIGSTOP)  # a process that has ended has no environment to read
    try:
        for number in (pid, helper._process.pid):
            told = environment_of(number).split(b"\0")
            names = {entry.partition(b"=")[0].decode() for entry in told}
            assert {"PATH", "PYTHONPATH"} <= names and not names & SECRETS.keys()
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        helper.close()
