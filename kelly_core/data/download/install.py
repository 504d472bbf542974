"""Installation of a source: download, checksum, unpacking to a temporary folder, and one rename into the corpus."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol
from zipfile import is_zipfile

from kelly_core.data.download.archives import (
    ARCHIVE_ENDINGS,
    MEMBER_LIST,
    OWN_PREFIX,
    Unpacked,
    is_archive,
    remove_tree,
    unpack,
)
from kelly_core.data.download.sources import Archive, Source
from kelly_core.data.download.transfer import Downloaded, UnavailableError, discard_part, download, part_of
from kelly_core.data.files import is_folder
from kelly_core.errors import DataError
from kelly_core.formatting import format_bytes
from kelly_core.io.atomic import open_for_reading, write_error
from kelly_core.io.locks import FileLock

DOWNLOADS = ".downloads"
"""Folder in the datasets folder for partial downloads, kept archives, locks and unfinished unpackings."""
RECEIPT = f"{OWN_PREFIX}archive.json"
"""File in an unpacked folder that records its archive. It exists only if the folder is complete."""

_MAX_RATIO = 50
"""Maximum unpacked bytes per byte of an archive; the registered corpora have at most 12."""
_UNPACKED_ALLOWANCE = 64 * 2**20
_BLOCK = 4096
_SIZE_SLACK = 64 * 2**20
_WAIT_SECONDS = 0.5
_CHUNK = 2**20
_NOTHING_UNPACKED = "Nothing was unpacked. Try again later, or name another --mirror"

Stage = Literal["download", "check", "unpack"]
InstallStatus = Literal["installed", "present"]


class InstallListener(Protocol):
    """Receives the progress of one archive."""

    def progress(self, file: str, stage: Stage, done: int, total: int) -> None:
        """Receive the number of bytes done and the total, 0 if not known."""

    def note(self, text: str) -> None:
        """Show a message to the user."""


@dataclass(frozen=True)
class Receipt:
    """Result of installing an archive.

    Attributes:
        archive: name of the file.
        bytes: its size.
        sum: its checksum, ``sha256:<hex>`` or ``md5:<hex>``.
        files: number of unpacked files.
        unpacked_bytes: their total size.
        folder: folder that contains them.
        url: where the archive came from.
        status: "installed" by this call, or "present" before it.
        received: bytes downloaded by this call.
        kept: path of the archive if it was kept, else "".
        top: name of the archive's top folder, the first part of the paths in its member list; "" if there is none.
    """

    archive: str
    bytes: int
    sum: str
    files: int
    unpacked_bytes: int
    folder: str
    url: str
    status: InstallStatus = "installed"
    received: int = 0
    kept: str = ""
    top: str = ""


def installed(corpus_folder: Path, archive: Archive) -> Receipt | None:
    """Return the receipt of an archive that was unpacked below a corpus folder, None if it was not."""
    try:
        with os.scandir(corpus_folder) as entries:
            folders = sorted(entry.path for entry in entries if is_folder(entry))
    except OSError:
        return None
    receipts = (_read_receipt(Path(folder)) for folder in folders)
    return next((each for each in receipts if each is not None and each.archive == archive.file), None)


def missing_archives(source: Source, corpus_folder: Path) -> list[Archive]:
    """Return the archives of a source that are not unpacked yet."""
    return [archive for archive in source.archives if installed(corpus_folder, archive) is None]


def install(
    source: Source,
    corpus_folder: Path,
    datasets_dir: Path,
    listener: InstallListener,
    *,
    mirrors: Sequence[str] = (),
    keep_archives: bool = False,
) -> list[Receipt]:
    """Install every archive of a source that is not installed yet.

    Args:
        source: a source with archives.
        corpus_folder: receives one folder per archive, which appears only when it is complete.
        datasets_dir: folder in which archives from the user replace downloads; its folder ``DOWNLOADS`` stores partial
            files.
        listener: receives progress and notes.
        mirrors: URLs of folders that contain the archives by name, used instead of the published URLs.
        keep_archives: keep each archive after it was unpacked.

    Raises:
        DataError: no URL has an archive, its checksum is wrong, it is not safe to unpack, or there is not enough space.
    """
    downloads = datasets_dir / DOWNLOADS
    _make_folder(downloads)
    with _locked(downloads / f"{source.name}.lock", listener):
        _require_space(missing_archives(source, corpus_folder), downloads)
        return [
            _install_archive(archive, corpus_folder, datasets_dir, listener, mirrors, keep_archives)
            for archive in source.archives
        ]


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(folder, error, DataError) from error


@contextlib.contextmanager
def _locked(path: Path, listener: InstallListener) -> Iterator[None]:
    """Hold the lock of a source; a second process waits until the source is installed."""
    lock = FileLock.acquire(path, 0.0, error_type=DataError)
    if lock is None:
        listener.note("another process is downloading it; waiting until it ends")
    while lock is None:
        lock = FileLock.acquire(path, _WAIT_SECONDS, error_type=DataError)
    try:
        yield
    finally:
        lock.release()


def _require_space(archives: Sequence[Archive], downloads: Path) -> None:
    """Check that there is enough space for the archives and their unpacked files.

    Raises:
        DataError: there is not enough space; nothing was downloaded.
    """
    needed = 0
    for archive in archives:
        kept = downloads / archive.file
        there = max((path.stat().st_size for path in (kept, part_of(kept)) if path.is_file()), default=0)
        # On average, half of a file's last block is unused.
        needed += max(0, archive.bytes - there) + archive.unpacked + archive.files * _BLOCK // 2
    free = shutil.disk_usage(downloads).free
    if needed > free:
        problem = f"needs about {format_bytes(needed)}, and {format_bytes(free)} are free"
        raise DataError(problem, where=downloads.parent, hint="Free some space, or name another --datasets-dir")


def _install_archive(
    archive: Archive,
    corpus_folder: Path,
    datasets_dir: Path,
    listener: InstallListener,
    mirrors: Sequence[str],
    keep: bool,
) -> Receipt:
    present = installed(corpus_folder, archive)
    if present is not None:
        return present
    downloads = datasets_dir / DOWNLOADS
    own = downloads / archive.file
    path = next(_existing_archives(archive, corpus_folder, datasets_dir, listener), None)
    fetched = Downloaded("", 0, 0, "")
    if path is None:
        fetched = _fetch(archive, own, listener, mirrors)
        path = own
    receipt = _put_in_place(archive, path, corpus_folder, downloads, listener, fetched)
    if keep or path != own:
        return replace(receipt, kept=str(path))
    path.unlink()
    return receipt


def _existing_archives(
    archive: Archive, corpus_folder: Path, datasets_dir: Path, listener: InstallListener
) -> Iterator[Path]:
    """Yield archives on disk with the right checksum: kept ones and those that the user downloaded."""
    for folder in (datasets_dir / DOWNLOADS, datasets_dir, corpus_folder):
        path = folder / archive.file
        if not path.is_file() or not archive.checksum:
            continue
        found = checksum_of(path, archive.checksum, listener, archive.file)
        if found == archive.checksum:
            yield path
        else:
            listener.note(f"{path} is ignored: expected {archive.checksum}, got {found}")


def _fetch(archive: Archive, target: Path, listener: InstallListener, mirrors: Sequence[str]) -> Downloaded:
    """Download an archive from the first URL that delivers the right file."""
    refused: list[str] = []
    for url in [f"{mirror.rstrip('/')}/{archive.file}" for mirror in mirrors] or archive.urls:
        try:
            got, problem = _fetch_from(url, archive, target, listener, from_publisher=not mirrors)
        except UnavailableError as error:
            problem = error.problem
        if not problem:
            part_of(target).replace(target)
            discard_part(target)
            return got
        refused.append(f"{url}: {problem}")
    kept = part_of(target).stat().st_size if part_of(target).is_file() else 0
    hint = f"{format_bytes(kept)} are kept; repeat the command to continue" if kept else _NOTHING_UNPACKED
    raise DataError("; ".join(refused), where=archive.file, hint=hint)


def _fetch_from(
    url: str, archive: Archive, target: Path, listener: InstallListener, *, from_publisher: bool
) -> tuple[Downloaded, str]:
    """Download an archive; also return the reason why it is not the right one, "" if it is.

    A file joined from two attempts is downloaded again completely if its checksum is wrong. If a file is shorter than
    recorded and the server did not send its length, the download is continued: the connection may have broken.
    """
    size = 0
    while True:
        got = download(
            url,
            target,
            limit=2 * archive.bytes + _SIZE_SLACK if archive.bytes else 0,
            trust_any=bool(archive.checksum) and not archive.rebuilt,
            progress=lambda done, total: listener.progress(archive.file, "download", done, total or archive.bytes),
        )
        problem = _problem(archive, got, target, listener, from_publisher=from_publisher)
        before, size = size, part_of(target).stat().st_size
        if problem and not got.is_sized and before < size < archive.bytes and not _web_page(got):
            listener.note(f"{archive.file}: {size:,} of {archive.bytes:,} bytes; continuing")
            continue
        if problem:
            discard_part(target)
        if not (problem and got.resumed):
            return got, problem
        listener.note(f"{archive.file}: {problem}; downloading it again from the beginning")


def _problem(
    archive: Archive, got: Downloaded, target: Path, listener: InstallListener, *, from_publisher: bool
) -> str:
    """Return why a download is not the archive, "" if it is."""
    part, web_page = part_of(target), _web_page(got)
    size = part.stat().st_size
    if not archive.checksum:
        if size != archive.bytes:
            return f"wrong size: expected {archive.bytes:,} bytes, got {size:,}{web_page}"
        listener.note(f"{archive.file} has no published checksum: only its size was checked")
        return ""
    found = checksum_of(part, archive.checksum, listener, archive.file)
    if found == archive.checksum:
        if archive.bytes not in (0, size):
            listener.note(
                f"{archive.file} has the right checksum, but {size:,} bytes instead of the {archive.bytes:,} noted"
            )
        return ""
    problem = f"wrong checksum: expected {archive.checksum}, got {found}, {size:,} bytes{web_page}"
    if archive.rebuilt and from_publisher and is_zipfile(part):
        listener.note(f"{archive.file}: {problem}. Its publisher packs it on demand, so it is used anyway")
        return ""
    return problem


def _web_page(got: Downloaded) -> str:
    return " (the server sent a web page)" if got.content_type.startswith("text/html") else ""


def checksum_of(path: Path, like: str, listener: InstallListener | None = None, name: str = "") -> str:
    """Return the checksum of a file in the form and by the algorithm of ``like``, SHA-256 if that is "".

    Raises:
        DataError: the file cannot be read.
    """
    algorithm = like.partition(":")[0] or "sha256"
    digest = hashlib.new(algorithm)
    done = 0
    with open_for_reading(path, DataError) as file:
        total = path.stat().st_size
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            done += len(chunk)
            if listener is not None:
                listener.progress(name, "check", done, total)
    return f"{algorithm}:{digest.hexdigest()}"


def _put_in_place(
    archive: Archive, path: Path, corpus_folder: Path, downloads: Path, listener: InstallListener, fetched: Downloaded
) -> Receipt:
    """Unpack to a temporary folder, add the receipt, and rename the folder into the corpus folder in one step."""
    staging = downloads / f"{archive.file}.unpacked"
    # A killed process may have left this folder.
    remove_tree(staging)
    try:
        _make_folder(staging)
        _make_folder(corpus_folder)
        unpacked = _unpack(archive, path, staging, listener)
        whole = staging / unpacked.top
        target = corpus_folder / (unpacked.top or archive.folder or _stem(archive.file))
        receipt = Receipt(
            archive=archive.file,
            bytes=path.stat().st_size,
            sum=archive.checksum or checksum_of(path, ""),
            files=unpacked.files,
            unpacked_bytes=unpacked.bytes,
            folder=str(target),
            url=fetched.url or str(path),
            received=fetched.received,
            top=unpacked.top,
        )
        if unpacked.links:
            listener.note(f"{archive.file}: {unpacked.links} links between members are left out")
        _commit(staging, whole, target, receipt, path)
    finally:
        remove_tree(staging)
    return receipt


def _commit(staging: Path, whole: Path, target: Path, receipt: Receipt, archive: Path) -> None:
    if target.exists():
        hint = f"Move it away and run the command again; the archive is in {archive}"
        raise DataError("already exists and was not unpacked by this command", where=target, hint=hint)
    try:
        if whole != staging:
            (staging / MEMBER_LIST).replace(whole / MEMBER_LIST)
        (whole / RECEIPT).write_text(json.dumps(asdict(receipt), indent=2))
        # All members reach the disk before the folder gets its name: one sync instead of one for each of 178,561 files.
        os.sync()
        whole.rename(target)
    except OSError as error:
        raise write_error(target, error, DataError) from error


def _unpack(archive: Archive, path: Path, staging: Path, listener: InstallListener) -> Unpacked:
    size = path.stat().st_size
    if is_archive(path):
        # Prevents an archive from filling the disk by unpacking to far more than expected.
        limit = min(size * _MAX_RATIO, 4 * archive.unpacked) + _UNPACKED_ALLOWANCE
        return unpack(path, staging, limit, lambda done, total: listener.progress(archive.file, "unpack", done, total))
    try:
        shutil.copyfile(path, staging / archive.file)
        (staging / MEMBER_LIST).write_text(f"{size}\t{archive.file}\n")
    except OSError as error:
        raise write_error(staging / archive.file, error, DataError) from error
    return Unpacked(1, size, 0, "")


def _stem(file: str) -> str:
    ending = next((ending for ending in ARCHIVE_ENDINGS if file.lower().endswith(ending)), "")
    return file[: -len(ending)] if ending else file.rpartition(".")[0] or file


def _read_receipt(folder: Path) -> Receipt | None:
    try:
        content: Any = json.loads((folder / RECEIPT).read_bytes())
        return replace(Receipt(**content), status="present", received=0, kept="", folder=str(folder))
    except (OSError, ValueError, TypeError):
        # A folder without a receipt, or with a damaged one, was not completed by this program.
        return None
