"""Models trained in parallel get the same weights as one after the other, and can be controlled."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kelly_core.config.loading import load_settings
from kelly_core.config.schema import Settings
from kelly_core.events import EpochDone, Event
from kelly_core.spec import model_spec
from kelly_core.training.multiprocess import train_in_parallel
from kelly_core.training.pipeline import train_model
from kelly_core.training.trainer import Requests
from tests.seeds import shifted

SPECS = [model_spec("DynamicsEngine"), model_spec("GroovePredictor")]


def settings(output: Path, **training: object) -> Settings:
    options = {f"training.{name}": (name, value) for name, value in training.items()}
    options |= {
        "output.dir": ("o", output),
        "output.plots": ("p", False),
        "datasets.use_synthetic": ("s", True),
        "datasets.synthetic_examples": ("e", 256),
        "training.seed": ("seed", shifted(0)),
    }
    return load_settings(None, options, {}).settings


@pytest.mark.slow
def test_models_in_parallel_equal_models_one_by_one(tmp_path: Path) -> None:
    events: list[Event] = []
    tasks = [(spec, False) for spec in SPECS]
    together = settings(tmp_path / "together", epochs=2)
    outcomes = {o.model: o for o in train_in_parallel(together, tasks, 2, listen=events.append)}
    for spec in SPECS:
        train_model(settings(tmp_path / "alone", epochs=2, threads=1), spec)
        assert outcomes[spec.name].error == ""
        files = [tmp_path / name / f"{spec.file_stem}.json" for name in ("together", "alone")]
        layers = [json.loads(file.read_text())["layers"] for file in files]
        assert layers[0] == layers[1]
        assert [e.epoch for e in events if isinstance(e, EpochDone) and e.model == spec.name] == [1, 2]


class Person:
    """Asks for a pause once every model has completed an epoch, and for a stop when all has been silent for a while."""

    def __init__(self) -> None:
        self.trained: set[str] = set()
        self.last_event = time.monotonic()
        self.stopping = False

    def listen(self, event: Event) -> None:
        self.last_event = time.monotonic()
        if isinstance(event, EpochDone):
            self.trained.add(event.model)

    def holding(self) -> bool:
        if len(self.trained) == len(SPECS) and time.monotonic() - self.last_event > 0.7:
            self.stopping = True
        return len(self.trained) == len(SPECS) and not self.stopping


@pytest.mark.slow
def test_all_of_them_hold_and_stop_when_asked(tmp_path: Path) -> None:
    person = Person()
    outcomes = train_in_parallel(
        settings(tmp_path, epochs=100_000),
        [(spec, False) for spec in SPECS],
        2,
        listen=person.listen,
        requests=Requests(should_stop=lambda: person.stopping),
        is_paused=person.holding,
    )
    assert {outcome.reason for outcome in outcomes} == {"stopped"}
    assert person.stopping
    assert all((tmp_path / f"{spec.file_stem}.json").is_file() for spec in SPECS)


PARENT = """
import sys
from pathlib import Path
from tests.training.test_multiprocess import SPECS, settings
from kelly_core.training.multiprocess import train_in_parallel
if __name__ == "__main__":
    tasks = [(spec, False) for spec in SPECS]
    say = lambda event: print(type(event).__name__, flush=True)
    list(train_in_parallel(settings(Path(sys.argv[1]), epochs=100_000), tasks, 2, listen=say))
"""


@pytest.mark.slow
def test_children_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    import psutil

    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    root = str(Path(__file__).resolve().parents[2])
    environment = os.environ | {"PYTHONPATH": root}
    parent = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "out")], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    for line in parent.stdout:
        if "EpochDone" in line:
            break
    children = psutil.Process(parent.pid).children(recursive=True)
    assert children
    parent.send_signal(signal.SIGKILL)
    parent.wait(timeout=600)
    _, alive = psutil.wait_procs(children, timeout=600)
    assert not alive
