"""Sums of the errors of several predictors over the same examples, by corpus, label source and group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kelly_core.arrays import Doubles, Indices
from kelly_core.data.dataset import Batch, Dataset, ExampleMetadata
from kelly_core.evaluation.metrics.base import CHUNK, Labels, ModelMetrics, Predictor, Sums, loss_sums


@dataclass(frozen=True)
class GroupSums:
    """Sums by cell; a cell contains the examples of one group with one label source of one corpus.

    Attributes:
        corpora, sources, groups: corpus, label source and group of each cell, [C].
        examples: number of examples in each cell, [C].
        truth: sums that depend on no prediction, [C, ...].
        errors: sums [C, ...] of each predictor.
    """

    corpora: NDArray[np.str_]
    sources: NDArray[np.str_]
    groups: NDArray[np.str_]
    examples: Indices
    truth: Sums
    errors: dict[str, Sums]

    def total(self, predictor: str, cells: NDArray[np.bool_] | None = None) -> Sums:
        """Return the sums of one predictor over the chosen cells (default all)."""
        chosen = slice(None) if cells is None else cells
        return {name: values[chosen].sum(axis=0) for name, values in (self.truth | self.errors[predictor]).items()}

    def by_group(self, sums: Sums) -> Sums:
        """Return sums by group [G, ...] instead of by cell; a group belongs to one corpus."""
        # File names contain no null character, so different pairs are never joined to the same text.
        names = np.char.add(np.char.add(self.corpora, "\0"), self.groups)
        _, group = np.unique(names, return_inverse=True)
        return {name: _gather(values, group, int(group.max()) + 1) for name, values in sums.items()}

    def group_count(self, cells: NDArray[np.bool_] | None = None) -> int:
        """Return the number of groups in the chosen cells (default all) with any weight."""
        weighs = self.truth["weight"] > 0
        chosen = weighs if cells is None else cells & weighs
        return len(set(zip(self.corpora[chosen].tolist(), self.groups[chosen].tolist(), strict=True)))

    def by_source(self) -> Iterator[tuple[str, str, NDArray[np.bool_]]]:
        """Yield corpus, label source, and the mask of their cells, for each pair with any weight."""
        for corpus, source in sorted(set(zip(self.corpora.tolist(), self.sources.tolist(), strict=True))):
            cells = (self.corpora == corpus) & (self.sources == source)
            if self.truth["weight"][cells].any():
                yield corpus, source, cells


def aggregate(
    dataset: Dataset, indices: Indices, loss: str, measures: ModelMetrics, predictors: Mapping[str, Predictor]
) -> GroupSums:
    """Run every predictor on the same examples without their targets, and sum the errors by cell.

    Args:
        dataset: dataset of the examples.
        indices: indices of the examples, at least one.
        loss: loss to compute for every predictor, as the sums "loss" and "loss_weight".
        measures: the other metrics.
        predictors: predictors by name.
    """
    kinds, cell = _cells(dataset.rows, indices)
    truth: Sums = {}
    errors: dict[str, Sums] = {name: {} for name in predictors}
    for start in range(0, len(indices), CHUNK):
        chosen, cell_index = indices[start : start + CHUNK], cell[start : start + CHUNK]
        batch = dataset.eval_batch(chosen)
        labels = Labels.of(batch, dataset, chosen)
        _add(truth, measures.truth(labels), cell_index, len(kinds))
        # A predictor that used its targets would return NaN.
        seen = Batch(
            batch.inputs, np.broadcast_to(np.float32(np.nan), batch.targets.shape), batch.weights, batch.pooled
        )
        for name, predict in predictors.items():
            outputs = predict(seen)
            total, weight = loss_sums(loss, outputs, labels)
            _add(
                errors[name],
                measures.errors(outputs, labels) | {"loss": total, "loss_weight": weight},
                cell_index,
                len(kinds),
            )
    corpora, sources, groups = (np.array(column) for column in zip(*kinds, strict=True))
    return GroupSums(corpora, sources, groups, np.bincount(cell, minlength=len(kinds)), truth, errors)


def _cells(rows: ExampleMetadata, indices: Indices) -> tuple[list[tuple[str, str, str]], Indices]:
    """Return all (corpus, source, group) that occur, and the index of each example's triple."""
    columns = (column[indices].tolist() for column in (rows.corpora, rows.sources, rows.groups))
    # setdefault numbers the cells in the order of their first example.
    known: dict[tuple[str, str, str], int] = {}
    cell = [known.setdefault(kind, len(known)) for kind in zip(*columns, strict=True)]
    return list(known), np.array(cell, np.intp)


def _add(sums: Sums, values: Sums, cell_index: Indices, count: int) -> None:
    for name, value in values.items():
        gathered = _gather(value, cell_index, count)
        sums[name] = sums[name] + gathered if name in sums else gathered


def _gather(values: Doubles, cell_index: Indices, count: int) -> Doubles:
    """Sum values [n, ...] by their cell, [count, ...]."""
    total = np.zeros((count, *values.shape[1:]))
    # Cells repeat: ``total[cell_index] += values`` would add only the last value of each.
    np.add.at(total, cell_index, values)
    return total
