"""Curves as SVG: numbers become lines, bad ones become nothing, words are escaped."""

import math
import re

import numpy as np
import pytest

from sd.runs.journal import Evaluation
from sd.ui.components import curves

NAMES = ("training", "held-out")


def points(drawn: str, kind: str) -> list[tuple[float, float]]:
    """Return the points of the last line of a kind, in the box of the drawing."""
    found = re.findall(f'<polyline class="{kind}" points="([^"]+)"', drawn)[-1]
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in found.split())]


def evaluation(step: int, scale: float, held: bool = True) -> Evaluation:
    times = [100, 500, 900]
    train = [scale, scale / 2, scale / 4]
    return Evaluation(step, times, train, [2 * value for value in train] if held else None)


def test_curves_escape_words_and_survive_bad_numbers() -> None:
    drawn = curves.loss_curve(
        [1, 2, 3, 4, 5], [1.0, math.nan, None, 0.5, 0.1], 10, "<loss>", "{steps} {last}"
    )
    assert "<loss>" not in drawn and "&lt;loss&gt;" in drawn
    assert "nan" not in drawn
    assert len(points(drawn, "raw")) == 3
    assert "<polyline" not in curves.loss_curve([1], [0.5], 10, "loss", "")


def test_a_long_loss_is_thinned_and_smoothed_truly() -> None:
    values = np.full(5000, 0.25)
    assert curves.smooth(values) == pytest.approx(values)
    assert curves.smooth(np.eye(1, 5000, 4999)[0])[-1] == pytest.approx(curves.SMOOTHING / 5000)
    assert len(curves.thin(values)) == curves.MOST_POINTS
    assert curves.thin(np.arange(600.0)).mean() == pytest.approx(299.5)
    steps = range(1, 20_001)
    drawn = curves.loss_curve(steps, [1 / step for step in steps], 40_000, "loss", "")
    assert len(points(drawn, "accent")) == curves.MOST_POINTS
    assert points(drawn, "accent")[-1][0] == pytest.approx(curves.WIDTH / 2, rel=0.01)


def test_the_loss_stands_where_the_run_stands() -> None:
    drawn = curves.loss_curve([1, 50], [1.0, 0.1], 100, "loss", "")
    raw = points(drawn, "raw")
    assert raw[-1][0] == curves.WIDTH / 2
    assert raw[0][1] < raw[-1][1]  # SVG counts downwards: the loss fell


def test_held_out_lies_above_training_and_earlier_ones_are_faint() -> None:
    found = [evaluation(step, 1 / step) for step in range(1, 31)]
    drawn = curves.level_curve(found, 1000, NAMES, "alt")
    train, held = points(drawn, "line"), points(drawn, "accent")
    assert [x for x, _ in train] == [0.1 * curves.WIDTH, 0.5 * curves.WIDTH, 0.9 * curves.WIDTH]
    assert all(above < below for (_, above), (_, below) in zip(held, train, strict=True))
    assert drawn.count('<polyline class="raw"') == curves.MOST_EARLIER
    alike = curves.level_curve([evaluation(1, 1.0), evaluation(2, 1.0)], 1000, NAMES, "alt")
    assert points(alike, "raw") == points(alike, "accent")  # of earlier ones the held-out loss
    assert ">1,000<" in drawn and ">held-out<" in drawn


def test_without_held_out_pictures_there_is_one_line() -> None:
    found = [evaluation(step, 1.0, held=False) for step in (1, 2)]
    for drawn in (
        curves.level_curve(found, 1000, NAMES, "alt"),
        curves.history_curve(found, 10, NAMES, "alt"),
    ):
        assert "held-out" not in drawn and 'class="accent"' not in drawn


def test_the_course_shows_means_over_the_steps() -> None:
    found = [evaluation(step, 1.0) for step in (5, 10)]
    drawn = curves.history_curve(found, 10, NAMES, "alt")
    assert "training 0.583" in drawn and "held-out 1.17" in drawn
    assert [x for x, _ in points(drawn, "line")] == [curves.WIDTH / 2, curves.WIDTH]


def test_words_at_lines_ends_do_not_lie_on_each_other() -> None:
    assert curves.spread_labels([0.5, 0.51, 0.1], 0.1) == pytest.approx([0.5, 0.6, 0.1])
    assert curves.spread_labels([]) == []


@pytest.mark.parametrize("high", [1e-9, 0.0013, 0.9, 1, 38.2, 2e6])
def test_an_even_axis_has_a_few_round_numbers(high: float) -> None:
    ticks = curves.even_ticks(high)
    assert 2 <= len(ticks) <= 5 and ticks[0] == 0 and high / 2 <= ticks[-1] <= high * 1.0001


def test_a_step_curve_from_zero() -> None:
    drawn = curves.step_curve([1, 2, 4], [0.0, 0.5, 1.0], 4, "rate")
    assert points(drawn, "line")[0][1] == pytest.approx(curves.HEIGHT * (1 - 0.5 / 1.05), abs=0.1)
    assert "<polyline" not in curves.step_curve([1], [1.0], 4, "rate")
    assert "<polyline" not in curves.step_curve([1, 2], [None, math.inf], 4, "rate")


def test_distances_stand_before_the_band() -> None:
    drawn = curves.strip([0.75, 9.0], (0.3, 0.6), 1.5, "<b>")
    assert f'x1="{curves.WIDTH / 2:.1f}"' in drawn and f'x1="{curves.WIDTH:.1f}"' in drawn
    assert f'x="{0.2 * curves.WIDTH:.1f}" width="{0.2 * curves.WIDTH:.1f}"' in drawn
    assert "<b>" not in drawn
