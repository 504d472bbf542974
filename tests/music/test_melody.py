from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from kelly_core.errors import DataError
from kelly_core.music.melody import MAX_BEATS, Melody, find_melody, melody_piano_roll
from kelly_core.music.notes import Notes
from tests.helpers.music import make_notes
from tests.seeds import seeded_rng

TUNE = np.tile([60, 62, 64, 65, 67], 8)
N = len(TUNE)
OTHER_NAMES = (
    "Pleading|Leader of the Pack|Misleading|Backing Vocals|BackingVocals|vocal harmony|Lead Bass|Voice Oohs"
    "|Choir (voices)|Vocal Pad|Bass voice|Lead 1 (square)|Lead 2 (sawtooth)|Melodic Tom|Lead 8 (bass + lead)"
    "|Synth Voice|SynVox|bg vox|Invoice|"
)
"""Names of tracks that are not the melody; the last one is empty."""


def tracks(*parts: Notes, names: tuple[str, ...]) -> Notes:
    """Several parts as the tracks of one file."""
    columns = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("onset", "pitch", "velocity", "duration", "drum")
    }
    return make_notes(**columns, track=np.repeat(np.arange(len(parts)), [len(part) for part in parts]), names=names)


def steps_of(notes: Notes, shift: int = 0) -> list[set[int]]:
    return [set(np.flatnonzero(step).tolist()) for step in melody_piano_roll(Melody(notes, "named"), shift)]


@pytest.mark.parametrize(
    "name", ["MELODY", "Lead Guitar", "voice 1", "Vocals", "lead_vox", "LeadVocal", "Vocal1", "Melodía", "(Melody)"]
)
def test_a_track_with_a_melodys_name_is_the_melody(name: str) -> None:
    low_part = make_notes(np.arange(5), pitch=40)
    melody = find_melody(tracks(make_notes(np.arange(N), pitch=TUNE), low_part, names=("Piano", name)))
    assert melody.how == "named"
    assert set(melody.notes.pitch) == {40}


@pytest.mark.parametrize("name", OTHER_NAMES.split("|"))
def test_other_names_do_not_make_a_track_the_melody(name: str) -> None:
    accompaniment = make_notes(np.arange(5), pitch=40)
    melody = find_melody(tracks(make_notes(np.arange(N), pitch=TUNE), accompaniment, names=("Piano", name)))
    assert melody.how == "monophonic"
    assert 40 not in melody.notes.pitch


