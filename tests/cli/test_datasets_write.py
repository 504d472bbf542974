"""``datasets render`` and ``datasets import-chords`` as typed, and what EmotionRecognizer learns of rendered pairs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from kelly_core.composition import synthesizer
from kelly_core.composition.synthesizer import playable_soundfont
from kelly_core.data import tables
from kelly_core.data.catalog import create_dataset
from kelly_core.demo.rendered_songs import recording_stems, render_recording, write_pairs
from kelly_core.errors import DataError
from kelly_core.evaluation.from_audio import find_pairs
from kelly_core.music.emotion import CONTEXT
from tests.cli.conftest import CommandRunner
from tests.data.test_chord_layouts import billboard, chordonomicon, pop909, sheets, write
from tests.helpers import tiny


@pytest.fixture
def sines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthesizer, "SOUNDFONT_FOLDERS", ())


@pytest.fixture
def soundfont(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A SoundFont, and a fluidsynth that plays two levels for a second and then a long silence."""
    (tmp_path / "fonts").mkdir()
    program = tmp_path / "fonts/fluidsynth"
    code = "import sys, numpy as np; o = sys.stdout.buffer; o.write(np.tile(np.array([8192, 16384], '<i2'), 22050)); "
    program.write_text(f"#!/bin/sh\nexec '{sys.executable}' -c \"{code}o.write(bytes(10**7))\"\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    monkeypatch.setattr(synthesizer, "SOUNDFONT_FOLDERS", (program.parent,))
    font = program.parent / "piano.SF2"
    font.write_bytes(b"RIFF")
    return font


@pytest.mark.usefixtures("sines")
def test_songs_of_each_split_are_rendered_beside_their_notes(run: CommandRunner, tmp_path: Path) -> None:
    tiny.lakh_midi(tmp_path / "datasets/lakh_midi", songs=5)
    corpus = create_dataset("lakh_midi", tmp_path / "datasets/lakh_midi")
    named = recording_stems([*corpus.files["train"], *corpus.files["validation"]])
    stems = {}
    for split in ("train", "validation"):
        done = run.json("datasets", "render", split, "--split", split, "--seconds", 5, "--songs", 3)
        assert done["rendered_by"] == "sines"
        stems[split] = {path.stem for path in (tmp_path / split).glob("*.flac")}
        assert stems[split] <= {named[name] for name in corpus.files[split]}
        for stem in stems[split]:
            assert soundfile.info(tmp_path / split / f"{stem}.flac").duration == pytest.approx(5)
    assert {split: len(names) for split, names in stems.items()} == {"train": 3, "validation": 1}
    assert len(find_pairs(tmp_path / "train")) == 3
    assert run("datasets", "render", "train").code == 2, "nothing is replaced"
    tiny.deam(tmp_path / "datasets/deam", seconds=4)
    (tmp_path / "train").rename(tmp_path / "datasets/deam/rendered")
    recordings = create_dataset("deam", tmp_path / "datasets/deam", duration=4)
    pairs = np.flatnonzero(recordings.rows.sources == "none")
    assert len(pairs) == 3
    assert recordings.eval_batch(pairs).targets[..., CONTEXT].any()


@pytest.mark.usefixtures("sines")
def test_clips_with_a_quadrant_are_rendered_with_it(run: CommandRunner, tmp_path: Path) -> None:
    folder = tmp_path / "datasets/emotion_midi/EMOPIA_1.0"
    clips = [f"Q{quadrant}_song{number}_0" for number, quadrant in enumerate((1, 2, 3, 4))]
    for number, clip in enumerate(clips):
        tiny.write_midi(folder / f"midis/{clip}.mid", {"Piano": tiny.melody_notes(20, [60 + number, 64])})
    write(folder / "label.csv", "ID,4Q,annotator\n" + "".join(f"{clip},{clip[1]},A\n" for clip in clips))
    output = tmp_path / "datasets/emotion_audio/emopia"
    arguments = ("--corpus", "emotion_midi", "--songs", 0, "--seconds", 5)
    run.ok("datasets", "render", output, *arguments)
    recordings = create_dataset("deam", output.parent, duration=5, validation_split=0.5)
    assert set(recordings.rows.sources) == {"human_quadrant"}
    assert set(recordings.rows.groups) <= {f"song{number}" for number in range(4)}
    assert recordings.averages_weights, "their notes are known"
    rows = dict(line.split(",") for line in (output / "label.csv").read_text().splitlines()[1:])
    assert all(rows[clip] == clip[1] for clip in rows)
    assert len(rows) == len(recordings.rows.groups) >= 2


def test_songs_whose_flattened_names_agree_do_not_replace_each_other(tmp_path: Path) -> None:
    names = ["a/b.mid", "a_b.mid", "a_b.midi"]
    for name in names:
        tiny.write_midi(tmp_path / "songs" / name, {"Lead": tiny.melody_notes(12)})
    stems = recording_stems(names)
    assert write_pairs(tmp_path / "songs", stems, tmp_path / "pairs", 5.0, None) == []
    assert recording_stems(["lmd/a/1.mid", "lmd/b/1.mid"]) == {"lmd/a/1.mid": "a_1", "lmd/b/1.mid": "b_1"}
    assert recording_stems(["midis/Q1_x_0.mid"]) == {"midis/Q1_x_0.mid": "Q1_x_0"}
    assert len(find_pairs(tmp_path / "pairs")) == 3


def test_fluidsynth_plays_a_song_until_there_is_enough(soundfont: Path, tmp_path: Path) -> None:
    tiny.write_midi(tmp_path / "song.mid", {"Lead": tiny.melody_notes(8)})
    assert playable_soundfont() == soundfont
    samples, sample_rate = render_recording(tmp_path / "song.mid", 2.0, soundfont)
    assert (len(samples), sample_rate) == (44_100, 22_050)
    np.testing.assert_allclose(samples[:22_050], 0.375, atol=1e-6)
    assert not samples[22_050:].any()


def test_a_fluidsynth_without_sound_is_an_error(soundfont: Path, tmp_path: Path) -> None:
    tiny.write_midi(tmp_path / "song.mid", {"Lead": tiny.melody_notes(8)})
    (soundfont.parent / "fluidsynth").write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(DataError, match="gave no audio"):
        render_recording(tmp_path / "song.mid", 2.0, soundfont)


@pytest.mark.parametrize(("layout", "songs"), [(pop909, 3), (billboard, 3), (chordonomicon, 4), (sheets, 2)])
def test_every_layout_is_imported_as_it_is_read_directly(
    run: CommandRunner, tmp_path: Path, layout, songs: int
) -> None:
    layout(tmp_path / "source")
    done = run("datasets", "import-chords", "source", "-o", "chords", "--json")
    assert (done.code, json.loads(done.out)["songs"]) == (0, songs)
    direct, imported = create_dataset("chords", tmp_path / "source"), create_dataset("chords", tmp_path / "chords")
    assert direct.rows.groups.tolist() == imported.rows.groups.tolist()
    assert direct.eval_batch(direct.train).targets.tolist() == imported.eval_batch(imported.train).targets.tolist()


def test_chords_of_midi_files_are_estimated_where_no_chords_are_annotated(run: CommandRunner, tmp_path: Path) -> None:
    triads = [(60, 64, 67), (65, 69, 72), (67, 71, 74), (57, 60, 64), (57, 60, 64)]
    for name, by in (("song", 0), ("tune", 3)):
        notes = [(2.0 * number, 2.0, pitch + by, 80) for number, triad in enumerate(triads) for pitch in triad]
        tiny.write_midi(tmp_path / f"source/{name}.mid", {"Piano": notes})
    tiny.write_midi(tmp_path / "source/below/drums.mid", {"Drums": tiny.drum_notes(4)}, channel=9)
    done = run("datasets", "import-chords", "source", "-o", "chords", "--json")
    report = json.loads(done.out)
    assert (done.code, report["songs"], report["layouts"]) == (0, 2, ["MIDI"])
    assert "drums.mid" in report["left_out"][0]
    song, _ = json.loads(Path("chords/chord_progressions.json").read_text())
    assert song == {"source": "song", "chords": ["C", "F", "G", "Am"], "durations": [2.0, 2.0, 2.0, 4.0]}
    dataset = create_dataset("chords", tmp_path / "chords", validation_split=0.5)
    first, second = dataset.eval_batch(np.arange(2)).targets
    np.testing.assert_allclose(first, second, atol=1e-6, err_msg="both are in C")
    assert first.max() == pytest.approx(0.4)
    pop909(tmp_path / "source")
    run.ok("datasets", "import-chords", "source", "-o", "annotated")
    assert "song" not in [
        entry["source"] for entry in json.loads(Path("annotated/chord_progressions.json").read_text())
    ]
    run.ok("datasets", "import-chords", "source/song.mid", "-o", "one")


def test_one_file_is_imported_and_an_import_is_not_replaced(run: CommandRunner, tmp_path: Path) -> None:
    chordonomicon(tmp_path)
    command = ("datasets", "import-chords", "Chordonomicon/chordonomicon_v2.csv", "-o", "chords")
    run.ok(*command, "--max-songs", 2)
    assert len(json.loads(Path("chords/chord_progressions.json").read_text())) == 2
    assert run(*command).code == 2
    run.ok(*command, "--force")
    assert len(json.loads(Path("chords/chord_progressions.json").read_text())) == 4


@pytest.mark.parametrize(("source", "code"), [("missing", 2), ("empty", 1)])
def test_a_source_without_chords_is_an_error(run: CommandRunner, tmp_path: Path, source: str, code: int) -> None:
    write(tmp_path / "empty/README.txt", "nothing")
    assert run("datasets", "import-chords", source, "-o", "chords").code == code
    assert not Path("chords").exists()


def test_a_large_import_is_read_as_a_stream(
    run: CommandRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chordonomicon(tmp_path / "source")
    run.ok("datasets", "import-chords", "source", "-o", "chords")
    whole = create_dataset("chords", tmp_path / "chords")
    monkeypatch.setattr(tables, "_MAX_ELEMENT", 200)
    monkeypatch.setattr(tables, "_WINDOW_CHARACTERS", 7)
    streamed = create_dataset("chords", tmp_path / "chords")
    assert streamed.fingerprint == whole.fingerprint
    with Path("chords/chord_progressions.json").open("a") as file:
        file.write("{")
    with pytest.raises(DataError, match="text after the list"):
        create_dataset("chords", tmp_path / "chords")
