"""The chain runs on rendered pieces, and its outputs are compared with their notes."""

from __future__ import annotations

from pathlib import Path

import mido
import numpy as np
import pytest

from kelly_core.chain import ModelChain
from kelly_core.errors import DataError
from kelly_core.evaluation import from_audio
from kelly_core.evaluation.from_audio import evaluate_chain, find_pairs
from kelly_core.spec import MODELS
from tests.helpers.chain import write_chain
from tests.helpers.music import write_piece


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pieces")
    for number in range(3):
        write_piece(folder, f"piece {number}", number)
    write_piece(folder, "without drums", 3, drums=False)
    (folder / "alone.wav").write_bytes((folder / "piece 0.wav").read_bytes())
    (folder / "alone too.mid").write_bytes((folder / "piece 0.mid").read_bytes())
    return folder


def test_every_model_behind_the_recognizer_is_measured_beside_the_marginal(pieces: Path, tmp_path: Path) -> None:
    pairs = find_pairs(pieces)
    assert [pair.name for pair in pairs] == ["piece 0", "piece 1", "piece 2", "without drums"]
    quality = evaluate_chain(ModelChain.load(write_chain(tmp_path)), pairs)
    assert set(quality) == {spec.name for spec in MODELS[1:]}
    assert {name: each.pieces for name, each in quality.items()} == {
        "MelodyTransformer": 4,
        "HarmonyPredictor": 4,
        "DynamicsEngine": 4,
        "GroovePredictor": 3,
    }
    for name, each in quality.items():
        assert not each.marginal.beaten, "random networks know nothing"
        assert f"not better than the {each.marginal.name} from audio" in each.summary()
        assert (each.control is None) == (name == "DynamicsEngine"), "it takes no context"
        for measure in each.primary:
            assert np.isfinite(each.metrics[measure])
            assert np.isfinite(each.marginal.metrics[measure])
    marginal = quality["MelodyTransformer"].marginal.metrics["nats_per_beat"]
    assert 1.0 < marginal < 4.0, "one of four pitches in each beat"


def test_the_marginal_of_the_training_examples_is_a_baseline_too(pieces: Path, tmp_path: Path) -> None:
    chain = ModelChain.load(write_chain(tmp_path))
    beats = [from_audio._score_piece(chain, pair)["MelodyTransformer"].targets for pair in find_pairs(pieces)]
    chain.marginals["MelodyTransformer"] = np.concatenate(beats).mean(axis=0)
    marginal = evaluate_chain(chain, find_pairs(pieces))["MelodyTransformer"].marginal
    assert marginal.name == "marginal of the training examples", "no constant is better on these pieces"
    chain.marginals["MelodyTransformer"] = np.full(128, 0.5, np.float32)
    marginal = evaluate_chain(chain, find_pairs(pieces))["MelodyTransformer"].marginal
    assert marginal.name == "marginal of the other pieces"


def test_the_melody_is_that_of_the_whole_piece(pieces: Path, tmp_path: Path) -> None:
    (tmp_path / "songs").mkdir()
    for name in ("piece 0", "piece 1"):
        file = mido.MidiFile(pieces / f"{name}.mid")
        start = 45 * file.ticks_per_beat
        named = [mido.MetaMessage("track_name", name="Melody"), mido.Message("note_on", note=72, time=start)]
        file.tracks.append(mido.MidiTrack([*named, mido.Message("note_off", note=72, time=480)]))
        file.save(tmp_path / f"songs/{name}.mid")
        (tmp_path / f"songs/{name}.wav").write_bytes((pieces / f"{name}.wav").read_bytes())
    found = evaluate_chain(ModelChain.load(write_chain(tmp_path)), find_pairs(tmp_path / "songs"))
    assert "HarmonyPredictor" in found
    assert "MelodyTransformer" not in found, "it begins at 18 s, when the recordings are over"


def test_the_answers_do_not_depend_on_the_order_of_the_pieces(pieces: Path, tmp_path: Path) -> None:
    chain = ModelChain.load(write_chain(tmp_path))
    pairs = find_pairs(pieces)
    forth, back = evaluate_chain(chain, pairs), evaluate_chain(chain, pairs[::-1])
    for name, each in forth.items():
        for measure in each.primary:
            assert each.metrics[measure] == pytest.approx(back[name].metrics[measure], rel=1e-9)


def test_pairs_must_be_clear(pieces: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a folder"):
        find_pairs(tmp_path / "nowhere")
    (tmp_path / "one.wav").write_bytes((pieces / "piece 0.wav").read_bytes())
    (tmp_path / "one.mid").write_bytes((pieces / "piece 0.mid").read_bytes())
    with pytest.raises(DataError, match="contains 1 recordings with a MIDI file of the same stem, not 2 or more"):
        find_pairs(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/one.mid").write_bytes((pieces / "piece 0.mid").read_bytes())
    with pytest.raises(DataError, match="several recordings or MIDI files are called one"):
        find_pairs(tmp_path)
