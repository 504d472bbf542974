"""Help of commands, with options in panels and flags without a type, and messages of usage errors."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import typer
from typer.core import TyperCommand, TyperGroup

from kelly_core.errors import did_you_mean, expectation
from kelly_core.formatting import short_repr
from kelly_core.spec import MODELS

UsageError = cast(type[typer.BadParameter], typer.BadParameter.__base__)
"""Base class of all usage errors: that of click or, in other versions of Typer, that of Typer."""

_EXTRA_WORD = re.compile(r"unexpected extra argument(?:\(s\)|s)? \((\S+?)[ )]")
_NO_COMMAND = re.compile(r"No such command ['\"](.*?)['\"]\.")
_HERE = {".", "./"}
_INSTEAD = {
    "config": "A setting is changed in config.toml, or by a variable such as KELLY_TRAINING_EPOCHS=5",
    "datasets": "Without a command, all corpora are shown",
}
"""Hint of a command group for an unknown command."""

MODELS_PANEL = "Models and data"
TRAINING_PANEL = "Training"
EXECUTION_PANEL = "Execution"
MUSIC_PANEL = "Music"
CHECKS_PANEL = "Checks"
OUTPUT_PANEL = "Output"
GENERAL_PANEL = "General"

_GENERAL = frozenset(
    {"--config", "--help", "--json", "--version", "--yes", "--install-completion", "--show-completion"}
)
_EXAMPLES = "Examples:"


def option(panel: str, help: str, *names: str, **attributes: Any) -> Any:
    """Return an option of a command, for ``Annotated``.

    Args:
        panel: title of the panel in the help.
        help: noun phrase with default and unit.
        names: the option and its short forms; by default derived from the parameter name.
        attributes: further arguments of ``typer.Option``.
    """
    return typer.Option(*names, help=help, rich_help_panel=panel, **attributes)


def setting_option(key: str, *names: str, panel: str, **attributes: Any) -> Any:
    """Return the option for a setting; its help is the description, unit, limits and default of the setting.

    Args:
        key: dotted key of the setting.
        names: the option and its short forms.
        panel: title of the panel in the help.
        attributes: further arguments of ``typer.Option``.
    """
    # Imported here, because the list of commands does not need the schema, whose import takes .1 s.
    from kelly_core.config.reference import setting

    info = setting(key)
    if info.choices:
        attributes["autocompletion"] = lambda incomplete: [word for word in info.choices if word.startswith(incomplete)]
    return option(panel, info.help, *names, **attributes)


def reflow(text: str) -> str:
    """Return a docstring with each paragraph on one line, which the help wraps at the terminal's width.

    A paragraph that begins with ``Examples:`` keeps its lines, each prefixed with a prompt.
    """
    return "\n\n".join(map(_reflow_paragraph, inspect.cleandoc(text).split("\n\n")))


def _reflow_paragraph(text: str) -> str:
    title, *lines = text.splitlines()
    if title == _EXAMPLES:
        return "\n".join([title, *(f"$ {line.strip()}" for line in lines)])
    return " ".join(text.split())


class _PlainHelp:
    """Mixin for commands: flags show no type, help texts include the defaults, and general options are last.

    Messages of usage errors include a hint.
    """

    def __init__(self, *args: Any, help: str | None = None, **attributes: Any) -> None:
        super().__init__(*args, help=None if help is None else reflow(help), **attributes)  # type: ignore[call-arg]

    def get_params(self, ctx: Any) -> list[Any]:
        """Return all parameters, including ``--help``, in the form and order of the help."""
        # click also calls this method for parsing, so the changes must be idempotent.
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for param in params:
            param.show_default = False
            if getattr(param, "is_flag", False) and param.metavar is None:
                param.metavar = ""
            if _GENERAL & set(param.opts) and param.rich_help_panel is None:
                param.rich_help_panel = GENERAL_PANEL
        return sorted(params, key=lambda param: bool(param.rich_help_panel == GENERAL_PANEL))

    def make_context(self, info_name: str | None, args: list[str], *others: Any, **attributes: Any) -> Any:
        """Parse the arguments of a command, as click does."""
        # A copy, because parsing empties the list.
        typed = list(args)
        with _explained():
            context = super().make_context(info_name, args, *others, **attributes)  # type: ignore[misc]
            _refuse_empty_paths(context, typed)
        return context


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except UsageError as error:
        _explain(error)
        raise


class HelpCommand(_PlainHelp, TyperCommand):
    """A command."""


class HelpGroup(_PlainHelp, TyperGroup):
    """A command with subcommands."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return name, command and remaining arguments, as click does."""
        with _explained():
            return super().resolve_command(ctx, args)


def use_help_classes(commands: typer.Typer) -> None:
    """Set the classes of this module for a command and its subcommands."""
    commands.info.cls = HelpGroup
    if commands.registered_callback is not None:
        commands.registered_callback.cls = HelpGroup
    for command in commands.registered_commands:
        command.cls = HelpCommand


def _refuse_empty_paths(context: Any, typed: Sequence[str]) -> None:
    """Raise an error for an empty path argument, such as an empty shell variable.

    ``Path("")`` is the working folder, into which a command would write.

    Raises:
        BadParameter: a path is empty.
    """
    if _HERE & set(typed) or not any(word == "" or word.endswith("=") for word in typed):
        return
    for param in context.command.params:
        value = context.params.get(param.name)
        if Path() in (value if isinstance(value, list) else [value]):
            raise typer.BadParameter("expected a path, got ''", ctx=context, param=param)


def _explain(error: Any) -> None:
    """Add the typed text and a fix to the message of an invalid option, value, command or extra word."""
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
        # Otherwise Typer would add its own list of similar options.
        error.possibilities = None
        # A single letter is not similar to any option.
        return did_you_mean(wrong, options) if len(wrong) > 1 else ""
    if not (word := _EXTRA_WORD.search(error.message)):
        return ""
    about_models = "Models are given with -m" if "--model" in options else ""
    names = [*options, *(spec.name for spec in MODELS if about_models)]
    return did_you_mean(word[1], names, about_models)
