"""The application: screens as modes, global keys, worker processes, and the list of runs."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from rich.text import Text
from textual import work
from textual.app import SystemCommand
from textual.binding import Binding, BindingType
from textual.events import Event, Key, MouseDown, Paste
from textual.screen import ModalScreen, Screen
from textual.widget import AwaitMount

from kelly_core.cli.app import COMMANDS
from kelly_core.errors import KellyError, RunError
from kelly_core.runs.launch import resume, start
from kelly_core.runs.notify import terminal_sequence
from kelly_core.runs.queue import WaitingRun, enqueue, ensure_dispatcher, waiting_runs
from kelly_core.runs.registry import RunList, list_runs
from kelly_core.runs.run import Run
from kelly_core.runs.run_dir import RunDirectory, short_id
from kelly_core.spec import CHAIN_MODELS, MODELS, package_problems
from kelly_tui.dialogs.help import HelpDialog
from kelly_tui.dialogs.jump import JumpDialog, jump_targets
from kelly_tui.dialogs.prompts import ConfirmDialog
from kelly_tui.display import DisplayApp
from kelly_tui.jobs import Job, call_from_worker
from kelly_tui.keys import KeyQueue, name_bindings
from kelly_tui.run_watcher import new_notices, notice_since, seen_states
from kelly_tui.screens.base_screen import BaseScreen
from kelly_tui.session import Options, Session
from kelly_tui.shutdown import SHUTDOWN_SECONDS, exit_on_signals, limit_exit
from kelly_tui.state_store import ProjectState
from kelly_tui.themes import ANSI16_THEME
from kelly_tui.widgets.bars import SCREENS

if TYPE_CHECKING:
    from kelly_tui.dialogs.new_training import TrainingRequest

_LIST_SECONDS = 1.0
_LIST_TIMEOUT = 30.0
"""Seconds after which a listing of the runs counts as hung, as on a lost network drive, and another one is started."""
_DEMO_OPTIONS: dict[str, tuple[str, object]] = {"training.epochs": ("--epochs", 30)}
_IMPORT_PAUSE = 0.01
_SHARED_MODULES = ("tomlkit", "kelly_core.config.editing")
"""Modules that take several milliseconds to import and that screens need."""
_NUMPY_MODULE = "kelly_tui.charts.canvas"
"""The module that imports NumPy, which would delay the response to a key too long."""

T = TypeVar("T")


def _make_screen(name: str) -> BaseScreen:
    """Return a screen by name; its module is imported on first use, so that the first screen appears early."""
    screen: type[BaseScreen] = getattr(import_module(f"kelly_tui.screens.{name}"), name.title())
    return screen()


def screen_modules() -> list[str]:
    """Return the modules that the screens import, in dependency order, without the one that imports NumPy."""
    parts = ("widgets", "charts", "dialogs", "screens")
    folders = {part: import_module(f"kelly_tui.{part}").__path__ for part in parts}
    own = [f"kelly_tui.{part}.{each.name}" for part in parts for each in iter_modules(folders[part])]
    return [*_SHARED_MODULES, *(name for name in own if name != _NUMPY_MODULE)]


class KellyApp(DisplayApp):
    """Kelly's workbench in a terminal.

    Args:
        options: how the program was started.
        owns_process: nothing else runs in this process, so the application may configure its garbage collector.
    """

    TITLE = "kelly"
    CSS_PATH = "kelly.tcss"
    MODES: ClassVar[dict[str, str | Callable[[], Screen[Any]]]] = {
        name: partial(_make_screen, name) for name in SCREENS
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        *(
            Binding(str(number), f"switch_mode('{name}')", name.title(), show=False, tooltip=f"Go to {name}")
            for number, name in enumerate(SCREENS, 1)
        ),
        Binding("question_mark", "help", "Help", key_display="?", tooltip="Describe the focused part, and all keys"),
        Binding("ctrl+p,colon", "command_palette", "Palette", tooltip="Every action by name", show=False),
        Binding("q", "quit", "Quit", tooltip="Quit; trainings continue in their own processes"),
        Binding("ctrl+q", "quit", "Quit", show=False, priority=True),
        Binding("ctrl+z", "suspend_process", "Suspend", show=False, tooltip="Back to the shell; fg returns"),
        Binding(
            "ctrl+o",
            "jump",
            "Jump",
            show=False,
            tooltip="Label each part with a letter; typing it moves the focus there",
        ),
        Binding("ctrl+l", "redraw", "Redraw", show=False, tooltip="Redraw everything"),
    ]

    def __init__(self, options: Options | None = None, *, owns_process: bool = False) -> None:
        self.session = Session(options or Options())
        super().__init__(ascii_only=self.session.options.ascii, wanted_theme=self.session.options.theme)
        name_bindings(self._bindings, "app")
        self._owns_process = owns_process
        self.state = ProjectState(
            Path.cwd(),
            read_only=self.session.options.read_only,
            in_thread=partial(self.run_worker, thread=True, group="state"),
            report=partial(self.notify, severity="warning"),
        )
        self.run_list = RunList((), {})
        self.waiting: list[WaitingRun] = []
        self.attached = ""
        self.marked: list[str] = []
        self.pinned = str(self.state.remembered("app").get("pinned", ""))
        self.export_folder: Path | None = None
        self.chosen_model = ""
        self.drilled_from = ""
        self._has_input = False
        self._keys = KeyQueue(self, super().on_event)
        self._greeted = False
        self._runs_problem = ""
        self._listing_began = -math.inf
        self._jobs: list[Job] = []
        self._closing = False
        self._screens: list[BaseScreen] = []
        own = ANSI16_THEME.name if self.has_ansi16 else self.state.shared.get("theme", "")
        self.choose_theme(self.session.options.theme or own)

    def on_mount(self) -> None:
        """Show the first screen."""
        self.run_worker(self._keys.run(), group="keys")
        self._freeze_objects()
        self.app_resume_signal.subscribe(self, lambda _app: self.action_redraw())
        self.theme_changed_signal.subscribe(self, lambda theme: self.state.save(theme=theme.name))
        if self.session.options.demo:
            self._start_demo()
        self._list_runs()
        self.set_interval(_LIST_SECONDS, self._list_runs_again)
        last = self.state.remembered("app").get("screen")
        self.switch_mode("train" if self.session.options.demo else last if last in SCREENS else SCREENS[0])
        # Keys by binding, such as train.stop=f2.
        self.set_keymap(dict(entry.split("=", 1) for entry in self.session.settings.tui.keys))
        for problem in package_problems():
            self.notify(problem, title="installed package", severity="warning", timeout=15)

    def _start_demo(self) -> None:
        from kelly_tui.dialogs.new_training import TrainingRequest

        words = [word for option, value in _DEMO_OPTIONS.values() for word in (option, str(value))]
        command = ("kelly-core", "train", "--detach", *words, *self.session.demo_options)
        self.start_training(TrainingRequest(tuple(spec.name for spec in CHAIN_MODELS), _DEMO_OPTIONS, command))

    @work(group="read ahead")
    async def on_ready(self) -> None:
        """Import the modules of the other screens after the first screen, so that switching to them is fast.

        The modules are small, and keys are handled in the pauses between two imports. A thread would not be better: an
        import holds the GIL for part of the time, and blocks a screen that needs the module being imported.
        """
        for name in screen_modules():
            await asyncio.sleep(_IMPORT_PAUSE)
            import_module(name)
        await asyncio.to_thread(import_module, _NUMPY_MODULE)
        self._freeze_objects()

    def add_screen(self, screen: BaseScreen) -> None:
        """Register a new screen; it stays registered until exit."""
        self._screens.append(screen)
        self.call_after_refresh(self._freeze_objects)

    @property
    def keys_pending(self) -> bool:
        """True while there are more keys to handle after the current one."""
        return self._keys.pending

    def _freeze_objects(self) -> None:
        """Move all current objects out of garbage collection (``gc.freeze``).

        They exist until exit anyway, and a full collection that visits them would block the screens for about 100 ms.
        """
        if self._owns_process:
            gc.freeze()

    async def on_unmount(self) -> None:
        """Cancel worker processes on exit. Trainings run in processes that are independent of this one and continue."""
        self.cancel_jobs()
        # Textual cancels threads that have not begun. The time limit is for a disk that does not respond.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.to_thread(self.state.write), SHUTDOWN_SECONDS)

    def cancel_jobs(self) -> None:
        """Cancel all worker processes of screens, and any that is started afterwards."""
        self._closing = True
        for job in list(self._jobs):
            job.cancel()

    async def on_event(self, event: Event) -> None:
        """Record the first key or click, after which only the user changes the screen. Handle keys one at a time."""
        self._has_input = self._has_input or isinstance(event, Key | MouseDown)
        if isinstance(event, Key | Paste) and not event.is_forwarded:
            await self._keys.put(event)
        else:
            await super().on_event(event)

    def switch_mode(self, mode: str) -> AwaitMount:
        """Show a screen, and remember it for the next start."""
        self.drilled_from = ""
        self.state.remember("app", screen=mode)
        return super().switch_mode(mode)

    def drill_down(self, mode: str) -> None:
        """Show a screen for the item selected on the current screen; escape returns to the current one."""
        origin = self.current_mode
        self.switch_mode(mode)
        self.drilled_from = origin if origin != mode else ""

    def next_export_folder(self, name: str = "*.json") -> None:
        """Show the exports of the next folder: first the folder of the settings, then those of the runs, latest first.

        Args:
            name: pattern of the files that a run's folder must have.
        """
        outputs = [Path(run.output) for run in reversed(self.run_list.runs)]
        outputs = [folder for folder in outputs if next(folder.glob(name), None) is not None]
        known = list(dict.fromkeys([self.session.settings.output.dir.absolute(), *outputs]))
        current = self.exports.absolute()
        place = (known.index(current) + 1) % len(known) if current in known else 0
        self.export_folder = known[place] if place else None
        if len(known) == 1:
            self.notify("No run has exports in another folder.", timeout=4)

    @property
    def exports(self) -> Path:
        """Return the folder whose exports Validate and Benchmark show."""
        return self.export_folder or self.session.settings.output.dir

    @property
    def runs_folder(self) -> Path:
        """Return the runs folder."""
        return self.session.settings.runs.dir

    @property
    def live_text(self) -> str:
        """Return a short description of the live runs."""
        live = [run for run in self.run_list.runs if run.live]
        if not live:
            return ""
        return f"{live[0].state} {short_id(live[0].id)}" if len(live) == 1 else f"{len(live)} runs live"

    def _list_runs(self) -> None:
        """List the runs now; a listing in progress, which may lack the latest run, is not shown."""
        self._listing_began = time.monotonic()
        self._read_run_list()

    def _list_runs_again(self) -> None:
        """List the runs, unless a listing is in progress."""
        # If each listing replaced the previous one, one that takes longer than the interval would never be shown.
        if time.monotonic() - self._listing_began >= _LIST_TIMEOUT:
            self._list_runs()

    @work(thread=True, exclusive=True, group="list")
    def _read_run_list(self) -> None:
        run_list, waiting, problem = RunList((), {}), list[WaitingRun](), ""
        try:
            run_list = list_runs(self.runs_folder)
            waiting = waiting_runs(self.runs_folder)
            # The dispatcher may have been killed; without one, no queued training would start.
            if waiting and not self.session.options.read_only:
                ensure_dispatcher(self.runs_folder)
        except OSError as error:
            problem = f"{self.runs_folder} cannot be read ({error.strerror})"
        except RunError as error:
            problem = str(error)
        call_from_worker(self, self._show_runs, run_list, waiting, problem)

    def _show_runs(self, run_list: RunList, waiting: list[WaitingRun], problem: str) -> None:
        """Attach the latest run if none is attached, and update the current screen unless the app is closing.

        Args:
            run_list: runs on disk.
            waiting: the trainings in the queue.
            problem: the error that prevented listing them, "" for none.
        """
        if not self.is_running:
            return
        self._listing_began = -math.inf
        previous, self.run_list, self.waiting = (self.run_list, self.waiting), run_list, waiting
        if problem and problem != self._runs_problem:
            self.notify(problem, severity="error", timeout=10)
        self._runs_problem = problem
        runs = self.run_list.runs
        # The attached run may have been deleted.
        if self.attached not in {run.id for run in runs}:
            latest = max(runs, key=lambda run: (run.live, run.created), default=None)
            self.attached = "" if latest is None else latest.id
        if not self._greeted:
            self._greeted = True
            news_then = notice_since(self.state.shared, self.run_list, self.runs_folder)
            if news_then is not None:
                self.notify(news_then.text, title=news_then.title, timeout=8)
            if any(run.live for run in runs) and not self._has_input:
                self.switch_mode("train")
        if (self.run_list, self.waiting) == previous:
            return
        for news in new_notices(previous[0], self.run_list):
            self.notify(news.text, title=news.title, severity=news.severity, timeout=10)
            self._notify_terminal(f"kelly {news.title}: {news.text}")
        self.state.save(runs=seen_states(self.run_list, self.runs_folder))
        # A screen that is not mounted yet is drawn when it becomes active.
        if isinstance(self.screen, BaseScreen) and self.screen.is_mounted:
            self.screen.refresh_frame()
            self.screen.runs_changed()

    def _notify_terminal(self, text: str) -> None:
        """Show a notice through the terminal, by the method that ``[notify] terminal`` sets."""
        if self._driver is not None and not self.is_headless:
            self._driver.write(terminal_sequence(self.session.settings.notify, text))
            self._driver.flush()

    def show_run(self, run_id: str) -> None:
        """Watch a run on Train."""
        self.attached = run_id
        self.switch_mode("train")

    def show_model(self, name: str) -> None:
        """Show a model on Models."""
        self.chosen_model = name
        self.switch_mode("models")

    @work(thread=True, group="requests")
    def attempt(self, action: Callable[[], object], title: str = "") -> None:
        """Call a function in a thread, and report its error under a title."""
        try:
            action()
        except KellyError as error:
            self.notify(str(error), title=title, severity="error", timeout=12)

    def start_training(self, request: TrainingRequest) -> None:
        """Start a run in a separate process, now or when its device is free."""
        self.attempt(partial(self._start_training, request), "Not started")

    def _start_training(self, request: TrainingRequest) -> None:
        settings = self.session.load(request.typed).settings
        if request.queued:
            waiting = enqueue(settings, request.models, command=request.command)
            self.notify("It starts when its device is free.", title=f"{short_id(waiting.id)} waits", timeout=6)
        else:
            call_from_worker(self, self._follow_started, start(settings, request.models, command=request.command))

    def resume_run(self, run_id: str, more_epochs: int) -> None:
        """Resume an ended run."""
        self.attempt(
            lambda: call_from_worker(self, self._follow_started, resume(self._run(run_id), more_epochs)), "Not resumed"
        )

    def _follow_started(self, run: Run) -> None:
        self.attached = run.id
        self._list_runs()

    def send_to_run(self, run_id: str, ask: Callable[[Run], object]) -> None:
        """Send a request to a run from a thread."""
        self.attempt(lambda: ask(self._run(run_id)))

    def action_quit(self) -> None:  # type: ignore[override]
        """Quit, after confirmation if edits are unsaved, tasks would be cancelled, or runs are live."""
        unsaved = [screen.unsaved_text for screen in self._screens if screen.unsaved_text]
        if not unsaved or self.session.options.read_only:
            self._ask_about_tasks()
            return
        answers = [("", "Keep editing"), ("discard", "Discard and quit")]
        dialog = ConfirmDialog("Discard unsaved changes?", "\n".join(unsaved), answers, "discard")
        self.ask(dialog, lambda _answer: self._ask_about_tasks())

    def action_help_quit(self) -> None:
        """Show the keys that quit, since ctrl+c does not."""
        bindings = [active.binding for active in self.active_bindings.values()]
        keys = [self.get_key_display(each) for each in bindings if each.action in ("quit", "app.quit")]
        self.notify(f"{' or '.join(keys)} quits.", title="Ctrl-C does not quit")

    def _ask_about_tasks(self) -> None:
        names = [screen.NAME.title() for screen in self._screens if screen.is_busy]
        if not names:
            self._ask_about_runs()
            return
        text = f"A task on {' and on '.join(names)} is running, and would be cancelled."
        answers = [("", "Stay"), ("quit", "Cancel it and quit")]
        self.ask(ConfirmDialog("Quit?", text, answers, "quit"), lambda _answer: self._ask_about_runs())

    def _ask_about_runs(self) -> None:
        live = [run for run in self.run_list.runs if run.live]
        if not live or self.session.options.read_only:
            self.exit()
            return
        names = ", ".join(short_id(run.id) for run in live)
        text = f"{names} {'is' if len(live) == 1 else 'are'} training, and continues without these screens."
        answers = [("leave", "Leave running"), ("epoch", "Stop after epoch"), ("", "Cancel")]
        self.ask(ConfirmDialog("Leave?", text, answers), self._leave)

    def _leave(self, answer: str) -> None:
        live = [run.id for run in self.run_list.runs if run.live]
        if answer == "epoch":
            for run_id in live:
                with contextlib.suppress(RunError):
                    self._run(run_id).request_stop(after_epochs=1)
        commands = [self.session.command_text(("runs", "attach", short_id(run_id))) for run_id in live]
        self.exit(message=Text("\n".join(["Training continues. To watch it:", *commands])) if commands else None)

    def _run(self, run_id: str) -> Run:
        return Run(RunDirectory(self.runs_folder / run_id))

    def start(self, command: Sequence[str], *, with_errors: bool = False) -> Job:
        """Start a worker process that ends with the application at the latest."""
        job = Job(command, with_errors=with_errors)
        self._jobs.append(job)
        # A thread may start a job while another one cancels all jobs. This one appends before it reads ``_closing``,
        # and the other sets ``_closing`` before it reads the list, so at least one of them cancels the job.
        if self._closing:
            job.cancel()
        return job

    def copy(self, text: str) -> None:
        """Copy a text to the terminal's clipboard (OSC 52), which works over SSH."""
        self.copy_to_clipboard(text)
        shown = text if len(text) <= 60 else f"{text[:57]}…"
        self.notify(shown, title="Copied", timeout=2)

    def action_jump(self) -> None:
        """Show a letter over every part of the screen; the part whose letter is pressed gets the focus."""
        self.ask(JumpDialog(jump_targets(self.screen)), lambda widget: widget.focus())

    def action_help(self) -> None:
        """Show a dialog with the purpose of the focused widget and the active keys."""
        if not isinstance(self.screen, BaseScreen):
            return
        about = getattr(self.focused, "HELP", None) or ""
        keys = [
            (self.get_key_display(active.binding), active.binding.tooltip, active.binding.id or "")
            for active in self.screen.active_bindings.values()
            if active.enabled and active.binding.tooltip
        ]
        self.push_screen(HelpDialog(f"{self.screen.ABOUT}\n\n{about}".strip(), keys))

    def ask(self, dialog: ModalScreen[T | None], then: Callable[[T], object]) -> None:
        """Show a dialog, and call ``then`` with its answer unless it is canceled."""

        def answered(answer: T | None) -> None:
            if answer is not None:
                then(answer)

        self.push_screen(dialog, answered)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Yield the entries of the command palette: theme, runs, models, commands, and the actions of a screen."""
        yield SystemCommand("Theme", "Choose other colors", self.action_change_theme)
        for each in reversed(self.run_list.runs):
            show = partial(self.show_run, each.id)
            yield SystemCommand(f"Run {short_id(each.id)}", f"{each.state}: watch it on Train", show)
        for spec in MODELS:
            yield SystemCommand(f"Model {spec.name}", "Its layers and settings", partial(self.show_model, spec.name))
        for name, about in COMMANDS.items():
            yield SystemCommand(f"Copy kelly-core {name}", about, partial(self.copy, f"kelly-core {name}"))
        for active in screen.active_bindings.values():
            binding = active.binding
            if active.enabled and binding.tooltip and binding.action != "command_palette":
                run = partial(self.run_action, binding.action, active.node)
                yield SystemCommand(binding.description, binding.tooltip, run)


def run(options: Options, *, mouse: bool) -> None:
    """Run the application until the user quits, a signal ends it, or the terminal is lost."""
    asyncio.run(_show(KellyApp(options, owns_process=True), mouse))
    sys.stdout.flush()


async def _show(app: KellyApp, mouse: bool) -> None:
    loop = asyncio.get_running_loop()

    def leave() -> None:
        # The loop may be closed already: then the app is exiting.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(app.exit)

    exit_on_signals(leave, app.cancel_jobs)
    await app.run_async(mouse=mouse)
    limit_exit()
