"""Directory of a run: its ID, its files, its manifest, and the labels that the user adds."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from kelly_core.bounds import Count, UnixTime
from kelly_core.config.schema import Settings
from kelly_core.errors import RunError
from kelly_core.formatting import format_bytes
from kelly_core.io.atomic import atomic_write, open_regular
from kelly_core.io.json import dumps

MANIFEST_FORMAT = 1
_MAX_BYTES = 1_000_000
_TRIES = 1000
_MAX_LABEL_BYTES = 100_000
_MAX_NOTE = 2_000
_TAG = re.compile(r"\w[\w.+/-]{0,39}")
_DATED = re.compile(r"\d{4}-\d\d-\d\d-\d{4}-.")


class _File:
    """Descriptor of a ``RunDirectory`` attribute: the path of one file."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, folder: RunDirectory, owner: type[RunDirectory]) -> Path:
        return folder.path / self._name


@dataclass(frozen=True)
class RunDirectory:
    """Paths of a run's files.

    Attributes:
        manifest: the request that the run carries out.
        environment: versions, machine and commit of the latest attempt.
        events: the log, from which state and results are derived.
        summary: snapshot of the log up to an offset, for quick reads.
        control: requests of observers.
        console: output of the process.
        exit_status: attempt and exit status of the latest process that has ended.
        labels: tags and note that the user added.
        heartbeat: file that the process locks while it runs, and whose modification time it updates every second.
    """

    path: Path
    manifest = _File("run.json")
    environment = _File("environment.json")
    events = _File("events.jsonl")
    summary = _File("summary.json")
    control = _File("control.jsonl")
    console = _File("console.log")
    exit_status = _File("exit_status")
    labels = _File("labels.json")
    heartbeat = _File("heartbeat")

    @property
    def id(self) -> str:
        """The run's id."""
        return self.path.name


@dataclass(frozen=True)
class RunManifest:
    """Request that a run carries out.

    Attributes:
        created: Unix time.
        models: model names in the order of training.
        working_folder: absolute folder to which relative paths in the settings refer.
        resume: True if the first attempt continues from existing checkpoints.
        command: equivalent command line, for display.
        settings: all settings, as JSON types.
        attempts: number of processes started for it.
        more_epochs: additional epochs; the process converts them to totals in ``settings`` and resets this to 0.
    """

    created: UnixTime
    models: tuple[str, ...]
    working_folder: str
    resume: bool
    command: tuple[str, ...]
    settings: dict[str, Any]
    attempts: Count = 0
    more_epochs: Count = 0

    @property
    def output(self) -> Path:
        """Absolute path of the output folder."""
        return Path(self.working_folder, self.settings["output"]["dir"])


def read_manifest(folder: RunDirectory) -> RunManifest:
    """Read the manifest.

    Raises:
        RunError: the file is missing, damaged, or of a newer version.
    """
    path = folder.manifest
    try:
        with open_regular(path) as file:
            text = file.read(_MAX_BYTES + 1)
        if len(text) > _MAX_BYTES:
            raise RunError(f"is larger than {format_bytes(_MAX_BYTES)}", where=path)
        content = json.loads(text)
    except OSError as error:
        raise RunError(f"cannot be read ({error.strerror})", where=path) from error
    except (ValueError, RecursionError) as error:
        raise _damaged("not valid JSON", path) from error
    return _checked(content, path)


def _damaged(reason: str, path: Path) -> RunError:
    hint = f"The run cannot be shown or resumed: delete {path.parent}. Its exports are in its output folder"
    return RunError(f"is damaged: {reason}", where=path, hint=hint)


def _checked(content: Any, path: Path) -> RunManifest:
    version = content.get("format") if isinstance(content, dict) else None
    if isinstance(version, int) and version > MANIFEST_FORMAT:
        hint = "Use the version of kelly-core that wrote it"
        raise RunError(
            f"was written by a newer version (format {version}, not {MANIFEST_FORMAT})", where=path, hint=hint
        )
    try:
        manifest: RunManifest = TypeAdapter(RunManifest).validate_python(content)
        if version != MANIFEST_FORMAT or not isinstance(manifest.settings["output"]["dir"], str):
            raise TypeError
    except (ValidationError, KeyError, TypeError) as error:
        raise _damaged("it does not describe a run", path) from error
    return manifest


def write_manifest(folder: RunDirectory, manifest: RunManifest) -> None:
    """Write the manifest atomically.

    Raises:
        RunError: the file cannot be written.
    """
    text = dumps({"format": MANIFEST_FORMAT} | asdict(manifest), indent=2)
    atomic_write(folder.manifest, text.encode(), error_type=RunError)


