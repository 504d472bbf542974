"""List and filter the runs of a folder, and find a run by the beginning of its name."""

from __future__ import annotations

import math
import operator
import re
import shlex
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kelly_core.errors import RunError, did_you_mean
from kelly_core.runs.overview import RunOverview, overview
from kelly_core.runs.run import Run
from kelly_core.runs.run_dir import RunDirectory, read_labels, read_manifest, short_id

LAST = "last"
"""Name of the latest run; ``last~1`` is the run before it."""
_BEFORE_LAST = re.compile(rf"{LAST}(?:~(\d{{1,6}}))?")


@dataclass(frozen=True)
class RunList:
    """Runs by time of creation, and the errors of unreadable runs by name."""

    runs: tuple[RunOverview, ...]
    unreadable: dict[str, str]

    def find(self, run_id: str) -> RunOverview | None:
        """Return the run with an ID; None if it is not in the list."""
        return next((run for run in self.runs if run.id == run_id), None)


def list_runs(runs: Path) -> RunList:
    """Return the state of all runs in a folder; other entries are ignored.

    Only a bounded part of each log is read.

    Raises:
        RunError: the folder exists and cannot be read.
    """
    found, unreadable = [], {}
    for folder in _folders(runs):
        try:
            run = Run(folder, reading="quick")
            found.append(overview(run.snapshot, run.manifest, read_labels(folder)))
        except RunError as error:
            unreadable[folder.id] = str(error)
    # Runs created at the same time are sorted by ID, for the same order in every list.
    found.sort(key=lambda run: (run.created, run.id))
    return RunList(tuple(found), unreadable)


def run_ids(runs: Path) -> list[str]:
    """Return the IDs of all runs in a folder, in alphabetical order; generated IDs sort by creation time.

    Raises:
        RunError: the folder exists and cannot be read.
    """
    return sorted(folder.id for folder in _folders(runs))


def find_run(runs: Path, text: str) -> RunDirectory:
    """Return the run whose name, or whose words of the name, begin with a text.

    "last" is the latest run, "last~1" the run before it.

    Raises:
        RunError: no run or more than one run matches, or the folder cannot be read.
    """
    if not text:
        # An unset variable of a script results in "", which must not match the only run of the folder.
        raise RunError(
            "no run is named", hint="Give the beginning of its name, last or last~1; `kelly-core runs` lists them"
        )
    folders = {folder.id: folder for folder in _folders(runs)}
    if match := _BEFORE_LAST.fullmatch(text):
        return _last(list(folders.values()), int(match[1] or 0), runs)
    matches = _matches(list(folders), text)
    if not matches:
        hint = did_you_mean(text, [*folders, LAST], "`kelly-core runs` lists them")
        raise RunError(f"no run in {runs} has a name that begins with this", where=text, hint=hint)
    if len(matches) > 1:
        raise RunError(f"{len(matches)} runs have names that begin with this: {', '.join(matches)}", where=text)
    return folders[matches[0]]


def _matches(names: Sequence[str], text: str) -> list[str]:
    """Return the names equal to a text, else those with words equal to it, else those that begin with it."""
    # A complete name matches only itself, even if a longer name begins with it.
    exact = [name for name in names if name == text] or [name for name in names if short_id(name) == text]
    return exact or sorted(name for name in names if name.startswith(text) or short_id(name).startswith(text))


def _last(folders: list[RunDirectory], before: int, runs: Path) -> RunDirectory:
    """Return the run that is ``before`` runs before the latest."""
    times = {}
    for folder in folders:
        try:
            times[folder] = read_manifest(folder).created
        except RunError:
            # The creation time of an unreadable run is unknown; the run can still be found by name.
            continue
    if not times:
        raise RunError("there is no run yet", where=runs, hint="`kelly-core train` starts one")
    if before >= len(times):
        hint = "`kelly-core runs` lists them"
        raise RunError(f"expected more than {before:,} runs, got {len(times):,}", where=f"{LAST}~{before}", hint=hint)
    return sorted(times, key=lambda folder: (times[folder], folder.id))[-1 - before]


