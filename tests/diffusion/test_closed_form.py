"""The closed-form models against brute force, and as models opened by name."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sd.checkpoints import closed_form_model
from sd.checkpoints.closed_form_model import (
    ClosedFormModel,
    build_closed_form,
    open_closed_form,
)
from sd.checkpoints.closed_form_name import parse_name
from sd.checkpoints.latent_set import open_latents
from sd.common.validation import InputError
from sd.config import Config
from sd.data.image_set import ImageSet, read_images
from sd.data.images import to_float
from sd.data.ingest import ingest_images, open_images
from sd.diffusion.closed_form import ClosedFormDenoiser, IdealDenoiser, LinearDenoiser
from sd.diffusion.process import ForwardProcess
from sd.diffusion.sampling import Sampling, draw_noise, generators
from sd.diffusion.schedule import Schedule
from sd.runs.worker import begin
from tests.helpers.first_stages import latent_settings
from tests.runs.test_resume import make_small_samples

COSINE = Schedule.create("cosine", 1000)
PLAIN = ForwardProcess(COSINE)
SHIFTED = ForwardProcess(COSINE, (0.3, 1.7))
TERMINAL = ForwardProcess(Schedule.create("linear", 1000, zero_terminal_snr=True))
TIMES = (0.01, 1, 20, 150, 400, 700, 900, 1000)
RANGE = 2.0  # of pictures, -1 to 1
Kind = type[ClosedFormDenoiser]


@pytest.fixture(scope="module")
def emoji16() -> Tensor:
    """Sixty real pictures and twenty that differ from one of them in one value by one level."""
    pixels = read_images("starter", height=16, width=16).pixels[::20][:60]
    near = pixels[:20].clone()
    near[:, 0, 8, 8] = torch.where(near[:, 0, 8, 8] > 100, near[:, 0, 8, 8] - 1, 101)
    return torch.cat([pixels, near])


def values(pixels: Tensor) -> Tensor:
    """Return the pictures [N, D], exactly; training sees them rounded to float32."""
    return pixels.flatten(1).double() / 127.5 - 1


def of_noise(process: ForwardProcess, x_t: Tensor, t: float) -> tuple[Tensor, float, float]:
    """Return x_t less the noise's mean [B, D], and the factors of x_0 and of the noise."""
    a, b = float(process.schedule.signal(t)), float(process.schedule.noise(t))
    return x_t.double().flatten(1) - b * process.mean, a, b * process.std


def posterior_mean(pixels: Tensor, process: ForwardProcess, x_t: Tensor, t: float) -> Tensor:
    """Weigh every picture by the density of x_t given it, one difference at a time."""
    y, (x, a, b) = values(pixels), of_noise(process, x_t, t)
    squares = torch.stack([(x - a * each).square().sum(1) for each in y], dim=1)
    density = torch.exp(-(squares - squares.min(1, keepdim=True).values) / (2 * b**2))
    return (density @ y / density.sum(1, keepdim=True)).reshape(x_t.shape)


def wiener(pixels: Tensor, process: ForwardProcess, x_t: Tensor, t: float) -> Tensor:
    """Solve with the whole covariance: x_0 = mu + a C (a^2 C + b^2 I)^-1 (x_t - a mu)."""
    y, (x, a, b) = values(pixels), of_noise(process, x_t, t)
    covariance = torch.cov(y.T, correction=0)
    whole = a**2 * covariance + b**2 * torch.eye(y.shape[1], dtype=y.dtype)
    back = a * covariance @ torch.linalg.solve(whole, (x - a * y.mean(0)).T)
    return (y.mean(0) + back.T).reshape(x_t.shape)


def noised(pixels: Tensor, process: ForwardProcess, t: float, count: int = 6) -> Tensor:
    """Return x_t of the first pictures, as float32."""
    x0 = values(pixels[:count]).reshape(-1, *pixels.shape[1:])
    eps = draw_noise(x0.shape[1:], generators(range(count)))
    return process.q_sample(x0, t, eps.double()).float()


