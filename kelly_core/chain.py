"""Chain of the five models as in the plugin: from a frame of mel bands to musical parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike

from kelly_core.arrays import Floats
from kelly_core.engines.numpy_engine import NumpyEngine
from kelly_core.errors import ExportError
from kelly_core.export.quality_record import Calibration, recorded_quality
from kelly_core.export.reader import Export, read_export
from kelly_core.music.context import ContextMean
from kelly_core.music.emotion import CODE_SIZE, CODE_VERSION, CONTEXT, Affect, decode_affect, encode_affect, with_affect
from kelly_core.music.mel import BANDS
from kelly_core.spec import CHAIN_MODELS

Compute = Callable[[Floats], Floats]
"""One model in any engine: [..., in] → [..., out]; each call advances its state."""

_EMOTION, _MELODY, _HARMONY, _DYNAMICS, _GROOVE = CHAIN_MODELS
_AUDIO_BANDS = _HARMONY.input_size - _EMOTION.output_size

_MAX_GAIN = 4.0
"""Maximum gain of the calibration; without it, outputs that hardly vary would be amplified to noise."""

MARGINAL = "marginal"
"""Entry of an export's ``features``: the best constant output on the training examples."""
NEUTRAL_INPUT = "neutral_input"
"""Entry of an export's ``features``: the input to use if the actual one is not known."""


def run_chain(
    models: Mapping[str, Compute], mel: Floats, context: Floats | None = None, mean: ContextMean | None = None
) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """Run e = Emotion(mel), with e[56] averaged and e[57:64] = 0; Melody(e); Harmony([e, mel[0:64]]);
    Dynamics(e[0:32]); Groove(e).

    Args:
        models: by the model's name; each keeps its own state.
        mel: [..., 128] in dB, see ``music.mel``; one frame, or a sequence if the models accept one per call.
        context: musical context [..., 8] from the host; its nonzero entries replace those that Emotion estimates.
        mean: stateful running mean of the context that Emotion estimates; None for codes that were not estimated or
            have no context.

    Returns:
        Outputs of the five models: [..., 64], [..., 128], [..., 64], [..., 16] and [..., 32].
    """
    code = models[_EMOTION.name](mel)
    if mean is not None:
        code = mean.process(code)
    if context is not None:
        code = code.copy()
        code[..., CONTEXT] = np.where(context == 0, code[..., CONTEXT], context)
    return (
        code,
        models[_MELODY.name](code),
        models[_HARMONY.name](np.concatenate([code, mel[..., :_AUDIO_BANDS]], axis=-1)),
        models[_DYNAMICS.name](code[..., : _DYNAMICS.input_size]),
        models[_GROOVE.name](code),
    )


class ChainOutput(NamedTuple):
    """Output of the chain for one frame, or for T frames with an additional first axis.

    Attributes:
        code: [64], the emotion code that drives the other four networks, -1..1; its context is the averaged register
            estimated from audio, or the known context.
        affect: decoded from the code, as in the plugin.
        melody: [128], probability that each pitch sounds in a beat, in the C major / A minor frame.
        chords: [64], probability of each chord class, in the same frame.
        dynamics: [16], expression parameters, 0..1.
        groove: [32], timing, then accent, of the sixteen positions of a bar, -1..1.
    """

    code: Floats
    affect: Affect
    melody: Floats
    chords: Floats
    dynamics: Floats
    groove: Floats

    def mean(self, start: int, stop: int) -> ChainOutput:
        """Return the mean over the frames from ``start`` up to ``stop``, as one frame."""
        affect = Affect(*(values[start:stop].mean() for values in self.affect))
        code, _, *others = self
        return ChainOutput(
            code[start:stop].mean(axis=0), affect, *(values[start:stop].mean(axis=0) for values in others)
        )


