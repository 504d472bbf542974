"""Chord files with odd content: one odd entry costs that entry."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kelly_core.data import tables
from kelly_core.data.corpora.chords import HarmonyDataset, load
from kelly_core.data.corpus_dataset import LoadOptions
from kelly_core.data.tables import stream_json_list
from kelly_core.errors import DataError
from tests.seeds import seeded_rng, shifted

HUGE = 10**400
GOOD: list[Any] = [
    {
        "chords": ["C", "F", "G7", "Am", "Dm7", "C"],
        "durations": [1, 2.5, 1, 4, 1, 2],
        "source": "first",
        "emotion": {"valence": 0.3, "arousal": -0.2},
    },
    {"chords": ["Am", "F", "C", "G"], "4Q": 3, "source": "second"},
    ["Dm", "G7", "Cmaj7", "Bdim", "E7", "Am"],
    {"progression": ["N", "Eb", "Bb7", "Eb"], "source": "fourth"},
]


def load_text(folder: Path, text: str | bytes) -> HarmonyDataset:
    path = folder / "chord_progressions.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    return load(path, LoadOptions(cache_dir=folder))


def check_numbers(dataset: HarmonyDataset) -> None:
    """All examples are finite, and their targets are distributions."""
    everything = np.arange(len(dataset))
    for batch in (dataset.eval_batch(everything), dataset.train_batch(everything, seeded_rng(0))):
        assert np.isfinite(batch.inputs).all()
        assert np.isfinite(batch.targets).all()
        assert np.isfinite(batch.weights).all()
        assert (batch.targets >= 0).all()
        np.testing.assert_allclose(batch.targets.astype(np.float64).sum(axis=-1), 1, rtol=0, atol=1e-6)


def check_report(dataset: HarmonyDataset) -> None:
    """Assert that the report's text can be shown anywhere."""
    report = dataset.report
    names = [name for listed in report.skipped.values() for name in listed]
    for text in [*report.skipped, *names, *dataset.rows.groups]:
        assert text.isprintable()
        assert len(text) <= 600
        text.encode()


ODD_ENTRIES = {
    "4Q is a list": ({"chords": ["C", "F", "G", "C"], "4Q": [1]}, "4Q is not"),
    "4Q is an object": ({"chords": ["C", "F", "G", "C"], "4Q": {"Q": 1}}, "4Q is not"),
    "4Q is true": ({"chords": ["C", "F", "G", "C"], "4Q": True}, "4Q is not"),
    "4Q is huge": ({"chords": ["C", "F", "G", "C"], "4Q": HUGE}, "4Q is not"),
    "4Q is null": ({"chords": ["C", "F", "G", "C"], "4Q": None}, "4Q is not"),
    "4Q is NaN": ({"chords": ["C", "F", "G", "C"], "4Q": float("nan")}, "4Q is not"),
    "duration huge": ({"chords": ["C", "F", "G", "C"], "durations": [1, 1, 1, HUGE]}, "durations"),
    "duration infinite": ({"chords": ["C", "F", "G", "C"], "durations": [1, 1, 1, float("inf")]}, "durations"),
    "duration NaN": ({"chords": ["C", "F", "G", "C"], "durations": [1, 1, 1, float("nan")]}, "durations"),
    "duration 0": ({"chords": ["C", "F", "G", "C"], "durations": [1, 1, 1, 0]}, "durations"),
    "duration below 0": ({"chords": ["C", "F", "G", "C"], "durations": [1, 1, 1, -1]}, "durations"),
    "duration true": ({"chords": ["C", "F", "G", "C"], "durations": [1, 1, 1, True]}, "durations"),
    "duration text": ({"chords": ["C", "F", "G", "C"], "durations": [1, 1, 1, "1"]}, "durations"),
    "sum of durations": ({"chords": ["C", "F", "G", "C"], "durations": [1e308, 1e308, 1e308, 1]}, "durations"),
    "duration next to 0": ({"chords": ["C", "F", "G", "C"], "durations": [5e-324] * 4}, "durations"),
    "durations missing": ({"chords": ["C", "F", "G", "C"], "durations": [1]}, "durations"),
    "durations an object": ({"chords": ["C", "F", "G", "C"], "durations": {"0": 1}}, "durations"),
    "valence huge": ({"chords": ["C", "F", "G", "C"], "emotion": {"valence": HUGE, "arousal": 0}}, "valence"),
    "arousal NaN": ({"chords": ["C", "F", "G", "C"], "emotion": {"valence": 0, "arousal": float("nan")}}, "valence"),
    "valence beyond 1": ({"chords": ["C", "F", "G", "C"], "emotion": {"valence": 1.1, "arousal": 0}}, "valence"),
    "emotion a list": ({"chords": ["C", "F", "G", "C"], "emotion": [0, 0]}, "valence"),
    "emotion null": ({"chords": ["C", "F", "G", "C"], "emotion": None}, "valence"),
    "source a list": ({"chords": ["C", "F", "G", "C"], "source": ["a"]}, "source"),
    "source a number": ({"chords": ["C", "F", "G", "C"], "source": HUGE}, "source"),
    "source half a pair": ({"chords": ["C", "F", "G", "C"], "source": "bad \ud83c name"}, "source"),
    "source endless": ({"chords": ["C", "F", "G", "C"], "source": "x" * 100_000}, "source"),
    "chords an object": ({"chords": {"0": "C"}}, "chord symbols"),
    "chords text": ({"chords": "C F G C"}, "chord symbols"),
    "chords numbers": ({"chords": [1, 2, 3, 4]}, "chord symbols"),
    "chords null": ({"chords": None}, "chord symbols"),
    "an empty object": ({}, "chord symbols"),
    "null": (None, "chord symbols"),
    "a number": (HUGE, "chord symbols"),
    "deep": (["C", [[[["F"]]]], "G", "C"], "chord symbols"),
    "too short": (["C"], "fewer than"),
}


