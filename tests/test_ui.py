"""The page without a browser: texts, wiring, and the handlers as plain functions."""

import math
import re
import shlex
import string
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest
import torch
from PIL import Image

from app import build_app
from sd import device, gate, sampling
from sd.__main__ import parser
from sd.checkpoints import Model, load_checkpoint, save_checkpoint
from sd.config import Config
from sd.gate import InputError
from sd.images import to_array
from sd.schedule import Schedule
from sd.ui import (
    api,
    denoise,
    models,
    noise,
    parts,
    plan,
    starters,
    texts,
    trajectory,
)
from sd.unet import UNetModel
from tests.made import made_run

ROOT = Path(__file__).parent.parent
ENGLISH: Any = SimpleNamespace(headers={"accept-language": "en-GB,en;q=0.9"})
CHINESE: Any = SimpleNamespace(headers={"accept-language": "zh-CN,zh;q=0.9,en;q=0.8"})
HOSTILE = [math.nan, math.inf, -1, 10**400, True, None, "7", "../../etc/passwd", [1], {}]
PUBLIC = {
    "noise",
    "denoise",
    "inspect_data",
    "start_training",
    "training_status",
    "stop_training",
    "resume_training",
    "list_models",
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of runs."""
    monkeypatch.setenv("SD_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def model(home: Path) -> str:
    """An untrained model of 8 x 8 pixels, T = 40, as a run called `little`."""
    config = Config.preset("tiny").with_settings(
        [
            "training.input_height=8",
            "training.input_width=8",
            "diffusion.timesteps=40",
            "unet.model_channels=32",
            "unet.channel_mult=[1]",
            "unet.attention_resolutions=[]",
        ]
    )
    network = UNetModel.from_config(config.unet)
    save_checkpoint(Model(network, config), home / "little" / "checkpoint-0000007", {"step": 7})
    (home / "little" / "config.ini").write_text(config.to_ini())
    return "little"


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_every_text_has_both_languages_and_the_same_placeholders() -> None:
    for key, (english, chinese) in texts.TEXTS.items():
        assert english.strip() and chinese.strip(), key
        assert placeholders(english) == placeholders(chinese), key
        assert re.search(r"[\u4e00-\u9fff]", chinese) or english == chinese, key
        assert not re.search(r"[\u4e00-\u9fff]", english), key


def test_every_text_is_used_and_every_used_text_is_there() -> None:
    files = [path for path in ROOT.glob("sd/ui/*.py") if not path.name.startswith("texts_")]
    sources = "".join(path.read_text() for path in [*files, ROOT / "app.py"]).replace("'", '"')
    families = (  # made of a word and these; the coach makes its own keys
        "coach_",
        *re.findall(r'f"([a-z][\w-]*_)\{', sources),
        *(f"{key}_" for key in re.findall(r'(?:switch|choice)\("([\w-]+)"', sources)),
    )
    endings = ("_info", "_caption", "_about")
    for key in texts.TEXTS:
        stem = next((key.removesuffix(end) for end in endings if key.endswith(end)), key)
        assert any(f'"{name}"' in sources for name in (key, stem)) or key.startswith(families), key
    for key in re.findall(r'(?:label|say|note|heading)\("([\w-]+)"', sources):
        assert key in texts.TEXTS


def test_no_key_is_told_twice() -> None:
    keys = [key for table in texts.TABLES for key in table]
    assert sorted(keys) == sorted(texts.TEXTS)


@pytest.mark.parametrize(
    ("header", "language"),
    [("zh-CN,zh;q=0.9", "zh"), ("zh-TW", "zh"), ("en-US,zh-CN", "en"), ("zh", "en"), (None, "en")],
)
def test_language_follows_the_first_wish(header: str | None, language: str) -> None:
    assert texts.language_of(header) == language


def test_durations_in_words() -> None:
    assert texts.duration(8.4, "en") == "8 s"
    assert texts.duration(190, "en") == "3 min 10 s"
    assert texts.duration(7500, "zh") == "2 小时 5 分"


def test_building_the_page_imports_no_torch() -> None:
    code = "import sys; from app import build_app; build_app(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip().endswith("False"), done.stderr


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    return build_app().get_config_file()


def test_the_named_endpoints_are_public_and_nothing_else(page: dict[str, Any]) -> None:
    public = {
        event["api_name"] for event in page["dependencies"] if event["api_visibility"] == "public"
    }
    assert public == PUBLIC


def test_every_control_has_its_sentence(page: dict[str, Any]) -> None:
    controls = ("slider", "dropdown", "number", "checkbox", "textbox", "radio")
    for component in page["components"]:
        props = component["props"]
        if component["type"] in controls and props.get("visible") is not False:
            assert props.get("label") and props.get("info"), props


def test_moving_pictures_are_no_webp(page: dict[str, Any]) -> None:
    formats = {
        each["props"]["format"]
        for each in page["components"]
        if each["type"] in ("image", "gallery")
    }
    assert formats <= {"jpeg", "png", "webp"}
    shown = [each for each in page["components"] if each["type"] == "image"]
    assert all(each["props"]["format"] != "webp" for each in shown)


def test_every_event_of_a_slider_keeps_the_last_value(page: dict[str, Any]) -> None:
    sliders = {each["id"] for each in page["components"] if each["type"] == "slider"}
    moved = [
        event
        for event in page["dependencies"]
        if any(target in sliders and kind == "input" for target, kind in event["targets"])
    ]
    assert len(moved) >= 4
    assert all(event["trigger_mode"] == "always_last" for event in moved)


def test_lists_of_the_page_are_those_of_the_package() -> None:
    assert denoise.SAMPLERS == sampling.SAMPLERS
    assert denoise.VARIANCES == sampling.VARIANCES
    assert denoise.SPACINGS == sampling.SPACINGS
    assert plan.DEVICES == device.DEVICES


def test_a_mistake_is_told_in_its_own_line() -> None:
    @parts.guarded
    def handler() -> None:
        raise InputError("t = <b>: must be 1")

    with pytest.raises(gr.Error) as told:
        handler()
    assert told.value.message == "t = &lt;b&gt;: must be 1"
    assert told.value.print_exception is False


def test_the_unexpected_tells_nothing_but_the_log(caplog: pytest.LogCaptureFixture) -> None:
    @parts.guarded
    def handler(request: Any) -> Any:
        yield 1
        raise OSError("/secret/path")

    stream = handler(ENGLISH)
    assert next(stream) == 1
    with pytest.raises(gr.Error) as told:
        next(stream)
    assert "secret" not in told.value.message
    assert "/secret/path" in caplog.text


@pytest.mark.parametrize("value", HOSTILE)
def test_noise_refuses_hostile_values(value: Any) -> None:
    for t, preset, seed in ((value, "tiny", 0), (5, value, 0), (5, "tiny", value)):
        with pytest.raises(InputError):
            noise.noised(starters.NAMES[0], preset, t, seed)


@pytest.mark.parametrize("value", HOSTILE)
def test_denoise_refuses_hostile_values(value: Any, model: str) -> None:
    good = [model, "ddim", 5, 0.0, "fixed_small", "trailing", True, 0, 1]
    models.recipe(*good)
    for place in range(len(good)):
        if place == 6 and value is True:
            continue
        with pytest.raises(InputError):
            models.recipe(*good[:place], value, *good[place + 1 :])


def test_noise_follows_the_formula() -> None:
    picture = starters.NAMES[0]
    clean = np.asarray(starters.read(picture))
    assert np.array_equal(np.asarray(noise.noised(picture, "tiny", 0, 3).image), clean)
    view = noise.noised(picture, "seed", 60, 3)
    schedule = Schedule.from_settings(Config.preset("seed").diffusion)
    assert view.T == 200
    assert view.signal == pytest.approx(float(schedule.alpha_bar[60]) ** 0.5)
    assert view.signal**2 + view.noise**2 == pytest.approx(1)
    again, other = (noise.noised(picture, "seed", 60, seed).image for seed in (3, 4))
    assert np.array_equal(np.asarray(view.image), np.asarray(again))
    assert not np.array_equal(np.asarray(view.image), np.asarray(other))


def test_the_noise_tab_says_how_a_schedule_ends() -> None:
    picture, formula, drawing, line = noise.show(starters.NAMES[0], "seed", 200, 0, ENGLISH)
    assert "0.15" in drawing and 'class="warning"' in drawing
    assert re.search(r"<b>0\.36</b> x<sub>0</sub> \+ <b>0\.93</b> eps", formula)
    assert "t = 200 of 200" in picture["alt_text"]
    assert "--preset seed" in line and "--t 200" in line
    assert "warning" not in noise.show(starters.NAMES[0], "tiny", 5, 0, CHINESE)[2]


def test_a_schedule_is_offered_once_with_its_presets() -> None:
    offered = noise.schedules()
    assert [preset for _, preset in offered] == ["tiny", "seed-fixed", "seed"]
    assert "tiny, small" in offered[0][0]


def test_another_schedule_keeps_the_share_of_t() -> None:
    slider, T = noise.choose_schedule("seed", 300, 1000)
    assert (slider["maximum"], slider["value"], T) == (200, 60, 200)


def test_a_picture_of_a_person_is_read_at_256_pixels(tmp_path: Path) -> None:
    Image.new("L", (900, 400), 128).save(tmp_path / "mine.png")
    path, _ = noise.choose_upload(str(tmp_path / "mine.png"), starters.NAMES[0])
    assert noise.noised(path, "tiny", 10, 0).image.size == (256, 256)
    (tmp_path / "bad.png").write_bytes(b"<html>")
    with pytest.raises(gr.Error, match=r"bad\.png: not a picture"):
        noise.choose_upload(str(tmp_path / "bad.png"), path)


def test_the_noise_command_is_one_the_command_line_understands(tmp_path: Path) -> None:
    Image.new("RGB", (300, 300)).save(tmp_path / "a b.png")
    line = noise.command(str(tmp_path / "a b.png"), "seed", 7, 2)
    words = shlex.split(line)
    args = parser().parse_args(words[3:])
    assert (args.picture, args.t, args.seed) == ("a b.png", [7], 2)
    Config.preset("seed").with_settings(args.set)
    assert noise.command(starters.NAMES[0], "tiny", 7, 2).startswith("python -m zipfile -e ")


def test_the_command_is_empty_while_a_field_is() -> None:
    assert denoise.command(None, "ddim", 5, 0, "fixed_small", "trailing", True, 0, 1) == ""


def drained(model: str, **changes: Any) -> list[tuple[Any, ...]]:
    settings = {"steps": 6, "count": 2, "sampler": "ddim"} | changes
    return list(
        denoise.run(
            model,
            settings["sampler"],
            settings["steps"],
            0.0,
            "fixed_small",
            "trailing",
            True,
            0,
            settings["count"],
            ENGLISH,
        )
    )


def test_denoising_streams_steps_and_keeps_them(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(denoise, "FRAME_SECONDS", 0.0)
    shown = drained(model)
    assert len(shown) == 1 + 6 + 1
    assert "loading" in shown[0][2]
    assert "step 3 of 6, t = 20" in shown[3][2]
    assert shown[3][0]["alt_text"] == "Step 3 of 6, x_t at t = 20"
    assert "6 steps in" in shown[-1][2]
    kept = shown[-1][5]
    assert [frame.i for frame in kept.frames] == [1, 2, 3, 4, 5, 6]
    assert not kept.running
    assert [caption for _, caption in shown[-1][3]][-1] == "step 6, t = 0"


def test_what_is_kept_is_what_the_package_samples(model: str, home: Path) -> None:
    kept = drained(model)[-1][5]
    loaded = load_checkpoint(home / model)
    expected = loaded.sampling(steps=6).sample(loaded.denoiser, loaded.shape, [0, 1])
    assert np.array_equal(kept.frames[-1].x_t, to_array(expected))


def test_a_stopped_sampling_lets_go_of_everything(model: str, home: Path) -> None:
    stream = denoise.run(model, "ddpm", 40, 0.0, "fixed_large", "trailing", False, 0, 1, CHINESE)
    kept = next(stream)[5]
    next(stream)
    assert kept.running
    denoise.halt(kept)
    _, _, line, thumbnails, slider, same = next(stream)
    assert "已在第 2 步停止" in line and slider["maximum"] == 2 and slider["interactive"]
    assert isinstance(thumbnails, list) and same is kept and len(kept.frames) == 2
    assert list(stream) == [] and not kept.running
    denoise.halt("no trajectory")


def test_kept_steps_can_be_looked_at(model: str) -> None:
    kept = drained(model)[-1][5]
    now, guess, line = denoise.scrub(2, kept, ENGLISH)
    assert now["alt_text"] == "Step 2 of 6, x_t at t = 27"
    assert guess["alt_text"] == "Step 2 of 6, x0 estimate"
    assert "step 2 of 6" in line
    place, *_ = denoise.pick(kept, ENGLISH, SimpleNamespace(index=0))  # type: ignore[arg-type]
    assert place == 1
    with pytest.raises(gr.Error):
        denoise.scrub(math.nan, kept, ENGLISH)


def test_a_long_sampling_keeps_an_even_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trajectory, "MOST_FRAMES", 10)
    kept = trajectory.Trajectory(100)
    picture = torch.zeros(1, 3, 4, 4)
    for i in range(1, 101):
        kept.add(SimpleNamespace(i=i, t=100 - i, x_t=picture, x0=picture))  # type: ignore[arg-type]
    assert len(kept.frames) == 11
    assert (kept.frames[0].i, kept.frames[-1].i) == (1, 100)


def test_the_bundled_example_is_read_without_pickle(tmp_path: Path) -> None:
    steps = np.zeros((3, 2, 4, 4, 3), np.uint8)
    path = tmp_path / "trajectory.npz"
    np.savez(path, samples=steps[-1], steps=steps, x0=steps, times=np.array([66, 33, 0]))
    kept = trajectory.read(path)
    assert [frame.t for frame in kept.frames] == [66, 33, 0]
    np.savez(path, samples=np.array([object()]), steps=steps, x0=steps, times=np.arange(3))
    with pytest.raises(ValueError, match="pickle"):
        trajectory.read(path)


def test_the_sample_command_is_one_the_command_line_understands(model: str) -> None:
    line = denoise.command(model, "ddpm", 9, 0.0, "fixed_large", "leading", False, 5, 3)
    args = parser().parse_args(line.split()[3:])
    assert (args.sampler, args.steps, args.variance, args.no_clip) == (
        "ddpm",
        9,
        "fixed_large",
        True,
    )
    assert (args.seed, args.count, args.spacing) == (5, 3, "leading")


def test_the_endpoints_do_what_the_tabs_do(model: str, home: Path, tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), "teal").save(tmp_path / "a.png")
    image, factors = api.noise_picture(str(tmp_path / "a.png"), 0, "tiny", 0)
    assert image.size == (64, 64) and factors["log_snr"] is None
    told = api.denoise_pictures(model, "ddim", 3, 0, 1, 0.0, "fixed_small", "trailing", True)
    assert [facts["step"] for *_, facts in told] == [1, 2, 3]
    assert api.inspect_data([str(tmp_path / "a.png")])["used"] == 1
    made_run(home, "done", steps=52, end="finished")
    assert api.training_status("done")["state"] == "finished"
    assert model in [entry["name"] for entry in api.list_models()]
    with pytest.raises(gr.Error, match="give a picture"):
        api.noise_picture(None, 0, "tiny", 0)


def test_starters_are_there() -> None:
    assert len(starters.thumbnails()) == len(starters.NAMES) == 8
    assert gate.shown(starters.read("owl.png").size) == "(64, 64)"
