"""Additional corpora: EMOPIA and folders of labeled audio, alone and mixed into the main ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kelly_core.config.loading import load_settings
from kelly_core.config.schema import Settings
from kelly_core.data import create_dataset
from kelly_core.data.catalog import inspect_corpus, open_dataset
from kelly_core.data.corpora.deam import EmotionDataset
from kelly_core.data.mixture import MixedDataset
from kelly_core.data.splits import song_of_clip
from kelly_core.errors import DataError
from kelly_core.music.emotion import decode_affect
from tests.helpers import tiny
from tests.seeds import seeded_rng, shifted

QUADRANTS = {"1": (0.23, 0.26), "2": (-0.23, 0.26), "3": (-0.23, -0.26), "4": (0.23, -0.26)}


@pytest.fixture
def settings(tmp_path: Path):
    """Settings for corpora in ``data`` below the test's folder; options as dotted keys with __ for dots."""

    def make(**options: Any) -> Settings:
        values: dict[str, Any] = {
            "datasets.dir": str(tmp_path / "data"),
            "datasets.cache_dir": str(tmp_path / "cache"),
            "datasets.emotion_midi.weight": 1.0,
            "training.seed": shifted(0),
        }
        values |= {key.replace("__", "."): value for key, value in options.items()}
        return load_settings(None, {key: ("test", value) for key, value in values.items()}, {}).settings

    return make


@pytest.mark.parametrize(
    ("file", "song"),
    [
        ("EMOPIA_1.0/midis/Q1_J6X3rVU1H-c_1.mid", "J6X3rVU1H-c"),
        ("Q1_NP0lwB-_-og_12.mid", "NP0lwB-_-og"),
        ("Q2_--2B4d4lQhs_2.ogg", "--2B4d4lQhs"),
        ("a/Queen_1.mid", "a/Queen_1.mid"),
    ],
)
def test_the_song_of_a_clip(file: str, song: str) -> None:
    assert song_of_clip(file) == song


@pytest.mark.parametrize("name", ["lakh_midi", "maestro"])
def test_quadrants_are_labels_and_clips_of_a_song_stay_together(name: str, load, tmp_path: Path) -> None:
    root = tiny.emotion_midi(tmp_path / "emopia")
    for seed in range(4):
        dataset = load(name, root, seed=shifted(seed), validation_split=0.4)
        assert set(dataset.rows.sources) == {"human_quadrant"}
        assert set(dataset.weights) == {1.0}
        assert set(dataset.rows.groups) == {"a-_b", "cc", "dd"}
        assert not set(dataset.rows.groups[dataset.train]) & set(dataset.rows.groups[dataset.validation])


def test_a_clip_is_read_with_its_quadrants_emotion(load, tmp_path: Path) -> None:
    dataset = load("lakh_midi", tiny.emotion_midi(tmp_path / "emopia"))
    for song, quadrant in (("cc", "2"), ("dd", "4")):
        chosen = np.flatnonzero(dataset.rows.groups == song)
        affect = decode_affect(dataset.eval_batch(chosen).inputs)
        # Codes wander and are blurred, so their mean is near the label, not on it.
        assert (affect.valence.mean(), affect.arousal.mean()) == pytest.approx(QUADRANTS[quadrant], abs=0.1)


