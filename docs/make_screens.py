"""Makes the pictures of the README from a real run: ``python docs/make_screens.py`` (about a minute, no GPU needed).

Trains two models on synthetic data in a temporary folder, as ``kelly-tui`` would, watches them, and writes
``docs/screen-train.svg`` and ``docs/screen-runs.svg``.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from textual.pilot import Pilot

from kelly_core.config.loading import load_settings
from kelly_core.runs.launch import start
from kelly_tui.app import KellyApp
from kelly_tui.screens.train import Train
from kelly_tui.session import Options

HERE = Path(__file__).resolve().parent
SIZE = (120, 36)
SLOW = 0.0001
MODELS = ("GroovePredictor", "DynamicsEngine")
SETTINGS = """
[training]
epochs = 40
[datasets]
use_synthetic = true
"""


async def until(pilot: Pilot[None], true: Callable[[], object]) -> None:
    """Let the screens work until something holds."""
    while not true():
        await pilot.pause(0.1)


async def watch() -> None:
    """Start the trainings and take the pictures."""
    settings = load_settings().settings
    slowly = {f"models.{model}.learning_rate": ("--learning-rate", SLOW) for model in MODELS}
    slower = load_settings(options=slowly).settings
    first = start(slower, MODELS, command=("kelly-core", "train", "--learning-rate", str(SLOW)))
    while first.poll() or first.snapshot.live:
        await asyncio.sleep(0.1)
    app = KellyApp(Options(theme="kelly-dark"))
    async with app.run_test(size=SIZE) as pilot:
        second = start(settings, MODELS, command=("kelly-core", "train"))
        app.attach(second.id)
        await until(pilot, lambda: second.id in [run.id for run in app.run_list.runs])
        app.attach(second.id)
        await pilot.press("3", "l")
        await until(pilot, lambda: isinstance(app.screen, Train) and app.screen.view and _far_enough(app.screen))
        await pilot.pause(1.0)
        (HERE / "screen-train.svg").write_text(app.export_screenshot(title="kelly-tui"))
        await pilot.press("6")
        await until(pilot, lambda: not second.poll() and not second.snapshot.live)
        await pilot.press("space", "down", "space")
        await pilot.pause(3.0)
        (HERE / "screen-runs.svg").write_text(app.export_screenshot(title="kelly-tui"))


def _far_enough(screen: Train) -> bool:
    """Return True if the second model is in training, so that there is something to see."""
    assert screen.view is not None
    return screen.view.snapshot.models[1].epoch >= 3


def main() -> None:
    """Work in a folder that is cleared away afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"XDG_STATE_HOME": folder, "COLORTERM": "truecolor"}
        os.chdir(folder)
        Path("config.toml").write_text(SETTINGS)
        asyncio.run(watch())


if __name__ == "__main__":
    main()
