"""Plot of a piece: the audio's mel frames, the chain's outputs and the notes over the same bars."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kelly_core.arrays import Doubles, Floats
from kelly_core.chain import ChainOutput
from kelly_core.composition.accompaniment import CLOSED_HAT, CRASH, KICK, OPEN_HAT, SNARE, STICK
from kelly_core.composition.score import BAR, PHRASE_BARS, Part, Score
from kelly_core.io.atomic import atomic_write
from kelly_core.music.chords import CHORD_NAMES, CHORD_TONES, NO_CHORD
from kelly_core.music.mel import FRAME_SECONDS, band_centers
from kelly_core.music.notes import BEATS_PER_BAR

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INK, _FAINT, _PAPER = "#2B2D42", "#C9CCD6", "#FBFAF7"
_VALENCE, _AROUSAL = "#2A9D8F", "#E76F51"
_PARTS = {"Bass": "#5B5F97", "Chords": "#4A7FB5", "Melody": "#D1495B"}
_MAJOR, _MINOR, _OTHER = "#F2C57C", "#8FB8DE", "#CDB4DB"
_KIT = {"kick": (KICK,), "snare": (SNARE, STICK), "hat": (CLOSED_HAT, OPEN_HAT), "crash": (CRASH,)}
_TICKS_HZ = (200, 500, 1000, 2000, 4000, 8000)
_MIN_DECIBELS, _RANGE_DECIBELS = -100.0, 70.0
_MARGIN = 3
_MAX_BARS_WITH_BEATS = 32


def plot_score(path: Path, score: Score, output: ChainOutput, mel: Floats | None, title: str) -> None:
    """Plot a score below its inputs, with its beats and sections.

    Args:
        path: the PNG file, replaced atomically.
        score: the piece.
        output: the frames [T] that it was composed from, spread over its bars, or at their time if the score has the
            beats of a recording.
        mel: [T, 128] in dB; None without audio.
        title: shown on top, above the piece's key, length and tempo.

    Raises:
        KellyError: the file cannot be written.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    heights = {"mel": 2.0, "emotion": 1.5, "chords": 0.55, "notes": 4.0, "drums": 0.9}
    if mel is None:
        del heights["mel"]
    layout = ConstrainedLayoutEngine(h_pad=0.06, rect=(0.005, 0.005, 0.99, 0.985))
    figure = Figure(figsize=(14, 0.7 + sum(heights.values())), dpi=130, layout=layout, facecolor=_PAPER)
    figure.suptitle(title, x=0.01, ha="left", color=_INK, fontsize=15, fontweight="bold")
    rows = figure.subplots(len(heights), sharex=True, height_ratios=list(heights.values()))
    axes = dict(zip(heights, rows, strict=True))
    if mel is not None:
        _draw_mel(axes["mel"], mel, score)
    _draw_emotion(axes["emotion"], output, score)
    _draw_chords(axes["chords"], score)
    _draw_notes(axes["notes"], score)
    _draw_drums(axes["drums"], score.part("Drums"))
    for each in rows:
        _format_axes(each, score)
    _name_sections(axes["chords"], score)
    rows[0].set_title(score.summary(), loc="left", color=_INK, fontsize=10, pad=8)
    figure.align_ylabels(rows)
    rows[-1].set_xlabel("bar", color=_INK)
    # The plot is drawn in memory, so an error while drawing does not change the previous file.
    picture = BytesIO()
    figure.savefig(picture, format="png")
    atomic_write(path, picture.getvalue())


def _frame_edges(frames: int, score: Score) -> Doubles:
    """Return the positions in bars, from the first bar on, where frames begin and the last one ends, [frames + 1]."""
    if score.lead_in is None:
        return np.arange(frames + 1) / frames * score.bars
    times = np.array(score.bar_times())
    bars = np.arange(len(times), dtype=np.float64)
    first, last = times[1] - times[0], times[-1] - times[-2]
    seconds = np.arange(frames + 1) * FRAME_SECONDS
    edges: Doubles = np.interp(seconds, times, bars)
    # np.interp is constant beyond its ends; frames there are as long as in the first and in the last bar.
    before = seconds < times[0]
    edges[before] = (seconds[before] - times[0]) / first
    beyond = seconds > times[-1]
    edges[beyond] = bars[-1] + (seconds[beyond] - times[-1]) / last
    return edges


def _format_axes(axes: Axes, score: Score) -> None:
    bars = score.bars
    axes.set_facecolor(_PAPER)
    axes.set_xlim(min(0.0, float(_frame_edges(1, score)[0])), bars)
    if bars <= _MAX_BARS_WITH_BEATS:
        axes.set_xticks(np.arange(bars * BEATS_PER_BAR) / BEATS_PER_BAR, minor=True)
        axes.grid(axis="x", which="minor", color=_FAINT, linewidth=0.3, alpha=0.6)
    step = PHRASE_BARS if bars >= 2 * PHRASE_BARS else 1
    axes.set_xticks(np.arange(0, bars + 1, step), [str(bar + 1) for bar in range(0, bars + 1, step)])
    for phrase in range(PHRASE_BARS, bars, PHRASE_BARS):
        axes.axvline(phrase, color=_FAINT, linewidth=0.6, zorder=-1)
    axes.tick_params(which="both", colors=_INK, labelsize=8, length=0)
    axes.spines[:].set_visible(False)
    axes.yaxis.label.set(color=_INK, fontsize=9)


