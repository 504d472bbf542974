"""Decoding of audio files: by content, by what is there rather than by headers, and never more than one file's loss."""

from __future__ import annotations

import contextlib
import logging
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from kelly_core.data.readers.audio import decode_audio, read_audio, without_mpg123_messages
from kelly_core.data.readers.containers import read_stream
from kelly_core.errors import DataError
from kelly_core.music.mel import mel_frames
from tests.seeds import seeded_rng

RATE = 22_050


def noise(seconds: float, channels: int = 1, seed: int = 0) -> np.ndarray:
    """Noise [n, channels] of amplitude .2, different in each channel."""
    return seeded_rng(seed).uniform(-0.2, 0.2, (round(seconds * RATE), channels)).astype(np.float32)


def write_ffmpeg(path: Path, samples: np.ndarray, codec: str, sample_format: str, **options: Any) -> Path:
    """Encode [n, channels] with one of FFmpeg's encoders; ``options`` are the container's and its ``tags``."""
    import av

    tags = options.pop("tags", {})
    layout = {1: "mono", 2: "stereo"}[samples.shape[1]]
    with av.open(str(path), "w", options=options) as container:
        container.metadata.update(tags)
        stream = container.add_stream(codec, rate=RATE, layout=layout)
        stream.format = sample_format
        for start in range(0, len(samples), 4096):
            block = np.ascontiguousarray(samples[start : start + 4096].T)
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
            frame.sample_rate, frame.pts = RATE, start
            for converted in av.AudioResampler(format=sample_format, layout=layout, rate=RATE).resample(frame):
                container.mux(stream.encode(converted))
        container.mux(stream.encode(None))
    return path


def wav_header(sample_rate: int, channels: int, data_bytes: int, bits: int = 16) -> bytes:
    """Header of a PCM WAV file that claims ``data_bytes`` of samples."""
    width = channels * bits // 8
    fmt = struct.pack("<HHIIHH", 1, channels, sample_rate, sample_rate * width % 2**32, width, bits)
    head = b"RIFF" + struct.pack("<I", min(data_bytes + 36, 2**32 - 1)) + b"WAVE"
    return head + b"fmt " + struct.pack("<I", 16) + fmt + b"data" + struct.pack("<I", data_bytes)


def assert_one_second(path: Path) -> None:
    """The file contains about a second: lossy encoders pad by up to two frames."""
    assert len(read_audio(path, 9)[0]) == pytest.approx(RATE, abs=3000)


class TestChannels:
    def test_alac_gives_the_mean_of_the_channels_as_flac_does(self, tmp_path: Path) -> None:
        samples = noise(1, channels=2)
        soundfile.write(tmp_path / "a.flac", samples, RATE)
        write_ffmpeg(tmp_path / "a.m4a", samples, "alac", "s16p")
        reference, _ = read_audio(tmp_path / "a.flac", 9)
        decoded, rate = read_audio(tmp_path / "a.m4a", 9)
        assert rate == RATE
        np.testing.assert_allclose(decoded[: len(reference)], reference, atol=1e-4)


class TestHeadersAreNotBelieved:
    def test_an_mp3_of_variable_rate_without_a_xing_header_is_read_to_its_end(self, tmp_path: Path) -> None:
        samples = noise(6)
        samples[RATE:] *= 0.0
        path = write_ffmpeg(tmp_path / "a.mp3", samples, "libmp3lame", "fltp", write_xing="0")
        decoded, rate = read_audio(path, 60)
        assert len(decoded) / rate == pytest.approx(6, abs=0.2)

    @pytest.mark.parametrize("claimed", [2**31, 2**32 - 1])
    def test_a_wav_that_claims_more_than_it_holds_gives_what_it_holds(self, tmp_path: Path, claimed: int) -> None:
        path = tmp_path / "a.wav"
        path.write_bytes(wav_header(RATE, 1, claimed) + b"\1\2" * RATE)
        assert len(read_audio(path, 1e9)[0]) == RATE

    @pytest.mark.parametrize("rate", [1, 7_999, 192_001, 2**31 - 1])
    def test_a_rate_out_of_range_is_refused_before_anything_is_allocated(self, tmp_path: Path, rate: int) -> None:
        path = tmp_path / "a.wav"
        path.write_bytes(wav_header(rate, 1, 2**31) + b"\1\2" * 100)
        with pytest.raises(DataError, match="sample rate"):
            read_audio(path, 3600)

    def test_too_many_channels_are_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "a.wav"
        path.write_bytes(wav_header(RATE, 1000, 2**31) + b"\1\2" * 1000)
        with pytest.raises(DataError, match="channels"):
            read_audio(path, 45)


