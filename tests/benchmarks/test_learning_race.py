"""The learning race: its clock, its times, its table and its picture are what they say."""

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sd.common.validation import InputError
from sd.data.image_set import ImageSet
from sd.data.images import read_picture
from sd.data.reading.report import Report
from tests.benchmarks.learning import __main__ as command
from tests.benchmarks.learning.contest import Task, Verdict, raced, unpack
from tests.benchmarks.learning.curves import (
    Curve,
    Point,
    in_words,
    judged_times,
    read_curves,
    table,
)
from tests.benchmarks.learning.judging import samples
from tests.benchmarks.learning.ours import begin
from tests.benchmarks.learning.plot import plot

ROOT = Path(__file__).parents[2]
SVG = "{http://www.w3.org/2000/svg}"


class Clock:
    """A clock that others move."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


class Trainee:
    """A competitor whose steps take three seconds of a clock; it has so many of them."""

    batch, parameters, changed = 16, 1, ()
    versions: dict[str, str] = {}  # noqa: RUF012 (never changed)

    def __init__(self, clock: Clock, steps: int = 10**6) -> None:
        self.clock, self.most = clock, steps

    def steps(self) -> Iterator[int]:
        for number in range(1, self.most + 1):
            self.clock.time += 3
            yield number

    def sample(self, seeds: Sequence[int]) -> Tensor:
        return torch.randn(len(seeds), 1, 2, 2)


def points_of(times: Sequence[float], steps: int = 10**6) -> list[Point]:
    """Race a trainee that is judged slowly and read slowly."""
    clock = Clock()

    def judged() -> Verdict:
        clock.time += 500
        return Verdict(7.0, 1000, 500.0)

    points = []
    for point in raced(Trainee(clock, steps), times, judged, clock):
        clock.time += 70
        points.append(point)
    return points


def test_the_clock_stands_still_while_samples_are_made_and_read() -> None:
    points = points_of([10, 30, 31])
    assert [point.seconds for point in points] == [12, 30, 33]
    assert [point.steps for point in points] == [4, 10, 11]
    assert [point.pictures for point in points] == [64, 160, 176]
    assert points[0] == Point(10, 12, 4, 64, 7.0, 1000, 500.0)


def test_who_has_no_more_steps_is_judged_once_more() -> None:
    points = points_of([6, 30, 60], steps=5)
    assert [(point.steps, point.seconds) for point in points] == [(2, 6), (5, 15)]


def test_times_at_which_to_judge_end_with_the_end() -> None:
    assert judged_times([40, 120, 240, 480], 480) == [40, 120, 240, 480]
    assert judged_times([240, 40, 40, 900], 120) == [40, 120]
    assert judged_times([], 60) == [60]
    assert judged_times([0], 60) == [60]
    assert [in_words(each) for each in (40, 60, 90, 480)] == ["40 s", "1 min", "1.5 min", "8 min"]


def test_samples_leave_the_random_numbers_of_training_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = samples(Trainee(Clock()), range(60))
    assert torch.equal(torch.rand(3), expected)
    assert first.shape == (60, 1, 2, 2) and not torch.equal(first[:10], first[50:])
    assert torch.equal(samples(Trainee(Clock()), range(60)), first)


def curve(name: str, *distances: tuple[float, float], **other: object) -> Curve:
    """Return a made curve: (seconds, distance) of each point, 100 pictures a second."""
    count = other.pop("samples", 1000)
    points = tuple(Point(s, s, int(s), int(100 * s), d, count, 9.0) for s, d in distances)
    told = {"competitor": "ours", "changed": (), "parameters": 5, "threads": 2, "versions": {}}
    judged = {"trained_on": 90, "held_out": 10, "accuracy": 0.99, "floor": 2.0, "points": points}
    return Curve(name, **{**told, **judged, **other})


def test_a_curve_survives_its_file(tmp_path: Path) -> None:
    made = curve("ours", (40, 331.5), (120, 106.25), changed=("training.batch_size=32",))
    made.write(tmp_path / "ours.json")
    assert read_curves(tmp_path) == [made]
    told = json.loads((tmp_path / "ours.json").read_text())
    assert told["points"][1]["distance"] == 106.25 and told["points"][1]["samples"] == 1000


def test_what_cannot_be_read_or_compared_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no curves there"):
        read_curves(tmp_path)
    curve("a", (40, 3)).write(tmp_path / "a.json")
    curve("b", (40, 3), samples=20).write(tmp_path / "b.json")
    with pytest.raises(InputError, match="20, 1000 samples cannot be compared"):
        read_curves(tmp_path)
    for text in ("[]", "{}", "no", '{"points": [{"due": 1}]}'):
        (tmp_path / "b.json").write_text(text)
        with pytest.raises(InputError, match="not a curve"):
            read_curves(tmp_path)


def test_the_table_has_a_row_per_curve_and_a_column_per_time() -> None:
    peer = curve("ddpm", (480, 329), changed=("dim 32", "a|b"), floor=2.04)
    lines = table([peer, curve("ours", (40, 400), (480, 24.56))])
    assert lines == [
        "| name | changed | pictures/s | 40 s | 8 min |",
        "| --- | --- | ---: | ---: | ---: |",
        "| ddpm | dim 32; a\\|b | 100 |  | 329.0 |",
        "| ours | nothing | 100 | 400.0 | 24.6 |",
        "",
        "1000 real training pictures: 2.0",
    ]


def lying(root: ET.Element, kind: str, name: str) -> list[float]:
    """Return one coordinate of all lines of a kind."""
    found = [each for each in root.iter(f"{SVG}line") if each.get("class") == kind]
    return [float(each.get(name, "")) for each in found]


def test_the_points_of_the_picture_lie_where_its_rules_say() -> None:
    ours = curve("ours", (40, 1000), (120, 100), (480, 10))
    root = ET.fromstring(plot([curve("ddpm", (480, 100)), ours]))
    at = [(float(c.get("cx", "")), float(c.get("cy", ""))) for c in root.iter(f"{SVG}circle")]
    times, heights = lying(root, "time", "x1"), lying(root, "distance", "y1")
    assert len(at) == 4 and len(times) == 3 and len(heights) == 3  # 10, 100 and 1000
    assert at == [(times[2], heights[1]), *zip(times, reversed(heights), strict=True)]
    steps = times[1] - times[0], times[2] - times[1]
    assert steps[0] / steps[1] == pytest.approx(0.79248, abs=1e-3)  # log 3 / log 4
    assert heights[0] - heights[1] == pytest.approx(heights[1] - heights[2], abs=0.03)
    assert heights[0] > heights[2]  # small distances lie below
    line = [each.get("points") for each in root.iter(f"{SVG}polyline")][1]
    assert line == " ".join(f"{x},{y}" for x, y in at[1:])
    (floor,) = lying(root, "floor", "y1")
    decade = heights[0] - heights[1]
    assert floor - heights[0] == pytest.approx(decade * 0.69897, abs=0.03)  # log10(10 / 2)


def test_the_picture_names_its_curves_apart_and_inside() -> None:
    curves = [curve(f"c{n}<", (480, 100 + n)) for n in range(4)]
    root = ET.fromstring(plot(curves))
    named = [each for each in root.iter(f"{SVG}text") if re.match(r"c\d<|real", each.text or "")]
    heights = sorted(float(each.get("y", "")) for each in named)
    assert len(named) == 5
    gaps = [b - a for a, b in pairwise(heights)]
    assert min(gaps) >= 15.9 and heights[0] > 0
    assert len({each.get("fill") for each in named}) == 5
    told = [each.findtext(f"{SVG}title") for each in root.iter(f"{SVG}circle")]
    assert told[0] == "c0<, 480 s: 100.0"


def pictures(count: int, side: int) -> ImageSet:
    pixels = torch.arange(count * side * side).remainder(251).to(torch.uint8)
    names, labels = tuple(map(str, range(count))), torch.arange(count) % 2
    report = Report(count, (), {}, {}, {"a": count // 2, "b": count // 2}, 0, ())
    return ImageSet(pixels.view(count, 1, side, side), names, labels, ("a", "b"), None, report)


def test_peers_get_the_same_pixels_in_a_folder_per_class(tmp_path: Path) -> None:
    images = pictures(4, 8)
    unpack(images, tmp_path)
    paths = sorted(tmp_path.glob("*/*.png"))
    assert [str(each.relative_to(tmp_path)) for each in paths] == [
        "a/000000.png",
        "a/000002.png",
        "b/000001.png",
        "b/000003.png",
    ]
    for path in paths:
        expected = images.pixels[int(path.stem)].flatten().tolist()
        assert list(read_picture(path, path.name).tobytes()) == expected


def test_ours_is_the_preset_made_grey_with_what_was_set(tmp_path: Path) -> None:
    settings = ("unet.channel_mult=[1]", "unet.attention_resolutions=[]", "training.batch_size=2")
    size = ("training.input_height=8", "training.input_width=8")
    made = begin(Task(pictures(4, 8), tmp_path, 1.0, "course", (*settings, *size)))
    config = made.training.config
    assert made.batch == 2 and config.unet.channel == 1 and config.conditioning.kind == "none"
    assert config.training.learning_rate == 0.002 and len(made.training.rows) == 4
    assert [step for step, _ in zip(made.steps(), range(2), strict=False)] == [1, 2]
    assert made.sample([3, 4]).shape == (2, 1, 8, 8)


def test_the_command_draws_and_tells_and_refuses_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    curve("ours", (40, 30)).write(tmp_path / "ours.json")
    assert command.main(["table", str(tmp_path)]) == 0
    assert "| ours | nothing | 100 | 30.0 |" in capsys.readouterr().out
    assert command.main(["table", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["points"][0]["seconds"] == 40
    drawn = tmp_path / "curves.svg"
    assert command.main(["plot", str(tmp_path), "--out", str(drawn)]) == 0
    assert ET.fromstring(drawn.read_text()).tag == f"{SVG}svg"
    line = ["one", "ddpm", "nowhere", "--out", str(tmp_path), "--set", "unet.channel=1"]
    assert command.main(line) == 1
    assert capsys.readouterr().err == "--set: only ours takes settings, not ddpm\n"
    assert command.main(["one", "ours", "nowhere", "--out", str(tmp_path)]) == 0
    assert "there already" in capsys.readouterr().err


def test_the_kept_race_is_won_as_the_results_tell() -> None:
    curves = {curve.name: curve for curve in read_curves(ROOT / "tests/benchmarks/race")}
    ours = {point.due: point.distance for point in curves.pop("ours").points}
    best = min(curve.points[-1].distance for curve in curves.values())
    assert curves.keys() == {"ddpm", "diffusers"} and ours[480] <= max(best / 10, 12)
    assert ours[40] <= best
    results = (ROOT / "tests/benchmarks/RESULTS.md").read_text(encoding="utf-8")
    for distance in (*ours.values(), *(curve.points[-1].distance for curve in curves.values())):
        assert f"{distance:.1f}" in results
