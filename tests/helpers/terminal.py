"""What a person sees on a wide terminal without colors."""

from __future__ import annotations

from rich.console import Console, RenderableType


def shown(what: RenderableType) -> str:
    """The text of something printed."""
    console = Console(width=200, force_terminal=False)
    with console.capture() as capture:
        console.print(what)
    return capture.get()
