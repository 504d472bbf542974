"""A melody in eighths, sampled from the melody model's probabilities phrase by phrase."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kelly_core.arrays import Doubles, Indices
from kelly_core.composition.harmony import HOME, Mode, Phrase, draw_index
from kelly_core.composition.plan import Bar, Plan, limited
from kelly_core.composition.score import EIGHTH, EIGHTHS, PHRASE_BARS, Note
from kelly_core.music.chords import CHORD_TONES, NO_CHORD
from kelly_core.music.key import MAJOR_SCALE
from kelly_core.music.notes import BEATS_PER_BAR
from kelly_core.music.piece_statistics import LEAP, STEP

LINE_SPAN = 20
"""Number of pitches from the lowest to the highest of a line; POP909's songs have a range of 15 to 22 semitones."""

_INTERVALS = np.array([0.7, 1.0, 1.0, 0.45, 0.4, 0.3, 0.05, 0.25, 0.1, 0.06, 0.05, 0.03, 0.08] + 7 * [0.005])
"""Weight by semitones."""
_FOREIGN_BY_LEAP = 0.55
"""Factor on leaving a note outside the chord by more than a step."""
_UNRESOLVED = 0.5
"""Factor on an interval in the direction of the leap before it."""
_DIRECTIONS = (0, 1, -1)
"""States of a line: no leap before, a leap up, a leap down."""


def _transitions() -> tuple[Doubles, Indices]:
    """Return weights and states after a move from a state and a pitch to a pitch, both [3, span, span]."""
    pitch = np.arange(LINE_SPAN)
    interval = pitch - pitch[:, np.newaxis]
    direction = np.array(_DIRECTIONS)[:, np.newaxis, np.newaxis]
    weights = np.where(direction * interval > 0, _UNRESOLVED, 1.0) * _INTERVALS[np.abs(interval)]
    leap = np.select([interval >= LEAP, interval <= -LEAP], [1, 2], 0)
    # A repeated note keeps the state: the leap before it is still to be resolved.
    states = np.where(interval == 0, np.arange(len(_DIRECTIONS))[:, np.newaxis, np.newaxis], leap)
    return weights, states


_WEIGHTS, _STATES = _transitions()
_BY_STEP = np.abs(np.arange(LINE_SPAN) - np.arange(LINE_SPAN)[:, np.newaxis]) <= STEP


def draw_line(
    notes: Doubles, foreign: NDArray[np.bool_], draws: Doubles, before: tuple[int, int] | None = None
) -> list[tuple[int, int]]:
    """Draw the pitches of a line with a probability proportional to all weights, including those of its later notes.

    The weight of a line is the product of the weights of its notes and intervals: steps are likely, a leap is likely
    to be followed by a move in the other direction, and a note outside the chord to be left by step. The line is
    sampled exactly, by a backward pass over the notes and forward draws.

    Args:
        notes: weights [n, LINE_SPAN] of each pitch; every row has one above 0.
        foreign: [n, LINE_SPAN], whether a pitch is outside the chord of its note.
        draws: [n], uniform random numbers.
        before: pitch and state of the note before the line, None at the beginning.

    Returns:
        Pitch of each note (0 = lowest of the span) and state, in the format of ``before``.
    """
    moves = [_WEIGHTS * np.where(_BY_STEP | ~row[:, np.newaxis], 1.0, _FOREIGN_BY_LEAP) for row in foreign]
    future = np.ones((len(notes), len(_DIRECTIONS), LINE_SPAN))
    pitch = np.arange(LINE_SPAN)
    for note in range(len(notes) - 2, -1, -1):
        values = (moves[note] * notes[note + 1] * future[note + 1][_STATES, pitch]).sum(axis=-1)
        # Only ratios matter; without the division the products of a long line would underflow.
        future[note] = values / values.max()
    line: list[tuple[int, int]] = []
    for note, draw in enumerate(draws.tolist()):
        if before is None:
            weights, states = notes[note] * future[note, 0], np.zeros(LINE_SPAN, np.intp)
        else:
            last, state = before
            states = _STATES[state, last]
            # The interval after the last note of the previous phrase is weighted without regard to that note's chord.
            move = moves[note - 1] if note else _WEIGHTS
            weights = move[state, last] * notes[note] * future[note, states, pitch]
        chosen = draw_index(weights, draw)
        before = chosen, int(states[chosen])
        line.append(before)
    return line


