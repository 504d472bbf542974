"""Audio front end: half-second mel frames in dB, computed causally so that a plugin can compute the same frames."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike

from kelly_core.arrays import Doubles, Floats, Indices
from kelly_core.errors import DataError

BANDS = 128
F_MIN, F_MAX = 30.0, 10_000.0
REFERENCE_RATE = 22_050
REFERENCE_WINDOW = 2048
HOP_SECONDS = 0.02
HOPS_PER_FRAME = 25
FRAME_SECONDS = HOP_SECONDS * HOPS_PER_FRAME
POWER_FLOOR = 1e-10

_LINEAR_HZ = 200.0 / 3.0
_KNEE_HZ = 1000.0
_KNEE_MEL = _KNEE_HZ / _LINEAR_HZ
_LOG_STEP = np.log(6.4) / 27.0


def window_length(sample_rate: int) -> int:
    """Return the Hann window's length in samples: 2048 at 22,050 Hz, 93 ms at every rate."""
    return round(REFERENCE_WINDOW * sample_rate / REFERENCE_RATE)


def fft_size(sample_rate: int) -> int:
    """Return the FFT size: the smallest power of two that is at least the window's length."""
    return 1 << (window_length(sample_rate) - 1).bit_length()


def hop_length(sample_rate: int) -> int:
    """Return the hop in samples: 20 ms, rounded to a whole sample."""
    return round(HOP_SECONDS * sample_rate)


def mel_filterbank(sample_rate: int, nfft: int) -> Doubles:
    """Return triangular bands on Slaney's mel scale from 30 to 10,000 Hz that integrate a power density over frequency.

    Each band's triangle of height 1 is multiplied by 2 / (f_hi - f_lo) · sample_rate / nfft, so that a frame does
    not depend on the sample rate. Bands above half the sample rate are 0. The scale is linear below 1 kHz (3 mel
    per 200 Hz) and logarithmic above (27 mel per factor of 6.4), as in M. Slaney's Auditory Toolbox (1998).

    Returns:
        [nfft / 2 + 1, 128].
    """
    edges = _band_edges()
    low, center, high = edges[:-2], edges[1:-1], edges[2:]
    hz = np.fft.rfftfreq(nfft, 1 / sample_rate)[:, np.newaxis]
    triangles = np.maximum(0.0, np.minimum((hz - low) / (center - low), (high - hz) / (high - center)))
    return triangles * (2.0 / (high - low) * sample_rate / nfft)


