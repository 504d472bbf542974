"""Words that the shell completes: models, runs, settings and sources of corpora.

The shell starts a process per completion, so this module imports what a callback needs inside the callback.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import typer

from kelly_core.errors import KellyError
from kelly_core.spec import MODELS


def complete_models(incomplete: str) -> list[str]:
    """Return the list of models being typed, completed by each model whose name begins like its last item.

    Names are accepted in any case; a beginning in lower case is completed in lower case, because shells discard a
    completion that does not begin with what was typed.
    """
    before, comma, last = incomplete.rpartition(",")
    names = [spec.name.lower() if last and last.islower() else spec.name for spec in MODELS]
    return [before + comma + name for name in names if name.startswith(last)]


def complete_model(incomplete: str) -> list[str]:
    """Return the models whose names begin like the word being typed."""
    return [] if "," in incomplete else complete_models(incomplete)


def complete_runs(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the IDs of runs, and their two words, that begin like the word being typed; the latest first."""
    from kelly_core.cli.options import settings_from
    from kelly_core.runs.registry import LAST, run_ids
    from kelly_core.runs.run_dir import short_id

    config = None if ctx.parent is None else ctx.parent.params.get("config")
    try:
        names = run_ids(settings_from(config and Path(config), {}).settings.runs.dir)
    except KellyError:
        # A message would be printed into the line being typed; the command itself reports the error.
        return []
    names.reverse()
    found = [name for name in [*names, LAST] if name.startswith(incomplete)]
    # Without anything typed, the words would only repeat the IDs; an ID of another form is its own short one.
    words = [short_id(name) for name in names if incomplete and short_id(name) != name]
    return found + [name for name in words if name.startswith(incomplete)]


def complete_changes(incomplete: str) -> list[str]:
    """Return ``key=`` for the settings of a running training that can change and begin like the word being typed."""
    from kelly_core.runs.control import CHANGEABLE

    return [f"{key}=" for key in CHANGEABLE if key.startswith(incomplete)]


def complete_settings(incomplete: str) -> Iterator[tuple[str, str]]:
    """Yield (``key=``, description) of the settings that a sweep can vary and whose keys begin like the word."""
    from kelly_core.config.reference import all_settings
    from kelly_core.sweeps.plan import FIXED_SETTINGS

    for key, info in all_settings().items():
        if key.startswith(incomplete) and not key.startswith(FIXED_SETTINGS):
            yield f"{key}=", info.description


def complete_sources(incomplete: str) -> list[tuple[str, str]]:
    """Return (name, title) of the sources of corpora whose names begin like the word being typed."""
    from kelly_core.data.download.sources import SOURCES

    return [(name, source.title) for name, source in SOURCES.items() if name.startswith(incomplete)]
