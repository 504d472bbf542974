"""Features: speed of computing and reading them, and memory use as a corpus grows.

The corpora are read from the datasets folder of the settings (KELLY_DATASETS_DIR=… selects another); the demo corpus
replaces missing ones. Large corpora consist of transposed copies of Lakh's files, distinguished by a marker. A
measurement "per core" uses processor time, so it does not depend on other programs; other times are the best of
several. Each measurement runs in a new process.
"""

from __future__ import annotations

import contextlib
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

import numpy as np
import psutil

from benchmarks.measurements import Measurement, main, measured
from kelly_core.config.loading import load_settings
from kelly_core.data import create_dataset
from kelly_core.data.catalog import is_present
from kelly_core.data.corpora import lakh_midi
from kelly_core.data.files import find_files
from kelly_core.data.readers.audio import SUFFIXES
from kelly_core.data.readers.midi import SUFFIXES as MIDI_SUFFIXES
from kelly_core.demo.corpus import write_demo
from kelly_core.music.context import NAMES
from kelly_core.music.melody import PITCHES, SEQUENCE_BEATS

CORPORA = ("lakh_midi", "maestro", "groove_midi", "deam")
FILES_PER_SECOND = {"lakh_midi": 500, "maestro": 300, "groove_midi": 300}
TIMES_REAL_TIME = 300
AUDIO_SECONDS = 45.0

SIZES = (1_000, 4_000, 16_000)
"""Files in a corpus of 1×, 4× and 16×."""
LAKH_FILES = 176_581
EXAMPLES = 100_000
EXAMPLES_PER_FILE = 4
SECONDS_TO_START = 2.0
GROWTH = 1.5
"""Maximum growth factor of peak memory, and of the time per file, allowed for 16 times the corpus."""

DRAWN = 1024
ROUNDS = 3
MB = 1e6

Result = TypeVar("Result")


