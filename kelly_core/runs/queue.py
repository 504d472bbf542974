"""Queue of waiting trainings, and the process that starts them, one at a time per device.

The file ``.queue/queue.json`` in the folder of runs lists the waiting trainings. The dispatcher, a process in its own
session, starts the next training when the previous run has ended in any way, and exits when no training waits. After a
reboot, ``kelly-core runs``, ``train --queue`` and the screens start the dispatcher again.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter

from kelly_core.config.schema import Settings
from kelly_core.errors import KellyError, RunError, did_you_mean
from kelly_core.formatting import printable
from kelly_core.io.atomic import atomic_write, make_folder, open_regular
from kelly_core.io.locks import FileLock, is_held
from kelly_core.runs.launch import new_manifest, start_run
from kelly_core.runs.monitor import count_gpus
from kelly_core.runs.registry import list_runs, run_ids
from kelly_core.runs.run_dir import RunManifest, short_id, unused_run_id

_FOLDER = ".queue"
_MAX_BYTES = 16 * 2**20
_EDIT_TIMEOUT_SECONDS = 10.0
_POLL_SECONDS = 1.0


@dataclass(frozen=True)
class WaitingRun:
    """A waiting training: the ID that its run will have, and its manifest."""

    id: str
    manifest: Annotated[RunManifest, Field(validation_alias="record")]


def waiting_runs(runs: Path) -> list[WaitingRun]:
    """Return the waiting trainings of a folder of runs, the next one first.

    Raises:
        RunError: the file cannot be read or is damaged.
    """
    try:
        with open_regular(_queue_file(runs)) as file:
            # Pydantic's JSON parser rejects the surrogates that represent bytes of a path that are not UTF-8.
            content = json.loads(file.read(_MAX_BYTES))
        return TypeAdapter(list[WaitingRun]).validate_python(content)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunError(f"cannot be read ({error.strerror})", where=_queue_file(runs)) from error
    except (ValueError, RecursionError) as error:
        hint = "Remove the file; the trainings that waited are lost"
        raise RunError(
            "is damaged: it is not a list of waiting trainings", where=_queue_file(runs), hint=hint
        ) from error


def enqueue(
    settings: Settings, models: Sequence[str], *, resume: bool = False, command: Sequence[str] = ()
) -> WaitingRun:
    """Add a training to the queue, and start the dispatcher if it is not running.

    Args:
        settings, models, resume, command: as for ``launch.start``.

    Raises:
        RunError: the queue cannot be written, or the dispatcher cannot be started.
    """
    runs = settings.runs.dir.absolute()
    with _editing(runs) as waiting:
        name = unused_run_id(runs, (each.id for each in waiting))
        new = WaitingRun(name, new_manifest(settings, models, resume=resume, command=command))
        waiting.append(new)
    ensure_dispatcher(runs)
    return new


def move(runs: Path, text: str, place: int) -> None:
    """Move a waiting training to a position in the queue; 1 is the next one.

    Raises:
        RunError: no waiting training, or more than one, has a name that begins with ``text``.
    """
    with _editing(runs) as waiting:
        found = _find(waiting, text)
        waiting.remove(found)
        waiting.insert(max(0, place - 1), found)


def drop(runs: Path, text: str) -> WaitingRun:
    """Remove a waiting training and return it.

    Raises:
        RunError: no waiting training, or more than one, has a name that begins with ``text``.
    """
    with _editing(runs) as waiting:
        found = _find(waiting, text)
        waiting.remove(found)
    return found


def ensure_dispatcher(runs: Path) -> None:
    """Start the dispatcher if trainings wait and it is not running.

    Raises:
        RunError: the dispatcher cannot be started.
    """
    if not waiting_runs(runs) or is_held(_dispatcher_lock(runs), error_type=RunError):
        return
    command = [sys.executable, "-P", "-m", "kelly_core.runs.queue", str(runs.absolute())]
    try:
        # In a new session, the dispatcher continues when the terminal closes, as trainings do.
        with (runs / _FOLDER / "dispatcher.log").open("ab") as log:
            subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    except OSError as error:
        raise RunError(f"the process of the queue cannot be started ({error})", where=runs) from error


def start_waiting(runs: Path, say: Callable[[str], object] = print) -> bool:
    """Start the waiting trainings whose device is free. Return True if trainings still wait.

    A training whose output folder is in use keeps waiting; later trainings that can start are started.
    """
    listed, known = list_runs(runs), set(run_ids(runs))
    busy = {device_slot(run.device) for run in listed.runs if run.live}
    for each in waiting_runs(runs):
        device = device_slot(str(each.manifest.settings.get("training", {}).get("device", "")))
        # A known ID was started by a dispatcher that was killed before it removed the ID from the queue.
        if each.id not in known:
            if device in busy:
                continue
            try:
                start_run(runs, each.manifest, each.id)
            except RunError as error:
                say(f"{each.id} waits: {printable(str(error))}")
                continue
            busy.add(device)
            say(f"{each.id} started")
        with _editing(runs) as waiting:
            waiting[:] = [other for other in waiting if other.id != each.id]
    return bool(waiting_runs(runs))


def device_slot(device: str) -> str:
    """Return the device on which a training with this setting runs; "auto" selects a GPU if there is one."""
    return device if device not in ("", "auto") else "cuda" if count_gpus() else "cpu"


def _find(waiting: Sequence[WaitingRun], text: str) -> WaitingRun:
    found = [each for each in waiting if text and (each.id.startswith(text) or short_id(each.id).startswith(text))]
    if len(found) == 1:
        return found[0]
    names = [each.id for each in waiting]
    hint = did_you_mean(text, names, "`kelly-core runs queue` lists them")
    raise RunError(f"{len(found) or 'no'} waiting trainings have names that begin with this", where=text, hint=hint)


def _queue_file(runs: Path) -> Path:
    return runs / _FOLDER / "queue.json"


def _dispatcher_lock(runs: Path) -> Path:
    return runs / _FOLDER / "dispatcher.lock"


@contextmanager
def _editing(runs: Path) -> Iterator[list[WaitingRun]]:
    """Yield the waiting trainings for changes, which are written if no error occurs."""
    with RunError.from_os_error("cannot be created", where=runs / _FOLDER):
        make_folder(runs / _FOLDER)
    lock = FileLock.acquire(runs / _FOLDER / "edit.lock", _EDIT_TIMEOUT_SECONDS, error_type=RunError)
    if lock is None:
        raise RunError("is being changed by another process", where=_queue_file(runs), hint="Try again")
    try:
        waiting = waiting_runs(runs)
        yield waiting
        content = [{"id": each.id, "record": asdict(each.manifest)} for each in waiting]
        text = json.dumps(content, indent=1)
        atomic_write(_queue_file(runs), text.encode(), error_type=RunError)
    finally:
        lock.release()


def main(runs: Path) -> None:
    """Start trainings until none waits; return at once if another dispatcher is running."""
    # The lock is held until this process exits in any way, so commands detect whether a dispatcher is running.
    lock = FileLock.acquire(_dispatcher_lock(runs), error_type=RunError)
    if lock is None:
        return
    printed: set[str] = set()

    def say(text: str) -> None:
        # A training that cannot start is retried every second, but the reason is printed once.
        if text not in printed:
            printed.add(text)
            sys.stdout.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")
            sys.stdout.flush()

    try:
        while start_waiting(runs, say):
            time.sleep(_POLL_SECONDS)
    except KellyError as error:
        say(str(error))
    finally:
        lock.release()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