@pytest.mark.parametrize("process", [PLAIN, SHIFTED, TERMINAL], ids=["plain", "shifted", "snr 0"])
@pytest.mark.parametrize("t", TIMES)
@pytest.mark.parametrize(
    ("kind", "brute"), [(IdealDenoiser, posterior_mean), (LinearDenoiser, wiener)]
)
def test_the_answer_is_that_of_brute_force(
    kind: Kind,
    brute: Callable[[Tensor, ForwardProcess, Tensor, float], Tensor],
    t: float,
    process: ForwardProcess,
    emoji16: Tensor,
) -> None:
    denoiser = kind(emoji16, process)
    for x_t in (noised(emoji16, process, t), 3 * noised(emoji16, process, 1000)):
        w_t = process.to_w(x_t, t)
        wanted = process.to_w(brute(emoji16, process, process.to_x(w_t.double(), t), t), 0)
        answer = denoiser(w_t, t)
        assert (answer.x0 - wanted).abs().max() <= 1e-6 * RANGE
        assert answer.x0.dtype == answer.eps.dtype == x_t.dtype
        double = denoiser(w_t.double(), t)
        assert (double.x0 - wanted).abs().max() <= 1e-7
        a, b = process.schedule.at(t)
        torch.testing.assert_close(a * double.x0 + b * double.eps, w_t.double(), rtol=0, atol=1e-9)


def test_at_snr_0_both_answer_the_mean_picture(emoji16: Tensor) -> None:
    x_t = noised(emoji16, TERMINAL, 1000)
    mean = values(emoji16).mean(0).float().reshape(1, 3, 16, 16).expand(6, -1, -1, -1)
    for kind in (IdealDenoiser, LinearDenoiser):
        torch.testing.assert_close(kind(emoji16, TERMINAL)(x_t, 1000).x0, mean, rtol=0, atol=1e-6)


def test_weights_tell_which_pictures_are_answered(emoji16: Tensor) -> None:
    ideal, linear = IdealDenoiser(emoji16, PLAIN), LinearDenoiser(emoji16, PLAIN)
    for t in (1, 500, 1000):
        x_t = noised(emoji16[20:], PLAIN, t)
        for denoiser in (ideal, linear):
            weights = denoiser.weights(x_t, t)
            torch.testing.assert_close(weights.sum(1), torch.ones(6).double())
            x0 = (weights @ values(emoji16)).reshape(x_t.shape).float()
            torch.testing.assert_close(denoiser(x_t, t).x0, x0, rtol=0, atol=1e-6)
    assert ideal.weights(noised(emoji16[20:], PLAIN, 1), 1).argmax(1).tolist() == list(
        range(20, 26)
    )
    assert float(linear.weights(x_t, 1).min()) < 0 <= float(ideal.weights(x_t, 1).min())