def measure() -> list[Measurement]:
    """Return all measurements."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        roots = corpora(folder / "demo")
        return [*speeds(roots, folder), *growth(roots["lakh_midi"], folder), cached_start(folder)]


def corpora(demo: Path) -> dict[str, Path]:
    """Return the folder of each corpus: the real one, or a demo corpus that is created if it is missing."""
    datasets = load_settings(None, {}).settings.datasets
    roots = {name: datasets.folder(name) for name in CORPORA}
    missing = [name for name, root in roots.items() if not is_present(name, root)]
    if missing:
        write_demo(demo)
    return roots | {name: demo / name for name in missing}


def speeds(roots: dict[str, Path], folder: Path) -> list[Measurement]:
    """Measure files per second from an empty cache to a dataset, and seconds of audio per second, on one core."""
    measurements = []
    for name, wanted in FILES_PER_SECOND.items():
        files, seconds = alone(cold_start, name, roots[name], folder)
        note = f"{files} files of {kind(roots[name], folder)}"
        measurements.append(
            Measurement.at_least(f"{name}: features per core", files / seconds, "files/s", wanted, note)
        )
    files, seconds = alone(cold_start, "deam", roots["deam"], folder)
    recorded = audio_seconds(roots["deam"])
    note = f"{recorded:.0f} s of audio in {files} files of {kind(roots['deam'], folder)}, decoding included"
    measurements.append(
        Measurement.at_least("audio: features per core", recorded / seconds, "× real time", TIMES_REAL_TIME, note)
    )
    return measurements


def kind(root: Path, folder: Path) -> str:
    """Return a readable name of the corpus."""
    return "the demo corpus" if root.is_relative_to(folder) else "the real corpus"


def cold_start(name: str, root: Path, folder: Path) -> tuple[int, float]:
    """Return files computed and processor seconds from an empty cache to a dataset; the first round warms up."""
    computed = 0

    def count(_done: int, total: int) -> None:
        nonlocal computed
        computed = total

    seconds = []
    for _ in range(ROUNDS + 1):
        with tempfile.TemporaryDirectory(dir=folder) as cache:
            started = time.process_time()
            create_dataset(name, root, cache_dir=Path(cache), jobs=1, progress=count)
            seconds.append(time.process_time() - started)
    return computed, min(seconds[1:])


def audio_seconds(root: Path) -> float:
    """Return the seconds of audio that are read from a folder."""
    import soundfile

    durations = [float(soundfile.info(root / name).duration) for name in find_files(root, SUFFIXES)]
    return sum(min(duration, AUDIO_SECONDS) for duration in durations)


@dataclass(frozen=True)
class Preparation:
    """Time and memory to prepare a corpus and to draw one epoch from it.

    Attributes:
        files, examples: size of the corpus.
        seconds: processor time with an empty cache.
        memory: peak memory of the process during preparation, including Python and its libraries, in bytes.
        cache: bytes on disk.
        drawing: maximum increase of the process's memory (without mapped files) during drawing, in bytes.
    """

    files: int
    examples: int
    seconds: float
    memory: float
    cache: int
    drawing: float


def growth(root: Path, folder: Path) -> list[Measurement]:
    """Measure memory, time and disk of corpora of 1×, 4× and 16×, and estimate them for the complete Lakh corpus."""
    small, _, large = rows = [alone(prepare, root, folder, files) for files in SIZES]
    features = (large.cache - small.cache) / (large.files - small.files)
    measurements = [
        Measurement(f"{row.files:,} files: peak memory", row.memory / MB, "MB", note=f"cache {row.cache / MB:.1f} MB")
        for row in rows
    ]
    bookkeeping = (large.memory - small.memory) / (large.files - small.files)
    note = f"{bookkeeping / 1e3:.2f} kB per file: names, stamps, groups; its features have {features / 1e3:.1f} kB"
    measurements.append(
        Measurement.at_most("peak memory of 16× over that of 1×", large.memory / small.memory, "×", GROWTH, note)
    )
    slower = (large.seconds / large.files) / (small.seconds / small.files)
    measurements.append(Measurement.at_most("time of a file in 16× over that in 1×", slower, "×", GROWTH))
    note = f"16× adds {(large.drawing - small.drawing) / MB:.1f} MB to that of 1×"
    measurements.append(
        Measurement(f"memory to draw an epoch, {DRAWN} examples at a time", large.drawing / MB, "MB", note=note)
    )
    note = f"computed from {large.files:,} files"
    minutes = large.seconds / large.files * LAKH_FILES / 60
    memory = small.memory + bookkeeping * (LAKH_FILES - small.files)
    return [
        *measurements,
        Measurement("Lakh complete: time on one core", minutes, "min", note=note),
        Measurement("Lakh complete: cache", features * LAKH_FILES / MB, "MB", note=note),
        Measurement("Lakh complete: peak memory", memory / MB, "MB", note=note),
    ]


def prepare(root: Path, folder: Path, files: int) -> Preparation:
    """Create a corpus of ``files`` files, extract its features without a cache, and draw an epoch."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        corpus, cache = Path(name) / "corpus", Path(name) / "cache"
        alone(write_corpus, root, corpus, files)
        create_dataset("lakh_midi", root, cache_dir=Path(name) / "warm", jobs=1, max_files=8)
        started = time.process_time()
        dataset = create_dataset("lakh_midi", corpus, cache_dir=cache, jobs=1)
        seconds, memory = time.process_time() - started, peak_memory()
        before = own_memory()
        drawing = max(own_memory() for _ in epoch(dataset)) - before
        size = sum(path.stat().st_size for path in cache.rglob("*"))
        return Preparation(files, len(dataset), seconds, memory, size, drawing)


def epoch(dataset: Any) -> Iterator[Any]:
    """Yield batches of all training examples in random order."""
    rng = np.random.default_rng(0)
    order = rng.permutation(dataset.train)
    for start in range(0, len(order), DRAWN):
        yield dataset.train_batch(order[start : start + DRAWN], rng)


