"""Beats, bars, key and musical context of a recording, by librosa."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import warnings
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike

from kelly_core.arrays import Doubles, Floats
from kelly_core.errors import DataError
from kelly_core.music.key import Tonality, tonality
from kelly_core.music.notes import BEATS_PER_BAR

MIN_BEATS = 8
"""Minimum number of beats that a piece can follow."""

_RATE = 22_050
_HOP = 256
_MIDDLE_BPM = 110.0
_CONSTANT_SECONDS = 0.035
"""RMS deviation of the beats, in seconds, up to which a tempo is called constant; the ear's limit is similar."""
_SMOOTHED_BEATS = 5
_LOW_HERTZ = 150.0
_OUTLIER_SECONDS, _ROUNDS = 0.06, 3
_FINE_HOP, _REACH_SECONDS = 64, 0.06
_WEIGHTS = (2.0, 1.0, 0.5)
"""Weights of harmony changes, low onsets and all onsets when looking for a bar's first beat."""
_EARLY_SECONDS, _TOGETHER_SECONDS = 0.05, 0.01

_CONTEXT_HOP_SECONDS, _CONTEXT_FFT = 0.02, 2048
_PITCHED_HERTZ = (60.0, 2100.0)
_SILENCE = 1e-6


class Pulse(NamedTuple):
    """Beats of a recording.

    Attributes:
        beats: times in seconds, from the first beat of a bar on.
        constant: whether the beats are equally spaced.
    """

    beats: Doubles
    constant: bool

    @property
    def bpm(self) -> float:
        """Mean tempo in beats per minute."""
        return 60 * (len(self.beats) - 1) / float(self.beats[-1] - self.beats[0])

    def downbeats(self, bars: int | None = None) -> Doubles:
        """Return the first beat of each bar and the end of the last, [bars + 1]; bars beyond the beats have the length
        of the last one.

        A first bar that begins less than an eighth of a bar after the start of the recording, but not at the start, is
        omitted: the silent bar before it in a MIDI file would have a tempo that few programs can play.

        Args:
            bars: number of bars; None for all bars of the recording, at least one.
        """
        known = self.beats[::BEATS_PER_BAR]
        if len(known) > 2 and known[0] < (known[1] - known[0]) / 8:
            known = np.append(0.0, known[1:]) if known[0] < _TOGETHER_SECONDS else known[1:]
        bars = max(1, len(known) - 1) if bars is None else bars
        bar = known[-1] - known[-2] if len(known) > 1 else BEATS_PER_BAR * 60 / self.bpm
        beyond = np.arange(1, max(0, bars + 1 - len(known)) + 1)
        downbeats: Doubles = np.concatenate([known[: bars + 1], known[-1] + bar * beyond])
        return downbeats


class Recording(NamedTuple):
    """Beats and pitch classes of a recording.

    Attributes:
        pulse: beats; None if the recording has no clear beats.
        pitch_classes: [12], mean strength.
    """

    pulse: Pulse | None
    pitch_classes: Doubles

    def key(self, tonic: int | None = None) -> Tonality | None:
        """Return the best key, or the better of the two keys on a given tonic; None for silence."""
        return tonality(self.pitch_classes, tonic) if self.pitch_classes.any() else None


