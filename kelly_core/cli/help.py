"""The help of commands: options described by the settings' schema, in panels, and flags without a type."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from kelly_core.cli.usage import UsageError, explain, refuse_empty_paths

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
        panel: title of its panel in the help.
        help: a noun phrase with default and unit.
        names: the option and its short forms; none are those of the parameter.
        attributes: further arguments of ``typer.Option``.
    """
    return typer.Option(*names, help=help, rich_help_panel=panel, **attributes)


def setting_option(key: str, *names: str, panel: str, **attributes: Any) -> Any:
    """Return the option that sets a setting; its help is the setting's description, unit, limits and default.

    Args:
        key: dotted key of the setting.
        names: the option and its short forms.
        panel: title of the panel in the help.
        attributes: further arguments of ``typer.Option``.
    """
    # Here, because the list of commands needs the classes below but not the schema, whose import takes .1 s.
    from kelly_core.config.reference import setting

    info = setting(key)
    if info.choices:
        attributes["autocompletion"] = lambda incomplete: [word for word in info.choices if word.startswith(incomplete)]
    return option(panel, info.help, *names, **attributes)


def reflow(text: str) -> str:
    """Return a docstring with each paragraph on one line, so that the help breaks it at the terminal's width.

    A paragraph that begins with ``Examples:`` keeps its lines, each behind a prompt.
    """
    return "\n\n".join(map(_reflow_paragraph, inspect.cleandoc(text).split("\n\n")))


def _reflow_paragraph(text: str) -> str:
    title, *lines = text.splitlines()
    if title == _EXAMPLES:
        return "\n".join([title, *(f"$ {line.strip()}" for line in lines)])
    return " ".join(text.split())


class _PlainHelp:
    """Mixin for commands: flags show no type, defaults are part of the text, and general options come last.

    Wrong usage is explained.
    """

    def __init__(self, *args: Any, help: str | None = None, **attributes: Any) -> None:
        super().__init__(*args, help=None if help is None else reflow(help), **attributes)  # type: ignore[call-arg]

    def get_params(self, ctx: Any) -> list[Any]:
        """Return all parameters, ``--help`` included, as the help shows them."""
        # click calls this for parsing as well, so the changes must not depend on how often they are made.
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
        # Parsing empties the list.
        typed = list(args)
        with _explained():
            context = super().make_context(info_name, args, *others, **attributes)  # type: ignore[misc]
            refuse_empty_paths(context, typed)
        return context


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except UsageError as error:
        explain(error)
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
    """Build a command and its subcommands with the classes of this module."""
    commands.info.cls = HelpGroup
    if commands.registered_callback is not None:
        commands.registered_callback.cls = HelpGroup
    for command in commands.registered_commands:
        command.cls = HelpCommand
