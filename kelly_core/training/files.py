"""Files of one model's training: checkpoints, history and plot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from kelly_core.data.dataset import Dataset
from kelly_core.errors import CheckpointError
from kelly_core.events import CheckpointSaved, Listener
from kelly_core.io.atomic import remove_leftovers
from kelly_core.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from kelly_core.training.history import write_history
from kelly_core.training.hyperparameters import Hyperparameters

CheckpointKind = Literal["best", "latest", "interval"]


def checkpoint_path(output: Path, stem: str, kind: str) -> Path:
    """Return the path of a model's checkpoint; ``kind`` is best, latest or epochNNNN."""
    return output / "checkpoints" / f"{stem}_{kind}.pt"


class TrainingFiles:
    """Writer and reader of the files that one model's training produces according to its settings.

    Attributes:
        best: checkpoint of the best epoch.
        latest: checkpoint of the last complete epoch.
        history: history as JSON; the CSV is next to it.
        plot: loss curves.

    Args:
        output: folder of the training.
        stem: beginning of every file name.
        settings: hyperparameters; they determine which files are written and which values a resume must not change.
        listen: receives an event for every checkpoint.
    """

    def __init__(self, output: Path, stem: str, settings: Hyperparameters, listen: Listener) -> None:
        self._output, self._stem, self._settings, self._listen = output, stem, settings, listen
        self.best = checkpoint_path(output, stem, "best")
        self.latest = checkpoint_path(output, stem, "latest")
        self.history = output / "history" / f"{stem}_history.json"
        self.plot = output / "plots" / f"{stem}_loss.png"

    def remove_leftovers(self) -> None:
        """Delete temporary files of a killed training."""
        remove_leftovers(self.latest.parent, self._stem)

    def save(self, kind: CheckpointKind, state: Checkpoint) -> None:
        """Write a checkpoint and announce it.

        Raises:
            CheckpointError: the file cannot be written.
        """
        paths = {"best": self.best, "latest": self.latest}
        path = paths.get(kind) or checkpoint_path(self._output, self._stem, f"epoch{state.epoch:04d}")
        save_checkpoint(state, path)
        self._listen(CheckpointSaved(state.model, state.epoch, kind, str(path)))

    def save_epoch(self, state: Checkpoint, *, is_best: bool) -> None:
        """Write the files that the settings request after a complete epoch.

        The latest checkpoint is written last: a training killed before that resumes from the previous epoch and writes
        the other files again.

        Raises:
            KellyError: a file cannot be written.
        """
        settings = self._settings
        if settings.save_best and is_best:
            self.save("best", state)
        if settings.save_interval > 0 and state.epoch % settings.save_interval == 0:
            self.save("interval", state)
        if settings.save_latest:
            self.save("latest", state)
        if settings.save_history:
            write_history(self.history, state.model, state.history, state.metrics)

    def best_state(self, current: Checkpoint) -> Checkpoint:
        """Return the state to roll back to: the best checkpoint of a resumed training if kept, otherwise ``current``.

        Raises:
            CheckpointError: the best checkpoint cannot be read.
        """
        if current.epoch and self.best.exists():
            best = load_checkpoint(self.best)
            # Another training may have left a checkpoint of this name.
            if best.weights_hash() == current.weights_hash():
                return best
        return current

    def add_quality(self, state: Checkpoint, quality: dict[str, Any], *, has_latest: bool) -> None:
        """Add the quality of the best weights to the checkpoints that contain them, and to the history.

        Raises:
            KellyError: a file cannot be read or written.
        """
        weights = state.weights_hash()
        written = [(self._settings.save_best, self.best), (has_latest, self.latest)]
        for path in [path for is_written, path in written if is_written and path.exists()]:
            saved = load_checkpoint(path)
            if saved.weights_hash() == weights:
                save_checkpoint(replace(saved, quality=quality), path)
        if self._settings.save_history and state.history:
            write_history(self.history, state.model, state.history, state.metrics, quality)

    def load_latest(self, model: str, dataset: Dataset) -> Checkpoint | None:
        """Load the checkpoint from which a model's training on a dataset resumes; None if there is none.

        Raises:
            CheckpointError: it is corrupted, or belongs to another training.
        """
        path = self.latest
        if not path.exists():
            return None
        try:
            checkpoint = load_checkpoint(path)
        except CheckpointError as error:
            hint = error.hint or "Start without --resume to train from the beginning"
            raise CheckpointError(error.problem, where=error.where, hint=hint) from error
        if checkpoint.model != model:
            raise CheckpointError(f"is of {checkpoint.model}, not {model}", where=path)
        if checkpoint.dataset["fingerprint"] != dataset.fingerprint:
            hint = "Use the original data or another --output, or start without --resume"
            raise CheckpointError("was trained on other examples or another split", where=path, hint=hint)
        judging = 0 if dataset.judging is None else len(dataset.judging)
        if checkpoint.dataset.get("judging_examples", 0) != judging:
            hint = "Start without --resume; only the version that wrote it can continue it"
            raise CheckpointError("chose its best epoch on other validation examples", where=path, hint=hint)
        for name, value in self._settings.resume_critical().items():
            if (found := checkpoint.settings.get(name)) != value:
                hint = "A resumed training keeps its settings; start without --resume to change them"
                problem = f"was trained with {name} = {found}, not {value}"
                raise CheckpointError(problem, where=path, hint=hint)
        return checkpoint
