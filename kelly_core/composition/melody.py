"""A melody in eighths sampled from the melody model's probabilities."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kelly_core.composition.expression import limited
from kelly_core.composition.harmony import draw_index
from kelly_core.composition.plan import Bar, Plan
from kelly_core.composition.score import BAR, BEATS_PER_BAR, PHRASE_BARS, PPQ, Tone
from kelly_core.music.chords import CHORD_TONES, NO_CHORD

Doubles = NDArray[np.float64]

TEMPERATURE = 0.8
"""Exponent 1 / .8 on the probabilities, which favors likely pitches."""

_EIGHTH = PPQ // 2
_SLOTS = BAR // _EIGHTH
_RHYTHM_BARS = 2
_ONSETS = (1.03, 0.19, 0.58, 0.26, 0.84, 0.19, 0.58, 0.33)
"""Relative onset rate by eighth of a bar; the values sum to 4, so that a density of one note per beat is kept."""
_MELODY_SHARE = 0.25
"""Share of all notes that the melody plays."""
_LEAST_PER_BEAT = 0.5
_FOREIGN_ON_STRESS, _FOREIGN = 0.12, 0.45
_INTERVAL_SCALE, _LEAP, _REPETITION = 4.0, 0.01, 0.5
_LAST_RATIO, _SHORTEST_RATIO, _STACCATO_RATIO = 0.95, 0.5, 0.4


class _Draws(NamedTuple):
    """All that is left to chance, drawn beforehand so that one note more or less does not change what follows.

    Attributes:
        sounding: [phrases, beats of two bars], rhythm: [phrases, eighths of two bars]; so each phrase repeats its
            rhythm after two bars where density allows.
        pitch, length, loudness: [eighths].
    """

    sounding: Doubles
    rhythm: Doubles
    pitch: Doubles
    length: Doubles
    loudness: Doubles

    @classmethod
    def of(cls, bars: int, rng: np.random.Generator) -> _Draws:
        phrases, eighths = -(-bars // PHRASE_BARS), bars * _SLOTS
        sounding = rng.random((phrases, _RHYTHM_BARS * BEATS_PER_BAR))
        rhythm = rng.random((phrases, _RHYTHM_BARS * _SLOTS))
        return cls(sounding, rhythm, rng.random(eighths), rng.random(eighths), rng.standard_normal(eighths))


def write_melody(plan: Plan, rng: np.random.Generator) -> list[Tone]:
    """Sample the rhythm, then the pitches.

    A beat sounds with the probability that any of its pitches does. Where it sounds, its eighths are onsets at a rate
    that makes a quarter of the notes that the density of the dynamics asks for, doubled by two units of arousal. The
    chance of a pitch is its probability, to the power of 1 / ``TEMPERATURE``, times a factor for belonging to the
    chord, times one for nearness to the note before.
    """
    draws = _Draws.of(len(plan.bars), rng)
    chance = 1 - np.prod(1 - plan.melody.astype(np.float64), axis=1)
    sounding = _sounding_beats(chance, draws)
    onsets = [slot for bar in plan.bars for slot in _onsets(bar, chance, sounding, draws)]
    tones: list[Tone] = []
    for slot, end in pairwise([*onsets, len(plan.bars) * _SLOTS]):
        bar = plan.bars[slot // _SLOTS]
        pitch = _pitch(plan, bar, slot, float(draws.pitch[slot]), tones[-1].pitch if tones else None)
        silent = np.flatnonzero(~sounding[slot // 2 : -(-end // 2)])
        length = (min(end, 2 * (slot // 2 + int(silent[0]))) if len(silent) else end) - slot
        ticks = round(length * _EIGHTH * _ratio(bar, float(draws.length[slot])))
        velocity = bar.expression.top + _stress(slot) * bar.expression.accent
        velocity += bar.expression.velocity_of(bar.position(slot * _EIGHTH), pitch, float(draws.loudness[slot]))
        tones.append(Tone(slot * _EIGHTH, ticks, pitch, limited(velocity)))
    return tones


def _sounding_beats(chance: Doubles, draws: _Draws) -> NDArray[np.bool_]:
    """Sample which beats sound, given the probability [beats] of each; the last bar always sounds."""
    draw = np.tile(draws.sounding, (1, PHRASE_BARS // _RHYTHM_BARS)).reshape(-1)[: len(chance)]
    last_bar = np.arange(len(chance)) >= len(chance) - BEATS_PER_BAR
    sounding: NDArray[np.bool_] = np.where(last_bar, chance > 0, draw < chance)
    return sounding


def _onsets(bar: Bar, chance: Doubles, sounding: NDArray[np.bool_], draws: _Draws) -> Iterator[int]:
    """Return the eighths of the piece at which a note starts in a bar."""
    first = bar.number * _SLOTS
    if bar.last:
        yield from [first] * bool(sounding[first // 2])
        return
    notes_per_second = bar.expression.notes_per_second * _MELODY_SHARE * 2 ** (bar.arousal / 2)
    per_beat = max(_LEAST_PER_BEAT, notes_per_second * bar.beat_seconds)
    rhythm = draws.rhythm[bar.number // PHRASE_BARS]
    for slot in range(first, first + _SLOTS):
        beat = slot // 2
        if sounding[beat] and rhythm[slot % len(rhythm)] * chance[beat] < per_beat * _ONSETS[slot - first]:
            yield slot


def _pitch(plan: Plan, bar: Bar, slot: int, draw: float, before: int | None) -> int:
    weights = plan.melody[slot // 2].astype(np.float64) ** (1 / TEMPERATURE)
    if bar.chord != NO_CHORD:
        foreign = _FOREIGN_ON_STRESS if _stress(slot) else _FOREIGN
        weights *= np.maximum(CHORD_TONES[bar.chord], foreign)[np.arange(len(weights)) % 12]
    if before is not None:
        interval = np.abs(np.arange(len(weights)) - before)
        weights *= np.where(interval == 0, _REPETITION, np.exp(-interval / _INTERVAL_SCALE) + _LEAP)
    return draw_index(weights, draw)


def _stress(slot: int) -> float:
    """Return the stress of a beat: 1 on the first of a bar, ½ on the third, else 0."""
    return {0: 1.0, _SLOTS // 2: 0.5}.get(slot % _SLOTS, 0.0)


def _ratio(bar: Bar, draw: float) -> float:
    """Return the sounding share of the time to the next note."""
    if bar.last:
        return _LAST_RATIO
    if draw < bar.expression.staccato:
        return _STACCATO_RATIO
    return float(np.clip(bar.expression.ratio, _SHORTEST_RATIO, 1.0))
