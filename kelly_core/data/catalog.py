"""The five corpora: where each comes from, whether it is here, and the dataset that stands for it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kelly_core.config import Settings
from kelly_core.data.cache import Progress
from kelly_core.data.corpus import AudioContext, CorpusDataset, LoadOptions
from kelly_core.data.dataset import CorpusReport, Dataset
from kelly_core.data.deam import EmotionDataset
from kelly_core.data.synthetic import SEQUENCE_LENGTH, SyntheticDataset, create_synthetic
from kelly_core.errors import ConfigError, DataError


@dataclass(frozen=True)
class Corpus:
    """What a person needs to know of a corpus before having it.

    Attributes:
        name: its folder below the datasets folder.
        module: the loader, with ``load(root, options)`` and ``is_present(root)``.
        title: what it is and how large.
        licence: in short.
        advice: where to get it and where to put it.
    """

    name: str
    module: str
    title: str
    licence: str
    advice: str


CORPORA: dict[str, Corpus] = {
    corpus.name: corpus
    for corpus in (
        Corpus(
            "deam",
            "kelly_core.data.deam",
            "DEAM, 1,802 songs with valence and arousal, 1.3 GB",
            "Creative Commons, differs by song; treat as non-commercial",
            "Get DEAM_audio and DEAM_Annotations from cvml.unige.ch/databases/DEAM and unpack both into the folder",
        ),
        Corpus(
            "lakh_midi",
            "kelly_core.data.lakh",
            "Lakh MIDI, 176,581 songs, 6 GB",
            "CC BY 4.0 for the collection; songs belong to their authors",
            "Get lmd_full.tar.gz from colinraffel.com/projects/lmd and unpack it into the folder",
        ),
        Corpus(
            "chords",
            "kelly_core.data.chords",
            "Chord progressions, one JSON file",
            "that of the file's source",
            "Put chord_progressions.json into the folder: a list of songs, each a list of chord symbols",
        ),
        Corpus(
            "maestro",
            "kelly_core.data.maestro",
            "MAESTRO v3, 1,276 piano performances, 57 MB of MIDI",
            "CC BY-NC-SA 4.0, non-commercial",
            "Get maestro-v3.0.0-midi.zip from magenta.tensorflow.org/datasets/maestro and unpack it into the folder",
        ),
        Corpus(
            "groove_midi",
            "kelly_core.data.groove",
            "Groove MIDI, 1,150 drum recordings, 5 MB of MIDI",
            "CC BY 4.0",
            "Get groove-v1.0.0-midionly.zip from magenta.tensorflow.org/datasets/groove and unpack it into the folder",
        ),
    )
}


def create_dataset(name: str, path: Path | str, **options: Any) -> CorpusDataset:
    """Read a real corpus.

    Args:
        name: "deam", "lakh_midi", "chords", "maestro" or "groove_midi".
        path: its folder.
        options: fields of ``corpus.LoadOptions``.

    Raises:
        ConfigError: no corpus has that name.
        DataError: the corpus is missing, damaged, or holds nothing usable.
    """
    if name not in CORPORA:
        raise ConfigError(f"no corpus is called {name!r}", hint=f"The corpora are {', '.join(CORPORA)}")
    return _load(name, Path(path), LoadOptions(**options))


def is_present(name: str, path: Path) -> bool:
    """Whether the folder holds any file that the corpus's loader would look at."""
    present: Callable[[Path], bool] = importlib.import_module(CORPORA[name].module).is_present
    return present(path)


def open_dataset(
    name: str, settings: Settings, progress: Progress | None = None, *, include_test: bool = False
) -> Dataset:
    """The real corpus where it is present and wanted, its synthetic stand-in otherwise (``Dataset.synthetic`` says).

    ``include_test`` reads the official test split, too; all else stays as it is.

    Raises:
        DataError: the corpus is present and holds nothing usable.
    """
    if settings.datasets.use_synthetic or not is_present(name, settings.datasets.folder(name)):
        return synthetic_dataset(name, settings)
    return open_corpus(name, settings, progress, include_test=include_test)


def synthetic_dataset(name: str, settings: Settings) -> SyntheticDataset:
    """The stand-in of a corpus, with its known best loss.

    A stateless model gets single frames, so that it is compared with the best that a model without memory can do.
    """
    stateless = any(model.dataset == name and model.state == "stateless" for model in settings.models.values())
    return create_synthetic(
        name,
        examples=settings.datasets.synthetic_examples or None,
        sequence_length=1 if stateless else SEQUENCE_LENGTH,
        seed=settings.training.seed,
    )


def open_corpus(
    name: str, settings: Settings, progress: Progress | None = None, *, include_test: bool = False
) -> CorpusDataset:
    """The real corpus as the settings describe it.

    Raises:
        DataError: the corpus is missing, damaged, or holds nothing usable.
    """
    datasets = settings.datasets
    options = LoadOptions(
        validation_split=settings.training.validation_split,
        seed=settings.training.seed,
        max_files=datasets.max_files,
        cache_dir=datasets.cache_dir.expanduser(),
        jobs=datasets.jobs,
        scheduler=settings.parallel.cluster,
        annotations_file=getattr(datasets, name).annotations_file,
        duration=datasets.deam.duration,
        progress=progress,
        include_test=include_test,
    )
    if name == "chords" and is_present("deam", datasets.folder("deam")):
        options = replace(options, context=_audio_context(settings, progress))
    return _load(name, datasets.folder(name), options)


def _audio_context(settings: Settings, progress: Progress | None) -> AudioContext:
    dataset = open_corpus("deam", settings, progress)
    assert isinstance(dataset, EmotionDataset)
    return dataset.context()


def survey(name: str, settings: Settings, progress: Progress | None = None) -> CorpusReport:
    """What is here of a corpus and what of it can be used; computes missing features on the way."""
    corpus, folder = CORPORA[name], settings.datasets.folder(name)
    if not is_present(name, folder):
        report = CorpusReport(name, str(folder), found=False, advice=f"{corpus.advice}: {folder}")
    else:
        try:
            report = open_corpus(name, settings, progress).report
        except DataError as error:
            report = CorpusReport(name, str(folder), found=True, problem=str(error))
    return replace(report, licence=corpus.licence)


def _load(name: str, path: Path, options: LoadOptions) -> CorpusDataset:
    dataset: CorpusDataset = importlib.import_module(CORPORA[name].module).load(path, options)
    return dataset
