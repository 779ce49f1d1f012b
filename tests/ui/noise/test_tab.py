"""The Noise tab's handlers as plain functions: what the browser draws from, and what it is told."""

import base64
import html
import json
import math
import re
import shlex
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest
import torch
from PIL import Image

from sd import runs
from sd.checkpoints.checkpoint import save_checkpoint
from sd.checkpoints.model import Model
from sd.cli.parser import parser
from sd.common.encoding import png_bytes
from sd.common.validation import InputError
from sd.config import Config, preset_names
from sd.data.images import to_pil
from sd.data.ingest import PIXELS, ingest_images
from sd.diffusion.analysis import naive_means
from sd.diffusion.schedule import TERMINAL_SNR_LIMIT, Schedule
from sd.generation import registry
from sd.networks.unet import UNetModel
from sd.ui import models, starters, state
from sd.ui.adapter.served_files import store
from sd.ui.components import images, theme
from sd.ui.noise import algorithm1, chain, exact, means, model_view, schedules, stage
from sd.ui.noise import pictures as noise_pictures
from sd.ui.noise import tab as noise
from sd.ui.state import Shared, shared
from tests.helpers.networks import with_weights

ENGLISH: Any = SimpleNamespace(headers={"accept-language": "en-GB,en;q=0.9"})
CHINESE: Any = SimpleNamespace(headers={"accept-language": "zh-CN,zh;q=0.9,en;q=0.8"})
PHOTO, LION = noise_pictures.STARTERS[:2]
HOSTILE = [math.nan, math.inf, -9, 10**400, True, None, "7", "../../etc/passwd", [1], {}, 4.7]
LONG = "x" * 5_000_000


@pytest.fixture
def model(home: Path) -> str:
    """An untrained model of 8 x 8 pixels, T = 40, as a run called `little`."""
    settings = ["input_height=8", "input_width=8"]
    config = Config.preset("tiny").with_settings(
        [
            *(f"training.{each}" for each in settings),
            "diffusion.timesteps=40",
            "diffusion.schedule=cosine",
            "unet.model_channels=32",
            "unet.channel_mult=[1]",
            "unet.attention_resolutions=[]",
        ]
    )
    network = with_weights(UNetModel.from_config(config.unet))
    save_checkpoint(Model(network, config), home / "little" / "checkpoint-0000007", {"step": 7})
    (home / "little" / "config.ini").write_text(config.to_ini())
    return "little"


@pytest.fixture
def pictured(home: Path, pictures: Path) -> str:
    """A run that kept its twelve pictures, 10 high and 14 wide, grey."""
    (home / "pictured").mkdir()
    (home / "pictured" / runs.CONFIG).write_text(Config.preset("tiny").to_ini())
    target = home / "pictured" / runs.PICTURES
    for _ in ingest_images(pictures, target, height=10, width=14, channels=1, fit="crop"):
        pass
    return "pictured"


def sent(**changes: Any) -> dict[str, Any]:
    """Return the form that a browser sends, with some of it changed."""
    first = {"picture": LION, "pictures": "starter", "schedule": "tiny", "other": "seed"}
    return first | {"seed": 0, "mean": 0, "std": 1, "serial": 3, "t": 300} | changes


def made(**changes: Any) -> dict[str, Any]:
    """Return a scene with some of its form changed."""
    return stage.make_scene(stage.read_form(sent(**changes)), "en")


def test_noise_follows_the_formula() -> None:
    clean = np.asarray(starters.read(LION))
    assert np.array_equal(np.asarray(exact.noise_picture(LION, "tiny", 0, 3).image), clean)
    view = exact.noise_picture(LION, "seed", 60, 3)
    schedule = Schedule.from_config(Config.preset("seed").diffusion)
    assert view.T == 200
    assert view.signal == pytest.approx(float(schedule.alpha_bar[60]) ** 0.5)
    assert view.signal**2 + view.noise**2 == pytest.approx(1)
    again, other = (exact.noise_picture(LION, "seed", 60, seed).image for seed in (3, 4))
    assert np.array_equal(np.asarray(view.image), np.asarray(again))
    assert not np.array_equal(np.asarray(view.image), np.asarray(other))


