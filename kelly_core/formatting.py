"""Durations, byte counts, losses and missing values as text, the same in every command, report and screen."""

from __future__ import annotations

MISSING = "–"
"""Stands for a value that is not known or does not exist."""

_UNITS = ("B", "kB", "MB", "GB")
_SMALL_LOSS = 1e-3


def format_bytes(count: float | None) -> str:
    """Return bytes in decimal units: 812 B, 3.2 kB, 640 MB or 1.6 GB."""
    if count is None:
        return MISSING
    for unit in _UNITS[:-1]:
        # What would be shown as 1000 of a unit is 1.0 of the next.
        if count < 999.5:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 99.95 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} {_UNITS[-1]}"


def format_duration(seconds: float | None) -> str:
    """Return seconds as 45 s, 3:20 or 1:02:03."""
    if seconds is None:
        return MISSING
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def format_loss(value: float | None) -> str:
    """Return a loss with four decimals, a very small one with four significant digits."""
    return MISSING if value is None else f"{value:.4g}" if abs(value) < _SMALL_LOSS else f"{value:.4f}"


def format_figure(value: float | None) -> str:
    """Return a measure of quality with four significant digits."""
    return MISSING if value is None else f"{value:.4g}"