def write_corpus(root: Path, corpus: Path, files: int) -> None:
    """Write ``files`` files in Lakh's sixteen folders: those of ``root``, transposed, each with a different marker."""
    import symusic

    scores: list[Any] = []
    for path in (root / name for name in find_files(root, MIDI_SUFFIXES)):
        with contextlib.suppress(RuntimeError, ValueError):
            scores.append(symusic.Score(str(path)))
    for digit in "0123456789abcdef":
        (corpus / digit).mkdir(parents=True)
    for number in range(files):
        score = scores[number % len(scores)].copy()
        transpose(score, number // len(scores) % 12 - 6)
        score.markers.append(symusic.TextMeta(0, str(number)))
        (corpus / f"{number % 16:x}" / f"{number:032x}.mid").write_bytes(score.dumps_midi())


def transpose(score: Any, semitones: int) -> None:
    """Transpose all tracks except drums and those that would leave 0..127."""
    for track in score.tracks:
        pitch = track.notes.numpy()["pitch"]
        if not track.is_drum and len(pitch) and pitch.min() + semitones >= 0 and pitch.max() + semitones <= 127:
            track.shift_pitch(semitones, inplace=True)


def cached_start(folder: Path) -> Measurement:
    """Measure the seconds until a training on a corpus with cached features can start."""
    files = EXAMPLES // EXAMPLES_PER_FILE
    corpus, cache = folder / "many", folder / "cache"
    alone(fill_cache, corpus, cache, files)
    seconds = min(alone(warm_start, corpus, cache) for _ in range(ROUNDS))
    note = f"{files:,} files with random features"
    return Measurement.at_most(f"cached start of {EXAMPLES:,} examples", seconds, "s", SECONDS_TO_START, note)


def fill_cache(corpus: Path, cache: Path, files: int) -> None:
    """Create a cache of ``files`` files with random features, without any music."""
    rng = np.random.default_rng(0)
    for number in range(files):
        path = corpus / f"{number % 16:x}" / f"{number:032x}.mid"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(number))

    def random_features(_path: Path) -> dict[str, Any]:
        shape = (EXAMPLES_PER_FILE, SEQUENCE_BEATS, PITCHES // 8)
        return {
            "steps": rng.integers(0, 256, shape, np.uint8),
            "content": rng.integers(1, 2**63, EXAMPLES_PER_FILE, np.uint64),
            "length": np.full(EXAMPLES_PER_FILE, SEQUENCE_BEATS),
            "affect": rng.random((1, 5)),
            "context": np.full((1, len(NAMES)), np.nan),
            "kind": np.zeros(1, np.int64),
        }

    with patch.object(lakh_midi, "_extract", random_features):
        create_dataset("lakh_midi", corpus, cache_dir=cache, jobs=1)


def warm_start(corpus: Path, cache: Path) -> float:
    """Return the seconds to create a dataset whose features are all cached."""
    started = time.perf_counter()
    dataset = create_dataset("lakh_midi", corpus, cache_dir=cache)
    seconds = time.perf_counter() - started
    assert len(dataset) == EXAMPLES
    return seconds


def alone(function: Callable[..., Result], *arguments: Any) -> Result:
    """Return the function's result, computed in a new process."""
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        return process.submit(function, *arguments).result()


def peak_memory() -> float:
    """Return the peak memory of this process in bytes; unlike getrusage, /proc does not include the parent's."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    peaks = [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")]
    unit = 1 if sys.platform == "darwin" else 1024
    return peaks[0] if peaks else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def own_memory() -> float:
    """Return the resident memory of this process in bytes, without mapped files if the system reports them."""
    memory = psutil.Process().memory_info()
    return float(memory.rss - getattr(memory, "shared", 0))


if __name__ == "__main__":
    main(partial(measured, measure), __doc__)
