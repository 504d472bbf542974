"""The document of a report, built from collected results."""

from __future__ import annotations

import io

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console

from kelly_core.export.quality_record import Whisker
from kelly_core.report import markdown, terminal
from kelly_core.report.document import (
    DetailsTable,
    Document,
    Forest,
    Heading,
    NumberCell,
    Section,
    Table,
    TextCell,
    printable_excerpt,
)
from kelly_core.report.html import draw_forest
from kelly_core.report.markdown import escape

SHARES = st.floats(-50, 50).filter(lambda share: share == 0 or abs(share) > 1e-6)


@given(st.lists(st.lists(SHARES, min_size=3, max_size=3).map(sorted), min_size=1, max_size=8))
def test_whiskers_keep_their_order_and_stay_on_the_axis(ends: list[list[float]]) -> None:
    drawn = draw_forest(Forest(tuple(Whisker(value, low, high, "x", beaten=False) for low, value, high in ends)))
    places = sorted(
        (share, place)
        for three, w in zip(ends, drawn.whiskers, strict=True)
        for share, place in zip(three, (w.left, w.x, w.right), strict=True)
    )
    assert [place for _, place in places] == sorted(place for _, place in places)
    assert all(
        0 < place < drawn.width and (place <= drawn.zero if share <= 0 else place >= drawn.zero)
        for share, place in places
    )
    assert all(0 < w.y < drawn.height for w in drawn.whiskers)
    assert len(drawn.ticks) <= 8
    assert (drawn.zero, "0") in drawn.ticks


def test_ticks_are_round_shares_of_the_baseline() -> None:
    drawn = draw_forest(Forest((Whisker(-0.2, -0.42, 0.11, "x", beaten=False),)))
    assert [label for _, label in drawn.ticks] == ["-40 %", "-30 %", "-20 %", "-10 %", "0", "+10 %"]
    steps = [round(right - left, 1) for (left, _), (right, _) in zip(drawn.ticks, drawn.ticks[1:], strict=False)]
    assert max(steps) - min(steps) < 0.25


@given(st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF), max_size=40))
@example("__0__")
def test_escaped_markdown_shows_the_text_as_it_is(text: str) -> None:
    tokens = MarkdownIt("commonmark").enable("table").parse(f"| a |\n| --- |\n| x{escape(text)}x |\n")
    inline = [token for token in tokens if token.type == "inline"][-1]
    assert "".join(child.content for child in inline.children or ()) == f"x{printable_excerpt(text)}x"


@pytest.mark.parametrize("text", ["# x", "- x", "+ x", "1. x", "12) x", "> x", "=== x", "   # x", "http://x.y"])
def test_escaped_markdown_is_a_paragraph(text: str) -> None:
    tokens = MarkdownIt("commonmark").parse(escape(text))
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    assert "".join(child.content for child in tokens[1].children or ()).strip() == text.strip()


def test_a_terminal_shows_what_markdown_shows() -> None:
    cells = (TextCell("[red]a[/red]", "warn"), NumberCell("1.25"), TextCell("", "good"), TextCell("z" * 12))
    table = Table(("name", "value", "state", "source"), (cells,), title="Everything", folds=(2,))
    blocks = (Heading("Quality"), TextCell("bad\x1b[31m", "bad"), DetailsTable((("size", TextCell("3 kB")),)), table)
    document = Document("Report", "lead", (TextCell("failed", "bad"),), (Section("One", "one", (), blocks),))
    console = Console(width=40, file=io.StringIO())
    with console.capture() as capture:
        console.print(terminal.render(document))
    lines = [line.strip() for line in capture.get().splitlines()]
    texts = ["Report", "lead", "failed", "One", "Quality", r"bad\x1b[31m", "size  3 kB", "Everything"]
    assert [line for line in lines if line in texts] == texts
    shown_rows = [line.split() for line in lines if line.startswith("[red]a[/red]")]
    assert shown_rows == [["[red]a[/red]", "1.25"], ["[red]a[/red]", "z" * 12]]
    assert all(f"**{text}**" in markdown.render(document, ".") for text in ("failed", "Everything"))
