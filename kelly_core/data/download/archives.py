"""Unpacking of ZIP and TAR archives whose members are not trusted."""

from __future__ import annotations

import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from kelly_core.errors import DataError
from kelly_core.formatting import format_bytes, printable
from kelly_core.io.atomic import write_error

OWN_PREFIX = ".kelly-"
"""Prefix of files that this program adds to an unpacked folder; members with this prefix are left out."""
MEMBER_LIST = f"{OWN_PREFIX}members"
"""File in an unpacked folder: one line ``size<TAB>path`` per member, with backslash escapes."""

ARCHIVE_ENDINGS = (".tar.gz", ".tar.bz2", ".tar.xz", ".tgz", ".tar", ".zip")

_CHUNK = 2**20
_MAX_MEMBERS = 2_000_000
_SKIPPED_FOLDER = "__MACOSX"
_SKIPPED_FILE = ".DS_Store"
_RESOURCE_FORK = "._"
_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError)

ByteProgress = Callable[[int, int], None]
"""Called with the number of bytes read from the archive and its total bytes."""


@dataclass(frozen=True)
class Unpacked:
    """Result of unpacking an archive.

    Attributes:
        files, bytes: number and sum of sizes of the files.
        links: links between members, which are left out.
        top: name of the only folder at the top, "" if there are several entries.
    """

    files: int
    bytes: int
    links: int
    top: str


@dataclass(frozen=True)
class _Member:
    """A regular file in an archive: its raw name, its declared size, and how to open it (None for a link)."""

    name: str
    size: int
    open: Callable[[], IO[bytes]] | None
    link_target: str
    position: int


def is_archive(path: Path) -> bool:
    """Return True if the name is that of a ZIP or TAR archive."""
    return path.name.lower().endswith(ARCHIVE_ENDINGS)


def unpack(path: Path, folder: Path, limit: int, progress: ByteProgress = lambda _done, _total: None) -> Unpacked:
    """Unpack an archive into an empty folder and write ``MEMBER_LIST`` next to the members.

    Permissions, owners and times are not preserved. Resource forks of macOS, ``.DS_Store`` and links to other
    members are left out.

    Args:
        path: the archive, ZIP or TAR with any compression.
        folder: an existing, empty folder.
        limit: maximum total bytes of the members.
        progress: called after each member.

    Raises:
        DataError: a member has an absolute path or ``..`` in it, is a link out of the archive or a device, or the
            members exceed the limit; the archive is damaged; a file cannot be written.
    """
    total = path.stat().st_size
    files = written = links = 0
    tops: set[str] = set()
    try:
        with (folder / MEMBER_LIST).open("w", encoding="utf-8", errors="surrogateescape") as listed:
            for count, member in enumerate(_members(path)):
                if count >= _MAX_MEMBERS:
                    raise DataError(f"has more than {_MAX_MEMBERS:,} members", where=path)
                parts = _safe_parts(member.name, path)
                if not parts or _is_skipped(parts):
                    continue
                if member.open is None:
                    _check_link(parts, member.link_target, path)
                    links += 1
                    continue
                if written + member.size > limit:
                    raise _too_large(path, limit)
                size = _copy(member.open(), folder.joinpath(*parts), limit - written, path)
                # A line break in a name would begin another line of the list.
                name = "/".join(parts).replace("\\", "\\\\").replace("\n", "\\n")
                listed.write(f"{size}\t{name}\n")
                files += 1
                written += size
                tops.add(parts[0] if len(parts) > 1 else "")
                progress(min(member.position, total), total)
    except _DAMAGED as error:
        raise DataError(f"is damaged ({error})", where=path, hint="Remove it and get it again") from error
    except RuntimeError as error:  # zipfile raises it for encrypted members
        raise DataError(f"cannot be unpacked ({error})", where=path) from error
    except OSError as error:
        raise write_error(Path(error.filename or folder), error, DataError) from error
    top = tops.pop() if len(tops) == 1 else ""
    return Unpacked(files, written, links, top)


