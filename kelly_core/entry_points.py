"""Objects that installed packages add by entry points, and objects that are named by a reference ``"module:name"``."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from kelly_core.errors import ConfigError

T = TypeVar("T")

_loading: set[str] = set()
"""Groups whose packages are being imported."""


def load_entries(group: str, kind: type[T]) -> tuple[list[tuple[str, T]], list[str]]:
    """Import the objects of a group of entry points: each names one object of type ``kind``, or a list or tuple.

    Returns:
        Each object with the name of its package and entry point, and one sentence for each entry point that cannot be
        used.

    Raises:
        ImportError: a package requests the objects of the group while it is being imported to provide some.
    """
    if group in _loading:
        raise ImportError(
            f"it reads the list of {group} while that list is made; define its {kind.__name__} in a module that imports"
            " kelly_core.spec and kelly_core.corpora only"
        )
    found: list[tuple[str, T]] = []
    problems: list[str] = []
    _loading.add(group)
    try:
        for entry in sorted(entry_points(group=group), key=_source):
            try:
                loaded = entry.load()
            # A package can raise any exception; only its own objects are left out.
            except (Exception, SystemExit) as error:  # noqa: BLE001
                problems.append(f"{_source(entry)}: cannot be imported: {type(error).__name__}: {error}")
                continue
            objects = loaded if isinstance(loaded, list | tuple) else [loaded]
            wrong = next((each for each in objects if not isinstance(each, kind)), None)
            if wrong is not None:
                problems.append(f"{_source(entry)}: {entry.value} is {type(wrong).__name__}, expected {kind.__name__}")
                continue
            found += [(_source(entry), each) for each in objects]
    finally:
        _loading.remove(group)
    return found, problems


def load_reference(reference: str) -> Any:
    """Import what a reference ``"module:name"`` names.

    Raises:
        ConfigError: it cannot be imported.
    """
    module, name = reference.split(":")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"cannot be imported: {error}", where=reference) from error


def _source(entry: EntryPoint) -> str:
    """Return package, group and name, which identify an entry point."""
    package = "" if entry.dist is None else f"package {entry.dist.name}, "
    return f"{package}entry point {entry.group} {entry.name}"
