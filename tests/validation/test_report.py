"""A report for programs is exact; one for people names every failure and shows names as they are."""

from __future__ import annotations

import json

from kelly_core.cli.console import console
from kelly_core.cli.validate import render_reports
from kelly_core.validation.report import Check, FileReport, reports_to_json

GOOD = FileReport("models/a.json", "A", "rtneural", (Check("finite", True, "nothing wrong"),))
BAD = FileReport(
    "models/[red]b[/red].json",
    "[bold]B",
    None,
    (Check("readable", True, "a JSON object"), Check("gates", False, "layer 2: [input] differs")),
)


def shown(*reports: FileReport, verbose: bool = False) -> str:
    printer = console()
    with printer.capture() as capture:
        printer.print(render_reports(reports, verbose=verbose))
    return capture.get()


def test_json_has_exactly_what_programs_rely_on() -> None:
    assert json.loads(json.dumps(reports_to_json([GOOD, BAD]))) == {
        "passed": False,
        "files": [
            {
                "file": "models/a.json",
                "model": "A",
                "layout": "rtneural",
                "passed": True,
                "checks": [{"name": "finite", "passed": True, "detail": "nothing wrong", "applicable": True}],
                "quality": None,
            },
            {
                "file": "models/[red]b[/red].json",
                "model": "[bold]B",
                "layout": None,
                "passed": False,
                "checks": [
                    {"name": "readable", "passed": True, "detail": "a JSON object", "applicable": True},
                    {"name": "gates", "passed": False, "detail": "layer 2: [input] differs", "applicable": True},
                ],
                "quality": None,
            },
        ],
    }
    assert reports_to_json([GOOD])["passed"] is True


def test_people_see_the_reason_of_each_failure_and_names_as_they_are() -> None:
    text = shown(GOOD, BAD)
    assert "FAILED gates: layer 2: [input] differs" in text
    assert "[red]b[/red].json" in text
    assert "[bold]B" in text
    assert "1/2" in text
    assert "nothing wrong" not in text
    assert "a JSON object" not in text


def test_verbose_shows_what_passed_too() -> None:
    text = shown(GOOD, BAD, verbose=True)
    assert "passed finite: nothing wrong" in text
    assert "passed readable: a JSON object" in text


def test_long_names_are_folded_not_cut() -> None:
    report = FileReport("x" * 300 + "end.json", "A", "legacy", (Check("finite", True, ""),))
    assert "end.json" in "".join(shown(report).split())
