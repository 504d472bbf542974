"""Errors that a user can fix: the problem, where it is, and what to do."""

from __future__ import annotations

import difflib
import re
import resource
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from kelly_core.formatting import printable

_CLOSE = 0.6
"""Minimum ``difflib`` ratio of two names to suggest one for the other."""
_MIN_PREFIX = 5
"""Minimum letters of a name that is compared with the beginnings of known names: a shorter one matches too many."""

_EXPECTED = "Input should be "
_NOTES = re.compile(r", (?:unable to parse|got a number with).*")
"""Additions of pydantic about a value that the message already shows."""

_GIBIBYTE = 2**30
_UNITS = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": _GIBIBYTE, "TiB": 2**40, "PiB": 2**50, "EiB": 2**60}
_WANTED = re.compile(r"(?:[Uu]nable to allocate|[Tt]ried to allocate) (?P<number>[\d.]+) (?P<unit>[KMGTPE]iB|bytes)")
"""Messages of NumPy, and of PyTorch for processors and GPUs."""
_NO_MAPPING = ("failed to map segment", "annot allocate memory", "error return without exception set")
"""Messages of the dynamic loader and the operating system, and of Python for a library that failed to start."""
_CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
_HINT = "Use a smaller batch size, fewer --jobs, or fewer files (--max-files), or raise the limit"


class KellyError(Exception):
    """Base of every error that the user can fix; its text is shown without traceback, with control characters escaped.

    Args:
        problem: what was wrong, in one sentence without a trailing full stop.
        where: the file, option or key that was wrong.
        hint: what to do about it.
    """

    exit_code = 1

    def __init__(self, problem: str, *, where: str | Path | None = None, hint: str | None = None) -> None:
        self.problem = problem
        self.where = None if where is None else str(where)
        self.hint = hint
        super().__init__(str(self))

    @classmethod
    @contextmanager
    def from_os_error(cls, problem: str, *, where: str | Path, hint: str | None = None) -> Iterator[None]:
        """Context manager that raises this error in place of an OSError, whose reason follows ``problem``."""
        try:
            yield
        except OSError as error:
            raise cls(f"{problem} ({error.strerror})", where=where, hint=hint) from error

    def __str__(self) -> str:
        text = self.problem if self.where is None else f"{self.where}: {self.problem}"
        return printable(text if self.hint is None else f"{text}. {self.hint}")

    def __reduce__(self) -> tuple[object, ...]:
        """Keep the three parts when the error crosses a process boundary."""
        return partial(type(self), where=self.where, hint=self.hint), (self.problem,)


class ConfigError(KellyError):
    """A setting that is unknown, of the wrong type or out of range."""

    exit_code = 2


class DataError(KellyError):
    """A corpus or a file in it that cannot be used."""


class NoSplitError(DataError):
    """A corpus has no official split of the requested kind, although the corpus is intact."""


class TrainingError(KellyError):
    """A training that cannot start or continue."""


class CheckpointError(KellyError):
    """A checkpoint that is missing, damaged or of another network."""


class ExportError(KellyError):
    """An export that cannot be written or read."""


class ParallelError(KellyError):
    """Workers that cannot be reached or used."""


class RunError(KellyError):
    """A run that cannot be found, started, controlled or read."""


def expectation(message: str) -> str:
    """Return pydantic's message on a value as "expected …"."""
    return _NOTES.sub("", message.removeprefix("Value error, ")).replace(_EXPECTED, "expected ", 1)


def did_you_mean(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """Return a hint for a name that is not known: "Did you mean …? " with the nearest one, then ``otherwise``."""
    near = nearest(name, known)
    return f"Did you mean {near}? {otherwise}".rstrip() if near else otherwise


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the known name that was probably meant by ``name``, "" if none is similar.

    Case does not matter. Full names and their parts after the last dot or dash are compared, so that ``epoch`` finds
    ``training.epochs`` and ``cadence`` a run called ``2026-11-22-1431-brave-cadence``. The beginnings of names are
    compared last, so that ``trainings`` finds ``training.epochs``.
    """
    # Reversed: of several names with the same last part, the first is found (training.epochs before a model's epochs).
    whole = {each.casefold(): each for each in reversed(list(known))}
    parts = {name.replace("-", ".").rpartition(".")[2]: each for name, each in whole.items()}
    wanted = name.casefold()
    beginnings = {each[: len(wanted)]: known for each, known in whole.items()} if len(wanted) >= _MIN_PREFIX else {}
    for names in (whole, parts, beginnings):
        if near := closest(wanted, names):
            return names[near]
    return ""


def closest(name: str, known: Iterable[str]) -> str:
    """Return the known name that is most similar to a name, "" if none is similar."""
    return next(iter(difflib.get_close_matches(name, known, n=1, cutoff=_CLOSE)), "")


def as_memory_error(error: BaseException) -> KellyError | None:
    """Return a KellyError if ``error`` means that memory ran out, else None."""
    text = str(error)
    out_of_memory = isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError | ImportError | OSError | SystemError)
        and (_WANTED.search(text) is not None or any(words in text for words in _NO_MAPPING))
    )
    if not out_of_memory:
        return None
    wanted = _WANTED.search(text)
    needed = "" if wanted is None else f": {_size(float(wanted['number']) * _UNITS[wanted['unit']])} more were needed"
    if isinstance(error, ImportError | SystemError):
        needed = ": a library could not be loaded"
    limit = _limit()
    allowed = "" if limit is None else f" (this process may use {_size(limit)})"
    return KellyError(f"memory ran out{needed}{allowed}", hint=_HINT)


def _limit() -> int | None:
    """Return the memory limit of this process in bytes, None if there is none."""
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    found = [] if soft == resource.RLIM_INFINITY else [soft]
    for path in _CGROUP_LIMITS:
        try:
            text = path.read_text().strip()
        except OSError:
            # Other systems and other versions of control groups lack this file.
            continue
        # Control groups v1 report "no limit" as a huge number.
        if text.isdecimal() and len(text) < len(str(2**62)):
            found.append(int(text))
    return min(found, default=None)


def _size(count: float) -> str:
    return f"{count / _GIBIBYTE:.1f} GiB" if count >= _GIBIBYTE / 10 else f"{count / 2**20:.1f} MiB"
