"""Pieces as MIDI files and as audio rendered from them."""

from __future__ import annotations

from pathlib import Path

import mido

from kelly_core.data.readers import midi
from kelly_core.demo.synth import notes_wav_bytes
from tests.seeds import seeded_rng

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
