from __future__ import annotations

import contextlib
from pathlib import Path

import mir_eval.chord
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kelly_core.errors import DataError
from kelly_core.music.chord_suffix import suffix_tones
from kelly_core.music.chord_symbols import MAX_SYMBOL_LENGTH, parse_chord, parse_note
from kelly_core.music.chords import CHORD_NAMES, chord_class, transpose_chords
from kelly_core.music.key import NOTE_NAMES

# Symbols by their class; _ stands for a space.
LEAD_SHEET = {
    "C": "C Cmaj CM Cmajor C6 C6/9 C69 C2 C4 C5 Cadd9 CMadd9 C(add9) Cadd11 Csus Csus2 Csus4 Csus24 Csusb9 C/E Caug C+ "
    "C_over_G Csus2add3 C/Bb Dbb C(b5) C-5 C5- C5+ CM6 C6#11 C6b5 Cno3 C(no3) Cno5 Cadd9/E CM#5add9 C+add#9 "
    "(C) C// C_/_/_/ c C/e ConE C6th C(/E) C6/add9 C/sus4",
    "Cm": "Cm Cmin Cmi CMIN C- Cminor Cm6 Cm69 Cm6/9 Cmadd9 Cm(add9) Cmadd11 C-/G CmMaj7 CmM7 Cmmaj7 Cm(maj7) C-Δ7 "
    "Cm9(maj7) Cm9maj7 Cm11/M7 "
    "C-maj7 C-^7 Cm#5 Cm+ Cmb6 Cmin(maj9) Cm7M Cm(#7) Cmsus4 Cm-maj7 Cm/maj7 Cmin-Maj9 C-b6 C-#5 cm",
    "C7": "C7th C7aug5 C7(dim5) C7sharp9 "
    "C7 C9 C11 C13 C7b9 C7(#9) C7alt Calt C7sus4 C9sus4 Csus7 Csus9 C7b9sus Caug7 C+7 C7+ C9+ C7#5 C7+5 C7-9 "
    "Cdom7 C[7] C67 C7add6 C7(b9,#11) C7(b9_#11) C7(b9/13) C13#11 C7no3 C7omit5 C7b5 C+9 C9(13) C7susadd3 "
    "C79b13b C7911# Csus79 C+79 c7",
    "Cmaj7": "Cmaj7 CMaj7 CMAJ7 Cma7 CM7 CΔ CΔ7 C^ C^7 Cmaj9 CM9 Cmaj13 Cmaj7#11 C+M7 C(maj7) C_maj7 Cj7 CM7#5 "
    "C6maj7 C/maj7 Cj7911# C+j7 Csus4maj7 Cmaj7sus4 Cmaj7b5 Caugmaj7 Cmj7 CMj9",
    "Cm7": "Cm7 C-7 Cmin7 Cmi7 CMin7 CMI7 Cm9 Cm11 Cm13 C-9 Cm7add11 Cminor7 Cm7b9 Cm7#5 Cm7sus4 Cm7(9) Cm7/9",
    "Cdim7": "Cdim Cdim7 CDIM Co Co7 C0 C07 Cø Cø7 Ch Ch7 Chdim7 Cm7b5 Cm7-5 C-7b5 Cm7(b5) C-7(b5) Cmin7b5 Cmb5 Cm11b5 "
    "Cm7(11,b5) Cm7b9b5 Cdim. Cdim9 Cdimmaj7 Ebdim F#o7 Aø",
    "N": "Tacet N NC NC. N/C N.C N.C. N._C. (N.C.) n.c. nc N.c. X No_chord NO_CHORD",
    "G": "Gmno3 Gm(no3)",
    "Bbmaj7": "Bbmaj7 A#maj7 Cbbmaj7",
    "F#m7": "F#m7 Gbm7 F#-7 E##m7 Fsharpm7",
    "B": "B Cb A## B/D# Cb5 b",
    "F": "F E# Gbb",
}
UNICODE = {
    "C": "C♮ Ｃ C⁶ C⁶⁄₉ D𝄫 C＋",
    "Cm": "C− C– C— C－ C−⁶ Cᵐ CmΔ7 C-Δ⁷",
    "C7": "C⁷ C７ C7♭9 C7(♯9) C7−9 C7（♭９） \u00a0C7 C\u00a07",
    "Cmaj7": "C△ C△7 C∆ CΔ⁷ C▲7 CΔ♯11",
    "Cm7": "Cm⁷ C−7 C－7 Cm７",
    "Cdim7": "C° C°7 Cº7 C˚7 Cø⁷ CØ7 C⌀7 C∅ Cm7♭5 E♭−7♭5/D",
    "F#m7": "F♯m7 F＃m7 G♭−7 F♯\ufe0em7",
    "A": "G𝄪",
}
BRAZILIAN = {
    "C": "C(9) C/9 C5+ C5- C4 C6(9) C(#11)",
    "Cm": "Cm7M Cm7M/9 Cm(9) Cm6(9)",
    "C7": "C7(9) C7/9 C7/13 C4/7 C4/7/9 C7(9-) C7/9- C7(#11) C7/5+ C7(13)",
    "Cmaj7": "C7M C7M(9) C7M/9 C7M(#11) C/7M C(7M) C9M",
    "Cm7": "Cm7(9) Cm7/11 Cm7(9,11)",
    "Cdim7": "Cm7(5-) Cm7/5- Cm5- C°(b13)",
}
GERMAN = {
    "B": "H Ces H-Dur",
    "D": "Cisis Eses Cx",
    "Am": "A-Moll a-Moll a_moll",
    "Bm7": "Hm7",
    "C#": "Cis Des Cis/Eis",
    "C#m7": "Cism7 Desm7",
    "F#": "Fis Ges Fis/Ais",
    "Eb": "Es Dis Es/B",
    "Ab": "As Gis",
    "Abm": "Asm Gism",
    "Bb": "B♭ Ais Bes",
    "F": "Eis F/As",
    "C": "C/H",
}
CHORDONOMICON = {
    "F#": "Fs Fsno3d Fssus2 Fsadd9 Fsaug Fsb79 Fsb713b9",
    "F#m": "Fsmin Fsminadd13 Fsminmaj7 Fsminmaj13s911s Fsminb7b9 Fsdimmaj7sus4",
    "F#7": "Fs7 Fs9 Fsb9 Fs11b9 Fs13b11b9b Fsmin13b11b9b Fsminb11b9 Fs13bb9 Fs1311s Fs7sus4 Fsaugb9",
    "F#maj7": "Fsmaj7 Fsmajs9 Fsmajs911s Fsmaj13s911s Fsmaj7sus2 Fsaugmaj911s",
    "F#m7": "Fsmin7 Fsminb9 Fsmin11b913b Fsmin13bb9 Fsmin7sus4 Fsdim7sus2",
    "Cdim7": "Fsdim Fsdim7 Fsdimb7 Fsdimb713b9 Fsdimmajs911s Fsdim1113b",
    "Bb": "Asno3d Asadd9",
    "F": "Esadd9 Essus2",
    "C#": "Cs Cssus4",
    "G": "G G/Fs Gsus4",
}
HARTE = {
    "C": "C:maj C:maj/3 C:maj6(9) C:(1,5) C:1/1 C:5/b7 C:sus4(9) C:maj(b5)/b5 C:(11) C/3 C/b7 C:min(*b3)",
    "Cm": "C:min C:min(b13) C:minmaj7 C:min(7)/7 C:(b3)",
    "C7": "C:7/b7 C:9 C:sus4(b7) C:(b5,b7,3) C:5(b7) C:aug(b7) C:7(*5,#5) C:(b7)",
    "Cmaj7": "C:maj7/5 C:maj6(7) C:maj7(b7)/3 C:(3,7) C:aug(7)",
    "Cm7": "C:min7/b3 C:min7(b5) C:min13 C:min7(4,b7)/4",
    "Cdim7": "C:dim C:hdim7 C:dim7/2 C:(1,b3,b5,6) C:min7(*5,b5)",
    "F#m7": "F♯:min7 Gb:min7",
    "Eb": "C### C###/3",
    "N": "N X",
}
WORDS = {
    "C": "C_Major C-major C_major_chord C-major_triad C_augmented C_sixth C_suspended_fourth C_power_chord C_chord",
    "Cm": "C_minor C-minor C-minor_triad C_minor_major_seventh C_minor-major_7",
    "C7": "C_dominant_7 Cdominant7 C_dominant_seventh C_dominant_ninth C_seventh C_7_sus4 C_7th",
    "Cmaj7": "C_major_seventh Cmajor7 C_major_7th C_major_ninth",
    "Cm7": "C_minor_7 C_minor_seventh C_minor-seventh Cminor7",
    "Cdim7": "C_diminished C_diminished_seventh C_fully_diminished_7 C_half-diminished C_half_diminished_7 "
    "C_minor_7_flat_5",
    "C#m": "C_sharp_minor C-sharp_minor Csharp_minor D_flat_minor",
    "Bb": "B_flat B-flat_major",
}
NOTATIONS = [LEAD_SHEET, UNICODE, BRAZILIAN, GERMAN, CHORDONOMICON, HARTE, WORDS]

