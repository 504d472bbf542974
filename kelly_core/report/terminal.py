"""Render a report, or blocks of one, for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Column
from rich.table import Table as RichTable
from rich.text import Text

from kelly_core.report.document import (
    Attachment,
    Component,
    DetailsTable,
    Document,
    EmbeddedImage,
    Forest,
    Heading,
    LossCurves,
    NumberCell,
    ReportCell,
    Table,
    TextCell,
    shown,
)

_STYLES = {"plain": "", "good": "green", "warn": "yellow", "bad": "bold red"}


def render(document: Document) -> Group:
    """Return the report as text and tables; pictures and music are named only."""
    parts: list[RenderableType] = [Text(shown(document.title), "bold"), Text(shown(document.lead), "dim")]
    parts.append(_badges(document.badges))
    for section in document.sections:
        parts += [Text(), Text(shown(section.title), "bold underline"), _badges(section.badges)]
        parts.append(render_blocks(section.blocks))
    return Group(*parts)


def render_blocks(blocks: Iterable[Component]) -> Group:
    """Return blocks of a report with an empty line before each table and heading."""
    return Group(*(part for block in blocks for part in _block(block)))


def _block(block: Component) -> Iterator[RenderableType]:
    match block:
        case Heading(text):
            yield Text(f"\n{shown(text)}", "bold")
        case TextCell():
            yield _text(block)
        case DetailsTable(entries):
            grid = RichTable.grid(padding=(0, 2))
            for name, value in entries:
                grid.add_row(Text(shown(name), "dim"), _text(value))
            yield grid
        case Table():
            # An empty line before each part.
            yield from (Padding(_table(part), (1, 0, 0, 0), expand=False) for part in block.parts())
        case LossCurves():
            yield Text(shown(block.summary()))
        case EmbeddedImage() | Attachment():
            yield Text(shown(block.file))
        case Forest():  # the same numbers are in the table before it
            return


def _table(table: Table) -> RichTable:
    columns = [
        Column(Text(shown(title)), justify="right" if numeric else "left", overflow="fold")
        for title, numeric in zip(table.columns, table.numeric(), strict=True)
    ]
    title = Text(shown(table.title), "italic") if table.title else None
    drawn = RichTable(*columns, title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 1))
    for row in table.rows:
        drawn.add_row(*map(_text, row))
    return drawn


def _text(cell: ReportCell) -> Text:
    return Text(shown(cell.text), "" if isinstance(cell, NumberCell) else _STYLES[cell.tone])


def _badges(badges: Sequence[TextCell]) -> Text:
    return Text(" · ").join(map(_text, badges))
