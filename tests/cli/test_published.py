"""Published models on the command line: reported and sampled, and their pictures made again."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from sd.cli.parser import main
from sd.generation.export import read_recipe
from sd.generation.registry import ModelEntry, digest
from sd.networks.autoencoder import AutoencoderKL
from sd.networks.clip.text import CLIPText
from tests.helpers import published
from tests.helpers.commands import refused, said

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published.write_single(tmp_path_factory.mktemp("single") / "model.safetensors")


def test_info_prints_the_loading_report(single: Path, capsys: Capture) -> None:
    lines = said(capsys, "info", single).splitlines()
    assert lines[0].startswith("model.safetensors: built like Stable Diffusion")
    assert lines[1].startswith("├─ U-Net: 324 of 324 tensors, 1,466,500 parameters as float32")
    told = json.loads(said(capsys, "info", f"{single}#prediction=v", "--json"))
    assert [each["name"] for each in told["guesses"]] == ["heads", "zero_snr"]


def test_a_published_model_is_sampled_and_its_picture_made_again(
    single: Path, tmp_path: Path, capsys: Capture
) -> None:
    first, again, other = (tmp_path / f"{name}.png" for name in ("cat", "again", "other"))
    words = ["--prompt", "a (red:1.3) cat", "--steps", 2, "--size", "16", "--device", "cpu"]
    said(capsys, "sample", f"{single}#prediction=v", *words, "--out", first)
    said(capsys, "sample", "--recipe", first, "--device", "cpu", "--out", again)
    assert first.read_bytes() == again.read_bytes()
    with open(single, "r+b") as file:  # another model by now
        file.seek(-1, 2)
        last = file.read(1)[0]
        file.seek(-1, 2)
        file.write(bytes([last ^ 1]))
    try:
        assert "with other weights" in refused(capsys, "sample", "--recipe", first, "--out", other)
    finally:
        single.write_bytes(single.read_bytes()[:-1] + bytes([last]))


def test_the_text_encoder_is_let_go_once_the_prompt_is_read(
    single: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, decode = CLIPText.forward, AutoencoderKL.decode
    encoders, held = list[CLIPText](), set[str]()

    def reading(self: CLIPText, *given: Any) -> Tensor:
        encoders.append(self)
        return read(self, *given)

    def decoding(self: AutoencoderKL, z: Tensor) -> Tensor:
        held.update(part.device.type for each in encoders for part in each.parameters())
        return decode(self, z)

    monkeypatch.setattr(CLIPText, "forward", reading)
    monkeypatch.setattr(AutoencoderKL, "decode", decoding)
    words = ["--prompt", "a cat", "--steps", 1, "--size", "16", "--device", "cpu"]
    said(capsys, "sample", single, *words, "--out", tmp_path / "cat.png")
    assert held == {"meta"}


def test_a_choice_that_is_not_known_is_named(single: Path, capsys: Capture) -> None:
    line = refused(capsys, "sample", f"{single}#predicton=v", "--steps", 1)
    assert "choice = 'predicton'" in line and "did you mean 'prediction'" in line


def test_the_digest_counts_what_is_said_to_a_model(single: Path, tmp_path: Path) -> None:
    vae = tmp_path / "vae.safetensors"
    vae.write_bytes(b"one")
    entries = [ModelEntry("", f"{single}{end}", published=True) for end in ("", f"#vae={vae}")]
    plain, one = map(digest, entries)
    vae.write_bytes(b"two")
    assert len({plain, one, digest(entries[1])}) == 3


def test_what_is_no_model_is_refused_in_a_line(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "page.safetensors").write_text("<!DOCTYPE html><html>" + " " * 99)
    for command in ("info", "sample"):
        line = refused(capsys, command, tmp_path / "page.safetensors")
        assert line.startswith("page.safetensors: it is a web page, not the file itself")


def test_a_model_is_exported_as_a_file_and_as_a_folder(
    single: Path, tmp_path: Path, capsys: Capture
) -> None:
    file, folder = tmp_path / "out.safetensors", tmp_path / "folder"
    words = ["--dtype", "float16"]
    assert said(capsys, "export", single, "--out", file, *words) == f"written: {file}\n"
    assert "is there already" in refused(capsys, "export", single, "--out", file)
    said(capsys, "export", file, "--out", folder, *words)
    for made in (file, folder):
        lines = said(capsys, "info", made).splitlines()
        assert "U-Net: 324 of 324 tensors, 1,466,500 parameters as float16" in lines[1]
    line = refused(capsys, "export", "ideal:shapes", "--out", tmp_path / "ideal.safetensors")
    assert "has no weights to write" in line


def test_another_programs_picture_gives_its_prompts_and_settings(
    single: Path, tmp_path: Path, capsys: Capture
) -> None:
    text = "a (red:1.3) cat <lora:fur:0.8>\nNegative prompt: dog\nSteps: 2, Sampler: Euler a, "
    text += "CFG scale: 5, Seed: 7, Size: 16x8, Model: v1-5, Clip skip: 2, Hires upscale: 2"
    info = PngInfo()
    info.add_text("parameters", text)
    Image.new("RGB", (2, 2)).save(tmp_path / "theirs.png", pnginfo=info)
    out = tmp_path / "ours.png"
    words = ["--like", tmp_path / "theirs.png", "--seed", 3, "--device", "cpu", "--out", out]
    assert main(["sample", str(single), *map(str, words)]) == 0
    lines = capsys.readouterr().err
    told = read_recipe(out)
    recipe = told["recipe"]
    assert told["license"] == "CreativeML Open RAIL-M"
    assert recipe["prompts"] == ["a (red:1.3) cat"] and recipe["negative"] == "dog"
    told = {name: recipe[name] for name in ("steps", "sampler", "guidance", "seed", "size")}
    assert told == {
        **{"steps": 2, "sampler": "euler_ancestral", "guidance": [5.0], "seed": 3},
        "size": [8, 16],
    }
    for part in ("v1-5", "#lora=fur@0.8", "#clip_skip=2", "not taken: Hires upscale", "a GPU"):
        assert part in lines
    line = refused(capsys, "sample", single, "--like", out, "--out", tmp_path / "other.png")
    assert line == "ours.png: a PNG without the settings of another program"
