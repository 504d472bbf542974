"""Speed of the training loop beside a plain DataLoader loop of the same network, in one run.

Both loops do the same work on the same random numbers: forward, loss, backward, gradient clipping, Adam. The plain one
takes 64 single frames a step, as a textbook does; ours takes 64 examples a step, which are sequences of 64 frames where
the network has an LSTM. The two take turns, and the median of each counts.

Waiting threads spin here, as is PyTorch's default and best for the plain loop. `kelly-core train` lets them sleep; set
OMP_WAIT_POLICY=PASSIVE to measure that.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from kelly_core.data.dataset import Batch, Dataset, Example, Indices, Standardisation
from kelly_core.events import EpochDone, Event
from kelly_core.spec import MODELS, Loss, ModelSpec
from kelly_core.training import trainer
from kelly_core.training.device import cpu_threads
from kelly_core.training.gradients import Autograd, DenseChain
from kelly_core.training.networks import build_network
from kelly_core.training.optimiser import FlatAdam
from kelly_core.training.settings import TrainingSettings

BATCH = 64
SEQUENCE = 64
CLIP = 1.0
RATE = 0.001
WANTED_RATIO = {True: 3.0, False: 3.0}
"""Frames a second of our loop over those of the plain one, for networks with an LSTM and for dense ones."""
WANTED_OVERHEAD = 0.1


class RandomDataset(Dataset):
    """Random numbers in memory, so that only the loop is measured."""

    name = "random"
    fingerprint = "random"

    def __init__(self, spec: ModelSpec, examples: int) -> None:
        rng = np.random.default_rng(0)
        self.sequence_length = SEQUENCE if spec.recurrent else 1
        self.input_size, self.output_size = spec.input_size, spec.output_size
        self.standardisation = Standardisation.identity(spec.input_size)
        self.train, self.validation = np.arange(examples), np.arange(BATCH)
        self.facts: dict[str, Any] = {}
        shape = (examples, self.sequence_length)
        self._inputs = rng.standard_normal((*shape, spec.input_size), dtype=np.float32)
        self._targets = rng.random((*shape, spec.output_size), dtype=np.float32)
        self._weights = np.ones((*shape, 1), np.float32)

    def __len__(self) -> int:
        return len(self.train)

    def __getitem__(self, index: int) -> Example:
        raise NotImplementedError("nobody looks at random examples")

    def draw(self, indices: Indices, rng: np.random.Generator) -> Batch:
        """The examples at ``indices``, as they are."""
        return self.fixed(indices)

    def fixed(self, indices: Indices) -> Batch:
        """The examples at ``indices``."""
        return Batch(self._inputs[indices], self._targets[indices], self._weights[indices])


@dataclass(frozen=True)
class Measurement:
    """Frames a second of both loops for one model, and the share of ours spent beside the network's own work."""

    model: str
    threads: int
    plain: float
    ours: float
    ratio: float
    overhead: float

    @property
    def fast(self) -> bool:
        """Whether the ratio is as wanted."""
        recurrent = next(spec.recurrent for spec in MODELS if spec.name == self.model)
        return self.ratio >= WANTED_RATIO[recurrent]

    @property
    def lean(self) -> bool:
        """Whether the overhead is as wanted."""
        return self.overhead < WANTED_OVERHEAD


def plain_epoch(spec: ModelSpec, batches: int) -> Callable[[], float]:
    """A textbook loop over single frames; each call trains one epoch and gives its frames a second."""
    network = build_network(spec, seed=0)
    optimiser = torch.optim.Adam(network.parameters(), lr=RATE)
    frames = batches * BATCH
    targets = torch.rand(frames, 1, spec.output_size)
    loader = DataLoader(TensorDataset(torch.randn(frames, 1, spec.input_size), targets), BATCH, shuffle=True)

    def epoch() -> float:
        started, total = time.perf_counter(), 0.0
        for x, y in loader:
            optimiser.zero_grad()
            loss = plain_loss(spec.loss, network(x)[0], y)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP)
            optimiser.step()
            total += loss.item()
        return frames / (time.perf_counter() - started)

    return epoch


