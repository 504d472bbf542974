"""State of the screens that is kept for the next start: for the user, and for each project."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any

from kelly_tui.state_store import load_state, save_state

_NAME = "screens"
_MAX_PROJECTS = 50


class ProjectState:
    """What the screens remember; files are written in threads, since a busy disk can block a writer for a second.

    Args:
        folder: working folder; its absolute path names the project.
        read_only: write nothing.
        in_thread: runs a function in a thread.
        report: is called in a thread with an error that prevented writing, once for each error.

    Attributes:
        shared: state that all projects share, such as the theme; changed by ``save``.
    """

    def __init__(
        self,
        folder: Path,
        *,
        read_only: bool,
        in_thread: Callable[[Callable[[], None]], object],
        report: Callable[[str], object],
    ) -> None:
        self.shared = load_state(_NAME)
        self._project = str(folder.absolute())
        self._read_only, self._in_thread, self._report = read_only, in_thread, report
        self._problem = ""
        self._unwritten: dict[str, dict[str, Any]] = {}
        self._one_writer = Lock()

    def remembered(self, name: str) -> dict[str, Any]:
        """Return what was remembered under a name in this project."""
        projects = self.shared.get("projects")
        project = projects.get(self._project) if isinstance(projects, dict) else None
        kept = project.get(name) if isinstance(project, dict) else None
        return kept if isinstance(kept, dict) else {}

    def remember(self, name: str, **what: object) -> None:
        """Remember values under a name for the next start in this project."""
        kept = self.remembered(name)
        if all(kept.get(key) == value for key, value in what.items()):
            return
        projects = self.shared.get("projects")
        projects = dict(projects) if isinstance(projects, dict) else {}
        project = projects.pop(self._project, {})
        # The project in use comes last; those that were not used for longest are dropped.
        projects[self._project] = (project if isinstance(project, dict) else {}) | {name: kept | what}
        for oldest in list(projects)[:-_MAX_PROJECTS]:
            del projects[oldest]
        self.save(projects=projects)

    def save(self, **what: object) -> None:
        """Save values that all projects share."""
        self.shared |= what
        self.keep(_NAME, self.shared)

    def keep(self, name: str, content: dict[str, Any]) -> None:
        """Save a state of its own under a name; a read-only session saves nothing."""
        if not self._read_only:
            self._unwritten[name] = dict(content)
            self._in_thread(self._write)

    def _write(self) -> None:
        with self._one_writer:
            while self._unwritten:
                former, self._problem = self._problem, save_state(*self._unwritten.popitem())
                if self._problem not in ("", former):
                    self._report(self._problem)
