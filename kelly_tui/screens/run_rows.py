"""Rows of Runs: the list with its columns, order and sweeps, one run in detail, and differences of several runs."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

from rich.text import Text

from kelly_core.export.quality_record import TRAINED
from kelly_core.formatting import MISSING, format_change, format_duration, format_loss
from kelly_core.runs.overview import RunOverview, compare_runs, relative_change, setting_text
from kelly_core.runs.queue import WaitingRun
from kelly_core.runs.run_dir import short_id
from kelly_tui.formatting import (
    LabeledRow,
    age_text,
    best_text,
    distinct_names,
    epochs_text,
    models_text,
    run_state_text,
)
from kelly_tui.run_watcher import RunView
from kelly_tui.themes import ThemeColors
from kelly_tui.widgets.record_table import Row

COLUMNS = ("", "run", "state", "models", "epoch", "best", "gain", "verdict", "rate", "seed", "time", "tags", "age")
NUMBERS = ("epoch", "best", "gain", "rate", "seed", "time", "age")
EXTRAS = ("seed", "rate", "verdict", "epoch", "time", "tags", "gain", "best", "models")
"""Columns that are hidden in a narrow table, in this order."""
AGE = "age"
SORT_KEYS: dict[str, Callable[[RunOverview], float | str | None]] = {
    AGE: lambda run: -run.created,
    "run": lambda run: short_id(run.id),
    "state": lambda run: run.state,
    "models": lambda run: " ".join(run.model_names),
    "epoch": lambda run: run.epoch,
    "best": lambda run: run.best_loss,
    "gain": lambda run: run.gain,
    "verdict": lambda run: " ".join(run.verdicts) or None,
    "rate": lambda run: run.learning_rate,
    "seed": lambda run: run.seed,
    "time": lambda run: run.duration,
    "tags": lambda run: " ".join(run.tags) or None,
}
_FALLING = frozenset({"epoch", "gain", "time"})
"""Columns that are sorted with the largest value first."""


@dataclass(frozen=True)
class SweepGroup:
    """Runs of a sweep, two or more, in the order of the list.

    Attributes:
        folder: output folder of the sweep.
        runs: its runs.
    """

    folder: str
    runs: tuple[RunOverview, ...]

    @property
    def key(self) -> str:
        """Key of the group's row, which cannot equal the id of a run."""
        return f"{self.folder}/"

    @property
    def best(self) -> list[RunOverview]:
        """The runs with a result, the largest gain first (the lowest loss if all train one model)."""
        names = {run.model_names for run in self.runs}
        if len(names) == 1 and len(self.runs[0].models) == 1:
            ranks = [(run.best_loss, run.id, run) for run in self.runs if run.best_loss is not None]
        else:
            ranks = [(-run.gain, run.id, run) for run in self.runs if run.gain is not None]
        return [run for _, _, run in sorted(ranks, key=itemgetter(0, 1))]


def in_order(runs: Sequence[RunOverview], sorted_by: str, reverse: bool) -> list[RunOverview]:
    """Return the runs sorted by a column; those without a value come last in either order."""
    values = {run.id: SORT_KEYS[sorted_by](run) for run in runs}
    latest_first = sorted(runs, key=lambda run: (run.created, run.id), reverse=True)
    known = [run for run in latest_first if values[run.id] is not None]
    falling = (sorted_by in _FALLING) != reverse
    known.sort(key=lambda run: values[run.id], reverse=falling)  # type: ignore[arg-type, return-value]
    return known + [run for run in latest_first if values[run.id] is None]


def grouped(runs: Sequence[RunOverview]) -> list[RunOverview | SweepGroup]:
    """Return the runs in their order, with the runs of a sweep as one group at the place of its first run."""
    sweeps: dict[str, list[RunOverview]] = {}
    for run in runs:
        # The runs of a sweep are identified by its output folder, other runs by their ID.
        sweeps.setdefault(str(Path(run.output).parent.parent) if run.sweep else run.id, []).append(run)
    return [each[0] if len(each) == 1 else SweepGroup(key, tuple(each)) for key, each in sweeps.items()]


