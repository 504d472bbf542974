"""Process of a run: train, log events, and handle the requests of observers. Only this process imports torch."""

from __future__ import annotations

import faulthandler
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from kelly_core import events
from kelly_core.config.schema import NotifySettings, Settings
from kelly_core.errors import CheckpointError, KellyError, as_memory_error
from kelly_core.io.atomic import deny_others_writing_new_files, guard_folder
from kelly_core.io.locks import FileLock
from kelly_core.runs.control import RunController, StopNow
from kelly_core.runs.event_log import EventLogger, FeaturesRead, LogWriter, RunEnded, print_line
from kelly_core.runs.launch import output_lock_path, release_output_lock
from kelly_core.runs.monitor import ResourceMonitor, RunMonitor, write_environment
from kelly_core.runs.notify import notify_in_background
from kelly_core.runs.run import Run
from kelly_core.runs.run_dir import RunDirectory, settings_of, write_manifest
from kelly_core.spec import ModelSpec, model_spec

if TYPE_CHECKING:
    from kelly_core.features.extraction import Progress
    from kelly_core.training.history import TensorBoardWriter

_SECONDS_BETWEEN_FEATURES = 0.5


def work(folder: RunDirectory, lock_handle: int) -> None:
    """Train the models of a run, from the beginning or from checkpoints, and log the result.

    Args:
        folder: directory of the run; this process must hold the locks of the run and of its output folder.
        lock_handle: file descriptor of the lock of the output folder.
    """
    deny_others_writing_new_files()
    # Write the stack of a crash in native code to console.log.
    faulthandler.enable()
    run = Run(folder)
    output_lock = FileLock(output_lock_path(run.manifest.output), lock_handle)
    log = LogWriter(folder.events)
    logger = EventLogger(log, run.manifest.attempts)
    controller = RunController(logger.log)
    logger.training_seconds = controller.training_seconds
    meter = ResourceMonitor()
    training = _Training(run, logger, controller)
    owned = output_lock.identity.is_current
    with (
        controller.signals(),
        guard_folder(run.manifest.output, owned),
        RunMonitor(run, logger, controller, meter, owned),
    ):
        controller.begin()
        ending = training.run(meter)
        controller.close()
        # Before the last record: an observer that reads it may immediately start another run into this output folder.
        release_output_lock(output_lock)
        if ending.state == "stopped":
            print_line(f"to continue: kelly-core runs resume {run.id}")
        logger.log(ending)
        log.close()


