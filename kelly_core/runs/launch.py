"""Start or resume the process of a run, and lock its output folder."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

from kelly_core.config.schema import Settings
from kelly_core.errors import RunError
from kelly_core.io.atomic import deny_others_writing, make_folder, open_for_writing
from kelly_core.io.locks import FileLock, LockOwner
from kelly_core.runs.event_log import AttemptBegun, LogRecord, LogWriter, RunEnded
from kelly_core.runs.run import Run
from kelly_core.runs.run_dir import (
    RunDirectory,
    RunManifest,
    read_manifest,
    settings_of,
    unused_run_id,
    write_manifest,
)

_OUTPUT_LOCK = ".lease"

# A small shell process starts the training, waits for it and writes its exit status to a file of the run. The run does
# not depend on the shell: if the shell is killed, only the status is missing.
_SUPERVISE = """
umask go-w
status_file=$1 attempt=$2 notifier=$3
shift 3
rm -f "$status_file"
"$@" >&2 &
process=$!
trap '' HUP INT TERM
echo $process
exec >&-
wait $process
echo "$attempt $?" > "$status_file"
[ -z "$notifier" ] || eval "exec $notifier"
"""


def start(
    settings: Settings, models: Sequence[str], *, resume: bool = False, command: Sequence[str] = (), name: str = ""
) -> Run:
    """Start a training in a separate process, which continues after this one ends.

    Args:
        settings: all settings; ``runs.dir`` is the folder of runs, ``output.dir`` the folder of exports.
        models: model names in the order of training.
        resume: continue from checkpoints in the output folder.
        command: equivalent command line, for display.
        name: ID of the run, which must be unused; "" generates one.

    Raises:
        RunError: a run of this name exists, another run trains into the same output folder, a folder cannot be written,
            or Apprise is required by the settings but not installed.
    """
    manifest = new_manifest(settings, models, resume=resume, command=command)
    return start_run(settings.runs.dir.absolute(), manifest, name)


def new_manifest(
    settings: Settings, models: Sequence[str], *, resume: bool = False, command: Sequence[str] = ()
) -> RunManifest:
    """Return the manifest of a training in the current working folder; see ``start``.

    Raises:
        RunError: the settings require Apprise, which is not installed.
    """
    # Imported late because it loads an HTTP client, which ``--help`` and a start without messages do not need.
    from kelly_core.runs.notify import require_apprise

    require_apprise(settings.notify)
    return RunManifest(
        created=time.time(),
        models=tuple(models),
        working_folder=_working_folder(),
        resume=resume,
        command=tuple(command),
        settings=settings.model_dump(mode="json"),
    )


def start_run(runs: Path, manifest: RunManifest, name: str = "") -> Run:
    """Start the training that a manifest describes.

    Args:
        runs: folder of runs, absolute.
        manifest: manifest of the training.
        name: ID of the run, which must be unused; "" generates one.

    Raises:
        RunError: as ``start``.
    """
    with ExitStack() as locks:
        output_lock = _until_end(locks, acquire_output_lock(manifest.output))
        # The output is locked first, because a refused start must not leave a run directory behind.
        folder = _named_folder(runs / name) if name else _new_folder(runs)
        run_lock = FileLock.acquire(folder.heartbeat, error_type=RunError)
        assert run_lock is not None
        return _launch(folder, manifest, _until_end(locks, run_lock), output_lock)


def resume(run: Run, more_epochs: int = 0) -> Run:
    """Resume an ended run from its checkpoints with its settings.

    Each model trains ``more_epochs`` beyond its complete epochs; 0 continues up to the number in the settings.

    Raises:
        RunError: the run is live, another run trains into its output folder, or its manifest is damaged.
    """
    with ExitStack() as locks:
        run_lock = _until_end(locks, run.acquire_lock())
        manifest = read_manifest(run.folder)
        # ``more_epochs`` still applies if the process died before it converted them to a total.
        manifest = replace(
            manifest,
            settings=settings_of(run.folder, manifest).model_dump(mode="json"),
            more_epochs=more_epochs or manifest.more_epochs,
        )
        output_lock = _until_end(locks, acquire_output_lock(manifest.output))
        return _launch(run.folder, manifest, run_lock, output_lock)


def _notifier(folder: RunDirectory, manifest: RunManifest) -> list[str]:
    """Return the command that sends the message about the end of a run; [] if the settings name no recipient."""
    from kelly_core.runs.notify import ENDED, is_wanted, notifier

    try:
        notify = settings_of(folder, manifest).notify
    except RunError:
        # The run's own process ends with this error and reports it.
        return []
    return notifier(folder, ENDED) if is_wanted(notify) else []


def spawn(folder: RunDirectory, handles: Sequence[int]) -> int:
    """Start the process of a run in a new session and pass it the run's locks.

    Args:
        folder: directory of the run.
        handles: file descriptors of the lock of the run and, last, of the lock of its output folder.

    Returns:
        The process ID of the training.

    Raises:
        RunError: the process cannot be started.
    """
    # -P: a module in the working folder must not shadow a standard module.
    manifest = read_manifest(folder)
    command = [sys.executable, "-P", "-m", "kelly_core.runs.worker", str(folder.path), str(handles[-1])]
    try:
        with os.fdopen(open_for_writing(folder.console, os.O_WRONLY | os.O_APPEND), "ab") as console:
            process = subprocess.Popen(
                supervised(command, folder, manifest.attempts, _notifier(folder, manifest)),
                cwd=manifest.working_folder,
                # The output is UTF-8 in any locale, and names that are not UTF-8 are escaped instead of ending the run.
                env=os.environ | {"PYTHONIOENCODING": "utf-8:backslashreplace"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=console,
                # In a new session, the process receives no SIGHUP when the terminal closes.
                start_new_session=True,
                # The child inherits the open locks, so they are never free between parent and child.
                pass_fds=handles,
            )
    except OSError as error:
        raise RunError(f"its process cannot be started ({error})", where=folder.id) from error
    assert process.stdout is not None
    with process.stdout:
        # The first line is the PID of the training: the process started here is the shell that waits for its status.
        return int(process.stdout.readline())


def supervised(command: Sequence[str], folder: RunDirectory, attempt: int, notifier: Sequence[str] = ()) -> list[str]:
    """Return a shell command that runs ``command``, prints its process ID and writes its status when it has ended.

    The output of ``command`` is written to standard error.

    ``notifier`` is a command that replaces the shell (exec) after ``command`` has ended in any way.
    """
    return ["/bin/sh", "-c", _SUPERVISE, "sh", str(folder.exit_status), str(attempt), shlex.join(notifier), *command]


def _working_folder() -> str:
    try:
        return str(Path.cwd())
    except FileNotFoundError as error:
        raise RunError("the working folder no longer exists") from error


def _until_end(stack: ExitStack, lock: FileLock) -> FileLock:
    """Close this process's handle when ``stack`` closes; the started process keeps its handle and so the lock."""
    stack.callback(lock.release)
    return lock


