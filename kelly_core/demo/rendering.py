"""Render MIDI files as audio: by fluidsynth, an external program, or else by the program's own sines."""

from __future__ import annotations

import io
import shutil
import subprocess
from pathlib import Path
from threading import Timer

import numpy as np

from kelly_core.arrays import Floats
from kelly_core.composition.synthesizer import find_soundfont
from kelly_core.data.readers import midi
from kelly_core.demo.synth import notes_wav_bytes
from kelly_core.errors import DataError

PROGRAM = "fluidsynth"
SAMPLE_RATE = 22_050

_CHANNELS, _SAMPLE_BYTES = 2, 2
_GAIN = 0.6
_MOST_SECONDS = 120.0
"""Limit of the time that fluidsynth takes for one file."""
_TAIL_SECONDS = 1.0


def playable_soundfont() -> Path | None:
    """Return the first installed SoundFont; None if there is none, or no fluidsynth to play it."""
    return find_soundfont() if shutil.which(PROGRAM) is not None else None


def render(path: Path, seconds: float, soundfont: Path | None) -> tuple[Floats, int]:
    """Return mono audio [n], -1..1, of the first seconds of a MIDI file, and its sample rate.

    Args:
        path: the MIDI file.
        seconds: maximum length.
        soundfont: instruments for fluidsynth; None renders the pitched notes as sines of one timbre.

    Raises:
        DataError: the file holds no note, or fluidsynth gives no audio.
    """
    notes = midi.read_notes(path)
    if soundfont is not None:
        return _from_fluidsynth(path, seconds, soundfont), SAMPLE_RATE
    import soundfile

    end = float((notes.onset + notes.duration).max()) + _TAIL_SECONDS
    with soundfile.SoundFile(io.BytesIO(notes_wav_bytes(notes, min(seconds, end)))) as file:
        return file.read(dtype="float32", always_2d=True)[:, 0], file.samplerate


def _from_fluidsynth(path: Path, seconds: float, soundfont: Path) -> Floats:
    command = [PROGRAM, "-n", "-i", "-q", "-r", str(SAMPLE_RATE), "-g", str(_GAIN), "-R", "0", "-C", "0"]
    command += ["-T", "raw", "-O", "s16", "-F", "-", str(soundfont), str(path.resolve())]
    wanted = round(seconds * SAMPLE_RATE) * _CHANNELS * _SAMPLE_BYTES
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except OSError as error:
        raise DataError(f"{PROGRAM} cannot be run ({error.strerror})", where=path) from error
    with process:
        timer = Timer(_MOST_SECONDS, process.kill)
        timer.start()
        assert process.stdout is not None
        content = process.stdout.read(wanted)
        # The rest of a long song is not needed.
        process.kill()
        timer.cancel()
    frames = len(content) // (_CHANNELS * _SAMPLE_BYTES)
    if not frames:
        raise DataError(f"{PROGRAM} gave no audio", where=path, hint=f"Check {soundfont}")
    stereo = np.frombuffer(content, "<i2", frames * _CHANNELS).reshape(frames, _CHANNELS)
    samples: Floats = (stereo.mean(axis=1) / 32768).astype(np.float32)
    return samples
