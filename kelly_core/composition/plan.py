"""Plan of a piece: length, tempo, key, and for each bar its chord and how it is played."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from kelly_core.arrays import Doubles, Floats
from kelly_core.chain import ChainOutput
from kelly_core.composition.harmony import HOME, Mode, Phrase, draw_progression, mode_of, phrases_of
from kelly_core.composition.score import BAR, PHRASE_BARS
from kelly_core.music.mel import FRAME_SECONDS
from kelly_core.music.notes import BEATS_PER_BAR

MIDDLE_BPM = 105.0
TEMPO_OCTAVES = 0.75
"""Octaves of tempo from neutral to maximum arousal: 62 to 177 bpm over the whole range."""

_INAUDIBLE_CHANGE = 0.03
_BPM_DECIMALS = 3
"""Decimals of the tempo of a recording, enough to stay within a few milliseconds of it for ten minutes."""

SOFTEST = 12
"""Minimum velocity; below it most sounds are inaudible."""

_RAMP_SD = 1 / np.sqrt(12)
_ARCH_MEAN, _ARCH_SD = 2 / np.pi, np.sqrt(0.5 - 4 / np.pi**2)
_MIDDLE_PITCH, _PITCH_SD = 64.0, 9.0


class Expression(NamedTuple):
    """How to play, in musical units.

    Two parameters are not used: the deviation already implies the velocity range, and rubato would move the other parts
    away from the beat of the drums.

    Attributes:
        velocity, deviation: of all pitched notes.
        trend, arch, with_pitch: correlation of velocity with time in a phrase, with an arch over it, with pitch.
        accent: velocity by which a stressed note exceeds its neighbors.
        top, bass: velocity by which the melody and the bass exceed the other voices.
        ratio: length of a note over the time to the next.
        staccato: share of the notes that are played short.
        pedal_share: of the time.
        presses_per_second: of the pedal.
        spread_seconds: standard deviation of the onsets within a chord.
        notes_per_second: of all pitched notes.
    """

    velocity: float
    deviation: float
    trend: float
    arch: float
    with_pitch: float
    accent: float
    top: float
    bass: float
    ratio: float
    staccato: float
    pedal_share: float
    presses_per_second: float
    spread_seconds: float
    notes_per_second: float

    @classmethod
    def of(cls, dynamics: ArrayLike) -> Expression:
        """Read the parameters [16], 0..1, in the order of ``music.dynamics.PARAMETER_NAMES``."""
        d = np.asarray(dynamics, np.float64).tolist()
        return cls(
            velocity=127 * d[0],
            deviation=32 * d[2],
            trend=2 * d[3] - 1,
            arch=2 * d[4] - 1,
            with_pitch=2 * d[8] - 1,
            accent=24 * d[5],  # groups above their neighbors alternate with groups below, which count 0 in the mean
            top=50 * (d[6] - 0.5),
            bass=40 * (d[7] - 0.5),
            ratio=2 * d[9],
            staccato=d[10],
            pedal_share=d[11],
            presses_per_second=2 * d[12],
            spread_seconds=0.02 * d[13],
            notes_per_second=2 ** (5 * d[15]) - 1,
        )

    def velocity_of(self, position: float, pitch: float, noise: float) -> float:
        """Return the velocity of an unstressed note of a middle voice.

        Args:
            position: in the phrase, 0..1.
            pitch: MIDI number.
            noise: standard normal.
        """
        shape = self.trend * (position - 0.5) / _RAMP_SD
        shape += self.arch * (np.sin(np.pi * position) - _ARCH_MEAN) / _ARCH_SD
        shape += self.with_pitch * (pitch - _MIDDLE_PITCH) / _PITCH_SD
        # Noise adds the variance that the three correlations do not explain, so the deviation is as predicted.
        explained = self.trend**2 + self.arch**2 + self.with_pitch**2
        return float(self.velocity + self.deviation * (shape + np.sqrt(max(0.0, 1 - explained)) * noise))


def limited(velocity: float) -> int:
    """Clip a velocity to MIDI's range and to audible values."""
    return int(np.clip(round(velocity), SOFTEST, 127))


class Bar(NamedTuple):
    """One bar, with everything that the parts need.

    Attributes:
        tick: position of its start.
        number: index of the bar, from 0.
        seconds: duration of the bar.
        chord: class of its chord, in the C major / A minor frame.
        arousal: -1..1.
        expression: how to play.
        groove: [32], of the drums.
        last: whether it is the last bar of the piece.
    """

    tick: int
    number: int
    seconds: float
    chord: int
    arousal: float
    expression: Expression
    groove: Floats
    last: bool

    @property
    def beat_seconds(self) -> float:
        """Return the duration of a beat in seconds."""
        return self.seconds / BEATS_PER_BAR

    def position(self, tick: int) -> float:
        """Return the position of a tick in its phrase, 0..1."""
        return (tick / BAR) % PHRASE_BARS / PHRASE_BARS


@dataclass(frozen=True)
class Plan:
    """Plan of a piece before its notes.

    Attributes:
        bars: in order.
        phrases: consecutive phrases that cover the bars.
        modes: mode of each phrase; the last phrase has the mode of the piece.
        melody: [beats, 128], probability of each pitch in each beat, in the C major / A minor frame.
        tempos: as in ``Score``.
        mode: mode of the piece.
        shift: semitones from the frame to the key of the piece, -5..+6, the opposite of ``music.key.semitones_to_c``.
    """

    bars: tuple[Bar, ...]
    phrases: tuple[Phrase, ...]
    modes: tuple[Mode, ...]
    melody: Floats
    tempos: tuple[tuple[int, float], ...]
    mode: Mode
    shift: int


