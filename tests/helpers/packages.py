"""Python packages that are installed without pip: a folder on ``PYTHONPATH`` with the metadata of each."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path


def write_metadata(site: Path, name: str, groups: Mapping[str, Mapping[str, str]]) -> None:
    """Write the metadata of a package with entry points into ``site``, as an installer does."""
    folder = site / f"{name.replace('-', '_')}-0.1.0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1.0\n")
    lines = [
        f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in names.items())
        for group, names in groups.items()
    ]
    (folder / "entry_points.txt").write_text("\n".join(lines))


def install(project: Path, site: Path) -> None:
    """Write the metadata of a project as its pyproject.toml gives it; ``environment`` finds modules in its folder."""
    about = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    write_metadata(site, about["name"], about["entry-points"])


def environment(*paths: Path) -> dict[str, str]:
    """Return the environment of a process that finds modules and metadata in ``paths``, too."""
    known = [path for path in (os.environ.get("PYTHONPATH"), str(Path(__file__).parents[2])) if path]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([*map(str, paths), *known])}
