"""The MIDI file contains the score, other readers find it there, and its picture is drawn for any piece."""

from __future__ import annotations

import io
from pathlib import Path

import mido
import numpy as np
import pytest

from kelly_core.composition.composer import compose
from kelly_core.composition.plot import plot_score
from kelly_core.composition.score import Note, Part, Score, midi_bytes
from kelly_core.data.readers.midi import parse_notes
from kelly_core.errors import KellyError
from tests.helpers.chain import NO_CHORD, composed, output
from tests.seeds import seeded_rng, shifted


def read(score: Score) -> mido.MidiFile:
    return mido.MidiFile(file=io.BytesIO(midi_bytes(score)))


def test_a_piece_reads_back_as_named_tracks_with_every_note() -> None:
    score = compose(output(arousal=0.5), bars=8, seed=shifted(2))
    notes = parse_notes(midi_bytes(score), Path("score.mid"))
    assert notes.track_names == ("Melody", "Chords", "Bass", "Drums")
    assert notes.bpm == pytest.approx(score.tempos[0][1], rel=1e-5)
    assert notes.beats_per_bar == 4
    for track, part in enumerate(score.parts):
        mine = notes.track == track
        found = zip(
            notes.onset_beats[mine] * 480,
            notes.duration_beats[mine] * 480,
            notes.pitch[mine],
            notes.velocity[mine],
            strict=True,
        )
        assert sorted(tuple(round(float(value)) for value in note) for note in found) == sorted(part.notes)
        assert set(notes.drum[mine]) == {part.name == "Drums"}
    assert len(notes.pedal) == 2 * len(score.part("Chords").pedal) > 0


def test_type_tempo_meter_key_channels_and_programs() -> None:
    score = Score(
        parts=(
            Part("Melody", 0, 73, (Note(0, 480, 60, 80), Note(480, 240, 60, 70))),
            Part("Drums", 9, None, (Note(0, 60, 36, 100),)),
        ),
        tempos=((0, 120.0), (1920, 60.0)),
        key="F#m",
        chords=(18, 18),
    )
    file = read(score)
    assert file.type == 1
    assert file.ticks_per_beat == 480
    assert len(file.tracks) == 3
    head = {message.type: message for message in file.tracks[0]}
    assert (head["time_signature"].numerator, head["time_signature"].denominator) == (4, 4)
    assert head["key_signature"].key == "F#m"
    assert [message.tempo for message in file.tracks[0] if message.type == "set_tempo"] == [500_000, 1_000_000]
    assert [track.name for track in file.tracks[1:]] == ["Melody", "Drums"]
    programs = {
        message.channel: message.program for track in file.tracks for message in track if "program" in message.type
    }
    assert programs == {0: 73}
    assert {message.channel for message in file.tracks[2] if not message.is_meta} == {9}
    assert file.length == score.seconds == 2 + 4
    assert score.summary() == "F# minor  ·  60 to 120 bpm  ·  2 bars, 6 s  ·  3 notes"


def test_a_repeated_note_ends_before_it_begins_again() -> None:
    score = Score((Part("Melody", 0, 0, (Note(0, 480, 60, 80), Note(480, 480, 60, 80))),), ((0, 100.0),), "C", (0,))
    kinds = [message.type for message in read(score).tracks[1] if message.type.startswith("note")]
    assert kinds == ["note_on", "note_off", "note_on", "note_off"]


def test_a_lead_in_is_a_silent_bar_that_takes_its_time() -> None:
    downbeats = 0.7 + 2.0 * np.arange(5)
    score = compose(output(frames=20), seed=shifted(0), downbeats=downbeats)
    notes = parse_notes(midi_bytes(score), Path("score.mid"))
    assert score.bar_times() == pytest.approx(downbeats.tolist())
    chords = notes.select(notes.track == 1)
    # A tempo is stored in whole microseconds a beat.
    assert chords.onset.min() == pytest.approx(0.7, abs=1e-4)
    assert notes.onset_beats.min() >= 4 - 1 / 8
    assert score.seconds == pytest.approx(8.7)
    assert score.tempos == ((0, 120.0),)
    markers = [message.text for message in read(score).tracks[0] if message.type == "marker"]
    assert markers[0] == "N"
    assert len(markers) == 5


def test_bars_of_a_recording_may_have_different_lengths() -> None:
    score = compose(output(frames=20), seed=shifted(0), downbeats=[0.0, 2.0, 4.5, 6.5])
    assert score.lead_in == 0
    assert score.tempos == ((0, 120.0), (1920, 96.0), (3840, 120.0))
    assert score.bar_times() == pytest.approx([0.0, 2.0, 4.5, 6.5])


def size(path: Path) -> tuple[int, int]:
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG")
    return int.from_bytes(content[16:20]), int.from_bytes(content[20:24])


def test_audio_makes_the_picture_taller(tmp_path: Path) -> None:
    said = output(frames=12)
    score = composed(said, bars=6)
    mel = seeded_rng(0).uniform(-90, -20, (12, 128)).astype(np.float32)
    plot_score(tmp_path / "with.png", score, said, mel, "with audio")
    plot_score(tmp_path / "without.png", score, said, None, "without")
    (width, height), (same, less) = size(tmp_path / "with.png"), size(tmp_path / "without.png")
    assert width == same
    assert height > less


@pytest.mark.parametrize("bars", [1, 60])
def test_odd_pieces_are_drawn_too(tmp_path: Path, bars: int) -> None:
    """One frame of silence, no chord, no melody."""
    said = output(chords={NO_CHORD: 1.0}, pitches={60: 0.0}, frames=1)
    silence = np.full((1, 128), -100, np.float32)
    plot_score(tmp_path / "odd.png", composed(said, bars=bars), said, silence, "odd")
    size(tmp_path / "odd.png")


def test_a_place_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    said = output()
    (tmp_path / "file").touch()
    with pytest.raises(KellyError, match=r"picture\.png: cannot be written"):
        plot_score(tmp_path / "file" / "picture.png", composed(said, bars=1), said, None, "x")
