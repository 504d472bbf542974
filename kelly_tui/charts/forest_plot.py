"""Forest plot in characters: gains with their confidence intervals, one row each."""

from __future__ import annotations

from dataclasses import dataclass

from rich.text import Text
from textual.geometry import Size

from kelly_core.export.quality_record import Whisker
from kelly_tui.charts.chart_data import nice_ticks
from kelly_tui.themes import ThemeColors

_MIN_COLUMNS = 20
"""Minimum columns of the axis."""
_MIN_COLUMNS_FOR_NUMBERS = 76
_MIN_GAIN = -1.0
"""Lower limit of the axis; a model may be worse than a baseline by any factor."""


@dataclass(frozen=True)
class ForestPlot:
    """Gains over one or more baselines, each with its confidence interval; above 0 the model is better."""

    gains: tuple[Whisker, ...]

    def draw(self, size: Size, colors: ThemeColors) -> Text:
        """Return one line for each gain, and the axis below."""
        texts = [str(gain) for gain in self.gains] if size.width >= _MIN_COLUMNS_FOR_NUMBERS else [""] * len(self.gains)
        right = max(map(len, texts))
        left = min(max(len(gain.label) for gain in self.gains), size.width // 3)
        columns = size.width - left - right - 2
        if columns < _MIN_COLUMNS or size.height < len(self.gains) + 2:
            return Text()
        low = max(_MIN_GAIN, min(0.0, *(gain.low for gain in self.gains)))
        axis = _Axis(low, max(0.0, *(gain.high for gain in self.gains)), columns)
        # Empty lines between the rows make them easier to distinguish.
        gap = size.height >= 2 * len(self.gains) + 2
        lines = []
        for gain, text in zip(self.gains, texts, strict=True):
            label = Text(gain.label)
            label.truncate(left, overflow="ellipsis", pad=True)
            color = colors.success if gain.beaten else colors.warning
            lines.append(Text.assemble(label, " ", axis.row(gain, color, colors.muted), (f" {text:>{right}}", color)))
            lines += [Text(" " * (left + 1 + axis.zero) + "│", colors.muted)] if gap else []
        lines += [Text(" " * (left + 1) + axis.ticks(), colors.muted)]
        about = "gain with 95 % interval; right of 0 the model is better"
        lines += [Text(about[: size.width], colors.muted)]
        return Text("\n", no_wrap=True).join(lines[: size.height])


class _Axis:
    """Horizontal axis from the lowest to the highest gain, including 0."""

    def __init__(self, low: float, high: float, columns: int) -> None:
        self._low, self._span, self._columns = low, (high - low) or 1.0, columns
        self.zero = self._column(0.0)

    def _column(self, gain: float) -> int:
        place = round((gain - self._low) / self._span * (self._columns - 1))
        return min(self._columns - 1, max(0, place))

    def row(self, gain: Whisker, color: str, muted: str) -> Text:
        """Return the interval as a line with a mark at the value, and the zero line behind it."""
        signs = [" "] * self._columns
        signs[self.zero] = "│"
        start, stop = self._column(gain.low), self._column(gain.high)
        for column in range(start, stop + 1):
            signs[column] = "─"
        signs[start] = "◀" if gain.low < self._low else "├"
        signs[stop] = "┤"
        signs[self._column(gain.value)] = "●"
        text = Text("".join(signs), muted)
        text.stylize(color, start, stop + 1)
        return text

    def ticks(self) -> str:
        """Return the labels of the axis, each below its column."""
        line = ""
        for tick in nice_ticks(100 * self._low, 100 * (self._low + self._span), max(1, self._columns // 14)):
            label = f"{tick:+.3g}%" if tick else "0"
            start = min(self._columns - len(label), max(0, self._column(tick / 100) - len(label) // 2))
            if not line or start > len(line):
                line = line.ljust(start) + label
        return line
