"""Small programs that stand in for the plugin's engine, good ones and bad ones."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

GOOD = """
import json, sys
from pathlib import Path
import numpy as np
from kelly_core.export.reader import read_export
from kelly_core.engines.numpy_engine import NumpyEngine

if sys.argv[1] == "--bench":
    read_export(Path(sys.argv[2]))
    print(json.dumps({"p50_us": 10, "p99_us": 20.5, "max_us": 30, "n": int(sys.argv[3])}))
else:
    runtime = NumpyEngine(read_export(Path(sys.argv[1])).layers)
    for line in sys.stdin:
        print(*runtime.step(np.array(line.split(), np.float32)))
"""

FORGETFUL = GOOD.replace("    for line in sys.stdin:\n", "    for line in sys.stdin:\n        runtime.reset()\n")


def engine(folder: Path, program: str) -> str:
    """The command of an engine that is a Python program, written into ``folder``."""
    path = folder / "engine.py"
    path.write_text(program)
    return shlex.join([sys.executable, str(path)])
