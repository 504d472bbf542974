"""Compose a score from the chain's outputs; the only entry point of this package."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from kelly_core.chain import ChainOutput
from kelly_core.composition.accompaniment import pedaling, write_bass, write_chords, write_drums
from kelly_core.composition.harmony import Mode, sections_of
from kelly_core.composition.melody import choose_instrument, write_melody
from kelly_core.composition.plan import Plan, make_plan, natural_bars
from kelly_core.composition.score import DRUM_CHANNEL, Note, Part, Score
from kelly_core.music.chords import transpose_chords
from kelly_core.music.key import NOTE_NAMES

_SHARP_MINORS = {3: "Eb", 8: "G#"}
_PIANO, _BASS = 0, 32


def compose(
    output: ChainOutput,
    *,
    bars: int | None = None,
    seed: int = 0,
    bpm: float | None = None,
    tonic: int = 0,
    mode: Mode | None = None,
    downbeats: ArrayLike | None = None,
) -> Score:
    """Write a piece of four parts, Melody, Chords, Bass and Drums, that follows T ≥ 1 frames of the chain.

    Args:
        output: the frames, of half a second each.
        bars: number of bars over which the frames are spread; None for about the duration of the frames.
        seed: random seed; the same seed produces the same score.
        bpm: constant tempo in beats per minute; None follows arousal from phrase to phrase.
        tonic: pitch class of the tonic, 0 = C.
        mode: major or minor; None chooses it by valence.
        downbeats: [bars + 1], times in seconds from the first frame at which each bar begins and the last one ends;
            replaces ``bars`` and ``bpm`` in a piece that follows the beats of a recording.
    """
    # Each part has a separate generator, so a change in one part does not change the draws of the others.
    chords, melody, accompaniment, bass = (
        np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(part,))) for part in range(4)
    )
    times = None if downbeats is None else np.asarray(downbeats, np.float64)
    length = (bars or natural_bars(output, bpm)) if times is None else len(times) - 1
    plan = make_plan(output, length, chords, bpm, tonic, mode, times)
    instrument = choose_instrument(plan)
    return Score(
        parts=(
            Part("Melody", 0, instrument.program, _in_key(plan, write_melody(plan, instrument, melody))),
            Part("Chords", 1, _PIANO, _in_key(plan, write_chords(plan, accompaniment)), tuple(pedaling(plan))),
            Part("Bass", 2, _BASS, _in_key(plan, write_bass(plan, bass))),
            Part("Drums", DRUM_CHANNEL, None, _without_overlaps(write_drums(plan))),
        ),
        tempos=plan.tempos,
        key=_key_name(plan, tonic),
        chords=tuple(transpose_chords([bar.chord for bar in plan.bars], plan.shift).tolist()),
        sections=sections_of(plan.phrases),
        lead_in=None if times is None else float(times[0]),
    )


def _in_key(plan: Plan, notes: Sequence[Note]) -> tuple[Note, ...]:
    """Transpose notes from C major / A minor to the piece's key; pitches outside MIDI's range move by an octave."""
    moved = [note.pitch + plan.shift for note in notes]
    pitches = [pitch + 12 * (pitch < 0) - 12 * (pitch > 127) for pitch in moved]
    return _without_overlaps([note._replace(pitch=pitch) for note, pitch in zip(notes, pitches, strict=True)])


def _without_overlaps(notes: Sequence[Note]) -> tuple[Note, ...]:
    """Return the notes in order, each ending no later than the next onset of its pitch.

    If several notes have the same onset and pitch, one is kept.
    """
    # A dictionary keeps the last of several notes with one key.
    ordered = sorted({(note.tick, note.pitch): note for note in notes}.values())
    following: dict[int, int] = {}
    kept = []
    # In reverse order, the next onset of each pitch is known.
    for note in reversed(ordered):
        room = following.get(note.pitch, note.tick + note.length) - note.tick
        kept.append(note._replace(length=max(1, min(note.length, room))))
        following[note.pitch] = note.tick
    return tuple(reversed(kept))


def _key_name(plan: Plan, tonic: int) -> str:
    if plan.mode == "major":
        return "Db" if tonic == 1 else NOTE_NAMES[tonic]
    return f"{_SHARP_MINORS.get(tonic, NOTE_NAMES[tonic])}m"
