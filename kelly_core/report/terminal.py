"""Render a report, or blocks of one, for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Column, Table
from rich.text import Text

from kelly_core.report import document as doc
from kelly_core.report.document import printable_excerpt

_STYLES = {"plain": "", "good": "green", "warn": "yellow", "bad": "bold red"}


def render(document: doc.Document) -> Group:
    """Return the report as text and tables; only the file names of pictures and music are shown."""
    parts: list[RenderableType] = [
        Text(printable_excerpt(document.title), "bold"),
        Text(printable_excerpt(document.lead), "dim"),
    ]
    parts.append(_badges(document.badges))
    for section in document.sections:
        parts += [Text(), Text(printable_excerpt(section.title), "bold underline"), _badges(section.badges)]
        parts.append(render_blocks(section.blocks))
    return Group(*parts)


def render_blocks(blocks: Iterable[doc.Component]) -> Group:
    """Return blocks of a report with an empty line before each table and heading."""
    return Group(*(part for block in blocks for part in _block(block)))


def _block(block: doc.Component) -> Iterator[RenderableType]:
    match block:
        case doc.Heading(text):
            yield Text(f"\n{printable_excerpt(text)}", "bold")
        case doc.TextCell():
            yield _text(block)
        case doc.DetailsTable(entries):
            grid = Table.grid(padding=(0, 2))
            for name, value in entries:
                grid.add_row(Text(printable_excerpt(name), "dim"), _text(value))
            yield grid
        case doc.Table():
            # An empty line before each part.
            yield from (Padding(_table(part), (1, 0, 0, 0), expand=False) for part in block.parts())
        case doc.LossCurves():
            yield Text(printable_excerpt(block.summary()))
        case doc.EmbeddedImage() | doc.Attachment():
            yield Text(printable_excerpt(block.file))
        case doc.Forest():  # the same numbers are in the table before it
            return


def _table(table: doc.Table) -> Table:
    columns = [
        Column(Text(printable_excerpt(title)), justify="right" if numeric else "left", overflow="fold")
        for title, numeric in zip(table.columns, table.numeric(), strict=True)
    ]
    title = Text(printable_excerpt(table.title), "italic") if table.title else None
    drawn = Table(*columns, title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 1))
    for row in table.rows:
        drawn.add_row(*map(_text, row))
    return drawn


def _text(cell: doc.TextCell) -> Text:
    return Text(printable_excerpt(cell.text), _STYLES[cell.tone])


def _badges(badges: Sequence[doc.TextCell]) -> Text:
    return Text(" · ").join(map(_text, badges))
