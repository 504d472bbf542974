"""Entry ``quality`` of an export's metadata: metrics of a network and of its baselines, and the verdict."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from kelly_core.formatting import format_change, format_interval

Metrics = dict[str, float | None]
"""Metrics by name; None if one is not defined, such as the correlation with a constant."""

Split = Literal["validation", "test"]

VERSION = 2
"""Version of the record. Version 1 has no median and no curve as baselines, was measured on the examples that selected
the best epoch, and weights the ``rmse`` of the emotion model by frames.
"""
TRAINED = "trained"
CONSTANT = "its answer does not depend on its input"
"""Verdict on a model that beats its baselines with a constant."""
FEW_GROUPS = 5
"""With fewer songs, pieces or sessions a bootstrap over them is unreliable."""
SELF_LABELED = frozenset({"estimated", "imputed"})
"""Label sources that compute an emotion from the notes of the piece that is scored."""


@dataclass(frozen=True)
class RelativeDifference:
    """A difference as a share of the baseline's metric, at least -1; both are resampled together.

    Attributes:
        value: relative difference over all examples.
        low, high: 95 % interval by the paired bootstrap over groups.
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{format_change(self.value, 1)} ({format_interval(self.low, self.high)})"


@dataclass(frozen=True)
class Whisker(RelativeDifference):
    """A relative difference with its label in a forest plot.

    Attributes:
        label: baseline and metric.
        beaten: True if the model counts as better than the baseline.
    """

    label: str
    beaten: bool

    @property
    def as_gain(self) -> Whisker:
        """The gain over the baseline: the difference with the opposite sign, above 0 if the model is better."""
        return replace(self, value=-self.value, low=-self.high, high=-self.low)


@dataclass(frozen=True)
class MetricDifference:
    """The model's metric minus the baseline's; below 0 the model is better.

    Attributes:
        measure: name of the metric; smaller is better.
        value: difference over all examples.
        low, high: 95 % interval by the paired bootstrap over groups.
        share: the difference relative to the baseline's metric; None if that metric may be 0.
        margin: share of the baseline's metric by which the model may be worse and still count as equally good.
        beaten: whether the upper end of the interval of model - (1 + margin) · baseline is below 0.
    """

    measure: str
    value: float
    low: float
    high: float
    share: RelativeDifference | None
    margin: float
    beaten: bool

    @property
    def interval(self) -> str:
        """The interval as text, of the share if defined, otherwise of the difference."""
        share = self.share
        return format_interval(share.low, share.high) if share else f"{self.low:+.3g} to {self.high:+.3g}"


@dataclass(frozen=True)
class Baseline:
    """Trivial predictor that the model must beat, fitted to the training examples only."""

    name: str
    metrics: Metrics
    differences: tuple[MetricDifference, ...]

    @property
    def beaten(self) -> bool:
        """True if the model is better by every deciding metric."""
        return all(difference.beaten for difference in self.differences)

    def difference(self, measure: str) -> MetricDifference | None:
        """Return the difference by one measure; None if the record lacks it."""
        return next((each for each in self.differences if each.measure == measure), None)


@dataclass(frozen=True)
class PublishedResult:
    """Result for comparison only; ``source`` is the publication, "" if it was computed here."""

    name: str
    measure: str
    value: float
    source: str = ""


@dataclass(frozen=True)
class SourceQuality:
    """The metrics on the examples of one corpus whose emotion labels come from one source.

    Attributes:
        corpus, label_source: as in ``data.dataset.ExampleMetadata``.
        examples, groups: number of examples, and of their songs, pieces or sessions.
        weight: sum of the loss weights, used to combine metrics that are means into the overall metrics.
        metrics: metrics of the model.
        baselines: metrics of each baseline.
    """

    corpus: str
    label_source: str
    examples: int
    groups: int
    weight: float
    metrics: Metrics
    baselines: dict[str, Metrics]


@dataclass(frozen=True)
class Calibration:
    """Mean and standard deviation of a model's predictions and of the labels, on the examples of the record."""

    answer_mean: float
    answer_sd: float
    label_mean: float
    label_sd: float


