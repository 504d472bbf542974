"""Draw each screen of kelly-tui at several sizes as SVG: ``python tools/draw_screens.py FOLDER`` (about a minute).

Trains two models for a few epochs on generated data in a temporary folder, so that the screens have something to show.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path

from kelly_core.config.loading import load_settings
from kelly_core.runs.launch import start
from kelly_tui.app import KellyApp
from kelly_tui.session import Options
from kelly_tui.widgets.bars import SCREENS

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


async def draw(folder: Path, size: tuple[int, int], theme: str) -> None:
    """Write ``<screen>-<theme>-<columns>x<rows>.svg`` for each screen."""
    app = KellyApp(Options(theme=theme))
    async with app.run_test(size=size) as pilot:
        for number, name in enumerate(SCREENS, start=1):
            await pilot.press(str(number))
            # Screens fill from worker processes and threads, which have no common event to wait for.
            await pilot.pause(SECONDS_TO_SETTLE)
            path = folder / f"{name}-{theme}-{size[0]}x{size[1]}.svg"
            path.write_text(app.export_screenshot(title="kelly-tui"), encoding="utf-8")


async def train() -> None:
    """Run a training to its end."""
    run = start(load_settings().settings, MODELS, command=("kelly-core", "train"))
    while run.poll() or run.snapshot.live:
        await asyncio.sleep(0.1)


async def draw_all(folder: Path) -> None:
    """Train, then draw the screens at all sizes, the usual one in all themes."""
    await train()
    for size in SIZES:
        for theme in THEMES if size == (120, 40) else THEMES[:1]:
            await draw(folder, size, theme)


def main() -> int:
    """Draw into the folder of the command line; return the exit status."""
    if len(sys.argv) != 2:
        print(__doc__)
        return 2
    folder = Path(sys.argv[1]).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        os.environ |= {"XDG_STATE_HOME": scratch, "XDG_CACHE_HOME": scratch, "COLORTERM": "truecolor"}
        os.chdir(scratch)
        Path("config.toml").write_text(SETTINGS, encoding="utf-8")
        asyncio.run(draw_all(folder))
        os.chdir("/")
    print(f"wrote {len(list(folder.glob('*.svg')))} pictures to {folder}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
