"""Where only ASCII can be shown, all output is ASCII, as wide as it is otherwise."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.cells import cell_len

from kelly_core.ascii import replace_unencodable, to_ascii

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
def test_commands_speak_ascii_where_nothing_else_can_be_shown(tmp_path: Path, words: list[str], reported: str) -> None:
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "LANG": "C", "PYTHONUTF8": "1"}
    done = subprocess.run([*COMMAND, *words], cwd=tmp_path, env=environment, capture_output=True, timeout=60)
    said = (done.stdout + done.stderr).decode("ascii")
    assert reported in said
    assert "Traceback" not in said
    assert "\\u" not in said
    assert "\\x" not in said
