"""Tests that depend on nothing around them: neither on the user's settings and folders nor on terminal or time zone.

This runs before any library is imported, some of which read their variables only then, and in every process that
tests start with ``-m tests.…``.
"""

from __future__ import annotations

import os
import re
import time

_OF_SURROUNDINGS = re.compile(
    # Settings, the user's folders, and repositories: a hook of git sets its own variables.
    r"KELLY_.*|XDG_.*|DASK_.*|GIT_.*|MPL.*|.*_PROXY"
    # What rich, typer and Textual read to find out about a terminal.
    r"|COLUMNS|LINES|COLORTERM|NO_COLOR|(FORCE|PY)_COLORS?|TTY_.*|TEXTUAL(?!_SNAPSHOT).*|GITHUB_ACTIONS|TERM_PROGRAM.*"
    # How Python encodes its output, and when it writes it: at once only where a person has asked for that.
    r"|PYTHONIOENCODING|PYTHONUTF8|PYTHONUNBUFFERED",
    re.IGNORECASE,
)
for _name in filter(_OF_SURROUNDINGS.fullmatch, list(os.environ)):
    del os.environ[_name]
# Where no terminal is, there may be no TERM, and kelly-tui then leaves colors out.
os.environ |= {"TERM": "xterm-256color", "TZ": "UTC"}
time.tzset()
