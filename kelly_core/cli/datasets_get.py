"""``kelly-core datasets get`` and ``datasets verify``: download corpora, and compare them with published file lists."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kelly_core.cli.console import print_error, print_json, print_result, print_status, progress_bars
from kelly_core.cli.help import MODELS_PANEL, option
from kelly_core.cli.options import ConfigOption, DatasetsDirOption, JsonOption, settings_from
from kelly_core.config.schema import Settings
from kelly_core.errors import ConfigError, DataError
from kelly_core.formatting import format_bytes

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from kelly_core.data.download.install import Receipt, Stage
    from kelly_core.data.download.inventory import Inventory
    from kelly_core.data.download.sources import Source

_SHOWN = 10
_STAGE_LABELS = {"download": "downloading", "check": "checking", "unpack": "unpacking"}


def complete_sources(incomplete: str) -> list[tuple[str, str]]:
    """Return (name, title) of the corpus sources whose names begin with the typed text."""
    from kelly_core.data.download.sources import SOURCES

    return [(name, source.title) for name, source in SOURCES.items() if name.startswith(incomplete)]


NamesArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="NAMES", help="Names of sources, such as maestro.", autocompletion=complete_sources),
]


EverythingOption = Annotated[
    bool, option(MODELS_PANEL, "Download every downloadable source (of Lakh MIDI, only the matched part).", "--all")
]
MirrorOption = Annotated[
    list[str] | None,
    option(
        MODELS_PANEL,
        "URL of a folder with the archives, used instead of the publishers' (may be repeated; default none).",
        metavar="URL",
    ),
]
KeepArchiveOption = Annotated[bool, option(MODELS_PANEL, "Keep archives after unpacking.", "--keep-archive")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Agree to the licences without confirmation.")]


def get(
    names: NamesArgument = None,
    everything: EverythingOption = False,
    mirror: MirrorOption = None,
    keep_archive: KeepArchiveOption = False,
    yes: YesOption = False,
    datasets_dir: DatasetsDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Download corpora, compare checksums, and unpack them into the datasets folder.

    An interrupted download continues where it stopped. Installed archives are not downloaded again.

    Examples:
      kelly-core datasets get --all
      kelly-core datasets get maestro groove_midi --yes
    """
    from kelly_core.data.download.sources import SOURCES, default_sources, select_sources

    if bool(names) == everything:
        raise ConfigError("name the sources, or use --all", hint=f"The sources are {', '.join(SOURCES)}")
    settings = settings_from(config, {"datasets_dir": datasets_dir}).settings
    selected = default_sources(SOURCES) if everything else select_sources(names or [], SOURCES)
    mirrors = [_checked_mirror(url) for url in mirror or ()]
    _ask_for_agreement([source for source in selected if not _is_installed(source, settings)], yes)
    results: list[dict[str, Any]] = []
    failed = False
    for source in selected:
        result = _install_one(source, settings, mirrors, keep_archive)
        # A source that must be downloaded manually counts as failed only if the user named it.
        failed = failed or result["status"] in ("failed", "incomplete") or (not source.archives and not everything)
        results.append(result)
    if as_json:
        print_json({"datasets": results})
    if failed:
        raise typer.Exit(1)


