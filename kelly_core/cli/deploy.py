"""``kelly-core deploy``: copy all five exports, or none, into the plugin's folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from kelly_core.cli.console import console, print_json, print_result, print_status
from kelly_core.cli.help import OUTPUT_PANEL, option
from kelly_core.cli.options import AllowSyntheticOption, JsonOption, MkdirOption, Output, check_outputs
from kelly_core.formatting import printable
from kelly_core.spec import CHAIN_MODELS

if TYPE_CHECKING:
    from kelly_core.deployment import Deployment

_STYLES = {"new": "green", "changed": "yellow", "unchanged": "dim", "refused": "bold red"}


def deploy(
    source: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of the five exports.")],
    to: Annotated[Path, option(OUTPUT_PANEL, "Folder from which the plugin loads its models.")],
    mkdir: MkdirOption = False,
    allow_synthetic: AllowSyntheticOption = False,
    as_json: JsonOption = False,
) -> None:
    """Copy the five exports into the plugin's folder if every check passes, otherwise none of them.

    Examples:
      kelly-core deploy models --to ~/plugin/models --mkdir
    """
    from kelly_core.cli.validate import render_reports
    from kelly_core.deployment import deploy as copy_exports

    names = [f"{spec.file_stem}.json" for spec in CHAIN_MODELS]
    check_outputs(
        [Output(to / name, "--to") for name in names], [source / name for name in names], create_folders=mkdir
    )
    deployment = copy_exports(source, to, allow_synthetic=allow_synthetic)
    if as_json:
        print_json(_as_json(deployment))
    else:
        print_result(_table(deployment))
        if not deployment.passed:
            console(stderr=True).print(render_reports([file.report for file in deployment.files if file.report.failed]))
            print_status(Text.assemble(("nothing was copied", "bold red"), f" to {printable(str(to))}"))
        for file in deployment.files:
            if file.non_commercial:
                corpora = ", ".join(file.non_commercial)
                print_status(f"{file.report.model}: trained on non-commercial data ({corpora})", "yellow")
    raise typer.Exit(0 if deployment.passed else 1)


def _table(deployment: Deployment) -> Table:
    table = Table("", "model", "file", box=None, pad_edge=False)
    for file in deployment.files:
        table.add_row(Text(file.status, _STYLES[file.status]), file.report.model, str(file.target))
    return table


def _as_json(deployment: Deployment) -> dict[str, Any]:
    files = [
        {
            "model": file.report.model,
            "file": file.report.file,
            "target": str(file.target),
            "status": file.status,
            "non_commercial": list(file.non_commercial),
            "failed": {check.name: check.detail for check in file.report.failed},
        }
        for file in deployment.files
    ]
    return {"deployed": deployment.passed, "files": files}
