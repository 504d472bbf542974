"""Messages about runs reach a command, a webhook or the terminal, and never fail a training."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kelly_core import events
from kelly_core.config.schema import NotifySettings
from kelly_core.errors import RunError
from kelly_core.runs.event_log import RunEnded
from kelly_core.runs.launch import new_manifest, supervised
from kelly_core.runs.notify import ENDED, message, notifier, send_message, terminal_sequence
from kelly_core.runs.run import Run
from kelly_core.runs.run_dir import RunDirectory
from tests.runs.conftest import MODEL, epoch, make_run, small_settings

SAVES = "import sys, pathlib; pathlib.Path(sys.argv[1]).write_text(sys.stdin.read() + chr(10) + sys.argv[-1])"


class Server(HTTPServer):
    """Answers with the codes in ``codes``, the last one again and again, and keeps what was posted."""

    def __init__(self, codes: list[int]) -> None:
        self.codes, self.posted = codes, list[Any]()
        super().__init__(("127.0.0.1", 0), _WebhookHandler)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/secret"


class _WebhookHandler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        self.server.posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(self.server.codes.pop(0) if len(self.server.codes) > 1 else self.server.codes[0])
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server([500, 429, 200]) as one:
        threading.Thread(target=one.serve_forever, daemon=True).start()
        yield one
        one.shutdown()


def ended_run(folder: Path, error: str = "") -> RunDirectory:
    begun = events.ModelStarted(MODEL, "maestro", True, 8, 4, 1, 9, "cpu", 0.5)
    return make_run(folder, begun, epoch(1, 0.1), RunEnded("failed" if error else "finished", error))


def test_a_webhook_is_tried_again_until_it_answers(server: Server, tmp_path: Path) -> None:
    run = Run(ended_run(tmp_path / "2026-11-22-1431-brave-cadence"))
    waited: list[float] = []
    assert send_message(NotifySettings(webhook=server.address), message(run, ENDED), waited.append) == []
    assert waited == [1.0, 2.0]
    posted = server.posted[-1]
    assert (posted["event"], posted["run"], posted["best"]) == ("finished", run.id, {MODEL: 0.1})
    assert (posted["model"], posted["models"]) == (MODEL, [MODEL])
    assert posted["gain"] == pytest.approx(0.8)
    assert posted["text"] == "kelly brave-cadence: finished, +80% on the baseline"


def test_a_webhook_that_refuses_is_a_problem_without_its_address(server: Server, tmp_path: Path) -> None:
    server.codes = [404]
    content = message(Run(ended_run(tmp_path / "one")), "plateau", MODEL)
    (problem,) = send_message(NotifySettings(webhook=server.address), content, lambda _seconds: None)
    assert problem == "notify.webhook: HTTP 404"
    assert len(server.posted) == 1
    server.server_close()
    (problem,) = send_message(NotifySettings(webhook="http://127.0.0.1:1/secret"), content, lambda _seconds: None)
    assert "secret" not in problem


def test_apprise_gets_the_text_and_its_addresses_stay_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sent: list[tuple[str, str]] = []

    class Service:
        """Stands in for Apprise: knows one scheme, and one address that does not answer."""

        def add(self, address: str) -> bool:
            self.address = address
            return address.startswith("ntfy://")

        def notify(self, *, body: str, title: str) -> bool:
            sent.append((title, body))
            return not self.address.endswith("silent")

    monkeypatch.setitem(sys.modules, "apprise", SimpleNamespace(Apprise=Service))
    content = message(Run(ended_run(tmp_path / "2026-11-22-1431-brave-cadence")), ENDED)
    settings = NotifySettings(apprise=["ntfy://secret/topic", "no-such://secret", "ntfy://secret/silent"])
    (problem,) = send_message(settings, content)
    assert problem == "notify.apprise: no message was sent to address 2, 3 of 3"
    assert sent[0] == ("kelly", "kelly brave-cadence: finished, +80% on the baseline")
    assert send_message(NotifySettings(apprise=["ntfy://secret/topic"]), content) == []


def test_a_training_that_needs_apprise_explains_its_installation(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    settings = small_settings(notify__apprise=["ntfy://secret"], output=str(tmp_path))
    with pytest.raises(RunError, match=r"Apprise is not installed") as caught:
        new_manifest(settings, [MODEL])
    assert "kelly-trainer[notify]" in str(caught.value)
    (problem,) = send_message(settings.notify, message(Run(ended_run(tmp_path / "one")), ENDED))
    assert "kelly-trainer[notify]" in problem


@pytest.mark.parametrize(
    "command", ["/no/such/program", shlex.join([sys.executable, "-c", "raise SystemExit(3)"]), "'open"]
)
def test_a_command_that_fails_is_a_problem(command: str, tmp_path: Path) -> None:
    (problem,) = send_message(NotifySettings(command=command), message(Run(ended_run(tmp_path / "one")), ENDED))
    assert problem.startswith("notify.command")


def test_the_end_of_a_process_sends_a_message_however_it_ends(tmp_path: Path) -> None:
    folder = ended_run(tmp_path / "one", "disk \x1b[31mfull")
    saved = tmp_path / "saved"
    manifest = json.loads(folder.manifest.read_text())
    manifest["settings"]["notify"]["command"] = shlex.join([sys.executable, "-c", SAVES, str(saved)])
    folder.manifest.write_text(json.dumps(manifest))
    killed = [sys.executable, "-S", "-c", "import os; os.kill(os.getpid(), 9)"]
    subprocess.run(supervised(killed, folder, 1, notifier(folder, ENDED)), stdout=subprocess.PIPE, check=False)
    content, text = saved.read_text().split("\n")
    assert json.loads(content)["event"] == "failed"
    assert text == r"kelly one: failed: disk \x1b[31mfull"
    assert folder.exit_status.read_text() == "1 137\n"


def test_a_terminal_gets_no_control_characters_of_the_text() -> None:
    assert (
        terminal_sequence(NotifySettings(terminal="osc777"), "a;b\x07\x1b") == "\x1b]777;notify;kelly;a,b\\x07\\x1b\x07"
    )
    assert terminal_sequence(NotifySettings(terminal="osc9"), "x") == "\x1b]9;x\x07"
    assert terminal_sequence(NotifySettings(terminal=""), "x") == ""
