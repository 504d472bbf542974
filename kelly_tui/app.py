"""The application: screens as modes, global keys, jobs and run discovery."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import shlex
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from threading import Lock
from typing import TYPE_CHECKING, Any, ClassVar

from rich.console import RenderableType
from rich.text import Text
from textual import on, work
from textual._compositor import ChopsUpdate, LayoutUpdate
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.events import Event, Key, MouseDown
from textual.filter import LineFilter, Monochrome
from textual.message import Message
from textual.notifications import SeverityLevel
from textual.screen import Screen
from textual.widget import AwaitMount

from kelly_core.cli.app import COMMANDS
from kelly_core.errors import KellyError, RunError
from kelly_core.runs.launch import resume, start
from kelly_core.runs.notify import terminal_sequence
from kelly_core.runs.queue import WaitingRun, ensure_dispatcher, waiting_runs
from kelly_core.runs.registry import RunList, list_runs
from kelly_core.runs.run import Run
from kelly_core.runs.run_dir import RunDirectory, short_id
from kelly_core.spec import CHAIN_MODELS, MODELS, package_problems
from kelly_tui.action_names import name_bindings
from kelly_tui.color_filters import ANSI16_FILTER, ASCII_FILTER, KEY_NAMES, NO_COLOR_FILTER, PRINTABLE_FILTER
from kelly_tui.dialogs.confirm import ConfirmDialog
from kelly_tui.dialogs.help import HelpDialog
from kelly_tui.dialogs.jump import JumpDialog, jump_targets
from kelly_tui.formatting import age_text
from kelly_tui.frame import ChangesUpdate, ShownFrame
from kelly_tui.jobs import KELLY_CORE, Job
from kelly_tui.screens.base_screen import BaseScreen
from kelly_tui.session import Options, Session
from kelly_tui.shutdown import Driver, exit_on_signals
from kelly_tui.state_store import SEEN_RUNS, load_state, save_state
from kelly_tui.themes import ANSI16_THEME, THEMES
from kelly_tui.widgets.header import SCREENS

if TYPE_CHECKING:
    from kelly_tui.dialogs.new_training import TrainingRequest

LIST_SECONDS = 1.0

_PAUSE = 0.01
_SHARED_BY_SCREENS = (
    "textual_plotext",
    "tomlkit",
    "kelly_core.config.editing",
    "kelly_core.export.quality_record",
    "kelly_core.training.history",
    "kelly_core.benchmark.history",
    "kelly_tui.run_watcher",
)
"""Modules that take several milliseconds to import and that screens need."""
_STATE_NAME = "screens"
_MAX_PROJECTS = 50
_DEMO_OPTIONS: dict[str, tuple[str, object]] = {"training.epochs": ("--epochs", 30)}


def _make_screen(name: str) -> BaseScreen:
    """Return a screen by name. Its module is imported on first use, so that the first screen appears early."""
    screen: type[BaseScreen] = getattr(import_module(f"kelly_tui.screens.{name}"), name.title())
    return screen()


def modules_of_screens() -> list[str]:
    """Return what the screens import, each module after those that it needs."""
    parts = ("widgets", "charts", "dialogs", "screens")
    folders = {part: import_module(f"kelly_tui.{part}").__path__ for part in parts}
    own = [f"kelly_tui.{part}.{each.name}" for part in parts for each in iter_modules(folders[part])]
    return [*_SHARED_BY_SCREENS, *own]


class KellyApp(App[None]):
    """Kelly's workbench in a terminal.

    Args:
        options: how the program was started.
        owns_process: nothing else is done in this process, so that its garbage collector may be configured.
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
        Binding(
            "question_mark", "help", "Help", key_display="?", tooltip="Describe the focused part and list all keys"
        ),
        Binding("ctrl+p", "command_palette", "Palette", tooltip="Every action by name", show=False),
        Binding("q", "quit", "Quit", tooltip="Quit; trainings continue in their own processes"),
        Binding("ctrl+q", "quit", "Quit", show=False, priority=True),
        Binding("ctrl+z", "suspend_process", "Suspend", show=False, tooltip="Back to the shell; fg returns"),
        Binding("ctrl+o", "jump", "Jump", show=False, tooltip="Letters over all parts; one of them goes there"),
        Binding("ctrl+l", "redraw", "Redraw", show=False, tooltip="Draw everything again"),
    ]

    @dataclass
    class RunsListed(Message):
        """Runs on disk, or the error that prevented listing them."""

        run_list: RunList
        problem: str
        waiting: tuple[WaitingRun, ...] = ()

    @dataclass
    class Started(Message):
        """A training was started."""

        run_id: str

    def __init__(self, options: Options | None = None, *, owns_process: bool = False) -> None:
        super().__init__(driver_class=Driver)
        name_bindings(self._bindings, "app")
        self._owns_process = owns_process
        self.session = Session(options or Options())
        self._shown_frame = ShownFrame()
        self.run_list = RunList((), {})
        self.waiting: tuple[WaitingRun, ...] = ()
        self.attached = ""
        self.marked: list[str] = []
        self.export_folder: Path | None = None
        self.chosen_model = ""
        self._has_input = False
        self._greeted = False
        self._runs_problem = ""
        self._jobs: list[Job] = []
        self._closing = False
        self._screens: list[BaseScreen] = []
        self._state = load_state(_STATE_NAME)
        self._project = str(Path.cwd())
        self.pinned = str(self.remembered("app").get("pinned", ""))
        self._state_problem = ""
        self._unwritten_states: dict[str, dict[str, Any]] = {}
        self._one_writer = Lock()
        self.has_ansi16 = not self.no_color and self.console.color_system == "standard"
        has_ansi16_theme = self.has_ansi16 or self.session.options.theme == ANSI16_THEME.name
        for theme in (ANSI16_THEME, *THEMES) if has_ansi16_theme else THEMES:
            self.register_theme(theme)
        self.set_class(self.has_ansi16, "-ansi16")
        self.set_class(self.console.color_system == "256", "-of-256")
        own = ANSI16_THEME.name if self.has_ansi16 else self._state.get("theme", "")
        chosen = self.session.options.theme or own
        self._theme_in_rules = ""
        is_known = isinstance(chosen, str) and chosen in self.available_themes
        self.theme = chosen if is_known else THEMES[0].name

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Return the line filters for the color mode (NO_COLOR, 16 colors) and for ASCII-only terminals."""
        filters = [NO_COLOR_FILTER if isinstance(each, Monochrome) else each for each in super().get_line_filters()]
        filters += [ANSI16_FILTER] if self.has_ansi16 else []
        filters = [PRINTABLE_FILTER, *filters]
        return [*filters, ASCII_FILTER] if self.session.options.ascii else filters

    def get_key_display(self, binding: Binding) -> str:
        """Return a key's display text; ASCII names if the terminal cannot show the symbols."""
        shown = super().get_key_display(binding)
        return KEY_NAMES.get(shown, shown) if self.session.options.ascii else shown

    @property
    def look(self) -> tuple[object, ...]:
        """Return everything that a screen's style depends on, apart from the screen."""
        return self.theme, frozenset(self.pseudo_classes)

    def refresh_css(self, animate: bool = True) -> None:
        """Reparse the style rules and restyle the screen only if its look has changed.

        Textual calls this for every new screen as well, and would parse all rules each time.
        """
        page = next(reversed(self.screen_stack), None)
        if self.theme != self._theme_in_rules or (isinstance(page, BaseScreen) and page.is_out_of_date):
            self._theme_in_rules = self.theme
            super().refresh_css(animate)

    def delay_update(self, delay: float = 0.05) -> None:
        """Draw at once: screens are switched as a whole, so delaying updates would only add latency."""

    def _display(self, screen: Screen[Any], renderable: RenderableType | None) -> None:
        """Send only the cells that have changed."""
        if isinstance(renderable, LayoutUpdate | ChopsUpdate):
            super()._display(screen, ChangesUpdate(self._shown_frame, renderable, screen.outer_size))  # type: ignore[arg-type] # its stub knows Rich only
        else:
            super()._display(screen, renderable)

    def action_redraw(self) -> None:
        """Draw the whole screen again, after something else has written to the terminal."""
        self._shown_frame.forget()
        self.refresh(layout=True)

    def on_mount(self) -> None:
        """Show the first screen."""
        self._freeze_objects()
        self.app_resume_signal.subscribe(self, lambda _app: self.action_redraw())
        self.theme_changed_signal.subscribe(self, lambda theme: self._save_state(theme=theme.name))
        if self.session.options.demo:
            self._start_demo()
        self._list_runs()
        self.set_interval(LIST_SECONDS, self._list_runs)
        last = self.remembered("app").get("screen")
        self.switch_mode("train" if self.session.options.demo else last if last in SCREENS else SCREENS[0])
        self.set_keymap(self._keymap_of_settings())
        for problem in package_problems():
            self.notify(problem, title="installed package", severity="warning", timeout=15)

    def _start_demo(self) -> None:
        from kelly_tui.dialogs.new_training import TrainingRequest

        words = [word for option, value in _DEMO_OPTIONS.values() for word in (option, str(value))]
        command = ("kelly-core", "train", "--detach", *words, *self.session.demo_words)
        self.start_training(TrainingRequest(tuple(spec.name for spec in CHAIN_MODELS), _DEMO_OPTIONS, command))

    @work(group="read ahead")
    async def on_ready(self) -> None:
        """Import the modules of the other screens after the first screen, so that switching to them is fast.

        The modules are small and the imports have pauses between them, in which keys are answered. A thread would not
        do better: an import holds the interpreter's lock for part of the time, and blocks a screen that needs the
        module being imported.
        """
        for name in modules_of_screens():
            await asyncio.sleep(_PAUSE)
            import_module(name)
        await asyncio.to_thread(import_module, "numpy")
        self._freeze_objects()

    def add_screen(self, screen: BaseScreen) -> None:
        """Register a new screen, which is kept until exit."""
        self._screens.append(screen)
        self.call_after_refresh(self._freeze_objects)

    def _freeze_objects(self) -> None:
        """Move all current objects out of garbage collection (``gc.freeze``).

        They live until exit anyway, and a full collection over them would block the screens for about 100 ms.
        """
        if self._owns_process:
            gc.freeze()

    def on_unmount(self) -> None:
        """Cancel worker processes on exit. Trainings are separate processes and continue."""
        self.cancel_jobs()

    def cancel_jobs(self) -> None:
        """Cancel all worker processes of screens, and those started later."""
        self._closing = True
        for job in list(self._jobs):
            job.cancel()

    def _keymap_of_settings(self) -> dict[str, str]:
        """Return the keys by binding, such as ``train.stop``, that ``[tui] keys`` sets."""
        return dict(entry.split("=", 1) for entry in self.session.settings.tui.keys)

    async def on_event(self, event: Event) -> None:
        """Note the first key or click: from then on the user chooses the screen."""
        self._has_input = self._has_input or isinstance(event, Key | MouseDown)
        await super().on_event(event)

    def switch_mode(self, mode: str) -> AwaitMount:
        """Show a screen, and remember it for the next start."""
        self.remember("app", screen=mode)
        return super().switch_mode(mode)

    def next_export_folder(self) -> None:
        """Look at the exports of another folder: that of the settings, then those of the runs, the latest first."""
        outputs = [Path(run.output) for run in reversed(self.run_list.runs)]
        folders = dict.fromkeys([self.session.settings.output.dir.absolute(), *filter(Path.is_dir, outputs)])
        known, current = list(folders), self.exports.absolute()
        place = known.index(current) + 1 if current in known else 0
        self.export_folder = known[place % len(known)] if place % len(known) else None
        if len(known) == 1:
            self.notify("No run has exports in another folder.", timeout=4)

    @property
    def exports(self) -> Path:
        """Return the folder whose exports Validate and Benchmark show."""
        return self.export_folder or self.session.settings.output.dir

    def remembered(self, name: str) -> dict[str, Any]:
        """Return what was remembered under a name in this project, by the absolute path of the working folder."""
        projects = self._state.get("projects")
        project = projects.get(self._project) if isinstance(projects, dict) else None
        kept = project.get(name) if isinstance(project, dict) else None
        return kept if isinstance(kept, dict) else {}

    def remember(self, name: str, **what: object) -> None:
        """Remember values under a name for the next start in this project."""
        kept = self.remembered(name)
        if all(kept.get(key) == value for key, value in what.items()):
            return
        projects = self._state.get("projects")
        projects = dict(projects) if isinstance(projects, dict) else {}
        project = projects.pop(self._project, {})
        # The project in use comes last; those that were not used for longest are dropped.
        projects[self._project] = (project if isinstance(project, dict) else {}) | {name: kept | what}
        for oldest in list(projects)[:-_MAX_PROJECTS]:
            del projects[oldest]
        self._save_state(projects=projects)

    def _save_state(self, **what: object) -> None:
        self._state |= what
        self.keep(_STATE_NAME, self._state)

    def keep(self, name: str, content: dict[str, Any]) -> None:
        """Save state for the next start under a key; a read-only session saves nothing."""
        if not self.session.options.read_only:
            self._unwritten_states[name] = dict(content)
            self._write_states()

    @work(thread=True, group="memory")
    def _write_states(self) -> None:
        """Write saved states in a thread, since a busy disk can block a writer for a second."""
        with self._one_writer:
            while self._unwritten_states:
                former, self._state_problem = self._state_problem, save_state(*self._unwritten_states.popitem())
                if self._state_problem not in ("", former):
                    self.notify(self._state_problem, severity="warning")

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

    @work(thread=True, exclusive=True, group="list")
    def _list_runs(self) -> None:
        try:
            run_list, problem = list_runs(self.runs_folder), ""
        except OSError as error:
            run_list, problem = RunList((), {}), f"{self.runs_folder} cannot be looked into ({error.strerror})"
        except RunError as error:
            run_list, problem = RunList((), {}), str(error)
        waiting: tuple[WaitingRun, ...] = ()
        try:
            waiting = tuple(waiting_runs(self.runs_folder))
            if waiting and not self.session.options.read_only:
                ensure_dispatcher(self.runs_folder)
        except RunError as error:
            problem = problem or str(error)
        self.post_message(self.RunsListed(run_list, problem, waiting))

    @on(RunsListed)
    def _on_runs_listed(self, message: RunsListed) -> None:
        """Attach the latest run if none is attached, and update the current screen unless the app is closing."""
        if not self.is_running:
            return
        former, self.run_list = (self.run_list, self.waiting), message.run_list
        self.waiting = message.waiting
        if message.problem and message.problem != self._runs_problem:
            self.notify(message.problem, severity="error", timeout=10)
        self._runs_problem = message.problem
        runs = self.run_list.runs
        if self.attached not in {run.id for run in runs}:
            latest = max(runs, key=lambda run: (run.live, run.created), default=None)
            self.attached = "" if latest is None else latest.id
        if not self._greeted:
            self._greet()
            if any(run.live for run in runs) and not self._has_input:
                self.switch_mode("train")
        if (self.run_list, self.waiting) == former:
            return
        self._tell_news(former[0])
        self._remember_states()
        if isinstance(self.screen, BaseScreen):
            self.screen.refresh_frame()
            self.screen.runs_changed()

    def _tell_news(self, former: RunList) -> None:
        """Tell by a toast and the bell which runs have ended, or have got a reason to worry, since the last look."""
        known = {run.id: run for run in former.runs if run.live}
        for run in self.run_list.runs:
            if run.id not in known:
                continue
            news = [concern for concern in run.concerns if concern not in known[run.id].concerns]
            if not run.live:
                row = self.run_list.overviews.get(run.id)
                gain = "" if row is None or row.gain is None else f", {row.gain:+.0%} on the baseline"
                news = [f"{run.state}{f': {run.error}' if run.error else gain}"]
            if news:
                severity: SeverityLevel = (
                    "error" if run.state in ("failed", "died") else "warning" if run.live else "information"
                )
                self.notify(", ".join(news), title=short_id(run.id), severity=severity, timeout=10, markup=False)
                self._ring(f"kelly {short_id(run.id)}: {', '.join(news)}")

    def _ring(self, text: str) -> None:
        """Have the terminal show a notice, as ``[notify] terminal`` says."""
        if self._driver is not None and not self.is_headless:
            self._driver.write(terminal_sequence(self.session.settings.notify, text))
            self._driver.flush()

    def _greet(self) -> None:
        """Report runs that ended since the last session."""
        self._greeted = True
        memory = SEEN_RUNS.sound(self._state).get("runs", {})
        seen, folder = memory.get("states", {}), memory.get("folder")
        if folder != str(self.runs_folder.absolute()):
            return
        news = [f"{short_id(run.id)} {run.state}" for run in self.run_list.runs if seen.get(run.id) != run.state]
        live = [f"{short_id(run.id)} is still {run.state}" for run in self.run_list.runs if run.live and run.id in seen]
        lines = [line for line in [*live, *news][:5] if line]
        if lines:
            self.notify("\n".join(lines), title=f"Since you left, {age_text(memory['time'])}", timeout=8)

    def _remember_states(self) -> None:
        states = {run.id: run.state for run in self.run_list.runs}
        self._save_state(runs={"folder": str(self.runs_folder.absolute()), "states": states, "time": time.time()})

    def attach(self, run_id: str) -> None:
        """Select the run that the Train screen shows."""
        self.attached = run_id

    @work(thread=True, group="start")
    def start_training(self, order: TrainingRequest) -> None:
        """Start a run in its own process."""
        try:
            settings = self.session.load(order.typed).settings
            self.post_message(self.Started(start(settings, order.models, command=order.command).id))
        except KellyError as error:
            self.notify(str(error), title="Not started", severity="error", timeout=12)

    @work(thread=True, group="start")
    def resume_run(self, run_id: str, more_epochs: int) -> None:
        """Resume an ended run."""
        try:
            self.post_message(self.Started(resume(Run(RunDirectory(self.runs_folder / run_id)), more_epochs).id))
        except KellyError as error:
            self.notify(str(error), title="Not resumed", severity="error", timeout=12)

    @on(Started)
    def _on_started(self, message: Started) -> None:
        """Attach the started run."""
        self.attached = message.run_id
        self._list_runs()

    @work(thread=True, group="steer")
    def steer(self, run_id: str, ask: Callable[[Run], object]) -> None:
        """Send a request to a run from a thread."""
        try:
            ask(Run(RunDirectory(self.runs_folder / run_id)))
        except RunError as error:
            self.notify(str(error), severity="error", timeout=10)

    def action_quit(self) -> None:  # type: ignore[override]
        """Quit, after confirmation if edits are unsaved or runs are live."""
        unsaved = [screen.unsaved_text for screen in self._screens if screen.unsaved_text]
        if not unsaved or self.session.options.read_only:
            self._quit()
            return
        answers = [("", "Keep editing"), ("discard", "Discard and quit")]
        dialog = ConfirmDialog("Discard unsaved changes?", "\n".join(unsaved), answers, "discard")
        self.push_screen(dialog, lambda answer: self._quit() if answer else None)

    def _quit(self) -> None:
        live = [run for run in self.run_list.runs if run.live]
        if not live or self.session.options.read_only:
            self.exit()
            return
        names = ", ".join(short_id(run.id) for run in live)
        text = f"{names} {'is' if len(live) == 1 else 'are'} training, and continues without these screens."
        answers = [("leave", "Leave running"), ("epoch", "Stop after epoch"), ("", "Cancel")]
        self.push_screen(ConfirmDialog("Leave?", text, answers), self._leave)

    def _leave(self, answer: str | None) -> None:
        if not answer:
            return
        if answer == "epoch":
            for run in self.run_list.runs:
                if run.live:
                    with contextlib.suppress(RunError):
                        Run(RunDirectory(self.runs_folder / run.id)).request_stop(after_epochs=1)
        commands = [self.command_text(("runs", "attach", short_id(run.id))) for run in self.run_list.runs if run.live]
        self.exit(message=Text("\n".join(["Training continues. To watch it:", *commands])) if commands else None)

    def start(self, command: Sequence[str], *, with_errors: bool = False) -> Job:
        """Start a worker process that ends with the application at the latest."""
        job = Job(command, with_errors=with_errors)
        self._jobs.append(job)
        # A thread may start a job while another one cancels all: whichever comes second sees the other's write.
        if self._closing:
            job.cancel()
        return job

    def core_command(self, words: Sequence[str]) -> list[str]:
        """Return the words of a process that runs ``kelly-core`` with the settings of the screens."""
        variables = self.session.variables
        return [*(("env", *variables) if variables else ()), *KELLY_CORE, *words]

    def command_text(self, words: Sequence[str]) -> str:
        """Return a ``kelly-core`` command line as a user would type it."""
        variables = self.session.variables if words[0] in ("runs", "train") else ()
        return " ".join([*map(shlex.quote, variables), shlex.join(("kelly-core", *words))])

    def copy(self, text: str) -> None:
        """Copy a text to the terminal's clipboard (OSC 52), which works over SSH."""
        self.copy_to_clipboard(text)
        shown = text if len(text) <= 60 else f"{text[:57]}…"
        self.notify(shown, title="Copied", timeout=2)

    def action_jump(self) -> None:
        """Show a letter over every part of the screen or dialog; the part whose letter is pressed gets the focus."""
        if isinstance(self.screen, JumpDialog):
            return
        targets = jump_targets(self.screen)
        self.push_screen(JumpDialog(targets), lambda widget: None if widget is None else widget.focus())

    def action_help(self) -> None:
        """Show the purpose of the focused widget and the active keys."""
        if not isinstance(self.screen, BaseScreen):
            return
        about = getattr(self.focused, "HELP", None) or ""
        keys = [
            (self.get_key_display(active.binding), active.binding.tooltip, active.binding.id or "")
            for active in self.screen.active_bindings.values()
            if active.enabled and active.binding.tooltip
        ]
        self.push_screen(HelpDialog(f"{self.screen.ABOUT}\n\n{about}".strip(), keys))

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Yield the current screen's actions for the command palette."""
        yield SystemCommand("Theme", "Choose other colours", self.action_change_theme)
        for each in reversed(self.run_list.runs):
            attach = partial(self._go_to, "train", partial(self.attach, each.id))
            yield SystemCommand(f"Run {short_id(each.id)}", f"{each.state}: watch it on Train", attach)
        for spec in MODELS:
            choose = partial(self._go_to, "models", partial(self.choose_model, spec.name))
            yield SystemCommand(f"Model {spec.name}", "Its layers and settings", choose)
        for name, about in COMMANDS.items():
            yield SystemCommand(f"Copy kelly-core {name}", about, partial(self.copy, f"kelly-core {name}"))
        for active in screen.active_bindings.values():
            binding = active.binding
            if active.enabled and binding.tooltip and binding.action != "command_palette":
                run = self._runner(binding.action, active.node)
                yield SystemCommand(binding.description, binding.tooltip, run)

    def _go_to(self, mode: str, first: Callable[[], None]) -> None:
        """Do something, then show a screen."""
        first()
        self.switch_mode(mode)

    def choose_model(self, name: str) -> None:
        """Have Models show a model when it comes to the front."""
        self.chosen_model = name

    def _runner(self, action: str, node: Any) -> Callable[[], Awaitable[None]]:
        async def run() -> None:
            await self.run_action(action, node)

        return run


def run(options: Options, *, mouse: bool) -> None:
    """Run the application until the user quits, a signal ends it, or the terminal is lost."""
    asyncio.run(_show(KellyApp(options, owns_process=True), mouse))
    sys.stdout.flush()


async def _show(app: KellyApp, mouse: bool) -> None:
    loop = asyncio.get_running_loop()

    def leave() -> None:
        # The loop may be closed already: then the end is near anyhow.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(app.exit)

    exit_on_signals(leave, app.cancel_jobs)
    await app.run_async(mouse=mouse)