def test_a_row_without_a_quadrant_is_skipped_and_named(load, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = tiny.emotion_midi(tmp_path / "emopia")
    (root / "EMOPIA_1.0" / "label.csv").write_text("ID,4Q\nQ2_cc_0,5\n")
    dataset = load("maestro", root)
    assert "human_quadrant" not in dataset.rows.sources
    assert "label.csv" in caplog.text
    assert "4Q is not 1, 2, 3 or 4: label.csv row 2" in caplog.text


def test_audio_with_quadrants_has_one_label_a_clip(load, tmp_path: Path) -> None:
    dataset = load("deam", tiny.emotion_audio(tmp_path / "audio"), duration=6)
    assert set(dataset.rows.groups) == {"x", "y"}
    assert set(dataset.rows.sources) == {"human_quadrant"}
    batch = dataset.eval_batch(np.flatnonzero(dataset.rows.groups == "y"))
    assert batch.pooled is not None
    assert batch.pooled.all()
    affect = decode_affect(batch.targets[0, -1])
    assert (affect.valence, affect.arousal) == pytest.approx(QUADRANTS["3"], abs=2e-3)


class TestMixing:
    def test_a_mix_holds_both_corpora_each_with_its_weight(self, settings, tmp_path: Path) -> None:
        tiny.maestro(tmp_path / "data" / "maestro")
        tiny.emotion_midi(tmp_path / "data" / "emotion_midi")
        dataset = open_dataset("maestro", settings(datasets__emotion_midi__weight=0.5))
        rows = dataset.rows
        assert dataset.name == "maestro + emotion_midi"
        assert set(zip(rows.corpora, rows.sources, strict=True)) == {
            ("maestro", "estimated"),
            ("emotion_midi", "human_quadrant"),
        }
        everything = np.arange(len(dataset))
        weights = dataset.eval_batch(everything).weights[:, 0, 0]
        np.testing.assert_array_equal(weights, np.where(rows.corpora == "maestro", 0.5, 1.0 * 0.5))
        assert not set(rows.groups[dataset.train]) & set(rows.groups[dataset.validation])
        assert sorted([*dataset.train, *dataset.validation]) == everything.tolist()
        assert dataset.metadata["corpora"]["emotion_midi"]["weight"] == 0.5
        assert {"parameters", "window_seconds"} <= dataset.metadata.keys()

    def test_any_order_gives_each_example_its_own_numbers(self, settings, tmp_path: Path) -> None:
        tiny.lakh_midi(tmp_path / "data" / "lakh_midi")
        tiny.emotion_midi(tmp_path / "data" / "emotion_midi")
        dataset = open_dataset("lakh_midi", settings(datasets__emotion_midi__weight=3.0))
        order = seeded_rng(0).permutation(len(dataset))
        batch, again = (dataset.train_batch(order, seeded_rng(1)), dataset.train_batch(order, seeded_rng(1)))
        np.testing.assert_array_equal(batch.inputs, again.inputs)
        for place, index in enumerate(order):
            example = dataset[int(index)]
            np.testing.assert_array_equal(batch.targets[place], example.targets)
            np.testing.assert_array_equal(batch.weights[place], example.weights)
            assert example.group == dataset.rows.groups[index]
        with pytest.raises(IndexError):
            dataset[len(dataset)]

    def test_one_standardization_serves_both_and_the_metadata_has_it(self, settings, tmp_path: Path) -> None:
        tiny.deam(tmp_path / "data" / "deam", seconds=6)
        tiny.emotion_audio(tmp_path / "data" / "emotion_audio")
        dataset = open_dataset("deam", settings(datasets__deam__duration=6.0))
        raw = np.concatenate([dataset[int(index)].inputs[:11] for index in dataset.train])  # 6 s are 11 whole frames
        np.testing.assert_allclose(dataset.normalizer.mean, raw.mean(axis=0), rtol=1e-5)
        np.testing.assert_allclose(1 / dataset.normalizer.scale, raw.std(axis=0), rtol=1e-4)
        np.testing.assert_allclose(dataset.metadata["mean"], raw.mean(axis=0), rtol=1e-5)
        np.testing.assert_allclose(
            dataset.eval_batch(dataset.train).inputs[:, :11].reshape(-1, 128), dataset.normalizer.apply(raw), atol=1e-5
        )

    def test_codes_stay_as_they_are(self, settings, tmp_path: Path) -> None:
        tiny.lakh_midi(tmp_path / "data" / "lakh_midi")
        tiny.emotion_midi(tmp_path / "data" / "emotion_midi")
        normalizer = open_dataset("lakh_midi", settings()).normalizer
        assert not normalizer.mean.any()
        assert (normalizer.scale == 1).all()

    def test_the_weight_is_part_of_the_fingerprint_and_0_leaves_the_corpus_out(self, settings, tmp_path: Path) -> None:
        tiny.maestro(tmp_path / "data" / "maestro")
        alone = open_dataset("maestro", settings())
        tiny.emotion_midi(tmp_path / "data" / "emotion_midi")
        mixes = [open_dataset("maestro", settings(datasets__emotion_midi__weight=weight)) for weight in (0.5, 0.5, 1.0)]
        half, same, whole = (mix.fingerprint for mix in mixes)
        assert half == same != whole
        skipped = open_dataset("maestro", settings(datasets__emotion_midi__weight=0.0))
        assert skipped.fingerprint == alone.fingerprint
        assert not isinstance(skipped, MixedDataset)

    def test_an_additional_corpus_replaces_a_missing_main_one(self, settings, tmp_path: Path) -> None:
        tiny.emotion_audio(tmp_path / "data" / "emotion_audio")
        tiny.chords(tmp_path / "data" / "chords")
        options = settings(datasets__deam__duration=6.0)
        dataset = open_dataset("deam", options)
        assert isinstance(dataset, EmotionDataset)
        assert not dataset.synthetic
        assert set(dataset.rows.corpora) == {"emotion_audio"}
        skipped = settings(datasets__deam__duration=6.0, datasets__emotion_audio__weight=0.0)
        assert open_dataset("deam", skipped).fingerprint == dataset.fingerprint
        assert open_dataset("chords", options).metadata["audio_context"] == "nearest frames of emotion_audio, dB"
        assert open_dataset("maestro", options).synthetic

    def test_an_additional_corpus_alone_is_opened_without_a_main_one(self, settings, tmp_path: Path) -> None:
        options = settings(datasets__use_synthetic=True)
        with pytest.raises(DataError, match=r"is missing.* into .*/data/emotion_midi"):
            open_dataset("emotion_midi", options)
        tiny.emotion_midi(tmp_path / "data" / "emotion_midi")
        assert not open_dataset("emotion_midi", options).synthetic

    def test_a_survey_shows_what_it_joins(self, settings, load, tmp_path: Path) -> None:
        tiny.emotion_midi(tmp_path / "data" / "emotion_midi")
        report = inspect_corpus("emotion_midi", settings())
        sizes = {name: len(load(name, tmp_path / "data" / "emotion_midi")) for name in ("lakh_midi", "maestro")}
        assert report.joins == sizes
        assert report.examples == sum(sizes.values()) == report.label_sources["human_quadrant"]
        assert sum(report.splits.values()) == report.examples
        assert report.files == 4
        missing = inspect_corpus("emotion_audio", settings())
        assert not missing.found
        assert "Optional" in missing.advice


def test_emopia_itself(shared_data: Path, tmp_path: Path) -> None:
    """A song's clips, among them those of 65 songs with several quadrants, are on one side of the official split."""
    dataset = create_dataset("maestro", shared_data / "emotion_midi", cache_dir=tmp_path, max_files=200)
    groups, files = dataset.rows.groups, shared_data / "emotion_midi" / "EMOPIA_1.0" / "midis"
    assert set(groups) <= {song_of_clip(path.name) for path in files.iterdir()}
    assert len(set(groups)) > 100
    assert not set(groups[dataset.train]) & set(groups[dataset.validation])
    assert set(dataset.rows.sources) == {"human_quadrant"}
