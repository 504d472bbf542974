"""Read a corpus for the Datasets screen: ``python -m kelly_tui.workers.corpora TASK NAME CONFIG [INDEX]``."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kelly_core.config.schema import Settings, load_settings
from kelly_core.data.catalog import inspect_corpus, open_dataset
from kelly_core.errors import KellyError

NAMES_A_REASON = 200
"""Files that are told by name for each reason to skip them."""


def main(arguments: list[str]) -> None:
    """Run the task; user errors are printed as a JSON line as well."""
    task, name, config, *rest = arguments
    try:
        settings = load_settings(Path(config) if config else None).settings
        _say(_survey(name, settings) if task == "survey" else _preview(name, settings, int(rest[0])))
    except KellyError as error:
        _say({"error": str(error)})


def _progress(done: int, total: int, note: str = "") -> None:
    _say({"done": done, "total": total, "note": note})


def _survey(name: str, settings: Settings) -> dict[str, Any]:
    report = inspect_corpus(name, settings, _progress)
    skipped = {
        reason: {"count": len(names), "first": names[:NAMES_A_REASON]} for reason, names in report.skipped.items()
    }
    return {"report": asdict(report) | {"skipped": skipped}}


def _preview(name: str, settings: Settings, index: int) -> dict[str, Any]:
    dataset = open_dataset(name, settings, _progress)
    example = dataset[index % len(dataset)]
    return {
        "example": {
            "index": index % len(dataset),
            "count": len(dataset),
            "synthetic": dataset.synthetic,
            "group": example.group,
            "label_source": example.label_source,
            "split": example.split,
            "inputs": _rounded(example.inputs),
            "targets": _rounded(example.targets),
        }
    }


def _rounded(frames: NDArray[np.float32]) -> list[list[float]]:
    rounded: list[list[float]] = np.round(np.nan_to_num(np.atleast_2d(frames)), 4).tolist()
    return rounded


def _say(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
