"""Commands that wait for the workers of a cluster, in real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from tests.cli.test_signals import COMMAND
from tests.helpers import tiny
from tests.helpers.dask_cluster import cluster


@contextmanager
def running(arguments: Sequence[object], environment: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A command in a process that Ctrl-C reaches, even where these tests run in the background, and its end."""
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.slow
def test_datasets_waits_for_workers_aloud_and_leaves_when_asked(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    corpora = tmp_path / "corpora"
    for number in range(3):
        drums = tiny.drum_notes(8, lag=0.01 * number)
        tiny.write_midi(corpora / "groove_midi" / str(number) / "beat.mid", {"": drums}, channel=9)
    with cluster(tmp_path, 0) as one:
        arguments = ["datasets", "--json", "--datasets-dir", corpora, "--backend", "dask", "--scheduler", one.address]

        environment = os.environ | {"KELLY_DATASETS_CACHE_DIR": str(tmp_path / "cache")}
        with running(arguments, environment) as left:
            _wait_for("features of groove_midi: tcp://", left.stderr)
            left.send_signal(signal.SIGINT)
            out, rest = left.communicate(timeout=60)
        assert (left.returncode, out, rest) == (130, "", "")
        with running(arguments, environment) as patient:
            _wait_for("has no workers; waiting for one", patient.stderr)
            one.add_worker()
            _wait_for("1 worker of tcp://", patient.stderr)
            out, rest = patient.communicate(timeout=60)
        assert patient.returncode == 0, rest
        reports = {report["name"]: report for report in json.loads(out)["datasets"]}
        assert reports["groove_midi"]["files"] == 3


def _wait_for(words: str, stream: IO[str] | None) -> None:
    assert stream is not None
    line = next(iter(stream), "")
    assert words in line
