"""``kelly-core config``: the effective settings, and where each comes from."""

from __future__ import annotations

import json

import typer
from rich.console import Console
from rich.table import Table

from kelly_core.cli.options import ConfigOption, JsonOption, settings_from


def config(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show the effective settings and where each comes from."""
    rows = settings_from(config, {}).rows()
    if as_json:
        typer.echo(json.dumps({key: {"value": value, "origin": origin} for key, value, origin in rows}, indent=2))
        return
    table = Table("setting", "value", "from", box=None, pad_edge=False)
    for key, value, origin in rows:
        shown = "[dim]as in training[/]" if value is None else json.dumps(value)
        table.add_row(key, shown, f"[dim]{origin}[/]" if origin == "default" else origin)
    Console().print(table)