def _name_sections(axes: Axes, score: Score) -> None:
    """Write the letter of each section where it begins."""
    for bar, letter in score.sections:
        axes.axvline(bar, color=_INK, linewidth=1.2)
        axes.text(bar + 0.05, 0.52, letter, ha="left", va="bottom", color=_INK, fontsize=8, fontweight="bold")


def _draw_mel(axes: Axes, mel: Floats, score: Score) -> None:
    top = float(mel.max())
    low = max(top - _RANGE_DECIBELS, _MIN_DECIBELS)
    edges = _frame_edges(len(mel), score), np.arange(mel.shape[1] + 1)
    axes.pcolormesh(*edges, mel.T, cmap="magma", vmin=low, vmax=max(top, low + 1), rasterized=True)
    axes.set_ylim(0, mel.shape[1])
    bands = [float(np.abs(band_centers() - hertz).argmin()) + 0.5 for hertz in _TICKS_HZ]
    axes.set_yticks(bands, [f"{hertz:,}" for hertz in _TICKS_HZ])
    axes.set_ylabel("audio (Hz)")


def _draw_emotion(axes: Axes, output: ChainOutput, score: Score) -> None:
    edges = _frame_edges(len(output.code), score)
    middle = (edges[:-1] + edges[1:]) / 2
    axes.axhline(0, color=_FAINT, linewidth=0.8)
    curves = (("valence", output.affect.valence, _VALENCE), ("arousal", output.affect.arousal, _AROUSAL))
    for name, values, color in curves:
        ends = np.concatenate([edges[:1], middle, edges[-1:]]), np.concatenate([values[:1], values, values[-1:]])
        axes.plot(*ends, color=color, linewidth=1.8, label=name)
        axes.fill_between(*ends, color=color, alpha=0.1, linewidth=0)
    axes.set_ylim(-1, 1)
    axes.set_yticks([-1, 0, 1], ["-1", "0", "1"])
    axes.set_ylabel("emotion")
    _legend(axes)


def _draw_chords(axes: Axes, score: Score) -> None:
    size = float(np.clip(190 / score.bars, 4, 10))
    for bar, chord in enumerate(score.chords):
        axes.barh(0, 0.94, left=bar + 0.03, height=0.9, color=_chord_color(chord), linewidth=0)
        if score.bars <= 12 * PHRASE_BARS:
            axes.text(bar + 0.5, 0, CHORD_NAMES[chord], ha="center", va="center", color=_INK, fontsize=size)
    axes.set_ylim(-0.5, 0.5)
    axes.set_yticks([])
    axes.set_ylabel("chords")


def _chord_color(chord: int) -> str:
    if chord == NO_CHORD:
        return _FAINT
    thirds = [bool(CHORD_TONES[chord, (chord + third) % 12]) for third in (3, 4, 7)]
    return _MAJOR if thirds[1] else _MINOR if thirds[2] else _OTHER


def _draw_notes(axes: Axes, score: Score) -> None:
    pitches = [note.pitch for name in _PARTS for note in score.part(name).notes] or [60]
    low, high = min(pitches) - _MARGIN, max(pitches) + _MARGIN
    for name, color in _PARTS.items():
        notes = score.part(name).notes
        spans = np.array([[note.tick / BAR, note.length / BAR] for note in notes]).reshape(-1, 2)
        shades = [_shade(color, note.velocity) for note in notes]
        heights = [note.pitch for note in notes]
        axes.barh(heights, spans[:, 1], left=spans[:, 0], height=0.85, color=shades, linewidth=0)
        # An empty bar sets the color in the legend to that of full velocity.
        axes.barh([low], [0], color=color, label=name)
    octaves = np.arange(-(-low // 12) * 12, high + 1, 12)
    axes.set_yticks(octaves, [f"C{octave // 12 - 1}" for octave in octaves.tolist()])
    for octave in octaves:
        axes.axhline(octave - 0.5, color=_FAINT, linewidth=0.6, zorder=0)
    axes.set_ylim(low, high)
    axes.set_ylabel("notes")
    _legend(axes)


def _shade(color: str, velocity: int) -> tuple[float, ...]:
    """Return a color that fades to the background for soft notes."""
    from matplotlib.colors import to_rgb

    strength = 0.35 + 0.65 * min(1.0, velocity / 100)
    pairs = zip(to_rgb(color), to_rgb(_PAPER), strict=True)
    return tuple(strength * ink + (1 - strength) * paper for ink, paper in pairs)


def _legend(axes: Axes) -> None:
    """Draw the legend above the right end of the axes."""
    axes.legend(
        loc="lower right",
        bbox_to_anchor=(1.0, 0.99),
        borderaxespad=0.0,
        ncols=3,
        frameon=False,
        fontsize=8,
        labelcolor=_INK,
    )


def _draw_drums(axes: Axes, drums: Part) -> None:
    for row, pitches in enumerate(_KIT.values()):
        hits = [note for note in drums.notes if note.pitch in pitches]
        sizes = [(note.velocity / 127) ** 2 * 22 for note in hits]
        axes.scatter(
            [note.tick / BAR for note in hits], [row] * len(hits), s=sizes, color=_INK, linewidths=0, clip_on=False
        )
    axes.set_ylim(-0.6, len(_KIT) - 0.4)
    axes.set_yticks(range(len(_KIT)), list(_KIT))
    axes.set_ylabel("drums")
