"""Copy of the five exports into the plugin's folder, all or none."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import orjson

from kelly_core.errors import ExportError
from kelly_core.export.provenance import SYNTHETIC_HINT, provenance_of, synthetic_refusal
from kelly_core.io.atomic import atomic_write_all, open_regular
from kelly_core.spec import CHAIN_MODELS
from kelly_core.validation.checks import validate_file
from kelly_core.validation.report import Check, FileReport

CopyStatus = Literal["new", "changed", "unchanged", "refused"]


@dataclass(frozen=True)
class Deployed:
    """Result for one file.

    Attributes:
        report: the checks.
        target: destination path.
        status: outcome for the file, or its outcome if the other files had passed.
        non_commercial: corpora of its training whose license excludes commercial use.
    """

    report: FileReport
    target: Path
    status: CopyStatus
    non_commercial: tuple[str, ...] = ()


@dataclass(frozen=True)
class Deployment:
    """Results for the five files; they are copied only if all ``passed``."""

    files: tuple[Deployed, ...]

    @property
    def passed(self) -> bool:
        """True if all five files passed every check and were copied."""
        return all(file.report.passed for file in self.files)


def deploy(source: Path, folder: Path, *, allow_synthetic: bool = False) -> Deployment:
    """Copy the five exports of a folder, if each passes every check and fits the plugin's specification.

    An existing file with the same content is not replaced.

    Args:
        source: folder of the exports.
        folder: folder of the plugin for its models; created if it is missing.
        allow_synthetic: also copy exports that were trained on generated data.

    Raises:
        ExportError: an export changed while it was checked, or the target cannot be written; the files in the
            target are then unchanged.
    """
    files: list[Deployed] = []
    contents: dict[Path, bytes] = {}
    for spec in CHAIN_MODELS:
        name = f"{spec.file_stem}.json"
        report, content = _checked(source / name)
        data = provenance_of(_metadata(content))
        if report.passed and (refusal := synthetic_refusal(data, allow_synthetic=allow_synthetic)):
            report = replace(report, checks=(*report.checks, Check("real data", False, f"{refusal}. {SYNTHETIC_HINT}")))
        status = _status(folder / name, content) if report.passed else "refused"
        files.append(Deployed(report, folder / name, status, tuple(data.non_commercial)))
        if status in {"new", "changed"}:
            contents[folder / name] = content
    deployment = Deployment(tuple(files))
    if deployment.passed and contents:
        atomic_write_all(contents, error_type=ExportError)
    return deployment


def _metadata(content: bytes) -> object:
    try:
        document = orjson.loads(content)
    except ValueError:
        # The checks of the file report this error.
        return None
    return document.get("metadata") if isinstance(document, dict) else None


def _checked(path: Path) -> tuple[FileReport, bytes]:
    """Return the report of a file and the content that was checked; no content if a check failed."""
    # The checks read the file themselves, and a training may replace it before it is read again here.
    before = _identity(path)
    report = validate_file(path, check_specs=True)
    if not report.passed:
        return report, b""
    try:
        with open_regular(path) as file:
            content = file.read()
    except OSError:
        content = b""
    if not content or _identity(path) != before:
        hint = "If a training writes into the folder, wait for its end"
        raise ExportError("changed while it was checked", where=path, hint=hint)
    return report, content


def _identity(path: Path) -> tuple[int, int, int] | None:
    """Return values that change when a file is replaced or written."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _status(target: Path, content: bytes) -> CopyStatus:
    try:
        with open_regular(target) as file:
            # One byte more than the new content, so that a longer file does not compare as equal.
            return "unchanged" if file.read(len(content) + 1) == content else "changed"
    except FileNotFoundError:
        return "new"
    except OSError as error:
        raise ExportError(f"cannot be read: {error.strerror or error}", where=target) from error
