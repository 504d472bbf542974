"""Document of a report, independent of its format: sections with details, tables, plots and remarks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

from kelly_core.export.quality_record import Whisker
from kelly_core.formatting import printable
from kelly_core.training.history import History

Emphasis = Literal["plain", "good", "warn", "bad"]
"""Tone of a text; the text also expresses it, because color alone is not accessible."""

_MAX_TEXT_LENGTH = 600


@dataclass(frozen=True)
class TextCell:
    """Text with a tone."""

    text: str
    tone: Emphasis = "plain"


class NumberCell(TextCell):
    """One or more formatted numbers, aligned to the right."""


Rows = Sequence[tuple[TextCell, ...]]


@dataclass(frozen=True)
class Heading:
    """Heading of the blocks up to the next heading."""

    text: str


@dataclass(frozen=True)
class DetailsTable:
    """Table of names and values."""

    entries: tuple[tuple[str, TextCell], ...]


@dataclass(frozen=True)
class Table:
    """Table with rows of cells.

    Attributes:
        columns: titles of the columns.
        rows: rows, each as long as ``columns``.
        title: title of the table; "" if the preceding text provides it.
        folds: columns at which a narrow output format starts a new table, which repeats the first column.
        aside: True if the table is collapsed until the reader opens it.
    """

    columns: tuple[str, ...]
    rows: Rows
    title: str = ""
    folds: tuple[int, ...] = ()
    aside: bool = False

    def numeric(self) -> list[bool]:
        """Return for each column if it contains numbers, which are aligned to the right."""
        return [any(isinstance(row[column], NumberCell) for row in self.rows) for column in range(len(self.columns))]

    def parts(self) -> Iterator[Table]:
        """Yield the tables for a narrow format without empty rows; only the first has the title."""
        for start, end in pairwise((1, *self.folds, len(self.columns))):
            columns = (0, *range(start, end))
            rows = (tuple(row[column] for column in columns) for row in self.rows)
            filled = tuple(row for row in rows if any(cell.text for cell in row))
            yield Table(tuple(self.columns[column] for column in columns), filled, self.title if start == 1 else "")


@dataclass(frozen=True)
class LossCurves:
    """Losses by epoch; ``plot`` is the path of an image relative to the reported folder, None if there is none."""

    model: str
    history: History
    plot: str | None

    def summary(self) -> str:
        """Describe the best and the last epoch in words."""
        last, best = self.history.rows[-1], self.history.metrics
        levels = {"baseline": best.get("baseline_loss"), "best possible": best.get("bayes_loss")}
        others = "".join(f", {name} {level:.4g}" for name, level in levels.items() if level is not None)
        return (
            f"{len(self.history.rows):,} epochs. Best validation loss {best['val_loss']:.4g} at epoch"
            f" {best['best_epoch']}{others}. Last epoch: training {last['train_loss']:.4g}, validation"
            f" {last['val_loss']:.4g}."
        )


@dataclass(frozen=True)
class Forest:
    """Forest plot of differences with their intervals; left of 0 the model is better."""

    whiskers: tuple[Whisker, ...]


@dataclass(frozen=True)
class EmbeddedImage:
    """A PNG file of the reported folder: its name, its bytes, and a description."""

    file: str
    content: bytes
    title: str


@dataclass(frozen=True)
class Attachment:
    """A file of the reported folder that a reader can save: its name, bytes and media type."""

    file: str
    content: bytes
    media_type: str


Component = Heading | TextCell | DetailsTable | Table | LossCurves | Forest | EmbeddedImage | Attachment


@dataclass(frozen=True)
class Section:
    """Section with a heading, badges and blocks; ``anchor`` is its HTML id."""

    title: str
    anchor: str
    badges: tuple[TextCell, ...] = ()
    blocks: tuple[Component, ...] = ()


@dataclass(frozen=True)
class Document:
    """Report to be rendered; ``lead`` is the paragraph below the title."""

    title: str
    lead: str
    badges: tuple[TextCell, ...]
    sections: Sequence[Section] = field(default=())


def printable_excerpt(text: str) -> str:
    """Return text from a file for a report: ``printable``, and truncated after 600 characters."""
    return printable(text if len(text) <= _MAX_TEXT_LENGTH else text[:_MAX_TEXT_LENGTH] + "…")
