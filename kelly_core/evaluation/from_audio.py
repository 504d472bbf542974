"""Quality of the complete chain: its outputs for recordings are compared with the notes of the same pieces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kelly_core.arrays import Doubles, Floats
from kelly_core.chain import ChainOutput, ModelChain
from kelly_core.data.readers import midi
from kelly_core.data.readers.audio import SUFFIXES, read_audio
from kelly_core.errors import DataError
from kelly_core.evaluation.aggregation import GroupSums
from kelly_core.evaluation.baselines import weighted_median
from kelly_core.evaluation.evaluate import MODEL, compare_baselines, metrics_from_sums, metrics_of
from kelly_core.evaluation.metrics.base import Labels, ModelMetrics, Sums, loss_sums, ratio
from kelly_core.export.quality_record import ChainQuality, deciding_baseline
from kelly_core.music.chords import chord_distribution, estimate_chords
from kelly_core.music.context import NAMES, encode_context, note_measures
from kelly_core.music.dynamics import WINDOW_SECONDS, expression_windows
from kelly_core.music.emotion import CODE_SIZE
from kelly_core.music.groove import groove_windows
from kelly_core.music.key import semitones_to_c, tonality_of
from kelly_core.music.mel import FRAME_SECONDS, mel_frames
from kelly_core.music.melody import Melody, find_melody, melody_piano_roll
from kelly_core.music.notes import BEATS_PER_BAR, DEFAULT_BPM, PPQ, Notes
from kelly_core.spec import CHAIN_MODELS, ModelSpec, model_spec

MAX_SECONDS = 600.0
MIN_PIECES = 2

_MELODY, _HARMONY, _DYNAMICS, _GROOVE = CHAIN_MODELS[1:]
_OTHERS = "marginal of the other pieces"
_TRAINING = "marginal of the training examples"
_MIN_PROBABILITY = 1e-6
"""Smallest probability of a constant, so that a note or chord that no training example has is not impossible."""


class Pair(NamedTuple):
    """A recording and the MIDI file of the same piece, which start at the same time."""

    name: str
    audio: Path
    notes: Path


@dataclass(frozen=True)
class _Scored:
    """Outputs of one model for one piece and their targets.

    Attributes:
        outputs, targets: [T, out].
        control: [T, out], the outputs when the musical context of the notes is given.
        weights: [T, 1] or [T, out].
        bpm: tempo.
    """

    outputs: Floats
    control: Floats
    targets: Floats
    weights: Floats
    bpm: float = DEFAULT_BPM

    @property
    def labels(self) -> Labels:
        """Return targets and weights as one example."""
        return Labels(self.targets[np.newaxis], self.weights[np.newaxis], np.zeros(1, bool), np.array([self.bpm]))


def find_pairs(folder: Path) -> list[Pair]:
    """Return the recordings below a folder that have a MIDI file of the same stem, by name.

    Raises:
        DataError: there are fewer than two, or a stem has several recordings or MIDI files.
    """
    if not folder.is_dir():
        raise DataError("is not a folder", where=folder)
    found: dict[str, tuple[list[Path], list[Path]]] = {}
    for path in sorted(folder.rglob("*")):
        kind = path.suffix.lower()
        if path.is_file() and (kind in SUFFIXES or kind in midi.SUFFIXES):
            found.setdefault(path.stem, ([], []))[kind in midi.SUFFIXES].append(path)
    pairs = []
    for name, (recordings, scores) in found.items():
        if not recordings or not scores:
            continue
        if len(recordings) > 1 or len(scores) > 1:
            hint = "Give each piece its own name"
            raise DataError(f"several recordings or MIDI files are called {name}", where=folder, hint=hint)
        pairs.append(Pair(name, recordings[0], scores[0]))
    if len(pairs) < MIN_PIECES:
        problem = f"contains {len(pairs)} recordings with a MIDI file of the same stem, not {MIN_PIECES} or more"
        raise DataError(problem, where=folder, hint="Put song.mid next to song.wav, both beginning at the same time")
    return pairs


def evaluate_chain(chain: ModelChain, pairs: Sequence[Pair]) -> dict[str, ChainQuality]:
    """Evaluate the four models downstream of the recognizer on recordings, by name; models without targets are omitted.

    Args:
        chain: the five exports.
        pairs: from ``find_pairs``.

    Raises:
        DataError: a file cannot be read.
        ExportError: a network returned numbers that are not finite.
    """
    scored: dict[str, dict[str, _Scored]] = {}
    for pair in pairs:
        for model, piece in _score_piece(chain, pair).items():
            scored.setdefault(model, {})[pair.name] = piece
    # The marginal is computed from the other pieces, so at least one other piece is needed.
    return {model: _quality(chain, model, each) for model, each in scored.items() if len(each) >= MIN_PIECES}


def _score_piece(chain: ModelChain, pair: Pair) -> dict[str, _Scored]:
    samples, sample_rate = read_audio(pair.audio, MAX_SECONDS)
    mel = mel_frames(samples, sample_rate)
    notes = midi.read_notes(pair.notes)
    played = notes.select(notes.onset < len(mel) * FRAME_SECONDS)
    pitched = played.pitched()
    if not len(mel) or not len(played):
        raise DataError("the MIDI file has no note that begins within the recording", where=pair.audio)
    chain.reset()
    unaware = chain.run(mel)
    found: dict[str, _Scored] = {}
    if not len(pitched):
        aware = unaware
    else:
        # Melody and key come from the entire piece, as in training: the beginning may have another melody.
        whole = notes.pitched()
        shift = semitones_to_c(tonality_of(whole))
        melody = find_melody(notes)
        melody = melody._replace(notes=melody.notes.select(melody.notes.onset < len(mel) * FRAME_SECONDS))
        aware = _given_context(chain, mel, played, melody.notes, shift)
        if len(melody.notes):
            found[_MELODY.name] = _melody(unaware, aware, played, melody, shift)
        found[_HARMONY.name] = _harmony(unaware, aware, pitched, shift)
        found |= dict(_dynamics(unaware, aware, pitched))
    drums = played.select(played.drum)
    return found | dict(_groove(unaware, aware, drums))


def _given_context(chain: ModelChain, mel: Floats, played: Notes, melody: Notes, shift: int) -> ChainOutput:
    """Return the chain's outputs, given the musical context of the played notes."""
    measures = note_measures(played, melody, shift)
    context = encode_context({name: measures[name] for name in NAMES})
    chain.reset()
    return chain.run(mel, context if chain.takes_context else None)


