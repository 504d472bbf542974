"""Chords of lead sheets: text with bar lines, and links of iReal Pro."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import unescape
from typing import Any
from urllib.parse import unquote

from kelly_core.errors import DataError
from kelly_core.formatting import printable
from kelly_core.music.chord_symbols import parse_chord

Entry = dict[str, Any]
"""A song: ``source`` (its name, equal for versions of one song), ``chords`` and, where known, ``durations``."""

# POP909, Billboard, Chordonomicon and lead sheets each write silence in a different way.
NO_CHORDS = frozenset(("N", "X", "NC", "N.C.", "silence", "&pause", "n", ""))
HEADER = re.compile(r"#?\s*(title|artist|composer|key|style|tempo|metre|tonic|time)\s*[:=]\s*(.*)", re.IGNORECASE)
_IREAL = re.compile(
    r"""(?P<quote>["'])(?P<quoted>irealb(?:ook)?://[^<>]+?)(?P=quote)"""
    # A link without percent signs has unescaped spaces, so it extends to the end of its line.
    r"""|(?P<bare>irealb(?:ook)?://(?:(?=\S*%)[^\s"'<>]+|[^\r\n"<>]+))"""
)
_IREAL_PREFIX = "1r34LbKcu7"
"""Prefix of the music of a song in an ``irealb://`` link; the characters after it are scrambled."""
_IREAL_BLOCK = 50
_IREAL_SWAPPED = (*range(5), *range(10, 24))
"""Positions in a block whose characters are swapped with those at the same distance from its end."""
_IREAL_SHORT = (("XyQ", "   "), ("Kcl", "| x"), ("LZ", " |"))
_IREAL_REPEATED_ROOT = re.compile(r"W(?:/[A-G][b#]?)?|(?<![a-z])p")
"""A chord that repeats the previous one, over another bass or written as a slash."""
_IREAL_ROOT = re.compile(r"(?<!/)(?=[A-G])")
"""Position before the root of a chord: there may be no space between chords, and a bass belongs to its chord."""
_IREAL_MARK = re.compile(r"N\d|\*[A-Za-z]|<[^<>]*>|\([^()]*\)|T\d{2}|[YQSU]|(?<![A-Za-z0-9^+#-])[slf]+(?=[A-G ])")
# Sections, endings, meters, comments and signs such as segno, coda and fermata; the rest are chords.
_MARK = re.compile(r"\[[^\]|]*\]|\*[A-Za-z]|T\d{2}|<[^>]*>|\([^()]*[a-z]{3}[^()]*\)|[SQfULl](?=\s|\||$)")
_REPEATED_BARS = {"%": 1, "x": 1, "r": 2}
_REPEAT = re.compile(r"x(\d{1,2})")
_MAX_NAME = 300
"""Maximum characters of a song's name that is derived from the path of its file."""
_MIN_CHORDS, _MIN_CHORD_SHARE = 4, 0.8
"""Minimum number of chords in a lead sheet, and minimum share of its words that are chords."""


def is_lead_sheet(text: str) -> bool:
    """Return True if a text has bars of chords; tables in README files also have ``|``, but other words in between."""
    symbols = [symbol for line in text.splitlines() for bar in bars_of(line) for symbol in bar]
    return len(symbols) >= _MIN_CHORDS and are_chords(symbols)


def are_chords(symbols: Sequence[str]) -> bool:
    """Return True if most words are chord symbols."""
    return sum(map(_is_chord, symbols)) >= _MIN_CHORD_SHARE * len(symbols)


def name_of_file(path: str) -> str:
    """Return the name of a song from the path of its file without the ending, safe to show and of bounded length."""
    return printable(path.rpartition(".")[0])[-_MAX_NAME:]


def _is_chord(symbol: str) -> bool:
    try:
        parse_chord(symbol)
    except DataError:
        return False
    return True


def read_lead_sheet(text: str, name: str) -> Entry:
    """Return the song of a text with bars of duration 1."""
    headers: dict[str, str] = {}
    bars: list[list[str]] = []
    for line in text.splitlines():
        if match := HEADER.fullmatch(line.strip()):
            headers[match[1].lower()] = match[2].strip()
        else:
            bars += bars_of(line, bars)
    title = headers.get("title") or name_of_file(name.rpartition("/")[2])
    artist = headers.get("artist") or headers.get("composer", "")
    return {"source": song_name(artist, title), **_timed(bars)}


def _timed(bars: Sequence[Sequence[str]]) -> Entry:
    """Return the chords of bars of duration 1; the chords of a bar have equal durations."""
    chords: list[str] = []
    durations: list[float] = []
    for bar in bars:
        for chord in bar:
            if chord not in NO_CHORDS:
                append_chord(chords, durations, chord, 1 / len(bar))
    return {"chords": chords, "durations": durations}


def bars_of(text: str, earlier: Sequence[list[str]] = ()) -> list[list[str]]:
    """Return the chords of each bar of a line; ``earlier`` contains the bars before it.

    A bar with only ``%`` or ``x`` repeats the previous bar, one with only ``r`` the previous two bars. Between chords,
    ``.`` and ``%`` repeat the previous chord; ``x3`` at the end of the line repeats the line.
    """
    first, last = text.find("|"), text.rfind("|")
    if first < 0 or last == first:
        return []
    bars: list[list[str]] = []
    before = ""
    for cell in text[first + 1 : last].split("|"):
        bar = []
        tokens = _MARK.sub(" ", cell).replace("{", " ").replace("}", " ").replace(",", " ").split()
        if len(tokens) == 1 and (repeated := _REPEATED_BARS.get(tokens[0])):
            bars += [*earlier[-2:], *bars[-2:]][-repeated:]
            before = bars[-1][-1] if bars else before
            continue
        for token in tokens:
            chord = before if token in (".", "%", "/", "x", "-") else token.rstrip(":").lstrip(":")
            if chord and chord != "*":
                bar.append(chord)
                before = chord
        if bar:
            bars.append(bar)
    repeat = _REPEAT.search(text[last + 1 :])
    return bars * max(1, int(repeat[1])) if repeat else bars


def append_chord(chords: list[str], durations: list[float], chord: str, duration: float) -> None:
    """Append a chord to a song, or lengthen the last chord if it is equal."""
    if chords and chords[-1] == chord:
        durations[-1] += duration
    else:
        chords.append(chord)
        durations.append(duration)


def song_name(artist: str, title: str) -> str:
    """Return the name by which versions of one song are recognized."""
    return f"{artist}: {title}" if artist else title


def ireal_songs(text: str, name: str) -> list[Entry | DataError]:
    """Return the songs of all links of iReal Pro in a text, which may be HTML.

    ``irealbook://Title=Composer=Style=Key=n=music`` is one song. An ``irealb://`` link has any number of
    ``Title=Composer==Style=Key=Transposition=music=Style=Tempo=Repeats``, joined by ``===``.
    """
    songs: list[Entry | DataError] = []
    for match in _IREAL.finditer(text):
        link = unquote(unescape(match["quoted"] or match["bare"]))
        scheme, _, content = link.partition("://")
        fields = content.split("=")
        if scheme == "irealbook" and len(fields) > 5:
            songs.append(_ireal_song(fields[0], fields[1], fields[5]))
            continue
        music = [place for place, field in enumerate(fields) if field.startswith(_IREAL_PREFIX) and place >= 6]
        songs += [_ireal_song(fields[at - 6], fields[at - 5], _unscrambled(fields[at])) for at in music]
        if not music:
            songs.append(DataError("a link that does not contain a song of iReal Pro", where=name))
    return songs


def _unscrambled(music: str) -> str:
    """Return the music of an ``irealb://`` link with its characters in order and its short forms written out."""
    text = music.removeprefix(_IREAL_PREFIX)
    blocks = [text[start : start + _IREAL_BLOCK] for start in range(0, len(text), _IREAL_BLOCK)]
    for number, block in enumerate(blocks):
        # The last full block is not scrambled if at most one character follows it.
        if len(text) - number * _IREAL_BLOCK > _IREAL_BLOCK + 1:
            swapped = list(block)
            for place in _IREAL_SWAPPED:
                swapped[place], swapped[-1 - place] = block[-1 - place], block[place]
            blocks[number] = "".join(swapped)
    plain = "".join(blocks)
    for short, long in _IREAL_SHORT:
        plain = plain.replace(short, long)
    return plain


def _ireal_song(title: str, composer: str, music: str) -> Entry:
    """Return a song from its music: bars between ``| { } [ ] Z``, in which chords may follow without a space."""
    text = _IREAL_REPEATED_ROOT.sub(" / ", _IREAL_MARK.sub(" ", music))
    text = _IREAL_ROOT.sub(" ", re.sub(r"[{}\[\]Z]", "|", text)).replace("n", " N.C. ")
    return {"source": song_name(composer, title), **_timed(bars_of(f"|{text}|"))}
