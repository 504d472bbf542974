"""State shared by all screens: start options and settings."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kelly_core.config.loading import DEFAULT_FILE, LoadedSettings, flatten, for_every_model, load_settings
from kelly_core.config.schema import Settings
from kelly_core.errors import ConfigError


@dataclass(frozen=True)
class Options:
    """Start options.

    Attributes:
        config: settings file; None reads ``config.toml`` in the working folder if it exists.
        read_only: only watch; write no file and send no request to a run.
        demo: start with a training on synthetic data.
        ascii: draw with ASCII characters only.
        theme: name of the color theme; "" for the last one used.
    """

    config: Path | None = None
    read_only: bool = False
    demo: bool = False
    ascii: bool = False
    theme: str = ""


class Session:
    """Current settings, and the error if the settings file is invalid."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self._overrides: dict[str, tuple[str, object]] = _demo_settings() if options.demo else {}
        self.loaded = LoadedSettings(Settings(), {})
        self.problem = ""
        self.reload()

    @property
    def settings(self) -> Settings:
        """All settings."""
        return self.loaded.settings

    @property
    def config_path(self) -> Path:
        """Path of the settings file, which can be missing."""
        return self.options.config or DEFAULT_FILE

    @property
    def config_options(self) -> tuple[str, ...]:
        """Option that makes ``kelly-core`` read the same file."""
        return () if self.options.config is None else ("--config", str(self.options.config))

    def command_text(self, words: Sequence[str]) -> str:
        """Return a ``kelly-core`` command line as a user would type it."""
        variables = self.variables if words[0] in ("runs", "train") else ()
        # Only the value is quoted: a shell would run a quoted NAME=value as a program.
        assigned = [f"{name}={shlex.quote(value)}" for name, _, value in (each.partition("=") for each in variables)]
        return " ".join([*assigned, shlex.join(("kelly-core", *words))])

    @property
    def variables(self) -> tuple[str, ...]:
        """Environment variables that make ``kelly-core`` find the runs of a demo, as ``NAME=value``."""
        return (f"KELLY_RUNS_DIR={self.settings.runs.dir}",) if self.options.demo else ()

    @property
    def demo_options(self) -> tuple[str, ...]:
        """Options of ``kelly-core train`` that are equivalent to the demo; () without a demo."""
        return ("--use-synthetic", "--output", str(self.settings.output.dir)) if self.options.demo else ()

    @property
    def config_argument(self) -> str:
        """Settings file for a worker, "" for the default."""
        return "" if self.options.config is None else str(self.options.config)

    def load(self, typed: Mapping[str, tuple[str, object]]) -> LoadedSettings:
        """Return the settings with edits applied.

        Raises:
            ConfigError: a value that was typed or is in the file or the environment is invalid.
        """
        return load_settings(self.options.config, for_every_model({**self._overrides, **typed}))

    def reload(self) -> None:
        """Read the settings again; after an error, ``problem`` contains its text and the defaults apply."""
        try:
            self.loaded = self.load({})
            self.problem = ""
        except ConfigError as error:
            values = flatten(Settings().model_dump(mode="json"))
            self.loaded = LoadedSettings(Settings(), dict.fromkeys(values, "default"))
            self.problem = str(error)


def _demo_settings() -> dict[str, tuple[str, object]]:
    """Return settings for the demo: synthetic data, and a temporary output folder that the system removes."""
    folder = Path(tempfile.mkdtemp(prefix="kelly-demo-"))
    return {
        "datasets.use_synthetic": ("--demo", True),
        "output.dir": ("--demo", folder / "models"),
        "runs.dir": ("--demo", folder / "runs"),
    }
