"""What the two screens that show runs have in common: following one, and asking things of it."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Event
from typing import ClassVar

from textual import work
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.worker import get_current_worker

from kelly_core.errors import RunError
from kelly_core.runs import Run, RunFolder, RunSnapshot
from kelly_tui.following import Follower, RunView
from kelly_tui.run_words import short_id
from kelly_tui.screens.page import Page
from kelly_tui.widgets.dialogs import Question
from kelly_tui.widgets.steering import EpochsQuestion, stop_question

SECONDS_BETWEEN_LOOKS = 1.0
"""Nothing here is drawn more often, however fast the epochs come."""


class RunPage(Page):
    """Follows the run ``run_id`` while the screen is in front."""

    CHANGES = frozenset({"stop", "pause", "resume", "new", "export", "delete"})

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "stop", "Stop", tooltip="Stop the run: now, or after this epoch"),
        Binding("p", "pause", "Pause", tooltip="Let the run hold after the step in hand, or go on again"),
        Binding("R", "resume", "Resume", tooltip="Go on with an ended run, with more epochs if you like"),
    ]

    @dataclass
    class RunRead(Message):
        """How the followed run stands now."""

        view: RunView

        def can_replace(self, message: Message) -> bool:
            """Only the latest matters."""
            return isinstance(message, RunPage.RunRead)

    @dataclass
    class RunLost(Message):
        """The followed run cannot be read any more."""

        run_id: str
        problem: str

    def __init__(self) -> None:
        super().__init__()
        self.view: RunView | None = None
        self._followed = ""

    @property
    def run_id(self) -> str:
        """The run to follow, "" for none."""
        raise NotImplementedError

    def runs_changed(self) -> None:
        """The list of runs is another one; show what follows from that."""

    def draw_run(self) -> None:
        """Show ``view``, or that there is none."""
        raise NotImplementedError

    def on_screen_suspend(self) -> None:
        """Out of sight nothing is read."""
        self._followed = ""
        self.workers.cancel_group(self, "follow")

    def follow(self) -> None:
        """Follow the run that is chosen now."""
        if self.run_id == self._followed or not self.is_current:
            return
        self._followed = self.run_id
        self.workers.cancel_group(self, "follow")
        if self.view is not None and self.view.snapshot.id != self.run_id:
            self.view = None
        self.draw_run()
        if self._followed:
            self._follow(RunFolder(self.kelly.runs_folder / self._followed))

    @work(thread=True, exclusive=True, group="follow")
    def _follow(self, folder: RunFolder) -> None:
        worker, pause, last = get_current_worker(), Event(), None
        try:
            follower = Follower(folder)
            while not worker.is_cancelled:
                view = follower.look()
                if view != last and not worker.is_cancelled:
                    self.post_message(self.RunRead(view))
                last = view
                pause.wait(SECONDS_BETWEEN_LOOKS)
        except (RunError, OSError) as error:
            if not worker.is_cancelled:
                self.post_message(self.RunLost(folder.id, str(error)))

    def on_run_page_run_read(self, message: RunRead) -> None:
        """Show it."""
        if message.view.snapshot.id == self.run_id:
            former, self.view = self.view, message.view
            self.draw_run()
            if former is None or former.snapshot.state != message.view.snapshot.state:
                self.refresh_bindings()

    def on_run_page_run_lost(self, message: RunLost) -> None:
        """Say so, and show no figures that may be wrong."""
        if message.run_id == self.run_id:
            self.view = None
            self.notify(message.problem, title="This run cannot be read", severity="error", timeout=10)
            self.draw_run()

    @property
    def _snapshot(self) -> RunSnapshot | None:
        return None if self.view is None else self.view.snapshot

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer only what the run can do now."""
        if not super().check_action(action, parameters):
            return False
        snapshot = self._snapshot
        live = snapshot is not None and snapshot.live
        if action in ("stop", "pause"):
            return live
        if action in ("resume", "delete", "export"):
            return snapshot is not None and not live
        return True

    def action_stop(self) -> None:
        """Ask how to stop, then stop."""
        run_id = self.run_id

        def answered(answer: str | None) -> None:
            if answer:
                after = 1 if answer == "epoch" else 0
                self.kelly.steer(run_id, lambda run: run.request_stop(at_once=answer == "now", after_epochs=after))

        self.app.push_screen(stop_question(short_id(run_id)), answered)

    def action_pause(self) -> None:
        """Let it hold, or go on if it does already."""
        paused = self._snapshot is not None and self._snapshot.state in ("pausing", "paused")
        self.kelly.steer(self.run_id, Run.request_resume if paused else Run.request_pause)

    def action_resume(self) -> None:
        """Ask for how many epochs more, then start it again."""
        run_id = self.run_id

        def answered(epochs: int | None) -> None:
            if epochs is not None:
                self.kelly.resume_run(run_id, epochs)

        self.app.push_screen(EpochsQuestion(short_id(run_id)), answered)

    def action_delete(self) -> None:
        """Ask, then delete the run's folder."""
        run_id = self.run_id
        text = "Its log and settings are deleted for good. What it trained stays."
        question = Question(f"Delete {run_id}?", text, [("", "Keep it"), ("delete", "Delete")], "delete")

        def answered(answer: str | None) -> None:
            if answer:
                self.kelly.steer(run_id, Run.remove)

        self.app.push_screen(question, answered)