def analyze_recording(samples: ArrayLike, sample_rate: int, bpm: float | None = None) -> Recording:
    """Find beats, bars of four beats and pitch classes of mono audio.

    Beats are those of librosa's beat tracker (Ellis, 2007). Beats within 35 ms of a constant tempo are aligned to it;
    others are smoothed over five beats. A bar begins on the beat, of each four, where the harmony changes most and
    onsets are strongest.

    Args:
        samples: [n], -1..1.
        sample_rate: Hz.
        bpm: known constant tempo; None estimates the tempo.
    """
    with librosa_cache_lock():
        import librosa.beat

    audio = np.asarray(samples, np.float32)
    if sample_rate != _RATE:
        audio = librosa.resample(audio, orig_sr=sample_rate, target_sr=_RATE)
    with warnings.catch_warnings():
        # librosa warns of silence and of clips shorter than its longest window; these have no beats and no key.
        warnings.simplefilter("ignore", UserWarning)
        chroma = np.nan_to_num(librosa.feature.chroma_cqt(y=audio, sr=_RATE, hop_length=2 * _HOP)).astype(np.float64)
        frames = partial(librosa.onset.onset_strength, y=audio, sr=_RATE, hop_length=_HOP, aggregate=np.median)
        onsets, low = frames(), frames(fmax=_LOW_HERTZ, n_mels=8)
    pitch_classes: Doubles = chroma.mean(axis=1)
    track = partial(librosa.beat.beat_track, onset_envelope=onsets, sr=_RATE, hop_length=_HOP, trim=False)
    _, found = track(start_bpm=_MIDDLE_BPM) if bpm is None else track(bpm=bpm)
    times = found * _HOP / _RATE
    if len(times) < MIN_BEATS:
        return Recording(None, pitch_classes)
    beats, constant = _regular(times + _attack(audio, times), bpm, len(audio) / _RATE)
    first = _first_of_bar(beats, chroma, low, onsets)
    return Recording(Pulse(beats[first:], constant), pitch_classes)


def audio_measures(samples: Floats, sample_rate: int) -> Doubles:
    """Measure ``context.AUDIO_DESCRIPTORS``, in their order, in audio [n].

    Register is the mean pitch of the power spectrum from 60 to 2,100 Hz, density the onsets per second of the onset
    strength.

    Raises:
        DataError: the audio is shorter than one window.
    """
    if len(samples) < _CONTEXT_FFT:
        raise DataError(f"audio shorter than {_CONTEXT_FFT} samples")
    with librosa_cache_lock():
        import librosa.feature
        import librosa.onset

    hop = round(_CONTEXT_HOP_SECONDS * sample_rate)
    power = np.abs(librosa.stft(samples, n_fft=_CONTEXT_FFT, hop_length=hop)) ** 2
    with warnings.catch_warnings():
        # At high sample rates librosa warns of bands without a bin, whose strength is 0.
        warnings.simplefilter("ignore", UserWarning)
        bands = librosa.power_to_db(librosa.feature.melspectrogram(S=power, sr=sample_rate))
    strength = librosa.onset.onset_strength(S=bands, sr=sample_rate, n_fft=_CONTEXT_FFT, hop_length=hop)
    onsets = librosa.onset.onset_detect(onset_envelope=strength, sr=sample_rate, hop_length=hop)
    hertz = librosa.fft_frequencies(sr=sample_rate, n_fft=_CONTEXT_FFT)
    pitched = (hertz >= _PITCHED_HERTZ[0]) & (hertz <= _PITCHED_HERTZ[1])
    weights = power[pitched].sum(axis=1) + _SILENCE
    register = float(np.average(librosa.hz_to_midi(hertz[pitched]), weights=weights))
    return np.array([register, len(onsets) * sample_rate / len(samples)])


