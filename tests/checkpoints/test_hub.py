"""Models of a hub: told, then fetched at one revision, safetensors alone; from a stand-in here."""

import json
import socket

import pytest
from huggingface_hub import constants

from sd.checkpoints import hub
from sd.checkpoints.hub import (
    HubFile,
    choose,
    fetch,
    fetched_bytes,
    fetched_file,
    is_hub_place,
    is_pinned,
    look_up,
)
from sd.checkpoints.pretrained.building import open_pretrained
from sd.cli.parser import main
from sd.common.validation import InputError
from tests.helpers import published
from tests.helpers.hub import COMMIT, serving

PLACE = f"somebody/tiny@{COMMIT}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A repository as people have them: the folder, a pickle, a second form, code."""
    path = published.write_folder(tmp_path_factory.mktemp("hub") / "tiny", scheduler={})
    (path / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"\x80pickle")
    (path / "unet" / "diffusion_pytorch_model.fp16.safetensors").write_bytes(b"half")
    (path / "pipeline.py").write_text("raise SystemExit")
    (path / "v1.ckpt").write_bytes(b"\x80pickle")
    return path


@pytest.fixture
def server(folder, tmp_path, monkeypatch):
    with serving({"somebody/tiny": folder}) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.address)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        yield running


def refusal(act, *given):
    with pytest.raises(InputError) as error:
        act(*given)
    line = str(error.value)
    assert line.isprintable() and len(line) < 300
    return line


def test_the_size_and_the_licence_are_told_and_nothing_is_fetched(server, tmp_path, capsys):
    assert main(["pull", "somebody/tiny"]) == 0
    said = capsys.readouterr().out
    assert "somebody/tiny: 8 files, " in said and "licence creativeml-openrail-m" in said
    assert f"nothing was fetched; to fetch it: python -m sd pull {PLACE}" in said
    assert server.asked == ["GET /api/models/somebody/tiny"]
    assert not (tmp_path / "cache").exists()


def test_with_its_revision_it_is_fetched_and_is_the_model(server, folder, capsys):
    assert main(["pull", PLACE]) == 0
    said = capsys.readouterr().out
    assert said.index("8 files, ") < said.index("U-Net") < said.index("fetched: ")
    got = {each.rpartition(f"{COMMIT}/")[2] for each in server.asked if "GET /somebody" in each}
    assert {name.rpartition(".")[2] for name in got} == {"json", "safetensors"}
    assert "unet/diffusion_pytorch_model.safetensors" in got and len(got) == 8
    model = open_pretrained(said.partition("fetched: ")[2].strip())
    wanted = published.unet_state()
    assert all((model.unet.state_dict()[name] == each).all() for name, each in wanted.items())
    assert fetched_bytes(look_up(PLACE)) > 0.99 * look_up(PLACE).bytes
    before = len(server.asked)
    fetch(look_up(PLACE))  # of what is there nothing is fetched again
    assert not [each for each in server.asked[before:] if each.startswith("GET /somebody")]


