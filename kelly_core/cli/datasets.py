"""``kelly-core datasets``: show corpora and their usable examples, and write a demo corpus."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.text import Text

from kelly_core.cli import options
from kelly_core.cli.console import FIRST_STEPS, feature_progress, print_json, print_result
from kelly_core.cli.datasets_get import get, verify
from kelly_core.cli.datasets_write import import_chords, render
from kelly_core.cli.help import MUSIC_PANEL, option
from kelly_core.corpora import RULES_FILE
from kelly_core.data.dataset import CorpusReport
from kelly_core.demo import DEFAULT_SONGS
from kelly_core.errors import ConfigError
from kelly_core.formatting import format_bytes, printable

_MAX_SONGS = 10_000
_SHOWN_NAMES = 3
_LISTED_NAMES = 20

app = typer.Typer(add_completion=False)
app.command()(get)
app.command()(verify)
app.command()(import_chords)
app.command()(render)


@app.callback(invoke_without_command=True)
def datasets(
    context: typer.Context,
    datasets_dir: options.DatasetsDirOption = None,
    max_files: options.MaxFilesOption = None,
    backend: options.BackendOption = None,
    scheduler: options.SchedulerOption = None,
    config: options.ConfigOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Show each corpus: files, usable examples, skipped files and the reason, labels, splits, licence.

    Examples:
      kelly-core datasets
      kelly-core datasets get --all
      kelly-core datasets demo demo-data
      kelly-core datasets --datasets-dir demo-data
    """
    if context.invoked_subcommand is not None:
        if datasets_dir is not None or config is not None or as_json:
            hint = f"Write `datasets {context.invoked_subcommand} ... --datasets-dir FOLDER`"
            raise ConfigError("options of a subcommand come after its name", hint=hint)
        return
    from kelly_core.cli.cache import summary
    from kelly_core.corpora import CORPORA
    from kelly_core.data.catalog import describe_substitute, inspect_corpus
    from kelly_core.data.download.inventory import find_unclaimed
    from kelly_core.features.feature_cache import list_caches, total_bytes

    settings = options.settings_from(config, locals(), read_corpora=True).settings
    reports = []
    for name in CORPORA:
        with feature_progress(name) as progress:
            reports.append(inspect_corpus(name, settings, progress))
    unclaimed = find_unclaimed(settings.datasets)
    folder = settings.datasets.cache_dir
    caches = list_caches(folder)
    if as_json:
        content = {
            "datasets": [report.as_json(_LISTED_NAMES) for report in reports],
            "unclaimed": [asdict(each) for each in unclaimed],
            "cache": {"folder": str(folder), "bytes": total_bytes(caches)},
        }
        print_json(content)
    else:
        here = [report.name for report in reports if report.found]
        print_result(Group(*(_panel(report, describe_substitute(report.name, here)) for report in reports)))
        for each in unclaimed:
            print_result(each.text, style="yellow")
        if not here:
            print_result(FIRST_STEPS, style="yellow")
        print_result(summary(folder, caches))
    if any(report.problem for report in reports):
        raise typer.Exit(1)


@app.command()
def demo(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Folder for the five corpora; it must not contain any of them yet.")
    ],
    songs: Annotated[
        int,
        option(
            MUSIC_PANEL,
            f"Songs, each of which is in all five corpora (songs; default {DEFAULT_SONGS}).",
            min=1,
            max=_MAX_SONGS,
            metavar="N",
        ),
    ] = DEFAULT_SONGS,
    seed: Annotated[
        int, option(MUSIC_PANEL, "Random seed; each gives other songs (default 0).", min=0, metavar="N")
    ] = 0,
) -> None:
    """Write five small demo corpora in the layouts of the real ones, and settings to train on them.

    The corpora are made by rules that tie emotion to music.
    """
    from kelly_core.demo.corpus import CONFIG_FILE, write_demo

    for name, size in write_demo(folder, songs=songs, seed=seed, jobs=0).items():
        print_result(f"wrote {folder / name}: {songs} songs, {format_bytes(size)}")
    train = ("kelly-core", "train", "--config", str(folder / CONFIG_FILE), "--datasets-dir", str(folder))
    print_result(f"next: {shlex.join(train)}")


def _panel(report: CorpusReport, substitute: str) -> RenderableType:
    """Return the panel of one corpus; ``substitute`` describes the replacement of a missing corpus."""
    from kelly_core.corpora import CORPORA

    lines = [("path", report.path)]
    if not report.found:
        lines += [("missing", substitute), ("get it", report.advice)]
    elif report.problem:
        lines.append(("problem", report.problem))
    else:
        lines += [
            ("files", f"{report.files:,}"),
            ("examples", f"{report.examples:,} ({_listed(report.splits)})"),
            *([] if report.seconds is None else [("audio", f"{report.seconds / 3600:,.2f} hours")]),
            ("splits", _with_tables(report.split_source, report.tables)),
            ("labels", _with_tables(_listed(report.label_sources), report.label_tables)),
            *([("joins", _listed(report.joins)), ("weight", _weight(report.weight))] if report.joins else []),
            *(("skipped", _reason(reason, names)) for reason, names in report.skipped.items()),
            *([("made by", f"rules: see {RULES_FILE} in its folder")] if report.made_by_rules else []),
            *(("warning", warning) for warning in report.warnings),
        ]
    lines.append(("licence", report.license))
    text = Text()
    for label, value in lines:
        text.append(f"{label:>9}  ", style="dim").append(f"{printable(value)}\n")
    text.rstrip()
    style = "red" if report.problem else "green" if report.found and not report.warnings else "yellow"
    title = Text.assemble((report.name, "bold"), f" · {CORPORA[report.name].title}")
    return Panel(text, title=title, title_align="left", border_style=style)


def _with_tables(source: str, tables: Sequence[str]) -> str:
    return f"{source}: {', '.join(tables)}" if tables else source


def _weight(weight: float) -> str:
    return f"{weight:g}" if weight else "0: not mixed in, only in place of a missing corpus"


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def _reason(reason: str, names: list[str]) -> str:
    shown = ", ".join(Path(name).name if "/" in name else name for name in names[:_SHOWN_NAMES])
    return f"{len(names):,} × {reason}: {shown}" + (", …" if len(names) > _SHOWN_NAMES else "")
