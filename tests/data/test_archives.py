"""Unpacking of archives whose members are not trusted."""

from __future__ import annotations

import contextlib
import io
import stat
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from kelly_core.data.download.archives import Unpacked, read_member_list, unpack
from kelly_core.errors import DataError


def zip_of(members: Mapping[str, bytes | str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tar_of(members: Sequence[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for info, content in members:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def tar_member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


CONTENT = zip_of({f"tiny-v1/{year}/{n}.midi": bytes([n]) * 900 for year in (2004, 2006) for n in range(20)})


def unpack_bytes(folder: Path, content: bytes, limit: int = 10**6) -> Unpacked:
    """Unpack an archive with this content into ``out`` below a folder."""
    (folder / "archive").write_bytes(content)
    (folder / "out").mkdir()
    return unpack(folder / "archive", folder / "out", limit)


def link_in_zip(target: str) -> bytes:
    info = zipfile.ZipInfo("a/link")
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(info, target)
    return buffer.getvalue()


HOSTILE = {
    "zip: parent folder": zip_of({"a/../../b": b"x"}),
    "zip: parent folder of Windows": zip_of({"a\\..\\..\\b": b"x"}),
    "zip: absolute": zip_of({"/tmp/b": b"x"}),
    "zip: drive": zip_of({"C:\\b": b"x"}),
    "zip: folder outside": zip_of({"../b/": b""}),
    "zip: link outside": link_in_zip("../../etc"),
    "zip: absolute link": link_in_zip("/etc"),
    "zip: bomb": zip_of({"a/zeros": b""}),
    "tar: parent folder": tar_of([(tar_member("../b"), b"x")]),
    "tar: absolute": tar_of([(tar_member("/b"), b"x")]),
    "tar: link outside": tar_of([(tar_member("a/l", tarfile.SYMTYPE, "../../b"), b"")]),
    "tar: hard link outside": tar_of([(tar_member("a/l", tarfile.LNKTYPE, "../b"), b"")]),
    "tar: absolute hard link": tar_of([(tar_member("a/l", tarfile.LNKTYPE, "/etc/passwd"), b"")]),
    "tar: device": tar_of([(tar_member("a/d", tarfile.CHRTYPE), b"")]),
    "tar: FIFO": tar_of([(tar_member("a/f", tarfile.FIFOTYPE), b"")]),
}
with io.BytesIO() as _buffer:
    with zipfile.ZipFile(_buffer, "w", zipfile.ZIP_DEFLATED) as _archive:
        _archive.writestr("a/zeros", bytes(2**20))
    HOSTILE["zip: bomb"] = _buffer.getvalue()


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_archive_is_refused_and_leaves_nothing(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "in/archive"
    path.parent.mkdir()
    path.write_bytes(content)
    folder = tmp_path / "deep/er/out"
    folder.mkdir(parents=True)
    with pytest.raises(DataError, match="Do not use this archive"):
        unpack(path, folder, limit=100_000)
    outside = [found for found in tmp_path.rglob("*") if found.is_file() and folder not in found.parents]
    assert outside == [path]
    assert sum(found.stat().st_size for found in folder.rglob("*") if found.is_file()) <= 100_000


def test_a_member_longer_than_declared_is_refused(tmp_path: Path) -> None:
    content = bytearray(HOSTILE["zip: bomb"])
    # The size of the central directory's entry, which zipfile believes, becomes 5.
    at = content.rindex(b"PK\x01\x02") + 24
    content[at : at + 4] = (5).to_bytes(4, "little")
    with contextlib.suppress(DataError):
        unpack_bytes(tmp_path, bytes(content), limit=1000)
    assert sum(found.stat().st_size for found in (tmp_path / "out").rglob("*") if found.is_file()) <= 1000


def test_links_between_members_and_files_of_macos_are_left_out(tmp_path: Path) -> None:
    content = tar_of(
        [
            (tar_member("a/1.mid"), b"1"),
            (tar_member("a/b/l", tarfile.SYMTYPE, "../1.mid"), b""),
            (tar_member("a/h", tarfile.LNKTYPE, "a/1.mid"), b""),
            (tar_member("__MACOSX/a/._1.mid"), b"fork"),
            (tar_member("a/.DS_Store"), b"x"),
            (tar_member("a/.kelly-members"), b"forged"),
            (tar_member("a/caf\udce9.mid"), b"22"),
        ]
    )
    unpacked = unpack_bytes(tmp_path, content, limit=100)
    assert (unpacked.files, unpacked.bytes, unpacked.links, unpacked.top) == (2, 3, 2, "a")
    assert list(read_member_list(tmp_path / "out")) == [(1, "a/1.mid"), (2, "a/caf\udce9.mid")]


@pytest.mark.parametrize(
    "content",
    [CONTENT[:-2000], CONTENT[:40], b"", b"no archive at all" * 100],
    ids=["truncated", "header only", "empty", "text"],
)
def test_a_damaged_archive_is_an_error_in_words(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="damaged"):
        unpack_bytes(tmp_path, content)


def test_an_encrypted_archive_is_an_error_in_words(tmp_path: Path) -> None:
    content = bytearray(zip_of({"a/1": b"x"}))
    for header, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(header) + flags] |= 1
    with pytest.raises(DataError, match="encrypted"):
        unpack_bytes(tmp_path, bytes(content))
