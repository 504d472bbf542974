"""Corpora for Datasets: stamp of their files, and rows that describe their sources and a report."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.text import Text

from kelly_core.corpora import RULES_FILE
from kelly_core.data.download.sources import SOURCES, sources_of
from kelly_core.formatting import format_bytes
from kelly_tui.formatting import LabeledRow, split_bar
from kelly_tui.themes import ThemeColors

_ENTRIES_AT_ONCE = 500
_PAUSE = 1e-3
"""Seconds to sleep after this many entries, so that the screens' thread gets the GIL."""
_NAMES = 4
_MAX_BAR_COLUMNS = 32


def folder_stamp(folder: Path) -> list[int]:
    """Return number, bytes and latest modification time (ns) of all files below a folder.

    Entries that cannot be read are left out. Call it in a thread: a corpus may have a hundred thousand files.
    """
    files = size = latest = entries = 0
    waiting = [str(folder)]
    while waiting:
        try:
            found = list(os.scandir(waiting.pop()))
        except OSError:
            continue
        for entry in found:
            entries += 1
            if entries % _ENTRIES_AT_ONCE == 0:
                time.sleep(_PAUSE)
            try:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                    continue
                status = entry.stat()
            except OSError:
                continue
            files, size, latest = files + 1, size + status.st_size, max(latest, status.st_mtime_ns)
    return [files, size, latest]


def download_bytes(name: str) -> int:
    """Return the size of the archives of a corpus, 0 if it must be obtained manually."""
    return sum(archive.bytes for source in sources_of(name, SOURCES) for archive in source.archives)


def source_rows(name: str, colors: ThemeColors) -> Iterator[LabeledRow]:
    """Yield the sources of a corpus, with the license and the size of each."""
    for source in sources_of(name, SOURCES):
        size = sum(archive.bytes for archive in source.archives)
        yield "", ""
        yield source.name, source.title
        yield "", Text(source.license, colors.muted)
        yield "", format_bytes(size) if size else source.steps


def report_rows(report: dict[str, Any], width: int, colors: ThemeColors) -> Iterator[LabeledRow]:
    """Yield the content of a saved report (see ``CORPUS_REPORTS``), with a bar of at most ``width`` columns."""
    if report["problem"]:
        yield "problem", Text(report["problem"], colors.bad)
        return
    yield "files", f"{report['files']:,}"
    yield "examples", f"{report['examples']:,}"
    yield from _split_rows(report, width, colors)
    for number, table in enumerate(report.get("tables", ())):
        yield "" if number else "tables", table
    yield "labels", _counts(report["label_sources"]) or "not needed"
    for table in report.get("label_tables", ()):
        yield "", table
    if report.get("joins"):
        yield "joins", _counts(report["joins"])
        yield "weight", f"{report['weight']:g}"
    if report.get("made_by_rules"):
        yield "made by", f"rules: see {RULES_FILE} in its folder"
    for warning in report.get("warnings", ()):
        yield "warning", Text(warning, colors.warning)
    if not report["skipped"]:
        yield "skipped", Text("nothing", colors.good)
    for number, (reason, files) in enumerate(report["skipped"].items()):
        yield "skipped" if number == 0 else "", Text(f"{files['count']:,} × {reason}", colors.warning)
        names = ", ".join(Path(file).name for file in files["first"][:_NAMES])
        yield "", Text(names + (", …" if files["count"] > _NAMES else ""), colors.muted)


def _split_rows(report: dict[str, Any], width: int, colors: ThemeColors) -> Iterator[LabeledRow]:
    """Yield the splits as a bar and as numbers.

    Training and validation are counted in examples. Test files are not read, so their share is a share of files.
    """
    splits, test = report["splits"], report.get("test_files", 0)
    examples = sum(splits.values())
    if not examples:
        return
    files = max(1, report["files"] - sum(skipped["count"] for skipped in report["skipped"].values()))
    parts = [*splits.values(), examples * test / files]
    hues = (colors.series[0], colors.series[1], colors.muted)
    yield "splits", split_bar(list(zip(parts, hues, strict=False)), min(_MAX_BAR_COLUMNS, max(1, width)))
    names = [f"{name} {count:,}" for name, count in splits.items()]
    names += [f"official test {test:,} file{'s' * (test != 1)}, kept out"] if test else []
    yield "", Text(" · ").join(Text(name, hue) for name, hue in zip(names, hues, strict=False))
    if source := report.get("split_source"):
        yield "", source


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
