"""Collect the data of a report from the files of one folder."""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kelly_core import __version__
from kelly_core.benchmark import BUDGET_MS
from kelly_core.benchmark.history import FILE, BenchmarkRun, last_run
from kelly_core.benchmark.results import EngineResult
from kelly_core.benchmark.suite import missing_models
from kelly_core.data.readers.midi import parse_notes
from kelly_core.data.readers.smf import MARKER, parse_smf
from kelly_core.data.tables import read_regular
from kelly_core.engines.layers import describe_layer
from kelly_core.errors import DataError, ExportError, KellyError
from kelly_core.export.parser import parse_layers
from kelly_core.export.provenance import Provenance, provenance_of
from kelly_core.export.reader import read_strict_json
from kelly_core.music.chord_symbols import parse_chord
from kelly_core.music.notes import BEATS_PER_BAR
from kelly_core.spec import MODELS, State
from kelly_core.training.history import History, read_history
from kelly_core.validation.report import STATES, Check, FileReport

PARITY = ("golden outputs", "parity with ")
"""Prefixes of the names of checks that compare the file's outputs with another engine."""
_MAX_MIDI_BYTES, _MAX_PICTURE_BYTES = 256_000, 2_000_000
"""Maximum sizes of files that are embedded in the page."""
_MAX_TUNES = 4
_MAX_BARS = 64
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Size:
    """Size of an export; ``layers`` are descriptions. The last three are None if the layers cannot be read."""

    file_bytes: int | None
    parameters: int | None
    memory_bytes: int | None
    layers: tuple[str, ...] | None


@dataclass(frozen=True)
class ModelData:
    """Data of one export.

    Attributes:
        name: name of the model by the file name, which may differ from the name in the metadata.
        stem: name of its files without suffix.
        checked: results of the checks, and the quality.
        trained_on: training data; None if the file does not record it.
        state: the state contract; None if the file does not declare it.
        size: size of the file and of the network.
        history: losses by epoch; None if there is no history.
        history_problem: why the history is missing or does not match the export; "" if neither.
        plot: path of the loss plot relative to the folder; None if there is no plot.
    """

    name: str
    stem: str
    checked: FileReport
    trained_on: Provenance | None
    state: State | None
    size: Size
    history: History | None
    history_problem: str
    plot: str | None

    @property
    def parity(self) -> list[Check]:
        """Checks that compare with other engines."""
        return [check for check in self.checked.checks if check.name.startswith(PARITY)]


@dataclass(frozen=True)
class Benchmarks:
    """Latest benchmark on any machine; ``problem`` says why it is missing or of limited use."""

    run: BenchmarkRun | None
    budget_ms: float
    problem: str

    @property
    def engines(self) -> dict[str, EngineResult]:
        """Latencies by engine; {} if there is no benchmark."""
        return {} if self.run is None else self.run.engines


@dataclass(frozen=True)
class Tune:
    """One MIDI file of a folder of exports, as ``kelly-core generate`` writes it.

    Attributes:
        file: name of the file.
        content: bytes of the file; None if it cannot be read or is too large to be embedded.
        problem: why ``content`` is missing, else "".
        seconds: duration up to the end of the last note.
        bars: number of bars.
        bpm: initial tempo in beats per minute.
        parts: name and number of notes of each track.
        chords: chord names of the first bars; empty if the file does not name chords.
        picture_file: name of the picture next to the file; "" if there is none.
        picture: bytes of the picture, a PNG file; None if there is none.
        picture_problem: why an existing picture cannot be embedded, else "".
    """

    file: str
    content: bytes | None = None
    problem: str = ""
    seconds: float = 0.0
    bars: int = 0
    bpm: float = 0.0
    parts: tuple[tuple[str, int], ...] = ()
    chords: tuple[str, ...] = ()
    picture_file: str = ""
    picture: bytes | None = None
    picture_problem: str = ""


@dataclass(frozen=True)
class ReportData:
    """Data of a report: models, names of missing models, latency, and generated music."""

    folder: str
    written: str
    version: str
    models: tuple[ModelData, ...]
    missing: tuple[str, ...]
    benchmarks: Benchmarks
    tunes: tuple[Tune, ...]

    @property
    def passed(self) -> bool:
        """True if every check of every file passed."""
        return all(model.checked.passed for model in self.models)

    @property
    def synthetic(self) -> list[str]:
        """Names of the models that were trained on synthetic data."""
        return [model.name for model in self.models if model.trained_on and model.trained_on.synthetic]

    def without_files(self) -> ReportData:
        """Return a copy without the bytes of embedded files."""
        return replace(self, tunes=tuple(replace(tune, content=None, picture=None) for tune in self.tunes))


def collect(folder: Path, reports: Sequence[FileReport]) -> ReportData:
    """Collect the data of a folder with checked exports.

    Args:
        folder: folder of the exports; history/, plots/, benchmarks.jsonl and generated music are optional.
        reports: one per export in the folder; an export of one of the five models has the file name of that model.
    """
    by_stem = {Path(report.file).stem: report for report in reports}
    names = {spec.file_stem: spec.name for spec in MODELS if spec.file_stem in by_stem}
    names |= {stem: stem for stem in by_stem if stem not in names}
    return ReportData(
        folder=str(folder),
        written=datetime.now(UTC).isoformat(sep=" ", timespec="minutes").removesuffix("+00:00") + " UTC",
        version=__version__,
        models=tuple(_model(folder, name, stem, by_stem[stem]) for stem, name in names.items()),
        missing=missing_models(names.values()),
        benchmarks=_benchmarks(folder, [Path(report.file) for report in reports]),
        tunes=tuple(_read_tune(path) for path in sorted(folder.glob("*.mid"))[:_MAX_TUNES]),
    )


