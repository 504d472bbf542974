"""Beats, bars and key of recordings whose tempo, key and first bar are known, and the context that is heard."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import librosa
import numpy as np
import pytest

from kelly_core.errors import DataError
from kelly_core.music.audio_analysis import Pulse, analyze_recording, audio_measures, librosa_cache_lock
from kelly_core.music.context import AUDIO_DESCRIPTORS, NAMES, context_from_audio
from tests.helpers.music import RATE, chords_and_clicks
from tests.seeds import seeded_rng

TOLERANCE = 0.02
"""Seconds. The tracker's frames are 12 ms apart; onsets 20 ms apart are heard as one."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bpm", "tonic", "mode", "first_bar", "clicks"),
    [
        (84.0, 5, "minor", 0.9, True),
        (120.0, 0, "major", 0.0, True),
        (97.3, 9, "minor", 1.4, False),
        (133.0, 3, "major", 0.4, True),
    ],
)
def test_tempo_bars_and_key_of_a_recording_are_found(
    bpm: float, tonic: int, mode: str, first_bar: float, clicks: bool
) -> None:
    recording = analyze_recording(chords_and_clicks(bpm, tonic, mode, first_bar, clicks=clicks), RATE)
    assert recording.pulse is not None
    assert recording.pulse.constant
    # A tempo that is off by this part is 20 ms late after 24 s.
    assert recording.pulse.bpm == pytest.approx(bpm, rel=TOLERANCE / 24)
    downbeats = recording.pulse.downbeats()
    late = (downbeats - first_bar + 120 / bpm) % (240 / bpm) - 120 / bpm
    assert np.abs(late).max() < TOLERANCE
    key = recording.key()
    assert key is not None
    assert (key.tonic, key.mode) == (tonic, mode)


@pytest.mark.slow
def test_a_given_tempo_is_kept_and_only_its_phase_is_found() -> None:
    recording = analyze_recording(chords_and_clicks(100, 0, "major", 0.5), RATE, bpm=100)
    assert recording.pulse is not None
    assert recording.pulse.bpm == pytest.approx(100, rel=1e-9)
    assert (recording.pulse.beats[0] - 0.5 + 0.3) % 0.6 - 0.3 == pytest.approx(0, abs=TOLERANCE)
    # C major's relative minor has the same notes; of the two keys on A only the minor one fits.
    key = recording.key(9)
    assert key is not None
    assert (key.tonic, key.mode) == (9, "minor")


@pytest.mark.slow
def test_a_tempo_that_changes_is_followed() -> None:
    """Half the recording at 100, half at 112 bpm."""
    halves = [chords_and_clicks(bpm, 0, "major", 0.0, seconds=24.0) for bpm in (100, 112)]
    pulse = analyze_recording(np.concatenate(halves), RATE).pulse
    assert pulse is not None
    assert not pulse.constant
    early, late = (float(np.median(np.diff(part))) for part in (pulse.beats[:30], pulse.beats[-30:]))
    assert 60 / early == pytest.approx(100, rel=0.02)
    assert 60 / late == pytest.approx(112, rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("samples", [np.zeros(10 * RATE), seeded_rng(0).uniform(-0.01, 0.01, 2 * RATE)])
def test_silence_and_short_noise_have_no_pulse(samples: np.ndarray) -> None:
    recording = analyze_recording(samples, RATE)
    assert recording.pulse is None
    assert (recording.key() is None) == (not samples.any())


def test_bars_beyond_the_beats_have_the_length_of_the_last() -> None:
    pulse = Pulse(0.5 * np.arange(10) + 0.3, constant=True)
    assert pulse.downbeats().tolist() == pytest.approx([0.3, 2.3, 4.3])
    assert pulse.downbeats(4).tolist() == pytest.approx([0.3, 2.3, 4.3, 6.3, 8.3])
    assert pulse.bpm == pytest.approx(120)


def test_a_first_bar_that_no_lead_in_can_reach_is_left_out() -> None:
    assert Pulse(0.5 * np.arange(16) + 0.1, constant=True).downbeats()[0] == pytest.approx(2.1)
    assert Pulse(0.5 * np.arange(16) - 0.005, constant=True).downbeats()[0] == 0


def test_higher_and_denser_audio_is_heard_as_such_at_any_level() -> None:
    rate = 16_000
    time = np.arange(4 * rate) / rate

    def clicks(hertz: float, per_second: int) -> np.ndarray:
        return (np.sin(2 * np.pi * hertz * time) * np.exp(-12 * ((time * per_second) % 1))).astype(np.float32)

    low, high = audio_measures(0.1 * clicks(220, 1), rate), audio_measures(0.4 * clicks(880, 4), rate)
    assert (high > low).all()
    assert low[AUDIO_DESCRIPTORS.index("density")] == pytest.approx(1, abs=0.5)
    assert high[AUDIO_DESCRIPTORS.index("density")] == pytest.approx(4, abs=1)
    heard = context_from_audio(np.stack([low, high]))
    assert (np.diff(heard[:, [NAMES.index(name) for name in AUDIO_DESCRIPTORS]], axis=0) > 0).all()
    assert not heard[:, [number for number, name in enumerate(NAMES) if name not in AUDIO_DESCRIPTORS]].any()
    np.testing.assert_allclose(audio_measures(0.2 * clicks(220, 1), rate), low, atol=1e-3)


def test_silence_is_measured_and_nothing_is_refused() -> None:
    assert np.isfinite(audio_measures(np.zeros(8_000, np.float32), 8_000)).all()
    with pytest.raises(DataError, match="shorter than"):
        audio_measures(np.zeros(10, np.float32), 8_000)


NOISE = seeded_rng(0).uniform(-0.01, 0.01, RATE)


@pytest.mark.parametrize("function", [analyze_recording, audio_measures], ids=lambda function: function.__name__)
def test_librosa_is_imported_by_one_at_a_time(function: Callable[..., object]) -> None:
    ended = threading.Event()
    thread = threading.Thread(target=lambda: (function(NOISE, RATE), ended.set()), daemon=True)
    with librosa_cache_lock():
        thread.start()
        assert not ended.wait(0.2)
    assert ended.wait(120)
    thread.join()


def test_a_child_that_was_forked_meanwhile_does_not_keep_the_lock() -> None:
    read, write = os.pipe()
    with librosa_cache_lock():
        child = os.fork()
        if not child:
            os.close(write)
            os.read(read, 1)
            os._exit(0)
    try:
        taken = threading.Event()

        def take() -> None:
            with librosa_cache_lock():
                taken.set()

        threading.Thread(target=take, daemon=True).start()
        assert taken.wait(10)
    finally:
        os.close(write)
        os.waitpid(child, 0)


def test_without_locks_on_the_file_system_librosa_is_imported_nevertheless(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(handle: int, operation: int) -> None:
        raise OSError(95, f"no locks: {operation} of {handle}")

    monkeypatch.setattr("kelly_core.music.audio_analysis.fcntl.flock", refuse)
    with librosa_cache_lock():
        assert Path(str(librosa.__file__)).is_file()
