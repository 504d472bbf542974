"""Preview of one corpus example, drawn in characters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Label, Static

from kelly_tui.charts.corpus_pictures import picture
from kelly_tui.jobs import Job, LatestJob, call_from_worker, worker
from kelly_tui.themes import ThemeColors


class ExamplePreview(ModalScreen[None]):
    """Network input and target of one example, as two grayscale images."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right,n", "step(1)", "Next"),
        Binding("left,b", "step(-1)", "Back"),
        Binding("escape,q,v", "dismiss", "Close"),
    ]

    def __init__(self, name: str, config: str, start: Callable[[Sequence[str]], Job]) -> None:
        super().__init__()
        self._corpus, self._config, self._index = name, config, 0
        self._job = LatestJob(start)

    def compose(self) -> ComposeResult:
        """Lay out title and image."""
        with VerticalScroll(classes="dialog"):
            yield Label("", classes="dialog-title", markup=False)
            yield Static("", id="source", markup=False)
            yield Static("", id="picture", markup=False)
            yield Label("← → other examples · esc closes", classes="hint")

    def on_mount(self) -> None:
        """Load the first example."""
        self.action_step(0)

    def on_unmount(self) -> None:
        """Cancel loading."""
        self._job.cancel()

    def action_step(self, by: int) -> None:
        """Load another example."""
        self._index += by
        self.query_one(".dialog-title", Label).update(f"{self._corpus} · reading …")
        self._read(self._index)

    @work(thread=True, exclusive=True)
    def _read(self, index: int) -> None:
        job = self._job.start(worker("corpora", "preview", self._corpus, self._config, str(index)))
        line: dict[str, Any] = {}
        for record in job.records():
            line = record
        if not job.cancelled:
            call_from_worker(self, self._show, line.get("example"), line.get("error") or job.problem)

    def _show(self, example: dict[str, Any] | None, problem: str) -> None:
        """Show an example, or the error that prevented loading it."""
        title, image = self.query_one(".dialog-title", Label), self.query_one("#picture", Static)
        if example is None:
            title.update(f"{self._corpus} · cannot be read")
            image.update(problem)
            return
        source = "synthetic" if example["synthetic"] else f"{example['group']} · {example['label_source']}"
        title.update(f"{self._corpus} · example {example['index'] + 1:,} of {example['count']:,}")
        muted = ThemeColors.of(self.app.theme_variables).muted
        self.query_one("#source", Static).update(Text(f"{source} · {example['split']}", muted))
        inputs, targets = (_titled(name, example[f"{name}s"]) for name in ("input", "target"))
        image.update(Text.assemble("\n", *inputs, "\n", *targets))


def _titled(title: str, frames: Sequence[Sequence[float]]) -> list[str | tuple[str, str]]:
    """Return an image below its name and sizes; index 0 is at the bottom."""
    sizes = f"{len(frames)} frames × {len(frames[0])} numbers, time to the right"
    if len(frames) == 1:
        sizes = f"{len(frames[0])} numbers, the first at the left"
    return [(f"{title}  {sizes}\n", "bold"), picture(frames), "\n"]