def test_programs_are_told_where_it_lies(server, capsys):
    assert main(["pull", "--json", "somebody/tiny"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["place"], told["path"]) == (PLACE, None) and told["bytes"] > 1000
    assert main(["pull", "--json", PLACE]) == 0
    path = json.loads(capsys.readouterr().out)["path"]
    assert open_pretrained(path).unet is not None


def test_what_was_fetched_by_its_commit_is_found_without_one(server):
    name = "model_index.json"
    assert "was not fetched" in refusal(fetched_file, "somebody/tiny", name)
    folder = fetch(look_up(PLACE))
    assert fetched_file("somebody/tiny", name) == folder / name
    (folder.parent / ("f" * 40)).mkdir()
    assert f"{COMMIT} and {'f' * 40} are there" in refusal(fetched_file, "somebody/tiny", name)
    assert fetched_file(PLACE, name) == folder / name


def test_a_file_of_weights_is_no_place_of_a_hub():
    assert all(map(is_hub_place, ("a/b", PLACE, "a/b/c.safetensors", "a/v1.5")))
    assert not any(map(is_hub_place, ("a/b.safetensors", "a/b.ckpt", "/a/b", "~/b", "a", "../b")))


@pytest.mark.parametrize(
    ("told", "line"),
    [
        ({"size": 9}, "has .* bytes, not 9"),
        ({"lfs": {"sha256": "0" * 64, "size": 1, "pointerSize": 1}}, "is damaged, its SHA-256"),
    ],
)
def test_what_is_not_as_it_was_told_is_thrown_away(server, tmp_path, told, line):
    name = "unet/diffusion_pytorch_model.safetensors"
    server.told[name] = told
    model = look_up(PLACE)
    with pytest.raises(InputError, match=f"{name}: {line}"):
        fetch(model)
    assert not list((tmp_path / "cache").rglob("unet/*.safetensors"))
    server.told.clear()
    assert open_pretrained(str(fetch(look_up(PLACE)))).unet is not None


def test_settings_that_are_too_large_and_a_full_disk_are_refused_before(server, monkeypatch):
    server.told["model_index.json"] = {"size": 10**9}
    assert "model_index.json: the hub tells 954 MiB of it" in refusal(look_up, PLACE)
    server.told["model_index.json"] = {"size": None}
    assert "tells no size" in refusal(look_up, PLACE)
    server.told.clear()
    model = look_up(PLACE)
    before = len(server.asked)
    monkeypatch.setattr(hub.shutil, "disk_usage", lambda _: type("Room", (), {"free": 10}))
    assert "10 bytes of the disk are free" in refusal(fetch, model)
    assert len(server.asked) == before


def test_a_hub_that_has_it_not_or_is_not_there_is_one_line(server, monkeypatch):
    assert "the hub has no such model for you" in refusal(look_up, "somebody/else")
    other = PLACE.replace(COMMIT, "f" * 40)
    assert "the hub names another commit" in refusal(look_up, other)
    assert "there is no x.safetensors" in refusal(look_up, "somebody/tiny/x.safetensors")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{free.getsockname()[1]}")
        assert "the hub cannot be reached" in refusal(look_up, PLACE)


@pytest.mark.parametrize(
    "place",
    [
        "",
        "tiny",
        "a/b/c",
        "../tiny",
        "a/../b",
        "a/b@",
        "a/b@x y",
        "/etc/passwd",
        "a/b/../c.safetensors",
    ],
)
def test_what_is_no_id_is_refused_before_anybody_is_asked(place, monkeypatch):
    monkeypatch.setattr(socket, "socket", None)
    assert "must look like OWNER/NAME" in refusal(look_up, place)


def test_only_a_commit_is_a_revision_that_stays():
    assert is_pinned(PLACE)
    assert not is_pinned("a/b") and not is_pinned("a/b@main") and not is_pinned(PLACE[:-1])


PIPELINE = ["model_index.json", "vae/config.json", "vae/diffusion_pytorch_model.safetensors"]
UNET = "unet/diffusion_pytorch_model"
SHARDS = [f"{UNET}-0000{k}-of-00002.safetensors" for k in (1, 2)]


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        ([*PIPELINE, f"{UNET}.fp16.safetensors", f"{UNET}.bin"], [f"{UNET}.fp16.safetensors"]),
        ([f"diffusion_pytorch_model{e}" for e in (".bin", ".safetensors")], None),
        (["v1.safetensors", "v1.ckpt", "README.md"], ["v1.safetensors"]),
        (
            [*PIPELINE, f"{UNET}.safetensors.index.json", *SHARDS],
            [*SHARDS, f"{UNET}.safetensors.index.json"],
        ),
    ],
)
def test_the_files_of_a_model_are_chosen(names, chosen):
    found = choose(names)
    assert set(chosen or ["diffusion_pytorch_model.safetensors"]) <= set(found) <= set(names)
    assert not [name for name in found if name.endswith((".bin", ".ckpt", ".md"))]


@pytest.mark.parametrize(
    ("names", "line"),
    [
        ([*PIPELINE, f"{UNET}.bin"], "its unet has no safetensors"),
        ([*PIPELINE], "its folder unet holds no weights"),
        ([*PIPELINE, "text_encoder_2/model.safetensors"], "this is Stable Diffusion XL"),
        ([*PIPELINE, "transformer/model.safetensors"], "this is a diffusion transformer"),
        (["a.safetensors", "b.safetensors"], "say one of a.safetensors, b.safetensors after it"),
        (["model.ckpt", "x/y.safetensors"], "holds no safetensors at its top"),
    ],
)
def test_what_has_no_such_files_is_named(names, line):
    assert line in refusal(choose, names)


def test_a_file_is_told_as_it_is_typed():
    model = hub.HubModel("a/b", COMMIT, (HubFile("c.safetensors", 5),), single=True)
    assert model.place == f"a/b/c.safetensors@{COMMIT}" and is_pinned(model.place)
    assert model.line == "a/b: 1 file, 5 bytes; no licence is named"
    assert json.dumps(model)
