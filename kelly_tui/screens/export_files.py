"""Exports as they lie in the output folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kelly_core.export.provenance import PREVIOUS_ENDING
from kelly_core.io.atomic import open_regular
from kelly_core.spec import MODELS

_MODEL_STEMS = frozenset(spec.file_stem for spec in MODELS)


@dataclass(frozen=True)
class ExportFile:
    """An export on disk; ``stamp`` identifies the version that was checked."""

    path: Path
    bytes: int
    stamp: int

    @classmethod
    def at(cls, path: Path) -> ExportFile:
        """The export as it is now."""
        status = path.stat()
        return cls(path, status.st_size, status.st_mtime_ns)


def exports_in(folder: Path) -> tuple[list[ExportFile], str]:
    """The exports of a folder by name, and why it cannot be looked into, "" if it can."""
    try:
        list(folder.iterdir()) if folder.is_dir() else []
        files = [
            ExportFile.at(path) for path in sorted(folder.glob("*.json")) if path.is_file() and _may_be_export(path)
        ]
        return (
            files,
            "" if folder.is_dir() else f"The folder {folder} does not exist yet. A training writes its exports there.",
        )
    except OSError as error:
        return [], f"{folder} cannot be looked into ({error.strerror})"


def _may_be_export(path: Path) -> bool:
    """Return False for a former export, and for a document without the keys of one, such as the results of a sweep.

    A file named after a model, or one that is empty or not JSON, is listed: it may be a damaged export.
    """
    if path.name.endswith(PREVIOUS_ENDING):
        return False
    if path.stem in _MODEL_STEMS:
        return True
    with open_regular(path) as file:
        content = file.read().lstrip()
    if b'"layers"' in content or b'"in_shape"' in content:
        return True
    return not content.startswith((b"{", b"[")) or content.rstrip() == b"{}"
