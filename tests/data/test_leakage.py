"""Leaks planted one at a time, each compared with the same corpus without it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import mido
import numpy as np
import pytest
import soundfile

from kelly_core.data import create_dataset
from kelly_core.data.dataset import ExampleMetadata
from kelly_core.data.leakage import audio_fingerprints, equal_keys, find_leakage, implausible_gain, similar_fingerprints
from kelly_core.spec import MODELS, model_spec
from tests.helpers import tiny
from tests.helpers.toy_training import ToyDataset
from tests.seeds import seeded_rng, shifted


def leaks_of(name: str, root: Path, **options: object) -> list[str]:
    """Leaks with 3 of 10 songs, or 5 of 16, held out: an odd number, so that any seed parts a pair of equal ones."""
    options = {"validation_split": 0.3, "seed": shifted(0)} | options
    return find_leakage(create_dataset(name, root, cache_dir=root.parent / "cache", **options))


def melody(song: int, transposed: int = 0) -> list[tiny.Note]:
    """64 beats in C major that no other number has."""
    steps = seeded_rng(song).choice([60, 62, 64, 65, 67, 69, 71, 72], 64)
    return [(float(beat), 0.9, int(pitch) + transposed, 80) for beat, pitch in enumerate(steps)]


def saved_again(source: Path, target: Path, seed: int = 0) -> Path:
    """The same notes in a file of other bytes: twice the ticks a beat, and an additional text."""
    file = mido.MidiFile(source)
    file.ticks_per_beat *= 2
    for track in file.tracks:
        for message in track:
            message.time *= 2
    file.tracks[0].insert(0, mido.MetaMessage("text", text=f"copy {seed}"))
    target.parent.mkdir(parents=True, exist_ok=True)
    file.save(target)
    return target


def test_a_transposed_melody_on_both_sides_is_reported(tmp_path: Path) -> None:
    for song in range(5):
        tiny.write_midi(tmp_path / "a" / f"{song}.mid", {"melody": melody(song)}, bpm=100)
    assert leaks_of("lakh_midi", tmp_path / "a") == []
    for song in range(5):
        tiny.write_midi(tmp_path / "a" / f"copy of {song}.mid", {"melody": melody(song, 2)}, bpm=140)
    (leak,) = leaks_of("lakh_midi", tmp_path / "a")
    assert "same content in training and validation" in leak
    assert "copy of" in leak


def test_melodies_with_too_few_notes_are_not_a_leak(tmp_path: Path) -> None:
    for song in range(5):
        notes = [(4.0 * bar, 1.0, 60, 80) for bar in range(16)]
        tiny.write_midi(tmp_path / "a" / f"{song}.mid", {"melody": notes, "other": melody(song)})
    assert leaks_of("lakh_midi", tmp_path / "a") == []


@pytest.mark.parametrize(("name", "channel"), [("maestro", 0), ("groove_midi", 9)])
def test_a_performance_saved_again_is_reported(name: str, channel: int, tmp_path: Path) -> None:
    for song in range(5):
        rng = seeded_rng(song)
        beats = np.arange(96) / 2 + rng.normal(0, 0.02, 96).clip(-0.05, 0.05) + 0.1
        notes = [(float(beat), 0.3, int(rng.integers(36, 60)), int(rng.integers(40, 120))) for beat in beats]
        tiny.write_midi(tmp_path / "a" / f"{song}.mid", {"": notes}, channel=channel)
    assert leaks_of(name, tmp_path / "a") == []
    for song in range(5):
        saved_again(tmp_path / "a" / f"{song}.mid", tmp_path / "a" / "copies" / f"{song} again.mid")
    (leak,) = leaks_of(name, tmp_path / "a")
    assert leak.startswith("same content in training and validation")


def test_a_transposed_progression_is_reported(tmp_path: Path) -> None:
    def song(number: int, names: list[str]) -> dict[str, object]:
        return {"chords": seeded_rng(number).choice(names, 24).tolist(), "source": f"{number} in {names[0]}"}

    songs = [song(number, ["C", "F", "G", "Am", "Dm"]) for number in range(8)]
    for number, entries in enumerate((songs, [*songs, *(song(n, ["D", "G", "A", "Bm", "Em"]) for n in range(8))])):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "chord_progressions.json").write_text(json.dumps(entries))
    assert leaks_of("chords", tmp_path / "0") == []
    (leak,) = leaks_of("chords", tmp_path / "1")
    assert "in C" in leak
    assert "in D" in leak


def test_a_common_loop_is_not_a_leak(tmp_path: Path) -> None:
    assert leaks_of("chords", tiny.chords(tmp_path / "chords", songs=12)) == []


def test_the_last_of_equal_keys_is_named_and_empty_ones_are_not() -> None:
    keys = np.array([7, 0, 9, 7, 8, 7, 0, 9, 5], np.uint64)
    first, second = np.array([3, 0, 2, 1, 4]), np.array([8, 7, 6, 5])
    assert equal_keys(keys, first, second) == [(2, 7), (0, 5)]
    assert equal_keys(keys, first, np.array([8, 6])) == []


def test_content_is_not_read_again(tmp_path: Path) -> None:
    for song in range(5):
        for name, transposed in (("", 0), ("copy of ", 2)):
            path = tmp_path / "a" / f"{name}{song}.mid"
            tiny.write_midi(path, {"melody": melody(song, transposed)}, bpm=100)
    leaks = leaks_of("lakh_midi", tmp_path / "a")
    (steps,) = (tmp_path / "cache").glob("lakh_midi-*/features-*/steps")
    written = steps.stat()
    steps.write_bytes(bytes(written.st_size))
    os.utime(steps, ns=(written.st_atime_ns, written.st_mtime_ns))
    assert leaks
    assert leaks_of("lakh_midi", tmp_path / "a") == leaks


class TestAudio:
    def write(self, root: Path, song: int, name: str, loudness: float = 1.0, **options: str) -> None:
        """Noise whose color changes twice a second, as one song's and no other's."""
        rng = seeded_rng(song)
        parts = [np.convolve(rng.standard_normal(11025), rng.standard_normal(48), "same") for _ in range(16)]
        samples = np.concatenate(parts)
        samples = samples + 0.02 * np.abs(samples).max() * seeded_rng(len(name)).standard_normal(len(samples))
        root.mkdir(parents=True, exist_ok=True)
        soundfile.write(root / name, 0.2 * loudness * samples / np.abs(samples).max(), 22050, **options)

    def leaks(self, root: Path) -> list[str]:
        files = sorted(path.name for path in root.glob("*") if path.suffix != ".csv")
        rows = [("filename", "valence", "arousal"), *((name, 0.1, 0.2) for name in files)]
        tiny.write_csv(root / "labels.csv", rows)
        return leaks_of("deam", root, duration=8, label_scale="-1..1")

    def test_a_recording_encoded_again_is_reported(self, tmp_path: Path) -> None:
        for song in range(5):
            self.write(tmp_path / "a", song, f"{song}.wav")
        assert self.leaks(tmp_path / "a") == []
        for song in range(5):
            self.write(tmp_path / "a", song, f"{song} quiet.ogg", 0.3, format="OGG", subtype="VORBIS")
        (leak,) = self.leaks(tmp_path / "a")
        assert leak.startswith("same content in training and validation")
        assert " quiet" in leak

    def test_what_is_inaudible_is_not_compared(self) -> None:
        frames = seeded_rng(0).normal(size=(2, 40, 128)).astype(np.float32)
        frames[:, 10:] = -100.0
        first, second = np.array([0]), np.array([1])
        different = np.stack([audio_fingerprints(recording, 40) for recording in frames])
        assert similar_fingerprints(different, first, second) == []
        same = np.stack([audio_fingerprints(frames[0, :heard], 40) for heard in (10, 8)])
        assert np.count_nonzero(same, axis=1).tolist() == [9 * 31, 7 * 31]
        assert similar_fingerprints(same, first, second) == [(0, 1)]

    def test_the_most_similar_of_many_is_found(self) -> None:
        rng = seeded_rng(0)
        trained = rng.choice([-1, 1], (600, 400)).astype(np.int8)
        held_out = trained[[570, 3, 300]]
        held_out[:, :60] *= -1
        trained[5], trained[6, :80] = trained[3], -trained[3, :80]
        signs = np.concatenate([trained, held_out])
        assert similar_fingerprints(signs, np.arange(600), np.arange(600, 603)) == [(570, 600), (3, 601), (300, 602)]


class TestCopiedTargets:
    @pytest.fixture
    def toy(self) -> ToyDataset:
        spec = next(spec for spec in MODELS if spec.name == "DynamicsEngine")
        dataset = ToyDataset(spec, examples=60)
        names = np.array([f"song {number}" for number in range(60)])
        splits = np.where(np.arange(60) < 20, "validation", "train")
        dataset.rows = ExampleMetadata(np.full(60, "toy"), names, np.full(60, "estimated"), splits)
        return dataset

    def test_a_correct_corpus_has_no_leak(self, toy: ToyDataset) -> None:
        assert find_leakage(toy) == []

    @pytest.mark.parametrize("factor", [1.0, -0.3])
    def test_a_column_that_repeats_a_target_is_named(self, toy: ToyDataset, factor: float) -> None:
        toy.inputs[..., 7] = factor * toy.targets[..., 3] + 2
        assert find_leakage(toy) == ["targets copied into inputs: input 7 repeats output 3"]

    def test_masked_targets_do_not_hide_a_copy(self, toy: ToyDataset) -> None:
        toy.inputs[..., 7] = toy.targets[..., 3]
        toy.weights = np.ones_like(toy.targets)
        toy.weights[::2, :, 3], toy.targets[::2, :, 3] = 0, 0
        assert find_leakage(toy) == ["targets copied into inputs: input 7 repeats output 3"]

    def test_copied_targets_are_searched_in_samples_of_many_examples(self) -> None:
        spec = next(spec for spec in MODELS if spec.name == "DynamicsEngine")
        toy = ToyDataset(spec, examples=9000)
        toy.inputs[..., 7] = toy.targets[..., 3]
        looked: list[np.ndarray] = []
        eval_batch = toy.eval_batch
        toy.eval_batch = lambda indices: looked.append(indices) or eval_batch(indices)  # type: ignore[method-assign]
        assert find_leakage(toy) == ["targets copied into inputs: input 7 repeats output 3"]
        (indices,) = looked
        assert len(set(indices.tolist())) == len(indices) <= 512
        assert np.isin(indices, toy.train).all()
        assert np.ptp(indices) == np.ptp(toy.train)
        assert 12 < np.count_nonzero(np.diff(indices) != 1) < 40

    def test_a_handful_of_examples_proves_nothing(self, toy: ToyDataset) -> None:
        toy.inputs[..., 7] = toy.targets[..., 3]
        toy.train = toy.train[:5]
        assert find_leakage(toy) == []


@pytest.mark.parametrize(
    ("model", "honest", "suspicious"),
    [
        # Baselines and losses in nats from contracts: marginal 4.185 and quartile 4.158; song oracle 3.24.
        ("MelodyTransformer", (4.158, 4.185), (3.24, 4.185)),
        ("HarmonyPredictor", (np.log(12.2), np.log(13.0)), (np.log(8.4), np.log(13.0))),
        ("EmotionRecognizer", (0.4, 1.0), (0.1, 1.0)),
    ],
)
def test_gains_within_the_bound_are_plausible(model, honest, suspicious) -> None:
    assert implausible_gain(model_spec(model), *honest) == ""
    assert "implausible gain" in implausible_gain(model_spec(model), *suspicious)
