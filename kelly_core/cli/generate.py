"""``kelly-core generate``: write music as a MIDI file, from audio or an emotion, with the exports for the plugin."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from kelly_core.cli.console import print_result, print_status
from kelly_core.cli.features import load_audio
from kelly_core.cli.help import MUSIC_PANEL, OUTPUT_PANEL, option
from kelly_core.cli.options import ExportFolderOption, MkdirOption, Output, check_outputs
from kelly_core.errors import ConfigError, DataError, KellyError
from kelly_core.spec import CHAIN_MODELS

if TYPE_CHECKING:
    from kelly_core.arrays import Floats
    from kelly_core.chain import ChainOutput, ModelChain
    from kelly_core.composition.harmony import Mode
    from kelly_core.composition.score import Score
    from kelly_core.composition.synthesizer import Synthesizer
    from kelly_core.music.audio_analysis import Recording

_AUDIO_SECONDS = 600.0
_CONSTANT_BARS, _CONSTANT_FRAMES = 16, 64
_MAX_BARS = 1024
_CONTEXT_PANEL = "Musical context, for models that take it"
_EMOTION_PANEL = "Emotion, in place of audio"


class _Input(NamedTuple):
    """Input of a piece.

    Attributes:
        output: output frames of the chain.
        title: name of the audio or the emotion.
        mel: mel frames of the audio; None without audio.
        recording: beats and key of the audio; None if the piece does not follow it.
    """

    output: ChainOutput
    title: str
    mel: Floats | None = None
    recording: Recording | None = None


AudioArgument = Annotated[
    Path | None, typer.Argument(metavar="AUDIO", help="Audio file to follow, at most its first ten minutes.")
]
ValenceOption = Annotated[
    float | None,
    option(
        _EMOTION_PANEL,
        "Constant valence in place of audio; needs --arousal (default none).",
        min=-1,
        max=1,
        metavar="X",
    ),
]
ArousalOption = Annotated[
    float | None,
    option(
        _EMOTION_PANEL,
        "Constant arousal in place of audio; needs --valence (default none).",
        min=-1,
        max=1,
        metavar="X",
    ),
]
CurveOption = Annotated[
    Path | None,
    option(
        _EMOTION_PANEL,
        "Table with the columns time (s), valence and arousal, in place of audio (default none).",
        metavar="CSV",
    ),
]
RegisterOption = Annotated[
    float | None,
    option(
        _CONTEXT_PANEL,
        "Mean pitch of the melody (MIDI pitch, 60 is middle C; default: estimated from the audio).",
        min=0,
        max=127,
        metavar="PITCH",
    ),
]
DensityOption = Annotated[
    float | None,
    option(_CONTEXT_PANEL, "Onsets (notes per second; default: estimated from the audio).", min=0, metavar="N"),
]
LoudnessOption = Annotated[
    float | None,
    option(_CONTEXT_PANEL, "Mean loudness (MIDI velocity; default unknown).", min=1, max=127, metavar="VELOCITY"),
]
BarsOption = Annotated[
    int | None,
    option(
        MUSIC_PANEL,
        f"Length (bars; default that of the audio or curve, {_CONSTANT_BARS} for a constant emotion).",
        min=1,
        max=_MAX_BARS,
        metavar="N",
    ),
]
BpmOption = Annotated[
    float | None,
    option(
        MUSIC_PANEL,
        "Constant tempo (beats per minute; default that of the audio, otherwise it follows arousal).",
        "--tempo",
        "--bpm",
        min=30,
        max=300,
        metavar="BPM",
    ),
]
KeyOption = Annotated[
    str | None,
    option(
        MUSIC_PANEL,
        "Tonic, such as F# or Bb (default that of the audio, otherwise C). The audio determines major or minor; "
        "without it positive valence gives major, negative minor.",
        metavar="TONIC",
    ),
]
FollowOption = Annotated[
    bool,
    option(
        MUSIC_PANEL,
        "Write the piece on the beats and bars of the audio and in its key (default --follow).",
        "--follow/--no-follow",
    ),
]
SeedOption = Annotated[
    int, option(MUSIC_PANEL, "Random seed; each gives another piece (default 0).", min=0, metavar="N")
]
OutputOption = Annotated[Path, option(OUTPUT_PANEL, "MIDI file to write (default out.mid).", "--output", "-o")]
WavOption = Annotated[
    Path | None,
    option(
        OUTPUT_PANEL,
        "Audio file of the piece to write, with fluidsynth or timidity if one is installed (default none).",
        metavar="WAV",
    ),
]
PlayOption = Annotated[
    bool, option(OUTPUT_PANEL, "Play the piece with fluidsynth or timidity if one is installed.", "--play")
]
PlotOption = Annotated[
    Path | None,
    option(OUTPUT_PANEL, "Image of audio, emotion, chords and notes to write (default none).", metavar="PNG"),
]


def generate(
    audio: AudioArgument = None,
    valence: ValenceOption = None,
    arousal: ArousalOption = None,
    curve: CurveOption = None,
    register: RegisterOption = None,
    density: DensityOption = None,
    loudness: LoudnessOption = None,
    models: ExportFolderOption = Path("models"),
    bars: BarsOption = None,
    bpm: BpmOption = None,
    key: KeyOption = None,
    follow: FollowOption = True,
    seed: SeedOption = 0,
    output: OutputOption = Path("out.mid"),
    plot: PlotOption = None,
    wav: WavOption = None,
    play: PlayOption = False,
    mkdir: MkdirOption = False,
) -> None:
    """Generate music from audio or from a given emotion with the five models, as a MIDI file.

    Give one of AUDIO, --curve, or --valence with --arousal. The piece has the beats and the key of the audio: play both
    from the start. The same input, models and seed produce the same file, byte by byte; other audio produces another
    piece.

    Examples:
      kelly-core generate song.wav --models models -o tune.mid --plot tune.png
      kelly-core generate --valence -0.6 --arousal 0.4 --bars 32 --key A
      kelly-core generate song.wav --no-follow --tempo 96 --key F#
      kelly-core generate --curve emotion.csv --seed 7
      kelly-core generate --valence 0.4 --arousal 0.2 --wav tune.wav --play
    """
    given = [audio is not None, curve is not None, valence is not None or arousal is not None]
    if sum(given) != 1 or (valence is None) != (arousal is None):
        raise ConfigError("give one of AUDIO, --curve, or --valence with --arousal")
    tonic = None if key is None else _tonic(key)
    named = ((output, "--output"), (plot, "--plot"), (wav, "--wav"))
    exports = [models / f"{spec.file_stem}.json" for spec in CHAIN_MODELS]
    check_outputs(
        [Output(path, option) for path, option in named if path is not None],
        [path for path in (audio, curve, *exports) if path is not None],
        create_folders=mkdir,
    )

    from kelly_core.chain import ModelChain
    from kelly_core.composition.synthesizer import find_synthesizer

    # Checked first, to report a missing synthesizer before a minute of analysis.
    sound = find_synthesizer() if wav is not None or play else None
    chain = ModelChain.load(models)
    descriptors = {"register": register, "density": density, "loudness": loudness}
    known = {name: value for name, value in descriptors.items() if value is not None}
    if audio is not None:
        source = _from_audio(chain, audio, follow=follow, bpm=bpm, tonic=tonic, known=known)
    else:
        source = _from_emotion(chain, curve, valence or 0.0, arousal or 0.0, tonic, _with_tempo(known, bpm))
    if valence is not None and bars is None:
        bars = _CONSTANT_BARS
    score = _compose(source, bars=bars, seed=seed, bpm=bpm, tonic=tonic)
    _write(score, source, output, plot, sound, wav, play=play)


def _write(
    score: Score,
    source: _Input,
    output: Path,
    plot: Path | None,
    sound: Synthesizer | None,
    wav: Path | None,
    *,
    play: bool,
) -> None:
    """Write a piece as MIDI; if requested, also write its image and sound, and play it."""
    from kelly_core.composition import synthesizer
    from kelly_core.composition.plot import plot_score
    from kelly_core.composition.score import midi_bytes
    from kelly_core.io.atomic import atomic_write

    content = midi_bytes(score)
    atomic_write(output, content, error_type=KellyError)
    print_result(f"wrote {output}: {score.summary()}")
    if plot is not None:
        plot_score(plot, score, source.output, source.mel, source.title)
        print_result(f"wrote {plot}")
    if sound is not None and wav is not None:
        synthesizer.render_wav(sound, output, wav)
        print_result(f"wrote {wav}")
    if sound is not None and play:
        synthesizer.play_midi(sound, output)


def _from_audio(
    chain: ModelChain, audio: Path, *, follow: bool, bpm: float | None, tonic: int | None, known: dict[str, float]
) -> _Input:
    """Run the chain on audio with the known descriptors; if the piece follows the audio, find its beats and key."""
    from kelly_core.composition.harmony import mode_of
    from kelly_core.music.audio_analysis import analyze_recording

    samples, sample_rate, mel = load_audio(audio, _AUDIO_SECONDS)
    recording = analyze_recording(samples, sample_rate, bpm) if follow else None
    pulse = recording.pulse if recording else None
    key = recording.key(tonic) if recording else None
    known = _with_tempo(known, pulse.bpm if pulse else bpm)
    mode = key.mode if key else None
    if "register" in known and mode is None:
        mode = mode_of(float(chain.run(mel, calibrated=True).affect.valence.mean()))
        # The next run begins from zero state, not from the state at the end of the recording.
        chain.reset()
    context = _context(chain, known, mode or "major", key.tonic if key else tonic or 0)
    return _Input(chain.run(mel, context, calibrated=True), audio.name, mel, recording)


def _from_emotion(
    chain: ModelChain,
    curve: Path | None,
    valence: float,
    arousal: float,
    tonic: int | None,
    known: dict[str, float],
) -> _Input:
    """Run the chain on a curve or a constant emotion with the known descriptors."""
    import numpy as np

    from kelly_core.composition.harmony import mode_of

    frames = np.ones(_CONSTANT_FRAMES)
    valences, arousals = valence * frames, arousal * frames
    title = f"valence {valence:g}, arousal {arousal:g}"
    if curve is not None:
        from kelly_core.data.label_tables import read_curve

        (valences, arousals), title = read_curve(curve), curve.name
    context = _context(chain, known, mode_of(float(np.mean(valences))), tonic or 0)
    return _Input(chain.run_affect(valences, arousals, context), title)


def _with_tempo(known: dict[str, float], bpm: float | None) -> dict[str, float]:
    return known if bpm is None else known | {"tempo": bpm}


def _context(chain: ModelChain, known: dict[str, float], mode: Mode, tonic: int) -> Floats | None:
    """Return the musical context [8] of the known descriptors; the register is transposed to C major or A minor.

    If the models take no context and only a tempo is known, return None: the piece uses the tempo in any case.
    """
    from kelly_core.composition.plan import frame_shift
    from kelly_core.music.context import encode_context

    if not known or (not chain.takes_context and known.keys() == {"tempo"}):
        return None
    register = {"register": known["register"] - frame_shift(mode, tonic)} if "register" in known else {}
    return encode_context(known | register)


def _compose(source: _Input, *, bars: int | None, seed: int, bpm: float | None, tonic: int | None) -> Score:
    """Compose a piece; with a recording, on its beats and in its key."""
    from kelly_core.composition.composer import compose

    if source.mel is not None:
        seed = _content_seed(source.mel, seed)
    if source.recording is None:
        return compose(source.output, bars=bars, seed=seed, bpm=bpm, tonic=tonic or 0)
    key, pulse = source.recording.key(tonic), source.recording.pulse
    in_key = {"tonic": tonic or 0} if key is None else {"tonic": key.tonic, "mode": key.mode}
    if pulse is None:
        print_status(f"{source.title} has no clear beat: the tempo {'is constant' if bpm else 'follows arousal'}")
        return compose(source.output, bars=bars, seed=seed, bpm=bpm, **in_key)
    downbeats = pulse.downbeats(bars)[: _MAX_BARS + 1]
    kind = "constant" if pulse.constant else "varying"
    print_status(f"{source.title}: {pulse.bpm:.1f} bpm, {kind}; the first bar begins at {downbeats[0]:.2f} s")
    return compose(source.output, seed=seed, downbeats=downbeats, **in_key)


def _content_seed(mel: Floats, seed: int) -> int:
    """Return a seed that depends on the audio, rounded to decibels, and on the user's seed."""
    content = mel.round().astype("<i2").tobytes() + str(seed).encode()
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")


def _tonic(key: str) -> int:
    """Return the pitch class of a tonic, which is spelled like the root of a chord."""
    from kelly_core.music.chord_symbols import parse_note

    try:
        return parse_note(key)
    except DataError as error:
        hint = "Examples: C, F#, Bb; the audio or valence determines major or minor"
        raise ConfigError(f"{key!r} is not a tonic", where="--key", hint=hint) from error
