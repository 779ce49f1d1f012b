"""The Noise tab's handlers as plain functions: what the browser draws from, and what it is told."""

import base64
import math
import re
import shlex
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
from sd.common.validation import InputError
from sd.config import Config, preset_names
from sd.data.images import to_pil
from sd.data.ingest import ingest_images
from sd.diffusion.analysis import finest_frequency, kl_to_prior, naive_means, spectrum
from sd.diffusion.schedule import TERMINAL_SNR_LIMIT, Schedule
from sd.networks.unet import UNetModel
from sd.ui import models, starters
from sd.ui.components import images, theme
from sd.ui.noise import algorithm1, chain, exact, model_view, schedules, stage
from sd.ui.noise import pictures as noise_pictures
from sd.ui.noise import tab as noise
from sd.ui.state import shared
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


def made(**changes: Any) -> dict[str, Any]:
    """Return a scene with some of its arguments changed."""
    given = {"schedule": "tiny", "other": "seed", "seed": 0, "mean": 0, "std": 1} | changes
    return stage.make_scene(LION, **given, lang="en")


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
    alpha_bar = np.frombuffer(base64.b64decode(scene["schedule"]["alpha_bar"]), "<f4")
    assert len(alpha_bar) == scene["schedule"]["T"] + 1 == 201
    x_t = np.sqrt(alpha_bar[t]) * x0 + np.sqrt(1 - alpha_bar[t]) * eps
    drawn = ((x_t.clip(-1, 1) + 1) * 127.5).round().reshape(3, side, side).transpose(1, 2, 0)
    expected = np.asarray(exact.noise_picture(LION, "seed", t, 5).image, dtype=np.float64)
    assert np.abs(drawn - expected).max() <= 1


def test_a_scene_has_what_the_panels_need() -> None:
    scene = made(mean=0.5, std=2)
    assert (scene["mean"], scene["std"], scene["t"]) == (0.5, 2.0, 200)
    x0 = np.asarray(starters.read(LION)) / 127.5 - 1
    assert scene["power"] == pytest.approx((x0**2).mean(), rel=1e-5)
    assert len(scene["spectrum"]) == 32
    assert scene["other"]["T"] == 200
    assert set(scene["words"]) == set(stage.STAGE_TEXTS)
    assert scene["stamp"] != made()["stamp"] != made(seed=1)["stamp"]
    assert made(other="tiny")["stamp"] == made()["stamp"]  # t has the same figures still


@pytest.mark.parametrize("value", [*HOSTILE, LONG])
@pytest.mark.parametrize("name", ["schedule", "other", "seed", "mean", "std"])
def test_a_scene_refuses_hostile_values(name: str, value: Any) -> None:
    if name == "seed" and value == 4.7:
        value = 4.5
    with pytest.raises(InputError):
        made(**{name: value})


def test_at_rest_the_server_tells_the_exact_figures() -> None:
    line, command = exact.show_exact(60, LION, "seed", 3, 0, 1, ENGLISH).values()
    schedule = schedules.read_schedule("seed")
    assert f"{float(schedule.signal(60)):.6f} x_0 + {float(schedule.noise(60)):.6f} eps" in line
    x_t = np.asarray(starters.read(LION)).transpose(2, 0, 1) / 127.5 - 1
    eps = noise_pictures.draw_noise((3, 64, 64), 3).numpy()
    x_t = float(schedule.signal(60)) * x_t + float(schedule.noise(60)) * eps
    assert f"mean {x_t.mean():.4f} and standard deviation {x_t.std():.4f}" in line
    assert command.endswith("--t 60 --seed 3")
    line, command = exact.show_exact(9999, LION, "seed", 3, 0.5, 2, CHINESE).values()
    assert "t = 200" in line and "(0.5 + 2 eps)" in line
    assert "noise_info=[0.5, 2]" in command
    line = exact.show_exact(60, LION, "seed", 3, 0.5, 2, ENGLISH)["exact"]
    clean = noise_pictures.read_pixels(LION)  # of w_0 = x_0 / 2 in the standard process
    nats = kl_to_prior(schedule, 60, float((clean / 2).double().square().mean()))
    detail, alpha_bar = spectrum(clean), float(schedule.alpha_bar[60])
    assert f"{nats:.4g} nats" in line
    assert finest_frequency(detail, alpha_bar, 2) != finest_frequency(detail, alpha_bar)
    assert re.search(rf"\b{finest_frequency(detail, alpha_bar, 2)} of {len(detail)}\b", line), line
    assert "SNR ∞, ∞ nats" in exact.show_exact(0, LION, "seed", 3, 0, 1, ENGLISH)["exact"]