@pytest.mark.parametrize("value", HOSTILE)
def test_noise_refuses_hostile_values(value: Any) -> None:
    for t, preset, seed in ((value, "tiny", 0), (5, value, 0), (5, "tiny", value)):
        with pytest.raises(InputError):
            exact.noise_picture(LION, preset, t, seed)


@pytest.mark.parametrize("t", [0, 1, 60, 199, 200])
def test_the_browser_can_draw_the_exact_picture(t: int) -> None:
    scene = made(schedule="seed", seed=5)
    side, data = scene["side"], Path(scene["file"]["path"]).read_bytes()
    assert len(data) == side * side * 3 * (1 + 2)
    x0 = np.frombuffer(data, np.uint8, 3 * side**2) / 127.5 - 1
    eps = np.frombuffer(data, "<f2", offset=3 * side**2).astype(np.float64)
    alpha_bar = np.frombuffer(base64.b64decode(scene["schedule"]["alpha_bar"]), "<f8")
    assert np.array_equal(alpha_bar, schedules.read_schedule("seed").alpha_bar)
    x_t = np.sqrt(alpha_bar[t]) * x0 + np.sqrt(1 - alpha_bar[t]) * eps
    drawn = ((x_t.clip(-1, 1) + 1) * 127.5).round().reshape(3, side, side).transpose(1, 2, 0)
    expected = np.asarray(exact.noise_picture(LION, "seed", t, 5).image, dtype=np.float64)
    assert np.abs(drawn - expected).max() <= 1


def test_a_scene_has_what_the_stage_needs() -> None:
    scene = made(mean=0.5, std=2, t=None)
    assert (scene["form"]["mean"], scene["form"]["std"], scene["t"]) == (0.5, 2.0, 120)
    x0 = np.asarray(starters.read(LION)) / 127.5 - 1
    assert scene["power"] == pytest.approx((x0**2).mean(), rel=1e-5)
    assert len(scene["spectrum"]) == 32
    assert scene["other"]["T"] == 200 and scene["other"]["bad"] and not scene["schedule"]["bad"]
    assert scene["stamp"] != made()["stamp"] != made(seed=1)["stamp"]
    assert made(other="tiny")["stamp"] == made()["stamp"]  # the picture is the same still
    assert "noise_info=[0.5, 2]" in scene["command"] and scene["command"].endswith(" --t")
    assert scene["means"].count("<polyline") == 2 and "<polyline" not in made()["means"]
    assert scene["form"]["serial"] == 3 and stage.read_form(scene["form"]).mean == 0.5


def test_the_first_form_is_the_photograph_where_it_can_still_be_seen() -> None:
    form = stage.read_form(None)
    assert (form.picture, form.time) == (PHOTO, 120)
    assert stage.read_form({"schedule": "seed", "t": 9999}).time == 200
    assert 0.9 < float(schedules.read_schedule("tiny").signal(120)) < 0.95


@pytest.mark.parametrize("value", [*HOSTILE, LONG])
@pytest.mark.parametrize(
    "name", ["picture", "pictures", "schedule", "other", "seed", "mean", "std", "serial", "t"]
)
def test_a_form_refuses_hostile_values(name: str, value: Any) -> None:
    if (name == "t" and value is None) or (name == "pictures" and isinstance(value, str)):
        return  # not moved yet; a run that is gone
    if name in ("seed", "serial") and value == 4.7:
        value = 4.5
    with pytest.raises(InputError) as told:
        stage.read_form(sent(**{name: value}))
    assert "\n" not in str(told.value) and len(str(told.value)) < 400


