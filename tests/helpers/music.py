"""Notes, pieces and recordings with a known tempo, key and first bar."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import mido
import numpy as np
from numpy.typing import ArrayLike

from kelly_core.arrays import Floats
from kelly_core.data.readers import midi
from kelly_core.demo.synth import notes_wav_bytes
from kelly_core.music.notes import Notes
from tests.seeds import seeded_rng


def make_notes(
    onset: ArrayLike,
    pitch: ArrayLike = 60,
    velocity: ArrayLike = 64,
    duration: ArrayLike = 0.5,
    *,
    track: ArrayLike = 0,
    drum: ArrayLike = False,
    names: Sequence[str] = ("",),
    pedal: Sequence[tuple[float, int]] = (),
) -> Notes:
    """Notes at 60 bpm, so that seconds are beats; single values go for all notes."""
    columns = np.broadcast_arrays(np.asarray(onset, np.float64), pitch, velocity, duration, track, drum)
    order = np.lexsort((columns[1], columns[0]))
    start, key, loudness, length, part, is_drum = (column[order] for column in columns)
    return Notes(
        onset=start,
        duration=length.astype(np.float64),
        onset_beats=start,
        duration_beats=length.astype(np.float64),
        pitch=key.astype(np.int16),
        velocity=loudness.astype(np.int16),
        track=part.astype(np.int16),
        drum=is_drum.astype(bool),
        track_names=tuple(names),
        pedal=np.array(pedal, np.float64).reshape(-1, 2),
        bpm=60.0,
    )


SECONDS = 16.0


def write_piece(folder: Path, name: str, seed: int, *, drums: bool = True) -> None:
    """Write a piece of 40 beats at 150 bpm as MIDI and as audio."""
    folder.mkdir(exist_ok=True)
    rng = seeded_rng(seed)
    file = mido.MidiFile(ticks_per_beat=480)
    track = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(150))])
    file.tracks.append(track)
    for beat in range(40):
        pitches = [(0, int(60 + rng.choice([0, 4, 7, 12])), int(rng.integers(50, 100))), (0, 48, 60)]
        pitches += [(9, 36 + 2 * (beat % 2), 80)] if drums else []
        track += [mido.Message("note_on", channel=c, note=p, velocity=v, time=0) for c, p, v in pitches]
        for number, (channel, pitch, _) in enumerate(pitches):
            track.append(mido.Message("note_off", channel=channel, note=pitch, time=0 if number else 480))
    path = folder / f"{name}.mid"
    file.save(path)
    (folder / f"{name}.wav").write_bytes(notes_wav_bytes(midi.read_notes(path), SECONDS))


RATE = 22_050
_PROGRESSIONS = {
    "major": ((0, 4, 7), (5, 9, 12), (7, 11, 14), (0, 4, 7)),
    "minor": ((0, 3, 7), (5, 8, 12), (7, 11, 14), (0, 3, 7)),
}


def chords_and_clicks(
    bpm: float, tonic: int, mode: str, first_bar: float, seconds: float = 24.0, *, clicks: bool = True
) -> Floats:
    """Chords I IV V I, one a bar and struck on every beat, with clicks that are louder on the first beat of a bar.

    Args:
        bpm: constant tempo.
        tonic: pitch class.
        mode: major or minor.
        first_bar: seconds to the beginning of a bar, less than a bar.
        seconds: length.
        clicks: whether there are clicks at all.
    """
    rng = seeded_rng(0)
    samples = np.zeros(round(seconds * RATE))
    beat = 60 / bpm
    for number in range(-4, int(seconds / beat) + 1):
        begin = round((first_bar + number * beat) * RATE)
        time = np.arange(round(0.95 * beat * RATE)) / RATE
        envelope = np.exp(-time / 0.4) * np.minimum(time / 0.004, 1)
        pitches = 48 + tonic + np.array(_PROGRESSIONS[mode][number // 4 % 4])
        hertz = 440 * 2 ** ((pitches[:, np.newaxis] - 69) / 12) * np.arange(1, 5)
        sound = sum(
            0.08 / harmonic * np.sin(2 * np.pi * f * time) for chord in hertz for harmonic, f in enumerate(chord, 1)
        )
        sound = sound * envelope
        if clicks:
            click = rng.standard_normal(len(time)) * np.exp(-time / 0.006)
            sound += (0.5 if number % 4 == 0 else 0.25) * click
        if 0 <= begin < len(samples):
            room = len(samples) - begin
            samples[begin : begin + len(sound)] += sound[:room]
    quieter: Floats = (0.8 * samples / np.abs(samples).max()).astype(np.float32)
    return quieter
