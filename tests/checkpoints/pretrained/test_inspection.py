"""The loading report: what of a file fills what, told by names and shapes alone."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from sd.checkpoints.pretrained.choices import Choices, parse_place
from sd.checkpoints.pretrained.inspection import inspect
from sd.common.validation import InputError
from tests.helpers import published


def test_the_report_of_a_single_file_names_its_parts_and_what_is_not_used(tmp_path):
    report = inspect(published.write_single(tmp_path / "model.safetensors"))
    titles = [line for line in report.lines() if line[0] in "├└"]
    assert [title[3:].partition(":")[0] for title in titles[:3]] == [
        "U-Net",
        "autoencoder",
        "text encoder",
    ]
    assert all(part.whole and not part.unexpected for part in report.parts)
    assert set(report.ignored) == set(published.LEFT_OVER)
    assert any("position_ids" in note for note in report.notes)
    assert [guess.name for guess in report.guesses] == ["heads", "zero_snr", "prediction"]
    assert report.to_json()["parts"][0]["matched"] == 324


def test_what_is_missing_unknown_reshaped_and_of_another_shape_is_named(tmp_path):
    state = published.single_state()
    prefix = "model.diffusion_model."
    del state[f"{prefix}time_embed.0.bias"]
    state[f"{prefix}of_tomorrow"] = torch.zeros(1)
    state["of_nobody"] = torch.zeros(1)
    state[f"{prefix}out.0.weight"] = torch.zeros(3)
    name = "input_blocks.1.1.proj_in.weight"
    state[prefix + name] = state[prefix + name].reshape(32, 32)
    state[prefix + "middle_block.1.proj_in.weight"] = torch.zeros(64, 64, 1, 1)
    report = inspect(published.write_single(tmp_path / "model.safetensors", state))
    unet = report.parts[0]
    assert list(unet.missing) == ["time_embed.0.bias"]
    assert list(unet.unexpected) == ["of_tomorrow"]
    assert list(unet.reshaped) == [name, *[n for n in unet.reshaped if n != name]]
    assert list(unet.mismatched) == ["out.0.weight is [3], not [32]"]
    assert list(report.unknown) == ["of_nobody"]
    text = "\n".join(report.lines())
    assert "missing: 1 (time_embed.0.bias)" in text
    assert "unknown, not read: 1 (of_nobody)" in text


def test_a_folder_fills_the_same_parts_and_its_settings_are_no_guesses(tmp_path):
    scheduler = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
    report = inspect(published.write_folder(tmp_path / "model", scheduler=scheduler))
    assert [part.name for part in report.parts] == ["unet", "autoencoder", "text"]
    assert all(part.whole and not part.unexpected for part in report.parts)
    assert report.settings["prediction"] == "v"
    assert report.settings["zero_terminal_snr"] is True
    assert not report.guesses


def test_averaged_weights_are_a_part_of_their_own_and_preferred(tmp_path):
    state, prefix = published.single_state(), "model.diffusion_model."
    averaged = {
        "model_ema." + name.removeprefix("model.").replace(".", ""): each + 1
        for name, each in state.items()
        if name.startswith(prefix)
    }
    path = published.write_single(tmp_path / "model.safetensors", state | averaged)
    report = inspect(path)
    used = {part.name: part.used for part in report.parts if part.name.startswith("unet")}
    assert used == {"unet": False, "unet_ema": True}
    assert report.parts[1].whole
    raw = inspect(path, Choices(weights="raw"))
    assert {part.name: part.used for part in raw.parts if part.name.startswith("unet")} == {
        "unet": True,
        "unet_ema": False,
    }


@pytest.mark.parametrize(
    ("change", "prediction"),
    [({"v_pred": torch.zeros(0)}, "v"), ({}, "eps")],
)
def test_marks_in_the_file_tell_what_it_estimates(tmp_path, change, prediction):
    state = published.single_state(text=False, vae=False) | change
    report = inspect(published.write_single(tmp_path / "model.safetensors", state))
    assert report.settings["prediction"] == prediction


def test_metadata_tell_what_it_estimates(tmp_path):
    state = published.single_state(text=False, vae=False)
    metadata = {"modelspec.prediction_type": "v"}
    report = inspect(published.write_single(tmp_path / "model.safetensors", state, metadata))
    assert report.settings["prediction"] == "v"
    absent = [note for note in report.notes if note.startswith("no ")]
    assert [note.partition(":")[0] for note in absent] == ["no autoencoder", "no text encoder"]


def test_what_a_person_says_is_no_guess(tmp_path):
    path = published.write_single(tmp_path / "model.safetensors")
    _, choices = parse_place(f"{path}#prediction=v,heads=4,zero_snr=yes")
    report = inspect(path, choices)
    assert not report.guesses
    assert report.settings["prediction"] == "v"
    assert report.settings["zero_terminal_snr"]
    assert report.parts[0].config.num_heads == 4


@pytest.mark.parametrize("words", ["prediction", "prediction=w", "colour=red", "heads=x"])
def test_an_unfit_choice_is_refused_in_one_line(tmp_path, words):
    with pytest.raises(InputError) as error:
        parse_place(f"{tmp_path / 'model.safetensors'}#{words}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("state", "part"),
    [
        (published.unet_state(), "unet"),
        (published.unet_state(theirs=True), "unet"),
        (published.autoencoder_state(), "autoencoder"),
        (published.autoencoder_state(theirs=True), "autoencoder"),
        (published.text_state(), "text"),
        (published.prefixed("text_model.", published.text_state()), "text"),
    ],
)
def test_a_file_of_one_part_is_told_by_its_names(tmp_path, state, part):
    save_file(state, tmp_path / "part")  # no ending either
    report = inspect(tmp_path / "part")
    assert [each.name for each in report.parts] == [part]
    assert report.parts[0].whole


def test_projections_that_are_matrices_and_no_middle_are_told_by_shapes(tmp_path):
    config = replace(published.UNET, middle=False, num_heads=-1, num_head_channels=64)
    config = replace(config, model_channels=64)
    save_file(published.unet_state(config, linear=True, theirs=True), tmp_path / "unet")
    found = inspect(tmp_path / "unet").parts[0]
    assert found.config == config
    assert len(found.reshaped) == 6 * 2


def test_a_report_is_made_without_torch(tmp_path):
    path = published.write_single(tmp_path / "model.safetensors", published.unet_state())
    code = (
        "import sys; from pathlib import Path\n"
        "from sd.checkpoints.pretrained.inspection import inspect\n"
        f"print(len(inspect(Path({str(path)!r})).parts), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "False"]
