"""The named endpoints over HTTP, with good values and with what no browser would send."""

import json
import time
import urllib.error
import urllib.request
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from sd.checkpoints.checkpoint import save_checkpoint
from sd.checkpoints.model import Model
from sd.config import Config
from sd.training.randomness import new_network
from tests.helpers.networks import with_weights
from tests.helpers.serving import ROOT, served

LONGEST_LINE = 300


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, tiny_config: Config) -> Path:
    """A home with a small model of random weights and a run that holds a pickle for weights."""
    home = tmp_path_factory.mktemp("api")
    for name in ("little", "pickled"):
        folder = home / name
        network = with_weights(new_network(tiny_config, 0))
        save_checkpoint(Model(network, tiny_config), folder / "checkpoint-0000004", {"step": 4})
        (folder / "config.ini").write_text(tiny_config.to_ini(), encoding="utf-8")
    weights = home / "pickled" / "checkpoint-0000004" / "model.safetensors"
    weights.write_bytes(b"\x80\x04cos\nsystem\n")
    return home


@pytest.fixture(scope="module")
def address(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of its own; at the end it lives, and its log holds no traceback."""
    with served(home, tmp_path_factory.mktemp("server")) as url:
        yield url


@pytest.fixture(scope="module")
def client(address: str) -> Client:
    return Client(address, verbose=False)


def endpoint_index(client: Client, name: str) -> int:
    numbers = [d["id"] for d in client.config["dependencies"] if d["api_name"] == name]
    assert len(numbers) == 1
    return numbers[0]


def raw(client: Client, name: str, body: list[Any] | str) -> dict[str, Any]:
    """Post to the queue as a program without manners would; return the last message."""
    session = uuid.uuid4().hex
    words = body if isinstance(body, str) else json.dumps(body)  # json writes a bare NaN
    payload = (
        f'{{"data": {words}, "fn_index": {endpoint_index(client, name)}, '
        f'"session_hash": "{session}"}}'
    )
    base = client.src.rstrip("/") + "/gradio_api/queue/"
    request = urllib.request.Request(
        base + "join", payload.encode(), {"Content-Type": "application/json"}
    )
    urllib.request.urlopen(request, timeout=30).close()
    message: dict[str, Any] = {}
    with urllib.request.urlopen(f"{base}data?session_hash={session}", timeout=60) as stream:
        for line in stream:
            if line.startswith(b"data:"):
                message = json.loads(line[5:])
                if message["msg"] == "process_completed":
                    break
    return message


def refused(message: dict[str, Any], *named: str) -> None:
    """Hold an answer to the promise: no success, one line that says what and what is allowed."""
    assert message["success"] is False
    line = message["output"]["error"]
    assert line and "\n" not in line and len(line) <= LONGEST_LINE, line
    assert str(ROOT) not in line and "Traceback" not in line
    for word in named:
        assert word in line, line


def picture_bytes() -> bytes:
    with zipfile.ZipFile(ROOT / "sd" / "data" / "starter" / "emoji64.zip") as archive:
        return archive.read("images/0000-grinning-face.png")


def zipped(path: Path, entries: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return path


def test_the_models_and_a_stream_of_every_step(client: Client) -> None:
    names = [entry["name"] for entry in client.predict(api_name="/list_models")]
    assert "little" in names
    job = client.submit(model="little", steps=6, seed=3, count=2, api_name="/denoise")
    job.result(timeout=60)
    facts = [answer[2] for answer in job.outputs()]
    steps = [step for fact in facts for step in fact["steps"]]
    assert [step["i"] for step in steps] == [1, 2, 3, 4, 5, 6]
    assert [step["t"] for step in steps][-1] == facts[-1]["t"] == 0
    assert (facts[-1]["step"], facts[-1]["of"]) == (6, 6)
    job = client.submit(model="little", steps=1, size="16x8", api_name="/denoise")
    job.result(timeout=60)
    with Image.open(job.outputs()[-1][0]) as drawn:
        assert drawn.size == (8, 16)
    assert all(len(step["rms"]) == 3 and 0 <= step["clipped"] <= 1 for step in steps)


def test_noise_returns_the_factors_of_its_t(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "face.png"
    path.write_bytes(picture_bytes())
    image, facts = client.predict(handle_file(path), 300, "tiny", 0, api_name="/noise")
    assert Path(image).stat().st_size > 0
    assert facts["signal"] ** 2 + facts["noise"] ** 2 == pytest.approx(1)
    assert facts["signal"] == pytest.approx(0.6296, abs=1e-3)


def test_an_uploaded_zip_is_trained_on_stopped_and_resumed(client: Client, tmp_path: Path) -> None:
    data = picture_bytes()
    upload = zipped(tmp_path / "mine.zip", {f"a/{k}.png": data for k in range(3)} | {"b.txt": b""})
    report = client.predict([handle_file(upload)], api_name="/inspect_data")
    assert report["used"] == 3
    arguments = {"data": report["data"], "size": 8, "steps": 100_000, "batch_size": 1}
    run = client.predict(**arguments, device="cpu", api_name="/start_training")["run"]
    deadline = time.monotonic() + 90
    while (status := client.predict(run, api_name="/training_status"))["step"] < 3:
        assert status["state"] in ("starting", "running"), status
        assert time.monotonic() < deadline, status
        time.sleep(0.3)
    client.predict(run, api_name="/stop_training")
    while (status := client.predict(run, api_name="/training_status"))["state"] != "stopped":
        assert time.monotonic() < deadline, status
        time.sleep(0.2)
    entries = {entry["name"]: entry for entry in client.predict(api_name="/list_models")}
    assert entries[run]["step"] == status["step"] >= 3
    more = status["step"] + 2
    assert client.predict(run, more, api_name="/resume_training")["state"] == "starting"
    while (status := client.predict(run, api_name="/training_status"))["state"] != "finished":
        assert time.monotonic() < deadline + 60, status
        time.sleep(0.2)
    assert (status["step"], status["total"]) == (more, more)


PLAIN, UNTOLD = ("fixed_small", "trailing"), ("", "", 1, False, "")
HOSTILE_NUMBERS = ["NaN", "Infinity", "-9", "1000000000", "4.7", "true", '"x"', "[1]", "{}"]


@pytest.mark.parametrize("value", HOSTILE_NUMBERS)
def test_hostile_numbers_to_denoise(client: Client, value: str) -> None:
    good = '"little", "ddim", 5, 0, 1, 0, "fixed_small", "trailing", true, "", "", 1, false, ""'
    for place, name in ((2, "steps"), (3, "seed"), (4, "count"), (5, "eta"), (11, "guidance")):
        words = [word.strip() for word in good.split(",")]
        words[place] = value
        if name == "seed" and value == "1000000000":
            continue  # a seed may be so large
        if name == "guidance" and value == "4.7":
            continue  # nor need it be whole
        refused(raw(client, "denoise", f"[{', '.join(words)}]"), f"{name} = ", "must be")


@pytest.mark.parametrize("value", HOSTILE_NUMBERS)
def test_hostile_numbers_to_training(client: Client, home: Path, value: str) -> None:
    before = sorted(home.iterdir())
    good = ["starter", "tiny", 8, 4, 1, 0.001, 0, "cpu", 0]
    numbers = ((2, "size"), (3, "steps"), (4, "batch"), (5, "rate"), (6, "seed"), (8, "minutes"))
    for place, name in numbers:
        words = [json.dumps(word) for word in good]
        words[place] = value
        if name == "seed" and value == "1000000000":
            continue  # a seed may be so large
        if name == "minutes" and value == "4.7":
            continue  # nor need they be whole
        refused(raw(client, "start_training", f"[{', '.join(words)}]"), name, "must be")
    assert sorted(home.iterdir()) == before


@pytest.mark.parametrize(
    ("endpoint", "body", "named"),
    [
        (
            "denoise",
            ["nope", "ddim", 5, 0, 1, 0, *PLAIN, True, *UNTOLD],
            "model",
        ),
        (
            "denoise",
            ["little", "dimd", 5, 0, 1, 0, *PLAIN, True, *UNTOLD],
            "ddim",
        ),
        (
            "denoise",
            ["little", "ddim", 5, 0, 1, 0, *PLAIN, "no", *UNTOLD],
            "clip",
        ),
        (
            "denoise",
            ["../little", "ddim", 5, 0, 1, 0, *PLAIN, True, *UNTOLD],
            "model",
        ),
        (
            "denoise",
            [{"a": 1}, "ddim", 5, 0, 1, 0, *PLAIN, True, *UNTOLD],
            "model",
        ),
        (
            "denoise",
            ["pickled", "ddim", 5, 0, 1, 0, *PLAIN, True, *UNTOLD],
            "pickle",
        ),
        ("training_status", ["../../etc"], "run"),
        ("training_status", [None], "run"),
        ("stop_training", ["nope"], "run"),
        ("resume_training", ["../x", 0], "run"),
        ("resume_training", ["little", 0], "little"),
        ("resume_training", ["little", "many"], "steps"),
        ("resume_training", ["little", -3], "steps"),
        ("start_training", ["/etc", "tiny", 8, 4, 1, 0.001, 0, "cpu", 0], "data"),
        ("start_training", ["starter", "tinny", 8, 4, 1, 0.001, 0, "cpu", 0], "tiny"),
        ("start_training", ["starter", "tiny", 8, 4, 1, 0.001, 0, "tpu", 0], "device"),
        ("noise", [None, 3, "tiny", 0], "picture"),
    ],
)
def test_hostile_words(client: Client, endpoint: str, body: list[Any], named: str) -> None:
    refused(raw(client, endpoint, body), named)


def test_a_text_of_five_million_characters(client: Client) -> None:
    body = ["x" * 5_000_000, "ddim", 5, 0, 1, 0, *PLAIN, True, *UNTOLD]
    refused(raw(client, "denoise", body), "model")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.png", b"<html>not a picture</html>", "no picture"),
        ("empty.zip", b"PK\x05\x06" + bytes(18), "empty"),
        ("cut.zip", b"PK\x03\x04 and nothing more", "zip"),
        ("model.safetensors", b"\x80\x04cos\nsystem\n", "no picture"),
    ],
)
def test_uploads_that_hold_nothing_usable(
    client: Client, home: Path, tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    before = sorted(home.rglob("*"))
    with pytest.raises(AppError) as error:
        client.predict([handle_file(path)], api_name="/inspect_data")
    line = str(error.value)
    assert reason in line and "\n" not in line and len(line) <= LONGEST_LINE, line
    assert [path for path in sorted(home.rglob("*")) if path.is_file()] == [
        path for path in before if path.is_file()
    ]


def test_a_zip_that_climbs_out_of_its_folder(client: Client, home: Path, tmp_path: Path) -> None:
    entries = {"../../../climbed.png": picture_bytes(), "/absolute.png": picture_bytes()}
    path = zipped(tmp_path / "climb.zip", entries)
    with pytest.raises(AppError, match=r"climb|outside|leaves"):
        client.predict([handle_file(path)], api_name="/inspect_data")
    for place in (home, home.parent, tmp_path, Path("/")):
        assert not (place / "climbed.png").exists() and not (place / "absolute.png").exists()


def test_a_picture_of_a_billion_pixels_is_refused_before_it_is_read(
    client: Client, tmp_path: Path
) -> None:
    header = bytearray(picture_bytes()[:33])
    header[16:24] = (50_000).to_bytes(4, "big") * 2
    path = tmp_path / "huge.png"
    path.write_bytes(bytes(header) + picture_bytes()[33:])
    with pytest.raises(AppError) as error:
        client.predict(handle_file(path), 3, "tiny", 0, api_name="/noise")
    assert "\n" not in str(error.value) and len(str(error.value)) <= LONGEST_LINE


def test_there_is_no_way_around_the_queue(address: str) -> None:
    request = urllib.request.Request(
        address + "gradio_api/run/list_models",
        json.dumps({"data": []}).encode(),
        {"Content-Type": "application/json"},
    )
    with pytest.raises(urllib.error.HTTPError) as refusal:
        urllib.request.urlopen(request, timeout=20)
    assert refusal.value.code == 404


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "app.py", "sd/common/validation.py", "pyproject.toml"]
)
def test_files_of_the_server_are_not_served(address: str, path: str) -> None:
    full = path if path.startswith("/") else str(ROOT / path)
    with pytest.raises(urllib.error.HTTPError) as refusal:
        urllib.request.urlopen(f"{address}gradio_api/file={full}", timeout=20)
    assert refusal.value.code in (403, 404)
