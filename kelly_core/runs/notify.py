"""Send messages about a run by a command, a webhook, Apprise or the terminal, as set in ``[notify]``.

A separate process sends each message, so an unresponsive server cannot delay or end a training.
"""

from __future__ import annotations

import contextlib
import shlex
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from kelly_core.config.schema import NotifySettings
from kelly_core.errors import KellyError, RunError
from kelly_core.formatting import format_change, printable
from kelly_core.io.json import dumps
from kelly_core.runs.overview import overview
from kelly_core.runs.run import Run
from kelly_core.runs.run_dir import RunDirectory, read_labels, settings_of, short_id

ENDED = "ended"
"""Event for the end of a run; the message has the final state in its place."""

_TRIES = 5
_ANSWER_TIMEOUT_SECONDS = 10.0
_COMMAND_TIMEOUT_SECONDS = 60.0
_TRY_AGAIN = (408, 425, 429)
_PROGRAM = "import os; os.closerange(3, 4096); from kelly_core.runs.notify import main; main()"
"""Program that closes the inherited locks before its imports, because the folder of an ended run must be unlocked."""


def notifier(folder: RunDirectory, event: str, model: str = "") -> list[str]:
    """Return the command line of a process that sends a message."""
    return [sys.executable, "-P", "-c", _PROGRAM, str(folder.path), event, model]


def notify_in_background(folder: RunDirectory, notify: NotifySettings, event: str, model: str) -> None:
    """Start a process that sends a message, if the settings name a destination; do not wait for it."""
    if is_wanted(notify):
        # If memory for another process is missing, only the message is lost; the training continues.
        with contextlib.suppress(OSError):
            subprocess.Popen(
                notifier(folder, event, model),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )


def message(run: Run, event: str, model: str = "") -> dict[str, Any]:
    """Return the content of a message about a run as JSON types; ``text`` is one line.

    If ``model`` is "", the message is about all models.
    """
    row = overview(run.snapshot, run.manifest, read_labels(run.folder))
    what = row.state if event == ENDED else f"{model} {event}"
    gain = "" if row.gain is None else f", {format_change(row.gain)} on the baseline"
    text = f"kelly {short_id(run.id)}: {what}{f': {row.error}' if row.error else gain}"
    return {
        "event": row.state if event == ENDED else event,
        "run": run.id,
        "model": model or ", ".join(row.model_names),
        "models": list(row.model_names),
        "state": row.state,
        "verdict": {each.model: each.verdict for each in row.models if each.verdict},
        "best": {each.model: each.best_loss for each in row.models if each.best_loss is not None},
        "gain": row.gain,
        "epoch": row.epoch,
        "seconds": row.duration,
        "error": row.error,
        "text": printable(text),
    }


def terminal_sequence(notify: NotifySettings, text: str) -> str:
    """Return the control sequence that makes a terminal show a notification; "" if the settings request none."""
    safe = printable(text)
    return {
        "bell": "\a",
        "osc9": f"\x1b]9;{safe}\x07",
        # A semicolon separates the fields of this sequence.
        "osc777": f"\x1b]777;notify;kelly;{safe.replace(';', ',')}\x07",
    }.get(notify.terminal, "")


def send_message(
    notify: NotifySettings, content: dict[str, Any], wait: Callable[[float], None] = time.sleep
) -> list[str]:
    """Send a message to every destination in the settings and return the errors."""
    problems = []
    if notify.command:
        problems.append(_run_command(notify.command, content))
    if notify.webhook:
        problems.append(_post(notify.webhook, content, wait))
    if notify.apprise:
        problems.append(_send_by_apprise(notify.apprise, content))
    return [problem for problem in problems if problem]


def _run_command(command: str, content: dict[str, Any]) -> str:
    """Run a command with the message as JSON on standard input and its text line as the last argument."""
    try:
        words = [*shlex.split(command), content["text"]]
        text = dumps(content).encode()
        done = subprocess.run(
            words, input=text, stdout=subprocess.DEVNULL, timeout=_COMMAND_TIMEOUT_SECONDS, check=False
        )
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        return f"notify.command: {error}"
    return f"notify.command ended with code {done.returncode}" if done.returncode else ""


def _post(url: str, content: dict[str, Any], wait: Callable[[float], None]) -> str:
    """Post a message as JSON; retry an unreachable or overloaded server after 1, 2, 4 and 8 s."""
    headers = {"Content-Type": "application/json", "User-Agent": "kelly-core"}
    problem = ""
    for attempt in range(_TRIES):
        if attempt:
            wait(2.0 ** (attempt - 1))
        try:
            request = urllib.request.Request(url, dumps(content).encode(), headers)
            with urllib.request.urlopen(request, timeout=_ANSWER_TIMEOUT_SECONDS):
                return ""
        except urllib.error.HTTPError as error:
            problem = f"HTTP {error.code}"
            # A server that rejects the request itself would reject it again.
            if error.code < 500 and error.code not in _TRY_AGAIN:
                break
        except (OSError, ValueError) as error:
            problem = str(error)
    # The address may contain a secret, so the error does not include it.
    return f"notify.webhook: {problem}"


def require_apprise(notify: NotifySettings) -> None:
    """Check that messages can be sent by Apprise if the settings require it.

    Raises:
        RunError: Apprise is not installed.
    """
    if notify.apprise and find_spec("apprise") is None:
        hint = 'Install the extra notify: pip install "kelly-trainer[notify]", or leave notify.apprise empty'
        raise RunError("Apprise is not installed, and notify.apprise needs it", hint=hint)


def _send_by_apprise(addresses: Sequence[str], content: dict[str, Any]) -> str:
    """Send the text line to services; Apprise applies its own timeouts."""
    try:
        apprise = import_module("apprise")
    except ImportError:
        return 'notify.apprise: Apprise is not installed. Run: pip install "kelly-trainer[notify]"'
    failed = []
    for number, address in enumerate(addresses, start=1):
        service = apprise.Apprise()
        if not service.add(address) or not service.notify(body=content["text"], title="kelly"):
            failed.append(str(number))
    # The addresses may contain secrets, so only their numbers are logged.
    return f"notify.apprise: no message was sent to address {', '.join(failed)} of {len(addresses)}" if failed else ""


def main() -> None:
    """Send one message; write errors to standard error, which is the run's console.log."""
    path, event, model = sys.argv[1:]
    folder = RunDirectory(Path(path))
    try:
        run = Run(folder)
        problems = send_message(settings_of(folder, run.manifest).notify, message(run, event, model))
    except KellyError as error:
        problems = [str(error)]
    for problem in problems:
        sys.stderr.write(f"{printable(problem)}\n")


def is_wanted(notify: NotifySettings) -> bool:
    """Return True if the settings name a destination other than the terminal."""
    return bool(notify.command or notify.webhook or notify.apprise)