@pytest.mark.parametrize("value", [*HOSTILE, LONG])
@pytest.mark.parametrize("place", [0, 2, 3, 4, 5])
def test_the_figures_refuse_hostile_values(place: int, value: Any) -> None:
    good = [60, LION, "seed", 3, 0, 1]
    with pytest.raises(gr.Error) as told:
        exact.show_exact(*good[:place], value, *good[place + 1 :], ENGLISH)
    assert "\n" not in told.value.message and len(told.value.message) < 400


def test_a_schedule_is_offered_once_with_its_presets() -> None:
    offered = schedules.list_choices()
    names = [name for _, name in offered]
    assert names[:4] == ["tiny", "gpu", "seed-fixed", "seed"] and "linear" not in names
    assert "(tiny, small, latent128, latent256, DDPM)" in offered[0][0] and "(gpu)" in offered[1][0]
    assert {"seed", "seed-zero", "stable", "stable-zero"} <= set(names)  # the mends are others
    assert set(preset_names()) <= set(schedules.list_schedules())
    titles = [schedules.title_of(name, "en") for name in names]
    assert len(set(titles)) == len(titles)


def test_the_doctor_tells_and_mends() -> None:
    assert 'class="warning"' in schedules.check_html("seed", "en")
    assert "0.15" in schedules.check_html("seed", "zh")
    assert "36 % of the picture" in schedules.check_html("seed", "en")
    assert "SNR 0:" in schedules.check_html("seed-zero", "en")
    for name in schedules.list_schedules():
        bad = schedules.read_schedule(name).terminal_snr > TERMINAL_SNR_LIMIT
        assert bad == (name in schedules.FIXES)
        mends = re.findall(r'data-schedule="([\w-]+)"', schedules.check_html(name, "en"))
        assert mends == list(schedules.FIXES.get(name, ()))
        for mend in mends:
            assert schedules.read_schedule(mend).terminal_snr <= TERMINAL_SNR_LIMIT
            assert noise.apply_fix(gr.EventData(None, {"schedule": mend})) == mend


@pytest.mark.parametrize("value", [*HOSTILE, LONG, "tiny"])
def test_only_what_the_doctor_offers_mends(value: Any) -> None:
    for data in ({"schedule": value}, value):
        with pytest.raises(gr.Error, match="schedule = "):
            noise.apply_fix(gr.EventData(None, data))


def test_both_endings_are_told() -> None:
    ends, other = noise.check_schedules("tiny", "seed", ENGLISH).values()
    assert "Ends at SNR 4e-5" in ends and "Ends at SNR 0.15" in other


def test_the_first_picture_is_a_photograph_and_the_starters_follow() -> None:
    assert noise_pictures.read_pixels(PHOTO).shape == (3, 256, 256)
    assert len(stage.pack_arrays(PHOTO, 0)) == 3 * 256 * 256 * 3
    shown = [name for _, name in noise_pictures.thumbnails("starter")]
    assert shown[:2] == ["cat", "lion"] and len(shown) == 9
    chosen = [noise_pictures.choose("starter", place) for place in range(9)]
    assert chosen == [PHOTO, *starters.NAMES]
    words = shlex.split(exact.command_line(PHOTO, "tiny", 3, 0))
    assert (Path(noise_pictures.__file__).parents[3] / words[4]).is_file(), words


