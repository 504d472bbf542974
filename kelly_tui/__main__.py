"""Entry point of ``kelly-tui`` and of ``python -m kelly_tui``."""

from __future__ import annotations

from kelly_core.interrupts import run_main


def run() -> None:
    """Run the screens."""
    run_main("kelly_tui.cli")


if __name__ == "__main__":
    run()
