"""What a person does to a run reaches it through its folder, and only where it can."""

import os
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from gradio.utils import get_upload_folder

from sd import runs
from sd.checkpoints.adapted import open_base
from sd.checkpoints.adapters.lora import match_lora, read_lora
from sd.checkpoints.checkpoint import save_checkpoint
from sd.checkpoints.model import Model
from sd.checkpoints.pretrained.building import open_pretrained
from sd.common.marks import is_marked
from sd.common.validation import InputError
from sd.config import Config
from sd.networks.adapters.training import EncodedCaptions
from sd.runs import process
from sd.runs.preparing.start import lora_settings
from sd.training.adapters.base import adapt
from sd.training.randomness import new_network
from sd.ui.adapter import scratch
from sd.ui.adapter.served_files import file_data, store
from sd.ui.train import control
from tests.helpers import published
from tests.helpers.made import made_run, revive, write_events
from tests.helpers.networks import with_weights

ENGLISH: Any = SimpleNamespace(headers={"accept-language": "en"})
BAD_NAMES = ["..", "../x", "", None, 7, "nope", "/etc"]
LIVING = ("pause", "go_on", "stop", "leave", "sample_now", "save_now")


def press(what: str, run: Any, **more: Any) -> Any:
    return control.press(ENGLISH, gr.EventData(None, {"do": what, "run": run, **more}))