class ModelChain:
    """The five networks of a folder, in NumPy; their state and the mean of the context estimated from audio are kept
    between frames until ``reset``.

    Attributes:
        code_version: version of the emotion code between the networks.
        marginals: best constant output on the training examples, [out] by model, where a file records it.

    Raises:
        ExportError: the networks have different versions of the emotion code.
    """

    def __init__(self, exports: dict[str, Export]) -> None:
        self._paths = {name: export.path for name, export in exports.items()}
        self._networks = {name: NumpyEngine(export.layers) for name, export in exports.items()}
        self._context_mean = ContextMean()
        self._neutral_audio = _neutral_audio(exports[_HARMONY.name])
        quality = recorded_quality(exports[_EMOTION.name].metadata)
        self._calibration = quality.calibration if quality else {}
        self.code_version = _common_version(exports)
        self.marginals = {
            name: marginal
            for name, export in exports.items()
            if (marginal := _numbers(export, MARGINAL, export.out_size)) is not None
        }

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the five files of a folder.

        Raises:
            ExportError: the folder or a file is missing, a file cannot be read or has a network of the wrong size, or
                the files' versions of the emotion code differ.
        """
        paths = {spec: folder / f"{spec.file_stem}.json" for spec in CHAIN_MODELS}
        missing = [path.name for path in paths.values() if not path.exists()]
        if missing:
            problem = f"lacks {', '.join(missing)}" if folder.is_dir() else "is not a folder"
            raise ExportError(problem, where=folder, hint="All five models are needed; `kelly-core train` writes them")
        exports = {}
        for spec, path in paths.items():
            export = read_export(path)
            sizes = (export.in_size, export.out_size)
            if sizes != (spec.input_size, spec.output_size):
                wanted = f"{spec.input_size} inputs and {spec.output_size} outputs"
                raise ExportError(f"has {sizes[0]} inputs and {sizes[1]} outputs, not {wanted}", where=export.path)
            exports[spec.name] = export
        return cls(exports)

    @property
    def takes_context(self) -> bool:
        """True if the networks take a musical context."""
        return self.code_version == CODE_VERSION

    @property
    def estimated_context(self) -> Floats:
        """Running mean of the estimated musical context [8]; the other networks use only its register."""
        return self._context_mean.mean.copy()

    def reset(self) -> None:
        """Set all state to zero, as the plugin does once, when it loads a model."""
        for network in self._networks.values():
            network.reset()
        self._context_mean.reset()

    def step(self, mel: ArrayLike) -> ChainOutput:
        """Compute one frame, half a second of audio: mel [128] in dB.

        Raises:
            ExportError: a network returned numbers that are not finite.
        """
        # The mean over one frame only removes the time axis.
        return self.run(np.asarray(mel, np.float32)[np.newaxis]).mean(0, 1)

    def run(self, mel: ArrayLike, context: ArrayLike | None = None, *, calibrated: bool = False) -> ChainOutput:
        """Compute frames in sequence from the current state: mel [T, 128] in dB.

        Args:
            mel: the frames.
            context: known musical context, [8] or [T, 8], see ``run_chain``.
            calibrated: scale valence and arousal to the mean and the spread of the labels, which a recognizer's outputs
                do not reach, for the other networks. Without a calibration in the file, they are not scaled.

        Raises:
            ExportError: a network returned numbers that are not finite, or the networks take no context.
        """
        replaced = {_EMOTION.name: self._calibrated_codes} if calibrated and self._calibration else None
        known = self._checked_context(context)
        mean = self._context_mean if self.takes_context else None
        return self._run_networks(np.asarray(mel, np.float32).reshape(-1, BANDS), replaced, known, mean)

    def run_affect(self, valence: ArrayLike, arousal: ArrayLike, context: ArrayLike | None = None) -> ChainOutput:
        """Compute the other four networks from the current state, for given valence and arousal instead of audio.

        HarmonyPredictor gets the mean of its training audio.

        Args:
            valence, arousal: [T], -1..1.
            context: musical context, [8] or [T, 8]; None and entries of 0 mean unknown.

        Raises:
            ExportError: the networks take no context, HarmonyPredictor's file does not record that mean, or numbers are
                not finite.
        """
        if self._neutral_audio is None:
            problem = f"has no input to use without audio: no {NEUTRAL_INPUT!r} in its features"
            hint = "Export it again in the rtneural layout, or start from audio"
            raise ExportError(problem, where=self._paths[_HARMONY.name], hint=hint)
        codes = encode_affect(valence, arousal, context=self._checked_context(context), version=self.code_version)
        # Only HarmonyPredictor reads these frames, and only their first 64 bands: the recognizer is replaced.
        return self._run_networks(np.tile(self._neutral_audio, (len(codes), 1)), {_EMOTION.name: lambda _mel: codes})

    def _checked_context(self, context: ArrayLike | None) -> Floats | None:
        if context is None:
            return None
        known = np.asarray(context, np.float32)
        if known.any() and not self.takes_context:
            raise ExportError(
                f"takes version {self.code_version} of the emotion code, which has no musical context",
                where=self._paths[_MELODY.name],
                hint=f"Train the five models again for version {CODE_VERSION}, or leave the context out",
            )
        return known

    def _run_networks(
        self,
        mel: Floats,
        replaced: Mapping[str, Compute] | None = None,
        context: Floats | None = None,
        mean: ContextMean | None = None,
    ) -> ChainOutput:
        """Run the chain with other functions in place of some networks."""
        models = {name: self._checked(name) for name in self._networks} | dict(replaced or {})
        code, *others = run_chain(models, mel, context, mean)
        return ChainOutput(code, decode_affect(code), *others)

    def _calibrated_codes(self, mel: Floats) -> Floats:
        codes = self._checked(_EMOTION.name)(mel)
        affect = decode_affect(codes)
        return with_affect(
            codes,
            _spread(affect.valence, self._calibration.get("valence")),
            _spread(affect.arousal, self._calibration.get("arousal")),
            version=self.code_version,
        )

    def _checked(self, model: str) -> Compute:
        """Return a network as a function of frames [T, in] that raises an error for outputs that are not finite."""

        def compute(frames: Floats) -> Floats:
            outputs = self._networks[model].process(frames)
            if not np.isfinite(outputs).all():
                raise ExportError("returned numbers that are not finite", where=self._paths[model])
            return outputs

        return compute


def _spread(answers: Floats, calibration: Calibration | None) -> Floats:
    """Return a recognizer's outputs scaled to the mean and spread of the labels, within -1..1."""
    # Constant outputs have no spread to scale.
    if calibration is None or calibration.answer_sd <= 0:
        return answers
    gain = min(calibration.label_sd / calibration.answer_sd, _MAX_GAIN)
    spread: Floats = np.clip(calibration.label_mean + gain * (answers - calibration.answer_mean), -1, 1)
    return spread.astype(np.float32)


