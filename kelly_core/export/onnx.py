"""Write an export as an ONNX file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kelly_core.engines.numpy_engine import TOLERANCE, NumpyEngine
from kelly_core.engines.onnx_engine import OnnxEngine, build_onnx
from kelly_core.errors import ExportError
from kelly_core.export.golden import probe_export
from kelly_core.export.reader import Export
from kelly_core.io.atomic import atomic_write

_CHECKED_FRAMES = 200
_PROPERTIES = ("model_name", "state", "checkpoint")


def write_onnx(export: Export, path: Path) -> None:
    """Write an export's layers as an ONNX file, after checking that ONNX Runtime computes the same outputs.

    Raises:
        ExportError: the extra ``onnx`` is not installed, the outputs differ, or the file cannot be written.
    """
    content = build_onnx(
        export.layers, {key: str(export.metadata[key]) for key in _PROPERTIES & export.metadata.keys()}
    )
    frames = probe_export(export, _CHECKED_FRAMES)
    apart = float(np.abs(OnnxEngine(content).process(frames) - NumpyEngine(export.layers).process(frames)).max())
    if not apart <= TOLERANCE:
        raise ExportError(
            f"was not written: ONNX Runtime's outputs differ by up to {apart:.3g}, expected at most {TOLERANCE:g}",
            where=path,
        )
    atomic_write(path, lambda stream: stream.write(content), error=ExportError)
