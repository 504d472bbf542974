"""Speed of the training loop compared with a plain DataLoader loop, Lightning's Trainer and bare matrix products.

All loops train the same networks on the same kind of random numbers: forward, loss, backward, gradient clipping, Adam.
The plain loop and Lightning use 64 single frames per step, as in textbooks. Ours uses 64 examples per step, which are
sequences of 64 frames if the network has an LSTM. The loops alternate. A ratio is the median over the rounds, and is
not compared with its target if the rounds differ too much.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.measurements import Measurement, main, measured, median_at_least
from kelly_core.arrays import Indices
from kelly_core.data.dataset import Batch, Dataset, Example, ExampleMetadata, Normalizer
from kelly_core.events import EpochDone, Event
from kelly_core.spec import MODELS, Dense, ModelSpec
from kelly_core.training.adam import FlatAdam
from kelly_core.training.backprop import GradientAccumulator
from kelly_core.training.hyperparameters import Hyperparameters
from kelly_core.training.networks import build_network
from kelly_core.training.trainer import Trainer

BATCH = 64
SEQUENCE = 64
CLIP = 1.0
RATE = 0.001
ROUNDS = 5
SECONDS = 1.0
"""Maximum seconds per round of the other loops, so that the benchmark ends on a busy machine."""
MATRIX = 2048
HIDDEN, STEPS = 1024, 8
"""Size and steps of the LSTM that measures oneDNN's limit; its batch has ``MATRIX`` / ``STEPS`` sequences."""

Epoch = Callable[[], float]
"""Function that trains one epoch and returns its frames per second."""


class RandomDataset(Dataset):
    """Random numbers in memory, so that only the loop is measured."""

    name = "random"
    fingerprint = "random"

    def __init__(self, spec: ModelSpec, examples: int) -> None:
        rng = np.random.default_rng(0)
        self.sequence_length = SEQUENCE if spec.recurrent else 1
        self.input_size, self.output_size = spec.input_size, spec.output_size
        self.normalizer = Normalizer.identity(spec.input_size)
        self.train, self.validation, self.test = np.arange(examples), np.arange(BATCH), np.arange(0)
        names = np.full(examples, "random")
        self.rows = ExampleMetadata(corpora=names, groups=names, sources=np.full(examples, "imputed"), splits=names)
        self.metadata: dict[str, Any] = {}
        shape = (examples, self.sequence_length)
        self._inputs = rng.standard_normal((*shape, spec.input_size), dtype=np.float32)
        self._targets = rng.random((*shape, spec.output_size), dtype=np.float32)
        self._weights = np.ones((*shape, 1), np.float32)

    def __getitem__(self, index: int) -> Example:
        raise NotImplementedError("random examples are not evaluated")

    def train_batch(self, indices: Indices, rng: np.random.Generator) -> Batch:  # noqa: ARG002 - part of the interface
        """Return the examples at ``indices``, unchanged."""
        return self.eval_batch(indices)

    def eval_batch(self, indices: Indices) -> Batch:
        """Return the examples at ``indices``."""
        return Batch(self._inputs[indices], self._targets[indices], self._weights[indices])


def single_frames(spec: ModelSpec, batches: int) -> DataLoader[tuple[Tensor, ...]]:
    """Return a loader of random single frames, as in textbooks."""
    frames = batches * BATCH
    targets = torch.rand(frames, 1, spec.output_size)
    return DataLoader(TensorDataset(torch.randn(frames, 1, spec.input_size), targets), BATCH, shuffle=True)


def plain_epoch(spec: ModelSpec, batches: int) -> Epoch:
    """Return an epoch function of a textbook loop over single frames."""
    network = build_network(spec, seed=0)
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE)
    loader = single_frames(spec, batches)

    def epoch() -> float:
        started, steps, total = time.perf_counter(), 0, 0.0
        for x, y in loader:
            optimizer.zero_grad()
            loss = plain_loss(spec.loss, network(x)[0], y)
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP)
            optimizer.step()
            total += loss.item()
            steps += 1
            seconds = time.perf_counter() - started
            if seconds > SECONDS:
                break
        return steps * BATCH / seconds

    return epoch


