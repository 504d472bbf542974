"""The report: the numbers of its sources in self-contained HTML and in Markdown, also if some are missing."""

from __future__ import annotations

import json
import os
import re
from base64 import b64decode
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from kelly_core.benchmark.history import FILE, append_run
from kelly_core.benchmark.results import BenchmarkResult, EngineResult, Latency, MachineLoad
from kelly_core.composition.composer import compose
from kelly_core.composition.score import Score, midi_bytes
from kelly_core.export.json_values import Layout
from kelly_core.export.quality_record import QualityRecord
from kelly_core.export.reader import read_export
from kelly_core.export.writer import write_export
from kelly_core.formatting import printable
from kelly_core.music.chords import CHORD_NAMES
from kelly_core.spec import ModelSpec, model_spec
from tests.cli.conftest import CommandRunner
from tests.helpers.chain import output
from tests.helpers.engine_programs import GOOD, engine
from tests.helpers.json_files import edited
from tests.helpers.networks import metadata_of, spec_network
from tests.seeds import shifted

QUIET = MachineLoad(0.0, 0.0)
GROOVE, DYNAMICS = model_spec("GroovePredictor"), model_spec("DynamicsEngine")
PNG = b"\x89PNG\r\n\x1a\n"
HOSTILE = "</td><script>alert(1)</script>| **x** [y](javascript:z) `q` _w_ &lt; \x1b[31m\n# head"


class Page(HTMLParser):
    """A page as a browser reads it: every tag, the rows of its tables, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self._in_cell = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._in_cell = False

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._in_cell:
            self.rows[-1][-1] = (self.rows[-1][-1] + data).strip()

    def row(self, *beginning: str) -> list[str]:
        """The first row that begins with this text."""
        return next(row for row in self.rows if row[: len(beginning)] == list(beginning))


def rendered(markdown: str) -> str:
    """Markdown rendered as HTML, tables included."""
    return MarkdownIt("commonmark").enable("table").render(markdown)


def remember(folder: Path, p99_us: float, *, after: int = 60, load: MachineLoad = QUIET) -> None:
    """A run of the benchmark, ``after`` seconds after the exports were written."""
    latency = Latency(11.5, 17.25, p99_us, 4321.0, 2000, None)
    engine_result = EngineResult({GROOVE.name: latency}, latency)
    append_run(folder, BenchmarkResult(10.0, 2000, (), {"numpy": engine_result}, load))
    for path in folder.glob("*.json"):
        written = path.stat().st_mtime
        os.utime(path, (written - after, written - after))
    with edited(folder / FILE) as record:
        record["host"] = "elsewhere"


def change(path: Path, **entries: Any) -> None:
    """Put entries into an export's metadata."""
    with edited(path) as document:
        document["metadata"] |= entries


def page_of(run: CommandRunner, *options: object, code: int = 0) -> Page:
    shown = run("report", "out", "--allow-synthetic", *options)
    assert shown.code == code, shown.err
    return Page(Path("out/report.html").read_text())


def write_tune(folder: Path, bars: int = 8) -> Score:
    score = compose(output(arousal=0.5), bars=bars, seed=shifted(2))
    (folder / "tune.mid").write_bytes(midi_bytes(score))
    (folder / "tune.png").write_bytes(PNG)
    return score


def test_a_page_is_self_contained(run: CommandRunner, trained: Path) -> None:
    write_tune(trained)
    shown = run.ok("report", "out", "--allow-synthetic")
    assert shown.out.splitlines() == ["wrote out/report.html", "wrote out/report.md"]
    page = Page(Path("out/report.html").read_text())
    assert not {"script", "link", "iframe", "object", "embed", "base"} & {tag for tag, _ in page.tags}
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("src", "srcset", "href"):
                assert (value or "").startswith(("#", "data:audio/midi;") if name == "href" else "data:image/"), tag
    html = Path("out/report.html").read_text()
    assert not re.search(r"@import|url\(", html)
    assert sum(tag == "img" for tag, _ in page.tags) == 3
    anchors = {attributes.get("id") for _, attributes in page.tags}
    assert {(a["href"] or "")[1:] for tag, a in page.tags if tag == "a" and "download" not in a} <= anchors


