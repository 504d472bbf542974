"""Base class of the screens that show runs: follow a run and send requests to it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.notifications import SeverityLevel
from textual.worker import get_current_worker

from kelly_core.errors import RunError
from kelly_core.runs.control import parse_changes
from kelly_core.runs.run import Run
from kelly_core.runs.run_dir import RunDirectory, short_id
from kelly_core.runs.state import RunSnapshot
from kelly_tui.dialogs.prompts import ConfirmDialog, TextPrompt
from kelly_tui.dialogs.runs import ResumeDialog, StopDialog, StopRequest
from kelly_tui.jobs import KELLY_CORE, call_from_worker
from kelly_tui.run_watcher import RunView, RunWatcher
from kelly_tui.screens.chart_screen import ChartScreen

_EMOTION = "valence=0.4 arousal=0.2"
_NEEDS_SNAPSHOT = frozenset({"stop", "set", "pause", "unpause", "resume", "delete", "export"})
_POLL_SECONDS = 1.0
"""Minimum seconds between two redraws, however short the epochs are."""


class RunScreen(ChartScreen):
    """Follow the run ``run_id`` and the other runs to show while the screen is active."""

    MUTATING_ACTIONS = frozenset(
        {"stop", "pause", "unpause", "rollback", "resume", "new", "export", "delete", "tags", "note", "set", "generate"}
    )

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "stop", "Stop", tooltip="Stop the run: now, after this epoch, or after some more"),
        Binding("p", "pause", "Pause", tooltip="Pause the run after its current step"),
        Binding("p", "unpause", "Resume", tooltip="Continue the paused run"),
        Binding("S", "set", "Set", show=False, tooltip="Change learning rate, patience or epochs of the live run"),
        Binding("R", "resume", "Resume", tooltip="Resume an ended run, with more epochs if you like"),
        Binding("V", "validate", "Validate", show=False, tooltip="Show the exports of the run on Validate"),
        Binding("M", "generate", "Music", show=False, tooltip="Generate music with the best weights of the run so far"),
    ]

    @dataclass
    class RunRead(Message):
        """Current state of the followed runs, by id."""

        views: dict[str, RunView]

        def can_replace(self, message: Message) -> bool:
            """Return True: only the latest state matters."""
            return isinstance(message, RunScreen.RunRead)

    def __init__(self) -> None:
        super().__init__()
        self.views: dict[str, RunView] = {}
        self._followed: tuple[str, ...] = ()

    @property
    def run_id(self) -> str:
        """Return the id of the run to follow, "" for none."""
        raise NotImplementedError

    @property
    def other_ids(self) -> tuple[str, ...]:
        """Return the ids of other runs to follow."""
        return ()

    @property
    def view(self) -> RunView | None:
        """Return the run to show; None before it is read."""
        return self.views.get(self.run_id)

    def draw_run(self) -> None:
        """Draw ``view`` and the other runs, or a placeholder."""
        raise NotImplementedError

    def draw(self) -> None:
        """Draw the runs."""
        self.draw_run()

    def on_activate(self) -> None:
        """Follow the runs."""
        self.follow()

    def runs_changed(self) -> None:
        """Follow a newly attached run."""
        self.on_activate()

    def on_screen_suspend(self) -> None:
        """Stop following while the screen is hidden."""
        self._followed = ()
        self.workers.cancel_group(self, "follow")

    def follow(self) -> None:
        """Follow the selected runs."""
        wanted = tuple(dict.fromkeys(filter(None, (self.run_id, *self.other_ids))))
        if wanted == self._followed or not self.is_current:
            return
        self._followed = wanted
        self.workers.cancel_group(self, "follow")
        self.views = {run_id: view for run_id, view in self.views.items() if run_id in wanted}
        self.draw_run()
        if wanted:
            self._follow([RunDirectory(self.kelly.runs_folder / run_id) for run_id in wanted])

    @work(thread=True, exclusive=True, group="follow")
    def _follow(self, folders: list[RunDirectory]) -> None:
        worker, last = get_current_worker(), None
        followers: dict[str, RunWatcher] = {}
        while folders and not worker.is_cancelled:
            views: dict[str, RunView] = {}
            for folder in list(folders):
                try:
                    if folder.id not in followers:
                        followers[folder.id] = RunWatcher(folder)
                    views[folder.id] = followers[folder.id].poll()
                except (RunError, OSError) as error:
                    folders.remove(folder)
                    call_from_worker(self, self._lose_run, folder.id, str(error))
            if views != last and not worker.is_cancelled:
                self.post_message(self.RunRead(views))
            last = views
            # Each poll reads only a part of a long log, so read the next part without a pause.
            if not any(followers[folder.id].has_more for folder in folders):
                time.sleep(_POLL_SECONDS)

    @on(RunRead)
    def _on_run_read(self, message: RunRead) -> None:
        """Show the runs that are still selected."""
        previous = _can(self._snapshot)
        self.views |= {run_id: view for run_id, view in message.views.items() if run_id in self._followed}
        self.draw_run()
        if previous != _can(self._snapshot):
            self.refresh_bindings()

    def _lose_run(self, run_id: str, problem: str) -> None:
        """Report that a run can no longer be read, and clear its values, which may be outdated."""
        if run_id in self._followed:
            self.views.pop(run_id, None)
            self.notify(problem, title="This run cannot be read", severity="error", timeout=10)
            self.draw_run()

    @property
    def _snapshot(self) -> RunSnapshot | None:
        return None if self.view is None else self.view.snapshot

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Enable only the actions that the run supports now."""
        if not super().check_action(action, parameters):
            return False
        run = self._snapshot
        if run is None:
            return action not in _NEEDS_SNAPSHOT
        paused = run.state in ("pausing", "paused")
        match action:
            case "stop" | "set":
                return run.live
            case "pause" | "unpause":
                return run.live and run.state != "stopping" and paused == (action == "unpause")
            case "resume" | "delete" | "export":
                return not run.live
        return True

    def action_stop(self) -> None:
        """Ask how to stop the run, then stop it."""
        run_id = self.run_id

        def stop(how: StopRequest) -> None:
            self.kelly.send_to_run(
                run_id, partial(Run.request_stop, at_once=how.at_once, after_epochs=how.after_epochs)
            )

        self.kelly.ask(StopDialog(short_id(run_id)), stop)

    def action_pause(self) -> None:
        """Pause the run after its current step."""
        self.kelly.send_to_run(self.run_id, Run.request_pause)

    def action_unpause(self) -> None:
        """Continue the paused run."""
        self.kelly.send_to_run(self.run_id, Run.request_resume)

    def action_resume(self) -> None:
        """Ask for the number of additional epochs, then resume the run."""
        self.kelly.ask(ResumeDialog(short_id(self.run_id)), partial(self.kelly.resume_run, self.run_id))

    def action_set(self) -> None:
        """Ask for new settings of the model in training, then request them."""
        run_id = self.run_id

        def request(text: str) -> None:
            if text:
                self.kelly.send_to_run(
                    run_id, lambda run: run.request_change(parse_changes(text.split()), self.chosen_model)
                )

        about = "Such as learning_rate=0.0005 patience=20 epochs=80; applied from the next epoch on."
        self.kelly.ask(TextPrompt(f"Settings of {short_id(run_id)}", about, ""), request)

    def action_validate(self) -> None:
        """Show the exports of the run on Validate."""
        if self.view is not None:
            self.kelly.export_folder = Path(self.view.snapshot.output)
            self.kelly.drill_down("validate")

    def action_generate(self) -> None:
        """Ask for audio or an emotion, then generate music with the best weights so far."""
        about = f"An emotion, or an audio file to follow. The piece is written to {short_id(self.run_id)}.mid."
        prompt = TextPrompt(f"Music from {short_id(self.run_id)}", about, _EMOTION)
        self.kelly.ask(prompt, partial(self._generate, self.run_id))

    @work(thread=True, exclusive=True, group="generate")
    def _generate(self, run_id: str, text: str) -> None:
        name = short_id(run_id)
        self.notify(f"with the best weights of {name} so far …", title="Generating", timeout=4)
        words = ("runs", *self.kelly.session.config_options, "generate", run_id, *_music_options(text))
        command = ("env", *self.kelly.session.variables, *KELLY_CORE, *words, "--output", f"{name}.mid")
        job = self.kelly.start(command, with_errors=True)
        written = "".join(job.lines()).strip() or job.problem
        if not job.cancelled:
            severity: SeverityLevel = "error" if job.problem else "information"
            self.notify(written, title="Music", severity=severity, timeout=12)

    @property
    def chosen_model(self) -> str:
        """Name of the model to change, "" for the one in training."""
        return ""

    def action_delete(self) -> None:
        """Delete the run's folder after confirmation."""
        run_id = self.run_id
        text = "Its log and settings are deleted permanently. Its exports and checkpoints stay."
        question = ConfirmDialog(f"Delete {run_id}?", text, [("", "Keep it"), ("delete", "Delete")], "delete")
        self.kelly.ask(question, lambda _answer: self.kelly.send_to_run(run_id, Run.remove))


def _music_options(text: str) -> list[str]:
    """Return the options of ``kelly-core runs generate``: for an emotion such as ``valence=0.4 arousal=0.2``, or else
    for the file that the text names.
    """
    if not text:
        return []
    if all("=" in word for word in text.split()):
        return [part for word in text.split() for part in (f"--{word.partition('=')[0]}", word.partition("=")[2])]
    return ["--", text] if text.startswith("-") else [text]


def _can(run: RunSnapshot | None) -> tuple[object, ...]:
    """Return the actions that the run supports now."""
    return () if run is None else (run.id, run.state, *(model.can_roll_back for model in run.models))