def lightning_epoch(spec: ModelSpec, batches: int) -> Epoch:
    """Return an epoch function that uses Lightning, without its logging, checkpoints and progress bar."""
    import pytorch_lightning as lightning

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = build_network(spec, seed=0)

        def training_step(self, batch: list[Tensor]) -> Tensor:
            return plain_loss(spec.loss, self.network(batch[0])[0], batch[1])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), lr=RATE)

    class Clock(lightning.Callback):
        """Measures frames per second of the epoch alone, without setting up the trainer."""

        started = speed = 0.0

        def on_train_epoch_start(self, *_: Any) -> None:
            self.started = time.perf_counter()

        def on_train_epoch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
            self.speed = trainer.global_step * BATCH / (time.perf_counter() - self.started)

    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    module, loader = Module(), single_frames(spec, batches)

    def epoch() -> float:
        clock = Clock()
        run = lightning.Trainer(
            max_epochs=1,
            max_time=timedelta(seconds=SECONDS),
            accelerator="cpu",
            gradient_clip_val=CLIP,
            callbacks=[clock],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        run.fit(module, loader)
        return clock.speed

    return epoch


def plain_loss(loss: str, outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the loss as in textbooks."""
    if loss == "bce":
        return functional.binary_cross_entropy(outputs, targets)
    if loss == "soft_cross_entropy":
        return -(targets * outputs.log()).sum(dim=-1).mean()
    return functional.mse_loss(outputs, targets)


def our_epochs(spec: ModelSpec, dataset: Dataset, epochs: int) -> list[tuple[float, float]]:
    """Train with our loop; return frames per second and overhead of each epoch except the first, which warms up."""
    measurements: list[tuple[float, float]] = []
    frames = len(dataset.train) * dataset.sequence_length
    settings = Hyperparameters(
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
                measurements.append((event.frames_per_second, 1.0 - inside[0] * event.frames_per_second / frames))
                inside[0] = 0.0

        Trainer(spec, dataset, settings, Path(folder), listen=listen).fit()
    return measurements[1:]


@contextmanager
def stopwatch() -> Iterator[list[float]]:
    """Add up the seconds spent in forward pass, loss, backward pass and optimizer step."""
    seconds = [0.0]

    def timed(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*arguments: Any, **named: Any) -> Any:
            started = time.perf_counter()
            result = call(*arguments, **named)
            seconds[0] += time.perf_counter() - started
            return result

        return wrapper

    parts = [(GradientAccumulator, "__call__"), (FlatAdam, "step")]
    with ExitStack() as stack:
        for owner, name in parts:
            stack.enter_context(patch.object(owner, name, timed(getattr(owner, name))))
        yield seconds


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Set PyTorch's number of threads within the context."""
    previous = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(previous)


def torch_product_flops() -> float:
    """Return the floating-point operations per second of a large float32 product in PyTorch."""
    one, other = torch.rand(MATRIX, MATRIX), torch.rand(MATRIX, MATRIX)
    return 2 * MATRIX**3 / seconds_of(lambda: one @ other)


def product_flops() -> dict[str, float]:
    """Return the floating-point operations per second of large float32 products by library, on PyTorch's threads."""
    one, other = torch.rand(MATRIX, MATRIX), torch.rand(MATRIX, MATRIX)
    square = 2 * MATRIX**3
    speeds = {"PyTorch": torch_product_flops()}
    with threadpool_limits(torch.get_num_threads(), "blas"):
        left, right = one.numpy(), other.numpy()
        speeds["NumPy"] = square / seconds_of(lambda: left @ right)
    with torch.inference_mode():
        recurrent = torch.nn.LSTM(HIDDEN, HIDDEN)
        frames = torch.rand(STEPS, MATRIX // STEPS, HIDDEN)
        speeds["LSTM"] = 2 * MATRIX * 8 * HIDDEN**2 / seconds_of(lambda: recurrent(frames))
        if torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
            rows, weight = one.to_mkldnn(), other.to_mkldnn()
            speeds["oneDNN"] = square / seconds_of(lambda: functional.linear(rows, weight))
    return speeds


def seconds_of(call: Callable[[], object]) -> float:
    """Return the seconds of the faster of two calls, after one that warms up."""
    times = []
    for _ in range(3):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return min(times[1:])


def flops_per_frame(spec: ModelSpec) -> int:
    """Return the operations of a frame's matrix products, forward and backward, without the gradient of the inputs."""
    products = [
        layer.in_size * layer.out_size
        if isinstance(layer, Dense)
        else 4 * layer.out_size * (layer.in_size + layer.out_size)
        for layer in spec.layers
    ]
    first = spec.layers[0]
    return 2 * (3 * sum(products) - first.in_size * first.out_size)


@dataclass
class Rounds:
    """Results of all rounds for one model: frames/s of our loop and of the others, overheads, limits by library."""

    ours: list[float]
    overheads: list[float]
    others: dict[str, list[float]]
    limits: dict[str, float]


def measure_model(spec: ModelSpec) -> list[Measurement]:
    """Run the loops alternately, each for about a second per round."""
    with torch_threads(torch.get_num_threads() if spec.recurrent else 1):
        batches = 100 if spec.recurrent else 600
        dataset = RandomDataset(spec, BATCH * (6 if spec.recurrent else batches))
        loops = {"a plain loop": plain_epoch(spec, batches)}
        if spec.recurrent and find_spec("pytorch_lightning"):
            loops["Lightning"] = lightning_epoch(spec, batches)
        for epoch in loops.values():
            epoch()
        rounds = Rounds([], [], {name: [] for name in loops}, {})
        for _ in range(ROUNDS):
            for name, epoch in loops.items():
                rounds.others[name].append(epoch())
            speeds, overheads = zip(*our_epochs(spec, dataset, epochs=2), strict=True)
            rounds.ours.append(median(speeds))
            rounds.overheads.append(median(overheads))
            for name, flops in product_flops().items():
                rounds.limits[name] = max(flops, rounds.limits.get(name, 0.0))
        return measurements_of(spec, rounds)


def measurements_of(spec: ModelSpec, rounds: Rounds) -> list[Measurement]:
    """Return the measurements computed from the rounds of one model."""
    wanted = {"a plain loop": 3.0, "Lightning": 4.0}
    measurements = [
        median_at_least(
            f"{spec.name}: frames/s relative to {name}",
            [ours / other for ours, other in zip(rounds.ours, speeds, strict=True)],
            "×",
            wanted[name],
            f"{median(rounds.ours):,.0f} and {median(speeds):,.0f}",
        )
        for name, speeds in rounds.others.items()
    ]
    overhead = 100 * median(rounds.overheads)
    beside = Measurement.at_most(f"{spec.name}: time outside gradient and step", overhead, "%", 25)
    return [*measurements, share_of_limit(spec, rounds), beside]


def share_of_limit(spec: ModelSpec, rounds: Rounds) -> Measurement:
    """Return the share of the fastest product of all libraries; a share above 100 % indicates a wrong measurement."""
    library, limit = max(rounds.limits.items(), key=lambda entry: entry[1])
    flops = median(rounds.ours) * flops_per_frame(spec)
    threads = torch.get_num_threads()
    note = f"{flops / 1e9:.0f} of {limit / 1e9:.0f} GFLOP/s ({library}), threads: {threads}"
    share, name = 100 * flops / limit, f"{spec.name}: share of a large matrix product"
    if share > 100:
        return Measurement(name, share, "%", "≤ 100", met=False, note=f"error: more than the limit, {note}")
    return (
        Measurement.at_least(name, share, "%", 65, note) if spec.recurrent else Measurement(name, share, "%", note=note)
    )


def measure() -> list[Measurement]:
    """Measure all five models."""
    if not find_spec("pytorch_lightning"):
        print(
            'Lightning is left out. To measure it too, install it: pip install "kelly-trainer[bench]"', file=sys.stderr
        )
    return [measurement for spec in MODELS for measurement in measure_model(spec)]


if __name__ == "__main__":
    main(partial(measured, measure), __doc__)