@pytest.mark.parametrize("value", [*HOSTILE, LONG])
def test_what_is_no_form_is_refused(value: Any) -> None:
    if value is None or value == {}:
        return
    with pytest.raises(InputError):
        stage.read_form(value)
    for upload in ({"file": value}, {"file": "/etc/passwd"}, {"run": value, "place": 0}):
        with pytest.raises(InputError):
            stage.read_form(sent(upload=upload))


def test_a_schedule_is_offered_once_with_its_presets() -> None:
    offered = schedules.list_choices("en")
    names = [name for _, name in offered]
    assert names[:4] == ["tiny", "gpu", "seed-fixed", "seed"] and "linear" not in names
    presets = "tiny, small, latent-own, latent128, latent256, DDPM"
    assert offered[0][0] == f"linear, 1000 steps ({presets})"
    assert "(gpu)" in offered[1][0]
    assert {"seed", "seed-zero", "stable", "stable-zero"} <= set(names)  # the mends are others
    assert set(preset_names()) <= set(schedules.list_schedules())
    titles = [schedules.title_of(name, "en") for name in names]
    assert len(set(titles)) == len(titles)


def test_schedules_are_called_in_chinese_on_the_chinese_page() -> None:
    for name in schedules.list_schedules():
        assert not re.search("[A-Za-z]{2}", schedules.title_of(name, "zh")), name


def test_the_doctor_tells_and_mends() -> None:
    assert 'class="warning"' in schedules.check_html("seed", "en")
    assert "0.15" in schedules.check_html("seed", "zh")
    assert "36 % of the picture" in schedules.check_html("seed", "en")
    assert "SNR 0:" in schedules.check_html("seed-zero", "en")
    for name in schedules.list_schedules():
        bad = schedules.read_schedule(name).terminal_snr > TERMINAL_SNR_LIMIT
        assert bad == (name in schedules.FIXES) == stage.schedule_line(name, "en")["bad"]
        mends = re.findall(r'data-schedule="([\w-]+)"', schedules.check_html(name, "en"))
        assert mends == list(schedules.FIXES.get(name, ()))
        for mend in mends:
            assert schedules.read_schedule(mend).terminal_snr <= TERMINAL_SNR_LIMIT
            assert stage.read_form(sent(schedule=mend)).schedule == mend


def test_both_endings_are_told() -> None:
    scene = made()
    assert "Ends at SNR 4e-5" in scene["schedule"]["ends"]
    assert "Ends at SNR 0.15" in scene["other"]["ends"]


def test_the_first_picture_is_a_photograph_and_the_starters_follow() -> None:
    assert noise_pictures.read_pixels(PHOTO).shape == (3, 256, 256)
    assert len(stage.pack_arrays(PHOTO, 0)) == 3 * 256 * 256 * 3
    shown = noise_pictures.thumbnails("starter", "en")
    assert [each["name"] for each in shown[:2]] == ["cat", "lion"] and len(shown) == 9
    assert [each["picture"] for each in shown] == [PHOTO, *starters.NAMES]
    chinese = noise_pictures.thumbnails("starter", "zh")
    assert not any(re.search("[a-z]", each["name"]) for each in chinese)
    words = shlex.split(exact.command_line(PHOTO, "tiny", 3, 0))
    assert (Path(noise_pictures.__file__).parents[3] / words[4]).is_file(), words


def test_a_picture_of_a_person_is_read_at_256_pixels() -> None:
    path = store(png_bytes(Image.new("L", (900, 400), 128)), "mine.png")
    form = stage.read_form(sent(upload={"file": str(path), "name": "my cat.png"}))
    assert exact.noise_picture(form.picture, "tiny", 10, 0).image.size == (256, 256)
    scene = stage.make_scene(form, "en")
    assert scene["called"] == "my cat"
    assert stage.read_form(scene["form"]).picture == form.picture  # it stays with later forms
    bad = store(b"<html>", "bad.png")
    with pytest.raises(gr.Error, match=r"bad\.png: .*not a picture"):
        noise.show_scene(sent(upload={"file": str(bad), "name": "bad.png"}), ENGLISH)