def take_away(run: Any, form: str, whole: Any) -> Path:
    sent = control.take_away(gr.EventData(None, {"run": run, "form": form, "whole": whole}))
    file = sent["panel"]["file"]
    assert Path(file["src"]["path"]).name == file["name"]
    return Path(file["src"]["path"])


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Toasts need a page."""
    monkeypatch.setattr(gr, "Info", lambda *_, **__: None)


@pytest.fixture
def alive(home: Path) -> Path:
    """A run whose process lives."""
    return revive(made_run(home, "alive", steps=52, end=None))


def test_requests_are_files_in_the_runs_folder(alive: Path) -> None:
    for what in ("pause", "sample_now", "save_now"):
        assert press(what, "alive") == {"panel": {"ask": True}}
    asked = {name for name in process.REQUESTS if (alive / name).exists()}
    assert asked == {"pause", "sample", "save"}
    press("go_on", "alive")
    press("stop", "alive")
    assert not (alive / "pause").exists() and (alive / "stop").exists()


def test_a_second_stop_is_not_a_kill(alive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    press("stop", "alive")
    killed: list[Path] = []
    monkeypatch.setattr(process, "kill", killed.append)
    press("stop", "alive")
    assert killed == []
    press("leave", "alive")
    assert killed == [alive]


@pytest.mark.parametrize("what", LIVING)
def test_a_run_that_ended_cannot_be_steered(home: Path, what: str) -> None:
    made_run(home, steps=52)
    with pytest.raises(gr.Error, match="it is not running"):
        press(what, "made")


@pytest.mark.parametrize("what", [*LIVING, "resume", "further", "choose"])
@pytest.mark.parametrize("name", BAD_NAMES)
def test_steering_takes_only_names_of_runs(home: Path, what: str, name: Any) -> None:
    with pytest.raises(gr.Error):
        press(what, name, minutes=3)


@pytest.mark.parametrize("what", ["nope", None, 7, ["stop"], "__init__"])
def test_only_a_button_that_there_is_can_be_pressed(home: Path, what: Any) -> None:
    made_run(home, steps=52)
    with pytest.raises(gr.Error, match="button = "):
        press(what, "made")


def test_more_minutes_count_from_where_the_run_was_saved(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made_run(home, steps=52, end=None)
    asked: list[Any] = []
    monkeypatch.setattr(runs, "resume", lambda *given, **more: asked.append((given, more)))
    press("further", "made", minutes=2.5)
    assert asked == [((runs.default_home(), folder), {"minutes": 2.5})]


@pytest.mark.parametrize("minutes", [0, -1, None, "7", True, 10**400])
def test_minutes_to_add_are_checked(home: Path, minutes: Any) -> None:
    made_run(home, steps=52)
    with pytest.raises(gr.Error, match="minutes to add = "):
        press("further", "made", minutes=minutes)


def test_the_runs_are_listed_newest_first(home: Path) -> None:
    os.utime(made_run(home, "a", steps=52) / runs.CONFIG, (1, 1))
    made_run(home, "b", steps=52)
    assert press("runs", "") == {"panel": {"runs": ["b", "a"]}}
    assert press("choose", "a") == {"panel": {"choose": "a"}}


def test_a_run_is_drawn_with_only_where_it_was_saved(home: Path, tmp_path: Path) -> None:
    folder = made_run(home, steps=52)
    (folder / "checkpoint-000000052").mkdir()
    (folder / "checkpoint-000000052" / "checkpoint.json").write_text("{}")
    made_run(home, "unsaved", steps=52)
    drawn = control.draw_with(gr.EventData(None, {"run": "made"}))
    assert drawn == {"model": "made"}
    assert control.follow_model("made") == {"panel": {"follow": "made"}}
    assert control.follow_model("ideal:starter") == {}
    with pytest.raises(gr.Error, match="model = 'unsaved'"):
        control.draw_with(gr.EventData(None, {"run": "unsaved"}))


def test_a_run_that_cannot_go_on_says_so(home: Path) -> None:
    made_run(home, steps=52)
    with pytest.raises(gr.Error, match="made"):
        press("resume", "made")


def test_a_bundle_that_fails_leaves_nothing(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sd.runs import bundle  # noqa: PLC0415

    made_run(home, steps=52)
    made: list[Path] = []

    def pack(folder: Path, target: Path, resumable: bool) -> Path:
        made.append(target.parent)
        raise InputError("made: no checkpoint")

    monkeypatch.setattr(bundle, "pack", pack)
    with pytest.raises(gr.Error, match="no checkpoint"):
        take_away("made", "zip", True)
    assert made and not made[0].exists()


def test_a_bundle_is_handed_over_and_gone_within_the_hour(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sd.runs import bundle  # noqa: PLC0415

    made_run(home, steps=52)
    given: list[Any] = []

    def pack(folder: Path, target: Path, resumable: bool) -> Path:
        given.append(resumable)
        target.write_bytes(b"zip")
        return target

    monkeypatch.setattr(bundle, "pack", pack)
    path = take_away("made", "zip", False)
    assert path.name == "made.zip" and path.is_file() and given == [False]
    assert path.is_relative_to(get_upload_folder())  # from where gradio serves it without a copy
    scratch.sweep(time.time() + 3600)
    assert not path.parent.exists()
    with pytest.raises(gr.Error, match="whole = "):
        take_away("made", "zip", "yes")


@pytest.mark.parametrize("form", ["png", "gif", "webp", "mp4"])
def test_a_film_of_the_samples_is_handed_over(home: Path, form: str) -> None:
    made_run(home, steps=108)
    path = take_away("made", form, True)
    assert path.name == f"made.{form}" and path.stat().st_size > 2**10
    assert is_marked(path.read_bytes())


def test_a_model_is_handed_over_for_other_programs(home: Path, tiny_config: Config) -> None:
    made_run(home, steps=52)
    network = with_weights(new_network(tiny_config, 0))
    about = {"step": 4, "seed": 0}
    save_checkpoint(Model(network, tiny_config), home / "made" / "checkpoint-000000052", about)
    path = take_away("made", "safetensors", True)
    assert path.name == "made.safetensors"
    assert open_pretrained(str(path)).config == tiny_config
    path = take_away("made", "diffusers", True)
    with zipfile.ZipFile(path) as packed:
        assert path.name == "made.zip" and "made/pipeline.py" in packed.namelist()
    assert [each.name for each in path.parent.iterdir()] == ["made.zip"]


def test_of_a_run_that_trained_a_lora_that_is_handed_over(home: Path, tmp_path: Path) -> None:
    """Not the model that it is for, which has not changed."""
    base = str(published.write_single(tmp_path / "model.safetensors"))
    small = ["training.input_height=16", "training.input_width=16", "training.lora_rank=2"]
    config = lora_settings(base, Config.preset("lora")).with_settings(small)
    model = open_base(config)
    assert model.conditioner is not None
    captions = EncodedCaptions(model.conditioner, ("a cat",), 77)
    made = Model(adapt(model, config, 0), config, conditioner=captions, latents=model.latents)
    made_run(home, steps=52)
    save_checkpoint(made, home / "made" / "checkpoint-000000052", {"step": 52, "seed": 0})
    file = read_lora(take_away("made", "safetensors", True))
    assert match_lora(file, config.unet, {}).unet and file.label == "made.safetensors"
    with zipfile.ZipFile(take_away("made", "diffusers", True)) as packed:
        assert [name for name in packed.namelist() if not name.endswith("/")] == [
            "made/pytorch_lora_weights.safetensors"
        ]


def test_a_run_that_has_no_film_says_why(home: Path) -> None:
    made_run(home, steps=52)
    with pytest.raises(gr.Error, match="made: has samples of one step alone; a film needs"):
        take_away("made", "webp", True)
    with pytest.raises(gr.Error, match="form = "):
        take_away("made", "html", True)


def test_an_opened_bundle_is_shown(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sd.runs import unbundle  # noqa: PLC0415

    sent_file = store(b"zip", "a.zip")

    def unpack(archive: Path, into: Path) -> Path:
        assert (archive, into) == (sent_file, home)
        return write_events(home / "opened", {"event": "finished", "step": 4})

    monkeypatch.setattr(unbundle, "unpack", unpack)
    sent = control.open_bundle(gr.EventData(None, {"file": str(sent_file)}))
    assert sent == {"panel": {"choose": "opened"}}
    for file in (None, ["a.zip"], "a.zip", "/etc/passwd", file_data(sent_file)):
        with pytest.raises(gr.Error, match="bundle = "):
            control.open_bundle(gr.EventData(None, {"file": file}))
