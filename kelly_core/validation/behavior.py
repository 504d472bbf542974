"""Checks of a network's outputs: golden outputs, overflow, the state contract, and parity with other engines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kelly_core.arrays import Doubles, Floats
from kelly_core.engines.layers import DenseWeights, Layer, RecurrentWeights, layer_spec, without_activation
from kelly_core.engines.numpy_engine import TOLERANCE, NumpyEngine
from kelly_core.errors import KellyError
from kelly_core.export.golden import Golden, probe_frames, read_golden
from kelly_core.export.json_values import FormatError
from kelly_core.export.parser import ParsedNetwork
from kelly_core.validation.report import STATES, Check

PROBE_FRAMES = 200
DRIFT_PASSES = 6
"""Number of passes over the probe: 1,200 steps, ten minutes at the plugin's two frames per second."""

DEPENDENCE_LIMIT = 1e-4
"""Largest change of the outputs that counts as no change: ten times the rounding difference of two engines."""

PARITY_FRAMES = 1_200
"""The same number of steps without repetition, because errors in another engine's state appear late."""

DRIFT_LIMIT = 0.25
"""Maximum difference of the outputs for the same input at different times, as a share of the output's RMS.

LSTMs trained on sequences stay below .001 if the task depends on a few previous frames, and reach .11 if it depends on
the mean of all previous frames.
"""

LOGIT_LIMIT = 80.0
"""The engine's softmax does not shift the logits before exp(); from 85 on the sum of 64 powers overflows float32.

Then every output is 0, or NaN where a single power overflows. If all powers underflow, every output is NaN.
"""

_UNIFORMITY_LIMIT = 1.95


@dataclass(frozen=True)
class ReferenceEngine:
    """Another engine for the same file.

    ``run`` computes the outputs [T, out] for inputs [T, in] of the file in sequence, from zero state. If it raises a
    KellyError, the check fails with the error as its reason.
    """

    label: str
    run: Callable[[Floats], NDArray[np.floating]]


def check_behavior(metadata: object, network: ParsedNetwork, references: Sequence[ReferenceEngine]) -> Iterator[Check]:
    """Check the outputs of a network whose layers were read without an error."""
    content = metadata if isinstance(metadata, dict) else {}
    layers = network.layers
    golden: Golden | None = None
    if "golden" in content:
        try:
            golden = read_golden(content["golden"], network.in_size, layers[-1].out_size)
            yield _check_golden(layers, golden)
        except FormatError as error:
            yield Check("golden outputs", False, error.text)
    probe = probe_frames(PROBE_FRAMES, network.in_size, golden)
    outputs = _check_outputs(layers, probe)
    yield outputs
    if not outputs.passed:
        # Differences of infinite values are NaN, so further checks would have no meaning.
        return
    yield _check_dependence(layers, probe)
    yield from _check_softmax(layers, probe)
    yield from _check_state(content, network, probe)
    frames = probe_frames(PARITY_FRAMES, network.in_size, golden)
    for reference in references:
        yield _check_parity(layers, frames, reference)


def _check_golden(layers: Sequence[Layer], golden: Golden) -> Check:
    """Recompute the golden outputs; only this check and parity detect a transposed square matrix."""
    detail = f"{len(golden.inputs)} recorded frames recomputed"
    return _compare_outputs("golden outputs", NumpyEngine(layers).process(golden.inputs), golden.outputs, detail)


def _compare_outputs(name: str, ours: Floats, theirs: NDArray[np.floating], success: str) -> Check:
    apart = float(np.abs(ours.astype(np.float64) - theirs).max())
    # NaN compares as false with any number, so this condition counts it as a difference.
    if apart <= TOLERANCE:
        return Check(name, True, f"{success}, {f'within {apart:.1e}' if apart else 'identical'}")
    return Check(name, False, f"outputs differ by up to {apart:.3g}; {TOLERANCE:.0e} would be rounding")


def _check_outputs(layers: Sequence[Layer], probe: Floats) -> Check:
    finite = bool(np.isfinite(NumpyEngine(layers).process(probe)).all())
    detail = "all finite" if finite else "some infinite or not a number, so further checks are skipped"
    return Check("outputs", finite, f"{len(probe)} frames, {detail}")


def _check_dependence(layers: Sequence[Layer], probe: Floats) -> Check:
    """Check that different inputs produce different outputs at the same step."""
    # The reversed probe is an equally plausible input, and differs from the probe at every step.
    outputs, others = (NumpyEngine(layers).process(frames) for frames in (probe, probe[::-1].copy()))
    apart = float(np.abs(outputs.astype(np.float64) - others).max())
    if apart > DEPENDENCE_LIMIT:
        return Check("input dependence", True, f"other inputs change the outputs by up to {apart:.3g}")
    return Check("input dependence", False, f"constant: other inputs change the outputs by {apart:.1g} at most")


def _check_softmax(layers: Sequence[Layer], probe: Floats) -> Iterator[Check]:
    """Check that the engine's softmax cannot overflow, by bounds if the previous layer is bounded, else by trial."""
    for index, layer in enumerate(layers):
        if layer.activation != "softmax":
            continue
        linear = without_activation(layer)
        before = [*layers[:index], *([] if linear is None else [linear])]
        largest, how = _bound(layers, index), "at most"
        if largest is None or largest > LOGIT_LIMIT:
            logits = NumpyEngine(before).process(probe) if before else probe
            largest, how = float(np.abs(logits).max()), "in trials up to"
        detail = f"logits are {how} {largest:.3g}; the engine's softmax is safe up to {LOGIT_LIMIT:.0f}"
        yield Check("softmax", largest <= LOGIT_LIMIT, detail)


