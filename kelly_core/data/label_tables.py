"""Readers of valence and arousal, from a sidecar or tables by song, quadrant, frame or curve, and of artists."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from kelly_core.arrays import Doubles
from kelly_core.data.files import warn_skipped
from kelly_core.data.tables import (
    EXTRA_CELLS,
    MUSIC_ENDING,
    finite_number,
    finite_text,
    plain_column,
    read_json,
    read_table,
    table_columns,
)
from kelly_core.errors import DataError
from kelly_core.music.emotion import QUADRANT_AFFECT
from kelly_core.music.mel import FRAME_SECONDS
from kelly_core.spec import LabelScale

ValenceArousal = tuple[float, float]
"""Valence and arousal, both -1..1."""
SIDECAR = "emotion_labels.json"
"""Optional file in a corpus: {file name: {"valence": -1..1, "arousal": -1..1}}."""
LABEL_FILE = "label.csv"
"""Table of quadrants, of EMOPIA's clips or of other files."""

_RANGES: dict[LabelScale, tuple[float, float]] = {"1..9": (1, 9), "0..1": (0, 1), "-1..1": (-1, 1), "-5..5": (-5, 5)}
ID_COLUMNS = ("song_id", "songid", "musicid", "filename", "file_name", "file", "id", "number")
_VALENCE_COLUMNS = ("valence", "valence_mean", "mean_valence", "valence(mean)")
_AROUSAL_COLUMNS = ("arousal", "arousal_mean", "mean_arousal", "arousal(mean)", "energy")
_NOT_AVERAGED = frozenset(
    ("workerid", "worker_id", "raterid", "rater_id", "rater", "subject", "subject_id", "participant", "user_id")
)
"""Columns of tables with the answers of individual raters."""
_TIMES = frozenset(("frametime", "frame_time", "time", "time_s"))
"""Columns of tables with several rows per song."""
_KNOWN_COLUMNS: tuple[tuple[frozenset[str], LabelScale], ...] = (
    (frozenset(("song_id", "valence_mean", "arousal_mean")), "1..9"),  # DEAM
    (frozenset(("song_id", "mean_valence", "mean_arousal")), "1..9"),  # emoMusic
    (frozenset(("musicid", "valence(mean)", "arousal(mean)")), "0..1"),  # PMEmo
    (frozenset(("number", "valence", "energy")), "1..9"),  # Soundtracks
)
"""Columns by which the tables of published corpora are recognized, and their scale."""
_QUADRANT_COLUMN = "4q"
_CLIP_COLUMNS = ("id", "filename")
_PMEMO_VALUES = ("valence(mean)", "arousal(mean)")
_PMEMO_FRAMES = frozenset(("musicid", "frametime", *_PMEMO_VALUES))
_ARTIST_COLUMNS = ("artist", "artist_name", "artist name", "performer")
_ALBUM_COLUMNS = ("album", "album_name", "album name", "soundtrack")
_NO_ARTIST = frozenset(("", "unknown", "unknown artist", "various", "various artists", "n/a", "nan", "none"))
_NO_BREAK_SPACE = "\xa0"
_MAX_COLUMNS = 64
"""A wider table contains features; published tables of labels have at most 20 columns."""
_OTHER_TABLES = re.compile(r"(?:^|[/_\-. ])(?:predict\w*|preds?|features?|metadata|submission)(?:[/_\-. ]|$)")
_MAX_OUTLIER_SHARE = 0.05
"""Maximum share of values outside the scale of a table; rows with such values are damaged."""
_MAX_REPEATED_SHARE = 0.5
_EXTRA = plain_column(EXTRA_CELLS)
"""With cells beyond the header, any cell of the row may be in the wrong column, so the row is damaged."""
MAX_CURVE_SECONDS = 3600.0
_CURVE_COLUMNS = ("time", "valence", "arousal")
_WHOLE = re.compile(r"0*(\d{1,15})(?:\.0*)?")


