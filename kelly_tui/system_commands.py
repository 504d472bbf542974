"""Entries of the command palette: themes, runs, models, commands, and the actions of the screen in front."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from textual.app import SystemCommand
from textual.screen import Screen

from kelly_core.cli.app import COMMANDS
from kelly_core.runs.run_dir import short_id
from kelly_core.spec import MODELS

if TYPE_CHECKING:
    from kelly_tui.app import KellyApp


def system_commands(app: KellyApp, screen: Screen[object]) -> Iterator[SystemCommand]:
    """Yield the entries for the screen in front."""
    yield SystemCommand("Theme", "Choose other colours", app.action_change_theme)
    for each in reversed(app.run_list.runs):
        attach = partial(_go_to, app, "train", partial(app.attach, each.id))
        yield SystemCommand(f"Run {short_id(each.id)}", f"{each.state}: watch it on Train", attach)
    for spec in MODELS:
        choose = partial(_go_to, app, "models", partial(app.choose_model, spec.name))
        yield SystemCommand(f"Model {spec.name}", "Its layers and settings", choose)
    for name, about in COMMANDS.items():
        yield SystemCommand(f"Copy kelly-core {name}", about, partial(app.copy, f"kelly-core {name}"))
    for active in screen.active_bindings.values():
        binding = active.binding
        if active.enabled and binding.tooltip and binding.action != "command_palette":
            yield SystemCommand(binding.description, binding.tooltip, _runner(app, binding.action, active.node))


def _go_to(app: KellyApp, mode: str, first: Callable[[], None]) -> None:
    """Do something, then show a screen."""
    first()
    app.switch_mode(mode)


def _runner(app: KellyApp, action: str, node: Any) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        await app.run_action(action, node)

    return run
