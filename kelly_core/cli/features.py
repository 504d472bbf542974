"""``kelly-core features``: print the mel frames of an audio file as the plugin must compute them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from kelly_core.cli.console import print_json, print_result
from kelly_core.cli.help import MODELS_PANEL, option
from kelly_core.cli.options import JsonOption
from kelly_core.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kelly_core.arrays import Floats
    from kelly_core.chain import ModelChain

_STEP = 16


AudioArgument = Annotated[
    Path,
    typer.Argument(
        metavar="AUDIO", help="Audio file: WAV, MP3, FLAC, Ogg or M4A; or a MIDI file.", exists=True, dir_okay=False
    ),
]
DurationOption = Annotated[
    float,
    option(
        MODELS_PANEL, "Length of audio to read from the start (seconds; default 45).", min=1, max=600, metavar="SECONDS"
    ),
]
ModelsOption = Annotated[
    Path | None,
    option(
        MODELS_PANEL, "Folder of the five exports; adds the outputs of the chain to --json (default none).", "--models"
    ),
]


def features(
    audio: AudioArgument,
    duration: DurationOption = 45.0,
    models: ModelsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the input frames of the emotion model: 128 mel bands in dB, two frames per second.

    The table shows every sixteenth band. --json prints all bands and the constants at the file's sample rate; with
    --models also all outputs of the chain, frame by frame from zero state, which the plugin must reproduce, and the
    mean musical context that the emotion model estimates.

    A MIDI file is compared with POP909 by statistics: chord tones, steps, leaps, repetition, range and ending.
    """
    from kelly_core.chain import ModelChain
    from kelly_core.data.readers.midi import SUFFIXES

    if math.isnan(duration):
        raise typer.BadParameter("nan is not a time", param_hint="--duration")
    if models and not as_json:
        raise typer.BadParameter("448 numbers a frame do not fit a table: add --json", param_hint="--models")
    if audio.suffix.lower() in SUFFIXES:
        if models:
            raise typer.BadParameter("the chain reads audio, not MIDI: leave it out", param_hint="--models")
        _print_measures(audio, as_json)
        return
    _, sample_rate, frames = load_audio(audio, duration)
    if not as_json:
        print_result(_table(frames, sample_rate))
        return
    outputs = _outputs_as_json(ModelChain.load(models), frames) if models else {}
    print_json(_as_json(audio, frames, sample_rate) | outputs, indent=None)


def load_audio(audio: Path, seconds: float) -> tuple[Floats, int, Floats]:
    """Return mono samples [n] of a file's first seconds, its sample rate in Hz, and mel frames [T, 128] in dB, T ≥ 1.

    Raises:
        DataError: the file is missing, cannot be decoded, or is too short for a frame.
    """
    from kelly_core.data.readers.audio import read_audio
    from kelly_core.music.mel import mel_frames

    samples, sample_rate = read_audio(audio, seconds)
    frames = mel_frames(samples, sample_rate)
    if not len(frames):
        raise DataError("audio is too short for a frame, which takes 0.573 s", where=audio)
    return samples, sample_rate, frames


def _print_measures(midi: Path, as_json: bool) -> None:
    """Print the statistics of a MIDI file and the middle 80 % of POP909."""
    from kelly_core.data.readers.midi import read_notes
    from kelly_core.music.piece_statistics import POP909, measure_piece

    values = measure_piece(read_notes(midi))._asdict()
    if as_json:
        print_json({"file": str(midi), "measures": values, "pop909": {k: v._asdict() for k, v in POP909.items()}})
        return
    table = Table("measure", "value", "POP909", "middle 80 %", box=None, pad_edge=False)
    for name, value in values.items():
        low, median, high = POP909[name]
        shown = f"{value:.2f}" if math.isfinite(value) else "none"
        table.add_row(name.replace("_", " "), shown, f"{median:.2f}", f"{low:.2f} to {high:.2f}")
    print_result(table)


def _as_json(audio: Path, frames: Floats, sample_rate: int) -> dict[str, Any]:
    from kelly_core.music import mel

    start, end, complete = mel.frame_times(len(frames), sample_rate).T
    return {
        "file": str(audio),
        "sample_rate_hz": sample_rate,
        "window_samples": mel.window_length(sample_rate),
        "nfft": mel.fft_size(sample_rate),
        "hop_samples": mel.hop_length(sample_rate),
        "hops_per_frame": mel.HOPS_PER_FRAME,
        "frames": len(frames),
        "bands": mel.BANDS,
        "band_centres_hz": mel.band_centers().round(3).tolist(),
        "start_s": start.tolist(),
        "end_s": end.tolist(),
        "complete_s": complete.tolist(),
        "db": _exactly(frames),
    }


def _outputs_as_json(chain: ModelChain, frames: Floats) -> dict[str, Any]:
    """Return the outputs of the chain and, if its models take a context, the last estimated context with units."""
    from kelly_core.music.context import DESCRIPTORS

    output = chain.run(frames)
    networks = {name: _exactly(values) for name, values in output._asdict().items() if name != "affect"}
    outputs: dict[str, Any] = {"chain": networks}
    if chain.takes_context:
        values = chain.estimated_context.tolist()
        outputs["context"] = {
            each.name: {"value": value, "measure": each.decode(value), "unit": each.unit}
            for each, value in zip(DESCRIPTORS, values, strict=False)
        }
    return outputs


def _exactly(values: NDArray[Any]) -> list[Any]:
    """Return nested lists of the shortest decimals that round-trip to the same float32 values."""
    # str() of a float32 has only the digits that distinguish it from its neighbors; str() of a double may have 17.
    return [_exactly(part) if part.ndim else float(str(part)) for part in values]


def _table(frames: Floats, sample_rate: int) -> Table:
    """Return a table with a row per frame: its start, the time of its completion, and every sixteenth band."""
    from kelly_core.music import mel

    window, hop = mel.window_length(sample_rate), mel.hop_length(sample_rate)
    caption = (
        f"{len(frames)} frames of {mel.BANDS} bands in dB, every {_STEP}th shown under its centre in Hz; "
        f"audio at {sample_rate:,} Hz, windows of {window:,} samples every {hop:,}"
    )
    table = Table("from s", "known s", box=None, pad_edge=False, caption=caption)
    for center in mel.band_centers()[::_STEP]:
        table.add_column(f"{center:,.0f}", justify="right", no_wrap=True)
    for frame, (start, _, complete) in zip(frames, mel.frame_times(len(frames), sample_rate), strict=True):
        table.add_row(f"{start:.1f}", f"{complete:.3f}", *(f"{level:.1f}" for level in frame[::_STEP]))
    return table
