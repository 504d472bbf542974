"""``kelly-core config``: show effective settings and their origin, and the JSON Schema of the settings file."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from kelly_core.cli.console import print_json, print_result
from kelly_core.cli.help import OUTPUT_PANEL, option
from kelly_core.cli.options import ConfigOption, JsonOption, settings_from

app = typer.Typer(add_completion=False)


@app.callback(invoke_without_command=True)
def config(
    context: typer.Context,
    config: ConfigOption = None,
    explain: Annotated[bool, option(OUTPUT_PANEL, "Also show the description of each setting.", "--explain")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show the effective settings and the origin of each.

    A typed option overrides an environment variable (KELLY_TRAINING_EPOCHS sets training.epochs), a variable overrides
    the settings file, and the file overrides the default.
    """
    if context.invoked_subcommand is not None:
        return
    from kelly_core.config.reference import setting

    rows = settings_from(config, {}).rows()
    if as_json:
        print_json({key: {"value": value, "origin": origin} for key, value, origin in rows})
        return
    table = Table("setting", "value", "from", *(["description"] if explain else []), box=None, pad_edge=False)
    for key, value, origin in rows:
        shown = Text("as in training", "dim") if value is None else json.dumps(value, ensure_ascii=False)
        about = [setting(key).help] if explain else []
        table.add_row(key, shown, Text(origin, "dim" if origin == "default" else ""), *about)
    print_result(table)


@app.command()
def schema() -> None:
    """Print the JSON Schema of the settings file, which editors use to complete and check config.toml."""
    from kelly_core.config.reference import json_schema

    print_json(json_schema())
