"""Real files that several tests of this folder read."""

from __future__ import annotations

from pathlib import Path

import pytest

from kelly_core.data.readers.midi import read_notes
from kelly_core.music.notes import Notes


@pytest.fixture(scope="session")
def emopia(shared_data: Path) -> list[tuple[int, Notes]]:
    """Quadrant and notes of EMOPIA's clips."""
    paths = sorted((shared_data / "emotion_midi/EMOPIA_1.0/midis").glob("*.mid"))
    return [(int(path.name[1]), read_notes(path)) for path in paths]


@pytest.fixture(scope="session")
def pop909(shared_data: Path) -> list[Notes]:
    """Songs with tracks called MELODY, BRIDGE and PIANO."""
    return [read_notes(path) for path in sorted((shared_data / "lakh_midi").glob("[0-9]*.mid"))]


@pytest.fixture(scope="session")
def maestro(shared_data: Path) -> list[Notes]:
    """Piano performances with pedal."""
    return [read_notes(path) for path in sorted((shared_data / "maestro").glob("*/*.midi"))]
