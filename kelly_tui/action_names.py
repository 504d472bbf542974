"""Names of actions, by which ``[tui] keys`` in the settings file gives them other keys."""

from __future__ import annotations

from dataclasses import replace

from textual.binding import Binding, BindingsMap


def name_bindings(bindings: BindingsMap, place: str) -> None:
    """Give every binding an id such as ``train.stop``; Textual's keymap finds it by that.

    Args:
        bindings: of the application or of a screen; changed in place.
        place: name of the screen, or app.
    """
    for key, several in bindings.key_to_bindings.items():
        bindings.key_to_bindings[key] = [replace(each, id=f"{place}.{action_name(each)}") for each in several]


def action_name(binding: Binding) -> str:
    """Return the name of an action; one with parameters is named by its description."""
    return binding.description.casefold().replace(" ", "_") if "(" in binding.action else binding.action
