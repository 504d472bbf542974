"""Training data recorded in an export, and the previous export next to it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from kelly_core.errors import ExportError
from kelly_core.io.atomic import atomic_write, open_for_reading

PREVIOUS_ENDING = ".previous.json"
"""End of the name of the export that a training replaced."""

SYNTHETIC_HINT = "Train it on a corpus, or add --allow-synthetic"
"""Remedy for a refusal by ``synthetic_refusal``."""

_NON_COMMERCIAL = re.compile(r"non-?commercial|\bBY-NC\b|research only", re.IGNORECASE)

T = TypeVar("T")


@dataclass(frozen=True)
class Provenance:
    """Data and result of a training, read from its export; fields are None or empty if not recorded.

    Attributes:
        corpus: name of the corpus.
        synthetic: whether generated examples replaced the corpus.
        train_examples, validation_examples: numbers of examples.
        content_hash: hash of the examples.
        split_source: origin of the splits.
        tables: tables of labels and splits.
        licenses: license by corpus.
        checkpoint: hash of the weights.
        val_loss: best validation loss.
    """

    corpus: str | None
    synthetic: bool | None
    train_examples: int | None
    validation_examples: int | None
    content_hash: str | None
    split_source: str | None
    tables: tuple[str, ...]
    licenses: Mapping[str, str]
    checkpoint: str | None
    val_loss: float | None

    @property
    def non_commercial(self) -> list[str]:
        """Corpora whose license excludes commercial use."""
        return [corpus for corpus, license in self.licenses.items() if is_non_commercial(license)]


def is_non_commercial(license: str) -> bool:
    """Return True if a license, given by its short name, excludes commercial use."""
    return _NON_COMMERCIAL.search(license) is not None


def provenance_of(metadata: object) -> Provenance:
    """Return the provenance in an export's metadata; invalid entries count as not recorded."""
    table: Mapping[str, Any] = metadata if isinstance(metadata, dict) else {}
    data = _entry(table, "trained_on", dict) or {}
    licenses = _entry(data, "licences", dict) or {}
    loss = (_entry(table, "metrics", dict) or {}).get("val_loss")
    return Provenance(
        corpus=_entry(data, "dataset", str),
        synthetic=_entry(data, "synthetic", bool),
        train_examples=_entry(data, "train_examples", int),
        validation_examples=_entry(data, "validation_examples", int),
        content_hash=_entry(data, "dataset_hash", str),
        split_source=_entry(data, "split_source", str),
        tables=tuple(table for table in _entry(data, "tables", list) or () if isinstance(table, str)),
        licenses={corpus: text for corpus, text in licenses.items() if isinstance(text, str)},
        checkpoint=_entry(table, "checkpoint", str),
        val_loss=float(loss) if isinstance(loss, int | float) and not isinstance(loss, bool) else None,
    )


def _entry(table: Mapping[str, Any], key: str, kind: type[T]) -> T | None:
    value = table.get(key)
    # Not isinstance, which accepts True as a number.
    return value if type(value) is kind else None


def synthetic_refusal(provenance: Provenance | None, *, allow_synthetic: bool) -> str:
    """Return why an export trained on synthetic data must not be deployed or reported on; "" if it is allowed.

    An export that records nothing about its data, or cannot be read (``None``), is not refused here.
    """
    if allow_synthetic or provenance is None or not provenance.synthetic:
        return ""
    return "expected an export trained on a real corpus, got one trained on synthetic data"


def read_provenance(path: Path) -> Provenance | None:
    """Return the provenance in an export; None if the file is missing or cannot be read."""
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
    with open_for_reading(path, ExportError) as file:
        content = file.read()
    atomic_write(previous_of(path), content, error_type=ExportError)


def keep_if_different(path: Path, previous: Provenance | None, weights_hash: str) -> bool:
    """Keep an export that is about to be replaced, unless it has the same weights. Return True if it was kept.

    Args:
        path: path of the export, which may be missing.
        previous: provenance of the existing export; None if it cannot be read.
        weights_hash: hash of the weights that replace it.

    Raises:
        ExportError: it cannot be read or written.
    """
    if not path.exists() or (previous is not None and previous.checkpoint == weights_hash):
        return False
    keep_previous(path)
    return True


def without_previous(paths: Sequence[Path]) -> list[Path]:
    """Return the paths without previous exports of other paths in the list; ``models/*.json`` matches both."""
    previous = {previous_of(path) for path in paths}
    return [path for path in paths if path not in previous]
