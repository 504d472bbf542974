"""The official test split: read on request only, and then nothing else changes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from kelly_core.data.catalog import create_dataset
from kelly_core.data.splits import TEST
from tests.helpers import tiny


@pytest.mark.parametrize("name", ["maestro", "groove_midi"])
def test_all_else_stays_as_it_is(name: str, tmp_path: Path) -> None:
    root = tiny.WRITERS[name](tmp_path / name)
    usual = create_dataset(name, root, cache_dir=tmp_path / "cache")
    asked = create_dataset(name, root, cache_dir=tmp_path / "cache", include_test=True)
    assert len(usual.test) == 0 < len(asked.test)
    assert set(asked.rows.splits[asked.test]) == {TEST}
    assert len(asked) == len(usual) + len(asked.test)
    assert asked.fingerprint == usual.fingerprint
    assert asked.metadata == usual.metadata
    for split in ("train", "validation"):
        indices = getattr(usual, split)
        np.testing.assert_array_equal(getattr(asked, split), indices)
        one, other = usual.eval_batch(indices), asked.eval_batch(indices)
        np.testing.assert_array_equal(one.inputs, other.inputs)
        np.testing.assert_array_equal(one.targets, other.targets)
    held_out = set(asked.rows.groups[asked.test])
    assert held_out
    assert not held_out & set(usual.rows.groups)


def test_a_test_file_that_is_also_a_training_file_is_left_out(tmp_path: Path) -> None:
    root = tiny.maestro(tmp_path / "maestro")
    (train,), (test,) = root.glob("2000/*.midi"), root.glob("2003/*.midi")
    shutil.copy(train, test)
    test.rename(root / "2003" / "performance 3.midi")
    usual = create_dataset("maestro", root, cache_dir=tmp_path / "cache")
    asked = create_dataset("maestro", root, cache_dir=tmp_path / "cache", include_test=True)
    assert asked.fingerprint == usual.fingerprint
    assert len(asked.test) == 0


def test_the_number_of_files_is_limited_on_each_side(tmp_path: Path) -> None:
    root = tiny.maestro(tmp_path / "maestro")
    usual = create_dataset("maestro", root, cache_dir=tmp_path / "cache", max_files=3)
    asked = create_dataset("maestro", root, cache_dir=tmp_path / "cache", max_files=3, include_test=True)
    assert asked.fingerprint == usual.fingerprint
    assert len(asked.test) > 0
