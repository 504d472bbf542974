"""Only changed cells are sent to the terminal, and afterwards it shows the whole new frame."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual._compositor import ChopsUpdate, LayoutUpdate
from textual.geometry import Region, Size
from textual.strip import Strip

from kelly_tui.display import ChangesUpdate, ShownFrame
from tests.seeds import seeded_rng

SIZE = Size(24, 6)
STYLES = ("red on blue", "bold red on blue", "green on blue", "italic", "underline #102030 on #405060", "none")


class Screen:
    """A terminal that knows cursor moves and styles."""

    def __init__(self) -> None:
        self.cells = [[("?", "")] * SIZE.width for _ in range(SIZE.height)]

    def write(self, text: str) -> None:
        x = y = 0
        codes: list[str] = []
        for moved, row, column, style, sign in re.findall(r"(\x1b\[(\d+);(\d+)H)|\x1b\[([\d;]*)m|(.)", text):
            if moved:
                y, x = int(row) - 1, int(column) - 1
            elif sign:
                self.cells[y][x] = (sign, _look(codes))
                x += 1
            else:
                codes = [] if style == "0" else [*([] if style.startswith("0;") else codes), style.removeprefix("0;")]


def _look(codes: list[str]) -> str:
    """Return the style after these codes: the last foreground, the last background, and the attributes."""
    found = re.findall(r"(38;2;\d+;\d+;\d+|48;2;\d+;\d+;\d+|\d+)", ";".join(codes))
    parts: dict[str, str] = {}
    for code in found:
        # 3 is italic and 4 is underlined; the other numbers that begin so are colors.
        name = {"3": "fg", "4": "bg"}.get(code[0], code) if len(code) > 1 else code
        parts[name] = code
    return ",".join(sorted(parts.values()))


def full(lines: Sequence[Sequence[Segment]]) -> LayoutUpdate:
    return LayoutUpdate([[Strip(line)] for line in lines], Region(0, 0, *SIZE))


def random_lines(seed: int) -> list[list[Segment]]:
    rng = seeded_rng(seed)
    return [
        [
            Segment("".join(rng.choice(list("ab "), 4)), Style.parse(str(rng.choice(STYLES))))
            for _ in range(SIZE.width // 4)
        ]
        for _ in range(SIZE.height)
    ]


def sent(frame: ShownFrame, update: LayoutUpdate | ChopsUpdate) -> str:
    return ChangesUpdate(frame, update, SIZE).render_segments(Console(color_system="truecolor"))


@pytest.mark.parametrize("seed", range(5))
def test_the_terminal_shows_each_frame(seed: int) -> None:
    frame, screen = ShownFrame(), Screen()
    for number in range(6):
        wanted = random_lines(10 * seed + number)
        screen.write(sent(frame, full(wanted)))
        expected = Screen()
        expected.write(sent(ShownFrame(), full(wanted)))
        assert screen.cells == expected.cells


def test_a_frame_that_is_shown_already_is_not_sent() -> None:
    frame, lines = ShownFrame(), random_lines(1)
    assert sent(frame, full(lines))
    assert sent(frame, full(lines)) == ""
    frame.forget()
    assert sent(frame, full(lines))


def test_one_changed_word_sends_few_bytes() -> None:
    frame, lines = ShownFrame(), [[Segment("x" * SIZE.width)] for _ in range(SIZE.height)]
    sent(frame, full(lines))
    lines[3] = [Segment("x" * 10 + "word" + "x" * (SIZE.width - 14))]
    assert sent(frame, full(lines)) == "\x1b[4;11Hword"


def test_a_piece_with_wide_characters_is_sent_as_a_whole() -> None:
    frame, lines = ShownFrame(), [[Segment("x" * SIZE.width)] for _ in range(SIZE.height)]
    lines[2] = [Segment("音楽" + "x" * (SIZE.width - 4))]
    for _ in range(2):
        assert "音楽" in sent(frame, full(lines))
    lines[2] = [Segment("x" * SIZE.width)]
    assert "x" * SIZE.width in sent(frame, full(lines))


def test_a_part_of_a_line_is_compared_where_it_is() -> None:
    frame, lines = ShownFrame(), [[Segment("abcdefghijklmnopqrstuvwx")] for _ in range(SIZE.height)]
    sent(frame, full(lines))
    chops = [{0: None, 8: Strip([Segment("ij--mnop")]), 16: None} if y == 1 else {} for y in range(SIZE.height)]
    ends = [[8, 16, 24]] * SIZE.height
    assert sent(frame, ChopsUpdate(chops, [(1, 8, 16)], ends)) == "\x1b[2;11H--"