def test_pictures_of_a_run_can_be_chosen(pictured: str) -> None:
    sets = [name for _, name in noise_pictures.list_sets("en")]
    assert sets == ["starter", "bundled:shapes", pictured]
    assert noise_pictures.check_set("gone") == "starter"
    shown = made(pictures=pictured)["thumbnails"]
    assert len(shown) == 8 and Image.open(shown[0]["file"]["path"]).size == (14, 10)
    assert noise_pictures.spread_indices(12) == [0, 2, 3, 5, 6, 8, 9, 11]
    picture = noise_pictures.read_picture(shown[1]["picture"])
    assert picture == (pictured, 2)
    view = exact.noise_picture(picture, "tiny", 0, 0)
    assert view.image.size == (10, 10)
    middle = np.asarray(noise_pictures.read_image(picture))[:, 2:12]
    assert np.array_equal(np.asarray(view.image)[..., 0], middle)
    words = shlex.split(exact.command_line(picture, "tiny", 3, 0))
    assert words[4].endswith(".png")


def test_runs_of_two_visitors_may_have_one_name(pictured: str, home: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / pictured
    shutil.copytree(home / pictured, other)
    pixels = other / runs.PICTURES / PIXELS
    pixels.write_bytes(bytes(pixels.stat().st_size))
    picture = noise_pictures.RunPicture(pictured, 2)
    for called in (
        lambda: noise_pictures.read_pixels(picture),
        lambda: stage.measure(picture)["power"],
        lambda: chain.forward_chain(picture, "tiny", 3, 0.0, 1.0)[1],
    ):
        own = called()
        with state.use(Shared(home=runs.Home(tmp_path / "other"))):
            assert not np.array_equal(called(), own)
        with pytest.raises(InputError), state.use(Shared(home=runs.Home(tmp_path / "third"))):
            called()


def test_bundled_shapes_can_be_chosen() -> None:
    shown = made(pictures="bundled:shapes")["thumbnails"]
    assert len(shown) == 8 and shown[2]["name"] == "shape 3"
    picture = noise_pictures.read_picture(shown[2]["picture"])
    assert noise_pictures.read_pixels(picture).shape == (3, 32, 32)
    line = exact.command_line(picture, "tiny", 3, 0)
    assert "shapes32.zip shapes && " in line and " shapes/0" in line


@pytest.mark.parametrize("value", [*HOSTILE, LONG, 12])
def test_no_other_picture_than_those_there_are(value: Any, pictured: str) -> None:
    for name in (pictured, "bundled:shapes", "gone"):
        with pytest.raises(InputError):
            noise_pictures.read_picture({"run": name, "place": value})


@pytest.mark.parametrize("course", ["tiny", "seed", "seed-zero", "linear", "stable-zero"])
def test_the_command_is_one_the_command_line_understands(tmp_path: Path, course: str) -> None:
    Image.new("RGB", (300, 300)).save(tmp_path / "a b.png")
    line = exact.command_line(str(tmp_path / "a b.png"), course, 7, 2, 0.5, 2)
    args = parser().parse_args(shlex.split(line)[3:])
    assert (args.picture, args.t, args.seed) == ("a b.png", [7], 2)
    config = Config.preset(args.preset).with_settings(args.set)
    assert config.diffusion.noise_info == (0.5, 2.0)
    made_of = Schedule.from_config(config.diffusion)
    assert np.array_equal(made_of.alpha_bar, schedules.read_schedule(course).alpha_bar)
    assert exact.command_line(LION, "tiny", 7, 2).startswith("python -m zipfile -e ")


def test_the_model_is_asked_at_every_time(model: str) -> None:
    asked = sent(schedule="gpu")
    answers = [each["tool"] for each in model_view.show_predictions(asked, model, ENGLISH)]
    *shown, last = answers
    assert [each["shown"].count('class="column"') for each in shown] == [*range(11)]
    assert "time 3 of 10" in answers[3]["progress"]
    assert last == {"shown": shown[-1]["shown"], "progress": ""}
    first = shown[0]["shown"]
    assert "t = 12 / 40" in first  # the same mix on its own schedule, cosine as well
    times = re.findall(r"<b>([\d.]+)</b>", last["shown"])
    assert times == ["4", "8", "12", "16", "20", "24", "28", "32", "36", "40"]
    assert first.count("<img") == 3


def test_the_model_is_asked_of_the_noise_of_its_seed_and_its_own_answer_is_shown(
    model: str,
) -> None:
    asked = [model_view.ModelProbe(model, LION, seed, 1) for seed in (0, 1)]
    assert not torch.equal(asked[0].eps, asked[1].eps)
    seen = asked[0].predict(20.0)
    shown = model_view.prediction_html(seen, asked[0].T, "en")
    for pixels in (seen.x_t, seen.x0, seen.eps / model_view.EPS_SHOWN):
        assert images.data_address(to_pil(pixels)) in shown


def test_the_model_is_asked_at_the_same_mix(model: str) -> None:
    source = models.open_model(models.find(model))
    for t in (1, 77, 200):
        found = model_view.matching_time(source, "seed", t)
        alpha_bar = float(schedules.read_schedule("seed").alpha_bar[t])
        own = float(source.diffusion.schedule.alpha_bar_at(found))
        assert found == 1 or own == pytest.approx(alpha_bar, rel=1e-4)
    assert model_view.matching_time(source, "gpu", 0) == 1


def test_there_and_back_at_eight_times(model: str) -> None:
    answers = [each["tool"] for each in model_view.show_round_trips(sent(), model, CHINESE)]
    *shown, last = answers
    assert [each["shown"].count('class="column"') for each in shown] == [*range(9)]
    assert last["progress"] == ""
    trips = last["shown"]
    assert trips.count(" dB") == 8 and "<polyline" in trips
    curve, *columns = re.findall(r"RMS ([\d.]+)", trips)
    assert len(columns) == 8 and curve == columns[-1]


def test_who_stops_asking_leaves_the_model_free(model: str) -> None:
    for stream in (
        model_view.show_predictions(sent(), model, ENGLISH),
        model_view.show_round_trips(sent(), model, ENGLISH),
    ):
        next(stream)
        next(stream)
        stream.close()
        assert shared(models.NetworkLock).lock.acquire(blocking=False)
        shared(models.NetworkLock).lock.release()


@pytest.mark.parametrize("value", [*HOSTILE, LONG])
def test_the_model_is_not_asked_with_hostile_values(value: Any, model: str) -> None:
    for ask in (
        model_view.show_predictions,
        model_view.show_round_trips,
        algorithm1.show_algorithm,
    ):
        for asked in ((sent(), value), ({"seed": []}, model)):
            *_, last = told = told_before_failing(ask(*asked, ENGLISH))
            assert last == {"tool": {"shown": "", "progress": ""}} and len(told) == 1


def told_before_failing(stream: Any) -> list[Any]:
    """Return what a stream yields until it raises an error of the page."""
    told = []
    with pytest.raises(gr.Error):
        for each in stream:
            told.append(each)
    return told


def test_the_steps_and_the_closed_form_are_shown_equal() -> None:
    [told] = walked(schedule="seed", t=150)
    assert told.count("<img") == 8 + 3
    gap = float(re.search(r"differ by ([\d.e-]+)\.<", told)[1])
    assert 0 < gap < 1e-4
    distances = [float(each) for each in re.findall(r"([\d.]+) from N", told)]
    assert len(distances) == 3 and max(distances) < 0.02
    stepped, jumped, _ = re.findall(r'src="([^"]+)"', told)[-3:]
    assert stepped != jumped  # by noise of its own
    assert "at t = 1 " in walked(schedule="seed", t=0, mean=0.5, std=2)[0]


def walked(**changes: Any) -> list[str]:
    """Return what the tool of single steps shows of a form."""
    return [each["tool"]["shown"] for each in chain.compare_chain(sent(**changes), ENGLISH)]


@pytest.mark.parametrize("course", ["seed", "linear"])
def test_theory_breaks_with_another_mean(course: str) -> None:
    schedule = schedules.read_schedule(course)
    far = int(
        (naive_means(schedule, 1) - schedule.noise(np.arange(schedule.timesteps + 1))).argmax()
    )
    mean = f"{naive_means(schedule, 1)[far]:.3g}"
    told = means.means_html(course, 1, "en").unescape()
    assert f"the chain's mean is {mean} at t = {far}," in told
    assert told.count("<polyline") == 2
    assert f"mean is -{mean}" in means.means_html(course, -1, "en")
    assert "<polyline" not in means.means_html(course, 0, "en")


def test_algorithm_1_has_its_lines_with_numbers(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(algorithm1, "new_seed", lambda: 4)
    [told] = [each["tool"]["shown"] for each in algorithm1.show_algorithm(sent(), model, ENGLISH)]
    assert told.count("<li>") == 8 and told.count("<img") == 4
    t = int(re.search(r"drawn: t = (\d+) of 40", told)[1])
    assert f"the time {t - 1} " in told
    made, *_ = algorithm1.run_iteration(model, LION, 4)
    assert made.eps_loss != pytest.approx(made.loss, rel=1e-2)
    assert f"mean squared error {made.eps_loss:.4f}" in told


def test_the_scripts_and_styles_of_the_page_ask_nobody() -> None:
    assert "sdNoise" in theme.script()
    for path in (*theme.CSS_FILES, *(each for each in theme.SCRIPTS if each.exists())):
        assert not re.search(r"https?://(?!www\.w3\.org)|@import", path.read_text()), path


class Known:
    """A model of which it is told how far off it is of each picture."""

    def __init__(self, errors: dict[str, float]) -> None:
        """Take the errors by the pictures' names."""
        self.errors, self.T = errors, 100
        self.entry = registry.ModelEntry("ideal:starter", "starter")

    def error_of(self, picture: str, t: float) -> float:
        """Return the error of a picture."""
        return self.errors.get(picture, 0.1) * (t == 5)


@pytest.mark.parametrize(("error", "alike"), [(0.16, True), (0.19, False)])
def test_a_picture_unlike_a_model_s_own_is_told_to_be_none(error: float, alike: bool) -> None:
    told = model_view.judged_html(Known({PHOTO: error}), PHOTO, "en")  # type: ignore[arg-type]
    assert ("your cat is none" in told) != alike and ("looks like one" in told) == alike
    assert "This model knows emoji" in told and told.count("data-picture") == model_view.OWN
    offered = re.findall('data-picture="([^"]+)"', told)
    pictures = [noise_pictures.read_picture(json.loads(html.unescape(each))) for each in offered]
    assert pictures == list(starters.NAMES[: model_view.OWN])


def test_a_model_s_own_pictures_are_those_it_learned_from(pictured: str, home: Path) -> None:
    own = noise_pictures.own_pictures(registry.ModelEntry(pictured, str(home / pictured)), "en", 3)
    assert own == (pictured, [(pictured, 0), (pictured, 2), (pictured, 3)])
    name, shapes = noise_pictures.own_pictures(
        registry.ModelEntry("ideal:shapes", "shapes"), "en", 2
    )
    assert name == "shapes" and shapes == [("bundled:shapes", 0), ("bundled:shapes", 1)]
    assert noise_pictures.own_pictures(registry.ModelEntry("gone", "gone"), "en", 3) == ("", [])
