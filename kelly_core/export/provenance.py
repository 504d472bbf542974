"""Training data recorded in an export, and the previous export next to it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kelly_core.errors import ExportError
from kelly_core.io.atomic import atomic_write_all, open_regular

PREVIOUS_ENDING = ".previous.json"
"""End of the name of the export that a training replaced."""

SYNTHETIC_HINT = "Train it on a corpus, or add --allow-synthetic"
"""Remedy for a refusal by ``synthetic_refusal``."""

_NON_COMMERCIAL = re.compile(r"non-?commercial|\bBY-NC\b|research only", re.IGNORECASE)


@dataclass(frozen=True)
class Provenance:
    """Data of a training, read from its export.

    Attributes:
        synthetic: whether generated examples stood in for a corpus; None if it is not recorded.
        licenses: license by corpus; empty if none is recorded.
        dataset_hash: hash of the examples, "" if it is not recorded.
        checkpoint: hash of the weights, "" if it is not recorded.
        val_loss: best validation loss; None if it is not recorded.
    """

    synthetic: bool | None
    licenses: Mapping[str, str]
    dataset_hash: str
    checkpoint: str
    val_loss: float | None

    @property
    def non_commercial(self) -> list[str]:
        """Corpora whose license excludes commercial use."""
        return [corpus for corpus, license in self.licenses.items() if is_non_commercial(license)]


def is_non_commercial(license: str) -> bool:
    """Return True if a license, given by its short name, excludes commercial use."""
    return _NON_COMMERCIAL.search(license) is not None


def provenance_of(metadata: object) -> Provenance:
    """Return what an export's metadata record about its data; invalid entries count as not recorded."""
    table: Mapping[str, Any] = metadata if isinstance(metadata, dict) else {}
    data = _table(table, "trained_on")
    licenses = {corpus: text for corpus, text in _table(data, "licences").items() if isinstance(text, str)}
    checkpoint, loss = table.get("checkpoint"), _table(table, "metrics").get("val_loss")
    return Provenance(
        synthetic=data["synthetic"] if isinstance(data.get("synthetic"), bool) else None,
        licenses=licenses,
        dataset_hash=str(data.get("dataset_hash", "")),
        checkpoint=checkpoint if isinstance(checkpoint, str) else "",
        val_loss=float(loss) if isinstance(loss, int | float) and not isinstance(loss, bool) else None,
    )


def synthetic_refusal(provenance: Provenance | None, *, allow_synthetic: bool) -> str:
    """Return why an export may not be deployed or reported on, "" if it may: it was trained on synthetic data.

    One that records nothing about its data, or cannot be read (``None``), is not refused here.
    """
    if allow_synthetic or provenance is None or not provenance.synthetic:
        return ""
    return "expected an export trained on a real corpus, got one trained on synthetic data"


def _table(table: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = table.get(key)
    return value if isinstance(value, dict) else {}


def read_provenance(path: Path) -> Provenance | None:
    """Return what an export records about its data, None if it is missing or cannot be read."""
    # The screens use the rest of this module and should not wait for NumPy, which the reader imports.
    from kelly_core.export.reader import read_strict_json

    try:
        return provenance_of(read_strict_json(path).get("metadata"))
    except ExportError:
        return None


def previous_of(path: Path) -> Path:
    """Return the path at which a training keeps the export that it replaces."""
    return path.with_name(path.stem + PREVIOUS_ENDING)


def keep_previous(path: Path) -> None:
    """Copy an export to ``previous_of`` its path.

    Raises:
        ExportError: it cannot be read or written.
    """
    try:
        with open_regular(path) as file:
            content = file.read()
    except OSError as error:
        raise ExportError(f"cannot be read ({error.strerror})", where=path) from error
    atomic_write_all({previous_of(path): content}, error_type=ExportError)


def keep_if_different(path: Path, previous: Provenance | None, weights_hash: str) -> bool:
    """Keep an export that is about to be replaced, unless it has the same weights. Return True if it was kept.

    Args:
        path: the export, if there is one.
        previous: what the existing export records; None if it cannot be read.
        weights_hash: of the weights that replace it.

    Raises:
        ExportError: it cannot be read or written.
    """
    if not path.exists() or (previous is not None and previous.checkpoint == weights_hash):
        return False
    keep_previous(path)
    return True


def without_previous(paths: Sequence[Path]) -> list[Path]:
    """Return the exports without the previous ones of others among them; ``models/*.json`` matches both."""
    previous = {previous_of(path) for path in paths}
    return [path for path in paths if path not in previous]