REFUSED = (
    "|_|Add|Bad|Dad|Dim|Amen|Among|Amazing|Chorus|Cmon|Ending|Fish|Halt|Gone|gone|do|go|be|dim|aug|add|add9|as|es|h|n|x"
    "|Do_re_mi|Fa|Sol|La|Lam|Verse|[Verse]|[A]|<verse>|Intro:|A:|I|IV|V7|ii|bVII|b7|x32010|e--3--3|E---|7|/G|-|%|#|♭"
    "|Gm7x|C7xyz|A_B|Am_F|C7_F7|C/H7|C/X|C/|C/E/G|C/Em|C*|C7?|Cm...|C,|C!|C#b|Cmaj7#|C7b|C7#|C7-|C1|C3|C8|C10|C77"
    "|C7maj7|C7m|Cmm|Cdimm|C_-|C_+|A_b|C()|C(|C)|C(b5|Cb5)|C((b5))|C(b5,)|Cadd|Cadd7|Cno|Cno4|Cj|C65|C119|C139"
    "|C:|C:foo|C:m7|C:maj()|C:maj7(b5|C:maj(15)|C:maj/|C:maj/E|C::maj|c:maj|:maj|N:maj|C:maj_G:min|C♯♭|С|C\x00|C\x1b[2J"
    "|C\ud83c|Cis_is|Fisisis|Flat|A_minor_key|C_major_scale"
)

