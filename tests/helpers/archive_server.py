"""A web server on the loopback interface that serves small archives, and misbehaves on request."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any


@dataclass
class ArchiveServer:
    """Files by path, and what to do wrong.

    Attributes:
        address: beginning of every URL.
        files: content by path without the leading slash.
        etags: ETag by path; none is sent for a path that is not in it.
        breaks: bytes after which each of the next answers breaks off, in order; None does not break.
        statuses: status codes of the next answers, in order; 200 is none.
        redirects: path by path.
        ranges: whether ranges are understood.
        lengths: whether answers say how long they are.
        delay: seconds before each answer.
        stalls: bytes after which each of the next answers waits for ``release``, in order.
        asked: path and Range header of each request.
        sent: bytes of all answers.
    """

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    etags: dict[str, str] = field(default_factory=dict)
    breaks: list[int | None] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    redirects: dict[str, str] = field(default_factory=dict)
    ranges: bool = True
    lengths: bool = True
    asked: list[tuple[str, str]] = field(default_factory=list)
    sent: int = 0
    delay: float = 0.0
    stalls: list[int] = field(default_factory=list)
    release: Event = field(default_factory=Event)


class _Handler(BaseHTTPRequestHandler):
    script: ArchiveServer

    def log_message(self, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        script, path = self.script, self.path.lstrip("/")
        wanted = self.headers.get("Range", "")
        script.asked.append((path, wanted))
        time.sleep(script.delay)
        status = script.statuses.pop(0) if script.statuses else 200
        if path in script.redirects:
            self.send_response(302)
            target = script.redirects[path]
            self.send_header("Location", target if "://" in target else f"/{target}")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif status != 200 or path not in script.files:
            self.send_error(status if status != 200 else 404)
        else:
            self._send(path, wanted)

    def _send(self, path: str, wanted: str) -> None:
        script, content, tag = self.script, self.script.files[path], self.script.etags.get(path)
        match = re.fullmatch(r"bytes=(\d+)-", wanted) if script.ranges else None
        condition = self.headers.get("If-Range")
        if condition is not None and condition != tag:
            match = None
        start = int(match[1]) if match else 0
        if start >= len(content) and match:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if match else 200)
        if match:
            self.send_header(
                "Content-Range", f"bytes {start}-{len(content) - 1}/{len(content) if script.lengths else '*'}"
            )
        if tag:
            self.send_header("ETag", tag)
        if script.lengths:
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        most = script.breaks.pop(0) if script.breaks else None
        body = content[start:] if most is None else content[start : start + most]
        # Before the last byte: a client that has it may look at this number at once.
        script.sent += len(body)
        with contextlib.suppress(ConnectionError):
            if script.stalls:
                stop = script.stalls.pop(0)
                self.wfile.write(body[:stop])
                self.wfile.flush()
                script.release.wait()
                body = body[stop:]
            self.wfile.write(body)
        self.close_connection = True


@contextmanager
def serve() -> Iterator[ArchiveServer]:
    """Serve until the block ends."""
    script = ArchiveServer()
    handler = type("Handler", (_Handler,), {"script": script})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    script.address = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield script
    finally:
        script.release.set()
        server.shutdown()
        server.server_close()
        thread.join()
