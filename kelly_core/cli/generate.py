"""``kelly-core generate``: music as a MIDI file, from audio or an emotion, through the files that the plugin loads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import numpy as np
import typer

from kelly_core.cli.console import print_result
from kelly_core.cli.features import load_mel_frames
from kelly_core.cli.options import MkdirOption
from kelly_core.errors import ConfigError, DataError, KellyError
from kelly_core.io.outputs import Output, check_outputs
from kelly_core.spec import MODELS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kelly_core.chain import ChainOutput, ModelChain

_AUDIO_SECONDS = 600.0
_CONSTANT_BARS, _CONSTANT_FRAMES = 16, 64
_MOST_BARS = 1024


class _Heard(NamedTuple):
    """What a piece is made from: the chain's frames, the audio's mel frames where there is audio, and a title."""

    output: ChainOutput
    mel: NDArray[np.float32] | None
    title: str


def generate(
    audio: Annotated[Path | None, typer.Argument(help="Audio to follow, ten minutes of it at most.")] = None,
    models: Annotated[Path, typer.Option("--models", help="Folder of the five exports.")] = Path("models"),
    output: Annotated[Path, typer.Option("--output", "-o", help="MIDI file to write.")] = Path("out.mid"),
    valence: Annotated[float | None, typer.Option(min=-1, max=1, help="Instead of audio, with --arousal.")] = None,
    arousal: Annotated[float | None, typer.Option(min=-1, max=1, help="Instead of audio, with --valence.")] = None,
    curve: Annotated[Path | None, typer.Option(help="Instead of audio: CSV with time, valence, arousal.")] = None,
    bars: Annotated[
        int | None, typer.Option(min=1, max=_MOST_BARS, help="Length.", show_default="that of what is followed, or 16")
    ] = None,
    bpm: Annotated[float | None, typer.Option(min=30, max=300, help="Tempo.", show_default="follows arousal")] = None,
    key: Annotated[str, typer.Option(help="Tonic; valence decides on major or minor.")] = "C",
    seed: Annotated[int, typer.Option(min=0, help="Another seed gives another piece.")] = 0,
    plot: Annotated[Path | None, typer.Option(help="PNG to draw: audio, emotion, chords and notes.")] = None,
    mkdir: MkdirOption = False,
) -> None:
    """Write the music that the five models make of audio or of a given emotion, as a MIDI file.

    The same input, models and seed give the same file, byte by byte.
    """
    given = [audio is not None, curve is not None, valence is not None or arousal is not None]
    if sum(given) != 1 or (valence is None) != (arousal is None):
        raise ConfigError("give one of AUDIO, --curve, or --valence with --arousal")
    tonic = _tonic(key)
    outputs = [Output(output, "--output"), *([] if plot is None else [Output(plot, "--plot")])]
    exports = [models / f"{spec.file_stem}.json" for spec in MODELS]
    check_outputs(outputs, [path for path in (audio, curve, *exports) if path is not None], create_folders=mkdir)

    from kelly_core.chain import ModelChain
    from kelly_core.composition.composer import compose
    from kelly_core.composition.score import midi_bytes
    from kelly_core.io.atomic import atomic_write

    if valence is not None and bars is None:
        bars = _CONSTANT_BARS
    heard = _listen(ModelChain.load(models), audio, curve, valence or 0.0, arousal or 0.0)
    score = compose(heard.output, bars=bars, seed=seed, bpm=bpm, tonic=tonic)
    content = midi_bytes(score)
    atomic_write(output, lambda stream: stream.write(content), error=KellyError)
    print_result(f"wrote {output}: {score.summary()}")
    if plot is not None:
        from kelly_core.composition.picture import draw

        draw(plot, score, heard.output, heard.mel, heard.title)
        print_result(f"wrote {plot}")


def _listen(chain: ModelChain, audio: Path | None, curve: Path | None, valence: float, arousal: float) -> _Heard:
    """Put audio, a curve or a constant emotion through the chain."""
    if audio is not None:
        mel, _ = load_mel_frames(audio, _AUDIO_SECONDS)
        return _Heard(chain.run(mel), mel, audio.name)
    if curve is not None:
        from kelly_core.data.affect_curve import read_curve

        return _Heard(chain.follow(*read_curve(curve)), None, curve.name)
    frames = np.ones(_CONSTANT_FRAMES)
    title = f"valence {valence:g}, arousal {arousal:g}"
    return _Heard(chain.follow(valence * frames, arousal * frames), None, title)


def _tonic(key: str) -> int:
    """Pitch class of a tonic's name, as a chord's root is written."""
    from kelly_core.music.chord_symbols import parse_note

    try:
        return parse_note(key)
    except DataError as error:
        hint = "Examples: C, F#, Bb; valence decides on major or minor"
        raise ConfigError(f"{key!r} is not a tonic", where="--key", hint=hint) from error
