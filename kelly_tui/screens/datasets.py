"""The corpora: found or not, what of each can be used, and what to do to get it."""

from __future__ import annotations

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
from kelly_core.data.catalog import is_present, stand_in
from kelly_core.data.download.sources import SOURCES, sources_of
from kelly_core.formatting import MISSING, format_bytes
from kelly_tui.charts.corpus_pictures import ExampleGallery, LabelPlane, ShownExample
from kelly_tui.dialogs.preview import ExamplePreview
from kelly_tui.dialogs.prompts import ConfirmDialog
from kelly_tui.folder_stamp import folder_stamp
from kelly_tui.formatting import LabeledRow, LabeledRows, bar, split_bar
from kelly_tui.jobs import JobQueue, post_unless_replaced, worker
from kelly_tui.screens.base_screen import BaseScreen
from kelly_tui.state_store import CORPUS_REPORTS
from kelly_tui.widgets.panels import DetailsPanel, Drawing, set_border_title
from kelly_tui.widgets.record_table import RecordTable, Row

if TYPE_CHECKING:
    from kelly_core.data.download.inventory import Unclaimed

_STATE_NAME = "datasets"
_NAMES = 4
_MOST_BAR_COLUMNS, _LABEL_COLUMNS = 32, 14
_UNLABELED = "Its examples have no emotion labels."
_NO_EXAMPLES = "It has no examples."


