"""The price of a LoRA: measured with its model, one sample at a time; told by `plan --lora`."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sd.checkpoints.pretrained.building import open_pretrained
from sd.cli.parser import main
from sd.common.device import Machine
from sd.config import Config
from sd.config.sections import STORED, FirstStageConfig
from sd.networks.autoencoder import AutoencoderKL
from sd.networks.clip.text import CLIPText
from sd.networks.unet import UNetModel
from sd.runs.preparing.start import lora_settings
from sd.training.monitoring import EVALUATED, LEVELS, LORA_STEPS, SAMPLE_COUNT
from sd.training.planning import forecast
from sd.training.planning.lora import lora_lines
from sd.training.planning.planner import Plan
from tests.benchmarks.published import V1
from tests.helpers import published

LATENT = FirstStageConfig(autoencoder=STORED, factor=8, latent_scale=0.18215)
CPU = Machine("cpu", 1, "mkl", "CPU, 1 thread")
SMALL = ("training.input_height=16", "training.input_width=16", "training.lora_rank=2")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("base")
    return str(published.write_single(folder / "model.safetensors"))


def test_a_lora_is_measured_with_its_model_one_sample_at_a_time(
    base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = lora_settings(base, Config.preset("lora")).with_settings(SMALL)
    batches: dict[str, list[int]] = {"unet": [], "decode": [], "text": []}

    def noting(kind: type, name: str, what: str) -> None:
        plain = getattr(kind, name)

        def noted(self: object, x: torch.Tensor, *more: object) -> object:
            batches[what].append(len(x))
            return plain(self, x, *more)

        monkeypatch.setattr(kind, name, noted)

    noting(UNetModel, "forward", "unet")
    noting(AutoencoderKL, "decode", "decode")
    noting(CLIPText, "forward", "text")
    ticks = iter(range(10**6))
    monkeypatch.setattr(forecast.time, "perf_counter", lambda: float(next(ticks)))
    measured = forecast.measure(config, CPU, 0.0)
    assert max(batches["unet"]) <= 2 and set(batches["decode"]) == {1}  # cond and uncond at most
    assert batches["text"]
    calls = 2 * SAMPLE_COUNT * LORA_STEPS + 2 * LEVELS * EVALUATED / 2
    # A tick for each look at the clock: one between steps, one around a decoding.
    assert measured.samples == pytest.approx(calls + 2 * SAMPLE_COUNT, rel=0.6)
    assert measured.encode == 2  # of a caption and of a picture
    assert open_pretrained(base).config.unet == config.unet


def test_a_plan_tells_what_a_lora_takes_and_trains(
    base: str, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = sorted(each for each in pictures.iterdir() if each.suffix == ".png")
    for each in names:
        each.with_suffix(".txt").write_text("a square")
    settings = [word for each in SMALL for word in ("--set", each)]
    words = ["plan", str(pictures), "--lora", base, "--steps", "5", *settings]
    assert main(words) == 0
    said = capsys.readouterr().out
    config = lora_settings(base, Config.preset("lora")).with_settings(SMALL)
    trained = sum(
        each.numel()
        for each in forecast.Training(
            config,
            forecast.random_pictures(config),
            0,
            CPU,
            start=open_pretrained(base).resized(16, 16),
        ).network.unet.parameters()
    )
    assert "5 steps of " in said and f"a LoRA of rank 2: {trained:,} values are trained" in said
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["forecast"]["steps"] == 5


def test_smaller_pictures_are_offered_with_their_price() -> None:
    config = Config.preset("lora").with_settings(["training.lora_rank=8"])
    measured = forecast.Measurement(step=10.0, samples=1.0, save=1.0)
    config = replace(config, unet=V1, first_stage=LATENT)
    told = Plan(config, (), forecast.extrapolate(config, 40, CPU, measured, 1.0))
    lines = lora_lines(told)
    assert lines[0].startswith("a LoRA of rank 8: 1,594,368 values are trained, the 859,520,964 of")
    assert lines[1].startswith("pictures of 256 x 256 (--set training.input_height=256 --set ")
    assert 1.5 < float(lines[1].rpartition(": about ")[2].split()[0]) < 2.6  # a fifth
    small = config.with_settings(["training.input_height=256", "training.input_width=256"])
    assert len(lora_lines(replace(told, config=small))) == 1
    assert lora_lines(replace(told, config=Config())) == []