class TestTags:
    def test_a_tag_that_is_not_utf8_does_not_matter(self, tmp_path: Path) -> None:
        path = write_ffmpeg(tmp_path / "a.m4a", noise(1), "aac", "fltp", tags={"title": "Cafe noir"})
        content = path.read_bytes()
        assert b"Cafe noir" in content
        path.write_bytes(content.replace(b"Cafe noir", b"Caf\xe9 noir"))
        assert_one_second(path)


class TestContent:
    @pytest.mark.parametrize("written", ["wav", "flac", "ogg", "mp3"])
    @pytest.mark.parametrize("named", ["wav", "flac", "ogg", "mp3", "m4a"])
    def test_the_content_decides_not_the_extension(self, tmp_path: Path, written: str, named: str) -> None:
        path = tmp_path / f"a.{named}"
        soundfile.write(path, noise(1), RATE, format=written.upper())
        assert_one_second(path)

    def test_aac_in_a_file_named_wav_is_read(self, tmp_path: Path) -> None:
        write_ffmpeg(tmp_path / "a.m4a", noise(1), "aac", "fltp").rename(tmp_path / "a.wav")
        assert_one_second(tmp_path / "a.wav")

    @pytest.mark.parametrize(
        "front", [b"junk!" * 20, bytes(700), b"\xff" * 50, b"ID3\4\0\x10\0\0\0\4" + bytes(4) + b"3DI" + bytes(7)]
    )
    def test_an_mp3_is_read_behind_what_precedes_it(self, tmp_path: Path, front: bytes) -> None:
        soundfile.write(tmp_path / "a.mp3", noise(1), RATE)
        (tmp_path / "b.mp3").write_bytes(front + (tmp_path / "a.mp3").read_bytes())
        assert_one_second(tmp_path / "b.mp3")

    def test_a_flac_without_its_length_is_read(self, tmp_path: Path) -> None:
        soundfile.write(tmp_path / "a.flac", noise(1), RATE)
        content = bytearray((tmp_path / "a.flac").read_bytes())
        # 36 bits count the samples: an encoder that writes to a pipe leaves them at 0.
        content[21:26] = bytes([content[21] & 0xF0, 0, 0, 0, 0])
        (tmp_path / "a.flac").write_bytes(content)
        assert len(read_audio(tmp_path / "a.flac", 9)[0]) == RATE

    @pytest.mark.parametrize("content", [b"these are notes, no audio\n" * 100, b"\0" * 5000, b"MThd\0\0\0\6", b"\xff"])
    @pytest.mark.parametrize("named", ["wav", "mp3", "m4a"])
    def test_files_that_are_not_audio_are_refused(self, tmp_path: Path, content: bytes, named: str) -> None:
        path = tmp_path / f"a.{named}"
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"not WAV|cannot be decoded"):
            read_audio(path, 9)

    def test_an_empty_file_and_one_without_samples_are_refused(self, tmp_path: Path) -> None:
        (tmp_path / "a.wav").touch()
        (tmp_path / "b.wav").write_bytes(wav_header(RATE, 1, 0))
        with pytest.raises(DataError, match="empty"):
            read_audio(tmp_path / "a.wav", 9)
        with pytest.raises(DataError, match="no samples"):
            read_audio(tmp_path / "b.wav", 9)

    def test_a_pipe_is_refused_without_waiting(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "a.wav")
        with pytest.raises(DataError, match="regular file"):
            read_audio(tmp_path / "a.wav", 9)

    @pytest.mark.usefixtures("names_of_any_bytes")
    def test_a_name_that_is_not_utf8_is_read(self, tmp_path: Path) -> None:
        path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.wav"))
        soundfile.write(tmp_path / "a.wav", noise(1), RATE)
        (tmp_path / "a.wav").rename(path)
        assert len(read_audio(path, 9)[0]) == RATE


