"""A drum pattern that grows with arousal, with the groove's timing and accents."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kelly_core.composition.expression import limited
from kelly_core.composition.plan import Bar, Plan
from kelly_core.composition.score import PHRASE_BARS, PPQ, Tone
from kelly_core.music.groove import POSITIONS, apply_groove

KICK, STICK, SNARE, CLOSED_HAT, OPEN_HAT, CRASH = 36, 37, 38, 42, 46, 49
"""Pitches of General MIDI's drum kit."""

_SIXTEENTH = PPQ // 4
_LENGTH = 60
_STICK_BELOW = -0.2
_CRASH_FROM = 0.1
_MIDDLE_VELOCITY = 64.0
_PIANO_EXPONENT, _SOFTEST_PIANO = 0.2, 0.25
_MIDDLE_LEVEL = 0.8
_MEAN_VELOCITY = {KICK: 94.0, SNARE: 94.0, CLOSED_HAT: 62.0}
"""Hits of a bar of the pattern, before its level is applied."""


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
    _Hit(7, SNARE, 58, 0.3),
    _Hit(15, SNARE, 62, 0.5),
    *(_Hit(position, CLOSED_HAT, 72, -1.0) for position in (0, 4, 8, 12)),
    *(_Hit(position, CLOSED_HAT, 58, -0.3) for position in (2, 6, 10)),
    *(_Hit(position, CLOSED_HAT, 46, 0.4) for position in (1, 3, 5, 7, 9, 11, 13)),
    _Hit(14, CLOSED_HAT, 60, -0.3),
    _Hit(14, OPEN_HAT, 66, 0.2),
)


def write_drums(plan: Plan) -> list[Tone]:
    """Write the pattern bar by bar; the last bar has only kick and crash."""
    return [tone for bar in plan.bars for tone in _hits_of_bar(bar)]


def _hits_of_bar(bar: Bar) -> list[Tone]:
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
        Tone(max(0, round(tick)), _LENGTH, _soft(hit.pitch, bar.arousal), limited(velocity))
        for tick, velocity, hit in zip(ticks.tolist(), velocities.tolist(), hits, strict=True)
    ]


def _level(bar: Bar) -> float:
    """Return the factor on the velocities of a bar, before the groove.

    It doubles over two units of arousal. The dynamics model, which knows the piano only, has a smaller share, and the
    groove's mean accent is divided out, so that neither makes an excited bar softer than a calm one.
    """
    played = max(bar.expression.velocity / _MIDDLE_VELOCITY, _SOFTEST_PIANO) ** _PIANO_EXPONENT
    _, accents = apply_groove(_SIXTEENTH * np.arange(POSITIONS), np.ones(POSITIONS), bar.groove)
    return float(_MIDDLE_LEVEL * 2 ** (bar.arousal / 2) * played / accents.mean())


def _balanced(hits: list[_Hit]) -> NDArray[np.float64]:
    """Return velocities [hits] whose mean on each drum does not depend on how many of its hits are played.

    Soft hits join as arousal rises; without this, the drum would get softer on average.
    """
    velocity = np.array([hit.velocity for hit in hits], np.float64)
    for pitch, mean in _MEAN_VELOCITY.items():
        same = np.array([hit.pitch == pitch for hit in hits])
        velocity[same] *= mean / velocity[same].mean() if same.any() else 1.0
    return velocity


def _soft(pitch: int, arousal: float) -> int:
    """Return the soft variant of a hit: at low arousal the snare's rim is played."""
    return STICK if pitch == SNARE and arousal < _STICK_BELOW else pitch
