"""From rules to music: networks trained on the demo corpus for seconds move the music where the rules say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kelly_core.chain import ModelChain
from kelly_core.composition.composer import compose
from kelly_core.composition.score import Score
from kelly_core.config.loading import load_settings
from kelly_core.data.readers.audio import read_audio
from kelly_core.demo.corpus import write_demo
from kelly_core.events import Event, Listener, ModelResult, TrainingWarning
from kelly_core.music.chords import minor_share
from kelly_core.music.mel import mel_frames
from kelly_core.spec import MODELS
from kelly_core.training.pipeline import train_model
from tests.seeds import shifted

SONGS = 80
CORNERS = ((-0.6, -0.6), (-0.6, 0.6), (0.6, -0.6), (0.6, 0.6))


def train_on(datasets: Path, output: Path, listen: Listener) -> list[ModelResult]:
    options = {
        "datasets.dir": datasets,
        "datasets.cache_dir": output / "cache",
        "training.seed": shifted(0),
        "output.dir": output,
        "output.plots": False,
    }
    config = datasets / "config.toml"
    settings = load_settings(config, {key: ("test", value) for key, value in options.items()}, {}).settings
    return [train_model(settings, spec, listen=listen) for spec in MODELS]


def pieces(chain: ModelChain, valence: float, arousal: float) -> list[Score]:
    chain.reset()
    said = chain.run_affect(np.full(32, valence), np.full(32, arousal))
    return [compose(said, bars=16, seed=shifted(seed)) for seed in range(4)]


def velocity(score: Score) -> float:
    return float(np.mean([note.velocity for part in score.parts for note in part.notes]))


def notes_per_second(score: Score) -> float:
    return sum(len(part.notes) for part in score.parts) / score.seconds


@pytest.mark.slow
def test_networks_trained_on_the_demo_follow_its_rules(tmp_path: Path) -> None:
    datasets, models = tmp_path / "datasets", tmp_path / "models"
    write_demo(datasets, songs=SONGS, seed=shifted(0))
    events: list[Event] = []
    results = train_on(datasets, models, events.append)
    assert not any(result.error or result.synthetic for result in results)
    check_gains(results)
    assert not [event for event in events if isinstance(event, TrainingWarning) and event.kind == "leak"]
    chain = ModelChain.load(models)
    check_corners(chain)
    check_hearing(chain, datasets / "deam")


def check_gains(results: list[ModelResult]) -> None:
    """Every model is better than the best constant."""
    gains = [1 - r.metrics["val_loss"] / r.metrics["baseline_loss"] for r in results]
    assert all(gain > least for gain, least in zip(gains, (0.25, 0.02, 0.01, 0.4, 0.4), strict=True)), gains


def check_corners(chain: ModelChain) -> None:
    """Mode, density and loudness of opposite corners do not even overlap."""
    scores = {corner: pieces(chain, *corner) for corner in CORNERS}
    for arousal in (-0.6, 0.6):
        dark, bright = ([minor_share(score.chords) for score in scores[v, arousal]] for v in (-0.6, 0.6))
        assert min(dark) > max(bright)
    for valence in (-0.6, 0.6):
        for measure in (velocity, notes_per_second):
            calm, wild = ([measure(score) for score in scores[valence, a]] for a in (-0.6, 0.6))
            assert min(wild) > 1.1 * max(calm)


def check_hearing(chain: ModelChain, deam: Path) -> None:
    """The recognizer outputs the arousal that a recording was made with."""
    meant, heard = [], []
    for row in (deam / "annotations" / "annotations.csv").read_text().splitlines()[1::3]:
        number, _, _, arousal, _ = row.split(",")
        chain.reset()
        said = chain.run(mel_frames(*read_audio(deam / "audio" / f"{number}.wav", 60)))
        meant.append(float(arousal))
        heard.append(float(said.affect.arousal[-1]))
    assert np.corrcoef(meant, heard)[0, 1] > 0.8