def frame_shift(mode: Mode, tonic: int) -> int:
    """Return the semitones, -5..+6, from C major or A minor to a key."""
    return (tonic - HOME[mode] + 5) % 12 - 5


def tempo_of_arousal(arousal: float) -> float:
    """Return the tempo in bpm for an arousal in -1..1."""
    return float(round(MIDDLE_BPM * 2 ** (TEMPO_OCTAVES * arousal)))


def natural_bars(output: ChainOutput, bpm: float | None = None) -> int:
    """Return the number of bars (at least 1) that last about as long as frames [T], at ``bpm`` or at their arousal's
    tempo.
    """
    bpms = [bpm or tempo_of_arousal(float(arousal)) for arousal in output.affect.arousal]
    seconds_a_bar = np.mean([60 * BEATS_PER_BAR / each for each in bpms])
    return max(1, round(float(len(bpms) * FRAME_SECONDS / seconds_a_bar)))


def make_plan(
    output: ChainOutput,
    bars: int,
    rng: np.random.Generator,
    bpm: float | None,
    tonic: int,
    mode: Mode | None = None,
    downbeats: Doubles | None = None,
) -> Plan:
    """Plan a number of bars from the chain's outputs.

    Each bar uses the mean of its share of the frames, or with ``downbeats`` of the frames at its time. The tempo
    changes from phrase to phrase. The mean valence determines major or minor for the entire piece. C major and A minor
    have the same notes, so if valence changes, the chords and cadences of a phrase can be those of the other key; the
    last phrase ends in the key of the piece.

    Args:
        output: T frames.
        bars: length of the piece.
        rng: random generator for the chords.
        bpm: constant tempo in beats per minute; None follows arousal.
        tonic: pitch class of the tonic, 0 = C.
        mode: mode of the piece; None chooses it by valence.
        downbeats: [bars + 1], seconds at which each bar begins and the last one ends; replaces ``bpm``.
    """
    shares, beat_shares = (_shares(output, _edges(output, bars, parts, downbeats)) for parts in (1, BEATS_PER_BAR))
    mode = mode or mode_of(float(output.affect.valence.mean()))
    phrases = phrases_of(bars)
    modes = _modes(phrases, [float(share.affect.valence) for share in shares], mode)
    chords = draw_progression(np.stack([share.chords for share in shares]), phrases, modes, rng)
    if downbeats is not None:
        bpms = np.round(60 * BEATS_PER_BAR / np.diff(downbeats), _BPM_DECIMALS).tolist()
    else:
        bpms = [bpm] * bars if bpm else _tempos([float(share.affect.arousal) for share in shares])
    changes = [bar for bar in range(bars) if bar == 0 or bpms[bar] != bpms[bar - 1]]
    return Plan(
        bars=tuple(
            Bar(
                tick=bar * BAR,
                number=bar,
                seconds=60 * BEATS_PER_BAR / bpms[bar],
                chord=chords[bar],
                arousal=float(share.affect.arousal),
                expression=Expression.of(share.dynamics),
                groove=share.groove,
                last=bar == bars - 1,
            )
            for bar, share in enumerate(shares)
        ),
        phrases=phrases,
        modes=modes,
        melody=np.stack([share.melody for share in beat_shares]),
        tempos=tuple((bar * BAR, bpms[bar]) for bar in changes),
        mode=mode,
        shift=frame_shift(mode, tonic),
    )


def _edges(output: ChainOutput, bars: int, parts: int, downbeats: Doubles | None) -> Doubles:
    """Return the start of each of ``parts`` parts of a bar and the end of the last, in frames, [bars · parts + 1]."""
    number = np.arange(bars * parts + 1)
    if downbeats is None:
        return number * len(output.code) / (bars * parts)
    return np.interp(number / parts, np.arange(bars + 1), downbeats) / FRAME_SECONDS


def _shares(output: ChainOutput, edges: Doubles) -> list[ChainOutput]:
    """Return the means of the frames between edges [n + 1]; frames that an edge divides count on both sides."""
    # Each part gets at least one frame, even if the recording ends before the last bar.
    starts = np.minimum(np.floor(edges[:-1]), len(output.code) - 1).astype(int)
    stops = np.clip(np.ceil(edges[1:]), starts + 1, len(output.code)).astype(int)
    return [output.mean(start, stop) for start, stop in zip(starts.tolist(), stops.tolist(), strict=True)]


def _modes(phrases: Sequence[Phrase], valence: Sequence[float], mode: Mode) -> tuple[Mode, ...]:
    """Return the mode of each phrase by its mean valence; the last phrase has the mode of the piece."""
    means = (float(np.mean(valence[phrase.first : phrase.last + 1])) for phrase in phrases[:-1])
    return (*(mode_of(mean) for mean in means), mode)


def _tempos(arousal: list[float]) -> list[float]:
    """Return the tempo of each bar, from its phrase's mean arousal; a small change keeps the previous tempo."""
    bpms: list[float] = []
    for start in range(0, len(arousal), PHRASE_BARS):
        phrase = arousal[start : start + PHRASE_BARS]
        bpm = tempo_of_arousal(float(np.mean(phrase)))
        # The comparison is with the current tempo, not the previous target tempo, so that several small changes add up.
        if bpms and abs(bpm / bpms[-1] - 1) < _INAUDIBLE_CHANGE:
            bpm = bpms[-1]
        bpms += [bpm] * len(phrase)
    return bpms
