"""Reading MIDI: times in seconds and beats, and files that are not what they should be."""

from __future__ import annotations

from pathlib import Path

import mido
import numpy as np
import pytest

from kelly_core.data.readers.midi import parse_notes, read_notes
from kelly_core.errors import DataError
from tests.helpers import tiny


def test_tempo_changes_move_seconds_and_not_beats(tmp_path: Path) -> None:
    file = mido.MidiFile(type=0, ticks_per_beat=480)
    track = mido.MidiTrack()
    file.tracks.append(track)
    track.append(mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(120)))
    track.append(mido.Message("note_on", note=60, velocity=64))
    track.append(mido.Message("note_off", note=60, time=960))
    track.append(mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(60)))
    track.append(mido.Message("note_on", note=62, velocity=64, time=480))
    track.append(mido.Message("note_off", note=62, time=480))
    file.save(tmp_path / "a.mid")
    notes = read_notes(tmp_path / "a.mid")
    np.testing.assert_allclose(notes.onset, [0, 2])
    np.testing.assert_allclose(notes.duration, [1, 1])
    np.testing.assert_allclose(notes.onset_beats, [0, 3])
    np.testing.assert_allclose(notes.duration_beats, [2, 1])
    assert notes.bpm == pytest.approx(120)


def test_tracks_names_drums_and_pedal(tmp_path: Path) -> None:
    pedal = [(1.0, 127), (3.0, 0)]
    tiny.write_midi(tmp_path / "a.mid", {"Solo": [(0, 1, 60, 90)]}, bpm=60, pedal=pedal, meter=(6, 8))
    notes = read_notes(tmp_path / "a.mid")
    assert "Solo" in notes.track_names
    assert notes.beats_per_bar == 3
    assert not notes.drum.any()
    np.testing.assert_allclose(notes.pedal, [[1, 127], [3, 0]])
    drums = read_notes(tiny.write_midi(tmp_path / "b.mid", {"D": tiny.drum_notes(2)}, channel=9))
    assert drums.drum.all()
    assert len(drums.pitched()) == 0


@pytest.mark.parametrize(
    ("content", "problem"),
    [(b"", "damaged"), (b"MThd", "damaged"), (b"\x00" * 1000, "damaged"), (b"RIFF0000RMID", "damaged")],
)
def test_what_is_no_midi_file_is_refused(content: bytes, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        parse_notes(content, Path("x.mid"))


def test_missing_and_huge_files_are_refused(tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_notes(tmp_path / "none.mid")
    tiny.write_midi(tmp_path / "a.mid", {"x": [(0, 1, 60, 90)]})
    monkeypatch.setattr("kelly_core.data.readers.midi.MAX_BYTES", 10)
    with pytest.raises(DataError, match="larger"):
        read_notes(tmp_path / "a.mid")


def test_a_note_a_year_long_is_damage(tmp_path: Path) -> None:
    tiny.write_midi(tmp_path / "a.mid", {"x": [(0, 60_000, 60, 90)]})
    with pytest.raises(DataError, match="beyond 50,000 beats"):
        read_notes(tmp_path / "a.mid")


def test_damaged_and_odd_files_are_read_or_refused_without_harm(shared_data: Path) -> None:
    read, refused = 0, []
    for path in sorted((shared_data / "hard_midi").rglob("*.*")):
        try:
            notes = read_notes(path)
        except DataError as error:
            refused.append((path.name, error.problem))
            continue
        read += 1
        assert np.isfinite(notes.onset).all()
        assert (notes.duration >= 0).all()
        assert (np.diff(notes.onset) >= 0).all()
        assert len(notes)
        assert notes.pitch.min() >= 0
        assert notes.pitch.max() <= 127
    assert read >= 45
    assert ("empty.mid", "no notes") in refused
    assert ("PiDamaged.mid", "damaged MIDI file") in refused