def _folders(runs: Path) -> list[RunDirectory]:
    """Return the folders that contain a run; a run being created has no manifest yet."""
    try:
        found = [RunDirectory(path) for path in runs.absolute().iterdir() if path.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise RunError(f"cannot be read ({error.strerror})", where=runs) from error
    return list(filter(_holds_a_run, found))


def _holds_a_run(folder: RunDirectory) -> bool:
    try:
        return folder.manifest.exists() or folder.events.exists()
    except OSError:
        # Reading the run reports the missing permission.
        return True


_TEXTS: dict[str, Callable[[RunOverview], Iterable[str]]] = {
    "id": lambda run: (run.id,),
    "state": lambda run: (run.state, *run.concerns),
    "model": lambda run: run.model_names,
    "data": lambda run: run.datasets,
    "tag": lambda run: run.tags,
    "note": lambda run: (run.note,),
    "verdict": lambda run: run.verdicts,
    "sweep": lambda run: (run.sweep,),
    "output": lambda run: (run.output,),
}
_NUMBERS: dict[str, Callable[[RunOverview], Iterable[float | None]]] = {
    "loss": lambda run: run.losses,
    "gain": lambda run: (run.gain,),
    "epoch": lambda run: (run.epoch,),
    "lr": lambda run: (run.learning_rate,),
    "seed": lambda run: (run.seed,),
    "duration": lambda run: (run.duration,),
    "age": lambda run: (time.time() - run.created,),
}
_MATCHES: dict[str, Callable[[str, str], bool]] = {
    "state": str.startswith,
    "verdict": str.startswith,
    "tag": operator.eq,
}
"""Comparison of fields in which a substring is not a match: "trained" must not match "not trained"."""
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le, ">=": operator.ge, "!=": operator.ne, "<": operator.lt, ">": operator.gt, "=": math.isclose,
    ":": math.isclose,
}  # fmt: skip
_TERM = re.compile(r"(?P<field>[A-Za-z_]+)(?P<sign><=|>=|!=|<|>|=|:)(?P<value>.*)", re.DOTALL)
_UNITS = {"": 1.0, "%": 0.01, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_NUMBER = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?) ?(%|s|min|h|d|w|)")

FIELDS = (*_TEXTS, *_NUMBERS)
"""Fields that a filter supports."""


@dataclass(frozen=True)
class RunFilter:
    """Conditions that a run must all meet.

    A condition is a word that occurs in the run's ID, state, models, corpora, tags or note; or ``field:text``, where
    ``a,b`` means a or b; or a comparison such as ``loss<0.03``, ``gain>=20%``, ``duration>2h`` or ``age<3d``. A minus
    sign before a condition negates it. Case is ignored. Quotes allow spaces in a condition.
    """

    conditions: tuple[Callable[[RunOverview], bool], ...]

    @classmethod
    def parse(cls, text: str) -> RunFilter:
        """Parse a text into a filter; "" keeps every run.

        Raises:
            RunError: a field is not known, or a number is invalid.
        """
        return cls(tuple(_condition(word) for word in _words(text) if word.strip("-")))

    def keeps(self, run: RunOverview) -> bool:
        """Return True if a run meets all conditions."""
        return all(condition(run) for condition in self.conditions)


def _words(text: str) -> list[str]:
    """Split at spaces outside quotes; an open quote, as while the user types, ends with the text."""
    for closing in ("", "'", '"'):
        try:
            return shlex.split(text + closing)
        except ValueError:
            continue
    return text.split()


def _condition(word: str) -> Callable[[RunOverview], bool]:
    if word.startswith("-"):
        wanted = _condition(word[1:])
        return lambda run: not wanted(run)
    found = _TERM.fullmatch(word)
    if found is None:
        return _any_text(word)
    field, sign, value = found["field"].casefold(), found["sign"], found["value"]
    field = {"models": "model", "tags": "tag", "learning_rate": "lr", "run": "id", "dataset": "data"}.get(field, field)
    if field in _TEXTS and sign in (":", "="):
        return _text_condition(field, value)
    if field in _NUMBERS:
        return _number_condition(field, sign, value)
    hint = did_you_mean(field, FIELDS, f"Fields are {', '.join(FIELDS)}")
    raise RunError(f"{sign} does not apply to it" if field in _TEXTS else "no such field", where=word, hint=hint)


def _any_text(word: str) -> Callable[[RunOverview], bool]:
    wanted = word.casefold()
    names = ("id", "state", "model", "data", "tag", "note")
    return lambda run: any(wanted in text.casefold() for name in names for text in _TEXTS[name](run))


def _text_condition(field: str, value: str) -> Callable[[RunOverview], bool]:
    wanted = [part.casefold() for part in value.split(",")]
    texts, matches = _TEXTS[field], _MATCHES.get(field, operator.contains)

    def holds(run: RunOverview) -> bool:
        found = [text.casefold() for text in texts(run)]
        return any(matches(text, part) for part in wanted for text in found)

    return holds


def _number_condition(field: str, sign: str, value: str) -> Callable[[RunOverview], bool]:
    found = _NUMBER.fullmatch(value.strip())
    if found is None:
        raise RunError(
            f"{value!r} is not a number", where=field, hint="Such as loss<0.03, gain>20%, duration>2h, age<3d"
        )
    wanted, compare, numbers = float(found[1]) * _UNITS[found[2]], _COMPARISONS[sign], _NUMBERS[field]
    return lambda run: any(number is not None and compare(number, wanted) for number in numbers(run))
