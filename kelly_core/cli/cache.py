"""``kelly-core cache``: show the disk space of cached features, and delete them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from kelly_core.cli.console import print_error, print_json, print_result
from kelly_core.cli.help import CHECKS_PANEL, option
from kelly_core.cli.options import ConfigOption, JsonOption, settings_from
from kelly_core.errors import DataError
from kelly_core.features.feature_cache import CachedFeatures, list_caches, remove_cache, total_bytes, verify_cache
from kelly_core.formatting import MISSING, format_bytes

_DAY = 86400.0
_DELETE_PANEL = "Caches to delete"


PruneOption = Annotated[
    bool,
    option(
        _DELETE_PANEL, "Delete stale caches: of an older version of the code, or of a corpus that is gone.", "--prune"
    ),
]
UnusedForOption = Annotated[
    float | None,
    option(
        _DELETE_PANEL, "Delete caches that were not read for this time (days; default none).", metavar="DAYS", min=0
    ),
]
ClearOption = Annotated[
    bool, option(_DELETE_PANEL, "Delete all caches; they are computed again when needed.", "--clear")
]
VerifyOption = Annotated[
    bool,
    option(CHECKS_PANEL, "Read every byte and compare checksums; with --prune, delete corrupted caches.", "--verify"),
]


def cache(
    prune: PruneOption = False,
    unused_for: UnusedForOption = None,
    clear: ClearOption = False,
    verify: VerifyOption = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the disk space of cached features, and delete those that are not needed.

    A training that reads a deleted cache continues undisturbed. Features that are being computed are not deleted.
    """
    folder = settings_from(config, {}).settings.datasets.cache_dir
    caches = list_caches(folder)
    now = time.time()
    corrupted = {cached.path: found for cached in caches if verify and (found := verify_cache(cached))}
    unwanted = [
        cached
        for cached in caches
        if clear
        or (prune and (cached.stale or cached.path in corrupted))
        or (unused_for is not None and now - cached.last_used >= unused_for * _DAY)
    ]
    problems: dict[Path, str] = {}
    for cached in unwanted:
        try:
            remove_cache(cached)
        except DataError as error:
            problems[cached.path] = str(error)
    removed = [cached for cached in unwanted if cached.path not in problems]
    left = [cached for cached in caches if cached not in removed]
    if as_json:
        by_path = {str(path): found for path, found in corrupted.items()}
        print_json(_as_json(folder, left, removed, problems) | ({"corrupted": by_path} if verify else {}))
    else:
        _show(folder, left, removed)
    corrupted = {cached.path: corrupted[cached.path] for cached in left if cached.path in corrupted}
    for path, found in corrupted.items():
        for problem in found:
            print_error("error", f"{path}/{problem}")
    if corrupted:
        print_error("hint", "`kelly-core cache --verify --prune` removes it; the next start computes it again")
    if verify and not corrupted and not as_json:
        print_result("all checksums match")
    for problem in problems.values():
        print_error("error", problem)
    if problems or corrupted:
        raise typer.Exit(1)


def _as_json(
    folder: Path, left: Sequence[CachedFeatures], removed: Sequence[CachedFeatures], problems: dict[Path, str]
) -> dict[str, Any]:
    return {
        "folder": str(folder),
        "bytes": total_bytes(left),
        "caches": [asdict(cached) | {"path": str(cached.path)} for cached in left],
        "removed": [str(cached.path) for cached in removed],
        "problems": list(problems.values()),
    }


def _show(folder: Path, left: Sequence[CachedFeatures], removed: Sequence[CachedFeatures]) -> None:
    if left:
        table = Table("corpus", "features of", box=None, pad_edge=False, padding=(0, 1))
        table.add_column("size", justify="right", no_wrap=True)
        table.add_column("last used", justify="right", no_wrap=True)
        table.add_column("")
        for cached in left:
            used = time.strftime("%Y-%m-%d", time.localtime(cached.last_used))
            table.add_row(cached.corpus, cached.source or MISSING, format_bytes(cached.bytes), used, cached.stale)
        print_result(table)
    if removed:
        print_result(f"removed {len(removed)}, {format_bytes(total_bytes(removed))}")
    print_result(summary(folder, left))


def summary(folder: Path, caches: Sequence[CachedFeatures]) -> str:
    """Describe the folder of the cached features, their size, and how to delete stale features."""
    stale = total_bytes(cached for cached in caches if cached.stale)
    advice = f", {format_bytes(stale)} stale; `kelly-core cache --prune` deletes it" if stale else ""
    return f"features are kept in {folder}: {format_bytes(total_bytes(caches))}{advice}"
