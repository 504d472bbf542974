"""Catalog of corpora: origin, availability, and the dataset that a model learns from."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kelly_core.config.schema import Settings
from kelly_core.errors import ConfigError, DataError, did_you_mean
from kelly_core.spec import DATASETS

if TYPE_CHECKING:
    # To know the corpora by name takes none of what reading them does: the screens show them at once.
    from kelly_core.data.corpus_dataset import AudioContext, CorpusDataset, LoadOptions
    from kelly_core.data.dataset import CorpusReport, Dataset
    from kelly_core.data.synthetic.dataset import SyntheticDataset
    from kelly_core.features.extraction import Progress


@dataclass(frozen=True)
class Corpus:
    """Description of a corpus for users who do not have it yet.

    Attributes:
        name: its folder below the datasets folder.
        module: the loader, with ``is_present(root)`` and, for a main corpus, ``load(root, options)``.
        title: what it is and how large.
        license: in short.
        advice: where to get it and where to put it.
        joins: main corpora that it is mixed into, whose loaders read it; none for a main corpus.
        audio_from: main corpus whose training frames are part of its examples, "" if it needs none.
    """

    name: str
    module: str
    title: str
    license: str
    advice: str
    joins: tuple[str, ...] = ()
    audio_from: str = ""


CORPORA: dict[str, Corpus] = {
    corpus.name: corpus
    for corpus in (
        Corpus(
            "deam",
            "kelly_core.data.corpora.deam",
            "DEAM, 1,802 songs with valence and arousal, 1.3 GB",
            "Creative Commons, differs by song; treat as non-commercial",
            "kelly-core datasets get deam, or unpack DEAM_audio and DEAM_Annotations (cvml.unige.ch) into",
        ),
        Corpus(
            "lakh_midi",
            "kelly_core.data.corpora.lakh_midi",
            "Lakh MIDI, 176,581 songs, 6 GB",
            "CC BY 4.0 for the collection; songs belong to their authors",
            "kelly-core datasets get lakh_midi, or unpack lmd_full.tar.gz (colinraffel.com/projects/lmd) into",
        ),
        Corpus(
            "chords",
            "kelly_core.data.corpora.chords",
            "Chord progressions: JSON, POP909, Billboard, Chordonomicon or lead sheets",
            "that of the file's source",
            "kelly-core datasets get pop909, or put chord_progressions.json (a list of lists of chords) into",
            audio_from="deam",
        ),
        Corpus(
            "maestro",
            "kelly_core.data.corpora.maestro",
            "MAESTRO v3, 1,276 piano performances, 57 MB of MIDI",
            "CC BY-NC-SA 4.0, non-commercial",
            "kelly-core datasets get maestro, or unpack maestro-v3.0.0-midi.zip (magenta.tensorflow.org) into",
        ),
        Corpus(
            "groove_midi",
            "kelly_core.data.corpora.groove_midi",
            "Groove MIDI, 1,150 drum recordings, 5 MB of MIDI",
            "CC BY 4.0",
            "kelly-core datasets get groove_midi, or unpack groove-v1.0.0-midionly.zip (magenta.tensorflow.org) into",
        ),
        Corpus(
            "emotion_midi",
            "kelly_core.data.corpora.lakh_midi",
            "EMOPIA, 1,078 piano clips with the quadrant that people heard, 6 MB of MIDI",
            "CC BY-NC-SA 4.0, non-commercial",
            "Optional: kelly-core datasets get emopia, or unpack EMOPIA_1.0.zip (zenodo.org/record/5090631) into",
            joins=("lakh_midi", "maestro"),
        ),
        Corpus(
            "emotion_audio",
            "kelly_core.data.corpora.deam",
            "More audio with a quadrant, or with valence and arousal, for each file",
            "that of the files' source",
            "Optional: put audio and label.csv (ID, 4Q), or a table (filename, valence, arousal) with a scale, into",
            joins=("deam",),
        ),
    )
}
"""The five main corpora, one a model, and the additional ones."""


def create_dataset(name: str, path: Path | str, **options: Any) -> CorpusDataset:
    """Read a real corpus.

    Args:
        name: a main corpus, one of ``spec.DATASETS``.
        path: its folder.
        options: fields of ``corpus.LoadOptions``.

    Raises:
        ConfigError: no corpus has that name.
        DataError: the corpus is missing, damaged, or holds nothing usable.
    """
    from kelly_core.data.corpus_dataset import LoadOptions

    if name not in DATASETS:
        hint = did_you_mean(name, DATASETS, f"The corpora are {', '.join(DATASETS)}")
        raise ConfigError(f"no corpus is called {name!r}", hint=hint)
    return _load(name, name, Path(path), LoadOptions(**options))


def is_present(name: str, path: Path) -> bool:
    """Return True if the folder holds any file that the corpus's loader reads."""
    present: Callable[[Path], bool] = importlib.import_module(CORPORA[name].module).is_present
    return present(path)


