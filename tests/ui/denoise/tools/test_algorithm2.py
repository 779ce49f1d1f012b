"""Algorithm 2 with numbers: the printed line must give what the sampler really made."""

import ast
import html
import operator
import re
from dataclasses import replace
from typing import Any

import pytest

from sd import runs
from sd.checkpoints.checkpoint import save_checkpoint
from sd.checkpoints.model import Model
from sd.config import Config
from sd.data.space import Pixels
from sd.diffusion.process import Prediction
from sd.diffusion.sampling import Sampling, step_noise
from sd.diffusion.schedule import Schedule
from sd.diffusion.timesteps import SAMPLERS
from sd.generation.pipeline import begin_x, sampling_of
from sd.training.randomness import new_network
from sd.ui import models
from sd.ui.denoise.tools import algorithm2
from sd.ui.denoise.tools.algorithm2 import StepNumbers, algorithm_html
from sd.ui.texts import TEXTS
from tests.helpers import denoising
from tests.helpers.denoising import another_day, replayed
from tests.helpers.latents import Blocks
from tests.helpers.networks import with_weights

SHAPE = (3, 4, 4)
PLACE = (0, 1, 2, 3)
MEAN, STD, SEED = 0.3, 0.5, 5
COSINE = Schedule.create("cosine", 1000)
LINEAR = Schedule.create("linear", 1000)
NO_SNR = Schedule.create("scaled_linear", 1000, zero_terminal_snr=True)
OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul}
OPERATORS |= {ast.Div: operator.truediv}
STOCHASTIC = ("ddpm", "ddim", "euler_ancestral", "lcm")


def gaussian(schedule):
    """The exact denoiser of pixels that are N(MEAN, STD^2), by conditioning Gaussians."""

    def denoise(x_t, t):
        a, b = float(schedule.signal(t)), float(schedule.noise(t))
        x0 = MEAN + a * STD**2 / (a**2 * STD**2 + b**2) * (x_t - a * MEAN)
        return Prediction(x0, (x_t - a * x0) / b)

    return denoise


def facts_of(sampler, steps=50, schedule=COSINE, eta=0.6, variance="fixed_small", **settings):
    """The facts of every step of a real run at one pixel."""
    run = Sampling(schedule, sampler, steps, eta=eta, variance=variance, **settings)
    x, t, large = run.start(SHAPE, [SEED]).double(), run.times[0], variance == "fixed_large"
    found = []
    for step in run.steps(gaussian(schedule), SHAPE, [SEED], start=x):
        values = [float(each[PLACE]) for each in (x, step.x_t, step.x0, step.eps)]
        before, after, x0, eps = values
        total = len(run.times)
        found.append(
            StepNumbers(
                sampler, step.i, total, t, step.t, schedule, eta, large,
                before, after, x0, eps, "red, row 3",
            )
        )  # fmt: skip
        x, t = step.x_t, step.t
    return found


def words(text):
    return html.unescape(re.sub(r"<[^>]+>", "", text)).replace("\u00a0", " ")


def lines(text):
    return re.findall(r"<li[^>]*>(.*?)</li>", text)


def calculated(text):
    """The value of a printed line of numbers."""
    plain = text.replace("−", "-").replace("·", "*").replace("\u00a0", " ").removeprefix("= ")

    def value(node):
        if isinstance(node, ast.BinOp):
            return OPERATORS[type(node.op)](value(node.left), value(node.right))
        if isinstance(node, ast.UnaryOp):
            return -value(node.operand)
        return node.value

    return value(ast.parse(plain, mode="eval").body)


def printed(text):
    """The numbers of the update line, evaluated, and the result beneath them."""
    numbers, result = re.findall(r'<span class="values">(.*?)</span>', text)
    return calculated(numbers), calculated(words(result))


