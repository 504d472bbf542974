"""Validate screen: checks, quality and metadata of every export, and comparison of two exports."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from rich.text import Text
from textual import on, work
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widget import Widget

from kelly_core.benchmark.results import BenchmarkReport
from kelly_core.errors import KellyError
from kelly_core.export.provenance import PREVIOUS_ENDING, Provenance, provenance_of
from kelly_core.export.quality_record import QualityRecord, recorded_quality
from kelly_core.formatting import MISSING, format_bytes, format_change, format_loss, format_metric
from kelly_core.io.atomic import open_regular
from kelly_core.runs.overview import Curves
from kelly_core.spec import MODELS
from kelly_core.training.history import read_history
from kelly_tui.charts.chart_data import curve_series
from kelly_tui.charts.curve_chart import CurveChart
from kelly_tui.charts.forest_plot import ForestPlot
from kelly_tui.formatting import LabeledRow, model_color
from kelly_tui.jobs import KELLY_CORE, JobQueue, call_from_worker, worker
from kelly_tui.screens.chart_screen import ChartScreen
from kelly_tui.state_store import CHECKED_EXPORTS, load_benchmarks
from kelly_tui.themes import ThemeColors
from kelly_tui.widgets.panels import DetailsPanel, Drawing, set_border_title
from kelly_tui.widgets.record_table import RecordTable, Row

_COLUMNS = ("", "file", "result", "parity", "parameters", "size", "state", "loss", "gain", "p99 µs")
_STATE_NAME = "validation"
_PARITY_CHECKS = ("parity", "golden")
_BASELINES = ("baseline_loss", "val_loss")
_OTHER_FOLDER = (
    "Mark two exports of one model: u clears the marks, and with one marked o shows the next folder that has another."
)
_NO_QUALITY = "no record: a training that runs to its end writes one"
MODEL_OF = {spec.file_stem: spec.name for spec in MODELS}
"""Model by the file name of its export, without the extension."""


@dataclass(frozen=True)
class ExportFile:
    """An export on disk; ``stamp`` identifies the version that was checked."""

    path: Path
    bytes: int
    stamp: int

    @classmethod
    def at(cls, path: Path) -> ExportFile:
        """Return the export with its current stamp."""
        status = path.stat()
        return cls(path, status.st_size, status.st_mtime_ns)


class Validate(ChartScreen):
    """Exports above; checks of the selected one below."""

    NAME = "validate"
    OPEN_ACTION = "validate"
    ABOUT = (
        "Whether each exported file is what the plugin needs: structure, sizes, gates, state, and parity with the "
        "checkpoint it was made from. Results are kept and compared with the previous ones. ε of a training on "
        "generated data is the share of the possible progress that the model lacks: 0 is perfect, 1 no better than a "
        "constant."
    )

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("v", "validate", "Validate", tooltip="Check the chosen file"),
        Binding("a", "validate_all", "All", tooltip="Check every file, one after the other"),
        Binding("x", "cancel", "Cancel", tooltip="Stop checking"),
        Binding("space", "mark", "Mark", tooltip="Mark up to two files to compare"),
        Binding("u", "unmark", "Unmark", show=False, tooltip="Clear all marks"),
        Binding("f", "failed", "Failed", tooltip="Show only failed checks, or all"),
        Binding("o", "folder", "Folder", tooltip="Exports of the next folder; if one file is marked, of its model"),
        Binding("r", "rescan", "Rescan", tooltip="Look again for exports"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._files: dict[str, ExportFile] = {}
        self._contents: dict[ExportFile, dict[str, Any]] = {}
        self._results: dict[str, dict[str, Any]] = CHECKED_EXPORTS.load(_STATE_NAME)
        self._benchmarks: dict[str, BenchmarkReport] = {}
        self._folder_problem = ""
        self._looked = False
        self._marked: list[str] = []
        self._comparison = ""
        self._only_failed = False
        self._losses_of, self._losses = "", Curves()
        self._job_queue = JobQueue(self._check)
        self.queues = (self._job_queue,)

    def body(self) -> Iterator[Widget]:
        """Lay out table and details."""
        yield RecordTable(
            _COLUMNS,
            "exports",
            numbers=_COLUMNS[4:6] + _COLUMNS[7:],
            extras=("parameters", "gain", "p99 µs", "state", "size"),
            id="exports",
        )
        with Vertical(id="checked"):
            yield DetailsPanel(id="checks")
            yield Drawing(id="forest")
        yield CurveChart("No losses by epoch are kept next to this export.", id="losses")

    def command(self) -> tuple[str, ...]:
        """Return ``validate`` of the selected export, or ``compare`` of the marked ones."""
        if len(self._marked) == 2:
            return ("compare", *self._marked)
        return ("validate", self.table.current or str(self.kelly.exports / "*.json"), "--check-specs")

    def on_activate(self) -> None:
        """Look for new exports."""
        self._scan()

    @work(thread=True, exclusive=True, group="scan")
    def _scan(self) -> None:
        folder = self.kelly.exports
        files, problem = exports_in(folder)
        call_from_worker(self, self._show_found, folder, files, problem)
        # An export may have 16 MB, so each version is read only once.
        new = {str(file.path): file for file in files if file not in self._contents}
        if new:
            job = self.kelly.start(worker("exports", *new))
            for content in job.records():
                call_from_worker(self, self._show_content, new.pop(content.pop("file")), content)
            for file in new.values() if job.problem else ():
                call_from_worker(self, self._show_content, file, {"error": job.problem})

    def _show_found(self, folder: Path, files: Sequence[ExportFile], problem: str) -> None:
        """Show the exports of a folder, or why they could not be listed."""
        self._looked = True
        self._files = {str(file.path): file for file in files}
        self._folder_problem = problem
        # Benchmark may have timed them since.
        self._benchmarks = load_benchmarks()
        # Marks are kept when another folder is shown, so that exports of two trainings can be compared.
        self._marked = [file for file in self._marked if file in self._files or Path(file).is_file()]
        elsewhere = folder != self.kelly.session.settings.output.dir
        set_border_title(self.table, f"exports of {folder}" if elsewhere else "exports")
        name = Path(self.table.current or "").name
        self.draw()
        # After a change of the folder, select the export of the same model.
        self.table.select(next((file for file in self._files if Path(file).name == name), ""))

    def _show_content(self, file: ExportFile, content: dict[str, Any]) -> None:
        self._contents[file] = content
        self.draw()

    def _content_of(self, file: str) -> dict[str, Any] | None:
        """Return the content of an export that is listed and was read, else None."""
        listed = self._files.get(file)
        return None if listed is None else self._contents.get(listed)

    def action_rescan(self) -> None:
        """Look for new exports."""
        self._files, self._contents = {}, {}
        self._scan()

    def action_folder(self) -> None:
        """Show the exports of the next folder; if one is marked, of the next folder with an export of that model."""
        self.kelly.next_export_folder(*(Path(file).name for file in self._marked if len(self._marked) == 1))
        self._scan()

    def action_validate(self) -> None:
        """Validate the selected export."""
        self._queue([self.table.current] if self.table.current else [])

    def action_validate_all(self) -> None:
        """Validate every export."""
        self._queue(list(self._files))

    def _queue(self, files: list[str]) -> None:
        if not files:
            self.notify("There is nothing to check.", severity="warning")
        self._job_queue.add(files)
        self.draw()

    @work(thread=True, exclusive=True, group="check")
    def _check(self, file: str) -> None:
        specs = ["--check-specs"] if Path(file).stem in MODEL_OF else []
        stamp = 0
        # The stamp is taken first, so that a version written during the check counts as not checked.
        with suppress(OSError):
            stamp = ExportFile.at(Path(file)).stamp
        job = self._job_queue.attach(self.kelly.start([*KELLY_CORE, "validate", file, "--json", *specs]))
        text = "".join(job.lines())
        try:
            report = json.loads(text)["files"][0] if text and not job.cancelled else None
            # After failed checks the command also ends with an error code, but prints a report.
            problem = "" if job.cancelled or report is not None else job.problem
        except (ValueError, KeyError, IndexError):
            report, problem = None, job.problem or "the check ended without a result"
        call_from_worker(self, self._keep, file, stamp, report, problem)

    def _keep(self, file: str, stamp: int, report: dict[str, Any] | None, problem: str) -> None:
        """Store the report with the previous one, and continue with the next export.

        The report is None if the check failed or was canceled.
        """
        if problem:
            self.notify(problem, severity="error", timeout=10)
        # Stored even if another folder is shown by now.
        if report is not None:
            previous = self._result(file)
            self._results[str(Path(file).absolute())] = {
                "stamp": stamp,
                "checks": report["checks"],
                "former": None if previous is None else previous["checks"],
            }
            self.kelly.state.save_as(_STATE_NAME, self._results)
        listed = self._files.get(file)
        if listed is not None and listed.stamp != stamp:
            self._scan()
        self._job_queue.advance()
        self.draw()

    @on(RecordTable.MarkClicked)
    def action_mark(self) -> None:
        """Toggle the mark of the selected export; a third mark drops the first."""
        current = self.table.current
        if current is None:
            return
        if current in self._marked:
            self._marked.remove(current)
        else:
            self._marked = [*self._marked, current][-2:]
        self._comparison = ""
        self.refresh_frame()
        self.draw()
        if len(self._marked) == 2:
            self._compare(list(self._marked))

    def action_unmark(self) -> None:
        """Clear all marks."""
        self._marked, self._comparison = [], ""
        self.refresh_frame()
        self.draw()

    @work(thread=True, exclusive=True, group="compare")
    def _compare(self, files: list[str]) -> None:
        job = self.kelly.start([*KELLY_CORE, "compare", *files], with_errors=True)
        text = "".join(job.lines()).strip() or job.problem
        call_from_worker(self, self._show_comparison, files, f"{text}\n\n{_OTHER_FOLDER}" if job.problem else text)

    def _show_comparison(self, files: list[str], text: str) -> None:
        """Show the differences if the same exports are still marked."""
        if files == self._marked:
            self._comparison = text
            self._draw_details()

    def action_failed(self) -> None:
        """Toggle between failed checks and all checks."""
        self._only_failed = not self._only_failed
        self._draw_details()

    @on(RecordTable.RowHighlighted)
    def _chosen(self) -> None:
        self.refresh_frame()
        self._draw_details()
        if self.table.current is not None:
            self._read_losses(Path(self.table.current))

    @work(thread=True, exclusive=True, group="losses")
    def _read_losses(self, file: Path) -> None:
        call_from_worker(self, self._show_losses, str(file), losses_of(file))

    def _show_losses(self, file: str, losses: Curves) -> None:
        """Draw the losses if the export is still selected."""
        if file == self.table.current:
            self._losses_of, self._losses = file, losses
            self._draw_losses()

    def _draw_losses(self) -> None:
        name = Path(self._losses_of).stem
        color = model_color(MODEL_OF.get(name, ""), self.theme_colors)
        series = curve_series(self._losses, color, self.theme_colors)
        self.query_one(CurveChart).show(f"losses of {name}" if name else "", series)

    def _result(self, file: str) -> dict[str, Any] | None:
        return self._results.get(str(Path(file).absolute()))

    def draw(self) -> None:
        """Show the exports, and the details of the selected one."""
        self.offer_cancel()
        self.table.show(self._row(file) for file in self._files.values())
        self._draw_details()
        self._draw_losses()

    def _row(self, file: ExportFile) -> Row:
        key = str(file.path)
        content = self._contents.get(file, {})
        metadata = content.get("metadata", {})
        baseline, value = (_number(metadata.get("metrics"), name) for name in _BASELINES)
        gain = format_change(1 - value / baseline) if baseline and value is not None else MISSING
        parameters = f"{content['parameters']:,}" if "parameters" in content else MISSING
        state = str(metadata.get("state", MISSING))
        mark = Text("◆" if key in self._marked else " ", self.theme_colors.accent)
        deploy = (parameters, format_bytes(file.bytes), state, format_loss(value), gain, self._latency(file.path))
        return Row(key, (mark, file.path.stem, self._verdict(key), self._parity(key), *deploy))

    def _parity(self, key: str) -> Text:
        """Return a mark for the result of all parity checks with other engines."""
        result = self._result(key)
        checks = [] if result is None else result["checks"]
        asked = [check for check in checks if check["name"].startswith(_PARITY_CHECKS)]
        if not asked:
            return Text(MISSING, self.theme_colors.muted)
        same = all(check["passed"] for check in asked)
        return Text("same" if same else "failed", self.theme_colors.success if same else self.theme_colors.error)

    def _latency(self, path: Path) -> str:
        """Return the model's p99 in the first engine of the folder's last benchmark."""
        report = self._benchmarks.get(str(path.parent.absolute()))
        engine = None if report is None else next(iter(report.result.engines.values()), None)
        found = None if engine is None else engine.models.get(MODEL_OF.get(path.stem, ""))
        return MISSING if found is None else f"{found.p99_us:,.0f}"

    def _verdict(self, key: str) -> Text:
        colors, result = self.theme_colors, self._result(key)
        if key == self._job_queue.current:
            return Text("checking", colors.accent)
        if key in self._job_queue.waiting:
            return Text("waiting", colors.accent)
        if "error" in (self._content_of(key) or ()):
            return Text("unreadable", colors.error)
        if result is None:
            return Text("not checked", colors.muted)
        if result["stamp"] != self._files[key].stamp:
            return Text("changed since", colors.warning)
        failed = sum(not check["passed"] for check in result["checks"])
        return Text(f"{failed} failed", colors.error) if failed else Text("passed", colors.success)

    def _draw_details(self) -> None:
        details, current = self.query_one(DetailsPanel), self.table.current
        if len(self._marked) == 2:
            details.show("compared", Text(self._comparison or "Comparing …"))
        elif current is None:
            empty = "No exports here yet. A training writes them." if self._looked else "Looking …"
            details.show("checks", self._folder_problem or empty)
        else:
            details.show(Path(current).name, self._checks(current))
        self._draw_quality(current)

    def _draw_quality(self, file: str | None) -> None:
        """Draw the gains over the baselines; without any, the details take all of the space."""
        quality = recorded_quality((self._content_of(file or "") or {}).get("metadata"))
        gains = () if quality is None else tuple(each.as_gain for each in quality.whiskers())
        self.set_class(bool(gains), "-gains")
        if quality is not None and gains:
            title = f"gain over baselines, {quality.split}, {quality.groups:,} groups"
            self.query_one("#forest", Drawing).show(title, ForestPlot(gains))

    def _checks(self, file: str) -> Text | list[LabeledRow]:
        colors, result, content = self.theme_colors, self._result(file), self._content_of(file)
        if content is not None and "error" in content:
            return [("problem", Text(content["error"], colors.error))]
        metadata = [("reading", "…")] if content is None else list(metadata_rows(content, colors))
        if result is None:
            return [("next", "press v to check it, a for all"), *metadata]
        checks = list(check_rows(result, colors, only_failed=self._only_failed))
        return [*checks, ("", ""), *metadata] if checks else Text.assemble(("Every check passed.", colors.success))


def _number(metrics: object, name: str) -> float | None:
    value = metrics.get(name) if isinstance(metrics, dict) else None
    return float(value) if isinstance(value, int | float) else None


def exports_in(folder: Path) -> tuple[list[ExportFile], str]:
    """Return the exports of a folder sorted by name, and the error if the folder cannot be read, otherwise ""."""
    try:
        if not folder.is_dir():
            return [], f"The folder {folder} does not exist yet. A training writes its exports there."
        # ``glob`` would find nothing in a folder without read permission, and raise no error.
        documents = sorted(path for path in folder.iterdir() if path.suffix == ".json" and path.is_file())
        return [ExportFile.at(path) for path in documents if _may_be_export(path)], ""
    except OSError as error:
        return [], f"{folder} cannot be read ({error.strerror})"


def _may_be_export(path: Path) -> bool:
    """Return False for a backup of an export, and for JSON without an export's keys, such as the results of a sweep.

    Files that are named after a model, empty or not JSON are listed, because they may be damaged exports.
    """
    if path.name.endswith(PREVIOUS_ENDING):
        return False
    if path.stem in MODEL_OF:
        return True
    with open_regular(path) as file:
        content = file.read().lstrip()
    if b'"layers"' in content or b'"in_shape"' in content:
        return True
    return not content.startswith((b"{", b"[")) or content.rstrip() == b"{}"


def losses_of(export: Path) -> Curves:
    """Return the losses per epoch that are stored next to an export; empty if they cannot be read."""
    curves = Curves()
    with suppress(KellyError):
        history = read_history(export.parent / "history" / f"{export.stem}_history.json")
        for row in history.rows if history is not None else ():
            curves.epochs.append(row["epoch"])
            curves.train_loss.append(row["train_loss"])
            curves.val_loss.append(row["val_loss"])
            curves.note_best(len(curves.epochs) - 1)
    return curves


def check_rows(result: dict[str, Any], colors: ThemeColors, *, only_failed: bool) -> Iterator[LabeledRow]:
    """Yield the checks of a saved result (see ``CHECKED_EXPORTS``), with a note on each that has changed.

    Args:
        result: the checks of this and of the previous validation.
        colors: colors of the theme.
        only_failed: leave out checks that passed.
    """
    previous = {check["name"]: check["passed"] for check in result.get("former") or ()}
    for check in result["checks"]:
        if check["passed"] and only_failed:
            continue
        mark = ("✓", colors.success) if check["passed"] else ("✗", f"bold {colors.error}")
        name = Text.assemble(mark, (f" {check['name']}", colors.muted if check["passed"] else colors.text))
        news = "" if previous.get(check["name"], check["passed"]) == check["passed"] else "  new since last time"
        yield name, Text.assemble(check["detail"], (news, colors.accent))


def metadata_rows(content: dict[str, Any], colors: ThemeColors) -> Iterator[LabeledRow]:
    """Yield the metadata that the worker for exports read from a file: sizes, layers, data, verdict and metrics."""
    yield "sizes", f"{content['input_size']} in, {content['output_size']} out"
    yield "layout", content["layout"]
    for number, layer in enumerate(content.get("layers", ())):
        yield "" if number else "layers", layer
    metadata = content["metadata"]
    if isinstance(metadata.get("trained_on"), dict):
        yield from _data_rows(provenance_of(metadata))
    quality = recorded_quality(metadata)
    if quality is None:
        yield "quality", Text(_NO_QUALITY, colors.muted)
    else:
        yield from _quality_rows(quality, colors)


def _data_rows(data: Provenance) -> Iterator[LabeledRow]:
    yield "trained on", f"{'synthetic ' if data.synthetic else ''}{data.corpus}"
    if data.train_examples is not None and data.validation_examples is not None:
        yield "examples", f"{data.train_examples:,} to train, {data.validation_examples:,} to validate"
    for corpus, text in data.licenses.items():
        yield "licence", f"{corpus}: {text}"


def _quality_rows(quality: QualityRecord, colors: ThemeColors) -> Iterator[LabeledRow]:
    yield "quality", Text(quality.summary(), colors.success if quality.trained else colors.warning)
    yield "judged by", f"{quality.examples:,} {quality.split} examples, {quality.groups:,} groups"
    if not quality.baselines:
        yield "baselines", Text("none to compare with", colors.muted)
    for reference in quality.references:
        yield reference.name, f"{reference.measure} {format_loss(reference.value)}"
    for name, value in quality.metrics.items():
        label = Text(name, colors.text if name in quality.primary else colors.muted)
        yield label, format_metric(value)