TEMPERATURE = 1.6
"""Exponent 1 / 1.6 on the probabilities; the weights of small intervals and chord tones narrow the range again."""

_MOTIF_BARS = 2
_ONSETS = (1.03, 0.19, 0.58, 0.26, 0.84, 0.19, 0.58, 0.33)
"""Relative onset rate by eighth of a bar; the values sum to 4, so that a density of one note per beat is kept."""
_CADENCE_SLOTS = 4
"""Eighths of a phrase's last bar in which notes begin; the last one is long."""
_MELODY_SHARE = 0.25
"""Share of all notes that belong to the melody."""
_MIDDLE_DENSITY, _DENSITY_EXPONENT = 1.55, 0.35
_NOTES_PER_BEAT = (1.2, 2.4)
"""Onsets per beat in a full bar: 1.55 r^.35 within limits, where r is the rate that dynamics and arousal request. Rests
and cadences reduce them to the range of POP909, see ``music.piece_statistics``.
"""
_FOREIGN_ON_STRESS, _FOREIGN, _FOREIGN_AT_CADENCE = 0.08, 0.4, 0.02
"""Factors on notes outside the chord."""
_OUTSIDE_SCALE = 0.05
_TONIC_AT_CADENCE = 20.0
_REPEATED, _ECHOED = 300.0, 15.0
"""Factors on the pitch in the phrase that is repeated, and in new material on the pitch two bars earlier."""
_HIGHER = {"half": 0.13, "full": -0.13, "B": 0.2}
"""Log2 of the ratio of weights of adjacent pitches: a question is higher than its answer, a section B than A."""
_LAST_RATIO, _MIN_RATIO, _STACCATO_RATIO = 0.95, 0.5, 0.4


class Instrument(NamedTuple):
    """A General MIDI program and its range of pitches."""

    program: int
    low: int
    high: int


INSTRUMENTS = (Instrument(73, 60, 96), Instrument(71, 50, 91), Instrument(42, 36, 76), Instrument(72, 74, 108))
"""Flute, clarinet, cello and piccolo; the first one that can play nearly all of the melody is used."""
_PLAYABLE = 0.98


class _Draws(NamedTuple):
    """Random numbers of one piece, drawn beforehand so that an added or removed note does not change later draws.

    Attributes:
        sounding: [phrases, beats of two bars], rhythm: [phrases, eighths of two bars]; so each phrase repeats its
            rhythm after two bars if the density allows it.
        pitch, length, loudness: [eighths].
    """

    sounding: Doubles
    rhythm: Doubles
    pitch: Doubles
    length: Doubles
    loudness: Doubles

    @classmethod
    def of(cls, plan: Plan, rng: np.random.Generator) -> _Draws:
        eighths = len(plan.bars) * EIGHTHS
        sounding = rng.random((len(plan.phrases), _MOTIF_BARS * BEATS_PER_BAR))
        rhythm = rng.random((len(plan.phrases), _MOTIF_BARS * EIGHTHS))
        for number, phrase in enumerate(plan.phrases):
            if phrase.source is not None:
                sounding[number], rhythm[number] = sounding[phrase.source], rhythm[phrase.source]
        return cls(sounding, rhythm, rng.random(eighths), rng.random(eighths), rng.standard_normal(eighths))


def choose_instrument(plan: Plan) -> Instrument:
    """Return the first instrument whose range covers nearly as much of the proposed pitches as the best one."""
    # The model's pitches are in the frame of C major; the piece is in its own key.
    mass = np.roll(plan.melody.sum(axis=0, dtype=np.float64), plan.shift)
    parts = [float(mass[instrument.low : instrument.high + 1].sum()) for instrument in INSTRUMENTS]
    return INSTRUMENTS[next(number for number, part in enumerate(parts) if part >= _PLAYABLE * max(parts))]


