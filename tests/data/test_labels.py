"""Tables of valence and arousal: a damaged row costs that row, and no value is read on another scale than its own."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import pytest

from kelly_core.data.label_tables import (
    SIDECAR,
    LabelIndex,
    is_affect_table,
    read_affect_table,
    read_curve,
    read_quadrants,
    read_sidecar,
    song_key,
)
from kelly_core.data.labels import UNREADABLE_LABELS, read_known_labels
from kelly_core.data.tables import read_table
from kelly_core.errors import DataError
from kelly_core.music.emotion import CONTEXT, QUADRANT_AFFECT, decode_affect, encode_affect
from tests.helpers import tiny

HEADER = "song_id,valence_mean,arousal_mean\n"
SOUND = "".join(f"{song},{2 + song % 6},{8 - song % 6}\n" for song in range(100, 140))


def write(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


class TestRows:
    @pytest.mark.parametrize(
        "row",
        [
            "2,,4",
            "2,nan,4",
            "2,inf,4",
            "2,x,4",
            "2,5",
            "2",
            ",5,5",
            "2,55,4",
            "2,1e400,4",
            "2,5,5,6,5",
            f"2,{'9' * 5000},4",
        ],
    )
    def test_a_damaged_row_is_skipped(self, tmp_path: Path, row: str) -> None:
        table = read_affect_table(write(tmp_path / "a.csv", HEADER + SOUND + row + "\n3,5,9\n"))
        assert len(table.labels) == 41
        assert table.labels["3"] == (0.0, 1.0)
        assert table.damaged == ["a.csv row 42"]

    @pytest.mark.parametrize("row", ["2", '2,"5,4', f"2,{'9' * 200_000},4"])
    def test_a_damaged_first_row_does_not_cost_the_others(self, tmp_path: Path, row: str) -> None:
        table = read_affect_table(write(tmp_path / "a.csv", HEADER + row + "\n" + SOUND))
        assert len(table.labels) == 40
        assert table.damaged == ["a.csv row 2"]

    def test_a_second_row_of_a_song_with_other_values_is_damaged(self, tmp_path: Path) -> None:
        table = read_affect_table(write(tmp_path / "a.csv", HEADER + SOUND + "100,9,9\n"))
        assert table.labels["100"] == (0.25, -0.25)
        assert table.damaged == ["a.csv row 42"]

    def test_several_rows_per_song_are_not_averages(self, tmp_path: Path) -> None:
        ratings = "".join(f"{song},{value},5\n" for song in range(9) for value in range(1, 6))
        with pytest.raises(DataError, match="several rows per song"):
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
        assert read_affect_table(path, "-1..1").labels == {"café": (0.5, -0.5), "002": (-1.0, 1.0)}

    @pytest.mark.parametrize("above", ["\n\n", "# ratings\n", "sep=;\n", "Ratings of 2019;;\n", "Ratings\n\n"])
    def test_lines_above_the_header_and_decimal_commas(self, tmp_path: Path, above: str) -> None:
        header, rows = "song id;Valence-mean;arousal mean\n", "2;2,5;\N{MINUS SIGN}1,25\n3;1_0;0\n"
        path = write(tmp_path / "a.csv", above + header + rows)
        assert is_affect_table(path)
        assert read_affect_table(path, "-5..5").labels == {"2": (0.5, -0.25)}

    def test_an_invalid_byte_does_not_invalidate_the_table(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", b"a,b\n\x81,\x00\n")
        assert read_table(path)[0]["b"] == "\0"


class TestIds:
    @pytest.mark.parametrize(
        "written",
        ["2", "2.0", "002", " 2 ", "2.mp3", "002.MP3", "audio/2.mp3", "audio\\2.mp3", "./2.mp3", "/data/audio/2.mp3"],
    )
    @pytest.mark.parametrize("file", ["audio/2.mp3", "audio/002.mp3", "audio/2.MP3", "deep/audio/2.wav"])
    def test_spellings_of_a_number(self, written: str, file: str) -> None:
        assert LabelIndex({written: (0.5, 0.5)}).find(file) == (0.5, 0.5)

    def test_case_and_spaces_do_not_count(self) -> None:
        assert LabelIndex({"My Song.WAV": (0.5, 0.5)}).find("a/my song.wav") == (0.5, 0.5)

    def test_an_exact_id_wins_and_an_ambiguous_one_gives_nothing(self) -> None:
        index = LabelIndex({"2": (0.1, 0.1), "002": (0.2, 0.2)})
        assert index.find("a/2.mp3") == (0.1, 0.1)
        assert index.find("a/002.mp3") == (0.2, 0.2)
        assert index.find("a/02.mp3") is None

    def test_a_path_of_another_folder_is_another_file(self) -> None:
        index = LabelIndex({"set/a/2.mp3": (0.1, 0.1)})
        assert index.find("2.mp3") == index.find("x/a/2.mp3") == (0.1, 0.1)
        assert index.find("b/2.mp3") is None

    @pytest.mark.parametrize("name", ["20", "2.5", "2a", "", "0"])
    def test_other_names_stay_apart(self, name: str) -> None:
        assert song_key(name) == name
        assert LabelIndex({"2": (0.5, 0.5)}).find(f"{name}.mp3") is None


class TestScales:
    @pytest.mark.parametrize(
        ("header", "row", "affect"),
        [
            ("song_id, valence_mean, arousal_mean", "1,9,5", (1, 0)),
            ("song_id,mean_arousal,std_arousal,mean_valence,std_valence", "1,3,.5,9,.5", (1, -0.5)),
            ("musicId,Arousal(mean),Valence(mean)", "1,0.25,1", (1, -0.5)),
            ("musicId,Arousal (mean),Valence ( mean )", "1,0.25,1", (1, -0.5)),
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

    @pytest.mark.parametrize(
        ("values", "observed"),
        [((-3, 4.5), r"-3\.\.4\.5"), ((0, 1), r"0\.\.1"), ((-1, 1), r"-1\.\.1"), ((1, 9), r"1\.\.9")],
    )
    def test_an_unknown_table_is_refused_with_the_observed_range(
        self, tmp_path: Path, values: tuple[float, float], observed: str
    ) -> None:
        low, high = values
        path = write(tmp_path / "a.csv", f"file,valence,arousal\na,{low},{high}\nb,{low},{low}\n")
        with pytest.raises(DataError, match=rf"{observed}, on a scale that is not known\. Set scale .*0\.\.1"):
            read_affect_table(path)

    @pytest.mark.parametrize("scale", ["", "-1..1"])
    @pytest.mark.parametrize(
        "header", ["song_id,valence_mean,arousal_mean", "musicId,Valence(mean),Arousal(mean)", "Number,valence,energy"]
    )
    def test_known_columns_with_values_of_another_scale_are_refused(self, tmp_path: Path, header: str, scale) -> None:
        path = write(tmp_path / "a.csv", header + "\n1,-4,0.5\n2,0.2,-3\n")
        with pytest.raises(DataError, match=r"are -4\.\.0\.5, expected"):
            read_affect_table(path, scale)

    def test_known_columns_win_over_the_given_scale_that_others_need(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", "musicId,Valence(mean),Arousal(mean)\n1,0.25,1\n")
        table = read_affect_table(path, "-1..1")
        assert table.labels == {"1": (-0.5, 1.0)}
        assert "not as scale = -1..1" in table.warning

    def test_known_columns_take_the_given_scale_if_only_that_fits(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", "song_id,valence_mean,arousal_mean\n1,-0.5,0.25\n")
        assert read_affect_table(path, "-1..1").labels == {"1": (-0.5, 0.25)}


class TestWhichTables:
    @pytest.mark.parametrize(
        "header",
        ["workerID,SongId,Valence,Arousal", "musicId,frameTime,Arousal(mean),Valence(mean)", "a,b", "", "9" * 5000],
    )
    def test_ratings_frames_and_others_are_not_labels_by_song(self, tmp_path: Path, header: str) -> None:
        assert not is_affect_table(write(tmp_path / "a.csv", header + "\n1,2,3,4\n"))


class TestSidecarsAndQuadrants:
    def test_an_invalid_entry_is_skipped(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        sound = '"a": {"valence": 0.5, "arousal": -1}'
        odd = ["3", "null", '{"valence": true, "arousal": 0}', '{"valence": 2, "arousal": 0}', '{"valence": NaN}']
        huge = '{"valence": ' + "9" * 5000 + ', "arousal": 0}'
        entries = [sound, *(f'"odd{number}": {entry}' for number, entry in enumerate([*odd, huge]))]
        write(tmp_path / "emotion_labels.json", "{" + ", ".join(entries) + "}")
        with caplog.at_level(logging.WARNING):
            assert read_sidecar(tmp_path / SIDECAR) == ({"a": (0.5, -1.0)}, [f"odd{number}" for number in range(6)])
        assert "6 left out" in caplog.text
        assert "odd0" in caplog.text

    @pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1"])
    def test_a_sidecar_is_read_in_its_encoding(self, tmp_path: Path, encoding: str) -> None:
        write(tmp_path / "emotion_labels.json", '{"é.mid": {"valence": 0.5, "arousal": 0}}'.encode(encoding))
        assert read_sidecar(tmp_path / SIDECAR) == ({"é.mid": (0.5, 0.0)}, [])

    def test_a_damaged_quadrant_skips_only_its_row(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        path = write(tmp_path / "label.csv", "ID,4Q\na,1\nb,\nc,5\nd,2.0\n,3\ne,nan\na,2\n")
        with caplog.at_level(logging.WARNING):
            labels, damaged = read_quadrants(path)
        assert labels == {"a": QUADRANT_AFFECT[1], "d": QUADRANT_AFFECT[2]}
        assert damaged == [f"label.csv row {number}" for number in (3, 4, 6, 7, 8)]
        assert "5 left out" in caplog.text

    @pytest.mark.parametrize(
        "written", ["Q1_A_0", "q1_a_0.MID", "midis/Q1_a_0.mid", ".\\midis\\Q1_a_0", " Q1_a_0.midi "]
    )
    def test_a_clip_is_found_in_other_spellings(self, tmp_path: Path, written: str) -> None:
        write(tmp_path / "label.csv", f"id;4q\n{written};1\nQ1_A_1;2\nq1_a_1;3\n")
        known = read_known_labels(tmp_path, ["label.csv"])
        assert known.find("EMOPIA_1.0/midis/Q1_a_0.mid") == (QUADRANT_AFFECT[1], "human_quadrant")
        assert known.find("midis/Q1_a_1.mid") is None
        assert known.find("midis/Q1_b_0.mid") is None

    def test_an_unreadable_table_of_quadrants_is_skipped(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "a").mkdir()
        os.mkfifo(tmp_path / "a" / "label.csv")
        write(tmp_path / "b" / "label.csv", "ID,4Q\nb,1\n")
        known = read_known_labels(tmp_path, ["a/label.csv", "b/label.csv"])
        assert known.find("a.mid") is None
        assert known.find("x/b.mid") is not None
        assert known.skipped == {UNREADABLE_LABELS: ["a/label.csv"]}
        assert len(known.warnings) == 1
        assert "a/label.csv" in caplog.text


@pytest.fixture
def deam(tmp_path: Path) -> Path:
    """Four recordings of 4 s and a table of their labels."""
    return tiny.deam(tmp_path / "deam", seconds=4)


class TestCorpus:
    def test_damaged_rows_are_counted_and_the_tables_are_named(self, load, deam: Path) -> None:
        with (deam / "annotations" / "annotations.csv").open("a") as file:
            file.write("77,,3\n78,nan,3\n")
        report = load("deam", deam, duration=4).report
        (names,) = (names for reason, names in report.skipped.items() if reason.startswith("damaged row"))
        assert len(names) == 2
        assert report.label_tables == ["annotations/annotations.csv"]

    @pytest.mark.parametrize(
        ("files", "content"),
        [
            (["annotations per each rater/static.csv", "features/static.csv", "z/static.csv"],
             "workerID,song_id,valence,arousal\nw,2,1,1\n"),
            (["predictions.csv", "my_pred.csv", "metadata/all.csv", "audio_features.csv"],
             "song_id,valence_mean,arousal_mean\n2,1,1\n"),
            (["all.csv"], "song_id," + "mfcc," * 260 + "valence_mean,arousal_mean\n2," + "0," * 260 + "1,1\n"),
        ],
    )  # fmt: skip
    def test_single_raters_predictions_metadata_and_features_never_override(
        self, load, deam: Path, files: list[str], content: str
    ) -> None:
        labels = load("deam", deam, duration=4).rows.sources.tolist()
        for file in files:
            write(deam / file, content)
        after = load("deam", deam, duration=4)
        assert after.rows.sources.tolist() == labels
        assert after.report.label_tables == ["annotations/annotations.csv"]

    def test_a_published_table_wins_over_one_of_a_given_scale(self, load, deam: Path) -> None:
        write(deam / "mine.csv", "file,valence,arousal\n2,1,1\n")
        plain = load("deam", deam, duration=4)
        scaled = load("deam", deam, duration=4, label_scale="-1..1")
        assert (scaled.eval_batch(scaled.train).targets == plain.eval_batch(plain.train).targets).all()

    def test_folders_of_raters_and_features_are_not_even_listed(self, load, deam: Path, monkeypatch) -> None:
        for folder in ("annotations/annotations per each rater/x", "Features"):
            write(deam / folder / "2.csv", "a,b\n")
        listed: list[str] = []
        scandir = os.scandir
        monkeypatch.setattr(os, "scandir", lambda path: listed.append(str(path)) or scandir(path))
        load("deam", deam, duration=4)
        below = {path.removeprefix(str(deam)) for path in listed if path.startswith(str(deam))}
        assert below == {"", "/annotations", "/audio"}

    def test_frame_labels_of_pmemo_are_read_by_their_time(self, load, tmp_path: Path) -> None:
        root = tmp_path / "PMEmo2019"
        for song in (1, 4):
            tiny.write_tone(root / "chorus" / f"{song}.wav", 20, 200 * song)
        tables = root / "annotations"
        static = "musicId,Arousal(mean),Valence(mean)\n1,0.25,0.75\n4,0.5,0.5\n"
        write(tables / "static_annotations.csv", static)
        header = "musicId,frameTime,Arousal(mean),Valence(mean)\n"
        frames = header + "1,15.0,1,0\n1,15.5,0.5,0.75\n1,16.0,7,0\n,1,0,0\n1,15.0,0,0\n"
        write(tables / "dynamic_annotations.csv", frames)
        dataset = load("deam", tmp_path, duration=20)
        assert dataset.report.label_sources == {"dynamic": 1, "static": 1}
        assert dataset.report.skipped["damaged row of a table of labels"] == [
            f"dynamic_annotations.csv row {number}" for number in (4, 5, 6)
        ]
        (index,) = np.flatnonzero(dataset.rows.sources == "dynamic")
        batch = dataset.eval_batch(np.array([index]))
        assert np.flatnonzero(batch.weights[0, :, 0]).tolist() == [29, 30]
        np.testing.assert_allclose(
            batch.targets[0, 29, : CONTEXT.start], encode_affect(-1.0, 1.0)[: CONTEXT.start], rtol=0, atol=1e-6
        )

    def test_soundtracks_and_emomusic_are_read_by_their_columns(self, load, tmp_path: Path) -> None:
        layouts = {
            "soundtracks": ("001.wav", "Number,valence,energy,tension,fear", "1,7,3,5,5", "set1/ratings.csv"),
            "emomusic": (
                "clips_45seconds/2.wav",
                "song_id,mean_arousal,std_arousal,mean_valence,std_valence",
                "2,3,1,7,1",
                "annotations/static_annotations.csv",
            ),
        }
        for name, (audio, header, row, table) in layouts.items():
            root = tmp_path / name
            tiny.write_tone(root / audio, 6, 300)
            tiny.write_tone(root / "other/99.wav", 6, 700)
            write(root / table, f"{header}\n{row}\n99,5,1,5,1\n")
            dataset = load("deam", root, duration=6)
            index = int(np.flatnonzero(dataset.rows.groups == Path(audio).stem)[0])
            affect = decode_affect(dataset[index].targets[-1])
            assert (affect.valence, affect.arousal) == pytest.approx((0.5, -0.5), abs=2e-3)

    def test_an_unreadable_table_is_skipped(self, load, deam: Path) -> None:
        write(deam / "z.csv", "file,valence,arousal\na,-3,77\n")
        (warning,) = load("deam", deam, duration=4).report.warnings
        assert "table of labels left out" in warning
        assert "-3..77" in warning

    def test_odd_cells_and_columns_of_frame_tables_cost_those_cells(self, load, tmp_path: Path) -> None:
        root = tiny.deam(tmp_path / "deam", songs=3, seconds=20)
        folder = root / "annotations" / "dynamic"
        header = f"Song_ID,sample_15000ms,sample_15500ms,sample_{'9' * 5000}ms\n"
        write(folder / "valence.csv", header + "002.0,0.5,x,1\n,1,1,1\n")
        write(folder / "arousal.csv", header + "audio/2.mp3,0.1,0.2,1\n2,0.9,0.2,1\n3,0,1,0,2\n")
        report = load("deam", root, duration=20).report
        assert report.label_sources == {"dynamic": 1, "static": 2}
        assert report.skipped["damaged row of a table of labels"] == [
            f"{table}.csv row {row}" for table, row in (("arousal", 3), ("arousal", 4), ("valence", 2), ("valence", 3))
        ]


class TestCurve:
    def test_frames_lie_on_straight_lines_between_the_rows(self, tmp_path: Path) -> None:
        valence, arousal = read_curve(write(tmp_path / "curve.csv", "time, arousal, valence\n0, 0.5, -1\n2, 0.5, 1\n"))
        np.testing.assert_allclose(valence, [-0.75, -0.25, 0.25, 0.75])
        np.testing.assert_allclose(arousal, [0.5] * 4)

    def test_the_first_row_holds_from_the_beginning_and_one_row_is_enough(self, tmp_path: Path) -> None:
        valence, _ = read_curve(write(tmp_path / "curve.csv", "time,valence,arousal\n1,0.2,0\n2,0.4,0\n"))
        np.testing.assert_allclose(valence, [0.2, 0.2, 0.25, 0.35])
        valence, arousal = read_curve(write(tmp_path / "curve.csv", "time,valence,arousal\n0,0.2,-0.3\n"))
        assert (valence.tolist(), arousal.tolist()) == ([0.2], [-0.3])

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("", "needs rows with the columns time, valence, arousal"),
            ("time,valence,arousal\n", "needs rows"),
            ("time,valence\n0,0\n", "needs rows"),
            ("time,valence,arousal\n0,0,0\n1,x,0\n", "row 3: valence is 'x', which is not a number"),
            ("time,valence,arousal\n0,0,0\n1,0\n", "row 3: arousal is '', which is not a number"),
            ("time,valence,arousal\n0,0,1.5\n", r"row 2: arousal is 1.5, not within -1..1"),
            ("time,valence,arousal\n0,nan,0\n", "row 2: valence is nan, not within"),
            ("time,valence,arousal\n-1,0,0\n", "row 2: time is -1, not within"),
            ("time,valence,arousal\n1e9,0,0\n", "row 2: time is 1e9, not within"),
            ("time,valence,arousal\n0,0,0\n5,0,0\n5,1,0\n", "row 4: the time is not later"),
        ],
    )
    def test_mistakes_name_their_row(self, tmp_path: Path, text: str, words: str) -> None:
        with pytest.raises(DataError, match=words):
            read_curve(write(tmp_path / "curve.csv", text))

    def test_a_missing_file_is_reported(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"none\.csv: cannot be read"):
            read_curve(tmp_path / "none.csv")
