"""Render a score or notes with a few sines per note; in a score, loudness, brightness and a wah follow emotion."""

from __future__ import annotations

import io

import numpy as np

from kelly_core.arrays import Doubles
from kelly_core.composition.score import DRUM_CHANNEL, Score
from kelly_core.music.notes import PPQ, Notes

SAMPLE_RATE = 16_000

_MAX_HZ = 7_000.0
_PARTIALS = 8
_ATTACK_SECONDS, _RELEASE_SECONDS = 0.01, 0.05
_DECAY_SECONDS = 0.8
_LEVEL = 0.05
_SLOPE = 1.6
"""Exponent of the partials' amplitudes for notes without an emotion."""
_DECIBELS_PER_UNIT = 10.0
_WAH_DECIBELS = 9.0
_WAH_HERTZ, _WAH_OCTAVES = 1_000.0, 0.6
_WAH_SECONDS = (1.0, 3.0)
"""Range of seconds that the wah stays open or closed; most frames of the recognizer have only one state."""
_RAMP_SECONDS = 0.016


def wav_bytes(score: Score, valence: float, arousal: float, seconds: float, rng: np.random.Generator) -> bytes:
    """Return an excerpt from a random position of a score as a mono WAV file of 16 bits.

    Loudness rises by 10 dB per unit of arousal, and partial k has amplitude k^-(2.2 - 1.2 arousal). A wah opens and
    closes in turn, each for one to three seconds: a resonance at 1 kHz, a Gaussian of 0.6 octaves, of ±9 (1 + valence)
    dB. The mean level of a band hardly depends on the wah's depth, so only changes of the spectrum indicate valence.

    Args:
        score: score with a constant tempo, at least as long as the excerpt.
        valence, arousal: -1..1.
        seconds: length of the excerpt.
        rng: random generator for its position and for the times at which the wah opens and closes.
    """
    start = rng.uniform(0, score.seconds - seconds)
    samples = np.zeros(round(seconds * SAMPLE_RATE))
    slope = 2.2 - 1.2 * arousal
    seconds_a_tick = 60 / score.tempos[0][1] / PPQ
    for part in score.parts:
        if part.channel == DRUM_CHANNEL:
            continue
        for note in part.notes:
            begin, length = note.tick * seconds_a_tick - start, note.length * seconds_a_tick
            if begin >= seconds or begin + length + _RELEASE_SECONDS <= 0:
                continue
            _add(samples, _note(note.pitch, note.velocity, length, slope), round(begin * SAMPLE_RATE))
    samples = _wah(samples, _WAH_DECIBELS * (1 + valence), rng)
    return _wav(samples * 10 ** (_DECIBELS_PER_UNIT * arousal / 20))


def notes_wav_bytes(notes: Notes, seconds: float) -> bytes:
    """Return the first seconds of some notes as a mono WAV file of 16 bits; drums are left out.

    Loudness follows the velocities, and all notes have the same timbre.
    """
    samples = np.zeros(round(seconds * SAMPLE_RATE))
    pitched = notes.pitched()
    for onset, length, pitch, velocity in zip(
        pitched.onset, pitched.duration, pitched.pitch, pitched.velocity, strict=True
    ):
        if onset < seconds:
            _add(samples, _note(int(pitch), int(velocity), min(length, seconds), _SLOPE), round(onset * SAMPLE_RATE))
    return _wav(samples)


def _add(samples: Doubles, sound: Doubles, onset: int) -> None:
    """Add the part of a sound that begins at sample ``onset``, which can be negative, to ``samples``."""
    audible = sound[max(0, -onset) : len(samples) - onset]
    samples[max(0, onset) : max(0, onset) + len(audible)] += audible


def _wav(samples: Doubles) -> bytes:
    import soundfile

    stream = io.BytesIO()
    # tanh limits smoothly: the sum of many loud notes exceeds full scale, and clipping would add noise to all bands.
    soundfile.write(stream, np.tanh(_LEVEL * samples), SAMPLE_RATE, format="WAV", subtype="PCM_16")
    return stream.getvalue()


def _wah(samples: Doubles, decibels: float, rng: np.random.Generator) -> Doubles:
    """Raise and lower the bands around the resonance in turn, by ``decibels`` at its center."""
    hertz = np.maximum(np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE), 1.0)
    gain = decibels / 20 * np.exp(-0.5 * (np.log2(hertz / _WAH_HERTZ) / _WAH_OCTAVES) ** 2)
    spectrum = np.fft.rfft(samples)
    opened, closed = (np.fft.irfft(spectrum * 10 ** (sign * gain), len(samples)) for sign in (1, -1))
    openness = _openness(len(samples), rng)
    mixed: Doubles = openness * opened + (1 - openness) * closed
    return mixed


def _openness(count: int, rng: np.random.Generator) -> Doubles:
    """Return 1 while the wah is open and 0 while it is closed, with short ramps so that it does not click."""
    shortest, longest = _WAH_SECONDS
    time = np.arange(count) / SAMPLE_RATE
    # The number of lengths is sufficient even if each is the shortest one.
    lengths = rng.uniform(shortest, longest, 2 + int(time[-1] / shortest))
    switches = np.cumsum(lengths) - rng.uniform(0, longest)
    states = (np.arange(len(switches) + 1) + rng.integers(2)) % 2
    ramps = np.stack([switches - _RAMP_SECONDS / 2, switches + _RAMP_SECONDS / 2], axis=1)
    openness: Doubles = np.interp(time, ramps.reshape(-1), np.stack([states[:-1], states[1:]], axis=1).reshape(-1))
    return openness


def _note(pitch: int, velocity: int, seconds: float, slope: float) -> Doubles:
    """Return a decaying sum of partials."""
    hertz = 440 * 2 ** ((pitch - 69) / 12)
    time = np.arange(round((seconds + _RELEASE_SECONDS) * SAMPLE_RATE)) / SAMPLE_RATE
    # Partials above half the sample rate would alias.
    partials = np.arange(1, min(_PARTIALS, int(_MAX_HZ / hertz)) + 1)
    wave = partials**-slope @ np.sin(np.outer(2 * np.pi * hertz * partials, time).astype(np.float32))
    envelope = np.minimum(time / _ATTACK_SECONDS, 1) * np.exp(-time / _DECAY_SECONDS)
    envelope *= np.clip((seconds + _RELEASE_SECONDS - time) / _RELEASE_SECONDS, 0, 1)
    shaped: Doubles = velocity / 127 * wave * envelope
    return shaped