def plain_loss(loss: Loss, outputs: Tensor, targets: Tensor) -> Tensor:
    """The loss as a textbook writes it."""
    if loss == "bce":
        return functional.binary_cross_entropy(outputs, targets)
    if loss == "soft_cross_entropy":
        return -(targets * outputs.log()).sum(dim=-1).mean()
    return functional.mse_loss(outputs, targets)


def our_epochs(spec: ModelSpec, dataset: Dataset, epochs: int) -> list[tuple[float, float]]:
    """Train with our loop; frames a second and overhead of each epoch but the first, which warms up."""
    figures: list[tuple[float, float]] = []
    frames = len(dataset.train) * dataset.sequence_length
    settings = TrainingSettings(
        epochs=epochs + 1,
        batch_size=BATCH,
        learning_rate=RATE,
        loss=spec.loss,
        gradient_clip=CLIP,
        patience=0,
        device="cpu",
        threads=torch.get_num_threads(),
        save_best=False,
        save_latest=False,
        save_history=False,
        save_plots=False,
    )
    with tempfile.TemporaryDirectory() as folder, stopwatch() as inside:

        def listen(event: Event) -> None:
            if isinstance(event, EpochDone):
                figures.append((event.frames_per_second, 1.0 - inside[0] * event.frames_per_second / frames))
                inside[0] = 0.0

        trainer.train(spec, dataset, settings, Path(folder), listen=listen)
    return figures[1:]


@contextmanager
def stopwatch() -> Iterator[list[float]]:
    """Add up the seconds spent in forward pass, loss, backward pass and optimiser step."""
    seconds = [0.0]

    def timed(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*arguments: Any, **named: Any) -> Any:
            started = time.perf_counter()
            result = call(*arguments, **named)
            seconds[0] += time.perf_counter() - started
            return result

        return wrapper

    parts = [(Autograd, "__call__"), (DenseChain, "__call__"), (FlatAdam, "step")]
    with ExitStack() as stack:
        for owner, name in parts:
            stack.enter_context(patch.object(owner, name, timed(getattr(owner, name))))
        yield seconds


def measure(spec: ModelSpec, rounds: int) -> Measurement:
    """Let the two loops take turns; about a second each a round."""
    with cpu_threads(0, spec.recurrent):
        dataset = RandomDataset(spec, BATCH * (6 if spec.recurrent else 800))
        plain = plain_epoch(spec, batches=100 if spec.recurrent else 800)
        plain()
        theirs: list[float] = []
        ours: list[tuple[float, float]] = []
        for _ in range(rounds):
            theirs.append(plain())
            ours += our_epochs(spec, dataset, epochs=2)
        speed = statistics.median(speed for speed, _ in ours)
        return Measurement(
            model=spec.name,
            threads=torch.get_num_threads(),
            plain=statistics.median(theirs),
            ours=speed,
            ratio=speed / statistics.median(theirs),
            overhead=statistics.median(share for _, share in ours),
        )


def show(measurements: list[Measurement]) -> None:
    """Print a table."""
    table = Table("model", title=f"Training on {os.cpu_count()} cores, PyTorch {torch.__version__}")
    for column in ("threads", "plain, frames/s", "ours, frames/s", "ratio", "wanted", "overhead", "wanted"):
        table.add_column(column, justify="right")
    for row, spec in zip(measurements, MODELS, strict=True):
        colours = ["green" if good else "red" for good in (row.fast, row.lean)]
        table.add_row(
            row.model,
            str(row.threads),
            f"{row.plain:,.0f}",
            f"{row.ours:,.0f}",
            f"[{colours[0]}]{row.ratio:.2f}",
            f"≥ {WANTED_RATIO[spec.recurrent]}",
            f"[{colours[1]}]{row.overhead:.1%}",
            f"< {WANTED_OVERHEAD:.0%}",
        )
    Console().print(table)


def main() -> None:
    """Measure all five models."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each loop")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    measurements = [measure(spec, options.rounds) for spec in MODELS]
    if options.json:
        print(json.dumps([asdict(row) | {"fast": row.fast, "lean": row.lean} for row in measurements], indent=2))
    else:
        show(measurements)


if __name__ == "__main__":
    main()
