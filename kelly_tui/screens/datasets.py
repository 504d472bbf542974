"""Datasets screen: presence and usable files of each corpus, and how to get it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from rich.text import Text
from textual import on, work
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.widget import Widget

from kelly_core.corpora import CORPORA, RULES_FILE
from kelly_core.data.catalog import describe_substitute, is_present
from kelly_core.data.download.sources import SOURCES, sources_of
from kelly_core.formatting import MISSING, format_bytes
from kelly_tui.charts.corpus_pictures import ExampleGallery, LabelPlane, ShownExample
from kelly_tui.dialogs.preview import ExamplePreview
from kelly_tui.dialogs.prompts import ConfirmDialog
from kelly_tui.formatting import LabeledRow, bar, split_bar
from kelly_tui.jobs import JobProgress, JobQueue, call_from_worker, worker
from kelly_tui.screens.base_screen import BaseScreen
from kelly_tui.state_store import CORPUS_REPORTS
from kelly_tui.themes import ThemeColors
from kelly_tui.widgets.panels import DetailsPanel, Drawing
from kelly_tui.widgets.record_table import RecordTable, Row

if TYPE_CHECKING:
    from kelly_core.data.download.inventory import Unclaimed

_STATE_NAME = "datasets"
_BAR_COLUMNS, _LABEL_COLUMNS = 24, 14
_READING = "reading"
_FIRST_CORPUS = "No corpus is here yet: kelly-core datasets get --all downloads all, make demo writes a small one"
_UNLABELED = "Its examples have no emotion labels."
_NO_EXAMPLES = "It has no examples."
_ENTRIES_AT_ONCE = 500
_PAUSE = 1e-3
"""Seconds to sleep after this many entries, so that the screens' thread gets the GIL."""
_MAX_NAMES = 4
_MAX_BAR_COLUMNS = 32


