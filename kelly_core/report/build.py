"""Build the document of a report from the collected data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kelly_core.benchmark.results import EXTERNAL, EngineResult, Latency
from kelly_core.composition.score import PHRASE_BARS
from kelly_core.export.quality_record import FEW_GROUPS, QualityRecord, display_name, strongest_baseline
from kelly_core.formatting import MISSING, format_bytes, format_metric, format_micros
from kelly_core.report.collect import Benchmarks, ModelData, ReportData, Tune
from kelly_core.report.document import (
    Attachment,
    Component,
    DetailsTable,
    Document,
    EmbeddedImage,
    Heading,
    LossCurves,
    NumberCell,
    Rows,
    Section,
    Table,
    TextCell,
)
from kelly_core.report.quality import build_chain_section, build_quality_section, difference_text
from kelly_core.validation.report import Check

_MISSING = TextCell(MISSING)
_ENGINE = "numpy"
"""Engine whose latency the summary shows, because every benchmark includes it."""
_PERCENTILES = ("p50", "p95", "p99", "longest")
_SUMMARY = ("model", "trained on", "verdict", "checks")
_DECISIVE = ("measure", "model's", "strongest baseline", "difference, 95 %")
_FITNESS = ("parity", "p99, NumPy", "file", "state")
_STATES = {
    "stateful": "stateful: it keeps a state, so reset it once and then call it for every frame",
    "stateless": "stateless: calls are independent, bit for bit",
    None: "not declared",
}


def build_document(content: ReportData) -> Document:
    """Build the document: sections for the summary, the latency of the chain, generated music, and each model."""
    return Document(
        title="Kelly: the five models",
        lead=f"{content.folder} · {content.written} · kelly-core {content.version}",
        badges=tuple(_badges(content)),
        sections=(
            Section("Summary", "summary", blocks=(*_synthetic(content), _summary(content), *_missing(content))),
            Section("The chain's latency", "latency", blocks=tuple(_chain(content.benchmarks))),
            *([Section("Music", "music", blocks=tuple(_music(content)))] if content.tunes else []),
            *(_model(model, content.benchmarks) for model in content.models),
        ),
    )


def _badges(content: ReportData) -> Iterator[TextCell]:
    failed = sum(len(model.checked.failed) for model in content.models)
    yield _checks(failed, sum(len(model.checked.checks) for model in content.models))
    trained = [model for model in content.models if model.checked.quality and model.checked.quality.trained]
    text = f"{len(trained)} of {len(content.models)} trained"
    yield TextCell(text, "good" if len(trained) == len(content.models) else "warn")
    numpy = content.benchmarks.engines.get(_ENGINE)
    if numpy and numpy.chain:
        yield _budget(content.benchmarks, numpy.chain)
    if names := content.synthetic:
        yield TextCell(f"SYNTHETIC data: {len(names)} of {len(content.models)} models", "bad")
    if corpora := {
        name: None for model in content.models if model.trained_on for name in model.trained_on.non_commercial
    }:
        yield TextCell(f"trained on non-commercial data: {', '.join(corpora)}", "warn")


def _checks(failed: int, asked: int) -> TextCell:
    if failed:
        return TextCell(f"{failed} of {asked} checks FAILED", "bad")
    return TextCell(f"all {asked} checks passed", "good")


def _budget(benchmarks: Benchmarks, chain: Latency) -> TextCell:
    within = chain.p99_us <= 1000 * benchmarks.budget_ms
    text = f"chain p99 {chain.p99_us / 1000:.3g} ms of {benchmarks.budget_ms:g} ms"
    return TextCell(text if within else f"{text}: TOO SLOW", "good" if within else "bad")


def _summary(content: ReportData) -> Table:
    rows: list[tuple[TextCell, ...]] = [
        row for model in content.models for row in _summary_rows(model, content.benchmarks)
    ]
    others = [_MISSING] * (len(_SUMMARY + _DECISIVE + _FITNESS) - 2)
    rows += [(TextCell(name), TextCell("no file", "warn"), *others) for name in content.missing]
    folds = (len(_SUMMARY), len(_SUMMARY + _DECISIVE))
    return Table((*_SUMMARY, *_DECISIVE, *_FITNESS), tuple(rows), folds=folds)


def _synthetic(content: ReportData) -> Iterator[TextCell]:
    if names := content.synthetic:
        text = "trained on SYNTHETIC data, generated in place of a corpus: the figures are not valid for real music."
        yield TextCell(f"{', '.join(names)}: {text}", "bad")


def _missing(content: ReportData) -> Iterator[TextCell]:
    if content.missing:
        yield TextCell(f"Without {', '.join(content.missing)} the plugin's chain is not complete.", "warn")


def _summary_rows(model: ModelData, benchmarks: Benchmarks) -> Iterator[tuple[TextCell, ...]]:
    """Yield a row per model and deciding metric."""
    numpy = benchmarks.engines.get(_ENGINE)
    latency = numpy.models.get(model.name) if numpy else None
    quality = model.checked.quality
    decisive = list(_decisive(quality)) if quality else [(_MISSING,) * len(_DECISIVE)]
    yield (
        TextCell(model.name),
        _data(model),
        _verdict(quality),
        _count_passed(model.checked.checks),
        *decisive[0],
        _count_passed(model.parity) if model.parity else TextCell("not compared", "warn"),
        NumberCell(MISSING if latency is None else f"{format_micros(latency.p99_us)} µs"),
        NumberCell(format_bytes(model.size.file_bytes)),
        TextCell(model.state or MISSING),
    )
    for further in decisive[1:]:
        yield (*[TextCell("")] * len(_SUMMARY), *further, *[TextCell("")] * len(_FITNESS))


def _decisive(quality: QualityRecord) -> Iterator[tuple[TextCell, ...]]:
    """Yield for each deciding metric: name, value of the model, strongest baseline, and difference."""
    if quality.epsilon is not None:
        limit = f"at most {format_metric(quality.epsilon_limit)} wanted"
        yield TextCell("ε"), NumberCell(f"{quality.epsilon:.3f}"), TextCell(limit), _MISSING
        return
    for measure in quality.primary:
        baseline = strongest_baseline(quality.baselines, measure)
        ours = NumberCell(format_metric(quality.metrics.get(measure)))
        if baseline is None:
            yield TextCell(display_name(measure)), ours, _MISSING, _MISSING
            continue
        theirs = TextCell(f"{format_metric(baseline.metrics[measure])} ({baseline.name})")
        yield TextCell(display_name(measure)), ours, theirs, NumberCell(difference_text(baseline, measure))


def _data(model: ModelData) -> TextCell:
    trained_on = model.trained_on
    if trained_on is None or trained_on.synthetic is None:
        return TextCell("not recorded", "warn")
    corpus = trained_on.corpus or "a corpus without a name"
    return TextCell(f"SYNTHETIC, in place of {corpus}", "warn") if trained_on.synthetic else TextCell(corpus)


def _verdict(quality: QualityRecord | None) -> TextCell:
    if quality is None:
        return TextCell("not measured", "warn")
    if quality.epsilon is None and quality.groups < FEW_GROUPS:
        return TextCell(f"{quality.verdict}, but {quality.groups:,} groups mean little", "warn")
    return TextCell(quality.verdict, "good" if quality.trained else "warn")


def _count_passed(checks: Sequence[Check]) -> TextCell:
    failed = sum(not check.passed for check in checks)
    text = f"{failed or len(checks)} of {len(checks)}"
    return TextCell(f"{text} FAILED", "bad") if failed else TextCell(text, "good")


def _chain(benchmarks: Benchmarks) -> Iterator[Component]:
    if benchmarks.problem:
        yield TextCell(benchmarks.problem + ".", "warn")
    if benchmarks.run is None:
        return
    run = benchmarks.run
    rows: list[tuple[TextCell, ...]] = []
    for name, engine in run.engines.items():
        label = f"{name}: {run.command}" if name == EXTERNAL and run.command else name
        rows.append((TextCell(label), *_times(engine.chain), _chain_verdict(benchmarks, engine)))
    yield Table(("engine", *_PERCENTILES, "budget"), tuple(rows))
    when = run.time.replace("T", " ").replace("+00:00", " UTC")
    yield TextCell(f"Microseconds for one frame through all five models, one thread; measured {when} on {run.host}.")


def _chain_verdict(benchmarks: Benchmarks, engine: EngineResult) -> TextCell:
    if engine.error:
        return TextCell(f"FAILED: {engine.error}", "bad")
    if engine.chain is None:
        return TextCell("no chain: it needs all five models", "warn")
    return _budget(benchmarks, engine.chain)


def _times(latency: Latency | None) -> tuple[NumberCell, ...]:
    if latency is None:
        return (NumberCell(MISSING),) * len(_PERCENTILES)
    times = (latency.p50_us, latency.p95_us, latency.p99_us, latency.max_us)
    return tuple(NumberCell(format_micros(time)) for time in times)


def _music(content: ReportData) -> Iterator[Component]:
    for tune in content.tunes:
        yield Heading(tune.file)
        if tune.content is None:
            yield TextCell(f"The music cannot be shown: {tune.problem}.", "warn")
        else:
            yield Attachment(tune.file, tune.content, "audio/midi")
            notes = ", ".join(f"{name} {count:,}" for name, count in tune.parts)
            length = f"{tune.bars:,} bars, {tune.seconds:.0f} s, {tune.bpm:.0f} bpm at its beginning"
            yield DetailsTable((("length", TextCell(length)), ("notes", TextCell(notes))))
            yield from _chord_table(tune)
        if tune.picture is not None:
            yield EmbeddedImage(tune.picture_file, tune.picture, f"Emotion, chords and notes of {tune.file}")
        elif tune.picture_problem:
            yield TextCell(f"The picture cannot be shown: {tune.picture_problem}.", "warn")


def _chord_table(tune: Tune) -> Iterator[Component]:
    """Yield the chords of the bars, one phrase per row."""
    if not tune.chords:
        return
    phrases = [tune.chords[start : start + PHRASE_BARS] for start in range(0, len(tune.chords), PHRASE_BARS)]
    rows = tuple(
        (
            TextCell(f"{PHRASE_BARS * number + 1} to {PHRASE_BARS * number + len(phrase)}"),
            *(TextCell(chord) for chord in (*phrase, *[""] * (PHRASE_BARS - len(phrase)))),
        )
        for number, phrase in enumerate(phrases)
    )
    yield Table(("bars", *(f"bar {number}" for number in range(1, PHRASE_BARS + 1))), rows, title="Chords")
    if tune.bars > len(tune.chords):
        yield TextCell(f"The table shows the first {len(tune.chords)} of {tune.bars:,} bars.")


def _model(model: ModelData, benchmarks: Benchmarks) -> Section:
    badges = [_verdict(model.checked.quality)]
    if model.trained_on and model.trained_on.synthetic:
        badges.append(TextCell("SYNTHETIC data", "bad"))
    if model.trained_on and model.trained_on.non_commercial:
        badges.append(TextCell("trained on non-commercial data", "warn"))
    badges.append(_checks(len(model.checked.failed), len(model.checked.checks)))
    blocks = (
        *_failures(model),
        *_training(model),
        *build_quality_section(model.checked.quality),
        *build_chain_section(model.checked.chain),
        *_parity_components(model),
        *_latency(model, benchmarks),
        *_file(model),
    )
    return Section(model.name, model.stem, tuple(badges), blocks)


def _failures(model: ModelData) -> Iterator[Component]:
    if model.checked.failed:
        rows = tuple((TextCell(check.name, "bad"), TextCell(check.detail)) for check in model.checked.failed)
        yield Heading("Failed checks")
        yield Table(("check", "observation"), rows)


def _training(model: ModelData) -> Iterator[Component]:
    yield Heading("Data and training")
    trained_on, quality = model.trained_on, model.checked.quality
    if trained_on is None:
        yield TextCell("The file does not record what it was trained on.", "warn")
    else:
        sources = sorted({source.label_source for source in quality.sources}) if quality else []
        counts = [("training", trained_on.train_examples), ("validation", trained_on.validation_examples)]
        examples = ", ".join(f"{count:,} {split}" for split, count in counts if count is not None)
        splits = trained_on.split_source or "not recorded"
        splits += f" ({', '.join(trained_on.tables)})" if trained_on.tables else ""
        licenses = "; ".join(f"{corpus}: {license}" for corpus, license in trained_on.licenses.items())
        yield DetailsTable(
            (
                ("corpus", _data(model)),
                ("examples", TextCell(examples or "not recorded")),
                ("splits", TextCell(splits)),
                ("licences", TextCell(licenses or "not recorded", "warn" if trained_on.non_commercial else "plain")),
                ("label sources", TextCell(", ".join(sources) or "not recorded")),
                ("hash of the examples", TextCell(trained_on.content_hash or "not recorded")),
            )
        )
    if model.history_problem:
        yield TextCell(model.history_problem + ".", "warn")
    if model.history is not None:
        yield LossCurves(model.name, model.history, model.plot)


def _parity_components(model: ModelData) -> Iterator[Component]:
    yield Heading("Parity")
    rows = tuple(
        (
            TextCell(check.name),
            TextCell("agrees", "good") if check.passed else TextCell("FAILED", "bad"),
            TextCell(check.detail),
        )
        for check in model.parity
    )
    if rows:
        yield Table(("the file in NumPy, against", "", "observation"), rows)
    else:
        yield TextCell("Its outputs were not compared with another engine.", "warn")


def _latency(model: ModelData, benchmarks: Benchmarks) -> Iterator[Component]:
    yield Heading("Latency")
    rows: Rows = tuple(
        (TextCell(name), *_times(engine.models.get(model.name))) for name, engine in benchmarks.engines.items()
    )
    if rows:
        yield Table(("µs a frame", *_PERCENTILES), rows)
    if benchmarks.problem:
        yield TextCell(benchmarks.problem + ".", "warn")


def _file(model: ModelData) -> Iterator[Component]:
    yield Heading("File, size and state")
    size, checks = model.size, model.checked.checks
    passed = [check.name for check in checks if check.passed]
    layout = model.checked.layout or "unknown"
    yield DetailsTable(
        (
            ("file", TextCell(f"{model.stem}.json, {_count(size.file_bytes, 'bytes')}, layout {layout}")),
            ("layers", TextCell("; ".join(size.layers) if size.layers else "cannot be read")),
            ("parameters", TextCell(_count(size.parameters, "numbers"))),
            ("memory", TextCell(_count(size.memory_bytes, "bytes"))),
            ("state", TextCell(_STATES[model.state])),
            ("checks passed", TextCell(f"{len(passed)} of {len(checks)}: {', '.join(passed)}" if passed else "none")),
        )
    )


def _count(count: int | None, noun: str) -> str:
    return "cannot be read" if count is None else f"{count:,} {noun}"
