"""What the trainer is told: plain data, one value a knob."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from kelly_core.spec import Loss, State


@dataclass(frozen=True)
class Hyperparameters:
    """How one model trains.

    Attributes:
        epochs: passes over the training examples in all, those before a resume included.
        batch_size: examples a step.
        learning_rate: of Adam.
        loss: which loss.
        state: "stateful" trains LSTMs on whole sequences, "stateless" on single frames.
        gradient_clip: largest norm of a step's gradient; 0 does not clip.
        patience: epochs without progress before training stops; 0 never stops early.
        min_delta: share of the best loss by which an epoch must beat it to count as progress.
        save_best, save_latest, save_interval: which checkpoints are kept; an interval of 0 keeps none.
        seed: of the initial weights, the order of examples and all noise.
        device: "auto", "cpu", "cuda" or "mps".
        threads: on the CPU, for parts of a batch of sequences; 0 takes one for each core. They change no result.
        save_history, save_plots: whether to write them.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    loss: Loss
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
        """The settings that must be the same for a resumed training to be one and the same training."""
        names = ("batch_size", "learning_rate", "loss", "state", "gradient_clip", "seed")
        return {name: value for name, value in asdict(self).items() if name in names}