class Datasets(BaseScreen):
    """The corpora on the left, the selected one on the right; below, if there is room, its labels and some examples."""

    NAME = "datasets"
    OPEN_ACTION = "preview"
    ABOUT = (
        "The five corpora that the models learn from, and additional ones that are mixed into them. A corpus that is "
        "missing is replaced by an additional one or by synthetic data. "
        "Preparing reads every file once, computes its features and keeps them; what cannot be used is counted."
    )
    # ``preview`` is on the list because drawing an example may compute features and write them to the cache.
    MUTATING_ACTIONS = frozenset({"prepare", "prepare_all", "preview", "get"})

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("g", "get", "Get", tooltip="Download the chosen corpus, verify its checksum and unpack it"),
        Binding("p", "prepare", "Prepare", tooltip="Read the chosen corpus and compute its features"),
        Binding("P", "prepare_all", "All", tooltip="Read every corpus that is here, one after the other"),
        Binding("x", "cancel", "Cancel", tooltip="Stop downloading or preparing; what is done is kept"),
        Binding("v", "preview", "View", tooltip="Draw one example of the chosen corpus"),
        Binding("r", "rescan", "Rescan", tooltip="Check again which corpora are here"),
    ]

    @dataclass
    class Progressed(Message):
        """Progress of the current job of a queue: bytes of a download, or files of the stage ``reading``."""

        queue: JobQueue
        progress: JobProgress

        def can_replace(self, message: Message) -> bool:
            """Return True for another count of the same stage: only the latest matters."""
            return isinstance(message, Datasets.Progressed) and message.progress.stage == self.progress.stage

    def __init__(self) -> None:
        super().__init__()
        self._found: dict[str, bool | str] = {}
        self._unclaimed: list[Unclaimed] = []
        self._reports: dict[str, dict[str, Any]] = {
            report["folder"]: report for report in CORPUS_REPORTS.load(_STATE_NAME).values()
        }
        self._stamps: dict[str, list[int]] = {}
        self._read_queue = JobQueue(self._inspect)
        self._download_queue = JobQueue(self._fetch)
        self.queues = (self._download_queue, self._read_queue)

    def body(self) -> Iterator[Widget]:
        """Lay out the table above the labels, and the details above the examples."""
        labels = ("corpus", "state", "files", "examples", "hours", "model")
        with Vertical(id="corpora-left"):
            yield RecordTable(labels, "corpora", numbers=labels[2:5], extras=("model", "hours"), id="corpora")
            yield Drawing(id="labels")
            yield DetailsPanel(id="corpora-guide")
        with Vertical(id="corpora-right"):
            yield DetailsPanel(id="details")
            yield Drawing(id="examples")

    def command(self) -> tuple[str, ...]:
        """Return ``datasets``."""
        return ("datasets", *self.kelly.session.config_options)

    def on_activate(self) -> None:
        """Look for corpora that have been added."""
        self._scan()

    @work(thread=True, exclusive=True, group="scan")
    def _scan(self) -> None:
        from kelly_core.data.download.inventory import (
            find_unclaimed,
        )  # loads NumPy, which the first screen must not wait for

        datasets = self.kelly.session.settings.datasets
        found: dict[str, bool | str] = {}
        for name in CORPORA:
            try:
                found[name] = is_present(name, datasets.folder(name))
            except OSError as error:
                found[name] = f"cannot be read ({error.strerror})"
        call_from_worker(self, self._show_found, found, find_unclaimed(datasets))
        # Stamps come last, since they take seconds for a corpus of many files.
        for name in [name for name, here in found.items() if here is True]:
            call_from_worker(self, self._show_stamp, name, folder_stamp(datasets.folder(name)))

    def _show_found(self, found: dict[str, bool | str], unclaimed: list[Unclaimed]) -> None:
        """Show which corpora are found, or why a folder cannot be read."""
        self._found, self._unclaimed = found, unclaimed
        self.draw()

    def _show_stamp(self, name: str, stamp: list[int]) -> None:
        """Show whether the files of a corpus have changed since they were read; see ``folder_stamp``."""
        if self._stamps.get(name) != stamp:
            self._stamps[name] = stamp
            self.draw()

    def action_rescan(self) -> None:
        """Look for corpora again."""
        self._found = {}
        self.draw()
        self._scan()

    def action_prepare(self) -> None:
        """Read the selected corpus."""
        self._queue([self._corpus])

    def action_prepare_all(self) -> None:
        """Read every corpus that is found."""
        self._queue([name for name in CORPORA if self._found.get(name) is True])

    def _queue(self, names: list[str]) -> None:
        here = [name for name in names if self._found.get(name) is True]
        if not here:
            self.notify("There is nothing to prepare: the corpus is not here.", severity="warning")
        self._read_queue.add(here)
        self.draw()

    def action_get(self) -> None:
        """Ask for agreement to the licenses of the chosen corpus, then download it."""
        name = self._corpus
        sources = sources_of(name, SOURCES)
        by_hand = [f"{source.name}: {source.steps}" for source in sources if source.steps]
        sources = [source for source in sources if source.archives]
        if not sources:
            self.notify("\n".join(by_hand) or "It has no public source.", title=f"{name} by hand", timeout=15)
            return
        lines = [f"{source.title}\n  licence: {source.license}" for source in sources]
        lines.append(
            f"About {download_bytes(name) / 1e6:,.0f} MB into {self.kelly.session.settings.datasets.folder(name)}."
        )
        answers = (("", "No"), ("get", "Agree and download"))
        dialog = ConfirmDialog(f"Download {name}?", "\n".join(lines), answers)
        self.kelly.ask(dialog, lambda _answer: self._queue_download(name))

    def _queue_download(self, name: str) -> None:
        self._download_queue.add([name])
        self.draw()

    @work(thread=True, exclusive=True, group="download")
    def _fetch(self, name: str) -> None:
        _, problem = self._run_task(self._download_queue, "get", name)
        call_from_worker(self, self._end_download, name, problem)

    @work(thread=True, exclusive=True, group="inspect")
    def _inspect(self, name: str) -> None:
        # The stamp is taken before the files are read, so that files that change during the reading count as changed.
        stamp = folder_stamp(self.kelly.session.settings.datasets.folder(name))
        result, problem = self._run_task(self._read_queue, "inspect", name)
        call_from_worker(self, self._keep, name, result.get("report"), problem, stamp)

    def _run_task(self, queue: JobQueue, task: str, name: str) -> tuple[dict[str, Any], str]:
        """Run a task of the worker for corpora; return the last JSON object, and the error ("" if there is none)."""
        job = queue.attach(self.kelly.start(worker("corpora", task, name, self.kelly.session.config_argument)))
        line: dict[str, Any] = {}
        noted = ""
        for line in job.records():
            # Every progress line repeats the note.
            if line.get("note", "") not in ("", noted):
                noted = line["note"]
                self.notify(noted, title=name, severity="warning")
            if "total" in line and (stage := line.get("stage", _READING)):
                self.post_message(self.Progressed(queue, JobProgress(stage, line["done"], line["total"])))
        return line, "" if job.cancelled else line.get("error") or job.problem

    @on(Progressed)
    def _on_progressed(self, message: Progressed) -> None:
        message.queue.progress = message.progress
        self.draw()

    def _end_download(self, name: str, problem: str) -> None:
        """Report the problem, if any, look for corpora again, and start the next download."""
        if problem:
            self.notify(problem, title=name, severity="error", timeout=15)
        self._scan()
        self._download_queue.advance()
        self.draw()

    def _keep(self, name: str, report: dict[str, Any] | None, problem: str, stamp: list[int]) -> None:
        """Store the report and inspect the next corpus; the report is None if reading failed or was cancelled."""
        if problem:
            self.notify(problem, title=name, severity="error", timeout=10)
        if report is not None:
            key = self._key(name)
            self._reports[key] = report | {"folder": key, "stamp": stamp}
            self._stamps[name] = stamp
            self.kelly.state.save_as(_STATE_NAME, self._reports)
        self._read_queue.advance()
        self.draw()

    def action_preview(self) -> None:
        """Draw one example."""
        self.app.push_screen(ExamplePreview(self._corpus, self.kelly.session.config_argument, self.kelly.start))

    @property
    def _corpus(self) -> str:
        return self.table.current or next(iter(CORPORA))

    def _key(self, name: str) -> str:
        """Return the absolute folder of a corpus, the key of its report: every checkout has its own corpora."""
        return str(self.kelly.session.settings.datasets.folder(name).absolute())

    def _report(self, name: str) -> dict[str, Any] | None:
        """Return the last report of the folder that the settings name."""
        return self._reports.get(self._key(name)) if self._found.get(name) is True else None

    def _is_outdated(self, name: str) -> bool:
        """Return True if the files have changed since they were read."""
        report = self._report(name)
        return report is not None and name in self._stamps and report.get("stamp") != self._stamps[name]

    def draw(self) -> None:
        """Show the corpora, and the details of the selected one."""
        self.offer_cancel()
        self.table.show(self._row(name) for name in CORPORA)
        self._draw_details()

    def _row(self, name: str) -> Row:
        models = self._models(name)
        model = f"{len(models)} models" if len(models) > 1 else next(iter(models), MISSING)
        report = self._report(name)
        counts = [MISSING] * 3
        if report is not None:
            # Corpora of MIDI files have no duration, and reports of earlier versions do not state one.
            seconds = report.get("seconds")
            hours = MISSING if seconds is None else f"{seconds / 3600:,.2f}"
            counts = [f"{report['files']:,}", f"{report['examples']:,}", hours]
        return Row(name, (name, self._state(name), *counts, Text(model, self.theme_colors.muted)))

    def _models(self, name: str) -> list[str]:
        """Return the models that are trained on a corpus."""
        served = CORPORA[name].joins or (name,)
        models = self.kelly.session.settings.models
        return [model for model, settings in models.items() if settings.dataset in served]

    def _state(self, name: str) -> Text:
        colors = self.theme_colors
        found = self._found.get(name)
        report = self._report(name)
        for queue, begun in ((self._download_queue, "starting"), (self._read_queue, _READING)):
            if name == queue.current:
                progress = queue.progress
                share = f" {progress.done / progress.total:.0%}" if progress and progress.total else ""
                return Text(f"{progress.stage if progress else begun}{share}", colors.accent)
            if name in queue.waiting:
                return Text("waiting", colors.accent)
        if found is None:
            return Text("looking", colors.muted)
        if isinstance(found, str):
            return Text("unreadable", colors.error)
        if not found:
            return Text("missing", colors.warning)
        if report is None:
            return Text("found", colors.success)
        if self._is_outdated(name):
            return Text("changed", colors.warning)
        return Text("unusable", colors.error) if report["problem"] else Text("ready", colors.success)

    @on(RecordTable.RowHighlighted)
    def _draw_details(self) -> None:
        self.query_one("#details", DetailsPanel).show(self._corpus, self._details(self._corpus))
        report = self._report(self._corpus) or {}
        self.set_class(not report, "-unread")
        guide = self.query_one("#corpora-guide", DetailsPanel)
        guide.show("what they are and how to get them", self._guide())
        labels, shown = report.get("labels"), report.get("shown")
        plane = LabelPlane(**labels) if labels and any(labels["valence"] + labels["arousal"]) else None
        gallery = ExampleGallery([ShownExample(**each) for each in shown]) if shown else None
        self.query_one("#labels", Drawing).show("labels", plane, _UNLABELED)
        self.query_one("#examples", Drawing).show("examples", gallery, _NO_EXAMPLES)

    def _guide(self) -> Iterator[LabeledRow]:
        """Yield description, license and source of each corpus; shown while the selected corpus has no report."""
        for name, corpus in CORPORA.items():
            yield name, corpus.title
            yield "", Text(corpus.license, self.theme_colors.muted)
            size = download_bytes(name)
            way = f"g downloads {format_bytes(size)}" if size else "got by hand: g shows the steps"
            yield "", f"for {', '.join(self._models(name)) or 'no model'} · {'here' if self._found.get(name) else way}"

    def _details(self, name: str) -> Iterator[LabeledRow]:
        colors, corpus, found = self.theme_colors, CORPORA[name], self._found.get(name)
        folder = self.kelly.session.settings.datasets.folder(name)
        yield "what", corpus.title
        yield "folder", str(folder)
        yield "licence", corpus.license
        yield "trains", ", ".join(self._models(name)) or "no model"
        yield "", ""
        if name == self._download_queue.current:
            yield from self._progress_rows(self._download_queue.progress, "download", "starting …")
        elif name == self._read_queue.current:
            yield from self._progress_rows(self._read_queue.progress, _READING, "finding the files …")
        elif isinstance(found, str):
            yield "problem", Text(found, colors.error)
        elif found is False:
            here = [each for each, state in self._found.items() if state is True]
            yield "missing", Text(describe_substitute(name, here), colors.warning)
            for each in self._unclaimed:
                if each.corpus in (name, ""):
                    yield "found", Text(each.text, colors.warning)
            yield "get it", "press g"
            yield "", f"{corpus.advice} {folder}"
            if not here:
                yield "", _FIRST_CORPUS
            yield from source_rows(name, colors)
        elif found:
            report = self._report(name)
            if self._is_outdated(name):
                yield "changed", Text("its files have changed since they were read: p reads them again", colors.warning)
            width = self.query_one("#details").size.width - _LABEL_COLUMNS
            unread = [("next", "press p to read it and count examples")]
            yield from report_rows(report, width, colors) if report else unread

    def _progress_rows(self, progress: JobProgress | None, begun: str, about: str) -> Iterator[LabeledRow]:
        if progress is None:
            yield begun, about
            return
        done, total = progress.done, max(1, progress.total)
        yield progress.stage, bar(done / total, _BAR_COLUMNS, (self.theme_colors.accent, self.theme_colors.muted))
        files, megabytes = f"{done:,} of {total:,} files", f"{done / 1e6:,.1f} of {total / 1e6:,.1f} MB"
        yield "", f"{files if progress.stage == _READING else megabytes} · x cancels"


