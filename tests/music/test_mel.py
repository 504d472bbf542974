from __future__ import annotations

import json

import numpy as np
import pytest

from kelly_core.arrays import Doubles, Floats
from kelly_core.errors import DataError
from kelly_core.music import mel
from kelly_core.music.audio_analysis import librosa_cache_lock
from kelly_core.music.mel import fft_size, hop_length, mel_filterbank, mel_frames, transpose_frames, window_length
from tests.seeds import seeded_rng

with librosa_cache_lock():
    import librosa.util.utils


def band_limited_noise(sample_rate: int, seconds: int, cutoff: float) -> Doubles:
    """The same pulsating pink-like noise at any sample rate, without anything above ``cutoff`` Hz."""
    rng = seeded_rng(0)
    bins = int(cutoff * seconds)
    spectrum = np.zeros(sample_rate * seconds // 2 + 1, complex)
    tilt = 1 / np.sqrt(np.maximum(np.arange(bins) / seconds, 40.0))
    spectrum[:bins] = (rng.standard_normal(bins) + 1j * rng.standard_normal(bins)) * tilt
    spectrum[1 : bins - 50] += 0.7 * spectrum[51:bins]
    return np.fft.irfft(spectrum) * sample_rate


@pytest.mark.parametrize(
    ("sample_rate", "window", "nfft", "hop"),
    [(22_050, 2048, 2048, 441), (44_100, 4096, 4096, 882), (48_000, 4458, 8192, 960), (11_025, 1024, 1024, 220)],
)
def test_sizes_follow_the_sample_rate(sample_rate: int, window: int, nfft: int, hop: int) -> None:
    assert (window_length(sample_rate), fft_size(sample_rate), hop_length(sample_rate)) == (window, nfft, hop)


@pytest.mark.parametrize(("sample_rate", "nfft"), [(22_050, 2048), (44_100, 4096), (48_000, 8192)])
def test_filterbank_is_librosas_slaney_scale(sample_rate: int, nfft: int) -> None:
    heights = librosa.filters.mel(
        sr=sample_rate, n_fft=nfft, n_mels=128, fmin=30, fmax=10_000, htk=False, norm=None, dtype=np.float64
    )
    edges = librosa.mel_frequencies(130, fmin=30, fmax=10_000, htk=False)
    scale = 2 / (edges[2:] - edges[:-2]) * sample_rate / nfft
    np.testing.assert_allclose(mel_filterbank(sample_rate, nfft), heights.T * scale, atol=1e-9)


def test_bands_integrate_a_flat_density_to_one() -> None:
    """Where the bands are many bins wide; the sum over bins stands for the integral over frequency."""
    np.testing.assert_allclose(mel_filterbank(44_100, 4096).sum(axis=0)[80:], 1, atol=0.01)


def test_a_frame_is_what_a_slow_transform_gives() -> None:
    sample_rate, length, nfft, hop = 8000, 743, 1024, 160
    samples = seeded_rng(1).normal(scale=0.1, size=24 * hop + length)
    n, k = np.arange(length), np.arange(nfft // 2 + 1)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * n / length)
    fourier = np.exp(-2j * np.pi * np.outer(n, k) / nfft)
    windows = np.array([samples[j * hop : j * hop + length] * window for j in range(25)])
    power = (np.abs(windows @ fourier) ** 2 / window.sum() ** 2).mean(axis=0)
    expected = 10 * np.log10(np.maximum(power @ mel_filterbank(sample_rate, nfft), 1e-10))
    frames = mel_frames(samples, sample_rate)
    assert frames.shape == (1, 128)
    assert frames.dtype == np.float32
    np.testing.assert_allclose(frames[0], expected, atol=1e-3)


@pytest.mark.parametrize("tone_bin", [40, 93, 400])
def test_a_tone_has_the_level_of_its_three_bins(tone_bin: int) -> None:
    """The Hann window spreads a tone of amplitude A on a bin as A²/4 there and A²/16 on both sides."""
    sample_rate, amplitude = 22_050, 0.5
    time = np.arange(2 * sample_rate) / sample_rate
    frames = mel_frames(amplitude * np.sin(2 * np.pi * tone_bin * sample_rate / 2048 * time), sample_rate)
    power = np.zeros(1025)
    power[tone_bin - 1 : tone_bin + 2] = amplitude**2 * np.array([1 / 16, 1 / 4, 1 / 16])
    expected = power @ mel_filterbank(sample_rate, 2048)
    heard = expected > 1e-6
    assert heard.any()
    np.testing.assert_allclose(frames[:, heard], np.tile(10 * np.log10(expected[heard]), (3, 1)), atol=0.01)


def test_silence_is_the_floor_and_loudness_is_absolute() -> None:
    noise = seeded_rng(2).normal(scale=0.01, size=22_050)
    np.testing.assert_allclose(mel_frames(np.zeros(22_050), 22_050), -100, rtol=1e-6)
    np.testing.assert_allclose(mel_frames(2 * noise, 22_050) - mel_frames(noise, 22_050), 20 * np.log10(2), atol=1e-3)


@pytest.mark.parametrize("sample_rate", [44_100, 48_000])
def test_frames_do_not_depend_on_the_sample_rate(sample_rate: int) -> None:
    reference = mel_frames(band_limited_noise(22_050, 8, 10_900), 22_050)
    frames = mel_frames(band_limited_noise(sample_rate, 8, 10_900), sample_rate)
    difference = frames[: len(reference)] - reference
    assert np.abs(difference).max() < 0.6
    assert abs(difference.mean()) < 0.02


@pytest.mark.parametrize("sample_rate", [22_050, 44_100])
def test_only_complete_frames_are_given(sample_rate: int) -> None:
    enough = 24 * hop_length(sample_rate) + window_length(sample_rate)
    assert [len(mel_frames(np.ones(n), sample_rate)) for n in (0, 100, enough - 1, enough)] == [0, 0, 0, 1]
    assert len(mel_frames(np.zeros(45 * sample_rate), sample_rate)) == 89


@pytest.mark.parametrize("sample_rate", [22_050, 48_000])
def test_a_frame_is_there_as_soon_as_it_is_complete(sample_rate: int) -> None:
    start, end, complete = mel.frame_times(3, sample_rate).T
    np.testing.assert_allclose(start, [0, 0.5, 1])
    np.testing.assert_allclose(end, [0.5, 1, 1.5])
    for count, time in enumerate(complete):
        needed = round(time * sample_rate)
        assert [len(mel_frames(np.ones(n), sample_rate)) for n in (needed - 1, needed)] == [count, count + 1]


def test_a_tone_is_loudest_in_the_band_at_whose_center_it_is() -> None:
    time = np.arange(22_050) / 22_050
    for band in (20, 60, 100):
        tone = np.sin(2 * np.pi * mel.band_centers()[band] * time)
        assert mel_frames(tone, 22_050)[0].argmax() == band


def test_a_frame_depends_on_its_half_second_and_on_one_window_more_at_most() -> None:
    sample_rate = 22_050
    samples = seeded_rng(3).normal(scale=0.1, size=2 * sample_rate)
    frames = mel_frames(samples, sample_rate)
    begin, end = sample_rate // 2, sample_rate + window_length(sample_rate) - hop_length(sample_rate)
    outside = samples.copy()
    outside[:begin] = outside[end:] = 0
    inside = samples.copy()
    inside[end - 200 : end] *= 3
    np.testing.assert_array_equal(mel_frames(outside, sample_rate)[1], frames[1])
    assert not np.array_equal(mel_frames(inside, sample_rate)[1], frames[1])


@pytest.mark.parametrize("sample_rate", [11_025, 22_050, 44_100, 48_000, 96_000])
def test_metadata_give_the_rules_for_every_sample_rate(sample_rate: int) -> None:
    facts = mel.features_metadata(np.zeros(128), np.ones(128))
    given = {"round": round, "sample_rate": sample_rate, "hop_seconds": facts["hop_seconds"]}
    assert eval(facts["window_rule"], given) == window_length(sample_rate)
    assert eval(facts["hop_rule"].removesuffix(", halves to the even number"), given) == hop_length(sample_rate)


def test_metadata_contains_everything_that_a_plugin_needs() -> None:
    facts = json.loads(json.dumps(mel.features_metadata(np.arange(128.0), np.ones(128))))
    assert facts["frame_rate_hz"] == 2.0
    assert facts["hop_samples"] == 441
    assert facts["nfft"] == 2048
    assert facts["mean"] == list(range(128))
    assert len(facts["std"]) == facts["bands"] == 128


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e25, -1e38])
def test_frames_that_are_not_finite_are_refused(value: float) -> None:
    samples = np.zeros(22_050)
    samples[5_000] = value
    with pytest.raises(DataError, match="not finite"):
        mel_frames(samples, 22_050)


@pytest.mark.parametrize("semitones", [-6, -1, 5])
def test_transposed_frames_are_about_those_of_transposed_music(semitones: int) -> None:
    rate = 22_050
    time = np.arange(2 * rate) / rate

    def chord(by: int) -> Floats:
        waves = [np.sin(2 * np.pi * hertz * 2 ** (by / 12) * time) for hertz in (440, 660, 880, 2000, 3000)]
        return mel_frames((0.05 * np.sum(waves, axis=0)).astype(np.float32), rate)

    plain, moved = chord(0), chord(semitones)
    transposed = transpose_frames(plain, semitones)
    assert transposed.dtype == np.float32
    np.testing.assert_array_equal(transpose_frames(plain, 0), plain)
    # The width of a tone is that of the window at any pitch, and that of a band changes with it.
    assert np.abs(transposed - moved).mean() < 0.5 * np.abs(plain - moved).mean()
    assert np.corrcoef(transposed.ravel(), moved.ravel())[0, 1] > 0.9
