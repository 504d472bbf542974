"""Measurements of ``make bench``: what is judged, and what is not because it cannot be trusted."""

from __future__ import annotations

import pytest

from benchmarks.measurements import Measurement, marked, measured, median_at_least, print_table
from kelly_core.benchmark.results import MachineLoad
from kelly_core.benchmark.suite import LoadMeter


def test_rounds_that_agree_are_judged_by_their_median() -> None:
    measurement = median_at_least("speed", [3.3, 3.0, 3.1, 2.9, 3.2], "×", 3.0, "note")
    assert (measurement.value, measurement.met, measurement.note) == (3.1, True, "note")
    assert measurement.spread == pytest.approx(0.4 / 3.1)
    assert median_at_least("speed", [2.9, 3.0, 2.8], "×", 3.0).met is False


def test_rounds_that_differ_too_much_are_not_judged() -> None:
    measurement = median_at_least("speed", [3.3, 332.0, 3.1], "×", 3.0)
    assert measurement.met is None
    assert "differ too much" in measurement.doubt


def test_measurements_next_to_other_programs_are_not_judged() -> None:
    measurements = [Measurement.at_least("speed", 332.0, "×", 3.0, "note"), Measurement("size", 3.0, "MB")]
    assert marked(measurements, MachineLoad(0.01, 0.0)) == measurements
    busy = marked(measurements, MachineLoad(0.5, 0.0))
    assert [measurement.met for measurement in busy] == [None, None]
    assert {measurement.doubt for measurement in busy} == {"other programs used 50 % of the processor"}
    assert busy[0].note == "note"


def test_what_is_measured_next_to_other_programs_is_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    measurement = Measurement.at_least("speed", 4.0, "×", 3.0)
    for load, met in ((MachineLoad(0.5, 0.0), None), (MachineLoad(0.0, 0.0), True)):
        monkeypatch.setattr(LoadMeter, "read", lambda _meter, load=load: load)
        assert [each.met for each in measured(lambda: [measurement])] == [met]


def test_the_table_shows_what_is_met_and_once_why_something_is_not_judged(
    capsys: pytest.CaptureFixture[str],
) -> None:
    met = [
        Measurement.at_least("speed", 4.0, "×", 3.0),
        Measurement.at_most("size", 9.0, "MB", 3.0),
        Measurement("length", 1.0, "s"),
    ]
    print_table([*met, *(measurement.doubted("a busy machine") for measurement in met)])
    shown = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in shown.splitlines() if "│" in line]
    assert [row[5] for row in rows] == ["yes", "no", "", "not judged (1)", "not judged (1)", "(1)"]
    assert shown.splitlines()[-1] == "(1) a busy machine"
    assert shown.count("a busy machine") == 1


def test_a_share_above_the_limit_is_an_error_of_the_benchmark() -> None:
    from benchmarks.training import Rounds, flops_per_frame, share_of_limit
    from kelly_core.spec import MODELS

    spec = MODELS[0]
    speed = 1e9 / flops_per_frame(spec)
    below = share_of_limit(spec, Rounds([speed], [0.0], {}, {"PyTorch": 1e9, "NumPy": 1.25e9}))
    assert (below.value, below.met) == (pytest.approx(80.0), True)
    assert "(NumPy)" in below.note
    above = share_of_limit(spec, Rounds([speed], [0.0], {}, {"PyTorch": 8e8}))
    assert above.met is False
    assert above.note.startswith("error: more than the limit")
