"""``kelly-core verify``: the networks as built, held against their specs."""

from __future__ import annotations

import json
from dataclasses import asdict

import typer

from kelly_core.cli.options import JsonOption


def verify(as_json: JsonOption = False) -> None:
    """Build the five networks and check their layers, sizes and parameter counts against the specs."""
    from kelly_core.training.networks import verify_architectures

    rows = verify_architectures()
    passed = all(row.passed for row in rows)
    if as_json:
        typer.echo(json.dumps({"passed": passed, "models": [asdict(row) for row in rows]}, indent=2))
    else:
        print(rows)
    raise typer.Exit(0 if passed else 1)
