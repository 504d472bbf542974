"""Handling of Ctrl-C from the first import of a program on.

This module is imported before all others and imports only what Python has loaded already, because Ctrl-C shows a
traceback until the handler is installed.
"""

from __future__ import annotations

import os
import signal
import sys

# Defined here as in typing, whose import takes 10 ms; type checkers recognize the name.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from sys import UnraisableHookArgs
    from types import FrameType

INTERRUPTED = 130
"""128 + the signal's number, as shells report it."""

_SECONDS_BEFORE_RAISING_AGAIN = 0.02


def run_main(module: str) -> None:
    """Import a module and call its ``main``.

    Ctrl-C, also during the imports, ends the program with exit status 130 and without a traceback.

    Args:
        module: dotted name.
    """
    interrupts = Interrupts()
    try:
        interrupts.install()
        from importlib import import_module

        import_module(module).main()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except Exception:
        if interrupts.arrived:
            sys.exit(INTERRUPTED)
        raise
    finally:
        interrupts.exit_at_once()
        # After python -m, CPython ends by SIGINT, regardless of the exit status, if the last exec() of a string was
        # interrupted; dataclasses and named tuples are created by exec(). Another exec() clears the flag (see
        # run_eval_code_obj in CPython's Python/pythonrun.c).
        exec("")


class Interrupts:
    """Handler of Ctrl-C for a command that has no training to stop: raise KeyboardInterrupt, and record it.

    Code that runs inside native code (serializers, class creation, callbacks) can convert a KeyboardInterrupt into
    another exception or drop it. The record marks such an exception as an interrupt, not an error.

    Attributes:
        arrived: True once Ctrl-C was pressed.
    """

    def __init__(self) -> None:
        self.arrived = False
        self._show_unraisable = sys.unraisablehook

    def install(self) -> None:
        """Handle SIGINT from now on, unless it is ignored, as in a background job of a shell script."""
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, self._raise)
            sys.unraisablehook = self._raise_again

    def exit_at_once(self) -> None:
        """End the process without cleaning up at the next Ctrl-C: the command is done, and Python only shuts down."""
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, lambda _number, _frame: os._exit(INTERRUPTED))

    def _raise(self, _number: int, _frame: FrameType | None) -> None:
        self.arrived = True
        raise KeyboardInterrupt

    def _raise_again(self, dropped: UnraisableHookArgs) -> None:
        """Raise a KeyboardInterrupt again that was raised in a callback or a destructor, where Python drops it."""
        if issubclass(dropped.exc_type, KeyboardInterrupt):
            # Raised by a timer instead: Python also drops exceptions that this hook raises.
            signal.signal(signal.SIGALRM, self._raise)
            signal.setitimer(signal.ITIMER_REAL, _SECONDS_BEFORE_RAISING_AGAIN)
        else:
            self._show_unraisable(dropped)
