"""``kelly-core report``: report data, quality, latency and checks of exports as HTML, Markdown or text."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kelly_core.cli import options
from kelly_core.cli.console import print_json, print_result
from kelly_core.cli.help import OUTPUT_PANEL, option
from kelly_core.cli.validate import ChainOption, SplitOption, check_files
from kelly_core.errors import ConfigError, ExportError, KellyError
from kelly_core.export.provenance import SYNTHETIC_HINT, read_provenance, synthetic_refusal
from kelly_core.formatting import first_names
from kelly_core.io.json import to_json
from kelly_core.spec import MODELS

if TYPE_CHECKING:
    from kelly_core.report.document import Document


_FILES = ("report.html", "report.md")


SourceArgument = Annotated[
    Path, typer.Argument(metavar="SOURCE", help="Output folder of a training, a folder of exports, or one export.")
]
OutputOption = Annotated[
    Path | None,
    option(OUTPUT_PANEL, "Folder for report.html and report.md (default that of the exports).", "--output", "-o"),
]
TextOption = Annotated[bool, option(OUTPUT_PANEL, "Print the report instead of writing files.", "--text")]


def report(
    source: SourceArgument,
    output: OutputOption = None,
    text: TextOption = False,
    split: SplitOption = None,
    chain: ChainOption = None,
    engine: options.EngineOption = None,
    allow_synthetic: options.AllowSyntheticOption = False,
    mkdir: options.MkdirOption = False,
    datasets_dir: options.DatasetsDirOption = None,
    config: options.ConfigOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Check exports and write report.html, a single self-contained file, and report.md.

    The report shows data, losses, quality and baselines, parity, latency and size of each model, and names
    what is missing. Exports that were trained on generated data are refused without --allow-synthetic. The exit status
    is 1 only if a check fails or exports are refused.

    Examples:
      kelly-core report models
      kelly-core report models --split test -o report --mkdir
      kelly-core report models --text
    """
    if sum([output is not None, text, as_json]) > 1:
        raise ConfigError("--output, --text and --json cannot be combined")

    from kelly_core.benchmark.suite import export_files
    from kelly_core.report import terminal
    from kelly_core.report.build import build_document
    from kelly_core.report.collect import collect

    if not source.exists():
        raise KellyError("is not a folder or an export", where=source)
    folder = source if source.is_dir() else source.parent
    target = folder if output is None else output
    if not (text or as_json):
        option = "SOURCE" if output is None else "--output"
        files = [options.Output(target / name, option) for name in _FILES]
        options.check_outputs(files, _inputs(folder, config), create_folders=mkdir)
    exports = export_files(source)
    _refuse_synthetic(exports, allow_synthetic=allow_synthetic)
    plugin_files = {f"{spec.file_stem}.json" for spec in MODELS}
    # Networks with other names have no specification.
    reports = check_files(
        exports,
        check_specs=all(path.name in plugin_files for path in exports),
        engine=engine,
        split=split,
        chain=chain,
        datasets_dir=datasets_dir,
        config=config,
    )
    content = collect(folder, reports)
    if as_json:
        print_json({"passed": content.passed} | to_json(content.without_files()))
    elif text:
        print_result(terminal.render(build_document(content)))
    else:
        _write(build_document(content), folder, target)
    raise typer.Exit(0 if content.passed else 1)


def _refuse_synthetic(exports: Sequence[Path], *, allow_synthetic: bool) -> None:
    """Raise an error for exports of synthetic data before the slower checks.

    Raises:
        ExportError: an export was trained on synthetic data, which is not allowed.
    """
    refused = {
        path: refusal
        for path in exports
        if (refusal := synthetic_refusal(read_provenance(path), allow_synthetic=allow_synthetic))
    }
    if refused:
        where = first_names([str(path) for path in refused], 5)
        raise ExportError(next(iter(refused.values())), where=where, hint=SYNTHETIC_HINT)


def _inputs(folder: Path, config: Path | None) -> list[Path]:
    """Return the files that a report may read: the exports' folder, except an earlier report, and the settings."""
    found = [path for pattern in ("*", "*/*") for path in folder.glob(pattern) if path.name not in _FILES]
    return found if config is None else [*found, config]


def _write(document: Document, folder: Path, output: Path) -> None:
    from kelly_core.io.atomic import atomic_write_all
    from kelly_core.report import html, markdown

    plots = Path(os.path.relpath(folder, output)).as_posix()
    texts = html.render(document), markdown.render(document, plots)
    files = {output / name: text.encode() for name, text in zip(_FILES, texts, strict=True)}
    atomic_write_all(files)
    for path in files:
        print_result(f"wrote {path}")
