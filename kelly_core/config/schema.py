"""All settings: name, type, bounds, default, unit and description, each defined once.

The help of options, the settings form, the JSON Schema, ``config.toml`` and ``docs/settings.md`` are generated from
these fields; ``reference.py`` reads them. ``json_schema_extra`` contains the unit, the meaning of 0 or "" (``zero``),
and a default that depends on the machine (``shown_default``).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, create_model, model_validator

from kelly_core.corpora import CORPORA, Corpus
from kelly_core.io.user_dirs import user_cache_dir
from kelly_core.spec import MODELS, LabelScale, Loss, State


def _expand_home(path: Path) -> Path:
    """Return the path with the user's home folder in place of ``~``."""
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise ValueError("no home folder is known; set HOME, or name a folder without ~") from error


# Counts are limited to 32 bits, and numbers in a checkpoint to 64 bits.
PositiveCount = Annotated[int, Field(ge=1, lt=2**31)]
CountOrZero = Annotated[int, Field(ge=0, lt=2**31)]
PositiveRate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
FolderPath = Annotated[Path, Field(strict=False), AfterValidator(_expand_home)]
CachePath = Annotated[
    Path,
    Field(strict=False),
    AfterValidator(_expand_home),
    # Runs first: an empty path means the user's cache folder, not the working folder.
    BeforeValidator(lambda path: path if str(path) else user_cache_dir()),
]
OptionalPath = Annotated[str, AfterValidator(lambda text: str(_expand_home(Path(text))) if text else text)]


def _extra(unit: str = "", zero: str = "", shown_default: str = "") -> dict[str, Any]:
    """Return the ``json_schema_extra`` of a field; empty parts are left out."""
    parts = {"unit": unit, "zero": zero, "shown_default": shown_default}
    return {name: value for name, value in parts.items() if value}


class _Section(BaseModel):
    # Strict: the text "3" must be an error, not become a number, and 1 must not become true.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class EarlyStoppingSettings(_Section):
    """Early stopping of a training that no longer improves."""

    patience: CountOrZero = Field(
        default=10,
        description="Epochs without progress before training stops",
        json_schema_extra=_extra("epochs", "never stop early"),
    )
    min_delta: float = Field(
        default=0.001,
        ge=0,
        lt=1,
        description="Relative decrease of the best loss that counts as progress",
        json_schema_extra=_extra("fraction of the best loss"),
    )


class CheckpointingSettings(_Section):
    """Checkpoints that are written during training."""

    save_best: bool = Field(default=True, description="Write checkpoints/<model>_best.pt")
    save_latest: bool = Field(default=True, description="Write checkpoints/<model>_latest.pt, which resuming needs")
    save_interval: CountOrZero = Field(
        default=0,
        description="Interval at which an additional checkpoint is kept",
        json_schema_extra=_extra("epochs", "keep none"),
    )


class TrainingSettings(_Section):
    """Training of every model; a model's own section overrides it."""

    epochs: PositiveCount = Field(
        default=50,
        description="Maximum number of passes over the training examples",
        json_schema_extra=_extra("epochs"),
    )
    batch_size: PositiveCount = Field(
        default=64,
        description="Examples per optimizer step; an example of an LSTM model is a sequence",
        json_schema_extra=_extra("examples"),
    )
    learning_rate: PositiveRate = Field(default=0.001, description="Learning rate of Adam")
    validation_split: float = Field(
        default=0.2,
        gt=0,
        lt=1,
        description="Share of the songs held out for validation in a corpus without an official split",
        json_schema_extra=_extra("fraction of songs"),
    )
    gradient_clip: float = Field(
        default=1.0,
        ge=0,
        description="Maximum L2 norm of the gradient of a step",
        json_schema_extra=_extra(zero="no clipping"),
    )
    seed: int = Field(
        default=0, ge=0, lt=2**32, description="Random seed for split, initial weights, shuffling and noise"
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        default="auto", description="Device to train on; auto takes the fastest one available"
    )
    threads: CountOrZero = Field(
        default=0,
        description="CPU threads for batches of sequences",
        json_schema_extra=_extra("threads", "all cores, shared between parallel jobs"),
    )
    jobs: PositiveCount = Field(
        default=1,
        description="Models trained in parallel, each in its own process and, with several GPUs, on its own GPU",
        json_schema_extra=_extra("processes"),
    )
    early_stopping: EarlyStoppingSettings = EarlyStoppingSettings()
    checkpointing: CheckpointingSettings = CheckpointingSettings()


