"""Modules of the screens, which are imported on first use or after the first screen, so that this one appears early."""

from __future__ import annotations

import asyncio
from importlib import import_module
from pkgutil import iter_modules

from kelly_tui.screens.base_screen import BaseScreen

_PAUSE = 0.01
_SHARED = (
    "tomlkit",
    "kelly_core.config.editing",
    "kelly_core.export.quality_record",
    "kelly_core.training.history",
    "kelly_core.benchmark.history",
    "kelly_tui.run_watcher",
)
"""Modules that take several milliseconds to import and that screens need."""


def make_screen(name: str) -> BaseScreen:
    """Return a screen by name."""
    screen: type[BaseScreen] = getattr(import_module(f"kelly_tui.screens.{name}"), name.title())
    return screen()


def screen_modules() -> list[str]:
    """Return what the screens import, each module after those that it needs."""
    parts = ("widgets", "charts", "dialogs", "screens")
    folders = {part: import_module(f"kelly_tui.{part}").__path__ for part in parts}
    own = [f"kelly_tui.{part}.{each.name}" for part in parts for each in iter_modules(folders[part])]
    return [*_SHARED, *own]


async def import_screens() -> None:
    """Import what the screens need, then the canvas of their charts, which imports NumPy.

    The modules are small and the imports have pauses between them, in which keys are answered. A thread would not do
    better: an import holds the interpreter's lock for part of the time, and blocks a screen that needs the module
    being imported.
    """
    for name in screen_modules():
        await asyncio.sleep(_PAUSE)
        import_module(name)
    await asyncio.to_thread(import_module, "kelly_tui.canvas")
