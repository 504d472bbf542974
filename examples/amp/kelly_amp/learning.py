"""Loader, loss, metrics and baselines of the amplifier."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from kelly_core.arrays import Floats, Indices
from kelly_core.data.corpus_dataset import CorpusDataset, LoadOptions
from kelly_core.data.dataset import Batch, CorpusReport, ExampleMetadata, custom_loss_sums
from kelly_core.data.leakage import content_keys
from kelly_core.data.readers.audio import read_audio
from kelly_core.data.splits import OFFICIAL, TEST, TRAIN, VALIDATION
from kelly_core.errors import DataError
from kelly_core.evaluation.baselines import constant
from kelly_core.evaluation.metrics.base import (
    Baselines,
    Criterion,
    Labels,
    ModelMetrics,
    Sums,
    TrainingExamples,
    mean_of,
)

WARM_UP, SEGMENT = 64, 448
"""Samples at the start of a segment that are not scored, because the state must settle, and scored samples."""
PRE_EMPHASIS, FLOOR, MAX_SECONDS = 0.95, 1e-6, 1800.0
"""Coefficient of the high-pass before the error, minimum energy of a sample, and maximum seconds that are read."""
LOSS = "kelly_amp.learning:error_to_signal"


def is_present(root: Path) -> bool:
    """Return True if the recording's input exists."""
    return (root / "input.wav").is_file()


def load(root: Path, options: LoadOptions, name: str) -> AmpDataset:
    """Read the recording. The last tenth is the official test split, the eighth before it the validation split."""
    recordings = [read_audio(root / f"{part}.wav", MAX_SECONDS) for part in ("input", "output")]
    (clean, rate), (played, other_rate) = recordings
    if (len(clean), rate) != (len(played), other_rate):
        raise DataError("input.wav and output.wav differ in length or sample rate", where=root)
    starts = np.arange(0, len(clean) - WARM_UP - SEGMENT + 1, SEGMENT)
    if len(starts) < 10:
        raise DataError("less than ten segments", where=root, hint="Record some minutes")
    splits = np.select([starts >= 0.9 * len(clean), starts >= 0.775 * len(clean)], [TEST, VALIDATION], TRAIN)
    if not options.include_test:
        starts, splits = starts[splits != TEST], splits[splits != TEST]
    windows = starts[:, np.newaxis] + np.arange(WARM_UP + SEGMENT)
    groups = [f"{start / rate:.3f} s" for start in starts]
    rows = ExampleMetadata.of_files(name, np.arange(len(starts)), groups, ["recorded"] * len(starts), splits)
    report = CorpusReport(name, str(root), True, files=2, seconds=len(clean) / rate, split_source=OFFICIAL)
    dataset = AmpDataset(report, rows, clean[windows][..., np.newaxis], played[windows][..., np.newaxis])
    dataset.metadata = {"sample_rate_hz": rate, "warm_up_samples": WARM_UP}
    return dataset


class AmpDataset(CorpusDataset):
    """Segments of the recording: samples before the amplifier [T, 1] as input, those after it as target."""

    input_size, output_size, sequence_length = 1, 1, WARM_UP + SEGMENT

    def __init__(self, report: CorpusReport, rows: ExampleMetadata, clean: Floats, played: Floats) -> None:
        self._clean, self._played = clean, played
        self._mask = (np.arange(self.sequence_length) >= WARM_UP).astype(np.float32)[np.newaxis, :, np.newaxis]
        super().__init__(report, rows, [], played, content_keys(clean, clean.any(axis=(1, 2))))

    def _assemble(self, indices: Indices, rng: np.random.Generator, *, augment: bool) -> Batch:  # noqa: ARG002
        return Batch(self._clean[indices], self._played[indices], self._mask * self._example_weights(indices))


def error_to_signal(outputs: Any, targets: Any, weights: Any) -> tuple[Any, Any]:
    """Return the energies [N] of error and signal, both after pre-emphasis; their ratio is the loss (ESR)."""
    error, signal = (each[:, 1:] - PRE_EMPHASIS * each[:, :-1] for each in (outputs - targets, targets))
    weights = weights[:, 1:]
    return (weights * error**2).sum((1, 2)), (weights * (signal**2 + FLOOR)).sum((1, 2))


class AmpMetrics(ModelMetrics):
    """The error-to-signal ratio, compared with silence, a gain and a linear filter."""

    criteria = (Criterion("esr", *mean_of("error", "signal")),)

    def truth(self, labels: Labels) -> Sums:
        """See ``ModelMetrics``."""
        _, signal = custom_loss_sums(LOSS, labels.targets, labels.targets, labels.weights)
        return {"weight": labels.weights.sum(axis=(1, 2), dtype=np.float64), "signal": signal}

    def errors(self, outputs: Floats, labels: Labels) -> Sums:
        """See ``ModelMetrics``."""
        return {"error": custom_loss_sums(LOSS, outputs, labels.targets, labels.weights)[0]}

    def fit_baselines(self, training: TrainingExamples) -> Baselines:
        """Return three baselines: silence, and a gain and a filter of 32 taps, both fitted by least squares."""
        batches = [batch for batch, _ in training.batches(most=256)]
        targets = np.concatenate([batch.targets[:, WARM_UP:].ravel() for batch in batches])
        baselines = {"silence": constant(np.zeros(1, np.float32))}
        for name, count in (("gain", 1), ("linear filter of 32 taps", 32)):
            past = np.concatenate([_past(batch.inputs, count)[:, WARM_UP:].reshape(-1, count) for batch in batches])
            taps = np.linalg.lstsq(past, targets, rcond=None)[0].astype(np.float32)
            baselines[name] = lambda batch, taps=taps: (_past(batch.inputs, len(taps)) @ taps)[..., np.newaxis]
        return Baselines(baselines)


def _past(inputs: Floats, count: int) -> Floats:
    """Return the last ``count`` samples up to each one, [N, T, count], for inputs [N, T, 1]."""
    padded = np.pad(inputs[..., 0], ((0, 0), (count - 1, 0)))
    return np.lib.stride_tricks.sliding_window_view(padded, count, axis=1)
