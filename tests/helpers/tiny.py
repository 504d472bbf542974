"""Tiny corpora in their real layouts, written from rules, for the loaders' tests."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import mido
import numpy as np
import soundfile

from tests.seeds import seeded_rng

Note = tuple[float, float, int, int]
"""Start and length in beats, pitch, velocity."""


def write_midi(
    path: Path,
    tracks: dict[str, Sequence[Note]],
    *,
    bpm: float = 120,
    channel: int = 0,
    pedal: Sequence[tuple[float, int]] = (),
    meter: tuple[int, int] = (4, 4),
) -> Path:
    """A type 1 file with one track a name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = mido.MidiFile(type=1, ticks_per_beat=480)
    head = mido.MidiTrack()
    head.append(mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(bpm)))
    head.append(mido.MetaMessage("time_signature", numerator=meter[0], denominator=meter[1]))
    file.tracks.append(head)
    for name, notes in tracks.items():
        track = mido.MidiTrack([mido.MetaMessage("track_name", name=name)])
        moments: list[tuple[float, int, mido.Message]] = []
        for start, length, pitch, velocity in notes:
            on = mido.Message("note_on", note=pitch, velocity=velocity, channel=channel)
            moments += [(start, 1, on), (start + length, 0, on.copy(velocity=0))]
        moments += [
            (beat, 0, mido.Message("control_change", control=64, value=value, channel=channel)) for beat, value in pedal
        ]
        now = 0
        for beat, _, message in sorted(moments, key=lambda moment: moment[:2]):
            tick = round(beat * 480)
            track.append(message.copy(time=tick - now))
            now = tick
        file.tracks.append(track)
    file.save(path)
    return path


def melody_notes(beats: int, pitches: Sequence[int] = (60, 62, 64, 65, 67), velocity: int = 80) -> list[Note]:
    """One note a beat, going round the pitches."""
    return [(float(beat), 0.9, pitches[beat % len(pitches)], velocity) for beat in range(beats)]


def drum_notes(bars: int, lag: float = 0.0) -> list[Note]:
    """Kick, snare and eighth-note hats; hats come ``lag`` beats late."""
    eighths = [(bar, eighth) for bar in range(bars) for eighth in range(8)]
    hats = [(4 * bar + i / 2 + lag * (i % 2), 0.1, 42, 80 - 20 * (i % 2)) for bar, i in eighths]
    kicks = [(4.0 * bar, 0.1, 36, 110) for bar in range(bars)]
    return [*hats, *kicks, *((start + 2, 0.1, 38, 100) for start, *_ in kicks)]


def write_tone(path: Path, seconds: float, hertz: float = 440.0, rate: int = 22050) -> Path:
    """A quiet sine in noise that swells."""
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(round(seconds * rate)) / rate
    noise = seeded_rng(round(hertz)).standard_normal(len(time))
    samples = 0.1 * np.sin(2 * np.pi * hertz * time) + 0.01 * time / seconds * noise
    soundfile.write(path, samples.astype(np.float32), rate)
    return path


