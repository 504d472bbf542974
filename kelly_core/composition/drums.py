"""A drum pattern that grows with arousal, with the groove's timing and accents."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kelly_core.composition.expression import limited
from kelly_core.composition.plan import Bar, Plan
from kelly_core.composition.score import PHRASE_BARS, PPQ, Tone
from kelly_core.music.groove import apply_groove

KICK, STICK, SNARE, CLOSED_HAT, OPEN_HAT, CRASH = 36, 37, 38, 42, 46, 49
"""Pitches of General MIDI's drum kit."""

_SIXTEENTH = PPQ // 4
_LENGTH = 60
_STICK_BELOW = -0.2
_CRASH_FROM = 0.1
_MIDDLE_VELOCITY = 64.0


class _Hit(NamedTuple):
    """A hit at one of the sixteen positions of a bar, played above some arousal."""

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
    _Hit(7, SNARE, 44, 0.3),
    _Hit(15, SNARE, 50, 0.5),
    *(_Hit(position, CLOSED_HAT, 72, -1.0) for position in (0, 4, 8, 12)),
    *(_Hit(position, CLOSED_HAT, 58, -0.3) for position in (2, 6, 10)),
    *(_Hit(position, CLOSED_HAT, 46, 0.4) for position in (1, 3, 5, 7, 9, 11, 13)),
    _Hit(14, CLOSED_HAT, 60, -0.3),
    _Hit(14, OPEN_HAT, 66, 0.2),
)


def write_drums(plan: Plan) -> list[Tone]:
    """Write the pattern bar by bar; the last bar has only kick and crash."""
    return [tone for bar in plan.bars for tone in _play(bar)]


def _play(bar: Bar) -> list[Tone]:
    hits = [hit for hit in _PATTERN if bar.arousal >= hit.least_arousal]
    if bar.last:
        hits = [_PATTERN[0], _Hit(0, CRASH, 84, -1.0)]
    elif bar.number and bar.number % PHRASE_BARS == 0 and bar.arousal >= _CRASH_FROM:
        hits.append(_Hit(0, CRASH, 90, _CRASH_FROM))
    level = bar.expression.velocity / _MIDDLE_VELOCITY
    ticks, velocities = apply_groove(
        bar.tick + _SIXTEENTH * np.array([hit.position for hit in hits]),
        level * np.array([hit.velocity for hit in hits]),
        bar.groove,
    )
    return [
        Tone(max(0, round(tick)), _LENGTH, _soft(hit.pitch, bar.arousal), limited(velocity))
        for tick, velocity, hit in zip(ticks.tolist(), velocities.tolist(), hits, strict=True)
    ]


def _soft(pitch: int, arousal: float) -> int:
    """Return the soft variant of a hit: at low arousal the snare's rim is played."""
    return STICK if pitch == SNARE and arousal < _STICK_BELOW else pitch