@pytest.mark.parametrize("kind", [IdealDenoiser, LinearDenoiser])
def test_parts_and_batches_change_nothing(
    kind: Kind, emoji16: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    x_t = noised(emoji16, PLAIN, 600)
    whole = kind(emoji16, PLAIN)(x_t, 600)
    monkeypatch.setattr("sd.diffusion.closed_form.PART_BYTES", 7 * 8 * 3 * 16 * 16)
    parts = kind(emoji16, PLAIN)(x_t, 600)
    alone = [kind(emoji16, PLAIN)(each[None], 600) for each in x_t]
    for k, together in enumerate(whole):
        torch.testing.assert_close(parts[k], together, rtol=0, atol=1e-6)
        torch.testing.assert_close(
            torch.cat([each[k] for each in alone]), together, atol=1e-6, rtol=0
        )


def test_a_set_with_fewer_pictures_than_values_and_one_with_more(emoji16: Tensor) -> None:
    small = emoji16[:, :1, 6:10, 6:10]
    for pixels in (small, small[:9]):
        x_t = noised(pixels, PLAIN, 300)
        wanted = wiener(pixels, PLAIN, x_t, 300).float()
        torch.testing.assert_close(
            LinearDenoiser(pixels, PLAIN)(x_t, 300).x0, wanted, rtol=0, atol=1e-6
        )


def test_of_a_large_set_the_covariance_is_that_of_an_even_part(
    emoji16: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sd.diffusion.closed_form.MOST_FITTED", 20)
    x_t = noised(emoji16, PLAIN, 500)
    found, wanted = (LinearDenoiser(part, PLAIN)(x_t, 500).x0 for part in (emoji16, emoji16[::4]))
    assert torch.equal(found, wanted)


def closest(samples: Tensor, pixels: Tensor) -> Tensor:
    """Return each sample's largest difference to the picture to which that is smallest."""
    y = values(pixels).float()
    return torch.stack([(each.flatten() - y).abs().amax(1).min() for each in samples])


@pytest.mark.parametrize("spacing", ["trailing", "karras"])
@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
def test_sampled_to_the_end_the_ideal_gives_pictures_of_its_set(
    sampler: str, spacing: str, emoji16: Tensor
) -> None:
    real = emoji16[:60]
    sampling = Sampling(COSINE, sampler, 50, spacing=spacing, clip_x0=False)
    samples = sampling.sample(IdealDenoiser(real, PLAIN), (3, 16, 16), range(24))
    assert closest(samples, real).max() <= 1 / 255
    found = (
        (samples[:, None] - values(real).float().reshape(1, -1, 3, 16, 16)).abs().amax((2, 3, 4))
    )
    assert len(set(found.argmin(1).tolist())) > 8


def test_what_the_linear_one_samples_has_the_mean_and_covariance_of_the_set(
    emoji16: Tensor,
) -> None:
    """DDIM is affine in the noise here: the map is found from the unit vectors, not by chance."""
    pixels = emoji16[:, :1, 6:10, 6:10]
    sampling = Sampling(COSINE, "ddim", 1000, clip_x0=False)
    start = torch.cat([torch.zeros(1, 16), torch.eye(16)]).double().reshape(17, 1, 4, 4)
    steps = sampling.steps(LinearDenoiser(pixels, PLAIN), (1, 4, 4), range(17), start=start)
    *_, last = steps
    ends = last.x_t.flatten(1)
    mean, columns = ends[0], ends[1:] - ends[0]
    covariance = torch.cov(values(pixels).T, correction=0)
    scale = float(covariance.diagonal().max())
    assert (mean - values(pixels).mean(0)).abs().max() < 0.01
    assert (columns.T @ columns - covariance).abs().max() < 0.01 * scale


def test_what_cannot_be_is_one_line(emoji16: Tensor) -> None:
    with pytest.raises(InputError, match="needs a picture; the set is empty"):
        IdealDenoiser(emoji16[:0], PLAIN)
    with pytest.raises(InputError, match="needs at least 2 pictures; the set has 1"):
        LinearDenoiser(emoji16[:1], PLAIN)
    x_t = noised(emoji16, PLAIN, 999)
    alone = values(emoji16[:1]).float().reshape(1, 3, 16, 16).expand(6, -1, -1, -1)
    torch.testing.assert_close(IdealDenoiser(emoji16[:1], PLAIN)(x_t, 999).x0, alone)


@pytest.mark.gpu
@pytest.mark.parametrize("kind", [IdealDenoiser, LinearDenoiser])
def test_on_cuda_the_answer_is_that_of_the_cpu(kind: Kind, emoji16: Tensor) -> None:
    for t in TIMES:
        x_t = noised(emoji16, PLAIN, t)
        here, there = kind(emoji16, PLAIN)(x_t, t), kind(emoji16, PLAIN, "cuda")(x_t.cuda(), t)
        for ours, theirs in zip(here, there, strict=True):
            assert theirs.is_cuda
            torch.testing.assert_close(theirs.cpu(), ours, rtol=1e-6, atol=2e-6)


# as models, by name


def test_a_name_tells_kind_and_pictures() -> None:
    assert parse_name("ideal:starter") == ("ideal", "starter")
    assert parse_name("linear:a:b/c.zip") == ("linear", "a:b/c.zip")
    for name in ("ideal", "checkpoints/run", "C:pictures", "idea:starter", "", "ideal/x"):
        assert parse_name(name) is None
    with pytest.raises(InputError, match="ideal: tell of which pictures: ideal:DATA"):
        parse_name("ideal:")


@pytest.mark.parametrize("kind", ["ideal", "linear"])
def test_a_folder_is_a_model_with_the_settings_of_tiny(kind: str, pictures: Path) -> None:
    model = open_closed_form(f"{kind}:{pictures}")
    assert isinstance(model, ClosedFormModel) and model.config == Config.preset("tiny")
    assert model.shape == (3, 32, 32) and model.about == {"kind": kind, "pictures": 12}
    assert model.sampling("ddpm", 7, clip_x0=False).times[0] == model.diffusion.schedule.timesteps
    samples = model.sampling(steps=10).sample(model.denoiser, model.shape, [0, 1])
    distance = closest(samples, read_images(pictures).pixels)
    assert samples.shape == (2, 3, 32, 32) and (float(distance.max()) <= 1 / 255) == (
        kind == "ideal"
    )


@pytest.fixture
def run(pictures: Path, tiny_config: Config, tmp_path: Path) -> Path:
    """A run's folder with the pictures that it took in, grey and of 8 x 8, and its noise."""
    folder = tmp_path / "run"
    folder.mkdir()
    config = tiny_config.with_settings(["diffusion.noise_info=[0.5,2.0]"])
    (folder / "config.ini").write_text(config.to_ini(), encoding="utf-8")
    shape = {"height": 8, "width": 8, "channels": 1}
    for _ in ingest_images(pictures, folder / "pictures", fit="crop", **shape):
        pass
    return folder


def test_a_run_is_a_model_of_its_own_pictures_and_settings(run: Path, pictures: Path) -> None:
    model = open_closed_form(f"ideal:{run}")
    assert model.shape == (1, 8, 8) and model.diffusion.std == 2.0
    assert model.config == Config.read(run / "config.ini")
    samples = model.sampling("ddim", 50).sample(model.denoiser, model.shape, range(8))
    taken_in = read_images(pictures, height=8, width=8, channels=1).pixels
    assert closest(samples, taken_in).max() <= 1 / 255


def test_a_run_that_holds_no_pictures_is_refused(run: Path) -> None:
    (run / "pictures" / "index.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match="pictures: not a picture set, or a damaged one"):
        open_closed_form(f"ideal:{run}")
    shutil.rmtree(run / "pictures")
    with pytest.raises(InputError, match=r"run: holds config.ini but no pictures"):
        open_closed_form(f"linear:{run}")


def test_the_word_starter_is_the_bundled_set_wherever_one_is(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.rename(tmp_path / "starter")
    monkeypatch.chdir(tmp_path)
    assert open_closed_form("ideal:starter").about["pictures"] == 1292


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("starter", "model = 'starter': must be ideal:DATA or linear:DATA"),
        ("idea:starter", "model = 'idea:starter': must be"),
        ("linear:", "linear: tell of which pictures"),
        ("ideal:missing", "missing: no such folder, zip or picture"),
        ("ideal:nul\0byte", "no such folder, zip or picture"),
        ("ideal:" + "x" * 5000, "no such folder, zip or picture"),
    ],
)
def test_a_name_that_is_none_is_one_line(name: str, line: str) -> None:
    with pytest.raises(InputError, match=line):
        open_closed_form(name)


def test_pictures_that_do_not_fit_the_settings_and_other_kinds_are_one_line(
    pictures: Path, tiny_config: Config
) -> None:
    images = read_images(pictures, height=8, width=8, channels=1)
    with pytest.raises(InputError, match="must be one of ideal, linear; did you mean 'ideal'"):
        build_closed_form("idael", images, tiny_config)
    with pytest.raises(InputError, match=r"\(1, 8, 8\).*; \(3, 32, 32\) is wanted"):
        build_closed_form("ideal", images, Config.preset("tiny"))


def test_a_run_without_pictures_has_those_of_its_bundled_set(
    tiny_config: Config, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []

    def read_set(data: str, **shape: Any) -> ImageSet:
        read.append((data, shape["height"], shape["channels"]))
        return read_images(pictures, **shape)

    monkeypatch.setattr(closed_form_model, "read_images", read_set)
    (run := tmp_path / "run").mkdir()
    (run / "config.ini").write_text(tiny_config.to_ini())
    with pytest.raises(InputError, match="a run without its pictures"):
        open_closed_form(f"ideal:{run}")
    (run / "source.json").write_text('{"data": "/elsewhere"}')
    with pytest.raises(InputError, match="a run without its pictures"):
        open_closed_form(f"ideal:{run}")
    (run / "source.json").write_text('{"data": "shapes"}')
    model = open_closed_form(f"ideal:{run}")
    assert read == [("shapes", 8, 1)] and model.shape == (1, 8, 8)
    assert model.config == tiny_config


@pytest.fixture
def latent_run(pictures: Path, tiny_config: Config, tmp_path: Path) -> Path:
    """A run whose network sees latents, encoded, with the first stage of a checkpoint."""
    config = latent_settings(tmp_path, tiny_config, "training.steps=1", "training.flip=True")
    with pytest.MonkeyPatch.context() as patch:
        make_small_samples(patch)
        list(begin(config, str(pictures), tmp_path / "latent"))
    return tmp_path / "latent"


@pytest.mark.parametrize("stored", [True, False])
def test_on_latents_the_ideal_one_repeats_what_the_autoencoder_gives_back(
    latent_run: Path, stored: bool
) -> None:
    if not stored:
        shutil.rmtree(latent_run / "latents")  # as of a bundle: encoded when it is opened
    model = open_closed_form(f"ideal:{latent_run}")
    assert (model.shape, model.space.picture_shape) == ((4, 4, 4), (3, 8, 8))
    pixels = open_images(latent_run / "pictures").pixels
    samples = model.sampling("ddim", 50).sample(model.denoiser, model.shape, range(6))
    decoded = model.space.decode(samples)
    given_back = model.space.decode(model.space.encode(to_float(pixels)))
    assert far(decoded, given_back).max() < 0.03 < far(decoded, to_float(pixels)).min()
    assert not model.sampling("ddim", 2).clip_x0


def far(samples: Tensor, pictures: Tensor) -> Tensor:
    """Return the RMS distance of each sample to the nearest picture."""
    return torch.cdist(samples.flatten(1), pictures.flatten(1)).amin(1) / samples[0].numel() ** 0.5


def test_on_latents_the_linear_one_has_the_mean_and_covariance_of_the_latents(
    latent_run: Path,
) -> None:
    model = open_closed_form(f"linear:{latent_run}")
    z = open_latents(latent_run / "latents", model.config).z(torch.arange(12)).double().flatten(1)
    process, w_t = model.diffusion, torch.randn(3, 4, 4, 4).double()
    a, b = process.schedule.at(20)
    mean, centred = z.mean(0), z - z.mean(0)
    covariance = centred.T @ centred / len(z)
    whole = a**2 * covariance + b**2 * torch.eye(64).double()
    wanted = mean + (a * covariance @ torch.linalg.solve(whole, (w_t.flatten(1) - a * mean).T)).T
    torch.testing.assert_close(model.denoiser(w_t, 20).x0.flatten(1), wanted)
    assert model.denoiser.pixels.dtype == torch.float32
