"""Corpora as data: origin and loader of each. No corpus is read here, so the screens can list them at once.

Installed packages add corpora by the entry point group ``kelly.corpora``; see docs/extending.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from kelly_core.entry_points import load_entries
from kelly_core.errors import ConfigError

ENTRY_POINTS = "kelly.corpora"
RULES_FILE = "MADE_BY_RULES.md"
"""File that marks a corpus as made by rules, and lists these rules."""
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_MODULE = re.compile(r"[A-Za-z_][\w.]*")
_SETTINGS = ["dir", "cache_dir", "jobs", "max_files", "use_synthetic", "synthetic_examples"]
"""Settings in [datasets] other than the sections of the corpora."""
_METHODS = ["weight", "folder", "is_placed", "construct", "copy", "dict", "from_orm", "json", "parse_file", "parse_obj"]
_METHODS += ["parse_raw", "schema", "schema_json", "update_forward_refs", "validate"]
"""Other attributes of that section's class; importing pydantic to get them would delay the help by .1 s."""


@dataclass(frozen=True)
class Corpus:
    """Description of a corpus for users who do not have it yet.

    Attributes:
        name: its folder below the datasets folder.
        module: the loader, with ``is_present(root)`` and, for a main corpus, ``load(root, options, name)``.
        title: what it is and how large.
        license: short description of its license.
        advice: where to get it and where to put it.
        joins: main corpora whose loaders mix it in; none for a main corpus.
        audio_from: main corpus whose training frames are part of its examples, "" if it needs none.
        audio: True if its settings include the length of audio to read, and the scale of valence and arousal in tables.
        weight: default loss weight of its examples where it is mixed into others.

    Raises:
        ConfigError: the name or the module is invalid.
    """

    name: str
    module: str
    title: str
    license: str
    advice: str
    joins: tuple[str, ...] = ()
    audio_from: str = ""
    audio: bool = False
    weight: float = 1.0

    @property
    def built_in(self) -> bool:
        """True if no installed package adds it."""
        return self in _BUILT_IN

    def __post_init__(self) -> None:
        where = f"Corpus {self.name!r}"
        if not _NAME.fullmatch(self.name) or self.name in _SETTINGS + _METHODS or self.name.startswith("model_"):
            problem = "the name must be 1 to 40 lower-case ASCII letters, digits and underscores, and no setting's name"
            raise ConfigError(problem, where=where)
        if not _MODULE.fullmatch(self.module):
            raise ConfigError(f"module is {self.module!r}, but must be the name of a module", where=where)


_BUILT_IN: tuple[Corpus, ...] = (
    Corpus(
        "deam",
        "kelly_core.data.corpora.deam",
        "DEAM, 1,802 songs with valence and arousal, 1.3 GB",
        "Creative Commons, differs by song; treat as non-commercial",
        "kelly-core datasets get deam, or unpack DEAM_audio and DEAM_Annotations (cvml.unige.ch) into",
        audio=True,
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
        weight=0.0,  # Measured: mixed in, it makes both models worse on their own corpora (docs/experiments.md).
    ),
    Corpus(
        "emotion_audio",
        "kelly_core.data.corpora.deam",
        "More audio with a quadrant, or with valence and arousal, for each file",
        "that of the files' source",
        "Optional: put audio and label.csv (ID, 4Q), or a table (filename, valence, arousal) with a scale, into",
        joins=("deam",),
        audio=True,
    ),
)
"""The five main corpora, one per model, and the additional ones."""

CORPORA: Mapping[str, Corpus]
"""All corpora by name: the built-in ones and those of installed packages."""

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Return ``CORPORA``: packages are imported at its first use, not when this module is imported, because they
        import this module.
        """
        if name == "CORPORA":
            return _registry()[0]
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@cache
def _registry() -> tuple[Mapping[str, Corpus], tuple[str, ...]]:
    """Return all corpora by name, and one sentence for each corpus of a package that is left out."""
    known = {corpus.name: corpus for corpus in _BUILT_IN}
    found, problems = load_entries(ENTRY_POINTS, Corpus)
    for source, corpus in found:
        if corpus.name in known:
            problems.append(f"{source}: another corpus is called {corpus.name}; rename one of them")
        else:
            known[corpus.name] = corpus
    for source, corpus in found:
        missing = [main for main in (*corpus.joins, corpus.audio_from) if main and main not in known]
        if missing and known.get(corpus.name) is corpus:
            del known[corpus.name]
            problems.append(f"{source}: {corpus.name} needs the corpus {missing[0]!r}, which does not exist")
    return MappingProxyType(known), tuple(problems)


def package_problems() -> tuple[str, ...]:
    """Return one sentence for each corpus of an installed package that is left out."""
    return _registry()[1]