def _regular(times: Doubles, bpm: float | None, seconds: float) -> tuple[Doubles, bool]:
    """Return the beats of the entire recording, in a constant tempo or smoothed, and whether the tempo is constant."""
    # A beat that the tracker missed leaves a gap of two periods, so beats are numbered by their distance.
    number = np.concatenate([[0], np.cumsum(np.maximum(1, np.round(np.diff(times) / np.median(np.diff(times)))))])
    period, start = _line(number, times, bpm)
    # Refit without the beats that are far from the line, which would change its slope.
    for _ in range(_ROUNDS):
        near = np.abs(start + period * number - times) < _OUTLIER_SECONDS
        if near.sum() < MIN_BEATS:
            break
        period, start = _line(number[near], times[near], bpm)
    error = start + period * number - times
    constant = bpm is not None or float(np.median(np.abs(error))) <= _CONSTANT_SECONDS
    if constant:
        # A beat up to 50 ms before the recording still counts as its first.
        first = np.ceil((-_EARLY_SECONDS - start) / period)
        return start + period * np.arange(first, (seconds - start) / period), True
    every = np.interp(np.arange(number[-1] + 1), number, times)
    # Odd reflection continues the tempo beyond both ends; repeated times would distort it.
    padded = np.pad(every, _SMOOTHED_BEATS // 2, mode="reflect", reflect_type="odd")
    return sliding_window_view(padded, _SMOOTHED_BEATS).mean(axis=1), False


def _line(number: Doubles, times: Doubles, bpm: float | None) -> tuple[float, float]:
    """Return period and start of the line through numbered beats."""
    if bpm is not None:
        return 60 / bpm, float(np.median(times - 60 / bpm * number))
    period, start = np.polyfit(number, times, 1)
    return float(period), float(start)


def _attack(audio: Floats, beats: Doubles) -> float:
    """Return the median delay of the sound's attacks after the beats, in seconds.

    An attack is the steepest rise of the level within 60 ms of a beat; the tracker's frames are coarser.
    """
    power = (
        np.square(audio.astype(np.float64))[: len(audio) // _FINE_HOP * _FINE_HOP].reshape(-1, _FINE_HOP).sum(axis=1)
    )
    # The floor keeps the logarithm finite, and prevents a steepest rise in the rounding noise of silence.
    level = np.log(np.convolve(power, np.ones(4), "full")[: len(power)] + 1e-6 * power.mean() + 1e-12)
    rise = np.diff(level, prepend=level[:1])
    reach = round(_REACH_SECONDS * _RATE / _FINE_HOP)
    center = np.round(beats * _RATE / _FINE_HOP).astype(np.intp)
    center = center[(center >= reach) & (center < len(rise) - reach)]
    if not len(center):
        return 0.0
    windows = rise[center[:, np.newaxis] + np.arange(-reach, reach + 1)]
    return float(np.median(windows.argmax(axis=1)) - reach) * _FINE_HOP / _RATE


def _first_of_bar(beats: Doubles, chroma: Doubles, low: Doubles, onsets: Doubles) -> int:
    """Return the index of the first beat, 0..3, that begins a bar."""
    edges = np.clip(np.round(beats * _RATE / (2 * _HOP)).astype(np.intp), 0, chroma.shape[1] - 1)
    parts = [chroma[:, begin : max(end, begin + 1)].mean(axis=1) for begin, end in pairwise([*edges, chroma.shape[1]])]
    harmony = np.array([part / max(float(np.linalg.norm(part)), 1e-9) for part in parts])
    change = 1 - (harmony * np.roll(harmony, 1, axis=0)).sum(axis=1)
    # np.roll compares the first beat with the last, which are not adjacent.
    change[0] = 0.0
    signs = np.zeros(BEATS_PER_BAR)
    for weight, values in zip(_WEIGHTS, (change, _near(low, beats), _near(onsets, beats)), strict=True):
        # Each is divided by its standard deviation below, so that the three are comparable.
        means = np.array([values[first::BEATS_PER_BAR].mean() for first in range(BEATS_PER_BAR)])
        signs += weight * (means - means.mean()) / max(float(values.std()), 1e-9)
    return int(signs.argmax())


def _near(onsets: Doubles, beats: Doubles) -> Doubles:
    """Return the strongest onset within two frames of each beat."""
    frame = np.clip(np.round(beats * _RATE / _HOP).astype(np.intp), 2, len(onsets) - 3)
    strongest: Doubles = onsets[frame[:, np.newaxis] + np.arange(-2, 3)].max(axis=1)
    return strongest


@contextlib.contextmanager
def librosa_cache_lock() -> Iterator[None]:
    """Let one process at a time import modules of librosa; the first import on a machine compiles some functions.

    numba caches each of these functions in two files, which it writes one after the other. If two processes compile at
    the same time, the cache can contain one file of each, and every later process that calls the function ends with a
    segmentation fault (numba issue 10128). Other threads of this process wait too.

    Raises:
        ModuleNotFoundError: librosa is not installed.
    """
    spec = importlib.util.find_spec("librosa")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("No module named 'librosa'", name="librosa")
    # NFS grants an exclusive lock only on a file that is open for writing; other file systems do not require that.
    access = os.O_RDWR if os.access(spec.origin, os.W_OK) else os.O_RDONLY
    handle = os.open(spec.origin, access | os.O_CLOEXEC)
    try:
        # If the file system has no locks, librosa is imported anyway: simultaneous first imports are rare.
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        # If the file were only closed, a child process forked in the meantime would keep the lock.
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_UN)
        os.close(handle)