def _melody(unaware: ChainOutput, aware: ChainOutput, played: Notes, melody: Melody, shift: int) -> _Scored:
    """Score one step per beat, from the first to the last beat in which the melody sounds."""
    roll = melody_piano_roll(melody, shift)
    sounding = np.flatnonzero(roll.any(axis=1))
    steps = roll[sounding[0] : sounding[-1] + 1] if len(sounding) else roll[:1]
    first = np.floor(melody.notes.onset_beats.min()) + (sounding[0] if len(sounding) else 0)
    # An output is compared at the middle of its beat, which the notes' own onsets map to seconds.
    middles = first + np.arange(len(steps)) + 0.5
    frames = _frames(np.interp(middles, played.onset_beats, played.onset), len(unaware.melody))
    weights = np.ones((len(steps), 1), np.float32)
    return _Scored(unaware.melody[frames], aware.melody[frames], steps.astype(np.float32), weights)


def _harmony(unaware: ChainOutput, aware: ChainOutput, notes: Notes, shift: int) -> _Scored:
    """Score the distribution of the chords over the entire recording."""
    target = chord_distribution(estimate_chords(notes, shift))[np.newaxis]
    return _Scored(_mean(unaware.chords), _mean(aware.chords), target, np.ones((1, 1), np.float32))


def _dynamics(unaware: ChainOutput, aware: ChainOutput, notes: Notes) -> Iterator[tuple[str, _Scored]]:
    """Score one step per window of fifteen seconds, if there is any."""
    values, starts = expression_windows(notes)
    if len(values):
        spans = [slice(*_frames(np.array([start, start + WINDOW_SECONDS]), len(unaware.dynamics))) for start in starts]
        outputs, control = (np.concatenate([_mean(each.dynamics[s]) for s in spans]) for each in (unaware, aware))
        yield _DYNAMICS.name, _Scored(outputs, control, values, np.ones((len(values), 1), np.float32))


