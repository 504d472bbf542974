"""Messages of wrong usage: what was expected, what was typed, and one fix."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import typer

from kelly_core.errors import did_you_mean, expectation
from kelly_core.formatting import short_repr
from kelly_core.spec import MODELS

UsageError = cast(type[typer.BadParameter], typer.BadParameter.__base__)
"""Base of all wrong usage: some versions of Typer take it from click, others have their own."""

_EXTRA_WORD = re.compile(r"unexpected extra argument(?:\(s\)|s)? \((\S+?)[ )]")
_NO_COMMAND = re.compile(r"No such command ['\"](.*?)['\"]\.")
_HERE = {".", "./"}
_INSTEAD = {
    "config": "A setting is changed in config.toml, or by a variable such as KELLY_TRAINING_EPOCHS=5",
    "datasets": "Without a command, all corpora are shown",
}
"""What a group of commands offers to those who type a word that is none of its commands."""


def refuse_empty_paths(context: Any, typed: Sequence[str]) -> None:
    """Refuse an empty word in place of a path, as from an empty variable of a shell.

    A ``Path`` takes it for the working folder, into which a command would write.

    Raises:
        BadParameter: a path is empty.
    """
    if _HERE & set(typed) or not any(word == "" or word.endswith("=") for word in typed):
        return
    for param in context.command.params:
        value = context.params.get(param.name)
        if Path() in (value if isinstance(value, list) else [value]):
            raise typer.BadParameter("expected a path, got ''", ctx=context, param=param)


def explain(error: Any) -> None:
    """Put what was typed and the fix into the message of a wrong option, value, command or extra word."""
    # Newer versions of Typer check values with pydantic, whose message lacks the value.
    if details := getattr(error.__cause__, "errors", None):
        [first, *_] = details(include_url=False)
        got = short_repr(first["input"])
        error.message = expectation(first["msg"]).rstrip(".")
        error.message += "" if got in error.message else f", got {got}"
    if error.ctx is None:
        return
    if command := _NO_COMMAND.match(error.message):
        error.message = command[0]
    if hint := _hint(error, command[1] if command else ""):
        error.message = f"{error.message.rstrip('.')}. {hint}"


def _hint(error: Any, command: str) -> str:
    group = error.ctx.command
    if command:
        known = list(group.commands)
        instead = _INSTEAD.get(error.ctx.info_name, f"The commands are {', '.join(known)}")
        return did_you_mean(command, known) or instead
    options = [name for param in group.get_params(error.ctx) for name in param.opts if name.startswith("-")]
    options.remove("--help")
    if wrong := getattr(error, "option_name", "").lstrip("-"):
        error.possibilities = None
        # A single letter is close to none.
        return did_you_mean(wrong, options) if len(wrong) > 1 else ""
    if not (word := _EXTRA_WORD.search(error.message)):
        return ""
    about_models = "Models are given with -m" if "--model" in options else ""
    names = [*options, *(spec.name for spec in MODELS if about_models)]
    return did_you_mean(word[1], names, about_models)
