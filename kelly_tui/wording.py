"""Numbers and lines as people read them."""

from __future__ import annotations

import math
from collections.abc import Iterable

from rich.table import Table
from rich.text import Text

NOTHING = "–"


class Labelled:
    """Lines of a label and a value each, the values in a column of their own.

    Args:
        rows: an empty label continues the line above.
        muted: colour of the labels.
    """

    def __init__(self, rows: Iterable[tuple[str, str | Text]], muted: str) -> None:
        self._rows = [(label, value if isinstance(value, Text) else Text(value)) for label, value in rows]
        self._muted = muted

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Labelled) and (self._rows, self._muted) == (other._rows, other._muted)

    def __hash__(self) -> int:
        return hash(self.plain)

    @property
    def plain(self) -> str:
        """The lines without colours."""
        return "\n".join(f"{label}\t{value.plain}" for label, value in self._rows)

    def __rich__(self) -> Table:
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(style=self._muted, no_wrap=True)
        table.add_column(overflow="fold")
        for label, value in self._rows:
            table.add_row(label, value)
        return table


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


def bar(share: float, width: int, colours: tuple[str, str]) -> Text:
    """A bar for a share between 0 and 1, in a colour for what is reached and one for the rest."""
    full = math.ceil(min(1.0, max(0.0, share)) * width)
    return Text.assemble(("━" * full, colours[0]), ("─" * (width - full), colours[1]))