class TestSamples:
    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
    def test_one_sample_that_is_not_finite_or_huge_refuses_the_file(self, tmp_path: Path, value: float) -> None:
        samples = noise(1)
        samples[RATE // 2] = value
        soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
        with pytest.raises(DataError, match=r"not numbers|beyond full scale"):
            read_audio(tmp_path / "a.wav", 9)

    def test_floats_in_the_scale_of_integers_are_warned_of_and_give_finite_frames(self, tmp_path: Path, caplog) -> None:
        soundfile.write(tmp_path / "a.wav", noise(1) * 2**31, RATE, subtype="FLOAT")
        with caplog.at_level(logging.WARNING):
            samples, rate = read_audio(tmp_path / "a.wav", 9)
        assert "a.wav: samples reach 4.29e+08, expected -1..1" in caplog.text
        assert np.isfinite(mel_frames(samples, rate)).all()

    def test_floats_a_little_over_full_scale_are_nothing_to_warn_of(self, tmp_path: Path, caplog) -> None:
        soundfile.write(tmp_path / "a.wav", noise(1) * 10, RATE, subtype="FLOAT")
        read_audio(tmp_path / "a.wav", 9)
        assert not caplog.records


class TestMpeg:
    def test_damaged_mp3_prints_nothing_to_the_terminal(self, tmp_path: Path, capfd) -> None:
        path = tmp_path / "a.mp3"
        soundfile.write(path, noise(4), RATE, format="MP3")
        content = bytearray(path.read_bytes())
        rng = seeded_rng(0)
        for trial in range(20):
            mutated = bytearray(content)
            for place in rng.integers(0, len(content), 40):
                mutated[place] = rng.integers(256)
            path.write_bytes(mutated[: len(content) - 500 * trial])
            with contextlib.suppress(DataError):
                assert np.isfinite(read_audio(path, 9)[0]).all()
        assert capfd.readouterr() == ("", "")

    def test_a_clean_stream_is_followed_to_its_end_between_tags(self, tmp_path: Path) -> None:
        soundfile.write(tmp_path / "a.mp3", noise(4), RATE, format="MP3")
        content = (tmp_path / "a.mp3").read_bytes()
        id3v2 = b"ID3\4\0\0\0\0\1\0" + bytes(128)
        stream = read_stream(id3v2 + content + b"TAG".ljust(128, b"\0"))
        assert stream is not None
        assert stream.clean
        assert (stream.start, stream.stop) == (len(id3v2), len(id3v2) + len(content))
        assert stream.samples == pytest.approx(4 * RATE, abs=4000)

    def test_what_others_print_during_decoding_still_appears(self, capfd) -> None:
        with without_mpg123_messages():
            os.write(2, b"one\n[src/libmpg123/layer3.c:1804] error: dequantization failed!\ntwo\n")
        assert capfd.readouterr().err == "one\ntwo\n"

    def test_decoding_works_without_a_standard_error_stream(self, tmp_path: Path) -> None:
        soundfile.write(tmp_path / "a.mp3", noise(1), RATE, format="MP3")
        program = (
            "import os, sys; from pathlib import Path; from kelly_core.data.readers.audio import read_audio; "
            "os.close(2); print(len(read_audio(Path(sys.argv[1]), 9)[0]))"
        )
        command = [sys.executable, "-c", program, str(tmp_path / "a.mp3")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert int(done.stdout) == pytest.approx(RATE, abs=3000)


def test_the_handed_files_are_read_or_refused(shared_cases: Path) -> None:
    folder = shared_cases / "audio"
    reference, _ = read_audio(folder / "stereo_reference.flac", 9)
    np.testing.assert_array_equal(read_audio(folder / "stereo_alac.m4a", 9)[0], reference)
    decoded, rate = read_audio(folder / "vbr_without_xing_10s.mp3", 60)
    assert len(decoded) / rate == pytest.approx(10, abs=0.1)
    assert len(read_audio(folder / "tag_not_utf8.m4a", 5)[0]) == 5 * RATE
    with pytest.raises(DataError, match="2114711074 Hz"):
        read_audio(folder / "wav_header_claims_24_GiB.wav", 45)


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
def test_a_truncated_file_is_read_up_to_its_end(tmp_path: Path, name: str, capfd) -> None:
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