class Datasets(BaseScreen):
    """The corpora on the left, the chosen one on the right; in the free room its labels and some examples."""

    NAME = "datasets"
    OPEN_ACTION = "preview"
    ABOUT = (
        "The five corpora that the models learn from, and additional ones that are mixed into them. A corpus that is "
        "missing is replaced by an additional one or by synthetic data. "
        "Preparing reads every file once, computes its features and keeps them; what cannot be used is counted."
    )
    # To draw an example may take features that are not there yet, which are then computed and kept.
    MUTATING_ACTIONS = frozenset({"prepare", "prepare_all", "preview", "get"})

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("g", "get", "Get", tooltip="Download the chosen corpus, check its sum and unpack it"),
        Binding("p", "prepare", "Prepare", tooltip="Read the chosen corpus and compute its features"),
        Binding("P", "prepare_all", "All", tooltip="Read every corpus that is here, one after the other"),
        Binding("x", "cancel", "Cancel", tooltip="Stop downloading or preparing; what is done is kept"),
        Binding("v", "preview", "View", tooltip="Draw one example of the chosen corpus"),
        Binding("r", "rescan", "Rescan", tooltip="Look again which corpora are here"),
    ]

    @dataclass
    class Looked(Message):
        """Which corpora are here, or why a folder cannot be looked into."""

        found: dict[str, bool | str]
        unclaimed: list[Unclaimed]

    @dataclass
    class Stamped(Message):
        """How the files of a corpus are now; see ``folder_stamp``."""

        name: str
        stamp: list[int]

    @dataclass
    class FilesRead(Message):
        """Progress of a corpus in files."""

        name: str
        done: int
        total: int
        note: str

        def can_replace(self, message: Message) -> bool:
            """Only the latest count matters."""
            return isinstance(message, Datasets.FilesRead)

    @dataclass
    class Downloading(Message):
        """Progress of a download in bytes."""

        name: str
        stage: str
        done: int
        total: int

        def can_replace(self, message: Message) -> bool:
            """Only the latest count matters."""
            return isinstance(message, Datasets.Downloading)

    @dataclass
    class DownloadEnded(Message):
        """A download ended; ``problem`` is "" if the corpus is there or the download was cancelled."""

        name: str
        problem: str
        notes: tuple[str, ...]

    @dataclass
    class Inspected(Message):
        """A corpus was read; ``report`` is None if that failed or was cancelled."""

        name: str
        report: dict[str, Any] | None
        problem: str
        stamp: list[int]

    def __init__(self) -> None:
        super().__init__()
        self._found: dict[str, bool | str] = {}
        self._unclaimed: list[Unclaimed] = []
        self._reports: dict[str, dict[str, Any]] = {
            report["folder"]: report for report in CORPUS_REPORTS.load(_STATE_NAME).values()
        }
        self._stamps: dict[str, list[int]] = {}
        self._progress: Datasets.FilesRead | None = None
        self._job_queue = JobQueue()
        self._download: Datasets.Downloading | None = None
        self._download_queue = JobQueue()

    def body(self) -> Iterator[Widget]:
        """The table above the labels; the details above the examples."""
        labels = ("corpus", "state", "files", "examples", "hours", "model")
        table = RecordTable(labels, numbers=labels[2:5], extras=("model", "hours"), id="corpora")
        table.border_title = "corpora"
        with Vertical(id="corpora-left"):
            yield table
            yield Drawing(id="labels")
            guide = DetailsPanel(id="corpora-guide")
            guide.border_title = "what they are and how to get them"
            yield guide
        with Vertical(id="corpora-right"):
            yield DetailsPanel(id="details")
            yield Drawing(id="examples")

    def command(self) -> tuple[str, ...]:
        """``datasets``."""
        return ("datasets", *self.kelly.session.config_words)

    def on_mount(self) -> None:
        """Begin with what is known without looking."""
        self._draw()

    def on_activate(self) -> None:
        """A corpus may have come meanwhile."""
        self._look()

    def repaint(self) -> None:
        """Draw again."""
        super().repaint()
        self._draw()

    @work(thread=True, exclusive=True, group="look")
    def _look(self) -> None:
        from kelly_core.data.download.inventory import (
            find_unclaimed,
        )  # loads NumPy, which the first screen must not wait for

        datasets = self.kelly.session.settings.datasets
        found: dict[str, bool | str] = {}
        for name in CORPORA:
            try:
                found[name] = is_present(name, datasets.folder(name))
            except OSError as error:
                found[name] = f"cannot be looked into ({error.strerror})"
        post_unless_replaced(self, self.Looked(found, find_unclaimed(datasets)))
        for name in [name for name, here in found.items() if here is True]:
            post_unless_replaced(self, self.Stamped(name, folder_stamp(datasets.folder(name))))

    @on(Stamped)
    def _on_stamped(self, message: Stamped) -> None:
        """Show whether the files have changed since they were read."""
        if self._stamps.get(message.name) != message.stamp:
            self._stamps[message.name] = message.stamp
            self._draw()

    @on(Looked)
    def _on_looked(self, message: Looked) -> None:
        """Show what is here."""
        self._found, self._unclaimed = message.found, message.unclaimed
        self._draw()

    @on(RecordTable.RowHighlighted)
    def _chosen(self) -> None:
        self._draw_details()

    def action_rescan(self) -> None:
        """Look again."""
        self._found = {}
        self._draw()
        self._look()

    def action_prepare(self) -> None:
        """Read the chosen corpus."""
        self._queue([self._corpus])

    def action_prepare_all(self) -> None:
        """Read every corpus that is here."""
        self._queue([name for name in CORPORA if self._found.get(name) is True])

    def _queue(self, names: list[str]) -> None:
        here = [name for name in names if self._found.get(name) is True]
        if not here:
            self.notify("There is nothing to prepare: the corpus is not here.", severity="warning")
        self._job_queue.add(here)
        if not self._job_queue.current:
            self._next()

    def _next(self) -> None:
        self._progress = None
        name = self._job_queue.advance()
        if name:
            self._inspect(name)
        self._draw()

    def action_cancel(self) -> None:
        """Stop downloading and reading, and forget what waits."""
        self._download_queue.cancel()
        self._job_queue.cancel()

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
        size = sum(archive.bytes for source in sources for archive in source.archives)
        lines.append(f"About {size / 1e6:,.0f} MB into {self.kelly.session.settings.datasets.folder(name)}.")
        answers = (("", "No"), ("get", "Agree and download"))
        dialog = ConfirmDialog(f"Download {name}?", "\n".join(lines), answers)
        self.app.push_screen(dialog, lambda answer: self._queue_download(name) if answer == "get" else None)

    def _queue_download(self, name: str) -> None:
        self._download_queue.add([name])
        if not self._download_queue.current:
            self._next_download()

    def _next_download(self) -> None:
        self._download = None
        name = self._download_queue.advance()
        if name:
            self._fetch(name)
        self._draw()

    @work(thread=True, exclusive=True, group="download")
    def _fetch(self, name: str) -> None:
        job = self._download_queue.attach(
            self.kelly.start(worker("corpora", "get", name, self.kelly.session.config_argument))
        )
        problem = ""
        notes = []
        for line in job.records():
            if line.get("note"):
                notes.append(str(line["note"]))
            elif "stage" in line:
                self.post_message(self.Downloading(name, line["stage"], line["done"], line["total"]))
            problem = line.get("error", "")
        self.post_message(self.DownloadEnded(name, "" if job.cancelled else problem or job.problem, tuple(notes)))

    @on(Downloading)
    def _on_downloading(self, message: Downloading) -> None:
        """Show how far the download is."""
        self._download = message
        self._draw()

    @on(DownloadEnded)
    def _on_download_ended(self, message: DownloadEnded) -> None:
        """Report the result, inspect the corpora again, and start the next download."""
        for note in message.notes:
            self.notify(note, title=message.name, severity="warning")
        if message.problem:
            self.notify(message.problem, title=message.name, severity="error", timeout=15)
        self._look()
        self._next_download()

    @work(thread=True, exclusive=True, group="inspect")
    def _inspect(self, name: str) -> None:
        job = self._job_queue.attach(
            self.kelly.start(worker("corpora", "inspect", name, self.kelly.session.config_argument))
        )
        report, problem = None, ""
        # Taken before the files are read: those that change meanwhile then count as changed.
        stamp = folder_stamp(self.kelly.session.settings.datasets.folder(name))
        for line in job.records():
            if "total" in line:
                self.post_message(self.FilesRead(name, line["done"], line["total"], line["note"]))
            report, problem = line.get("report"), line.get("error", "")
        self.post_message(self.Inspected(name, report, "" if job.cancelled else problem or job.problem, stamp))

    @on(FilesRead)
    def _on_files_read(self, message: FilesRead) -> None:
        """Show how far the features are, and tell once what else there is to know."""
        if message.note and (self._progress is None or self._progress.note != message.note):
            self.notify(message.note, title=message.name, severity="warning")
        self._progress = message
        self._draw()

    @on(Inspected)
    def _on_inspected(self, message: Inspected) -> None:
        """Store the report and inspect the next corpus."""
        if message.problem:
            self.notify(message.problem, title=message.name, severity="error", timeout=10)
        if message.report is not None:
            self._reports[self._key(message.name)] = message.report | {
                "folder": self._key(message.name),
                "stamp": message.stamp,
            }
            self._stamps[message.name] = message.stamp
            self.kelly.state.keep(_STATE_NAME, self._reports)
        self._next()

    def action_preview(self) -> None:
        """Draw one example."""
        self.app.push_screen(ExamplePreview(self._corpus, self.kelly.session.config_argument, self.kelly.start))

    @property
    def _corpus(self) -> str:
        return self.query_one("#corpora", RecordTable).current or next(iter(CORPORA))

    def _key(self, name: str) -> str:
        """The absolute folder of a corpus, by which its report is kept: every checkout has corpora of its own."""
        return str(self.kelly.session.settings.datasets.folder(name).absolute())

    def _report(self, name: str) -> dict[str, Any] | None:
        """The last report of the folder that the settings name."""
        return self._reports.get(self._key(name)) if self._found.get(name) is True else None

    def _is_outdated(self, name: str) -> bool:
        """True if the files have changed since they were read."""
        report = self._report(name)
        return report is not None and name in self._stamps and report.get("stamp") != self._stamps[name]

    @property
    def is_busy(self) -> bool:
        """True while a corpus is downloaded or read."""
        return bool(self._job_queue.current or self._download_queue.current)

    def _draw(self) -> None:
        if self.is_mounted:
            self.offer_cancel()
            self.query_one("#corpora", RecordTable).show(self._row(name) for name in CORPORA)
            self._draw_details()

    def _row(self, name: str) -> Row:
        models = self._models(name)
        model = f"{len(models)} models" if len(models) > 1 else next(iter(models), MISSING)
        report = self._report(name)
        counts = (
            [MISSING] * 3 if report is None else [f"{report['files']:,}", f"{report['examples']:,}", _hours(report)]
        )
        return Row(name, (name, self._state(name), *counts, Text(model, self.theme_colors.muted)))

    def _models(self, name: str) -> list[str]:
        """The models that learn from a corpus."""
        served = CORPORA[name].joins or (name,)
        models = self.kelly.session.settings.models
        return [model for model, settings in models.items() if settings.dataset in served]

    def _state(self, name: str) -> Text:
        colors = self.theme_colors
        found = self._found.get(name)
        report = self._report(name)
        if name == self._download_queue.current:
            return Text(f"{self._download.stage if self._download else 'starting'}{self._share()}", colors.accent)
        if name in self._download_queue.waiting:
            return Text("waiting", colors.accent)
        if name == self._job_queue.current:
            share = f" {self._progress.done / max(1, self._progress.total):.0%}" if self._progress else ""
            return Text(f"reading{share}", colors.accent)
        if name in self._job_queue.waiting:
            return Text("waiting", colors.accent)
        if found is None:
            return Text("looking", colors.muted)
        if isinstance(found, str):
            return Text("unreadable", colors.bad)
        if not found:
            return Text("missing", colors.warning)
        if report is None:
            return Text("found", colors.good)
        if self._is_outdated(name):
            return Text("changed", colors.warning)
        return Text("unusable", colors.bad) if report["problem"] else Text("ready", colors.good)

    def _share(self) -> str:
        """Share of the current stage of a download, "" if its size is not known."""
        progress = self._download
        return f" {progress.done / progress.total:.0%}" if progress and progress.total else ""

    def _draw_details(self) -> None:
        details = self.query_one("#details", DetailsPanel)
        set_border_title(details, self._corpus)
        details.show(LabeledRows(self._details(self._corpus), self.theme_colors.muted))
        report = self._report(self._corpus) or {}
        self.set_class(not report, "-unread")
        self.query_one("#corpora-guide", DetailsPanel).show(LabeledRows(self._guide(), self.theme_colors.muted))
        labels, shown = report.get("labels"), report.get("shown")
        plane = _label_plane(labels) if labels and any(labels["valence"] + labels["arousal"]) else None
        self.query_one("#labels", Drawing).show("labels", plane, _UNLABELED)
        self.query_one("#examples", Drawing).show("examples", _gallery(shown) if shown else None, _NO_EXAMPLES)

    def _guide(self) -> Iterator[LabeledRow]:
        """Yield what each corpus is, its license and how it is got, for the room that one not read leaves."""
        for name, corpus in CORPORA.items():
            yield name, corpus.title
            yield "", Text(corpus.license, self.theme_colors.muted)
            size = sum(archive.bytes for source in sources_of(name, SOURCES) for archive in source.archives)
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
            yield from self._download_details()
        elif name == self._job_queue.current:
            yield from self._progress_details()
        elif isinstance(found, str):
            yield "problem", Text(found, colors.bad)
        elif found is False:
            here = [each for each, state in self._found.items() if state is True]
            yield "missing", Text(stand_in(name, here), colors.warning)
            for each in self._unclaimed:
                if each.corpus in (name, ""):
                    yield "found", Text(each.text, colors.warning)
            yield "get it", "press g"
            yield "", f"{corpus.advice} {folder}"
            if not here:
                yield (
                    "",
                    "No corpus is here yet: kelly-core datasets get --all downloads all, make demo writes a small one",
                )
            yield from self._sources(name)
        elif found:
            report = self._report(name)
            if self._is_outdated(name):
                yield "changed", Text("its files are not those that were read: p reads them again", colors.warning)
            yield from self._report_details(report) if report else [("next", "press p to read it and count examples")]

    def _sources(self, name: str) -> Iterator[LabeledRow]:
        """Yield what a corpus can be got from, with the license and the size of each."""
        for source in sources_of(name, SOURCES):
            size = sum(archive.bytes for archive in source.archives)
            yield "", ""
            yield source.name, source.title
            yield "", Text(source.license, self.theme_colors.muted)
            yield "", format_bytes(size) if size else source.steps

    def _download_details(self) -> Iterator[LabeledRow]:
        progress = self._download
        if progress is None:
            yield "download", "starting …"
            return
        colors = (self.theme_colors.accent, self.theme_colors.muted)
        yield progress.stage, bar(progress.done / max(1, progress.total), 24, colors)
        yield "", f"{progress.done / 1e6:,.1f} of {progress.total / 1e6:,.1f} MB · x cancels"

    def _progress_details(self) -> Iterator[LabeledRow]:
        if self._progress is None:
            yield "reading", "finding the files …"
            return
        done, total = self._progress.done, max(1, self._progress.total)
        colors = (self.theme_colors.accent, self.theme_colors.muted)
        yield "reading", bar(done / total, 24, colors)
        yield "", f"{done:,} of {total:,} files · x cancels"

    def _splits_details(self, report: dict[str, Any]) -> Iterator[LabeledRow]:
        """Yield the splits as a bar and as numbers.

        Training and validation are counted in examples. Test files are not read, so that their share is that of files.
        """
        splits, test = report["splits"], report.get("test_files", 0)
        examples, colors = sum(splits.values()), self.theme_colors
        if not examples:
            return
        files = max(1, report["files"] - sum(skipped["count"] for skipped in report["skipped"].values()))
        width = self.query_one("#details").size.width - _LABEL_COLUMNS
        width = min(_MOST_BAR_COLUMNS, max(1, width))
        parts = [*splits.values(), examples * test / files]
        hues = (colors.series[0], colors.series[1], colors.muted)
        yield "splits", split_bar(list(zip(parts, hues, strict=False)), width)
        names = [f"{name} {count:,}" for name, count in splits.items()]
        names += [f"official test {test:,} file{'s' * (test != 1)}, kept out"] if test else []
        yield "", Text(" · ").join(Text(name, hue) for name, hue in zip(names, hues, strict=False))
        if source := report.get("split_source"):
            yield "", source

    def _report_details(self, report: dict[str, Any]) -> Iterator[LabeledRow]:
        colors = self.theme_colors
        if report["problem"]:
            yield "problem", Text(report["problem"], colors.bad)
            return
        yield "files", f"{report['files']:,}"
        yield "examples", f"{report['examples']:,}"
        yield from self._splits_details(report)
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
            yield "skipped", Text("nothing", colors.good)
        for number, (reason, files) in enumerate(report["skipped"].items()):
            yield "skipped" if number == 0 else "", Text(f"{files['count']:,} × {reason}", colors.warning)
            names = ", ".join(Path(file).name for file in files["first"][:_NAMES])
            yield "", Text(names + (", …" if files["count"] > _NAMES else ""), colors.muted)


def _label_plane(counts: dict[str, Any]) -> LabelPlane:
    return LabelPlane(tuple(map(tuple, counts["plane"])), tuple(counts["valence"]), tuple(counts["arousal"]))


def _gallery(shown: list[dict[str, Any]]) -> ExampleGallery:
    return ExampleGallery(
        tuple(ShownExample(**each | {"input": tuple(each["input"]), "target": tuple(each["target"])}) for each in shown)
    )


def _hours(report: dict[str, Any]) -> str:
    """Return the length of audio; reports of note corpora, and of earlier versions, do not state it."""
    seconds = report.get("seconds")
    return MISSING if seconds is None else f"{seconds / 3600:,.2f}"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