def _common_version(exports: Mapping[str, Export]) -> int:
    """Return the version of the emotion code of all networks except DynamicsEngine.

    DynamicsEngine uses the first half of the code, which is the same in all versions. Legacy files do not record their
    version and agree with any.
    """
    versions = {name: export.code_version for name, export in exports.items() if name != _DYNAMICS.name}
    known = {version for version in versions.values() if version is not None}
    if len(known) > 1:
        found = ", ".join(f"{name} {version}" for name, version in versions.items() if version is not None)
        raise ExportError(
            f"contains models of different versions of the emotion code: {found}",
            where=exports[_EMOTION.name].path.parent,
            hint="Train the models of the older version again",
        )
    return known.pop() if known else CODE_VERSION


def _neutral_audio(export: Export) -> Floats | None:
    """Return the mel bands [64] that HarmonyPredictor uses without audio; None if its file does not record them."""
    values = _numbers(export, NEUTRAL_INPUT, export.in_size)
    return None if values is None else values[CODE_SIZE:]


def _numbers(export: Export, entry: str, count: int) -> Floats | None:
    """Return a list of numbers from an export's features; None if it is missing or not such a list."""
    features = export.metadata.get("features")
    values = features.get(entry) if isinstance(features, dict) else None
    if not isinstance(values, list) or len(values) != count:
        return None
    if not all(isinstance(value, int | float) for value in values):
        return None
    try:
        return np.array(values, np.float32)
    except OverflowError:
        # An integer in JSON can be larger than any float.
        return None
