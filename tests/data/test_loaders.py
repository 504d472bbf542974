"""One contract for all five loaders, then what is particular to each."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from kelly_core.data import corpus_dataset, create_dataset
from kelly_core.data.corpus_dataset import CorpusDataset
from kelly_core.data.files import BROKEN_LINK
from kelly_core.data.labels import DAMAGED_ENTRY, DAMAGED_ROW, UNREADABLE_LABELS
from kelly_core.errors import DataError
from kelly_core.music.emotion import CONTEXT, AffectScale, decode_affect, encode_affect
from kelly_core.spec import MODELS
from tests.data.test_audio import write_ffmpeg
from tests.helpers import tiny
from tests.seeds import seeded_rng, shifted

CORPORA = [spec.dataset for spec in MODELS]


@pytest.fixture
def corpus(tmp_path: Path):
    return lambda name: tiny.WRITERS[name](tmp_path / name)


@pytest.fixture(params=CORPORA)
def dataset(request: pytest.FixtureRequest, load, corpus) -> CorpusDataset:
    """Each of the five corpora in turn."""
    return load(request.param, corpus(request.param))


def test_features_are_kept_at_home_unless_configured_otherwise(
    corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = corpus("groove_midi")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    create_dataset("groove_midi", root)
    assert list((tmp_path / "home" / ".cache" / "kelly").iterdir())
    assert not list((tmp_path / "here").iterdir())


def test_every_corpus_gives_batches_of_its_models_sizes(dataset: CorpusDataset) -> None:
    spec = next(spec for spec in MODELS if spec.dataset == dataset.name)
    batch = dataset.train_batch(dataset.train, seeded_rng(0))
    shape = (len(dataset.train), dataset.sequence_length)
    assert batch.inputs.shape == (*shape, spec.input_size)
    assert batch.targets.shape == (*shape, spec.output_size)
    assert batch.inputs.dtype == batch.targets.dtype == batch.weights.dtype == np.float32
    assert np.broadcast_shapes(batch.weights.shape, batch.targets.shape) == batch.targets.shape
    assert np.isfinite(batch.inputs).all()
    assert np.isfinite(batch.targets).all()
    assert batch.weights.min() >= 0
    assert batch.weights.max() > 0


def test_no_group_is_on_both_sides(dataset: CorpusDataset) -> None:
    groups = dataset.rows.groups
    assert not set(groups[dataset.train]) & set(groups[dataset.validation])
    assert len(dataset.train) + len(dataset.validation) == len(dataset)
    assert dataset.report.splits == {"train": len(dataset.train), "validation": len(dataset.validation)}


def test_indexing_gives_validation_examples(dataset: CorpusDataset) -> None:
    last = len(dataset) - 1
    example = dataset[last]
    batch = dataset.eval_batch(np.array([last]))
    np.testing.assert_array_equal(dataset.normalizer.apply(example.inputs), batch.inputs[0])
    np.testing.assert_array_equal(example.targets, batch.targets[0])
    assert dataset[-1].group == example.group
    with pytest.raises(IndexError):
        dataset[len(dataset)]


def test_validation_stays_and_training_varies(dataset: CorpusDataset) -> None:
    everything = np.arange(len(dataset))
    np.testing.assert_array_equal(dataset.eval_batch(everything).inputs, dataset.eval_batch(everything).inputs)
    rng = seeded_rng(1)
    assert not np.array_equal(dataset.train_batch(everything, rng).inputs, dataset.train_batch(everything, rng).inputs)
    again = dataset.train_batch(everything, seeded_rng(1)).inputs
    np.testing.assert_array_equal(again, dataset.train_batch(everything, seeded_rng(1)).inputs)


@pytest.mark.parametrize("name", ["deam", "lakh_midi", "chords"])
def test_the_seed_decides_the_split(name, load, corpus) -> None:
    root = corpus(name)
    splits = {tuple(load(name, root, seed=shifted(seed)).rows.splits) for seed in range(6)}
    assert len(splits) > 1
    first, second = load(name, root, seed=shifted(3)), load(name, root, seed=shifted(3))
    assert first.fingerprint == second.fingerprint
    np.testing.assert_array_equal(first.rows.splits, second.rows.splits)


@pytest.mark.parametrize("name", ["deam", "lakh_midi", "maestro", "groove_midi"])
def test_a_file_that_cannot_be_used_is_named_and_the_rest_is_used(name, load, corpus) -> None:
    root = corpus(name)
    before = load(name, root)
    victim = next(path for path in sorted(root.rglob("*")) if path.suffix in {".wav", ".mid", ".midi"})
    victim.write_bytes(b"not a file of its kind" * 10)
    after = load(name, root)
    assert any(victim.name in skipped for names in after.report.skipped.values() for skipped in names)
    assert len(after) < len(before)


@pytest.mark.parametrize("name", CORPORA)
def test_a_corpus_with_nothing_usable_is_an_error(name, load, tmp_path) -> None:
    root = tmp_path / "broken"
    root.mkdir()
    (root / "a.mid").write_bytes(b"MThd")
    (root / "chord_progressions.json").write_text(json.dumps([["H", "J"], ["C"]]))
    (root / "labels.csv").write_text("song_id,valence_mean,arousal_mean\n77,4,5\n")
    with pytest.raises(DataError, match="no usable example"):
        load(name, root)


@pytest.mark.parametrize("name", ["lakh_midi", "maestro"])
def test_a_sidecar_wins_over_the_estimate(name, load, corpus) -> None:
    root = corpus(name)
    plain = load(name, root)
    group, row = plain.rows.groups[0], 0
    file = next(path for path in sorted(root.rglob("*.mid*")) if path.name in group or "performance 0" in path.name)
    (root / "emotion_labels.json").write_text(json.dumps({file.name: {"valence": 0.6, "arousal": -0.6}}))
    labeled = load(name, root)
    assert labeled.rows.sources[row] == "sidecar"
    assert labeled.weights[row] == 1.0
    assert plain.weights[row] == 0.5
    assert labeled.fingerprint != plain.fingerprint


@pytest.mark.parametrize("name", ["lakh_midi", "maestro", "groove_midi", "chords"])
def test_the_last_bits_of_computed_labels_do_not_change_the_fingerprint(
    name, load, corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They differ between processors; another version of the computation is another corpus."""
    root = corpus(name)
    plain = load(name, root)
    scale = AffectScale.__call__

    def on_another_processor(self: AffectScale, *features: object) -> np.ndarray:
        return np.nextafter(scale(self, *features), np.float32(2))

    monkeypatch.setattr(AffectScale, "__call__", on_another_processor)
    other = load(name, root)
    assert not np.array_equal(other.labels, plain.labels, equal_nan=True)
    assert other.fingerprint == plain.fingerprint
    monkeypatch.setattr(corpus_dataset, "LABEL_VERSION", 99)
    assert load(name, root).fingerprint != plain.fingerprint


