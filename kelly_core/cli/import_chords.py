"""``kelly-core datasets import-chords``: convert chord corpora to one ``chord_progressions.json``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from kelly_core.cli.console import print_json, print_status
from kelly_core.cli.help import OUTPUT_PANEL, option
from kelly_core.cli.options import JsonOption
from kelly_core.errors import ConfigError, DataError
from kelly_core.io.outputs import Output, check_not_inputs

_SHOWN = 5


SourceArgument = Annotated[
    Path,
    typer.Argument(
        metavar="SOURCE", help="Folder or file with POP909, Billboard or Chordonomicon data, or with lead sheets."
    ),
]
OutputOption = Annotated[Path, option(OUTPUT_PANEL, "Folder for chord_progressions.json.", "--output", "-o")]
MaxSongsOption = Annotated[
    int,
    option(
        OUTPUT_PANEL,
        "Maximum number of songs, evenly spaced in the source (songs; 0 = all; default 0).",
        "--max-songs",
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
    """Convert chord annotations to chord_progressions.json: chords, durations, and one name per song."""
    from kelly_core.data.chord_files import find_chord_files, write_progressions
    from kelly_core.data.corpora.chords import FILE
    from kelly_core.io.atomic import atomic_write

    if not (source.is_file() or source.is_dir()):
        problem = "is neither a file nor a folder" if source.exists() else "no such file or folder"
        raise ConfigError(problem, where=source)
    target = output / FILE
    if target.exists() and not force:
        raise ConfigError("exists already", where=target, hint="Name another folder, or use --force")
    files = find_chord_files(source)
    if not files:
        hint = "Known layouts: chord_midi.txt, .lab files, salami_chords.txt, CSV with a column chords, text with bars"
        raise DataError("no chords of a known layout", where=source, hint=hint)
    folder = source if source.is_dir() else source.parent
    check_not_inputs([Output(target, "--output")], [folder / name for file in files for name in file.paths])
    left_out: list[DataError] = []
    written = 0

    def write(stream: BinaryIO) -> None:
        nonlocal written, left_out
        written, left_out = write_progressions(files, stream, max_songs)
        if not written:
            raise left_out[0] if left_out else DataError("holds no songs", where=source)

    atomic_write(target, write, error=DataError)
    kinds = [file.kind for file in files]
    if as_json:
        reasons = [str(reason) for reason in left_out]
        print_json({"file": str(target), "songs": written, "layouts": kinds, "left_out": reasons})
        return
    print_status(f"wrote {target}: {written:,} songs of {', '.join(kinds)}")
    for reason in left_out[:_SHOWN]:
        print_status(f"skipped: {reason}")
    if len(left_out) > _SHOWN:
        print_status(f"skipped: {len(left_out) - _SHOWN:,} more")
