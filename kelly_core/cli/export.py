"""``kelly-core export``: write exports from checkpoints, and convert any network to and from RTNeural's format."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer

from kelly_core.cli.console import print_result, print_status
from kelly_core.cli.help import MODELS_PANEL, OUTPUT_PANEL, option
from kelly_core.cli.options import MkdirOption, Output, check_outputs
from kelly_core.errors import ConfigError, ExportError
from kelly_core.spec import MODELS

SourceArgument = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="Checkpoint, output folder of a training, PKG.MODULE:FACTORY of a PyTorch module, or .json export.",
    ),
]
LayoutOption = Annotated[
    Literal["rtneural", "legacy"], option(OUTPUT_PANEL, "Layout of the JSON files (default rtneural).")
]
WeightsOption = Annotated[
    Path | None,
    option(
        MODELS_PANEL,
        "State dict for FACTORY's module, .pt or .safetensors (default the weights that FACTORY gives it).",
        metavar="FILE",
    ),
]
InputSizeOption = Annotated[
    int | None,
    option(
        MODELS_PANEL, "Values in an input frame of FACTORY's module (default as its layers say).", metavar="N", min=1
    ),
]
OutputOption = Annotated[
    Path | None,
    option(
        OUTPUT_PANEL,
        "Folder for the exports (default the training's output folder), or the file for another SOURCE.",
        "--output",
        "-o",
    ),
]
OnnxOption = Annotated[bool, option(OUTPUT_PANEL, "Also write ONNX files (needs the extra onnx).", "--onnx")]
CppOption = Annotated[
    Path | None,
    option(
        OUTPUT_PANEL,
        "Folder for C++ made from the five exports in SOURCE: frames, chain, weights, checks (default none).",
        metavar="DIR",
    ),
]
JuceOption = Annotated[
    bool, option(OUTPUT_PANEL, "Also write a loader from JUCE's binary data (with --cpp).", "--juce")
]


def export(
    source: SourceArgument,
    layout: LayoutOption = "rtneural",
    weights: WeightsOption = None,
    input_size: InputSizeOption = None,
    output: OutputOption = None,
    onnx: OnnxOption = False,
    cpp: CppOption = None,
    juce: JuceOption = False,
    mkdir: MkdirOption = False,
) -> None:
    """Write the best weights of checkpoints, or any sequential PyTorch module, as RTNeural files.

    A .json export becomes a PyTorch state dict again, .pt or .safetensors.

    An existing export of other weights is kept as NAME.previous.json.

    Examples:
      kelly-core export models
      kelly-core export models --onnx -o exports --mkdir
      kelly-core export my_amp.model:make_model --weights amp.pt -o amp.json
      kelly-core export amp.json -o amp.pt
      kelly-core export models --cpp plugin/kelly
    """
    from kelly_core.export.reader import is_zip_file
    from kelly_core.rtneural import is_factory

    factory = is_factory(source)
    _check_options(source, factory=factory, weights=weights, input_size=input_size, cpp=cpp, juce=juce)
    if cpp is not None:
        _export_cpp(Path(source), cpp, juce=juce)
        return
    if onnx:
        from kelly_core.engines.onnx_engine import require_onnx

        require_onnx()
    if factory:
        _export_module(source, weights, input_size, output, onnx=onnx, mkdir=mkdir)
    elif Path(source).suffix == ".json" and not is_zip_file(Path(source)):
        _export_weights(Path(source), output, onnx=onnx, mkdir=mkdir)
    else:
        _export_checkpoints(Path(source), layout, output, onnx=onnx, mkdir=mkdir)


def _check_options(
    source: str, *, factory: bool, weights: Path | None, input_size: int | None, cpp: Path | None, juce: bool
) -> None:
    """Raise an error for an option that has no effect with the source and the other options."""
    if juce and cpp is None:
        raise ConfigError("belongs to --cpp DIR", where="--juce")
    for name, value in (("--weights", weights), ("--input-size", input_size)):
        if value is not None and not factory:
            raise ConfigError(f"{name} belongs to PKG.MODULE:FACTORY, but SOURCE is {source}", where=name)


def _export_cpp(source: Path, target: Path, *, juce: bool) -> None:
    """Write C++ for the five exports of a folder."""
    from kelly_core.cpp import cpp_files, write_cpp

    outputs = [Output(target / name, "--cpp") for name in cpp_files(juce)]
    check_outputs(outputs, source.glob("*.json"), create_folders=True)
    write_cpp(source, target, juce=juce)
    for output in outputs:
        print_result(f"wrote {output.path}")


def _export_module(
    source: str, weights: Path | None, input_size: int | None, output: Path | None, *, onnx: bool, mkdir: bool
) -> None:
    """Write the module that a factory returns."""
    from kelly_core.rtneural import load_weights, make_module

    if output is None:
        raise ConfigError("names no file for the network", where="--output", hint="Add -o FILE.json")
    if output.suffix != ".json":
        raise ConfigError(f"{output} does not end in .json", where="--output")
    outputs = [output, *([output.with_suffix(".onnx")] if onnx else [])]
    inputs = [] if weights is None else [weights]
    check_outputs([Output(path, "--output") for path in outputs], inputs, create_folders=mkdir)

    # Imported after all checks of the options, because the import of PyTorch takes two seconds.
    from kelly_core.export.torch_modules import input_size_of
    from kelly_core.rtneural import to_rtneural

    network = make_module(source)
    if weights is not None:
        load_weights(network, weights)
    size = input_size if input_size is not None else input_size_of(network)
    if size is None:
        raise ConfigError(
            "cannot be inferred from the module's layers", where="--input-size", hint="Add --input-size N"
        )
    kept = to_rtneural(network, size, output, keep_previous=True)
    print_result(f"{source}: wrote {output}")
    if kept:
        from kelly_core.export.provenance import previous_of

        print_status(f"{output.name} replaces an export of other weights. That one is now {previous_of(output).name}")
    if onnx:
        _write_onnx(output, output.with_suffix(".onnx"), source)


def _export_weights(source: Path, output: Path | None, *, onnx: bool, mkdir: bool) -> None:
    """Write the weights of an export as a state dict, and the network as ONNX if requested."""
    target = output or source.with_suffix(".pt")
    if target.suffix not in (".pt", ".pth", ".safetensors"):
        raise ConfigError(f"{target} does not end in .pt, .pth or .safetensors", where="--output")
    outputs = [target, *([target.with_suffix(".onnx")] if onnx else [])]
    check_outputs([Output(path, "--output") for path in outputs], [source], create_folders=mkdir)

    from kelly_core.export.reader import read_export
    from kelly_core.rtneural import save_weights, state_dict_of

    save_weights(state_dict_of(read_export(source)), target)
    print_result(f"{source}: wrote {target}")
    if onnx:
        _write_onnx(source, target.with_suffix(".onnx"), str(source))


def _export_checkpoints(
    source: Path, layout: Literal["rtneural", "legacy"], output: Path | None, *, onnx: bool, mkdir: bool
) -> None:
    """Write the best weights of a checkpoint, or of all checkpoints in a folder."""
    if output is not None and output.suffix == ".json" and not output.is_dir():
        hint = f"Each export is named after its model: -o {shlex.quote(str(output.parent))}"
        raise ConfigError(f"expected a folder, got {output}", where="--output", hint=hint)
    paths = _checkpoints(source)
    folder = output or (source if source.is_dir() else _output_folder(source))

    from kelly_core.training.checkpoint import load_checkpoint
    from kelly_core.training.exporting import replace_export

    targets = {folder / f"{checkpoint.spec.file_stem}.json": checkpoint for checkpoint in map(load_checkpoint, paths)}
    option = "SOURCE" if output is None else "--output"
    suffixes = (".json", ".onnx") if onnx else (".json",)
    files = [Output(target.with_suffix(suffix), option) for target in targets for suffix in suffixes]
    check_outputs(files, paths, create_folders=mkdir)
    for target, checkpoint in targets.items():
        replaced = replace_export(checkpoint, target, layout)
        print_result(f"{checkpoint.model}: wrote {target}")
        if replaced.text:
            print_status(f"{checkpoint.model}: {replaced.text}")
        if onnx:
            _write_onnx(target, target.with_suffix(".onnx"), checkpoint.model)


def _write_onnx(source: Path, target: Path, name: str) -> None:
    from kelly_core.export.reader import read_export
    from kelly_core.export.writer import write_onnx

    write_onnx(read_export(source), target)
    print_result(f"{name}: wrote {target}")


def _checkpoints(source: Path) -> list[Path]:
    """Return ``source`` if it is a checkpoint, else the best checkpoint of each model in the folder."""
    if not source.is_dir():
        return [source]
    folder = source / "checkpoints" if (source / "checkpoints").is_dir() else source
    found = [path for spec in MODELS if (path := folder / f"{spec.file_stem}_best.pt").is_file()]
    if not found:
        raise ExportError("contains no best checkpoint of any model", where=source)
    return found


def _output_folder(checkpoint: Path) -> Path:
    return checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else checkpoint.parent