@pytest.mark.parametrize("name", ["deam", "lakh_midi", "maestro", "groove_midi"])
class TestSkipped:
    """Links and labels that cannot be used are counted by reason, as files are, and the rest is used."""

    def test_a_damaged_entry_of_a_sidecar(self, name, load, corpus, caplog) -> None:
        root = corpus(name)
        (root / "emotion_labels.json").write_text(json.dumps({"0.mid": {"valence": 3, "arousal": 0}}))
        report = load(name, root).report
        assert "sidecar" not in report.label_sources
        assert report.skipped[DAMAGED_ENTRY] == ["0.mid"]
        assert "0.mid" in caplog.text

    @pytest.mark.parametrize("text", ["{", "[1]", "\x00", "[" * 100_000])
    def test_a_sidecar_that_cannot_be_read(self, name, load, corpus, text) -> None:
        root = corpus(name)
        (root / "emotion_labels.json").write_text(text)
        report = load(name, root).report
        assert report.skipped[UNREADABLE_LABELS] == ["emotion_labels.json"]
        assert any("emotion_labels.json" in warning for warning in report.warnings)

    def test_a_damaged_row_of_quadrants(self, name, load, corpus) -> None:
        root = corpus(name)
        (root / "label.csv").write_text("ID,4Q\n0,7\n")
        damaged = load(name, root).report.skipped.get(DAMAGED_ROW)
        assert damaged == (["label.csv row 2"] if name != "groove_midi" else None)

    def test_broken_links(self, name, load, corpus) -> None:
        root = corpus(name)
        ending = "wav" if name == "deam" else "mid"
        (root / f"gone.{ending}").symlink_to(root / "nowhere")
        (root / "gone").symlink_to(root / "nowhere")
        report = load(name, root).report
        assert report.skipped[BROKEN_LINK] == ["gone", f"gone.{ending}"]