def group_row(group: SweepGroup, unfolded: bool, colors: ThemeColors) -> Row:
    """Return the summary of a sweep: number of runs in each state, and the best result."""
    states = Counter(run.state for run in group.runs)
    text = ", ".join(f"{count} {state}" for state, count in states.most_common())
    best = next(iter(group.best), None)
    models = {run.model_names for run in group.runs}
    verdicts = [verdict for run in group.runs for verdict in run.verdicts]
    cells: dict[str, str | Text] = {
        "": Text("▼" if unfolded else "▶", colors.accent),
        "run": f"{Path(group.folder).name}: {len(group.runs)} runs",
        "state": Text(text, colors.warning if {"failed", "died"} & states.keys() else colors.success),
        "models": models_text(next(iter(models))) if len(models) == 1 else "several",
        "best": MISSING if best is None or best.best_loss is None else format_loss(best.best_loss),
        "gain": MISSING if best is None or best.gain is None else format_change(best.gain),
        "verdict": f"{verdicts.count(TRAINED)}/{len(verdicts)} trained" if verdicts else MISSING,
        "time": format_duration(sum(run.duration or 0.0 for run in group.runs)),
        "age": _age(max(run.created for run in group.runs)),
    }
    return Row(group.key, tuple(cells.get(column, "") for column in COLUMNS))


def run_row(run: RunOverview, mark: Text, name: str, colors: ThemeColors) -> Row:
    """Return the row of a run under a name."""
    state, models = run_state_text(run, colors), models_text(run.model_names)
    return Row(run.id, (mark, name, state, models, *_number_cells(run), _age(run.created)))


def waiting_row(waiting: WaitingRun, place: int, colors: ThemeColors) -> Row:
    """Return the row of a training that waits in the queue."""
    return _padded(waiting.id, Text(f"waits, {place}.", colors.muted), models_text(waiting.manifest.models))


def unreadable_rows(names: Iterable[str], colors: ThemeColors) -> list[Row]:
    """Return the rows of runs that cannot be read."""
    return [_padded(name, Text("unreadable", colors.error)) for name in names]


def _padded(run_id: str, *cells: str | Text) -> Row:
    return Row(run_id, ("", short_id(run_id), *cells, *[""] * (len(COLUMNS) - 2 - len(cells))))


def _age(created: float) -> str:
    return age_text(created).removesuffix(" ago")


def _number_cells(run: RunOverview) -> list[str]:
    """Return the cells between models and age."""
    epochs = f"{run.epoch}/{run.epochs}" if run.epochs else str(run.epoch) if run.epoch else MISSING
    at = "" if run.best_epoch is None else f" @{run.best_epoch}"
    trained = sum(verdict == TRAINED for verdict in run.verdicts)
    several = f"{trained}/{len(run.verdicts)} trained"
    return [
        epochs,
        MISSING if run.best_loss is None else f"{format_loss(run.best_loss)}{at}",
        MISSING if run.gain is None else format_change(run.gain),
        MISSING if not run.verdicts else run.verdicts[0] if len(run.verdicts) == 1 else several,
        MISSING if run.learning_rate is None else f"{run.learning_rate:g}",
        MISSING if run.seed is None else str(run.seed),
        format_duration(run.duration),
        " ".join(run.tags),
    ]


def detail_rows(view: RunView, overview: RunOverview | None, colors: ThemeColors) -> Iterator[LabeledRow]:
    """Yield the details of one run."""
    run = view.snapshot
    yield "state", run_state_text(run, colors)
    if run.error:
        yield "error", Text(run.error, colors.error)
    yield "made", age_text(run.created) + (f", attempt {run.attempt}" if run.attempt > 1 else "")
    if overview is not None and overview.tags:
        yield "tags", " ".join(overview.tags)
    if overview is not None and overview.note:
        yield "note", overview.note
    yield "output", run.output
    for model in run.models:
        yield model.model, f"{model.state}, {epochs_text(model)}, best {best_text(model)}"
        if model.error:
            yield "", Text(model.error, colors.error)
    yield "command", shlex.join(view.manifest.command) or MISSING
    if run.damaged_lines:
        yield "log", Text(f"{run.damaged_lines} damaged lines were left out", colors.warning)


def difference_rows(views: Sequence[RunView]) -> Iterator[LabeledRow]:
    """Yield the best loss of each model in several runs, its changes since the first, and the settings that differ."""
    yield "", " → ".join(distinct_names([view.snapshot.id for view in views]))
    comparison = compare_runs(*views)
    for name, bests in comparison.models.items():
        if all(best.best_loss is None for best in bests):
            continue
        yield name, " → ".join(map(best_text, bests))
        changes = [relative_change(best.best_loss, bests[0].best_loss) for best in bests[1:]]
        if any(change is not None for change in changes):
            yield "", ", ".join(MISSING if change is None else format_change(change, 1) for change in changes)
    if not comparison.settings and len(views) == 2:
        yield "settings", "the same"
    for key, values in comparison.settings.items():
        yield key, " → ".join(map(setting_text, values))
