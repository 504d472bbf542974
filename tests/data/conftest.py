"""Reading of corpora with a cache of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kelly_core.data import create_dataset
from kelly_core.data.corpus_dataset import CorpusDataset
from tests.seeds import shifted


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., CorpusDataset]:
    """Read a corpus by its name and folder; options are those of ``LoadOptions``."""

    def read(name: str, root: Path, **options: Any) -> CorpusDataset:
        return create_dataset(name, root, cache_dir=tmp_path / "cache", **{"seed": shifted(0)} | options)

    return read