def test_files_left_out_by_the_table_and_by_their_content_for_one_reason_are_all_counted(load, corpus) -> None:
    root = corpus("groove_midi")
    (root / "info.csv").unlink()
    named = load("groove_midi", root).report.skipped
    tiny.write_midi(root / "waltz.mid", {"Drums": tiny.drum_notes(9)}, channel=9, meter=(3, 4))
    skipped = load("groove_midi", root).report.skipped
    assert skipped["not in 4/4"] == [*named["not in 4/4"], "waltz.mid"]


def test_the_same_song_twice_counts_once(load, corpus) -> None:
    root = corpus("lakh_midi")
    (root / "copy.mid").write_bytes((root / "0" / "0.mid").read_bytes())
    dataset = load("lakh_midi", root)
    assert dataset.report.skipped == {"same content as another file": ["copy.mid"]}


def test_max_files_is_kept(load, corpus) -> None:
    assert len(set(load("lakh_midi", corpus("lakh_midi"), max_files=2).rows.groups)) == 2


@pytest.fixture
def deam(load, tmp_path: Path) -> CorpusDataset:
    """Four recordings of 20 s, which are 39 frames whose last window is complete."""
    return load("deam", tiny.deam(tmp_path / "deam", seconds=20), duration=20)


@pytest.fixture
def load_pair(load, tmp_path: Path):
    """Read two recordings of 4 s and 300 and 500 Hz, labeled in a table on the scale of labels."""

    def read(
        *files: str, header: tuple[str, ...] = ("filename", "valence", "arousal"), names: tuple[str, ...] = ("a", "b")
    ) -> CorpusDataset:
        root = tmp_path / "deam"
        for file, hertz in zip(files, (300, 500), strict=True):
            tiny.write_tone(root / file, 4, hertz)
        tiny.write_csv(root / "labels.csv", [header, (names[0], -0.5, 0.25), (names[1], 0.5, 0.0)])
        return load("deam", root, duration=4, label_scale="-1..1")

    return read