@dataclass
class AffectTable:
    """Labels of one table.

    Attributes:
        labels: valence and arousal, both -1..1, by ID as written in the table.
        damaged: one description for each row that is left out.
        warning: about the table, for the user; "" if there is none.
    """

    labels: dict[str, ValenceArousal]
    damaged: list[str] = field(default_factory=list)
    warning: str = ""


class LabelIndex:
    """Labels by file: IDs match exactly, or else ignoring case, spaces, ending and leading zeros (``2.0`` is 002).

    An ID may be the path of a file on another machine: it matches if it ends with the file's path in the corpus,
    or with the names of the file's folder and the file.
    """

    def __init__(self, values: Mapping[str, ValenceArousal]) -> None:
        self._exact = dict(values)
        self._loose: dict[str, ValenceArousal | None] = {}
        self._elsewhere: dict[str, ValenceArousal | None] = {}
        for name, value in values.items():
            key = song_key(name)
            # Two IDs that differ only in case or zeros name two songs, so such a key matches neither.
            _enter(self._loose, key, value)
            for tail in list(_tails(key))[1:]:
                _enter(self._elsewhere, tail, value)

    def find(self, file: str) -> ValenceArousal | None:
        """Return the label of a file, given by its path in the corpus, or None."""
        for tail in _tails(file):
            for name in (tail, tail.rpartition(".")[0]):
                if name in self._exact:
                    return self._exact[name]
        keys = [song_key(tail) for tail in _tails(file)]
        found = [self._loose.get(key) for key in keys]
        found += [self._elsewhere.get(key) for key in keys if "/" in key or key == keys[0]]
        return next((value for value in found if value is not None), None)


def _enter(index: dict[str, ValenceArousal | None], key: str, value: ValenceArousal) -> None:
    index[key] = None if index.get(key, value) != value else value


def song_key(name: str) -> str:
    """Return a normalized song ID, equal for all spellings of one ID."""
    key = MUSIC_ENDING.sub("", name.strip().replace("\\", "/").casefold()).removeprefix("./")
    folder, slash, last = key.rpartition("/")
    whole = _WHOLE.fullmatch(last)
    return folder + slash + whole[1] if whole else key


def _tails(path: str) -> Iterator[str]:
    """Yield the path, then the path without its first folder, without its first two, and so on."""
    parts = path.split("/")
    return ("/".join(parts[start:]) for start in range(len(parts)))