SUFFIXES = (
    "m|7|maj7|m7|dim|ø|m7b5|sus4|7sus4|6/9|m6|add9|7(b9,#11)|aug|7alt|mMaj7|13#11|°7|min11b913b|maj13s911s|-7|7M/9|Δ"
    "|_minor|_dominant_seventh|/E|no3d|m(b5)|+M7|:min7/b3|:(1,b3,b5)|:sus4(b7,9)|:hdim7"
)


def _split(text: str) -> list[str]:
    return text.replace("_", " ").split("|")


def _spellings() -> list[tuple[str, str]]:
    return [
        (symbol.replace("_", " "), name)
        for notation in NOTATIONS
        for name, symbols in notation.items()
        for symbol in symbols.split(" ")
    ]


@pytest.mark.parametrize(("symbol", "name"), _spellings())
def test_symbols_of_each_notation_are_read(symbol: str, name: str) -> None:
    assert CHORD_NAMES[parse_chord(symbol)] == name


@pytest.mark.parametrize(
    ("suffix", "tones"),
    [
        ("", {0, 4, 7}),
        ("5", {0, 7}),
        ("sus2", {0, 2, 7}),
        ("sus4", {0, 5, 7}),
        ("sus", {0, 5, 7}),
        ("7sus4b9", {0, 1, 5, 7, 10}),
        ("no3", {0, 7}),
        ("m7no5", {0, 3, 10}),
        ("mno3", {0, 7}),
        ("m7sus4", {0, 3, 5, 7, 10}),
        ("dim7", {0, 3, 6, 9}),
        ("dim7sus4", {0, 3, 5, 6, 7, 10}),
        ("ø9", {0, 2, 3, 6, 10}),
        ("7b5#5", {0, 4, 6, 8, 10}),
        ("6/9", {0, 2, 4, 7, 9}),
        ("(9)", {0, 2, 4, 7}),
        ("9", {0, 2, 4, 7, 10}),
        ("maj9", {0, 2, 4, 7, 11}),
        ("maj13s911s", {0, 3, 4, 6, 7, 9, 11}),
        ("13b11b9b", {0, 1, 4, 7, 8, 10}),
        ("min11b913b", {0, 1, 3, 5, 7, 8, 10}),
        ("aug7", {0, 4, 8, 10}),
        ("mMaj7", {0, 3, 7, 11}),
        ("7M/9", {0, 2, 4, 7, 11}),
        ("add#11", {0, 4, 6, 7}),
    ],
)
def test_a_suffix_is_a_set_of_intervals(suffix: str, tones: set[int]) -> None:
    assert suffix_tones(suffix) == tones


@pytest.mark.parametrize("symbol", [*_split(REFUSED), "Dm7|G7", "e|--3--|"])
def test_what_is_not_one_chord_symbol_is_refused(symbol: str) -> None:
    with pytest.raises(DataError, match="not a chord symbol") as caught:
        parse_chord(symbol)
    assert repr(symbol) in str(caught.value)
    assert caught.value.hint
    str(caught.value).encode()


@given(st.text(max_size=80))
def test_any_text_is_a_class_or_refused(text: str) -> None:
    with contextlib.suppress(DataError):
        assert 0 <= parse_chord(text) < 64


@given(st.text(alphabet="ABCDEFGHabcdefgmjorinst#+-0123456795/().:,*♭♯Δø° ", max_size=24))
def test_text_of_chord_characters_is_a_class_or_refused(text: str) -> None:
    with contextlib.suppress(DataError):
        assert 0 <= parse_chord(text) < 64


