"""Text from data never acts on a display."""

from __future__ import annotations

import os

import pytest

from kelly_core.formatting import printable, printable_lines


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("C:maj7", "C:maj7"),
        ("\x1b[2J\x1b[H", r"\x1b[2J\x1b[H"),
        ("a\tb\nc\rd\x00\x7f", r"a\tb\nc\rd\x00\x7f"),
        ("\x9b31m", r"\x9b31m"),
        (os.fsdecode(b"caf\xe9.mid"), r"caf\xe9.mid"),
        ("\ud83d", r"\ud83d"),
        ("two\u2028lines", r"two\u2028lines"),
        ("gnp.\u202eexe", r"gnp.\u202eexe"),
        (r"back\slash", r"back\slash"),
        ("Köln 音楽\u3000♯ 👩\u200d🎤", "Köln 音楽\u3000♯ 👩\u200d🎤"),
    ],
)
def test_what_could_harm_a_display_is_escaped_and_nothing_else(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(shown) == shown
    assert printable(text).encode()


def test_every_character_gives_text_that_can_be_written_without_a_control_character() -> None:
    for code in range(0x11000):
        shown = printable(chr(code))
        assert shown.encode()
        assert shown.splitlines() == [shown]
        assert all(32 <= ord(sign) != 127 for sign in shown)


def test_lines_and_tabs_of_a_text_are_kept() -> None:
    assert printable_lines("a\tb\n\x1bc\r\n") == "a\tb\n\\x1bc\\r\n"
