"""A mutated file of any kind is read, with finite numbers, or refused with the program's own error."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import torch

from kelly_core.benchmark import history as benchmarks
from kelly_core.benchmark.results import BenchmarkReport
from kelly_core.cli.console import console
from kelly_core.cli.run_tables import model_table, run_header, run_table
from kelly_core.data.catalog import create_dataset
from kelly_core.data.label_tables import read_affect_table
from kelly_core.data.readers.midi import read_notes
from kelly_core.errors import CheckpointError, DataError, ExportError, KellyError
from kelly_core.export.reader import read_export
from kelly_core.io.user_dirs import user_state_dir
from kelly_core.runs.event_log import LogRecord, encode_record
from kelly_core.runs.registry import list_runs
from kelly_core.runs.run import Run
from kelly_core.runs.run_dir import read_labels, read_manifest
from kelly_core.spec import model_spec
from kelly_core.training.checkpoint import load_checkpoint
from kelly_core.training.history import read_history
from kelly_tui import state_store
from tests.helpers import tiny
from tests.helpers.mutations import COUNT, mutated_bytes, mutated_documents, mutated_texts
from tests.helpers.toy_training import ToyRun
from tests.runs.conftest import make_run
from tests.runs.test_damaged_files import SAMPLES

T = TypeVar("T")
_CHECKPOINTS = COUNT // 5
"""Each one that can be read is resumed, which takes longer."""


def read_each(
    path: Path, contents: Iterable[bytes], read: Callable[[Path], T], refusal: type[KellyError] = DataError
) -> Iterator[T]:
    """Write each content to a file, and yield what is read of those that are not refused, at least one."""
    count = 0
    for content in contents:
        path.write_bytes(content)
        try:
            found = read(path)
        except refusal:
            continue
        count += 1
        yield found
    assert count


def test_chord_files(tmp_path: Path) -> None:
    path = tiny.chords(tmp_path / "chords") / "chord_progressions.json"
    songs = json.loads(path.read_text())
    songs[0] |= {"durations": [1.0, 2, 3, 4, 5, 6, 7, 8], "emotion": {"valence": 0.5, "arousal": -0.5}}
    songs[1] |= {"4Q": 2, "durations": [1] * 8}
    load = partial(create_dataset, "chords", path.parent, cache_dir=tmp_path / "cache")
    for dataset in read_each(path, mutated_texts(songs, seed=1), lambda _: load()):
        batch = dataset.eval_batch(np.concatenate([dataset.train, dataset.validation]))
        assert np.isfinite(batch.inputs).all()
        np.testing.assert_allclose(batch.targets.sum(-1), 1.0, atol=1e-5)


def test_midi_files(tmp_path: Path) -> None:
    path = tiny.write_midi(tmp_path / "a.mid", {"Piano": tiny.melody_notes(8)}, pedal=[(0, 127), (4, 0)])
    for notes in read_each(path, mutated_bytes(path.read_bytes(), seed=2), read_notes):
        for name, values in vars(notes).items():
            if isinstance(values, np.ndarray) and values.dtype.kind == "f":
                assert np.isfinite(values).all(), name


def test_logs_of_runs(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "odd")
    lines = [json.loads(encode_record(LogRecord(1e9, 1.0, 1, event))) for event in SAMPLES.values()]
    screen = console()
    for documents in mutated_documents(lines, seed=3):
        records = documents if isinstance(documents, list) else [documents]
        folder.events.write_bytes(b"".join(json.dumps(record).encode() + b"\n" for record in records))
        snapshot = Run(folder).snapshot
        listed = list_runs(tmp_path)
        runs = run_table(listed.runs)
        for table in (model_table(snapshot), run_header(snapshot, read_manifest(folder), read_labels(folder)), runs):
            assert list(screen.render(table))


def test_run_manifests(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "odd", *SAMPLES.values())
    for content in mutated_texts(json.loads(folder.manifest.read_text()), seed=4):
        folder.manifest.write_bytes(content)
        listed = list_runs(tmp_path)
        if listed.runs:
            console().print(run_table(listed.runs))


def test_histories(tmp_path: Path) -> None:
    row = {"epoch": 1, "train_loss": 0.5, "val_loss": 0.4}
    document = {"epochs": [row, row | {"epoch": 2}], "metrics": {"best_epoch": 1, "val_loss": 0.4, "bayes_loss": 0.1}}
    for history in read_each(tmp_path / "history.json", mutated_texts(document, seed=5), read_history, KellyError):
        assert history is not None
        assert np.isfinite([[float(value) for value in each.values()] for each in history.rows]).all()
        assert np.isfinite([float(value) for value in history.metrics.values()]).all()


def test_exports(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=(3, 4)).tolist(), rng.normal(size=4).tolist()]
    layer = {"type": "dense", "activation": "tanh", "shape": [None, 4], "weights": weights}
    contents = mutated_texts({"in_shape": [None, 3], "layers": [layer]}, seed=6)
    for export in read_each(tmp_path / "export.json", contents, read_export, ExportError):
        assert export.layers


def test_emotion_tables(tmp_path: Path) -> None:
    text = "song_id,valence_mean,arousal_mean\n" + "".join(f"{n},{1 + n % 8}.5,{8 - n % 7}\n" for n in range(30))
    for table in read_each(tmp_path / "a.csv", mutated_bytes(text.encode(), seed=7), read_affect_table):
        assert np.isfinite(list(table.labels.values())).all()
        assert np.abs(list(table.labels.values())).max(initial=0) <= 1


def test_official_tables(tmp_path: Path) -> None:
    tiny.maestro(tmp_path)
    path = tmp_path / "maestro-v3.0.0.csv"
    load = partial(create_dataset, "maestro", tmp_path, cache_dir=tmp_path / "cache")
    for dataset in read_each(path, mutated_bytes(path.read_bytes(), seed=8), lambda _: load()):
        assert len(dataset.train)


def test_benchmark_histories(tmp_path: Path) -> None:
    latency = {"p50_us": 1.0, "p95_us": 2.0, "p99_us": 3.0, "max_us": 4.0, "n": 9, "histogram": None}
    engines = {"numpy": {"models": {"DynamicsEngine": latency}, "chain": latency, "error": ""}}
    run = {"time": "2026-11-22T14:31:00+00:00", "host": "a", "command": None, "engines": engines, "budget_ms": 1.0}
    for content in mutated_texts(run, seed=9):
        (tmp_path / benchmarks.FILE).write_bytes(content.replace(b"\n", b" ") + b"\n")
        with contextlib.suppress(ValueError, RecursionError):
            assert np.isfinite(BenchmarkReport.from_json(json.loads(content)).result.budget_ms)
        found = benchmarks.last_run(tmp_path, anywhere=True)
        for engine in found.engines.values() if found else []:
            figures = [value for each in engine.models.values() for value in (each.p50_us, each.p99_us, each.max_us)]
            assert np.isfinite(figures).all()


def test_state_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    state_store.save_state("app", {"theme": "dark", "open": [1, 2], "width": 3.5})
    path = user_state_dir() / "app.json"
    for content in mutated_texts(json.loads(path.read_text()), seed=10):
        path.write_bytes(content)
        assert isinstance(state_store.load_state("app"), dict)


def test_checkpoints_and_resumes(tmp_path: Path) -> None:
    training = ToyRun(model_spec("DynamicsEngine"), tmp_path / "training")
    training(epochs=1, save_plots=False)
    path = training.checkpoint_path("latest")
    sound = torch.load(path, weights_only=True)
    for changed in itertools.islice(mutated_documents(sound, seed=11), _CHECKPOINTS):
        torch.save(changed, path)
        try:
            checkpoint = load_checkpoint(path)
        except CheckpointError:
            continue
        assert all(bool(torch.isfinite(weights).all()) for weights in checkpoint.best().state_dict().values())
        with contextlib.suppress(KellyError):
            training(epochs=1, save_plots=False, resume=True)
