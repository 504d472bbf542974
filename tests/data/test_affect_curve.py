"""A written curve of emotion, frame by frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kelly_core.data.affect_curve import read_curve
from kelly_core.errors import DataError


def curve(folder: Path, text: str) -> Path:
    path = folder / "curve.csv"
    path.write_text(text)
    return path


def test_frames_lie_on_straight_lines_between_the_rows(tmp_path: Path) -> None:
    valence, arousal = read_curve(curve(tmp_path, "time, arousal, valence\n0, 0.5, -1\n2, 0.5, 1\n"))
    np.testing.assert_allclose(valence, [-0.75, -0.25, 0.25, 0.75])
    np.testing.assert_allclose(arousal, [0.5] * 4)


def test_the_first_row_holds_from_the_beginning_and_one_row_is_enough(tmp_path: Path) -> None:
    valence, _ = read_curve(curve(tmp_path, "time,valence,arousal\n1,0.2,0\n2,0.4,0\n"))
    np.testing.assert_allclose(valence, [0.2, 0.2, 0.25, 0.35])
    valence, arousal = read_curve(curve(tmp_path, "time,valence,arousal\n0,0.2,-0.3\n"))
    assert (valence.tolist(), arousal.tolist()) == ([0.2], [-0.3])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "needs rows with the columns time, valence, arousal"),
        ("time,valence,arousal\n", "needs rows"),
        ("time,valence\n0,0\n", "needs rows"),
        ("time,valence,arousal\n0,0,0\n1,x,0\n", "row 3: valence is 'x', which is not a number"),
        ("time,valence,arousal\n0,0,0\n1,0\n", "row 3: arousal is '', which is not a number"),
        ("time,valence,arousal\n0,0,1.5\n", r"row 2: arousal is 1.5, not within -1..1"),
        ("time,valence,arousal\n0,nan,0\n", "row 2: valence is nan, not within"),
        ("time,valence,arousal\n-1,0,0\n", "row 2: time is -1, not within"),
        ("time,valence,arousal\n1e9,0,0\n", "row 2: time is 1e9, not within"),
        ("time,valence,arousal\n0,0,0\n5,0,0\n5,1,0\n", "row 4: the time does not come after"),
    ],
)
def test_mistakes_name_their_row(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_curve(curve(tmp_path, text))


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.csv: cannot be read"):
        read_curve(tmp_path / "none.csv")
