"""Read a corpus for the Datasets screen: ``python -m kelly_tui.workers.corpora TASK NAME CONFIG [INDEX]``."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kelly_core.config.loading import load_settings
from kelly_core.config.schema import Settings
from kelly_core.data.catalog import inspect_corpus, open_dataset
from kelly_core.data.download.install import Stage, install
from kelly_core.data.download.sources import SOURCES, sources_of
from kelly_core.errors import KellyError
from kelly_core.io.json import dumps

_SECONDS_BETWEEN_LINES = 0.1
NAMES_A_REASON = 200
"""Number of files that are listed by name for each reason to skip them."""


def main(arguments: list[str]) -> None:
    """Run the task; user errors are printed as a JSON line as well."""
    task, name, config, *rest = arguments
    try:
        settings = load_settings(Path(config) if config else None).settings
        match task:
            case "survey":
                _say(_survey(name, settings))
            case "get":
                _say(_get(name, settings))
            case _:
                _say(_preview(name, settings, int(rest[0])))
    except KellyError as error:
        _say({"error": str(error)})


def _progress(done: int, total: int, note: str = "") -> None:
    _say({"done": done, "total": total, "note": note})


class _Progress:
    """Prints the progress of a download as lines."""

    def __init__(self) -> None:
        self._told = 0.0

    def progress(self, file: str, stage: Stage, done: int, total: int) -> None:
        """Print bytes done and in all, at most ten times a second."""
        now = time.monotonic()
        if now - self._told >= _SECONDS_BETWEEN_LINES or done == total:
            self._told = now
            _say({"file": file, "stage": stage, "done": done, "total": total, "note": ""})

    def note(self, text: str) -> None:
        """Print a sentence for the person who waits."""
        _say({"file": "", "stage": "", "done": 0, "total": 0, "note": text})


def _get(name: str, settings: Settings) -> dict[str, Any]:
    """Download the default sources of a corpus."""
    listener = _Progress()
    folder = settings.datasets.folder(name)
    receipts = [
        receipt
        for source in sources_of(name, SOURCES)
        if source.archives
        for receipt in install(source, folder, settings.datasets.dir, listener)
    ]
    return {"got": [asdict(receipt) for receipt in receipts]}


def _survey(name: str, settings: Settings) -> dict[str, Any]:
    return {"report": inspect_corpus(name, settings, _progress).as_json(NAMES_A_REASON)}


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
    sys.stdout.write(dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
