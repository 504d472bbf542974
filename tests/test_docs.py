"""Files, links, modules, settings and commands that documents and docstrings name exist."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.main import get_command

import kelly_tui.cli
from kelly_core.cli.app import COMMANDS, _load
from kelly_core.config.reference import all_settings

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("kelly_core", "kelly_tui")
NAMED_BELOW = ("", *PACKAGES, "kelly_core/data/download")
"""Folders that a document may leave out of a path."""
OTHER_NAMES = ("kelly.models", "kelly.corpora")
"""Names with dots that are neither modules nor settings: groups of entry points."""


@cache
def tracked() -> frozenset[str]:
    """All files that git tracks, and their folders."""
    try:
        listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"git does not list the files of this folder ({error})", allow_module_level=True)
    files = [name for name in listed.splitlines() if (ROOT / name).exists()]
    return frozenset(files) | {str(folder) for name in files for folder in Path(name).parents}


DOCUMENTS = sorted(name for name in tracked() if name.endswith(".md"))


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def code_of(document: str) -> list[str]:
    """The lines of code blocks and the spans of code in a document."""
    text = text_of(document)
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.splitlines()] + re.findall(r"`([^`\n]+)`", prose)


def anchors(document: str) -> set[str]:
    """The anchors of a document's headings, as hosts of Git repositories make them."""
    headings = re.findall(r"^#+ (.*)$", text_of(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(document)):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        linked = (ROOT / document).parent.joinpath(path).resolve() if path else ROOT / document
        name = str(linked.relative_to(ROOT))
        assert name in tracked(), target
        assert not anchor or anchor in anchors(name), target


@pytest.mark.parametrize("document", DOCUMENTS)
def test_modules_in_documents_exist(document: str) -> None:
    paths = [path for span in code_of(document) for path in re.findall(r"^[\w./-]+\.py$", span) if "NAME" not in path]
    if document == "docs/architecture.md":
        paths += [span.rstrip("/") for span in code_of(document) if re.fullmatch(r"[a-z_/]+/", span)]
        paths.remove("models")  # An output folder.
    missing = [path for path in paths if not any(str(Path(folder) / path) in tracked() for folder in NAMED_BELOW)]
    assert not missing


def test_documents_in_sources_exist() -> None:
    sources = [name for name in tracked() if name.endswith((".py", ".toml", "Makefile"))]
    named = {(name, path) for name in sources for path in re.findall(r"docs/[\w/-]+\.md", text_of(name))}
    assert not {(name, path) for name, path in named if path not in tracked()}


def is_defined(reference: str) -> bool:
    """Return True if a dotted name is a module, or a name that is assigned or defined in one."""
    for prefix in ("", "kelly_core.", "kelly_tui."):
        parts = f"{prefix}{reference}".split(".")
        for count in range(len(parts), 0, -1):
            module = "/".join(parts[:count])
            if f"{module}.py" in tracked():
                names = parts[count:]
                return all(
                    re.search(rf"(def|class) {name}\b|\b{name}\b.*[:=]", text_of(f"{module}.py")) for name in names
                )
            if module in tracked() and count == len(parts):
                return True
    return False


def test_modules_and_settings_in_docstrings_exist() -> None:
    folders = [name for name in tracked() if "/" not in name and f"{name}/__init__.py" in tracked()]
    tops = {Path(name).stem for name in tracked() if str(Path(name).parent) in PACKAGES} | set(folders)
    known = set(all_settings()) | {*OTHER_NAMES, *(Path(name).name for name in tracked()), "events.jsonl"}
    missing = {
        (source, reference)
        for source in tracked()
        if source.endswith(".py")
        for reference in re.findall(r"``([a-z_]+(?:\.\w+)+)``", text_of(source))
        if reference.split(".")[0] in tops and reference not in known and not is_defined(reference)
    }
    assert not missing


def typed_commands(document: str) -> Iterator[list[str]]:
    """Yield the words of each call of a command in a document."""
    for line in code_of(document):
        for part in re.split(r" && | \|\| |; ", line.partition(" #")[0]):
            if re.match(r"(kelly-core|kelly-tui|make|python -m|python) ", part):
                yield shlex.split(part.replace("…", "X"))


@cache
def command(*words: str) -> tuple[Any, tuple[str, ...]]:
    """Return the innermost command that some words of kelly-core call, and the words after its name."""
    found = _load(words[0])
    rest = words[1:]
    while rest and rest[0] in getattr(found, "commands", {}):
        found, rest = found.commands[rest[0]], rest[1:]
    return found, rest


def unknown_options(found: Any, words: tuple[str, ...]) -> list[str]:
    known = {name for param in found.get_params(typer.Context(found)) for name in (*param.opts, *param.secondary_opts)}
    return [word for word in words if word.startswith("--") and word.partition("=")[0] not in known]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_and_their_options_exist(document: str) -> None:
    screens = typer.Typer()
    screens.command()(kelly_tui.cli.tui)
    for program, *words in typed_commands(document):
        if program == "make":
            targets = re.findall(r"^([\w-]+):", text_of("Makefile"), re.MULTILINE)
            assert words[0] in [*targets, ".venv/.installed"], words
        elif program == "python":
            place = words[1].replace(".", "/") if words[0] == "-m" else words[0]
            assert {place, f"{place}.py", f"{place}/__main__.py"} & tracked(), words
        elif program == "kelly-tui":
            assert not unknown_options(get_command(screens), tuple(words)), words
        elif words[0] in COMMANDS:
            assert not unknown_options(*command(*words)), words
        else:
            assert words[0] in ("--help", "--version", "--install-completion"), words
