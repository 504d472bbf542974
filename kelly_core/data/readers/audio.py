"""Audio files as mono samples at their own sample rate; the content decides how a file is decoded, not its name."""

from __future__ import annotations

import io
import logging
import os
import re
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from kelly_core.arrays import Floats
from kelly_core.data.readers.mpeg import frame_header, has_frames, read_stream, skip_tags
from kelly_core.errors import DataError
from kelly_core.formatting import printable
from kelly_core.io.atomic import open_regular

if TYPE_CHECKING:
    import av
    from soundfile import SoundFile


_log = logging.getLogger(__name__)

_STDERR = 2
_lock = threading.Lock()
_MPG123 = re.compile(rb"\[[^\]\n]*libmpg123/[^\n]*\n?")


@contextmanager
def without_mpg123_messages() -> Iterator[None]:
    """Remove libmpg123's messages from the standard error stream, and write them to the log at level DEBUG.

    libsndfile does not let a caller set libmpg123's option to be quiet. What other threads print meanwhile appears at
    the end, unchanged.
    """
    with _lock:
        try:
            terminal = os.dup(_STDERR)
        except OSError:  # There is no standard error stream.
            terminal = -1
        if terminal < 0:
            yield
            return
        with tempfile.TemporaryFile() as captured:
            os.dup2(captured.fileno(), _STDERR)
            try:
                yield
            finally:
                os.dup2(terminal, _STDERR)
                os.close(terminal)
                captured.seek(0)
                _pass_on(captured.read())


def _pass_on(printed: bytes) -> None:
    for message in _MPG123.findall(printed):
        _log.debug("%s", message.decode("ascii", "replace").rstrip())
    rest = _MPG123.sub(b"", printed)
    if rest:
        os.write(_STDERR, rest)


SUFFIXES = frozenset({".wav", ".mp3", ".flac", ".ogg", ".m4a"})
MAX_SAMPLE = 2.0**31
"""Largest magnitude of a sample: full scale of 32-bit integers, which some float files keep."""


_SAMPLE_RATES = (8_000, 192_000)
_MAX_CHANNELS = 64
_BLOCK_FRAMES = 2**16
_SIGNATURE_BYTES = 64 * 1024
"""Read to recognize a file: an ID3v2 tag with a small picture and the header after it fit in."""
_MAX_MPEG_BYTES = 256 * 2**20
"""A longer MP3 file is not read into memory to check its structure."""
_DECODER_DELAY = 3 * 1152
"""Samples at most that decoders of layer III leave out at the beginning and end as encoder delay and padding."""
_LOUD = 8.0
"""A float file whose samples exceed this, 18 dB over full scale, is taken to hold them in an integer's scale."""

_CONTAINERS = {b"fLaC": "flac", b"OggS": "ogg"}
"""FFmpeg's name of a format by its first bytes, where libsndfile needs a length that not every file has."""

Decoder = Callable[[BinaryIO, Path, float], tuple[Floats, int]]


def read_audio(path: Path, seconds: float) -> tuple[Floats, int]:
    """Decode the first ``seconds`` of a file.

    Returns:
        Mono samples [n] (the mean of the channels), -1..1 unless the file holds larger floats, and the sample rate in
        Hz.

    Raises:
        DataError: the file cannot be read or decoded, holds samples that are not finite, or no decoder for it is
            installed.
    """
    if not path.exists():
        raise DataError("no such file", where=path)
    try:
        with open_regular(path) as file:
            samples, sample_rate = _decoder(file, path)(file, path, seconds)
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", where=path) from error
    if not len(samples):
        raise DataError("audio file holds no samples", where=path)
    if not np.isfinite(samples).all():
        raise DataError("audio holds samples that are not numbers", where=path)
    _check_level(samples, path)
    return samples, sample_rate


