"""Standard MIDI files: times in seconds and beats, what each event means, and content that is damaged or unusual."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import mido
import numpy as np
import pytest

from kelly_core.data.readers import smf
from kelly_core.data.readers.midi import parse_notes, read_notes
from kelly_core.errors import DataError
from kelly_core.music.notes import Notes
from tests.helpers import tiny
from tests.seeds import seeded_rng


def test_tempo_changes_move_seconds_and_not_beats(tmp_path: Path) -> None:
    file = mido.MidiFile(type=0, ticks_per_beat=480)
    track = mido.MidiTrack()
    file.tracks.append(track)
    track.append(mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(120)))
    track.append(mido.Message("note_on", note=60, velocity=64))
    track.append(mido.Message("note_off", note=60, time=960))
    track.append(mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(60)))
    track.append(mido.Message("note_on", note=62, velocity=64, time=480))
    track.append(mido.Message("note_off", note=62, time=480))
    file.save(tmp_path / "a.mid")
    notes = read_notes(tmp_path / "a.mid")
    np.testing.assert_allclose(notes.onset, [0, 2])
    np.testing.assert_allclose(notes.duration, [1, 1])
    np.testing.assert_allclose(notes.onset_beats, [0, 3])
    np.testing.assert_allclose(notes.duration_beats, [2, 1])
    assert notes.bpm == pytest.approx(120)


def test_tracks_names_drums_and_pedal(tmp_path: Path) -> None:
    pedal = [(1.0, 127), (3.0, 0)]
    tiny.write_midi(tmp_path / "a.mid", {"Solo": [(0, 1, 60, 90)]}, bpm=60, pedal=pedal, meter=(6, 8))
    notes = read_notes(tmp_path / "a.mid")
    assert "Solo" in notes.track_names
    assert notes.beats_per_bar == 3
    assert not notes.drum.any()
    np.testing.assert_allclose(notes.pedal, [[1, 127], [3, 0]])
    drums = read_notes(tiny.write_midi(tmp_path / "b.mid", {"D": tiny.drum_notes(2)}, channel=9))
    assert drums.drum.all()
    assert len(drums.pitched()) == 0


def test_missing_and_huge_files_are_refused(tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_notes(tmp_path / "none.mid")
    tiny.write_midi(tmp_path / "a.mid", {"x": [(0, 1, 60, 90)]})
    monkeypatch.setattr("kelly_core.data.readers.midi.MAX_BYTES", 10)
    with pytest.raises(DataError, match="larger"):
        read_notes(tmp_path / "a.mid")


def test_a_note_a_year_long_is_damage(tmp_path: Path) -> None:
    tiny.write_midi(tmp_path / "a.mid", {"x": [(0, 60_000, 60, 90)]})
    with pytest.raises(DataError, match="beyond 50,000 beats"):
        read_notes(tmp_path / "a.mid")


def test_damaged_and_odd_files_are_read_or_refused_without_harm(shared_data: Path) -> None:
    read, refused = 0, []
    for path in sorted((shared_data / "hard_midi").rglob("*.*")):
        try:
            notes = read_notes(path)
        except DataError as error:
            refused.append((path.name, error.problem))
            continue
        read += 1
        assert np.isfinite(notes.onset).all()
        assert (notes.duration >= 0).all()
        assert (np.diff(notes.onset) >= 0).all()
        assert len(notes)
        assert notes.pitch.min() >= 0
        assert notes.pitch.max() <= 127
    assert read >= 45
    assert ("empty.mid", "no notes") in refused
    assert ("PiDamaged.mid", "damaged MIDI file") in refused


END = b"\x00\xff\x2f\x00"
NOTE = b"\x00\x90\x3c\x40\x83\x60\x80\x3c\x00"
"""One quarter note at 480 ticks a quarter."""


def midi(*tracks: bytes, division: int = 480, kind: int | None = None) -> bytes:
    """A file of tracks without their end-of-track events; format 0 for one track, else 1."""
    kind = (len(tracks) > 1) if kind is None else kind
    header = b"MThd" + (6).to_bytes(4, "big") + b"".join(n.to_bytes(2, "big") for n in (kind, len(tracks), division))
    return header + b"".join(b"MTrk" + len(t + END).to_bytes(4, "big") + t + END for t in tracks)


def parse(*tracks: bytes, **options: int) -> Notes:
    return parse_notes(midi(*tracks, **options), Path("x.mid"))


def times(notes: Notes) -> list[tuple[float, float, int]]:
    return list(zip(notes.onset_beats.tolist(), notes.duration_beats.tolist(), notes.pitch.tolist(), strict=True))


def name(text: bytes) -> bytes:
    return b"\x00\xff\x03" + bytes([len(text)]) + text


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "damaged MIDI file"),
        (b"MThd", "damaged MIDI file"),
        (b"\x00" * 1000, "damaged MIDI file"),
        (b"RIFF0000RMID", "damaged MIDI file"),
        (midi(NOTE, division=0), "header division 0"),
        (midi(NOTE, division=0xE728), "SMPTE time base .25 frames"),
        (midi(NOTE, NOTE, kind=2), "format 2"),
        (midi(NOTE, kind=7), "unknown MIDI format 7"),
        (midi(b""), "no notes"),
        (midi(b"\x00\x3c\x40"), "damaged MIDI file"),
        (midi(b"\x00\x90\x3c\xc0"), "damaged MIDI file"),
        (midi(b"\xff\xff\xff\xff\x7f\x90\x3c\x40"), "damaged MIDI file"),
        (midi(NOTE)[:-6], "damaged MIDI file"),
        (midi(NOTE, NOTE)[:-21], "damaged MIDI file"),
        (midi(b"\x00\xff\x01\xff\xff\xff\x7f"), "damaged MIDI file"),
        (midi(b"\xff\xff\xff\x7f\xff\x01\x00" * 10 + NOTE), "beyond 50,000 beats"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_reason(content: bytes, problem: str) -> None:
    with pytest.raises(DataError, match=problem) as error:
        parse_notes(content, Path("x.mid"))
    assert error.value.where == "x.mid"


def test_numbers_of_tracks_and_events_are_bounded(monkeypatch) -> None:
    with pytest.raises(DataError, match="1,000 MIDI tracks"):
        parse(*[NOTE] * (smf.MAX_TRACKS + 1))
    monkeypatch.setattr(smf, "MAX_META", 100)
    with pytest.raises(DataError, match="more than 100 tempo changes"):
        parse(b"\x00\xff\x51\x03\x07\xa1\x20" * 101)
    monkeypatch.setattr(smf, "MAX_EVENTS", 1000)
    for events in (NOTE * 600, b"\x00\xff\x01\x00" * 1200):
        with pytest.raises(DataError, match="more than 1,000 MIDI events"):
            parse(events)


def test_packets_of_system_exclusive_data_take_no_time() -> None:
    """The example of the SMF specification: a message in three packets, 200 and 100 ticks apart."""
    packets = (
        b"\x00\xf0\x03\x43\x12\x00" + b"\x81\x48\xf7\x06\x43\x12\x00\x43\x12\x00" + b"\x64\xf7\x04\x43\x12\x00\xf7"
    )
    assert times(parse(packets + NOTE)) == [(300 / 480, 1, 60)]


def test_running_status_has_the_data_bytes_of_its_message_and_outlives_other_events() -> None:
    track = b"\x00\xc0\x05\x60\x06\x00\xff\x01\x01a\x60\x07" + b"\x00\x90\x3c\x40\x00\xff\x01\x00\x83\x60\x3c\x00"
    assert times(parse(track)) == [(0.4, 1, 60)]


def test_what_follows_the_end_of_a_track_is_ignored() -> None:
    content = midi(NOTE + END + b"\xff\xff\xff")
    assert times(parse_notes(content + b"trailing", Path("x.mid"))) == [(0, 1, 60)]


def test_a_riff_container_and_unknown_chunks_are_seen_through() -> None:
    content = midi(NOTE)
    content = content[:14] + b"XFIH\x00\x00\x00\x02ab" + content[14:]
    data = b"data" + len(content).to_bytes(4, "little") + content
    info = b"LIST\x03\x00\x00\x00abc\x00"
    riff = b"RIFF" + (len(info + data) + 4).to_bytes(4, "little") + b"RMID" + info + data
    assert times(parse_notes(riff, Path("x.rmi"))) == [(0, 1, 60)]


def test_a_note_struck_again_without_an_end_between_gives_both_notes() -> None:
    assert times(parse(b"\x00\x90\x3c\x5a\x83\x60\x3c\x46\x83\x60\x80\x3c\x00")) == [(0, 1, 60), (1, 1, 60)]
    together = b"\x00\x90\x3c\x5a\x00\x3c\x46\x83\x60\x80\x3c\x00"
    assert times(parse(together)) == [(0, 1, 60), (0, 1, 60)]


def test_overlapping_notes_of_one_pitch_end_in_the_order_in_which_they_began() -> None:
    track = b"\x00\x90\x3c\x5a\x83\x60\x3c\x46\x83\x60\x3c\x00\x83\x60\x3c\x00\x00\x3c\x00"
    assert times(parse(track)) == [(0, 2, 60), (1, 2, 60)]


def test_a_note_without_an_end_is_left_out() -> None:
    assert times(parse(b"\x00\x90\x3c\x5a\x00\x40\x5a\x83\x60\x80\x40\x00")) == [(0, 1, 64)]


def test_a_track_is_a_channel_of_a_midi_track() -> None:
    program_change_in_note = b"\x00\xc0\x01\x00\x90\x3c\x5a\x81\x70\xc0\x05\x81\x70\x80\x3c\x00"
    notes = parse(name(b"a") + program_change_in_note + NOTE, name(b"b") + NOTE + NOTE.replace(b"\x90", b"\x99"))
    assert notes.track_names == ("a", "b")
    notes = parse(name(b"a") + NOTE + b"\x00\x93\x40\x40\x60\x83\x40\x00", name(b"b\xe9") + NOTE)
    assert notes.track_names == ("a", "a", "bé")
    assert sorted(notes.track.tolist()) == [0, 1, 2]


def test_the_name_of_a_file_of_one_track_is_its_title() -> None:
    assert parse(name(b"Lead me home") + NOTE).track_names == ("",)


@pytest.mark.parametrize(("late", "bpm"), [(b"\x00", 60), (b"\x01", 60), (b"\x83\x60", 60), (b"\x8f\x00", 120)])
def test_the_first_tempo_may_be_set_within_the_first_beat_of_the_music(late: bytes, bpm: float) -> None:
    assert parse(late + b"\xff\x51\x03\x0f\x42\x40", NOTE).bpm == bpm


def test_of_two_tempos_at_one_time_the_last_counts_and_a_tempo_of_zero_does_not() -> None:
    tempos = [b"\x0f\x42\x40", b"\x03\xd0\x90", b"\x00\x00\x00"]
    notes = parse(b"".join(b"\x00\xff\x51\x03" + tempo for tempo in tempos) + NOTE)
    assert notes.bpm == 240
    assert notes.duration.tolist() == [0.25]


def pedal(channel: int, *values: int) -> bytes:
    """Pedal values, a beat (half a second) apart from beat 1 on."""
    return b"".join(b"\x83\x60" + bytes([0xB0 | channel, 64, value]) for value in values)


@pytest.mark.parametrize(
    ("tracks", "expected"),
    [
        ([NOTE + pedal(0, 100, 0)], [[1, 100], [1.5, 0]]),
        ([NOTE, pedal(0, 100, 0)], [[0.5, 100], [1, 0]]),
        ([NOTE, pedal(1, 100, 0)], [[0.5, 100], [1, 0]]),
        ([NOTE, pedal(0, 127), pedal(0, 64, 0)], [[0.5, 127], [0.5, 64], [1, 0]]),
        ([NOTE + pedal(0, 127, 0), NOTE.replace(b"\x90", b"\x91") + pedal(1, 0, 0, 0)], [[1, 127], [1.5, 0]]),
        ([NOTE + pedal(0, 127, 0), NOTE + pedal(0, 0, 127, 127, 0)], [[1, 127], [2.5, 0]]),
        ([NOTE + pedal(0, 127, 0), pedal(5, 127)], [[1, 127], [1.5, 0]]),
        ([NOTE + pedal(0, 0), pedal(5, 127)], [[0.5, 127]]),
        ([NOTE, NOTE.replace(b"\x90", b"\x99") + pedal(9, 127)], [[1, 127]]),
        ([NOTE + pedal(0, 0, 0)], []),
    ],
)
def test_a_pedal_counts_for_the_notes_that_it_sustains(tracks: list[bytes], expected: list[list[float]]) -> None:
    tracks = [track.replace(b"\x80\x3c\x00", b"\x90\x3c\x00") if b"\x99" not in track else track for track in tracks]
    np.testing.assert_allclose(parse(*tracks).pedal, np.array(expected).reshape(-1, 2))


def notes_by_mido(path: Path) -> list[tuple[int, int, int, int]]:
    """Start, end, pitch and velocity, where each note has its own end."""
    found = []
    for track in mido.MidiFile(path).tracks:
        tick, sounding = 0, defaultdict(list)
        for message in track:
            tick += message.time
            if message.type not in {"note_on", "note_off"}:
                continue
            key = sounding[message.channel, message.note]
            if message.type == "note_on" and message.velocity:
                key.append((tick, message.note, message.velocity))
            elif key:
                start, pitch, velocity = key.pop(0)
                found.append((start, tick, pitch, velocity))
        assert not any(sounding.values())
    return sorted(found)


def random_file(rng: np.random.Generator) -> mido.MidiFile:
    """Balanced notes among events of all other kinds, in several tracks."""
    file = mido.MidiFile(type=1, ticks_per_beat=int(rng.integers(1, 1000)))
    others = [
        lambda: mido.Message("program_change", program=int(rng.integers(128))),
        lambda: mido.Message("aftertouch", value=int(rng.integers(128))),
        lambda: mido.Message("pitchwheel", pitch=int(rng.integers(-8192, 8192))),
        lambda: mido.Message("control_change", control=64, value=int(rng.integers(128))),
        lambda: mido.Message("sysex", data=rng.integers(0, 128, 5).tolist()),
        lambda: mido.MetaMessage("text", text="x" * int(rng.integers(200))),
        lambda: mido.MetaMessage("set_tempo", tempo=int(rng.integers(1, 2**24))),
    ]
    for _ in range(rng.integers(1, 5)):
        track, sounding = mido.MidiTrack(), []
        for _ in range(rng.integers(1, 300)):
            wait = int(rng.choice([0, 1, 127, 128, 20_000, 3_000_000], p=[0.4, 0.2, 0.2, 0.15, 0.049, 0.001]))
            choice = rng.random()
            if choice < 0.5:
                note = {"note": int(rng.integers(128)), "channel": int(rng.integers(3))}
                sounding.append(note)
                track.append(mido.Message("note_on", velocity=int(rng.integers(1, 128)), time=wait, **note))
            elif choice < 0.8 and sounding:
                note = sounding.pop(int(rng.integers(len(sounding))))
                track.append(mido.Message(str(rng.choice(["note_on", "note_off"])), velocity=0, time=wait, **note))
            else:
                track.append(others[rng.integers(len(others))]().copy(time=wait))
        track.extend(mido.Message("note_off", time=1, **note) for note in sounding)
        file.tracks.append(track)
    return file


def test_notes_are_those_that_mido_reads(tmp_path: Path) -> None:
    rng = seeded_rng(7)
    compared, refused = 0, []
    for number in range(60):
        path = tmp_path / f"{number}.mid"
        file = random_file(rng)
        file.save(path)
        try:
            notes = read_notes(path)
        except DataError as error:
            refused.append(error.problem)
            continue
        ticks = np.column_stack([notes.onset_beats, notes.onset_beats + notes.duration_beats]) * file.ticks_per_beat
        columns = np.column_stack([np.round(ticks), notes.pitch, notes.velocity]).astype(int)
        assert sorted(map(tuple, columns.tolist())) == notes_by_mido(path)
        compared += 1
    assert set(refused) <= {"notes beyond 50,000 beats", "no notes"}
    assert compared > 20


def test_mutated_files_are_read_as_finite_notes_or_refused(tmp_path: Path) -> None:
    rng = seeded_rng(11)
    read = refused = 0
    for number in range(600):
        if number % 20 == 0:
            random_file(rng).save(tmp_path / "a.mid")
            original = (tmp_path / "a.mid").read_bytes()
        content = bytearray(original)
        for _ in range(rng.integers(1, 6)):
            at = int(rng.integers(len(content)))
            content[at : at + int(rng.integers(0, 3))] = rng.bytes(int(rng.integers(0, 3)))
        try:
            notes = parse_notes(bytes(content), Path("x.mid"))
        except DataError:
            refused += 1
            continue
        read += 1
        columns = (notes.onset, notes.duration, notes.onset_beats, notes.duration_beats, notes.pedal)
        assert all(np.isfinite(column).all() and (column >= 0).all() for column in columns)
        assert (np.diff(notes.onset) >= 0).all()
        assert np.isfinite(notes.bpm)
        assert notes.bpm > 0
        assert notes.pitch.max() < 128
        assert notes.velocity.min() > 0
        assert notes.track.max() < len(notes.track_names)
    assert read > 20
    assert refused > 50


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("division_zero", "header division 0"),
        ("tick_overflow", "beyond 50,000 beats"),
        ("smpte_25_40", "SMPTE time base"),
        ("sysex_f7_packets", [0.3125, 0.8125]),
        ("latin1_name", [0]),
        ("sjis_name", [0]),
        ("retrigger_no_off", [0, 0.5]),
        ("program_change_in_note", [0, 0.5]),
        ("tempo_not_at_zero", [0]),
        ("two_tempos_same_tick", [0]),
        ("on_without_off", [0]),
    ],
)
def test_handed_cases(shared_cases: Path, file: str, expected: str | list[float]) -> None:
    path = shared_cases / "midi" / f"{file}.mid"
    if isinstance(expected, str):
        with pytest.raises(DataError, match=expected):
            read_notes(path)
    else:
        np.testing.assert_allclose(read_notes(path).onset, expected)
