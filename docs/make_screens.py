"""Makes the pictures of the README from real runs on real data: ``python docs/make_screens.py DATASETS`` (one minute).

Reads the chords and MAESTRO in the folder DATASETS, trains two models on them in a temporary folder, once with small
steps and once with small batches, as ``kelly-tui`` would, watches them, and writes ``docs/screen-datasets.svg``,
``docs/screen-train.svg`` and ``docs/screen-runs.svg``.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from textual.pilot import Pilot

from kelly_core.config.loading import load_settings
from kelly_core.runs.launch import start
from kelly_core.runs.run import Run
from kelly_tui.app import KellyApp
from kelly_tui.screens.datasets import Datasets
from kelly_tui.screens.train import Train
from kelly_tui.session import Options
from kelly_tui.widgets.panels import Drawing

HERE = Path(__file__).resolve().parent
SIZE = (120, 36)
FIRST = {"learning_rate": 0.0001, "output": "slow"}
SECOND = {"batch_size": 8, "output": "small-batches"}
"""Options of the two runs; small batches take long enough to be seen in training."""
EPOCHS_SHOWN = 5
"""Epochs of the second model in the picture of a training."""
MODELS = ("HarmonyPredictor", "DynamicsEngine")
CORPUS = ("down", "down", "down")
"""Keys to MAESTRO on the Datasets screen."""
SETTINGS = """
[training]
epochs = 60
"""


async def until(pilot: Pilot[None], true: Callable[[], object]) -> None:
    """Let the screens work until something holds."""
    while not true():
        await pilot.pause(0.1)


async def watch() -> None:
    """Start the trainings and take the pictures."""
    first = _start(FIRST)
    while first.poll() or first.snapshot.live:
        await asyncio.sleep(0.1)
    app = KellyApp(Options(theme="kelly-dark"))
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("1", *CORPUS, "p")
        await until(pilot, lambda: isinstance(app.screen, Datasets) and _shows_labels(app.screen))
        await pilot.pause(1.0)
        (HERE / "screen-datasets.svg").write_text(app.export_screenshot(title="kelly-tui"))
        second = _start(SECOND)
        await until(pilot, lambda: second.id in [run.id for run in app.run_list.runs])
        app.attached = second.id
        await pilot.press("3")
        await until(pilot, lambda: isinstance(app.screen, Train) and app.screen.view)
        # The chart of the model in training.
        await pilot.press("l", "down")
        await until(pilot, lambda: isinstance(app.screen, Train) and app.screen.view and _far_enough(app.screen))
        await pilot.pause(1.0)
        (HERE / "screen-train.svg").write_text(app.export_screenshot(title="kelly-tui"))
        await pilot.press("6")
        await until(pilot, lambda: not second.poll() and not second.snapshot.live)
        await pilot.press("space", "down", "space")
        await pilot.pause(3.0)
        (HERE / "screen-runs.svg").write_text(app.export_screenshot(title="kelly-tui"))


def _start(options: Mapping[str, object]) -> Run:
    """Start a run with options of ``kelly-core train``, as its command shows them."""
    typed: dict[str, tuple[str, object]] = {"output.dir": ("--output", options["output"])}
    typed |= {
        f"models.{model}.{name}": (f"--{name}", value)
        for model in MODELS
        for name, value in options.items()
        if name != "output"
    }
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    models = [word for model in MODELS for word in ("--model", model)]
    command = ("kelly-core", "train", *models, *words)
    return start(load_settings(options=typed).settings, MODELS, command=command)


def _far_enough(screen: Train) -> bool:
    """Return True if the second model is in training, so that there is something to see."""
    assert screen.view is not None
    return screen.view.snapshot.models[1].epoch >= EPOCHS_SHOWN


def _shows_labels(screen: Datasets) -> bool:
    """Return True if a corpus was read."""
    return "mean" in str(screen.query_one("#labels", Drawing).render())


def main() -> None:
    """Work in a folder that is cleared away afterwards."""
    datasets = Path(sys.argv[1]).absolute()
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"XDG_STATE_HOME": folder, "COLORTERM": "truecolor"}
        os.chdir(folder)
        # The pictures show this name and not the place of the corpora on this machine.
        Path("datasets").symlink_to(datasets)
        Path("config.toml").write_text(SETTINGS)
        asyncio.run(watch())


if __name__ == "__main__":
    main()