def _decoder(file: BinaryIO, path: Path) -> Decoder:
    """Choose the decoder by the file's first bytes.

    Raises:
        DataError: they are those of no format that is read.
    """
    head = file.read(_SIGNATURE_BYTES)
    file.seek(0)
    if not head:
        raise DataError("file is empty", where=path)
    # FFmpeg writes an ID3 tag in front of FLAC, too.
    for start in (0, skip_tags(head)):
        magic = head[start : start + 4]
        # riff in lower case begins Wave64; RF64 and BW64 are WAV beyond 4 GiB.
        if magic in (b"RIFF", b"RIFX", b"RF64", b"BW64", b"FORM", b"riff"):
            return _decode_pcm
        if magic in _CONTAINERS:
            return partial(_decode_either, container_format=_CONTAINERS[magic])
    if head[4:8] == b"ftyp":
        return _decode_mp4
    if _is_adts(head[skip_tags(head) :]):
        return _decode_adts
    # The frames of a file with a large tag begin beyond what was read.
    if skip_tags(head) >= len(head) - 4 or frame_header(head, skip_tags(head)) or has_frames(head):
        return _decode_mpeg
    known = "WAV, FLAC, Ogg, MP3 or M4A"
    raise DataError(f"content is not {known} audio", where=path, hint="Convert the file to FLAC, or remove it")


def _is_adts(head: bytes) -> bool:
    """Return True for AAC without a container: a sync word with the layer bits 0."""
    return head[:1] == b"\xff" and len(head) > 1 and head[1] & 0xF6 == 0xF0


def _check_level(samples: Floats, path: Path) -> None:
    """Refuse samples whose power is beyond single precision, and warn of those far beyond full scale."""
    peak = float(np.abs(samples).max())
    if peak > MAX_SAMPLE:
        raise DataError("audio holds samples far beyond full scale", where=path, hint="Normalize it to -1..1")
    if peak > _LOUD:
        _log.warning(
            "%s: samples reach %.3g, expected -1..1: damaged, or floats in the scale of integers; normalize it",
            printable(str(path)),
            peak,
        )


def _check_format(sample_rate: int, channels: int, path: Path) -> None:
    """Check the values of a header before memory is allocated by them.

    Raises:
        DataError: sample rate or number of channels is out of range.
    """
    low, high = _SAMPLE_RATES
    if not low <= sample_rate <= high:
        raise DataError(f"sample rate of {sample_rate} Hz is outside {low}..{high} Hz", where=path)
    if not 1 <= channels <= _MAX_CHANNELS:
        raise DataError(f"{channels} channels are outside 1..{_MAX_CHANNELS}", where=path)


def _decode_pcm(file: BinaryIO, path: Path, seconds: float) -> tuple[Floats, int]:
    """Decode with libsndfile, in blocks: the length in the header may be wrong by any factor."""
    import soundfile

    try:
        with soundfile.SoundFile(file) as sound:
            _check_format(sound.samplerate, sound.channels, path)
            blocks = _blocks(sound, round(seconds * sound.samplerate))
            samples = np.concatenate([np.zeros(0, np.float32), *blocks])
            return samples, int(sound.samplerate)
    except soundfile.LibsndfileError as error:
        raise DataError("audio cannot be decoded", where=path, hint=error.error_string) from error


def _decode_either(file: BinaryIO, path: Path, seconds: float, container_format: str) -> tuple[Floats, int]:
    """Decode with libsndfile, else with FFmpeg: encoders that write to a pipe leave the length of FLAC at 0, and
    libsndfile finds no samples in a truncated Ogg file.
    """
    try:
        samples, sample_rate = _decode_pcm(file, path, seconds)
    except DataError as error:
        _log.debug("%s", error)
    else:
        if len(samples):
            return samples, sample_rate
    file.seek(0)
    return _decode_ffmpeg(file, path, seconds, container_format)


def _blocks(sound: SoundFile, wanted: int) -> Iterator[Floats]:
    """Mono blocks of at most ``wanted`` samples in all, until the file ends."""
    while wanted > 0:
        block = sound.read(frames=min(wanted, _BLOCK_FRAMES), dtype="float32", always_2d=True)
        if not len(block):
            return
        wanted -= len(block)
        yield _mean(block, 1)


