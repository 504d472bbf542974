"""Chord corpora in their published layouts: read directly, and imported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from kelly_core.data import tables
from kelly_core.data.catalog import create_dataset, is_present
from kelly_core.data.chord_files import find_chord_files, spread_entries
from kelly_core.errors import DataError

FOUR = ["C", "G", "Am", "F"]


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def entries(root: Path) -> list[Any]:
    return [entry for _, entry in spread_entries(find_chord_files(root), 0)]


def lab(labels: list[str], start: float = 0.0) -> str:
    lines = [
        f"{start}\t{start + 0.5}\tN",
        *(f"{start + n + 0.5}\t{start + n + 1.5}\t{c}" for n, c in enumerate(labels)),
    ]
    return "\r\n".join(lines) + "\r\n"


def pop909(root: Path, songs: int = 3) -> Path:
    for song in range(1, songs + 1):
        folder = root / f"POP909-Dataset-d83e6ed/POP909/{song:03d}"
        write(folder / "chord_midi.txt", lab(["C:maj", "G:maj/3", "A:min7", "F:maj", "G:7"][: 3 + song]))
        write(folder / "chord_audio.txt", lab(["D:maj"] * 4))
        write(folder / "beat_midi.txt", "0.5 1.0 0.0\n")
        write(folder / "key_audio.txt", "0.0\t99.9\tC:maj\n")
        write(folder / "versions/chord_midi.txt", lab(["E:min"] * 8))
    return root


def billboard(root: Path) -> Path:
    for number in (3, 4, 12):
        for name in ("full", "majmin", "majmin7"):
            label = "A:min7" if name == "full" else "A:min"
            write(root / f"McGill-Billboard/{number:04d}/{name}.lab", lab(["C:maj", "G:maj", label, "F:maj"]))
    index = "id,chart_date,target_rank,actual_rank,title,artist,peak_rank,weeks_on_chart\n"
    rows = '3,1961-07-03,1,1,"Song, One",Ada,1,9\n4,1962-07-03,1,1,"Song, One",Ada,1,9\n12,1963-07-03,1,1,Two,Bob,1,9\n'
    write(root / "billboard-index/billboard-2.0-index.csv", index + rows)
    return root


def chordonomicon(root: Path, songs: int = 4) -> Path:
    header = "id,chords,release_date,genres,decade,rock_genre,artist_id,main_genre,spotify_song_id,spotify_artist_id\n"
    rows = "".join(
        f'{n},"<intro_1> C <verse_1> F{"s" * (n % 2)}min C/E <chorus_1> Ano3d G7",'
        f",'pop',,,a,pop,{'same' if n < 2 else ''},b\n"
        for n in range(songs)
    )
    write(root / "Chordonomicon/chordonomicon_v2.csv", header + rows)
    return root


def sheets(root: Path) -> Path:
    write(root / "One.txt", "Title: One\nComposer: Ada\n[A]\n| T44 C^7 | A-7 D7 | % | G7 |\n*B\n| N.C. | C6 |\n")
    write(root / "two.txt", "| C | F | G7 | C | x2\n")
    write(root / "README.txt", "| file | what it is |\n| a.txt | the songs of this folder |\n")
    return root


def test_pop909_is_read_with_durations_and_without_versions(tmp_path: Path) -> None:
    first, *others = entries(pop909(tmp_path))
    assert first["source"] == "POP909/001"
    assert len(others) == 2
    assert first["chords"] == ["C:maj", "G:maj/3", "A:min7", "F:maj"]
    assert first["durations"] == [1.0] * 4


def test_billboard_is_read_from_its_finest_labels_and_grouped_by_song(tmp_path: Path) -> None:
    dataset = create_dataset("chords", billboard(tmp_path))
    assert sorted(dataset.rows.groups.tolist()) == ["Ada: Song, One", "Ada: Song, One", "Bob: Two"]
    assert entries(tmp_path)[0]["chords"][2] == "A:min7"


def test_label_files_of_any_name_are_songs_unless_they_label_something_else(tmp_path: Path) -> None:
    billboard(tmp_path)
    write(tmp_path / "song.lab", lab(["C:maj", "G:maj", "A:min", "F:maj"]))
    write(tmp_path / "chordlab/Ada/CD 1/01_-_Song.LAB", lab(["C", "G:7", "A:min", "F:maj7"]).replace("\t", " "))
    write(tmp_path / "seglab/Ada/01_-_Song.lab", lab(["verse", "bridge", "chorus", "outro"]))
    report = create_dataset("chords", tmp_path).report
    assert report.files == report.examples + 1 == 6
    assert list(report.skipped) == ["its labels are not chords"]
    assert {"song", "chordlab/Ada/CD 1/01_-_Song"} < {
        each["source"] for each in entries(tmp_path) if isinstance(each, dict)
    }


def test_a_json_file_of_another_name_is_named_with_what_to_do(tmp_path: Path) -> None:
    write(tmp_path / "mine.json", '[["C", "G", "Am", "F"]]')
    with pytest.raises(DataError, match=r"but mine\.json is here\. Rename it"):
        create_dataset("chords", tmp_path)


def test_a_file_without_chords_is_not_a_song(tmp_path: Path) -> None:
    write(tmp_path / "a.lab", "")
    write(tmp_path / "POP909/001/chord_midi.txt", "0\t1\tN\n")
    assert [str(entry).rpartition(": ")[2] for entry in entries(tmp_path)] == ["no chords"] * 2


def test_rows_that_end_in_carriage_returns_are_read(tmp_path: Path) -> None:
    path = chordonomicon(tmp_path) / "Chordonomicon/chordonomicon_v2.csv"
    before = entries(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r"))
    assert entries(tmp_path) == before


def test_billboard_annotations_with_bars_are_read(tmp_path: Path) -> None:
    text = (
        "# title: Song One\n# artist: Ada\n# metre: 4/4\n# tonic: C\n\n0.0\tsilence\n"
        "1.0\tA, intro, | C:maj | A:min D:min7 | . . |, (guitar\n4.0\tB, | G:7 | x2\n8.0\tend\n"
    )
    write(tmp_path / "McGill-Billboard/0003/salami_chords.txt", text)
    (entry,) = entries(tmp_path)
    assert entry["source"] == "Ada: Song One"
    assert entry["chords"] == ["C:maj", "A:min", "D:min7", "G:7"]
    assert entry["durations"] == pytest.approx([1.0, 0.5, 1.5, 4.0])


def test_chordonomicon_is_read_without_section_tags_and_grouped_by_song(tmp_path: Path) -> None:
    found = entries(chordonomicon(tmp_path))
    assert found[1]["chords"] == ["C", "Fsmin", "C/E", "Ano3d", "G7"]
    dataset = create_dataset("chords", tmp_path)
    assert dataset.rows.groups.tolist()[:2] == ["Chordonomicon/same"] * 2
    assert len(set(dataset.rows.groups)) == 3


def test_lead_sheets_are_read_by_bars_and_tables_of_text_are_not(tmp_path: Path) -> None:
    one, two = entries(sheets(tmp_path))
    assert one == {
        "source": "Ada: One",
        "chords": ["C^7", "A-7", "D7", "A-7", "D7", "G7", "C6"],
        "durations": [1.0, 0.5, 0.5, 0.5, 0.5, 1.0, 1.0],
    }
    assert two["chords"] == ["C", "F", "G7", "C", "F", "G7", "C"]
    assert two["source"] == "two"


def test_links_of_ireal_pro_are_read(tmp_path: Path) -> None:
    link = "irealbook://One=Ada=Ballad=C=n=%5BT44C%5E7%20%7CA-7%20D7%20%7CG7%20%7CC6%20Z"
    write(tmp_path / "songs.txt", f"<a href='{link}'>One</a> {link.replace('One', 'Two')}\n")
    one, two = entries(tmp_path)
    assert (one["source"], two["source"]) == ("Ada: One", "Ada: Two")
    assert one["chords"] == ["C^7", "A-7", "D7", "G7", "C6"]
    assert one["durations"] == [1.0, 0.5, 0.5, 1.0, 1.0]


def scrambled(music: str) -> str:
    """Return music as ``irealb://`` links have it: places 0-4 and 10-23 of each block of 50 are mirrored."""
    for long, short in (("   ", "XyQ"), (" |", "LZ"), ("| x", "Kcl")):
        music = music.replace(long, short)
    mirrored = {*range(5), *range(10, 24), *range(26, 40), *range(45, 50)}
    blocks = [music[start : start + 50] for start in range(0, len(music), 50)]
    turned = [
        "".join(block[49 - place] if place in mirrored else block[place] for place in range(50))
        if len(music) - 50 * number > 51
        else block
        for number, block in enumerate(blocks)
    ]
    return quote("1r34LbKcu7" + "".join(turned))


