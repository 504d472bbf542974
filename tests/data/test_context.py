"""Musical context of examples: known from notes, estimated from audio, noisy in training, unknown in evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from kelly_core.data import create_dataset
from kelly_core.data.dataset import LABEL_WEIGHTS
from kelly_core.data.mixture import MixedDataset
from kelly_core.evaluation.evaluate import evaluate
from kelly_core.music.context import AUDIO_DESCRIPTORS, NAMES
from kelly_core.music.emotion import CONTEXT, decode_affect
from kelly_core.spec import model_spec
from tests.helpers import tiny
from tests.seeds import seeded_rng, shifted

KNOWN = {"lakh_midi": list(NAMES), "chords": ["mode"], "groove_midi": ["tempo"]}
"""Descriptors that the examples of a corpus may contain."""


def read(name: str, folder: Path):
    getattr(tiny, name)(folder / name)
    return create_dataset(name, folder / name, cache_dir=folder / "cache", seed=shifted(0))


@pytest.mark.parametrize("name", KNOWN)
def test_examples_contain_the_descriptors_of_their_corpus(name: str, tmp_path: Path) -> None:
    dataset = read(name, tmp_path)
    assert dataset.has_context
    every = np.arange(len(dataset))
    known, unknown = (
        dataset.with_context(kind).eval_batch(every).inputs[..., CONTEXT] for kind in ("known", "unknown")
    )
    assert not unknown.any()
    reported = {NAMES[number] for number in np.flatnonzero(known.any(axis=(0, 1)))}
    assert reported <= set(KNOWN[name])
    rest = (dataset.with_context(kind).eval_batch(every) for kind in ("known", "unknown"))
    one, other = (batch.inputs[..., : CONTEXT.start] for batch in rest)
    np.testing.assert_array_equal(one, other)
    noisy = np.concatenate([dataset.train_batch(every, seeded_rng(i)).inputs[..., CONTEXT] for i in range(20)])
    assert not noisy[..., [number for number in range(8) if number >= len(NAMES)]].any()
    assert (noisy[:, 0] == 0).all(axis=1).any(), "some examples have no context"


def test_dynamics_examples_have_no_context(tmp_path: Path) -> None:
    dataset = read("maestro", tmp_path)
    assert not dataset.has_context
    assert dataset.with_context("unknown") is dataset


def test_a_mixture_passes_the_kind_of_context_on(tmp_path: Path) -> None:
    parts = [read("lakh_midi", tmp_path / side) for side in ("one", "two")]
    mixed = MixedDataset(parts, [1.0, 0.5])
    assert mixed.has_context
    every = np.arange(len(mixed))
    assert not mixed.with_context("unknown").eval_batch(every).inputs[..., CONTEXT].any()
    known = mixed.with_context("known").eval_batch(every).inputs[..., CONTEXT]
    expected = np.concatenate([part.musical_context for part in parts])
    np.testing.assert_array_equal(known, np.broadcast_to(expected[:, np.newaxis], known.shape))


def test_the_recognizer_learns_the_context_measured_from_audio(tmp_path: Path) -> None:
    dataset = read("deam", tmp_path)
    assert not dataset.has_context, "its inputs contain none"
    every = np.arange(len(dataset))
    targets = dataset.eval_batch(every).targets[..., CONTEXT]
    assert np.ptp(targets, axis=1).max() == 0, "one value a clip"
    silent = [number for number in range(8) if number >= len(NAMES) or NAMES[number] not in AUDIO_DESCRIPTORS]
    assert not targets[..., silent].any()


def test_a_recording_with_notes_beside_it_has_their_context_and_needs_no_label(tmp_path: Path) -> None:
    root = tiny.deam(tmp_path / "deam", songs=4, seconds=4)
    (root / "pairs").mkdir()
    for number, pitch in enumerate((50, 80)):
        tiny.write_tone(root / f"pairs/song {number}.wav", 4, 440 + number)
        tiny.write_midi(root / f"pairs/song {number}.mid", {"Lead": tiny.melody_notes(40, [pitch])})
    dataset = create_dataset("deam", root, cache_dir=tmp_path / "cache", duration=4, validation_split=0.5)
    pairs = np.flatnonzero(dataset.rows.sources == "none")
    assert dataset.rows.groups[pairs].tolist() == ["song 0", "song 1"]
    batch = dataset.eval_batch(np.arange(len(dataset)))
    low, high = batch.targets[pairs, 0, CONTEXT.start + NAMES.index("register")]
    assert low < -0.3
    assert high > 0.3
    assert not batch.weights[pairs][..., : CONTEXT.start].any(), "no emotion is known"
    assert batch.weights[pairs][..., CONTEXT].any(axis=1).all()
    assert batch.weights[..., 0].any(axis=1).sum() == 4
    spec = model_spec("EmotionRecognizer")
    quality = evaluate(spec, dataset, lambda batch: np.zeros(batch.targets.shape, np.float32))
    labeled = dataset.validation[~np.isin(dataset.validation, pairs)]
    assert quality.groups == len(labeled), "others are not judged"
    assert [source.label_source for source in quality.sources] == ["static"]


SCALE = (60, 62, 64, 65, 67, 69, 71, 72)


def paired_songs(folder: Path, transpositions: Sequence[int]):
    """Four labeled recordings, and one for each transposition of a tune next to its notes."""
    root = tiny.deam(folder / "deam", songs=4, seconds=4)
    for number, by in enumerate(transpositions):
        tiny.write_tone(root / f"pairs/song {number}.wav", 4, 440 + number)
        tiny.write_midi(root / f"pairs/song {number}.mid", {"Lead": tiny.melody_notes(40, [p + by for p in SCALE])})
    return create_dataset("deam", root, cache_dir=folder / "cache", duration=4, validation_split=0.5)


def test_a_transposed_recording_has_the_register_of_its_transposed_notes(tmp_path: Path) -> None:
    dataset = paired_songs(tmp_path, (0, *range(-6, 0), *range(1, 6)))
    pairs = np.flatnonzero(dataset.rows.sources == "none")
    register = CONTEXT.start + NAMES.index("register")
    low, *same = np.sort(dataset.eval_batch(pairs).targets[:, 0, register])
    assert same[-1] - same[0] < 1e-6, "the register is that in C"
    assert low < same[0], "six semitones down are an octave below it"
    chosen = np.repeat(pairs[:1], 200)
    batch = dataset.train_batch(chosen, seeded_rng(0))
    seen = batch.targets[:, 0, register]
    is_low = np.isclose(seen, low, atol=1e-6)
    np.testing.assert_allclose(seen[~is_low], same[0], atol=1e-6)
    assert is_low.mean() == pytest.approx(0.8 / 12, abs=0.06), "a twelfth of four fifths"
    others = np.delete(np.arange(8), NAMES.index("register")) + CONTEXT.start
    plain = dataset.eval_batch(chosen)
    np.testing.assert_array_equal(batch.targets[..., others], plain.targets[..., others])
    again = dataset.train_batch(chosen, seeded_rng(0))
    np.testing.assert_array_equal(batch.inputs, again.inputs)


def test_the_emotion_of_notes_is_learned_where_no_label_is_known_and_never_judged(tmp_path: Path) -> None:
    dataset = paired_songs(tmp_path, range(6))
    every = np.arange(len(dataset))
    emotion = slice(0, CONTEXT.start)
    judged, trained = dataset.eval_batch(every), dataset.train_batch(every, seeded_rng(0))
    unlabeled = dataset.rows.sources == "none"
    learned = unlabeled & np.isin(every, dataset.train)
    assert 0 < learned.sum() < unlabeled.sum()
    assert not judged.weights[unlabeled][..., emotion].any()
    assert (
        trained.weights[learned][..., emotion].max(axis=(1, 2)).tolist() == [LABEL_WEIGHTS["estimated"]] * learned.sum()
    )
    assert not trained.weights[unlabeled & ~learned][..., emotion].any(), "estimates know no validation song"
    affect = decode_affect(trained.targets[learned, -1])
    assert np.ptp(affect.arousal) == pytest.approx(0, abs=1e-5), "all are as dense"
    np.testing.assert_array_equal(trained.targets[~unlabeled], judged.targets[~unlabeled])
    np.testing.assert_array_equal(trained.weights[~unlabeled], judged.weights[~unlabeled])
    assert dataset.averages_weights
    assert MixedDataset([dataset], [1.0]).averages_weights


def test_notes_beside_some_recordings_change_no_draw_for_the_others(tmp_path: Path) -> None:
    with_pairs, without = paired_songs(tmp_path / "one", [0, 3]), paired_songs(tmp_path / "two", [])
    names = dict(zip(without.rows.groups.tolist(), range(len(without)), strict=True))
    labeled = np.flatnonzero(with_pairs.rows.sources != "none")
    same = np.array([names[name] for name in with_pairs.rows.groups[labeled]])
    one = with_pairs.normalizer.invert(with_pairs.train_batch(labeled, seeded_rng(0)).inputs)
    other = without.normalizer.invert(without.train_batch(same, seeded_rng(0)).inputs)
    np.testing.assert_allclose(one, other, atol=1e-3)
    assert not without.averages_weights, "weights are averaged over the epochs where notes are learned from"
