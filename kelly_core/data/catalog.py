"""Catalog of corpora: origin, availability, and the dataset that a model learns from."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kelly_core.config.schema import Settings
from kelly_core.corpora import CORPORA, Corpus
from kelly_core.errors import ConfigError, DataError, KellyError, did_you_mean
from kelly_core.spec import DATASETS, MODELS

if TYPE_CHECKING:
    # Imported only by functions that read a corpus, so screens can list corpora without loading NumPy.
    from kelly_core.data.corpus_dataset import CorpusDataset, LoadOptions
    from kelly_core.data.dataset import CorpusReport, Dataset
    from kelly_core.data.synthetic import SyntheticDataset
    from kelly_core.features.extraction import Progress


def create_dataset(name: str, path: Path | str, **options: Any) -> CorpusDataset:
    """Read a real corpus.

    Args:
        name: a main corpus, one of ``spec.DATASETS``.
        path: its folder.
        options: fields of ``corpus_dataset.LoadOptions``.

    Raises:
        ConfigError: no corpus has that name.
        DataError: the corpus is missing, damaged, or contains nothing usable.
    """
    from kelly_core.data.corpus_dataset import LoadOptions

    if name not in DATASETS:
        hint = did_you_mean(name, DATASETS, f"The corpora are {', '.join(DATASETS)}")
        raise ConfigError(f"no corpus is called {name!r}", hint=hint)
    return _load(name, name, Path(path), LoadOptions(**options))


def is_present(name: str, path: Path) -> bool:
    """Return True if the folder contains any file that the corpus's loader reads."""
    try:
        with _loader_of(CORPORA[name]) as loader:
            return bool(loader.is_present(path))
    except DataError:
        # Reading the corpus reports why the loader of an installed package fails.
        return path.is_dir()


def active_corpora(name: str, settings: Settings) -> list[str]:
    """Return the available corpora for training on the main corpus ``name``: it and those mixed into it.

    If the main corpus is missing, any additional one replaces it, regardless of its weight. The list is empty if
    generated examples are requested or no corpus is available.
    """
    datasets = settings.datasets
    if datasets.use_synthetic:
        return []
    additional = [each for each in _joining(name) if is_present(each, datasets.folder(each))]
    if is_present(name, datasets.folder(name)):
        return [name, *(each for each in additional if datasets.weight(each) > 0)]
    return additional


def describe_substitute(name: str, here: Collection[str]) -> str:
    """Describe what training uses in place of the missing corpus ``name``; ``here`` lists the available corpora."""
    if CORPORA[name].joins:
        return f"optional: not required by {' and '.join(CORPORA[name].joins)}"
    others = [each for each in _joining(name) if each in here]
    if others:
        return f"training uses {' and '.join(others)} instead"
    return "training falls back to synthetic data" if _has_generator(name) else "nothing can replace it"


def _has_generator(name: str) -> bool:
    """Return True if generated examples can replace a main corpus."""
    return any(spec.dataset == name and spec.generator for spec in MODELS)


def _joining(name: str) -> list[str]:
    """Return the additional corpora that can be mixed into the main corpus ``name``."""
    return [each.name for each in CORPORA.values() if name in each.joins]


def open_dataset(
    name: str, settings: Settings, progress: Progress | None = None, *, include_test: bool = False
) -> Dataset:
    """Return the dataset of a model: available real corpora, else generated examples (``Dataset.synthetic``).

    Args:
        name: a main corpus, one of ``spec.DATASETS``; or an additional one, to open it alone.
        settings: all settings.
        progress: called with (files done, total files) while features are computed.
        include_test: also read the official test splits; nothing else changes.

    Raises:
        DataError: a corpus is present and contains nothing usable, or an additional one is missing.
    """
    folder = settings.datasets.folder(name)
    if CORPORA[name].joins:
        # Generated examples replace only main corpora, so the setting that requests them does not matter here.
        present = [name] if is_present(name, folder) else []
    else:
        present = active_corpora(name, settings)
        if not present and settings.datasets.is_placed(name) and not settings.datasets.use_synthetic:
            hint = f"Correct [datasets.{name}] path, or train with --use-synthetic"
            raise DataError("contains no file of the corpus", where=folder, hint=hint)
    if not present:
        if _has_generator(name):
            return synthetic_dataset(name, settings)
        hint = f"{CORPORA[name].advice} {folder}"
        raise DataError("is missing, and nothing can replace it", where=folder, hint=hint)
    parts = [open_corpus(each, settings, progress, main=name, include_test=include_test) for each in present]
    if len(parts) == 1:
        return parts[0]
    from kelly_core.data.mixture import MixedDataset

    return MixedDataset(parts, [settings.datasets.weight(each) or 1.0 for each in present])


