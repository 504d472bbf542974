"""Text of runs, models, numbers and labeled rows, as every screen shows it."""

from __future__ import annotations

import itertools
import math
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.padding import Padding
from rich.style import Style
from rich.table import Table
from rich.text import Text

from kelly_core.formatting import MISSING, format_bytes, format_duration, format_loss, printable, printable_lines
from kelly_core.runs.overview import Best
from kelly_core.runs.run_dir import short_id
from kelly_core.runs.state import CONCERNS, ModelSnapshot, RunSnapshot
from kelly_core.spec import MODELS
from kelly_tui.themes import ThemeColors

_GAP = 2
"""Columns between a label and its value, and before a value below its label."""
_MIN_VALUE_COLUMNS = 20
_MAX_LABEL_SHARE, _LABEL_COLUMNS = 0.4, 24
"""Maximum share of the width for labels, and the number of columns that labels may take at any width."""
_LONG_NAME = 20
"""Maximum length of run names that are shown side by side in full; trials of a sweep have longer names."""
_NAMES = [spec.name for spec in MODELS]

LabeledRow = tuple[str | Text, str | Text]
"""A label and its value; an empty label continues the row above."""


class LabeledRows:
    """Lines with a label and a value each, the values in a separate column; long labels are wrapped.

    Args:
        rows: label and value of each line.
        muted: color of the labels.
    """

    def __init__(self, rows: Iterable[LabeledRow], muted: str) -> None:
        self._rows = [(as_text(label, muted), as_text(value)) for label, value in rows]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LabeledRows) and self._looks == other._looks

    @property
    def _looks(self) -> list[tuple[Text, str | Style]]:
        """Texts with their styles, which a comparison of texts ignores."""
        return [(text, text.style) for row in self._rows for text in row]

    @property
    def plain(self) -> str:
        """The lines without colors."""
        return "\n".join(f"{label.plain}\t{value.plain}" for label, value in self._rows)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        most = max(_LABEL_COLUMNS, int(_MAX_LABEL_SHARE * options.max_width))
        # Labels are wrapped only at spaces: a name, for example of a setting, is not split.
        words = (max(map(cell_len, label.plain.split()), default=0) for label, _ in self._rows)
        labels = min(max([most, *words]), max((label.cell_len for label, _ in self._rows), default=0))
        width, longest = options.max_width, max((value.cell_len for _, value in self._rows), default=0)
        beside = width - labels - _GAP
        # If labels take half of the width, values that fit only below them are put there instead of wrapped.
        fit_below_only = beside < width // 2 and beside < longest <= width - _GAP
        if width < labels + _MIN_VALUE_COLUMNS or fit_below_only:
            yield from self._stacked(width)
        else:
            yield self._side_by_side(labels)

    def _stacked(self, width: int) -> Iterator[Text | Padding]:
        """Yield the rows for a narrow width: each value next to its label if there is room, or else below it."""
        for label, value in self._rows:
            both = Text.assemble(label, "  ", value)
            if label and both.cell_len <= width:
                yield both
                continue
            if label:
                yield label
            yield Padding(value, (0, 0, 0, _GAP))

    def _side_by_side(self, labels: int) -> Table:
        table = Table.grid(padding=(0, _GAP, 0, 0))
        table.add_column(width=labels, overflow="fold")
        table.add_column(overflow="fold")
        for label, value in self._rows:
            table.add_row(label, value)
        return table


def as_text(words: str | Text, style: str = "") -> Text:
    """Return words with control characters escaped, in one line if they are a string.

    They are escaped before the layout, which counts the columns of the escapes.
    """
    if isinstance(words, str):
        return Text(printable(words), style)
    shown = printable_lines(words.plain)
    return words if shown == words.plain else Text(shown, words.style)


def bar(share: float, width: int, colors: tuple[str, str]) -> Text:
    """Return a bar for a share between 0 and 1, with one color for the share and one for the rest."""
    full = math.ceil(min(1.0, max(0.0, share)) * width)
    return Text.assemble(("━" * full, colors[0]), ("─" * (width - full), colors[1]))