def test_a_picture_of_a_person_is_read_at_256_pixels(tmp_path: Path) -> None:
    Image.new("L", (900, 400), 128).save(tmp_path / "mine.png")
    path = noise.choose_upload(str(tmp_path / "mine.png"))["picture"]
    assert exact.noise_picture(path, "tiny", 10, 0).image.size == (256, 256)
    assert noise.choose_upload(None) == {}
    (tmp_path / "bad.png").write_bytes(b"<html>")
    with pytest.raises(gr.Error, match=r"bad\.png: .*not a picture"):
        noise.choose_upload(str(tmp_path / "bad.png"))


def test_pictures_of_a_run_can_be_chosen(pictured: str) -> None:
    assert [name for _, name in noise_pictures.list_sets("en")] == ["starter", pictured]
    assert (
        noise.refresh_sets(pictured, ENGLISH)["name"]["visible"]
        and noise.refresh_sets("gone", ENGLISH)["name"]["value"] == "starter"
    )
    shown = noise.choose_set(pictured)["gallery"]["value"]
    assert len(shown) == 8 and Image.open(shown[0][0]).size == (14, 10)
    assert noise_pictures.spread_indices(12) == [0, 2, 3, 5, 6, 8, 9, 11]
    picture, upload = noise.choose_picture(pictured, SimpleNamespace(index=1)).values()
    assert picture == (pictured, 2) and upload is None
    view = exact.noise_picture(picture, "tiny", 0, 0)
    assert view.image.size == (10, 10)
    middle = np.asarray(noise_pictures.read_image(picture))[:, 2:12]
    assert np.array_equal(np.asarray(view.image)[..., 0], middle)
    words = shlex.split(exact.command_line(picture, "tiny", 3, 0))
    assert words[4].endswith(".png")


@pytest.mark.parametrize("value", [*HOSTILE, LONG, 9])
def test_no_other_picture_than_those_shown(value: Any, pictured: str) -> None:
    for name in ("starter", pictured):
        with pytest.raises(gr.Error):
            noise.choose_picture(name, SimpleNamespace(index=value))
    with pytest.raises(gr.Error):
        noise.choose_set(value)


def test_without_a_run_there_is_no_choice_of_sets(home: Path) -> None:
    assert noise.refresh_sets("starter", ENGLISH)["name"]["visible"] is False


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
    answers = list(model_view.show_predictions(model, 300, LION, "gpu", 0, ENGLISH))
    *shown, last = answers
    assert [each["predictions"].count('class="column"') for each in shown] == [*range(11)]
    assert "time 3 of 10" in answers[3]["progress"] and last == {"progress": ""}
    first = shown[0]["predictions"]
    assert "t = 12 / 40" in first  # the same mix on its own schedule, cosine as well
    times = re.findall(r"<b>([\d.]+)</b>", shown[-1]["predictions"])
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
    answers = list(model_view.show_round_trips(model, LION, 0, CHINESE))
    *shown, last = answers
    assert [each["trips"].count('class="column"') for each in shown] == [*range(9)]
    assert last == {"progress": ""}
    trips = shown[-1]["trips"]
    assert trips.count(" dB") == 8 and "<polyline" in trips
    curve, *columns = re.findall(r"RMS ([\d.]+)", trips)
    assert len(columns) == 8 and curve == columns[-1]


def test_who_stops_asking_leaves_the_model_free(model: str) -> None:
    for stream in (
        model_view.show_predictions(model, 300, LION, "tiny", 0, ENGLISH),
        model_view.show_round_trips(model, LION, 0, ENGLISH),
    ):
        next(stream)
        next(stream)
        stream.close()
        assert shared(models.NetworkLock).lock.acquire(blocking=False)
        shared(models.NetworkLock).lock.release()