def test_every_number_equals_that_of_its_source(run: CommandRunner, trained: Path) -> None:
    remember(trained, 321.0)
    page = page_of(run)
    metadata = read_export(trained / "groovepredictor.json").metadata
    quality = QualityRecord.from_json(metadata["quality"])
    assert len(quality.baselines) == 4
    assert len(quality.primary) == 2
    for baseline in quality.baselines:
        for difference in baseline.differences:
            row = page.row(baseline.name, difference.measure.replace("_", " "))
            reported = [float(number) for number in re.findall(r"[-+]?\d+\.?\d*(?:e-?\d+)?", " ".join(row[2:4]))]
            wanted = [baseline.metrics[difference.measure], difference.value, difference.low, difference.high]
            assert reported == pytest.approx(wanted, rel=6e-3)
            share = f"{difference.value / wanted[0]:+.1%}" if wanted[0] else "–"
            assert row[4].split(" ")[0] == share
            assert row[5].startswith(("not worse", "beaten") if difference.beaten else ("perhaps", "not beaten"))
    for measure, value in quality.metrics.items():
        row = next(row for row in page.rows if row[0] == measure.replace("_", " ") and len(row) == 6)
        assert row[1] == "–" if value is None else float(row[1]) == pytest.approx(value, rel=1e-3)
    for reference in quality.references:
        named = [reference.name, reference.measure.replace("_", " ")]
        row = next(row for row in page.rows if row[:2] == named and len(row) == 5)
        assert float(row[2]) == pytest.approx(reference.value, rel=1e-3)
    (source,) = quality.sources
    row = page.row(f"{source.corpus}, {source.label_source}", str(source.examples), str(source.groups))
    assert float(row[4]) == pytest.approx(source.metrics[quality.primary[0]], rel=1e-3)
    history = json.loads((trained / "history" / "groovepredictor_history.json").read_text())
    assert f"{len(history['epochs'])} epochs. Best validation loss {history['metrics']['val_loss']:.4g}" in page.text
    assert page.row("numpy", "11.5")[1:5] == ["11.5", "17.2", "321", "4,321"]
    assert "chain p99 0.321 ms of 10 ms" in page.text
    assert "on elsewhere" in page.text
    assert metadata["trained_on"]["split_source"] == "official"
    assert "official (info.csv)" in page.text
    assert metadata["trained_on"]["dataset_hash"] in page.text
    assert quality.summary() in page.text
    assert f"{(trained / 'groovepredictor.json').stat().st_size:,} bytes" in page.text
    assert f"{GROOVE.parameter_count:,} numbers" in page.text


def test_the_summary_has_a_row_per_model_and_marks_generated_data(run: CommandRunner, trained: Path) -> None:
    page = page_of(run)
    groove, dynamics = page.row("GroovePredictor"), page.row("DynamicsEngine")
    quality = QualityRecord.from_json(read_export(trained / "dynamicsengine.json").metadata["quality"])
    assert groove[1] == "groove_midi"
    assert dynamics[1] == "SYNTHETIC, in place of maestro"
    assert dynamics[2] == quality.verdict
    assert dynamics[4:6] == ["ε", f"{quality.epsilon:.3f}"]
    assert groove[8] == dynamics[8] == "2 of 2"
    assert dynamics[-1] == "stateless"
    assert page.row("EmotionRecognizer")[1] == page.row("MelodyTransformer")[1] == "no file"
    assert page.row("parity with its checkpoint in PyTorch")[1] == "agrees"


def test_generated_data_are_refused_unless_they_are_allowed_and_named_first(run: CommandRunner, trained: Path) -> None:
    refused = run.refused("report", "out", code=1)
    for words in ("out/dynamicsengine.json: expected", "real corpus", "got", "synthetic data", "--allow-synthetic"):
        assert words in refused
    assert "groovepredictor" not in refused
    assert not list(trained.glob("report.*"))
    assert "--allow-synthetic" in run.json("report", "out", code=1)["error"]
    run.ok("report", "out/groovepredictor.json", "--text")
    page = page_of(run)
    assert page.text.index("DynamicsEngine: trained on SYNTHETIC data") < page.text.index("verdict")
    assert "SYNTHETIC data: 1 of 2 models" in page.text
    assert "trained on SYNTHETIC data" in (trained / "report.md").read_text()


def test_the_markdown_has_the_same_content(run: CommandRunner, trained: Path) -> None:
    remember(trained, 99_000.0)
    page = page_of(run)
    twin = Page(rendered((trained / "report.md").read_text()))
    assert {tuple(row) for row in page.rows if len(row) < 12} <= {tuple(row) for row in twin.rows}
    assert "TOO SLOW" in page.text
    assert "TOO SLOW" in twin.text
    pictures = [attributes["src"] for tag, attributes in twin.tags if tag == "img"]
    assert pictures == ["./plots/dynamicsengine_loss.png", "./plots/groovepredictor_loss.png"]
    run.ok("report", "out", "--allow-synthetic", "-o", "other place/report", "--mkdir")
    moved = Page(rendered(Path("other place/report/report.md").read_text()))
    pictures = [attributes["src"] or "" for tag, attributes in moved.tags if tag == "img"]
    assert all((Path("other place/report") / picture).is_file() for picture in pictures)
    assert len(pictures) == 2


