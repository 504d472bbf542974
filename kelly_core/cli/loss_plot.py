"""Losses by epoch, drawn with characters."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.text import Text

from kelly_core.events import EpochDone
from kelly_core.runs.curves import Curves
from kelly_core.runs.event_log import LogRecord

_LINES, _MOST_COLUMNS, _LEAST_COLUMNS = 14, 100, 40
_POINTS_PER_COLUMN = 2
"""A braille character has two columns of dots; plotext handles each point in Python."""


def curves_by_model(records: Iterable[LogRecord]) -> dict[str, Curves]:
    """Return the curves of each model that completed an epoch in the log of a run."""
    curves: defaultdict[str, Curves] = defaultdict(Curves)
    for record in records:
        if isinstance(record.event, EpochDone):
            curves[record.event.model].add(record.event)
    return curves


def plot_losses(model: str, curves: Curves, target: Console) -> Text:
    """Draw training and validation loss of a model, as wide as the terminal but at most 100 columns."""
    import plotext

    columns = max(_LEAST_COLUMNS, min(target.width, _MOST_COLUMNS))
    plotext.clear_figure()
    # The size would otherwise be held to that of the terminal, which a pipe does not have.
    plotext.limit_size(False, False)
    plotext.plotsize(columns, _LINES)
    plotext.theme("clear")
    plotext.title(f"{model}: loss by epoch")
    plotext.xticks(_whole_ticks(curves.epochs))
    # Without colors letters tell the curves apart.
    dots = target.encoding.startswith("utf") and target.color_system is not None
    legend = Text(" " * 5)
    for name, values, color in (("training", curves.train_loss, "cyan"), ("validation", curves.val_loss, "yellow")):
        if points := _points(curves.epochs, values, _POINTS_PER_COLUMN * columns):
            plotext.plot(*zip(*points, strict=True), color=color, marker="braille" if dots else name[0])
        legend.append("━" if dots else name[0], color).append(f" {name}   ")
    return Text("\n").join([Text.from_ansi(plotext.build().rstrip()), legend])


def _points(epochs: Sequence[float], values: Sequence[float], most: int) -> list[tuple[float, float]]:
    """Return the finite values with their epochs, about ``most`` of them evenly spread, the last one included."""
    finite = [(epoch, value) for epoch, value in zip(epochs, values, strict=True) if math.isfinite(value)]
    return finite[:: -max(1, len(finite) // most)][::-1]


def _whole_ticks(epochs: Sequence[float]) -> list[int]:
    """Return at most five whole epochs from the first to the last."""
    first, last = int(epochs[0]), int(epochs[-1])
    return sorted({first + (last - first) * number // 4 for number in range(5)})