def verify(
    names: NamesArgument = None,
    datasets_dir: DatasetsDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare installed corpora with their published lists of files: missing files and other sizes.

    Without a name, every source that is at least partly installed is compared.
    """
    from kelly_core.data.download.inventory import take_inventory
    from kelly_core.data.download.sources import SOURCES, select_sources

    settings = settings_from(config, {"datasets_dir": datasets_dir}, read_corpora=True).settings
    selected = select_sources(names, SOURCES) if names else list(SOURCES.values())
    for source in selected:
        if names and not source.kinds:
            raise ConfigError(f"{source.name} has no published list of files", hint=source.steps)
    inventories = [
        take_inventory(source, settings.datasets.folder(source.corpus)) for source in selected if source.kinds
    ]
    if not names:
        inventories = [inventory for inventory in inventories if inventory.found]
    if as_json:
        print_json({"datasets": [asdict(each) | {"complete": each.complete} for each in inventories]})
    else:
        for inventory in inventories:
            _show_inventory(inventory)
        if not inventories:
            print_status(f"no known source is installed in {settings.datasets.dir}")
    if not all(inventory.complete for inventory in inventories):
        raise typer.Exit(1)


def _checked_mirror(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f"{url!r} is not an address", where="--mirror", hint="Give http://… or https://…")
    return url


def _ask_for_agreement(sources: Sequence[Source], yes: bool) -> None:
    """Show the licences of the sources to download, and ask the user to agree.

    Raises:
        ConfigError: standard input is not a terminal, and --yes was not typed.
        Exit: the user does not agree.
    """
    if not sources:
        return
    for source in sources:
        size = sum(archive.bytes for archive in source.archives)
        amount = f", {format_bytes(size)}" if size else ""
        print_status(f"{source.name}: {source.title}{amount}")
        print_status(f"  licence: {source.license}")
    if yes:
        return
    if not sys.stdin.isatty():
        hint = "Read them above and add --yes"
        raise ConfigError("the licences need your agreement, and this is not a terminal", hint=hint)
    if not typer.confirm("Do you agree to these licences?", err=True):
        raise typer.Exit(1)


def _is_installed(source: Source, settings: Settings) -> bool:
    """Return True if no part of a source must be downloaded."""
    from kelly_core.data.download.install import missing_archives
    from kelly_core.data.download.inventory import is_complete

    folder = settings.datasets.folder(source.corpus)
    return not missing_archives(source, folder) or is_complete(source, folder)


def _install_one(source: Source, settings: Settings, mirrors: Sequence[str], keep_archive: bool) -> dict[str, Any]:
    """Install one source and return the result; print errors, so the other sources are still installed."""
    from rich.progress import DownloadColumn, TransferSpeedColumn

    from kelly_core.data.download.install import install, missing_archives
    from kelly_core.data.download.inventory import is_complete, take_inventory

    folder = settings.datasets.folder(source.corpus)
    result: dict[str, Any] = {"name": source.name, "folder": str(folder), "licence": source.license, "archives": []}
    if not source.archives:
        print_status(f"{source.name}: cannot be downloaded automatically. {source.steps} into {folder}")
        return result | {"status": "by hand", "steps": f"{source.steps} into {folder}"}
    try:
        if missing_archives(source, folder) and is_complete(source, folder):
            print_status(f"{source.name}: complete in {folder}, installed by other means; nothing to do")
            return result | {"status": "present"}
        with progress_bars(DownloadColumn(), TransferSpeedColumn()) as bars:
            listener = _Display(source.name, bars)
            receipts = install(
                source, folder, settings.datasets.dir, listener, mirrors=mirrors, keep_archives=keep_archive
            )
        inventory = take_inventory(source, folder)
    except DataError as error:
        print_error(source.name, str(error))
        return result | {"status": "failed", "error": str(error)}
    except KeyboardInterrupt:
        print_status(f"{source.name}: interrupted; repeat the command to continue")
        raise
    result["archives"] = [asdict(receipt) for receipt in receipts]
    for receipt in receipts:
        print_status(f"{source.name}: {_describe_receipt(receipt)}")
    if not inventory.complete:
        hint = f"Remove {receipts[0].folder} and run the command again"
        print_error(source.name, f"{len(inventory.missing)} of its {inventory.expected} files are missing. {hint}")
        return result | {"status": "incomplete"}
    return result | {"status": "present" if all(each.status == "present" for each in receipts) else "installed"}


def _describe_receipt(receipt: Receipt) -> str:
    files = f"{receipt.files:,} {'file' if receipt.files == 1 else 'files'} in {receipt.folder}"
    if receipt.status == "present":
        return f"{receipt.archive} is installed already: {files}"
    kept = f"; the archive is kept in {receipt.kept}" if receipt.kept else ""
    return f"{receipt.archive}, {receipt.bytes:,} bytes, {receipt.sum}: {files}{kept}"


class _Display:
    """Progress of archives: bars on a terminal, one line per stage elsewhere."""

    def __init__(self, name: str, bars: Progress) -> None:
        self._name, self._bars = name, bars
        self._tasks: dict[tuple[str, str], TaskID] = {}

    def progress(self, file: str, stage: Stage, done: int, total: int) -> None:
        """Show the number of processed bytes, and the total number if it is known (not 0)."""
        key = (file, stage)
        if key not in self._tasks:
            if not self._bars.console.is_terminal:
                print_status(f"{self._name}: {_STAGE_LABELS[stage]} {file}" + (f", {total:,} bytes" if total else ""))
            # Only the current stage has a visible bar.
            for task in self._tasks.values():
                self._bars.update(task, visible=False)
            self._tasks[key] = self._bars.add_task(
                f"{_STAGE_LABELS[stage]} {file}", total=total or None, completed=done
            )
        self._bars.update(self._tasks[key], completed=done, total=total or None)

    def note(self, text: str) -> None:
        """Print a message to the user."""
        self._bars.console.print(f"{self._name}: {text}", soft_wrap=True)


def _show_inventory(inventory: Inventory) -> None:
    state = "complete" if inventory.complete else "INCOMPLETE"
    print_result(
        f"{inventory.source}: {state}, {inventory.found:,} of {inventory.expected:,} files by {inventory.basis}"
    )
    for label, names in (("missing", inventory.missing), ("other size", inventory.other_size)):
        for name in names[:_SHOWN]:
            print_result(f"  {label}: {name}")
        if len(names) > _SHOWN:
            print_result(f"  … {len(names) - _SHOWN:,} more {label}")
