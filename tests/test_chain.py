"""The chain is wired as in the plugin, keeps its state as the plugin does, and names a file that does not fit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kelly_core.chain import NEUTRAL_INPUT, ModelChain
from kelly_core.engines.numpy_engine import NumpyEngine
from kelly_core.errors import ExportError
from kelly_core.export.reader import Export, read_export
from kelly_core.music.context import ContextMean
from kelly_core.music.emotion import CONTEXT, encode_affect
from kelly_core.spec import MODELS
from tests.helpers.chain import NEUTRAL_DECIBELS, write_chain
from tests.seeds import seeded_rng


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_chain(tmp_path_factory.mktemp("chain"))


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    for file in folder.iterdir():
        (tmp_path / file.name).symlink_to(file)
    return tmp_path


@pytest.fixture
def networks(folder: Path) -> dict[str, NumpyEngine]:
    return {spec.file_stem: NumpyEngine(read_export(folder / f"{spec.file_stem}.json").layers) for spec in MODELS}


def edited(folder: Path, stem: str, edit) -> Path:
    path = folder / f"{stem}.json"
    document = json.loads(path.read_text())
    edit(document)
    path.unlink()
    path.write_text(json.dumps(document))
    return path


FRAMES = seeded_rng(3).standard_normal((6, 128)).astype(np.float32)


def test_calibrated_outputs_have_the_spread_of_the_labels(copy: Path) -> None:
    plain = ModelChain.load(copy).run(FRAMES)
    assert np.array_equal(ModelChain.load(copy).run(FRAMES, calibrated=True).code, plain.code), "without a calibration"
    own = {"answer_mean": float(plain.affect.valence.mean()), "answer_sd": 0.1, "label_mean": 0.2, "label_sd": 0.2}
    record = {
        "split": "validation",
        "verdict": "trained",
        "primary": [],
        "examples": 1,
        "groups": 1,
        "metrics": {},
        "epsilon": 0.01,
        "epsilon_limit": 0.05,
        "calibration": {"valence": own},
    }
    edited(copy, "emotionrecognizer", lambda document: document["metadata"].update(quality=record))
    spread = ModelChain.load(copy).run(FRAMES, calibrated=True)
    expected = 0.2 + 2 * (plain.affect.valence - plain.affect.valence.mean())
    np.testing.assert_allclose(spread.affect.valence, np.clip(expected, -1, 1), atol=2e-3)
    np.testing.assert_allclose(spread.affect.arousal, plain.affect.arousal, atol=2e-3)
    assert np.array_equal(ModelChain.load(copy).run(FRAMES).code, plain.code)


def test_each_network_gets_the_inputs_that_the_plugin_gives_it(folder: Path, networks: dict[str, NumpyEngine]) -> None:
    chain = ModelChain.load(folder)
    heard = networks["emotionrecognizer"].process(FRAMES)
    for count, (mel, code) in enumerate(zip(FRAMES, heard, strict=True), start=1):
        said = chain.step(mel)
        np.testing.assert_array_equal(said.code[:56], code[:56])
        np.testing.assert_allclose(chain.estimated_context, heard[:count, CONTEXT].mean(axis=0), atol=1e-6)
        np.testing.assert_array_equal(said.code[CONTEXT], [chain.estimated_context[0], *[0] * 7], "the register alone")
        code = said.code
        np.testing.assert_array_equal(said.melody, networks["melodytransformer"].step(code))
        np.testing.assert_array_equal(said.chords, networks["harmonypredictor"].step(np.append(code, mel[:64])))
        np.testing.assert_array_equal(said.dynamics, networks["dynamicsengine"].step(code[:32]))
        np.testing.assert_array_equal(said.groove, networks["groovepredictor"].step(code))
        assert said.affect.valence == pytest.approx(np.tanh(code[:16].sum() / 8), abs=1e-6)
        assert said.affect.arousal == pytest.approx(np.tanh(code[16:32].sum() / 8), abs=1e-6)


def test_running_equals_stepping_and_state_is_kept_until_reset(folder: Path) -> None:
    chain = ModelChain.load(folder)
    stepped = [chain.step(mel) for mel in FRAMES]
    later = chain.run(FRAMES)
    chain.reset()
    first = chain.run(FRAMES)
    assert first.melody.shape == (6, 128)
    assert first.affect.valence.shape == (6,)
    for name in ("code", "melody", "chords", "dynamics", "groove"):
        np.testing.assert_array_equal(getattr(first, name), [getattr(frame, name) for frame in stepped])
    assert not np.array_equal(later.melody, first.melody)


def test_the_estimated_register_follows_another_piece_within_a_minute() -> None:
    pieces = np.repeat(np.array([0.5, -0.7], np.float32), 120)[:, np.newaxis].repeat(64, axis=1)
    mean = ContextMean()
    averaged = mean.process(pieces)
    np.testing.assert_array_equal(averaged[:, :56], pieces[:, :56])
    np.testing.assert_allclose(averaged[:120, 56], 0.5, atol=1e-6)
    np.testing.assert_allclose(averaged[150, 56], -0.7 + 1.2 * (29 / 30) ** 31, atol=1e-6)
    np.testing.assert_allclose(averaged[-1, 56], -0.7, atol=0.03)
    np.testing.assert_array_equal(averaged[:, 57:], 0)
    mean.reset()
    np.testing.assert_array_equal(np.stack([mean.process(code) for code in pieces]), averaged)
    assert pieces[-1, -1] == np.float32(-0.7), "the given codes are left as they are"


def test_a_given_emotion_skips_the_recognizer_and_uses_neutral_audio(
    folder: Path, networks: dict[str, NumpyEngine]
) -> None:
    valence, arousal = np.array([-0.5, 0.0, 0.6]), np.array([0.7, 0.1, -0.4])
    said = ModelChain.load(folder).run_affect(valence, arousal)
    codes = encode_affect(valence, arousal)
    np.testing.assert_array_equal(said.code, codes)
    np.testing.assert_allclose(said.affect.valence, valence, atol=0.002)
    np.testing.assert_allclose(said.affect.arousal, arousal, atol=0.002)
    np.testing.assert_array_equal(said.melody, networks["melodytransformer"].process(codes))
    heard = np.hstack([codes, np.full((3, 64), NEUTRAL_DECIBELS, np.float32)])
    np.testing.assert_array_equal(said.chords, networks["harmonypredictor"].process(heard))


def test_a_known_context_replaces_the_estimated_one(folder: Path, networks: dict[str, NumpyEngine]) -> None:
    context = np.array([0.4, 0, 0, -0.3, 0, 0, 0, 0], np.float32)
    heard = ModelChain.load(folder).run(FRAMES)
    given = ModelChain.load(folder).run(FRAMES, context)
    expected = heard.code.copy()
    expected[:, [56, 59]] = [0.4, -0.3]
    np.testing.assert_array_equal(given.code, expected)
    np.testing.assert_array_equal(given.melody, networks["melodytransformer"].process(expected))
    np.testing.assert_array_equal(given.affect.valence, heard.affect.valence)
    constant = ModelChain.load(folder).run_affect([0.2, 0.2], [0.1, 0.1], context)
    np.testing.assert_array_equal(constant.code, encode_affect([0.2, 0.2], 0.1, context=context))


@pytest.fixture(scope="module")
def exports(folder: Path) -> dict[str, Export]:
    return {spec.name: read_export(folder / f"{spec.file_stem}.json") for spec in MODELS}


def with_version(export: Export, version: object = None) -> Export:
    """Return an export of another version of the emotion code, or without one."""
    metadata = {key: value for key, value in export.metadata.items() if key != "code_version"}
    return replace(export, metadata=metadata | ({} if version is None else {"code_version": version}))


def test_exports_without_a_version_have_the_first_one(exports: dict[str, Export]) -> None:
    chain = ModelChain({name: with_version(export) for name, export in exports.items()})
    assert chain.code_version == 1
    assert not chain.takes_context
    chain.run(FRAMES)
    np.testing.assert_array_equal(chain.run_affect([0.5], [-0.5]).code, encode_affect([0.5], [-0.5], version=1))
    with pytest.raises(ExportError, match="version 1 of the emotion code, which has no musical context"):
        chain.run_affect([0.5], [-0.5], [0.3] * 8)


def test_models_of_different_versions_do_not_form_a_chain(exports: dict[str, Export], folder: Path) -> None:
    mixed = exports | {"MelodyTransformer": with_version(exports["MelodyTransformer"])}
    with pytest.raises(ExportError, match=r"different versions of the emotion code: .*MelodyTransformer 1") as caught:
        ModelChain(mixed)
    assert caught.value.where == str(folder)


def test_dynamics_take_the_part_of_the_code_that_all_versions_share(exports: dict[str, Export]) -> None:
    assert ModelChain(exports | {"DynamicsEngine": with_version(exports["DynamicsEngine"])}).code_version == 2


@pytest.mark.parametrize("version", [3, 0, "2", True, 2.0])
def test_a_version_that_is_not_known_is_refused(exports: dict[str, Export], version: object) -> None:
    with pytest.raises(ExportError, match=r'"code_version" is .* but must be 1 or 2') as caught:
        ModelChain(exports | {"GroovePredictor": with_version(exports["GroovePredictor"], version)})
    assert caught.value.where == str(exports["GroovePredictor"].path)


@pytest.mark.parametrize(
    "features", [{}, {NEUTRAL_INPUT: [0.0] * 64}, {NEUTRAL_INPUT: ["0"] * 128}, {NEUTRAL_INPUT: [10**400] * 128}, None]
)
def test_a_given_emotion_needs_a_recorded_neutral_input(copy: Path, features: object) -> None:
    path = edited(copy, "harmonypredictor", lambda document: document["metadata"].update(features=features))
    chain = ModelChain.load(copy)
    chain.run(FRAMES)
    with pytest.raises(ExportError, match="has no input to use without audio") as caught:
        chain.run_affect([0.0], [0.0])
    assert caught.value.where == str(path)


def test_missing_files_are_all_named(copy: Path) -> None:
    for stem in ("harmonypredictor", "groovepredictor"):
        (copy / f"{stem}.json").unlink()
    with pytest.raises(ExportError, match=r"lacks harmonypredictor\.json, groovepredictor\.json"):
        ModelChain.load(copy)
    with pytest.raises(ExportError, match="is not a folder"):
        ModelChain.load(copy / "nowhere")


def test_a_file_of_another_network_is_refused(copy: Path) -> None:
    (copy / "groovepredictor.json").unlink()
    (copy / "groovepredictor.json").symlink_to(copy / "dynamicsengine.json")
    with pytest.raises(ExportError, match=r"groovepredictor\.json: has 32 inputs and 16 outputs, not 64 inputs and 32"):
        ModelChain.load(copy)
    (copy / "groovepredictor.json").unlink()
    (copy / "groovepredictor.json").write_text("{}")
    with pytest.raises(ExportError, match=r"groovepredictor\.json"):
        ModelChain.load(copy)


def test_numbers_that_overflow_are_reported_with_their_file(copy: Path) -> None:
    def overflow(document: dict) -> None:
        for part in document["layers"][0]["weights"][0]:
            part[:] = [3e38] * len(part)

    edited(copy, "harmonypredictor", overflow)
    with pytest.raises(ExportError, match=r"harmonypredictor\.json: returned numbers that are not finite"):
        ModelChain.load(copy).run(FRAMES * 1e3)
