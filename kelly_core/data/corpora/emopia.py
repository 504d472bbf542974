"""EMOPIA's tables: the quadrant that people gave each clip, and the song it was cut from.

EMOPIA 1.0: 1,078 piano clips of about 30 s from 387 songs, transcribed to MIDI. License: CC BY-NC-SA 4.0,
non-commercial. Its tables serve any folder of MIDI or audio with a ``label.csv`` (columns ``ID, 4Q``).
Citation: Hung et al., "EMOPIA: A Multi-Modal Pop Piano Dataset For Emotion Recognition and Emotion-based Music
Generation", ISMIR 2021.
"""

from __future__ import annotations

import re
from pathlib import Path

from kelly_core.data.files import ValenceArousal, finite_text, read_table, warn_left_out
from kelly_core.music.emotion import QUADRANT_AFFECT

LABEL_FILE = "label.csv"
_ID_COLUMNS = ("ID", "id", "filename")
_QUADRANT_COLUMN = "4Q"
_CLIP = re.compile(r"Q[1-4]_(?P<song>.+)_\d+")


def song_of(file: str) -> str:
    """Return the song that a clip ``Q<quadrant>_<song>_<number>`` was cut from; any other file is its own song."""
    # A Path for each of Lakh's files would take seconds.
    clip = _CLIP.fullmatch(file.rpartition("/")[2].rsplit(".", 1)[0])
    return clip["song"] if clip else file


def read_quadrants(path: Path) -> tuple[dict[str, ValenceArousal], list[str]]:
    """Return valence and arousal by clip from one table, and a description of each row without a quadrant.

    Both are empty if the table has no column ``4Q``. A warning names the damaged rows.

    Raises:
        DataError: the table cannot be read.
    """
    rows = read_table(path)
    column = next((name for name in _ID_COLUMNS if rows and name in rows[0]), None)
    if column is None or _QUADRANT_COLUMN not in rows[0]:
        return {}, []
    labels: dict[str, ValenceArousal] = {}
    damaged: list[str] = []
    for number, row in enumerate(rows, start=2):
        quadrant = finite_text(row.get(_QUADRANT_COLUMN, ""))
        if row.get(column) and quadrant in QUADRANT_AFFECT:
            labels[row[column]] = QUADRANT_AFFECT[int(quadrant)]
        else:
            damaged.append(f"{path.name} row {number}")
    warn_left_out(path, f"rows whose {_QUADRANT_COLUMN} is not 1, 2, 3 or 4", damaged)
    return labels, damaged