@pytest.mark.parametrize("bars", [2, 9, 20])
@pytest.mark.parametrize("ending", ["txt", "html"])
def test_scrambled_links_of_ireal_pro_are_read(tmp_path: Path, bars: int, ending: str) -> None:
    plain = "*A{T44C^7   |A-7 D7sus |fG7Q   | x  |SBb7#9W/D|n   |(Db7)C/E   |" + "E-7b5A7|D-   |" * bars + "l Z"
    one, two = (f"{name}=Ada &amp; Bob==Swing=C==" + scrambled(plain) + "=Jazz=120=3" for name in ("One", "Two"))
    link = f"irealb://{one}==={two}===My list"
    write(
        tmp_path / f"songs.{ending}",
        f'<p>Songs</p><a href="{link}">all</a>' if ending == "html" else quote(link, ":/%=&;"),
    )
    first, second = entries(tmp_path)
    assert (first["source"], second["source"]) == ("Ada & Bob: One", "Ada & Bob: Two")
    assert first["chords"] == second["chords"]
    assert first["chords"] == ["C^7", "A-7", "D7sus", "G7", "Bb7#9", "C/E", *["E-7b5", "A7", "D-"] * bars]
    assert first["durations"][:6] == [1.0, 0.5, 0.5, 2.0, 1.0, 1.0]


