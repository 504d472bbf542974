"""Durations, bytes and foreign text as every command shows them; in ASCII where only that can be shown."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.cells import cell_len

from kelly_core.formatting import (
    MISSING,
    format_bytes,
    format_change,
    format_duration,
    format_loss,
    format_micros,
    printable,
    printable_lines,
    replace_unencodable,
    to_ascii,
)


@pytest.mark.parametrize(
    ("show", "value", "text"),
    [
        (format_bytes, 0, "0 B"),
        (format_bytes, 812, "812 B"),
        (format_bytes, 999, "999 B"),
        (format_bytes, 1000, "1.0 kB"),
        (format_bytes, 21_340, "21.3 kB"),
        (format_bytes, 99_940, "99.9 kB"),
        (format_bytes, 99_960, "100 kB"),
        (format_bytes, 999_400, "999 kB"),
        (format_bytes, 999_600, "1.0 MB"),
        (format_bytes, 640_000_000, "640 MB"),
        (format_bytes, 137_438_953_472, "137.4 GB"),
        (format_duration, 0.4, "0 s"),
        (format_duration, 59.4, "59 s"),
        (format_duration, 59.6, "1:00"),
        (format_duration, 200, "3:20"),
        (format_duration, 3723, "1:02:03"),
        (format_micros, 99.94, "99.9"),
        (format_micros, 4321.4, "4,321"),
        (format_loss, 0.12345, "0.1235"),
        (format_loss, 0.00012345, "0.0001234"),
        *((show, None, MISSING) for show in (format_bytes, format_duration, format_micros, format_loss)),
    ],
)
def test_numbers_have_units_and_few_digits(show: Callable[[float | None], str], value: float | None, text: str) -> None:
    assert show(value) == text


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


def test_a_change_that_rounds_to_nothing_has_no_sign() -> None:
    assert [format_change(share) for share in (0.214, -0.004, 0.004, -0.5, 0.0)] == ["+21%", "0%", "0%", "-50%", "0%"]
    assert [format_change(share, 1) for share in (-0.0081, -0.0004)] == ["-0.8%", "0.0%"]


COMMAND = [sys.executable, "-c", "from kelly_core.cli.app import main; main()"]


def test_signs_become_others_of_like_shape_or_meaning() -> None:
    assert to_ascii("│ 64 → 256 │ p99 µs, ε ≥ 0.5, 3 × 2 …") == "| 64 > 256 | p99 us, e > 0.5, 3 x 2 ."
    assert to_ascii("Köln, Crème, x²") == "Koln, Creme, x2"


@pytest.mark.parametrize("text", ["音楽.mid", "groß", "½ ∞", "A", "🎵 x", "\udcff.wav"])
def test_the_width_stays(text: str) -> None:
    plain = to_ascii(text)
    assert plain.isascii()
    assert len(plain) == cell_len(text)


def test_only_what_an_encoding_has_not_is_replaced() -> None:
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding="latin-1")
    replace_unencodable(stream)
    stream.write("±1 µs → Köln ε")
    stream.flush()
    assert written.getvalue().decode("latin-1") == "±1 µs > Köln e"


@pytest.mark.parametrize(
    ("words", "reported"),
    [
        (["datasets"], "emotion_audio"),
        (["runs"], "no runs in"),
        (["validate", "kölner…mitte.json"], "kolner.mitte.json"),
        (["compare", "a→b.json", "c.json"], "error: a>b.json"),
        (["--help"], "Usage"),
    ],
)
def test_commands_print_ascii_if_the_encoding_allows_nothing_else(
    tmp_path: Path, words: list[str], reported: str
) -> None:
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "LANG": "C", "PYTHONUTF8": "1"}
    done = subprocess.run([*COMMAND, *words], cwd=tmp_path, env=environment, capture_output=True, timeout=600)
    said = (done.stdout + done.stderr).decode("ascii")
    assert reported in said
    assert "Traceback" not in said
    assert "\\u" not in said
    assert "\\x" not in said