@given(st.sampled_from(_split(SUFFIXES)), st.sampled_from(range(12)), st.sampled_from(range(12)))
def test_transposing_the_root_transposes_the_class(suffix: str, first: int, second: int) -> None:
    one, other = parse_chord(NOTE_NAMES[first] + suffix), parse_chord(NOTE_NAMES[second] + suffix)
    assert transpose_chords(one, second - first) == other


@given(
    st.sampled_from([suffix for suffix in _split(SUFFIXES) if ":" not in suffix]),
    st.text(alphabet="xyz?!*|&", min_size=1),
)
def test_anything_after_a_symbol_makes_it_none(suffix: str, more: str) -> None:
    with pytest.raises(DataError):
        parse_chord(f"C{suffix}{more}")


@pytest.mark.parametrize(
    "symbol",
    [
        "C" * 10_000,
        "C" + "7b9" * 5_000,
        "C:(" + "b" * 9_000 + "1)",
        "C" + " " * 10_000 + "m",
        *("C" + unit * (60 // len(unit)) for unit in ("7b", "13b", "b9", "+5-", "(", "half ", " flat", "m", "9s")),
    ],
)
@pytest.mark.timeout(60)
def test_long_text_is_refused_in_bounded_time(symbol: str) -> None:
    """Without exponential backtracking, which would take hours for 60 characters."""
    with pytest.raises(DataError) as caught:
        parse_chord(symbol)
    assert len(str(caught.value)) < 4 * MAX_SYMBOL_LENGTH + 200


@pytest.mark.parametrize(("name", "pitch_class"), [("C", 0), ("F♯", 6), ("Bb", 10), ("Es", 3), ("H", 11), ("Cis", 1)])
def test_a_note_is_read_by_its_name(name: str, pitch_class: int) -> None:
    assert parse_note(name) == pitch_class


@pytest.mark.parametrize("name", ["", "C5", "Am", "X", "C" * 100, "C#b"])
def test_what_is_not_a_note_is_refused(name: str) -> None:
    with pytest.raises(DataError, match="name of a note"):
        parse_note(name)


_NOTES = st.tuples(st.sampled_from("ABCDEFG"), st.sampled_from(["", "#", "b", "##", "bb"])).map("".join)
_DEGREES = st.tuples(st.sampled_from(["", "", "", "b", "#", "bb"]), st.sampled_from(range(1, 14))).map(
    lambda parts: f"{parts[0]}{parts[1]}"
)
_SHORTHANDS = [
    name for name in (*mir_eval.chord.QUALITIES, *mir_eval.chord.EXTENDED_QUALITY_REDUX) if name and name[0] not in "b#"
]


@given(
    _NOTES,
    st.sampled_from(["", *_SHORTHANDS]),
    st.lists(_DEGREES, max_size=4, unique=True),
    st.lists(_DEGREES, max_size=2, unique=True),
    st.one_of(st.none(), _DEGREES),
)
def test_labels_are_read_as_mir_eval_reads_them(
    root: str, shorthand: str, added: list[str], removed: list[str], bass: str | None
) -> None:
    removed = [degree for degree in removed if shorthand] if shorthand else []
    degrees = [*added, *(f"*{degree}" for degree in removed)]
    # mir_eval subtracts a removed degree from an added one of the same pitch; the syntax leaves open what that means.
    semitones = [mir_eval.chord.scale_degree_to_semitone(degree) % 12 for degree in (*added, *removed)]
    if (not shorthand and not degrees) or len(set(semitones)) < len(semitones):
        return
    label = f"{root}:{shorthand}" + (f"({','.join(degrees)})" if degrees else "")
    number, bitmap, _ = mir_eval.chord.encode(label, reduce_extended_chords=True)
    tones = {interval for interval, sounds in enumerate(bitmap) if sounds}
    assert parse_chord(label if bass is None else f"{label}/{bass}") == chord_class(int(number) % 12, tones)


# The given class of these mixes two readings of one name: the root of the first (Fb, then 9) and the tones of the
# second (F, then b9: F A C Eb Gb). They are read with the flat at the root, as in all other symbols.
DIFFERENTLY_READ = {"Fb9", "Ab11b9", "Cb11b9", "Db11b9", "Eb11b9", "Fb11b9", "Bb79", "Cb79", "Eb79", "Gb79"}


def test_the_handed_spellings_are_read_as_given(shared_cases: Path) -> None:
    lines = (shared_cases / "chord_spellings.tsv").read_text(encoding="utf-8").splitlines()[1:]
    rows = [line.split("\t") for line in lines]
    differing = {symbol for symbol, name, _ in rows if _reading(symbol) != name}
    assert len(rows) > 3_000
    assert differing <= DIFFERENTLY_READ
    assert len(differing) <= 0.03 * len(rows)


def _reading(symbol: str) -> str:
    try:
        return CHORD_NAMES[parse_chord(symbol)]
    except DataError:
        return "refused"
