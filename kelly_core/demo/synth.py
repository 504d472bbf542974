"""A score as sound: a few sines a note, and noise for the drums; plain, but with the loudness and colour of a mood."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

from kelly_core.composition.drums import KICK
from kelly_core.composition.score import DRUM_CHANNEL, PPQ, Score, Tone

Doubles = NDArray[np.float64]

SAMPLE_RATE = 16_000

_HIGHEST_HZ = 7_000.0
_PARTIALS = 8
_ATTACK_SECONDS, _RELEASE_SECONDS = 0.01, 0.05
_DECAY_SECONDS = 0.8
_DRUM_SECONDS = 0.12
_LEVEL = 0.05
_DECIBELS_A_UNIT = 10.0


def wav_bytes(score: Score, arousal: float, seconds: float) -> bytes:
    """The begin of a score as a mono WAV file of 16 bits.

    Args:
        score: in one tempo.
        arousal: -1..1; sound gets louder by 10 dB a unit, and partial k has amplitude k^-(2.2 - 1.2 arousal).
        seconds: length.
    """
    import soundfile

    samples = np.zeros(round(seconds * SAMPLE_RATE))
    noise = np.random.default_rng(0).standard_normal(round(_DRUM_SECONDS * SAMPLE_RATE))
    slope = 2.2 - 1.2 * arousal
    seconds_a_tick = 60 / score.tempos[0][1] / PPQ
    for part in score.parts:
        for tone in part.tones:
            start = round(tone.tick * seconds_a_tick * SAMPLE_RATE)
            if start >= len(samples):
                continue
            drum = part.channel == DRUM_CHANNEL
            sound = _drum(tone, noise) if drum else _note(tone, tone.length * seconds_a_tick, slope)
            heard = sound[: len(samples) - start]
            samples[start : start + len(heard)] += heard
    samples *= _LEVEL * 10 ** (_DECIBELS_A_UNIT * arousal / 20)
    stream = io.BytesIO()
    soundfile.write(stream, np.tanh(samples), SAMPLE_RATE, format="WAV", subtype="PCM_16")
    return stream.getvalue()


def _note(tone: Tone, seconds: float, slope: float) -> Doubles:
    """A decaying sum of partials."""
    hertz = 440 * 2 ** ((tone.pitch - 69) / 12)
    time = np.arange(round((seconds + _RELEASE_SECONDS) * SAMPLE_RATE)) / SAMPLE_RATE
    partials = np.arange(1, min(_PARTIALS, int(_HIGHEST_HZ / hertz)) + 1)
    wave = partials**-slope @ np.sin(np.outer(2 * np.pi * hertz * partials, time).astype(np.float32))
    envelope = np.minimum(time / _ATTACK_SECONDS, 1) * np.exp(-time / _DECAY_SECONDS)
    envelope *= np.clip((seconds + _RELEASE_SECONDS - time) / _RELEASE_SECONDS, 0, 1)
    shaped: Doubles = tone.velocity / 127 * wave * envelope
    return shaped


def _drum(tone: Tone, noise: Doubles) -> Doubles:
    """A falling thump for the kick, a burst of noise for the rest, brighter for the cymbals."""
    time = np.arange(len(noise)) / SAMPLE_RATE
    if tone.pitch == KICK:
        wave = 2 * np.sin(2 * np.pi * (50 * time + 2 * (1 - np.exp(-30 * time))))
    else:
        wave = np.diff(noise, prepend=0.0) if tone.pitch > KICK + 4 else noise
    shaped: Doubles = tone.velocity / 127 * wave * np.exp(-time / 0.03)
    return shaped
