"""``kelly-core config``: the effective settings, and where each comes from."""

from __future__ import annotations

import json

from rich.table import Table
from rich.text import Text

from kelly_core.cli.console import print_json, print_result
from kelly_core.cli.options import ConfigOption, JsonOption, settings_from


def config(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show the effective settings and where each comes from."""
    rows = settings_from(config, {}).rows()
    if as_json:
        print_json({key: {"value": value, "origin": origin} for key, value, origin in rows})
        return
    table = Table("setting", "value", "from", box=None, pad_edge=False)
    for key, value, origin in rows:
        shown = Text("as in training", "dim") if value is None else json.dumps(value, ensure_ascii=False)
        table.add_row(key, shown, Text(origin, "dim" if origin == "default" else ""))
    print_result(table)
