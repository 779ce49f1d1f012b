"""The figures that the benchmarks tell: distances, places and kinds of error are what they say."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from sd.checkpoints.model import Model
from sd.config import Config
from sd.data import shapes
from sd.data.image_set import ImageSet
from sd.data.images import to_array
from sd.data.reading.report import Report
from sd.networks.attention_maps.heatmaps import word_map
from sd.networks.attention_maps.hooks import Recording
from sd.networks.conditioning import conditioner_of
from sd.networks.tokenizer import Vocabulary
from sd.networks.unet import UNetModel
from tests.benchmarks.conditioning import heat
from tests.benchmarks.conditioning import shapes as bound
from tests.benchmarks.conditioning.asked import Way
from tests.benchmarks.conditioning.off import summed
from tests.benchmarks.conditioning.starter import distances, evenly, places
from tests.benchmarks.digits import frechet, train_judge
from tests.benchmarks.starting import saved
from tests.helpers.networks import with_weights


def normal(mean: Tensor, covariance: Tensor, count: int = 50) -> Tensor:
    """Return points [count, D] whose mean and covariance are exactly these."""
    x = torch.randn(count, len(mean), generator=torch.Generator().manual_seed(0)).double()
    x = x - x.mean(0)
    white = torch.linalg.solve_triangular(torch.linalg.cholesky(torch.cov(x.T)), x.T, upper=False)
    return (torch.linalg.cholesky(covariance.double()) @ white).T + mean


def test_frechet_of_axis_aligned_normals_is_the_distance_of_means_and_deviations() -> None:
    a = normal(torch.tensor([0.0, 1.0, 2.0]), torch.tensor([1.0, 4.0, 9.0]).diag())
    b = normal(torch.tensor([3.0, 1.0, 2.0]), torch.tensor([4.0, 4.0, 1.0]).diag())
    assert frechet(a, b) == pytest.approx(3**2 + (1 - 2) ** 2 + (3 - 1) ** 2)
    assert frechet(a, a) == pytest.approx(0, abs=1e-9)


def test_frechet_of_turned_normals_agrees_with_the_root_of_a_2_by_2_matrix() -> None:
    one, two = torch.tensor([[2.0, 1.2], [1.2, 1.0]]), torch.tensor([[1.0, -0.6], [-0.6, 3.0]])
    product = (one @ two).double()  # tr M^(1/2) = sqrt(tr M + 2 sqrt(det M))
    root = (product.trace() + 2 * product.det().sqrt()).sqrt()
    expected = float(one.trace() + two.trace() - 2 * root)
    mean = torch.zeros(2)
    assert frechet(normal(mean, one), normal(mean, two)) == pytest.approx(expected)
    assert frechet(normal(mean, two), normal(mean, one)) == pytest.approx(expected)


def test_frechet_bears_fewer_points_than_dimensions() -> None:
    points = torch.randn(5, 20, generator=torch.Generator().manual_seed(1))
    assert frechet(points, points + 2) == pytest.approx(20 * 2**2, rel=1e-5)


def striped(count: int) -> ImageSet:
    """Grey pictures of 16 pixels under noise: bright above, or bright on the left."""
    source = torch.Generator().manual_seed(2)
    pixels = torch.randint(0, 120, (count, 1, 16, 16), generator=source)
    pixels[::2, :, :8] += 100
    pixels[1::2, :, :, :8] += 100
    names = tuple(map(str, range(count)))
    report = Report(count, (), {}, {}, {"above": count // 2, "left": count // 2}, 0, ())
    labels = torch.arange(count) % 2
    return ImageSet(pixels.to(torch.uint8), names, labels, ("above", "left"), None, report)


def test_a_judge_learns_its_classes_and_gives_features() -> None:
    images = striped(320)
    judge = train_judge(images, epochs=3)
    assert judge.classes == ("above", "left") and judge.unseen == 32 and judge.accuracy == 1
    x = images.pixels[:6].float() / 127.5 - 1
    assert judge.classifier.features(x).shape == (6, 128)
    assert judge.classifier.classes_of(x).tolist() == [0, 1] * 3
    again = train_judge(images, epochs=3)
    assert torch.equal(judge.classifier.features(x), again.classifier.features(x))


def test_distance_is_rms_and_the_place_counts_the_nearer_ones() -> None:
    pictures = torch.stack([torch.full((3, 4, 4), value) for value in (-1.0, 0.0, 0.5)])
    distance = distances(torch.full((1, 3, 4, 4), 0.4), pictures)
    assert distance.tolist() == [pytest.approx([1.4, 0.4, 0.1])]
    assert [places(distance, torch.tensor([k])) for k in range(3)] == [[3], [2], [1]]


def test_rows_are_spread_over_all() -> None:
    assert evenly(torch.arange(10, 110), 4).tolist() == [10, 35, 60, 85]
    assert evenly(torch.arange(3), 50).tolist() == [0, 1, 2]


def test_pairs_are_distinct_captions_that_differ_in_colours_alone() -> None:
    assert bound.swapped("red circle left of blue square") == "blue circle left of red square"
    pairs = bound.pairs(108)
    assert len({caption for pair in pairs for caption in pair}) == 216  # all of them


@pytest.mark.parametrize(
    ("drawn", "kinds"),
    [
        ("red circle left of blue square", []),
        ("red circle", ["count"]),
        ("green circle left of blue square", ["colour"]),
        ("red triangle left of blue square", ["shape"]),
        ("green triangle left of blue square", ["colour", "shape"]),
        ("blue circle left of red square", ["binding"]),
        ("red circle above blue square", ["relation"]),
    ],
)
def test_what_is_wrong_with_a_picture_has_its_name(drawn: str, kinds: list[str]) -> None:
    picture = np.asarray(shapes.draw(drawn, np.random.default_rng(3)))
    assert bound.errors("red circle left of blue square", picture) == kinds


def drawn_of(picture: np.ndarray, hot: np.ndarray) -> heat.Drawn:
    """One sample with a map that is hot only in the middle third of the steps, in one layer."""
    target = heat.Target(0, "shape", shapes.Thing("red", "circle"), [2])
    maps = torch.zeros(1, 3, 2, 32, 32)
    maps[0, 1, 0] = torch.as_tensor(hot)
    return heat.Drawn(picture[None], [target], maps, [2, 3, 2], ["down 1 cross", "up 1 cross"])


def test_a_map_is_inside_where_its_own_shape_is() -> None:
    caption = "red circle left of blue square"
    picture = np.asarray(shapes.draw(caption, np.random.default_rng(4)))
    circle, square = (
        next(each for each in shapes.find_shapes(picture) if each.shape == name)
        for name in ("circle", "square")
    )
    rows, columns = np.mgrid[:32, :32]
    for found, inside in ((circle, True), (square, False)):
        scores = heat.Scores()
        near = np.exp(-((rows - found.y) ** 2 + (columns - found.x) ** 2) / 20)
        scores.add([caption], drawn_of(picture, near))
        assert scores.inside["shape", "all steps", "all layers"] == [inside]
        assert scores.inside["shape", "middle third", "all layers"] == [inside]
        assert scores.inside["shape", "all steps", "down 1 cross"] == [inside]
        assert scores.areas == [pytest.approx(circle.area / 32**2)]


def test_the_strongest_fifth_is_a_fifth() -> None:
    values = torch.rand(10, 10)
    mask = heat.strongest_region(values)
    assert mask.sum() == 20 and values[mask].min() >= values[~mask].max()
    assert heat.strongest_region(torch.ones(10, 10)).sum() == 20  # even where all are equal
    assert heat.strongest_region(torch.rand(2, 2), 0.01).sum() == 1


def test_the_centre_of_mass() -> None:
    mask = torch.zeros(5, 9, dtype=torch.bool)
    mask[1:4, 6:8] = True
    assert heat.centre_of_mass(mask) == (2.0, 6.5)
    values = torch.zeros(4, 4)
    values[0, 0], values[3, 1] = 1.0, 3.0
    assert heat.centre_of_mass(values) == (2.25, 0.75)
    assert heat.centre_of_mass(torch.zeros(4, 6)) == (1.5, 2.5)


def test_only_samples_that_follow_are_scored() -> None:
    picture = np.asarray(shapes.draw("blue square", np.random.default_rng(5)))
    scores = heat.Scores()
    scores.add(["red circle"], drawn_of(picture, np.ones((32, 32))))
    assert (scores.samples, scores.followed, scores.inside) == (1, 0, {})


def tiny_model() -> Model:
    """A network of random weights and 16 pixels that reads captions of shapes."""
    smaller = ["input_height=16", "input_width=16", "batch_size=1"]
    config = Config.preset("tiny").with_settings(
        [f"training.{each}" for each in smaller]
        + ["unet.model_channels=32", "unet.channel_mult=[1,2]", "unet.attention_resolutions=[1,2]"]
        + ["unet.context_dim=32", "conditioning.kind=captions"]
    )
    vocabulary = Vocabulary.train(shapes.captions(), 400).to_json()
    torch.manual_seed(0)
    conditioner = conditioner_of(
        config, {"kind": "captions", "examples": [], "vocabulary": vocabulary}
    )
    assert conditioner is not None
    network = with_weights(UNetModel.from_config(config.unet).eval(), conditioner)
    return Model(network, config, {}, conditioner.eval())


def test_heat_added_up_step_by_step_is_the_mean_over_all_of_them() -> None:
    model, way, size = tiny_model(), Way("ddim", 4, 2.0), (16, 16)
    prompts = ["red circle left of blue square", "green triangle"]
    drawn = heat.record(model, prompts, [0, 1], way)
    sampling = model.sampling("ddim", 4)
    with Recording(model.unet) as recording:
        x = sampling.sample(way.denoiser(model, prompts), model.shape, [0, 1])
    calls = recording.drain()
    assert (drawn.pictures == to_array(x)).all() and drawn.counted == [2, 1, 1]
    assert [each.role for each in drawn.targets].count("shape") == 3
    for target, each in zip(drawn.targets, drawn.heat, strict=True):
        ways = {way[:2]: way[2] for way in heat.variants(each, drawn)}
        of = (target.places, target.sample, 2, size)
        torch.testing.assert_close(ways["all steps", "all layers"], word_map(calls, *of))
        torch.testing.assert_close(ways["middle third", "all layers"], word_map(calls[2:3], *of))
        layer = drawn.layers[-1]
        torch.testing.assert_close(ways["all steps", layer], word_map(calls, *of, layer))
    words = [spans[0] for spans in model.conditioner.spans(prompts[0])]
    assert words == prompts[0].split()


def test_ratios_are_of_the_same_round_and_other_bits_are_told() -> None:
    rounds = {"never": [1.0, 2.0, 4.0], "closed": [1.1, 2.0, 4.0], "open": [2.0, 4.0, 12.0]}
    told = {
        state: [{"seconds": each, "digest": "b" if state == "open" else "a"} for each in seconds]
        for state, seconds in rounds.items()
    }
    result = summed(told)
    assert result["ratio"] == {"closed": 1.0, "open": 2.0}
    assert result["range"]["open"] == [2.0, 3.0]
    assert result["equal"] == {"never": True, "closed": True, "open": False}


def test_a_start_from_a_model_saves_steps_to_the_loss_of_a_start_from_nothing() -> None:
    nothing = {"50": 0.5, "100": 0.2, "300": 0.3, "1000": 0.4}
    base = {"10": 0.3, "20": 0.25, "50": 0.1, "1000": 0.5}
    assert saved(base, nothing, 300) == {
        "times": 300 / 10,
        "times_to_lowest": 100 / 50,  # a loss that rises again was lowest before
        "lowest": 0.1 / 0.2,
        "last": 0.5 / 0.4,
        "last_step": 1000,
    }
    assert saved({"50": 0.6}, nothing, 300)["times"] == 0  # never reached


def test_runs_without_a_common_last_look_are_told_as_far_as_they_go() -> None:
    found = saved({"8": 0.3, "40": 0.2}, {"100": 0.3}, 100)
    assert found["times"] == 12.5 and found["last_step"] == 0 and math.isnan(found["last"])
