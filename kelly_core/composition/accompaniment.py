"""Accompaniment of a melody: chords, bass, pedal and drums, all of which get busier with arousal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from kelly_core.arrays import Doubles
from kelly_core.composition.plan import Bar, Plan, limited
from kelly_core.composition.score import BAR, EIGHTH, EIGHTHS, PHRASE_BARS, Note
from kelly_core.music.chords import CHORD_TONES, NO_CHORD
from kelly_core.music.groove import POSITIONS, apply_groove
from kelly_core.music.notes import PPQ

_CHORD_SHARE = 0.5
"""Share of all notes that belong to the chords."""
_STRUCK = ((0,), (0, 4), (0, 3, 6), (0, 2, 4, 6), (0, 2, 3, 4, 6), (0, 2, 3, 4, 6, 7))
"""Eighths of a bar at which a chord is struck, for one to six times per bar."""
_BROKEN = (2, 8)
_MIDDLE = 57.0
_ROLL_TICKS = 40
_MIN_RATIO, _LAST_RATIO = 0.4, 0.95
_LOWEST_BASS = 33
_BASS_AROUSAL = (-0.25, 0.15, 0.45)
_BASS_LINES = ((0,), (0, 7), (0, 0, 7, 0), (0, 0, 12, 0, 7, 7, 12, 0))
"""Semitones above the root of the notes of a bar, for each level of arousal."""
_PEDAL_DELAY, _PEDAL_GAP = 20, 30
_PEDAL_PRESSES = 8
_MIN_PEDAL_SHARE = 0.05


def write_chords(plan: Plan, rng: np.random.Generator) -> list[Note]:
    """Write chords in close position with minimal movement between them; bars without a chord are silent."""
    noise = rng.standard_normal((len(plan.bars), EIGHTHS))
    notes: list[Note] = []
    center = _MIDDLE
    for bar in plan.bars:
        if bar.chord == NO_CHORD:
            continue
        # Move halfway back to the middle; otherwise the nearest inversions would drift away in a long piece.
        pitches = voicing(bar.chord, (center + _MIDDLE) / 2)
        center = float(np.mean(pitches))
        wanted = bar.expression.notes_per_second * bar.seconds * _CHORD_SHARE
        if bar.arousal < 0 and not bar.last:
            notes += _broken_chord(bar, pitches, wanted, noise[bar.number])
        else:
            notes += _block_chord(bar, pitches, wanted, noise[bar.number])
    return notes


def voicing(chord: int, center: float) -> list[int]:
    """Return a chord's pitches in close position, in the inversion whose mean is nearest to ``center``."""
    classes = np.flatnonzero(CHORD_TONES[chord])
    inversions = []
    for turn in range(len(classes)):
        turned = np.roll(classes, -turn)
        pitches = turned[0] + (turned - turned[0]) % 12
        inversions.append(pitches + 12 * round((center - float(pitches.mean())) / 12))
    nearest: list[int] = min(inversions, key=lambda pitches: abs(float(pitches.mean()) - center)).tolist()
    return nearest


def write_bass(plan: Plan, rng: np.random.Generator) -> list[Note]:
    """Write a bass line of root, fifth and octave that gets busier with arousal."""
    noise = rng.standard_normal((len(plan.bars), EIGHTHS))
    notes: list[Note] = []
    for bar in plan.bars:
        if bar.chord == NO_CHORD:
            continue
        root = _LOWEST_BASS + (bar.chord - _LOWEST_BASS) % 12
        level = 0 if bar.last else int(np.searchsorted(_BASS_AROUSAL, bar.arousal, side="right"))
        line = _BASS_LINES[level]
        step = BAR // len(line)
        for number, interval in enumerate(line):
            tick = bar.tick + number * step
            pitch = root + (_fifth(bar.chord) if interval == 7 else interval)
            velocity = bar.expression.bass + bar.expression.accent * (number == 0)
            velocity += bar.expression.velocity_of(bar.position(tick), pitch, float(noise[bar.number, number]))
            notes.append(Note(tick, round(step * _ratio(bar)), pitch, limited(velocity)))
    return notes