def active_corpora(name: str, settings: Settings) -> list[str]:
    """Return the corpora that a training on the main corpus ``name`` reads: itself and those mixed in, if available.

    Where the main corpus is missing, any additional one stands in for it, whatever its weight. None where generated
    examples are asked for or nothing is here.
    """
    datasets = settings.datasets
    if datasets.use_synthetic:
        return []
    additional = [each for each in _joining(name) if is_present(each, datasets.folder(each))]
    if is_present(name, datasets.folder(name)):
        return [name, *(each for each in additional if datasets.weight(each) > 0)]
    return additional


def stand_in(name: str, here: Collection[str]) -> str:
    """Return what trainings do without the corpus ``name``, as text; ``here`` lists the available corpora."""
    if CORPORA[name].joins:
        return f"optional: {' and '.join(CORPORA[name].joins)} can do without it"
    others = [each for each in _joining(name) if each in here]
    return f"training uses {' and '.join(others)} instead" if others else "training falls back to synthetic data"


def _joining(name: str) -> list[str]:
    """Return the additional corpora that can be mixed into the main corpus ``name``."""
    return [each.name for each in CORPORA.values() if name in each.joins]


def open_dataset(
    name: str, settings: Settings, progress: Progress | None = None, *, include_test: bool = False
) -> Dataset:
    """Return the dataset of a model: available real corpora, else generated examples (``Dataset.synthetic``).

    Args:
        name: a main corpus, one of ``spec.DATASETS``; or an additional one, to look at it alone.
        settings: all of them.
        progress: called with (files done, files in all) while features are computed.
        include_test: read the official test splits, too; nothing else changes.

    Raises:
        DataError: a corpus is present and holds nothing usable, or an additional one is missing.
    """
    present = active_corpora(name, settings)
    if CORPORA[name].joins:
        # Generated examples stand in for main corpora only, so the setting that asks for them does not matter here.
        folder = settings.datasets.folder(name)
        if not is_present(name, folder):
            raise DataError("is not here, and nothing stands in for it", where=folder, hint=CORPORA[name].advice)
        present = [name]
    if not present and settings.datasets.is_placed(name) and not settings.datasets.use_synthetic:
        hint = f"Correct [datasets.{name}] path, or train with --use-synthetic"
        raise DataError("holds no file of the corpus", where=settings.datasets.folder(name), hint=hint)
    if not present:
        return synthetic_dataset(name, settings)
    parts = [open_corpus(each, settings, progress, main=name, include_test=include_test) for each in present]
    if len(parts) == 1:
        return parts[0]
    from kelly_core.data.mixture import MixedDataset

    return MixedDataset(parts, [settings.datasets.weight(each) or 1.0 for each in present])


def synthetic_dataset(name: str, settings: Settings) -> SyntheticDataset:
    """Return the synthetic substitute of a corpus, with its known best loss.

    A stateless model gets single frames, so that it is compared with the best that a model without memory can do.
    """
    from kelly_core.data.synthetic.dataset import SEQUENCE_LENGTH, create_synthetic

    stateless = any(model.dataset == name and model.state == "stateless" for model in settings.models.values())
    return create_synthetic(
        name,
        examples=settings.datasets.synthetic_examples or None,
        sequence_length=1 if stateless else SEQUENCE_LENGTH,
        seed=settings.training.seed,
    )


