"""Tables of valence and arousal: a damaged row costs that row, and no value is read on another scale than its own."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from kelly_core.data.affect_tables import LabelIndex, is_affect_table, read_affect_table, song_key
from kelly_core.data.catalog import create_dataset
from kelly_core.data.corpora.emopia import find_quadrants, read_quadrants
from kelly_core.data.files import read_sidecar, read_table
from kelly_core.errors import DataError
from tests.data import tiny

HEADER = "song_id,valence_mean,arousal_mean\n"
SOUND = "".join(f"{song},{2 + song % 6},{8 - song % 6}\n" for song in range(100, 140))


@pytest.fixture
def load(tmp_path: Path):
    """Read a corpus with a cache of this test's own."""
    return lambda name, root, **options: create_dataset(name, root, cache_dir=tmp_path / "cache", **options)


def write(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


class TestRows:
    @pytest.mark.parametrize(
        "row", ["2,,4", "2,nan,4", "2,inf,4", "2,x,4", "2,5", "2", ",5,5", "2,55,4", "2,1e400,4", f"2,{'9' * 5000},4"]
    )
    def test_a_damaged_row_costs_that_row(self, tmp_path: Path, row: str) -> None:
        table = read_affect_table(write(tmp_path / "a.csv", HEADER + SOUND + row + "\n3,5,9\n"))
        assert len(table.labels) == 41 and table.labels["3"] == (0.0, 1.0)
        assert table.damaged == ["a.csv row 42"]

    def test_a_second_row_of_a_song_with_other_values_is_damaged(self, tmp_path: Path) -> None:
        table = read_affect_table(write(tmp_path / "a.csv", HEADER + SOUND + "100,9,9\n"))
        assert table.labels["100"] == (0.25, -0.25) and table.damaged == ["a.csv row 42"]

    def test_several_rows_of_every_song_are_no_averages(self, tmp_path: Path) -> None:
        ratings = "".join(f"{song},{value},5\n" for song in range(9) for value in range(1, 6))
        with pytest.raises(DataError, match="several rows a song"):
            read_affect_table(write(tmp_path / "a.csv", HEADER + ratings))


class TestText:
    @pytest.mark.parametrize("delimiter", [",", ";", "\t", ", ", " ; "])
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16"])
    @pytest.mark.parametrize("line_end", ["\n", "\r\n"])
    def test_delimiters_encodings_and_line_ends(
        self, tmp_path: Path, delimiter: str, encoding: str, line_end: str
    ) -> None:
        lines = [("Song_ID", "Valence", "AROUSAL"), ("café", "0.5", "-0.5"), (" 002 ", "-1", "1")]
        text = line_end.join(delimiter.join(line) for line in lines)
        path = write(tmp_path / "a.csv", text.encode(encoding))
        assert is_affect_table(path)
        assert read_affect_table(path).labels == {"café": (0.5, -0.5), "002": (-1.0, 1.0)}

    def test_a_byte_that_is_no_text_does_not_cost_the_table(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", b"a,b\n\x81,\x00\n")
        assert read_table(path)[0]["b"] == "\0"


class TestIds:
    @pytest.mark.parametrize("written", ["2", "2.0", "002", " 2 ", "2.mp3", "002.MP3", "audio/2.mp3", "audio\\2.mp3"])
    @pytest.mark.parametrize("file", ["audio/2.mp3", "audio/002.mp3", "audio/2.MP3", "deep/audio/2.wav"])
    def test_spellings_of_a_number(self, written: str, file: str) -> None:
        assert LabelIndex({written: (0.5, 0.5)}).find(file) == (0.5, 0.5)

    def test_case_and_spaces_do_not_count(self) -> None:
        assert LabelIndex({"My Song.WAV": (0.5, 0.5)}).find("a/my song.wav") == (0.5, 0.5)

    def test_an_exact_id_wins_and_an_ambiguous_one_gives_nothing(self) -> None:
        index = LabelIndex({"2": (0.1, 0.1), "002": (0.2, 0.2)})
        assert index.find("a/2.mp3") == (0.1, 0.1) and index.find("a/002.mp3") == (0.2, 0.2)
        assert index.find("a/02.mp3") is None

    @pytest.mark.parametrize("name", ["20", "2.5", "2a", "", "0"])
    def test_other_names_stay_apart(self, name: str) -> None:
        assert song_key(name) == name and LabelIndex({"2": (0.5, 0.5)}).find(f"{name}.mp3") is None


class TestScales:
    @pytest.mark.parametrize(
        ("header", "row", "affect"),
        [
            ("song_id, valence_mean, arousal_mean", "1,9,5", (1, 0)),
            ("song_id,mean_arousal,std_arousal,mean_valence,std_valence", "1,3,.5,9,.5", (1, -0.5)),
            ("musicId,Arousal(mean),Valence(mean)", "1,0.25,1", (1, -0.5)),
            ("Number,valence,energy", "001,9,3", (1, -0.5)),
            ("Number,valence,energy", "001,1,1", (-1, -1)),
        ],
    )
    def test_known_columns_have_known_scales(self, tmp_path: Path, header: str, row: str, affect: tuple) -> None:
        path = write(tmp_path / "a.csv", f"{header}\n{row}\n")
        assert is_affect_table(path)
        assert list(read_affect_table(path).labels.values()) == [pytest.approx(affect)]

    @pytest.mark.parametrize(
        ("scale", "value", "unit"), [("1..9", 7, 0.5), ("0..1", 0.25, -0.5), ("-1..1", 0.25, 0.25), ("-5..5", -5, -1)]
    )
    def test_a_given_scale_is_used(self, tmp_path: Path, scale, value: float, unit: float) -> None:
        path = write(tmp_path / "a.csv", f"file,valence,arousal\na,{value},{value}\n")
        assert read_affect_table(path, scale).labels == {"a": (unit, unit)}

    def test_another_scale_is_refused_with_the_observed_range(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", "file,valence,arousal\na,-3,4.5\nb,2,0\n")
        with pytest.raises(DataError, match=r"-3\.\.4\.5.*Set scale"):
            read_affect_table(path)

    def test_values_that_could_be_on_two_scales_are_warned_of(self, tmp_path: Path) -> None:
        rows = "".join(f"{song},{song / 20},{song / 30}\n" for song in range(20))
        path = write(tmp_path / "a.csv", "file,valence,arousal\n" + rows)
        assert "read as -1..1; set scale" in read_affect_table(path).warning
        assert not read_affect_table(path, "0..1").warning


class TestWhichTables:
    @pytest.mark.parametrize(
        "header",
        ["workerID,SongId,Valence,Arousal", "musicId,frameTime,Arousal(mean),Valence(mean)", "a,b", "", "9" * 5000],
    )
    def test_ratings_frames_and_others_are_not_labels_by_song(self, tmp_path: Path, header: str) -> None:
        assert not is_affect_table(write(tmp_path / "a.csv", header + "\n1,2,3,4\n"))


class TestSidecarsAndQuadrants:
    def test_an_odd_entry_costs_that_entry(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        sound = '"a": {"valence": 0.5, "arousal": -1}'
        odd = ["3", "null", '{"valence": true, "arousal": 0}', '{"valence": 2, "arousal": 0}', '{"valence": NaN}']
        huge = '{"valence": ' + "9" * 5000 + ', "arousal": 0}'
        entries = [sound, *(f'"odd{number}": {entry}' for number, entry in enumerate([*odd, huge]))]
        write(tmp_path / "emotion_labels.json", "{" + ", ".join(entries) + "}")
        with caplog.at_level(logging.WARNING):
            assert read_sidecar(tmp_path) == {"a": (0.5, -1.0)}
        assert "6 left out" in caplog.text and "odd0" in caplog.text

    def test_a_damaged_quadrant_costs_that_row(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        path = write(tmp_path / "label.csv", "ID,4Q\na,1\nb,\nc,5\nd,2.0\n,3\ne,nan\n")
        with caplog.at_level(logging.WARNING):
            assert set(read_quadrants(path)) == {"a", "d"}
        assert "4 left out" in caplog.text

    def test_a_table_of_quadrants_that_cannot_be_read_costs_that_table(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        write(tmp_path / "a" / "label.csv", "ID,4Q\na," + "1" * 200_000 + "\n")
        write(tmp_path / "b" / "label.csv", "ID,4Q\nb,1\n")
        assert set(find_quadrants(tmp_path, ["a/label.csv", "b/label.csv"])) == {"b"}
        assert "a/label.csv" in caplog.text


class TestCorpus:
    def test_damaged_rows_are_counted_and_the_tables_are_named(self, load, tmp_path: Path) -> None:
        root = tiny.deam(tmp_path / "deam", seconds=4)
        with (root / "annotations" / "annotations.csv").open("a") as file:
            file.write("77,,3\n78,nan,3\n")
        report = load("deam", root, duration=4).report
        (names,) = (names for reason, names in report.skipped.items() if reason.startswith("damaged row"))
        assert len(names) == 2 and report.label_tables == ["annotations/annotations.csv"]

    def test_ratings_of_single_raters_and_features_never_override(self, load, tmp_path: Path) -> None:
        root = tiny.deam(tmp_path / "deam", seconds=4)
        labels = load("deam", root, duration=4).rows.sources.tolist()
        for folder in ("annotations per each rater", "features", "z"):
            write(root / folder / "static.csv", "workerID,song_id,valence,arousal\nw,2,1,1\n")
        after = load("deam", root, duration=4)
        assert after.rows.sources.tolist() == labels and after.report.label_tables == ["annotations/annotations.csv"]

    def test_a_table_that_cannot_be_read_costs_that_table(self, load, tmp_path: Path) -> None:
        root = tiny.deam(tmp_path / "deam", seconds=4)
        write(root / "z.csv", "file,valence,arousal\na,-3,77\n")
        (warning,) = load("deam", root, duration=4).report.warnings
        assert "table of labels left out" in warning and "-3..77" in warning

    def test_odd_cells_and_columns_of_frame_tables_cost_those_cells(self, load, tmp_path: Path) -> None:
        root = tiny.deam(tmp_path / "deam", songs=3, seconds=20)
        folder = root / "annotations" / "dynamic"
        header = f"Song_ID,sample_15000ms,sample_15500ms,sample_{'9' * 5000}ms\n"
        write(folder / "valence.csv", header + "002.0,0.5,x,1\n,1,1,1\n")
        write(folder / "arousal.csv", header + "2,0.1,0.2,1\n")
        report = load("deam", root, duration=20).report
        assert report.label_sources == {"dynamic": 1, "static": 2}
        assert report.skipped["damaged row of a table of labels"] == ["valence.csv row 2", "valence.csv row 3"]