def _new_folder(runs: Path) -> RunDirectory:
    while True:
        folder = RunDirectory(runs / unused_run_id(runs))
        # Another process may have created a run with this ID.
        with suppress(FileExistsError):
            _make(folder.path)
            return folder


def _named_folder(path: Path) -> RunDirectory:
    folder = RunDirectory(path)
    # A folder without a manifest was left by a failed start; the caller holds the lock of its output.
    with suppress(FileExistsError):
        _make(path)
    if folder.manifest.exists():
        raise RunError("a run of this name exists", where=folder.id)
    return folder


def _make(path: Path) -> None:
    try:
        make_folder(path, exist_ok=False)
    except FileExistsError:
        raise
    except OSError as error:
        hint = "Set KELLY_RUNS_DIR or [runs] dir to a writable folder"
        raise RunError(f"cannot be created ({error.strerror})", where=path, hint=hint) from error


def _launch(folder: RunDirectory, manifest: RunManifest, run_lock: FileLock, output_lock: FileLock) -> Run:
    manifest = replace(manifest, attempts=manifest.attempts + 1)
    # Anyone who can write to the folder can control the run.
    with RunError.from_os_error("its permissions cannot be changed", where=folder.path):
        deny_others_writing(folder.path)
    write_manifest(folder, manifest)
    # The time since the last attempt must not count as silence.
    os.utime(run_lock.handle)
    log = LogWriter(folder.events)
    try:
        log.append(LogRecord(time.time(), 0.0, manifest.attempts, AttemptBegun()))
        run = Run(folder)
        # Until the new PID is known, the previous one is removed: it may belong to another process by now.
        run_lock.write_owner(folder.id, 0)
        pid = spawn(folder, (run_lock.handle, output_lock.handle))
    except RunError as error:
        log.append(LogRecord(time.time(), 0.0, manifest.attempts, RunEnded("failed", str(error))))
        raise
    finally:
        log.close()
    for lock in (run_lock, output_lock):
        lock.write_owner(folder.id, pid)
    return run


def output_lock_path(output: Path) -> Path:
    """Return the file that a training into ``output`` locks."""
    return output / _OUTPUT_LOCK


def acquire_output_lock(output: Path) -> FileLock:
    """Acquire the lock of an output folder; create the folder if necessary.

    Raises:
        RunError: another run, which the message names, trains into the folder, or the folder cannot be created.
    """
    path = output_lock_path(output)
    with RunError.from_os_error("cannot be created as a folder", where=output):
        make_folder(output)
    lock = FileLock.acquire(path, error_type=RunError)
    if lock is None:
        raise _refusal(output, path)
    return lock


def release_output_lock(lock: FileLock) -> None:
    """Release the output folder; call only in the process that holds the lock."""
    # Deleting the lock file releases the folder: this process keeps its lock until it exits, but on a deleted file. If
    # the file cannot be deleted, the folder is released when the process exits shortly after.
    with suppress(OSError):
        lock.remove()


def _refusal(output: Path, path: Path) -> RunError:
    holder = LockOwner.read(path)
    who = f"run {holder.run} (process {holder.pid} on {holder.host})" if holder.run else "another run"
    stop = f"stop it with `kelly-core runs stop {holder.run}`" if holder.run else "stop it"
    return RunError(f"{who} is training into this folder", where=output, hint=f"Wait for it, {stop}, or choose another")
