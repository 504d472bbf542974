"""Every layout in which the corpora are unpacked: official splits are found, and no test file is trained on."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kelly_core.cli.app import app
from kelly_core.config.loading import load_settings
from kelly_core.data.catalog import is_present
from kelly_core.data.corpora.groove_midi import recording_of
from kelly_core.data.corpora.lakh_midi import song_of
from kelly_core.data.corpus_dataset import CorpusDataset, LoadOptions
from kelly_core.data.files import TEST_REASON, select_files
from kelly_core.data.splits import assign_splits
from kelly_core.errors import DataError
from tests.helpers import tiny

UNLISTED = "not in the official table"
MAESTRO_TEST = "2003/performance 3.midi"
GROOVE_TEST = "drummer2/session1/3_rock_130_beat_4-4.mid"
DEPTHS = ["", "maestro-v3.0.0/", "downloads/unpacked here/"]


def rows_of(table: Path) -> list[dict[str, str]]:
    with table.open() as file:
        return list(csv.DictReader(file))


def write_rows(table: Path, rows: list[dict[str, str]]) -> Path:
    return tiny.write_csv(table, [list(rows[0]), *(list(row.values()) for row in rows)])


def assert_test_kept_out(dataset: CorpusDataset, test: str) -> None:
    """The official test file is left out by name, and what trains and validates is named by the tables."""
    assert dataset.report.skipped[TEST_REASON] == [test]
    assert dataset.report.split_source == dataset.split_source == "official"
    assert dataset.report.warnings == []
    stem = Path(test).stem.replace("performance", "Piece")
    assert not any(stem in str(group) or Path(test).name in str(group) for group in dataset.rows.groups)


@pytest.fixture
def maestro(tmp_path: Path) -> Path:
    """MAESTRO with its table: two training files, one of each other split, and one that is not listed."""
    return tiny.maestro(tmp_path / "maestro")


class TestMaestro:
    @pytest.mark.parametrize("below", DEPTHS)
    def test_the_table_is_found_at_any_depth(self, load, tmp_path, below) -> None:
        tiny.maestro(tmp_path / "maestro" / below)
        dataset = load("maestro", tmp_path / "maestro")
        assert_test_kept_out(dataset, below + MAESTRO_TEST)
        assert dataset.report.tables == [f"{below}maestro-v3.0.0.csv"]
        assert dataset.report.skipped[UNLISTED] == [f"{below}2009/unlisted.midi"]

    def test_the_json_that_is_beside_it_agrees(self, load, tmp_path) -> None:
        root = tiny.maestro(tmp_path / "maestro" / "maestro-v3.0.0")
        rows = rows_of(root / "maestro-v3.0.0.csv")
        columns = {name: {str(i): row[name] for i, row in enumerate(rows)} for name in rows[0]}
        (root / "maestro-v3.0.0.json").write_text(json.dumps(columns))
        dataset = load("maestro", tmp_path / "maestro")
        assert_test_kept_out(dataset, f"maestro-v3.0.0/{MAESTRO_TEST}")
        assert dataset.report.tables == ["maestro-v3.0.0/maestro-v3.0.0.csv", "maestro-v3.0.0/maestro-v3.0.0.json"]

    def test_headers_splits_and_paths_in_other_spellings(self, load, maestro) -> None:
        table = maestro / "maestro-v3.0.0.csv"
        words = {"train": "Training", "validation": "dev", "test": "TEST"}
        rows = [
            {key.upper(): value for key, value in row.items() if key != "midi_filename"}
            | {"SPLIT": words[row["split"]], "MIDI Filename": ".\\" + row["midi_filename"].replace("/", "\\").upper()}
            for row in rows_of(table)
        ]
        write_rows(table, rows)
        assert_test_kept_out(load("maestro", maestro), MAESTRO_TEST)

    def test_a_table_apart_from_the_files(self, load, tmp_path) -> None:
        root = tmp_path / "maestro"
        tiny.maestro(root / "midi")
        (root / "tables").mkdir()
        (root / "midi" / "maestro-v3.0.0.csv").rename(root / "tables" / "maestro-v3.0.0.csv")
        assert_test_kept_out(load("maestro", root), f"midi/{MAESTRO_TEST}")

    def test_resource_forks_are_not_tables(self, load, maestro) -> None:
        forks = maestro / "__MACOSX" / "maestro-v3.0.0"
        forks.mkdir(parents=True)
        for name in ("._maestro-v3.0.0.csv", "maestro-v3.0.0.csv"):
            (forks / name).write_bytes(b"\x00\x05\x16\x07")
        assert_test_kept_out(load("maestro", maestro), MAESTRO_TEST)

    def test_a_moved_file_is_not_matched_by_its_name(self, load, maestro) -> None:
        (maestro / MAESTRO_TEST).rename(maestro / "performance 3.midi")
        skipped = load("maestro", maestro).report.skipped
        assert "performance 3.midi" in skipped[UNLISTED]
        assert TEST_REASON not in skipped

    def test_files_without_their_folders_are_refused_with_advice(self, load, maestro) -> None:
        for file in [*maestro.glob("*/*.midi")]:
            file.rename(maestro / file.name)
        with pytest.raises(DataError, match="not in the official table") as error:
            load("maestro", maestro)
        assert "with its folders" in str(error.value)

    def test_on_conflict_the_most_held_out_split_wins(self, load, maestro) -> None:
        rows = [row | {"split": "train"} for row in rows_of(maestro / "maestro-v3.0.0.csv")]
        write_rows(maestro / "maestro-v2.0.0.csv", rows)
        dataset = load("maestro", maestro)
        assert dataset.report.skipped[TEST_REASON] == [MAESTRO_TEST]
        assert dataset.report.tables == ["maestro-v2.0.0.csv", "maestro-v3.0.0.csv"]
        (warning,) = dataset.report.warnings
        assert "tables give 2 files different splits" in warning

    def test_a_damaged_table_beside_a_good_one_is_a_warning(self, load, maestro) -> None:
        (maestro / "maestro-v3.0.0.json").write_text("{")
        dataset = load("maestro", maestro)
        assert dataset.report.skipped[TEST_REASON] == [MAESTRO_TEST]
        (warning,) = dataset.report.warnings
        assert "damaged table" in warning
        assert "maestro-v3.0.0.json" in warning

    @pytest.mark.parametrize("content", [b"{", b"\xff\xfe\x00", b"[1, 2]", b'{"split": 1, "midi_filename": 2}'])
    def test_a_damaged_table_alone_is_an_error(self, load, maestro, content) -> None:
        (maestro / "maestro-v3.0.0.csv").unlink()
        (maestro / "maestro-v3.0.0.json").write_bytes(content)
        with pytest.raises(DataError, match=r"maestro-v3\.0\.0\.json"):
            load("maestro", maestro)

    @pytest.mark.parametrize("damage", [{"split": "tset"}, {"midi_filename": ""}, {"split": None}])
    def test_a_damaged_row_skips_its_file(self, maestro, damage) -> None:
        *others, test = rows_of(maestro / "maestro-v3.0.0.csv")
        write_rows(maestro / "maestro-v3.0.0.csv", [*others, test | damage])
        chosen = select_files(maestro, advice="Copy the table")
        assert len(chosen.files) == 3
        assert MAESTRO_TEST not in chosen.files
        assert any("1 rows" in warning and "row 5" in warning for warning in chosen.warnings)

    def test_the_named_table_is_the_only_one(self, load, maestro) -> None:
        rows = [row | {"split": "train"} for row in rows_of(maestro / "maestro-v3.0.0.csv")]
        write_rows(maestro / "own" / "table.csv", [row | {"midi_filename": "x" + row["midi_filename"]} for row in rows])
        with pytest.raises(DataError, match="not in the official table"):
            load("maestro", maestro, annotations_file="own/table.csv")
        with pytest.raises(DataError, match="does not exist"):
            load("maestro", maestro, annotations_file="elsewhere.csv")

    def test_without_a_table_it_warns(self, load, maestro) -> None:
        (maestro / "maestro-v3.0.0.csv").unlink()
        dataset = load("maestro", maestro)
        (warning,) = dataset.report.warnings
        assert "no table of official splits" in warning
        assert dataset.warnings == (f"maestro: {warning}",)
        assert (dataset.report.split_source, dataset.report.tables) == ("by seed", [])

    def test_validation_is_drawn_from_train_where_the_table_has_none(self, load, maestro) -> None:
        table = maestro / "maestro-v3.0.0.csv"
        write_rows(table, [row | {"split": row["split"].replace("validation", "train")} for row in rows_of(table)])
        dataset = load("maestro", maestro)
        assert dataset.report.skipped[TEST_REASON] == [MAESTRO_TEST]
        assert dataset.report.split_source == "official and by seed"
        assert set(dataset.rows.splits) == {"train", "validation"}

    @pytest.mark.parametrize("most", [2, 3])
    def test_a_limit_on_files_keeps_both_sides(self, load, tmp_path, most) -> None:
        dataset = load("maestro", tiny.maestro(tmp_path / "maestro"), max_files=most)
        assert dataset.report.split_source == "official"
        assert set(dataset.rows.groups[dataset.validation]) == {"Composer: Piece 2"}

    def test_validation_alone_is_never_trained_on(self, load, maestro) -> None:
        for number in (0, 1):
            (maestro / f"200{number}" / f"performance {number}.midi").unlink()
        with pytest.raises(DataError, match="no file to train on"):
            load("maestro", maestro)


class TestGroove:
    @pytest.mark.parametrize("below", ["", "groove/", "unpacked/groove/"])
    def test_the_table_is_found_at_any_depth(self, load, tmp_path, below) -> None:
        tiny.groove_midi(tmp_path / "groove_midi" / below)
        dataset = load("groove_midi", tmp_path / "groove_midi")
        assert_test_kept_out(dataset, below + GROOVE_TEST)
        assert dataset.report.tables == [f"{below}info.csv"]

    def test_equal_names_in_two_sessions_are_distinguished(self, load, tmp_path) -> None:
        root = tmp_path / "groove_midi" / "groove"
        header = ("style", "beat_type", "time_signature", "midi_filename", "split")
        rows: list[tuple[str, ...]] = [header]
        for number, split in enumerate(("test", "train", "validation")):
            name = f"drummer{number}/session1/1_rock_100_beat_4-4.mid"
            tiny.write_midi(root / name, {"Drums": tiny.drum_notes(9 + number)}, channel=9)
            rows.append(("rock", "beat", "4-4", name, split))
        unlisted = "drummer7/session1/1_rock_100_beat_4-4.mid"
        tiny.write_midi(root / unlisted, {"Drums": tiny.drum_notes(14)}, channel=9)
        tiny.write_csv(root / "info.csv", rows)
        dataset = load("groove_midi", root.parent)
        assert dataset.report.skipped == {
            TEST_REASON: ["groove/drummer0/session1/1_rock_100_beat_4-4.mid"],
            UNLISTED: [f"groove/{unlisted}"],
        }

    @pytest.mark.parametrize("table", ["e-gmd-v1.0.0.csv", "E-GMD.csv"])
    def test_e_gmd_has_one_group_for_all_kits_of_a_recording(self, load, tmp_path, table) -> None:
        root = tmp_path / "groove_midi" / "e-gmd-v1.0.0"
        header = ("drummer", "style", "bpm", "beat_type", "time_signature", "midi_filename", "kit_name", "split")
        rows: list[tuple[object, ...]] = [header]
        for number, split in enumerate(("train", "validation", "test", "train")):
            kind = "fill" if number == 3 else "beat"
            for kit in (1, 12):
                name = f"drummer1/eval_session/{number}_rock_100_{kind}_4-4_{kit}.midi"
                notes = tiny.drum_notes(9 + number, lag=0.01 * kit)
                tiny.write_midi(root / name, {"Drums": notes}, channel=9)
                rows.append(("drummer1", "rock", 100, kind, "4-4", name, f"kit {kit}", split))
        tiny.write_csv(root / table, rows)
        dataset = load("groove_midi", root.parent)
        recordings = [f"drummer1/eval_session/{number}_rock_100_beat_4-4.midi" for number in range(2)]
        assert sorted(set(dataset.rows.groups)) == recordings
        assert len(dataset.report.skipped[TEST_REASON]) == 2
        assert len(dataset.report.skipped["a fill, not a beat"]) == 2

    def test_the_recording_of_a_file(self) -> None:
        assert recording_of("e-gmd/drummer1/session1/1_funk_80_beat_4-4_23.midi") == (
            "drummer1/session1/1_funk_80_beat_4-4.midi"
        )
        assert recording_of("groove/drummer1/session1/1_funk_80_beat_4-4.mid") == (
            "drummer1/session1/1_funk_80_beat_4-4.mid"
        )
        assert recording_of("own/take_2.mid") == "own/take_2.mid"


class TestEmopia:
    @pytest.mark.parametrize("main", ["lakh_midi", "maestro"])
    @pytest.mark.parametrize("below", ["", "emopia/", "downloads/zenodo/"])
    def test_its_tables_are_found_at_any_depth(self, load, tmp_path, main, below) -> None:
        root = tmp_path / "emotion_midi"
        tiny.emotion_midi(root / below)
        tiny.emopia_split(root / below / "EMOPIA_1.0")
        dataset = load(main, root)
        assert_test_kept_out(dataset, f"{below}EMOPIA_1.0/midis/Q4_dd_0.mid")
        assert dict(zip(dataset.rows.groups, dataset.rows.splits, strict=True)) == {"a-_b": "train", "cc": "validation"}
        assert set(dataset.rows.sources) == {"human_quadrant"}
        assert len(dataset.report.tables) == 3

    def test_beside_lakh_files_outside_its_folder_stay(self, load, tmp_path) -> None:
        root = tmp_path / "lakh_midi"
        tiny.lakh_midi(root / "lmd_full", songs=6)
        tiny.emotion_midi(root)
        tiny.emopia_split(root / "EMOPIA_1.0")
        unlisted = tiny.write_midi(root / "EMOPIA_1.0" / "midis" / "Q1_ee_0.mid", {"": tiny.melody_notes(90)})
        dataset = load("lakh_midi", root)
        assert dataset.report.skipped == {
            TEST_REASON: ["EMOPIA_1.0/midis/Q4_dd_0.mid"],
            UNLISTED: [str(unlisted.relative_to(root))],
        }
        sides = dict(zip(dataset.rows.groups, dataset.rows.splits, strict=True))
        assert (sides["a-_b"], sides["cc"]) == ("train", "validation")
        assert {sides[f"lmd_full/{song}/{song}.mid"] for song in range(6)} == {"train", "validation"}
        assert dataset.report.split_source == "official and by seed"

    def test_clips_without_tables_are_warned_of_and_songs_are_not(self, load, tmp_path) -> None:
        assert "EMOPIA" in load("lakh_midi", tiny.emotion_midi(tmp_path / "emotion_midi")).report.warnings[0]
        assert load("lakh_midi", tiny.lakh_midi(tmp_path / "lakh_midi")).report.warnings == []


class TestChords:
    @pytest.mark.parametrize("below", ["", "pop909", "downloads/unpacked"])
    def test_the_file_is_found_at_any_depth(self, load, tmp_path, below) -> None:
        tiny.chords(tmp_path / "chords" / below)
        assert is_present("chords", tmp_path / "chords")
        assert len(load("chords", tmp_path / "chords")) == 6

    def test_other_json_below_is_not_a_chord_file(self, tmp_path) -> None:
        (tmp_path / "chords" / "notes").mkdir(parents=True)
        (tmp_path / "chords" / "notes" / "other.json").write_text("[]")
        assert not is_present("chords", tmp_path / "chords")


class TestLakh:
    @pytest.mark.parametrize(
        ("file", "song"),
        [
            ("lmd_full/0/00.mid", "lmd_full/0/00.mid"),
            ("lmd_matched/A/A/A/TRAAAGR128F425B14B/1.mid", "TRAAAGR128F425B14B"),
            ("TRAAAGR128F425B14B/2.mid", "TRAAAGR128F425B14B"),
            ("TRANCE/1.mid", "TRANCE/1.mid"),
            ("clean_midi/ABBA/Waterloo.mid", "clean_midi/ABBA/Waterloo.mid"),
            ("clean_midi/ABBA/Waterloo.12.mid", "clean_midi/ABBA/Waterloo.mid"),
            ("clean_midi/ABBA/Opus 10.mid", "clean_midi/ABBA/Opus 10.mid"),
            ("EMOPIA_1.0/midis/Q1_a-_b_0.mid", "a-_b"),
        ],
    )
    def test_the_song_of_a_file(self, file, song) -> None:
        assert song_of(file) == song

    @pytest.mark.parametrize("below", ["clean_midi", "lakh/Clean_MIDI"])
    def test_artists_of_the_clean_subset_are_groups(self, load, tmp_path, below) -> None:
        root = tmp_path / below if below == "clean_midi" else tmp_path / "lakh"
        for number in range(7):
            name = f"Artist {max(0, number - 2)}/Title {number}.mid"
            tiny.write_midi(tmp_path / below / name, {"Lead vocal": tiny.melody_notes(70 + number)})
        assert set(load("lakh_midi", root).rows.groups) == {f"artist {number}" for number in range(5)}

    @pytest.mark.parametrize("below", ["", "lmd/"])
    def test_versions_of_a_song_are_on_one_side(self, load, tmp_path, below) -> None:
        root = tmp_path / "lakh_midi"
        names = [f"lmd_matched/A/A/{x}/TRAA{x}GR128F425B14B/{i}.mid" for x in "AB" for i in range(3)]
        names += [f"clean_midi/ABBA/{title}{i}.mid" for title in ("Waterloo", "Fernando") for i in ("", ".1", ".2")]
        for number, name in enumerate(names):
            tiny.write_midi(root / below / name, {"Lead vocal": tiny.melody_notes(70 + number)})
        dataset = load("lakh_midi", root, validation_split=0.5)
        assert len(set(dataset.rows.groups)) == 4
        assert not set(dataset.rows.groups[dataset.train]) & set(dataset.rows.groups[dataset.validation])


class TestDeam:
    @pytest.mark.parametrize(
        ("audio", "tables"),
        [
            ("MEMD_audio", "annotations"),
            ("DEAM_audio/MEMD_audio", "DEAM_Annotations/annotations"),
            ("deam/DEAM_audio/MEMD_audio", "deam/DEAM_Annotations/annotations"),
        ],
    )
    def test_the_published_tree(self, load, tmp_path, audio, tables) -> None:
        root = tmp_path / "deam"
        for song in range(2, 6):
            tiny.write_tone(root / audio / f"{song}.wav", 20, 200 * song)
        averaged = root / tables / "annotations averaged per song" / "song_level"
        header = ("song_id", " valence_mean", " valence_std", " arousal_mean", " arousal_std")
        for name, songs in (("1_2000", (2, 3)), ("2000_2058", (4, 5))):
            rows = [(song, 3 + song / 4, 0.5, 7 - song / 4, 0.5) for song in songs]
            tiny.write_csv(averaged / f"static_annotations_averaged_songs_{name}.csv", [header, *rows])
        raters = root / tables / "annotations per each rater"
        tiny.write_csv(raters / "song_level" / "static.csv", [("song_id", "valence", "arousal"), (2, 300, 1)])
        tiny.write_csv(
            raters / "dynamic (per second annotations)" / "arousal" / "2.csv", [("id", "valence", "arousal")]
        )
        dataset = load("deam", root, duration=20)
        assert len(dataset) == 4
        assert dataset.report.split_source == "by seed"
        assert dataset.report.warnings == []

    def test_songs_of_one_artist_or_album_are_a_group(self, load, tmp_path) -> None:
        root = tiny.deam(tmp_path / "deam", songs=9, seconds=2)
        tiny.write_csv(
            root / "metadata" / "metadata_2013.csv",
            [("song_id", "file_name", "Artist", "Song title"), *((n, f"{n}.mp3", '\t"Ada"', "x") for n in (2, 3, 4))],
        )
        # The published tables have more cells than columns in some rows, and sampler albums.
        later = [
            (5, "Bo", "One"),
            (6, "bo ", "Two", "more"),
            (7, "Various Artists", "Hits"),
            (8, "", "hits"),
            (9, "", ""),
        ]
        tiny.write_csv(root / "metadata" / "metadata_2014.csv", [("Id", "Artist", "Album"), *later, (4, "Cy", "")])
        groups = load("deam", root, duration=2).rows.groups.tolist()
        assert sorted(groups) == sorted(["ada", "ada", "4", "bo", "bo", "hits", "hits", "9", "10"])

    def test_fewer_than_five_artists_are_not_groups(self, load, tmp_path) -> None:
        root = tiny.deam(tmp_path / "deam", songs=4, seconds=2)
        tiny.write_csv(root / "metadata.csv", [("song_id", "artist"), (2, "Ada"), (3, "Ada")])
        assert set(load("deam", root, duration=2).rows.groups) == {"2", "3", "4", "5"}


def test_a_folder_in_another_case_is_found(tmp_path: Path) -> None:
    settings = load_settings(None, {"datasets.dir": ("test", str(tmp_path))}, {}).settings.datasets
    assert settings.folder("groove_midi") == tmp_path / "groove_midi"
    (tmp_path / "Groove_MIDI").mkdir()
    assert settings.folder("groove_midi") == tmp_path / "Groove_MIDI"
    (tmp_path / "groove_midi").mkdir()
    assert settings.folder("groove_midi") == tmp_path / "groove_midi"


def test_a_fifth_validates_by_default() -> None:
    assert load_settings(None, {}, {}).settings.training.validation_split == LoadOptions().validation_split == 0.2


@pytest.mark.parametrize(
    ("official", "splits"),
    [
        (["train", "validation", "test"], ["train", "validation", "test"]),
        (["train", "validation", None], ["train", "validation", "train"]),
        (["validation", None, "test"], ["validation", "train", "test"]),
    ],
)
def test_official_sides_stay(official, splits) -> None:
    assert assign_splits(["a", "b", "c"], official, 0.2, 0).tolist() == splits


def test_a_file_without_a_split_gets_that_of_its_group() -> None:
    splits = assign_splits(["a", "b", "b"], ["train", "validation", None], 0.2, 0)
    assert splits.tolist() == ["train", "validation", "validation"]


def _datasets(folder: Path, cache: Path, *arguments: str) -> str:
    environment = {"KELLY_DATASETS_CACHE_DIR": str(cache), "COLUMNS": "200"}
    result = CliRunner().invoke(app, ["datasets", "--datasets-dir", str(folder), *arguments], env=environment)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_command_shows_splits_and_tables(tmp_path: Path) -> None:
    tiny.maestro(tmp_path / "data" / "maestro" / "maestro-v3.0.0")
    tiny.groove_midi(tmp_path / "data" / "Groove_MIDI" / "groove")
    (tmp_path / "data" / "Groove_MIDI" / "groove" / "info.csv").unlink()
    tiny.emotion_midi(tmp_path / "data" / "emotion_midi")
    tiny.emopia_split(tmp_path / "data" / "emotion_midi" / "EMOPIA_1.0")
    reports = json.loads(_datasets(tmp_path / "data", tmp_path / "cache", "--json"))["datasets"]
    by_name = {report["name"]: report for report in reports}
    maestro, groove, emopia = by_name["maestro"], by_name["groove_midi"], by_name["emotion_midi"]
    assert (maestro["split_source"], maestro["tables"]) == ("official", ["maestro-v3.0.0/maestro-v3.0.0.csv"])
    assert maestro["skipped"][TEST_REASON]["first"] == [f"maestro-v3.0.0/{MAESTRO_TEST}"]
    assert (groove["split_source"], groove["tables"]) == ("by seed", [])
    assert any("no table of official splits" in warning for warning in groove["warnings"])
    assert emopia["split_source"] == "official"
    assert len(emopia["tables"]) == 3
    text = _datasets(tmp_path / "data", tmp_path / "cache")
    assert "official: maestro-v3.0.0/maestro-v3.0.0.csv" in text


@pytest.mark.parametrize(("name", "table"), [("maestro", "maestro-v3.0.0.csv"), ("groove_midi", "info.csv")])
@pytest.mark.parametrize("below", ["", "unpacked/here/"])
def test_real_files_under_test_are_kept_out(load, shared_data, tmp_path, name, table, below) -> None:
    source = shared_data / name
    rows = [row for row in rows_of(source / table) if (source / row["midi_filename"]).is_file()]
    names = [Path(row["midi_filename"]).name for row in rows]
    # Names that Groove has in several sessions are the ones that could be mistaken for each other.
    repeated = [row for row in rows if names.count(Path(row["midi_filename"]).name) > 1]
    sides = [[row for row in rows if row["split"] == split][:6] for split in ("train", "validation")]
    chosen = {row["midi_filename"]: row for row in (*repeated, *sides[0], *sides[1])}
    # The sample has no file of the official test split, so part of the training files stand for it.
    trained = [row for row in chosen.values() if row["split"] == "train"]
    for row in trained[::2]:
        row["split"] = "test"
    for file in chosen:
        copy = tmp_path / name / below / file
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes((source / file).read_bytes())
    write_rows(tmp_path / name / below / table, list(chosen.values()))
    dataset = load(name, tmp_path / name)
    test = {below + row["midi_filename"] for row in trained[::2]}
    fit = {file for file in test if name == "maestro" or "_beat_4-4" in file}
    assert fit
    assert set(dataset.report.skipped[TEST_REASON]) == fit
    assert UNLISTED not in dataset.report.skipped
    assert dataset.report.split_source == "official"
