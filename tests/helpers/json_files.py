"""JSON files that tests change."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def edited(path: Path) -> Iterator[Any]:
    """Yield the document of a file, and write it back after the changes."""
    document = json.loads(path.read_text())
    yield document
    path.write_text(json.dumps(document))