def settings_of(folder: RunDirectory, manifest: RunManifest) -> Settings:
    """Return the settings of a run.

    Raises:
        RunError: the settings are damaged, or of another version.
    """
    try:
        return Settings.model_validate(manifest.settings)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        problem = f"its settings do not fit this version of kelly-core ({key}: {first['msg']})"
        raise RunError(problem, where=folder.manifest) from error


_ADJECTIVES = """
amber brave bright brisk calm candid clear cosy crisp deft eager early fair fleet fond gentle glad golden
grand hardy humble jolly keen kind light lively loyal lucid mellow merry mild neat noble placid plucky
proud quick quiet rapid ready robust rosy rustic sage serene sharp silver sleek snug sober solid spry
steady stout sunny supple tender tidy vivid warm wise witty
"""
_NOUNS = """
adagio alto anthem aria arpeggio ballad bass bolero bridge bugle cadence canon cello chant chime choir
chord clef coda concerto drone duet echo etude fanfare fiddle flute fugue gong harp hymn interval jig
lilt lute lyre madrigal march mazurka melody minuet motet nocturne oboe octave opus polka prelude quartet
quaver refrain reed reel rhythm rondo serenade sonata tempo tenor tune viola waltz
"""


def new_run_id(began: datetime) -> str:
    """Return an ID such as ``2026-11-22-1431-brave-cadence``: local time in minutes and two random words."""
    # Not the global generator: the ID must not depend on the seed of a training or change its random numbers.
    chance = random.SystemRandom()
    return f"{began:%Y-%m-%d-%H%M}-{chance.choice(_ADJECTIVES.split())}-{chance.choice(_NOUNS.split())}"


def short_id(run_id: str) -> str:
    """Return the two words of an ID, which identify a run to people; return an ID of another form unchanged."""
    return "-".join(run_id.split("-")[4:]) if _DATED.match(run_id) else run_id


def unused_run_id(runs: Path, waiting: Iterable[str] = ()) -> str:
    """Return an ID that is unused by the runs of a folder and by waiting trainings, if possible with unused words.

    Raises:
        RunError: the folder cannot be read, or no unused ID was found.
    """
    taken = set(waiting)
    if runs.is_dir():
        with RunError.from_os_error("cannot be read", where=runs):
            taken |= {path.name for path in runs.iterdir()}
    words = set(map(short_id, taken))
    for attempt in range(_TRIES):
        name = new_run_id(datetime.now())
        # Screens and commands identify a run by its two words. A folder of thousands of runs may use every pair.
        if name not in taken and (short_id(name) not in words or attempt >= _TRIES // 2):
            return name
    raise RunError("found no unused name for another run", where=runs)


@dataclass(frozen=True)
class RunLabels:
    """Tags in the order of their addition, and a note of one or several lines."""

    tags: tuple[str, ...] = ()
    note: str = ""


def read_labels(folder: RunDirectory) -> RunLabels:
    """Return the labels of a run; empty labels if the file is missing or damaged."""
    try:
        with open_regular(folder.labels) as file:
            labels: RunLabels = TypeAdapter(RunLabels).validate_json(file.read(_MAX_LABEL_BYTES))
    except (OSError, ValidationError):
        return RunLabels()
    return labels


def write_labels(folder: RunDirectory, labels: RunLabels) -> None:
    """Replace the labels of a run.

    Raises:
        RunError: the file cannot be written.
    """
    # A note typed in an encoding other than UTF-8 contains surrogates; its bytes are preserved.
    text = json.dumps(asdict(labels), ensure_ascii=False, indent=1)
    atomic_write(folder.labels, text.encode(errors="surrogateescape"), error_type=RunError)


def change_tags(folder: RunDirectory, add: Iterable[str], remove: Iterable[str] = ()) -> RunLabels:
    """Add and remove tags of a run, and return the new labels.

    Raises:
        RunError: a tag is not a single word of at most 40 characters, or the labels cannot be written.
    """
    labels, added, removed = read_labels(folder), list(add), set(remove)
    for tag in added:
        if not _TAG.fullmatch(tag):
            hint = "Use one word of letters, digits and . + / -, at most 40 characters"
            raise RunError("is not a tag", where=tag, hint=hint)
    kept = [tag for tag in dict.fromkeys([*labels.tags, *added]) if tag not in removed]
    labels = RunLabels(tuple(kept), labels.note)
    write_labels(folder, labels)
    return labels


def change_note(folder: RunDirectory, note: str) -> RunLabels:
    """Replace the note of a run, and return the new labels.

    Raises:
        RunError: the note is longer than 2000 characters, or cannot be written.
    """
    if len(note) > _MAX_NOTE:
        raise RunError(f"a note has at most {_MAX_NOTE} characters, not {len(note)}", where=folder.id)
    labels = RunLabels(read_labels(folder).tags, note)
    write_labels(folder, labels)
    return labels