@pytest.mark.parametrize(("entry", "reason"), ODD_ENTRIES.values(), ids=ODD_ENTRIES)
def test_an_invalid_entry_is_skipped(tmp_path: Path, entry: object, reason: str) -> None:
    dataset = load_text(tmp_path, json.dumps([*GOOD[:2], entry, *GOOD[2:]]))
    assert len(dataset) == len(GOOD)
    assert dataset.report.files == len(GOOD) + 1
    ((text, names),) = dataset.report.skipped.items()
    assert reason in text
    assert len(names) == 1
    check_numbers(dataset)
    check_report(dataset)


@pytest.mark.parametrize("symbol", ["\x1b[2J", "\ud83c", "C\x07", "C\u202e", "C" * 100_000, "C\n7", "\u2028", ""])
def test_an_odd_symbol_is_left_out_and_shown_escaped(tmp_path: Path, symbol: str) -> None:
    dataset = load_text(tmp_path, json.dumps([*GOOD, ["C", "F", symbol, "G", "C"]]))
    assert len(dataset) == len(GOOD) + 1
    ((_, names),) = dataset.report.skipped.items()
    assert len(names) == 1
    check_numbers(dataset)
    check_report(dataset)


def test_control_characters_in_a_name_are_escaped(tmp_path: Path) -> None:
    entry = {"chords": ["C", "F", "G", "C"], "source": "evil \x1b[31mred\x07"}
    dataset = load_text(tmp_path, json.dumps([*GOOD, entry]))
    assert r"evil \x1b[31mred\x07" in dataset.rows.groups
    check_report(dataset)


def test_a_number_of_many_digits_skips_its_entry(tmp_path: Path) -> None:
    entry = '{"chords": ["C", "F", "G", "C"], "durations": [1, 1, 1, %s]}' % ("9" * 10_000)
    dataset = load_text(tmp_path, f"[{', '.join(map(json.dumps, GOOD))}, {entry}]")
    assert len(dataset) == len(GOOD)


def test_extreme_durations_within_the_bounds_give_distributions(tmp_path: Path) -> None:
    entries = [
        {"chords": ["C", "F", "G", "C"], "durations": [1e9, 1e-6, 1e9, 1e-6]},
        {"chords": ["C", "F", "G", "C"], "durations": [1e-6] * 4},
        {"chords": ["N", "N", "N", "N"], "durations": [1e9] * 4},
    ]
    dataset = load_text(tmp_path, json.dumps([*GOOD, *entries]))
    assert len(dataset) == len(GOOD) + 3
    check_numbers(dataset)


@pytest.mark.parametrize(
    "text",
    [b"[" * 200_000, b'[{"a":' * 50_000, b"\xff\xfe\x00", b'["\\ud8', b"[NaN]", b"[[]]", b"{}", b"[]", b"\x00", b"",
     b"{", b"3", b'{"songs": []}', b'[{"chords": "C F"}]'],
)  # fmt: skip
def test_a_file_without_any_song_is_refused(tmp_path: Path, text: bytes) -> None:
    with pytest.raises(DataError) as caught:
        load_text(tmp_path, text)
    assert len(str(caught.value)) < 1000


WILD: list[Any] = [
    None, True, False, 0, -1, 1, 5, 1e308, -1e308, 5e-324, float("nan"), float("inf"), -float("inf"), HUGE, -HUGE, "",
    "C", "N", "\x1b[2J", "\ud83c", "x" * 1000, [], {}, [[]], {"": {}}, [1, 2], ["C", "F", "G", "C"], {"valence": 0},
    {"valence": float("nan"), "arousal": 0}, {"chords": ["C", "C", "C", "C"]}, 2**63, 1.5,
]  # fmt: skip