def pedaling(plan: Plan) -> Iterator[tuple[int, int]]:
    """Yield start and end tick of each press of the sustain pedal; the dynamics set rate and share of time."""
    for bar in plan.bars:
        expression = bar.expression
        if expression.pedal_share < _MIN_PEDAL_SHARE or bar.chord == NO_CHORD:
            continue
        presses = int(np.clip(round(expression.presses_per_second * bar.seconds), 1, _PEDAL_PRESSES))
        span = BAR // presses
        for number in range(presses):
            # The pedal is pressed after the chord begins and released before the next one, so chords do not blur.
            start = bar.tick + number * span + _PEDAL_DELAY
            yield start, start + min(round(expression.pedal_share * span), span - _PEDAL_GAP)


def _broken_chord(bar: Bar, pitches: list[int], wanted: float, noise: np.ndarray) -> Iterator[Note]:
    """Yield the notes of a chord in sequence, up and down."""
    count = int(np.clip(round(wanted), *_BROKEN))
    # The sequence does not repeat the outer notes.
    wave = [*pitches, *pitches[-2:0:-1]]
    for number in range(count):
        slot = number * EIGHTHS // count
        length = (number + 1) * EIGHTHS // count - slot
        yield _note(bar, slot * EIGHTH, length * EIGHTH, wave[number % len(wave)], float(noise[slot]))


def _block_chord(bar: Bar, pitches: list[int], wanted: float, noise: np.ndarray) -> Iterator[Note]:
    """Yield all notes of a chord together, from low to high within the chord spread of the dynamics."""
    hits = 1 if bar.last else int(np.clip(round(wanted / len(pitches)), 1, len(_STRUCK)))
    slots = _STRUCK[hits - 1]
    # The spread is a standard deviation; n onsets at intervals of d have the standard deviation d √((n² - 1) / 12).
    roll_seconds = bar.expression.spread_seconds * np.sqrt(12 / (len(pitches) ** 2 - 1))
    roll = min(round(roll_seconds / bar.beat_seconds * PPQ), _ROLL_TICKS)
    for slot, end in zip(slots, [*slots[1:], EIGHTHS], strict=True):
        for number, pitch in enumerate(pitches):
            tick = slot * EIGHTH + number * roll
            yield _note(bar, tick, end * EIGHTH - tick, pitch, float(noise[slot]))


def _note(bar: Bar, tick: int, span: int, pitch: int, noise: float) -> Note:
    """Return a note ``tick`` after the start of a bar, with ``span`` ticks until the next."""
    velocity = bar.expression.velocity_of(bar.position(bar.tick + tick), pitch, noise)
    return Note(bar.tick + tick, round(span * _ratio(bar)), pitch, limited(velocity))


def _ratio(bar: Bar) -> float:
    return _LAST_RATIO if bar.last else float(np.clip(bar.expression.ratio, _MIN_RATIO, 1.0))


def _fifth(chord: int) -> int:
    """Return the semitones from the root to the fifth; a diminished chord has a diminished fifth."""
    return 7 if CHORD_TONES[chord, (chord + 7) % 12] else 6


KICK, STICK, SNARE, CLOSED_HAT, OPEN_HAT, CRASH = 36, 37, 38, 42, 46, 49
"""Pitches of General MIDI's drum kit."""

_SIXTEENTH = PPQ // 4
_HIT_TICKS = 60
_STICK_BELOW = -0.2
_CRASH_FROM = 0.1
_MIDDLE_VELOCITY = 64.0
_PIANO_EXPONENT, _MIN_PIANO_LEVEL = 0.2, 0.25
_MIDDLE_LEVEL = 0.8
_MEAN_VELOCITY = {KICK: 94.0, SNARE: 94.0, CLOSED_HAT: 62.0}
"""Mean velocity of the hits on a drum, before the level of the bar is applied."""


