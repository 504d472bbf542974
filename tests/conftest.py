"""Fixtures that several tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


def _shared(name: str) -> Path:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"{name} of the shared reference material is not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Small real corpora in their real layouts."""
    return _shared("data")


@pytest.fixture(scope="session")
def shared_cases() -> Path:
    """Small odd inputs, each of which stands for a kind of fault."""
    return _shared("cases")


@pytest.fixture(scope="session")
def shared_vectors() -> Path:
    """Networks with inputs and the outputs that RTNeural gave for them."""
    return _shared("vectors")
