"""Requests of observers to a run, one per line of its control file."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from kelly_core.bounds import Count
from kelly_core.errors import RunError
from kelly_core.io.atomic import open_for_writing
from kelly_core.io.jsonl import LineTail


@dataclass(frozen=True)
class Request:
    """One request of an observer.

    Attributes:
        attempt: the attempt that is meant; a later one must not obey it.
        kind: stop, pause, resume after a pause, or rollback of one model to its best weights.
        at_once: stop without finishing the current step or whatever else is being done.
        after_epochs: stop after this number of further complete epochs; 0 stops after the current step.
        model: which one to roll back.
    """

    attempt: Count
    kind: Literal["stop", "pause", "resume", "rollback"]
    at_once: bool = False
    after_epochs: Count = 0
    model: str = ""


def send(path: Path, request: Request) -> None:
    """Append a request.

    Raises:
        RunError: the file cannot be written.
    """
    try:
        handle = open_for_writing(path, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(handle, json.dumps(asdict(request)).encode() + b"\n")
        finally:
            os.close(handle)
    except OSError as error:
        hint = "A SIGTERM to the training's process stops it, too"
        raise RunError(f"cannot be written ({error.strerror})", where=path, hint=hint) from error


class Inbox:
    """Reads the requests to one attempt, each once; other lines are ignored."""

    def __init__(self, path: Path, attempt: int) -> None:
        self._tail = LineTail(path)
        self._attempt = attempt
        self._adapter = TypeAdapter(Request)

    def read(self) -> list[Request]:
        """Return requests that arrived since the last call."""
        found = []
        while lines := self._tail.read():
            found += [request for request in map(self._request, lines) if request]
        return [request for request in found if request.attempt == self._attempt]

    def _request(self, line: bytes) -> Request | None:
        try:
            return self._adapter.validate_json(line)
        except ValidationError:
            return None