@pytest.mark.parametrize("lang", TEXTS)
@pytest.mark.parametrize("schedule", [COSINE, LINEAR, NO_SNR], ids=["cosine", "linear", "no snr"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_printed_numbers_give_the_printed_result(sampler, schedule, lang):
    coarse = facts_of(sampler, 5, schedule, spacing="karras")
    for facts in [*facts_of(sampler, 25, schedule), *coarse]:
        line, result = printed(algorithm_html(facts, lang))
        assert result == pytest.approx(facts.after, abs=0.000501)
        assert line == pytest.approx(facts.after, abs=0.0005)


@pytest.mark.parametrize("lang", TEXTS)
@pytest.mark.parametrize("schedule", [COSINE, NO_SNR], ids=["cosine", "no snr"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_symbol_that_a_row_explains_by_has_a_row(sampler, schedule, lang):
    for eta in (0.0, 0.6):
        for facts in facts_of(sampler, 5, schedule, eta=eta):
            text = algorithm_html(facts, lang)
            rows = [words(row).replace("t−1", "s") for row in re.findall("<dt>(.*?)</dt>", text)]
            told = [words(row) for row in re.findall("</dd><dd>(.*?)</dd>", text)]
            assert len(told) == len(rows) > 3
            for row, meaning in zip(rows, told, strict=True):
                named = re.findall(r"[xᾱσ][0ts](?![a-z])|[αβε]", meaning)
                known = {*rows, *(name[0] for name in rows if name[0] in "αβ")}
                assert set(named) <= known, (row, meaning)
                assert not re.search("the same|同一", meaning)


@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large"])
@pytest.mark.parametrize("sampler", STOCHASTIC)
def test_the_noise_shown_is_the_noise_that_was_drawn(sampler, variance):
    for facts in facts_of(sampler, 20, variance=variance)[:-1]:
        z = float(step_noise(SHAPE, [SEED], facts.i)[PLACE])
        shown = re.search(r"drawn here: z = ([−\d.]+)", words(algorithm_html(facts, "en")))
        assert calculated(shown.group(1)) == pytest.approx(z, abs=0.0002)


@pytest.mark.parametrize("sampler", [*STOCHASTIC, "euler"])
def test_the_last_step_adds_no_noise_and_returns_its_pixel(sampler):
    facts = facts_of(sampler, 10, variance="fixed_large")[-1]
    assert facts.s == 0
    text = algorithm_html(facts, "en")
    result = algorithm2.number(facts.after, 3)
    assert f"here {result}" in words(lines(text)[5])
    assert ("z = 0: Euler adds" if sampler == "euler" else "z = 0, nothing random") in words(text)
    numbers = re.search(r'<span class="values">(.*?)</span>', text).group(1)
    assert ("·\u00a00" in numbers) == (sampler != "euler")


def test_ddpm_without_leaps_is_the_papers_own_text():
    first, *_, last = facts_of("ddpm", 1000, LINEAR)
    texts = [words(line) for line in lines(algorithm_html(first, "en"))]
    assert texts[0].startswith("xT ~ N(0, I)here ")
    assert texts[1] == "for t = T, …, 1 dostep 1 of 1000: from t = 1000 to 999"
    assert texts[2].startswith("z ~ N(0, I) if t > 1, else z = 0drawn here")
    assert texts[3].startswith("xt−1 = 1/√αt · (xt − βt/√1 − ᾱt · ε) + σ · z= ")
    assert texts[4:] == ["end for", "return x0"]
    assert words(lines(algorithm_html(last, "en"))[0]) == "xT ~ N(0, I)"


def test_a_leap_says_so_and_names_s():
    text = words(algorithm_html(facts_of("ddpm", 10)[3], "en"))
    assert "xs = 1/√αt|s" in text and "leaps" in text and "if s > 0" in text


@pytest.mark.parametrize("sampler", ["ddpm", "euler", "heun", "euler_ancestral"])
@pytest.mark.parametrize("schedule", [COSINE, NO_SNR], ids=["cosine", "no snr"])
def test_where_x_t_weighs_nothing_nothing_is_divided_by_it(sampler, schedule):
    steep, *_, plain = facts_of(sampler, 20, schedule)
    assert "divide by nearly 0" in algorithm_html(steep, "en")
    assert "divide by nearly 0" not in algorithm_html(plain, "en")
    assert not re.search("inf|nan", words(algorithm_html(steep, "en")))


@pytest.mark.parametrize(
    "sampler, about", [("heun", "second look"), ("dpmpp_2m", "said before"), ("unipc", "before")]
)
def test_what_the_higher_order_adds_is_told(sampler, about):
    facts = facts_of(sampler, 20)[7]
    text = words(algorithm_html(facts, "en"))
    found = re.search(rf"first-order part (\S+); .*{about}.*? adds (−?[\d.]+)", text)
    first, added = (calculated(each) for each in found.groups())
    ddim = float(COSINE.signal(facts.s)) * facts.x0 + float(COSINE.noise(facts.s)) * facts.eps
    assert first == pytest.approx(ddim, abs=0.0001)
    assert added == pytest.approx(facts.after - ddim, abs=0.0001) and abs(added) > 1e-4


def test_what_is_set_from_outside_is_told_apart():
    facts = facts_of("ddim", 20, eta=0.0)[7]
    assert "from outside" not in algorithm_html(facts, "en")
    moved = facts._replace(after=facts.after + 0.25)
    assert "adds 0.2500" in words(algorithm_html(moved, "en"))
    assert printed(algorithm_html(moved, "en"))[0] == pytest.approx(moved.after, abs=0.0004)


def test_one_line_is_marked_and_every_symbol_explained():
    for sampler in SAMPLERS:
        text = algorithm_html(facts_of(sampler, 10)[4], "en")
        assert text.count('aria-current="step"') == 1
        marked = re.search(r'aria-current="step">(.*?)</li>', text).group(1)
        titles = set(re.findall(r'<abbr title="([^"]+)">', marked))
        explained = {words(each) for each in re.findall(r"<dd>(.*?)</dd>", text)}
        plain = {words(re.sub(r"_(\w)(?![a-z])", r"\1", each)) for each in titles}
        assert plain - explained <= {TEXTS["en"]["algorithm2_x_s"]}


def test_chinese_has_no_english_left_and_html_in_a_name_is_text():
    facts = facts_of("heun", 10)[4]._replace(name_of_pixel="<b>x</b>")
    text = algorithm_html(facts, "zh")
    assert "&lt;b&gt;x" in text and "<b>x" not in text
    assert set(re.findall("[a-zA-Z]{3,}", words(text))) <= {"Heun", "Ho"}


def test_the_name_of_a_pixel():
    colour, grey = Pixels((3, 32, 32)), Pixels((1, 8, 8))
    blue = algorithm2.pixel_name(colour, 2, 16, 17, 1, "en")
    assert blue == "blue, row 16, column 17 of picture 1"
    assert algorithm2.pixel_name(grey, 0, 1, 1, 2, "zh") == "第 2 张图片第 1 行第 1 列的灰度值"
    place = algorithm2.pixel_name(Blocks(), 1, 4, 4, 1, "en")
    assert place == "channel 2 of 4, row 4, column 4 of picture 1"


@pytest.mark.parametrize(
    "value, decimals, text",
    [(-0.00001, 4, "0.0000"), (-0.5, 4, "−0.5000"), (0.0, 0, "0"), (0.0123456789, 0, "0.012346")],
)
def test_numbers(value, decimals, text):
    assert algorithm2.number(value, decimals) == text


def test_a_broken_estimate_is_shown_as_it_is():
    facts = facts_of("ddim", 10, eta=0.0)[4]
    text = algorithm_html(facts._replace(after=float("nan"), x0=float("nan")), "en")
    assert '<b class="result">nan</b>' in text


# ---- where the slider rests


@pytest.mark.usefixtures("little")
@pytest.mark.parametrize("noise_info", [(0.0, 1.0), (0.5, 2.0)])
def test_every_number_is_of_its_step_and_of_the_standard_process(
    tiny_config: Config, monkeypatch: pytest.MonkeyPatch, noise_info: tuple[float, float]
) -> None:
    another_day(monkeypatch)
    monkeypatch.setattr("sd.generation.pipeline.pick_pixel", lambda *_: (2, 6))
    (mean, std), name = noise_info, f"noise-{noise_info[1]:g}"
    config = tiny_config.with_settings([f"diffusion.noise_info=[{mean:g}, {std:g}]"])
    network = with_weights(new_network(config, 0).eval())
    folder = runs.default_home().path / name
    save_checkpoint(Model(network, config), folder / "checkpoint-4", {"step": 4})
    (folder / runs.CONFIG).write_text(config.to_ini())
    made = replace(denoising.recipe(), model=name, digest="", step=4, sampler="ddpm", steps=6)
    made = replace(made, variance="fixed_large", clip_x0=False)
    model: Any = models.open_model(models.find(name))
    steps, times = replayed(made, model), [*sampling_of(made, model).times, 0.0]
    x = [begin_x(made, model, "cpu"), *(step.x_t for step in steps)]
    w = [
        (each - model.diffusion.schedule.at(t)[1] * mean) / std
        for each, t in zip(x, times, strict=True)
    ]
    for i in (1, 3, 6):
        found, step = algorithm2.step_numbers(made, i, "en"), steps[i - 1]
        assert (found.i, found.total, found.t, found.s) == (i, 6, times[i - 1], times[i])
        assert found.large and found.sampler == "ddpm"
        assert "row 3, column 7" in found.name_of_pixel
        at = (0, 0, 2, 6)
        wanted = [float(each[at]) for each in (w[i - 1], w[i], step.x0 / std, step.eps)]
        told = [found.before, found.after, found.x0, found.eps]
        assert told == pytest.approx(wanted, abs=1e-4)