class _Training:
    """Training of the models of a run."""

    def __init__(self, run: Run, logger: EventLogger, controller: RunController) -> None:
        self._folder, self._manifest, self._before = run.folder, run.manifest, run.snapshot
        self._logger, self._controller = logger, controller
        self._unexported: dict[str, Path] = {}
        self._errors: list[str] = []
        self._model_began = 0.0
        self._features_reported = 0.0
        self._board: TensorBoardWriter | None = None
        self._extended = False
        self._unsaved_rates: dict[str, float | None] = {}
        self._notify = NotifySettings()

    def run(self, meter: ResourceMonitor) -> RunEnded:
        """Train, and return the end of the run."""
        try:
            settings = self._with_changes(self._extend(settings_of(self._folder, self._manifest)))
            self._notify = settings.notify
            write_environment(self._folder, self._manifest.attempts, meter.gpus)
            complete = False
            try:
                # An immediate stop can interrupt the code below anywhere; atomic writes keep files complete.
                with self._controller.interruptible():
                    complete = self._train(settings)
            except StopNow:
                if not self._controller.failure:
                    self._export_pending(settings)
        except KellyError as error:
            return RunEnded("failed", str(error))
        except Exception as error:  # noqa: BLE001 - reported in the run's log
            print_line(traceback.format_exc())
            if problem := as_memory_error(error):
                return RunEnded("failed", str(problem))
            return RunEnded("failed", f"unexpected {type(error).__name__}: {error} (see {self._folder.console})")
        if self._controller.failure:
            return RunEnded("failed", self._controller.failure)
        if self._errors:
            return RunEnded("failed", "; ".join(self._errors))
        return RunEnded("finished" if complete else "stopped")

    def _extend(self, settings: Settings) -> Settings:
        """Convert additional epochs to total numbers of epochs, and store them in the manifest for later attempts.

        Finished epochs are read from checkpoints, because the log may be damaged or end before the last checkpoint.
        """
        more = self._manifest.more_epochs
        if not more:
            return settings
        totals = {name: self._epochs_done(model_spec(name), settings) + more for name in self._manifest.models}
        models = {
            name: own.model_copy(update={"epochs": totals.get(name, own.epochs)})
            for name, own in settings.models.items()
        }
        training = settings.training.model_copy(update={"epochs": max(totals.values())})
        settings = settings.model_copy(update={"training": training, "models": models})
        self._manifest = replace(self._manifest, settings=settings.model_dump(mode="json"), more_epochs=0)
        write_manifest(self._folder, self._manifest)
        self._extended = True
        return settings

    def _with_changes(self, settings: Settings) -> Settings:
        """Apply changes requested in earlier attempts to the models that continue from those attempts.

        A later request for more epochs overrides a changed number of epochs.
        """
        models = dict(settings.models)
        for name in self._manifest.models:
            if not self._continues(model_spec(name), settings):
                continue
            changes, self._unsaved_rates[name] = Run(self._folder).changes_of(name)
            kept = ("patience",) if self._extended else ("patience", "epochs")
            models[name] = models[name].model_copy(update={key: int(changes[key]) for key in kept if key in changes})
        return settings.model_copy(update={"models": models})

    def _epochs_done(self, spec: ModelSpec, settings: Settings) -> int:
        from kelly_core.training.checkpoint import load_checkpoint
        from kelly_core.training.files import checkpoint_path

        latest = checkpoint_path(settings.output.dir, spec.file_stem, "latest")
        if not self._continues(spec, settings) or not latest.exists():
            return 0
        try:
            return load_checkpoint(latest).epoch
        except CheckpointError:
            # The training of the model raises and reports the same error.
            return 0

    def _train(self, settings: Settings) -> bool:
        """Train the models. Return True if none was stopped or skipped."""
        if settings.output.tensorboard:
            from kelly_core.training.history import TensorBoardWriter

            self._board = TensorBoardWriter(settings.output.dir / "tensorboard")
        models = self._manifest.models
        at_once = settings.training.jobs > 1 and len(models) > 1
        reasons = []
        for result in self._train_in_parallel(settings) if at_once else self._train_in_turn(settings):
            self._end_model(result)
            reasons.append(result.reason)
        return "stopped" not in reasons and len(reasons) == len(models)

    def _train_in_turn(self, settings: Settings) -> Iterator[events.ModelResult]:
        """Train the models one after the other, until a stop is requested."""
        # Imported late: importing PyTorch takes seconds, during which the monitor already handles requests.
        from kelly_core.training.pipeline import train_model
        from kelly_core.training.trainer import Requests

        controller = self._controller
        requests = Requests(controller.should_stop, controller.should_roll_back, controller.take_changes)
        for name in self._manifest.models:
            if controller.stopping:
                return
            self._model_began = time.monotonic()
            spec = model_spec(name)
            yield train_model(
                settings,
                spec,
                resume=self._continues(spec, settings),
                renew_patience=self._extended,
                unsaved_rate=self._unsaved_rates.get(name),
                listen=self._listen,
                requests=requests,
                progress=self._progress,
            )

    def _train_in_parallel(self, settings: Settings) -> Iterator[events.ModelResult]:
        """Train the models in parallel, each in a separate process."""
        from kelly_core.training.multiprocess import train_in_parallel
        from kelly_core.training.trainer import Requests

        controller = self._controller
        specs = [model_spec(name) for name in self._manifest.models]
        self._model_began = time.monotonic()
        return train_in_parallel(
            settings,
            [(spec, self._continues(spec, settings)) for spec in specs],
            settings.training.jobs,
            renew_patience=self._extended,
            listen=self._listen,
            # Not controller.should_stop, which blocks during a pause: events must be forwarded even then.
            requests=Requests(lambda: controller.stopping, controller.should_roll_back, controller.take_changes),
            is_paused=controller.is_paused,
            unsaved_rates=self._unsaved_rates,
        )

    def _continues(self, spec: ModelSpec, settings: Settings) -> bool:
        """Return True to continue from the latest checkpoint: on request, or if this run has saved it.

        A checkpoint in the folder may also be from another training, from before this run reached the model.
        """
        from kelly_core.training.files import checkpoint_path

        if self._manifest.resume or self._manifest.attempts == 1:
            return self._manifest.resume
        latest = checkpoint_path(settings.output.dir, spec.file_stem, "latest")
        known = any(model.checkpoint for model in self._before.models if model.model == spec.name)
        # One condition is enough, because the log may be damaged and the clock may have been changed.
        return known or (latest.exists() and latest.stat().st_mtime >= self._manifest.created)

    def _listen(self, event: events.Event) -> None:
        if isinstance(event, events.EpochDone):
            self._controller.epoch_done(lambda: self._logger.log(event))
        else:
            self._logger.log(event)
        if self._board is not None:
            self._board.listen(event)
        match event:
            case events.CheckpointSaved():
                self._unexported[event.model] = Path(event.path)
            case events.TrainingWarning(kind="plateau" | "overfitting" | "diverged" | "rollback"):
                notify_in_background(self._folder, self._notify, event.kind, event.model)
            case events.Exported() | events.TrainingWarning(kind="replaced"):
                self._unexported.pop(event.model, None)

    def _progress(self, dataset: str) -> Progress:
        noted = ""

        def advance(done: int, total: int, note: str = "") -> None:
            nonlocal noted
            if self._controller.stopping:
                self._controller.interrupt()
            now = time.monotonic()
            due = done == total or now - self._features_reported >= _SECONDS_BETWEEN_FEATURES
            if (note and note != noted) or (due and not note):
                noted, self._features_reported = note, now
                self._logger.log(FeaturesRead(dataset, done, total, note))

        return advance

    def _export_pending(self, settings: Settings) -> None:
        """Export the best weights on disk after an immediate stop."""
        from kelly_core.training.checkpoint import load_checkpoint
        from kelly_core.training.pipeline import export_checkpoint

        for model, path in list(self._unexported.items()):
            checkpoint = load_checkpoint(path)
            export = export_checkpoint(checkpoint, settings.output, self._listen)
            data = checkpoint.dataset
            seconds = time.monotonic() - self._model_began
            self._end_model(
                events.ModelResult(
                    model,
                    data["name"],
                    data["synthetic"],
                    str(export),
                    "stopped",
                    checkpoint.epoch,
                    checkpoint.metrics,
                    seconds,
                )
            )

    def _end_model(self, result: events.ModelResult) -> None:
        self._logger.log(result)
        if result.error:
            self._errors.append(result.error)


if __name__ == "__main__":
    work(RunDirectory(Path(sys.argv[1])), int(sys.argv[2]))
