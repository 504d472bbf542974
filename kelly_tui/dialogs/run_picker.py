"""Dialog to choose runs to overlay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Label

from kelly_core.runs.run_dir import short_id
from kelly_core.runs.state import RunSnapshot
from kelly_tui.formatting import age_text, models_text, run_state_text
from kelly_tui.themes import ThemeColors
from kelly_tui.widgets.record_table import RecordTable, Row

MAX_MARKED_RUNS = 4
"""Runs that can be marked: with the one in front there is a color for each."""


class RunPicker(ModalScreen[list[str] | None]):
    """Mark runs with the space bar; return the marked ids, or None to keep the selection.

    Args:
        runs: those to choose from, the latest first.
        marked: ids of those that are marked already.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Cancel"),
        Binding("space", "mark", "Mark"),
        Binding("enter", "done", "Done"),
    ]

    def __init__(self, runs: Sequence[RunSnapshot], marked: Sequence[str]) -> None:
        super().__init__()
        self._runs, self._marked = runs, list(marked)

    def compose(self) -> ComposeResult:
        """Lay out the runs and the key hints."""
        with Vertical(classes="dialog"):
            yield Label("Curves of other runs", classes="dialog-title")
            yield RecordTable(("", "run", "state", "models", "when"), extras=("models",), id="others")
            yield Label("space marks · enter shows them · esc cancels", classes="hint")

    def on_mount(self) -> None:
        """Focus the latest run."""
        self._show()

    def _show(self) -> None:
        colors = ThemeColors.of(self.app.theme_variables)
        rows = [
            Row(
                run.id,
                (
                    "[x]" if run.id in self._marked else "[ ]",
                    short_id(run.id),
                    run_state_text(run, colors),
                    models_text(run),
                    age_text(run.created),
                ),
            )
            for run in self._runs
        ]
        self.query_one(RecordTable).show(rows)

    def action_mark(self) -> None:
        """Toggle the run under the cursor."""
        current = self.query_one(RecordTable).current
        if current is not None:
            self._marked = toggle_mark(self._marked, current)
            self._show()

    @on(RecordTable.MarkClicked)
    def _mark_clicked(self) -> None:
        self.action_mark()

    def action_done(self) -> None:
        """Return the marked runs."""
        self.dismiss(self._marked)


def toggle_mark(marked: Sequence[str], run_id: str) -> list[str]:
    """Return the marked runs after toggling one; beyond the limit, the oldest mark is dropped."""
    if run_id in marked:
        return [other for other in marked if other != run_id]
    return [*marked, run_id][-MAX_MARKED_RUNS:]