class _Hit(NamedTuple):
    """A hit at one of the sixteen positions of a bar, played above a minimum arousal."""

    position: int
    pitch: int
    velocity: int
    least_arousal: float


_PATTERN = (
    _Hit(0, KICK, 100, -1.0),
    _Hit(8, KICK, 94, -0.55),
    _Hit(10, KICK, 84, 0.1),
    _Hit(6, KICK, 80, 0.4),
    _Hit(4, SNARE, 92, -0.75),
    _Hit(12, SNARE, 96, -0.45),
    _Hit(7, SNARE, 58, 0.3),
    _Hit(15, SNARE, 62, 0.5),
    *(_Hit(position, CLOSED_HAT, 72, -1.0) for position in (0, 4, 8, 12)),
    *(_Hit(position, CLOSED_HAT, 58, -0.3) for position in (2, 6, 10)),
    *(_Hit(position, CLOSED_HAT, 46, 0.4) for position in (1, 3, 5, 7, 9, 11, 13)),
    _Hit(14, CLOSED_HAT, 60, -0.3),
    _Hit(14, OPEN_HAT, 66, 0.2),
)


def write_drums(plan: Plan) -> list[Note]:
    """Write the pattern bar by bar; the last bar has only kick and crash."""
    return [note for bar in plan.bars for note in _hits_of_bar(bar)]


def _hits_of_bar(bar: Bar) -> list[Note]:
    hits = [hit for hit in _PATTERN if bar.arousal >= hit.least_arousal]
    if bar.last:
        hits = [_PATTERN[0], _Hit(0, CRASH, 84, -1.0)]
    elif bar.number and bar.number % PHRASE_BARS == 0 and bar.arousal >= _CRASH_FROM:
        hits.append(_Hit(0, CRASH, 90, _CRASH_FROM))
    ticks, velocities = apply_groove(
        bar.tick + _SIXTEENTH * np.array([hit.position for hit in hits]),
        _level(bar) * _balanced(hits),
        bar.groove,
    )
    return [
        # An early groove would move the first hit before the beginning of the piece.
        Note(max(0, round(tick)), _HIT_TICKS, _soft(hit.pitch, bar.arousal), limited(velocity))
        for tick, velocity, hit in zip(ticks.tolist(), velocities.tolist(), hits, strict=True)
    ]


def _level(bar: Bar) -> float:
    """Return the factor on the velocities of a bar, before the groove.

    The factor doubles over two units of arousal. The dynamics model, which is trained only on piano music, has less
    influence, and the groove's mean accent is divided out. Therefore neither makes a bar of high arousal softer than a
    calm one.
    """
    played = max(bar.expression.velocity / _MIDDLE_VELOCITY, _MIN_PIANO_LEVEL) ** _PIANO_EXPONENT
    _, accents = apply_groove(_SIXTEENTH * np.arange(POSITIONS), np.ones(POSITIONS), bar.groove)
    return float(_MIDDLE_LEVEL * 2 ** (bar.arousal / 2) * played / accents.mean())


def _balanced(hits: list[_Hit]) -> Doubles:
    """Return velocities [hits] whose mean on each drum does not depend on how many of its hits are played.

    Soft hits are added as arousal rises; without this, the drum would get softer on average.
    """
    velocity = np.array([hit.velocity for hit in hits], np.float64)
    for pitch, mean in _MEAN_VELOCITY.items():
        same = np.array([hit.pitch == pitch for hit in hits])
        velocity[same] *= mean / velocity[same].mean() if same.any() else 1.0
    return velocity


def _soft(pitch: int, arousal: float) -> int:
    """Return the soft variant of a hit: at low arousal the snare's rim is played."""
    return STICK if pitch == SNARE and arousal < _STICK_BELOW else pitch