@pytest.mark.parametrize("value", [*HOSTILE, LONG])
def test_the_model_is_not_asked_with_hostile_values(value: Any, model: str) -> None:
    good: list[Any] = [model, 300, LION, "tiny", 0]
    for place in (0, 1, 3, 4):
        with pytest.raises(gr.Error):
            list(model_view.show_predictions(*good[:place], value, *good[place + 1 :], ENGLISH))
    for trip in ([value, LION, 0], [model, LION, value]):
        with pytest.raises(gr.Error):
            list(model_view.show_round_trips(*trip, ENGLISH))
    for asked in ([value, LION, 0], [model, LION, value]):
        with pytest.raises(gr.Error):
            algorithm1.show_algorithm(*asked, ENGLISH)["lines"]


def test_the_steps_and_the_closed_form_are_shown_equal() -> None:
    told = chain.compare_chain(150, LION, "seed", 0, 1, ENGLISH)["ends"]
    assert told.count("<img") == 8 + 3
    gap = float(re.search(r"difference is ([\d.e-]+)\.<", told)[1])
    assert 0 < gap < 1e-4
    distances = [float(each) for each in re.findall(r"([\d.]+) from N", told)]
    assert len(distances) == 3 and max(distances) < 0.02
    stepped, jumped, _ = re.findall(r'src="([^"]+)"', told)[-3:]
    assert stepped != jumped  # by noise of its own
    assert "at t = 1 " in chain.compare_chain(0, LION, "seed", 0.5, 2, ENGLISH)["ends"]


@pytest.mark.parametrize("value", [*HOSTILE, LONG])
def test_the_steps_refuse_hostile_values(value: Any) -> None:
    good: list[Any] = [5, LION, "seed", 0, 1]
    for place in (0, 2, 3, 4):
        with pytest.raises(gr.Error):
            chain.compare_chain(*good[:place], value, *good[place + 1 :], ENGLISH)["ends"]
    for asked in ([value, 1], ["seed", value]):
        with pytest.raises(gr.Error):
            chain.compare_means(*asked, ENGLISH)["means"]


@pytest.mark.parametrize("course", ["seed", "linear"])
def test_theory_breaks_with_another_mean(course: str) -> None:
    schedule = schedules.read_schedule(course)
    far = int(
        (naive_means(schedule, 1) - schedule.noise(np.arange(schedule.timesteps + 1))).argmax()
    )
    mean = f"{naive_means(schedule, 1)[far]:.3g}"
    told = chain.compare_means(course, 1, ENGLISH)["means"].unescape()
    assert f"the chain's mean is {mean} at t = {far}," in told
    assert told.count("<polyline") == 2
    assert f"mean is -{mean}" in chain.compare_means(course, -1, ENGLISH)["means"]
    assert "<polyline" not in chain.compare_means(course, 0, ENGLISH)["means"]


def test_algorithm_1_has_its_lines_with_numbers(model: str) -> None:
    told = algorithm1.show_algorithm(model, LION, 4, ENGLISH)["lines"]
    assert told.count("<li>") == 8 and told.count("<img") == 4
    t = int(re.search(r"drawn: t = (\d+) of 40", told)[1])
    assert f"the time {t - 1} " in told
    made, *_ = algorithm1.run_iteration(model, LION, 4)
    assert made.eps_loss != pytest.approx(made.loss, rel=1e-2)
    assert f"mean squared error {made.eps_loss:.4f}" in told
    assert algorithm1.show_algorithm(model, LION, 4, ENGLISH)["lines"] == told


def test_the_scripts_of_the_page_are_in_its_head_and_ask_nobody() -> None:
    head = theme.head()
    assert "sdNoise" in head and "src=" not in head.split("\n")[0]
    assert head.count("<script>") == head.count("</script>")
    for path in (*theme.CSS_FILES, *(each for each in theme.SCRIPTS if each.exists())):
        assert not re.search(r"https?://(?!www\.w3\.org)|@import", path.read_text()), path
