"""Packages that the programs import are declared, so that an installation without the development extra runs."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("kelly_core", "kelly_tui")
DEVELOPMENT = ("dev", "bench")
_NAME = re.compile(r"([\w.-]+)(?:\[([\w,-]+)\])?")


def imported(path: Path) -> set[str]:
    """Top-level names of all modules that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def required(requirement: str) -> set[str]:
    """The distribution that a requirement names, and its extras, which are distributions themselves here."""
    match = _NAME.match(requirement)
    assert match, requirement
    return {normalized(name) for name in [match[1], *(match[2] or "").split(",")]}


def test_every_imported_package_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [names for extra, names in project["optional-dependencies"].items() if extra not in DEVELOPMENT]
    declared = set().union(*(required(line) for lines in [project["dependencies"], *extras] for line in lines))
    names = set().union(*(imported(path) for source in SOURCES for path in (ROOT / source).rglob("*.py")))
    distributions = packages_distributions()
    undeclared = {
        name
        for name in names - sys.stdlib_module_names - set(SOURCES)
        if not {normalized(distribution) for distribution in distributions.get(name, [name])} & declared
    }
    assert not undeclared
