"""Damaged audio of every format: a file is read with finite samples, or refused with words."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from kelly_core.data.readers.audio import decode_audio, read_audio
from kelly_core.errors import DataError
from kelly_core.music.mel import mel_frames
from tests.data.test_audio import RATE, noise, write_ffmpeg
from tests.seeds import seeded_rng

SECONDS = 1.5
MUTATIONS = 40
_EXTREMES = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x00\x00\x80\x7f")
_HEADER_BYTES = 256

WRITERS: dict[str, Callable[[Path], object]] = {
    "pcm.wav": lambda path: soundfile.write(path, noise(SECONDS, 2), RATE),
    "float.wav": lambda path: soundfile.write(path, noise(SECONDS), RATE, subtype="FLOAT"),
    "a.flac": lambda path: soundfile.write(path, noise(SECONDS, 2), RATE),
    "a.ogg": lambda path: soundfile.write(path, noise(SECONDS), RATE),
    "a.mp3": lambda path: soundfile.write(path, noise(SECONDS), RATE),
    "aac.m4a": lambda path: write_ffmpeg(path, noise(SECONDS), "aac", "fltp", movflags="faststart"),
    "alac.m4a": lambda path: write_ffmpeg(path, noise(SECONDS, 2), "alac", "s16p"),
}


def mutate(content: bytes, rng: np.random.Generator) -> bytes:
    """Flip bytes, put extreme numbers into headers, cut, repeat or remove a part."""
    changed = bytearray(content)
    for _ in range(int(rng.integers(1, 8))):
        kind = int(rng.integers(5))
        # The structure of M4A is at its end, that of all others at the beginning.
        end = min(len(changed), _HEADER_BYTES) if rng.random() < 0.5 else len(changed)
        at = int(rng.integers(max(1, end)))
        size = int(rng.integers(1, 400))
        if kind == 0:
            changed[at : at + 1] = rng.bytes(1)
        elif kind == 1:
            changed[at : at + 4] = _EXTREMES[rng.integers(len(_EXTREMES))]
        elif kind == 2 and len(changed) > 64:
            del changed[int(rng.integers(32, len(changed))) :]
        elif kind == 3:
            changed[at:at] = changed[at : at + size]
        else:
            del changed[at : at + size]
    return bytes(changed)


@pytest.mark.parametrize("name", WRITERS)
def test_a_damaged_file_is_read_with_finite_samples_or_refused(tmp_path: Path, name: str, capfd) -> None:
    path = tmp_path / name
    WRITERS[name](path)
    content = path.read_bytes()
    rng = seeded_rng(sum(name.encode()))
    assert len(read_audio(path, 30)[0]) > 0
    for _ in range(MUTATIONS):
        path.write_bytes(mutate(content, rng))
        # A format with checksums may refuse every damaged copy.
        with contextlib.suppress(DataError):
            samples, rate = read_audio(path, 30)
            assert samples.ndim == 1
            assert samples.dtype == np.float32
            assert len(samples) <= 30 * rate
            assert np.isfinite(samples).all()
            assert np.isfinite(mel_frames(samples, rate)).all()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", [*WRITERS, "a.opus"])
def test_a_file_that_is_cut_off_is_read_as_far_as_it_goes(tmp_path: Path, name: str, capfd) -> None:
    path, seconds = tmp_path / name, 4.0
    if name == "a.opus":
        soundfile.write(path, noise(seconds), 48_000, format="OGG", subtype="OPUS")
    elif name.endswith("m4a"):
        codec, sample_format = ("aac", "fltp") if name == "aac.m4a" else ("alac", "s16p")
        write_ffmpeg(path, noise(seconds), codec, sample_format, movflags="faststart")
    else:
        soundfile.write(path, noise(seconds), RATE)
    whole = decode_audio(path, 30)
    assert whole.intact
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 7 // 10])
    cut = decode_audio(path, 30)
    # Blocks and pages of up to a second are lost whole.
    assert 0.3 * len(whole.samples) < len(cut.samples) < 0.75 * len(whole.samples)
    assert not cut.intact
    assert decode_audio(path, 0.5).intact, "what is read is whole"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["a.flac", "a.mp3", "aac.m4a"])
def test_what_cannot_be_decoded_in_the_middle_is_left_out(tmp_path: Path, name: str, caplog) -> None:
    path = tmp_path / name
    WRITERS[name](path)
    content = bytearray(path.read_bytes())
    whole = len(read_audio(path, 30)[0])
    assert not caplog.messages
    middle = len(content) // 2
    content[middle : middle + 600] = b"\xff" * 600 if name != "a.flac" else seeded_rng(1).bytes(600)
    path.write_bytes(content)
    assert 0.4 * whole < len(read_audio(path, 30)[0]) < whole
    assert "damaged or cut off" in caplog.text


# pytest collects exceptions in callbacks as warnings; outside it they are printed.
@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("at", range(36, 46))
@pytest.mark.parametrize("byte", [0x7F, 0x80, 0xFF])
def test_a_position_before_the_file_raises_nothing_in_callbacks(tmp_path: Path, at: int, byte: int) -> None:
    path = tmp_path / "a.aiff"
    soundfile.write(path, noise(0.1), RATE)
    content = bytearray(path.read_bytes())
    content[at] = byte
    path.write_bytes(content)
    with contextlib.suppress(DataError):
        read_audio(path, SECONDS)
