"""The one loop: what it learns, how it ends, and what it leaves."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path
from threading import current_thread
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from kelly_core.arrays import Indices
from kelly_core.data.dataset import Batch
from kelly_core.errors import ConfigError, TrainingError
from kelly_core.events import BatchDone, CheckpointSaved, EpochDone, ModelEnded, ModelStarted, TrainingWarning
from kelly_core.spec import MODELS
from kelly_core.training.batches import TensorBatch
from kelly_core.training.checkpoint import load_checkpoint
from kelly_core.training.trainer import Trainer
from tests.helpers.toy_training import (
    EMOTION,
    GROOVE,
    MELODY,
    STEPS,
    ToyDataset,
    ToyRun,
    assert_same,
    assert_same_training,
    first_weight,
    script_validation_losses,
    settings,
    watch_batches,
)
from tests.seeds import seeded_rng, shifted


def test_the_number_of_threads_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kelly_core.training.batches._MIN_MICRO_BATCH_SIZE", 2)
    threads_seen: list[set[str]] = []
    watch_batches(monkeypatch, lambda _batch: threads_seen[-1].add(current_thread().name))
    results = []
    for threads in (1, 3):
        threads_seen.append(set())
        results.append(ToyRun(MELODY, tmp_path / str(threads))(epochs=2, batch_size=8, threads=threads))
    assert len(threads_seen[0]) == 1 < len(threads_seen[1])
    assert_same_training(*results)


@pytest.mark.parametrize("spec", [MELODY, GROOVE], ids=lambda spec: spec.name)
def test_an_epoch_reads_a_number_from_the_device_only_at_its_end(spec: Any, tmp_path: Path) -> None:
    """On a GPU each number that the program looks at is a wait for all that was computed before."""

    class Numbers(TorchDispatchMode):
        looked_at = 0

        def __torch_dispatch__(self, call: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            self.looked_at += call is torch.ops.aten._local_scalar_dense.default
            return call(*args, **kwargs or {})

    trainer = Trainer(spec, ToyDataset(spec), settings(spec), tmp_path)
    with Numbers() as numbers:
        trainer.train_epoch()
        assert numbers.looked_at == 1
        trainer.validate()
        assert numbers.looked_at == 2


@pytest.mark.parametrize("spec", MODELS, ids=lambda spec: spec.name)
def test_the_output_bias_starts_at_the_best_constant_of_the_training_targets(spec: Any, tmp_path: Path) -> None:
    dataset = ToyDataset(spec)
    trainer = Trainer(spec, dataset, settings(spec), tmp_path)
    targets = dataset.targets[dataset.train, 0].astype(np.float64)
    is_median = spec.loss == "masked_l1"
    wanted = np.quantile(targets, 0.5, axis=0, method="lower") if is_median else targets.mean(axis=0)
    inverse = {"sigmoid": lambda p: np.log(p / (1 - p)), "softmax": np.log, "tanh": np.arctanh}
    bias = trainer.network.layers[-1].bias.detach().numpy()
    np.testing.assert_allclose(bias, inverse[spec.output_activation](wanted), rtol=1e-4, atol=1e-5)


def test_the_seed_decides_everything(tmp_path: Path) -> None:
    one, same, other = (ToyRun(GROOVE, tmp_path / str(i))(seed=shifted(seed)) for i, seed in enumerate([1, 1, 2]))
    assert_same_training(one, same)
    assert not torch.equal(first_weight(one.checkpoint), first_weight(other.checkpoint))


def test_examples_come_in_a_new_order_with_new_noise_in_every_epoch(tmp_path: Path) -> None:
    dataset, drawn = ToyDataset(GROOVE), []

    def draw(indices: Indices, rng: np.random.Generator) -> Batch:
        drawn.append((indices.tolist(), rng.random()))
        return dataset.eval_batch(indices)

    dataset.train_batch = draw
    ToyRun(GROOVE, tmp_path, dataset)(epochs=2)
    (first, noise), (second, other_noise) = drawn
    assert sorted(first) == sorted(second) == dataset.train.tolist()
    assert first != second
    assert noise != other_noise


@pytest.mark.parametrize("spec", [EMOTION, GROOVE], ids=lambda spec: spec.name)
def test_a_stop_within_an_epoch_leaves_the_last_complete_one(spec: Any, tmp_path: Path) -> None:
    whole = ToyRun(spec, tmp_path / "whole")(epochs=3)
    parts = ToyRun(spec, tmp_path / "parts")
    stopped = parts(epochs=3, stop_after=STEPS + 2)
    assert stopped.reason == "stopped"
    assert stopped.epoch == 1
    one_epoch = ToyRun(spec, tmp_path / "one")(epochs=1)
    assert_same_training(stopped, one_epoch)
    assert_same_training(parts(epochs=3, resume=True), whole)


def test_a_stop_saves_even_if_the_latest_is_not_kept(tmp_path: Path) -> None:
    whole = ToyRun(GROOVE, tmp_path / "whole")(epochs=3)
    parts = ToyRun(GROOVE, tmp_path / "parts")
    parts(epochs=3, stop_after=2 * STEPS + 1, save_latest=False)
    assert load_checkpoint(parts.checkpoint_path("latest")).epoch == 2
    assert_same_training(parts(epochs=3, resume=True), whole)


def test_a_stop_in_the_first_epoch_still_leaves_something_to_export(tmp_path: Path) -> None:
    run = ToyRun(GROOVE, tmp_path)
    stopped = run(stop_after=2)
    assert (stopped.reason, stopped.epoch) == ("stopped", 0)
    assert stopped.checkpoint is not None
    assert math.isfinite(stopped.metrics["val_loss"])
    assert_same_training(run(resume=True), ToyRun(GROOVE, tmp_path / "whole")())


@pytest.mark.parametrize("spec", [EMOTION, GROOVE], ids=lambda spec: spec.name)
def test_something_learnable_is_learned(spec: Any, tmp_path: Path) -> None:
    dataset = ToyDataset(spec, examples=48, frames=4 if spec.recurrent else 1)
    dataset.targets = 0.5 * np.tanh(dataset.inputs[..., : spec.output_size])
    dataset.validation, dataset.noise = dataset.train, 0.0
    result = ToyRun(spec, tmp_path, dataset)(epochs=15, loss="mse")
    assert result.metrics["val_loss"] < 0.1 * result.metrics["baseline_loss"]


def test_a_sequence_teaches_what_single_frames_cannot(tmp_path: Path) -> None:
    """The target is the frame before: a stateless network has no way to know it."""
    losses = {}
    for state in ("stateful", "stateless"):
        dataset = ToyDataset(EMOTION, examples=96, frames=8)
        signs = np.sign(seeded_rng(0).normal(size=(96, 8, 1))).astype(np.float32)
        dataset.inputs = np.repeat(signs, EMOTION.input_size, axis=2)
        dataset.targets = 0.8 * np.repeat(np.roll(signs, 1, axis=1), EMOTION.output_size, axis=2)
        dataset.weights = np.ones((96, 8, 1), np.float32)
        dataset.weights[:, 0] = 0.0
        result = ToyRun(EMOTION, tmp_path / state, dataset)(epochs=6, batch_size=16, state=state)
        losses[state] = result.metrics["val_loss"] / result.metrics["baseline_loss"]
    assert losses["stateful"] < 0.2
    assert losses["stateless"] > 0.9


def test_single_frames_of_a_step_come_from_many_sequences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = ToyDataset(EMOTION, frames=4)
    dataset.inputs[:] = np.arange(24)[:, None, None]
    dataset.noise = 0.0
    steps: list[set[float]] = []
    watch_batches(monkeypatch, lambda batch: steps.append(set(batch.inputs.flatten().tolist())))
    ToyRun(EMOTION, tmp_path, dataset)(epochs=1, state="stateless")
    assert len(steps) == 16
    assert sum(len(sequences) > 1 for sequences in steps) > 12


def test_early_stopping_ends_and_the_best_weights_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = [1.0, 0.5, 0.7, 0.4, 0.6, 0.5, 0.45, 0.3]
    script_validation_losses(monkeypatch, losses)
    run = ToyRun(GROOVE, tmp_path)
    result = run(epochs=8, patience=3)
    assert (result.reason, result.epoch, result.metrics["best_epoch"]) == ("early_stopping", 7, 4)
    assert [event.val_loss for event in run.events_of(EpochDone)] == losses[:7]
    best = load_checkpoint(run.checkpoint_path("best"))
    assert best.epoch == 4
    assert_same(best.network, ToyRun(GROOVE, tmp_path / "four")(epochs=4).checkpoint.network)
    assert_same(best.network, result.checkpoint.best_network)
    assert not torch.equal(first_weight(best), first_weight(result.checkpoint))


def test_the_moving_mean_of_the_weights_is_validated_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, validate = ToyRun(GROOVE, tmp_path), Trainer.validate
    run.dataset.averages_weights = True
    script_validation_losses(monkeypatch, [0.7, 0.6, 0.5, 0.4, 0.3, 0.2])
    last = run(epochs=6, save_interval=1).checkpoint
    epochs = [first_weight(load_checkpoint(run.checkpoint_path(f"epoch{epoch:04}"))) for epoch in range(1, 7)]
    expected = 0.8 * torch.stack(epochs[:5]).mean(dim=0) + 0.2 * epochs[5]
    # Rounding of float32 in another order.
    torch.testing.assert_close(last.best_network["layers.0.weight"], expected, rtol=1e-5, atol=1e-6)
    trainer = Trainer(GROOVE, run.dataset, settings(GROOVE), tmp_path / "other")
    trainer.load_state(last)
    averaged = validate(trainer)
    trainer.load_state(replace(last, network=last.best_network, average={}))
    assert validate(trainer) == averaged
    trainer.load_state(replace(last, average={}))
    assert validate(trainer) != averaged


def test_an_epoch_shows_its_steps_and_what_could_be_reached(tmp_path: Path) -> None:
    run = ToyRun(GROOVE, tmp_path)
    run(epochs=1)
    assert [event.steps for event in run.events_of(EpochDone)] == [STEPS]
    assert [event.bayes_loss for event in run.events_of(ModelStarted)] == [None]


def test_out_of_memory_computes_batches_in_parts_and_learns_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ToyRun(MELODY, tmp_path / "whole")(epochs=2)

    def small_memory(batch: TensorBatch) -> None:
        if len(batch) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")

    watch_batches(monkeypatch, small_memory)
    run = ToyRun(MELODY, tmp_path / "parts")
    parts = run(epochs=2)
    alarms = run.events_of(TrainingWarning)
    assert [alarm.kind for alarm in alarms] == ["out_of_memory"] * 2
    assert "1 at a time" in alarms[-1].message
    for row, other in zip(whole.checkpoint.history, parts.checkpoint.history, strict=True):
        assert other["train_loss"] == pytest.approx(row["train_loss"], rel=1e-3)
    for name, tensor in whole.checkpoint.network.items():
        # Adam divides each gradient by its own size, so one of the size of its rounding changes the step.
        close = torch.isclose(parts.checkpoint.network[name], tensor, rtol=1e-3, atol=1e-5)
        assert close.float().mean() > 0.98, name


def test_it_is_reported_when_no_example_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(_batch: TensorBatch) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    watch_batches(monkeypatch, no_memory)
    with pytest.raises(TrainingError, match="not one example of GroovePredictor fits"):
        ToyRun(GROOVE, tmp_path)(epochs=1)


def test_a_stop_in_the_first_epoch_leaves_a_former_best_alone(tmp_path: Path) -> None:
    run = ToyRun(GROOVE, tmp_path)
    run(epochs=2)
    previous = run.checkpoint_path("best").read_bytes()
    result = run(epochs=2, stop_after=1)
    assert (result.reason, result.checkpoint) == ("stopped", None)
    assert run.checkpoint_path("best").read_bytes() == previous


def test_a_dataset_of_other_sizes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="toy"):
        ToyRun(GROOVE, tmp_path, ToyDataset(EMOTION))()


def test_a_loss_that_the_network_cannot_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="sigmoid"):
        ToyRun(GROOVE, tmp_path)(loss="bce")


def test_every_file_is_where_it_should_be(tmp_path: Path) -> None:
    run = ToyRun(GROOVE, tmp_path)
    result = run(epochs=4, save_interval=2, save_history=True, save_plots=True)
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {
        "checkpoints/groovepredictor_best.pt",
        "checkpoints/groovepredictor_latest.pt",
        "checkpoints/groovepredictor_epoch0002.pt",
        "checkpoints/groovepredictor_epoch0004.pt",
        "history/groovepredictor_history.json",
        "history/groovepredictor_history.csv",
        "plots/groovepredictor_loss.png",
    }
    history = json.loads((tmp_path / "history/groovepredictor_history.json").read_text())
    assert (history["model"], history["best_epoch"]) == ("GroovePredictor", result.metrics["best_epoch"])
    with (tmp_path / "history/groovepredictor_history.csv").open() as file:
        table = list(csv.DictReader(file))
    events = run.events_of(EpochDone)
    for row, line, event in zip(history["epochs"], table, events, strict=True):
        assert {"epoch", "train_loss", "val_loss", "learning_rate", "seconds"} <= row.keys()
        assert row["val_loss"] == event.val_loss == float(line["val_loss"])
        assert row["epoch"] == event.epoch == int(line["epoch"])
    kinds = [(event.epoch, event.kind) for event in run.events_of(CheckpointSaved)]
    assert [kind for kind in kinds if kind[1] != "best"] == [
        (1, "latest"), (2, "interval"), (2, "latest"), (3, "latest"), (4, "interval"), (4, "latest"),
    ]  # fmt: skip
    assert isinstance(run.events[-1], ModelEnded)
    assert run.events[-1].reason == "epochs_done"


def test_without_the_best_checkpoint_the_best_weights_are_still_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script_validation_losses(monkeypatch, [1.0, 0.5, 0.6])
    kept, spared = (ToyRun(GROOVE, tmp_path / name) for name in ("kept", "spared"))
    with_file = kept(epochs=4)
    without = spared(epochs=4, save_best=False, save_latest=False)
    assert not any((tmp_path / "spared").rglob("*.pt"))
    assert_same_training(with_file, without)
    assert without.metrics["best_epoch"] == 2
    assert_same(without.checkpoint.best_network, load_checkpoint(kept.checkpoint_path("best")).network)


def test_steps_are_reported_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kelly_core.training.trainer._SECONDS_BETWEEN_BATCH_EVENTS", -1.0)
    run = ToyRun(GROOVE, tmp_path)
    run(epochs=1)
    assert [(event.step, event.steps) for event in run.events_of(BatchDone)] == [(step, STEPS) for step in range(1, 5)]


def test_what_a_killed_training_left_half_written_is_cleared(tmp_path: Path) -> None:
    run = ToyRun(GROOVE, tmp_path)
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    half, other = folder / ".groovepredictor_latest.pt.1a2b3c4d.tmp", folder / ".dynamicsengine_best.pt.1a2b3c4d.tmp"
    for leftover in (half, other):
        leftover.write_bytes(b"half")
    run(epochs=1)
    assert not half.exists()
    assert other.exists()
