"""Results of a validation, file by file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, get_args

from kelly_core.export.quality_record import ChainQuality, QualityRecord
from kelly_core.spec import State

STATES: tuple[str, ...] = get_args(State)


@dataclass(frozen=True)
class Check:
    """One named check of a file: whether it passed, and the observation.

    Attributes:
        name: of the check.
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
        file: its path.
        model: the name in its metadata, or its stem.
        layout: None where the file could not be read at all.
        checks: in the order in which they were made.
        quality: the recorded quality, or the quality measured now; None if there is neither.
        chain: its quality on audio, downstream of the recognizer; None unless that was measured.
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
