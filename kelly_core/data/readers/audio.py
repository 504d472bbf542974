"""Audio files as mono samples at their own sample rate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kelly_core.errors import DataError

SUFFIXES = frozenset({".wav", ".mp3", ".flac", ".ogg", ".m4a"})

_AAC_SUFFIXES = frozenset({".m4a"})
_SAMPLE_RATES = (8_000, 192_000)


def read_audio(path: Path, seconds: float) -> tuple[NDArray[np.float32], int]:
    """Decode the first ``seconds`` of a file.

    Returns:
        Mono samples [n] in -1..1 (the mean of the channels) and the sample rate in Hz.

    Raises:
        DataError: the file cannot be read or decoded, or no decoder for it is installed.
    """
    if not path.is_file():
        raise DataError("no such file", where=path)
    decode = _decode_aac if path.suffix.lower() in _AAC_SUFFIXES else _decode_pcm
    samples, sample_rate = decode(path, seconds)
    low, high = _SAMPLE_RATES
    if not low <= sample_rate <= high:
        raise DataError(f"sample rate of {sample_rate} Hz is outside {low}..{high} Hz", where=path)
    if not len(samples):
        raise DataError("audio file holds no samples", where=path)
    if not np.isfinite(samples).all():
        raise DataError("audio holds samples that are not numbers", where=path)
    return samples, sample_rate


def _decode_pcm(path: Path, seconds: float) -> tuple[NDArray[np.float32], int]:
    import soundfile

    try:
        with soundfile.SoundFile(path) as file:
            samples = file.read(frames=round(seconds * file.samplerate), dtype="float32", always_2d=True)
            return samples.mean(axis=1), int(file.samplerate)
    except soundfile.LibsndfileError as error:
        raise DataError("audio cannot be decoded", where=path, hint=error.error_string) from error
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", where=path) from error


def _decode_aac(path: Path, seconds: float) -> tuple[NDArray[np.float32], int]:
    """Decode with PyAV, which brings FFmpeg's decoders along; libsndfile knows no AAC."""
    try:
        import av
    except ImportError as error:
        hint = "Install PyAV (pip install av), or convert the file to FLAC"
        raise DataError("the AAC decoder is missing", where=path, hint=hint) from error
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise DataError("file has no audio stream", where=path)
            stream = container.streams.audio[0]
            wanted = round(seconds * stream.rate)
            resampler = av.AudioResampler(format="fltp", layout="mono", rate=stream.rate)
            parts: list[NDArray[np.float32]] = []
            for frame in container.decode(stream):
                parts += [mono.to_ndarray()[0] for mono in resampler.resample(frame)]
                if sum(map(len, parts)) >= wanted:
                    break
    except (av.FFmpegError, OSError) as error:
        raise DataError("audio cannot be decoded", where=path, hint=str(error)) from error
    return np.concatenate(parts)[:wanted] if parts else np.zeros(0, np.float32), int(stream.rate)