@dataclass(frozen=True)
class QualityRecord:
    """Quality of a network.

    Attributes:
        split: split of the evaluated examples, which are not used for training.
        verdict: "trained", or the reason why not.
        primary: the deciding measures; smaller is better.
        examples, groups: number of examples, and of their songs, pieces or sessions.
        metrics: metrics of the model over all examples.
        baselines: baselines that the model must beat; none on generated data.
        references: results to compare with.
        sources: the metrics by corpus and label source.
        notes: limitations that a reader should know.
        epsilon: share of the learnable part that is missing; None unless the examples were generated.
        epsilon_limit: largest ε that counts as trained.
        version: version of the record, at most ``VERSION``.
        chose_epoch: True if the best epoch was selected by the same examples; None if that is not known.
        constant: True if the outputs for all examples are the same.
        calibration: calibration of valence and arousal, by name; empty for other models and in older records.
    """

    split: Split
    verdict: str
    primary: tuple[str, ...]
    examples: int
    groups: int
    metrics: Metrics
    baselines: tuple[Baseline, ...] = ()
    references: tuple[PublishedResult, ...] = ()
    sources: tuple[SourceQuality, ...] = ()
    notes: tuple[str, ...] = ()
    epsilon: float | None = None
    epsilon_limit: float | None = None
    version: int = 1
    chose_epoch: bool | None = None
    constant: bool = False
    calibration: dict[str, Calibration] = field(default_factory=dict)

    @property
    def trained(self) -> bool:
        """True if the model counts as trained."""
        return self.verdict == TRAINED

    def whiskers(self) -> Iterator[Whisker]:
        """Yield each difference from a baseline that is defined as a share of the baseline's metric."""
        for baseline in self.baselines:
            for difference in baseline.differences:
                share, label = difference.share, f"{baseline.name}, {display_name(difference.measure)}"
                if share is not None and all(map(math.isfinite, (share.low, share.value, share.high))):
                    yield Whisker(share.value, share.low, share.high, label, difference.beaten)

    def summary(self) -> str:
        """Return the verdict in one line, with the metrics that it is based on and its limitations."""
        evidence = self._evidence()
        return "; ".join([f"{self.verdict}: {evidence}" if evidence else self.verdict, *self._reservations()])

    def _reservations(self) -> Iterator[str]:
        """Return the limitations of a verdict on real examples."""
        if self.epsilon is not None:
            return
        if self.groups < FEW_GROUPS:
            yield f"only {_count(self.groups, 'group')}, which means little"
        if self.chose_epoch or (self.version < VERSION and self.split == "validation"):
            yield "on the examples that chose the epoch"
        computed = sum(source.examples for source in self.sources if source.label_source in SELF_LABELED)
        if computed:
            share = "all" if computed == self.examples else f"{computed / self.examples:.0%} of the"
            yield f"{share} labels computed from the pieces that are scored"
        if self.version < VERSION:
            yield "measured by an earlier version, without the best constant and a curve among its baselines"

    def _evidence(self) -> str:
        if self.epsilon is not None:
            return f"ε {self.epsilon:.3f}, at most {self.epsilon_limit:g} wanted"
        measure, baseline = deciding_baseline(self.baselines, self.primary)
        difference = baseline.difference(measure)
        ours, theirs = self.metrics[measure], baseline.metrics[measure]
        if ours is None or theirs is None or difference is None:
            return ""
        comparison = f"{display_name(measure)} {ours:.4g} against {theirs:.4g} of {baseline.name}"
        return f"{comparison} (95 % {difference.interval}, of {_count(self.groups, 'group')})"

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: object) -> QualityRecord:
        """Read the result of ``to_json``.

        Raises:
            ValueError: the value is not such a record; the message names the first error.
        """
        try:
            quality: QualityRecord = _adapter().validate_python(record)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise ValueError(f'"quality" is invalid at {where or "its beginning"}: {first["msg"]}') from error
        if quality.version > VERSION:
            raise ValueError(f'"quality" is of version {quality.version}; this program reads up to {VERSION}')
        quality._check_complete()
        return quality

    def _check_complete(self) -> None:
        """Raise a ValueError unless the data behind the verdict is complete and consistent with it."""
        if (self.epsilon is None) != (self.epsilon_limit is None):
            raise ValueError('"quality" has one of epsilon and epsilon_limit without the other')
        if self.epsilon is not None and self.epsilon_limit is not None:
            self._check_verdict(self.epsilon <= self.epsilon_limit)
            return
        if not self.primary or not self.baselines:
            raise ValueError('"quality" names no measure or no baseline that decides')
        for measure in self.primary:
            if any(measure not in metrics for metrics in (self.metrics, *(each.metrics for each in self.baselines))):
                raise ValueError(f'"quality" lacks a metric for {measure!r}, which decides')
        compared = [{difference.measure for difference in baseline.differences} for baseline in self.baselines]
        if any(measures != set(self.primary) for measures in compared):
            raise ValueError('"quality" lacks the difference from a baseline')
        if any(set(source.baselines) != {each.name for each in self.baselines} for source in self.sources):
            raise ValueError('"quality" lacks the baselines of a source')
        self._check_verdict(all(baseline.beaten for baseline in self.baselines) and not self.constant)

    def _check_verdict(self, borne_out: bool) -> None:
        if self.trained != borne_out:
            raise ValueError(f'"quality" says {self.verdict!r}, which contradicts its metrics')


