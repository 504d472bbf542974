"""Play and render MIDI files with an installed synthesizer program."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Timer

import numpy as np

from kelly_core.arrays import Floats
from kelly_core.errors import DataError, KellyError

SOUNDFONT_FOLDERS = (
    Path("/usr/share/sounds/sf2"),
    Path("/usr/share/sounds/sf3"),
    Path("/usr/share/soundfonts"),
    Path("/usr/local/share/soundfonts"),
    Path("/opt/homebrew/share/soundfonts"),
)
"""Folders in which distributions and Homebrew install SoundFonts."""
_RATE = "44100"
_FLUIDSYNTH = "fluidsynth"
_FLUIDSYNTH_RATE = 22_050
_FLUIDSYNTH_GAIN = 0.6
_CHANNELS, _SAMPLE_BYTES = 2, 2
_MAX_SECONDS = 120.0
"""Timeout of fluidsynth for the samples of one file."""


@dataclass(frozen=True)
class Synthesizer:
    """A program that plays MIDI files and renders them as WAV.

    Attributes:
        program: its path.
        play: arguments that play a MIDI file.
        render: arguments that render a MIDI file (first parameter) as a WAV file (second parameter).
    """

    program: str
    play: Callable[[str], list[str]]
    render: Callable[[str, str], list[str]]


def find_synthesizer() -> Synthesizer:
    """Return the first of fluidsynth and timidity that is installed.

    Raises:
        KellyError: neither is installed.
    """
    if program := shutil.which(_FLUIDSYNTH):
        soundfont = find_soundfont()
        # Without the argument, fluidsynth uses the SoundFont of its settings.
        font = [] if soundfont is None else [str(soundfont)]
        return Synthesizer(
            program,
            lambda midi: ["-qni", *font, midi],
            lambda midi, wav: ["-qni", "-F", wav, "-r", _RATE, *font, midi],
        )
    if program := shutil.which("timidity"):
        return Synthesizer(program, lambda midi: [midi], lambda midi, wav: [midi, "-Ow", "-s", _RATE, "-o", wav])
    raise KellyError(
        "expected fluidsynth or timidity to make sound, found neither in PATH",
        hint="Install fluidsynth with a SoundFont, or open the MIDI file in another player",
    )


def find_soundfont() -> Path | None:
    """Return the first installed SoundFont, by folder and name; None if there is none."""
    for folder in SOUNDFONT_FOLDERS:
        for file in sorted(folder.glob("*")):
            if file.suffix.lower() in {".sf2", ".sf3"}:
                return file
    return None


def playable_soundfont() -> Path | None:
    """Return the first installed SoundFont; None if there is none, or no fluidsynth to play it."""
    return find_soundfont() if shutil.which(_FLUIDSYNTH) is not None else None


def play_midi(synthesizer: Synthesizer, midi: Path) -> None:
    """Play a MIDI file to its end.

    Raises:
        KellyError: the program fails.
    """
    _run([synthesizer.program, *synthesizer.play(str(midi.absolute()))])


def render_wav(synthesizer: Synthesizer, midi: Path, wav: Path) -> None:
    """Write a MIDI file as WAV.

    Raises:
        KellyError: the program fails, or writes no file.
    """
    _run([synthesizer.program, *synthesizer.render(str(midi.absolute()), str(wav.absolute()))])
    if not wav.is_file():
        raise KellyError(f"{Path(synthesizer.program).name} wrote no file", where=wav)


def render_samples(midi: Path, seconds: float, soundfont: Path) -> tuple[Floats, int]:
    """Return mono audio [n], -1..1, of the first seconds of a MIDI file by fluidsynth, and its sample rate.

    Raises:
        DataError: fluidsynth cannot be run, or produces no audio.
    """
    # No MIDI input, no shell, no reverb, no chorus; samples of 16 bits to the standard output.
    options = f"-n -i -q -r {_FLUIDSYNTH_RATE} -g {_FLUIDSYNTH_GAIN} -R 0 -C 0 -T raw -O s16 -F -"
    command = [_FLUIDSYNTH, *options.split(), str(soundfont), str(midi.resolve())]
    wanted = round(seconds * _FLUIDSYNTH_RATE) * _CHANNELS * _SAMPLE_BYTES
    with DataError.from_os_error(f"{_FLUIDSYNTH} cannot be run", where=midi):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    with process:
        # With a corrupt SoundFont, fluidsynth might never exit.
        timer = Timer(_MAX_SECONDS, process.kill)
        timer.start()
        assert process.stdout is not None
        content = process.stdout.read(wanted)
        # The rest of a long song is not needed.
        process.kill()
        timer.cancel()
    frames = len(content) // (_CHANNELS * _SAMPLE_BYTES)
    if not frames:
        raise DataError(f"{_FLUIDSYNTH} gave no audio", where=midi, hint=f"Check {soundfont}")
    stereo = np.frombuffer(content, "<i2", frames * _CHANNELS).reshape(frames, _CHANNELS)
    samples: Floats = (stereo.mean(axis=1) / 32768).astype(np.float32)
    return samples, _FLUIDSYNTH_RATE


def _run(command: Sequence[str]) -> None:
    name = Path(command[0]).name
    with KellyError.from_os_error("cannot be started", where=command[0]):
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        words = done.stderr.decode(errors="replace").strip().splitlines()
        raise KellyError(f"{name} ended with code {done.returncode}: {words[-1] if words else 'no message'}")
