"""What a report is made of, whatever it is rendered as: sections of facts, tables, pictures and remarks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from kelly_core.display_text import printable
from kelly_core.training.history import History

Tone = Literal["plain", "good", "warn", "bad"]
"""How a reader should feel about some words; they say so themselves, for colour is not seen by all."""

_LONGEST = 600


@dataclass(frozen=True)
class TextCell:
    """Some words in a tone."""

    text: str
    tone: Tone = "plain"


@dataclass(frozen=True)
class NumberCell:
    """A number, or several, as people read it; aligned to the right."""

    text: str


Cell = TextCell | NumberCell
Rows = tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class Heading:
    """What the blocks up to the next heading are about."""

    text: str


@dataclass(frozen=True)
class DetailsTable:
    """Names and what goes with them."""

    entries: tuple[tuple[str, TextCell], ...]


@dataclass(frozen=True)
class Table:
    """Rows of cells.

    Attributes:
        columns: titles.
        rows: each as long as ``columns``.
        title: "" if what stands before says it.
        folds: columns at which a narrow medium goes on in another table, with the first column again.
        aside: whether a reader may want to open it rather than to see it.
    """

    columns: tuple[str, ...]
    rows: Rows
    title: str = ""
    folds: tuple[int, ...] = ()
    aside: bool = False

    def numeric(self) -> list[bool]:
        """Which columns hold figures, so that all in them goes to the right."""
        return [any(isinstance(row[column], NumberCell) for row in self.rows) for column in range(len(self.columns))]


@dataclass(frozen=True)
class Curves:
    """Losses by epoch; ``plot`` is a picture of them beside the report's folder, None if there is none."""

    model: str
    history: History
    plot: str | None

    def summary(self) -> str:
        """The best and the last epoch in words."""
        last, best = self.history.rows[-1], self.history.metrics
        levels = {"baseline": best.get("baseline_loss"), "best possible": best.get("bayes_loss")}
        told = "".join(f", {name} {level:.4g}" for name, level in levels.items() if level is not None)
        return (
            f"{len(self.history.rows):,} epochs. Best validation loss {best['val_loss']:.4g} at epoch"
            f" {best['best_epoch']}{told}. Last epoch: training {last['train_loss']:.4g}, validation"
            f" {last['val_loss']:.4g}."
        )


@dataclass(frozen=True)
class Whisker:
    """A difference with its interval, as shares of what it is a difference from."""

    label: str
    low: float
    value: float
    high: float
    beaten: bool


@dataclass(frozen=True)
class Forest:
    """Differences with their intervals about a line at 0, left of which the model is better."""

    whiskers: tuple[Whisker, ...]


@dataclass(frozen=True)
class Picture:
    """A PNG file of the reported folder: its name there, its bytes, and what it shows."""

    file: str
    content: bytes
    title: str


@dataclass(frozen=True)
class Attachment:
    """A file of the reported folder that a reader may want to save: its name there, bytes and media type."""

    file: str
    content: bytes
    media_type: str


Block = Heading | TextCell | DetailsTable | Table | Curves | Forest | Picture | Attachment


@dataclass(frozen=True)
class Section:
    """A heading with its badges and what stands below it; ``anchor`` names it within the page."""

    title: str
    anchor: str
    badges: tuple[TextCell, ...] = ()
    blocks: tuple[Block, ...] = ()


@dataclass(frozen=True)
class Document:
    """A report, ready to be rendered; ``lead`` stands under its title."""

    title: str
    lead: str
    badges: tuple[TextCell, ...]
    sections: Sequence[Section] = field(default=())


def shown(text: str) -> str:
    """Return text from a file as a report shows it: ``printable``, and cut after 600 characters."""
    return printable(text if len(text) <= _LONGEST else text[:_LONGEST] + "…")
