"""Render a report as Markdown."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from urllib.parse import quote

from kelly_core.report import document as doc
from kelly_core.report.document import printable_excerpt

# Only special characters: not an underscore in a word, an ampersand outside entities, or a colon without //.
_SPECIAL = re.compile(r"([\\`*\[\]<|~]|(?<![^\W_])_|_(?![^\W_])|&(?=#?\w+;)|:(?=//))")
# A number with a dot or bracket, a dash, or a plus begins a list; #, > and = begin a heading or a quotation.
_LINE_BEGINNING = re.compile(r"^\s*(?:\d+(?=[.)]\s)|(?=[-+](?:\s|$)|[#>=]))")


def render(document: doc.Document, folder: str) -> str:
    """Return the report as Markdown with right-aligned number columns.

    Args:
        document: the report.
        folder: path from the report to the reported folder, for links to pictures and music.
    """
    parts = [f"# {escape(document.title)}", escape(document.lead), " · ".join(map(_words, document.badges))]
    parts += [part for section in document.sections for part in _section(section, folder)]
    return "\n\n".join(part for part in parts if part) + "\n"


def escape(text: str) -> str:
    """Escape a text for Markdown."""
    return _LINE_BEGINNING.sub(lambda found: found[0] + "\\", _SPECIAL.sub(r"\\\1", printable_excerpt(text)))


def _section(section: doc.Section, folder: str) -> Iterator[str]:
    yield f"## {escape(section.title)}"
    yield " · ".join(map(_words, section.badges))
    for block in section.blocks:
        yield from _block(block, folder)


def _block(block: doc.Component, folder: str) -> Iterator[str]:
    match block:
        case doc.Heading(text):
            yield f"### {escape(text)}"
        case doc.TextCell():
            yield _words(block)
        case doc.DetailsTable(entries):
            yield "\n".join(f"- {escape(name)}: {_words(value)}" for name, value in entries)
        case doc.Table():
            yield from _table(block)
        case doc.LossCurves():
            yield from _curves(block, folder)
        case doc.EmbeddedImage():
            yield f"![{escape(block.title)}]({_link(folder, block.file)})"
        case doc.Attachment():
            yield f"[{escape(block.file)}]({_link(folder, block.file)})"
        case doc.Forest():  # the same numbers are in the table before it
            return


def _table(table: doc.Table) -> Iterator[str]:
    for part in table.parts():
        if part.title:
            yield f"**{escape(part.title)}**"
        yield _grid(part)


def _grid(table: doc.Table) -> str:
    lines = [[escape(title) for title in table.columns], ["---:" if number else "---" for number in table.numeric()]]
    lines += [list(map(_words, row)) for row in table.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _words(words: doc.TextCell) -> str:
    """Return the text of a cell, in bold for a warning or an error."""
    text = escape(words.text.strip())
    return f"**{text}**" if words.tone in ("warn", "bad") and text else text


def _curves(curves: doc.LossCurves, folder: str) -> Iterator[str]:
    yield escape(curves.summary())
    if curves.plot is not None:
        yield f"![Losses of {escape(curves.model)} by epoch]({_link(folder, curves.plot)})"


def _link(folder: str, file: str) -> str:
    # File names may contain any bytes.
    return quote(os.fsencode(f"{folder}/{file}"))
