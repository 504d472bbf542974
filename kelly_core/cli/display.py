"""What a person sees while things run: live bars on a terminal, plain lines in a log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from kelly_core import events
from kelly_core.data.cache import Progress as ProgressCallback


@contextmanager
def feature_progress(name: str) -> Iterator[ProgressCallback]:
    """A bar on standard error for the features of one corpus, shown only once something is computed."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield _advance(progress, name)


def _advance(progress: Progress, name: str) -> ProgressCallback:
    task: TaskID | None = None

    def advance(done: int, total: int) -> None:
        nonlocal task
        if task is None:
            task = progress.add_task(f"features of {name}", total=total)
        progress.update(task, completed=done)

    return advance


class TrainingDisplay:
    """Follows the events of a training on standard error: one bar a model on a terminal, a line an epoch elsewhere."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._bars = Progress(
            TextColumn("[bold]{task.description:<18}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[epoch]:>9}"),
            TextColumn("{task.fields[losses]}"),
            TimeRemainingColumn(compact=True),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._first_epoch: dict[str, int] = {}

    def __enter__(self) -> TrainingDisplay:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def features(self, name: str) -> ProgressCallback:
        """Callback that shows how far the features of a corpus are."""
        return _advance(self._bars, name)

    def listen(self, event: events.Event) -> None:
        """Show one event."""
        match event:
            case events.ModelStarted():
                self._start(event)
            case events.BatchDone():
                self._update(event.model, completed=event.epoch - 1 + event.step / event.steps)
            case events.EpochDone():
                self._end_epoch(event)
            case events.Alarm():
                self._say(f"[bold yellow]{event.model}: {event.message}[/]")
            case events.ModelEnded():
                self._say(f"{event.model}: {_ENDINGS[event.reason]} after epoch {event.epoch}")
            case events.Exported():
                self._say(f"{event.model}: wrote {event.path}")

    def _start(self, event: events.ModelStarted) -> None:
        data = f"{'synthetic ' if event.synthetic else ''}{event.dataset}"
        self._say(
            f"{event.model}: {event.train_examples:,} training and {event.validation_examples:,} validation examples "
            f"of {data} on {event.device}, baseline loss {event.baseline_loss:.4f}"
        )
        self._tasks[event.model] = self._bars.add_task(
            event.model, total=event.epochs, completed=event.first_epoch - 1, epoch=f"0/{event.epochs}", losses=""
        )

    def _end_epoch(self, event: events.EpochDone) -> None:
        losses = f"train {event.train_loss:.4f} val {event.val_loss:.4f} best {event.best_loss:.4f}"
        epoch = f"{event.epoch}/{event.epochs}"
        self._update(event.model, completed=event.epoch, epoch=epoch, losses=losses)
        if not self._console.is_terminal:
            self._say(f"{event.model}: epoch {epoch} {losses} ({event.seconds:.1f} s)")

    def _update(self, model: str, **fields: object) -> None:
        self._bars.update(self._tasks[model], **fields)  # type: ignore[arg-type]

    def _say(self, text: str) -> None:
        self._console.print(text, soft_wrap=True)


_ENDINGS = {
    "epochs_done": "all epochs done",
    "early_stopping": "stopped early, no more progress",
    "stopped": "stopped as asked",
    "non_finite_loss": "stopped, the loss is no longer a number",
}