def test_generated_music_is_in_the_report_with_its_chords(run: CommandRunner, trained: Path) -> None:
    score = write_tune(trained, bars=6)
    page = page_of(run)
    names = [CHORD_NAMES[chord] for chord in score.chords]
    assert page.row("1 to 4") == ["1 to 4", *names[:4]]
    assert page.row("5 to 6") == ["5 to 6", *names[4:], "", ""]
    sources = [attributes.get("src") or attributes.get("href") or "" for _, attributes in page.tags]
    for kind, name in (("audio/midi", "tune.mid"), ("image/png", "tune.png")):
        (embedded,) = [source.partition(",")[2] for source in sources if source.startswith(f"data:{kind};base64,")]
        assert b64decode(embedded) == (trained / name).read_bytes()
    assert "6 bars" in page.text
    twin = Page(rendered((trained / "report.md").read_text()))
    links = {attributes.get("src") or attributes.get("href") for _, attributes in twin.tags}
    assert links >= {"./tune.mid", "./tune.png"}
    (tune,) = run.json("report", "out", "--allow-synthetic")["tunes"]
    assert tune["chords"] == names
    assert tune["content"] is tune["picture"] is None


def test_music_that_cannot_be_shown_is_named(run: CommandRunner, trained: Path) -> None:
    score = write_tune(trained)
    (trained / "tune.png").write_bytes(PNG + bytes(2_000_000))
    (trained / "broken.mid").write_bytes(b"MThd")
    (trained / "broken.png").write_bytes(b"GIF89a")
    plain = midi_bytes(score).replace(CHORD_NAMES[score.chords[0]].encode(), b"?", 1)
    (trained / "verse.mid").write_bytes(plain)
    page = page_of(run)
    assert page.text.count("The music cannot be shown") == 1
    assert page.text.count("The picture cannot be shown") == 2
    assert "larger than 2.0 MB" in page.text
    assert "broken.png: is not a PNG file" in page.text


def test_content_of_files_is_shown_as_text(run: CommandRunner, trained: Path) -> None:
    quality = read_export(trained / "groovepredictor.json").metadata["quality"]
    quality["notes"] = [HOSTILE]
    quality["sources"][0]["corpus"] = HOSTILE
    reported = {"dataset": HOSTILE, "synthetic": False, "train_examples": HOSTILE, "dataset_hash": "x" * 5000}
    change(trained / "groovepredictor.json", quality=quality, trained_on=reported, model_name=HOSTILE)
    page = page_of(run, code=1)
    twin = Page(rendered((trained / "report.md").read_text()))
    shown = printable(HOSTILE)
    for reader in (page, twin):
        assert reader.text.count(shown) >= 3
        assert not {"script", "h1 onload"} & {tag for tag, _ in reader.tags}
        assert "\x1b" not in reader.text
        assert "x" * 700 not in reader.text
    assert sum(tag == "h1" for tag, _ in twin.tags) == 1
    assert not [a for tag, a in twin.tags if tag == "a"]
    assert "\x1b" not in run("report", "out", "--allow-synthetic", "--text").out


def write_bare(folder: Path, spec: ModelSpec, layout: Layout = "rtneural") -> None:
    """An export without data and quality records."""
    layers = spec_network(spec)
    metadata = metadata_of(layers, spec.name, "stateless")
    write_export(folder / f"{spec.file_stem}.json", layers, metadata | {"trained_on": None}, layout)


def test_what_is_missing_is_reported_in_its_place(run: CommandRunner, tmp_path: Path) -> None:
    for spec in (GROOVE, DYNAMICS):
        write_bare(tmp_path / "out", spec)
    page = page_of(run, code=1)
    assert page.row("metadata")[1] == '"trained_on" is not an object'
    assert page.text.count("The file has no quality record") == 2
    assert page.text.count("The file does not record what it was trained on") == 2
    assert "there is no history/dynamicsengine_history.json" in page.text
    assert page.row("GroovePredictor")[1:3] == ["not recorded", "not measured"]
    assert page.row("GroovePredictor")[8] == "1 of 1"
    assert "Not measured, there is no benchmarks.jsonl: run kelly-core bench out" in page.text
    assert not any(tag == "img" for tag, _ in page.tags)