def labeled_rows(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield a description and the cells, by plain column name, of each row of a table.

    Raises:
        DataError: the table cannot be read.
    """
    for number, row in enumerate(read_table(path), start=2):
        yield f"{path.name} row {number}", {plain_column(name): value for name, value in row.items()}


def song_id(row: Mapping[str, str], columns: Sequence[str] = ID_COLUMNS) -> str:
    """Return the first filled cell of some columns, "" if there is none or any cell may be in the wrong column."""
    return "" if _EXTRA in row else next((row[column] for column in columns if row.get(column)), "")


def read_sidecar(path: Path) -> tuple[dict[str, ValenceArousal], list[str]]:
    """Return valence and arousal by file name from a corpus's sidecar, and the names of its damaged entries.

    An entry without numbers in -1..1 is damaged; a logged warning names it.

    Raises:
        DataError: the sidecar is missing, unreadable, or not an object.
    """
    document = read_json(path)
    if not isinstance(document, dict):
        raise DataError("must contain an object {file name: {valence, arousal}}", where=path)
    labels: dict[str, ValenceArousal] = {}
    damaged: list[str] = []
    for name, entry in document.items():
        try:
            labels[name] = parse_affect(entry, f"{path}: {name}")
        except DataError:
            damaged.append(name)
    warn_skipped(path, "entries without valence and arousal, both in -1..1", damaged)
    return labels, damaged


def parse_affect(entry: object, where: str) -> ValenceArousal:
    """Return valence and arousal from {"valence": v, "arousal": a}.

    Raises:
        DataError: one is missing, is not a number, or is outside -1..1.
    """
    values = [entry.get(key) for key in ("valence", "arousal")] if isinstance(entry, dict) else []
    numbers = [number for number in map(finite_number, values) if number is not None]
    if len(numbers) != 2 or max(map(abs, numbers)) > 1:
        raise DataError("must contain valence and arousal, both in -1..1", where=where)
    return numbers[0], numbers[1]


def read_quadrants(path: Path) -> tuple[dict[str, ValenceArousal], list[str]]:
    """Return valence and arousal by clip from one table, and a description of each row without a quadrant.

    Both are empty if the table has no column ``4Q``. A logged warning names the damaged rows. The table of EMOPIA 1.0
    has human quadrant labels of 1,078 piano clips of 387 songs (CC BY-NC-SA 4.0, non-commercial); Hung et al., "EMOPIA:
    A Multi-Modal Pop Piano Dataset For Emotion Recognition and Emotion-based Music Generation", ISMIR 2021.

    Raises:
        DataError: the table cannot be read.
    """
    rows = list(labeled_rows(path))
    column = next((name for name in _CLIP_COLUMNS if rows and name in rows[0][1]), None)
    if column is None or _QUADRANT_COLUMN not in rows[0][1]:
        return {}, []
    labels: dict[str, ValenceArousal] = {}
    damaged: list[str] = []
    for name, row in rows:
        quadrant = finite_text(row.get(_QUADRANT_COLUMN, ""))
        affect = QUADRANT_AFFECT[int(quadrant)] if row.get(column) and quadrant in QUADRANT_AFFECT else None
        # A clip that is listed twice must have the same quadrant in both rows.
        if affect is None or labels.setdefault(row[column], affect) != affect:
            damaged.append(name)
    warn_skipped(path, "rows of a clip with another quadrant, and rows whose 4Q is not 1, 2, 3 or 4", damaged)
    return labels, damaged


def is_affect_table(path: Path) -> bool:
    """Return True if the columns are those of one averaged label per song; only the file's beginning is read.

    Tables of features and metadata may contain such columns with many others, and tables of predictions have the same
    columns as labels; the number of columns and ``is_other_table`` exclude them.

    Raises:
        DataError: the file cannot be read.
    """
    columns = [plain_column(column) for column in table_columns(path)]
    if len(columns) > _MAX_COLUMNS or not _NOT_AVERAGED.isdisjoint(columns) or not _TIMES.isdisjoint(columns):
        return False
    return all(set(columns) & set(names) for names in (ID_COLUMNS, _VALENCE_COLUMNS, _AROUSAL_COLUMNS))


def is_other_table(name: str) -> bool:
    """Return True if a table's path in the corpus names predictions, features or metadata."""
    return _OTHER_TABLES.search(name.casefold()) is not None


def has_known_columns(path: Path) -> bool:
    """Return True if the columns of an affect table are those of a published corpus.

    Raises:
        DataError: the file cannot be read.
    """
    return bool(_known_scale({plain_column(column) for column in table_columns(path)}))


def is_frame_table(path: Path) -> bool:
    """Return True if the columns are those of PMEmo's dynamic annotations, with one row per half second of a song.

    Raises:
        DataError: the file cannot be read.
    """
    return {plain_column(column) for column in table_columns(path)} >= _PMEMO_FRAMES


def read_frame_table(path: Path) -> tuple[dict[str, dict[float, ValenceArousal]], list[str]]:
    """Return valence and arousal, both -1..1, by song and by time in seconds; and a description of each damaged row.

    Args:
        path: a table for which ``is_frame_table`` is True.

    Raises:
        DataError: the table cannot be read.
    """
    labels: dict[str, dict[float, ValenceArousal]] = {}
    damaged: list[str] = []
    for name, row in labeled_rows(path):
        song = song_id(row, ["musicid"])
        time, *pair = (finite_text(row.get(column, "")) for column in ("frametime", *_PMEMO_VALUES))
        known = [value for value in pair if value is not None and 0 <= value <= 1]
        if not song or time is None or len(known) < 2:
            damaged.append(name)
            continue
        affect = (2 * known[0] - 1, 2 * known[1] - 1)
        if labels.setdefault(song_key(song), {}).setdefault(time, affect) != affect:
            damaged.append(name)
    return labels, damaged


def read_affect_table(path: Path, scale: LabelScale = "") -> AffectTable:
    """Read one pair of valence and arousal per song.

    Args:
        path: a table for which ``is_affect_table`` is True.
        scale: scale of the values if no published corpus has these columns, or its scale does not fit.

    Raises:
        DataError: the table cannot be read, or its scale is unknown and not given.
    """
    rows = list(labeled_rows(path))
    header = rows[0][1].keys() if rows else ()
    song, *columns = (
        next((name for name in names if name in header), "")
        for names in (ID_COLUMNS, _VALENCE_COLUMNS, _AROUSAL_COLUMNS)
    )
    damaged: list[str] = []
    numbers: list[tuple[str, str, float, float]] = []
    for name, row in rows:
        valence, arousal = (finite_text(row.get(column, "")) for column in columns)
        found = song_id(row, [song])
        if found and valence is not None and arousal is not None:
            numbers.append((name, found, valence, arousal))
        else:
            damaged.append(name)
    if not numbers:
        return AffectTable({}, damaged)
    chosen = _choose_scale([value for row in numbers for value in row[2:]], _known_scale(set(header)), scale, path)
    low, high = _RANGES[chosen]
    labels: dict[str, ValenceArousal] = {}
    repeated = 0
    for name, found, *pair in numbers:
        if not all(low <= value <= high for value in pair):
            damaged.append(name)
            continue
        # The first row of a song is used; a later row of the song with other values is damaged.
        affect = (_to_unit(pair[0], low, high), _to_unit(pair[1], low, high))
        if labels.setdefault(found, affect) != affect:
            repeated += 1
            damaged.append(name)
    if repeated > _MAX_REPEATED_SHARE * len(numbers):
        hint = "Average them to one row per song"
        raise DataError("contains several rows per song, such as the rows of single raters", where=path, hint=hint)
    warning = ""
    if scale and scale != chosen:
        warning = f"{path.name}: read as {chosen} by its columns, not as scale = {scale}"
    return AffectTable(labels, damaged, warning)


def _to_unit(value: float, low: float, high: float) -> float:
    """Map low..high to -1..1."""
    middle = (low + high) / 2
    return (value - middle) / (high - middle)


def _known_scale(columns: Collection[str]) -> LabelScale:
    """Return the scale of the published corpus whose columns these are, "" for other columns."""
    return next((scale for names, scale in _KNOWN_COLUMNS if names <= set(columns)), "")


def _choose_scale(values: Sequence[float], known: LabelScale, given: LabelScale, path: Path) -> LabelScale:
    """Return the scale implied by the columns, or else by the settings, if the values fit it.

    The range of the values alone does not determine the scale: 0..1 is within -1..1, and 1..5 within 1..9.

    Raises:
        DataError: no known or given scale fits the values.
    """
    for scale in (known, given):
        if scale and _fits(values, scale):
            return scale
    observed = f"{min(values):g}..{max(values):g}"
    hint = f"Set scale in the corpus's section of config.toml to one of {', '.join(_RANGES)}, or remove the table"
    if known or given:
        expected = " or ".join(dict.fromkeys(scale for scale in (known, given) if scale))
        raise DataError(f"valence and arousal are {observed}, expected {expected}", where=path, hint=hint)
    raise DataError(f"valence and arousal are {observed}, on a scale that is not known", where=path, hint=hint)


def _fits(values: Sequence[float], scale: LabelScale) -> bool:
    low, high = _RANGES[scale]
    return sum(not low <= value <= high for value in values) <= _MAX_OUTLIER_SHARE * len(values)


def read_artists(root: Path, tables: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Return the artist of each song by ``song_key``, or its album if the artist is not known.

    The metadata of DEAM and PMEmo and the track lists of Soundtracks have such columns. A song with different artists
    in two tables is left out, because its number then belongs to two songs.

    Args:
        root: the corpus folder.
        tables: CSV files in it, by path relative to ``root``.

    Returns:
        The artists, and a sentence for each table of artists that cannot be read.
    """
    artists: dict[str, str] = {}
    ambiguous: set[str] = set()
    warnings: list[str] = []
    for name in tables:
        try:
            found = _read_artist_table(root / name)
        except DataError as error:
            warnings.append(f"table of artists left out: {error}")
            continue
        for song, artist in found.items():
            if artists.setdefault(song, artist) != artist:
                ambiguous.add(song)
    return {song: artist for song, artist in artists.items() if song not in ambiguous}, warnings


def _read_artist_table(path: Path) -> dict[str, str]:
    """Return artist or album by ``song_key`` from one table; {} if it has no such columns."""
    columns = {_unquoted(column) for column in table_columns(path)}
    if columns.isdisjoint(ID_COLUMNS) or columns.isdisjoint(_ARTIST_COLUMNS + _ALBUM_COLUMNS):
        return {}
    found = {}
    for cells in read_table(path):
        row = {_unquoted(column): _unquoted(value) for column, value in cells.items()}
        song = next((row[column] for column in ID_COLUMNS if row.get(column)), "")
        named = (row.get(column, "") for column in (*_ARTIST_COLUMNS, *_ALBUM_COLUMNS))
        artist = next((name for name in named if name not in _NO_ARTIST), "")
        if song and artist:
            found[song_key(song)] = artist
    return found


def _unquoted(text: str) -> str:
    """Return a cell without quotes and outer spaces, in lower case; DEAM's tables have both in some rows."""
    return text.replace(_NO_BREAK_SPACE, " ").strip(" \t\"'").casefold()


def read_curve(path: Path) -> tuple[Doubles, Doubles]:
    """Read a CSV file with the columns time (seconds), valence and arousal (both -1..1), in order of time.

    Returns:
        Valence [T] and arousal [T] in the middle of each half second from 0 to the last time, interpolated linearly
        between the rows; at least one frame.

    Raises:
        DataError: the file cannot be read, a column is missing, a value is not a number or out of range, or the times
            do not increase.
    """
    rows = read_table(path)
    missing = [column for column in _CURVE_COLUMNS if not rows or column not in rows[0]]
    if missing:
        raise DataError(f"needs rows with the columns {', '.join(_CURVE_COLUMNS)}", where=path)
    time, valence, arousal = np.array([_curve_values(row, path, number) for number, row in enumerate(rows, start=2)]).T
    if (np.diff(time) <= 0).any():
        number = 3 + int(np.argmax(np.diff(time) <= 0))
        raise DataError(f"row {number}: the time is not later than in the row before", where=path)
    frames = max(1, round(float(time[-1]) / FRAME_SECONDS))
    middles = (np.arange(frames) + 0.5) * FRAME_SECONDS
    return np.interp(middles, time, valence), np.interp(middles, time, arousal)


def _curve_values(row: dict[str, str], path: Path, number: int) -> list[float]:
    values = []
    for column in _CURVE_COLUMNS:
        text = row.get(column, "")
        try:
            value = float(text)
        except ValueError:
            raise DataError(f"row {number}: {column} is {text!r}, which is not a number", where=path) from None
        low, high = (0.0, MAX_CURVE_SECONDS) if column == "time" else (-1.0, 1.0)
        if not low <= value <= high:
            raise DataError(f"row {number}: {column} is {text}, not within {low:g}..{high:g}", where=path)
        values.append(value)
    return values
