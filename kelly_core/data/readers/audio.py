"""Audio files as mono samples at their own sample rate; the decoder is chosen by a file's content, not its name."""

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
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from kelly_core.arrays import Floats
from kelly_core.data.readers.containers import frame_header, has_frames, has_last_page, read_stream, skip_tags
from kelly_core.errors import DataError
from kelly_core.formatting import printable
from kelly_core.io.atomic import open_for_reading

if TYPE_CHECKING:
    import av
    from soundfile import SoundFile


_log = logging.getLogger(__name__)

_STDERR = 2
_lock = threading.Lock()
_MPG123 = re.compile(rb"\[[^\]\n]*libmpg123/[^\n]*\n?")


@contextmanager
def without_mpg123_messages() -> Iterator[None]:
    """Redirect libmpg123's messages from the standard error stream to the log at level DEBUG.

    libsndfile does not expose libmpg123's quiet option. Simultaneous output of other threads is written at the end,
    unchanged.
    """
    # All threads share the standard error stream, so only one thread at a time redirects it.
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
"""Maximum magnitude of a sample: full scale of 32-bit integers, which some float files use as their scale."""


_SAMPLE_RATES = (8_000, 192_000)
_MAX_CHANNELS = 64
_BLOCK_FRAMES = 2**16
_SIGNATURE_BYTES = 64 * 1024
"""Bytes read to recognize a file: enough for an ID3v2 tag with a small picture and the header after it."""
_MAX_MPEG_BYTES = 256 * 2**20
"""Maximum size of an MP3 file that is read into memory to check its structure."""
_DECODER_DELAY = 3 * 1152
"""Maximum samples that layer III decoders remove at the beginning and end as encoder delay and padding."""
_LOUD = 8.0
"""A float file with samples above this, 18 dB over full scale, is assumed to use the scale of integers."""

_CONTAINERS = {b"fLaC": "flac", b"OggS": "ogg"}
"""FFmpeg's format name by first bytes, for formats in which libsndfile requires a length that some files lack."""

_MISSING_SECONDS = 0.1
"""Seconds by which an intact file may be shorter than its header claims; encoders pad up to two frames."""
_CHUNK = re.compile(r"^\s*(?:data|SSND)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE)
"""Message of libsndfile for a chunk of samples that claims more bytes than the file contains."""
_HOLE = "libogg reports a hole"
_STREAMED_BYTES = 0x7FFFF000
"""Sizes of at least this value are placeholders from programs that write WAV to a pipe."""


class DecodedAudio(NamedTuple):
    """A decoded audio file.

    Attributes:
        samples: mono samples [n] (the mean of the channels), -1..1 unless the file contains larger floats.
        sample_rate: samples per second.
        intact: False if the file is cut off, or parts of it cannot be decoded and are left out.
    """

    samples: Floats
    sample_rate: int
    intact: bool


_TIMED = ("flac", "mp4", "ogg")
"""Formats of FFmpeg whose files contain their length."""

Decoder = Callable[[BinaryIO, Path, float], DecodedAudio]


def read_audio(path: Path, seconds: float) -> tuple[Floats, int]:
    """Decode the first ``seconds`` of a file as ``decode_audio`` does, and log a warning if it is damaged.

    Returns:
        Mono samples [n] and the sample rate in Hz.

    Raises:
        DataError: as ``decode_audio``.
    """
    samples, sample_rate, intact = decode_audio(path, seconds)
    if not intact:
        read = len(samples) / sample_rate
        _log.warning("%s: damaged or cut off; the %.1f s that can be decoded are read", printable(str(path)), read)
    return samples, sample_rate


def decode_audio(path: Path, seconds: float) -> DecodedAudio:
    """Decode the first ``seconds`` of a file. Damaged parts are left out, in every format.

    Raises:
        DataError: the file cannot be read, no part of it can be decoded, it contains samples that are not finite, or no
            decoder for it is installed.
    """
    with open_for_reading(path, DataError) as file:
        recording = _decoder(file, path)(file, path, seconds)
    if not len(recording.samples):
        raise DataError("audio file contains no samples", where=path)
    if not np.isfinite(recording.samples).all():
        raise DataError("audio contains samples that are not numbers", where=path)
    _check_level(recording.samples, path)
    return recording


def _decoder(file: BinaryIO, path: Path) -> Decoder:
    """Choose the decoder by the file's first bytes.

    Raises:
        DataError: the format is not supported.
    """
    head = file.read(_SIGNATURE_BYTES)
    file.seek(0)
    if not head:
        raise DataError("file is empty", where=path)
    # FFmpeg also writes an ID3 tag in front of FLAC.
    for start in (0, skip_tags(head)):
        magic = head[start : start + 4]
        # riff in lower case begins Wave64; RF64 and BW64 are WAV beyond 4 GiB.
        if magic in (b"RIFF", b"RIFX", b"RF64", b"BW64", b"FORM", b"riff"):
            return _decode_pcm
        if magic in _CONTAINERS:
            return partial(_decode_either, container_format=_CONTAINERS[magic])
    if head[4:8] == b"ftyp":
        return partial(_decode_ffmpeg, container_format="mp4")
    if _is_adts(head[skip_tags(head) :]):
        return partial(_decode_ffmpeg, container_format="aac")
    # If a file has a large tag, its frames begin after the bytes that were read.
    if skip_tags(head) >= len(head) - 4 or frame_header(head, skip_tags(head)) or has_frames(head):
        return _decode_mpeg
    known = "WAV, FLAC, Ogg, MP3 or M4A"
    raise DataError(f"content is not {known} audio", where=path, hint="Convert the file to FLAC, or remove it")


def _is_adts(head: bytes) -> bool:
    """Return True for AAC without a container: a sync word with the layer bits 0."""
    return head[:1] == b"\xff" and len(head) > 1 and head[1] & 0xF6 == 0xF0


def _check_level(samples: Floats, path: Path) -> None:
    """Reject samples whose power is beyond single precision, and warn about samples far beyond full scale."""
    peak = float(np.abs(samples).max())
    if peak > MAX_SAMPLE:
        raise DataError("audio contains samples far beyond full scale", where=path, hint="Normalize it to -1..1")
    if peak > _LOUD:
        _log.warning(
            "%s: samples reach %.3g, expected -1..1: damaged, or floats in the scale of integers; normalize it",
            printable(str(path)),
            peak,
        )


def _check_format(sample_rate: int, channels: int, path: Path) -> None:
    """Check the values of a header before memory is allocated from them.

    Raises:
        DataError: sample rate or number of channels is out of range.
    """
    low, high = _SAMPLE_RATES
    if not low <= sample_rate <= high:
        raise DataError(f"sample rate of {sample_rate} Hz is outside {low}..{high} Hz", where=path)
    if not 1 <= channels <= _MAX_CHANNELS:
        raise DataError(f"{channels} channels are outside 1..{_MAX_CHANNELS}", where=path)


class _SafeSeeks:
    """A file for libsndfile whose ``seek`` never raises.

    A damaged header can lead to positions before the beginning of the file. libsndfile then rejects the file, but an
    exception in its callback would print a traceback.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.read, self.tell = file.read, file.tell

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position; stay at the current one if the position does not exist."""
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError):
            return self._file.tell()


