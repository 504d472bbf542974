"""Every model learns: from single generated sets to within a few percent of what is possible at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from kelly_core.data.synthetic.dataset import create_synthetic
from kelly_core.spec import model_spec
from kelly_core.training.hyperparameters import Hyperparameters
from kelly_core.training.trainer import Trainer
from tests.seeds import shifted


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "bound", "epochs", "batch_size", "learning_rate"),
    [
        ("EmotionRecognizer", 0.05, 9, 16, 1e-3),
        ("MelodyTransformer", 0.05, 2, 4, 2e-3),
        ("HarmonyPredictor", 0.10, 20, 128, 5e-4),
        ("DynamicsEngine", 0.05, 2, 128, 2e-3),
        ("GroovePredictor", 0.05, 2, 128, 2e-3),
    ],
)
def test_synthetic_training_comes_near_the_bayes_loss(
    tmp_path: Path, name: str, bound: float, epochs: int, batch_size: int, learning_rate: float
) -> None:
    spec = model_spec(name)
    settings = Hyperparameters(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        loss=spec.loss,
        threads=1,
        seed=shifted(0),
        save_history=False,
        save_plots=False,
    )
    result = Trainer(spec, create_synthetic(spec.dataset, seed=shifted(0)), settings, tmp_path).fit()
    assert -0.02 < result.metrics["epsilon"] <= bound
    assert result.quality is not None
    assert result.quality.trained
    assert result.quality.epsilon == pytest.approx(result.metrics["epsilon"], abs=1e-3)
