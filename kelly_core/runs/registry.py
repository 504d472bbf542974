"""List the runs of a folder, and find one by the beginning of its name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kelly_core.errors import RunError, did_you_mean
from kelly_core.runs.labels import read_labels
from kelly_core.runs.overview import RunOverview, overview
from kelly_core.runs.run import Run
from kelly_core.runs.run_dir import RunDirectory, read_manifest, short_id
from kelly_core.runs.snapshot import RunSnapshot

LAST = "last"
"""Name of the latest run; ``last~1`` is the run before it."""
_BEFORE_LAST = re.compile(rf"{LAST}(?:~(\d{{1,6}}))?")


@dataclass(frozen=True)
class RunList:
    """Runs by time of creation, each in one row as well, and the errors of those that cannot be read, by name."""

    runs: tuple[RunSnapshot, ...]
    unreadable: dict[str, str]
    overviews: Mapping[str, RunOverview] = field(default_factory=dict)


def list_runs(runs: Path) -> RunList:
    """Return the state of all runs in a folder; other entries are ignored.

    Of each only a bounded part is read, however long its log.

    Raises:
        RunError: the folder is there and cannot be read.
    """
    found, unreadable, overviews = [], {}, {}
    for folder in _folders(runs):
        try:
            run = Run(folder, reading="quick")
            snapshot = run.snapshot
        except RunError as error:
            unreadable[folder.id] = str(error)
            continue
        found.append(snapshot)
        overviews[folder.id] = overview(snapshot, run.record, read_labels(folder))
    found.sort(key=lambda run: (run.created, run.id))
    return RunList(tuple(found), unreadable, overviews)


def run_ids(runs: Path) -> list[str]:
    """Return the IDs of all runs in a folder, in alphabetical order, which is that of their creation.

    Raises:
        RunError: the folder is there and cannot be read.
    """
    return sorted(folder.id for folder in _folders(runs))


def find_run(runs: Path, text: str) -> RunDirectory:
    """Return the run whose name, or the words of whose name, begin with a text; "last" is the latest, "last~1" the
    one before it.

    Raises:
        RunError: there is none, or more than one; or the folder cannot be read.
    """
    if not text:
        # An unset variable of a script, perhaps; it must not name the only run there is.
        raise RunError(
            "no run is named", hint="Give the beginning of its name, last or last~1; `kelly-core runs` lists them"
        )
    folders = {folder.id: folder for folder in _folders(runs)}
    if match := _BEFORE_LAST.fullmatch(text):
        return _last(list(folders.values()), int(match[1] or 0), runs)
    matches = _matches(list(folders), text)
    if not matches:
        hint = did_you_mean(text, [*folders, LAST], "`kelly-core runs` lists them")
        raise RunError(f"no run in {runs} has a name that begins so", where=text, hint=hint)
    if len(matches) > 1:
        raise RunError(f"{len(matches)} runs have names that begin so: {', '.join(matches)}", where=text)
    return folders[matches[0]]


def _matches(names: Sequence[str], text: str) -> list[str]:
    """Return the names that a text means: an exact name or its words before names that only begin so."""
    exact = [name for name in names if name == text] or [name for name in names if short_id(name) == text]
    return exact or sorted(name for name in names if name.startswith(text) or short_id(name).startswith(text))


def _last(folders: list[RunDirectory], before: int, runs: Path) -> RunDirectory:
    """Return the latest run, or that many before it."""
    times = {}
    for folder in folders:
        try:
            times[folder] = read_manifest(folder).created
        except RunError:
            # An unreadable run has no time; it can still be named.
            continue
    if not times:
        raise RunError("there is no run yet", where=runs, hint="`kelly-core train` starts one")
    if before >= len(times):
        hint = "`kelly-core runs` lists them"
        raise RunError(f"expected more than {before:,} runs, got {len(times):,}", where=f"{LAST}~{before}", hint=hint)
    return sorted(times, key=lambda folder: (times[folder], folder.id))[-1 - before]


def _folders(runs: Path) -> list[RunDirectory]:
    """Return the folders that hold a run; a run being created has no manifest yet."""
    try:
        found = [RunDirectory(path) for path in runs.absolute().iterdir() if path.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise RunError(f"cannot be read ({error.strerror})", where=runs) from error
    return list(filter(_holds_a_run, found))


def _holds_a_run(folder: RunDirectory) -> bool:
    try:
        return folder.record.exists() or folder.events.exists()
    except OSError:
        # Reading it reports the missing permission.
        return True
