"""The commands ``generate``, ``features``, ``deploy`` and ``datasets demo`` as typed."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from kelly_core.data.readers.midi import read_notes
from kelly_core.engines.numpy_engine import NumpyEngine
from kelly_core.export.reader import read_export
from kelly_core.music.emotion import CONTEXT
from kelly_core.spec import MODELS
from tests.cli.conftest import CommandRunner
from tests.helpers import tiny
from tests.helpers.chain import write_chain
from tests.helpers.json_files import edited
from tests.helpers.music import RATE, chords_and_clicks, write_piece


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_chain(tmp_path_factory.mktemp("models"))


def test_audio_becomes_midi_and_a_picture(run: CommandRunner, models: Path, tmp_path: Path) -> None:
    clip = tiny.write_tone(tmp_path / "clip.wav", 6)
    output = ("-o", "out/tune.mid", "--plot", "out/tune.png", "--mkdir")
    arguments = ["generate", clip, "--models", models, "--seed", 3, *output]
    done = run.ok(*arguments)
    assert "wrote out/tune.mid" in done.out
    assert "bars" in done.out
    assert "wrote out/tune.png" in done.out
    notes = read_notes(tmp_path / "out" / "tune.mid")
    assert {"Melody", "Drums"} <= set(notes.track_names)
    first = (tmp_path / "out" / "tune.mid").read_bytes()
    run.ok(*arguments)
    assert (tmp_path / "out" / "tune.mid").read_bytes() == first
    assert (tmp_path / "out" / "tune.png").stat().st_size > 10_000


@pytest.mark.slow
def test_the_piece_follows_the_beats_and_the_key_of_the_audio(run: CommandRunner, models: Path, tmp_path: Path) -> None:
    first_bar, bpm = 0.9, 96
    soundfile.write(tmp_path / "clip.wav", chords_and_clicks(bpm, 9, "minor", first_bar), RATE)
    done = run.ok("generate", "clip.wav", "--models", models, "-o", "a.mid", "--plot", "a.png")
    assert "A minor" in done.out
    assert "the first bar begins at 0.90 s" in done.err
    notes = read_notes(tmp_path / "a.mid")
    bass = notes.select(notes.track == notes.track_names.index("Bass"))
    # Onsets 20 ms apart count as one. Every bar has a bass note on its first beat.
    bars = first_bar + 240 / bpm * np.arange(9)
    assert np.abs(bass.onset[:, np.newaxis] - bars).min(axis=0).max() < 0.02
    other = run("generate", "clip.wav", "--models", models, "-o", "b.mid", "--tempo", 48, "--key", "E", "--bars", 3)
    assert "E minor" in other.out
    assert "48 bpm" in other.out
    assert "3 bars" in other.out
    free = run("generate", "clip.wav", "--models", models, "-o", "c.mid", "--no-follow", "--tempo", 77)
    assert "C m" in free.out
    assert "77 bpm" in free.out
    assert read_notes(tmp_path / "c.mid").onset.min() < 0.1


def test_other_audio_and_another_seed_give_another_tune(run: CommandRunner, models: Path, tmp_path: Path) -> None:
    tiny.write_tone(tmp_path / "one.wav", 2, 440)
    tiny.write_tone(tmp_path / "two.wav", 2, 660)

    def tune(*arguments: object) -> bytes:
        run.ok("generate", *arguments, "--no-follow", "--models", models, "-o", "a.mid")
        return (tmp_path / "a.mid").read_bytes()

    assert tune("one.wav") == tune("one.wav")
    assert len({tune("one.wav"), tune("two.wav"), tune("one.wav", "--seed", 1)}) == 3


def test_known_descriptors_reach_the_models(run: CommandRunner, models: Path, tmp_path: Path) -> None:
    clip = tiny.write_tone(tmp_path / "clip.wav", 6)
    written = []
    for number, options in enumerate([(), ("--register", 90), ("--density", 9, "--loudness", 100)]):
        run.ok("generate", clip, "--models", models, "-o", f"{number}.mid", "--no-follow", *options)
        written.append((tmp_path / f"{number}.mid").read_bytes())
    assert len(set(written)) == 3


def test_models_without_a_context_take_a_tempo_but_no_register(
    run: CommandRunner, models: Path, tmp_path: Path
) -> None:
    for path in models.iterdir():
        (tmp_path / path.name).write_text(path.read_text().replace('"code_version":2,', ""))
    emotion = ("generate", "--valence", 0.4, "--arousal", 0.3, "--models", tmp_path)
    run.ok(*emotion, "--bpm", 90)
    assert "no musical context" in run.refused(*emotion, "--register", 60, code=1)


def test_an_emotion_or_a_curve_takes_the_place_of_audio(run: CommandRunner, models: Path, tmp_path: Path) -> None:
    plain = run.ok("generate", "--valence", 0.4, "--arousal", -0.3, "--models", models, "-o", "a.mid", "--key", "Bb")
    assert "Bb major" in plain.out
    assert "16 bars" in plain.out
    (tmp_path / "curve.csv").write_text("time,valence,arousal\n0,-0.5,0\n20,-0.5,0.5\n")
    curved = run.ok("generate", "--curve", "curve.csv", "--models", models, "-o", "b.mid", "--bpm", 96, "--bars", 5)
    assert "C minor" in curved.out
    assert "96 bpm" in curved.out
    assert "5 bars" in curved.out
    assert read_notes(tmp_path / "b.mid").bpm == pytest.approx(96, abs=0.01)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give one of AUDIO, --curve, or --valence with --arousal"),
        (["--valence", "0.5"], "give one of AUDIO"),
        (["clip.wav", "--valence", "0.5", "--arousal", "0"], "give one of AUDIO"),
        (["--valence", "0", "--arousal", "1.5"], "--arousal"),
        (["--valence", "0", "--arousal", "0", "--key", "Am"], "'Am' is not a tonic"),
        (["--valence", "0", "--arousal", "0", "--key", "C5"], "'C5' is not a tonic"),
        (["--valence", "0", "--arousal", "0", "--models", "none"], "none: is not a folder"),
        (["--valence", "0", "--arousal", "0", "-o", "file/a.mid"], "cannot be written"),
        (["missing.wav"], "missing.wav: cannot be read (No such file or directory)"),
        (["short.wav"], "audio is too short for a frame"),
        (["file"], "file is empty"),
        (["--curve", "file"], "needs rows with the columns"),
    ],
)
def test_invalid_arguments_are_explained(
    run: CommandRunner, models: Path, tmp_path: Path, arguments: list[str], words: str
) -> None:
    (tmp_path / "file").touch()
    tiny.write_tone(tmp_path / "short.wav", 0.3)
    given = arguments if "--models" in arguments else [*arguments, "--models", models]
    assert words in run.refused("generate", *given)


def test_features_prints_what_a_correctly_connected_plugin_must_compute(
    run: CommandRunner, models: Path, tmp_path: Path
) -> None:
    clip = tiny.write_tone(tmp_path / "clip.wav", 3)
    report = run.json("features", clip, "--models", models)
    networks = [NumpyEngine(read_export(models / f"{spec.file_stem}.json").layers) for spec in MODELS]
    emotion, melody, harmony, dynamics, groove = networks
    assert len(report["db"]) > 3
    registers = []
    for index, frame in enumerate(np.array(report["db"], np.float32)):
        code = emotion.step(frame)
        registers.append(code[56])
        code[CONTEXT] = [np.mean(registers), *[0] * 7]
        wanted = {
            "code": code,
            "melody": melody.step(code),
            "chords": harmony.step(np.concatenate([code, frame[:64]])),
            "dynamics": dynamics.step(code[:32]),
            "groove": groove.step(code),
        }
        assert report["chain"].keys() == wanted.keys()
        for name, values in wanted.items():
            np.testing.assert_allclose(report["chain"][name][index], values, rtol=0, atol=2e-6, err_msg=name)
    assert set(report["context"]) == {"register", "density", "loudness", "tempo", "mode"}
    assert report["context"]["register"]["value"] == pytest.approx(np.mean(registers), abs=1e-6)
    assert "add --json" in run.refused("features", clip, "--models", models, code=2)


def test_features_of_a_midi_file_are_measures_of_music(run: CommandRunner, models: Path) -> None:
    run("generate", "--valence", 0.4, "--arousal", 0, "--models", models, "-o", "a.mid")
    report = run.json("features", "a.mid")
    assert report["measures"].keys() == report["pop909"].keys()
    assert "motifs repeated" in run("features", "a.mid").out
    assert "reads audio, not MIDI" in run.refused("features", "a.mid", "--models", models, "--json", code=2)


@pytest.mark.slow
def test_deploy_copies_and_reports_the_files(run: CommandRunner, models: Path, tmp_path: Path) -> None:
    done = run.json("deploy", models, "--to", "plugin", "--mkdir")
    assert done["deployed"]
    assert [file["status"] for file in done["files"]] == ["new"] * 5
    assert [file["model"] for file in done["files"]] == [spec.name for spec in MODELS]
    assert len(list((tmp_path / "plugin").iterdir())) == 5


def _edit_trained_on(folder: Path, **entries: object) -> None:
    for path in folder.glob("*.json"):
        with edited(path) as document:
            document["metadata"]["trained_on"] |= entries


def test_deploying_refuses_synthetic_exports_unless_they_are_allowed(
    run: CommandRunner, models: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(models, tmp_path / "models"))
    _edit_trained_on(folder, synthetic=True)
    (tmp_path / "plugin").mkdir()
    refused = " ".join(run.refused("deploy", "models", "--to", "plugin", code=1).split())
    assert "expected an export trained on a real corpus, got one trained on synthetic data" in refused
    assert "--allow-synthetic" in refused
    assert not list((tmp_path / "plugin").iterdir())
    run.ok("deploy", "models", "--to", "plugin", "--allow-synthetic")


def test_deploy_names_models_trained_on_non_commercial_data(run: CommandRunner, models: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(models, tmp_path / "models"))
    licenses = {"maestro": "CC BY-NC-SA 4.0, non-commercial", "groove_midi": "CC BY 4.0"}
    _edit_trained_on(folder, synthetic=False, licences=licenses)
    done = run.json("deploy", "models", "--to", "plugin", "--mkdir")
    assert done["files"][0]["non_commercial"] == ["maestro"]
    assert "trained on non-commercial data (maestro)" in run("deploy", "models", "--to", "plugin").err
    run("report", "models")
    page = (tmp_path / "models/report.md").read_text()
    assert "trained on non-commercial data: maestro" in page
    assert "groove_midi: CC BY 4.0" in page


def test_deploy_gives_the_reasons_for_a_refusal(run: CommandRunner, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "groovepredictor.json").write_text("{")
    (tmp_path / "plugin").mkdir()
    shown = run("deploy", "models", "--to", "plugin")
    assert shown.code == 1
    assert "refused" in shown.out
    assert "No such file" in shown.err
    assert "truncated" in shown.err
    assert "nothing was copied" in shown.err
    report = run.json("deploy", "models", "--to", "plugin", code=1)
    assert not report["deployed"]
    assert "readable" in report["files"][0]["failed"]
    assert not list((tmp_path / "plugin").iterdir())


def test_the_demo_corpus_is_found_by_datasets(run: CommandRunner) -> None:
    assert "demo/groove_midi: 8 songs" in run.ok("datasets", "demo", "demo", "--songs", 8).out
    report = run.json("datasets", "--datasets-dir", "demo")["datasets"]
    assert [(corpus["found"], corpus["files"], corpus["skipped"]) for corpus in report[:5]] == [(True, 8, {})] * 5
    assert not any(corpus["found"] for corpus in report[5:])
    assert not any(corpus["warnings"] for corpus in report)
    assert "demo/deam: already exists" in run.refused("datasets", "demo", "demo", code=1)
    run.ok("datasets", "demo", "--help")


def test_the_chain_is_measured_from_audio(run: CommandRunner, models: Path, tmp_path: Path) -> None:
    for number in range(2):
        write_piece(tmp_path / "songs", f"piece {number}", number)
    files = run.json("validate", models, "--chain", "songs")["files"]
    quality = {each["model"]: each.get("chain") for each in files}
    assert quality["EmotionRecognizer"] is None
    assert all(quality[spec.name]["pieces"] == 2 for spec in MODELS[1:])
    shown = run("validate", models, "--chain", "songs").out
    assert "from audio: nats per beat" in shown
    assert "control, not quality" in shown
    assert "Quality from audio" in run("report", models, "--chain", "songs", "--text").out
    assert run("validate", models, "--chain", "nowhere").code == 1


def test_a_chain_needs_all_exports_in_one_folder(run: CommandRunner, models: Path, tmp_path: Path) -> None:
    files = (models, shutil.copy(models / "groovepredictor.json", tmp_path))
    assert "several folders" in run.refused("validate", *files, "--chain", models, code=2)