def test_damage_is_reported_in_its_place(run: CommandRunner, trained: Path) -> None:
    (trained / "history" / "groovepredictor_history.json").write_text('{"epochs": [')
    with edited(trained / "history" / "dynamicsengine_history.json") as history:
        history["metrics"] = {"best_epoch": 77, "val_loss": 0.5}
    (trained / FILE).write_text("no run\n")
    (trained / "checkpoints" / "dynamicsengine_best.pt").write_bytes(b"no checkpoint")
    change(trained / "groovepredictor.json", quality={"verdict": "trained"})
    page = page_of(run, code=1)
    assert "The losses cannot be shown" in page.text
    assert "is not a history" in page.text
    assert "losses are of another training" in page.text
    assert "at epoch 77" in page.text
    assert "benchmarks.jsonl contains no run that can be read" in page.text
    assert page.row("parity with its checkpoint in PyTorch")[1] != "agrees"
    assert '"quality" is invalid' in page.row("quality record")[1]
    assert page.row("GroovePredictor")[2:4] == ["not measured", "1 of 20 FAILED"]


def test_a_file_that_cannot_be_read_fails_and_hides_no_other(run: CommandRunner, trained: Path) -> None:
    (trained / "groovepredictor.json").write_text('{"layers": [')
    page = page_of(run, code=1)
    assert page.row("readable")[1].startswith("is not JSON")
    assert page.row("GroovePredictor")[3] == "1 of 1 FAILED"
    assert page.row("DynamicsEngine")[3] == "20 of 20"


def test_the_legacy_layout_is_reported_too(run: CommandRunner, tmp_path: Path) -> None:
    write_bare(tmp_path / "out", GROOVE, "legacy")
    page = page_of(run)
    assert "layout legacy" in page.text
    assert "not compared with another engine" in page.text


@pytest.mark.parametrize(
    ("when", "problem"),
    [
        ({"after": -3600}, "Measured before the files were last changed"),
        ({"load": MachineLoad(0.37, 0.0)}, "Other programs used 37 % of the processor while this was measured"),
    ],
)
def test_a_benchmark_of_limited_use_is_marked(
    run: CommandRunner, trained: Path, when: dict[str, Any], problem: str
) -> None:
    remember(trained, 50.0, **when)
    page = page_of(run)
    assert f"{problem}: run kelly-core bench out" in page.text
    assert page.row("numpy")[3] == "50.0"


def test_the_report_is_printed_and_no_file_is_written(
    run: CommandRunner, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(trained.rglob("*"))
    monkeypatch.setenv("COLUMNS", "80")
    shown = run.ok("report", "out", "--allow-synthetic", "--text")
    assert max(map(len, shown.out.splitlines())) <= 80
    assert "GroovePredictor" in shown.out
    assert "SYNTHETIC" in shown.out
    assert "Baselines to beat" in shown.out
    report = run.json("report", "out", "--allow-synthetic")
    recorded = read_export(trained / "groovepredictor.json").metadata["quality"]
    assert report["passed"]
    assert report["missing"] == ["EmotionRecognizer", "MelodyTransformer", "HarmonyPredictor"]
    assert next(m for m in report["models"] if m["name"] == GROOVE.name)["checked"]["quality"] == recorded
    assert sorted(trained.rglob("*")) == before


def test_engine_and_split_are_evaluated_again(run: CommandRunner, trained: Path, tmp_path: Path) -> None:
    (trained / "dynamicsengine.json").unlink()
    options = ("--engine", engine(tmp_path, GOOD), "--split", "test", "--datasets-dir", "data")
    page = page_of(run, *options)
    assert page.row("parity with the plugin's engine")[1] == "agrees"
    assert "test examples in" in page.text
    assert page.row("GroovePredictor")[8] == "3 of 3"
    page = page_of(run, "--engine", engine(tmp_path, "raise SystemExit('out of tune')"), code=1)
    assert "out of tune" in page.row("parity with the plugin's engine")[1]
    assert page.row("parity with the plugin's engine", "FAILED")
    assert page.row("GroovePredictor")[8] == "1 of 3 FAILED"


@pytest.mark.usefixtures("trained")
@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nowhere"], 1, "is not a folder"),
        (["data"], 1, "contains no export of a network"),
        (["out", "--text", "--json"], 2, "cannot be combined"),
        (["out", "--split", "train"], 2, "is not one of"),
    ],
)
def test_invalid_arguments_are_refused(run: CommandRunner, arguments: list[str], code: int, words: str) -> None:
    assert words in run.refused("report", *arguments, code=code)
