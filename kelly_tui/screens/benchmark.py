"""Latency of a frame: every model and the chain, in every engine, against the plugin's budget."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual import on, work
from textual.binding import Binding, BindingType
from textual.widget import Widget

from kelly_core.benchmark.history import BenchmarkRun, comparable, read_runs
from kelly_core.benchmark.results import CHAIN, BenchmarkReport, Histogram, Latency
from kelly_core.errors import KellyError
from kelly_core.formatting import MISSING, format_micros
from kelly_tui.charts.chart_data import Series
from kelly_tui.charts.curve_chart import CurveChart
from kelly_tui.dialogs.prompts import TextPrompt
from kelly_tui.formatting import bar
from kelly_tui.jobs import KELLY_CORE, JobQueue, call_from_worker
from kelly_tui.screens.chart_screen import ChartScreen
from kelly_tui.state_store import BENCHMARKS, load_benchmarks, load_state
from kelly_tui.widgets.panels import DetailsPanel, set_border_title
from kelly_tui.widgets.record_table import RecordTable, Row

_ENGINE = "engine"
_MAX_HISTORY_BYTES = 2**20
_RUNS_SHOWN = 8
_LINES_BESIDE_RUNS = 20
"""Lines of the details that are reserved for the spread and the notes."""
_MAX_BAR_COLUMNS, _BESIDE_BAR = 48, 28
"""Columns of the longest bar of the histogram, and of numbers and borders next to it."""
_BAR, _SHORT_BAR = 20, 6


class Benchmark(ChartScreen):
    """Latencies above; spread and history of the selected row below."""

    NAME = "benchmark"
    ABOUT = (
        "Time of single frames on one thread, in microseconds, for each model and for the chain of all five, in each "
        "engine that is installed and in the one that you name. The bar is the 99th percentile against the budget of "
        "the plugin; since is the change of the median and of the 99th percentile against the last run on this "
        "machine. No other program should run at the same time."
    )
    MUTATING_ACTIONS = frozenset({"bench"})

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("b", "bench", "Benchmark", tooltip="Time all exports of the output folder"),
        Binding("e", "engine", "Engine", tooltip="Name the command of the plugin's own engine, to time it as well"),
        Binding("o", "folder", "Folder", tooltip="Exports of the next folder: of the settings, then of each run"),
        Binding("x", "cancel", "Cancel", tooltip="Stop timing"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._reports = load_benchmarks()
        self._engine = str(load_state(_ENGINE).get("command", ""))
        self._runs: list[BenchmarkRun] = []
        self._queue = JobQueue(lambda folder: self._bench(folder, self.command()))
        self.queues = (self._queue,)
        self._timing = ""

    def body(self) -> Iterator[Widget]:
        """Lay out table, details and chart."""
        labels = ("engine", "part", "p50 µs", "p95 µs", "p99 µs", "max µs", "since", "p99 of budget")
        yield RecordTable(labels, numbers=labels[2:7], extras=("p95 µs", "max µs", "since", "p50 µs"), id="latencies")
        yield DetailsPanel(id="spread")
        yield CurveChart("Earlier runs appear here.", id="trend")

    def command(self) -> tuple[str, ...]:
        """Return ``bench``, with the external engine if one is named."""
        return ("bench", str(self.kelly.exports), *(("--engine", self._engine) if self._engine else ()))

    @property
    def _report(self) -> BenchmarkReport | None:
        return self._reports.get(str(self.kelly.exports.absolute()))

    def on_activate(self) -> None:
        """Read timings that other programs have added."""
        self._read_history(self.kelly.exports)

    def on_resize(self) -> None:
        """Fit the bars to the new width."""
        self.draw()

    @work(thread=True, exclusive=True, group="history")
    def _read_history(self, folder: Path) -> None:
        try:
            runs = list(read_runs(folder, _MAX_HISTORY_BYTES))[::-1]
        except KellyError:
            # The ``bench`` command reports this error; the screen shows the last result without a history.
            runs = []
        call_from_worker(self, self._show_history, runs)

    def _show_history(self, runs: list[BenchmarkRun]) -> None:
        self._runs = runs
        self.draw()

    def action_bench(self) -> None:
        """Time everything."""
        if not self.is_busy:
            self._timing = "starting …"
            self._queue.add([str(self.kelly.exports.absolute())])
            self.draw()

    def action_folder(self) -> None:
        """Time the exports of the next folder."""
        self.kelly.next_export_folder()
        self.refresh_frame()
        self._read_history(self.kelly.exports)
        self.draw()

    def action_engine(self) -> None:
        """Ask for the external engine's command."""

        def keep(command: str) -> None:
            self._engine = command
            self.kelly.state.save_as(_ENGINE, {"command": command})
            self.refresh_frame()

        about = "The command of the plugin's own engine, as kelly-core bench --engine takes it; empty for none."
        self.kelly.ask(TextPrompt("External engine", about, self._engine), keep)

    @work(thread=True, exclusive=True, group="bench")
    def _bench(self, folder: str, words: Sequence[str]) -> None:
        job = self._queue.attach(self.kelly.start([*KELLY_CORE, *words, "--json"], with_errors=True))
        lines = []
        for line in job.lines():
            if line.startswith("timing "):
                call_from_worker(self, self._show_timing, line.strip())
            else:
                lines.append(line)
        # Libraries may print warnings before the JSON document.
        start = next((number for number, line in enumerate(lines) if line.startswith("{")), None)
        report, problem = None, ""
        try:
            document = {} if start is None else json.loads("".join(lines[start:]))
            problem = document.get("error", "")
            report = BenchmarkReport.from_json(document) if document and not problem else None
        except ValueError:
            problem = "the benchmark ended without a result"
        if report is None and not job.cancelled:
            problem = problem or " ".join(line.strip() for line in lines[-3:]) or "the benchmark printed nothing"
        call_from_worker(self, self._keep, folder, report, problem)

    def _show_timing(self, line: str) -> None:
        self._timing = line
        self.draw()

    def _keep(self, folder: str, report: BenchmarkReport | None, problem: str) -> None:
        """Store the result; the report is None if the benchmark failed or was cancelled."""
        self._timing = ""
        self._queue.advance()
        if problem:
            self.notify(problem, title="Benchmark", severity="error", timeout=12)
        if report is not None:
            self._reports[folder] = report
            self.kelly.state.save_as(BENCHMARKS, {name: each.to_json() for name, each in self._reports.items()})
        self._read_history(self.kelly.exports)
        self.draw()

    def draw(self) -> None:
        """Show the latencies, and the details of the selected row."""
        self.offer_cancel()
        report = self._report
        set_border_title(self.table, "latency of a frame", self._timing or _verdict(report))
        self.table.show(() if report is None else self._rows(report))
        self._draw_details()

    def _rows(self, report: BenchmarkReport) -> Iterator[Row]:
        last = next((run for run in reversed(self._runs) if run.time == report.last_run), None)
        slower = {(change.engine, change.part) for change in report.slower}
        for engine, figures in report.result.engines.items():
            previous = {} if last is None else comparable(last, report.result, engine)
            for part, latency in figures.parts.items():
                since = self._since(latency, previous.get(part), slower=(engine, part) in slower)
                yield self._row(engine, part, latency, since, report.result.budget_ms)

    def _row(self, engine: str, part: str, latency: Latency, since: Text, budget_ms: float) -> Row:
        colors = self.theme_colors
        share = latency.p99_us / (1000 * budget_ms)
        color = colors.success if share <= 0.5 else colors.warning if share <= 1 else colors.error
        length = _BAR if self.size.width >= 80 else _SHORT_BAR
        budget = Text.assemble(bar(share, length, (color, colors.muted)), f" {share:.1%}")
        figures = map(format_micros, (latency.p50_us, latency.p95_us, latency.p99_us, latency.max_us))
        name = Text(part, "bold" if part == CHAIN else "")
        return Row(f"{engine}/{part}", (Text(engine, colors.muted), name, *figures, since, budget))

    def _since(self, now: Latency, before: Latency | None, *, slower: bool) -> Text:
        """Return the change of the median and of the 99th percentile since the last run."""
        if before is None:
            return Text(MISSING, self.theme_colors.muted)
        pairs = ((now.p50_us, before.p50_us), (now.p99_us, before.p99_us))
        changes = " ".join(f"{ours / theirs - 1:+5.0%}" for ours, theirs in pairs if theirs)
        return Text(changes, self.theme_colors.error if slower else "")

    @on(RecordTable.RowHighlighted)
    def _draw_details(self) -> None:
        details, current, report = self.query_one(DetailsPanel), self.table.current, self._report
        if current is None or report is None:
            empty = f"No export in {self.kelly.exports} has been timed yet. Press b."
            if self._runs:
                last = self._runs[-1].time
                empty = f"{self.kelly.exports} was last timed at {last}. Press b to time it again and compare."
            details.show(current or "benchmark", self._timing or empty)
            return
        engine, part = current.split("/", 1)
        histogram = report.result.engines[engine].parts[part].histogram
        lines = [*self._histogram(histogram), Text(), *self._history(engine, part), *self._notes(report)]
        details.show(current, Text("\n").join(lines))
        self._draw_trend(engine, part)

    def _draw_trend(self, engine: str, part: str) -> None:
        """Draw median and 99th percentile of one row over all stored runs that no other program disturbed."""
        earlier = [latency for run, latency in self._earlier(engine, part) if not run.busy]
        colors = self.theme_colors
        runs = list(range(1, len(earlier) + 1))
        series = [
            Series("99th percentile", runs, [latency.p99_us or math.nan for latency in earlier], colors.muted),
            Series("median", runs, [latency.p50_us or math.nan for latency in earlier], colors.series[0]),
        ]
        self.query_one(CurveChart).show("µs by run, the last at the right", series if len(runs) > 1 else [])

    def _earlier(self, engine: str, part: str) -> list[tuple[BenchmarkRun, Latency]]:
        """Return the runs of the history that timed a part in an engine, each with the latency."""
        timed = [run for run in self._runs if engine in run.engines and part in run.engines[engine].parts]
        return [(run, run.engines[engine].parts[part]) for run in timed]

    def _histogram(self, histogram: Histogram | None) -> Iterator[Text]:
        if histogram is None or not histogram.counts:
            yield Text("This engine reports no spread.", self.theme_colors.muted)
            return
        most = math.log1p(max(histogram.counts))
        room = self.size.width * 2 // 5 if self.has_class("-wide") else self.size.width
        yield Text("calls by time, lengths logarithmic", self.theme_colors.muted)
        for edge, count in zip(histogram.edges_us, histogram.counts, strict=False):
            length = math.ceil(min(_MAX_BAR_COLUMNS, room - _BESIDE_BAR) * math.log1p(count) / most) if most else 0
            block = ("━" * length + " ", self.theme_colors.series[0])
            yield Text.assemble(f"{format_micros(edge):>9} µs ", block, f"{count:,}")

    def _history(self, engine: str, part: str) -> Iterator[Text]:
        shown = max(_RUNS_SHOWN, self.query_one("#spread").size.height - _LINES_BESIDE_RUNS)
        earlier = self._earlier(engine, part)[-shown:]
        if earlier:
            yield Text("earlier runs, median and 99th percentile", self.theme_colors.muted)
        for run, latency in reversed(earlier):
            when = run.time[:16].replace("T", " ")
            busy = "  busy machine" if run.busy else ""
            yield Text(f"{when}  {format_micros(latency.p50_us):>9}  {format_micros(latency.p99_us):>9}{busy}")

    def _notes(self, report: BenchmarkReport) -> Iterator[Text]:
        result, colors = report.result, self.theme_colors
        if result.load.busy:
            yield Text(f"{result.load.description}: in no trend", colors.warning)
        if result.missing:
            yield Text(f"missing: {', '.join(result.missing)}; the chain needs all five", colors.warning)
        for name, engine in result.engines.items():
            if engine.error:
                yield Text(f"{name} failed: {engine.error}", colors.error)
        for change in report.slower:
            times = f"{change.before_us:,.0f} → {change.now_us:,.0f} µs"
            yield Text(f"slower: {change.engine} {change.part}, {times}", colors.error)


def _verdict(report: BenchmarkReport | None) -> str:
    if report is None:
        return ""
    words = {True: "passed", False: "FAILED", None: "not judged"}[report.result.passed]
    return f"{words} · budget {report.result.budget_ms:g} ms"
