"""Two processes that compile librosa's functions at the same time would damage their cache."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import librosa
import pytest

from kelly_core.music.beats import analyze_recording
from kelly_core.music.context import audio_measures
from kelly_core.music.librosa_cache import librosa_cache_lock
from tests.helpers.recordings import RATE
from tests.seeds import seeded_rng

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

    monkeypatch.setattr("kelly_core.music.librosa_cache.fcntl.flock", refuse)
    with librosa_cache_lock():
        assert Path(str(librosa.__file__)).is_file()