def test_links_with_plain_spaces_and_signs_of_repeated_bars_are_read(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "irealbook://One=Ada=Waltz=C=n=[T34C^7 |A-7 D7|r|  |G7 |x Z\nEnd\n")
    write(tmp_path / "b.txt", "| C | F |\n| G | C |\n| r | . |\n")
    one, two = entries(tmp_path)
    assert one["chords"] == ["C^7", "A-7", "D7", "C^7", "A-7", "D7", "G7"]
    assert one["durations"] == [1.0, 0.5, 0.5, 1.0, 0.5, 0.5, 2.0]
    assert (two["chords"], two["durations"]) == (["C", "F", "G", "C", "G", "C"], [1.0, 1.0, 1.0, 1.0, 1.0, 2.0])


def test_a_link_without_a_song_is_counted(tmp_path: Path) -> None:
    sheets(tmp_path)
    write(tmp_path / "bad.html", "<a href='irealb://nothing%20here'>x</a>")
    report = create_dataset("chords", tmp_path).report
    assert report.skipped == {"a link that does not contain a song of iReal Pro": ["bad.html"]}


@pytest.mark.parametrize("layout", [pop909, billboard, chordonomicon, sheets])
@pytest.mark.parametrize("depth", ["", "Some/Folder"])
def test_every_layout_is_present_and_makes_examples_at_any_depth(tmp_path: Path, layout: Any, depth: str) -> None:
    layout(tmp_path / depth)
    assert is_present("chords", tmp_path)
    dataset = create_dataset("chords", tmp_path)
    assert len(dataset.train)
    assert len(dataset.validation)