def read_member_list(folder: Path) -> Iterator[tuple[int, str]]:
    """Yield size and path of each member that was unpacked into ``folder``; nothing if it has no list."""
    try:
        file = (folder / MEMBER_LIST).open(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return
    with file:
        for line in file:
            size, _, name = line.rstrip("\n").partition("\t")
            if size.isdecimal():
                yield int(size), name.replace("\\n", "\n").replace("\\\\", "\\")


def _members(path: Path) -> Iterator[_Member]:
    return _zip_members(path) if zipfile.is_zipfile(path) else _tar_members(path)


def _zip_members(path: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            # The upper half is the Unix file mode; 0 if another system packed the archive.
            mode = info.external_attr >> 16
            kind = stat.S_IFMT(mode)
            if info.is_dir():
                _safe_parts(info.filename, path)
            elif kind == stat.S_IFLNK:
                # A target that is too long for a path is rejected like one outside the archive.
                target = archive.read(info) if info.file_size < 4096 else b"/"
                yield _Member(info.filename, 0, None, os.fsdecode(target), info.header_offset)
            elif kind not in (0, stat.S_IFREG):
                raise _not_a_file(info.filename, path)
            else:
                yield _Member(info.filename, info.file_size, partial(archive.open, info), "", info.header_offset)


def _tar_members(path: Path) -> Iterator[_Member]:
    # As a stream: seeking backward in a compressed archive would start again from its beginning.
    with path.open("rb") as file, closing(tarfile.open(fileobj=file, mode="r|*", errorlevel=2)) as archive:
        while (info := archive.next()) is not None:
            # tarfile keeps every member in memory: 1 kB each, for 178,561 files of Lakh.
            archive.members.clear()  # type: ignore[attr-defined]
            if info.isdir():
                _safe_parts(info.name, path)
            elif info.issym() or info.islnk():
                # The target of a hard link is relative to the root, the target of a symbolic link to the link's folder.
                target = info.linkname if info.issym() else _from_folder(info)
                yield _Member(info.name, 0, None, target, file.tell())
            elif not info.isfile():
                raise _not_a_file(info.name, path)
            else:
                yield _Member(info.name, info.size, partial(_open_member, archive, info), "", file.tell())


def _from_folder(info: tarfile.TarInfo) -> str:
    if info.linkname.startswith("/"):
        return info.linkname
    return "../" * (len(PurePosixPath(info.name).parts) - 1) + info.linkname


def _open_member(archive: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    file = archive.extractfile(info)
    assert file is not None, "a regular file has content"
    return file


def _safe_parts(name: str, path: Path) -> tuple[str, ...]:
    """Return the folders and the file of a member's name; a backslash also separates, as on Windows."""
    plain = name.replace("\\", "/")
    parts = [part for part in plain.split("/") if part not in ("", ".")]
    has_drive = bool(parts) and len(parts[0]) > 1 and parts[0][1] == ":"
    if plain.startswith("/") or has_drive or ".." in parts or "\0" in name:
        raise DataError(
            f"has a member outside of its folder: {printable(name)}", where=path, hint="Do not use this archive"
        )
    return tuple(parts)


def _is_skipped(parts: tuple[str, ...]) -> bool:
    return _SKIPPED_FOLDER in parts or parts[-1] == _SKIPPED_FILE or parts[-1].startswith((_RESOURCE_FORK, OWN_PREFIX))


def _check_link(parts: tuple[str, ...], target: str, path: Path) -> None:
    """Refuse a link that leads out of the archive."""
    depth = len(parts) - 1
    for step in target.split("/"):
        depth += {"": 0, ".": 0, "..": -1}.get(step, 1)
        if depth < 0:
            break
    if target.startswith("/") or depth < 0:
        shown = f"{printable('/'.join(parts))} -> {printable(target)}"
        raise DataError(f"has a link out of its folder: {shown}", where=path, hint="Do not use this archive")


def _not_a_file(name: str, path: Path) -> DataError:
    problem = f"has a member that is neither file nor folder: {printable(name)}"
    return DataError(problem, where=path, hint="Do not use this archive")


def _too_large(path: Path, limit: int) -> DataError:
    problem = f"unpacks to more than the maximum of {format_bytes(limit)}"
    return DataError(problem, where=path, hint="Do not use this archive")


def _copy(content: IO[bytes], target: Path, limit: int, path: Path) -> int:
    """Write a member's content and return its size; of two members with the same path the later one is kept."""
    target.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    # The declared size of a member may be wrong, so the limit applies to the bytes that are read.
    with content as source, target.open("wb") as file:
        while chunk := source.read(_CHUNK):
            written += len(chunk)
            if written > limit:
                raise _too_large(path, limit)
            file.write(chunk)
    return written


def remove_tree(folder: Path) -> None:
    """Remove a folder left by an interrupted unpacking; do nothing if it does not exist.

    Raises:
        DataError: it cannot be removed.
    """
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return
    except OSError as error:
        raise DataError(f"cannot be removed ({error.strerror})", where=error.filename or folder) from error
