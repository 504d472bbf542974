"""``kelly-core report``: all that is known of a folder's exports, as a page, as Markdown, in a terminal."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kelly_core.cli.checking import SplitOption, check_files, measured_anew
from kelly_core.cli.console import print_result
from kelly_core.cli.options import ConfigOption, DatasetsDirOption, EngineOption, JsonOption, settings_from
from kelly_core.errors import ConfigError, KellyError

if TYPE_CHECKING:
    from kelly_core.report.document import Document


def report(
    folder: Annotated[Path, typer.Argument(help="Folder of the exports, as kelly-core train leaves it.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for the report.", show_default="the exports' own")
    ] = None,
    text: Annotated[bool, typer.Option("--text", help="Show the report here, and write nothing.")] = False,
    split: SplitOption = None,
    engine: EngineOption = None,
    datasets_dir: DatasetsDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check a folder's exports and write report.html, which needs nothing else to be read, and report.md beside it.

    Data, losses, quality beside every baseline, parity, latency and size of each model. --text and --json print
    instead of writing. What is missing is told in its place; exits with 1 only if a check fails.
    """
    if sum([output is not None, text, as_json]) > 1:
        raise ConfigError("--output, --text and --json exclude each other")

    from kelly_core.benchmark.suite import export_files
    from kelly_core.report.build import build_document
    from kelly_core.report.collect import collect, to_json

    if not folder.is_dir():
        raise KellyError("is no folder", where=folder)
    reports = check_files(export_files(folder), check_specs=True, engine=engine)
    if split is not None:
        settings = settings_from(config, {"datasets.dir": ("--datasets-dir", datasets_dir)}).settings
        reports = [measured_anew(checked, split, settings) for checked in reports]
    content = collect(folder, reports)
    if as_json:
        typer.echo(to_json(content))
    elif text:
        _show(build_document(content))
    else:
        _write(build_document(content), folder, folder if output is None else output)
    raise typer.Exit(0 if content.passed else 1)


def _show(document: Document) -> None:
    from rich.markdown import Markdown

    from kelly_core.report.markdown import render

    print_result(Markdown(render(document, None)))


def _write(document: Document, folder: Path, output: Path) -> None:
    from kelly_core.io.atomic import atomic_write_all
    from kelly_core.report import html, markdown

    plots = Path(os.path.relpath(folder, output)).as_posix()
    files = {
        output / "report.html": html.render(document).encode(),
        output / "report.md": markdown.render(document, plots).encode(),
    }
    atomic_write_all(files)
    for path in files:
        print_result(f"wrote {path}")
