"""Registry of the sources of corpora: archives with URLs, sizes, checksums and licenses, and manual steps."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kelly_core.errors import ConfigError, did_you_mean

_MAGENTA = "https://storage.googleapis.com/magentadata/datasets"
_DEAM = "https://cvml.unige.ch/databases/DEAM"
_LAKH = "http://hog.ee.columbia.edu/craffel/lmd"
_POP909_COMMIT = "d83e6edba6872a704f5d3b8b32f5cb540088dae6"
_CHORDONOMICON_COMMIT = "2ad317cdf347277d2ce38c1ff47ddfffdb5dbfea"


@dataclass(frozen=True)
class Archive:
    """One file to download.

    Attributes:
        file: its name, both in the URLs and on a mirror.
        urls: its published URLs, tried in this order.
        checksum: ``sha256:<hex>`` or ``md5:<hex>``; "" if none was published.
        bytes: its recorded size, 0 if not known. If there is a checksum, the size is used only for estimates.
        unpacked: estimated total bytes of its unpacked files.
        files: estimated number of its files.
        rebuilt: True if the publisher packs it on demand, so that its checksum may differ from the recorded one.
        folder: name of its folder if it is not an archive, or has no single top folder; "" uses the file's name.
    """

    file: str
    urls: tuple[str, ...]
    checksum: str
    bytes: int
    unpacked: int
    files: int
    rebuilt: bool = False
    folder: str = ""


@dataclass(frozen=True)
class Source:
    """A source for ``datasets get``.

    Attributes:
        name: name on the command line.
        corpus: key of ``corpora.CORPORA``, whose folder receives the files.
        title: description.
        license: short name of the license.
        archives: files to download; empty if the user must get them.
        steps: what the user must do if there are no archives.
        kinds: endings, with the dot, of the files that are counted to check completeness.
        count: number of these files in the complete source, 0 if not known.
        within: name of the folder that contains them, "" for the whole corpus folder.
        tables: names of the source's tables of files, as patterns; the first column with an ID names the files.
        by_default: True if ``--all`` includes it.
    """

    name: str
    corpus: str
    title: str
    license: str
    archives: tuple[Archive, ...] = ()
    steps: str = ""
    kinds: tuple[str, ...] = ()
    count: int = 0
    within: str = ""
    tables: tuple[str, ...] = ()
    by_default: bool = True


def _lakh(subset: str, sha256: str, size: int, unpacked: int, files: int) -> tuple[Archive, ...]:
    name = f"{subset}.tar.gz"
    return (Archive(name, (f"{_LAKH}/{name}",), f"sha256:{sha256}", size, unpacked, files),)


_MIDI = (".mid", ".midi")
_AUDIO = (".mp3",)
_LAKH_LICENSE = "CC BY 4.0 for the collection; songs belong to their authors"
_EMOPIA_LICENSE = "CC BY-NC-SA 4.0 by its README, CC BY 4.0 by others; treat as non-commercial"

_SOURCES = (
    Source(
        "deam",
        "deam",
        "DEAM, 1,802 songs with valence and arousal",
        "audio: Creative Commons, differs by song; annotations: CC BY-NC; treat as non-commercial",
        (
            Archive(
                "DEAM_audio.zip",
                (f"{_DEAM}/DEAM_audio.zip",),
                "sha256:e2814325f573ade8caebc697f0efcfdf7207142b737d72558a416117ca591353",
                1_343_203_527,
                1_400_000_000,
                1802,
            ),
            Archive(
                "DEAM_Annotations.zip",
                (f"{_DEAM}/DEAM_Annotations.zip",),
                "sha256:809b0feb4ba6196c1eda9b2b7b33b892b11fa71457cfceb0d47e832ed1a5f15f",
                4_735_283,
                40_000_000,
                3700,
            ),
        ),
        kinds=_AUDIO,
        count=1802,
        tables=("static_annotations_averaged_songs*.csv",),
    ),
    Source(
        "lakh_midi",
        "lakh_midi",
        "Lakh MIDI, the part matched with the Million Song Dataset",
        _LAKH_LICENSE,
        _lakh(
            "lmd_matched",
            "621ff830aed771f469e5bfa13dc12a33c6ed69090adeda63d0b5c47783af0191",
            1_407_072_670,
            4_800_000_000,
            116_189,
        ),
        kinds=_MIDI,
        count=116_189,
        within="lmd_matched",
    ),
    Source(
        "lakh_midi_full",
        "lakh_midi",
        "Lakh MIDI, complete",
        _LAKH_LICENSE,
        _lakh(
            "lmd_full",
            "6fcfe2ac49ca08f3f214cec86ab138d4fc4dabcd7f27f491a838dae6db45a12b",
            1_768_163_879,
            6_000_000_000,
            178_561,
        ),
        kinds=_MIDI,
        count=178_561,
        within="lmd_full",
        by_default=False,
    ),
    Source(
        "lakh_midi_clean",
        "lakh_midi",
        "Lakh MIDI, files named by artist and title",
        _LAKH_LICENSE,
        _lakh(
            "clean_midi",
            "de1bb64cbc0cf35545a05b5c3e786aa6890cfa144edffc4b827ff41bf8c33dc5",
            234_283_029,
            800_000_000,
            17_256,
        ),
        kinds=_MIDI,
        count=17_256,
        within="clean_midi",
        by_default=False,
    ),
    Source(
        "maestro",
        "maestro",
        "MAESTRO v3.0.0, 1,276 piano performances as MIDI",
        "CC BY-NC-SA 4.0, non-commercial",
        (
            Archive(
                "maestro-v3.0.0-midi.zip",
                (f"{_MAGENTA}/maestro/v3.0.0/maestro-v3.0.0-midi.zip",),
                "sha256:70470ee253295c8d2c71e6d9d4a815189e35c89624b76d22fce5a019d5dde12c",
                58_416_533,
                85_000_000,
                1280,
            ),
        ),
        kinds=_MIDI,
        count=1276,
        tables=("maestro-v3*.csv",),
    ),
    Source(
        "groove_midi",
        "groove_midi",
        "Groove MIDI v1.0.0, 1,150 drum recordings",
        "CC BY 4.0",
        (
            Archive(
                "groove-v1.0.0-midionly.zip",
                (f"{_MAGENTA}/groove/groove-v1.0.0-midionly.zip",),
                "sha256:651cbc524ffb891be1a3e46d89dc82a1cecb09a57c748c7b45b844c4841dcc1e",
                3_260_318,
                6_000_000,
                1153,
            ),
        ),
        kinds=_MIDI,
        count=1150,
        tables=("info.csv",),
    ),
    Source(
        "emopia",
        "emotion_midi",
        "EMOPIA 1.0, 1,078 piano clips with the quadrant that people heard",
        _EMOPIA_LICENSE,
        (
            Archive(
                "EMOPIA_1.0.zip",
                (
                    "https://zenodo.org/api/records/5090631/files/EMOPIA_1.0.zip/content",
                    "https://zenodo.org/records/5090631/files/EMOPIA_1.0.zip",
                ),
                "md5:8f760ddcc014d144f1e2c5451bf003ac",
                0,
                20_000_000,
                1090,
            ),
        ),
        kinds=_MIDI,
        count=1078,
        within="EMOPIA_1.0",
        tables=("label.csv",),
    ),
    Source(
        "emopia_2.2",
        "emotion_midi",
        "EMOPIA 2.2, 1,071 piano clips with the quadrant that people heard",
        _EMOPIA_LICENSE,
        (
            Archive(
                "EMOPIA_2.2.zip",
                (
                    "https://zenodo.org/record/5257995/files/EMOPIA_2.2.zip",
                    "https://zenodo.org/api/records/5257995/files/EMOPIA_2.2.zip/content",
                ),
                "md5:bad5171786a4898f37fc2678e99afd94",
                0,
                100_000_000,
                5400,
            ),
        ),
        kinds=_MIDI,
        count=1071,
        within="EMOPIA_2.2",
        tables=("label.csv",),
        by_default=False,
    ),
    Source(
        "pop909",
        "chords",
        "POP909, chords of 909 pop songs",
        "MIT",
        (
            Archive(
                f"POP909-Dataset-{_POP909_COMMIT}.zip",
                (f"https://codeload.github.com/music-x-lab/POP909-Dataset/zip/{_POP909_COMMIT}",),
                "sha256:fe3d861f6eeaee6b40987e64ae26552b4c7b824f6fa40d29b0c5e5ebd62b03ea",
                50_105_665,
                120_000_000,
                8000,
                rebuilt=True,
            ),
        ),
        kinds=("chord_midi.txt",),
        count=909,
    ),
    Source(
        "billboard",
        "chords",
        "McGill Billboard 2.0.1, chords of 890 entries of the charts",
        "CC0",
        (
            Archive(
                "billboard-2.0.1-lab.tar.gz",
                ("https://www.dropbox.com/s/t390alzrkx0c9yt/billboard-2.0.1-lab.tar.gz?dl=1",),
                "md5:a7b1fa6a7e454bf73ced7c29207aa597",
                0,
                40_000_000,
                4500,
            ),
            Archive(
                "billboard-2.0-index.csv",
                ("https://www.dropbox.com/s/o0olz0uwl9z9stb/billboard-2.0-index.csv?dl=1",),
                "md5:c47d304c212725998839cf9bb1a417aa",
                0,
                200_000,
                1,
                folder="billboard-index",
            ),
        ),
        kinds=("full.lab", "billboard-2.0-index.csv"),
        count=891,
    ),
    Source(
        "chordonomicon",
        "chords",
        "Chordonomicon v2, chords of 680,000 songs",
        "CC BY-NC 4.0, non-commercial",
        (
            Archive(
                "chordonomicon_v2.csv",
                (
                    "https://huggingface.co/datasets/ailsntua/Chordonomicon/resolve/"
                    f"{_CHORDONOMICON_COMMIT}/chordonomicon_v2.csv",
                ),
                "",
                264_198_044,
                264_198_044,
                1,
                folder="Chordonomicon",
            ),
        ),
        kinds=("chordonomicon_v2.csv",),
        count=1,
    ),
    Source(
        "emomusic",
        "emotion_audio",
        "emoMusic, 744 clips with valence and arousal",
        "clips: Creative Commons; by application, for research",
        steps="Request it by the form at cvml.unige.ch/databases/emoMusic, then unpack clips_45seconds and annotations",
    ),
    Source(
        "pmemo",
        "emotion_audio",
        "PMEmo 2019, 794 choruses with valence and arousal",
        "for research only, non-commercial",
        steps="Follow the download link of github.com/HuiZhangDB/PMEmo (a shared drive), then unpack PMEmo2019",
    ),
    Source(
        "soundtracks",
        "emotion_audio",
        "Soundtracks, 360 and 110 excerpts of film music with valence and energy",
        "film music: for research only, never to be redistributed",
        steps="Download the audio and the tables of mean ratings from osf.io/p6vkg, then unpack them",
    ),
)

SOURCES: dict[str, Source] = {source.name: source for source in _SOURCES}
"""Every source by its name."""

_ALIASES = {
    "lakh": ("lakh_midi",),
    "lakh_midi_matched": ("lakh_midi",),
    "lmd_matched": ("lakh_midi",),
    "lmd_full": ("lakh_midi_full",),
    "clean_midi": ("lakh_midi_clean",),
    "groove": ("groove_midi",),
    "emotion_midi": ("emopia",),
    "emopia_1.0": ("emopia",),
    "chords": ("pop909", "billboard", "chordonomicon"),
    "emotion_audio": ("emomusic", "pmemo", "soundtracks"),
}


def select_sources(names: Iterable[str], sources: Mapping[str, Source]) -> list[Source]:
    """Return the sources with these names, each once. Case does not matter; ``lakh_midi:full`` is ``lakh_midi_full``.

    Raises:
        ConfigError: a name is unknown.
    """
    found: dict[str, Source] = {}
    for name in names:
        key = re.sub(r"[-:/\s]+", "_", name.strip().lower())
        for each in _ALIASES.get(key, (key,)):
            if each not in sources:
                hint = did_you_mean(key, [*sources, *_ALIASES], f"The sources are {', '.join(sources)}")
                raise ConfigError(f"no source is called {name!r}", hint=hint)
            found[each] = sources[each]
    return list(found.values())


def sources_of(corpus: str, sources: Mapping[str, Source]) -> list[Source]:
    """Return the sources of a corpus that ``--all`` includes."""
    return [source for source in default_sources(sources) if source.corpus == corpus]


def default_sources(sources: Mapping[str, Source]) -> list[Source]:
    """Return the sources that ``--all`` includes: all except larger or smaller variants of a corpus."""
    return [source for source in sources.values() if source.by_default]
