"""Starting from a model: what fits is taken, kept in the run, told; a resume is to the byte."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from sd import runs
from sd.checkpoints.checkpoint import load_checkpoint
from sd.checkpoints.record import CARD, TRAINING, WEIGHTS, list_checkpoints
from sd.checkpoints.transfer import PLACES, WORDS, take_weights
from sd.common.device import Machine
from sd.common.validation import InputError
from sd.config import Config
from sd.data.image_set import ImageSet, read_images
from sd.runs import process
from sd.runs.bundle import pack
from sd.runs.preparing import start as starts
from sd.runs.preparing.start import START, choose_base, digest_at, settings_from
from sd.runs.worker import begin, restart, resume
from sd.training.loop import Training
from tests.helpers.commands import refused, said
from tests.helpers.first_stages import latent_settings
from tests.helpers.networks import with_weights
from tests.runs.test_resume import make_small_samples, same, tensors

Capture = pytest.CaptureFixture[str]
MACHINE = Machine("cpu", 1, "mkl", "CPU, 1 thread")
MORE = ("training.steps=4", "training.save_every=2", "training.sample_every=0")


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    make_small_samples(monkeypatch)


@pytest.fixture
def base(tiny_config: Config, pictures: Path, home: Path) -> Path:
    """A run of two steps that a home knows as "base"."""
    folder = home / "base"
    list(begin(tiny_config.with_settings([*MORE, "training.steps=2"]), str(pictures), folder))
    return folder


def started(config: Config, place: Path | str, *more: str) -> Config:
    return config.with_settings([*MORE, f"training.start_from={place}", *more])


def captioned(images: ImageSet, captions: list[str]) -> ImageSet:
    count = len(images.names)
    texts = tuple(captions[k % len(captions)] for k in range(count))
    return ImageSet(images.pixels, images.names, None, (), texts, images.report)


def labelled(images: ImageSet, names: list[str]) -> ImageSet:
    numbers = torch.arange(len(images.names)) % len(names)
    return ImageSet(images.pixels, images.names, numbers, tuple(names), None, images.report)


@pytest.fixture
def images(pictures: Path) -> ImageSet:
    return read_images(pictures, height=8, width=8, channels=1)


def test_of_a_like_network_all_is_taken_and_average_and_weights_begin_there(
    base: Path, tiny_config: Config, images: ImageSet
) -> None:
    model = load_checkpoint(base)
    training = Training(tiny_config, images, 5, MACHINE, start=model)
    wanted = model.network.stored_state()
    assert training.taken is not None
    assert training.taken.line == f"{len(wanted)} of {len(wanted)} tensors taken"
    for network in (training.network, training.model.network):
        assert all(torch.equal(each, wanted[name]) for name, each in network.stored_state().items())


def test_of_another_network_what_fits_is_taken_and_the_rest_is_new(
    base: Path, tiny_config: Config, images: ImageSet
) -> None:
    model = load_checkpoint(base)
    other = tiny_config.with_settings(["unet.patch_size=1", "training.input_height=4"])
    small = ImageSet(images.pixels[:, :, :4], images.names, None, (), None, images.report)
    training, fresh = (Training(other, small, 5, MACHINE, start=s) for s in (model, None))
    own, theirs = training.network.stored_state(), model.network.stored_state()
    new = fresh.network.stored_state()
    fits = {name for name in own if own[name].shape == theirs[name].shape}
    assert 0 < len(fits) < len(own)
    assert training.taken is not None
    assert training.taken.line == f"{len(fits)} of {len(own)} tensors taken"
    for name, each in own.items():
        assert torch.equal(each, theirs[name] if name in fits else new[name]), name


def test_words_known_to_both_keep_their_vectors(tiny_config: Config, images: ImageSet) -> None:
    config = tiny_config.with_settings(["conditioning.kind=captions", "conditioning.text_length=8"])
    old = Training(config, captioned(images, ["a red cat", "a blue dog"]), 0, MACHINE)
    with_weights(old.model.network)
    longer = config.with_settings(["conditioning.text_length=12"])
    pictures = captioned(images, ["a green cat", "one blue bird"])
    new, fresh = (Training(longer, pictures, 1, MACHINE, start=s) for s in (old.model, None))
    assert new.taken is not None and "; 3 of 6 words known to both" in new.taken.line
    vocabularies = [each.network.conditioner.vocabulary for each in (old, new)]  # type: ignore[union-attr]
    own, theirs, others = (
        each.stored_state() for each in (new.network, old.model.network, fresh.network)
    )
    places = [each.tokens.index for each in vocabularies]  # type: ignore[union-attr]
    for word, known in (("Ġblue", True), ("Ġcat", True), ("Ġbird", False)):
        row = own[WORDS][places[1](word)]
        wanted = theirs[WORDS][places[0](word)] if known else others[WORDS][places[1](word)]
        assert torch.equal(row, wanted), word
    assert torch.equal(own[PLACES][:8], theirs[PLACES])
    assert torch.equal(own[PLACES][8:], others[PLACES][8:])


@pytest.mark.parametrize("kind", ["class_tokens", "class_embedding"])
def test_classes_known_to_both_keep_their_vectors(
    tiny_config: Config, images: ImageSet, kind: str
) -> None:
    config = tiny_config.with_settings([f"conditioning.kind={kind}"])
    old = Training(config, labelled(images, ["cat", "dog"]), 0, MACHINE)
    with_weights(old.model.network)
    new = Training(config, labelled(images, ["bird", "cat", "fish"]), 1, MACHINE, start=old.model)
    assert new.taken is not None and "; 1 of 3 classes known to both" in new.taken.line
    table = "conditioner.token.weight" if kind == "class_tokens" else "label_emb.weight"
    own, theirs = new.network.stored_state()[table], old.model.network.stored_state()[table]
    assert torch.equal(own[1], theirs[0]) and torch.equal(own[3], theirs[2])  # cat, and the null
    assert not torch.equal(own[0], theirs[0])


def test_another_kind_of_condition_is_no_obstacle(
    base: Path, tiny_config: Config, images: ImageSet
) -> None:
    model = load_checkpoint(base)
    config = tiny_config.with_settings(["conditioning.kind=captions"])
    training = Training(config, captioned(images, ["a cat"]), 0, MACHINE, start=model)
    taken = training.taken
    assert taken is not None and 0 < taken.tensors < taken.of and not taken.known_of
    assert take_weights(model.network, training.model).tensors == taken.tensors


def test_a_run_records_what_it_started_from_and_is_resumed_to_the_byte(
    base: Path, tiny_config: Config, pictures: Path, home: Path
) -> None:
    digest = digest_at(list_checkpoints(base)[-1])
    config = started(tiny_config, "base")
    whole, folder = home / "whole", home / "stopped"
    list(begin(config, str(pictures), whole))
    for step in begin(config, str(pictures), folder):
        if step.step == 3:
            process.request(folder, process.STOP)
    shutil.rmtree(base)  # nobody needs it any more
    assert [step.step for step in resume(folder)] == [4]
    same(folder, whole)
    newest = list_checkpoints(folder)[-1]
    wanted = f"base@{digest}"
    assert Config.read(folder / runs.CONFIG).training.start_from == wanted
    about = load_checkpoint(folder).about["started_from"]
    assert about.startswith(f"{wanted}: ") and about.endswith(" tensors taken")
    assert about == load_checkpoint(whole).about["started_from"]
    assert f"- started_from: {about}" in (newest / CARD).read_text()
    assert not (folder / START / TRAINING).exists()
    assert [step.step for step in restart(folder)] == [1, 2, 3, 4]
    assert tensors(folder) == tensors(whole)


def test_a_run_killed_before_its_first_checkpoint_starts_from_the_same_again(
    base: Path, tiny_config: Config, pictures: Path, home: Path
) -> None:
    config = started(tiny_config, base)
    whole, folder = home / "whole", home / "killed"
    list(begin(config, str(pictures), whole))
    stream = begin(config, str(pictures), folder)
    next(stream)
    stream.close()
    shutil.rmtree(base)
    list(resume(folder))
    same(folder, whole)


def test_a_bundle_is_a_model_and_a_bundle_of_the_run_names_no_place(
    base: Path, tiny_config: Config, pictures: Path, home: Path, tmp_path: Path
) -> None:
    packed = pack(base, tmp_path / "away.zip")
    digest = digest_at(list_checkpoints(base)[-1])
    shutil.rmtree(base)
    folder = home / "from"
    list(begin(started(tiny_config, packed), str(pictures), folder))
    assert Config.read(folder / runs.CONFIG).training.start_from == f"away.zip@{digest}"
    again = pack(folder, tmp_path / "again.zip")
    assert str(tmp_path).encode() not in again.read_bytes()


@pytest.mark.parametrize("place", ["nobody", "../base", "no/such/place", "base@0123456789abcdef"])
def test_what_is_no_model_is_one_line_before_a_picture_is_read(
    base: Path, tiny_config: Config, pictures: Path, home: Path, place: str
) -> None:
    folder = home / "run"
    with pytest.raises(InputError, match=r"^training.start_from = '.*: (no model of|the model of)"):
        list(begin(started(tiny_config, place), str(pictures), folder))
    assert runs.status(folder).state == "failed" and not (folder / runs.PICTURES).exists()
    list(begin(started(tiny_config, "base"), str(pictures), folder))  # begun anew in its place


def test_a_damaged_model_is_refused(
    base: Path, tiny_config: Config, pictures: Path, home: Path
) -> None:
    path = list_checkpoints(base)[-1] / WEIGHTS
    data = bytearray(path.read_bytes())
    data[-9] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match="damaged"):
        list(begin(started(tiny_config, "base"), str(pictures), home / "run"))


def test_a_latent_model_gives_its_space_too(
    tiny_config: Config, pictures: Path, home: Path, tmp_path: Path
) -> None:
    config = latent_settings(tmp_path, tiny_config, *MORE)
    list(begin(config, str(pictures), home / "latent"))
    some = tmp_path / "some"
    some.mkdir()
    for path in sorted(pictures.iterdir())[:5]:
        shutil.copy(path, some)
    known = load_checkpoint(home / "latent").latents
    assert known is not None
    stored = settings_from("latent", tiny_config).with_settings(["training.steps=1"])
    assert stored.first_stage.autoencoder == "stored"
    named = started(config, "latent", "training.steps=1")
    other = latent_settings(tmp_path, tiny_config, *MORE, "training.start_from=latent", seed=1)
    for name, settings, is_same in (("a", stored, True), ("b", named, True), ("c", other, False)):
        list(begin(settings, str(some), home / name))
        found = load_checkpoint(home / name).latents
        assert found is not None
        assert torch.equal(found.mean, known.mean) == is_same, name
    plain = tiny_config.with_settings(["training.steps=1"])
    list(begin(plain, str(pictures), home / "pixels"))
    refusing = stored.with_settings(["training.start_from=pixels"])
    with pytest.raises(InputError, match="the model that training starts from sees pixels"):
        list(begin(refusing, str(pictures), home / "refused"))


def test_the_command_starts_from_a_model_with_its_settings(
    base: Path, pictures: Path, home: Path, capsys: Capture
) -> None:
    printed: dict[str, Any] = {}
    words = ["train", pictures, "--from", "base", "--steps", 2, "--run", home / "made"]
    assert said(capsys, *words, "--set", "training.sample_early=[]").startswith("finished 2 steps")
    config, own = (Config.read(home / name / runs.CONFIG) for name in ("made", "base"))
    assert (config.unet, config.diffusion) == (own.unet, own.diffusion)
    assert config.training.batch_size == own.training.batch_size
    assert config.training.held_out == Config.preset("tiny").training.held_out
    start = next(each for each in runs.events(home / "made") if each["event"] == "start")
    printed.update(start)
    assert printed["started_from"].startswith("base@")
    line = refused(capsys, "train", "--run", home / "made", "--resume", "--from", "base")
    assert line == "--resume: --from cannot be given; a run keeps its own"
    assert "no model of that name" in refused(capsys, "train", pictures, "--from", "nobody")


def test_minutes_from_a_model_are_planned_with_its_settings(
    base: Path, pictures: Path, capsys: Capture
) -> None:
    found: Mapping[str, Any] = json.loads(
        said(capsys, "plan", pictures, "--from", base, "--minutes", 0.5, "--json")
    )
    config = Config.preset(found["preset"]).with_settings(found["settings"])
    own = Config.read(base / runs.CONFIG)
    assert config.unet == own.unet and config.training.minutes == 0.5
    assert config.training.start_from == str(base)
    assert found["reasons"][0]["line"].startswith("It starts from the weights of base, with its ")
    assert found["forecast"]["seconds"] == 30


@pytest.mark.parametrize(
    ("preset", "more", "source", "base"),
    [
        ("tiny", (), "mine", "emoji32"),
        ("tiny", ("unet.context_dim=128", "training.batch_size=16"), "mine", "emoji32"),
        ("tiny", (), "starter", None),  # whose pictures that has seen
        ("tiny", ("training.input_width=40",), "mine", None),
        ("tiny", ("unet.channel=1", "unet.n_embed=1"), "mine", None),
        ("tiny", ("unet.model_channels=64",), "mine", None),
        ("tiny", ("diffusion.prediction=v",), "mine", None),
        ("small", (), "mine", None),
        ("latent128", (), "mine", None),
    ],
)
def test_a_base_is_a_bundled_model_of_the_same_network_and_size(
    preset: str, more: tuple[str, ...], source: str, base: str | None
) -> None:
    assert choose_base(Config.preset(preset).with_settings(list(more)), source) == base


@pytest.mark.parametrize("fits", [True, False])
def test_auto_is_decided_when_a_run_begins_and_stays(
    base: Path,
    tiny_config: Config,
    pictures: Path,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    fits: bool,
) -> None:
    monkeypatch.setattr("sd.runs.home.BUNDLED_RUNS", home)
    monkeypatch.setattr(starts, "BASES", ("base",))
    folder, size = home / "auto", "training.input_height=" + ("8" if fits else "12")
    list(begin(started(tiny_config, "auto", size), str(pictures), folder))
    found = Config.read(folder / runs.CONFIG).training.start_from
    digest = digest_at(list_checkpoints(base)[-1])
    assert found == (f"base@{digest}" if fits else None)
    assert ("started_from" in load_checkpoint(folder).about) == fits
    shutil.rmtree(base)
    list(restart(folder))
    assert Config.read(folder / runs.CONFIG).training.start_from == found


def test_a_plan_starts_from_a_base_where_it_is_asked_to(
    base: Path, pictures: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starts, "choose_base", lambda config, source: "emoji32")
    words = ("plan", pictures, "--minutes", 0.2, "--json")
    found = json.loads(said(capsys, *words, "--from", "auto"))
    assert "training.start_from=auto" in found["settings"]
    assert found["reasons"][1]["line"].startswith("It starts from the weights of emoji32, which ")
    for more in ((), ("--from", base)):
        told = json.loads(said(capsys, *words, *more))
        assert "training.start_from=auto" not in told["settings"]
        assert "started_auto" not in [each["kind"] for each in told["reasons"]]
    given = said(capsys, "plan", pictures, "--from", "auto", "--steps", 9, "--json")
    assert json.loads(given)["settings"] == ["training.steps=9", "training.start_from=auto"]
