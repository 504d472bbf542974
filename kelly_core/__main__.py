"""Entry point of ``kelly-core`` and of ``python -m kelly_core``."""

from __future__ import annotations

from kelly_core.interrupts import run_main


def run() -> None:
    """Run the command line."""
    run_main("kelly_core.cli.app")


if __name__ == "__main__":
    run()
