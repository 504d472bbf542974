"""A table that keeps its position while its rows change."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.events import Click
from textual.message import Message
from textual.widgets import DataTable
from textual.widgets.data_table import RowKey

from kelly_tui.formatting import as_text

CellContent = str | Text

_BLANKS = 2
"""Number of spaces next to each column."""


@dataclass(frozen=True)
class Row:
    """One row: a stable key and the cells."""

    key: str
    cells: tuple[CellContent, ...]


class RecordTable(DataTable[Text]):
    """Rows that are refreshed in place: the cursor stays at its row, and only changes are drawn.

    Args:
        columns: labels.
        title: text in the border.
        numbers: labels of the right-aligned columns.
        extras: labels of the columns that are hidden if all of their cells are empty, and in a narrow window, from the
            first to the last.
        id: id of the widget.
    """

    HELP = (
        "Move with the arrow keys or j and k, by pages with ctrl+d and ctrl+u, to the ends with ctrl+home and "
        "ctrl+end, or g and G if the screen does not use them. The keys below act on the row under the cursor."
    )

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "cursor_down", show=False),
        Binding("k", "cursor_up", show=False),
        Binding("ctrl+d", "page_down", show=False),
        Binding("ctrl+u", "page_up", show=False),
        Binding("g", "end_of_list('top')", show=False),
        Binding("G", "end_of_list('bottom')", show=False),
    ]

    class Opened(Message):
        """The row under the cursor was double-clicked."""

    class MarkClicked(Message):
        """The column of marks, which has no label, was clicked in the row under the cursor."""

    def __init__(
        self,
        columns: Sequence[str],
        title: str = "",
        *,
        numbers: Sequence[str] = (),
        extras: Sequence[str] = (),
        id: str,
    ) -> None:
        super().__init__(id=id, cursor_type="row", cursor_foreground_priority="renderable")
        self.border_title = title
        self._all, self._extras = tuple(columns), tuple(extras)
        self._labels: tuple[str, ...] = ()
        self._rows: tuple[Row, ...] = ()
        self._room = 0
        self._empty: set[str] = set()
        self._shown: dict[str, tuple[Text, ...]] = {}
        self._widths: list[int] = []
        self._current: str | None = None
        self._numbers = frozenset(numbers)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Leave a key to the screen if the screen binds it to its own action."""
        if action == "select_cursor":
            key = "enter"
        elif action == "end_of_list":
            key = "g" if parameters == ("top",) else "G"
        else:
            return True
        return key not in self.screen._bindings.key_to_bindings

    def action_end_of_list(self, end: str) -> None:
        """Go to the first or to the last row."""
        self.move_cursor(row=0 if end == "top" else max(0, self.row_count - 1))

    def select(self, key: str) -> None:
        """Move the cursor to the row with a key, if there is one."""
        if key in self._shown:
            self._current = key
            self.move_cursor(row=self.get_row_index(key), animate=False)

    @property
    def current(self) -> str | None:
        """Key of the row under the cursor; None if there are no rows."""
        if not self.is_valid_row_index(self.cursor_row):
            return None
        return str(self.ordered_rows[self.cursor_row].key.value)

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        """Remember the selected row across updates."""
        self._current = event.row_key.value

    def on_click(self, event: Click) -> None:
        """Report a click on a mark, or else a double click on a row."""
        row, column = event.style.meta.get("row", -1), event.style.meta.get("column", -1)
        if row < 0 or self.current is None:
            return
        if 0 <= column < len(self._labels) and not self._labels[column]:
            self.move_cursor(row=row, animate=False)
            self.post_message(self.MarkClicked())
        elif event.chain == 2:
            self.post_message(self.Opened())

    def show(self, rows: Iterable[Row]) -> None:
        """Show these rows in this order."""
        self._rows = tuple(rows)
        labels = self._fitting(self._rows)
        wanted = {row.key: self._cells(row, labels) for row in self._rows}
        if labels == self._labels and list(wanted) == list(self._shown):
            self._update_cells(wanted)
        else:
            if labels != self._labels:
                self._labels = labels
                self.clear(columns=True)
                for label in labels:
                    self.add_column(self._aligned(label, label), key=label)
            self._rebuild(wanted)
        self._shown = wanted

    def on_resize(self) -> None:
        """Fit the columns to the new width."""
        self.show(self._rows)

    def _fitting(self, rows: Sequence[Row]) -> tuple[str, ...]:
        """Return the columns that fit; until the width or the set of rows changes, columns are only removed."""
        room = self.scrollable_content_region.width
        texts = [[str(cell) for cell in row.cells] for row in rows]
        empty = {
            label
            for label, *of_rows in zip(self._all, *texts, strict=True)
            if label in self._extras and of_rows and not any(of_rows)
        }
        # While cells change, columns are only removed: repeatedly showing and hiding one would make the table flicker.
        has_other_rows = {row.key for row in rows} != self._shown.keys()
        is_new = room != self._room or empty != self._empty or has_other_rows or not self._labels
        labels = [label for label in self._all if label not in empty] if is_new else list(self._labels)
        self._room, self._empty = room, empty
        if not room:
            return tuple(labels)
        columns = zip(self._all, *texts, strict=True)
        widths = {label: max(map(cell_len, (label, *of_rows))) + _BLANKS for label, *of_rows in columns}
        fitting = [label for label in labels if label not in self._extras]
        # The last extra column is the most important one; a narrow one may fit where a more important one does not.
        for extra in reversed(self._extras):
            if extra in labels and sum(widths[label] for label in [*fitting, extra]) <= room:
                fitting.append(extra)
        return tuple(label for label in labels if label in fitting)

    def _cells(self, row: Row, labels: tuple[str, ...]) -> tuple[Text, ...]:
        return tuple(
            self._aligned(label, cell) for label, cell in zip(self._all, row.cells, strict=True) if label in labels
        )

    def _update_cells(self, wanted: dict[str, tuple[Text, ...]]) -> None:
        for key, cells in wanted.items():
            for label, cell, previous in zip(self._labels, cells, self._shown[key], strict=True):
                if cell != previous or cell.style != previous.style:
                    self.update_cell(key, label, cell, update_width=True)

    def _rebuild(self, wanted: dict[str, tuple[Text, ...]]) -> None:
        current, row = self._current, self.cursor_row
        self.clear()
        for key, cells in wanted.items():
            self.add_row(*cells, key=key)
        keys = list(wanted)
        if keys:
            # If the current row is gone, the cursor stays at the same line.
            place = keys.index(current) if current in keys else min(row, len(keys) - 1)
            self.move_cursor(row=max(0, place), animate=False)

    def _aligned(self, label: str, cell: CellContent) -> Text:
        text = as_text(cell)
        text.justify = "right" if label in self._numbers else "left"
        return text

    def _update_dimensions(self, new_rows: Iterable[RowKey]) -> None:
        """Redraw lines that were cached before the columns had their final width."""
        super()._update_dimensions(new_rows)
        widths = [column.content_width for column in self.ordered_columns]
        if widths != self._widths:
            self._widths = widths
            self._clear_caches()
            self.refresh()

    def value_to_copy(self) -> str:
        """Return the row under the cursor, with tabs between the cells."""
        return "\t".join(cell.plain for cell in self._shown.get(self.current or "", ()))