def _decode_pcm(file: BinaryIO, path: Path, seconds: float) -> DecodedAudio:
    """Decode with libsndfile, in blocks: the length in the header may be wrong by any factor."""
    import soundfile

    try:
        with soundfile.SoundFile(cast("BinaryIO", _SafeSeeks(file))) as sound:
            _check_format(sound.samplerate, sound.channels, path)
            wanted = round(seconds * sound.samplerate)
            samples, intact = _joined(_blocks(sound, wanted), wanted)
            # libsndfile reduces the length of a cut-off file to the existing samples; its report has both lengths.
            claimed = sound.frames / _held_share(sound.extra_info)
            whole = _is_whole(samples, sound.samplerate, seconds, claimed) and _HOLE not in sound.extra_info
            return DecodedAudio(samples, sound.samplerate, intact and whole)
    except soundfile.LibsndfileError as error:
        raise DataError("audio cannot be decoded", where=path, hint=error.error_string) from error


def _held_share(report: str) -> float:
    """Return the share of the claimed sample bytes that exist in a file, according to libsndfile's report."""
    match = _CHUNK.search(report)
    claimed, held = (int(match[1]), int(match[2])) if match else (1, 1)
    return held / claimed if 0 < held < claimed < _STREAMED_BYTES else 1.0


def _is_whole(samples: Floats, sample_rate: int, seconds: float, claimed: float) -> bool:
    """Return True if the samples cover the requested seconds or nearly the claimed length."""
    return len(samples) >= min(seconds * sample_rate, claimed) - _MISSING_SECONDS * sample_rate


def _decode_either(file: BinaryIO, path: Path, seconds: float, container_format: str) -> DecodedAudio:
    """Decode with libsndfile, or with FFmpeg if the result is not intact: encoders that write to a pipe leave the
    length of FLAC at 0, and libsndfile stops at the first damaged part.
    """
    try:
        first = _decode_pcm(file, path, seconds)
    except DataError as error:
        _log.debug("%s", error)
        first = None
    if first is not None and first.intact:
        return first._replace(intact=_has_end(file, first, seconds, container_format))
    file.seek(0)
    try:
        second = _decode_ffmpeg(file, path, seconds, container_format)
    except DataError:
        if first is None or not len(first.samples):
            raise
        return first
    return second if first is None or len(second.samples) >= len(first.samples) else first


def _has_end(file: BinaryIO, recording: DecodedAudio, seconds: float, container_format: str) -> bool:
    """Return False if an Ogg file is cut off before the requested seconds, without a last page to mark its end."""
    enough = len(recording.samples) >= round(seconds * recording.sample_rate)
    return enough or container_format != "ogg" or has_last_page(file)


