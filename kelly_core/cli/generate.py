"""``kelly-core generate``: music as a MIDI file, from audio or an emotion, with the exports that the plugin loads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import numpy as np
import typer

from kelly_core.cli.console import print_result
from kelly_core.cli.features import load_mel_frames
from kelly_core.cli.help import MUSIC_PANEL, OUTPUT_PANEL
from kelly_core.cli.options import ExportFolderOption, MkdirOption
from kelly_core.errors import ConfigError, DataError, KellyError
from kelly_core.io.outputs import Output, check_outputs
from kelly_core.spec import MODELS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kelly_core.chain import ChainOutput, ModelChain

_AUDIO_SECONDS = 600.0
_CONSTANT_BARS, _CONSTANT_FRAMES = 16, 64
_MOST_BARS = 1024
_EMOTION_PANEL = "Emotion, in place of audio"


class _Heard(NamedTuple):
    """Input of a piece: the chain's outputs, the audio's mel frames if there is audio, and a title."""

    output: ChainOutput
    mel: NDArray[np.float32] | None
    title: str


AudioArgument = Annotated[
    Path | None, typer.Argument(metavar="AUDIO", help="Audio file to follow, at most its first ten minutes.")
]
ValenceOption = Annotated[
    float | None,
    typer.Option(
        min=-1,
        max=1,
        metavar="X",
        help="Constant valence in place of audio; needs --arousal (default none).",
        rich_help_panel=_EMOTION_PANEL,
    ),
]
ArousalOption = Annotated[
    float | None,
    typer.Option(
        min=-1,
        max=1,
        metavar="X",
        help="Constant arousal in place of audio; needs --valence (default none).",
        rich_help_panel=_EMOTION_PANEL,
    ),
]
CurveOption = Annotated[
    Path | None,
    typer.Option(
        metavar="CSV",
        help="Table with the columns time (s), valence and arousal, in place of audio (default none).",
        rich_help_panel=_EMOTION_PANEL,
    ),
]
BarsOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=_MOST_BARS,
        metavar="N",
        help=f"Length (bars; default that of the audio or curve, {_CONSTANT_BARS} for a constant emotion).",
        rich_help_panel=MUSIC_PANEL,
    ),
]
BpmOption = Annotated[
    float | None,
    typer.Option(
        min=30,
        max=300,
        metavar="BPM",
        help="Constant tempo (beats per minute; default follows arousal).",
        rich_help_panel=MUSIC_PANEL,
    ),
]
KeyOption = Annotated[
    str,
    typer.Option(
        metavar="TONIC",
        help="Tonic, such as F# or Bb (default C). Positive valence gives major, negative minor.",
        rich_help_panel=MUSIC_PANEL,
    ),
]
SeedOption = Annotated[
    int,
    typer.Option(
        min=0, metavar="N", help="Random seed; each gives another piece (default 0).", rich_help_panel=MUSIC_PANEL
    ),
]
OutputOption = Annotated[
    Path,
    typer.Option("--output", "-o", help="MIDI file to write (default out.mid).", rich_help_panel=OUTPUT_PANEL),
]
PlotOption = Annotated[
    Path | None,
    typer.Option(
        metavar="PNG",
        help="Image of audio, emotion, chords and notes to write (default none).",
        rich_help_panel=OUTPUT_PANEL,
    ),
]


def generate(
    audio: AudioArgument = None,
    valence: ValenceOption = None,
    arousal: ArousalOption = None,
    curve: CurveOption = None,
    models: ExportFolderOption = Path("models"),
    bars: BarsOption = None,
    bpm: BpmOption = None,
    key: KeyOption = "C",
    seed: SeedOption = 0,
    output: OutputOption = Path("out.mid"),
    plot: PlotOption = None,
    mkdir: MkdirOption = False,
) -> None:
    """Generate music from audio or from a given emotion with the five models, as a MIDI file.

    Give one of AUDIO, --curve, or --valence with --arousal. The same input, models and seed give the same file, byte
    by byte.

    Examples:
      kelly-core generate song.wav --models models -o tune.mid --plot tune.png
      kelly-core generate --valence -0.6 --arousal 0.4 --bars 32 --key A
      kelly-core generate --curve emotion.csv --seed 7
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
    """Run the chain on audio, a curve or a constant emotion."""
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
    """Return the pitch class of a tonic, spelled like the root of a chord."""
    from kelly_core.music.chord_symbols import parse_note

    try:
        return parse_note(key)
    except DataError as error:
        hint = "Examples: C, F#, Bb; valence decides on major or minor"
        raise ConfigError(f"{key!r} is not a tonic", where="--key", hint=hint) from error