def _groove(unaware: ChainOutput, aware: ChainOutput, drums: Notes) -> Iterator[tuple[str, _Scored]]:
    """Score one step per window of eight bars, if there are drums in 4/4."""
    windows = groove_windows(drums.onset_beats * PPQ, drums.velocity)
    if drums.beats_per_bar == BEATS_PER_BAR and len(windows.values):
        outputs, control = (np.repeat(_mean(each.groove), len(windows.values), axis=0) for each in (unaware, aware))
        piece = _Scored(outputs, control, windows.values, windows.mask.astype(np.float32), drums.bpm)
        yield _GROOVE.name, piece


def _frames(seconds: Doubles, count: int) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Return the frame of each time, kept within the recording."""
    return np.clip(np.floor(seconds / FRAME_SECONDS).astype(np.intp), 0, count - 1)


def _mean(outputs: Floats) -> Floats:
    """Return the mean over time, [1, out]."""
    mean: Floats = outputs.mean(axis=0, keepdims=True)
    return mean


def _quality(chain: ModelChain, model: str, scored: Mapping[str, _Scored]) -> ChainQuality:
    spec = model_spec(model)
    measures = metrics_of(spec)
    pieces = list(scored.values())
    marginals = {_OTHERS: _marginals(model, pieces)}
    if model in chain.marginals:
        least = _MIN_PROBABILITY if model in (_MELODY.name, _HARMONY.name) else -np.inf
        marginals[_TRAINING] = [np.maximum(chain.marginals[model], np.float32(least))] * len(pieces)
    # Control and marginals are predictors like the model, so that all are measured and resampled by the same code.
    outputs = {MODEL: [piece.outputs for piece in pieces], "control": [piece.control for piece in pieces]}
    for name, constants in marginals.items():
        outputs[name] = [
            np.broadcast_to(each, piece.targets.shape) for each, piece in zip(constants, pieces, strict=True)
        ]
    names = np.array(list(scored))
    found = GroupSums(
        corpora=np.full(len(names), "audio"),
        sources=np.full(len(names), "notes"),
        groups=names,
        examples=np.ones(len(names), np.intp),
        truth=_stack([measures.truth(piece.labels) for piece in pieces]),
        errors={name: _errors(spec, measures, rows, pieces) for name, rows in outputs.items()},
    )
    metrics = {name: metrics_from_sums(measures, found.total(name)) for name in outputs}
    primary = tuple(criterion.measure for criterion in measures.criteria)
    _, marginal = deciding_baseline(tuple(compare_baselines(measures, found, metrics, tuple(marginals))), primary)
    is_aware = chain.takes_context and spec.code_inputs == CODE_SIZE
    return ChainQuality(
        pieces=len(pieces),
        primary=primary,
        metrics=metrics[MODEL],
        marginal=marginal,
        control=metrics["control"] if is_aware else None,
    )


def _errors(spec: ModelSpec, measures: ModelMetrics, outputs: Sequence[Floats], pieces: Sequence[_Scored]) -> Sums:
    rows = []
    for output, piece in zip(outputs, pieces, strict=True):
        total, weight = loss_sums(spec.loss, output[np.newaxis], piece.labels)
        rows.append(measures.errors(output[np.newaxis], piece.labels) | {"loss": total, "loss_weight": weight})
    return _stack(rows)


def _stack(rows: Sequence[Sums]) -> Sums:
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def _marginals(model: str, pieces: Sequence[_Scored]) -> list[Floats]:
    """Return the best constant [out] of the other pieces for each piece: the median for Groove, else the mean.

    Melody and Harmony assume one more step with all pitches or chords equally likely, so that no probability is 0.
    """
    if model == _GROOVE.name:
        return [_median([other for other in pieces if other is not piece]) for piece in pieces]
    totals = np.stack([(piece.weights * piece.targets).sum(axis=0, dtype=np.float64) for piece in pieces])
    weights = np.array([piece.weights.sum(dtype=np.float64) for piece in pieces])[:, np.newaxis]
    strength = 1.0 if model in (_MELODY.name, _HARMONY.name) else 0.0
    prior = strength / totals.shape[1]
    others = ratio(totals.sum(axis=0) - totals + prior, weights.sum() - weights + strength)
    return list(others.astype(np.float32))


def _median(pieces: Sequence[_Scored]) -> Floats:
    targets, weights = (np.concatenate([getattr(each, name) for each in pieces]) for name in ("targets", "weights"))
    return weighted_median(targets, weights).astype(np.float32)
