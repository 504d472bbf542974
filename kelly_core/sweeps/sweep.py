"""Run the trials of a sweep, each as a run, and collect their results."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from kelly_core.config.schema import Settings
from kelly_core.errors import RunError
from kelly_core.export.provenance import keep_previous
from kelly_core.features.extraction import Progress
from kelly_core.io.atomic import atomic_write, atomic_write_all, guard_folder, make_folder, open_regular
from kelly_core.io.json import dumps
from kelly_core.parallel.executor import ALLOWED_FAILURES, Waiting, map_unordered
from kelly_core.runs.launch import acquire_output_lock, release_output_lock, resume, start
from kelly_core.runs.run import Run
from kelly_core.runs.run_dir import RunDirectory
from kelly_core.sweeps.plan import Trial
from kelly_core.sweeps.results import TrialResult, as_json, best_runs, summarize_points

_POLL_SECONDS = 0.2
_MAX_REQUEST = 64
_STOP, _STOP_AT_ONCE, _KILL = "stop", "now", "kill"


class _StopWaitingError(Exception):
    """Raised to stop waiting for workers."""


class Sweep:
    """Trials of a sweep; a repeated sweep does not repeat finished trials.

    Args:
        trials: trials to run.
        settings: settings of the sweep.
        command: equivalent command line, for display.
    """

    def __init__(self, trials: Sequence[Trial], settings: Settings, command: Sequence[str] = ()) -> None:
        self.trials = list(trials)
        self._settings = settings
        self._command = tuple(command)
        self._output = settings.output.dir.absolute()
        self._request_file = self._output / "trials" / ".stop"
        self._request = ""
        self._has_lock = False
        self.live = True

    @property
    def table(self) -> Path:
        """Path of the file with trials, table and best runs."""
        return self._output / "sweep.json"

    def prepare(self, dataset: str, progress: Progress | None = None) -> None:
        """Compute the features of a corpus that the trials need, and store them in the cache.

        Raises:
            DataError: the corpus contains no usable data.
            ParallelError: the cluster cannot be reached or used.
        """
        from kelly_core.data.catalog import is_present, open_corpus

        # Trials with equal [datasets] settings share features, which are computed once.
        different = {dumps(trial.settings.datasets.model_dump(mode="json")): trial.settings for trial in self.trials}
        for settings in different.values():
            if not settings.datasets.use_synthetic and is_present(dataset, settings.datasets.folder(dataset)):
                here = settings.model_copy(update={"parallel": self._settings.parallel})
                open_corpus(dataset, here, progress)

    def results(self, waiting: Waiting = lambda _text: None) -> Iterator[TrialResult]:
        """Run the unfinished trials, and yield each result as its trial ends.

        The result of a finished trial is yielded unchanged. A running trial is awaited, and an interrupted trial is
        resumed from its checkpoints.

        Args:
            waiting: as for ``map_ordered``.

        Raises:
            RunError: another run or sweep is training into the output folder.
            ParallelError: the cluster cannot be reached or used.
        """
        output_lock = acquire_output_lock(self._output)
        try:
            with guard_folder(self._output, output_lock.identity.is_current):
                yield from self._run_trials(waiting)
        finally:
            self.live = False
            release_output_lock(output_lock)
            output_lock.release()

    def request_stop(self, *, at_once: bool = False) -> None:
        """Start no more trials, and stop running trials after their current step or at once."""
        self._send_to_trials(_STOP_AT_ONCE if at_once else _STOP)

    def kill(self) -> None:
        """Kill the trials' processes; files on disk stay valid."""
        self._send_to_trials(_KILL)

    def write(self, results: Sequence[TrialResult]) -> None:
        """Write the table file.

        Raises:
            RunError: the file cannot be written.
        """
        text = dumps(as_json(results), indent=2)
        atomic_write(self.table, text.encode(), error_type=RunError)

    def export_best(self, results: Sequence[TrialResult]) -> dict[str, Path]:
        """Copy the best export of each model into the output folder; return the paths by run ID.

        Raises:
            RunError: an export is missing or cannot be copied.
        """
        exports = {result.run: Path(result.export) for result in results if result.export}
        best = {run: exports[run] for run in best_runs(summarize_points(results)).values()}
        targets = {run: self._output / path.name for run, path in best.items()}
        if best:
            contents = {targets[run]: _content(run, path) for run, path in best.items()}
            for target, content in contents.items():
                if target.exists() and target.read_bytes() != content:
                    keep_previous(target)
            atomic_write_all(contents, error_type=RunError)
        return targets

    def _run_trials(self, waiting: Waiting) -> Iterator[TrialResult]:
        make_folder(self._request_file.parent)
        # A request to an earlier sweep in this folder must not stop this sweep.
        self._request_file.unlink(missing_ok=True)
        self._has_lock = True
        # A signal may have arrived before the lock was acquired.
        if self._request:
            self._write_request()
        runs = self.trials[0].settings.runs.dir
        make_folder(runs)
        # Written first: a worker of a cluster must see this file before it runs a trial.
        self.write([_queued_result(trial) for trial in self.trials])
        left = {trial.id: trial for trial in self.trials}
        with suppress(_StopWaitingError):
            for result in self._as_completed(runs, waiting):
                del left[result.run]
                yield result
        # Without workers, these calls forward the stop to running trials; they start no new trials.
        yield from map(self._runner, left.values())

    def _send_to_trials(self, request: str) -> None:
        """Send a request to the trials; without the output lock, the trials of another sweep would receive it."""
        self._request = request
        if self._has_lock:
            self._write_request()

    def _write_request(self) -> None:
        atomic_write(self._request_file, self._request.encode(), error_type=RunError)

    def _as_completed(self, runs: Path, waiting: Waiting) -> Iterator[TrialResult]:
        """Yield results as they complete.

        Raises:
            _StopWaitingError: a stop was requested, and the cluster has no worker to forward it.
        """

        def wait(text: str) -> None:
            if self._request_file.exists():
                raise _StopWaitingError
            waiting(text)

        return map_unordered(
            self._runner,
            self.trials,
            jobs=self._jobs,
            scheduler=self._settings.parallel.cluster,
            required_paths=[self.table, runs],
            waiting=wait,
        )

    @property
    def _runner(self) -> Callable[[Trial], TrialResult]:
        return partial(_run_trial, request_file=self._request_file, command=self._command)

    @property
    def _jobs(self) -> int:
        threads = self.trials[0].settings.training.threads
        return self._settings.sweep.jobs or max(1, (os.cpu_count() or 1) // threads)


def _content(run: str, export: Path) -> bytes:
    hint = f"`kelly-core runs rm {run}` and repeat the sweep to train it again"
    with RunError.from_os_error("cannot be read", where=export, hint=hint), open_regular(export) as file:
        return file.read()


def _run_trial(trial: Trial, *, request_file: Path, command: Sequence[str]) -> TrialResult:
    """Start or resume a trial if necessary, and wait for its end; can run on any machine."""
    try:
        run = _start_trial(trial, request_file, command)
        return _queued_result(trial) if run is None else _follow_trial(trial, run, request_file)
    except RunError as error:
        return TrialResult(trial.id, trial.model, trial.seed, trial.point, "failed", error=str(error))


def _start_trial(trial: Trial, request_file: Path, command: Sequence[str]) -> Run | None:
    """Return the run of a trial, started or resumed if necessary; None if it has no run and a stop was requested."""
    folder = RunDirectory(trial.settings.runs.dir / trial.id)
    run = Run(folder) if folder.manifest.exists() else None
    if request_file.exists() or (run is not None and (run.live or run.snapshot.state == "finished")):
        return run
    if run is not None:
        return resume(run)
    return start(trial.settings, [trial.model], command=command, name=trial.id)


def _follow_trial(trial: Trial, run: Run, request_file: Path) -> TrialResult:
    """Wait for a run, forward requests to it, and resume it if its process is lost."""
    sent, lost_processes = "", 0
    while True:
        while run.poll():
            pass
        requested = _read(request_file)
        if run.snapshot.state == "died" and not requested and lost_processes < ALLOWED_FAILURES:
            # The process may have been killed for lack of memory, or its machine was lost. Resuming from
            # checkpoints is cheap.
            lost_processes += 1
            run = resume(run)
        elif not run.live:
            return _result(trial, run)
        elif requested != sent:
            sent = requested
            _send_request(run, requested)
        time.sleep(_POLL_SECONDS)


def _read(request_file: Path) -> str:
    try:
        with open_regular(request_file) as file:
            return file.read(_MAX_REQUEST).decode("ascii", "replace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise RunError(f"cannot be read ({error.strerror})", where=request_file) from error


def _send_request(run: Run, requested: str) -> None:
    if requested == _KILL:
        run.kill()
    elif requested:
        run.request_stop(at_once=requested == _STOP_AT_ONCE)


def _queued_result(trial: Trial) -> TrialResult:
    return TrialResult(trial.id, trial.model, trial.seed, trial.point)


def _result(trial: Trial, run: Run) -> TrialResult:
    snapshot = run.snapshot
    (model,) = snapshot.models
    return TrialResult(
        run=run.id,
        model=trial.model,
        seed=trial.seed,
        point=trial.point,
        state=snapshot.state,
        epochs=model.epoch,
        best_epoch=model.best_epoch,
        best_loss=model.best_loss,
        baseline_loss=model.baseline_loss,
        export=model.export,
        error=model.error or snapshot.error,
    )
