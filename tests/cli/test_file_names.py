"""File names of any bytes: found, cached, trained on, and shown with what is not text as escapes."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest
from rich.segment import Segment
from rich.table import Table
from rich.text import Text
from textual.color import Color

from kelly_core.cli.console import SafeConsole, feature_progress
from kelly_core.config.editing import save_values
from kelly_core.config.schema import Settings
from kelly_core.errors import ConfigError, DataError
from kelly_core.runs import queue
from kelly_tui.display import PRINTABLE_FILTER
from tests.helpers import tiny

HARMFUL = "\x1b[2J\udce9\u202e"
ESCAPED = r"\x1b[2J\xe9\u202e"
DEMO_CORPORA = ("deam", "lakh_midi", "chords", "maestro", "groove_midi")
NAMES = (b"caf\xe9.mid", b"\x83\x65.mid", b"\x1b[2Jx.mid")

pytestmark = pytest.mark.usefixtures("names_of_any_bytes")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Songs with names that are not UTF-8, two files of which are damaged."""
    root = tiny.lakh_midi(tmp_path / "datasets" / "lakh_midi")
    songs = sorted(root.rglob("*.mid"))
    for number, name in enumerate(NAMES):
        (root / os.fsdecode(name)).write_bytes(songs[number].read_bytes() + bytes([number]))
    (root / os.fsdecode(b"f\xf6lder")).mkdir()
    for name in (b"f\xf6lder/a.mid", b"short\xe9.mid"):
        (root / os.fsdecode(name)).write_bytes(b"MThd")
    return root.parent


def test_a_corpus_with_any_file_names_is_listed_twice_alike(run, corpus: Path) -> None:
    first, second = (run("datasets", "--datasets-dir", corpus) for _ in range(2))
    assert first.code == second.code == 0
    assert first.out == second.out
    assert r"short\xe9.mid" in first.out
    assert "\x1b[2J" not in first.out
    listed = run.json("datasets", "--datasets-dir", corpus)
    assert "short\udce9.mid" in json.dumps(listed, ensure_ascii=False)


def test_a_model_is_trained_and_exported_from_such_files(run, corpus: Path, tmp_path: Path) -> None:
    options = ("--datasets-dir", corpus, "-m", "MelodyTransformer", "-e", "1", "-o", tmp_path / "out")
    run.ok("train", *options)
    assert (tmp_path / "out" / "melodytransformer.json").is_file()


def test_an_output_folder_of_any_name_is_swept_into_and_reported_on(run, tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"f\xf6lder")
    options = ("-m", "groove", "--use-synthetic", "-o", folder)
    run.ok("sweep", *options, "--set", "training.epochs=1,2", "--json")
    run.ok("train", *options, "-e", "1")
    run.ok("report", folder, "--allow-synthetic")
    run.ok("report", folder, "--allow-synthetic", "-o", tmp_path)
    assert "(f%F6lder/plots/" in (tmp_path / "report.md").read_text()


def test_a_path_with_a_line_feed_is_printed_in_one_line(run, tmp_path: Path) -> None:
    parent = tmp_path / "a b"
    folder = parent / "two\nlines"
    shown = f"{parent}/two\\nlines"
    run.ok("train", "-m", "groove", "--use-synthetic", "-o", folder, "-e", "1")
    export = f"{shown}/groovepredictor.json"
    assert run.ok("export", folder).out == f"GroovePredictor: wrote {export}\n"
    assert r"two\nlines " in run.ok("runs", "show", "last").out
    assert f"passed  {export} " in run.ok("validate", folder / "groovepredictor.json").out
    assert f"\n{export}\n" in run.ok("validate", folder / "groovepredictor.json", "--verbose").out
    assert (
        f"nothing was copied to {shown}/to"
        in run("deploy", folder, "--to", folder / "to", "--mkdir", "--allow-synthetic").err
    )
    assert run.ok("report", folder, "--allow-synthetic").out == f"wrote {shown}/report.html\nwrote {shown}/report.md\n"
    assert f"error: {shown}/no.pt: cannot be read" in run("export", folder / "no.pt").err
    assert run("validate", folder / "no.json", "--json").err == ""
    demo = run.ok("datasets", "demo", folder / "demo", "--songs", "8").out.splitlines()
    assert [line.partition(": ")[0] for line in demo[:-1]] == [f"wrote {shown}/demo/{name}" for name in DEMO_CORPORA]
    assert demo[-1].endswith(f"--datasets-dir '{shown}/demo'")


def test_a_training_into_a_folder_of_any_name_waits(tmp_path: Path) -> None:
    settings = Settings.model_validate({"output": {"dir": tmp_path / HARMFUL}, "runs": {"dir": tmp_path / "runs"}})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(queue, "ensure_dispatcher", lambda _runs: None)
        waiting = queue.enqueue(settings, ["GroovePredictor"])
    assert queue.waiting_runs(tmp_path / "runs") == [waiting]


def test_a_settings_file_refuses_a_name_that_it_cannot_hold(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not UTF-8"):
        save_values(tmp_path / "config.toml", {"output.dir": HARMFUL})


def test_a_console_escapes_text_from_data_wherever_it_is_shown() -> None:
    written = io.StringIO()
    console = SafeConsole(file=written, width=100, force_terminal=True)
    table = Table("name")
    table.add_row(HARMFUL)
    for content in (HARMFUL, Text(HARMFUL, "bold"), table):
        console.print(content, markup=False, highlight=False)
    shown = written.getvalue()
    assert shown.count(ESCAPED) == 3
    assert not any(harm in shown for harm in ("\x1b[2J", "\udce9", "\u202e"))


def test_an_error_escapes_text_from_data() -> None:
    assert str(DataError(HARMFUL, where=HARMFUL, hint=HARMFUL)) == f"{ESCAPED}: {ESCAPED}. {ESCAPED}"


def test_screens_replace_harmful_characters_without_a_change_of_width() -> None:
    shown = PRINTABLE_FILTER.apply([Segment(f"a{HARMFUL}b")], Color(0, 0, 0))
    assert "".join(text for text, _, _ in shown) == "a[2J\N{REPLACEMENT CHARACTER}b"


def test_notes_above_the_progress_bar_are_escaped(capfd: pytest.CaptureFixture[str]) -> None:
    with feature_progress("lakh_midi") as progress:
        progress(1, 2, f"waits for {HARMFUL}")
    assert ESCAPED in capfd.readouterr().err


def test_datasets_are_as_wide_as_the_pipe_allows(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS")
    assert max(map(len, run("datasets").out.splitlines())) == 200