def _blocks(sound: SoundFile, wanted: int) -> Iterator[Floats | None]:
    """Yield mono blocks of at most ``wanted`` samples in total; after a decoding error, a final None."""
    from soundfile import LibsndfileError

    while wanted > 0:
        try:
            block = sound.read(frames=min(wanted, _BLOCK_FRAMES), dtype="float32", always_2d=True)
        except LibsndfileError as error:
            _log.debug("cannot be decoded: %s", error.error_string)
            yield None
            return
        if not len(block):
            return
        wanted -= len(block)
        yield _mean(block, 1)


def _joined(blocks: Iterator[Floats | None], wanted: int) -> tuple[Floats, bool]:
    """Return at most ``wanted`` samples, and False if a block between them is None, that is, undecodable.

    Undecodable blocks after the last sample are not damage: tags may follow, and the length reveals missing samples.
    """
    parts = [np.zeros(0, np.float32)]
    count, broken, intact = 0, False, True
    for block in blocks:
        if block is None:
            broken = count > 0
            continue
        intact = intact and not broken
        parts.append(block)
        count += len(block)
        if count >= wanted:
            break
    return np.concatenate(parts)[:wanted], intact


def _mean(block: NDArray[Any], axis: int) -> Floats:
    """Return the mean of the channels. Samples that are not finite are rejected later, for the entire file."""
    with np.errstate(invalid="ignore", over="ignore"):
        mean: Floats = block.mean(axis=axis, dtype=np.float32)
    return mean


def _decode_mpeg(file: BinaryIO, path: Path, seconds: float) -> DecodedAudio:
    """Decode MP3 with libsndfile if its structure is clean, otherwise with FFmpeg.

    libsndfile is two to three times as fast, but relies on an estimated length, and prints to the terminal if it has to
    search for the next frame.
    """
    content = file.read(_MAX_MPEG_BYTES)
    stream = read_stream(content) if len(content) < _MAX_MPEG_BYTES else None
    if stream is not None and stream.clean:
        with without_mpg123_messages():
            clean = _decode_pcm(io.BytesIO(content[stream.start : stream.stop]), path, seconds)
        if len(clean.samples) >= min(round(seconds * clean.sample_rate), stream.samples - _DECODER_DELAY):
            return clean
    file.seek(0)
    recording = _decode_ffmpeg(file, path, seconds, "mp3")
    claimed = 0 if stream is None else stream.claimed_samples - _DECODER_DELAY
    whole = _is_whole(recording.samples, recording.sample_rate, seconds, claimed)
    return recording._replace(intact=recording.intact and whole)


def _decode_ffmpeg(file: BinaryIO, path: Path, seconds: float, container_format: str) -> DecodedAudio:
    """Decode with PyAV, which includes FFmpeg's decoders; libsndfile has none for AAC and ALAC."""
    try:
        import av
    except ImportError as error:
        hint = "Install PyAV (pip install av), or convert the file to FLAC"
        raise DataError("the decoder for this format is missing", where=path, hint=hint) from error
    try:
        # Tags are not used, so errors in their encoding are ignored.
        with av.open(file, "r", format=container_format, metadata_errors="replace") as container:
            if not container.streams.audio:
                raise DataError("file has no audio stream", where=path)
            stream = container.streams.audio[0]
            if stream.codec_context is None:
                raise DataError("there is no decoder for its audio stream", where=path, hint="Convert it to FLAC")
            sample_rate = int(stream.rate or 0)
            _check_format(sample_rate, stream.channels, path)
            samples, intact = _joined(_mono(container, stream, sample_rate), round(seconds * sample_rate))
            # In other formats the length is an estimate from the size of the file.
            duration = float((stream.duration or 0) * (stream.time_base or 0))
            claimed = duration * sample_rate if container_format in _TIMED else 0.0
    except av.FFmpegError as error:
        no_index = "The index of its audio is missing or damaged: the file may be cut off"
        hint = no_index if container_format == "mp4" else error.strerror or ""
        raise DataError("audio cannot be decoded", where=path, hint=hint) from error
    except ValueError as error:
        raise DataError("audio cannot be decoded", where=path, hint=str(error)) from error
    recording = DecodedAudio(samples, sample_rate, intact and _is_whole(samples, sample_rate, seconds, claimed))
    return recording._replace(intact=recording.intact and _has_end(file, recording, seconds, container_format))


def _mono(container: av.container.InputContainer, stream: av.AudioStream, sample_rate: int) -> Iterator[Floats | None]:
    """Yield mono blocks as float in -1..1; None for a packet that cannot be decoded (all MP3 decoders skip these).

    The resampler converts the type of the samples and keeps the channels: FFmpeg's downmix to mono is not the mean
    of the channels.
    """
    from av import AudioResampler, FFmpegError

    # Planar floats for any output of the decoder: one array per channel, averaged below.
    resampler = AudioResampler(format="fltp", rate=sample_rate)
    for packet in container.demux(stream):
        try:
            frames = [converted for frame in packet.decode() for converted in resampler.resample(frame)]
        except (FFmpegError, ValueError) as error:  # ValueError: the frame has another rate or layout than those before
            _log.debug("%s: a packet cannot be decoded: %s", printable(str(container.name)), error)
            yield None
            continue
        yield from (_mean(frame.to_ndarray(), 0) for frame in frames)
