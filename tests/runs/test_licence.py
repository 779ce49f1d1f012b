"""Stable Diffusion's licence goes along with what was trained on it: card, file, bundle."""

import zipfile
from pathlib import Path

import pytest
from safetensors.torch import save_file

from sd.checkpoints.checkpoint import load_checkpoint
from sd.checkpoints.pretrained.building import open_pretrained
from sd.checkpoints.pretrained.export import write_pipeline, write_single
from sd.checkpoints.pretrained.header import read_header
from sd.checkpoints.record import CARD, LICENSE, RAIL_M, RAIL_M_NAME, newest_checkpoint, read_about
from sd.config import Config
from sd.runs.bundle import pack
from sd.runs.unbundle import unpack
from sd.runs.worker import begin
from tests.helpers import published
from tests.helpers.first_stages import LATENT, latent_settings
from tests.runs.test_resume import make_small_samples

MORE = ("training.steps=1", "training.save_every=0", "training.sample_every=0")


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    make_small_samples(monkeypatch)


@pytest.fixture
def run(tiny_config: Config, pictures: Path, home: Path) -> Path:
    """A run of one step in the latents of an autoencoder as Stable Diffusion's is built."""
    file = home / "vae.safetensors"
    save_file(published.autoencoder_state(), file)
    config = tiny_config.with_settings([*LATENT, f"first_stage.autoencoder={file}", *MORE])
    list(begin(config, str(pictures), home / "restricted"))
    return home / "restricted"


def is_told(folder: Path) -> bool:
    """Tell whether card, record and model of a checkpoint name the licence; all or none."""
    checkpoint = newest_checkpoint(folder)
    card = (checkpoint / CARD).read_text()
    told = [
        f"license: {RAIL_M}" in card,
        "Open RAIL-M" in " ".join(card.split()),
        read_about(checkpoint).get(LICENSE) == RAIL_M,
        load_checkpoint(checkpoint).is_restricted,
    ]
    assert len(set(told)) == 1, told
    return told[0]


def test_it_goes_along_with_a_run_in_the_latents_of_its_autoencoder(
    run: Path, tmp_path: Path
) -> None:
    assert is_told(run)
    bundle = pack(run, tmp_path / "run.zip")
    with zipfile.ZipFile(bundle) as packed:
        (card,) = (name for name in packed.namelist() if name.endswith(CARD))
        assert RAIL_M.encode() in packed.read(card)
    assert is_told(unpack(bundle, tmp_path / "other"))


def test_it_goes_along_with_what_is_exported(run: Path, tmp_path: Path) -> None:
    model = load_checkpoint(run)
    file, folder = tmp_path / "model.safetensors", tmp_path / "folder"
    write_single(model, file)
    assert read_header(file).metadata["modelspec.license"] == RAIL_M_NAME
    assert open_pretrained(str(file)).is_restricted
    write_pipeline(model, folder)
    assert f"license: {RAIL_M}" in (folder / CARD).read_text()


def test_it_goes_along_with_a_run_that_starts_from_such_a_model(
    run: Path, tiny_config: Config, pictures: Path, home: Path
) -> None:
    config = latent_settings(home, tiny_config, *MORE)  # in the latents of an autoencoder of sd
    list(begin(config, str(pictures), home / "own"))
    assert not is_told(home / "own")
    begun = config.with_settings([f"training.start_from={run}"])
    list(begin(begun, str(pictures), home / "started"))
    assert is_told(home / "started")


def test_it_is_not_told_of_ones_own(
    tiny_config: Config, pictures: Path, home: Path, tmp_path: Path
) -> None:
    config = latent_settings(tmp_path, tiny_config, *MORE)
    list(begin(config, str(pictures), home / "own"))
    model = load_checkpoint(home / "own")
    write_single(model, tmp_path / "model.safetensors")
    assert "modelspec.license" not in read_header(tmp_path / "model.safetensors").metadata
    assert not open_pretrained(str(tmp_path / "model.safetensors")).is_restricted
