"""The picture of a piece is drawn whatever the piece."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kelly_core.composition.picture import draw
from kelly_core.errors import KellyError
from tests.helpers.chain_outputs import NO_CHORD, composed, output
from tests.seeds import seeded_rng


def size(path: Path) -> tuple[int, int]:
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG")
    return int.from_bytes(content[16:20]), int.from_bytes(content[20:24])


def test_audio_makes_the_picture_taller(tmp_path: Path) -> None:
    said = output(frames=12)
    score = composed(said, bars=6)
    mel = seeded_rng(0).uniform(-90, -20, (12, 128)).astype(np.float32)
    draw(tmp_path / "with.png", score, said, mel, "with audio")
    draw(tmp_path / "without.png", score, said, None, "without")
    (width, height), (same, less) = size(tmp_path / "with.png"), size(tmp_path / "without.png")
    assert width == same
    assert height > less


@pytest.mark.parametrize("bars", [1, 60])
def test_odd_pieces_are_drawn_too(tmp_path: Path, bars: int) -> None:
    """One frame of silence, no chord, no melody."""
    said = output(chords={NO_CHORD: 1.0}, pitches={60: 0.0}, frames=1)
    silence = np.full((1, 128), -100, np.float32)
    draw(tmp_path / "odd.png", composed(said, bars=bars), said, silence, "odd")
    size(tmp_path / "odd.png")


def test_a_place_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    said = output()
    (tmp_path / "file").touch()
    with pytest.raises(KellyError, match=r"picture\.png: cannot be written"):
        draw(tmp_path / "file" / "picture.png", composed(said, bars=1), said, None, "x")
