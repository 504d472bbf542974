"""Keys: names of their actions, and a queue that handles them in the order typed."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import replace

from textual.app import App
from textual.binding import Binding, BindingsMap
from textual.events import Event, Key
from textual.message_pump import MessagePump
from textual.widgets import Input


def name_bindings(bindings: BindingsMap, place: str) -> None:
    """Give every binding an id such as ``train.stop``, by which Textual's keymap refers to it.

    Args:
        bindings: of the application or of a screen; changed in place.
        place: name of the screen, or app.
    """
    for key, several in bindings.key_to_bindings.items():
        bindings.key_to_bindings[key] = [replace(each, id=f"{place}.{_action_name(each)}") for each in several]


def _action_name(binding: Binding) -> str:
    """Return the name of an action; one with parameters is named by its description."""
    return binding.description.casefold().replace(" ", "_") if "(" in binding.action else binding.action


_TIMEOUT_SECONDS = 1.0
"""Maximum seconds to wait until a widget has handled its messages, before the next key is handled."""
_ROUNDS = 3
"""Minimum rounds: the key, the messages of its action, and their effects, such as a dialog that closes."""


class KeyQueue:
    """Passes keys and pasted text to an application one at a time.

    If several keys arrive together, as over a slow connection, Textual sends all of them to the widget that has the
    focus at that time. If the first one moves the focus or opens a screen, the others must wait until that is done.

    Args:
        app: the application.
        handle: handles one event.
    """

    def __init__(self, app: App[None], handle: Callable[[Event], Awaitable[None]]) -> None:
        self._app, self._handle = app, handle
        self._waiting: deque[Event] = deque()
        self._unsettled: Event | None = None
        self._given = asyncio.Event()

    @property
    def pending(self) -> bool:
        """True while there are events to handle after the current one."""
        return bool(self._waiting)

    async def put(self, event: Event) -> None:
        """Handle an event now, or after the events that are already waiting."""
        if self._unsettled is not None:
            self._waiting.append(event)
            return
        self._unsettled = event
        await self._handle(event)
        self._given.set()

    async def run(self) -> None:
        """Handle the events that wait, until canceled."""
        while True:
            await self._given.wait()
            self._given.clear()
            while self._unsettled is not None:
                await self._settle(self._unsettled)
                # After quitting, no screen is left to handle the remaining events.
                self._unsettled = self._waiting.popleft() if self._waiting and not self._app._exit else None
                if self._unsettled is not None:
                    await self._handle(self._unsettled)

    async def _settle(self, event: Event) -> None:
        """Wait until an event has had its effect.

        The event bubbles from the focused widget through its parents to the application, which runs the action of a
        key. The messages of that action, and of a screen that it opens, take the same path.
        """
        focused = self._app.focused
        if isinstance(focused, Input) and isinstance(event, Key) and event.is_printable:
            # The field inserts the character and keeps the focus, so the next key goes to it, too.
            return
        places: list[tuple[object, object]] = []
        while self._app.screen_stack and (len(places) < _ROUNDS or places[-1] != places[-2]):
            places.append((self._app.screen, self._app.focused))
            for part in (self._app.focused or self._app.screen).ancestors_with_self:
                await _handle_messages(part)


async def _handle_messages(part: MessagePump) -> None:
    """Wait until a part of the application has handled the messages that are in its queue now."""
    handled = asyncio.Event()
    if part.call_later(handled.set):
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(handled.wait(), _TIMEOUT_SECONDS)
