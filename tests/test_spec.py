"""Models are described in one place."""

from __future__ import annotations

from pathlib import Path

import kelly_core
import kelly_tui
from kelly_core.spec import MODELS

OWN_MODULES = ("spec.py", "chain.py", "data/corpora/", "evaluation/metrics/")
"""Modules that belong to single models, below ``kelly_core``."""


def test_no_other_module_names_a_model() -> None:
    naming = []
    for package in (kelly_core, kelly_tui):
        root = Path(package.__file__ or "").parent
        for path in root.rglob("*.py"):
            if package is kelly_core and path.relative_to(root).as_posix().startswith(OWN_MODULES):
                continue
            text = path.read_text()
            naming += [f"{path.relative_to(root)}: {spec.name}" for spec in MODELS if spec.name in text]
    assert naming == []