def mel_frames(samples: ArrayLike, sample_rate: int) -> Floats:
    """Compute mel frames of mono audio: the mean power of 25 windows in 128 bands, in dB relative to full scale.

    Window j begins at sample j·hop, without centering, and is ``window_length`` long. Frame k is the mean of windows
    25k to 25k + 24, so it covers the half second from k/2 s to (k+1)/2 s. It is complete when its last window ends, 73
    ms after this half second; a plugin without look-ahead then emits it. Incomplete frames at the end of the audio are
    omitted: 45 s have 89 frames. If 20 ms are not a whole number of samples, the hop is rounded and frames drift (at
    11,025 Hz by 0.2 %); at 16, 22.05, 24, 32, 44.1, 48, 88.2 and 96 kHz they do not.

    Args:
        samples: [n], -1..1.
        sample_rate: Hz.

    Returns:
        [frames, 128] 10·log10(max(power, 1e-10)); no rows if the audio is too short for one frame.

    Raises:
        DataError: a frame is not finite, because a sample is not finite or the power exceeds single precision.
    """
    length, nfft, hop = window_length(sample_rate), fft_size(sample_rate), hop_length(sample_rate)
    window, bands = _analysis(sample_rate)
    samples = np.asarray(samples, np.float32)
    if len(samples) < length:
        return np.empty((0, BANDS), np.float32)
    # The windows are a view: they overlap, and copies would multiply the memory of the audio.
    windows = sliding_window_view(samples, length)[::hop]
    frames = np.empty((len(windows) // HOPS_PER_FRAME, nfft // 2 + 1), np.float32)
    # Samples beyond 1e19 overflow when squared; that raises an error below.
    with np.errstate(over="ignore", invalid="ignore"):
        for k, frame in enumerate(frames):
            spectra = np.fft.rfft(windows[k * HOPS_PER_FRAME : (k + 1) * HOPS_PER_FRAME] * window, nfft)
            # np.abs would compute a square root that squaring cancels.
            frame[:] = (np.square(spectra.real) + np.square(spectra.imag)).mean(axis=0)
        decibels: Floats = 10 * np.log10(np.maximum(frames @ bands, np.float32(POWER_FLOOR)))
    if not np.isfinite(decibels).all():
        raise DataError("audio gives mel frames that are not finite", hint="Normalize its samples to -1..1")
    return decibels


def transpose_frames(frames: Floats, semitones: int) -> Floats:
    """Return mel frames [..., 128] in dB as if the music sounded some semitones higher, or lower if negative.

    The spectrum moves along the frequency axis, with decibels interpolated between band centers. Beyond the lowest and
    the highest band, the level of that band is used.
    """
    lower, share = _transposition(semitones)
    moved: Floats = frames[..., lower] * (1 - share) + frames[..., lower + 1] * share
    return moved


def frame_times(frames: int, sample_rate: int) -> Doubles:
    """Return start, end and completion time of frames in seconds: [frames, 3].

    A frame is complete at the end of its last window; a plugin cannot compute it earlier.
    """
    hop = hop_length(sample_rate)
    first = HOPS_PER_FRAME * np.arange(frames, dtype=np.float64)
    last_window = first + HOPS_PER_FRAME - 1
    samples = np.column_stack(
        [first * hop, (first + HOPS_PER_FRAME) * hop, last_window * hop + window_length(sample_rate)]
    )
    return samples / sample_rate


def band_centers() -> Doubles:
    """Return the center of each band in Hz, [128]."""
    return _band_edges()[1:-1]


def features_metadata(mean: ArrayLike, std: ArrayLike) -> dict[str, Any]:
    """Return all constants that a plugin needs to compute the frames a network was trained on, as JSON values.

    Args:
        mean, std: [128], dB, of the training split, already folded into the network's first layer.
    """
    return {
        "kind": "mel_db",
        "channels": "mono",
        "sample_rate_hz": REFERENCE_RATE,
        "window": "periodic Hann",
        "window_samples": REFERENCE_WINDOW,
        "window_rule": "round(2048 * sample_rate / 22050)",
        "nfft": fft_size(REFERENCE_RATE),
        "nfft_rule": "next power of two from window_samples, zero-padded",
        "hop_seconds": HOP_SECONDS,
        "hop_rule": "round(hop_seconds * sample_rate), halves to the even number",
        "hop_samples": hop_length(REFERENCE_RATE),
        "centred": False,
        "power": "|X|^2 / (sum of window)^2",
        "bands": BANDS,
        "f_min_hz": F_MIN,
        "f_max_hz": F_MAX,
        "scale": "slaney",
        "band_shape": "triangle of height 1 * 2 / (f_hi - f_lo) * sample_rate / nfft",
        "hops_per_frame": HOPS_PER_FRAME,
        "frame_rate_hz": 1 / FRAME_SECONDS,
        "frame_rule": "mean power of 25 hops, emitted when the last window is complete",
        "log": "10 * log10(max(power, floor))",
        "floor": POWER_FLOOR,
        "units": "dB",
        "mean": np.asarray(mean, np.float64).tolist(),
        "std": np.asarray(std, np.float64).tolist(),
        "standardisation": "folded into the first layer: feed raw dB",
    }


@lru_cache(maxsize=4)
def _analysis(sample_rate: int) -> tuple[Floats, Floats]:
    """Return the window, divided by its sum, and the filter bank, in float32."""
    length = window_length(sample_rate)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
    bands = mel_filterbank(sample_rate, fft_size(sample_rate))
    return (hann / hann.sum()).astype(np.float32), bands.astype(np.float32)


@lru_cache(maxsize=24)
def _transposition(semitones: int) -> tuple[Indices, Floats]:
    """Return for each band the lower of the two bands to interpolate, and the weight of the upper one, both [128]."""
    centers = band_centers()
    place = np.interp(centers * 2 ** (-semitones / 12), centers, np.arange(BANDS))
    lower: Indices = np.minimum(place.astype(np.intp), BANDS - 2)
    return lower, (place - lower).astype(np.float32)


def _band_edges() -> Doubles:
    """Return the band edges in Hz, [130], evenly spaced in mel."""
    return _mel_to_hz(np.linspace(_hz_to_mel(F_MIN), _hz_to_mel(F_MAX), BANDS + 2))


def _hz_to_mel(hz: float) -> float:
    return hz / _LINEAR_HZ if hz < _KNEE_HZ else _KNEE_MEL + float(np.log(hz / _KNEE_HZ)) / _LOG_STEP


def _mel_to_hz(mel: Doubles) -> Doubles:
    return np.where(mel < _KNEE_MEL, mel * _LINEAR_HZ, _KNEE_HZ * np.exp(_LOG_STEP * (mel - _KNEE_MEL)))
