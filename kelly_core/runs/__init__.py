"""Runs: trainings in processes of their own, which watchers may find, follow and steer at any time.

The folder of a run on disk is all that its process and its watchers share::

    run = start(settings, ["EmotionRecognizer"])
    for record in run.follow():
        print(run.snapshot.state, record.event)

Nothing here imports torch; only ``worker``, which runs in a process of its own, does.
"""

from kelly_core.runs.comparison import Comparison, compare_runs
from kelly_core.runs.folder import RunFolder
from kelly_core.runs.launch import resume, start
from kelly_core.runs.listing import Listing, find_run, list_runs
from kelly_core.runs.records import Record
from kelly_core.runs.run import Run
from kelly_core.runs.snapshot import ModelSnapshot, RunSnapshot

__all__ = [
    "Comparison",
    "Listing",
    "ModelSnapshot",
    "Record",
    "Run",
    "RunFolder",
    "RunSnapshot",
    "compare_runs",
    "find_run",
    "list_runs",
    "resume",
    "start",
]
