"""A curve of valence and arousal over time, as a table that the user writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kelly_core.arrays import Doubles
from kelly_core.data.tables import read_table
from kelly_core.errors import DataError
from kelly_core.music.mel import FRAME_SECONDS

MAX_SECONDS = 3600.0
_COLUMNS = ("time", "valence", "arousal")


def read_curve(path: Path) -> tuple[Doubles, Doubles]:
    """Read a CSV file with the columns time (seconds), valence and arousal (both -1..1), in order of time.

    Returns:
        Valence [T] and arousal [T] in the middle of each half second from 0 to the last time, straight lines between
        the rows; at least one frame.

    Raises:
        DataError: the file cannot be read, a column is missing, a value is not a number or out of range, or the times
            do not rise.
    """
    rows = read_table(path)
    missing = [column for column in _COLUMNS if not rows or column not in rows[0]]
    if missing:
        raise DataError(f"needs rows with the columns {', '.join(_COLUMNS)}", where=path)
    time, valence, arousal = np.array([_values(row, path, number) for number, row in enumerate(rows, start=2)]).T
    if (np.diff(time) <= 0).any():
        number = 3 + int(np.argmax(np.diff(time) <= 0))
        raise DataError(f"row {number}: the time does not come after the one before", where=path)
    frames = max(1, round(float(time[-1]) / FRAME_SECONDS))
    middles = (np.arange(frames) + 0.5) * FRAME_SECONDS
    return np.interp(middles, time, valence), np.interp(middles, time, arousal)


def _values(row: dict[str, str], path: Path, number: int) -> list[float]:
    values = []
    for column in _COLUMNS:
        text = row.get(column, "")
        try:
            value = float(text)
        except ValueError:
            raise DataError(f"row {number}: {column} is {text!r}, which is not a number", where=path) from None
        low, high = (0.0, MAX_SECONDS) if column == "time" else (-1.0, 1.0)
        if not low <= value <= high:
            raise DataError(f"row {number}: {column} is {text}, not within {low:g}..{high:g}", where=path)
        values.append(value)
    return values
