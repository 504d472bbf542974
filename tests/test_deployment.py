"""All five files reach the plugin, or none does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kelly_core import deployment
from kelly_core.deployment import Deployment, deploy
from kelly_core.errors import ExportError
from kelly_core.spec import MODELS
from kelly_core.validation.report import FileReport
from tests.helpers.chain import write_chain

NAMES = [f"{spec.file_stem}.json" for spec in MODELS]


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files that pass every check, because none is made: what is tested here is the copying."""
    monkeypatch.setattr(deployment, "validate_file", lambda path, **_: FileReport(str(path), path.stem, None, ()))
    folder = tmp_path / "source"
    folder.mkdir()
    for name in NAMES:
        (folder / name).write_text(f"content of {name}")
    return folder


def statuses(done: Deployment) -> list[str]:
    return [file.status for file in done.files]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_files_are_copied_and_distinguished(source: Path, tmp_path: Path) -> None:
    plugin = tmp_path / "plugin" / "models"
    assert statuses(deploy(source, plugin)) == ["new"] * 5
    assert contents(plugin) == contents(source)
    (plugin / NAMES[2]).write_text("former")
    untouched = (plugin / NAMES[0]).stat().st_mtime_ns
    assert statuses(deploy(source, plugin)) == ["unchanged", "unchanged", "changed", "unchanged", "unchanged"]
    assert contents(plugin) == contents(source)
    assert (plugin / NAMES[0]).stat().st_mtime_ns == untouched
    assert statuses(deploy(plugin, plugin)) == ["unchanged"] * 5


@pytest.mark.parametrize("change", [Path.unlink, lambda path: path.write_text("of a training that continues")])
def test_a_file_that_changes_while_it_is_checked_is_not_copied(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], object]
) -> None:
    checked = deployment.validate_file

    def change_last(path: Path, **options: bool) -> FileReport:
        if path.name == NAMES[4]:
            change(path)
        return checked(path, **options)

    monkeypatch.setattr(deployment, "validate_file", change_last)
    with pytest.raises(ExportError, match=f"{NAMES[4]}: changed while it was checked"):
        deploy(source, tmp_path / "plugin")
    assert not (tmp_path / "plugin").exists()


def test_a_target_that_cannot_be_written_changes_nothing(source: Path, tmp_path: Path) -> None:
    plugin = tmp_path / "plugin"
    (plugin / NAMES[4]).mkdir(parents=True)
    (plugin / NAMES[0]).write_text("former")
    with pytest.raises(ExportError, match=NAMES[4]):
        deploy(source, plugin)
    assert {path.name for path in plugin.iterdir()} == {NAMES[0], NAMES[4]}
    assert (plugin / NAMES[0]).read_text() == "former"


@pytest.mark.slow
def test_one_unfit_file_keeps_all_from_being_copied(tmp_path: Path) -> None:
    source, plugin = write_chain(tmp_path / "source"), tmp_path / "plugin"
    (source / NAMES[3]).write_bytes((source / NAMES[4]).read_bytes())
    (source / NAMES[4]).unlink()
    plugin.mkdir()
    (plugin / NAMES[0]).write_text("former")
    done = deploy(source, plugin)
    assert not done.passed
    assert statuses(done) == ["changed", "new", "new", "refused", "refused"]
    failed = [[check.name for check in file.report.failed] for file in done.files]
    assert failed[:3] == [[], [], []]
    assert "specification" in failed[3]
    assert failed[4] == ["readable"]
    assert contents(plugin) == {NAMES[0]: b"former"}