def split_bar(parts: Sequence[tuple[float, str]], width: int) -> Text:
    """Return a bar of several parts, each with its share and color; a share above 0 has at least one column.

    The parts differ by their shade as well, for terminals without colors.
    """
    total = sum(share for share, _ in parts)
    text, left = Text(), width
    for number, (share, color) in enumerate(parts):
        columns = min(left, max(1, round(width * share / total))) if share else 0
        # The last part takes the columns left over by rounding.
        columns = left if share and not any(share for share, _ in parts[number + 1 :]) else columns
        text.append("█▓░"[number % 3] * columns, color)
        left -= columns
    return text


def run_state_text(run: RunSnapshot, colors: ThemeColors) -> Text:
    """Return the state of a run, or its training warning while it is running."""
    if run.state == "running" and run.concerns and not run.silent_seconds:
        return Text(run.concerns[0], colors.warning)
    return state_text(run.state, run.silent_seconds, colors)


def model_state_text(model: ModelSnapshot, colors: ThemeColors) -> Text:
    """Return the state of a model, or its training warning while it is in training."""
    if model.state == "running" and model.alarm_kind in CONCERNS:
        return Text(model.alarm_kind, colors.warning)
    return state_text(model.state, 0.0, colors)


def state_text(state: str, silent_seconds: float, colors: ThemeColors) -> Text:
    """Return a state in its color; a live run that has stopped responding is not called running."""
    if silent_seconds:
        return Text(f"stopped responding {format_duration(silent_seconds)} ago", colors.warning)
    color = {
        "running": colors.success,
        "finished": colors.success,
        "failed": colors.error,
        "died": colors.error,
        "stopped": colors.muted,
        "queued": colors.muted,
    }.get(state, colors.warning)
    return Text(state, color)


def model_color(model: str, colors: ThemeColors) -> str:
    """Return the color that a model has on every screen."""
    return colors.series[_NAMES.index(model) % len(colors.series) if model in _NAMES else 0]


def run_colors(run_ids: Sequence[str], colors: ThemeColors) -> dict[str, str]:
    """Return a color for each run: always the same one, unless two of these runs would share it."""
    taken: dict[str, str] = {}
    for run_id in run_ids:
        start = zlib.crc32(run_id.encode()) % len(colors.series)
        wheel = colors.series[start:] + colors.series[:start]
        taken[run_id] = next((color for color in wheel if color not in taken.values()), wheel[0])
    return taken


def distinct_names(run_ids: Sequence[str]) -> list[str]:
    """Return short names of runs, without their common first words if one is long, so that the rest is not cut off."""
    names = [short_id(run_id) for run_id in run_ids]
    words = [name.split("-") for name in names]
    if max(map(len, names), default=0) <= _LONG_NAME:
        return names
    shared = sum(1 for _ in itertools.takewhile(lambda place: len(set(place)) == 1, zip(*words, strict=False)))
    return ["-".join(each[shared:] or each) for each in words]


def epochs_text(model: ModelSnapshot) -> str:
    """Return completed and total epochs, such as 12/50."""
    return MISSING if model.epochs is None else f"{model.epoch}/{model.epochs}"


def best_text(model: ModelSnapshot | Best) -> str:
    """Return the best loss and its epoch."""
    return MISSING if model.best_loss is None else f"{format_loss(model.best_loss)} @{model.best_epoch}"


def host_text(run: RunSnapshot) -> str:
    """Return the load of the machine in one line."""
    if run.host is None:
        return ""
    host = run.host
    parts = [
        f"CPU {host.cpu_percent:.0f} %",
        f"memory {format_bytes(host.memory_used)} of {format_bytes(host.memory_total)}",
        f"process {format_bytes(host.process_memory)}",
    ]
    parts += [f"{gpu.name} {gpu.percent:.0f} %, {format_bytes(gpu.memory_used)}" for gpu in host.gpus]
    return " · ".join(parts)


def age_text(then: float) -> str:
    """Return the time since a Unix time, in its largest unit."""
    seconds = max(0.0, time.time() - then)
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit} ago"
    return "just now"


def models_text(names: Sequence[str]) -> str:
    """Return the models that a run trains, as a short text."""
    return "all models" if len(names) == len(_NAMES) else names[0] if len(names) == 1 else f"{len(names)} models"


def placeholder(text: str, color: str) -> Padding:
    """Return a text to show in place of a picture, with a space before each of its lines."""
    return Padding(Text(text, color), (0, 0, 0, 1))
