"""The epochs of a training as JSON for programs and CSV for spreadsheets."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kelly_core.files import atomic_write

Row = dict[str, Any]
"""One epoch: ``epoch``, ``train_loss``, ``val_loss``, ``learning_rate``, ``seconds``, ``frames_per_second``."""


def write_history(
    path: Path, model: str, rows: Sequence[Row], metrics: dict[str, Any], quality: dict[str, Any] | None = None
) -> None:
    """Write ``path`` (JSON) and the same rows as CSV beside it, each in one step.

    Args:
        path: the JSON file.
        model: name of the model.
        rows: one an epoch, all with the same keys.
        metrics: figures of the best epoch; ``best_epoch`` among them.
        quality: ``export.quality.Quality`` of the best epoch as JSON values; None until the training has ended.

    Raises:
        KellyError: a file cannot be written.
    """
    document = {
        "model": model,
        "best_epoch": metrics["best_epoch"],
        "metrics": metrics,
        "quality": quality,
        "epochs": list(rows),
    }
    text = json.dumps(document, indent=2) + "\n"
    atomic_write(path, lambda file: file.write(text.encode()))
    table = io.StringIO()
    writer = csv.DictWriter(table, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    atomic_write(path.with_suffix(".csv"), lambda file: file.write(table.getvalue().encode()))