class ModelSettings(_Section):
    """Settings of one model that differ from [training] or from the model's specification."""

    epochs: PositiveCount | None = Field(
        default=None,
        description="Maximum number of passes over the training examples",
        json_schema_extra=_extra("epochs"),
    )
    batch_size: PositiveCount | None = Field(
        default=None, description="Examples per optimizer step", json_schema_extra=_extra("examples")
    )
    learning_rate: PositiveRate | None = Field(default=None, description="Learning rate of Adam")
    patience: CountOrZero | None = Field(
        default=None,
        description="Epochs without progress before training stops",
        json_schema_extra=_extra("epochs", "never stop early"),
    )
    loss: Loss | None = Field(
        default=None, description="Loss function; bce needs a sigmoid output, soft_cross_entropy a softmax output"
    )
    state: State = Field(
        default="stateful",
        description="LSTM state: stateful trains on sequences, stateless on single frames; no effect without LSTM",
    )
    dataset: str = Field(default="", description="Corpus that the model is trained on; fixed by its specification")


CorpusPath = Annotated[
    OptionalPath,
    Field(description="Folder of the corpus", json_schema_extra=_extra(zero="its name below datasets.dir")),
]
TableScale = Annotated[
    LabelScale,
    Field(
        description="Scale of valence and arousal in label tables without the columns of a published corpus",
        json_schema_extra=_extra(zero="refuse such tables"),
    ),
]


class DatasetSettings(_Section):
    """Location of one corpus."""

    path: CorpusPath = ""
    annotations_file: str = Field(
        default="",
        description="File of labels or official splits",
        json_schema_extra=_extra(zero="searched in the corpus"),
    )


class AudioDatasetSettings(DatasetSettings):
    """Location and reading of an audio corpus."""

    duration: float = Field(
        default=45.0,
        ge=1,
        le=600,
        description="Length of each audio file that is used, from its start",
        json_schema_extra=_extra("s"),
    )
    scale: TableScale = ""


class AdditionalDatasetSettings(_Section):
    """Location and weight of a corpus that is mixed into others or replaces a missing one."""

    path: CorpusPath = ""
    weight: float = Field(
        ge=0,
        le=100,
        description="Loss weight of its examples, multiplied by the weight of their label source",
        json_schema_extra=_extra(zero="only replaces a missing corpus"),
    )


class AdditionalAudioSettings(AdditionalDatasetSettings):
    """Location, weight and reading of an additional audio corpus."""

    scale: TableScale = ""


class CommonDataSettings(_Section):
    """Corpora: one per model, and additional ones."""

    dir: FolderPath = Field(default=Path("datasets"), description="Folder that contains the corpora")
    cache_dir: CachePath = Field(
        default_factory=user_cache_dir,
        description="Folder of the feature cache; `kelly-core cache` shows and clears it",
        json_schema_extra=_extra(shown_default="the user cache folder, such as ~/.cache/kelly"),
    )
    jobs: CountOrZero = Field(
        default=0, description="Processes that compute features", json_schema_extra=_extra("processes", "one per core")
    )
    max_files: CountOrZero = Field(
        default=0, description="Maximum files per corpus", json_schema_extra=_extra("files", "all")
    )
    use_synthetic: bool = Field(default=False, description="Train on generated data even if a corpus is present")
    synthetic_examples: CountOrZero = Field(
        default=0,
        description="Generated examples per epoch, and at most as many for validation",
        json_schema_extra=_extra("examples", "chosen per model"),
    )

    @model_validator(mode="before")
    @classmethod
    def _without_unknown_corpora(cls, given: Any) -> Any:
        """Omit sections of corpora that no installed package adds any more, such as those that a run recorded."""
        if not isinstance(given, dict):
            return given
        return {key: value for key, value in given.items() if key in cls.model_fields or not isinstance(value, dict)}

    def weight(self, name: str) -> float:
        """Return the mixing weight of the corpus ``name``; 1 for the main corpus of a model."""
        settings = getattr(self, name)
        return settings.weight if isinstance(settings, AdditionalDatasetSettings) else 1.0

    def is_placed(self, name: str) -> bool:
        """Return True if the settings name a folder for the corpus ``name``."""
        return bool(getattr(self, name).path)

    def folder(self, name: str) -> Path:
        """Return the folder of the corpus ``name``; a missing one may have another case, such as ``Groove_MIDI``."""
        settings: DatasetSettings | AdditionalDatasetSettings = getattr(self, name)
        if settings.path:
            return Path(settings.path)
        exact = self.dir / name
        return exact if exact.exists() else next(_in_any_case(self.dir, name), exact)


def _in_any_case(folder: Path, name: str) -> Iterator[Path]:
    """Yield folders in ``folder`` whose name differs from ``name`` only by case, in a fixed order."""
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        # An unreadable folder contains no corpus; the code that opens the corpus reports it under its usual name.
        return
    yield from (entry for entry in entries if entry.name.casefold() == name.casefold() and entry.is_dir())


def _corpus_settings(corpus: Corpus) -> DatasetSettings | AdditionalDatasetSettings:
    """Return the default settings of a corpus."""
    if corpus.joins:
        return (AdditionalAudioSettings if corpus.audio else AdditionalDatasetSettings)(weight=corpus.weight)
    return AudioDatasetSettings() if corpus.audio else DatasetSettings()


if TYPE_CHECKING:
    DataSettings = CommonDataSettings
