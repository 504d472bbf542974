"""Evaluation of a model: metrics of the model and its baselines, and the verdict."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from kelly_core.arrays import Doubles, Floats, Indices
from kelly_core.data.dataset import Batch, Dataset
from kelly_core.data.leakage import find_leakage
from kelly_core.entry_points import load_reference
from kelly_core.errors import NoSplitError
from kelly_core.evaluation.aggregation import GroupSums, aggregate
from kelly_core.evaluation.bootstrap import interval, resample
from kelly_core.evaluation.metrics.base import (
    Baselines,
    Criterion,
    ModelMetrics,
    Predictor,
    Sums,
    TrainingExamples,
    ratio,
)
from kelly_core.export.quality_record import (
    CONSTANT,
    FEW_GROUPS,
    TRAINED,
    VERSION,
    Baseline,
    MetricDifference,
    Metrics,
    PublishedResult,
    QualityRecord,
    RelativeDifference,
    SourceQuality,
    Split,
    deciding_baseline,
)
from kelly_core.spec import ModelSpec
from kelly_core.validation.behavior import DEPENDENCE_LIMIT

CONTROL = "this model, given the context of the scored notes (control, not quality)"
MODEL = ""
"""Name of the model among the predictors; no baseline has this name."""


def evaluate(spec: ModelSpec, dataset: Dataset, predict: Predictor, split: Split = "validation") -> QualityRecord:
    """Measure a model on examples outside the training set, and compare it with baselines fitted to the training set.

    The musical context is hidden from the model, because an example's context is measured from the scored notes.
    On generated examples the best possible loss is known, and the verdict depends on ε, the share of the possible gain
    that the model has not reached. Otherwise the model must beat every baseline by the paired bootstrap over groups,
    and must not be constant.

    Args:
        spec: the model.
        dataset: examples of its corpus.
        predict: the model; its inputs are standardized as in training.
        split: split to evaluate.

    Raises:
        NoSplitError: the dataset has no such split.
    """
    indices, measures = _indices(dataset, split), metrics_of(spec)
    leaks = find_leakage(dataset) if split == "validation" else []
    unaware = dataset.with_context("unknown")
    # Generated examples have exact reference losses, which replace fitted baselines.
    fitted = Baselines() if dataset.synthetic else measures.fit_baselines(TrainingExamples(unaware))
    model = _MonitoredPredictor(predict)
    predictors = {MODEL: model} | fitted.baselines | fitted.references
    found = aggregate(unaware, indices, spec.loss, measures, predictors)
    metrics = {name: metrics_from_sums(measures, found.total(name)) for name in predictors}
    baselines = tuple(compare_baselines(measures, found, metrics, tuple(fitted.baselines)))
    references = tuple(_references(measures, found, metrics, tuple(fitted.references), dataset))
    references += tuple(_control(spec, dataset, indices, predict))
    epsilon = None if dataset.reference is None else dataset.reference.excess(_loss(found.total(MODEL)))
    return QualityRecord(
        split=split,
        verdict=_verdict(measures, baselines, epsilon, constant=model.constant),
        primary=tuple(criterion.measure for criterion in measures.criteria),
        examples=len(indices),
        groups=found.group_count(),
        metrics=metrics[MODEL],
        baselines=baselines,
        references=references,
        sources=tuple(_sources(measures, found, tuple(fitted.baselines))),
        notes=(*fitted.notes, *_notes(found, dataset, leaks)),
        epsilon=epsilon,
        epsilon_limit=None if epsilon is None else measures.epsilon_limit,
        version=VERSION,
        chose_epoch=split == "validation" and dataset.judging is None,
        constant=model.constant,
        calibration=measures.calibration(found.total(MODEL)),
    )


def metrics_of(spec: ModelSpec) -> ModelMetrics:
    """Return the metrics of a model.

    Raises:
        ConfigError: the metrics that the spec names cannot be imported.
    """
    metrics: ModelMetrics = load_reference(spec.metrics)()
    return metrics


class _MonitoredPredictor:
    """Predictor that records whether its outputs vary with the inputs; if not, the model is a constant."""

    def __init__(self, predict: Predictor) -> None:
        self._predict = predict
        self._inputs, self._outputs = _Range(), _Range()

    def __call__(self, batch: Batch) -> Floats:
        outputs = self._predict(batch)
        self._inputs.update(batch.inputs)
        self._outputs.update(outputs)
        return outputs

    @property
    def constant(self) -> bool:
        """True if the inputs so far differ and the outputs do not."""
        return self._inputs.width > 0 and self._outputs.width <= DEPENDENCE_LIMIT


class _Range:
    """Minimum and maximum at each position of arrays [N, T, k]."""

    def __init__(self) -> None:
        self._low: Floats | None = None
        self._high: Floats | None = None

    def update(self, values: Floats) -> None:
        low, high = values.min(axis=0), values.max(axis=0)
        self._low = low if self._low is None else np.minimum(low, self._low)
        self._high = high if self._high is None else np.maximum(high, self._high)

    @property
    def width(self) -> float:
        """Largest difference between two examples at one position."""
        return 0.0 if self._low is None or self._high is None else float((self._high - self._low).max())


def _indices(dataset: Dataset, split: Split) -> Indices:
    indices = dataset.test
    if split == "validation":
        indices = dataset.validation if dataset.judging is None else dataset.judging
    if not len(indices):
        raise NoSplitError(f"{dataset.name} has no official {split} split here")
    return indices


def metrics_from_sums(measures: ModelMetrics, sums: Sums) -> Metrics:
    """Return every metric of one model from its sums; None where one is not defined."""
    values = {criterion.measure: float(criterion.value(sums)) for criterion in measures.criteria}
    values |= measures.derived_metrics(sums) | {"loss": _loss(sums)}
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def _loss(sums: Sums) -> float:
    return float(ratio(sums["loss"], sums["loss_weight"]))


def compare_baselines(
    measures: ModelMetrics, found: GroupSums, metrics: Mapping[str, Metrics], names: tuple[str, ...]
) -> Iterator[Baseline]:
    """Yield each baseline with the differences of the predictor ``MODEL`` from it; all are resampled together."""
    if not names:
        return
    columns = sorted({column for criterion in measures.criteria for column in criterion.columns})
    drawn = _resampled(found, (MODEL, *names), columns)
    points = {name: found.total(name) for name in (MODEL, *names)}
    for name in names:
        ends = ((points[MODEL], drawn[MODEL]), (points[name], drawn[name]))
        differences = tuple(_difference(criterion, *ends) for criterion in measures.criteria)
        yield Baseline(name, metrics[name], differences)


def _difference(criterion: Criterion, model: tuple[Sums, Sums], baseline: tuple[Sums, Sums]) -> MetricDifference:
    """Return the difference model - baseline; each argument is a pair of sums and resampled sums."""
    ours, theirs = (float(criterion.value(point)) for point, _ in (model, baseline))
    our_draws, their_draws = (criterion.value(drawn) for _, drawn in (model, baseline))
    low, high = interval(our_draws - their_draws)
    share = None
    # The ratio is undefined if the baseline's value is 0 in any resample.
    if theirs > 0 and (their_draws > 0).all():
        share = RelativeDifference(ours / theirs - 1, *interval(our_draws / their_draws - 1))
    # Paired: both sides use the same draws, so the effect of songs that are hard for both cancels.
    beaten = interval(our_draws - (1 + criterion.margin) * their_draws).high < 0
    return MetricDifference(criterion.measure, ours - theirs, low, high, share, criterion.margin, beaten)


def _resampled(found: GroupSums, names: tuple[str, ...], columns: list[str]) -> dict[str, dict[str, Doubles]]:
    """Return bootstrap totals [resamples] of the columns of each predictor."""
    by_group = []
    for name in names:
        # A criterion divides errors by weights: both are drawn together, so that the ratio is over the same songs.
        sums = found.truth | found.errors[name]
        groups = found.by_group({column: sums[column] for column in columns})
        by_group.append([groups[column] for column in columns])
    drawn = resample(np.array(by_group))
    return {name: dict(zip(columns, rows, strict=True)) for name, rows in zip(names, drawn, strict=True)}


def _verdict(measures: ModelMetrics, baselines: tuple[Baseline, ...], epsilon: float | None, *, constant: bool) -> str:
    """Return "trained", or the strongest of the baselines that the model does not beat."""
    if epsilon is not None:
        limit = measures.epsilon_limit
        return TRAINED if epsilon <= limit else f"{epsilon:.0%} of what can be learned is missing"
    if all(baseline.beaten for baseline in baselines):
        return CONSTANT if constant else TRAINED
    _, strongest = deciding_baseline(baselines, [criterion.measure for criterion in measures.criteria])
    return f"not better than {strongest.name}"


def _references(
    measures: ModelMetrics, found: GroupSums, metrics: Mapping[str, Metrics], names: tuple[str, ...], dataset: Dataset
) -> Iterator[PublishedResult]:
    """Yield the reference losses of generated examples, otherwise references, oracles and published results."""
    if dataset.reference is not None:
        yield PublishedResult("best possible", "loss", dataset.reference.bayes)
        yield PublishedResult("best constant", "loss", dataset.reference.prior)
        return
    for name in names:
        for criterion in measures.criteria:
            value = metrics[name][criterion.measure]
            if value is not None:
                yield PublishedResult(name, criterion.measure, value)
    yield from measures.oracle(found.by_group(found.truth))
    yield from measures.published


def _control(spec: ModelSpec, dataset: Dataset, indices: Indices, predict: Predictor) -> Iterator[PublishedResult]:
    """Return the metrics of the model when given the musical context of the scored pieces; they never count as quality.

    They show whether the model follows the context at all.
    """
    if not dataset.has_context:
        return
    measures = metrics_of(spec)
    # The context was measured from the notes that are predicted here, so a comparison with baselines would not be fair.
    aware = aggregate(dataset.with_context("known"), indices, spec.loss, measures, {MODEL: predict}).total(MODEL)
    for criterion in measures.criteria:
        yield PublishedResult(CONTROL, criterion.measure, float(criterion.value(aware)))


def _sources(measures: ModelMetrics, found: GroupSums, names: tuple[str, ...]) -> Iterator[SourceQuality]:
    for corpus, source, cells in found.by_source():
        totals = {name: found.total(name, cells) for name in (MODEL, *names)}
        metrics = {name: metrics_from_sums(measures, sums) for name, sums in totals.items()}
        yield SourceQuality(
            corpus=corpus,
            label_source=source,
            examples=int(found.examples[cells].sum()),
            groups=found.group_count(cells),
            weight=float(totals[MODEL]["weight"]),
            metrics=metrics[MODEL],
            baselines={name: metrics[name] for name in names},
        )


def _notes(found: GroupSums, dataset: Dataset, leaks: Sequence[str]) -> Iterator[str]:
    groups = found.group_count()
    if not dataset.synthetic and groups < FEW_GROUPS:
        yield f"{groups} group{'s' if groups != 1 else ''} of examples: the intervals mean little"
    if dataset.made_by_rules:
        yield "the examples are made by rules: the metrics do not apply to real music"
    yield from (f"the metrics may be too good, {leak}" for leak in leaks)
