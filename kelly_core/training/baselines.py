"""What a model must beat to be worth having."""

from __future__ import annotations

import numpy as np
import torch

from kelly_core.data.dataset import Dataset
from kelly_core.evaluation.bin_means import mean_target
from kelly_core.spec import Loss
from kelly_core.training.losses import TensorBatch, mean_loss, weighted_loss

_CHUNK = 1024
_TINY = 1e-7


def constant_baseline(dataset: Dataset, loss: Loss) -> float:
    """Validation loss of the best constant output: the weighted mean of the training targets.

    The mean is the minimiser under each of the losses: squared error, binary and soft cross-entropy.
    """
    mean = mean_target(dataset)
    if loss == "bce":
        activation, logits = "sigmoid", np.log(np.clip(mean, _TINY, 1)) - np.log(np.clip(1 - mean, _TINY, 1))
    elif loss == "soft_cross_entropy":
        activation, logits = "softmax", np.log(np.clip(mean, _TINY, 1))
    else:
        activation, logits = "", mean
    constant = torch.from_numpy(logits.astype(np.float32))
    total, weight = torch.zeros(()), torch.zeros(())
    for start in range(0, len(dataset.validation), _CHUNK):
        batch = TensorBatch.of(dataset.eval_batch(dataset.validation[start : start + _CHUNK]), torch.device("cpu"))
        sums = weighted_loss(loss, activation, constant.expand_as(batch.targets), batch)
        total, weight = total + sums[0], weight + sums[1]
    return float(mean_loss(total, weight))