def test_memory_does_not_grow_with_the_product_of_notes_and_their_length() -> None:
    count = 200_000
    rng = seeded_rng(3)
    notes = make_notes(rng.integers(0, 3000, count), pitch=rng.integers(30, 90, count), duration=15_000.0)
    tracemalloc.start()
    roll = melody_piano_roll(find_melody(notes))
    everything = melody_piano_roll(Melody(notes, "skyline"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert roll.shape[1] == everything.shape[1] == 128
    assert everything.all(axis=1).sum() == 0
    assert peak < 300e6


def test_the_skyline_agrees_with_a_slow_search_across_blocks(monkeypatch) -> None:
    monkeypatch.setattr("kelly_core.music.melody._SKYLINE_ONSETS", 7)
    rng = seeded_rng(5)
    notes = make_notes(rng.integers(0, 80, 300) / 2, pitch=rng.integers(40, 80, 300), duration=rng.random(300) * 3)
    ends = notes.onset_beats + notes.duration_beats
    expected = [
        not np.any((notes.pitch > pitch) & (notes.onset_beats <= onset) & (ends > onset + 1e-6))
        for onset, pitch in zip(notes.onset_beats, notes.pitch, strict=True)
    ]
    melody = find_melody(notes)
    assert melody.how == "skyline"
    np.testing.assert_array_equal(melody.notes.onset_beats, notes.onset_beats[expected])
    np.testing.assert_array_equal(melody.notes.pitch, notes.pitch[expected])


def test_of_several_named_tracks_the_one_with_most_notes_counts() -> None:
    parts = (make_notes(np.arange(3), pitch=70), make_notes(np.arange(N), pitch=TUNE))
    assert len(find_melody(tracks(*parts, names=("Lead", "Melody"))).notes) == N


def test_a_drum_track_is_not_a_melody_whatever_its_name() -> None:
    parts = (make_notes(np.arange(N), pitch=TUNE, drum=True), make_notes(np.arange(N), pitch=TUNE + 5))
    melody = find_melody(tracks(*parts, names=("lead drums", "Piano")))
    assert melody.how == "monophonic"
    assert melody.notes.pitch[0] == 65


def test_without_a_name_the_track_that_overlaps_least_counts() -> None:
    clean = make_notes(np.arange(N), pitch=TUNE + 1, duration=1.0)
    blurred = make_notes(np.arange(N), pitch=TUNE, duration=np.where(np.arange(N) % 20 == 0, 1.5, 1.0))
    chords = make_notes(np.repeat(np.arange(N), 3), pitch=np.tile([60, 64, 67], N), duration=1.0)
    bass = make_notes(np.arange(0, N, 0.5), pitch=np.tile(TUNE, 2) - 24, duration=0.5)
    melody = find_melody(tracks(chords, blurred, bass, clean, names=("", "", "", "")))
    assert melody.how == "monophonic"
    np.testing.assert_array_equal(melody.notes.pitch, TUNE + 1)


def test_a_beat_on_one_pitch_is_not_a_melody() -> None:
    kick = make_notes(np.arange(0, N, 0.5), pitch=60, duration=0.1)
    melody = find_melody(tracks(kick, make_notes(np.arange(N), pitch=TUNE), names=("", "")))
    assert len(melody.notes) == N


def test_the_skyline_is_what_nothing_sounds_above() -> None:
    """The 72 is held over the 71, which is therefore hidden; the 70 begins as the 72 ends."""
    notes = make_notes([0, 0, 0, 1, 2, 2, 3], pitch=[48, 64, 72, 71, 52, 70, 40], duration=[4, 1, 2, 1, 1, 1, 0.5])
    melody = find_melody(notes)
    assert melody.how == "skyline"
    assert list(zip(melody.notes.onset, melody.notes.pitch, strict=True)) == [(0, 72), (2, 70)]


def test_the_skyline_compares_notes_that_begin_together_in_all_tracks() -> None:
    notes = make_notes([0, 0, 1, 1], pitch=[60, 67, 72, 48], duration=1, track=[0, 1, 0, 1], names=("a", "b"))
    np.testing.assert_array_equal(find_melody(notes).notes.pitch, [67, 72])


def test_drums_alone_have_no_melody() -> None:
    with pytest.raises(DataError, match="drums"):
        find_melody(make_notes([0.0, 1.0], drum=True))


def test_a_step_holds_what_sounds_for_a_quarter_of_its_beat() -> None:
    notes = make_notes([0, 0.75, 1.8, 3.0, 3.1], pitch=[60, 62, 64, 65, 65], duration=[1.24, 0.25, 0.9, 0.1, 0.15])
    assert steps_of(notes) == [{60, 62}, set(), {64}, {65}]


def test_a_note_of_many_beats_sounds_in_all_of_them() -> None:
    assert steps_of(make_notes([0.5, 2.0], pitch=[60, 70], duration=[3.5, 1.0])) == [{60}, {60}, {60, 70}, {60}]


def test_steps_begin_with_the_first_notes_beat() -> None:
    assert steps_of(make_notes([17.5, 18.0], pitch=[60, 62])) == [{60}, {62}]


def test_a_shift_keeps_pitches_on_the_keyboard() -> None:
    assert steps_of(make_notes([0, 1, 2], pitch=[3, 60, 125]), shift=-5) == [{10}, {55}, {120}]
    assert steps_of(make_notes([0, 1, 2], pitch=[3, 60, 125]), shift=5) == [{8}, {65}, {118}]


def test_a_melody_of_hours_is_refused() -> None:
    with pytest.raises(DataError, match="beats long"):
        melody_piano_roll(Melody(make_notes([0, MAX_BEATS + 5]), "named"))


def test_steps_agree_with_a_slow_count(pop909: list[Notes]) -> None:
    notes = find_melody(pop909[0]).notes
    beats = notes.onset_beats - np.floor(notes.onset_beats[0])
    sounding = np.zeros((int(np.ceil((beats + notes.duration_beats).max())), 128))
    for start, length, pitch in zip(beats, notes.duration_beats, notes.pitch, strict=True):
        for beat in range(len(sounding)):
            sounding[beat, pitch] += max(0.0, min(start + length, beat + 1) - max(start, beat))
    np.testing.assert_array_equal(melody_piano_roll(Melody(notes, "named")), sounding > 0.25 - 1e-6)


def test_pop_songs_have_a_named_melody_of_one_or_two_pitches_a_beat(pop909: list[Notes]) -> None:
    """POP909 has 1.1 pitches a beat and a constant-rate cross-entropy of 6.36 nats; these are 200 of its 909 songs."""
    found = [find_melody(notes) for notes in pop909]
    assert {melody.how for melody in found} == {"named"}
    steps = np.concatenate([melody_piano_roll(melody) for melody in found])
    rate = steps.mean()
    constant = -128 * (rate * np.log(rate) + (1 - rate) * np.log(1 - rate))
    assert constant == pytest.approx(6.36, abs=0.15)


def test_pop_melodies_are_found_without_their_names(pop909: list[Notes]) -> None:
    nameless = [find_melody(replace(notes, track_names=("", "", ""))) for notes in pop909]
    right = [melody.how == "monophonic" and melody.notes.track[0] == 0 for melody in nameless]
    assert np.mean(right) > 0.9