def _model(folder: Path, name: str, stem: str, checked: FileReport) -> ModelData:
    path = Path(checked.file)
    try:
        document = read_strict_json(path)
    except ExportError:  # the check "readable" reports the reason
        document = {}
    metadata = document.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    history, problem = _history(folder / "history" / f"{stem}_history.json", metadata)
    plot = Path("plots", f"{stem}_loss.png")
    return ModelData(
        name=name,
        stem=stem,
        checked=checked,
        trained_on=provenance_of(metadata) if isinstance(metadata.get("trained_on"), dict) else None,
        state=metadata["state"] if metadata.get("state") in STATES else None,
        size=_size(path, document),
        history=history,
        history_problem=problem,
        plot=str(plot) if (folder / plot).is_file() else None,
    )


def _size(path: Path, document: dict[str, Any]) -> Size:
    """Return sizes computed from the layers instead of the recorded ones."""
    file_bytes = path.stat().st_size if path.is_file() else None
    network = parse_layers(document)
    if not network.runnable:
        return Size(file_bytes, None, None, None)
    count = network.parameter_count
    return Size(file_bytes, count, 4 * count, tuple(describe_layer(layer) for layer in network.layers))


def _history(path: Path, metadata: Mapping[str, Any]) -> tuple[History | None, str]:
    try:
        history = read_history(path)
    except KellyError as error:
        return None, f"The losses cannot be shown: {error}"
    if history is None:
        return None, f"No losses by epoch: there is no {path.parent.name}/{path.name}"
    exported = metadata.get("metrics")
    if not isinstance(exported, dict) or any(exported.get(key) != history.metrics[key] for key in history.metrics):
        return history, "These losses are of another training than the export, whose best epoch has other metrics"
    return history, ""


def _benchmarks(folder: Path, files: Sequence[Path]) -> Benchmarks:
    try:
        # A run that other programs disturbed is used, with a remark, only if there is no other run.
        run = last_run(folder, anywhere=True) or last_run(folder, anywhere=True, busy=True)
    except KellyError as error:
        return Benchmarks(None, BUDGET_MS, f"The benchmarks cannot be shown: {error}")
    measure = f"run {shlex.join(('kelly-core', 'bench', str(folder)))}"
    if run is None:
        there = f"{FILE} contains no run that can be read" if (folder / FILE).exists() else f"there is no {FILE}"
        return Benchmarks(None, BUDGET_MS, f"Not measured, {there}: {measure}")
    latest_change = max(path.stat().st_mtime for path in files if path.is_file())
    if _time(run) < latest_change:
        return Benchmarks(run, BUDGET_MS, f"Measured before the files were last changed: {measure}")
    if run.load is not None and run.load.busy:
        return Benchmarks(run, BUDGET_MS, f"{run.load.description.capitalize()} while this was measured: {measure}")
    return Benchmarks(run, BUDGET_MS, "")


def _time(run: BenchmarkRun) -> float:
    """Return the Unix time at which a run ended; 0 if the recorded time is invalid."""
    try:
        return datetime.fromisoformat(run.time).timestamp()
    except (ValueError, OverflowError, OSError):
        return 0.0


def _read_tune(path: Path) -> Tune:
    """Read a MIDI file and, if present, the PNG file of the same name."""
    picture = path.with_suffix(".png")
    tune = Tune(path.name)
    if picture.exists():
        shown, problem = _read_picture(picture)
        tune = Tune(path.name, picture_file=picture.name, picture=shown, picture_problem=problem)
    try:
        content = read_regular(path, _MAX_MIDI_BYTES)
        notes = parse_notes(content, path)
    except DataError as error:
        return replace(tune, problem=str(error))
    end = float((notes.onset_beats + notes.duration_beats).max())
    counts = Counter(notes.track.tolist())
    return replace(
        tune,
        content=content,
        seconds=float((notes.onset + notes.duration).max()),
        bars=math.ceil(end / notes.beats_per_bar),
        bpm=notes.bpm,
        parts=tuple(
            (name or f"track {number}", counts[number - 1]) for number, name in enumerate(notes.track_names, 1)
        ),
        chords=_chords(content),
    )


def _read_picture(path: Path) -> tuple[bytes | None, str]:
    try:
        content = read_regular(path, _MAX_PICTURE_BYTES)
    except DataError as error:
        return None, str(error)
    return (content, "") if content.startswith(_PNG) else (None, f"{path}: is not a PNG file")


def _chords(content: bytes) -> tuple[str, ...]:
    """Return the chords of the first bars from the markers of a MIDI file; () if the first bar has no chord marker."""
    events = parse_smf(content)
    chords: dict[int, str] = {}
    for event in sorted((event for event in events.meta if event.type == MARKER), key=lambda event: event.tick):
        name = event.data.decode("utf-8", "replace")
        try:
            parse_chord(name)
        except DataError:
            return ()
        # The first of several markers in a bar names its chord.
        chords.setdefault(event.tick // (BEATS_PER_BAR * events.ticks_per_quarter), name)
    bars = min(max(chords, default=-1) + 1, _MAX_BARS)
    return tuple(chords.get(bar, "") for bar in range(bars)) if 0 in chords else ()
