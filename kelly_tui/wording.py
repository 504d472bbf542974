"""Numbers and lines as people read them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from rich.console import Console, ConsoleOptions, RenderResult
from rich.padding import Padding
from rich.style import Style
from rich.table import Table
from rich.text import Text

NOTHING = "–"

_LEAST_FOR_VALUES = 20


class Labelled:
    """Lines of a label and a value each, the values in a column of their own.

    Args:
        rows: an empty label continues the line above.
        muted: colour of the labels.
    """

    def __init__(self, rows: Iterable[tuple[str | Text, str | Text]], muted: str) -> None:
        self._rows = [(_as_text(label, muted), _as_text(value)) for label, value in rows]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Labelled) and self._rows == other._rows and self._styles == other._styles

    def __hash__(self) -> int:
        return hash(self.plain)

    @property
    def _styles(self) -> list[tuple[str | Style, str | Style]]:
        """What texts leave out when they are compared."""
        return [(label.style, value.style) for label, value in self._rows]

    @property
    def plain(self) -> str:
        """The lines without colours."""
        return "\n".join(f"{label.plain}\t{value.plain}" for label, value in self._rows)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        labels = max((label.cell_len for label, _ in self._rows), default=0)
        if options.max_width < labels + _LEAST_FOR_VALUES:
            yield from self._stacked(options.max_width)
        else:
            yield self._side_by_side()

    def _stacked(self, width: int) -> Iterator[Text | Padding]:
        """Long labels in a narrow place: each value beside its own if there is room, or else below it."""
        for label, value in self._rows:
            both = Text.assemble(label, "  ", value)
            if label and both.cell_len <= width:
                yield both
                continue
            if label:
                yield label
            yield Padding(value, (0, 0, 0, 2))

    def _side_by_side(self) -> Table:
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for label, value in self._rows:
            table.add_row(label, value)
        return table


def _as_text(words: str | Text, style: str = "") -> Text:
    return words if isinstance(words, Text) else Text(words, style)


def duration(seconds: float | None) -> str:
    """Seconds as 45 s, 3:20 or 1:02:03."""
    if seconds is None:
        return NOTHING
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def size(count: float) -> str:
    """Bytes as 812 B, 1.6 MB or 3.2 GB."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def loss(value: float | None) -> str:
    """A loss with four significant digits."""
    return NOTHING if value is None else f"{value:.4g}" if abs(value) < 1e-3 else f"{value:.4f}"


def bar(share: float, width: int, colors: tuple[str, str]) -> Text:
    """A bar for a share between 0 and 1, in a colour for what is reached and one for the rest."""
    full = math.ceil(min(1.0, max(0.0, share)) * width)
    return Text.assemble(("━" * full, colors[0]), ("─" * (width - full), colors[1]))
