"""Results of a validation, file by file, as text and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from kelly_core.export.quality_record import ChainQuality, QualityRecord, words
from kelly_core.validation.quality_table import number, render_quality


@dataclass(frozen=True)
class Check:
    """One named question to a file, whether it passed, and what was seen.

    Attributes:
        name: of the check.
        passed: False only for a fault.
        detail: what was seen.
        applicable: False if there was nothing to check; ``passed`` is then True.
    """

    name: str
    passed: bool
    detail: str
    applicable: bool = True


@dataclass(frozen=True)
class FileReport:
    """All that was asked of one file.

    Attributes:
        file: its path.
        model: the name that it gives itself.
        layout: None where the file could not be read at all.
        checks: in the order in which they were made.
        quality: what it reaches, as it says itself or as it was measured now; None where neither is so.
        chain: what it reaches behind the recognizer on audio; None unless that was measured.
    """

    file: str
    model: str
    layout: str | None
    checks: tuple[Check, ...]
    quality: QualityRecord | None = None
    chain: ChainQuality | None = None

    @property
    def passed(self) -> bool:
        """True if every check passed."""
        return all(check.passed for check in self.checks)


def to_json(reports: Sequence[FileReport]) -> dict[str, Any]:
    """The reports as JSON values: ``passed`` for all, and ``files`` with their checks."""
    return {"passed": all(report.passed for report in reports), "files": [_file_to_json(report) for report in reports]}


def _file_to_json(report: FileReport) -> dict[str, Any]:
    return {
        "file": report.file,
        "model": report.model,
        "layout": report.layout,
        "passed": report.passed,
        "checks": [asdict(check) for check in report.checks],
        "quality": None if report.quality is None else report.quality.to_json(),
        **({} if report.chain is None else {"chain": asdict(report.chain)}),
    }


def render(reports: Sequence[FileReport], *, verbose: bool = False, figures: bool = False) -> Group:
    """A table with a row a file and the verdicts on their quality, then the failed checks with their reasons.

    Args:
        reports: one a file.
        verbose: show the checks that passed, too.
        figures: show every figure of their quality, too.
    """
    table = Table("", Column("file", overflow="fold"), "model", "layout", "checks", box=None, pad_edge=False)
    for report in reports:
        passed = sum(check.passed and check.applicable for check in report.checks)
        count = f"{passed}/{sum(check.applicable for check in report.checks)}"
        table.add_row(_mark(report.passed), Text(report.file), Text(report.model), report.layout or "unknown", count)
    parts: list[RenderableType] = [table]
    measured = [report for report in reports if report.quality is not None]
    parts += [Text(), *map(_verdict, measured)] if measured else []
    heard = [report for report in reports if report.chain is not None]
    parts += [Text(), *map(_chain_verdict, heard)] if heard else []
    noteworthy = [report for report in reports if not all(check.passed and check.applicable for check in report.checks)]
    parts += [_details(report, verbose) for report in (reports if verbose else noteworthy)]
    for report in measured if figures else ():
        assert report.quality is not None
        parts += [Text(f"\n{report.model}", style="bold"), render_quality(report.quality)]
    return Group(*parts)


def _verdict(report: FileReport) -> Text:
    assert report.quality is not None
    style = "green" if report.quality.trained else "yellow"
    return Text.assemble((report.model, "bold"), ": ", (report.quality.summary(), style))


def _chain_verdict(report: FileReport) -> Text:
    assert report.chain is not None
    style = "green" if report.chain.marginal.beaten else "yellow"
    text = Text.assemble((report.model, "bold"), ": ", (report.chain.summary(), style))
    if report.chain.control is not None:
        text.append(f"; {_control(report.chain)}", style="dim")
    return text


def _control(chain: ChainQuality) -> str:
    figures = (f"{words(name)} {number((chain.control or {}).get(name))}" for name in chain.primary)
    return f"given the context of the scored notes (control, not quality): {', '.join(figures)}"


def _details(report: FileReport, verbose: bool) -> Text:
    text = Text(f"\n{report.file}", style="bold")
    for check in report.checks:
        if verbose or not (check.passed and check.applicable):
            mark = _mark(check.passed) if check.applicable else Text("not applicable", style="not bold dim")
            text.append("\n  ").append(mark).append(f" {check.name}: {check.detail}", style="not bold")
    return text


def _mark(passed: bool) -> Text:
    return Text("passed", style="not bold green") if passed else Text("FAILED", style="bold red")