def folder_stamp(folder: Path) -> list[int]:
    """Return number, bytes and latest modification time (ns) of all files below a folder.

    Entries that cannot be read are left out. Call it in a thread: a corpus may have a hundred thousand files.
    """
    files = size = latest = entries = 0
    waiting = [str(folder)]
    while waiting:
        try:
            found = list(os.scandir(waiting.pop()))
        except OSError:
            continue
        for entry in found:
            entries += 1
            if entries % _ENTRIES_AT_ONCE == 0:
                time.sleep(_PAUSE)
            try:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                    continue
                status = entry.stat()
            except OSError:
                continue
            files, size, latest = files + 1, size + status.st_size, max(latest, status.st_mtime_ns)
    return [files, size, latest]


def download_bytes(name: str) -> int:
    """Return the size of the archives of a corpus, 0 if it must be obtained manually."""
    return sum(archive.bytes for source in sources_of(name, SOURCES) for archive in source.archives)


def source_rows(name: str, colors: ThemeColors) -> Iterator[LabeledRow]:
    """Yield the sources of a corpus, with the license and the size of each."""
    for source in sources_of(name, SOURCES):
        size = sum(archive.bytes for archive in source.archives)
        yield "", ""
        yield source.name, source.title
        yield "", Text(source.license, colors.muted)
        yield "", format_bytes(size) if size else source.steps


