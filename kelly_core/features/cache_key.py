"""What cached features are of, and how they were computed: the name of their folder, and a file in it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kelly_core.errors import DataError
from kelly_core.io.atomic import atomic_write_all, open_regular

RECIPE = "recipe.json"
"""Its time of change is when the features were last used."""

FORMAT = 4
"""Of the folders that features are kept in."""

_MAX_BYTES = 2**20


@dataclass(frozen=True)
class CacheKey:
    """Of which files features are, and how they are computed.

    Attributes:
        corpus: its name.
        root: its folder, absolute.
        settings: what shapes the features besides the files' content (JSON types).
        version: of what computes them.
        format: of the folder that keeps them.
    """

    corpus: str
    root: str
    settings: dict[str, Any]
    version: int
    format: int = FORMAT

    @property
    def folder(self) -> str:
        """Name of the folder of these features, and of no others."""
        parts = [self.format, self.root, self.version, self.settings]
        key = hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=8).hexdigest()
        return f"{self.corpus}-{key}"

    @property
    def subject(self) -> tuple[str, str, str]:
        """What stays the same when a later version computes the features again."""
        return self.corpus, self.root, json.dumps(self.settings, sort_keys=True)

    @classmethod
    def read(cls, folder: Path) -> CacheKey | None:
        """That of the features in a folder; None where there is none that can be understood."""
        try:
            with open_regular(folder / RECIPE) as file:
                recipe = cls(**json.loads(file.read(_MAX_BYTES)))
            return recipe if recipe.folder == folder.name else None
        except (OSError, ValueError, TypeError, RecursionError):
            return None

    def write(self, folder: Path) -> None:
        """Put it beside the features.

        Raises:
            DataError: it cannot be written.
        """
        atomic_write_all({folder / RECIPE: json.dumps(asdict(self), indent=2).encode()}, error=DataError)