def _mean(block: NDArray[Any], axis: int) -> Floats:
    """Mean of the channels. Samples that are not finite are refused later, once for the whole file."""
    with np.errstate(invalid="ignore", over="ignore"):
        mean: Floats = block.mean(axis=axis, dtype=np.float32)
    return mean


def _decode_mpeg(file: BinaryIO, path: Path, seconds: float) -> tuple[Floats, int]:
    """Decode MP3 with libsndfile where its structure is clean, with FFmpeg otherwise.

    libsndfile is two to three times as fast, but believes an estimated length, and prints to the terminal where it has
    to search for the next frame.
    """
    content = file.read(_MAX_MPEG_BYTES)
    stream = read_stream(content) if len(content) < _MAX_MPEG_BYTES else None
    if stream is not None and stream.clean:
        with without_mpg123_messages():
            samples, sample_rate = _decode_pcm(io.BytesIO(content[stream.start : stream.stop]), path, seconds)
        if len(samples) >= min(round(seconds * sample_rate), stream.samples - _DECODER_DELAY):
            return samples, sample_rate
    file.seek(0)
    return _decode_ffmpeg(file, path, seconds, "mp3")


def _decode_adts(file: BinaryIO, path: Path, seconds: float) -> tuple[Floats, int]:
    return _decode_ffmpeg(file, path, seconds, "aac")


def _decode_mp4(file: BinaryIO, path: Path, seconds: float) -> tuple[Floats, int]:
    return _decode_ffmpeg(file, path, seconds, "mp4")


def _decode_ffmpeg(file: BinaryIO, path: Path, seconds: float, container_format: str) -> tuple[Floats, int]:
    """Decode with PyAV, which brings FFmpeg's decoders; libsndfile has none for AAC and ALAC."""
    try:
        import av
    except ImportError as error:
        hint = "Install PyAV (pip install av), or convert the file to FLAC"
        raise DataError("the decoder for this format is missing", where=path, hint=hint) from error
    try:
        # Tags are not needed, so their encoding must not matter.
        with av.open(file, "r", format=container_format, metadata_errors="replace") as container:
            if not container.streams.audio:
                raise DataError("file has no audio stream", where=path)
            stream = container.streams.audio[0]
            if stream.codec_context is None:
                raise DataError("there is no decoder for its audio stream", where=path, hint="Convert it to FLAC")
            sample_rate = int(stream.rate or 0)
            _check_format(sample_rate, stream.channels, path)
            samples = _mono(_frames(container, stream), sample_rate, round(seconds * sample_rate))
    except av.FFmpegError as error:
        raise DataError("audio cannot be decoded", where=path, hint=error.strerror) from error
    except ValueError as error:
        raise DataError("audio cannot be decoded", where=path, hint=str(error)) from error
    return samples, sample_rate


def _frames(container: av.container.InputContainer, stream: av.AudioStream) -> Iterator[av.AudioFrame]:
    """Decoded frames; of MP3 the packets between frames are left out, as every MP3 decoder does."""
    from av.error import InvalidDataError

    for packet in container.demux(stream):
        try:
            yield from packet.decode()
        except InvalidDataError:
            if container.format.name != "mp3":
                raise


def _mono(frames: Iterator[av.AudioFrame], sample_rate: int, wanted: int) -> Floats:
    """Return ``wanted`` samples, or all if the frames hold fewer, as float in -1..1.

    The resampler converts the type of the samples and keeps the channels: FFmpeg's own downmix to mono is not the mean
    of the channels.
    """
    from av import AudioResampler

    # Planar floats, whatever the decoder gives: one array per channel, to be averaged here.
    resampler = AudioResampler(format="fltp", rate=sample_rate)
    parts = [np.zeros(0, np.float32)]
    count = 0
    for frame in frames:
        for converted in resampler.resample(frame):
            parts.append(_mean(converted.to_ndarray(), 0))
            count += len(parts[-1])
        if count >= wanted:
            break
    return np.concatenate(parts)[:wanted]