def write_melody(plan: Plan, instrument: Instrument, rng: np.random.Generator) -> list[Note]:
    """Sample the rhythm, then the pitches, both phrase by phrase.

    A beat sounds with the probability that any of its pitches sounds. The eighths of a sounding beat are onsets at a
    rate that increases with the density of the dynamics and with arousal, within the range of POP909. A phrase ends
    with a long note; a phrase that repeats another has the same rhythm.

    The weight of a pitch is its probability, to the power of 1 / ``TEMPERATURE``, times factors for notes of the scale
    and of the chord, for the pitch in the phrase that is repeated, and for the tonic at a full cadence; ``draw_line``
    adds the weights of intervals. The last note is the tonic if its probability is above 0. Pitches are within
    the instrument's range and within the ``LINE_SPAN`` semitones that contain most of the model's probability.
    """
    draws = _Draws.of(plan, rng)
    chance = 1 - np.prod(1 - plan.melody.astype(np.float64), axis=1)
    low = _lowest(plan, instrument)
    proposed = plan.melody[:, low : low + LINE_SPAN].astype(np.float64) ** (1 / TEMPERATURE)
    sounding = _sounding_beats(chance, draws) & proposed.any(axis=1)
    pitches: dict[int, int] = {}
    before = None
    for phrase, mode in zip(plan.phrases, plan.modes, strict=True):
        for first in range(phrase.first, phrase.last + 1, _MOTIF_BARS):
            bars = range(first, min(first + _MOTIF_BARS, phrase.last + 1))
            onsets = [slot for bar in bars for slot in _onsets(plan, phrase, bar, chance, sounding, draws)]
            if not onsets:
                continue
            model = _model_pitches(plan, phrase, bars, pitches)
            notes = np.stack([_note_weights(plan, phrase, slot, proposed[slot // 2], low, model) for slot in onsets])
            if phrase.last in bars:
                _apply_cadence(notes[-1], plan, phrase, mode, low)
            chords = CHORD_TONES[[plan.bars[slot // EIGHTHS].chord for slot in onsets]]
            foreign = (chords.any(axis=1, keepdims=True) & (chords == 0))[:, _pitch_classes(low)]
            line = draw_line(notes, foreign, draws.pitch[onsets], before)
            before = line[-1]
            pitches |= {slot: low + step for slot, (step, _) in zip(onsets, line, strict=True)}
    return list(_notes(plan, pitches, sounding, draws))


def _notes(plan: Plan, pitches: Mapping[int, int], sounding: NDArray[np.bool_], draws: _Draws) -> Iterator[Note]:
    """Yield the notes for pitches by eighth, each until the next note or until a silent beat."""
    for slot, end in pairwise([*pitches, len(plan.bars) * EIGHTHS]):
        bar, pitch = plan.bars[slot // EIGHTHS], pitches[slot]
        silent = np.flatnonzero(~sounding[slot // 2 : -(-end // 2)])
        length = (min(end, 2 * (slot // 2 + int(silent[0]))) if len(silent) else end) - slot
        ticks = round(length * EIGHTH * _ratio(bar, float(draws.length[slot])))
        velocity = bar.expression.top + _stress(slot) * bar.expression.accent
        velocity += bar.expression.velocity_of(bar.position(slot * EIGHTH), pitch, float(draws.loudness[slot]))
        yield Note(slot * EIGHTH, ticks, pitch, limited(velocity))


def _lowest(plan: Plan, instrument: Instrument) -> int:
    """Return the lowest pitch, in the frame, of the span with the largest probability in the instrument's range."""
    first = max(instrument.low - plan.shift, 0)
    mass = plan.melody.sum(axis=0, dtype=np.float64)[first : instrument.high - plan.shift + 1]
    return first + int(np.convolve(mass, np.ones(LINE_SPAN), "valid").argmax())


def _sounding_beats(chance: Doubles, draws: _Draws) -> NDArray[np.bool_]:
    """Sample which beats sound, given the probability [beats] of each; the last bar always sounds."""
    draw = np.tile(draws.sounding, (1, PHRASE_BARS // _MOTIF_BARS)).reshape(-1)[: len(chance)]
    last_bar = np.arange(len(chance)) >= len(chance) - BEATS_PER_BAR
    sounding: NDArray[np.bool_] = np.where(last_bar, chance > 0, draw < chance)
    return sounding


def _onsets(
    plan: Plan, phrase: Phrase, number: int, chance: Doubles, sounding: NDArray[np.bool_], draws: _Draws
) -> Iterator[int]:
    """Yield the eighths of the piece at which the notes of a bar start."""
    bar, first = plan.bars[number], number * EIGHTHS
    notes_per_second = bar.expression.notes_per_second * _MELODY_SHARE * 2 ** (bar.arousal / 2)
    per_beat = _MIDDLE_DENSITY * (notes_per_second * bar.beat_seconds) ** _DENSITY_EXPONENT
    per_beat = float(np.clip(per_beat, *_NOTES_PER_BEAT))
    rhythm = draws.rhythm[number // PHRASE_BARS]
    slots = 1 if bar.last else _CADENCE_SLOTS if number == phrase.last else EIGHTHS
    for slot in range(first, first + slots):
        beat = slot // 2
        begins = bar.last or rhythm[slot % len(rhythm)] * chance[beat] < per_beat * _ONSETS[slot - first]
        if sounding[beat] and begins:
            yield slot


def _model_pitches(plan: Plan, phrase: Phrase, bars: range, pitches: Mapping[int, int]) -> dict[int, tuple[int, float]]:
    """Return the pitches to favor in some bars, by eighth, each with its factor.

    A repetition favors the pitches of its source, the second half of a new phrase those of the first half.
    """
    if phrase.source is not None:
        moved, factor = phrase.first - plan.phrases[phrase.source].first, _REPEATED
    elif bars.start > phrase.first:
        # New material still repeats its own motif, but more freely.
        moved, factor = _MOTIF_BARS, _ECHOED
    else:
        return {}
    moved *= EIGHTHS
    slots = range(bars.start * EIGHTHS, bars.stop * EIGHTHS)
    return {slot: (pitches[slot - moved], factor) for slot in slots if slot - moved in pitches}


def _note_weights(
    plan: Plan, phrase: Phrase, slot: int, proposed: Doubles, low: int, model: Mapping[int, tuple[int, float]]
) -> Doubles:
    """Return the weight of each pitch of the span for a note that begins at an eighth."""
    classes = _pitch_classes(low)
    bar = plan.bars[slot // EIGHTHS]
    weights: Doubles = proposed * np.where(np.isin(classes, MAJOR_SCALE), 1.0, _OUTSIDE_SCALE)
    if bar.chord != NO_CHORD:
        foreign = _FOREIGN_ON_STRESS if _stress(slot) else _FOREIGN
        # A chord tone has its full weight even outside the scale, such as the third of a secondary dominant.
        weights = np.where(CHORD_TONES[bar.chord, classes] > 0, proposed, foreign * weights)
    weights *= 2 ** ((_HIGHER[phrase.cadence] + _HIGHER.get(phrase.section, 0.0)) * np.arange(LINE_SPAN))
    if slot in model:
        pitch, factor = model[slot]
        weights[pitch - low] *= factor
    return weights


def _apply_cadence(weights: Doubles, plan: Plan, phrase: Phrase, mode: Mode, low: int) -> None:
    """Apply the cadence to the weights of a phrase's last note."""
    classes = _pitch_classes(low)
    tonic = classes == HOME[mode] % 12
    if phrase.ends_piece and weights[tonic].any():
        weights[~tonic] = 0
        return
    tones = CHORD_TONES[plan.bars[phrase.last].chord, classes] > 0
    if phrase.cadence == "full":
        weights[tonic & tones] *= _TONIC_AT_CADENCE
    if tones.any():
        weights[~tones] *= _FOREIGN_AT_CADENCE


def _pitch_classes(low: int) -> Indices:
    return np.arange(low, low + LINE_SPAN) % 12


def _stress(slot: int) -> float:
    """Return the stress of a beat: 1 on the first of a bar, ½ on the third, else 0."""
    return {0: 1.0, EIGHTHS // 2: 0.5}.get(slot % EIGHTHS, 0.0)


def _ratio(bar: Bar, draw: float) -> float:
    """Return the sounding share of the time to the next note."""
    if bar.last:
        return _LAST_RATIO
    if draw < bar.expression.staccato:
        return _STACCATO_RATIO
    return float(np.clip(bar.expression.ratio, _MIN_RATIO, 1.0))