def synthetic_dataset(name: str, settings: Settings) -> SyntheticDataset:
    """Return the synthetic substitute of a corpus, with its known best loss.

    A stateless model receives single frames, so that it is compared with the best possible model without memory.
    """
    from kelly_core.data.synthetic import SEQUENCE_LENGTH, create_synthetic

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
        settings: all settings.
        progress: called with (files done, total files) while features are computed.
        main: the main corpus that an additional one is mixed into; None if ``name`` is a main one.
        include_test: also read the official test split; nothing else changes.

    Raises:
        DataError: the corpus is missing, damaged, or contains nothing usable.
    """
    from kelly_core.data.files import is_made_by_rules

    options = _load_options(name, settings, progress, main or name, include_test)
    dataset = _load(name, main or name, settings.datasets.folder(name), options)
    # A loader that reads several sources sets the license of each.
    licenses = {name: CORPORA[name].license} | dict(dataset.licenses)
    if options.context is not None:
        licenses[options.context.corpus] = CORPORA[options.context.corpus].license
    # The license of a corpus does not apply to rule-generated music in the corpus's layout.
    dataset.licenses = {
        corpus: text for corpus, text in licenses.items() if not is_made_by_rules(settings.datasets.folder(corpus))
    }
    return dataset


def _load_options(
    name: str, settings: Settings, progress: Progress | None, main: str, include_test: bool
) -> LoadOptions:
    """Return the options for reading the corpus ``name`` according to the settings, with the audio for harmony."""
    from kelly_core.data.corpus_dataset import LoadOptions

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
        # An additional audio corpus uses the duration of the main one that it is mixed into.
        duration=getattr(getattr(datasets, main), "duration", LoadOptions.duration),
        progress=progress,
        include_test=include_test,
    )
    source = CORPORA[name].audio_from
    if not source or not (audio := active_corpora(source, settings)):
        return options
    from kelly_core.data.corpora.deam import EmotionDataset

    recordings = open_corpus(audio[0], settings, progress, main=source)
    assert isinstance(recordings, EmotionDataset)
    return replace(options, context=recordings.context())


def inspect_corpus(
    name: str,
    settings: Settings,
    progress: Progress | None = None,
    visit: Callable[[CorpusDataset], None] = lambda _dataset: None,
) -> CorpusReport:
    """Report which parts of a corpus are available and usable; missing features are computed.

    Args:
        name: the corpus.
        settings: all settings.
        progress: called with (files done, total files) while features are computed.
        visit: called with each opened dataset, one for each main corpus that this corpus is mixed into.
    """
    from kelly_core.data.dataset import CorpusReport
    from kelly_core.data.leakage import find_leakage

    corpus, folder = CORPORA[name], settings.datasets.folder(name)
    reports = []
    if not is_present(name, folder):
        report = CorpusReport(name, str(folder), found=False, advice=f"{corpus.advice} {folder}")
    else:
        try:
            # An additional corpus is opened once for each main corpus that it is mixed into.
            for main in corpus.joins or (None,):
                dataset = open_corpus(name, settings, progress, main)
                visit(dataset)
                reports.append(replace(dataset.report, warnings=[*dataset.report.warnings, *find_leakage(dataset)]))
            report = _merge_reports(reports, corpus.joins) if corpus.joins else reports[0]
        except DataError as error:
            report = CorpusReport(name, str(folder), found=True, problem=str(error))
    return replace(report, license=corpus.license, weight=settings.datasets.weight(name))


def _merge_reports(reports: Sequence[CorpusReport], joins: Sequence[str]) -> CorpusReport:
    """Merge the reports of an additional corpus, one per main corpus that it is mixed into; examples are added."""
    skipped: dict[str, list[str]] = {}
    for report in reports:
        for reason, names in report.skipped.items():
            skipped[reason] = sorted({*skipped.get(reason, ()), *names})
    return replace(
        reports[0],
        examples=sum(report.examples for report in reports),
        skipped=skipped,
        label_sources=dict(sum((Counter(report.label_sources) for report in reports), Counter())),
        splits=dict(sum((Counter(report.splits) for report in reports), Counter())),
        warnings=sorted({warning for report in reports for warning in report.warnings}),
        joins={main: report.examples for main, report in zip(joins, reports, strict=True)},
    )


def _load(name: str, main: str, path: Path, options: LoadOptions) -> CorpusDataset:
    """Read the corpus ``name`` with the loader of the main corpus ``main``."""
    with _loader_of(CORPORA[main]) as loader:
        dataset: CorpusDataset = loader.load(path, options, name)
        return dataset


@contextmanager
def _loader_of(corpus: Corpus) -> Iterator[Any]:
    """Yield the loader of a corpus; an exception in the loader of an installed package affects only this corpus.

    Raises:
        DataError: the loader of an installed package cannot be imported, or fails.
    """
    try:
        yield importlib.import_module(corpus.module)
    except KellyError:
        raise
    except Exception as error:
        if corpus.built_in:
            raise
        problem = f"the loader of {corpus.name} failed: {type(error).__name__}: {error}"
        raise DataError(problem, where=corpus.module) from error
