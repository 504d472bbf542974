"""Labels, splits and examples of a corpus, in the free room of the Datasets screen."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from textual.geometry import Size

from kelly_core.config.loading import load_settings
from kelly_core.config.schema import Settings
from kelly_core.data.corpus_dataset import CorpusDataset
from kelly_tui.charts.corpus_pictures import ExampleGallery, LabelPlane, ShownExample, picture
from kelly_tui.dialogs.prompts import ConfirmDialog
from kelly_tui.screens.datasets import Datasets, folder_stamp
from kelly_tui.state_store import save_state
from kelly_tui.themes import THEMES, ThemeColors
from kelly_tui.workers.corpora import LABEL_BINS, inspect, label_pairs
from tests.helpers import tiny
from tests.helpers.rendered import lines, shows
from tests.tui.conftest import WIDE, Script, Shown, cells, column, details, notices, until

COLORS = ThemeColors.of(THEMES[0].to_color_system().generate() | THEMES[0].variables)


def label_counts(pairs: int = 1, arousals: int = 0) -> dict[str, Any]:
    """Labels at valence and arousal 0.5, and some with the arousal alone."""
    place = 3 * LABEL_BINS // 4
    valence = [pairs if number == place else 0 for number in range(LABEL_BINS)]
    arousal = [pairs + arousals if number == place else 0 for number in range(LABEL_BINS)]
    plane = [valence if number == place else [0] * LABEL_BINS for number in range(LABEL_BINS)]
    return {"plane": plane, "valence": valence, "arousal": arousal}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(
        options={
            "datasets.dir": ("a test", tmp_path / "data"),
            "datasets.cache_dir": ("a test", tmp_path / "cache"),
            "datasets.jobs": ("a test", 1),
        }
    ).settings


@pytest.fixture
def chords(workplace: Path) -> Path:
    """The folder of a corpus with its file."""
    folder = workplace / "datasets" / "chords"
    folder.mkdir(parents=True)
    (folder / "chord_progressions.json").write_text("[]")
    return folder


def test_an_inspection_counts_labels_and_official_test_files(settings: Settings, tmp_path: Path) -> None:
    tiny.emopia_split(tiny.emotion_midi(tmp_path / "data" / "emotion_midi") / "EMOPIA_1.0")
    report = inspect("emotion_midi", settings)["report"]
    examples = report["examples"]
    assert report["test_files"] == 1
    assert [sum(report["labels"][name]) for name in ("valence", "arousal")] == [examples, examples]
    assert sum(map(sum, report["labels"]["plane"])) == examples
    assert {each["split"] for each in report["shown"]} == {"train", "validation"}
    assert all(set("".join(each["input"])) <= set("01234") for each in report["shown"])


def test_an_imputed_valence_is_not_counted(settings: Settings, tmp_path: Path) -> None:
    tiny.groove_midi(tmp_path / "data" / "groove_midi")
    labels = inspect("groove_midi", settings)["report"]["labels"]
    assert sum(labels["valence"]) == sum(map(sum, labels["plane"])) == 0
    assert sum(labels["arousal"]) > 0


def test_a_label_of_a_whole_song_counts_once() -> None:
    missing = [np.nan, np.nan]
    labels = np.array([[missing, [0.1, 0.2], [0.1, 0.2]], [[0.3, 0.4], [0.5, 0.6], missing]], np.float32)
    rows = SimpleNamespace(sources=np.array(["static", "dynamic"], object))
    pairs = label_pairs(cast(CorpusDataset, SimpleNamespace(labels=labels, rows=rows)))
    np.testing.assert_array_equal(pairs, np.concatenate([labels[1], labels[0, 1:2]]))


@pytest.mark.parametrize("labels", [label_counts(), label_counts(0, 9), label_counts(12_345, 1)])
def test_drawings_fit_any_room(labels: dict[str, Any]) -> None:
    plane = LabelPlane(**labels)
    rolls = [ShownExample(0, "a song", "static", "train", ("0123" * 16,) * 16, ("0",)) for _ in range(3)]
    drawn = 0
    for width in range(0, 130, 19):
        for height in range(0, 60, 9):
            for drawing in (plane, ExampleGallery(tuple(rolls))):
                text = drawing.draw(Size(width, height), COLORS)
                assert len(text.plain.splitlines()) <= height or not text.plain
                assert all(line.cell_len <= width for line in text.split("\n")), (width, height)
                drawn += bool(text.plain)
    assert drawn > 20


def test_the_densest_place_of_the_plane_is_where_the_labels_are() -> None:
    text = LabelPlane(**label_counts(5)).draw(Size(40, 14), COLORS).plain.split("\n")
    assert [(row, line.index("█")) for row, line in enumerate(text) if "█" in line] == [(3, 21)]


def test_a_picture_has_the_first_number_at_the_bottom_and_the_greatest_value_darkest() -> None:
    assert picture([[0.0, 0.5], [0.25, 1.0]]).split("\n") == ["▒" * 32 + "█" * 32, " " * 32 + "░" * 32]
    assert picture([[0.0, 1.0]]) == " █"


@pytest.mark.parametrize("size", [(80, 24), (100, 30), (200, 60)])
async def test_splits_labels_and_examples_fill_the_room(shown: Shown, chords: Path, size: tuple[int, int]) -> None:
    example = {"index": 0, "group": "Let it be", "label_source": "static", "split": "train"}
    report = {
        "folder": str(chords), "stamp": folder_stamp(chords), "files": 40, "examples": 40, "problem": "", "skipped": {},
        "label_sources": {"static": 40}, "splits": {"train": 30, "validation": 10}, "split_source": "official",
        "test_files": 4, "labels": label_counts(30, 10), "shown": [example | {"input": ["0123"], "target": ["40"]}],
    }  # fmt: skip
    save_state("datasets", {"chords": report})
    async with shown(size=size) as (app, pilot):
        await until(pilot, lambda: column(app, "#corpora", 1)[2:3] == ["ready"])
        await pilot.press("down", "down")
        splits = "train 30 · validation 10 · official test 4 files, kept out"
        await until(pilot, lambda: splits in details(app, "#details"))
        assert shows(app, "mean +0.52") == (size != (80, 24))
        assert shows(app, "Let it be · train, static") == (size == (200, 60))


async def test_a_missing_corpus_is_shown_with_its_download_and_misplaced_files(shown: Shown, workplace: Path) -> None:
    (workplace / "datasets").mkdir()
    (workplace / "datasets" / "x.mid").touch()
    async with shown() as (app, pilot):
        await until(pilot, lambda: column(app, "#corpora", 1)[0:1] == ["missing"])
        assert "DEAM_audio" in details(app, "#details")
        await pilot.press("p")
        assert isinstance(app.screen, Datasets)
        assert not app.screen._read_queue.current
        await pilot.press("down")
        await until(pilot, lambda: "x.mid is not in the folder of a corpus" in details(app, "#details"))


async def test_a_corpus_is_downloaded_after_agreement_to_its_license(
    shown: Shown, workplace: Path, asked: list[Sequence[str]]
) -> None:
    states: list[str] = []

    def script(_command: Sequence[str]) -> Script:
        (workplace / "datasets/maestro").mkdir(parents=True)
        (workplace / "datasets/maestro/a.midi").write_bytes(b"x")
        line = {"file": "m.zip", "stage": "download", "done": 25_000_000, "total": 50_000_000, "note": ""}
        return Script([json.dumps(line), json.dumps({**line, "note": "sum differs"}), json.dumps({"got": []})])

    async with shown(size=WIDE, script=script) as (app, pilot):
        screen = app.screen
        assert isinstance(screen, Datasets)
        await until(pilot, lambda: column(app, "#corpora", 1)[3:4] == ["missing"])
        draw = screen.draw
        screen.draw = lambda: (draw(), states.append(cells(app, "#corpora")[3][1]))[0]  # type: ignore[method-assign]
        await pilot.press("down", "down", "down", "g")
        assert isinstance(app.screen, ConfirmDialog)
        assert "CC BY-NC-SA 4.0" in app.screen._text
        await pilot.press("escape")
        assert not asked
        await pilot.press("g", "right", "enter")
        await until(pilot, lambda: column(app, "#corpora", 1)[3:4] == ["found"])
        assert [*asked[0]][2:5] == ["kelly_tui.workers.corpora", "get", "maestro"]
        assert "download 50%" in states
        assert "sum differs" in notices(app)


async def test_a_canceled_download_is_not_an_error_and_a_manual_source_is_explained(
    shown: Shown,
) -> None:
    begun, ended = Event(), Event()

    class Waits(Script):
        def lines(self) -> Iterator[str]:
            begun.set()
            ended.wait()
            yield json.dumps({"error": "killed"})

        def records(self) -> Iterator[dict[str, Any]]:
            yield from map(json.loads, self.lines())

        def cancel(self) -> None:
            super().cancel()
            ended.set()

    async with shown(size=WIDE, script=lambda _command: Waits([])) as (app, pilot):
        await until(pilot, lambda: column(app, "#corpora", 1)[0:1] == ["missing"])
        assert "Cancel" not in lines(app)[-1]
        await pilot.press("g", "right", "enter")
        await until(pilot, begun.is_set)
        await until(pilot, lambda: "x Cancel" in lines(app)[-1])
        await pilot.press("q")
        assert isinstance(app.screen, ConfirmDialog)
        assert app.screen._text == "A task on Datasets is running, and would be cancelled."
        await pilot.press("n")
        assert not ended.is_set()
        await pilot.press("x")
        await until(pilot, lambda: "Cancel" not in lines(app)[-1])
        await until(pilot, lambda: cells(app, "#corpora")[0][1] == "missing")
        assert not [toast for toast in app._notifications if toast.severity == "error"]
        await pilot.press(*["down"] * 6, "g")
        assert any("osf.io/p6vkg" in text for text in notices(app))


@pytest.mark.usefixtures("chords")
async def test_preparing_shows_progress_then_the_report(shown: Shown, asked: list[Sequence[str]]) -> None:
    report = {
        "name": "chords", "path": "datasets/chords", "found": True, "files": 12, "examples": 345, "licence": "",
        "skipped": {"unknown chord": {"count": 2, "first": ["a/one", "two"]}}, "label_sources": {"estimated": 345},
        "splits": {"train": 300, "validation": 45}, "advice": "", "problem": "", "seconds": 5400.0,
        "split_source": "official", "tables": ["a/info.csv"],
    }  # fmt: skip
    lines = [json.dumps({"done": 1, "total": 2, "note": "no workers"}), json.dumps({"report": report})]
    async with shown(script=Script(lines)) as (app, pilot):
        await until(pilot, lambda: column(app, "#corpora", 1)[2:3] == ["found"])
        await pilot.press("down", "down", "p")
        await until(pilot, lambda: cells(app, "#corpora")[2][1:5] == ["ready", "12", "345", "1.50"])
        assert [*asked[0]][2:5] == ["kelly_tui.workers.corpora", "inspect", "chords"]
        assert notices(app) == ["no workers"]
        for text in ("2 × unknown chord", "one, two", "official", "a/info.csv"):
            assert text in details(app, "#details")
    async with shown() as (again, pilot):
        await until(pilot, lambda: [row[1:4] for row in cells(again, "#corpora")][2:3] == [["ready", "12", "345"]])


async def test_a_corpus_whose_files_have_changed_is_not_called_ready(shown: Shown, chords: Path) -> None:
    report = {
        "files": 1, "examples": 3, "skipped": {}, "label_sources": {}, "splits": {}, "problem": "", "seconds": None,
    }  # fmt: skip
    report["stamp"] = folder_stamp(chords)
    folders = {"a": str(chords), "b": "/other/datasets/maestro"}
    save_state("datasets", {name: report | {"folder": folder} for name, folder in folders.items()})
    async with shown(size=WIDE) as (app, pilot):
        await until(pilot, lambda: column(app, "#corpora", 1)[2:4] == ["ready", "missing"])
        (chords / "chord_progressions.json").write_text("[1]")
        await pilot.press("r")
        await until(pilot, lambda: column(app, "#corpora", 1)[2:4] == ["changed", "missing"])
        await pilot.press("down", "down")
        await until(pilot, lambda: "p reads them again" in details(app, "#details"))
