"""Draw the screens of kelly-tui as SVG.

``python tools/draw_screens.py FOLDER`` draws each screen at several sizes (about a minute). Two models are trained for
a few epochs on generated data, so that the screens have content.

``python tools/draw_screens.py --readme DATASETS`` draws the pictures of the README, ``docs/screen-*.svg``, from real
data (about a minute): the chords and MAESTRO in the folder DATASETS, and two models that are trained on them twice,
once with small steps and once with small batches, as ``kelly-tui`` would.

All files except the pictures are written to a temporary folder.
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
from kelly_tui.widgets.bars import SCREENS
from kelly_tui.widgets.panels import Drawing

SIZES = ((60, 20), (80, 24), (120, 40), (200, 60))
THEMES = ("kelly-dark", "kelly-light")
MODELS = ("GroovePredictor", "DynamicsEngine")
SECONDS_TO_SETTLE = 1.5
SETTINGS = """
[training]
epochs = 8
[datasets]
use_synthetic = true
synthetic_examples = 256
"""

README_PICTURES = Path(__file__).resolve().parents[1] / "docs"
README_SIZE = (120, 36)
README_MODELS = ("HarmonyPredictor", "DynamicsEngine")
README_SETTINGS = """
[training]
epochs = 60
"""
FIRST = {"learning_rate": 0.0001, "output": "slow"}
SECOND = {"batch_size": 8, "output": "small-batches"}
"""Options of the two runs; with small batches, the training is slow enough to be shown in progress."""
EPOCHS_SHOWN = 5
"""Finished epochs of the second model in the picture of a training."""
CORPUS = ("down", "down", "down")
"""Keys that select MAESTRO on the Datasets screen."""


def save_picture(app: KellyApp, path: Path) -> None:
    """Write the active screen as SVG."""
    path.write_text(app.export_screenshot(title="kelly-tui"), encoding="utf-8")


async def until_ended(run: Run) -> None:
    """Wait for the end of a run."""
    while run.poll() or run.snapshot.live:
        await asyncio.sleep(0.1)


async def until(pilot: Pilot[None], true: Callable[[], object]) -> None:
    """Run the screens until a condition is true."""
    while not true():
        await pilot.pause(0.1)


async def draw(folder: Path, size: tuple[int, int], theme: str) -> None:
    """Write ``<screen>-<theme>-<columns>x<rows>.svg`` for each screen."""
    app = KellyApp(Options(theme=theme))
    async with app.run_test(size=size) as pilot:
        for number, name in enumerate(SCREENS, start=1):
            await pilot.press(str(number))
            # Worker processes and threads fill the screens; they have no common event to wait for.
            await pilot.pause(SECONDS_TO_SETTLE)
            save_picture(app, folder / f"{name}-{theme}-{size[0]}x{size[1]}.svg")


async def draw_all(folder: Path) -> None:
    """Train two models, then draw the screens at all sizes, and at the default size in all themes."""
    await until_ended(start(load_settings().settings, MODELS, command=("kelly-core", "train")))
    for size in SIZES:
        for theme in THEMES if size == (120, 40) else THEMES[:1]:
            await draw(folder, size, theme)


async def draw_readme() -> None:
    """Start the trainings, watch them, and draw the pictures of the README."""
    await until_ended(_start(FIRST))
    app = KellyApp(Options(theme="kelly-dark"))
    async with app.run_test(size=README_SIZE) as pilot:
        await pilot.press("1", *CORPUS, "p")
        await until(pilot, lambda: isinstance(app.screen, Datasets) and _shows_labels(app.screen))
        await pilot.pause(1.0)
        save_picture(app, README_PICTURES / "screen-datasets.svg")
        second = _start(SECOND)
        await until(pilot, lambda: second.id in [run.id for run in app.run_list.runs])
        app.attached = second.id
        await pilot.press("3")
        await until(pilot, lambda: isinstance(app.screen, Train) and app.screen.view)
        # The chart of the model in training.
        await pilot.press("l", "down")
        await until(pilot, lambda: isinstance(app.screen, Train) and app.screen.view and _far_enough(app.screen))
        await pilot.pause(1.0)
        save_picture(app, README_PICTURES / "screen-train.svg")
        await pilot.press("6")
        await until(pilot, lambda: not second.poll() and not second.snapshot.live)
        await pilot.press("space", "down", "space")
        await pilot.pause(3.0)
        save_picture(app, README_PICTURES / "screen-runs.svg")


def _start(options: Mapping[str, object]) -> Run:
    """Start a run with options of ``kelly-core train``, as its command shows them."""
    typed: dict[str, tuple[str, object]] = {"output.dir": ("--output", options["output"])}
    typed |= {
        f"models.{model}.{name}": (f"--{name}", value)
        for model in README_MODELS
        for name, value in options.items()
        if name != "output"
    }
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    models = [word for model in README_MODELS for word in ("--model", model)]
    command = ("kelly-core", "train", *models, *words)
    return start(load_settings(options=typed).settings, README_MODELS, command=command)


def _far_enough(screen: Train) -> bool:
    """Return True if the second model has trained for ``EPOCHS_SHOWN`` epochs."""
    assert screen.view is not None
    return screen.view.snapshot.models[1].epoch >= EPOCHS_SHOWN


def _shows_labels(screen: Datasets) -> bool:
    """Return True if the screen shows the labels of a corpus."""
    return "mean" in str(screen.query_one("#labels", Drawing).render())


def main() -> int:
    """Draw the pictures selected on the command line; return the exit status."""
    if len(sys.argv) not in (2, 3) or (len(sys.argv) == 3) != (sys.argv[1] == "--readme"):
        print(__doc__)
        return 2
    readme, folder = len(sys.argv) == 3, Path(sys.argv[-1]).absolute()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ |= {"XDG_STATE_HOME": scratch, "XDG_CACHE_HOME": scratch, "COLORTERM": "truecolor"}
        os.chdir(scratch)
        Path("config.toml").write_text(README_SETTINGS if readme else SETTINGS, encoding="utf-8")
        if readme:
            # The pictures show this name instead of the path of the corpora on this machine.
            Path("datasets").symlink_to(folder)
            asyncio.run(draw_readme())
        else:
            folder.mkdir(parents=True, exist_ok=True)
            asyncio.run(draw_all(folder))
        os.chdir("/")
    written = README_PICTURES if readme else folder
    print(f"wrote {len(list(written.glob('*.svg')))} pictures to {written}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