def open_corpus(
    name: str,
    settings: Settings,
    progress: Progress | None = None,
    main: str | None = None,
    *,
    include_test: bool = False,
) -> CorpusDataset:
    """Open one real corpus as configured.

    Args:
        name: the corpus.
        settings: all of them.
        progress: called with (files done, files in all) while features are computed.
        main: the main corpus with which an additional one is to be trained on; None for a main one.
        include_test: read the official test split, too; nothing else changes.

    Raises:
        DataError: the corpus is missing, damaged, or holds nothing usable.
    """
    from kelly_core.data.corpus_dataset import LoadOptions
    from kelly_core.data.files import is_made_by_rules

    datasets = settings.datasets
    own = getattr(datasets, name)
    options = LoadOptions(
        validation_split=settings.training.validation_split,
        seed=settings.training.seed,
        max_files=datasets.max_files,
        cache_dir=datasets.cache_dir,
        jobs=datasets.jobs,
        scheduler=settings.parallel.cluster,
        annotations_file=getattr(own, "annotations_file", ""),
        label_scale=getattr(own, "scale", ""),
        # An additional audio corpus is read as long as the main one that it joins.
        duration=getattr(getattr(datasets, main or name), "duration", LoadOptions.duration),
        progress=progress,
        include_test=include_test,
    )
    source = CORPORA[name].audio_from
    if source and (audio := active_corpora(source, settings)):
        options = replace(options, context=_audio_context(audio[0], source, settings, progress))
    dataset = _load(name, main or name, datasets.folder(name), options)
    # A loader that reads several sources knows the license of each.
    licenses = {name: CORPORA[name].license} | dict(dataset.licenses)
    if options.context is not None:
        licenses[options.context.corpus] = CORPORA[options.context.corpus].license
    # Music made by rules is not under the license of the corpus whose layout it has.
    dataset.licenses = {
        corpus: text for corpus, text in licenses.items() if not is_made_by_rules(datasets.folder(corpus))
    }
    return dataset


def _audio_context(name: str, main: str, settings: Settings, progress: Progress | None) -> AudioContext:
    from kelly_core.data.corpora.deam import EmotionDataset

    dataset = open_corpus(name, settings, progress, main=main)
    assert isinstance(dataset, EmotionDataset)
    return dataset.context()


def inspect_corpus(name: str, settings: Settings, progress: Progress | None = None) -> CorpusReport:
    """Return what of a corpus is available and usable; missing features are computed."""
    from kelly_core.data.dataset import CorpusReport

    corpus, folder = CORPORA[name], settings.datasets.folder(name)
    if not is_present(name, folder):
        report = CorpusReport(name, str(folder), found=False, advice=f"{corpus.advice} {folder}")
    else:
        try:
            report = _inspect_present(corpus, settings, progress)
        except DataError as error:
            report = CorpusReport(name, str(folder), found=True, problem=str(error))
    return replace(report, license=corpus.license, weight=settings.datasets.weight(name))


def _inspect_present(corpus: Corpus, settings: Settings, progress: Progress | None) -> CorpusReport:
    if not corpus.joins:
        return _checked(open_corpus(corpus.name, settings, progress))
    reports = [_checked(open_corpus(corpus.name, settings, progress, main)) for main in corpus.joins]
    return _together(reports, corpus.joins)


def _checked(dataset: CorpusDataset) -> CorpusReport:
    from kelly_core.data.leakage import find_leakage

    return replace(dataset.report, warnings=[*dataset.report.warnings, *find_leakage(dataset)])


def _together(reports: Sequence[CorpusReport], joins: Sequence[str]) -> CorpusReport:
    """Merge the reports of an additional corpus for each training that it joins; examples add up."""
    skipped: dict[str, list[str]] = {}
    for report in reports:
        for reason, names in report.skipped.items():
            skipped[reason] = sorted({*skipped.get(reason, ()), *names})
    return replace(
        reports[0],
        examples=sum(report.examples for report in reports),
        skipped=skipped,
        label_sources=_sum([report.label_sources for report in reports]),
        splits=_sum([report.splits for report in reports]),
        warnings=sorted({warning for report in reports for warning in report.warnings}),
        joins={main: report.examples for main, report in zip(joins, reports, strict=True)},
    )


def _sum(counts: Sequence[dict[str, int]]) -> dict[str, int]:
    return dict(sum(map(Counter, counts), Counter[str]()))


def _load(name: str, main: str, path: Path, options: LoadOptions) -> CorpusDataset:
    """Read the corpus ``name`` with the loader of the main corpus ``main``."""
    dataset: CorpusDataset = importlib.import_module(CORPORA[main].module).load(path, options, name)
    return dataset
