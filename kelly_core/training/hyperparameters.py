"""Hyperparameters of a training, from the settings."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from kelly_core.config.schema import Settings
from kelly_core.spec import ModelSpec, State


@dataclass(frozen=True)
class Hyperparameters:
    """Hyperparameters of one model's training.

    Attributes:
        epochs: total number of passes over the training examples, including those before a resume.
        batch_size: examples per optimizer step.
        learning_rate: learning rate of Adam.
        loss: loss function.
        state: "stateful" trains LSTMs on complete sequences, "stateless" on single frames.
        gradient_clip: maximum L2 norm of a step's gradient; 0 does not clip.
        patience: epochs without progress before training stops; 0 never stops early.
        min_delta: decrease relative to the best loss that counts as progress.
        save_best, save_latest, save_interval: checkpoints to keep; the interval is in epochs, 0 keeps none.
        seed: random seed for initial weights, order of examples and noise.
        device: "auto", "cpu", "cuda" or "mps".
        threads: CPU threads for micro-batches of sequences, 0 = one per core; results do not depend on them.
        save_history, save_plots: whether to write them.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    loss: str
    state: State = "stateful"
    gradient_clip: float = 1.0
    patience: int = 10
    min_delta: float = 0.001
    save_best: bool = True
    save_latest: bool = True
    save_interval: int = 0
    seed: int = 0
    device: str = "auto"
    threads: int = 0
    save_history: bool = True
    save_plots: bool = True

    def resume_critical(self) -> dict[str, Any]:
        """Return the settings that must not change when a training is resumed."""
        names = ("batch_size", "learning_rate", "loss", "state", "gradient_clip", "seed")
        return {name: value for name, value in asdict(self).items() if name in names}


def training_settings(settings: Settings, spec: ModelSpec) -> Hyperparameters:
    """Return the hyperparameters of one model; its own section overrides [training]."""
    common, own = settings.training, settings.models[spec.name]
    stopping, checkpointing = common.early_stopping, common.checkpointing
    return Hyperparameters(
        epochs=own.epochs or common.epochs,
        batch_size=own.batch_size or common.batch_size,
        learning_rate=own.learning_rate or common.learning_rate,
        loss=own.loss or spec.loss,
        state=own.state,
        gradient_clip=common.gradient_clip,
        # Not ``or``: a patience of 0 is a valid setting, which never stops early.
        patience=stopping.patience if own.patience is None else own.patience,
        min_delta=stopping.min_delta,
        save_best=checkpointing.save_best,
        save_latest=checkpointing.save_latest,
        save_interval=checkpointing.save_interval,
        seed=common.seed,
        device=common.device,
        threads=common.threads,
        save_history=settings.output.history,
        save_plots=settings.output.plots,
    )