def test_an_invalid_line_or_row_skips_its_song(tmp_path: Path) -> None:
    pop909(tmp_path)
    folder = tmp_path / "POP909-Dataset-d83e6ed/POP909"
    write(folder / "004/chord_midi.txt", "0.0 1.0 C:maj\nbroken\n")
    write(folder / "005/chord_midi.txt", "0.0 1.0 C:maj\n")
    chordonomicon(tmp_path)
    with (tmp_path / "Chordonomicon/chordonomicon_v2.csv").open("ab") as file:
        file.write(b'9,"<intro_1>",,\n\xff\xfe,\x00,,\n')
    report = create_dataset("chords", tmp_path).report
    assert {reason: len(names) for reason, names in report.skipped.items()} == {
        "line 2 is not a start, an end and a chord": 1,
        "fewer than 4 chords": 1,
        "no chords": 2,
    }
    assert report.files == 11


def test_a_link_a_file_or_an_index_that_cannot_be_read_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "MAX_TABLE_BYTES", 50)
    billboard(tmp_path)
    write(tmp_path / "chord_progressions.json", "{")
    write(tmp_path / "billboard-index/billboard-2.0-index.csv", "id,title\n3," + "x" * 50 + "\n")
    (tmp_path / "gone.lab").symlink_to(tmp_path / "nowhere")
    report = create_dataset("chords", tmp_path).report
    assert {reason: names for reason, names in report.skipped.items() if "index" not in reason} == {
        "broken link": ["gone.lab"],
        "file of chords that cannot be read": ["chord_progressions.json"],
    }
    assert ["billboard-index/billboard-2.0-index.csv"] in report.skipped.values()
    assert report.files == 3


def test_a_song_in_two_layouts_is_one_group(tmp_path: Path) -> None:
    labels = [f"{root}:maj" for root in "CDEFGAB" * 3]
    write(tmp_path / "POP909/001/chord_midi.txt", lab(labels))
    write(tmp_path / "POP909/002/chord_midi.txt", lab(list(reversed(labels))))
    document = [{"chords": [label.partition(":")[0] for label in labels], "source": "other name"}]
    write(tmp_path / "chord_progressions.json", json.dumps(document))
    dataset = create_dataset("chords", tmp_path)
    assert len(dataset) == 3
    assert len(set(dataset.rows.groups)) == 2


def test_a_part_of_the_songs_is_spread_over_all_layouts(tmp_path: Path) -> None:
    pop909(tmp_path, songs=6)
    chordonomicon(tmp_path, songs=6)
    dataset = create_dataset("chords", tmp_path, max_files=4)
    assert len(dataset) == 4
    assert len({group.partition("/")[0] for group in dataset.rows.groups}) == 2


def test_a_folder_without_chords_is_not_present(tmp_path: Path) -> None:
    write(tmp_path / "README.txt", "no chords here")
    write(tmp_path / "table.csv", "a,b\n1,2\n")
    assert not is_present("chords", tmp_path)
    with pytest.raises(DataError):
        create_dataset("chords", tmp_path)


@pytest.mark.parametrize(
    ("text", "songs"),
    [
        ("id;chords\n1;C G Am F\n", ["1"]),
        ("id\tchords\r\n1\tC G Am F\r\n", ["1"]),
        ("# made in 2023\n\nid,chords\n1,C G Am F\n", ["1"]),
        ('id,chords\n1,"C G\nAm F"\n', ["1"]),
        ('id,chords\n1,"C G Am F\n' + "".join(f"{number},C G Am F\n" for number in range(2, 30)), list(range(1, 30))),
    ],
)
def test_rows_of_a_table_of_chords_are_read_in_every_form(tmp_path: Path, text: str, songs: list[Any]) -> None:
    """A quote that is never closed costs its own row."""
    (tmp_path / "songs.csv").write_text(text, newline="")
    found = [entry for _, entry in spread_entries(find_chord_files(tmp_path), 0)]
    assert [entry["source"] for entry in found] == [f"Chordonomicon/{song}" for song in songs]
    assert all(entry["chords"] == FOUR for entry in found)
