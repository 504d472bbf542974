"""``kelly-core datasets import-chords`` and ``datasets render``: write corpora from other files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

import typer

from kelly_core.cli.console import feature_progress, print_json, print_status
from kelly_core.cli.help import OUTPUT_PANEL, option
from kelly_core.cli.options import (
    ConfigOption,
    DatasetsDirOption,
    JsonOption,
    Output,
    SeedOption,
    check_not_inputs,
    settings_from,
)
from kelly_core.errors import ConfigError, DataError

_SHOWN = 5


CorpusOption = Annotated[
    Literal["lakh_midi", "emotion_midi"],
    option(OUTPUT_PANEL, "Corpus of the songs (lakh_midi, emotion_midi; default lakh_midi)."),
]
FolderArgument = Annotated[Path, typer.Argument(metavar="FOLDER", help="New folder for the recordings and MIDI files.")]
SplitOption = Annotated[
    Literal["train", "validation"],
    option(OUTPUT_PANEL, "Songs that the melody network learns from, or those held out (default train).", "--split"),
]
SongsOption = Annotated[
    int,
    option(OUTPUT_PANEL, "Maximum number of songs, evenly spaced (songs; 0 = all; default 250).", min=0, metavar="N"),
]
SecondsOption = Annotated[float, option(OUTPUT_PANEL, "Maximum length (s; default 100).", min=5, max=600)]
SoundfontOption = Annotated[
    Path | None, option(OUTPUT_PANEL, "Instruments for fluidsynth (default the first installed).", metavar="FILE")
]


def render(
    output: FolderArgument,
    corpus: CorpusOption = "lakh_midi",
    split: SplitOption = "train",
    songs: SongsOption = 250,
    seconds: SecondsOption = 100.0,
    soundfont: SoundfontOption = None,
    datasets_dir: DatasetsDirOption = None,
    seed: SeedOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Render songs of a MIDI corpus, each next to its MIDI file, for training and for validate --chain.

    The songs are rendered with fluidsynth if it and a SoundFont are installed, otherwise with sine waves. From a folder
    below datasets/deam or datasets/emotion_audio, the emotion network learns the musical context of the songs from
    their notes, and the quadrants of songs that have one.

    Examples:
      kelly-core datasets render datasets/emotion_audio/rendered
      kelly-core datasets render datasets/emotion_audio/emopia --corpus emotion_midi --songs 0
      kelly-core datasets render held-out --split validation
      kelly-core validate models --chain held-out
    """
    from kelly_core.data.catalog import open_corpus
    from kelly_core.data.corpora.lakh_midi import MelodyDataset
    from kelly_core.data.files import spread_evenly
    from kelly_core.demo.rendered_songs import recording_stems, write_pairs, write_quadrants

    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ConfigError("exists already and is not an empty folder", where=output, hint="Name another folder")
    instruments = _instruments(soundfont)
    settings = settings_from(config, {"datasets_dir": datasets_dir, "seed": seed}, read_corpora=True).settings
    with feature_progress(corpus) as progress:
        dataset = open_corpus(corpus, settings, progress)
    assert isinstance(dataset, MelodyDataset)
    chosen = spread_evenly(dataset.files[split], songs)
    root = settings.datasets.folder(corpus)
    # The name of a song does not depend on the selection of songs.
    named = recording_stems([name for names in dataset.files.values() for name in names])
    stems = {name: named[name] for name in chosen}
    skipped = write_pairs(root, stems, output, seconds, instruments)
    if len(skipped) == len(chosen):
        raise skipped[0] if skipped else DataError(f"has no songs in {split}", where=root)
    write_quadrants(root, stems, output)
    written = len(chosen) - len(skipped)
    how = f"fluidsynth, {instruments.name}" if instruments else "sines"
    if as_json:
        content = {"folder": str(output), "songs": written, "rendered_by": how}
        print_json(content | {"left_out": list(map(str, skipped))})
        return
    print_status(f"wrote {output}: {written:,} songs, rendered by {how}")
    _print_skipped(skipped)


def _instruments(soundfont: Path | None) -> Path | None:
    """Return the typed SoundFont, else an installed one; None without a SoundFont or without fluidsynth."""
    from kelly_core.composition.synthesizer import playable_soundfont

    if soundfont is not None and not soundfont.is_file():
        raise ConfigError("no such file", where=soundfont, hint="Name a SoundFont, a file .sf2 or .sf3")
    return soundfont or playable_soundfont()


SourceArgument = Annotated[
    Path,
    typer.Argument(
        metavar="SOURCE",
        help="Folder or file with POP909, Billboard or Chordonomicon data, with lead sheets, or else with MIDI files.",
    ),
]
OutputOption = Annotated[Path, option(OUTPUT_PANEL, "Folder for chord_progressions.json.", "--output", "-o")]
MaxSongsOption = Annotated[
    int,
    option(
        OUTPUT_PANEL,
        "Maximum number of songs, evenly spaced in the source (songs; 0 = all; default 0).",
        min=0,
        metavar="N",
    ),
]
ForceOption = Annotated[bool, option(OUTPUT_PANEL, "Replace an existing chord_progressions.json.", "--force")]


def import_chords(
    source: SourceArgument,
    output: OutputOption,
    max_songs: MaxSongsOption = 0,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Convert chord annotations to chord_progressions.json: chords, durations, and one name per song.

    Without annotations, the chords of MIDI files are estimated from their notes, one per two beats.

    Examples:
      kelly-core datasets import-chords POP909 -o datasets/chords
      kelly-core datasets import-chords datasets/lakh_midi -o datasets/chords --max-songs 5000
    """
    from kelly_core.data.chord_files import find_chord_files, find_songs_of_notes, write_progressions
    from kelly_core.data.corpora.chords import FILE
    from kelly_core.io.atomic import atomic_write

    if not (source.is_file() or source.is_dir()):
        problem = "is neither a file nor a folder" if source.exists() else "no such file or folder"
        raise ConfigError(problem, where=source)
    target = output / FILE
    if target.exists() and not force:
        raise ConfigError("exists already", where=target, hint="Name another folder, or use --force")
    files = find_chord_files(source) or find_songs_of_notes(source)
    if not files:
        hint = (
            "Known: chord_midi.txt, .lab files, salami_chords.txt, CSV with a column chords, text with bars, MIDI files"
        )
        raise DataError("no chords of a known layout", where=source, hint=hint)
    folder = source if source.is_dir() else source.parent
    check_not_inputs([Output(target, "--output")], [folder / name for file in files for name in file.paths])
    skipped: list[DataError] = []
    written = 0

    def write(stream: BinaryIO) -> None:
        nonlocal written, skipped
        written, skipped = write_progressions(files, stream, max_songs)
        if not written:
            raise skipped[0] if skipped else DataError("contains no songs", where=source)

    atomic_write(target, write, error_type=DataError)
    kinds = [file.kind for file in files]
    if as_json:
        reasons = [str(reason) for reason in skipped]
        print_json({"file": str(target), "songs": written, "layouts": kinds, "left_out": reasons})
        return
    print_status(f"wrote {target}: {written:,} songs of {', '.join(kinds)}")
    _print_skipped(skipped)


def _print_skipped(skipped: Sequence[DataError]) -> None:
    for reason in skipped[:_SHOWN]:
        print_status(f"skipped: {reason}")
    if len(skipped) > _SHOWN:
        print_status(f"skipped: {len(skipped) - _SHOWN:,} more")
