"""Numbers as text: bytes, durations and losses."""

from __future__ import annotations

import pytest

from kelly_core.formatting import MISSING, format_bytes, format_duration, format_loss


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (812, "812 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (21_340, "21.3 kB"),
        (99_940, "99.9 kB"),
        (99_960, "100 kB"),
        (999_400, "999 kB"),
        (999_600, "1.0 MB"),
        (640_000_000, "640 MB"),
        (137_438_953_472, "137.4 GB"),
        (None, MISSING),
    ],
)
def test_bytes_have_decimal_units(count: float | None, text: str) -> None:
    assert format_bytes(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1:00"), (200, "3:20"), (3723, "1:02:03"), (None, MISSING)],
)
def test_durations_are_seconds_minutes_or_hours(seconds: float | None, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(("loss", "text"), [(0.12345, "0.1235"), (0.00012345, "0.0001234"), (None, MISSING)])
def test_a_small_loss_keeps_its_digits(loss: float | None, text: str) -> None:
    assert format_loss(loss) == text
