"""Read a corpus for the Datasets screen: ``python -m kelly_tui.workers.corpora TASK NAME CONFIG [INDEX]``."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from kelly_core.arrays import Floats
from kelly_core.config.loading import load_settings
from kelly_core.config.schema import Settings
from kelly_core.data.catalog import inspect_corpus, open_dataset
from kelly_core.data.corpus_dataset import CorpusDataset
from kelly_core.data.download.install import Stage, install
from kelly_core.data.download.sources import SOURCES, sources_of
from kelly_core.data.files import TEST_REASON, spread_evenly
from kelly_core.errors import KellyError
from kelly_core.io.json import dumps
from kelly_tui.charts.corpus_pictures import to_levels

_SECONDS_BETWEEN_LINES = 0.1
NAMES_PER_REASON = 200
"""Maximum number of files that are listed by name for each reason to skip files."""
LABEL_BINS = 48
"""Number of bins of valence and of arousal, -1..1, in which labels are counted."""
_EXAMPLES = 9
"""Number of examples of a corpus that are stored for display."""


def main(arguments: list[str]) -> None:
    """Run the task; user errors are printed as a JSON line as well."""
    task, name, config, *rest = arguments
    try:
        settings = load_settings(Path(config) if config else None).settings
        match task:
            case "inspect":
                _print_record(inspect(name, settings))
            case "get":
                _print_record(_get(name, settings))
            case _:
                _print_record(_preview(name, settings, int(rest[0])))
    except KellyError as error:
        _print_record({"error": str(error)})


def _progress(done: int, total: int, note: str = "") -> None:
    _print_record({"done": done, "total": total, "note": note})


class _Progress:
    """Prints the progress of a download as lines."""

    def __init__(self) -> None:
        self._printed = 0.0

    def progress(self, file: str, stage: Stage, done: int, total: int) -> None:
        """Print completed and total bytes, at most ten times a second."""
        now = time.monotonic()
        if now - self._printed >= _SECONDS_BETWEEN_LINES or done == total:
            self._printed = now
            _print_record({"file": file, "stage": stage, "done": done, "total": total, "note": ""})

    def note(self, text: str) -> None:
        """Print a note for the user."""
        _print_record({"file": "", "stage": "", "done": 0, "total": 0, "note": text})


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


def inspect(name: str, settings: Settings) -> dict[str, Any]:
    """Read a corpus, and return its report with the data of the screen's pictures, as JSON values."""
    datasets: list[CorpusDataset] = []
    report = inspect_corpus(name, settings, _progress, datasets.append)
    shown = {
        "test_files": len(report.skipped.get(TEST_REASON, ())),
        "labels": _count_labels(list(map(label_pairs, datasets))),
        "shown": [
            _shown(dataset, index)
            for dataset in datasets[:1]
            for index in spread_evenly(range(len(dataset)), _EXAMPLES)
        ],
    }
    return {"report": report.as_json(NAMES_PER_REASON) | shown}


def label_pairs(dataset: CorpusDataset) -> Floats:
    """Return valence and arousal of all examples, [n, 2]: one label per frame for dynamic labels, else one per example.

    The array is empty for a corpus without emotions.
    """
    if dataset.labels.shape[-1] != 2:
        return np.zeros((0, 2), np.float32)
    if dataset.labels.ndim == 2:
        return dataset.labels
    by_frame = dataset.rows.sources == "dynamic"
    # Frames without a label are NaN, both at the beginning of a song and after its end.
    whole = dataset.labels[~by_frame]
    first = np.isfinite(whole).all(axis=2).argmax(axis=1)
    return np.concatenate([dataset.labels[by_frame].reshape(-1, 2), whole[np.arange(len(whole)), first]])


def _count_labels(labels: Sequence[Floats]) -> dict[str, Any]:
    """Count labels by valence, by arousal, and pairs of both by valence (first axis) and arousal, -1..1."""
    pairs = np.concatenate([np.zeros((0, 2), np.float32), *labels])
    bins = ((np.clip(pairs, -1, 1) + 1) * (LABEL_BINS / 2)).clip(0, LABEL_BINS - 1)
    known = np.isfinite(pairs)
    both = bins[known.all(axis=1)].astype(np.intp)
    # Both bins are combined into one number, because ``bincount`` counts single numbers.
    plane = np.bincount(both @ [LABEL_BINS, 1], minlength=LABEL_BINS**2).reshape(LABEL_BINS, LABEL_BINS)
    valence, arousal = (
        np.bincount(column[is_known].astype(np.intp), minlength=LABEL_BINS)
        for column, is_known in zip(bins.T, known.T, strict=True)
    )
    return {"plane": plane.tolist(), "valence": valence.tolist(), "arousal": arousal.tolist()}


def _shown(dataset: CorpusDataset, index: int) -> dict[str, Any]:
    """Return an example as pictures of few levels."""
    example = dataset[index]
    return {
        "index": index,
        "group": example.group,
        "label_source": example.label_source,
        "split": example.split,
        "input": to_levels(_rounded(example.inputs)),
        "target": to_levels(_rounded(example.targets)),
    }


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


def _rounded(frames: Floats) -> list[list[float]]:
    # Digits beyond the resolution of a picture would only make the line longer.
    rounded: list[list[float]] = np.round(np.nan_to_num(np.atleast_2d(frames)), 4).tolist()
    return rounded


def _print_record(line: dict[str, Any]) -> None:
    sys.stdout.write(dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