@dataclass(frozen=True)
class ChainQuality:
    """Quality of a model downstream of the recognizer: outputs for audio, compared with the notes of the same pieces.

    Attributes:
        pieces: recordings that were evaluated.
        primary: the deciding measures; smaller is better.
        metrics: metrics of the model.
        marginal: the stronger of two constants, fitted to the training examples and to the other pieces, and the
            difference from it; a constant that is not beaten takes precedence.
        control: metrics of the model given the musical context of the scored notes; they never count as
            quality; None if the model takes no context.
    """

    pieces: int
    primary: tuple[str, ...]
    metrics: Metrics
    marginal: Baseline
    control: Metrics | None = None

    def summary(self) -> str:
        """Return the result in one line."""
        result = "better" if self.marginal.beaten else "not better"
        return f"{result} than the {self.marginal.name} from audio: {'; '.join(self._evidence())}"

    def _evidence(self) -> Iterator[str]:
        for difference in self.marginal.differences:
            measure = difference.measure
            ours, theirs = self.metrics[measure], self.marginal.metrics[measure]
            if ours is None or theirs is None:
                continue
            pieces = _count(self.pieces, "piece") + (", which means little" if self.pieces < FEW_GROUPS else "")
            yield f"{display_name(measure)} {ours:.4g} against {theirs:.4g} (95 % {difference.interval}, {pieces})"


def recorded_quality(metadata: object) -> QualityRecord | None:
    """Return the quality record of a file's metadata; None if there is none or it cannot be read."""
    try:
        return QualityRecord.from_json(metadata["quality"]) if isinstance(metadata, dict) else None
    except (KeyError, ValueError):  # a separate check reports a record that cannot be read
        return None


def strongest_baseline(baselines: Iterable[Baseline], measure: str) -> Baseline | None:
    """Return the strongest baseline not beaten by one measure, else the strongest of all; None without baselines."""
    known = [each for each in baselines if each.metrics.get(measure) is not None and each.difference(measure)]

    def rank(baseline: Baseline) -> tuple[bool, float]:
        difference = baseline.difference(measure)
        # Baselines that are not beaten sort first, then the lowest metric.
        return difference is not None and difference.beaten, baseline.metrics[measure] or 0.0

    return min(known, key=rank, default=None)


def deciding_baseline(baselines: Sequence[Baseline], primary: Sequence[str]) -> tuple[str, Baseline]:
    """Return the measure and the baseline that decide a verdict.

    If a baseline is not beaten, this is the first such measure with the strongest such baseline. If the model beats
    all, it is the first measure with the strongest baseline.
    """
    for measure in primary:
        strongest = strongest_baseline(baselines, measure)
        difference = strongest.difference(measure) if strongest else None
        if strongest and difference and not difference.beaten:
            return measure, strongest
    return primary[0], strongest_baseline(baselines, primary[0]) or baselines[0]


def display_name(measure: str) -> str:
    """Return the display name of a metric."""
    return measure.replace("_", " ")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number != 1 else ''}"


@cache
def _adapter() -> TypeAdapter[Any]:
    # Built at the first use, since most importers of this module never read a record.
    return TypeAdapter(QualityRecord)
