"""Tags and the note that a person gives a run; they do not touch its training."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from pydantic import TypeAdapter, ValidationError

from kelly_core.errors import RunError
from kelly_core.io.atomic import atomic_write, open_regular
from kelly_core.runs.run_dir import RunDirectory

_MAX_BYTES = 100_000
_MAX_NOTE = 2_000
_TAG = re.compile(r"\w[\w.+/-]{0,39}")


@dataclass(frozen=True)
class RunLabels:
    """Tags in the order in which they were given, and a note of one or several lines."""

    tags: tuple[str, ...] = ()
    note: str = ""


def read_labels(folder: RunDirectory) -> RunLabels:
    """Return the labels of a run; none if there are none, or if they are damaged."""
    try:
        with open_regular(folder.labels) as file:
            labels: RunLabels = TypeAdapter(RunLabels).validate_json(file.read(_MAX_BYTES))
    except (OSError, ValidationError):
        return RunLabels()
    return labels


def write_labels(folder: RunDirectory, labels: RunLabels) -> None:
    """Replace the labels of a run.

    Raises:
        RunError: they cannot be written.
    """
    text = json.dumps(asdict(labels), ensure_ascii=False, indent=1)
    atomic_write(folder.labels, lambda file: file.write(text.encode(errors="surrogateescape")), error=RunError)


def change_tags(folder: RunDirectory, add: Iterable[str], remove: Iterable[str] = ()) -> RunLabels:
    """Add and remove tags of a run, and return its labels.

    Raises:
        RunError: a tag is not a single word of at most 40 characters, or the labels cannot be written.
    """
    labels, added, removed = read_labels(folder), list(add), set(remove)
    for tag in added:
        if not _TAG.fullmatch(tag):
            hint = "Use one word of letters, digits and . + / -, at most 40 characters"
            raise RunError("is not a tag", where=tag, hint=hint)
    kept = [tag for tag in dict.fromkeys([*labels.tags, *added]) if tag not in removed]
    labels = RunLabels(tuple(kept), labels.note)
    write_labels(folder, labels)
    return labels


def change_note(folder: RunDirectory, note: str) -> RunLabels:
    """Replace the note of a run, and return its labels.

    Raises:
        RunError: the note is longer than 2000 characters, or cannot be written.
    """
    if len(note) > _MAX_NOTE:
        raise RunError(f"a note has at most {_MAX_NOTE} characters, not {len(note)}", where=folder.id)
    labels = RunLabels(read_labels(folder).tags, note)
    write_labels(folder, labels)
    return labels
