"""Verdicts: which baselines are beaten, by how much and on which examples, without access to the targets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kelly_core.arrays import Indices
from kelly_core.config.loading import load_settings
from kelly_core.data.catalog import open_dataset
from kelly_core.data.dataset import Batch, Dataset
from kelly_core.data.synthetic import SyntheticDataset, create_synthetic
from kelly_core.errors import DataError
from kelly_core.evaluation.baselines import constant
from kelly_core.evaluation.evaluate import evaluate, metrics_of
from kelly_core.evaluation.metrics.base import TrainingExamples
from kelly_core.export.quality_record import QualityRecord
from kelly_core.music.emotion import encode_affect
from kelly_core.spec import MODELS, ModelSpec, model_spec
from tests.helpers.example_arrays import ArrayDataset
from tests.seeds import seeded_rng, shifted

DYNAMICS, GROOVE, EMOTION, MELODY, HARMONY = (
    model_spec(name)
    for name in ("DynamicsEngine", "GroovePredictor", "EmotionRecognizer", "MelodyTransformer", "HarmonyPredictor")
)
BY_NAME = pytest.mark.parametrize("spec", MODELS, ids=lambda spec: spec.name)


def random_targets(spec: ModelSpec, count: int, seed: int = 0) -> np.ndarray:
    """Plausible targets of a model, [count, frames, out]."""
    rng = seeded_rng(seed)
    frames = 4 if spec.recurrent else 1
    if spec is EMOTION:
        valence, arousal = rng.uniform(-0.8, 0.8, (2, count, frames))
        return encode_affect(valence, arousal)
    if spec is MELODY:
        return np.eye(128)[rng.integers(55, 80, (count, frames))]
    if spec is HARMONY:
        return rng.dirichlet(np.full(64, 0.05), (count, frames))
    return rng.uniform(0, 1, (count, frames, spec.output_size))


def random_corpus(spec: ModelSpec, validation: int = 30, **more: Any) -> ArrayDataset:
    count = 3 * validation
    inputs = seeded_rng(7).normal(size=(count, 4 if spec.recurrent else 1, spec.input_size))
    return ArrayDataset(random_targets(spec, count), validation, inputs=inputs, **more)


def of_right_outputs(dataset: ArrayDataset, spec: ModelSpec = DYNAMICS) -> QualityRecord:
    """The quality of a model that knows the targets of the validation examples."""
    return evaluate(spec, dataset, dataset.answers(dataset.targets[dataset.validation]))


def named(quality: QualityRecord, baseline: str) -> Any:
    return next(each for each in quality.baselines if each.name == baseline)


@BY_NAME
def test_the_answers_themselves_are_trained(spec: ModelSpec) -> None:
    quality = of_right_outputs(random_corpus(spec), spec)
    assert quality.verdict == "trained"
    assert quality.trained
    assert all(difference.high < 0 for each in quality.baselines for difference in each.differences)
    assert quality.summary().startswith("trained: ")


@BY_NAME
def test_no_baseline_is_better_than_itself(spec: ModelSpec) -> None:
    dataset = random_corpus(spec)
    for name, predict in metrics_of(spec).fit_baselines(TrainingExamples(dataset)).baselines.items():
        quality = evaluate(spec, dataset, predict)
        itself = named(quality, name)
        assert not itself.beaten
        assert not quality.trained
        assert {(each.value, each.low, each.high) for each in itself.differences} == {(0.0, 0.0, 0.0)}
        assert itself.metrics == quality.metrics
        assert quality.verdict.startswith("not better than ")
        assert quality.summary().startswith(quality.verdict)


def test_the_verdict_names_the_strongest_baseline_that_is_not_beaten() -> None:
    dataset = random_corpus(MELODY)
    quality = evaluate(MELODY, dataset, constant(np.full(128, 0.5, np.float32)))
    assert not any(each.beaten for each in quality.baselines)
    strongest = min(quality.baselines, key=lambda each: each.metrics["nats_per_beat"] or 0.0)
    assert strongest.name != "constant rate"
    assert quality.verdict == f"not better than {strongest.name}"
    rival = f"of {strongest.name} (95 % "
    assert rival in quality.summary()
    assert f", of {quality.groups} groups)" in quality.summary()


def uneven_grooves(count: int) -> np.ndarray:
    """Accents and timings whose mean is far from their median, [count, 1, 32]."""
    rng = seeded_rng(3)
    return np.where(rng.random((count, 1, 32)) < 0.2, 0.9, rng.normal(-0.1, 0.05, (count, 1, 32)))


def test_the_median_of_the_training_targets_is_not_trained() -> None:
    """A network with zero weights and the medians as bias beats the mean and the grid by absolute error."""
    targets = uneven_grooves(121)
    inputs = seeded_rng(7).normal(size=(121, 1, 64))
    dataset = ArrayDataset(targets, 40, inputs=inputs)
    medians = np.median(targets[40:, 0], axis=0).astype(np.float32)
    quality = evaluate(GROOVE, dataset, constant(medians))
    assert named(quality, "position mean").beaten
    assert named(quality, "zero and neutral").beaten
    assert not quality.trained
    assert named(quality, "position median").differences[0].value == 0.0


def test_a_constant_is_never_trained_however_lucky() -> None:
    targets = random_targets(DYNAMICS, 90)
    targets[:30] = np.clip(targets[:30], 0, 0.01) + 0.2
    dataset = ArrayDataset(targets, 30, inputs=seeded_rng(7).normal(size=(90, 1, 32)), input_size=32)
    quality = evaluate(DYNAMICS, dataset, constant(np.full(16, 0.205, np.float32)))
    assert all(each.beaten for each in quality.baselines)
    assert quality.constant
    assert quality.verdict == "its answer does not depend on its input"
    assert QualityRecord.from_json(json.loads(json.dumps(quality.to_json()))) == quality


BEST_CONSTANT = {
    "MelodyTransformer": "marginal",
    "HarmonyPredictor": "unigram",
    "DynamicsEngine": "mean",
    "GroovePredictor": "position median",
}


def follows_emotion(spec: ModelSpec, count: int = 240) -> tuple[np.ndarray, np.ndarray]:
    """Codes [count, T, in] and targets that follow valence and arousal by a parabola."""
    rng = seeded_rng(4)
    valence, arousal = rng.uniform(-0.8, 0.8, (2, count, 1))
    code = encode_affect(valence, arousal)
    inputs = np.zeros((count, 1, spec.input_size))
    inputs[..., : min(64, spec.input_size)] = code[..., : spec.input_size]
    if spec is HARMONY:
        scores = np.zeros((count, 1, 64))
        scores[..., 0], scores[..., 21] = 3 + 3 * valence, 3 + 3 * arousal**2
        return inputs, np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
    wave = (0.5 + 0.3 * valence + 0.2 * arousal**2)[..., np.newaxis]
    targets = np.repeat(wave, spec.output_size, axis=-1) + rng.normal(0, 0.02, (count, 1, spec.output_size))
    return inputs, (targets > rng.random(targets.shape)).astype(float) if spec is MELODY else targets


@pytest.mark.parametrize("spec", [MELODY, HARMONY, DYNAMICS, GROOVE], ids=lambda spec: spec.name)
def test_a_curve_of_valence_and_arousal_must_be_beaten(spec: ModelSpec) -> None:
    """Where the targets follow the emotion, no constant comes near the curve, which is as good as itself."""
    inputs, targets = follows_emotion(spec)
    dataset = ArrayDataset(targets, 80, inputs=inputs)
    curve = metrics_of(spec).fit_baselines(TrainingExamples(dataset)).baselines["cubic curve"]
    quality = evaluate(spec, dataset, curve)
    measure = quality.primary[0]
    others = [each for each in quality.baselines if each.name != "cubic curve"]
    assert quality.verdict == "not better than cubic curve"
    assert all(each.beaten for each in others)
    assert (quality.metrics[measure] or 0) < min(each.metrics[measure] or 0 for each in others)


@pytest.mark.parametrize("spec", [MELODY, HARMONY, DYNAMICS, GROOVE], ids=lambda spec: spec.name)
def test_a_curve_is_careful_if_there_is_nothing_to_learn(spec: ModelSpec) -> None:
    quality = of_right_outputs(random_corpus(spec, validation=60), spec)
    curve, best = (
        named(quality, name).metrics[quality.primary[0]] for name in ("cubic curve", BEST_CONSTANT[spec.name])
    )
    assert curve < 1.03 * best


def test_computed_labels_and_examples_that_chose_the_epoch_are_marked() -> None:
    quality = of_right_outputs(random_corpus(DYNAMICS, sources=["sidecar", "estimated", "imputed"] * 30))
    assert quality.trained
    assert "67% of the labels computed from the pieces that are scored" in quality.summary()
    human = of_right_outputs(random_corpus(DYNAMICS))
    assert "computed from" not in human.summary()
    assert "on the examples that chose the epoch" in human.summary()


def test_groups_that_chose_nothing_judge_if_there_are_enough() -> None:
    dataset = random_corpus(DYNAMICS, groups=[f"{index // 2}" for index in range(90)])
    dataset.set_rows(dataset.rows)
    assert dataset.judging is None
    dataset = random_corpus(DYNAMICS, validation=60, groups=[f"{index // 2}" for index in range(180)])
    dataset.set_rows(dataset.rows)
    assert dataset.judging is not None
    sides = [set(dataset.rows.groups[indices]) for indices in (dataset.judging, dataset.choosing)]
    assert not sides[0] & sides[1]
    assert len(sides[0]) == len(sides[1]) == 15
    quality = evaluate(DYNAMICS, dataset, constant(np.full(16, 0.5, np.float32)))
    assert quality.examples == len(dataset.judging) == 30
    assert quality.chose_epoch is False
    assert "chose the epoch" not in quality.summary()


def test_a_record_of_version_1_is_read_and_names_its_limits() -> None:
    record = of_right_outputs(random_corpus(DYNAMICS)).to_json()
    for name in ("version", "chose_epoch", "constant"):
        del record[name]
    record["baselines"] = [each for each in record["baselines"] if each["name"] == "mean"]
    for source in record["sources"]:
        source["baselines"] = {"mean": source["baselines"]["mean"]}
    old = QualityRecord.from_json(json.loads(json.dumps(record)))
    assert old.trained
    assert old.version == 1
    assert "measured by an earlier version, without" in old.summary()
    assert "on the examples that chose the epoch" in old.summary()
    with pytest.raises(ValueError, match="is of version 99; this program reads up to"):
        QualityRecord.from_json(record | {"version": 99})


def test_the_difference_and_its_interval_are_those_of_the_groups() -> None:
    """Ten songs that are each better by 0 to .9 squared units: the mean of ten draws of ten."""
    targets = np.full((40, 1, 16), 0.5)
    targets[::2] -= 0.2
    targets[1::2] += 0.2
    dataset = ArrayDataset(targets, 20, groups=[f"{index // 2}" for index in range(40)])
    said = targets[:20] + np.repeat(np.arange(10), 2)[:, None, None] * 0.03
    quality = evaluate(DYNAMICS, dataset, dataset.answers(said))
    (difference,) = named(quality, "mean").differences
    squares = (np.arange(10) * 0.03) ** 2
    assert quality.metrics["rmse"] == pytest.approx(np.sqrt(squares.mean()), rel=1e-4)
    assert difference.value == pytest.approx(np.sqrt(squares.mean()) - 0.2, rel=1e-4)
    draws = seeded_rng(5).integers(10, size=(20_000, 10))
    low, high = np.quantile(np.sqrt(squares[draws].mean(axis=1)), (0.025, 0.975)) - 0.2
    assert (difference.low, difference.high) == pytest.approx((low, high), abs=0.006)
    assert quality.groups == 10
    assert quality.examples == 20


def test_shares_are_of_the_baseline_as_it_is_resampled() -> None:
    """Songs that the mean knows from hardly to badly: a model that is nearly right is never more than 100 % better."""
    spread = np.repeat(np.geomspace(0.001, 0.4, 10), 2) * np.where(np.arange(20) % 2, 1, -1)
    targets = 0.5 + np.tile(np.concatenate([spread, spread])[:, None, None], (1, 1, 16))
    dataset = ArrayDataset(targets, 20, groups=[f"{index // 2}" for index in range(40)])
    said = targets[:20] + 0.002
    (difference,) = named(evaluate(DYNAMICS, dataset, dataset.answers(said)), "mean").differences
    share, theirs = difference.share, float(np.sqrt((spread**2).mean()))
    assert share is not None
    assert difference.low / theirs < -1
    assert share.value == pytest.approx(0.002 / theirs - 1, rel=1e-3)
    assert -1 < share.low < share.value < share.high < 0


@pytest.mark.parametrize(("worse", "enough"), [(1.005, True), (1.02, False)])
def test_timing_need_only_be_no_worse_by_a_hundredth(worse: float, enough: bool) -> None:
    """Every note is .2 early or late, which the grid knows nothing of; accents are right."""
    targets = np.full((60, 1, 32), -0.5)
    targets[..., :16] = 0.2 * np.where(np.arange(60) % 2, 1, -1)[:, None, None]
    dataset = ArrayDataset(targets, 30)
    said = targets[:30].copy()
    said[..., :16] *= 1 - worse
    grid = named(evaluate(GROOVE, dataset, dataset.answers(said)), "zero and neutral")
    accent, timing = grid.differences
    assert accent.beaten
    assert timing.beaten is grid.beaten is enough
    assert timing.value == pytest.approx((worse - 1) * 0.2 * 62.5, rel=1e-3)


def test_few_songs_are_reported() -> None:
    quality = of_right_outputs(random_corpus(DYNAMICS, validation=6, groups=[f"{index % 3}" for index in range(18)]))
    assert quality.groups == 3
    assert any("3 groups" in note for note in quality.notes)
    assert "95 %" in quality.summary()
    assert "of 3 groups" in quality.summary()
    assert "only 3 groups" in quality.summary()


@BY_NAME
def test_sources_recombine_to_the_whole(spec: ModelSpec) -> None:
    sources = ["sidecar", "estimated", "imputed"] * 30
    weights = np.array([{"sidecar": 1.0, "estimated": 0.5, "imputed": 0.25}[source] for source in sources])
    dataset = random_corpus(spec, sources=sources, weights=weights[:, None, None])
    said = random_targets(spec, 30, seed=3)
    if spec is MELODY:
        said = np.clip(said, 0.01, 0.99)
    if spec is HARMONY:
        said = 0.5 * said + 0.5 / 64
    quality = evaluate(spec, dataset, dataset.answers(said))
    assert [(each.label_source, each.examples) for each in quality.sources] == [
        ("estimated", 10),
        ("imputed", 10),
        ("sidecar", 10),
    ]
    share = np.array([each.weight for each in quality.sources])
    for predictor in ("", *quality.sources[0].baselines):
        whole = quality.metrics if not predictor else named(quality, predictor).metrics
        parts = [each.baselines[predictor] if predictor else each.metrics for each in quality.sources]
        losses = np.array([part["loss"] for part in parts], float)
        assert losses @ share / share.sum() == pytest.approx(whole["loss"], rel=1e-6)
    assert np.ptp(share) > 0


def test_masked_frames_count_for_nothing() -> None:
    dataset = random_corpus(MELODY)
    dataset.weights = dataset.weights.copy()
    dataset.weights[:, 2:] = 0.0
    said = np.clip(random_targets(MELODY, 30, seed=3), 0.01, 0.99)
    before = evaluate(MELODY, dataset, dataset.answers(said))
    dataset.targets[:, 2:] = 1.0
    said[:, 2:] = 0.5
    assert evaluate(MELODY, dataset, dataset.answers(said)) == before


@BY_NAME
def test_baselines_know_nothing_of_the_examples_they_are_measured_on(spec: ModelSpec) -> None:
    """They are fitted without reading them, and answer without seeing their targets."""
    dataset = random_corpus(spec)
    read: list[set[int]] = []
    eval_batch = dataset.eval_batch

    def watched(indices: Indices) -> Batch:
        read.append(set(indices.tolist()))
        return eval_batch(indices)

    def model(batch: Batch) -> np.ndarray:
        assert np.isnan(batch.targets).all()
        return np.broadcast_to(np.full(spec.output_size, 0.5, np.float32), batch.targets.shape)

    dataset.eval_batch = watched  # type: ignore[method-assign]
    evaluate(spec, dataset, model)
    held_out = set(dataset.validation.tolist())
    assert read[-1] == held_out
    assert not any(seen & held_out for seen in read[:-1])


def test_what_is_read_from_sound_is_compared_with_regressions_on_it() -> None:
    """Valence is in the first number of each frame, so ridge finds it and a constant does not."""
    rng = seeded_rng(0)
    latent = rng.uniform(-0.5, 0.5, (60, 6))
    inputs = np.zeros((60, 6, 128))
    inputs[..., 0] = latent * 3
    dataset = ArrayDataset(encode_affect(latent, np.zeros_like(latent)), 20, inputs=inputs)
    quality = evaluate(EMOTION, dataset, constant(encode_affect(0.0, 0.0)))
    rmse = {each.name: each.metrics["rmse"] for each in quality.baselines}
    assert rmse["ridge on frames"] < 0.05 < rmse["ridge on running mean"] < rmse["mean"]
    assert rmse["kNN"] < 0.05
    assert quality.verdict != "trained"


def test_static_labels_are_predicted_from_the_whole_clip() -> None:
    rng = seeded_rng(0)
    valence = rng.uniform(-0.5, 0.5, 60)
    inputs = rng.normal(size=(60, 30, 128))
    inputs[..., 0] += 3 * valence[:, None]
    codes = np.broadcast_to(encode_affect(valence, np.zeros(60))[:, None], (60, 30, 64))
    dataset = ArrayDataset(codes, 20, inputs=inputs, pooled=[True] * 60)
    quality = evaluate(EMOTION, dataset, constant(encode_affect(0.0, 0.0)))
    assert named(quality, "ridge on frames").metrics["static_valence_r"] > 0.9
    assert "dynamic_valence_r" not in quality.metrics


@BY_NAME
def test_on_generated_data_epsilon_decides(spec: ModelSpec) -> None:
    dataset = create_synthetic(
        spec.dataset, validation_examples=16 if spec.recurrent else 512, examples=8, seed=shifted(0)
    )
    assert isinstance(dataset, SyntheticDataset)
    assert dataset.reference is not None
    best = evaluate(spec, dataset, lambda batch: dataset.best(batch.inputs))
    assert best.trained
    assert best.epsilon == pytest.approx(0.0, abs=1e-3)
    assert best.baselines == ()
    assert best.metrics["loss"] == pytest.approx(dataset.reference.bayes, rel=1e-3)
    middle = np.median if spec.loss == "masked_l1" else np.mean
    expected = middle(dataset.best(dataset.eval_batch(dataset.validation).inputs), axis=(0, 1))
    prior = evaluate(spec, dataset, constant(expected))
    assert not prior.trained
    assert prior.epsilon == pytest.approx(1.0, abs=1e-3)
    assert prior.verdict == "100% of what can be learned is missing"


def test_there_is_no_test_split_unless_the_corpus_has_one() -> None:
    dataset = random_corpus(DYNAMICS)
    with pytest.raises(DataError, match="arrays has no official test split here"):
        evaluate(DYNAMICS, dataset, constant(np.full(16, 0.5, np.float32)), "test")


def test_a_record_survives_json_and_nonsense_is_refused() -> None:
    dataset = random_corpus(EMOTION)
    quality = evaluate(EMOTION, dataset, constant(encode_affect(0.0, 0.0)))
    record = json.loads(json.dumps(quality.to_json(), allow_nan=False))
    assert QualityRecord.from_json(record) == quality
    for broken in (None, [], {}, record | {"metrics": "good"}, record | {"split": "train"}):
        with pytest.raises(ValueError, match="is invalid"):
            QualityRecord.from_json(broken)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ({"primary": []}, "no measure or no baseline"),
        ({"baselines": []}, "no measure or no baseline"),
        ({"metrics": {}}, "lacks a metric for 'rmse'"),
        ({"primary": ["rmse", "loss"]}, "lacks the difference"),
        ({"sources": [{"baselines": {}}]}, "lacks the baselines of a source"),
    ],
)
def test_a_record_without_what_its_verdict_rests_on_is_refused(damage: dict[str, Any], words: str) -> None:
    dataset = random_corpus(DYNAMICS)
    record = evaluate(DYNAMICS, dataset, constant(np.full(16, 0.5, np.float32))).to_json()
    if "sources" in damage:
        damage = {"sources": [source | damage["sources"][0] for source in record["sources"]]}
    with pytest.raises(ValueError, match=words):
        QualityRecord.from_json(json.loads(json.dumps(record | damage)))


@pytest.mark.parametrize(
    "dataset",
    [create_synthetic("maestro", examples=4, validation_examples=4, seed=shifted(0)), random_corpus(DYNAMICS)],
)
def test_a_verdict_that_contradicts_its_metrics_is_refused(dataset: Dataset) -> None:
    poor = evaluate(DYNAMICS, dataset, constant(np.full(16, 0.9, np.float32)))
    assert not poor.trained
    with pytest.raises(ValueError, match="'trained', which contradicts its metrics"):
        QualityRecord.from_json(poor.to_json() | {"verdict": "trained"})


def shared_dataset(folder: Path, name: str) -> Dataset:
    return open_dataset(name, load_settings(None, {"datasets.dir": ("--datasets-dir", folder)}).settings)


def everything(dataset: Dataset) -> Dataset:
    """All examples on both sides, as the published figures were taken."""
    dataset.train = dataset.validation = np.arange(len(dataset))
    dataset.judging = None
    return dataset


def test_the_groove_dataset_is_as_uneven_as_published(shared_data: Path) -> None:
    dataset = everything(shared_dataset(shared_data, "groove_midi"))
    grid = named(evaluate(GROOVE, dataset, constant(np.zeros(32, np.float32))), "zero and neutral").metrics
    assert grid["timing_mae_ms"] == pytest.approx(11.8, abs=0.1)
    assert grid["accent_mae"] == pytest.approx(0.556, abs=0.01)


def test_pop_songs_are_as_predictable_as_published(shared_data: Path) -> None:
    """On 700 of the 909 songs for chords, and on 200 of them for melodies."""
    chords = evaluate(
        HARMONY, everything(shared_dataset(shared_data, "chords")), constant(np.full(64, 1 / 64, np.float32))
    )
    assert named(chords, "uniform").metrics["perplexity"] == pytest.approx(64, abs=0.01)
    assert named(chords, "unigram").metrics["perplexity"] == pytest.approx(13.0, rel=0.04)
    computed = {(each.name, each.measure): each.value for each in chords.references if not each.source}
    assert computed["valence quartile", "perplexity"] == pytest.approx(12.2, rel=0.04)
    assert computed["song oracle", "perplexity"] == pytest.approx(8.4, rel=0.04)
    dataset = shared_dataset(shared_data, "lakh_midi")
    dataset.judging = None
    dataset.train = dataset.validation = np.flatnonzero(["/" not in group for group in dataset.rows.groups])
    melodies = evaluate(MELODY, dataset, constant(np.full(128, 0.5, np.float32)))
    assert named(melodies, "constant rate").metrics["nats_per_beat"] == pytest.approx(6.36, rel=0.03)
    assert named(melodies, "marginal").metrics["nats_per_beat"] == pytest.approx(4.185, rel=0.04)
    computed = {(each.name, each.measure): each.value for each in melodies.references if not each.source}
    assert computed["song oracle", "nats_per_beat"] == pytest.approx(3.24, rel=0.04)
