"""Preparation of curves for drawing."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.style import Style
from textual.geometry import Size

from kelly_core.export.quality_record import Whisker
from kelly_tui.charts.canvas import Canvas
from kelly_tui.charts.chart_data import Series, log_ticks, nice_ticks, segments, with_gaps_over, without_far_guides
from kelly_tui.charts.forest_plot import ForestPlot
from kelly_tui.charts.plotting import axis_labels
from kelly_tui.themes import THEMES, ThemeColors

COLORS = ThemeColors.of(THEMES[0].to_color_system().generate() | THEMES[0].variables)
RED, BLUE, GRAY = "#FF0000", "#0000FF", "#808080"
anything = st.floats(allow_nan=True, allow_infinity=True)


def test_what_is_not_a_number_is_a_gap() -> None:
    curve = Series("loss", [1, 2, 3, 4, 5], [3.0, 2.0, math.nan, 1.0, math.inf], "#FFFFFF")
    assert segments(curve, 40) == [([1, 2], [3.0, 2.0]), ([4], [1.0])]


def test_zero_is_a_gap_on_a_logarithmic_scale() -> None:
    curve = Series("loss", [1, 2, 3], [100.0, 0.0, 0.01], "#FFFFFF")
    assert segments(curve, 40, log=True) == [([1], [2.0]), ([3], [-2.0])]


def test_the_least_and_the_greatest_of_each_column_are_kept() -> None:
    spikes = [1.0] * 1000
    spikes[500], spikes[501] = 9.0, -9.0
    (xs, ys), *rest = segments(Series("loss", list(range(1000)), spikes, "#FFFFFF"), 10)
    assert not rest
    assert len(xs) <= 20
    assert (max(ys), min(ys)) == (9.0, -9.0)


@given(st.lists(anything, max_size=400), st.integers(1, 60), st.booleans())
def test_any_curve_gives_few_finite_points_in_order(ys: list[float], columns: int, log: bool) -> None:
    pieces = segments(Series("any", list(range(len(ys))), ys, "#FFFFFF"), columns, log=log)
    xs = [x for piece in pieces for x in piece[0]]
    assert all(math.isfinite(y) for piece in pieces for y in piece[1])
    assert xs == sorted(xs)
    assert len(xs) <= 2 * columns


def test_the_tail_shows_only_the_last_epochs() -> None:
    curve = Series("loss", [1, 2, 3, 4], [4.0, 3.0, 2.0, 1.0], "#FFFFFF")
    assert segments(curve, 40, first_x=3) == [([3, 4], [2.0, 1.0])]


def test_a_guide_far_from_all_curves_is_not_drawn() -> None:
    curve = Series("loss", [1, 2, 3, 4], [4.0, 3.0, math.nan, 1.0], "#FFFFFF")
    near, far = (Series("level", [1, 2, 3, 4], 4 * [y], "#FFFFFF", guide=True) for y in (3.5, 5.0))

    def kept(*curves: Series, first_x: float = -math.inf) -> list[Series]:
        return [each for each, _ in without_far_guides([(one, segments(one, 40, first_x=first_x)) for one in curves])]

    assert kept(near, far, curve) == [near, curve]
    assert kept(near, curve, first_x=2) == [curve]
    assert kept(replace(far, guide=False), curve) == [replace(far, guide=False), curve]


def test_a_level_needs_only_its_ends() -> None:
    level = Series("level", [1, 2, 3, 4, 5], 5 * [2.0], "#FFFFFF", dashed=True)
    assert segments(level, 40, first_x=2) == [([2, 5], [2.0, 2.0])]


@given(st.floats(-1e6, 1e6), st.floats(1e-2, 1e6), st.integers(1, 20))
def test_ticks_are_few_and_lie_within(low: float, span: float, count: int) -> None:
    ticks = nice_ticks(low, low + span, count)
    assert 2 <= len(ticks) <= count + 1
    assert all(low - 1e-6 * span <= tick <= low + span * (1 + 1e-6) for tick in ticks)


def test_ticks_are_round() -> None:
    assert nice_ticks(0, 10, 5) == [0, 2, 4, 6, 8, 10]
    assert nice_ticks(0.11, 0.39, 2) == pytest.approx([0.2, 0.3])
    # With a step of 2 there are four, with a step of 5 only one.
    assert nice_ticks(1.9, 8.1, 2) == [2, 6]


def test_logarithmic_ticks_are_round_too() -> None:
    assert log_ticks(-2, 0, 8) == [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0]
    assert log_ticks(-6, 0, 3) == [1e-6, 1e-4, 1e-2, 1.0]
    assert log_ticks(math.log10(0.031), math.log10(0.039), 4) == nice_ticks(0.031, 0.039, 4)


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([0.1, 0.2], ["0.1", "0.2"]),
        ([0.2535, 0.254, 0.2545], ["0.2535", "0.254", "0.2545"]),
        ([4000.0, 6000.0], ["4000", "6000"]),
        ([9998.5, 9999.5], ["9998.5", "9999.5"]),
        ([5000.0, 20_000.0, 20_005.0], ["5000", "20k", "20.005k"]),
        ([1e-5, 2e-5], ["1e-05", "2e-05"]),
    ],
)
def test_labels_of_an_axis_are_short_and_differ(values: list[float], labels: list[str]) -> None:
    assert axis_labels(values) == labels


@given(st.floats(-1e6, 1e6), st.floats(1e-2, 1e6), st.integers(1, 20))
def test_labels_of_ticks_differ_and_have_no_exponent(low: float, span: float, count: int) -> None:
    ticks = nice_ticks(low, low + span, count)
    labels = axis_labels(ticks)
    assert len(set(labels)) == len(ticks)
    assert not any("e+" in label for label in labels)


def _canvas(*writes: tuple[int, str, str]) -> Canvas:
    canvas = Canvas(Size(8, 1), 0, 1, (0, 1), (0, 1), GRAY)
    for column, text, color in writes:
        canvas.write(0, column, text, color)
    return canvas


def test_only_what_differs_of_a_line_is_sent_again() -> None:
    before = _canvas((0, "ab", RED), (4, "cd", BLUE))
    assert _canvas((0, "ab", RED), (4, "cd", BLUE)).changes_since(before) == [range(0)]
    assert _canvas((0, "ab  ", RED), (4, "cd", BLUE)).changes_since(before) == [range(0)]
    assert _canvas((0, "ab x", RED), (4, "cd", BLUE)).changes_since(before) == [range(3, 4)]
    assert _canvas((0, "ab", RED), (4, "c", BLUE), (5, "d", RED)).changes_since(before) == [range(5, 6)]
    assert Canvas(Size(9, 1), 0, 1, (0, 1), (0, 1), GRAY).changes_since(before) == [range(9)]


def test_blanks_take_the_color_before_them_and_a_text_that_does_not_fit_is_cut() -> None:
    (strip,) = _canvas((0, "ab", RED), (4, "cd", BLUE), (6, "efg", BLUE)).strips(Style(bgcolor=GRAY))
    assert [(text, style and style.color and style.color.name) for text, style, _ in strip] == [
        ("ab  ", RED.lower()),
        ("cdef", BLUE.lower()),
    ]


def test_curves_are_drawn_as_lines_of_dots_between_their_points() -> None:
    canvas = Canvas(Size(6, 3), 2, 3, (0, 1), (0, 1), GRAY)
    canvas.draw_dots([([0.0, 1.0], [0.0, 1.0])], RED)
    assert canvas.texts() == ["    ⢠⠊", "   ⡰⠁ ", "  ⡜   "]
    # No line from one piece to the next; a later curve leaves the dots of an earlier one.
    canvas.draw_dots([([0.0, 0.4], [1.0, 1.0]), ([1.0], [0.0])], BLUE)
    assert canvas.texts() == ["  ⠉⠉⢠⠊", "   ⡰⠁ ", "  ⡜  ⢀"]
    canvas.draw_dots([([0.0, 1.0], [0.5, 0.5])], BLUE)
    assert canvas.texts()[1] == "  ⠒⡲⠓⠒"
    canvas.draw_signs([([0.0, 1.0], [0.0, 1.0])], "*", RED)
    assert [line.rstrip("⢀") for line in canvas.texts()] == ["  ⠉⠉**", "  ⠒**⠒", "  *  "]


@pytest.mark.parametrize("low", [-0.03, 0.01, -20.0])
def test_a_forest_plot_fits_any_room_and_shows_gain_and_zero(low: float) -> None:
    plot = ForestPlot(
        (Whisker(0.1, low, 0.2, "mean, rmse", low > 0), Whisker(0.1, 0.05, 0.2, "best constant, median error", True))
    )
    drawn = 0
    for width in range(0, 140, 9):
        for height in range(0, 20, 3):
            text = plot.draw(Size(width, height), COLORS)
            rows = text.plain.split("\n")
            assert all(len(row) <= width for row in rows)
            assert len(rows) <= max(1, height)
            if text.plain:
                drawn += 1
                assert rows[0].count("●") == 1
                assert rows[0].count("◀") == (low < -1)
    assert drawn > 10


def test_a_curve_that_equals_an_earlier_one_is_dashed() -> None:
    curve = ([0.0, 10.0], [1.0, 1.0])
    dashes = with_gaps_over([curve], [curve], tolerance=0.01, step=1.0)
    assert [xs for xs, _ in dashes] == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9], [10, 10]]
    assert with_gaps_over([curve], [([0.0, 10.0], [2.0, 2.0])], tolerance=0.01, step=1.0) == [curve]


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_mark_is_in_the_cell_of_its_point(x: float, y: float) -> None:
    canvas = Canvas(Size(20, 10), 3, 10, (0, 1), (0, 1), GRAY)
    canvas.draw_dots([([x], [y])], RED)
    assert canvas.texts()[canvas.row(y)][canvas.column(x)] != " "
    canvas.draw_signs([([x], [y])], "*", RED)
    assert canvas.texts()[canvas.row(y)][canvas.column(x)] == "*"