def write_csv(path: Path, rows: Iterable[Sequence[object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def deam(root: Path, songs: int = 4, seconds: float = 20) -> Path:
    """The simple layout, static labels on DEAM's scale of 1 to 9."""
    for song in range(2, 2 + songs):
        write_tone(root / "audio" / f"{song}.wav", seconds, 200 * song)
    rows = [(song, 3 + song / 4, 0.5, 7 - song / 4, 0.5) for song in range(2, 2 + songs)]
    header = ("song_id", " valence_mean", " valence_std", " arousal_mean", " arousal_std")
    write_csv(root / "annotations" / "annotations.csv", [header, *rows])
    return root


def lakh_midi(root: Path, songs: int = 4) -> Path:
    for song in range(songs):
        notes = melody_notes(70 + song, [60 + song, 62 + song, 64 + song, 67 + song, 69 + song])
        write_midi(root / f"{song:x}" / f"{song}.mid", {"Lead vocal": notes}, bpm=90 + 20 * song)
    return root


def chords(root: Path, songs: int = 6) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    progressions = [["C", "Am", "F", "G7"], ["Am", "F", "C", "G"], ["Dm", "G7", "Cmaj7", "C"], ["Em", "Am", "Dm", "E7"]]
    entries = [{"chords": progressions[song % 4] * 2, "source": f"song/{song}"} for song in range(songs)]
    (root / "chord_progressions.json").write_text(json.dumps(entries))
    return root


def maestro(root: Path) -> Path:
    """Year folders and the official table, with one test performance and one that the table does not name."""
    rows = [("canonical_composer", "canonical_title", "split", "year", "midi_filename")]
    for number, split in enumerate(("train", "train", "validation", "test")):
        name = f"200{number}/performance {number}.midi"
        step = 11 + number
        notes = [(beat / 2, 0.4, 60 + (beat * 7) % 12 + number, 40 + (beat * step) % 60) for beat in range(120)]
        write_midi(root / name, {"Piano": notes}, pedal=[(0, 127), (20, 0)])
        rows.append(("Composer", f"Piece {number}", split, f"200{number}", name))
    write_midi(root / "2009" / "unlisted.midi", {"Piano": melody_notes(80)})
    write_csv(root / "maestro-v3.0.0.csv", rows)
    return root


def groove_midi(root: Path) -> Path:
    """Drummer and session folders with ``info.csv``: beats, a fill, another meter, and a test recording."""
    header = ("drummer", "session", "id", "style", "bpm", "beat_type", "time_signature", "midi_filename", "split")
    rows: list[Sequence[object]] = [header]
    kinds = [
        ("train", "beat", "4-4"),
        ("train", "beat", "4-4"),
        ("validation", "beat", "4-4"),
        ("test", "beat", "4-4"),
        ("train", "fill", "4-4"),
        ("train", "beat", "6-8"),
    ]
    for number, (split, kind, meter) in enumerate(kinds):
        session = f"drummer{number % 2 + 1}/session1"
        name = f"{session}/{number}_rock_{100 + 10 * number}_{kind}_{meter}.mid"
        notes = drum_notes(9 + number, lag=0.01 * number)
        write_midi(root / name, {"Drums": notes}, bpm=100 + 10 * number, channel=9)
        rows.append(("d", session, number, "rock", 100 + 10 * number, kind, meter, name, split))
    write_csv(root / "info.csv", rows)
    return root


def emotion_midi(root: Path) -> Path:
    """EMOPIA's layout: clips of three songs, one of which has ``_`` and ``-`` in its name and two emotions."""
    clips = {"Q1_a-_b_0": 1, "Q3_a-_b_1": 3, "Q2_cc_0": 2, "Q4_dd_0": 4}
    for number, clip in enumerate(clips):
        notes = [(beat / 2, 0.4, 60 + (beat * 5) % 12 + number, 50 + (beat * (7 + number)) % 40) for beat in range(80)]
        write_midi(root / "EMOPIA_1.0" / "midis" / f"{clip}.mid", {"": notes})
    rows = [("ID", "4Q", "annotator"), *((clip, quadrant, "A") for clip, quadrant in clips.items())]
    write_csv(root / "EMOPIA_1.0" / "label.csv", rows)
    return root


def emopia_split(folder: Path) -> None:
    """The official split of ``emotion_midi``'s clips, in ``folder/split``: one song a side."""
    for side, clips in {"train": ["Q1_a-_b_0", "Q3_a-_b_1"], "val": ["Q2_cc_0"], "test": ["Q4_dd_0"]}.items():
        rows = [("", "clip_name"), *((number, f"{clip}.mid") for number, clip in enumerate(clips))]
        write_csv(folder / "split" / f"{side}_clip.csv", rows)


def emotion_audio(root: Path) -> Path:
    """Clips of two songs with EMOPIA's quadrants."""
    clips = {"Q1_x_0": 1, "Q1_x_1": 1, "Q3_y_0": 3}
    for number, clip in enumerate(clips):
        write_tone(root / "audio" / f"{clip}.wav", 6, 300 + 170 * number)
    write_csv(root / "annotations" / "label.csv", [("ID", "4Q", "annotator"), *((c, q, "A") for c, q in clips.items())])
    return root


WRITERS = {
    "deam": deam,
    "lakh_midi": lakh_midi,
    "chords": chords,
    "maestro": maestro,
    "groove_midi": groove_midi,
    "emotion_midi": emotion_midi,
    "emotion_audio": emotion_audio,
}