else:
    # One section per corpus in the catalog, which installed packages extend.
    _defaults = {name: _corpus_settings(corpus) for name, corpus in CORPORA.items()}
    _fields = {name: (type(default), default) for name, default in _defaults.items()}
    _about = {"__base__": CommonDataSettings, "__doc__": CommonDataSettings.__doc__}
    DataSettings = create_model("DataSettings", **_about, **_fields)


class OutputSettings(_Section):
    """Files that a training writes."""

    dir: FolderPath = Field(
        default=Path("models"), description="Output folder for exports, checkpoints, history and plots"
    )
    layout: Literal["rtneural", "legacy"] = Field(
        default="rtneural", description="Layout of the exported JSON: RTNeural's own parser, or older plugin builds"
    )
    keep_best: bool = Field(
        default=False,
        description="Keep an export of another training if it is better on the same examples, instead of replacing it",
    )
    history: bool = Field(default=True, description="Write history/<model>_history.json and .csv")
    plots: bool = Field(default=True, description="Write plots/<model>_loss.png")
    tensorboard: bool = Field(
        default=False, description="Write TensorBoard events as well (needs the extra tensorboard)"
    )


class RunsSettings(_Section):
    """Records of runs."""

    dir: FolderPath = Field(
        default=Path("runs"), description="Folder with one subfolder per run: its settings and event log"
    )


class ParallelSettings(_Section):
    """Parallel computation of features and of the trials of a sweep."""

    backend: Literal["local", "dask"] = Field(
        default="local",
        description="Where features and trials are computed: processes of this machine, or a Dask cluster",
    )
    scheduler: str = Field(
        default="",
        pattern=r"^$|^\w+://.+:\d+$",
        description="Address of the Dask scheduler, such as tcp://10.0.0.1:8786",
        json_schema_extra=_extra(zero="none"),
    )

    @property
    def cluster(self) -> str:
        """Address of the Dask scheduler to use, "" for this machine."""
        return self.scheduler if self.backend == "dask" else ""


class SweepSettings(_Section):
    """Trials of `kelly-core sweep`."""

    set: list[str] = Field(
        default_factory=list,
        description="Settings to vary: key=value,value or, for random points, key=low..high",
    )
    seeds: PositiveCount = Field(
        default=1,
        description="Trainings per point, with the seeds training.seed, training.seed + 1 and so on",
        json_schema_extra=_extra("trainings"),
    )
    random: CountOrZero = Field(
        default=0, description="Random points to draw", json_schema_extra=_extra("points", "every combination")
    )
    jobs: CountOrZero = Field(
        default=0,
        description="Trials trained in parallel on this machine",
        json_schema_extra=_extra("trials", "as cores allow"),
    )


SERVICE_ADDRESS = r"^[A-Za-z][A-Za-z0-9+.-]*://\S+$"
"""Pattern of an address in the form of Apprise."""


class NotifySettings(_Section):
    """Messages when a run ends, diverges, overfits or is on a plateau."""

    terminal: Literal["", "bell", "osc9", "osc777"] = Field(
        default="bell", description="Notice of the terminal that watches a run", json_schema_extra=_extra(zero="none")
    )
    command: str = Field(
        default="",
        description="Command that is run with one line of text as its last argument and JSON on standard input",
        json_schema_extra=_extra(zero="none"),
    )
    webhook: str = Field(
        default="",
        pattern=r"^$|^https?://\S+$",
        description="Address to which the message is posted as JSON; tried up to five times",
        json_schema_extra=_extra(zero="none"),
    )
    apprise: list[Annotated[str, Field(pattern=SERVICE_ADDRESS)]] = Field(
        default_factory=list,
        description="Addresses of services in the form of Apprise, such as ntfy://topic or "
        "mailto://user:password@example.org (needs the extra notify)",
    )


class TuiSettings(_Section):
    """Screens of `kelly-tui`."""

    keys: list[Annotated[str, Field(pattern=r"^[a-z_.()'0-9-]+=[^=\s]+$")]] = Field(
        default_factory=list,
        description="Keys of actions, such as train.stop=x or app.help=f1; the help of a screen names its actions",
    )


def _default_models() -> dict[str, ModelSettings]:
    return {spec.name: ModelSettings(dataset=spec.dataset, learning_rate=spec.learning_rate) for spec in MODELS}


class Settings(_Section):
    """All settings of Kelly's training workbench."""

    training: TrainingSettings = TrainingSettings()
    # Settings recorded by a run may lack a model whose package was installed later.
    models: Annotated[dict[str, ModelSettings], AfterValidator(lambda given: _default_models() | given)] = Field(
        default_factory=_default_models
    )
    datasets: DataSettings = Field(default_factory=DataSettings)
    output: OutputSettings = OutputSettings()
    runs: RunsSettings = RunsSettings()
    parallel: ParallelSettings = ParallelSettings()
    sweep: SweepSettings = SweepSettings()
    notify: NotifySettings = NotifySettings()
    tui: TuiSettings = TuiSettings()
