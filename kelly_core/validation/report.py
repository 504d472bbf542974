"""Results of a validation by file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, get_args

from kelly_core.export.quality_record import ChainQuality, QualityRecord
from kelly_core.spec import State

STATES: tuple[str, ...] = get_args(State)


@dataclass(frozen=True)
class Check:
    """Result of one named check of a file.

    Attributes:
        name: name of the check.
        passed: False if the check failed.
        detail: what was observed.
        applicable: False if there was nothing to check; ``passed`` is then True.
    """

    name: str
    passed: bool
    detail: str
    applicable: bool = True


@dataclass(frozen=True)
class FileReport:
    """Results of all checks of one file.

    Attributes:
        file: path of the file.
        model: model name in the metadata, else the stem of the file.
        layout: layout of the file; None if the file could not be read.
        checks: checks in the order of execution.
        quality: measured quality, else the recorded quality; None if there is neither.
        chain: quality on audio, downstream of the recognizer; None if it was not measured.
    """

    file: str
    model: str
    layout: str | None
    checks: tuple[Check, ...]
    quality: QualityRecord | None = None
    chain: ChainQuality | None = None

    @property
    def failed(self) -> list[Check]:
        """Failed checks."""
        return [check for check in self.checks if not check.passed]

    @property
    def passed(self) -> bool:
        """True if every check passed."""
        return not self.failed


def reports_to_json(reports: Sequence[FileReport]) -> dict[str, Any]:
    """Return the reports as JSON values: ``passed`` for all, and ``files`` with their checks."""
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