def _bound(layers: Sequence[Layer], index: int) -> float | None:
    """Return the largest possible logit of a dense layer whose inputs are within ±1; None if they can be larger."""
    layer, before = layers[index], layers[index - 1] if index else None
    bounded = before is not None and (
        isinstance(before, RecurrentWeights) or before.activation in ("tanh", "sigmoid", "softmax")
    )
    if not bounded or not isinstance(layer, DenseWeights):
        return None
    # |w·x + b| ≤ Σ|w| + |b| if every |x| ≤ 1, as after these activations and after an LSTM or a GRU.
    return float((np.abs(layer.weight).sum(axis=1, dtype=np.float64) + np.abs(layer.bias)).max())


def _check_state(content: dict[str, Any], network: ParsedNetwork, probe: Floats) -> Iterator[Check]:
    declared, layers = content.get("state"), network.layers
    carrying = [layer for layer in layers if layer_spec(layer).carries_state]
    if not carrying:
        yield Check("state", True, "no layer with state, so every frame is independent")
        return
    recurrent = [layer for layer in layers if isinstance(layer, RecurrentWeights)]
    # A file that declares no state is stateless if its recurrent weights are 0, as in a folded export.
    folded = len(recurrent) == len(carrying) and not any(each.weight_hh.any() for each in recurrent)
    state = declared if declared in STATES else "stateless" if folded else "stateful"
    if state == "stateless":
        yield _check_repeats(layers, probe)
        return
    if recurrent:
        yield (
            _check_recurrence(recurrent)
            if content.get("trained_on") != {} and not network.foreign
            else _not_recorded("recurrence")
        )
    yield _check_drift(layers, probe)


def _not_recorded(name: str) -> Check:
    return Check(name, True, "the file does not record how it was trained", applicable=False)


def _check_repeats(layers: Sequence[Layer], probe: Floats) -> Check:
    """Check that the output of each frame is, bit for bit, the same after other frames as from zero state."""
    engine = NumpyEngine(layers)
    in_sequence = engine.process(probe)
    alone = np.empty_like(in_sequence)
    for frame, output in zip(probe, alone, strict=True):
        engine.reset()
        output[:] = engine.step(frame)
    if np.array_equal(in_sequence, alone):
        return Check("state", True, f"stateless: {len(probe)} frames do not depend on what came before")
    apart = float(np.abs(in_sequence - alone).max())
    return Check("state", False, f"declared stateless, but earlier frames change the output by up to {apart:.3g}")


def _check_recurrence(recurrent: Sequence[RecurrentWeights]) -> Check:
    """Check that the recurrent weights of a stateful network were trained.

    If a network is trained on single frames from zero state, the gradient of its recurrent weights is exactly zero.
    They keep their initial values: uniform within ±1/√H in PyTorch, at most shrunk by weight decay. Such a network
    computes each frame with a state that it never learned to use. The outputs do not reveal this: the memory is short,
    so they do not drift or explode, and they change after the first frame as much as after training on sequences. The
    weights reveal it: a single training step moves some of them beyond 1/√H, and more steps change the distribution.
    """
    for layer in recurrent:
        weights = layer.weight_hh
        if not weights.any():
            return Check("recurrence", False, "declared stateful, but its recurrent weights are all 0")
        if np.abs(weights).max() <= 1.0 / np.sqrt(layer.out_size) and _uniformity(weights) < _UNIFORMITY_LIMIT:
            return Check(
                "recurrence",
                False,
                "the recurrent weights are as PyTorch initialises them: they were trained on single frames, or not at"
                " all. Train on sequences, or export as stateless",
            )
    return Check("recurrence", True, "the recurrent weights were trained")


def _uniformity(weights: Floats) -> float:
    """Return Kolmogorov's √n·D against the uniform distribution within ±max; p = .001 at 1.95."""
    ordered = np.sort(np.abs(weights), axis=None).astype(np.float64)
    ranks = (np.arange(ordered.size) + 0.5) / ordered.size
    return float(np.sqrt(ordered.size) * np.abs(ordered / ordered[-1] - ranks).max())


def _check_drift(layers: Sequence[Layer], probe: Floats) -> Check:
    """Check that the outputs for the same input do not drift over 1,200 steps without a reset.

    The probe is repeated. The second pass has no start-up effects and the same inputs as the last pass, so only a state
    that diverges, settles slowly or oscillates can make their outputs differ. Drift is the RMS of this difference
    divided by the RMS of the output.
    """
    engine = NumpyEngine(layers)
    passes = [engine.process(probe).astype(np.float64) for _ in range(DRIFT_PASSES)]
    steps = DRIFT_PASSES * len(probe)
    level = _rms(passes[-1])
    drift = _rms(passes[-1] - passes[1]) / level if level else 0.0
    if drift <= DRIFT_LIMIT:
        return Check("drift", True, f"{drift:.2%} of the output's level over {steps:,} steps")
    return Check("drift", False, f"the output for the same input changes by {drift:.0%}, over {steps:,} steps")


def _rms(values: Doubles) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _check_parity(layers: Sequence[Layer], frames: Floats, reference: ReferenceEngine) -> Check:
    name = f"parity with {reference.label}"
    try:
        theirs = np.asarray(reference.run(frames))
    except KellyError as error:
        return Check(name, False, str(error))
    ours = NumpyEngine(layers).process(frames)
    if theirs.shape != ours.shape:
        return Check(name, False, f"it gave outputs of shape {theirs.shape}, the file gives {ours.shape}")
    return _compare_outputs(name, ours, theirs, f"{len(frames):,} frames in sequence")
