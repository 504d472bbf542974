"""What all screens share: how the program was started, and the settings in force."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kelly_core.cli.options import settings_from
from kelly_core.config.keys import flatten
from kelly_core.config.schema import DEFAULT_FILE, LoadedSettings, Settings
from kelly_core.errors import ConfigError


@dataclass(frozen=True)
class Options:
    """How the program was started.

    Attributes:
        config: settings file; None reads ``config.toml`` of the working folder if there is one.
        read_only: only watch; write no file and ask nothing of a run.
        demo: begin with a training on synthetic data.
        ascii: draw with ASCII_FILTER characters only.
        theme: name of the colours; "" takes the last used.
    """

    config: Path | None = None
    read_only: bool = False
    demo: bool = False
    ascii: bool = False
    theme: str = ""


class Session:
    """The settings in force, and why they are not those of the file if it cannot be used."""

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
        """The settings file, which need not exist."""
        return self.options.config or DEFAULT_FILE

    @property
    def config_words(self) -> tuple[str, ...]:
        """The option that makes ``kelly-core`` read the same file."""
        return () if self.options.config is None else ("--config", str(self.options.config))

    @property
    def config_argument(self) -> str:
        """The settings file for a worker, "" for the usual one."""
        return "" if self.options.config is None else str(self.options.config)

    def load(self, typed: Mapping[str, tuple[str, object]]) -> LoadedSettings:
        """The settings as they would be with something typed.

        Raises:
            ConfigError: what is typed, or what the file or the environment says, cannot be used.
        """
        return settings_from(self.options.config, {**self._overrides, **typed})

    def reload(self) -> None:
        """Read the settings again; ``problem`` says why the defaults are shown instead, if they are."""
        try:
            self.loaded = self.load({})
            self.problem = ""
        except ConfigError as error:
            values = flatten(Settings().model_dump(mode="json"))
            self.loaded = LoadedSettings(Settings(), dict.fromkeys(values, "default"))
            self.problem = str(error)


def _demo_settings() -> dict[str, tuple[str, object]]:
    """Generated data, and a folder of its own that the system clears away, so that a first look leaves nothing."""
    folder = Path(tempfile.mkdtemp(prefix="kelly-demo-"))
    return {
        "datasets.use_synthetic": ("--demo", True),
        "output.dir": ("--demo", folder / "models"),
        "runs.dir": ("--demo", folder / "runs"),
    }