def report_rows(report: dict[str, Any], width: int, colors: ThemeColors) -> Iterator[LabeledRow]:
    """Yield the content of a saved report (see ``CORPUS_REPORTS``), with a bar of at most ``width`` columns."""
    if report["problem"]:
        yield "problem", Text(report["problem"], colors.error)
        return
    yield "files", f"{report['files']:,}"
    yield "examples", f"{report['examples']:,}"
    yield from _split_rows(report, width, colors)
    for number, table in enumerate(report.get("tables", ())):
        yield "" if number else "tables", table
    yield "labels", _counts(report["label_sources"]) or "not needed"
    for table in report.get("label_tables", ()):
        yield "", table
    if report.get("joins"):
        yield "joins", _counts(report["joins"])
        yield "weight", f"{report['weight']:g}"
    if report.get("made_by_rules"):
        yield "made by", f"rules: see {RULES_FILE} in its folder"
    for warning in report.get("warnings", ()):
        yield "warning", Text(warning, colors.warning)
    if not report["skipped"]:
        yield "skipped", Text("nothing", colors.success)
    for number, (reason, files) in enumerate(report["skipped"].items()):
        yield "skipped" if number == 0 else "", Text(f"{files['count']:,} × {reason}", colors.warning)
        names = ", ".join(Path(file).name for file in files["first"][:_MAX_NAMES])
        yield "", Text(names + (", …" if files["count"] > _MAX_NAMES else ""), colors.muted)


def _split_rows(report: dict[str, Any], width: int, colors: ThemeColors) -> Iterator[LabeledRow]:
    """Yield the splits as a bar and as numbers.

    Training and validation are counted in examples. Test files are not read, so their share is a share of files.
    """
    splits, test = report["splits"], report.get("test_files", 0)
    examples = sum(splits.values())
    if not examples:
        return
    files = max(1, report["files"] - sum(skipped["count"] for skipped in report["skipped"].values()))
    parts = [*splits.values(), examples * test / files]
    hues = (colors.series[0], colors.series[1], colors.muted)
    yield "splits", split_bar(list(zip(parts, hues, strict=False)), min(_MAX_BAR_COLUMNS, max(1, width)))
    names = [f"{name} {count:,}" for name, count in splits.items()]
    names += [f"official test {test:,} file{'s' * (test != 1)}, kept out"] if test else []
    yield "", Text(" · ").join(Text(name, hue) for name, hue in zip(names, hues, strict=False))
    if source := report.get("split_source"):
        yield "", source


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
