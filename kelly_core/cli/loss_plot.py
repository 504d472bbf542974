"""Losses by epoch, drawn with characters."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from rich.console import Console
from rich.text import Text

from kelly_core.events import EpochDone
from kelly_core.runs.event_log import LogRecord

_LINES, _MOST_COLUMNS, _LEAST_COLUMNS = 14, 100, 40
_POINTS_PER_COLUMN = 2
"""A braille character has two columns of dots; plotext handles each point in Python."""


class Losses(NamedTuple):
    """Losses of one model by epoch, [n] each."""

    epochs: list[int]
    training: list[float]
    validation: list[float]


def losses_by_model(records: Iterable[LogRecord]) -> dict[str, Losses]:
    """Return the losses in the log of a run; an epoch that was repeated replaces the earlier one."""
    rows: dict[str, dict[int, EpochDone]] = {}
    for record in records:
        if isinstance(event := record.event, EpochDone):
            of_model = rows.setdefault(event.model, {})
            while of_model and next(reversed(of_model)) >= event.epoch:
                of_model.popitem()
            of_model[event.epoch] = event
    return {model: _losses(of_model) for model, of_model in rows.items()}


def _losses(rows: dict[int, EpochDone]) -> Losses:
    return Losses(list(rows), [row.train_loss for row in rows.values()], [row.val_loss for row in rows.values()])


def plot_losses(model: str, losses: Losses, target: Console) -> Text:
    """Draw training and validation loss of a model, as wide as the terminal but at most 100 columns."""
    import plotext

    columns = max(_LEAST_COLUMNS, min(target.width, _MOST_COLUMNS))
    plotext.clear_figure()
    # The size would otherwise be held to that of the terminal, which a pipe does not have.
    plotext.limit_size(False, False)
    plotext.plotsize(columns, _LINES)
    plotext.theme("clear")
    plotext.title(f"{model}: loss by epoch")
    plotext.xticks(_whole_ticks(losses.epochs))
    # Without colors letters tell the curves apart.
    dots = target.encoding.startswith("utf") and target.color_system is not None
    legend = Text(" " * 5)
    for name, values, color in (("training", losses.training, "cyan"), ("validation", losses.validation, "yellow")):
        if points := _points(losses.epochs, values, _POINTS_PER_COLUMN * columns):
            plotext.plot(*zip(*points, strict=True), color=color, marker="braille" if dots else name[0])
        legend.append("━" if dots else name[0], color).append(f" {name}   ")
    return Text("\n").join([Text.from_ansi(plotext.build().rstrip()), legend])


def _points(epochs: list[int], values: list[float], most: int) -> list[tuple[int, float]]:
    """Return the finite values with their epochs, about ``most`` of them evenly spread, the last one included."""
    finite = [(epoch, value) for epoch, value in zip(epochs, values, strict=True) if math.isfinite(value)]
    return finite[:: -max(1, len(finite) // most)][::-1]


def _whole_ticks(epochs: list[int]) -> list[int]:
    """Return at most five whole epochs from the first to the last."""
    first, last = epochs[0], epochs[-1]
    return sorted({first + (last - first) * number // 4 for number in range(5)})