class TestDeam:
    def test_static_labels_are_pooled_over_the_labeled_span(self, deam: CorpusDataset) -> None:
        batch = deam.eval_batch(np.flatnonzero(deam.rows.groups == "4"))
        assert batch.pooled is not None
        assert batch.pooled.all()
        affect = decode_affect(batch.targets[0, -1])
        assert affect.valence == pytest.approx((3 + 4 / 4 - 5) / 4, abs=2e-3)
        assert affect.arousal == pytest.approx((7 - 4 / 4 - 5) / 4, abs=2e-3)
        # The warm-up is half of the frames.
        weights = batch.weights[0, :, 0]
        assert not weights[:19].any()
        assert weights[19:39].all()

    def test_a_clip_shorter_than_the_warm_up_still_counts(self, load, tmp_path) -> None:
        dataset = load("deam", tiny.deam(tmp_path / "deam", seconds=4), duration=45)
        assert dataset.report.seconds == 4 * 7 * 0.5
        weights = dataset.eval_batch(dataset.train).weights[:, :, 0]
        assert [np.flatnonzero(row).tolist() for row in weights] == [[3, 4, 5, 6]] * len(weights)
        assert len(dataset.context().rows) == 4 * len(weights)

    def test_dynamic_labels_sit_on_the_frame_that_ends_at_their_time(self, load, tmp_path) -> None:
        root = tiny.deam(tmp_path / "deam", songs=3, seconds=20)
        folder = root / "annotations" / "annotations averaged per song" / "dynamic (per second annotations)"
        header = ("song_id", " sample_15000ms", " sample_15500ms")
        tiny.write_csv(folder / "valence.csv", [header, (2, 0.5, -0.25)])
        tiny.write_csv(folder / "arousal.csv", [header, (2, 0.1, -0.75)])
        dataset = load("deam", root, duration=20)
        assert dataset.report.label_sources == {"dynamic": 1, "static": 2}
        batch = dataset.eval_batch(np.flatnonzero(dataset.rows.groups == "2"))
        assert batch.pooled is not None
        assert not batch.pooled[0]
        assert np.flatnonzero(batch.weights[0, :, 0]).tolist() == [29, 30]
        codes = np.stack([encode_affect(0.5, 0.1), encode_affect(-0.25, -0.75)])[:, : CONTEXT.start]
        # Values up to 1, encoded one at a time here and in blocks there: they differ by some roundings of 2^-24.
        np.testing.assert_allclose(batch.targets[0, 29:31, : CONTEXT.start], codes, rtol=0, atol=1e-6)

    @pytest.mark.parametrize("header", [("filename", "valence", "arousal"), ("song_id", " valence", " arousal")])
    def test_tables_whose_scale_is_given_as_that_of_labels_are_taken_as_they_are(self, load_pair, header) -> None:
        affect = decode_affect(
            load_pair("one.flac", "two.flac", header=header, names=("one.flac", "two"))[0].targets[-1]
        )
        assert (affect.valence, affect.arousal) == pytest.approx((-0.5, 0.25), abs=2e-3)

    def test_a_scale_that_is_not_known_is_refused(self, load, tmp_path) -> None:
        root = tiny.deam(tmp_path / "deam")
        tiny.write_csv(root / "annotations" / "annotations.csv", [("song_id", "valence", "arousal"), (2, 50, 3)])
        with pytest.raises(DataError, match=r"1\.\.9"):
            load("deam", root)

    def test_recordings_that_are_cut_off_are_read_in_part_counted_and_named(self, load, tmp_path) -> None:
        root = tiny.deam(tmp_path / "deam", seconds=4)
        cut = root / "audio" / "3.wav"
        cut.write_bytes(cut.read_bytes()[: cut.stat().st_size * 6 // 10])
        for _ in ("computed", "from the cache"):
            report = load("deam", root, duration=4).report
            assert report.files == 4
            assert [each for each in report.warnings if "cut off" in each] == [
                "recordings damaged or cut off, used without the damaged parts: 1: audio/3.wav"
            ]

    def test_audio_without_a_label_is_skipped_by_name(self, load, tmp_path) -> None:
        root = tiny.deam(tmp_path / "deam", seconds=4)
        tiny.write_tone(root / "audio" / "99.wav", 4)
        assert load("deam", root).report.skipped == {"no valence and arousal for it": ["audio/99.wav"]}

    def test_training_frames_are_standardized(self, deam: CorpusDataset) -> None:
        heard = deam.eval_batch(deam.train).inputs[:, :39]
        np.testing.assert_allclose(heard.mean(axis=(0, 1)), 0, atol=1e-3)
        np.testing.assert_allclose(heard.std(axis=(0, 1)), 1, atol=1e-3)

    def test_statistics_are_those_of_all_training_frames_at_once(self, deam: CorpusDataset) -> None:
        heard = np.concatenate([deam[i].inputs[:39] for i in deam.train]).astype(np.float64)
        np.testing.assert_array_equal(deam.normalizer.mean, heard.mean(axis=0))
        np.testing.assert_array_equal(1 / deam.normalizer.scale, 1 / (1 / heard.std(axis=0)))

    def test_gain_moves_all_bands_alike(self, deam: CorpusDataset) -> None:
        seen = deam.eval_batch(deam.train).inputs
        moved = (deam.train_batch(deam.train, seeded_rng(0)).inputs - seen) / deam.normalizer.scale
        loud = moved[:, 20, 10:14]
        assert np.abs(loud).max() <= 6.001
        assert np.ptp(loud, axis=1).max() < 1e-2
        assert np.abs(loud).max() > 0.1

    @pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3"])
    def test_formats_that_libsndfile_reads(self, load_pair, suffix) -> None:
        assert len(load_pair(f"a{suffix}", f"b{suffix}")) == 2

    def test_aac_is_decoded(self, load, load_pair, tmp_path) -> None:
        root = tmp_path / "deam"
        load_pair("a.wav", "b.wav")
        for source in (root / "a.wav", root / "b.wav"):
            samples, _ = soundfile.read(source, dtype="float32", always_2d=True)
            write_ffmpeg(source.with_suffix(".m4a"), samples, "aac", "fltp")
            source.unlink()
        dataset = load("deam", root, duration=4, label_scale="-1..1")
        loudest = [dataset[i].inputs[2].argmax() for i in range(2)]
        assert loudest[0] < loudest[1]


class TestMelody:
    def test_targets_are_the_beats_in_c(self, load, tmp_path) -> None:
        d_major = [62, 64, 66, 67, 69, 71, 73, 74]
        for song in range(2):
            tiny.write_midi(tmp_path / "lakh" / f"{song}.mid", {"melody": tiny.melody_notes(64 + song, d_major)})
        example = load("lakh_midi", tmp_path / "lakh")[0]
        assert example.targets.sum(axis=1).tolist() == [1.0] * 64
        assert set(np.flatnonzero(example.targets.any(axis=0)) % 12) == {0, 2, 4, 5, 7, 9, 11}

    def test_beats_beyond_the_end_are_masked(self, load, tmp_path) -> None:
        for song in range(2):
            tiny.write_midi(tmp_path / "lakh" / f"{song}.mid", {"melody": tiny.melody_notes(40 + song)})
        example = load("lakh_midi", tmp_path / "lakh")[0]
        assert example.weights[:, 0].tolist() == [0.5] * 40 + [0.0] * 24

    def test_upper_case_endings_and_hidden_files(self, load, tmp_path) -> None:
        for name in ("A.MID", "b.Midi", "._b.mid"):
            tiny.write_midi(tmp_path / "lakh" / name, {"melody": tiny.melody_notes(30 + len(name))})
        assert sorted(set(load("lakh_midi", tmp_path / "lakh").rows.groups)) == ["A.MID", "b.Midi"]


@pytest.fixture
def load_chords(load, tmp_path: Path):
    """Read a file of progressions, given as text or as its document."""

    def read(document: object, **options: object) -> CorpusDataset:
        root = tmp_path / "chords"
        root.mkdir()
        text = document if isinstance(document, str) else json.dumps(document)
        (root / "chord_progressions.json").write_text(text)
        return load("chords", root, **options)

    return read


class TestChords:
    @pytest.mark.parametrize("wrap", [lambda x: x, lambda x: {"progressions": x}, lambda x: {"chord_progressions": x}])
    def test_all_shapes_of_the_file(self, load_chords, wrap) -> None:
        assert len(load_chords(wrap([["C", "F", "G", "C"], {"chords": ["Am", "Dm", "E7", "Am"]}]))) == 2

    def test_durations_weigh_the_distribution(self, load_chords) -> None:
        chords = ["C", "F", "G", "C"]
        dataset = load_chords([{"chords": chords, "durations": [2, 1, 1, 4]}, chords])
        np.testing.assert_allclose(dataset[0].targets[0, [0, 5, 7]], [6 / 8, 1 / 8, 1 / 8])

    def test_unknown_symbols_are_reported_and_left_out(self, load_chords) -> None:
        dataset = load_chords([["C", "Hx7", "F", "G", "C"], ["C", "F", "G", "C"]])
        assert dataset.report.skipped == {"chord symbol not understood, left out of its song": ["Hx7 (1 times)"]}
        np.testing.assert_array_equal(dataset[0].targets, dataset[1].targets)

    def test_labels_of_the_file_are_used(self, load_chords) -> None:
        chords = ["C", "F", "G", "C"]
        entries = [
            {"chords": chords, "emotion": {"valence": 0.5, "arousal": 0.4}},
            {"chords": chords, "4Q": 3, "source": "b"},
            chords,
        ]
        assert load_chords(entries).rows.sources.tolist() == ["sidecar", "human_quadrant", "imputed"]

    def test_clips_of_a_song_stay_together(self, load_chords) -> None:
        names = [f"Q{1 + clip}_song-{song:02d}_{clip}" for song in range(20) for clip in range(3)]
        dataset = load_chords([{"chords": ["C", "F", "G", "C"], "source": name} for name in names])
        held_out, trained = dataset.rows.groups[dataset.validation], dataset.rows.groups[dataset.train]
        assert len(dataset) == 60
        assert len({*held_out, *trained}) == 20
        assert not {*held_out} & {*trained}

    def test_without_audio_its_inputs_are_switched_off(self, load, tmp_path) -> None:
        dataset = load("chords", tiny.chords(tmp_path / "chords"))
        assert not dataset.normalizer.scale[64:].any()
        assert dataset.normalizer.scale[:64].all()

    def test_with_audio_the_context_is_a_near_training_frame_half_the_time(self, load, deam, tmp_path) -> None:
        dataset = load("chords", tiny.chords(tmp_path / "chords", songs=40), context=deam.context())
        audio = dataset.train_batch(np.tile(dataset.train, 20), seeded_rng(0)).inputs[:, 0, 64:]
        silent = np.abs(audio).max(axis=1) < 1e-5
        assert 0.35 < silent.mean() < 0.65, "7 standard errors of 640 draws"
        context = deam.context()
        frames = deam.normalizer.apply(context.frames[context.rows])[:, :64]
        for row in audio[~silent][:30]:
            assert np.abs(frames - row).max(axis=1).min() < 1e-4

    def test_what_is_folded_into_its_audio_inputs_is_reported(self, load, deam, tmp_path) -> None:
        dataset = load("chords", tiny.chords(tmp_path / "chords"), context=deam.context())
        raw = np.full((1, 128), -30.0, np.float32)
        reported = (raw[0, 64:] - dataset.metadata["context_mean"]) / dataset.metadata["context_std"]
        np.testing.assert_allclose(dataset.normalizer.apply(raw)[0, 64:], reported, rtol=1e-5)


class TestMaestro:
    def test_official_splits_are_respected_and_the_test_split_is_kept_out(self, load, tmp_path) -> None:
        dataset = load("maestro", tiny.maestro(tmp_path / "maestro"))
        by_piece = dict(zip(dataset.rows.groups.tolist(), dataset.rows.splits.tolist(), strict=True))
        assert by_piece == {
            "Composer: Piece 0": "train",
            "Composer: Piece 1": "train",
            "Composer: Piece 2": "validation",
        }
        assert dataset.report.skipped == {
            "official test split, kept out of training": ["2003/performance 3.midi"],
            "not in the official table": ["2009/unlisted.midi"],
        }

    def test_paths_in_the_table_are_never_opened(self, load, tmp_path) -> None:
        root = tiny.maestro(tmp_path / "maestro")
        outside = tiny.write_midi(tmp_path / "outside.midi", {"Piano": tiny.melody_notes(100)})
        with (root / "maestro-v3.0.0.csv").open("a") as file:
            file.write(f"C,T,train,2004,../outside.midi\nC,T,train,2004,{outside}\n")
        assert not any("outside" in group for group in load("maestro", root).rows.groups)

    def test_a_table_without_its_columns_is_refused(self, load, tmp_path) -> None:
        root = tiny.maestro(tmp_path / "maestro")
        (root / "maestro-v3.0.0.csv").write_text("piece,set\nFirst Waltz,train\n")
        with pytest.raises(DataError, match="row 2 needs a midi_filename"):
            load("maestro", root)


class TestGroove:
    def test_only_beats_in_four_four_of_the_official_sides(self, load, tmp_path) -> None:
        dataset = load("groove_midi", tiny.groove_midi(tmp_path / "groove"))
        assert dataset.rows.groups.tolist()
        assert set(dataset.rows.groups) == {
            "drummer1/session1/0_rock_100_beat_4-4.mid",
            "drummer2/session1/1_rock_110_beat_4-4.mid",
            "drummer1/session1/2_rock_120_beat_4-4.mid",
        }
        assert set(dataset.report.skipped) == {
            "official test split, kept out of training",
            "a fill, not a beat",
            "not in 4/4",
        }

    def test_without_the_table_names_are_used_and_sessions_stay_together(self, load, tmp_path) -> None:
        root = tiny.groove_midi(tmp_path / "groove")
        (root / "info.csv").unlink()
        dataset = load("groove_midi", root)
        assert set(dataset.rows.groups) == {"drummer1/session1", "drummer2/session1"}
        assert set(dataset.report.skipped) == {"a fill, not a beat", "not in 4/4"}
        assert "no table of official splits" in dataset.report.warnings[0]

    def test_late_hats_are_late(self, load, tmp_path) -> None:
        for name, lag in (("a", 0.0), ("b", 0.02)):
            tiny.write_midi(tmp_path / "groove" / f"{name}.mid", {"D": tiny.drum_notes(8, lag)}, channel=9)
        dataset = load("groove_midi", tmp_path / "groove")
        straight, late = (next(dataset[i] for i in range(2) if dataset[i].group == g) for g in ("a.mid", "b.mid"))
        off_beats = [2, 6, 10, 14]
        np.testing.assert_allclose(straight.targets[0, :16], 0, atol=1e-6)
        assert (late.targets[0, off_beats] > 0.05).all()
        assert (late.targets[0, [0, 8]] < 0).all()

    def test_positions_that_are_not_played_are_masked(self, load, tmp_path) -> None:
        for name in ("a", "b"):
            tiny.write_midi(tmp_path / "groove" / f"{name}.mid", {"D": tiny.drum_notes(8 + (name == "b"))}, channel=9)
        weights = load("groove_midi", tmp_path / "groove")[0].weights[0]
        assert weights[1::2].sum() == 0
        assert (weights[0::2] == 0.25).all()

    def test_valence_is_imputed_afresh(self, load, tmp_path) -> None:
        dataset = load("groove_midi", tiny.groove_midi(tmp_path / "groove"))
        rng = seeded_rng(0)
        valence = [decode_affect(dataset.train_batch(dataset.train[:1], rng).inputs[0, 0]).valence for _ in range(30)]
        arousal = [decode_affect(dataset.train_batch(dataset.train[:1], rng).inputs[0, 0]).arousal for _ in range(30)]
        assert np.std(valence) > 1.5 * np.std(arousal)
