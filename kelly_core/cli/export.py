"""``kelly-core export``: write exports from checkpoints, without training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from kelly_core.cli.console import print_result
from kelly_core.cli.help import OUTPUT_PANEL
from kelly_core.cli.options import MkdirOption
from kelly_core.errors import ExportError
from kelly_core.io.outputs import Output, check_outputs
from kelly_core.spec import MODELS


def export(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="Checkpoint file, or output folder of a training.")],
    layout: Annotated[
        Literal["rtneural", "legacy"],
        typer.Option("--layout", help="Layout of the JSON files (default rtneural).", rich_help_panel=OUTPUT_PANEL),
    ] = "rtneural",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Folder for the exports (default the training's output folder).",
            rich_help_panel=OUTPUT_PANEL,
        ),
    ] = None,
    onnx: Annotated[
        bool,
        typer.Option("--onnx", help="Also write ONNX files (needs the extra onnx).", rich_help_panel=OUTPUT_PANEL),
    ] = False,
    mkdir: MkdirOption = False,
) -> None:
    """Write the best weights of checkpoints as RTNeural files for the plugin.

    Examples:
      kelly-core export models
      kelly-core export models --onnx -o exports --mkdir
      kelly-core export models --layout legacy -o old --mkdir
    """
    paths = _checkpoints(source)
    folder = output or (source if source.is_dir() else _output_folder(source))

    from kelly_core.engines.onnx_engine import require_onnx
    from kelly_core.export.onnx import write_onnx
    from kelly_core.export.reader import read_export

    if onnx:
        require_onnx()

    from kelly_core.training.checkpoint import load_checkpoint
    from kelly_core.training.exporting import export_network

    targets = {folder / f"{checkpoint.spec.file_stem}.json": checkpoint for checkpoint in map(load_checkpoint, paths)}
    option = "SOURCE" if output is None else "--output"
    suffixes = (".json", ".onnx") if onnx else (".json",)
    files = [Output(target.with_suffix(suffix), option) for target in targets for suffix in suffixes]
    check_outputs(files, paths, create_folders=mkdir)
    for target, checkpoint in targets.items():
        export_network(checkpoint, target, layout)
        print_result(f"{checkpoint.model}: wrote {target}")
        if onnx:
            write_onnx(read_export(target), target.with_suffix(".onnx"))
            print_result(f"{checkpoint.model}: wrote {target.with_suffix('.onnx')}")


def _checkpoints(source: Path) -> list[Path]:
    """Return the checkpoint itself, or the best one of each model in a folder."""
    if not source.is_dir():
        return [source]
    folder = source / "checkpoints" if (source / "checkpoints").is_dir() else source
    found = [path for spec in MODELS if (path := folder / f"{spec.file_stem}_best.pt").is_file()]
    if not found:
        raise ExportError("holds no best checkpoint of any model", where=source)
    return found


def _output_folder(checkpoint: Path) -> Path:
    return checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else checkpoint.parent