def _mutate(document: Any, rng: random.Random) -> Any:
    """A copy with one value, anywhere, replaced, removed, repeated or moved to another key."""
    document = copy.deepcopy(document)
    place, parents = document, []
    while isinstance(place, dict | list) and place and (not parents or rng.random() < 0.75):
        key = rng.choice(list(place)) if isinstance(place, dict) else rng.randrange(len(place))
        parents.append((place, key))
        place = place[key]
    if not parents:
        return rng.choice(WILD)
    parent, key = parents[-1]
    action = rng.randrange(4)
    if action == 0 or (action == 3 and isinstance(parent, list)):
        parent[key] = rng.choice(WILD)
    elif action == 1:
        del parent[key]
    elif action == 2:
        parent[key] = [place] * rng.randrange(4)
    else:
        parent[rng.choice(["chords", "durations", "emotion", "4Q", "source", "progression", "\ud83c"])] = place
    return document


@pytest.mark.parametrize("seed", range(8))
def test_a_mutated_file_is_refused_or_gives_finite_batches(tmp_path: Path, seed: int) -> None:
    rng = random.Random(shifted(seed))
    loaded = 0
    for _ in range(60):
        document: Any = GOOD
        for _ in range(rng.randrange(1, 4)):
            document = _mutate(document, rng)
        text = json.dumps(document)
        if rng.random() < 0.1:
            start = rng.randrange(len(text))
            text = text[:start] + rng.choice(["", "[", "}", "\\", '"', "1e999", "-", "\x00"]) + text[start + 1 :]
        try:
            dataset = load_text(tmp_path, text)
        except DataError as error:
            str(error).encode()
            continue
        loaded += 1
        check_numbers(dataset)
        check_report(dataset)
    assert loaded > 20


def test_the_odd_files_cost_what_is_odd(shared_cases: Path, tmp_path: Path) -> None:
    files = sorted((shared_cases / "chords_json").glob("*.json"))
    assert files
    for path in files:
        entries = json.loads(path.read_text(encoding="utf-8"))
        dataset = load_text(tmp_path, json.dumps([*GOOD, *entries]))
        assert len(GOOD) < len(dataset), path.name
        assert dataset.report.skipped, path.name
        check_numbers(dataset)
        check_report(dataset)


class TestStreamedLists:
    """Elements of a JSON list, read through a window much smaller than the file."""

    @pytest.fixture(autouse=True)
    def window(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tables, "_WINDOW_CHARACTERS", 2)

    @pytest.mark.parametrize(
        "elements", [[], [1], [12345, -1.5e3, 'a,]\\" é\U0001f3b5', None, [[]], {"a": [1, {"b": "]"}]}], [[1, 2]] * 50]
    )
    @pytest.mark.parametrize("indent", [None, 3])
    def test_they_are_those_of_the_whole_list(self, tmp_path: Path, elements: list[object], indent: int | None) -> None:
        path = tmp_path / "list.json"
        path.write_text("\ufeff \n" + json.dumps(elements, indent=indent, ensure_ascii=False) + "\n ", encoding="utf-8")
        assert list(stream_json_list(path)) == elements

    @pytest.mark.parametrize(
        "text",
        [b"", b"3", b'{"a": 1}', b"[", b"[1", b"[1,", b"[1,]", b"[1 2]", b"[1}", b"[,1]", b"[1] 2", b"[nul]", b'["a',
         b"[" * 100_000],
    )  # fmt: skip
    def test_damage_is_a_data_error(self, tmp_path: Path, text: bytes) -> None:
        path = tmp_path / "list.json"
        path.write_bytes(text)
        with pytest.raises(DataError):
            list(stream_json_list(path))

    def test_the_window_is_bounded(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tables, "_MAX_ELEMENT", 1000)
        (tmp_path / "list.json").write_text('["' + "x" * 10_000 + '"]')
        with pytest.raises(DataError, match="more than 1,000 characters"):
            list(stream_json_list(tmp_path / "list.json"))


def test_a_row_that_is_not_csv_text_is_skipped(tmp_path: Path) -> None:
    sound = '{},"C G Amin F",x{}\n'
    rows = [
        sound.format(1, 1),
        f'2,"{"C " * 100_000}",x2\n',
        f"3,{'y' * 3_000_000}\n",
        *(sound.format(n, n) for n in "456"),
    ]
    (tmp_path / "chordonomicon.csv").write_text("id,chords,spotify_song_id\n" + "".join(rows))
    report = load(tmp_path, LoadOptions(cache_dir=tmp_path)).report
    assert report.examples == 4
    assert set(report.skipped) <= {"not CSV text", "no chords"}
    assert "not CSV text" in report.skipped
