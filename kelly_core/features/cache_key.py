"""Key of cached features: corpus, settings and versions. It names their folder and is stored in it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kelly_core.errors import DataError
from kelly_core.io.atomic import atomic_write_all, open_regular

KEY_FILE = "recipe.json"
"""File of the key; its modification time is the time at which the features were last used."""

FORMAT = 4
"""Version of the format of cache folders."""

_MAX_BYTES = 2**20


@dataclass(frozen=True)
class CacheKey:
    """Corpus of cached features, and how they were computed.

    Attributes:
        corpus: name of the corpus.
        root: absolute path of the corpus folder.
        settings: everything besides the files' content that changes features (JSON types).
        version: version of the code that computes them.
        format: version of the format of their folder.
    """

    corpus: str
    root: str
    settings: dict[str, Any]
    version: int
    format: int = FORMAT

    @property
    def folder(self) -> str:
        """Name of the folder of these features; other keys have other names."""
        parts = [self.format, self.root, self.version, self.settings]
        key = hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=8).hexdigest()
        return f"{self.corpus}-{key}"

    @property
    def subject(self) -> tuple[str, str, str]:
        """Parts of the key that do not change when a later version computes the features again."""
        return self.corpus, self.root, json.dumps(self.settings, sort_keys=True)

    @classmethod
    def read(cls, folder: Path) -> CacheKey | None:
        """Return the key in a cache folder; None if it has no readable one."""
        try:
            with open_regular(folder / KEY_FILE) as file:
                key = cls(**json.loads(file.read(_MAX_BYTES)))
            return key if key.folder == folder.name else None
        except (OSError, ValueError, TypeError, RecursionError):
            return None

    def write(self, folder: Path) -> None:
        """Write the key into a cache folder.

        Raises:
            DataError: it cannot be written.
        """
        atomic_write_all({folder / KEY_FILE: json.dumps(asdict(self), indent=2).encode()}, error=DataError)
