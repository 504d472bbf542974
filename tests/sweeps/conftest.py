"""Sweeps start runs as the tests of runs do."""

from __future__ import annotations

from tests.runs.conftest import folder, kelly_core, start  # noqa: F401 - fixtures
