"""The application: six modes, keys that work everywhere, and little else."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import signal
import sys
from collections.abc import Iterable, Sequence
from typing import ClassVar

from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen

from kelly_tui.memory import recall, remember
from kelly_tui.palette import THEMES
from kelly_tui.processes import Job
from kelly_tui.screens.datasets import Datasets
from kelly_tui.screens.models import Models
from kelly_tui.screens.page import Page
from kelly_tui.screens.validate import Validate
from kelly_tui.widgets.dialogs import Help
from kelly_tui.widgets.frame import SCREENS
from kelly_tui.workspace import Options, Workspace

_MEMORY = "screens"


class KellyApp(App[None]):
    """Kelly's workbench in a terminal."""

    TITLE = "kelly"
    CSS_PATH = "kelly.tcss"
    MODES: ClassVar[dict[str, type[Page]]] = {"datasets": Datasets, "models": Models, "validate": Validate}
    BINDINGS: ClassVar[list[BindingType]] = [
        *(
            Binding(str(number), f"switch_mode('{name}')", name.title(), show=False, tooltip=f"Go to {name}")
            for number, name in enumerate(SCREENS, 1)
        ),
        Binding("question_mark", "help", "Help", key_display="?", tooltip="What this is, and every key"),
        Binding("ctrl+p", "command_palette", "Palette", tooltip="Every action by name", show=False),
        Binding("q", "quit", "Quit", tooltip="Leave; a training goes on unless you say otherwise"),
    ]

    def __init__(self, options: Options | None = None) -> None:
        super().__init__()
        self.workspace = Workspace(options or Options())
        self.live_text = ""
        self._jobs: list[Job] = []
        for theme in THEMES:
            self.register_theme(theme)
        chosen = self.workspace.options.theme or recall(_MEMORY).get("theme", "")
        self.theme = chosen if chosen in self.available_themes else THEMES[0].name

    def on_mount(self) -> None:
        """Show the first screen, and give the terminal back whole whatever ends the program."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGHUP):
            # Only the main thread may; elsewhere, as in tests, whoever started the loop has its own handlers.
            with contextlib.suppress(RuntimeError, ValueError):
                loop.add_signal_handler(number, self.exit)
        self.theme_changed_signal.subscribe(self, lambda theme: self._remember(theme=theme.name))
        self.switch_mode("datasets")

    def on_unmount(self) -> None:
        """Worker processes of screens end with them; trainings are not theirs and go on."""
        for job in self._jobs:
            job.cancel()

    def _remember(self, **what: object) -> None:
        remember(_MEMORY, recall(_MEMORY) | what)

    def start(self, command: Sequence[str]) -> Job:
        """Start a worker process that ends with the application at the latest."""
        job = Job(command)
        self._jobs.append(job)
        return job

    def command_text(self, words: Sequence[str]) -> str:
        """A ``kelly-core`` command as a person would type it."""
        return shlex.join(("kelly-core", *words))

    def copy(self, text: str) -> None:
        """Put a text into the clipboard of the terminal, which may be on another machine (OSC 52)."""
        self.copy_to_clipboard(text)
        shown = text if len(text) <= 60 else f"{text[:57]}…"
        self.notify(shown, title="Copied", timeout=2)

    def action_help(self) -> None:
        """What the focused part is for, and the keys that work now."""
        if not isinstance(self.screen, Page):
            return
        about = getattr(self.focused, "HELP", None) or ""
        keys = [
            (self.get_key_display(active.binding), active.binding.tooltip or active.binding.description)
            for active in self.screen.active_bindings.values()
            if active.enabled and active.binding.description and not active.binding.system
        ]
        self.push_screen(Help(f"{self.screen.ABOUT}\n\n{about}".strip(), keys))

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Every action of the screen in front, for the palette."""
        yield SystemCommand("Theme", "Choose other colours", self.action_change_theme)
        for active in screen.active_bindings.values():
            binding = active.binding
            if active.enabled and binding.description and not binding.system and binding.action != "command_palette":
                run = self._runner(binding.action, active.node)
                yield SystemCommand(binding.description, binding.tooltip or binding.description, run)

    def _runner(self, action: str, node: object):  # type: ignore[no-untyped-def]
        async def run() -> None:
            await self.run_action(action, node)  # type: ignore[arg-type]

        return run


def run(options: Options, *, mouse: bool) -> None:
    """Show the screens until a person leaves."""
    KellyApp(options).run(mouse=mouse)
    sys.stdout.flush()
